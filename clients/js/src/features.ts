// The features of examples, which are the input of classify and regress: each as a list of
// one kind, whatever it was given as.

import { invalidArgument } from "./errors.js";

type Single = string | Uint8Array | number | bigint;

/**
 * The values of one feature: strings and bytes, floats, or integers.
 *
 * Numbers are floats; bigints and arrays of integers are integers. A `Uint8Array` is one string
 * of bytes.
 */
export type FeatureValue =
  | Single
  | readonly Single[]
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint16Array
  | Uint32Array
  | BigInt64Array;

/** The features of one example by name. */
export type FeatureMap = Readonly<Record<string, FeatureValue>>;

/** The values of one feature, of one kind. */
export type FeatureList =
  | { readonly kind: "bytes"; readonly values: readonly Uint8Array[] }
  | { readonly kind: "floats"; readonly values: readonly number[] }
  | { readonly kind: "integers"; readonly values: readonly bigint[] };

/** Return the values of a feature. Throws a `SigrunError` if they are not of one kind. */
export function featureList(name: string, value: FeatureValue): FeatureList {
  if (value instanceof Float32Array || value instanceof Float64Array) {
    return { kind: "floats", values: Array.from(value) };
  }
  if (ArrayBuffer.isView(value) && !(value instanceof Uint8Array)) {
    return { kind: "integers", values: Array.from<number | bigint, bigint>(value, BigInt) };
  }
  const values: readonly Single[] = Array.isArray(value) ? value : [value as Single];
  if (values.every((one) => typeof one === "string" || one instanceof Uint8Array)) {
    const encoder = new TextEncoder();
    const encode = (one: string | Uint8Array) =>
      typeof one === "string" ? encoder.encode(one) : one;
    return { kind: "bytes", values: values.map(encode) };
  }
  if (values.every((one) => typeof one === "number")) {
    return { kind: "floats", values };
  }
  if (values.every((one) => typeof one === "bigint")) {
    return { kind: "integers", values };
  }
  throw invalidArgument(
    `The values of feature ${name} must be all strings or bytes, all numbers, or all bigints`,
  );
}
