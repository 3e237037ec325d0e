// A transport of Connect's own packages as one of ours: `sigrun-client/connect`.

import type { DescMethodUnary } from "@bufbuild/protobuf";
import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  EmptySchema,
  FileDescriptorProtoSchema,
  file_google_protobuf_empty,
} from "@bufbuild/protobuf/wkt";
import { ConnectError, type Transport as ConnectTransport } from "@connectrpc/connect";
import { ERROR_CODES, SigrunError, unreachable } from "./errors.js";
import { protobufTransport } from "./rpc.js";
import type { Transport } from "./transport.js";
import { METHODS, type Method } from "./unary.js";

type BytesMethod = DescMethodUnary<typeof EmptySchema, typeof EmptySchema>;

/**
 * Return a transport over one of Connect's, which must use the binary format.
 *
 * For what `connectTransport`, `grpcWebTransport` and `grpcTransport` have no option for, such as
 * interceptors. To these the messages are without fields that they know: `$unknown` has them.
 * `baseUrl` is for errors, to name the server that is not reached.
 */
export function rpcTransport(connect: ConnectTransport, baseUrl?: string): Transport {
  return protobufTransport(async (method, request, { signal, timeoutMs, headers }) => {
    const input = fromBinary(EmptySchema, request);
    try {
      const { message } = await connect.unary(
        DESCRIPTORS[method],
        signal,
        timeoutMs,
        headers,
        input,
      );
      return toBinary(EmptySchema, message);
    } catch (error) {
      throw fromConnect(error, signal, baseUrl);
    }
  });
}

/** The methods as Connect wants them described; all that a message without fields reads is kept. */
const DESCRIPTORS = Object.fromEntries(
  Object.values(METHODS).map((method) => [method, descriptorOf(method)]),
) as Readonly<Record<Method, BytesMethod>>;

function descriptorOf(path: Method): BytesMethod {
  const [, typeName = "", name = ""] = path.split("/");
  const dot = typeName.lastIndexOf(".");
  const empty = `.${EmptySchema.typeName}`;
  const file = create(FileDescriptorProtoSchema, {
    name: `${path}.proto`,
    package: typeName.slice(0, dot),
    syntax: "proto3",
    dependency: [EmptySchema.file.proto.name],
    service: [
      {
        name: typeName.slice(dot + 1),
        method: [{ name, inputType: empty, outputType: empty }],
      },
    ],
  });
  const registry = createFileRegistry(file, () => file_google_protobuf_empty);
  return registry.getService(typeName)?.methods[0] as BytesMethod;
}

function fromConnect(
  reason: unknown,
  signal: AbortSignal | undefined,
  baseUrl: string | undefined,
): SigrunError {
  const error = ConnectError.from(reason);
  if (signal?.aborted) {
    return new SigrunError("CANCELLED", "The call was aborted", { cause: signal.reason });
  }
  // What `fetch` rejects with when nobody answers, or the browser does not let the page see it.
  if (error.cause instanceof TypeError) {
    return unreachable(baseUrl, error.cause);
  }
  return new SigrunError(ERROR_CODES[error.code - 1] ?? "UNKNOWN", error.rawMessage, {
    cause: error,
  });
}
