// gRPC itself, which browsers do not let a page speak: for Node, Bun and Deno.

import { createGrpcTransport, type GrpcTransportOptions } from "@connectrpc/connect-node";
import { rpcTransport } from "./connect.js";
import type { Transport } from "./transport.js";

/** The address, `http://host:8500` or with TLS `https://...`, and what else Connect takes. */
export type GrpcOptions = Omit<GrpcTransportOptions, "useBinaryFormat">;

/** Return a transport that speaks gRPC, to sigrun or to TensorFlow Serving. */
export function grpcTransport(options: GrpcOptions): Transport {
  return rpcTransport(createGrpcTransport({ ...options, useBinaryFormat: true }));
}
