// One request by `fetch`, with the signal and the time of a call; what goes wrong on the way is a
// `SigrunError`. What the answer means is for whoever speaks the protocol.

import { SigrunError, unreachable } from "./errors.js";
import type { CallOptions } from "./transport.js";

/** Where a server is. */
export interface FetchOptions {
  /** The address of the server's HTTP port, such as `http://host:8501`. */
  readonly baseUrl: string;
  /** What is used instead of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** The longest time that timers can be set to; what is longer they take for none at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Send a request to `path` below the server's address, and return what `read` makes of the body.
 *
 * `read` takes no more of the response than its text or its bytes, since what it throws is taken for
 * a connection that broke. Rejects with CANCELLED, DEADLINE_EXCEEDED or UNAVAILABLE.
 */
export async function fetched<T>(
  { baseUrl, fetch = globalThis.fetch }: FetchOptions,
  path: string,
  request: RequestInit,
  { signal, timeoutMs }: CallOptions,
  read: (response: Response) => Promise<T>,
): Promise<[Response, T]> {
  const url = baseUrl.replace(/\/+$/, "") + path;
  const timeout =
    timeoutMs === undefined || timeoutMs > MAX_TIMER_MS
      ? undefined
      : AbortSignal.timeout(Math.ceil(timeoutMs));
  const signals = [signal, timeout].filter((one) => one !== undefined);
  try {
    const response = await fetch(url, { ...request, signal: AbortSignal.any(signals) });
    return [response, await read(response)];
  } catch (error) {
    if (signal?.aborted) {
      throw new SigrunError("CANCELLED", "The call was aborted", { cause: signal.reason });
    }
    if (timeout?.aborted) {
      throw new SigrunError("DEADLINE_EXCEEDED", "The time of the call is over", { cause: error });
    }
    throw unreachable(url, error);
  }
}
