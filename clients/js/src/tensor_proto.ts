// Tensor <-> the bytes of a TensorProto, whole arrays at a time.
//
// Generated code would make a list of numbers of packed floats, an object for each. Here the
// memory of a typed array is the message's own: it is written as `tensor_content`, and what is
// read is a view of the reply, or one copy of the block where it does not lie as the array
// needs it. Only integers in typed fields are decoded one by one, since they are varints.
// Like TensorFlow's own clients this takes the machine to be little-endian.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { blockOf, blocksOf, concatenated, type Field, fieldsOf, messageOf } from "./fields.js";
import { TensorShapeProto } from "./gen/tensorflow/core/framework/tensor_shape.js";
import { DataType } from "./gen/tensorflow/core/framework/types.js";
import {
  arrayOf,
  type DType,
  itemsPerElement,
  sizeOf,
  type Tensor,
  type TensorData,
} from "./tensors.js";
import { readVarints32, readVarints64 } from "./varints.js";

type NumericDType = Exclude<DType, "string">;

// The numbers of TensorProto's fields.
const DTYPE = 1;
const TENSOR_SHAPE = 2;
const TENSOR_CONTENT = 4;
const STRING_VAL = 8;

/** The number of each type, and that of the field of TensorProto that holds its elements. */
const KINDS: { readonly [D in DType]: { readonly type: DataType; readonly field: number } } = {
  float32: { type: DataType.DT_FLOAT, field: 5 },
  float64: { type: DataType.DT_DOUBLE, field: 6 },
  float16: { type: DataType.DT_HALF, field: 13 },
  bfloat16: { type: DataType.DT_BFLOAT16, field: 13 },
  int8: { type: DataType.DT_INT8, field: 7 },
  int16: { type: DataType.DT_INT16, field: 7 },
  int32: { type: DataType.DT_INT32, field: 7 },
  int64: { type: DataType.DT_INT64, field: 10 },
  uint8: { type: DataType.DT_UINT8, field: 7 },
  uint16: { type: DataType.DT_UINT16, field: 7 },
  uint32: { type: DataType.DT_UINT32, field: 16 },
  uint64: { type: DataType.DT_UINT64, field: 17 },
  bool: { type: DataType.DT_BOOL, field: 11 },
  complex64: { type: DataType.DT_COMPLEX64, field: 9 },
  complex128: { type: DataType.DT_COMPLEX128, field: 12 },
  string: { type: DataType.DT_STRING, field: STRING_VAL },
};

const DTYPES: ReadonlyMap<number, DType> = new Map(
  Object.entries(KINDS).map(([dtype, { type }]) => [type, dtype as DType]),
);

const MAX_REPEATED_BYTES = 1 << 28;

/** Return the name of an element type, or undefined for one that no tensor here can have. */
export function dtypeOf(type: DataType): DType | undefined {
  return DTYPES.get(type);
}

/** Return the parts whose concatenation is the TensorProto of `values`; arrays are not copied. */
export function writeTensor(values: Tensor): Uint8Array[] {
  const shape = {
    dim: values.shape.map((size) => ({ size: BigInt(size), name: "" })),
    unknownRank: false,
  };
  const writer = new BinaryWriter()
    .tag(DTYPE, WireType.Varint)
    .int32(KINDS[values.dtype].type)
    .tag(TENSOR_SHAPE, WireType.LengthDelimited)
    .fork();
  TensorShapeProto.encode(shape, writer).join();
  if (values.dtype === "string") {
    for (const text of values.data) {
      writer.tag(STRING_VAL, WireType.LengthDelimited).bytes(text);
    }
    return [writer.finish()];
  }
  const { buffer, byteOffset, byteLength } = values.data;
  const head = writer.tag(TENSOR_CONTENT, WireType.LengthDelimited).uint32(byteLength).finish();
  return [head, new Uint8Array(buffer, byteOffset, byteLength)];
}

/**
 * Return the tensor that the bytes of a TensorProto are; it may be a view of them.
 *
 * Reads as TensorFlow does: `tensor_content` first, else the field of the type, the last value
 * repeated where there are too few, surplus ones ignored, zeros where there are none. Throws an
 * Error for bytes that make no tensor.
 */
export function readTensor(bytes: Uint8Array): Tensor {
  const fields = fieldsOf(bytes);
  let type = 0;
  for (const { no, wireType, data } of fields) {
    if (no === DTYPE && wireType === WireType.Varint) {
      type = new BinaryReader(data).int32();
    }
  }
  const shapes = blocksOf(fields, TENSOR_SHAPE);
  const content = blocksOf(fields, TENSOR_CONTENT).at(-1) ?? new Uint8Array();
  const dtype = dtypeOf(type);
  if (dtype === undefined) {
    throw new Error(`its element type ${DataType[type] ?? type} is not known`);
  }
  // A message that comes in parts is that of all of their fields.
  const shape = shapeOf(messageOf(TensorShapeProto, concatenated(shapes)));
  const values = fields.filter(({ no }) => no === KINDS[dtype].field);
  return { dtype, shape, data: dataOf(dtype, sizeOf(shape), content, values) } as Tensor;
}

