"""A gRPC connection that sends one unary request again and again, as cheaply as Python can.

In: the bytes that a server sent. Out: the bytes to send it, and which requests were answered; no
socket is touched here. It exists for two things that h2load cannot do: be there without being
installed, and send a `grpc-timeout` that differs from call to call, as clients in Go and Java do.

Such a timeout makes header compression work: each value is new, enters the dynamic table, and
moves every other field of it one place on, so that no two blocks have the same bytes.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Field = tuple[bytes, bytes]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_TABLE_SIZE, _STREAM_WINDOW, _FRAME_SIZE = 1, 4, 5  # of SETTINGS
_FRAME_HEAD = 9
_DEFAULT_WINDOW = 65_535
_OUR_WINDOW = 2**31 - 1  # for all answers of a round: nothing is to be given back
_DEFAULT_FRAME_BYTES = 16_384
_DEFAULT_TABLE_BYTES = 4_096
_FIELD_BYTES = 32  # what HPACK adds to each field's size
_STATIC = {(b":method", b"POST"): 3, (b":scheme", b"http"): 6}
_STATIC_NAMES = {b":authority": 1, b":path": 4, b"content-type": 31, b"user-agent": 58}
_STATIC_LENGTH = 61
_TIMEOUT_US = 10_000_000


class ConnectionBroken(Exception):
    """The server ended a request or the connection."""


class HeaderBlocks:
    """Writes heads by HPACK's plain rules: what is not in the table yet goes into it."""

    def __init__(self) -> None:
        self._capacity = _DEFAULT_TABLE_BYTES
        self._size = 0
        self._inserted = 0  # fields ever; the age of one is the difference
        self._kept: deque[Field] = deque()  # the oldest first
        self._number: dict[Field, int] = {}  # when each was inserted
        self._name_number: dict[bytes, int] = {}
        self._resized = b""

    def resize(self, capacity: int) -> None:
        """Keep a smaller table, as the server wants."""
        if capacity < self._capacity:
            self._capacity = capacity
            self._resized += _integer(capacity, 5, 0x20)
            self._evict(0)

    def block(self, fields: Sequence[Field]) -> bytes:
        """Return a head's block."""
        written, self._resized = bytearray(self._resized), b""
        for field in fields:
            index = _STATIC.get(field) or self._index(self._number.get(field))
            written += _integer(index, 7, 0x80) if index else self._new(field)
        return bytes(written)

    def _index(self, number: int | None) -> int:
        """Return where the field of that number stands now, or 0 if it stands nowhere."""
        if number is None or number < self._inserted - len(self._kept):
            return 0
        return _STATIC_LENGTH + self._inserted - number  # the newest is the first

    def _new(self, field: Field) -> bytes:
        name, value = field
        index = _STATIC_NAMES.get(name) or self._index(self._name_number.get(name))
        head = _integer(index, 6, 0x40) + (b"" if index else _string(name))
        size = len(name) + len(value) + _FIELD_BYTES
        self._evict(size)
        if size <= self._capacity:
            self._kept.append(field)
            self._number[field] = self._name_number[name] = self._inserted
            self._inserted += 1
            self._size += size
        return head + _string(value)

    def _evict(self, room: int) -> None:
        while self._kept and self._size + room > self._capacity:
            field = self._kept.popleft()
            self._size -= len(field[0]) + len(field[1]) + _FIELD_BYTES
            del self._number[field]


@dataclass(slots=True)
class _Upload:
    """A request's body that is not sent yet."""

    stream: int
    rest: memoryview
    window: int


