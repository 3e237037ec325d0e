// A unary RPC on bytes: all that a binary transport needs of the protocol that it speaks.

import type { CallOptions } from "./transport.js";

/** The RPCs of a client, by the path of their URL. */
export const METHODS = {
  predict: "/tensorflow.serving.PredictionService/Predict",
  classify: "/tensorflow.serving.PredictionService/Classify",
  regress: "/tensorflow.serving.PredictionService/Regress",
  metadata: "/tensorflow.serving.PredictionService/GetModelMetadata",
  status: "/tensorflow.serving.ModelService/GetModelStatus",
} as const;

export type Method = (typeof METHODS)[keyof typeof METHODS];

/**
 * Send a request message to a method, and return the reply message.
 *
 * Rejects with a `SigrunError`: the server's, or that of the way to it.
 */
export type Unary = (
  method: Method,
  request: Uint8Array,
  options: CallOptions,
) => Promise<Uint8Array>;
