// The token of a client goes with every call, unless the call has another one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientOptions, createClient, SigrunError } from "sigrun-client";

/** Return the `authorization` that a call sends, by a server that only looks at it. */
async function authorizationOf(
  token: ClientOptions["token"],
  headers?: HeadersInit,
): Promise<string | null> {
  let sent: string | null = null;
  const look = (_: unknown, options: { headers?: HeadersInit | undefined }) => {
    sent = new Headers(options.headers).get("authorization");
    return Promise.resolve([]);
  };
  const refuse = () => Promise.reject(new Error("not asked for here"));
  const transport = {
    predict: refuse,
    classify: refuse,
    regress: refuse,
    metadata: refuse,
    status: look,
  };
  await createClient({ transport, token }).status("m", { headers });
  return sent;
}

test("a token is sent as a bearer token", async () => {
  assert.equal(await authorizationOf("secret"), "Bearer secret");
});

test("a function is asked for the token at each call", async () => {
  assert.equal(await authorizationOf(() => "secret"), "Bearer secret");
  assert.equal(await authorizationOf(async () => "later"), "Bearer later");
});

test("the headers of a call win", async () => {
  assert.equal(await authorizationOf("secret", { Authorization: "Bearer own" }), "Bearer own");
});

test("without a token nothing is sent", async () => {
  assert.equal(await authorizationOf(undefined), null);
});

test("a token that cannot be had is an error of the client", async () => {
  const failing = () => Promise.reject(new Error("the vault is away"));
  await assert.rejects(authorizationOf(failing), (error: unknown) => {
    assert.ok(error instanceof SigrunError);
    assert.match(error.message, /the vault is away/);
    return true;
  });
});
