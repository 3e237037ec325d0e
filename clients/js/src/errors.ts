// What goes wrong, in one class: a canonical code, and the text of whoever knows the reason.

/** The canonical codes of gRPC, by their names. */
export type ErrorCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** The codes in the order of their numbers, of which CANCELLED is 1. */
export const ERROR_CODES: readonly ErrorCode[] = [
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
];

/**
 * Every call rejects with one of these, and with nothing else.
 *
 * `message` is the server's own text where the server answered. A server that cannot be
 * reached is UNAVAILABLE, an aborted call CANCELLED, one whose time is over DEADLINE_EXCEEDED,
 * and what cannot be sent as it is INVALID_ARGUMENT.
 */
export class SigrunError extends Error {
  override readonly name = "SigrunError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Return the error of a value that is not what it should be. */
export function invalidArgument(message: string): SigrunError {
  return new SigrunError("INVALID_ARGUMENT", message);
}

/** Return the error of an output that the server sent, and that makes no tensor. */
export function unreadable(alias: string, reason: unknown): SigrunError {
  const message = `Output ${alias} cannot be read: ${textOf(reason)}`;
  return new SigrunError("DATA_LOSS", message, { cause: reason });
}

/**
 * Return the error of a server that `fetch` could not reach, at `url` where that is known.
 *
 * `fetch` itself says no more than "fetch failed"; what Node knows beyond that is in its cause.
 */
export function unreachable(url: string | undefined, error: unknown): SigrunError {
  const why = error instanceof Error && error.cause !== undefined ? reasonOf(error.cause) : "";
  const text = why ? `${textOf(error)} (${why})` : textOf(error);
  const server = url === undefined ? "The server" : `The server at ${url}`;
  return new SigrunError("UNAVAILABLE", `${server} cannot be reached: ${text}`, { cause: error });
}

/** Return the text of a cause; several attempts, one for each address, have one each. */
function reasonOf(cause: unknown): string {
  return cause instanceof AggregateError && !cause.message
    ? cause.errors.map(textOf).join("; ")
    : textOf(cause);
}

/** Return the text of whatever was thrown. */
export function textOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