class GrpcConnection:
    """One client connection. `answered` lists the streams that ended well since it was read.

    With `changing_timeouts`, each call has a `grpc-timeout` of its own, of about ten seconds.
    """

    def __init__(self, authority: str, path: str, body: bytes, *, changing_timeouts: bool) -> None:
        self._body = memoryview(body)
        self._fields: list[Field] = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", authority.encode()),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"sigrun-benchmarks"),
            (b"te", b"trailers"),
        ]
        self._changing_timeouts = changing_timeouts
        self._blocks = HeaderBlocks()
        self._stream = -1
        self._window, self._stream_window = _DEFAULT_WINDOW, _DEFAULT_WINDOW
        self._frame_bytes = _DEFAULT_FRAME_BYTES
        self._uploads: deque[_Upload] = deque()
        self._unread = b""
        self._with_data: set[int] = set()
        self._out = bytearray(_PREFACE)
        self._out += _frame(_SETTINGS, 0, 0, struct.pack(">HI", _STREAM_WINDOW, _OUR_WINDOW))
        self._out += _window_update(_OUR_WINDOW - _DEFAULT_WINDOW)
        self.is_open = False  # the server's settings are here
        self.answered: list[int] = []
        self.data_bytes = 0

    def request(self) -> int:
        """Put one more request into what is to be sent, and return its stream."""
        self._stream += 2
        fields = self._fields
        if self._changing_timeouts:
            timeout = b"%du" % random.randint(_TIMEOUT_US - 1_000_000, _TIMEOUT_US)
            fields = [*fields, (b"grpc-timeout", timeout)]
        block = self._blocks.block(fields)
        self._out += _frame(_HEADERS, _END_HEADERS, self._stream, block)
        self._uploads.append(_Upload(self._stream, self._body, self._stream_window))
        return self._stream

    def to_send(self) -> bytes:
        """Return what is to be sent now."""
        self._send_bodies()
        out, self._out = self._out, bytearray()
        return bytes(out)

    def receive(self, data: bytes) -> None:
        """Take what the server sent. Raises `ConnectionBroken` if a request failed."""
        data = self._unread + data if self._unread else data
        at = 0
        while len(data) - at >= _FRAME_HEAD:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < _FRAME_HEAD + size:
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            payload = data[at + _FRAME_HEAD : at + _FRAME_HEAD + size]
            self._take(data[at + 3], data[at + 4], stream, payload)
            at += _FRAME_HEAD + size
        self._unread = data[at:]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            self.data_bytes += len(payload)
            self._with_data.add(stream)
        elif kind == _HEADERS:
            if flags & _END_STREAM:
                self._end(stream)
        elif kind == _SETTINGS and not flags & _ACK:
            self._set(payload)
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE:
            self._widen(stream, int.from_bytes(payload, "big"))
        elif kind in (_RST_STREAM, _GOAWAY):
            raise ConnectionBroken("a stream was reset" if kind == _RST_STREAM else "GOAWAY")

    def _end(self, stream: int) -> None:
        # gRPC tells errors in a head without a body: a good answer has a message.
        if stream not in self._with_data:
            raise ConnectionBroken("a request was answered with an error")
        self._with_data.remove(stream)
        self.answered.append(stream)

    def _set(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _TABLE_SIZE:
                self._blocks.resize(value)
            elif name == _STREAM_WINDOW:
                for upload in self._uploads:
                    upload.window += value - self._stream_window
                self._stream_window = value
            elif name == _FRAME_SIZE:
                self._frame_bytes = value
        self._out += _frame(_SETTINGS, _ACK, 0, b"")
        self.is_open = True

    def _widen(self, stream: int, by: int) -> None:
        if stream == 0:
            self._window += by
        for upload in self._uploads:
            if upload.stream == stream:
                upload.window += by

    def _send_bodies(self) -> None:
        """Send as much of the bodies as the windows allow, the oldest first."""
        for _ in range(len(self._uploads)):
            upload = self._uploads.popleft()
            for part in self._parts(upload):
                flags = 0 if upload.rest else _END_STREAM
                self._out += _frame(_DATA, flags, upload.stream, part)
            if upload.rest:
                self._uploads.append(upload)

    def _parts(self, upload: _Upload) -> Iterator[memoryview]:
        while upload.rest and (size := min(self._frame_bytes, self._window, upload.window)) > 0:
            part, upload.rest = upload.rest[:size], upload.rest[size:]
            self._window -= len(part)
            upload.window -= len(part)
            yield part


def _frame(kind: int, flags: int, stream: int, payload: bytes | memoryview) -> bytes:
    head = struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream)
    return head + payload


def _window_update(by: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, 0, by.to_bytes(4, "big"))


def _integer(value: int, bits: int, pattern: int) -> bytes:
    """Return an HPACK integer with a prefix of `bits` under `pattern`."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((pattern | value,))
    written = bytearray((pattern | limit,))
    value -= limit
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _string(text: bytes) -> bytes:
    return _integer(len(text), 7, 0) + text
