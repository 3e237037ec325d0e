"""Request heads from header blocks, checked as RFC 9113, section 8, demands.

In: header blocks in their order. Out: a `RequestHead` and the body's promised length; or a
fault. What clients repeat is found without work:

- The same block means the same head while the dynamic table does not change; it is looked up by
  its bytes. A block that changes the table is never remembered, and forgets all others.
- Clients of Go and Java put each `grpc-timeout` into the table, so that the same fields have
  other indices in each block. Their fields without the `VARYING` ones are looked up, and the
  head is put together from what is known and what varies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from sigrun.wire.transport.events import VARYING, Headers, RequestHead
from sigrun.wire.transport.http2.frames import ErrorCode, StreamFault
from sigrun.wire.transport.http2.header_blocks import Decoder, Field
from sigrun.wire.transport.limits import Limits

_FIELD_OVERHEAD = 32  # RFC 9113, section 6.5.2
_MAX_KNOWN = 128  # heads that are remembered, in either way ...
_MAX_KNOWN_BYTES = 4096  # ... none of them larger

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(rb"(?:[^\0\r\n \t](?:[^\0\r\n]*[^\0\r\n \t])?)?").fullmatch
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_length = re.compile(rb"[0-9]{1,18}").fullmatch
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_A_CONNECTION = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
_SINGLE = frozenset((b"host", b"content-length"))

_Key = TypeVar("_Key", bytes, tuple[Field, ...])


class Known(NamedTuple):
    """A request's head, and what belongs to its stream."""

    head: RequestHead
    length: int | None  # of the body, if the client said so
    pseudo_fields: int  # how many fields begin with a colon
    size: int  # of all fields, as RFC 9113 counts it


class HeadTooLarge(Exception):
    """The fields are too large or too many; `head` is what can be said all the same."""

    def __init__(self, text: str, head: RequestHead | None) -> None:
        super().__init__(text)
        self.text = text
        self.head = head


def _malformed(text: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, text)


class Heads:
    """Reads the header blocks of one connection, all of them and in their order."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoder = Decoder(limits.header_table_bytes)
        self._by_block: dict[bytes, Known] = {}
        self._by_fields: dict[tuple[Field, ...], Known] = {}

    def settings_known(self) -> None:
        """Take note that the peer has read our settings."""
        self._decoder.settings_known()

    def request(self, block: bytes) -> Known:
        """Return the head of a request.

        Raises `ConnectionFault` for what breaks the compression, `StreamFault` for a malformed
        request, and `HeadTooLarge`; after the last two, reading goes on.
        """
        known = self._by_block.get(block)
        if known is not None:
            return known
        fields, is_repeatable = self._decode(block)
        if len(fields) > self._limits.max_headers:
            raise HeadTooLarge("The request has too many headers", _outline(fields))
        known = self._known(fields)
        if is_repeatable and known.size <= _MAX_KNOWN_BYTES:
            _remember(self._by_block, block, known)
        return known

    def trailers(self, block: bytes) -> Headers:
        """Return the fields after a body; they raise what a head's would."""
        fields, _ = self._decode(block)
        if len(fields) > self._limits.max_trailers:
            raise HeadTooLarge("too many trailers", None)
        if _size(fields) > self._limits.max_trailer_bytes:
            raise HeadTooLarge("trailers too large", None)
        return _headers(fields)

    def skip(self, block: bytes) -> None:
        """Read a block that nobody wants: it may change the table."""
        self._decode(block)

    def _decode(self, block: bytes) -> tuple[list[Field], bool]:
        """Return the fields, and whether the same bytes would mean the same again."""
        changes = self._decoder.changes
        fields = self._decoder.decode(block)
        if self._decoder.changes == changes:
            return fields, True
        self._by_block.clear()
        return fields, False

    def _known(self, fields: list[Field]) -> Known:
        lasting = tuple([field for field in fields if field[0] not in VARYING])
        known = self._by_fields.get(lasting)
        if known is None:
            known = _request(lasting)
            if known.size > self._limits.max_head_bytes:
                raise HeadTooLarge("The request's headers are too large", _outline(fields))
            if known.size <= _MAX_KNOWN_BYTES:
                _remember(self._by_fields, lasting, known)
        if len(lasting) == len(fields):
            return known
        return self._with_varying(known, lasting, fields)

    def _with_varying(self, known: Known, lasting: tuple[Field, ...], fields: list[Field]) -> Known:
        """Return a head with all fields, when that of the lasting ones is known."""
        base, length, pseudo_fields, size = known
        if fields[pseudo_fields - 1] is not lasting[pseudo_fields - 1]:
            raise _malformed("a pseudo-header after a header")
        headers = dict(base.headers)
        for name, value in fields[pseudo_fields:]:
            if name in VARYING:
                if not _is_value(value):
                    raise _malformed(f"a header that cannot be: {name!r}")
                size += len(name) + len(value) + _FIELD_OVERHEAD
                headers[name] = headers[name] + b", " + value if name in headers else value
        if size > self._limits.max_head_bytes:
            raise HeadTooLarge("The request's headers are too large", base)
        return Known(base.varied(headers), length, pseudo_fields, size)


