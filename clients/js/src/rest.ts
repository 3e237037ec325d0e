// TensorFlow Serving's REST API, for servers that have nothing else that a page may ask.
//
// JSON has no element types and leaves out the name of an output that is alone, so the model's
// signatures are asked for, and kept as long as they fit.

import { ERROR_CODES, type ErrorCode, SigrunError, unreadable } from "./errors.js";
import { type FetchOptions, fetched } from "./fetched.js";
import type { ModelMetadata, Signature, TensorSpec } from "./metadata.js";
import { type SignatureDefMapJson, signaturesOfJson } from "./metadata_json.js";
import {
  type Json,
  readJson,
  readTensorJson,
  writeFeaturesJson,
  writeTensorJson,
} from "./rest_json.js";
import type { DType, Tensor } from "./tensors.js";
import type {
  CallOptions,
  ExamplesCall,
  ModelTarget,
  Transport,
  VersionState,
} from "./transport.js";

/** How a REST transport is made. */
export type RestOptions = FetchOptions;

const DEFAULT_SIGNATURE = "serving_default";
const MAX_KEPT = 256;
/** A label may move to another version, of which a plain TensorFlow Serving says nothing. */
const KEPT_MS = 60_000;

const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [400, "INVALID_ARGUMENT"],
  [401, "UNAUTHENTICATED"],
  [403, "PERMISSION_DENIED"],
  [404, "NOT_FOUND"],
  [408, "DEADLINE_EXCEEDED"],
  [409, "ABORTED"],
  [413, "RESOURCE_EXHAUSTED"],
  [429, "RESOURCE_EXHAUSTED"],
  [499, "CANCELLED"],
  [500, "INTERNAL"],
  [501, "UNIMPLEMENTED"],
  [502, "UNAVAILABLE"],
  [503, "UNAVAILABLE"],
  [504, "DEADLINE_EXCEEDED"],
]);

interface Reply {
  readonly document: { readonly [key: string]: Json };
  readonly version: bigint | undefined;
}

/** Return a transport that speaks JSON, to TensorFlow Serving's REST API or sigrun's. */
export function restTransport(server: RestOptions): Transport {
  const signatures = new Map<string, { metadata: ModelMetadata; until: number }>();

  async function ask(path: string, body: string | undefined, options: CallOptions): Promise<Reply> {
    const headers = new Headers(options.headers);
    if (body !== undefined) {
      headers.set("content-type", "application/json");
    }
    const request = body === undefined ? { headers } : { method: "POST", headers, body };
    const [response, text] = await fetched(server, path, request, options, (response) =>
      response.text(),
    );
    return readReply(response, text);
  }

  async function metadata(target: ModelTarget, options: CallOptions): Promise<ModelMetadata> {
    const { document } = await ask(`${pathOf(target)}/metadata`, undefined, options);
    return readMetadata(target, document);
  }

  async function signatureOf(
    target: ModelTarget,
    version: bigint | undefined,
    options: CallOptions,
  ): Promise<Signature> {
    const key = pathOf(target);
    let kept = signatures.get(key);
    const isStale = version !== undefined && kept?.metadata.version !== version;
    if (kept === undefined || isStale || kept.until < Date.now()) {
      if (signatures.size >= MAX_KEPT) {
        signatures.clear();
      }
      kept = { metadata: await metadata(target, options), until: Date.now() + KEPT_MS };
      signatures.set(key, kept);
    }
    const name = target.signature || DEFAULT_SIGNATURE;
    const signature = kept.metadata.signatures[name];
    if (signature === undefined) {
      throw new SigrunError("NOT_FOUND", `${target.model} has no signature ${name}`);
    }
    return signature;
  }

  async function askExamples(verb: string, call: ExamplesCall, options: CallOptions) {
    const { target, examples, context } = call;
    const body = writeObject({
      signature_name: target.signature && JSON.stringify(target.signature),
      context: context && writeFeaturesJson(context),
      examples: `[${examples.map(writeFeaturesJson).join(",")}]`,
    });
    const { document, version } = await ask(`${pathOf(target)}:${verb}`, body, options);
    const { results } = document;
    if (!Array.isArray(results)) {
      throw new SigrunError("DATA_LOSS", "The reply has no results");
    }
    return { ...answeredBy(target, version), results: results as readonly Json[] };
  }

  return {
    async predict({ target, inputs, outputFilter }, options) {
      const tensors = Object.entries(inputs).map(([alias, values]) => [
        alias,
        writeTensorJson(values),
      ]);
      const body = writeObject({
        signature_name: target.signature && JSON.stringify(target.signature),
        inputs: writeObject(Object.fromEntries(tensors)),
      });
      const { document, version } = await ask(`${pathOf(target)}:predict`, body, options);
      const signature = await signatureOf(target, version, options);
      const outputs = readOutputs(document.outputs, signature, outputFilter);
      return { ...answeredBy(target, version), outputs };
    },

    async classify(call, options) {
      const { results, ...answered } = await askExamples("classify", call, options);
      const classes = results.map((example) =>
        (example as [string, number | string][]).map(([label, score]) => ({
          label,
          score: Number(score),
        })),
      );
      return { ...answered, results: classes };
    },

    async regress(call, options) {
      const { results, ...answered } = await askExamples("regress", call, options);
      return { ...answered, results: results.map(Number) };
    },

    metadata,

    async status(target, options) {
      const { document } = await ask(pathOf(target), undefined, options);
      const versions = document.model_version_status;
      return (versions as unknown as VersionDocument[]).map(({ version, state, status }) => ({
        version: BigInt(version),
        state,
        code: status?.error_code ?? "OK",
        error: status?.error_message ?? "",
      }));
    },
  };
}

