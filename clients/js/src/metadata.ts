// What a model says of itself: its signatures, readable.

import type { DType } from "./tensors.js";

/** What a signature takes or gives under a name. */
export interface TensorSpec {
  /** TensorFlow's own name, such as `DT_RESOURCE`, for what no `Tensor` can hold. */
  readonly dtype: DType | `DT_${string}`;
  /** Null stands for any size; null instead of the list, for any number of dimensions. */
  readonly shape: readonly (number | null)[] | null;
}

/** A signature: what it is for, what it takes and what it gives. */
export interface Signature {
  /** `predict`, `classify` or `regress`, or the method name as the model has it. */
  readonly method: string;
  readonly inputs: Readonly<Record<string, TensorSpec>>;
  readonly outputs: Readonly<Record<string, TensorSpec>>;
}

/** The signatures of one version of a model. */
export interface ModelMetadata {
  readonly model: string;
  readonly version: bigint | undefined;
  readonly signatures: Readonly<Record<string, Signature>>;
}

/** Return a signature in a line, such as `(text: string[?]) -> (probability: float32[?])`. */
export function formatSignature(signature: Signature): string {
  return `(${formatSpecs(signature.inputs)}) -> (${formatSpecs(signature.outputs)})`;
}

function formatSpecs(specs: Readonly<Record<string, TensorSpec>>): string {
  return Object.entries(specs)
    .map(([alias, { dtype, shape }]) => `${alias}: ${dtype}${formatShape(shape)}`)
    .join(", ");
}

function formatShape(shape: TensorSpec["shape"]): string {
  if (shape === null) {
    return "[...]";
  }
  return shape.length === 0 ? "" : `[${shape.map((size) => size ?? "?").join(", ")}]`;
}

/** A signature as the protocol has it, its tensors in one form or another. */
export interface SignatureDefinition<Info> {
  readonly methodName: string;
  readonly inputs: Readonly<Record<string, Info>>;
  readonly outputs: Readonly<Record<string, Info>>;
}

/** Return the signatures of a model, without those that only TensorFlow itself calls. */
export function signaturesFrom<Info>(
  definitions: Readonly<Record<string, SignatureDefinition<Info>>>,
  specOf: (info: Info) => TensorSpec,
): Record<string, Signature> {
  const own = Object.entries(definitions).filter(([name]) => !name.startsWith("__saved_model"));
  return mapSorted(Object.fromEntries(own), ({ methodName, inputs, outputs }) => ({
    method: methodName.replace(/^tensorflow\/serving\//, ""),
    inputs: mapSorted(inputs, specOf),
    outputs: mapSorted(outputs, specOf),
  }));
}

function mapSorted<From, To>(
  values: Readonly<Record<string, From>>,
  change: (value: From) => To,
): Record<string, To> {
  const entries = Object.entries(values)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, value]) => [name, change(value)]);
  return Object.fromEntries(entries);
}