def _remember(known: dict[_Key, Known], key: _Key, value: Known) -> None:
    if len(known) >= _MAX_KNOWN:
        known.clear()
    known[key] = value


def _size(fields: Iterable[Field]) -> int:
    return sum([len(name) + len(value) + _FIELD_OVERHEAD for name, value in fields])


def _request(fields: Sequence[Field]) -> Known:
    pseudo = _pseudo_headers(fields)
    headers = _headers(fields[len(pseudo) :])
    method = pseudo.get(b":method", b"")
    if not _is_method(method):
        raise _malformed("no :method, or none that can be")
    authority = _authority(pseudo.get(b":authority"), headers.get(b"host"))
    length = headers.get(b"content-length")
    if length is not None and not _is_length(length):
        raise _malformed("a content-length that is no number")
    head = RequestHead(
        method=method,
        target=_target(method, authority, pseudo),
        scheme=pseudo.get(b":scheme", b""),
        authority=authority,
        headers=headers,
        version=b"2",
    )
    return Known(head, None if length is None else int(length), len(pseudo), _size(fields))


def _pseudo_headers(fields: Sequence[Field]) -> dict[bytes, bytes]:
    """Return the pseudo-headers, which come before all others."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if not name.startswith(b":"):
            break
        if name not in _PSEUDO or name in pseudo or not _is_value(value):
            raise _malformed(f"a wrong pseudo-header {name!r}")
        pseudo[name] = value
    return pseudo


def _headers(fields: Sequence[Field]) -> dict[bytes, bytes]:
    """Return headers or trailers, the values of a repeated name joined."""
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        if not _is_name(name) or not _is_value(value):
            raise _malformed(f"a header that cannot be: {name!r}")
        if name in _OF_A_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise _malformed(f"a header of HTTP/1.1 connections: {name!r}")
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            raise _malformed(f"{name!r} twice")
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    return headers


def _authority(authority: bytes | None, host: bytes | None) -> bytes:
    if authority is None:
        authority = host
    if authority is None:
        raise _malformed("neither :authority nor host")
    if host is not None and host != authority:
        raise _malformed(":authority and host differ")
    return authority


def _target(method: bytes, authority: bytes, pseudo: dict[bytes, bytes]) -> bytes:
    path = pseudo.get(b":path")
    if method == b"CONNECT":
        if path is not None or b":scheme" in pseudo:
            raise _malformed("CONNECT with :path or :scheme")
        return authority
    if b":scheme" not in pseudo or not path:
        raise _malformed("no :scheme or no :path")
    if not path.startswith(b"/") and path != b"*":
        raise _malformed("a :path that is no path")
    return path


def _outline(fields: Sequence[Field]) -> RequestHead | None:
    """Return as much of a head that is too large as a refusal needs, if it is well-formed."""
    try:
        return _request([f for f in fields if f[0][:1] == b":" or f[0] == b"content-type"]).head
    except StreamFault:
        return None
