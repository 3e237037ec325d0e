// What a model says of itself: its signatures, readable.

import { DataType } from "./gen/tensorflow/core/framework/types_pb.js";
import type { SignatureDef, TensorInfo } from "./gen/tensorflow/core/protobuf/meta_graph_pb.js";
import type { SignatureDefMap } from "./gen/tensorflow_serving/apis/get_model_metadata_pb.js";
import { dtypeOf } from "./tensor_proto.js";
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

/** Return the signatures of a model, without those that only TensorFlow itself calls. */
export function signaturesOf(map: SignatureDefMap): Record<string, Signature> {
  const entries = Object.entries(map.signatureDef)
    .filter(([name]) => !name.startsWith("__saved_model"))
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, definition]) => [name, signatureOf(definition)]);
  return Object.fromEntries(entries);
}

function signatureOf(definition: SignatureDef): Signature {
  return {
    method: definition.methodName.replace(/^tensorflow\/serving\//, ""),
    inputs: specsOf(definition.inputs),
    outputs: specsOf(definition.outputs),
  };
}

function specsOf(infos: Readonly<Record<string, TensorInfo>>): Record<string, TensorSpec> {
  const entries = Object.entries(infos)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([alias, info]) => [alias, specOf(info)]);
  return Object.fromEntries(entries);
}

function specOf({ dtype, tensorShape }: TensorInfo): TensorSpec {
  const isRankKnown = tensorShape !== undefined && !tensorShape.unknownRank;
  return {
    dtype: dtypeOf(dtype) ?? `DT_${(DataType[dtype] ?? String(dtype)).replace(/^DT_/, "")}`,
    shape: isRankKnown
      ? tensorShape.dim.map(({ size }) => (size < 0n ? null : Number(size)))
      : null,
  };
}
