// Tensors: what callers give and get. Nothing here knows how they travel.

import { invalidArgument } from "./errors.js";
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "./floats.js";

/**
 * What holds the elements of each type, in row-major order.
 *
 * `bool` is one byte each, 0 or 1; `float16` and `bfloat16` are their bits; the complex types
 * are pairs, the real part first. The elements of `string` are bytes, text in UTF-8 as a rule.
 */
export interface TensorData {
  float32: Float32Array;
  float64: Float64Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
  uint32: Uint32Array;
  uint64: BigUint64Array;
  bool: Uint8Array;
  complex64: Float32Array;
  complex128: Float64Array;
  string: readonly Uint8Array[];
}

/** An element type, by TensorFlow's and numpy's name. */
export type DType = keyof TensorData;

/** A tensor: its element type, its shape (`[]` for a scalar) and its elements. */
export type Tensor<D extends DType = DType> = {
  [K in D]: {
    readonly dtype: K;
    readonly shape: readonly number[];
    readonly data: TensorData[K];
  };
}[D];

/** A typed array whose elements are numbers. A `Uint8Array` is not one of these: it is bytes. */
export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

/** One element. A `Uint8Array` is one string of bytes, such as the content of an image file. */
export type Element = number | bigint | boolean | string | Uint8Array;

/** What can be made a tensor: see `tensor`. */
export type TensorLike = Tensor | NumericArray | Element | readonly TensorLike[];

/** Elements in lists, as deep as the tensor has dimensions. */
export type Nested<E> = E | readonly Nested<E>[];

/** What `toNested` makes of an element; complex numbers are pairs. */
export type NestedElement = number | bigint | boolean | string | readonly [number, number];

type NumericData = Exclude<TensorData[DType], readonly Uint8Array[]>;
type NumericDType = Exclude<DType, "string">;

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  complex64: Float32Array,
  complex128: Float64Array,
} as const;

// In JavaScript's own order of preference where an array serves several types.
const DTYPE_OF_ARRAY: ReadonlyMap<unknown, NumericDType> = new Map<unknown, NumericDType>([
  [Float32Array, "float32"],
  [Float64Array, "float64"],
  [Int8Array, "int8"],
  [Int16Array, "int16"],
  [Int32Array, "int32"],
  [BigInt64Array, "int64"],
  [Uint8Array, "uint8"],
  [Uint8ClampedArray, "uint8"],
  [Uint16Array, "uint16"],
  [Uint32Array, "uint32"],
  [BigUint64Array, "uint64"],
]);

const MAX_RANK = 254; // TensorFlow's

/**
 * Return `values` as a tensor.
 *
 * - A typed array is taken as it is, without copying, and has one dimension unless `shape`
 *   says otherwise. `dtype` is needed where the array does not tell it: a `Uint16Array` of
 *   float16, pairs of complex numbers, a `Uint8Array` of numbers (alone it is one string of
 *   bytes).
 * - Lists are as deep as the tensor has dimensions; the innermost may be typed arrays.
 * - Without `dtype`, numbers become float32, bigints int64, booleans bool, and strings and
 *   `Uint8Array`s string.
 *
 * Throws a `SigrunError` for lists that are ragged or mixed, values that the type cannot hold,
 * and shapes that do not fit.
 */
export function tensor<D extends DType>(
  values: TensorLike,
  options: { readonly dtype: D; readonly shape?: readonly number[] },
): Tensor<D>;
export function tensor(
  values: TensorLike,
  options?: { readonly dtype?: DType; readonly shape?: readonly number[] },
): Tensor;
export function tensor(
  values: TensorLike,
  options: { readonly dtype?: DType; readonly shape?: readonly number[] } = {},
): Tensor {
  const made = isTensor(values) ? checked(values) : fromValues(values, options.dtype);
  if (options.dtype !== undefined && options.dtype !== made.dtype) {
    throw invalidArgument(`This is a tensor of ${made.dtype}, not of ${options.dtype}`);
  }
  return options.shape === undefined ? made : reshaped(made, options.shape);
}

/** Return how many elements a shape has. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Return an array of `length` zeros that can hold `dtype`. */
export function zeros(dtype: NumericDType, length: number): NumericData {
  return new ARRAYS[dtype](length);
}

/** Return the array class that holds `dtype`. */
export function arrayOf(dtype: NumericDType): (typeof ARRAYS)[NumericDType] {
  return ARRAYS[dtype];
}

/** Return how many items of its array an element takes. */
export function itemsPerElement(dtype: DType): 1 | 2 {
  return dtype === "complex64" || dtype === "complex128" ? 2 : 1;
}

/**
 * Return the elements of a string tensor as text, in row-major order.
 *
 * Throws a `SigrunError` if the tensor has another type.
 */
