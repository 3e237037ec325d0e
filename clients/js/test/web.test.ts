// Connect and gRPC-Web as they stand on the wire: what is sent, and what is made of any answer.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { connectTransport, createClient, grpcWebTransport, SigrunError } from "sigrun-client";
import {
  GetModelStatusRequest,
  GetModelStatusResponse,
} from "../dist/gen/tensorflow_serving/apis/get_model_status.js";

const TRANSPORTS = { Connect: connectTransport, "gRPC-Web": grpcWebTransport };
type Protocol = keyof typeof TRANSPORTS;

const REPLY = GetModelStatusResponse.encode({
  modelVersionStatus: [{ version: 7n, state: 30, status: undefined }],
}).finish();

interface Sent {
  readonly url: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** Return the versions in `response` as a client reads them, and the request it was for. */
async function ask(
  protocol: Protocol,
  response: Response,
  options: { timeoutMs?: number; headers?: HeadersInit } = {},
): Promise<{ versions: readonly bigint[]; sent: Sent }> {
  let sent: Sent | undefined;
  const fetch = async (url: RequestInfo | URL, request?: RequestInit) => {
    const { method, redirect, headers, body } = request as RequestInit;
    assert.deepEqual([method, redirect], ["POST", "error"]);
    sent = { url: String(url), headers: new Headers(headers), body: body as Uint8Array };
    return response;
  };
  const transport = TRANSPORTS[protocol]({ baseUrl: "http://host:8501/", fetch });
  const versions = await createClient({ transport }).status("m", options);
  assert.ok(sent !== undefined);
  return { versions: versions.map(({ version }) => version), sent };
}

function frame(flags: number, content: Uint8Array | string): Uint8Array {
  const bytes = Buffer.from(content);
  const head = Buffer.from([flags, 0, 0, 0, 0]);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function answer(type: string | undefined, body: readonly Uint8Array[] | string, status = 200) {
  const content = typeof body === "string" ? body : new Uint8Array(Buffer.concat([...body]));
  const headers: HeadersInit = type === undefined ? {} : { "content-type": type };
  return new Response(typeof content === "string" ? Buffer.from(content) : content, {
    status,
    headers,
  });
}

const OK = frame(0x80, "grpc-status: 0\r\ngrpc-message: \r\n");
const connectReply = () => answer("application/proto", [REPLY]);
const webReply = (...frames: readonly Uint8Array[]) => answer("application/grpc-web+proto", frames);

describe("what is sent", () => {
  const path = "http://host:8501/tensorflow.serving.ModelService/GetModelStatus";

  test("over Connect is the message, with headers of its protocol", async () => {
    const options = { timeoutMs: 1500.2, headers: { "x-request-id": "id" } };

    const { versions, sent } = await ask("Connect", connectReply(), options);

    assert.deepEqual(versions, [7n]);
    assert.equal(sent.url, path);
    assert.equal(GetModelStatusRequest.decode(sent.body).modelSpec?.name, "m");
    assert.deepEqual(Object.fromEntries(sent.headers), {
      "connect-protocol-version": "1",
      "connect-timeout-ms": "1501",
      "content-type": "application/proto",
      "x-request-id": "id",
    });
  });

  test("over gRPC-Web is a frame with the message, with headers of its protocol", async () => {
    const options = { timeoutMs: 1500.2, headers: { "x-request-id": "id" } };

    const { versions, sent } = await ask("gRPC-Web", webReply(frame(0, REPLY), OK), options);

    assert.deepEqual(versions, [7n]);
    assert.equal(sent.url, path);
    const message = sent.body.subarray(5);
    assert.deepEqual([...sent.body.subarray(0, 5)], [0, 0, 0, 0, message.length]);
    assert.equal(GetModelStatusRequest.decode(message).modelSpec?.name, "m");
    assert.deepEqual(Object.fromEntries(sent.headers), {
      "content-type": "application/grpc-web+proto",
      "grpc-timeout": "1501m",
      "x-grpc-web": "1",
      "x-request-id": "id",
    });
  });

  for (const [timeoutMs, connect, grpc] of [
    [0.1, "1", "1m"],
    [99_999_998, "99999998", "99999998m"],
    [100_000_000, "100000000", "100000S"],
    [5e9, "5000000000", "5000000S"],
    [2e10, null, "20000000S"],
    [2e11, null, null],
    [Number.POSITIVE_INFINITY, null, null],
  ] as const) {
    test(`a time of ${timeoutMs} ms fits its header`, async () => {
      const one = await ask("Connect", connectReply(), { timeoutMs });
      const other = await ask("gRPC-Web", webReply(frame(0, REPLY), OK), { timeoutMs });

      assert.equal(one.sent.headers.get("connect-timeout-ms"), connect);
      assert.equal(other.sent.headers.get("grpc-timeout"), grpc);
    });
  }
});

describe("an answer that is an error", () => {
  const page = "<html>a proxy's</html>";
  const json = (code: unknown, message?: unknown) => JSON.stringify({ code, message });
  const cases: readonly [Protocol, string, Response, string, string][] = [
    [
      "Connect",
      "is JSON",
      answer("application/json", json("not_found", "no m"), 404),
      "NOT_FOUND",
      "no m",
    ],
    [
      "Connect",
      "is a call that was given up",
      answer("application/json", json("canceled", ""), 499),
      "CANCELLED",
      "",
    ],
    ["Connect", "has no message", answer("application/json", json("aborted"), 409), "ABORTED", ""],
    [
      "Connect",
      "has a code unheard of",
      answer("application/json", json("odd"), 503),
      "UNAVAILABLE",
      "HTTP 503",
    ],
    ["Connect", "is null", answer("application/json", "null", 401), "UNAUTHENTICATED", "HTTP 401"],
    ["Connect", "is a page", answer("text/html", page, 404), "UNIMPLEMENTED", "HTTP 404"],
    ["Connect", "is a teapot", answer("text/html", page, 418), "UNKNOWN", "HTTP 418"],
    [
      "Connect",
      "is a page that says 200",
      answer("text/html", page),
      "DATA_LOSS",
      "The reply is of type text/html, no RPC's",
    ],
    [
      "Connect",
      "is no message",
      answer("application/proto", "\x0b"),
      "DATA_LOSS",
      "The reply of 1 bytes cannot be read: ",
    ],
    ["gRPC-Web", "is a page", answer("text/html", page, 502), "UNAVAILABLE", "HTTP 502"],
    [
      "gRPC-Web",
      "is a page that says 200",
      answer(undefined, page),
      "DATA_LOSS",
      "The reply is of type none, no RPC's",
    ],
    [
      "gRPC-Web",
      "is a status alone",
      webReply(frame(0x80, "grpc-status:5\r\ngrpc-message:no%20m%C3%BC: x")),
      "NOT_FOUND",
      "no mü: x",
    ],
    [
      "gRPC-Web",
      "is badly quoted",
      webReply(frame(0x80, "GRPC-Status: 3\r\nGrpc-Message: 100%\r\n")),
      "INVALID_ARGUMENT",
      "100%",
    ],
    [
      "gRPC-Web",
      "is not quoted at all",
      webReply(frame(0x80, "grpc-status: 3\r\ngrpc-message: 100 € zu viel\r\n")),
      "INVALID_ARGUMENT",
      "100 € zu viel",
    ],
    [
      "gRPC-Web",
      "comes after a message",
      webReply(frame(0, REPLY), frame(0x80, "grpc-status: 13\r\n")),
      "INTERNAL",
      "",
    ],
    [
      "gRPC-Web",
      "has a number unheard of",
      webReply(frame(0x80, "grpc-status: 99\r\n")),
      "UNKNOWN",
      "",
    ],
    [
      "gRPC-Web",
      "has no status",
      webReply(frame(0, REPLY)),
      "DATA_LOSS",
      "The reply ends without a status",
    ],
    [
      "gRPC-Web",
      "has a status but no message",
      webReply(OK),
      "DATA_LOSS",
      "The reply has a status and no message",
    ],
    [
      "gRPC-Web",
      "has trailers without a status",
      webReply(frame(0, REPLY), frame(0x80, "a: b\r\n")),
      "DATA_LOSS",
      "The reply ends without a status",
    ],
    [
      "gRPC-Web",
      "is cut off in a frame",
      webReply(frame(0, REPLY).subarray(0, 7)),
      "DATA_LOSS",
      "The reply ends without a status",
    ],
    ["gRPC-Web", "is empty", webReply(), "DATA_LOSS", "The reply ends without a status"],
    [
      "gRPC-Web",
      "is compressed",
      webReply(frame(1, REPLY), OK),
      "DATA_LOSS",
      "The reply has a frame that is no message: 1",
    ],
    [
      "gRPC-Web",
      "has two messages",
      webReply(frame(0, REPLY), frame(0, REPLY), OK),
      "DATA_LOSS",
      "The reply has a frame that is no message: 0",
    ],
  ];
  for (const [protocol, name, response, code, message] of cases) {
    test(`over ${protocol} ${name}`, async () => {
      await assert.rejects(ask(protocol, response), (error: unknown) => {
        assert.ok(error instanceof SigrunError);
        assert.equal(error.code, code);
        const starts = message.endsWith(": ") ? error.message.startsWith(message) : false;
        assert.ok(starts || error.message === message, error.message);
        return true;
      });
    });
  }

  test("over gRPC-Web may stand among the headers", async () => {
    const headers = {
      "content-type": "application/grpc-web+proto",
      "grpc-status": "16",
      "grpc-message": "who%3F",
    };

    await assert.rejects(ask("gRPC-Web", new Response(null, { headers })), {
      code: "UNAUTHENTICATED",
      message: "who?",
    });
  });
});

test("a connection that breaks within an answer is UNAVAILABLE", async () => {
  for (const protocol of ["Connect", "gRPC-Web"] as const) {
    const broken = new ReadableStream({ start: (it) => it.error(new TypeError("terminated")) });

    await assert.rejects(ask(protocol, new Response(broken)), {
      code: "UNAVAILABLE",
      message: /^The server at http:\/\/host:8501\/\S+ cannot be reached: terminated$/,
    });
  }
});
