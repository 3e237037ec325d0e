// Asks as a case of tests/conformance says, and puts what came in the form of its reply.
// It runs in Node and in pages alike.

import {
  type ClassifyResult,
  type Client,
  type DType,
  type FeatureMap,
  type ModelMetadata,
  type NestedElement,
  type PredictResult,
  type RegressResult,
  SigrunError,
  type Tensor,
  type TensorSpec,
  tensor,
  toNested,
  type VersionStatus,
} from "sigrun-client";

/** What JSON can say, read as it comes. */
// biome-ignore lint/suspicious/noExplicitAny: its parts are known by the tests' README alone
export type Document = any;

export interface Case {
  readonly name: string;
  readonly request: Document;
  readonly reply?: Document;
  readonly error?: { readonly code: string; readonly message?: string; readonly contains?: string };
  readonly rest?: false | { readonly error: Document };
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
const NAMES = Object.fromEntries(Object.entries(DTYPES).map(([name, dtype]) => [dtype, name]));

/** Return `{reply}` or `{error}`, to be compared with those of a case. */
export async function answer(client: Client, method: string, request: Document): Promise<Document> {
  try {
    return { reply: await ask(client, method, request) };
  } catch (error) {
    if (error instanceof SigrunError) {
      return { error: { code: error.code, message: error.message } };
    }
    throw error;
  }
}

async function ask(client: Client, method: string, request: Document): Promise<Document> {
  const { model, label, signature } = request;
  const version = request.version && BigInt(request.version);
  switch (method) {
    case "predict": {
      const entries = Object.entries(request.inputs).map(([alias, t]) => [alias, readTensor(t)]);
      const options = { version, label, signature, outputFilter: request.output_filter };
      return predictReply(await client.predict(model, Object.fromEntries(entries), options));
    }
    case "classify":
    case "regress": {
      const context = request.context && readFeatures(request.context);
      const options = { version, label, signature, context };
      const examples = request.examples.map(readFeatures);
      return method === "classify"
        ? classifyReply(await client.classify(model, examples, options))
        : regressReply(await client.regress(model, examples, options));
    }
    case "metadata":
      return metadataReply(await client.metadata(model, { version, label }));
    default:
      return { versions: (await client.status(model, { version, label })).map(versionReply) };
  }
}

function readTensor({ dtype, shape, values }: Document): Tensor {
  const name = DTYPES[dtype] as DType;
  if (name === "complex64" || name === "complex128") {
    const flat = values.flat().map(Number);
    const array = name === "complex64" ? new Float32Array(flat) : new Float64Array(flat);
    return tensor(array, { dtype: name, shape });
  }
  return tensor(
    values.map((value: Document) => readElement(value, name)),
    { dtype: name, shape },
  );
}

function readElement(value: Document, dtype: DType): number | bigint | boolean | Uint8Array {
  switch (dtype) {
    case "string":
      return readBytes(value);
    case "bool":
      return value;
    case "int64":
    case "uint64":
      return BigInt(value);
    default:
      return Number(value);
  }
}

function readBytes(value: string | { readonly b64: string }): Uint8Array {
  return typeof value === "string"
    ? new TextEncoder().encode(value)
    : Uint8Array.from(atob(value.b64), (one) => one.charCodeAt(0));
}

function readFeatures(example: Document): FeatureMap {
  const entries = Object.entries<Document>(example).map(([name, feature]) => {
    const [[kind, values]] = Object.entries<Document>(feature) as [[string, Document]];
    return [
      name,
      kind === "float"
        ? Float64Array.from(values)
        : kind === "int64"
          ? BigInt64Array.from(values.map(BigInt))
          : values.map(readBytes),
    ];
  });
  return Object.fromEntries(entries);
}

function predictReply({ version, signature, outputs }: PredictResult): Document {
  const entries = Object.entries(outputs).map(([alias, values]) => [alias, writeTensor(values)]);
  return { version: String(version), signature, outputs: Object.fromEntries(entries) };
}

function writeTensor(values: Tensor): Document {
  const { dtype, shape } = values;
  const flat =
    dtype === "string"
      ? values.data.map(writeBytes)
      : (toNested({ ...values, shape: [countOf(shape)] }) as NestedElement[]).map(writeElement);
  return { dtype: NAMES[dtype], shape, values: flat };
}

function countOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function writeElement(value: NestedElement): Document {
  if (typeof value === "object") {
    return value.map(writeElement);
  }
  const isInJson = typeof value === "boolean" || Number.isFinite(value);
  return isInJson ? value : String(value);
}

function writeBytes(bytes: Uint8Array): Document {
  const text = new TextDecoder().decode(bytes);
  const isText = !text.includes("\0") && !text.includes("\ufffd");
  return isText ? text : { b64: btoa(String.fromCharCode(...bytes)) };
}

function classifyReply({ version, signature, results }: ClassifyResult): Document {
  return { version: String(version), signature, classifications: results };
}

function regressReply({ version, signature, results }: RegressResult): Document {
  return { version: String(version), signature, values: results };
}

function metadataReply({ version, signatures }: ModelMetadata): Document {
  const entries = Object.entries(signatures).map(([name, { method, inputs, outputs }]) => [
    name,
    {
      method: `tensorflow/serving/${method}`,
      inputs: writeSpecs(inputs),
      outputs: writeSpecs(outputs),
    },
  ]);
  return { version: String(version), signatures: Object.fromEntries(entries) };
}

function writeSpecs(specs: Readonly<Record<string, TensorSpec>>): Document {
  const entries = Object.entries(specs).map(([alias, { dtype, shape }]) => [
    alias,
    {
      dtype: NAMES[dtype] ?? dtype,
      shape: shape === null ? null : shape.map((size) => size ?? -1),
    },
  ]);
  return Object.fromEntries(entries);
}

function versionReply({ version, state, code, error }: VersionStatus): Document {
  return { version: String(version), state, code, message: error };
}
