// Servers that run while a test does: Python's as child processes, and one for a page's files.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const PACKAGE = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");
export const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url)).replace(/\/$/, "");

const PYTHON = process.env.PYTHON ?? `${REPOSITORY}/.venv/bin/python`;

/** A server of the repository. `close` stops it and waits for its end. */
export interface RunningServer {
  readonly grpcUrl: string;
  readonly httpUrl: string;
  close(): Promise<void>;
}

/**
 * Start a Python module that prints its ports and ends with its standard input.
 *
 * Rejects if it ends before, with what it wrote on standard error.
 */
export async function startServer(module: string): Promise<RunningServer> {
  const child = spawn(PYTHON, ["-m", module], {
    cwd: REPOSITORY,
    env: { ...process.env, PYTHONPATH: `${REPOSITORY}:${REPOSITORY}/server` },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const ended = once(child, "exit");
  let errors = "";
  child.stderr.setEncoding("utf-8").on("data", (text) => {
    errors += text;
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = await Promise.race([once(lines, "line"), ended.then(() => [undefined])]);
  if (line === undefined) {
    throw new Error(`${module} did not start: ${errors}`);
  }
  const { grpc_port, http_port } = JSON.parse(line);
  return {
    grpcUrl: `http://127.0.0.1:${grpc_port}`,
    httpUrl: `http://127.0.0.1:${http_port}`,
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
