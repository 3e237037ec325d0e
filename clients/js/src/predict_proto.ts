// Predict's messages: the inputs are written and the outputs read in place, see tensor_proto.

import { create, type DescMethodUnary, fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type Empty, EmptySchema } from "@bufbuild/protobuf/wkt";
import { unreadable } from "./errors.js";
import { blockOf, type Field, fieldsOf } from "./fields.js";
import { type ModelSpec, ModelSpecSchema } from "./gen/tensorflow_serving/apis/model_pb.js";
import {
  type PredictRequest,
  PredictRequestSchema,
  PredictResponseSchema,
} from "./gen/tensorflow_serving/apis/predict_pb.js";
import { PredictionService } from "./gen/tensorflow_serving/apis/prediction_service_pb.js";
import { readTensor, writeTensor } from "./tensor_proto.js";
import type { Tensor } from "./tensors.js";

const KEY = 1; // of an entry of a map
const VALUE = 2;

/** The method Predict, with an answer that is left as it came: fields that are not known. */
export const PREDICT: DescMethodUnary<typeof PredictRequestSchema, typeof EmptySchema> = {
  ...PredictionService.method.predict,
  output: EmptySchema,
};

/** Return a request whose inputs are already written: fields that it does not know. */
export function writeRequest(
  modelSpec: ModelSpec,
  inputs: Readonly<Record<string, Tensor>>,
  outputFilter: readonly string[],
): PredictRequest {
  const request = create(PredictRequestSchema, { modelSpec, outputFilter: [...outputFilter] });
  request.$unknown = Object.entries(inputs).map(([alias, values]) => ({
    no: PredictRequestSchema.field.inputs.number,
    wireType: WireType.LengthDelimited,
    data: writeEntry(alias, writeTensor(values)),
  }));
  return request;
}

/** Return an entry of the inputs and its length. The one place where arrays are copied. */
function writeEntry(alias: string, tensor: readonly Uint8Array[]): Uint8Array {
  const tensorBytes = tensor.reduce((sum, part) => sum + part.length, 0);
  const head = new BinaryWriter()
    .tag(KEY, WireType.LengthDelimited)
    .string(alias)
    .tag(VALUE, WireType.LengthDelimited)
    .uint32(tensorBytes)
    .finish();
  const entry = new BinaryWriter().uint32(head.length + tensorBytes).raw(head);
  for (const part of tensor) {
    entry.raw(part);
  }
  return entry.finish();
}

/** What came back. */
export interface PredictReply {
  readonly modelSpec: ModelSpec | undefined;
  readonly outputs: Record<string, Tensor>;
}

/** Read the answer to `PREDICT`. Throws an Error if it is none. */
export function readReply(reply: Empty): PredictReply {
  let modelSpec: ModelSpec | undefined;
  const outputs: [string, Tensor][] = [];
  for (const field of reply.$unknown ?? []) {
    if (field.wireType !== WireType.LengthDelimited) {
      continue;
    }
    if (field.no === PredictResponseSchema.field.modelSpec.number) {
      modelSpec = fromBinary(ModelSpecSchema, blockOf(field));
    } else if (field.no === PredictResponseSchema.field.outputs.number) {
      outputs.push(readEntry(field));
    }
  }
  return { modelSpec, outputs: Object.fromEntries(outputs) };
}

function readEntry(field: Field): [string, Tensor] {
  let alias = "";
  let tensor: Uint8Array = new Uint8Array();
  for (const part of fieldsOf(blockOf(field))) {
    if (part.no === KEY && part.wireType === WireType.LengthDelimited) {
      alias = new BinaryReader(part.data).string();
    } else if (part.no === VALUE && part.wireType === WireType.LengthDelimited) {
      tensor = blockOf(part);
    }
  }
  try {
    return [alias, readTensor(tensor)];
  } catch (error) {
    throw unreadable(alias, error);
  }
}
