// The binary protocols of the HTTP port, over `fetch`: for browsers, and wherever else it is.

import {
  type ConnectTransportOptions,
  createConnectTransport,
  createGrpcWebTransport,
  type GrpcWebTransportOptions,
} from "@connectrpc/connect-web";
import { rpcTransport } from "./rpc.js";
import type { Transport } from "./transport.js";

/** The address, `http://host:8501`, and what else Connect's own transport takes. */
export type ConnectOptions = Omit<ConnectTransportOptions, "useBinaryFormat" | "useHttpGet">;

/** The address, `http://host:8501`, and what else Connect's own transport takes. */
export type GrpcWebOptions = Omit<GrpcWebTransportOptions, "useBinaryFormat">;

/** Return a transport that speaks Connect to a sigrun server's HTTP port. */
export function connectTransport(options: ConnectOptions): Transport {
  return rpcTransport(
    createConnectTransport({ ...options, useBinaryFormat: true }),
    options.baseUrl,
  );
}

/** Return a transport that speaks gRPC-Web, to a sigrun server's HTTP port or to a proxy. */
export function grpcWebTransport(options: GrpcWebOptions): Transport {
  return rpcTransport(
    createGrpcWebTransport({ ...options, useBinaryFormat: true }),
    options.baseUrl,
  );
}
