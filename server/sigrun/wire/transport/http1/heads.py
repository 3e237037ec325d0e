"""The head of one request: its bytes in, what they mean out.

`httptools` splits the head and refuses what is not allowed in it; what the fields say about the
body, the connection and the authority is decided here. The parser lives for one head only, and
what it calls does not know it, so that no reference cycle is left behind.
"""

from __future__ import annotations

import re
import string
from typing import NamedTuple

import httptools

from sigrun.wire.transport.events import Problem, RequestHead
from sigrun.wire.transport.limits import Limits

CHUNKED = -1
_MAX_KNOWN = 8
_MAX_KNOWN_BYTES = 2048
_LENGTH = b"content-length"
_LENGTH_FIELD = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,10})\r\n")
_HTTP = b"http"
_OWN_FIELDS = frozenset({b"upgrade", b"http2-settings", b"keep-alive", b"te"})

_OF_AUTHORITY = (string.ascii_letters + string.digits + "-._~!$&'()*+;=:%[]").encode()
_WHOLE_URL = re.compile(rb"(https?)://(?:[^/?@]*@)?([^/?@]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)


class Refusal(Exception):
    """What came is refused; the text says why."""

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
        self.text = text


class Request(NamedTuple):
    """A head, and what it says about the body and the connection."""

    head: RequestHead
    body_bytes: int  # or `CHUNKED`
    keeps_alive: bool
    expects_continue: bool
    is_http10: bool
    is_head: bool


def read_head(text: bytes, limits: Limits) -> Request:
    """Read a head, the empty line at its end included. Raises `Refusal`."""
    if len(text) > limits.max_head_bytes:
        raise head_too_large(limits)
    most = limits.max_headers
    if len(text) > most * len(b"a:\r\n") and text.count(b"\n") - 2 > most:
        raise Refusal(Problem.HEAD_TOO_LARGE, f"The request has more than {most} headers")
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(text)
    except httptools.HttpParserUpgrade:
        pass  # the head is whole, and nothing else was fed
    except httptools.HttpParserError as error:
        raise malformed(f"not a valid HTTP request: {error}") from None
    return _request(parser.get_method(), fields.url, fields.headers, text)


class KnownHeads:
    """The last few heads of one connection: clients repeat them, but for the body's length."""

    __slots__ = ("_alike", "_limits", "_same")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._same: dict[bytes, Request] = {}
        self._alike: dict[bytes, Request] = {}  # by heads without the digits of the length

    def read(self, text: bytes) -> Request:
        """Read a head as `read_head` does, but not again what has been read before."""
        request = self._same.get(text)
        if request is not None:
            return request
        length = _LENGTH_FIELD.search(text)
        if length is None:
            request = read_head(text, self._limits)
            _remember(self._same, text, request)
            return request
        start, end = length.span(1)
        rest = text[:start] + text[end:]
        alike = self._alike.get(rest)
        if alike is None:
            request = read_head(text, self._limits)
            _remember(self._alike, rest, request)
            _remember(self._same, text, request)
            return request
        if _LENGTH in alike.head.headers:
            alike = self._as_base(rest, alike)
        request = _with_length(alike, text[start:end])
        # Where bodies have many lengths, those of the first few are remembered, and not the last:
        # to forget them all the time would cost more.
        if len(self._same) < _MAX_KNOWN:
            _remember(self._same, text, request)
        return request

    def _as_base(self, rest: bytes, request: Request) -> Request:
        """Make a head the base of all that are like it but for the length."""
        headers = {n: v for n, v in request.head.headers.items() if n != _LENGTH}
        base = request.head.varied(headers)
        base.base = None
        alike = request._replace(head=base)
        _remember(self._alike, rest, alike)
        return alike


def _with_length(alike: Request, digits: bytes) -> Request:
    base, _, keeps_alive, expects_continue, is_http10, is_head = alike
    head = base.varied({**base.headers, _LENGTH: digits})
    return Request(head, int(digits), keeps_alive, expects_continue, is_http10, is_head)


def _remember(known: dict[bytes, Request], text: bytes, request: Request) -> None:
    if len(text) <= _MAX_KNOWN_BYTES:
        if len(known) >= _MAX_KNOWN:
            known.clear()
        known[text] = request


def head_too_large(limits: Limits) -> Refusal:
    """Return the refusal of a head whose end is too far away."""
    return Refusal(
        Problem.HEAD_TOO_LARGE,
        f"The head of the request is larger than {limits.max_head_bytes} bytes",
    )


def malformed(text: str) -> Refusal:
    """Return the refusal of something that breaks the rules of HTTP."""
    return Refusal(Problem.MALFORMED, f"Malformed request: {text}")


class _Fields:
    """What the parser finds."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[bytes, bytes] = {}

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value, headers = name.lower(), value.rstrip(), self.headers
        if name in headers:
            value = headers[name] + (b"; " if name == b"cookie" else b", ") + value
        headers[name] = value


def _request(method: bytes, url: bytes, headers: dict[bytes, bytes], text: bytes) -> Request:
    # The parser takes RTSP, HTTP/0.9, and more than one space, too.
    line = b"%b %b HTTP/1." % (method, url)
    version = text[len(line) - 2 : len(line) + 1]
    is_http10 = version == b"1.0"
    if not text.startswith(line) or not (is_http10 or version == b"1.1"):
        raise malformed("its first line is not that of HTTP/1.0 or 1.1")
    keeps_alive = _keeps_alive(headers, is_http10=is_http10)
    body_bytes = _body_bytes(headers, is_http10=is_http10)
    scheme, authority, target = _HTTP, headers.get(b"host"), url
    if authority is None:
        if not is_http10:
            raise malformed("there is no Host header")
        authority = b""
    if authority.translate(None, _OF_AUTHORITY):
        raise malformed("its host is not valid")
    if not url.startswith(b"/") or method == b"CONNECT":
        scheme, authority, target = _split_url(method, url, authority)
    head = RequestHead(
        method=method,
        target=target,
        scheme=scheme,
        authority=authority,
        headers=headers,
        version=version,
    )
    expects_continue = not is_http10 and headers.get(b"expect", b"").lower() == b"100-continue"
    return Request(head, body_bytes, keeps_alive, expects_continue, is_http10, method == b"HEAD")


def _split_url(method: bytes, url: bytes, authority: bytes) -> tuple[bytes, bytes, bytes]:
    """Return scheme, authority and target of what is no path: whole URLs, as for proxies."""
    if method == b"CONNECT":
        raise Refusal(Problem.UNSUPPORTED, "CONNECT is not served: this is no proxy")
    if url == b"*" and method == b"OPTIONS":
        return _HTTP, authority, url
    match = _WHOLE_URL.fullmatch(url)
    if match is None or match[2].translate(None, _OF_AUTHORITY):
        raise malformed("its target is not valid")
    return match[1].lower(), match[2], (match[3] or b"/") + (match[4] or b"")


def _body_bytes(headers: dict[bytes, bytes], *, is_http10: bool) -> int:
    """Return the length of the body; the parser refuses what would be ambiguous."""
    coding = headers.pop(b"transfer-encoding", None)
    if coding is None:
        return int(headers.get(b"content-length", 0))
    if is_http10:
        raise malformed("HTTP/1.0 knows no Transfer-Encoding")
    if coding.lower() != b"chunked":
        raise Refusal(
            Problem.UNSUPPORTED, f"The transfer coding {coding.decode('latin-1')!r} is not served"
        )
    return CHUNKED


def _keeps_alive(headers: dict[bytes, bytes], *, is_http10: bool) -> bool:
    """Return what `Connection` says, and drop it with the fields that it names.

    They are about this connection alone. One is `Upgrade`, which may be passed over: Java's
    client asks in that way for HTTP/2 with its first request, body and all.
    """
    connection = headers.pop(b"connection", None)
    if connection is None:
        return not is_http10
    if connection == b"keep-alive":
        return True
    options = [option.strip() for option in connection.lower().split(b",")]
    for option in _OWN_FIELDS.intersection(options):
        headers.pop(option, None)
    return b"close" not in options and (not is_http10 or b"keep-alive" in options)
