"""The error tree: what can go wrong, each with the canonical code that a caller sees.

Raised where the fact is known, mapped once per transport in `sigrun.wire.status`.
The codes are google.rpc's; texts that TensorFlow Serving's clients match are kept.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import ClassVar


class Code(enum.IntEnum):
    """The canonical status codes, numbered as on the wire (`google.rpc.Code`)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class SigrunError(Exception):
    """Base of every error that a caller may see; `str(error)` is the text they get.

    `servable` is name and version of what it went wrong with, None where no version was found.
    """

    code: ClassVar[Code] = Code.UNKNOWN
    servable: tuple[str, int] | None = None


class Unknown(SigrunError):
    """Something failed in a way that fits no other code."""


class Cancelled(SigrunError):
    """The work was given up because nobody wants its result any more."""

    code = Code.CANCELLED


class InvalidArgument(SigrunError):
    """What was sent is wrong, whatever the state of the server."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(SigrunError):
    """The caller's time ran out before there was a result.

    Without a text of its own it has TensorFlow Serving's.
    """

    code = Code.DEADLINE_EXCEEDED

    def __init__(self, text: str = "Timed out waiting for notification") -> None:
        super().__init__(text)


class NotFound(SigrunError):
    """What was asked for does not exist."""

    code = Code.NOT_FOUND


class AlreadyExists(SigrunError):
    """What was to be made exists."""

    code = Code.ALREADY_EXISTS


class PermissionDenied(SigrunError):
    """The caller, or this process, may not do that."""

    code = Code.PERMISSION_DENIED


class ResourceExhausted(SigrunError):
    """Memory, or another resource that is counted, is used up."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPrecondition(SigrunError):
    """What was asked does not fit the state of the server or model."""

    code = Code.FAILED_PRECONDITION


class Aborted(SigrunError):
    """The work was stopped by a conflict; it may succeed when tried again."""

    code = Code.ABORTED


class OutOfRange(SigrunError):
    """A value lies beyond the end of what is there."""

    code = Code.OUT_OF_RANGE


class Unimplemented(SigrunError):
    """The operation exists but is not served."""

    code = Code.UNIMPLEMENTED


class Internal(SigrunError):
    """An invariant of the server or of a model is broken."""

    code = Code.INTERNAL


class Unavailable(SigrunError):
    """The server is full, draining or not ready; try again later."""

    code = Code.UNAVAILABLE


class DataLoss(SigrunError):
    """Data on disk is corrupt."""

    code = Code.DATA_LOSS


class Unauthenticated(SigrunError):
    """The caller's identity is missing or wrong."""

    code = Code.UNAUTHENTICATED


class SignatureNotFound(FailedPrecondition):
    """The servable has no signature of that name; the text is TensorFlow Serving's.

    `others` are the names of those it has.
    """

    def __init__(self, name: str, others: Iterable[str] = ()) -> None:
        super().__init__(f'Serving signature key "{name}" not found.')
        self.name = name
        self.others = tuple(sorted(others))


class ServableNotFound(NotFound):
    """No loaded version satisfies the request; the text is TensorFlow Serving's."""

    def __init__(self, name: str, version: int | None = None) -> None:
        target = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        super().__init__(f"Servable not found for request: {target}")


def listed(things: Iterable[object], most: int = 10) -> str:
    """Return things for a text, with commas; of more than `most` the first, and how many more."""
    named = [str(thing) for thing in things]
    more = len(named) - most
    return ", ".join(named[:most]) + (f" and {more} more" if more > 0 else "")


def code_of(error: BaseException) -> Code:
    """Return the code under which whatever ended a call is counted and told."""
    if isinstance(error, SigrunError):
        return error.code
    return Code.INTERNAL if isinstance(error, Exception) else Code.CANCELLED


_BY_CODE: dict[Code, type[SigrunError]] = {kind.code: kind for kind in SigrunError.__subclasses__()}


def error_for(code: int, message: str) -> SigrunError:
    """Return the error whose code is `code`; a number that is none becomes `Unknown`."""
    try:
        return _BY_CODE[Code(code)](message)
    except (ValueError, KeyError):
        return Unknown(message)
