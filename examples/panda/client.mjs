// Ask what is in photos from Node, by gRPC, and print the five likeliest classes of each.
//
// Usage: node examples/panda/client.mjs panda.jpg [more photos], after `make js`.
// ADDRESS is the server's gRPC address, http://localhost:8500 without it.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";

// Outside this repository: from "sigrun-client" and "sigrun-client/node".
import { createClient, strings } from "../../clients/js/dist/index.js";
import { grpcTransport } from "../../clients/js/dist/node.js";

const baseUrl = process.env.ADDRESS ?? "http://localhost:8500";
const client = createClient({ transport: grpcTransport({ baseUrl }), timeoutMs: 20_000 });

for (const photo of process.argv.slice(2)) {
  const image = await readFile(existsSync(photo) ? photo : new URL(photo, import.meta.url));
  const { model, version, outputs } = await client.predict("panda", { images: [image] });
  console.log(`${basename(photo)}: version ${version} of ${model}`);
  strings(outputs.classes).forEach((names, place) => {
    console.log(`  ${outputs.scores.data[place].toFixed(4)}  ${names}`);
  });
}
