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
  test(`${transport} is less than 16 KB, with no other package than protobuf's wire format`, async () => {
    const { gzipped, files } = await bundle(`createClient, ${transport}`, "sigrun-client");

    assert.ok(gzipped < BINARY_LIMIT, `${gzipped} bytes`);
    assert.deepEqual(
      files.filter(
        (file) => file.startsWith("node_modules/") && !file.includes("/@bufbuild/protobuf/"),
      ),
      [],
    );
  });
}

/** See the README; half of it is generated code, for the messages that the calls have. */
const BINARY_LIMIT = 16_000;

test("the single file for pages needs no other", async () => {
  const file = `${PACKAGE}/dist/sigrun-client.min.js`;
  const page = await import(file);

  assert.equal(typeof page.connectTransport, "function");
  assert.equal(typeof page.restTransport, "function");
  assert.ok(gzipSync(readFileSync(file), { level: 9 }).length < 20_000);
  assert.doesNotMatch(readFileSync(file, "utf-8"), /\bfrom\s*"/);
});