export function strings(values: Tensor): string[] {
  if (values.dtype !== "string") {
    throw invalidArgument(`This is a tensor of ${values.dtype}, not of string`);
  }
  const decoder = new TextDecoder();
  return values.data.map((text) => decoder.decode(text));
}

/**
 * Return the elements in lists, as deep as the tensor has dimensions; a scalar is alone.
 *
 * Strings become text, bools booleans, short floats numbers, 64-bit integers stay bigints.
 */
export function toNested(values: Tensor): Nested<NestedElement> {
  const flat = elements(values);
  let next = 0;
  function level(depth: number): Nested<NestedElement> {
    if (depth === values.shape.length) {
      return flat[next++] as NestedElement;
    }
    return Array.from({ length: values.shape[depth] as number }, () => level(depth + 1));
  }
  return level(0);
}

function elements(values: Tensor): readonly NestedElement[] {
  switch (values.dtype) {
    case "string":
      return strings(values);
    case "bool":
      return Array.from(values.data, (value) => value !== 0);
    case "float16":
      return Array.from(values.data, fromFloat16);
    case "bfloat16":
      return Array.from(values.data, fromBfloat16);
    case "complex64":
    case "complex128": {
      const { data } = values;
      const pair = (_: unknown, i: number) => [data[2 * i], data[2 * i + 1]] as [number, number];
      return Array.from({ length: data.length / 2 }, pair);
    }
    default:
      return Array.from<number | bigint>(values.data);
  }
}

function isTensor(values: TensorLike): values is Tensor {
  return typeof values === "object" && "dtype" in values && "data" in values;
}

function isNumericArray(values: TensorLike): values is NumericArray | Uint8Array {
  return ArrayBuffer.isView(values) && !(values instanceof DataView);
}

function checked(values: Tensor): Tensor {
  const { dtype, data, shape } = values;
  const fits = dtype === "string" ? Array.isArray(data) : isArrayFor(dtype, data);
  if (!fits) {
    const name = dtype === "string" ? "a list of Uint8Array" : ARRAYS[dtype]?.name;
    throw invalidArgument(
      name === undefined ? `There is no element type ${dtype}` : `${dtype} is held by ${name}`,
    );
  }
  return reshaped(values, shape);
}

function isArrayFor(dtype: NumericDType, data: unknown): boolean {
  const array = ARRAYS[dtype];
  return array !== undefined && data instanceof array;
}

function reshaped(values: Tensor, shape: readonly number[]): Tensor {
  const count = values.data.length / itemsPerElement(values.dtype);
  const isShape = shape.every((size) => Number.isInteger(size) && size >= 0);
  if (!isShape || shape.length > MAX_RANK || sizeOf(shape) !== count) {
    throw invalidArgument(`${count} elements do not make the shape [${shape.join(", ")}]`);
  }
  return { ...values, shape };
}

function fromValues(values: Exclude<TensorLike, Tensor>, dtype: DType | undefined): Tensor {
  const isBytes = values instanceof Uint8Array && (dtype === undefined || dtype === "string");
  if (isNumericArray(values) && !isBytes) {
    return fromTypedArray(values, dtype);
  }
  return fromLists(values, dtype);
}

function fromTypedArray(values: NumericArray | Uint8Array, dtype: DType | undefined): Tensor {
  const own = dtypeOfArray(values);
  if (dtype === undefined || dtype === own) {
    return { dtype: own, shape: [values.length], data: plain(values) } as Tensor;
  }
  if (dtype === "string" || !isArrayFor(dtype, values)) {
    throw invalidArgument(`A ${values.constructor.name} does not hold ${dtype}`);
  }
  const shape = [values.length / itemsPerElement(dtype)];
  return reshaped({ dtype, shape, data: values } as Tensor, shape);
}

function dtypeOfArray(values: NumericArray | Uint8Array): NumericDType {
  for (const [array, dtype] of DTYPE_OF_ARRAY) {
    if (values instanceof (array as typeof Float32Array)) {
      return dtype;
    }
  }
  throw invalidArgument(`There is no element type for a ${values.constructor.name}`);
}

/** The pixels of a canvas are clamped; as a tensor they are the same memory, unclamped. */
function plain(values: NumericArray | Uint8Array): NumericData {
  return values instanceof Uint8ClampedArray
    ? new Uint8Array(values.buffer, values.byteOffset, values.length)
    : values;
}

