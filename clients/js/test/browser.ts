// A page in Chromium, which loads the client's own files, and a server for these files.

import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";
import { type Browser, chromium, type Page as PlaywrightPage } from "playwright-core";
import type { Document } from "./conformance_agent.js";
import { PACKAGE } from "./servers.js";

const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const TYPES: Readonly<Record<string, string>> = {
  ".js": "text/javascript",
  ".json": "application/json",
};

export interface Page {
  readonly page: PlaywrightPage;
  close(): Promise<void>;
}

/** Return why there is no browser here, or false if there is one. */
export function whyNoBrowser(): string | false {
  return existsSync(CHROMIUM) ? false : `${CHROMIUM} is not installed`;
}

/** Open a page whose modules are this package's files, or return undefined without a browser. */
export async function openPage(): Promise<Page | undefined> {
  if (whyNoBrowser()) {
    return undefined;
  }
  const files = createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://page").pathname;
    if (path === "/") {
      response.setHeader("content-type", "text/html; charset=utf-8").end(html());
      return;
    }
    const file = PACKAGE + path.replace(/^\/node_modules\/sigrun-client\//, "/");
    if (path.includes("..") || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
    response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => files.listen(0, "127.0.0.1", resolve));
  const { port } = files.address() as AddressInfo;
  const browser: Browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  const page = await browser.newPage();
  await page.goto(`http://localhost:${port}/`);
  return {
    page,
    async close() {
      await browser.close();
      await new Promise((resolve) => files.close(resolve));
    },
  };
}

function html(): string {
  const importMap = readFileSync(`${PACKAGE}/importmap.json`, "utf-8");
  return `<!doctype html><title>A page</title><script type="importmap">${importMap}</script>`;
}

/** Return what the conformance agent answers when it runs in the page. */
export async function answerInPage(
  { page }: Page,
  transport: "Connect" | "gRPC-Web" | "JSON",
  baseUrl: string,
  method: string,
  requests: readonly Document[],
): Promise<readonly Document[]> {
  return page.evaluate(
    async (call: Document) => {
      // Names that TypeScript shall not look up: they are the page's.
      const [clientModule, agentModule] = ["sigrun-client", "/build/conformance_agent.js"];
      const client = await import(clientModule as string);
      const agent = await import(agentModule as string);
      const transports: Document = {
        Connect: client.connectTransport,
        "gRPC-Web": client.grpcWebTransport,
        JSON: client.restTransport,
      };
      const made = transports[call.transport]({ baseUrl: call.baseUrl });
      const answers = [];
      for (const request of call.requests) {
        const asked = client.createClient({ transport: made });
        answers.push(await agent.answer(asked, call.method, request));
      }
      return answers;
    },
    { transport, baseUrl, method, requests },
  );
}
