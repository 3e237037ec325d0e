// The binary protocols of the HTTP port, over `fetch`: for browsers, and wherever else it is.
//
// A unary call is one POST in both. As https://connectrpc.com/docs/protocol and gRPC's
// PROTOCOL-WEB.md and PROTOCOL-HTTP2.md say.

import { ERROR_CODES, type ErrorCode, SigrunError } from "./errors.js";
import { type FetchOptions, fetched } from "./fetched.js";
import { concatenated } from "./fields.js";
import { protobufTransport } from "./rpc.js";
import type { CallOptions, Transport } from "./transport.js";

/** How a transport for Connect is made. */
export type ConnectOptions = FetchOptions;

/** How a transport for gRPC-Web is made. */
export type GrpcWebOptions = FetchOptions;

const CONNECT_TYPE = "application/proto";
const GRPC_WEB_TYPE = "application/grpc-web+proto";

/** Return a transport that speaks Connect to a sigrun server's HTTP port. */
export function connectTransport(server: ConnectOptions): Transport {
  return protobufTransport(async (method, request, options) => {
    const [response, body] = await post(server, method, request, options, {
      "content-type": CONNECT_TYPE,
      "connect-protocol-version": "1",
      "connect-timeout-ms": connectTimeout(options.timeoutMs),
    });
    if (!response.ok) {
      throw connectError(response, body);
    }
    checkType(response, /^application\/proto\b/);
    return body;
  });
}

/** Return a transport that speaks gRPC-Web, to a sigrun server's HTTP port or to a proxy. */
export function grpcWebTransport(server: GrpcWebOptions): Transport {
  return protobufTransport(async (method, request, options) => {
    const framed = concatenated([frameHead(request.length), request]);
    const [response, body] = await post(server, method, framed, options, {
      "content-type": GRPC_WEB_TYPE,
      "x-grpc-web": "1",
      "grpc-timeout": grpcTimeout(options.timeoutMs),
    });
    // A status without a message may stand among the headers.
    checkStatus(response.headers);
    if (!response.ok) {
      throw httpError(response);
    }
    checkType(response, /^application\/grpc-web(\+proto)?(;|$)/);
    return messageIn(body);
  });
}

function post(
  server: FetchOptions,
  path: string,
  body: Uint8Array,
  options: CallOptions,
  protocol: Readonly<Record<string, string | undefined>>,
): Promise<[Response, Uint8Array]> {
  const headers = new Headers(options.headers);
  for (const [name, value] of Object.entries(protocol)) {
    if (value !== undefined) {
      headers.set(name, value);
    }
  }
  // A redirected POST would come as a GET.
  const request: RequestInit = {
    method: "POST",
    headers,
    body: body as Uint8Array<ArrayBuffer>,
    redirect: "error",
  };
  return fetched(server, path, request, options, async (response) => {
    return new Uint8Array(await response.arrayBuffer());
  });
}

function checkType(response: Response, expected: RegExp): void {
  const type = response.headers.get("content-type") ?? "";
  if (!expected.test(type)) {
    throw new SigrunError("DATA_LOSS", `The reply is of type ${type || "none"}, no RPC's`);
  }
}

// Connect.

/** Up to ten digits; what is longer than a hundred days is not said. */
function connectTimeout(timeoutMs: number | undefined): string | undefined {
  return timeoutMs === undefined || timeoutMs >= 1e10 ? undefined : String(Math.ceil(timeoutMs));
}

function connectError(response: Response, body: Uint8Array): SigrunError {
  const { code, message } = readObject(new TextDecoder().decode(body));
  const name = code === "canceled" ? "CANCELLED" : String(code).toUpperCase();
  const known = ERROR_CODES.find((one) => one === name);
  return known === undefined
    ? httpError(response)
    : new SigrunError(known, typeof message === "string" ? message : "");
}

function readObject(text: string): { readonly code?: unknown; readonly message?: unknown } {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {}; // a proxy on the way answers in HTML
  }
}

/** What a status of HTTP means where an RPC has none of its own; the same in both protocols. */
const HTTP_CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [400, "INTERNAL"],
  [401, "UNAUTHENTICATED"],
  [403, "PERMISSION_DENIED"],
  [404, "UNIMPLEMENTED"],
  [429, "UNAVAILABLE"],
  [502, "UNAVAILABLE"],
  [503, "UNAVAILABLE"],
  [504, "UNAVAILABLE"],
]);

function httpError({ status }: Response): SigrunError {
  return new SigrunError(HTTP_CODES.get(status) ?? "UNKNOWN", `HTTP ${status}`);
}

// gRPC-Web: frames, each with a head of a byte of flags and four of the length.

const HEAD_BYTES = 5;
const MESSAGE = 0;
const TRAILERS = 0x80;

/** Up to eight digits and a unit: milliseconds, or seconds where they are too many. */
function grpcTimeout(timeoutMs: number | undefined): string | undefined {
  if (timeoutMs === undefined || timeoutMs >= 1e11) {
    return undefined;
  }
  return timeoutMs < 1e8 - 1 ? `${Math.ceil(timeoutMs)}m` : `${Math.ceil(timeoutMs / 1000)}S`;
}

function frameHead(length: number): Uint8Array {
  const head = new Uint8Array(HEAD_BYTES);
  new DataView(head.buffer).setUint32(1, length);
  return head;
}

/** Return the message of a reply, which is a view of it. Throws a `SigrunError` if there is none. */
function messageIn(body: Uint8Array): Uint8Array {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  let message: Uint8Array | undefined;
  for (let at = 0; at + HEAD_BYTES <= body.length; ) {
    const flags = view.getUint8(at);
    const start = at + HEAD_BYTES;
    at = start + view.getUint32(at + 1);
    const frame = body.subarray(start, at);
    if (at > body.length) {
      break; // cut off
    }
    if (flags === TRAILERS) {
      if (!checkStatus(trailersOf(frame))) {
        break;
      }
      if (message === undefined) {
        throw new SigrunError("DATA_LOSS", "The reply has a status and no message");
      }
      return message;
    }
    if (flags !== MESSAGE || message !== undefined) {
      throw new SigrunError("DATA_LOSS", `The reply has a frame that is no message: ${flags}`);
    }
    message = frame;
  }
  throw new SigrunError("DATA_LOSS", "The reply ends without a status");
}

/** Headers, or what can be asked like them. */
interface Fields {
  get(name: string): string | null | undefined;
}

/** Return trailers by their names in lower case; texts that headers may not have are taken too. */
function trailersOf(frame: Uint8Array): Fields {
  const trailers = new Map<string, string>();
  for (const line of new TextDecoder().decode(frame).split("\r\n")) {
    const [name, ...value] = line.split(":");
    if (name) {
      trailers.set(name.toLowerCase(), value.join(":").trim());
    }
  }
  return trailers;
}

/** Return whether there is a status. Throws it if it is an error. */
function checkStatus(fields: Fields): boolean {
  const status = fields.get("grpc-status") ?? undefined;
  if (status !== undefined && status !== "0") {
    const message = unquoted(fields.get("grpc-message") ?? "");
    throw new SigrunError(ERROR_CODES[Number(status) - 1] ?? "UNKNOWN", message);
  }
  return status !== undefined;
}

function unquoted(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message; // what is not quoted as it should be is shown as it is
  }
}
