"""A body in chunks: bytes in, the data in them out.

Written here because `httptools` reads on into the next request, and does not say where this one
ended. Data is cut out at the speed of slices; what stands around it is limited in bytes, so that
a body of tiny chunks, endless chunk extensions or trailers is refused before it has cost much.
"""

from __future__ import annotations

import enum
import re

from sigrun.wire.transport.events import Problem
from sigrun.wire.transport.http1.heads import Refusal, malformed
from sigrun.wire.transport.limits import Limits

# Size, extensions, end of the line. Without its end it matches as far as it can be right so far.
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_PART_OF_CHUNK_HEAD = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?")
_MAX_CHUNK_HEAD_BYTES = 4096
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r")


class _Part(enum.IntEnum):
    HEAD = enum.auto()
    DATA = enum.auto()
    LINE_END = enum.auto()
    TRAILERS = enum.auto()
    DONE = enum.auto()


class Chunks:
    """Reads one body."""

    __slots__ = (
        "_announced_bytes",
        "_left",
        "_limits",
        "_overhead_bytes",
        "_part",
        "_trailer_bytes",
        "_trailers",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._part = _Part.HEAD
        self._left = 0  # of the data of this chunk
        self._announced_bytes = self._overhead_bytes = 0
        self._trailer_bytes = self._trailers = 0

    @property
    def is_done(self) -> bool:
        """Whether the end of the body has come."""
        return self._part is _Part.DONE

    def read(self, text: bytes, at: int, pieces: list[bytes]) -> int:
        """Read on from `at`, add the data to `pieces`, return where to go on with more text.

        Raises `Refusal`.
        """
        end = len(text)
        while at < end and self._part is not _Part.DONE:
            start = at
            at = self._READERS[self._part](self, text, at, pieces)
            if at == start and self._part is not _Part.DATA:
                break  # the line has no end yet
        return at

    def _read_head(self, text: bytes, at: int, pieces: list[bytes]) -> int:
        """Read the head of a chunk, and as many whole chunks behind it as there are."""
        while match := _CHUNK_HEAD.match(text, at):
            size, data_at = int(match[1], 16), match.end()
            self._announced_bytes += size
            self._overhead_bytes += data_at - at + 2
            self._check_sizes(data_at - at)
            if size == 0:
                self._part = _Part.TRAILERS
                return data_at
            at = data_at + size
            if not text.startswith(b"\r\n", at):
                self._left, self._part = size, _Part.DATA
                return data_at
            pieces.append(text[data_at:at])
            at += 2
        self._check_partial_head(text, at)
        return at

    def _check_partial_head(self, text: bytes, at: int) -> None:
        if at < len(text) and not _PART_OF_CHUNK_HEAD.fullmatch(text, at):
            raise malformed("the body has a chunk without a valid size")
        if len(text) - at > _MAX_CHUNK_HEAD_BYTES:
            raise malformed("the head of a chunk is too large")

    def _check_sizes(self, head_bytes: int) -> None:
        limits = self._limits
        if self._announced_bytes > limits.max_body_bytes:
            raise body_too_large(limits)
        if head_bytes > _MAX_CHUNK_HEAD_BYTES:
            raise malformed("the head of a chunk is too large")
        if self._overhead_bytes - self._announced_bytes // 16 > limits.max_chunk_overhead_bytes:
            raise Refusal(Problem.BODY_TOO_LARGE, "The body comes in too many tiny chunks")

    def _read_data(self, text: bytes, at: int, pieces: list[bytes]) -> int:
        piece = text[at : at + self._left]
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._part = _Part.LINE_END
        return at + len(piece)

    def _read_line_end(self, text: bytes, at: int, _pieces: list[bytes]) -> int:
        if text.startswith(b"\r\n", at):
            self._part = _Part.HEAD
            return at + 2
        if text[at:] != b"\r":
            raise malformed("a chunk of the body is longer than it says")
        return at

    def _read_trailer(self, text: bytes, at: int, _pieces: list[bytes]) -> int:
        """Read one line of the trailers, and drop it."""
        limits = self._limits
        end = text.find(b"\n", at)
        line_bytes = (end if end >= 0 else len(text)) - at
        if self._trailer_bytes + line_bytes > limits.max_trailer_bytes:
            raise Refusal(
                Problem.HEAD_TOO_LARGE,
                f"The trailers are larger than {limits.max_trailer_bytes} bytes",
            )
        if end < 0:
            return at
        if text.startswith(b"\r\n", at):
            self._part = _Part.DONE
            return end + 1
        self._trailer_bytes += line_bytes
        self._trailers += 1
        if self._trailers > limits.max_trailers:
            raise Refusal(
                Problem.HEAD_TOO_LARGE, f"There are more than {limits.max_trailers} trailers"
            )
        if not _TRAILER.fullmatch(text, at, end):
            raise malformed("a trailer is not valid")
        return end + 1

    _READERS = {
        _Part.HEAD: _read_head,
        _Part.DATA: _read_data,
        _Part.LINE_END: _read_line_end,
        _Part.TRAILERS: _read_trailer,
    }


def body_too_large(limits: Limits) -> Refusal:
    """Return the refusal of a body that is, or says that it is, too large."""
    return Refusal(Problem.BODY_TOO_LARGE, f"The body is larger than {limits.max_body_bytes} bytes")
