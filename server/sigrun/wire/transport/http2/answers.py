"""Answers to frames: at once if the client's windows allow, else by way of the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sigrun.wire.transport.events import Fields, Response
from sigrun.wire.transport.http2.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    HEADERS,
    pack_head,
)
from sigrun.wire.transport.http2.header_blocks import (
    EMPTY_TABLE,
    answer_block,
    content_length,
    encode,
)
from sigrun.wire.transport.http2.outbox import Buffer, Outbox
from sigrun.wire.transport.http2.stream import Answer, Stream

_BODILESS = frozenset((204, 304))

# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_NONE: Final = Answer.NONE


class Answers:
    """Writes the answers of one connection.

    Methods that may complete an answer return whether they did; otherwise the outbox says when
    it is complete.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._prefix = b""  # of the next header block

    def forget_table(self) -> None:
        """Tell the client that we use no dynamic table, as it may want it to be smaller."""
        self._prefix = EMPTY_TABLE

    def respond(self, stream: Stream, response: Response, *, head_only: bool) -> bool:
        """Write a whole answer.

        Most answers are small and go at once: that is the fast path, in one place.
        """
        status, headers, body, trailers, lead = response
        size = 0 if status in _BODILESS else len(lead) + len(body)
        block = answer_block(status, headers)
        if stream.answer is not _NONE or self._prefix:
            block = self._block(stream, status, headers)
        if size and trailers is None:
            block += content_length(size)
        if head_only:
            size = 0
        last = encode(trailers) if trailers else b""
        outbox = self._outbox
        if (
            size > stream.window_out
            or size > outbox.window
            or max(size, len(block), len(last)) > DEFAULT_FRAME_BYTES
            or outbox.is_full
            or lead
        ):
            pieces = [piece for piece in (lead, body) if size and len(piece)]
            return self._respond_slowly(stream, block, pieces, last)
        id = stream.id
        out = outbox.frames
        flags = END_HEADERS if size or last else END_HEADERS | END_STREAM
        out += pack_head(len(block) << 8 | HEADERS, flags, id), block
        added = HEAD_BYTES + len(block)
        if size:
            outbox.window -= size
            out += pack_head(size << 8 | DATA, 0 if last else END_STREAM, id), body
            added += HEAD_BYTES + size
        if last:
            out += pack_head(len(last) << 8 | HEADERS, END_HEADERS | END_STREAM, id), last
            added += HEAD_BYTES + len(last)
        outbox.pending_bytes += added
        return True

    def _respond_slowly(
        self, stream: Stream, block: bytes, pieces: Sequence[Buffer], last: bytes
    ) -> bool:
        if not pieces and not last:
            self._outbox.send_block(stream.id, block, END_STREAM)
            return True
        self._outbox.send_block(stream.id, block, 0)
        for piece in pieces:
            self._outbox.queue(stream, piece)
        return self._end(stream, last)

    def start(self, stream: Stream, status: int, headers: Fields) -> None:
        """Begin an answer in pieces."""
        self._outbox.send_block(stream.id, self._block(stream, status, headers), 0)
        stream.answer = Answer.STARTED

    def write(self, stream: Stream, data: Buffer) -> None:
        """Add to an answer."""
        if self._outbox.fits(stream, len(data)):
            if data:
                self._outbox.send_data(stream, data)
        else:
            self._outbox.queue(stream, data)

    def end(self, stream: Stream, trailers: Fields | None) -> bool:
        """End an answer in pieces."""
        if stream.answer is not Answer.STARTED:
            raise RuntimeError(f"the answer of stream {stream.id} has not begun, or has ended")
        return self._end(stream, encode(trailers) if trailers else b"")

    def _end(self, stream: Stream, last: bytes) -> bool:
        stream.answer = Answer.QUEUED
        if stream.output is not None:
            stream.output.last = last
            return False
        if last:
            self._outbox.send_block(stream.id, last, END_STREAM)
        else:
            self._outbox.send(pack_head(DATA, END_STREAM, stream.id))
        return True

    def send_continue(self, stream: Stream) -> None:
        """Send 100 Continue, unless the answer itself has begun."""
        if stream.answer is Answer.NONE:
            self._outbox.send_block(stream.id, self._block(stream, 100, ()), 0)

    def _block(self, stream: Stream, status: int, headers: Fields) -> bytes:
        if stream.answer is not Answer.NONE:
            raise RuntimeError(f"stream {stream.id} is answered twice")
        block = answer_block(status, headers)
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
        return block
