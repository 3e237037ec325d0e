// The public face of `sigrun-client/rest`: JSON alone, without a line of protobuf, so that a page
// loads little. All of it is in `sigrun-client` too.

export {
  type Client,
  type ClientOptions,
  createClient,
  type ExamplesOptions,
  type PredictOptions,
  type SignatureOptions,
  type VersionOptions,
} from "./client.js";
export { type ErrorCode, SigrunError } from "./errors.js";
export type { FeatureMap, FeatureValue } from "./features.js";
export type { FetchOptions } from "./fetched.js";
export {
  formatSignature,
  type ModelMetadata,
  type Signature,
  type TensorSpec,
} from "./metadata.js";
export { type RestOptions, restTransport } from "./rest.js";
export {
  type DType,
  type Element,
  type Nested,
  type NestedElement,
  type NumericArray,
  strings,
  type Tensor,
  type TensorData,
  type TensorLike,
  tensor,
  toNested,
} from "./tensors.js";
export type {
  AnsweredBy,
  CallOptions,
  Classification,
  ClassifyResult,
  ExamplesCall,
  ModelTarget,
  PredictCall,
  PredictResult,
  RegressResult,
  Transport,
  VersionState,
  VersionStatus,
} from "./transport.js";
