// The bytes of tensors, held against what generated code makes of them.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type DType, type Tensor, tensor } from "sigrun-client";
import { type Field, fieldsOf } from "../dist/fields.js";
import { TensorProto } from "../dist/gen/tensorflow/core/framework/tensor.js";
import { DataType } from "../dist/gen/tensorflow/core/framework/types.js";
import { PredictRequest, PredictResponse } from "../dist/gen/tensorflow_serving/apis/predict.js";
import { readReply, writeRequest } from "../dist/predict_proto.js";
import { readTensor, writeTensor } from "../dist/tensor_proto.js";

/** The fields of the generated message, by element type. */
const FIELDS: Readonly<Record<Exclude<DType, "string">, [DataType, keyof TensorProto]>> = {
  float32: [DataType.DT_FLOAT, "floatVal"],
  float64: [DataType.DT_DOUBLE, "doubleVal"],
  float16: [DataType.DT_HALF, "halfVal"],
  bfloat16: [DataType.DT_BFLOAT16, "halfVal"],
  int8: [DataType.DT_INT8, "intVal"],
  int16: [DataType.DT_INT16, "intVal"],
  int32: [DataType.DT_INT32, "intVal"],
  int64: [DataType.DT_INT64, "int64Val"],
  uint8: [DataType.DT_UINT8, "intVal"],
  uint16: [DataType.DT_UINT16, "intVal"],
  uint32: [DataType.DT_UINT32, "uint32Val"],
  uint64: [DataType.DT_UINT64, "uint64Val"],
  bool: [DataType.DT_BOOL, "boolVal"],
  complex64: [DataType.DT_COMPLEX64, "scomplexVal"],
  complex128: [DataType.DT_COMPLEX128, "dcomplexVal"],
};
const DTYPES = Object.keys(FIELDS) as (keyof typeof FIELDS)[];

/** Numbers that are the same in every run (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A tensor of random bits; bools are 0 or 1, and no NaN has a payload that numbers lose. */
function randomTensor(dtype: keyof typeof FIELDS, count: number, random: () => number): Tensor {
  const items = dtype.startsWith("complex") ? 2 * count : count;
  const { data } = tensor([], { dtype: dtype.startsWith("complex") ? "float64" : dtype });
  const kind = dtype === "complex64" ? Float32Array : data.constructor;
  const array = new (kind as typeof Float32Array)(items);
  new Uint8Array(array.buffer).forEach((_, i, bytes) => {
    bytes[i] = dtype === "bool" ? Math.round(random()) : Math.floor(random() * 256);
  });
  if (array instanceof Float32Array || (array as unknown) instanceof Float64Array) {
    array.forEach((value, i) => {
      array[i] = Number.isNaN(value) ? 0.5 : value;
    });
  }
  return { dtype, shape: [count], data: array } as unknown as Tensor;
}

/** The message that a server would send: every element in the field of its type. */
function typedProto(values: Tensor): TensorProto {
  const [dtype, field] = FIELDS[values.dtype as keyof typeof FIELDS];
  const elements = [...values.data].map((value) => (values.dtype === "bool" ? value !== 0 : value));
  const tensorShape = shapeProto(...values.shape.map(BigInt));
  return { ...EMPTY, dtype, tensorShape, [field]: elements };
}

const EMPTY = TensorProto.decode(new Uint8Array());

function shapeProto(...sizes: readonly bigint[]): TensorProto["tensorShape"] {
  return { dim: sizes.map((size) => ({ size, name: "" })), unknownRank: false };
}

