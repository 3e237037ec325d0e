// The public face. `sigrun-client/node` adds gRPC, which needs Node.

export * from "./index_rest.js";
export {
  type ConnectOptions,
  connectTransport,
  type GrpcWebOptions,
  grpcWebTransport,
} from "./web.js";
