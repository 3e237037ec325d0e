// The cases of tests/conformance, and how an answer is compared with what must come.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import type { Case, Document } from "./conformance_agent.js";
import { REPOSITORY } from "./servers.js";

const CASES = `${REPOSITORY}/tests/conformance/cases`;
const METHODS = new Set(["predict", "classify", "regress", "metadata", "status"]);

/** Return the methods that the client has, each with its cases. */
export function conformanceCases(): { method: string; cases: readonly Case[] }[] {
  return readdirSync(CASES)
    .map((file) => JSON.parse(readFileSync(`${CASES}/${file}`, "utf-8")))
    .filter(({ method }) => METHODS.has(method));
}

/** Fail unless an answer over gRPC, gRPC-Web or Connect is that of the case. */
export function assertAnswer(got: Document, { reply, error }: Case): void {
  if (error !== undefined) {
    same(got.error, error, "error");
  } else {
    same(got.reply, reply, "reply");
  }
}

/** Fail unless an answer over JSON is that of the case, as far as JSON can say it. */
export function assertRestAnswer(got: Document, expected: Case): void {
  const override =
    expected.rest === undefined || expected.rest === false ? {} : expected.rest.error;
  if (expected.error !== undefined) {
    const { code, ...text } = expected.error;
    const { status, ...ownText } = override;
    same(
      { message: got.error?.message },
      Object.keys(ownText).length > 0 ? ownText : text,
      "error",
    );
  } else {
    same(got.reply, expected.reply, "reply");
  }
}

/** Floats may differ by a millionth, and what is only said in part must only be in there. */
function same(got: Document, expected: Document, at: string): void {
  if (typeof got === "number" && typeof expected === "number") {
    const isClose = expected !== 0 && Math.abs(got - expected) <= 1e-6 * Math.abs(expected);
    assert.ok(Object.is(got, expected) || isClose, `${at}: ${got} is not ${expected}`);
  } else if (typeof got === "object" && typeof expected === "object" && got && expected) {
    if ("contains" in expected) {
      const { contains, ...others } = expected;
      const { message, ...rest } = got;
      assert.ok(String(message).includes(contains), `${at}: ${message} has no ${contains}`);
      same(rest, others, at);
      return;
    }
    assert.deepEqual(Object.keys(got).sort(), Object.keys(expected).sort(), at);
    for (const key of Object.keys(expected)) {
      same(got[key], expected[key], `${at}.${key}`);
    }
  } else {
    assert.deepEqual(got, expected, at);
  }
}
