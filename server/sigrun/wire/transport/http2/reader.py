"""Whole frames from the bytes of a read.

In: bytes, in whatever pieces they come. Out: frames in their order, a header block as one HEADERS
frame without padding and priority, whatever it came in.

    PREFACE ─▶ SETTINGS ─▶ FRAMES ◀──▶ BLOCK    (what must come next)
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final

from sigrun.wire.transport.http2.abuse import Abuse, Kind
from sigrun.wire.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEAD_BYTES,
    HEADERS,
    MAX_STREAM,
    PADDED,
    PREFACE,
    SETTINGS,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
    unpack_head,
    unpad,
)
from sigrun.wire.transport.limits import Limits

Frame = tuple[int, int, int, bytes]  # type, flags, stream, payload

_WHOLE = END_HEADERS | PADDED | WITH_PRIORITY


class _Next(enum.Enum):
    PREFACE = enum.auto()
    SETTINGS = enum.auto()
    FRAMES = enum.auto()
    BLOCK = enum.auto()  # the CONTINUATION of a header block


# In Python 3.11, to look up the member of an enum costs as much as to call a function.
_PREFACE: Final = _Next.PREFACE
_FRAMES: Final = _Next.FRAMES


class _Block:
    """A header block that has not come whole."""

    def __init__(self, flags: int, stream_id: int, fragment: bytes, now: float) -> None:
        self.flags = flags
        self.stream_id = stream_id
        self.fragments = [fragment]
        self.size = len(fragment)
        self.since = now


class FrameReader:
    """Reads the frames of one connection."""

    def __init__(self, limits: Limits, abuse: Abuse, now: float) -> None:
        self._limits = limits
        self._abuse = abuse
        self._next = _PREFACE
        self._rest = b""  # what is not here whole ...
        self._rest_since = now  # ... since then
        self._block: _Block | None = None

    def read(self, data: bytes, now: float) -> Iterator[Frame]:
        """Yield all frames that are whole; raise ConnectionFault.

        What was not asked for is lost: leave the loop only to end the connection.
        """
        if self._rest:
            data = self._rest + data
        at = 0
        size = len(data)
        if self._next is _PREFACE:
            at = self._read_preface(data)
        max_frame_bytes = self._limits.max_frame_bytes
        while size - at >= HEAD_BYTES and self._next is not _PREFACE:
            length, flags, stream_id = unpack_head(data, at)
            kind = length & 0xFF
            length >>= 8
            start = at + HEAD_BYTES
            if length > max_frame_bytes:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame that is too large")
            if start + length > size:
                break
            at = start + length
            payload = data[start:at]
            stream_id &= MAX_STREAM
            if self._next is not _FRAMES:
                self._check_order(kind, flags)
            is_plain = flags & _WHOLE == END_HEADERS and stream_id & 1
            if kind == CONTINUATION or (kind == HEADERS and not is_plain):
                whole = self._block_frame(kind, flags, stream_id, payload, now)
                if whole is None:
                    continue
                flags, payload = whole
                kind = HEADERS
            yield kind, flags, stream_id, payload
        if at:
            self._rest_since = now
        self._rest = data[at:]

    def _read_preface(self, data: bytes) -> int:
        if data.startswith(PREFACE):
            self._next = _Next.SETTINGS
            return len(PREFACE)
        if not PREFACE.startswith(data):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no preface of HTTP/2")
        return 0

    def _check_order(self, kind: int, flags: int) -> None:
        if self._next is _Next.SETTINGS:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")
            self._next = _FRAMES
        elif kind != CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block that is cut off")

    def _block_frame(
        self, kind: int, flags: int, stream_id: int, payload: bytes, now: float
    ) -> tuple[int, bytes] | None:
        """Return the flags and the bytes of a header block, or None while it is not whole."""
        if kind == CONTINUATION:
            return self._go_on(flags, stream_id, payload)
        if not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS of an even stream")
        if flags & (PADDED | WITH_PRIORITY):
            payload = unpad(flags, payload)
            if flags & WITH_PRIORITY:
                if len(payload) < 5:
                    raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS that are cut off")
                payload = payload[5:]
        if flags & END_HEADERS:
            return flags, payload
        if not payload:
            self._abuse.count(Kind.USELESS)
        self._block = _Block(flags, stream_id, payload, now)
        self._next = _Next.BLOCK
        return None

    def _go_on(self, flags: int, stream_id: int, payload: bytes) -> tuple[int, bytes] | None:
        block = self._block
        if block is None or block.stream_id != stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        if not payload:
            self._abuse.count(Kind.USELESS)
        block.fragments.append(payload)
        block.size += len(payload)
        limits = self._limits
        if (
            block.size > limits.max_head_bytes
            or len(block.fragments) > limits.max_continuations + 1
        ):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block without an end")
        if not flags & END_HEADERS:
            return None
        self._block = None
        self._next = _FRAMES
        return block.flags, b"".join(block.fragments)

    # Time.

    def partial_data(self) -> tuple[int, int]:
        """Return the stream and the bytes of a DATA frame that is not here whole, or zeros."""
        if len(self._rest) >= HEAD_BYTES and self._next is _FRAMES:
            length, _, stream_id = unpack_head(self._rest)
            if length & 0xFF == DATA:
                return stream_id & MAX_STREAM, len(self._rest) - HEAD_BYTES
        return 0, 0

    def postpone(self, seconds: float) -> None:
        """Leave out a time in which we did not read."""
        self._rest_since += seconds
        if self._block is not None:
            self._block.since += seconds

    def check_time(self, now: float) -> None:
        """Raise ConnectionFault if a frame or a header block takes too long.

        It keeps all others from being read, so that it costs more than its stream.
        """
        limits = self._limits
        if self._block is not None and now - self._block.since > limits.head_timeout_s:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block that takes too long")
        if not self._rest and self._next in (_FRAMES, _Next.BLOCK):
            return
        limit_s = limits.body_grace_s if self.partial_data()[0] else limits.head_timeout_s
        limit_s += len(self._rest) / limits.min_body_bytes_per_s
        if now - self._rest_since > limit_s:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a frame that takes too long")
