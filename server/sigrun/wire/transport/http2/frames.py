"""HTTP/2 frames: their numbers, how they are packed, and what is wrong with one.

A frame is 24 bits of length, 8 of type, 8 of flags, 32 of stream (the first bit reserved), and
the payload. Length and type are read and written as one word of 32 bits.
"""

from __future__ import annotations

import enum
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
MAX_STREAM = 2**31 - 1
MAX_WINDOW = 2**31 - 1
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384
MAX_FRAME_BYTES = 2**24 - 1
DEFAULT_TABLE_BYTES = 4096

DATA = 0
HEADERS = 1
PRIORITY = 2
RST_STREAM = 3
SETTINGS = 4
PUSH_PROMISE = 5
PING = 6
GOAWAY = 7
WINDOW_UPDATE = 8
CONTINUATION = 9

END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

pack_head = struct.Struct(">IBI").pack  # (length << 8 | type, flags, stream)
unpack_head = struct.Struct(">IBI").unpack_from
_SETTING = struct.Struct(">HI")
_WORD = struct.Struct(">I")
_TWO_WORDS = struct.Struct(">II")


class ErrorCode(enum.IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(enum.IntEnum):
    """The settings that mean something here."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class ConnectionFault(Exception):
    """The peer broke the protocol; the connection cannot go on."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class StreamFault(Exception):
    """The peer made a mistake that costs it one stream."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


# What we send.


def settings(values: dict[Setting, int]) -> bytes:
    """Return a SETTINGS frame."""
    payload = b"".join(_SETTING.pack(setting, value) for setting, value in values.items())
    return pack_head(len(payload) << 8 | SETTINGS, 0, 0) + payload


SETTINGS_ACK = pack_head(SETTINGS, ACK, 0)


def ping(data: bytes, flags: int = 0) -> bytes:
    """Return a PING frame; `data` are 8 bytes."""
    return pack_head(8 << 8 | PING, flags, 0) + data


def window_update(stream: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame."""
    return pack_head(4 << 8 | WINDOW_UPDATE, 0, stream) + _WORD.pack(increment)


def rst_stream(stream: int, code: int) -> bytes:
    """Return an RST_STREAM frame."""
    return pack_head(4 << 8 | RST_STREAM, 0, stream) + _WORD.pack(code)


def goaway(last_stream: int, code: int, text: str = "") -> bytes:
    """Return a GOAWAY frame."""
    payload = _TWO_WORDS.pack(last_stream, code) + text.encode("ascii", "replace")
    return pack_head(len(payload) << 8 | GOAWAY, 0, 0) + payload


def header_frames(stream: int, block: bytes, flags: int, max_frame: int) -> bytes:
    """Return a header block as HEADERS, and CONTINUATION where it is too large for one frame."""
    if len(block) <= max_frame:
        return pack_head(len(block) << 8 | HEADERS, flags | END_HEADERS, stream) + block
    parts = [pack_head(max_frame << 8 | HEADERS, flags, stream), block[:max_frame]]
    for start in range(max_frame, len(block), max_frame):
        part = block[start : start + max_frame]
        is_last = start + max_frame >= len(block)
        parts += (
            pack_head(len(part) << 8 | CONTINUATION, END_HEADERS if is_last else 0, stream),
            part,
        )
    return b"".join(parts)


# What we receive.


def read_settings(payload: bytes) -> dict[int, int]:
    """Return the settings of a frame, the last of each; raise for values that cannot be."""
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
    values = {}
    for setting, value in _SETTING.iter_unpack(payload):
        _check_setting(setting, value)
        values[setting] = value
    return values


def _check_setting(setting: int, value: int) -> None:
    if setting == Setting.ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH of {value}")
    if setting == Setting.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE of {value}")
    if setting == Setting.MAX_FRAME_SIZE and not DEFAULT_FRAME_BYTES <= value <= MAX_FRAME_BYTES:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")


def read_word(payload: bytes) -> int:
    """Return the one word of a WINDOW_UPDATE or RST_STREAM frame."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame of a wrong size")
    return int.from_bytes(payload, "big")


def unpad(flags: int, payload: bytes) -> bytes:
    """Return the payload of a DATA or HEADERS frame without its padding."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
