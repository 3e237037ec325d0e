// Tensors and features <-> TensorFlow Serving's JSON, which knows NaN and Infinity, and
// integers of 64 bits.

import { base64Decode, base64Encode } from "./base64.js";
import { SigrunError } from "./errors.js";
import { type FeatureMap, featureList } from "./features.js";
import { fromBfloat16, fromFloat16 } from "./floats.js";
import { type DType, type Tensor, type TensorLike, tensor } from "./tensors.js";

/** What `readJson` returns. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [k: string]: Json };

// A number that JSON.parse would refuse, or round; and a string, whose inside is left alone.
const ODD_NUMBER = /-?Infinity|NaN|(?<![\d.])-?\d{16,}(?![\d.eE])/;
const STRING_OR_ODD_NUMBER = new RegExp(
  `"[^"\\\\]*(?:\\\\.[^"\\\\]*)*"|${ODD_NUMBER.source}`,
  "gs",
);

/**
 * Read a reply. Numbers that JavaScript's own reader would refuse or round are there as
 * strings, in a place where a number belongs. Throws a SyntaxError.
 */
export function readJson(text: string): Json {
  return JSON.parse(
    ODD_NUMBER.test(text)
      ? text.replace(STRING_OR_ODD_NUMBER, (found) => (found[0] === '"' ? found : `"${found}"`))
      : text,
  );
}

/** Write a tensor. Throws a `SigrunError` for a type that has no form in JSON. */
export function writeTensorJson(values: Tensor): string {
  const writeRow = rowWriter(values);
  const rank = values.shape.length;
  let at = 0;
  function level(depth: number): string {
    const size = values.shape[depth] as number;
    if (depth === rank - 1) {
      at += size;
      return `[${writeRow(at - size, at)}]`;
    }
    return `[${Array.from({ length: size }, () => level(depth + 1)).join(",")}]`;
  }
  return rank === 0 ? writeRow(0, 1) : level(0);
}

function rowWriter(values: Tensor): (start: number, end: number) => string {
  switch (values.dtype) {
    case "string":
      return (start, end) => values.data.slice(start, end).map(writeBytes).join(",");
    case "bool":
      return (start, end) => Array.from(values.data.subarray(start, end), Boolean).join(",");
    case "float16":
      return (start, end) =>
        writeFloats(Float32Array.from(values.data.subarray(start, end), fromFloat16));
    case "bfloat16":
      return (start, end) =>
        writeFloats(Float32Array.from(values.data.subarray(start, end), fromBfloat16));
    case "float32":
    case "float64":
      return (start, end) => writeFloats(values.data.subarray(start, end));
    case "complex64":
    case "complex128":
      throw new SigrunError("UNIMPLEMENTED", `${values.dtype} has no form in JSON`);
    default:
      return (start, end) => values.data.subarray(start, end).join(",");
  }
}

function writeFloats(row: Float32Array | Float64Array): string {
  // Joined at once, the sign of a zero would be lost.
  const hasNegativeZero = row.some((value) => Object.is(value, -0));
  return hasNegativeZero ? Array.from(row, writeFloat).join(",") : row.join(",");
}

function writeBytes(bytes: Uint8Array): string {
  return `{"b64":"${base64Encode(bytes)}"}`;
}

/** Read a tensor of a known type. Throws a `SigrunError` for what is none. */
export function readTensorJson(value: Json, dtype: DType): Tensor {
  return tensor(readElements(value, dtype), { dtype });
}

function readElements(value: Json, dtype: DType): TensorLike {
  if (Array.isArray(value)) {
    return value.map((one) => readElements(one, dtype));
  }
  if (dtype === "string") {
    return isBase64(value) ? base64Decode(value.b64) : (value as string);
  }
  if (typeof value === "string") {
    return dtype === "int64" || dtype === "uint64" ? BigInt(value) : Number(value);
  }
  return value as number | boolean;
}

function isBase64(value: Json): value is { readonly b64: string } {
  return typeof value === "object" && value !== null && "b64" in value;
}

/** Write the features of an example: what is an integer in JSON is one to the server. */
export function writeFeaturesJson(features: FeatureMap): string {
  const entries = Object.entries(features).map(([name, value]) => {
    const list = featureList(name, value);
    const values =
      list.kind === "bytes"
        ? list.values.map(writeBytes)
        : list.kind === "floats"
          ? list.values.map(writeFloat)
          : list.values.map(String);
    return `${JSON.stringify(name)}:[${values.join(",")}]`;
  });
  return `{${entries.join(",")}}`;
}

function writeFloat(value: number): string {
  const text = Object.is(value, -0) ? "-0" : String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}
