// Predict's messages: the inputs are written and the outputs read in place, see tensor_proto.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { unreadable } from "./errors.js";
import { blockOf, blocksOf, concatenated, fieldsOf, messageOf } from "./fields.js";
import { ModelSpec } from "./gen/tensorflow_serving/apis/model.js";
import { readTensor, writeTensor } from "./tensor_proto.js";
import type { Tensor } from "./tensors.js";

// The numbers of fields, of PredictRequest, PredictResponse and the entry of a map.
const REQUEST = { modelSpec: 1, inputs: 2, outputFilter: 3 };
const RESPONSE = { outputs: 1, modelSpec: 2 };
const ENTRY = { key: 1, value: 2 };

/** Return the bytes of a PredictRequest. The one place where arrays are copied. */
export function writeRequest(
  modelSpec: ModelSpec,
  inputs: Readonly<Record<string, Tensor>>,
  outputFilter: readonly string[],
): Uint8Array {
  const head = new BinaryWriter();
  ModelSpec.encode(modelSpec, head.tag(REQUEST.modelSpec, WireType.LengthDelimited).fork()).join();
  for (const alias of outputFilter) {
    head.tag(REQUEST.outputFilter, WireType.LengthDelimited).string(alias);
  }
  const entries = Object.entries(inputs).flatMap(([alias, values]) =>
    writeEntry(alias, writeTensor(values)),
  );
  return concatenated([head.finish(), ...entries]);
}

/** Return the parts of an entry of the inputs. */
function writeEntry(alias: string, tensor: readonly Uint8Array[]): Uint8Array[] {
  const tensorBytes = tensor.reduce((sum, part) => sum + part.length, 0);
  const head = new BinaryWriter()
    .tag(ENTRY.key, WireType.LengthDelimited)
    .string(alias)
    .tag(ENTRY.value, WireType.LengthDelimited)
    .uint32(tensorBytes)
    .finish();
  const tag = new BinaryWriter()
    .tag(REQUEST.inputs, WireType.LengthDelimited)
    .uint32(head.length + tensorBytes)
    .finish();
  return [tag, head, ...tensor];
}

/** What came back. */
export interface PredictReply {
  readonly modelSpec: ModelSpec | undefined;
  readonly outputs: Record<string, Tensor>;
}

/** Read a PredictResponse. Throws an Error for bytes that are none. */
export function readReply(reply: Uint8Array): PredictReply {
  const fields = fieldsOf(reply);
  const specs = blocksOf(fields, RESPONSE.modelSpec);
  return {
    modelSpec: specs.length > 0 ? messageOf(ModelSpec, concatenated(specs)) : undefined,
    outputs: Object.fromEntries(blocksOf(fields, RESPONSE.outputs).map(readEntry)),
  };
}

function readEntry(entry: Uint8Array): [string, Tensor] {
  let alias = "";
  let tensor: Uint8Array = new Uint8Array();
  for (const field of fieldsOf(entry)) {
    if (field.wireType === WireType.LengthDelimited) {
      if (field.no === ENTRY.key) {
        alias = new BinaryReader(field.data).string();
      } else if (field.no === ENTRY.value) {
        tensor = blockOf(field);
      }
    }
  }
  try {
    return [alias, readTensor(tensor)];
  } catch (error) {
    throw unreadable(alias, error);
  }
}
