// A page in Chromium, for tests in Python: each line of stdin is a call of one of the page's
// methods, [name, ...arguments] in JSON, and each line of stdout its result or its error.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, chromium, context] = process.argv.slice(2);
const { chromium: browserType } = createRequire(modules)("playwright-core");

const browser = await browserType.launch({
  executablePath: chromium,
  args: [
    "--no-sandbox", // tests run as root in containers, where there is none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await browser.newPage(JSON.parse(context));
page.setDefaultTimeout(20_000);
const complaints = [];
page.on("pageerror", (error) => complaints.push(String(error)));
page.on("console", (message) => {
  // Chromium reports requests that fail by itself; the page is asked how it takes them.
  if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
    complaints.push(message.text());
  }
});

/** Call a method of the page, or of a part of it, such as `keyboard.press`. */
async function call(path, parameters) {
  if (path === "complaints") {
    return complaints;
  }
  const names = path.split(".");
  const method = names.pop();
  const owner = names.reduce((part, name) => part[name], page);
  return owner[method](...parameters);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [path, ...parameters] = JSON.parse(line);
  try {
    const result = await call(path, parameters);
    // Handles and responses stay here.
    const isData = result === null || typeof result !== "object" || Array.isArray(result);
    process.stdout.write(`${JSON.stringify({ result: isData ? (result ?? null) : null })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
  }
}
await browser.close();
