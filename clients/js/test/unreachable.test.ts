// What is said of a server that is not there: where it was looked for, and why it was not found.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  connectTransport,
  createClient,
  grpcWebTransport,
  restTransport,
  SigrunError,
  type Transport,
} from "sigrun-client";

const baseUrl = "http://127.0.0.1:1"; // where nobody listens

const TRANSPORTS: Readonly<Record<string, Transport>> = {
  Connect: connectTransport({ baseUrl }),
  "gRPC-Web": grpcWebTransport({ baseUrl }),
  JSON: restTransport({ baseUrl }),
};

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`over ${name} the error has URL and reason`, async () => {
    const failure = await createClient({ transport })
      .status("m")
      .catch((error: unknown) => error);

    assert.ok(failure instanceof SigrunError);
    assert.equal(failure.code, "UNAVAILABLE");
    assert.match(failure.message, /^The server at http:\/\/127\.0\.0\.1:1\S* cannot be reached: /);
    assert.match(failure.message, /ECONNREFUSED|bad port/);
    assert.ok(failure.cause instanceof TypeError);
    assert.ok(failure.cause.cause instanceof Error);
  });
}
