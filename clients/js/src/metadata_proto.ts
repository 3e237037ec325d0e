// Signatures as messages -> signatures as plain values.

import { DataType } from "./gen/tensorflow/core/framework/types_pb.js";
import type { TensorInfo } from "./gen/tensorflow/core/protobuf/meta_graph_pb.js";
import type { SignatureDefMap } from "./gen/tensorflow_serving/apis/get_model_metadata_pb.js";
import { type Signature, signaturesFrom, type TensorSpec } from "./metadata.js";
import { dtypeOf } from "./tensor_proto.js";

/** Return the signatures of a model. */
export function signaturesOf(map: SignatureDefMap): Record<string, Signature> {
  return signaturesFrom(map.signatureDef, specOf);
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
