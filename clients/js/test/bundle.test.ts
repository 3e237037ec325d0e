// What a bundler makes of the package: how large it is, and what is in it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { PACKAGE } from "./servers.js";

interface Bundle {
  readonly gzipped: number;
  readonly files: readonly string[];
}

/** Bundle a page that uses `names` of the entry point, as a production build does. */
async function bundle(names: string, entry: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: `export { ${names} } from "${entry}";`, resolveDir: PACKAGE },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    metafile: true,
    outdir: PACKAGE,
  });
  const [output] = outputFiles;
  assert.ok(output !== undefined);
  return {
    gzipped: gzipSync(output.contents, { level: 9 }).length,
    files: Object.values(metafile.outputs).flatMap(({ inputs }) => Object.keys(inputs)),
  };
}

describe("JSON alone", () => {
  for (const entry of ["sigrun-client", "sigrun-client/rest"]) {
    test(`from ${entry} is less than 8 KB, without protobuf`, async () => {
      const { gzipped, files } = await bundle("createClient, restTransport", entry);

      assert.ok(gzipped < 8_000, `${gzipped} bytes`);
      assert.deepEqual(
        files.filter((file) => /node_modules|\/gen\//.test(file)),
        [],
      );
    });
  }
});

for (const transport of ["connectTransport", "grpcWebTransport"]) {
  test(`${transport} has not grown`, async () => {
    const { gzipped } = await bundle(`createClient, ${transport}`, "sigrun-client");

    assert.ok(gzipped < BINARY_LIMIT, `${gzipped} bytes`);
  });
}

/** Connect's and protobuf's own code is most of it; see the README. */
const BINARY_LIMIT = 50_000;

test("the single file for pages needs no other", async () => {
  const file = `${PACKAGE}/dist/sigrun-client.min.js`;
  const page = await import(file);

  assert.equal(typeof page.connectTransport, "function");
  assert.equal(typeof page.restTransport, "function");
  assert.ok(gzipSync(readFileSync(file), { level: 9 }).length < BINARY_LIMIT + 10_000);
  assert.doesNotMatch(readFileSync(file, "utf-8"), /\bfrom\s*"/);
});