function fromLists(values: TensorLike, wanted: DType | undefined): Tensor {
  const shape: number[] = [];
  let first: TensorLike | undefined = values;
  while (Array.isArray(first)) {
    shape.push(first.length);
    first = first[0] as TensorLike | undefined;
  }
  if (shape.length > MAX_RANK) {
    throw invalidArgument(`Lists nest deeper than ${MAX_RANK} dimensions`);
  }
  const row = isRow(first, wanted) ? first : undefined;
  if (row !== undefined) {
    shape.push(row.length);
  }
  const dtype = wanted ?? dtypeOf(first);
  const fill = dtype === "string" ? stringFiller(shape) : numberFiller(dtype, shape);
  walk(values, shape, 0, row !== undefined, fill.put);
  return { dtype, shape, data: fill.data } as Tensor;
}

function isRow(
  value: TensorLike | undefined,
  dtype: DType | undefined,
): value is NumericArray | Uint8Array {
  if (value === undefined || !isNumericArray(value)) {
    return false;
  }
  return !(value instanceof Uint8Array) || (dtype !== undefined && dtype !== "string");
}

function dtypeOf(value: TensorLike | undefined): DType {
  switch (typeof value) {
    case "undefined": // of an empty list
    case "number":
      return "float32";
    case "bigint":
      return "int64";
    case "boolean":
      return "bool";
    case "string":
      return "string";
    default:
      return isRow(value, undefined) ? dtypeOfArray(value) : "string";
  }
}

/** Give `put` every element, or every row, after checking that it lies where it should. */
function walk(
  values: TensorLike,
  shape: readonly number[],
  depth: number,
  isRows: boolean,
  put: (value: TensorLike) => void,
): void {
  const isLeaf = depth === shape.length - (isRows ? 1 : 0);
  if (isLeaf && !isRows) {
    put(values);
    return;
  }
  const length = isLeaf || Array.isArray(values) ? (values as { length?: number }).length : -1;
  if (length !== shape[depth]) {
    throw invalidArgument(
      `The lists are ragged: at depth ${depth}, one has ${shape[depth]} elements, ` +
        (length === undefined || length < 0 ? "and one place is no list" : `another ${length}`),
    );
  }
  if (isLeaf) {
    put(values);
    return;
  }
  for (const value of values as readonly TensorLike[]) {
    walk(value, shape, depth + 1, isRows, put);
  }
}

interface Filler {
  readonly data: TensorData[DType];
  readonly put: (value: TensorLike) => void;
}

function stringFiller(shape: readonly number[]): Filler {
  const data: Uint8Array[] = [];
  const encoder = new TextEncoder();
  function put(value: TensorLike): void {
    if (typeof value === "string") {
      data.push(encoder.encode(value));
    } else if (value instanceof Uint8Array) {
      data.push(value);
    } else {
      throw misfit(value, "string", shape);
    }
  }
  return { data, put };
}

function numberFiller(dtype: NumericDType, shape: readonly number[]): Filler {
  if (!(dtype in ARRAYS)) {
    throw invalidArgument(`There is no element type ${dtype}`);
  }
  const data = zeros(dtype, sizeOf(shape));
  let next = 0;
  function put(value: TensorLike): void {
    if (isNumericArray(value)) {
      if (!isArrayFor(dtype, value)) {
        throw misfit(value, dtype, shape);
      }
      (data as Float32Array).set(value as Float32Array, next);
      next += value.length;
      return;
    }
    data[next] = stored(value, dtype, shape) as number;
    if (!holds(data[next], value, dtype)) {
      throw misfit(value, dtype, shape);
    }
    next += 1;
  }
  return { data, put };
}

/** Return what is to be stored for a value; whether the array could hold it is seen then. */
function stored(value: TensorLike, dtype: NumericDType, shape: readonly number[]): number | bigint {
  switch (dtype) {
    case "int64":
    case "uint64":
      if (typeof value === "bigint" || Number.isInteger(value)) {
        return BigInt(value as number);
      }
      break;
    case "bool":
      if (typeof value === "boolean") {
        return value ? 1 : 0;
      }
      break;
    case "complex64":
    case "complex128":
      break; // of lists it could not be said which level is the pairs
    default:
      if (typeof value === "number") {
        return dtype === "float16"
          ? toFloat16(value)
          : dtype === "bfloat16"
            ? toBfloat16(value)
            : value;
      }
  }
  throw misfit(value, dtype, shape);
}

function holds(kept: number | bigint | undefined, value: TensorLike, dtype: NumericDType): boolean {
  const isInteger = /^u?int/.test(dtype);
  // biome-ignore lint/suspicious/noDoubleEquals: 1 and 1n are the same value
  return !isInteger || kept == value;
}

function misfit(value: TensorLike, dtype: DType, shape: readonly number[]): Error {
  const shown =
    typeof value === "object"
      ? `a ${Array.isArray(value) ? "list" : value.constructor.name}`
      : `${typeof value} ${String(value)}`;
  return invalidArgument(`${shown} is no ${dtype}, in lists of shape [${shape.join(", ")}]`);
}
