import { after, before, describe, test } from "node:test";
import { connectTransport, createClient, grpcWebTransport, restTransport } from "sigrun-client";
import { grpcTransport } from "sigrun-client/node";
import { assertAnswer, assertRestAnswer, conformanceCases } from "./conformance.js";
import { answer } from "./conformance_agent.js";
import { type RunningServer, startServer } from "./servers.js";

let server: RunningServer;
before(async () => {
  server = await startServer("tests.conformance.server");
});
after(() => server.close());

const TRANSPORTS = {
  gRPC: () => grpcTransport({ baseUrl: server.grpcUrl }),
  Connect: () => connectTransport({ baseUrl: server.httpUrl }),
  "gRPC-Web": () => grpcWebTransport({ baseUrl: server.httpUrl }),
};

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  describe(`the same answers over ${name}`, () => {
    for (const { method, cases } of conformanceCases()) {
      for (const expected of cases) {
        test(`${method}: ${expected.name}`, async () => {
          const client = createClient({ transport: transport() });

          const got = await answer(client, method, expected.request);

          assertAnswer(got, expected);
        });
      }
    }
  });
}

describe("the same answers over JSON, where JSON can ask", () => {
  for (const { method, cases } of conformanceCases()) {
    for (const expected of cases.filter(({ rest }) => rest !== false)) {
      test(`${method}: ${expected.name}`, async () => {
        const client = createClient({ transport: restTransport({ baseUrl: server.httpUrl }) });

        const got = await answer(client, method, expected.request);

        assertRestAnswer(got, expected);
      });
    }
  }
});
