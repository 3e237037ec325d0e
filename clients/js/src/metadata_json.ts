// Signatures in the JSON of the REST API -> signatures as plain values. Needs no protobuf, of
// which reading this alone would bring along most.

import { type Signature, signaturesFrom, type TensorSpec } from "./metadata.js";
import type { DType } from "./tensors.js";

/** `signature_def` of a reply. Values that are the default of their type may be left out. */
export interface SignatureDefMapJson {
  readonly signature_def?: { readonly [name: string]: SignatureDefJson };
}

interface SignatureDefJson {
  readonly method_name?: string;
  readonly inputs?: { readonly [alias: string]: TensorInfoJson };
  readonly outputs?: { readonly [alias: string]: TensorInfoJson };
}

interface TensorInfoJson {
  readonly dtype?: string;
  readonly tensor_shape?: {
    readonly dim?: readonly { readonly size?: string | number }[];
    readonly unknown_rank?: boolean;
  };
}

const DTYPES: Readonly<Record<string, DType>> = {
  DT_FLOAT: "float32",
  DT_DOUBLE: "float64",
  DT_HALF: "float16",
  DT_BFLOAT16: "bfloat16",
  DT_INT8: "int8",
  DT_INT16: "int16",
  DT_INT32: "int32",
  DT_INT64: "int64",
  DT_UINT8: "uint8",
  DT_UINT16: "uint16",
  DT_UINT32: "uint32",
  DT_UINT64: "uint64",
  DT_BOOL: "bool",
  DT_COMPLEX64: "complex64",
  DT_COMPLEX128: "complex128",
  DT_STRING: "string",
};

/** Return the signatures of a model. */
export function signaturesOfJson(map: SignatureDefMapJson): Record<string, Signature> {
  const definitions = Object.entries(map.signature_def ?? {}).map(([name, definition]) => [
    name,
    {
      methodName: definition.method_name ?? "",
      inputs: definition.inputs ?? {},
      outputs: definition.outputs ?? {},
    },
  ]);
  return signaturesFrom(Object.fromEntries(definitions), specOf);
}

function specOf({ dtype = "DT_INVALID", tensor_shape: shape }: TensorInfoJson): TensorSpec {
  return {
    dtype: DTYPES[dtype] ?? `DT_${String(dtype).replace(/^DT_/, "")}`,
    shape: shape === undefined || shape.unknown_rank ? null : (shape.dim ?? []).map(sizeOf),
  };
}

function sizeOf({ size = 0 }: { readonly size?: string | number }): number | null {
  return Number(size) < 0 ? null : Number(size);
}
