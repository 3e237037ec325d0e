"""The error tree: everything that a call of this package raises, beside programming errors.

    SigrunClientError
    ├── InvalidInput            what was given cannot be sent
    ├── InvalidReply            what came back cannot be read
    ├── NotAvailable            a model was waited for in vain
    └── ServerError             the server's own answer, or its absence: `code` and `message`
        ├── Aborted             ├── FailedPrecondition  ├── PermissionDenied
        ├── AlreadyExists       ├── Internal            ├── ResourceExhausted
        ├── Cancelled           ├── InvalidArgument     ├── Unauthenticated
        ├── DataLoss            ├── NotFound            ├── Unavailable
        ├── DeadlineExceeded    ├── OutOfRange          ├── Unimplemented
        └── Unknown

`str(error)` is the server's text, unchanged.
"""

from __future__ import annotations

from typing import ClassVar


class SigrunClientError(Exception):
    """Base of every error here."""


class InvalidInput(SigrunClientError, ValueError):
    """What was given cannot be sent; nothing has been."""


class InvalidReply(SigrunClientError):
    """What came back is not an answer of this protocol."""


class NotAvailable(SigrunClientError):
    """A model was waited for, and its time ran out; the text tells its last state."""


class ServerError(SigrunClientError):
    """The call failed. `code` is the canonical code's name, `message` the server's text."""

    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unknown(ServerError):
    """Something failed in a way that fits no other code."""


class Cancelled(ServerError):
    """The call was cancelled, by this side or the other."""

    code = "CANCELLED"


class InvalidArgument(ServerError):
    """What was sent is wrong, whatever the state of the server."""

    code = "INVALID_ARGUMENT"


class DeadlineExceeded(ServerError):
    """The time of the call ran out before there was an answer."""

    code = "DEADLINE_EXCEEDED"


class NotFound(ServerError):
    """What was asked for does not exist: a model, a version."""

    code = "NOT_FOUND"


class AlreadyExists(ServerError):
    """What was to be made exists."""

    code = "ALREADY_EXISTS"


class PermissionDenied(ServerError):
    """The caller may not do that."""

    code = "PERMISSION_DENIED"


class ResourceExhausted(ServerError):
    """A resource of the server is used up, or a message is too large for a limit."""

    code = "RESOURCE_EXHAUSTED"


class FailedPrecondition(ServerError):
    """What was asked does not fit the state of the server or model."""

    code = "FAILED_PRECONDITION"


class Aborted(ServerError):
    """The work was stopped by a conflict; it may succeed when tried again."""

    code = "ABORTED"


class OutOfRange(ServerError):
    """A value lies beyond the end of what is there."""

    code = "OUT_OF_RANGE"


class Unimplemented(ServerError):
    """The server does not offer that."""

    code = "UNIMPLEMENTED"


class Internal(ServerError):
    """An invariant of the server or of the model is broken."""

    code = "INTERNAL"


class Unavailable(ServerError):
    """No server was reached, or it is full, draining or not ready; try again later."""

    code = "UNAVAILABLE"


class DataLoss(ServerError):
    """Data of the server is corrupt."""

    code = "DATA_LOSS"


class Unauthenticated(ServerError):
    """The caller's token or certificate is missing or wrong."""

    code = "UNAUTHENTICATED"


_BY_CODE = {kind.code: kind for kind in ServerError.__subclasses__()}


def server_error(code: str, message: str) -> ServerError:
    """Return the error of a canonical code; a name that is none becomes `Unknown`."""
    return _BY_CODE.get(code, Unknown)(message)
