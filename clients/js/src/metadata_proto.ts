// Signatures as messages -> signatures as plain values.

import { DataType } from "./gen/tensorflow/core/framework/types.js";
import type { SignatureDef, TensorInfo } from "./gen/tensorflow/core/protobuf/meta_graph.js";
import type { SignatureDefMap } from "./gen/tensorflow_serving/apis/get_model_metadata.js";
import { type Signature, signaturesFrom, type TensorSpec } from "./metadata.js";
import { dtypeOf } from "./tensor_proto.js";

/** Return the signatures of a model. */
export function signaturesOf({ signatureDef }: SignatureDefMap): Record<string, Signature> {
  const definitions = [...signatureDef].map(
    ([name, signature]) => [name, definitionOf(signature)] as const,
  );
  return signaturesFrom(Object.fromEntries(definitions), specOf);
}

function definitionOf({ methodName, inputs, outputs }: SignatureDef) {
  return { methodName, inputs: Object.fromEntries(inputs), outputs: Object.fromEntries(outputs) };
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