function encoded(fields: Partial<TensorProto>): Uint8Array {
  return TensorProto.encode({ ...EMPTY, ...fields }).finish();
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

describe("a tensor of every type", () => {
  for (const dtype of DTYPES) {
    test(`${dtype} is read from its field, packed or not, and from content`, () => {
      const random = randomNumbers(dtype.length);
      for (const count of [0, 1, 2, 3, 100]) {
        const values = randomTensor(dtype, count, random);
        const proto = typedProto(values);

        assert.deepEqual(readTensor(encoded(proto)), values);
        assert.deepEqual(readTensor(unpacked(proto)), values);
        assert.deepEqual(readTensor(joined(writeTensor(values))), values);
      }
    });

    test(`${dtype} lies anywhere in a reply`, () => {
      const values = randomTensor(dtype, 5, randomNumbers(7));
      const bytes = encoded(typedProto(values));
      for (let offset = 0; offset < 9; offset++) {
        const shifted = new Uint8Array(bytes.length + offset);
        shifted.set(bytes, offset);

        assert.deepEqual(readTensor(shifted.subarray(offset)), values);
      }
    });
  }
});

/** The same message with one field for each element. */
function unpacked(proto: TensorProto): Uint8Array {
  const parts = [encoded({ ...proto, ...EMPTY_VALUES })];
  for (const [, field] of Object.values(FIELDS)) {
    for (const value of proto[field] as readonly number[]) {
      const one = encoded({ [field]: [value] });
      // A field with one packed value: its tag, of one byte or two, its size, the value.
      const [{ no }] = fieldsOf(one) as [Field];
      const wireType = { 4: 5, 8: 1 }[sizes[field] ?? 0] ?? 0;
      const tag = (no << 3) | wireType;
      const head = tag > 0x7f ? [(tag & 0x7f) | 0x80, tag >>> 7] : [tag];
      parts.push(new Uint8Array([...head, ...one.subarray(head.length + 1)]));
    }
  }
  return joined(parts);
}

const sizes: Readonly<Record<string, number>> = {
  floatVal: 4,
  scomplexVal: 4,
  doubleVal: 8,
  dcomplexVal: 8,
};
const EMPTY_VALUES = Object.fromEntries(Object.values(FIELDS).map(([, field]) => [field, []]));

test("floats that lie well are a view of the reply, and else one block is copied", () => {
  const bytes = encoded(typedProto(tensor(new Float32Array(1000).fill(2))));
  const aligned = (4 - ((bytes.length - 4000) % 4)) % 4;
  for (const offset of [0, 1, 2, 3]) {
    const reply = new Uint8Array(bytes.length + offset);
    reply.set(bytes, offset);

    const { data } = readTensor(reply.subarray(offset)) as Tensor<"float32">;

    assert.equal(data.buffer === reply.buffer, offset === aligned);
  }
});

test("a typed array is written as it lies in memory", () => {
  const array = new Float32Array(1000).subarray(10, 20);

  const content = writeTensor(tensor(array)).at(-1);

  assert.equal(content?.buffer, array.buffer);
  assert.deepEqual([content?.byteOffset, content?.byteLength], [40, 40]);
});

test("strings are read from their field and from content", () => {
  const values = tensor(["spam", "", new Uint8Array([0xff, 0])]);
  const proto = TensorProto.decode(joined(writeTensor(values)));
  const content = [4, 0, 2, ...proto.stringVal.flatMap((text) => [...text])];
  const asContent = { ...proto, stringVal: [], tensorContent: new Uint8Array(content) };

  assert.deepEqual(readTensor(encoded(proto)), values);
  assert.deepEqual(readTensor(encoded(asContent)), values);
});

describe("values that are fewer or more than the shape has", () => {
  const cases: readonly [string, Partial<TensorProto>, readonly unknown[]][] = [
    ["the last one is repeated", { floatVal: [1, 2] }, [1, 2, 2, 2]],
    ["none are zeros", {}, [0, 0, 0, 0]],
    ["what is too much is left out", { floatVal: [1, 2, 3, 4, 5] }, [1, 2, 3, 4]],
  ];
  for (const [name, values, data] of cases) {
    test(name, () => {
      const bytes = encoded({ dtype: DataType.DT_FLOAT, tensorShape: shapeProto(4n), ...values });

      assert.deepEqual([...readTensor(bytes).data], data);
    });
  }

  test("the last complex number is repeated as a pair", () => {
    const bytes = encoded({
      dtype: DataType.DT_COMPLEX64,
      tensorShape: shapeProto(3n),
      scomplexVal: [1, 2],
    });

    assert.deepEqual([...readTensor(bytes).data], [1, 2, 1, 2, 1, 2]);
  });
});

describe("bytes that make no tensor are told from those that do", () => {
  const vector = shapeProto(2n);
  const huge = shapeProto(1n << 40n);
  const cases: readonly [string, Partial<TensorProto>, RegExp][] = [
    ["an unknown type", { dtype: DataType.DT_VARIANT }, /its element type DT_VARIANT is not known/],
    ["no type", {}, /its element type DT_INVALID is not known/],
    ["a shape not known", { dtype: 1, tensorShape: shapeProto(-1n) }, /not fully known/],
    [
      "too little content",
      { dtype: 1, tensorShape: vector, tensorContent: new Uint8Array(4) },
      /4 bytes are not 2 elements of float32/,
    ],
    ["part of an element", { dtype: 1, tensorContent: new Uint8Array(3) }, /no whole elements/],
    [
      "strings cut short",
      { dtype: 7, tensorContent: new Uint8Array([2, 65]) },
      /are not 1 strings/,
    ],
    [
      "a few bytes that ask for much",
      { dtype: 1, tensorShape: huge, floatVal: [1] },
      /it repeats its last value/,
    ],
    ["few bytes that ask for many strings", { dtype: 7, tensorShape: huge }, /it repeats/],
  ];
  for (const [name, proto, text] of cases) {
    test(name, () => {
      const bytes = encoded(proto);

      assert.throws(() => readTensor(bytes), text);
    });
  }
});

test("broken tensors are read as generated code reads them, or refused", () => {
  const random = randomNumbers(42);
  let read = 0;
  for (let round = 0; round < 6000; round++) {
    const dtype = DTYPES[Math.floor(random() * DTYPES.length)] as keyof typeof FIELDS;
    const values = randomTensor(dtype, Math.floor(random() * 6), random);
    const isTyped = random() < 0.7;
    const bytes = isTyped ? encoded(typedProto(values)) : joined(writeTensor(values));
    // Tags stay as they are: generated code reads on where the type of the wire is another.
    const inside = fieldsOf(bytes).flatMap(({ data }) =>
      [...data.keys()].map((i) => data.byteOffset + i),
    );
    bytes[inside[Math.floor(random() * inside.length)] as number] = Math.floor(random() * 256);

    let mine: Tensor;
    try {
      mine = readTensor(bytes);
    } catch {
      continue; // generated code passes over what makes no tensor
    }
    const theirs = TensorProto.decode(bytes);
    if (mine.dtype !== "string") {
      assert.deepEqual(mine, slowTensor(mine.dtype, theirs), Buffer.from(bytes).toString("hex"));
      read += 1;
    }
  }
  assert.ok(read > 1500, `only ${read} of them could be read`);
});

/** What the message means, element by element. */
function slowTensor(dtype: Exclude<DType, "string">, proto: TensorProto): Tensor {
  const shape = (proto.tensorShape?.dim ?? []).map(({ size }) => Number(size));
  const items = shape.reduce((one, other) => one * other, dtype.startsWith("complex") ? 2 : 1);
  const { data: none } = randomTensor(dtype, 0, () => 0);
  const array = none.constructor as typeof Float32Array;
  if (proto.tensorContent.length > 0) {
    const { buffer } = new Uint8Array([...proto.tensorContent]);
    return { dtype, shape, data: new array(buffer) } as unknown as Tensor;
  }
  const values = array.from([...(proto[FIELDS[dtype][1]] as readonly number[])]);
  const step = dtype.startsWith("complex") ? 2 : 1;
  const data = new array(items).map((zero, i) => {
    const last = values.length - step + (i % step);
    return values[Math.min(i, last)] ?? zero;
  });
  return { dtype, shape, data } as unknown as Tensor;
}

test("a request is what generated code reads in it", () => {
  const inputs = { a: tensor(new Float32Array([1, 2])), b: tensor(["x"]), "": tensor(3n) };
  const spec = { name: "spam", versionChoice: undefined, signatureName: "" };

  const request = writeRequest(spec, inputs, ["y"]);

  const read = PredictRequest.decode(request);
  assert.deepEqual(read.modelSpec, spec);
  assert.deepEqual(read.outputFilter, ["y"]);
  const tensors = [...read.inputs].map(([alias, proto]) => [alias, readTensor(encoded(proto))]);
  assert.deepEqual(Object.fromEntries(tensors), inputs);
});

test("a reply is what generated code writes", () => {
  const outputs = { a: tensor(new Float32Array([1, 2])), b: tensor(new BigInt64Array([3n])) };
  const spec = {
    name: "spam",
    versionChoice: { $case: "version", value: 7n },
    signatureName: "s",
  } as const;
  const protos = Object.entries(outputs).map(
    ([alias, values]) => [alias, typedProto(values)] as const,
  );

  const reply = PredictResponse.encode({ modelSpec: spec, outputs: new Map(protos) }).finish();

  assert.deepEqual(readReply(reply), { modelSpec: spec, outputs });
});
