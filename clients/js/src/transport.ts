// What a client needs of a transport: calls as plain values in, results out.
//
// `createClient` checks and completes what the caller gave; a transport knows how it travels.

import type { ErrorCode } from "./errors.js";
import type { FeatureMap } from "./features.js";
import type { ModelMetadata } from "./metadata.js";
import type { Tensor } from "./tensors.js";

/** Which model is meant: its newest version, or that of a number or of a label. */
export interface ModelTarget {
  readonly model: string;
  readonly version: bigint | undefined;
  readonly label: string | undefined;
  /** Empty means `serving_default`. */
  readonly signature: string;
}

/** How a call is made. */
export interface CallOptions {
  /** Aborting it ends the call, which rejects with CANCELLED. */
  readonly signal?: AbortSignal | undefined;
  /** The call's time in milliseconds; the server is told. Over means DEADLINE_EXCEEDED. */
  readonly timeoutMs?: number | undefined;
  /** Sent along, such as `authorization`. */
  readonly headers?: HeadersInit | undefined;
}

export interface PredictCall {
  readonly target: ModelTarget;
  readonly inputs: Readonly<Record<string, Tensor>>;
  /** The outputs wanted, all if it is empty. */
  readonly outputFilter: readonly string[];
}

export interface ExamplesCall {
  readonly target: ModelTarget;
  readonly examples: readonly FeatureMap[];
  /** Features that all examples share. */
  readonly context: FeatureMap | undefined;
}

/** Who answered. */
export interface AnsweredBy {
  readonly model: string;
  /** Undefined where the server does not say it, as TensorFlow Serving does not over JSON. */
  readonly version: bigint | undefined;
  readonly signature: string;
}

export interface PredictResult extends AnsweredBy {
  readonly outputs: Record<string, Tensor>;
}

export interface Classification {
  readonly label: string;
  readonly score: number;
}

export interface ClassifyResult extends AnsweredBy {
  /** The classes of each example, in its order. */
  readonly results: readonly (readonly Classification[])[];
}

export interface RegressResult extends AnsweredBy {
  /** The value of each example, in its order. */
  readonly results: readonly number[];
}

/** A step of a version's life. Requests are taken in AVAILABLE alone. */
export type VersionState = "UNKNOWN" | "START" | "LOADING" | "AVAILABLE" | "UNLOADING" | "END";

export interface VersionStatus {
  readonly version: bigint;
  readonly state: VersionState;
  /** What went wrong with the version: a code and the reason, OK and empty if nothing did. */
  readonly code: ErrorCode | "OK";
  readonly error: string;
}

/** A way to a server. Every method rejects with a `SigrunError`. */
export interface Transport {
  predict(call: PredictCall, options: CallOptions): Promise<PredictResult>;
  classify(call: ExamplesCall, options: CallOptions): Promise<ClassifyResult>;
  regress(call: ExamplesCall, options: CallOptions): Promise<RegressResult>;
  metadata(target: ModelTarget, options: CallOptions): Promise<ModelMetadata>;
  status(target: ModelTarget, options: CallOptions): Promise<readonly VersionStatus[]>;
}
