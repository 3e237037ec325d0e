// The public face. `sigrun-client/node` adds gRPC, which needs Node.

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
export {
  formatSignature,
  type ModelMetadata,
  type Signature,
  type TensorSpec,
} from "./metadata.js";
export { type RestOptions, restTransport } from "./rest.js";
export { rpcTransport } from "./rpc.js";
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
export {
  type ConnectOptions,
  connectTransport,
  type GrpcWebOptions,
  grpcWebTransport,
} from "./web.js";
