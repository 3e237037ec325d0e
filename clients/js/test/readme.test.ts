// The README's lines: the first ones against a real shape of answer, all of them for their names.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as client from "sigrun-client";
import * as node from "sigrun-client/node";
import { PACKAGE, REPOSITORY } from "./servers.js";

const README = readFileSync(`${PACKAGE}/README.md`, "utf-8");
const SPAM = readFileSync(`${REPOSITORY}/examples/spam/train.py`, "utf-8");

/** Makes a function of the body of one: the examples await at their top level. */
const AsyncFunction = (async () => {}).constructor as new (
  ...source: string[]
) => (...values: unknown[]) => Promise<void>;

/** Answers every call, as some server would. */
const transport: client.Transport = {
  async predict({ target, inputs }) {
    const label = client.tensor(["spam"]);
    const spam_probability = client.tensor([0.9]); // as examples/spam/train.py has it
    assert.ok(Object.keys(inputs).length > 0);
    if (target.model === "nothing") {
      throw new client.SigrunError("NOT_FOUND", "Servable not found for request: Latest(nothing)");
    }
    return {
      model: target.model,
      version: 2n,
      signature: "serving_default",
      outputs: { label, spam_probability },
    };
  },
  async classify({ target }) {
    return { model: target.model, version: 1n, signature: "serving_default", results: [] };
  },
  async regress({ target }) {
    return { model: target.model, version: 1n, signature: target.signature, results: [1] };
  },
  async metadata({ model }) {
    const image = { dtype: "float32", shape: [null, 28, 28] } as const;
    const scores = { dtype: "float32", shape: [null, 10] } as const;
    const signature = { method: "predict", inputs: { image }, outputs: { scores } };
    return { model, version: 1n, signatures: { serving_default: signature } };
  },
  async status() {
    return [{ version: 1n, state: "AVAILABLE", code: "OK", error: "" }];
  },
};

test("the examples of the README run, and print what stands beside them", async () => {
  const examples = [...README.matchAll(/```js\n(.*?)```/gs)].map(([, code]) => code as string);
  const printed: string[] = [];
  const known = {
    ...client,
    connectTransport: () => transport,
    grpcTransport: () => transport,
    readFile: async () => new Uint8Array(3),
    console: { log: (...values: unknown[]) => printed.push(values.map(String).join(" ")) },
  };
  assert.equal(examples.length, 3);
  assert.equal(typeof node.grpcTransport, "function");

  for (const code of examples) {
    for (const [, name] of code.matchAll(/outputs\.(\w+)/g)) {
      assert.ok(SPAM.includes(`"${name}":`), `email_model has an output ${name}`);
    }
    for (const [, names] of code.matchAll(/^import \{ (.*?) \} from "sigrun-client.*$/gm)) {
      for (const name of (names as string).split(", ")) {
        assert.ok(name in { ...client, ...node }, `${name} is exported`);
      }
    }
    const start = code.includes("createClient(")
      ? ""
      : "const client = createClient({ transport: connectTransport() });";
    const body = start + code.replace(/^import .*$/gm, "");
    await new AsyncFunction(...Object.keys(known), body)(...Object.values(known));
  }

  assert.equal(printed[0], "2 spam 0.8999999761581421");
  assert.ok(README.includes(`// ${printed[1]}`), printed[1]);
  assert.deepEqual(printed.slice(2), [
    "1 AVAILABLE OK ",
    '[{"version":"1","state":"AVAILABLE","code":"OK","error":""}]',
    "Servable not found for request: Latest(nothing)",
  ]);
});
