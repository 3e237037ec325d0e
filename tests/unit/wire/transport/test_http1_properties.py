"""HTTP/1.1 without I/O: random requests, cut and spoilt at random, with `h11` as a judge."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import h11
from hypothesis import example, given
from hypothesis import strategies as st

from sigrun.wire.transport.events import Ended, Refused
from sigrun.wire.transport.http1.heads import KnownHeads, Refusal, Request, read_head
from sigrun.wire.transport.limits import Limits
from tests.fakes.http1_peer import CHUNKED, OK, Http1Peer

# What `h11` accepts and we refuse, by the text of our refusal.
STRICTER = {
    "Invalid method": "only registered methods are known",
    "Expected space after method": "the same",
    "char in url": "a target is a path, a whole URL, or * for OPTIONS",
    "target is not valid": "the same",
    "first line is not that of": "there are no other versions",
    "Invalid HTTP version": "the same",
    "HTTP/1.0 knows no Transfer-Encoding": "RFC 9112, 6.1: its framing must be taken for faulty",
    "Content-Length": "two lengths, even equal ones, are how requests are smuggled",
    "host is not valid": "RFC 9112, 3.2: answered with 400",
    "Invalid header value char": "control characters",
    "Unexpected whitespace after header value": "RFC 9112, 5.2: folded lines are refused",
    "this is not HTTP": "a line ends in CRLF, never in LF alone",
    "Missing expected CR": "the same",
    "Invalid header field char": "the same",
    "Expected CRLF after version": "the same",
    "chunk of the body is longer": "the same",
    "chunk without a valid size": "no size has more than 15 digits",
    "a trailer is not valid": "LF alone, folded lines and control characters, as in headers",
    "CONNECT is not served": "this is no proxy",
}
# What we accept and `h11` refuses, by the text of its refusal.
LAXER = {
    "no request line received": "RFC 9112, 2.2: empty lines before a request are passed over",
    "illegal chunk header": "RFC 9112, 7.1.1: white space around the `;` of an extension",
}


class Seen(NamedTuple):
    """A request, as whoever serves it sees it."""

    method: bytes
    target: bytes
    headers: frozenset[tuple[bytes, bytes]]
    body: bytes


def _request(
    line: bytes, headers: list[bytes], chunks: list[bytes], trailers: list[bytes], chunked: bool
) -> bytes:
    body = b"".join(chunks)
    if chunked:
        headers = [*headers, b"Transfer-Encoding: chunked"]
        body = b"".join(b"%X\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
        body += b"0\r\n" + b"".join(trailer + b"\r\n" for trailer in trailers) + b"\r\n"
    elif body:
        headers = [*headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join((line, *headers, b"", body))


_LINES = st.builds(
    lambda method, target, version: b"%b %b HTTP/%b" % (method, target, version),
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS"]),
    st.sampled_from([b"/", b"/v1/models/m:predict?a=b", b"http://h/a"]),
    st.sampled_from([b"1.1", b"1.1", b"1.0"]),
)
_HEADERS = st.lists(
    st.sampled_from(
        [
            b"A: b",
            b"a:c",
            b"Accept:  x, y \t",
            b"Connection: close",
            b"Connection: keep-alive",
            b"Content-Length: 3",
            b"Expect: 100-continue",
            b"Host: other",
            b"Upgrade: h2c\r\nConnection: Upgrade",
            b"X: \xe4",
            b"X:",
            b"X-Request-Id: a",
            b"x-request-id: b",
        ]
    ),
    max_size=3,
).flatmap(lambda headers: st.permutations([b"Host: h", *headers]))
REQUESTS = st.builds(
    _request,
    _LINES,
    _HEADERS,
    st.lists(st.binary(max_size=20), max_size=3),
    st.lists(st.sampled_from([b"A: b", b"B:"]), max_size=2),
    st.booleans(),
)
BYTES = [b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b";", b",", b"0", b"a", b"\0", b"G"]


@st.composite
def spoilt(draw: st.DrawFn, requests: st.SearchStrategy[bytes]) -> bytes:
    """A few bytes are changed, or none."""
    text = bytearray(draw(requests))
    for _ in range(draw(st.integers(0, 2))):
        at, there = draw(st.integers(0, len(text))), draw(st.integers(0, 2))
        text[at : at + there] = draw(st.sampled_from(BYTES))
    return bytes(text)


@st.composite
def cut(draw: st.DrawFn, text: bytes) -> list[bytes]:
    """Some bytes in pieces."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def read(pieces: list[bytes]) -> tuple[list[Seen], list[tuple[str, str]]]:
    """Return the requests that are read whole, and what is refused with its text."""
    peer = Http1Peer()
    answered = 0
    for piece in pieces:
        peer.send(piece)
        while len(peer.whole) > answered:
            for stream in peer.whole[answered:]:
                answered += 1
                peer.respond(stream)
            peer.go_on()
    seen = []
    for stream in peer.whole:
        head = peer.heads[stream]
        seen.append(
            Seen(head.method, head.target, frozenset(head.headers.items()), peer.bodies[stream])
        )
    refused = [event for event in peer.events if isinstance(event, Refused)]
    return seen, [(event.problem.name, event.text) for event in refused]


