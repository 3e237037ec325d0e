// Everything that asks a real server, which is started once for all of it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import {
  type Client,
  connectTransport,
  createClient,
  formatSignature,
  grpcWebTransport,
  restTransport,
  SigrunError,
  strings,
  type Transport,
} from "sigrun-client";
import { rpcTransport } from "sigrun-client/connect";
import { grpcTransport } from "sigrun-client/node";
import { answerInPage, openPage, type Page, whyNoBrowser } from "./browser.js";
import { assertAnswer, assertRestAnswer, conformanceCases } from "./conformance.js";
import { answer } from "./conformance_agent.js";
import { type RunningServer, startServer } from "./servers.js";

let server: RunningServer;
before(async () => {
  server = await startServer("tests.conformance.server");
});
after(() => server.close());

const TRANSPORTS: Readonly<Record<string, () => Transport>> = {
  gRPC: () => grpcTransport({ baseUrl: server.grpcUrl }),
  Connect: () => connectTransport({ baseUrl: server.httpUrl }),
  "gRPC-Web": () => grpcWebTransport({ baseUrl: server.httpUrl }),
  "gRPC-Web by Connect's packages": () =>
    rpcTransport(createGrpcWebTransport({ baseUrl: server.httpUrl, useBinaryFormat: true })),
  JSON: () => restTransport({ baseUrl: server.httpUrl }),
};

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  const check = name === "JSON" ? assertRestAnswer : assertAnswer;

  describe(`the same answers over ${name}, in Node`, () => {
    for (const { method, cases } of conformanceCases()) {
      for (const expected of cases.filter(({ rest }) => name !== "JSON" || rest !== false)) {
        test(`${method}: ${expected.name}`, async () => {
          const client = createClient({ transport: transport() });

          const got = await answer(client, method, expected.request);

          check(got, expected);
        });
      }
    }
  });

  describe(`calls over ${name}`, () => {
    const sleep = (client: Client, options: object) =>
      client.predict("slow", { milliseconds: [2_000n] }, { signature: "sleep", ...options });

    test("ten megabytes go both ways", async () => {
      const client = createClient({ transport: transport() });
      const x = new Float32Array(2_500_000).fill(0.5);

      const { outputs } = await client.predict("identities", { x }, { signature: "float32" });

      assert.deepEqual(outputs["y"]?.shape, [2_500_000]);
      assert.deepEqual(outputs["y"]?.data.at(-1), 0.5);
    });

    test("a call whose time is over is DEADLINE_EXCEEDED", async () => {
      const client = createClient({ transport: transport() });

      const call = sleep(client, { timeoutMs: 30 });

      await assert.rejects(call, { name: "SigrunError", code: "DEADLINE_EXCEEDED" });
    });

    test("an aborted call is CANCELLED, with the reason", async () => {
      const client = createClient({ transport: transport() });
      const abort = new AbortController();

      const call = sleep(client, { signal: abort.signal });
      abort.abort("enough");

      await assert.rejects(call, { code: "CANCELLED", cause: "enough" });
    });

    test("a signal that was aborted before is CANCELLED too", async () => {
      const client = createClient({ transport: transport() });

      const call = client.status("half_plus_two", { signal: AbortSignal.abort() });

      await assert.rejects(call, { code: "CANCELLED" });
    });

    test("signatures can be read", async () => {
      const client = createClient({ transport: transport() });

      const { signatures } = await client.metadata("module");

      assert.equal(
        formatSignature(signatures["lengths"] as never),
        "(text: string[?]) -> (bytes: int32[?], upper: string[?])",
      );
    });
  });
}

describe("in a page, from another origin and without a bundler", () => {
  let page: Page | undefined;
  before(async () => {
    page = await openPage();
  });
  after(() => page?.close());

  for (const name of ["Connect", "gRPC-Web", "JSON"] as const) {
    const check = name === "JSON" ? assertRestAnswer : assertAnswer;

    for (const { method, cases } of conformanceCases()) {
      test(`over ${name}: ${method}`, { skip: whyNoBrowser() }, async () => {
        const asked = cases.filter(({ rest }) => name !== "JSON" || rest !== false);

        const requests = asked.map(({ request }) => request);
        const answers = await answerInPage(page as Page, name, server.httpUrl, method, requests);

        asked.forEach((expected, i) => {
          check(answers[i], expected);
        });
      });
    }
  }

  test("a server that is not there is UNAVAILABLE", { skip: whyNoBrowser() }, async () => {
    const nowhere = "http://127.0.0.1:9";

    for (const name of ["Connect", "gRPC-Web", "JSON"] as const) {
      const request = { model: "half_plus_two" };
      const [got] = await answerInPage(page as Page, name, nowhere, "status", [request]);

      assert.equal(got.error.code, "UNAVAILABLE");
      assert.match(
        got.error.message,
        /^The server at http:\/\/127\.0\.0\.1:9\S* cannot be reached: /,
      );
    }
  });
});

test("a server that is not there is UNAVAILABLE", async () => {
  const baseUrl = "http://127.0.0.1:9";
  for (const transport of [connectTransport, grpcWebTransport, grpcTransport, restTransport]) {
    const client = createClient({ transport: transport({ baseUrl }) });

    await assert.rejects(client.status("any"), (error) => {
      return error instanceof SigrunError && error.code === "UNAVAILABLE";
    });
  }
});

test("strings come back as text", async () => {
  const client = createClient({ transport: connectTransport({ baseUrl: server.httpUrl }) });

  const { outputs, version } = await client.predict(
    "module",
    { text: ["spam", "grüße"] },
    { signature: "lengths" },
  );

  assert.deepEqual(strings(outputs["upper"] as never), ["SPAM", "GRüßE"]);
  assert.equal(version, 1n);
});