function shapeOf(proto: TensorShapeProto): number[] {
  const shape = proto.dim.map(({ size }) => Number(size));
  if (proto.unknownRank || shape.some((size) => size < 0)) {
    throw new Error(`its shape [${shape.join(", ")}] is not fully known`);
  }
  return shape;
}

function dataOf(
  dtype: DType,
  count: number,
  content: Uint8Array,
  values: readonly Field[],
): TensorData[DType] {
  if (dtype === "string") {
    return content.length > 0 ? splitStrings(content, count) : stringsOf(values, count);
  }
  const items = count * itemsPerElement(dtype);
  if (content.length > 0) {
    const data = viewed(dtype, content);
    if (data.length !== items) {
      throw new Error(`its ${content.length} bytes are not ${count} elements of ${dtype}`);
    }
    return data;
  }
  return fitted(dtype, numbersOf(dtype, values), items);
}

function stringsOf(values: readonly Field[], count: number): Uint8Array[] {
  const texts = values.filter(isBlock).slice(0, count).map(blockOf);
  const last = texts.at(-1) ?? new Uint8Array();
  checkRepeated((count - texts.length) * Math.max(1, last.length));
  return texts.concat(Array.from({ length: count - texts.length }, () => last));
}

/** Strings in `tensor_content`: all lengths, then all texts. */
function splitStrings(content: Uint8Array, count: number): Uint8Array[] {
  const reader = new BinaryReader(content);
  checkRepeated(count);
  const lengths = Array.from({ length: count }, () => reader.uint32());
  let end = reader.pos;
  const texts = lengths.map((length) => {
    end += length;
    return content.subarray(end - length, end);
  });
  if (end !== content.length) {
    throw new Error(`its ${content.length} bytes are not ${count} strings`);
  }
  return texts;
}

function numbersOf(dtype: NumericDType, values: readonly Field[]): TensorData[NumericDType] {
  switch (dtype) {
    case "float32":
    case "complex64":
      return viewed(dtype, packed(values, WireType.Bit32));
    case "float64":
    case "complex128":
      return viewed(dtype, packed(values, WireType.Bit64));
    case "int64":
      return readVarints64(packed(values, WireType.Varint));
    case "uint64":
      return new BigUint64Array(readVarints64(packed(values, WireType.Varint)).buffer);
    case "bool":
      return Uint8Array.from(readVarints64(packed(values, WireType.Varint)), (value) =>
        value === 0n ? 0 : 1,
      );
    case "uint32":
      return new Uint32Array(readVarints32(packed(values, WireType.Varint)).buffer);
    case "int32":
      return readVarints32(packed(values, WireType.Varint));
    default: {
      const array = arrayOf(dtype) as typeof Int16Array;
      return array.from(readVarints32(packed(values, WireType.Varint)));
    }
  }
}

/** Return all values of a repeated field in one block, whether they came packed or one by one. */
function packed(values: readonly Field[], single: WireType): Uint8Array {
  return concatenated(
    values
      .filter((field) => field.wireType === single || isBlock(field))
      .map((field) => (isBlock(field) ? blockOf(field) : field.data)),
  );
}

function isBlock(field: Field): boolean {
  return field.wireType === WireType.LengthDelimited;
}

/** Return `bytes` as the memory of an array: a view, or a copy where alignment needs one. */
function viewed(dtype: NumericDType, bytes: Uint8Array): TensorData[NumericDType] {
  const array = arrayOf(dtype);
  const { BYTES_PER_ELEMENT: size } = array;
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  if (bytes.byteLength % size !== 0) {
    throw new Error(`its ${bytes.byteLength} bytes are no whole elements of ${dtype}`);
  }
  return new array(buffer as ArrayBuffer, byteOffset, bytes.byteLength / size);
}

function fitted(
  dtype: NumericDType,
  data: TensorData[NumericDType],
  length: number,
): TensorData[NumericDType] {
  if (data.length >= length) {
    return data.length === length ? data : data.subarray(0, length);
  }
  checkRepeated((length - data.length) * data.BYTES_PER_ELEMENT);
  const whole = new (arrayOf(dtype))(length) as Float32Array;
  whole.set(data as Float32Array);
  const items = itemsPerElement(dtype);
  for (let at = data.length; at < length && data.length >= items; at += items) {
    whole.copyWithin(at, data.length - items, data.length);
  }
  return whole;
}

/** A few bytes can ask for a tensor of any size by repeating their last value. */
function checkRepeated(bytes: number): void {
  if (bytes > MAX_REPEATED_BYTES) {
    throw new Error(`it repeats its last value for ${bytes} bytes`);
  }
}