def read_by_h11(text: bytes) -> tuple[Seen | None, str]:
    """Return the first request and no text, or None and why it is refused."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(text)
    head: h11.Request | None = None
    body = b""
    try:
        while True:
            event = server.next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _as_seen(head, body), ""
            else:
                return None, "not there yet"
    except h11.RemoteProtocolError as error:
        return None, str(error)


def _as_seen(head: h11.Request, body: bytes) -> Seen:
    headers: dict[bytes, bytes] = {}
    for name, value in head.headers:
        headers[name] = headers[name] + b", " + value if name in headers else value
    names = {name.strip() for name in headers.get(b"connection", b"").lower().split(b",")}
    names &= {b"upgrade"}
    for name in names | {b"connection", b"transfer-encoding"}:
        headers.pop(name, None)
    target = re.sub(rb"(?i)^http://[^/?]*", b"", head.target) or b"/"
    return Seen(head.method, target, frozenset(headers.items()), body)


def _is_listed(text: str, table: dict[str, str]) -> bool:
    return any(part in text for part in table)


@given(spoilt(REQUESTS))
@example(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
@example(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n")
@example(b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n")
@example(b"GET * HTTP/1.1\r\nHost: h\r\n\r\n")
@example(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\na")
@example(CHUNKED + b"1 \r\na\r\n0\r\n\r\n")
@example(CHUNKED + b'1 ; b="c"\r\na\r\n0\r\n\r\n')
@example(CHUNKED + b"0\r\n\n")
@example(CHUNKED + b"00000000000000000001\r\na\r\n0\r\n\r\n")
@example(CHUNKED + b"1\r\na\n0\r\n\r\n")
def test_what_is_accepted_is_what_h11_accepts(text: bytes) -> None:
    (seen, refused), (judged, why) = read([text]), read_by_h11(text)

    if seen and judged is not None:
        assert seen[0] == judged
    elif seen:
        assert _is_listed(why, LAXER), (why, text)
    elif judged is not None:
        assert refused, text
        assert _is_listed(refused[0][1], STRICTER), (refused, text)


@given(
    st.lists(REQUESTS, max_size=4).map(b"".join).flatmap(lambda text: spoilt(st.just(text))),
    st.data(),
)
def test_however_it_is_cut_the_same_is_read(text: bytes, data: st.DataObject) -> None:
    pieces = data.draw(cut(text))

    (seen, refused), (seen_cut, refused_cut) = read([text]), read(pieces)

    assert seen_cut == seen
    assert [problem for problem, _ in refused_cut] == [problem for problem, _ in refused]


@given(st.lists(spoilt(REQUESTS).map(lambda text: text.partition(b"\r\n\r\n")[0]), max_size=6))
def test_what_was_read_before_does_not_matter(heads: list[bytes]) -> None:
    known = KnownHeads(Limits())

    for text in heads * 2:
        head = text + b"\r\n\r\n"
        assert _outcome(known.read, head) == _outcome(lambda t: read_head(t, Limits()), head)


def _outcome(read: Callable[[bytes], Request], text: bytes) -> object:
    try:
        request = read(text)
    except Refusal as refusal:
        return refusal.problem, refusal.text
    head = request.head
    return request[1:], head.method, head.target, head.authority, head.version, head.headers


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=50),
            st.sampled_from([*BYTES, b"GET / HTTP/1.1\r\n", b"Host: h\r\n", b"\r\n\r\n"]),
            REQUESTS,
        ),
        max_size=12,
    ),
    st.data(),
)
def test_whatever_happens_nothing_is_raised(pieces: list[bytes], data: st.DataObject) -> None:
    peer = Http1Peer()

    for piece in pieces:
        step = data.draw(st.integers(0, 9))
        peer.send(piece)
        if step == 0:
            peer.leave()
        elif step == 1:
            peer.drain()
        elif step == 2:
            peer.wait(data.draw(st.sampled_from([1, 30, 200])))
        elif step <= 6:
            for stream in {*peer.heads, *(e.stream for e in peer.events if isinstance(e, Refused))}:
                _answer(peer, stream, streams=step == 3)
        peer.go_on()
        if step != 9:
            peer.take()

    assert len(peer.ends) <= 1
    assert not peer.ends or isinstance(peer.events[-1], Ended)
    assert peer.core.pending_bytes >= 0


def _answer(peer: Http1Peer, stream: int, *, streams: bool) -> None:
    try:
        if streams:
            peer.core.start(stream, 200, ())
            peer.core.write(stream, b"hello")
            peer.core.end(stream)
        else:
            peer.core.respond(stream, OK)
    except RuntimeError:
        assert peer.core.pending(stream)  # it has its answer, not taken yet
