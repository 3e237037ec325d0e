// The client: checks and completes what the caller gave, and leaves it to the transport.

import { invalidArgument, SigrunError, textOf } from "./errors.js";
import type { FeatureMap } from "./features.js";
import type { ModelMetadata } from "./metadata.js";
import { type Tensor, type TensorLike, tensor } from "./tensors.js";
import type {
  CallOptions,
  ClassifyResult,
  ExamplesCall,
  ModelTarget,
  PredictResult,
  RegressResult,
  Transport,
  VersionStatus,
} from "./transport.js";

/** How a client is made. */
export interface ClientOptions {
  readonly transport: Transport;
  /** The time of every call that names none, in milliseconds; without it there is no limit. */
  readonly timeoutMs?: number | undefined;
  /**
   * Sent with every call as `authorization: Bearer`, or what returns it, at each call. A call whose
   * own headers have an `authorization` sends that.
   */
  readonly token?: string | (() => string | Promise<string>) | undefined;
}

/** Which version of the model, by number or by label; without both, the newest. */
export interface VersionOptions extends CallOptions {
  readonly version?: bigint | number | undefined;
  readonly label?: string | undefined;
}

/** Which version, and which of its signatures, `serving_default` if none is named. */
export interface SignatureOptions extends VersionOptions {
  readonly signature?: string | undefined;
}

export interface PredictOptions extends SignatureOptions {
  /** The outputs wanted; all without it. */
  readonly outputFilter?: readonly string[] | undefined;
}

export interface ExamplesOptions extends SignatureOptions {
  /** Features that all examples share. */
  readonly context?: FeatureMap | undefined;
}

/** Calls to the models of one server. Every method rejects with a `SigrunError`. */
export interface Client {
  /** Run a signature on tensors by name; see `tensor` for what can be one. */
  predict(
    model: string,
    inputs: Readonly<Record<string, TensorLike>>,
    options?: PredictOptions,
  ): Promise<PredictResult>;

  /** Return the classes of each example, with their scores. */
  classify(
    model: string,
    examples: readonly FeatureMap[],
    options?: ExamplesOptions,
  ): Promise<ClassifyResult>;

  /** Return the value of each example. */
  regress(
    model: string,
    examples: readonly FeatureMap[],
    options?: ExamplesOptions,
  ): Promise<RegressResult>;

  /** Return the signatures of a model. */
  metadata(model: string, options?: VersionOptions): Promise<ModelMetadata>;

  /** Return the state of each version of a model, or of the one that is asked for. */
  status(model: string, options?: VersionOptions): Promise<readonly VersionStatus[]>;
}

/** Return a client of the server that `transport` leads to. It holds nothing of its own. */
export function createClient({ transport, timeoutMs, token }: ClientOptions): Client {
  async function callOptions(options: CallOptions): Promise<CallOptions> {
    const limit = options.timeoutMs ?? timeoutMs;
    if (limit !== undefined && !(limit > 0)) {
      throw invalidArgument(`timeoutMs must be more than 0, and is ${limit}`);
    }
    const headers = await withToken(options.headers, token);
    return { signal: options.signal, headers, timeoutMs: limit };
  }

  function examplesCall(
    model: string,
    examples: readonly FeatureMap[],
    options: ExamplesOptions,
  ): ExamplesCall {
    return { target: targetOf(model, options), examples, context: options.context };
  }

  return {
    predict: (model, inputs, options = {}) =>
      settled(async () => {
        const call = {
          target: targetOf(model, options),
          inputs: tensorsOf(inputs),
          outputFilter: options.outputFilter ?? [],
        };
        return transport.predict(call, await callOptions(options));
      }),
    classify: (model, examples, options = {}) =>
      settled(async () =>
        transport.classify(examplesCall(model, examples, options), await callOptions(options)),
      ),
    regress: (model, examples, options = {}) =>
      settled(async () =>
        transport.regress(examplesCall(model, examples, options), await callOptions(options)),
      ),
    metadata: (model, options = {}) =>
      settled(async () => transport.metadata(targetOf(model, options), await callOptions(options))),
    status: (model, options = {}) =>
      settled(async () => transport.status(targetOf(model, options), await callOptions(options))),
  };
}

async function withToken(
  given: HeadersInit | undefined,
  token: ClientOptions["token"],
): Promise<HeadersInit | undefined> {
  if (token === undefined) {
    return given;
  }
  const headers = new Headers(given);
  if (!headers.has("authorization")) {
    headers.set("authorization", `Bearer ${typeof token === "function" ? await token() : token}`);
  }
  return headers;
}

/** Return what a call gives, or reject with a `SigrunError` and with nothing else. */
async function settled<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof SigrunError) {
      throw error;
    }
    throw new SigrunError("INTERNAL", textOf(error), { cause: error });
  }
}

function targetOf(model: string, options: SignatureOptions): ModelTarget {
  const { version, label, signature = "" } = options;
  if (version !== undefined && label !== undefined) {
    throw invalidArgument(`Either version or label, not both: ${version} and ${label}`);
  }
  return {
    model,
    version: version === undefined ? undefined : versionOf(version),
    label,
    signature,
  };
}

function versionOf(version: bigint | number): bigint {
  if (typeof version === "number" && !Number.isSafeInteger(version)) {
    throw invalidArgument(`version must be an integer; beyond 2^53, a bigint: ${version}`);
  }
  return BigInt(version);
}

function tensorsOf(inputs: Readonly<Record<string, TensorLike>>): Record<string, Tensor> {
  const entries = Object.entries(inputs).map(([alias, values]) => [
    alias,
    inputTensor(alias, values),
  ]);
  return Object.fromEntries(entries);
}

function inputTensor(alias: string, values: TensorLike): Tensor {
  try {
    return tensor(values);
  } catch (error) {
    throw invalidArgument(`Input ${alias}: ${textOf(error)}`);
  }
}