interface VersionDocument {
  readonly version: string;
  readonly state: VersionState;
  readonly status?: { readonly error_code?: ErrorCode | "OK"; readonly error_message?: string };
}

function pathOf({ model, version, label }: ModelTarget): string {
  const choice =
    version !== undefined
      ? `/versions/${version}`
      : label !== undefined
        ? `/labels/${encodeURIComponent(label)}`
        : "";
  return `/v1/models/${encodeURIComponent(model)}${choice}`;
}

function answeredBy(target: ModelTarget, version: bigint | undefined) {
  return {
    model: target.model,
    version: version ?? target.version,
    signature: target.signature || DEFAULT_SIGNATURE,
  };
}

/** Write an object of values that are JSON already; what is empty is left out. */
function writeObject(values: Readonly<Record<string, string | undefined>>): string {
  const entries = Object.entries(values)
    .filter(([, json]) => json)
    .map(([key, json]) => `${JSON.stringify(key)}:${json}`);
  return `{${entries.join(",")}}`;
}

function readReply(response: Response, text: string): Reply {
  const document = readDocument(text);
  if (!response.ok) {
    const message = document?.error;
    throw new SigrunError(
      codeOf(document?.code, response.status),
      typeof message === "string" ? message : `HTTP ${response.status}`,
    );
  }
  if (document === undefined) {
    throw new SigrunError("DATA_LOSS", `The reply is no JSON object: ${text.slice(0, 100)}`);
  }
  const version = response.headers.get("x-model-version");
  return { document, version: version === null ? undefined : BigInt(version) };
}

function readDocument(text: string): Reply["document"] | undefined {
  try {
    const document = readJson(text);
    return typeof document === "object" && document !== null
      ? (document as Reply["document"])
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) {
      return undefined; // a proxy on the way answers in HTML
    }
    throw error;
  }
}

function codeOf(name: Json | undefined, status: number): ErrorCode {
  return ERROR_CODES.find((code) => code === name) ?? CODES.get(status) ?? "UNKNOWN";
}

function readMetadata(target: ModelTarget, document: Reply["document"]): ModelMetadata {
  const { model_spec: spec, metadata } = document as {
    readonly model_spec?: { readonly name?: string; readonly version?: string };
    readonly metadata?: { readonly signature_def?: SignatureDefMapJson };
  };
  if (metadata?.signature_def === undefined) {
    throw new SigrunError("DATA_LOSS", `The metadata of ${target.model} has no signatures`);
  }
  return {
    model: spec?.name ?? target.model,
    version: spec?.version === undefined ? undefined : BigInt(spec.version),
    signatures: signaturesOfJson(metadata.signature_def),
  };
}

function readOutputs(
  reply: Json | undefined,
  signature: Signature,
  outputFilter: readonly string[],
): Record<string, Tensor> {
  const aliases = Object.keys(signature.outputs);
  const unknown = outputFilter.find((alias) => !aliases.includes(alias));
  if (reply === undefined || unknown !== undefined) {
    throw unknown === undefined
      ? new SigrunError("DATA_LOSS", "The reply has no outputs")
      : new SigrunError(
          "INVALID_ARGUMENT",
          `There is no output ${unknown}; there are: ${aliases.join(", ")}`,
        );
  }
  const values =
    aliases.length === 1
      ? { [aliases[0] as string]: reply }
      : (reply as { readonly [alias: string]: Json });
  const wanted = outputFilter.length > 0 ? outputFilter : aliases;
  return Object.fromEntries(
    wanted.map((alias) => {
      const { dtype } = signature.outputs[alias] as TensorSpec;
      return [alias, readOutput(alias, values[alias] as Json, dtype as DType)];
    }),
  );
}

function readOutput(alias: string, value: Json, dtype: DType): Tensor {
  try {
    return readTensorJson(value, dtype);
  } catch (error) {
    throw unreadable(alias, error);
  }
}
