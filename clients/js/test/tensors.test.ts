import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type DType, strings, type TensorLike, tensor, toNested } from "sigrun-client";

describe("what becomes a tensor", () => {
  const cases: readonly [string, TensorLike, DType, readonly number[]][] = [
    ["a number is a float32 scalar", 1.5, "float32", []],
    ["numbers are float32", [1, 2], "float32", [2]],
    ["lists nest", [[1], [2], [3]], "float32", [3, 1]],
    ["bigints are int64", [1n], "int64", [1]],
    ["booleans are bool", [true, false], "bool", [2]],
    ["text is string", "spam", "string", []],
    ["bytes are one string", new Uint8Array([0xff, 0xd8]), "string", []],
    ["bytes in a list are strings", [new Uint8Array(3), "text"], "string", [2]],
    ["a typed array tells its type", new Int16Array(3), "int16", [3]],
    ["pixels of a canvas are uint8", new Uint8ClampedArray(4), "uint8", [4]],
    [
      "typed arrays in a list are rows",
      [new Float64Array(2), new Float64Array(2)],
      "float64",
      [2, 2],
    ],
    ["an empty list has no elements", [], "float32", [0]],
    ["empty lists keep their dimensions", [[], []], "float32", [2, 0]],
  ];
  for (const [name, values, dtype, shape] of cases) {
    test(name, () => {
      const made = tensor(values);

      assert.deepEqual([made.dtype, made.shape], [dtype, shape]);
    });
  }
});

test("a typed array is taken without copying", () => {
  const array = new Float32Array(6);

  const made = tensor(array, { dtype: "float32", shape: [2, 3] });

  assert.equal(made.data, array);
  assert.deepEqual(made.shape, [2, 3]);
});

test("pixels of a canvas are the same memory", () => {
  const pixels = new Uint8ClampedArray(8).subarray(4);

  const made = tensor(pixels, { dtype: "uint8" });

  assert.equal(made.data.buffer, pixels.buffer);
  assert.deepEqual([made.data.byteOffset, made.data.length], [4, 4]);
});

describe("an element type that is asked for", () => {
  const cases: readonly [TensorLike, DType, readonly (number | bigint)[]][] = [
    [[1, 2n], "int64", [1n, 2n]],
    [[1, 2 ** 53], "uint64", [1n, 2n ** 53n]],
    [[-128, 127], "int8", [-128, 127]],
    [new Uint8Array([7]), "uint8", [7]],
    [[1, 65504, -0, 2 ** -24], "float16", [0x3c00, 0x7bff, 0x8000, 1]],
    [[65519.99, 65520, Number.NaN], "float16", [0x7bff, 0x7c00, 0x7e00]],
    [[1.0009765625, 1.00146484375, 2 ** -14, 2 ** -15], "float16", [0x3c01, 0x3c02, 0x400, 0x200]],
    [[1, 3.3895313892515355e38, -2], "bfloat16", [0x3f80, 0x7f7f, 0xc000]],
    [[true], "bool", [1]],
    [new Float32Array([1, 2]), "complex64", [1, 2]],
    [new Uint16Array([0x3c00]), "float16", [0x3c00]],
  ];
  for (const [values, dtype, data] of cases) {
    test(`${dtype} of ${values}`, () => {
      const made = tensor(values, { dtype });

      assert.deepEqual([made.dtype, [...made.data]], [dtype, data]);
    });
  }
});

describe("what is no tensor is refused", () => {
  const cases: readonly [string, TensorLike, object, RegExp][] = [
    ["ragged lists", [[1, 2], [3]], {}, /ragged: at depth 1, one has 2 elements, another 1/],
    ["a scalar among lists", [[1], 2], {}, /one place is no list/],
    ["a list among scalars", [1, [2]], {}, /a list is no float32/],
    ["text among numbers", [1, "2"], {}, /string 2 is no float32/],
    ["a number among text", ["1", 2], {}, /number 2 is no string/],
    ["rows of unlike types", [new Int8Array(1), new Int16Array(1)], {}, /Int16Array is no int8/],
    ["a value beyond its type", [300], { dtype: "uint8" }, /number 300 is no uint8/],
    ["a fraction as an integer", [1.5], { dtype: "int32" }, /number 1.5 is no int32/],
    ["a fraction as int64", [1.5], { dtype: "int64" }, /number 1.5 is no int64/],
    ["a bigint beyond its type", [2n ** 63n], { dtype: "int64" }, /is no int64/],
    ["a number as bool", [1], { dtype: "bool" }, /number 1 is no bool/],
    ["complex numbers in lists", [1, 2], { dtype: "complex64" }, /is no complex64/],
    ["half a complex number", new Float32Array(3), { dtype: "complex64" }, /do not make the shape/],
    ["an array of another type", new Int8Array(1), { dtype: "float32" }, /does not hold float32/],
    ["a shape that does not fit", [1, 2], { shape: [3] }, /2 elements do not make the shape \[3\]/],
    ["a negative size", [1], { shape: [-1, -1] }, /do not make the shape/],
    ["a type that there is not", [1], { dtype: "float8" }, /no element type float8/],
    [
      "a tensor in the wrong array",
      { dtype: "int8", shape: [1], data: new Float32Array(1) } as never,
      {},
      /int8 is held by Int8Array/,
    ],
  ];
  for (const [name, values, options, text] of cases) {
    test(name, () => {
      assert.throws(() => tensor(values, options), { code: "INVALID_ARGUMENT", message: text });
    });
  }
});

test("elements come back in lists", () => {
  assert.deepEqual(
    toNested(
      tensor([
        [1, 2],
        [3, 4],
      ]),
    ),
    [
      [1, 2],
      [3, 4],
    ],
  );
  assert.deepEqual(toNested(tensor(["a", "ü"])), ["a", "ü"]);
  assert.deepEqual(toNested(tensor([true, false])), [true, false]);
  assert.deepEqual(toNested(tensor([2n ** 60n])), [2n ** 60n]);
  assert.deepEqual(toNested(tensor(7)), 7);
  assert.deepEqual(toNested(tensor([[], []])), [[], []]);
  assert.deepEqual(toNested(tensor([1.5, -2], { dtype: "float16" })), [1.5, -2]);
  assert.deepEqual(toNested(tensor([1.5, -2], { dtype: "bfloat16" })), [1.5, -2]);
  const pairs = tensor(new Float32Array([1, 2, 3, 4]), { dtype: "complex64" });
  assert.deepEqual(toNested(pairs), [
    [1, 2],
    [3, 4],
  ]);
});

test("every float16 reads and writes back to its bits", () => {
  const bits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i).filter(
    (one) => (one & 0x7c00) !== 0x7c00 || (one & 0x3ff) === 0,
  );
  const values = toNested(tensor(bits, { dtype: "float16" })) as number[];

  const again = tensor(values, { dtype: "float16" });

  assert.deepEqual(again.data, bits);
});

test("strings asks for strings", () => {
  assert.deepEqual(strings(tensor([["a"], ["b"]])), ["a", "b"]);
  assert.throws(() => strings(tensor([1])), /a tensor of float32, not of string/);
});
