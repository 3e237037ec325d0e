"""What the cores of HTTP/2 and 1.1 cost for one request, sockets and application left out.

    python -m benchmarks.transport_core [--profile]

A client sends reads of 8 gRPC calls (HEADERS and DATA of 46 bytes each); each is answered whole
(HEADERS, DATA, trailers). Clients differ in how they write their header blocks:

    repeated    all fields are in the dynamic table: the same bytes each time (h2load, C-core)
    indexed     a `grpc-timeout` of its own for each call, put into the table (Go, Java)
    literal     the same, never put into the table
    proxied     a request id and a trace of its own for each call, put into the table (Envoy)

Printed are microseconds of CPU for each request, the best of several rounds, and what the
library hpack alone takes for the same header blocks.

Over HTTP/1.1, clients send POSTs of 30 bytes with eight headers, one at a time:

    same        the same head each time
    lengths     bodies of 10 to 99 bytes
    ids         an `X-Request-Id` of its own for each
    other       another header that is new each time: nothing is known from before

Printed beside them is what httptools takes alone, with its headers put into a dict.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import time
from collections.abc import Callable, Iterator

import hpack
import httptools

from sigrun.wire.transport.events import Data, Response
from sigrun.wire.transport.http1 import Http1
from sigrun.wire.transport.http2 import PREFACE, Http2
from sigrun.wire.transport.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    SETTINGS,
    pack_head,
)
from sigrun.wire.transport.limits import Limits

_REQUESTS_OF_A_READ = 8
_READS = 250
_ROUNDS = 15
_BODY = b"\0\0\0\0\x29" + bytes(41)
_ANSWER = Response(200, ((b"content-type", b"application/grpc"),), _BODY, ((b"grpc-status", b"0"),))
_LASTING = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/tensorflow.serving.PredictionService/Predict"),
    (b":authority", b"127.0.0.1:8500"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-go/1.64.0"),
    (b"te", b"trailers"),
)
Field = tuple[bytes, bytes]
Varying = Callable[[int], list[Field]]


def _nothing(number: int) -> list[Field]:
    return []


def _timeout(number: int) -> list[Field]:
    return [(b"grpc-timeout", b"%du" % (999_999 - number * 7 % 50_000))]


def _unindexed(number: int) -> list[Field]:
    return [hpack.NeverIndexedHeaderTuple(*field) for field in _timeout(number)]


def _ids(number: int) -> list[Field]:
    return [
        (b"x-request-id", b"1f2e3d4c-0000-4000-8000-%012x" % (number * 77_777)),
        (b"traceparent", b"00-0af7651916cd43dd8448eb21%08x-b7ad6b71%08x-01" % (number, number)),
    ]


CLIENTS: dict[str, Varying] = {
    "repeated": _nothing,
    "indexed": _timeout,
    "literal": _unindexed,
    "proxied": _ids,
}


def header_blocks(varying: Varying) -> Iterator[bytes]:
    """Yield the header blocks of one client."""
    encoder = hpack.Encoder()
    for number in itertools.count():
        yield encoder.encode([*_LASTING, *varying(number)])


def reads(blocks: Iterator[bytes], count: int) -> list[bytes]:
    """Return what the client sends, as it arrives."""
    streams = itertools.count(1, 2)
    data = pack_head(len(_BODY) << 8 | DATA, END_STREAM, 0)[:5]
    found = []
    for _ in range(count):
        parts: list[bytes] = []
        for _ in range(_REQUESTS_OF_A_READ):
            stream, block = next(streams), next(blocks)
            parts += pack_head(len(block) << 8 | HEADERS, END_HEADERS, stream), block
            parts += data, stream.to_bytes(4, "big"), _BODY
        found.append(b"".join(parts))
    return found


def serve(core: Http2, reads: list[bytes]) -> None:
    """Answer all requests."""
    for read in reads:
        for event in core.receive(read, 1.0):
            if type(event) is Data:
                core.consumed(event.stream, event.credit)
                core.respond(event.stream, _ANSWER)
        core.take()


def new_core() -> Http2:
    """Return a core that has been greeted."""
    core = Http2(Limits(), 0.0)
    core.receive(PREFACE + pack_head(SETTINGS, 0, 0), 0.0)
    core.receive(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\x00\x00\x00", 0.0)
    core.take()
    return core


def microseconds(run: Callable[[], object]) -> float:
    """Return what one request costs in a run over all reads."""
    start = time.thread_time()
    run()
    return (time.thread_time() - start) * 1e6 / (_READS * _REQUESTS_OF_A_READ)


def measure(varying: Varying) -> tuple[float, float]:
    """Return what a request costs in the core, and its block in the library alone."""
    sent = reads(header_blocks(varying), _READS)
    blocks = list(itertools.islice(header_blocks(varying), _READS * _REQUESTS_OF_A_READ))
    ours, library = [], []
    for _ in range(_ROUNDS):
        core = new_core()
        ours.append(microseconds(lambda core=core: serve(core, sent)))  # type: ignore[misc]
    for _ in range(3):
        decoder = hpack.Decoder()
        library.append(
            microseconds(lambda decoder=decoder: [decoder.decode(b, raw=True) for b in blocks])  # type: ignore[misc]
        )
    return min(ours), min(library)


HTTP1_CLIENTS: dict[str, Callable[[int], tuple[int, bytes]]] = {
    "same": lambda number: (30, b"Accept-Language: en"),
    "lengths": lambda number: (10 + number % 90, b"Accept-Language: en"),
    "ids": lambda number: (30, b"X-Request-Id: 1f2e3d4c-%08x" % number),
    "other": lambda number: (30, b"X-Other: 1f2e3d4c-%08x" % number),
}
_HTTP1_ANSWER = Response(200, ((b"content-type", b"application/json"),), bytes(30))


def http1_reads(client: Callable[[int], tuple[int, bytes]], count: int) -> list[bytes]:
    """Return the requests of one client of HTTP/1.1."""
    found = []
    for number in range(count):
        length, header = client(number)
        lines = (
            b"POST /v1/models/half_plus_two:predict HTTP/1.1",
            b"Host: 127.0.0.1:8501",
            b"User-Agent: python-httpx/0.28.1",
            b"Accept: */*",
            b"Accept-Encoding: gzip, deflate",
            b"Connection: keep-alive",
            b"Content-Type: application/json",
            b"Content-Length: %d" % length,
            header,
        )
        found.append(b"\r\n".join((*lines, b"", bytes(length))))
    return found


def serve_http1(core: Http1, reads: list[bytes]) -> None:
    """Answer all requests."""
    for read in reads:
        for event in core.receive(read, 1.0):
            if type(event) is Data:
                core.consumed(event.stream, event.credit)
                core.respond(event.stream, _HTTP1_ANSWER)
        core.take()


class _Fields:
    """What httptools calls, doing as little as a server must."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.url = self.body = b""

    def on_message_begin(self) -> None:
        self.headers = {}

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        pass

    def on_body(self, body: bytes) -> None:
        self.body = body

    def on_message_complete(self) -> None:
        pass


def measure_http1(client: Callable[[int], tuple[int, bytes]]) -> tuple[float, float]:
    """Return what a request costs in the core, and in httptools alone."""
    sent = http1_reads(client, _READS * _REQUESTS_OF_A_READ)
    ours, library = [], []
    for _ in range(_ROUNDS):
        core, parser = Http1(Limits(), 0.0), httptools.HttpRequestParser(_Fields())
        ours.append(microseconds(lambda core=core: serve_http1(core, sent)))  # type: ignore[misc]
        library.append(
            microseconds(lambda parser=parser: [parser.feed_data(read) for read in sent])  # type: ignore[misc]
        )
    return min(ours), min(library)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=CLIENTS, help="show where the time goes for a client")
    arguments = parser.parse_args()
    if arguments.profile:
        sent = reads(header_blocks(CLIENTS[arguments.profile]), _READS * 10)
        core = new_core()
        cProfile.runctx("serve(core, sent)", {"serve": serve}, {"core": core, "sent": sent}, sort=1)
        return
    for name, varying in CLIENTS.items():
        ours, library = measure(varying)
        print(f"{name:10} {ours:6.1f} us a request; its header block by hpack alone {library:5.1f}")
    for name, client in HTTP1_CLIENTS.items():
        ours, library = measure_http1(client)
        print(f"{name:10} {ours:6.1f} us a request of HTTP/1.1; by httptools alone {library:5.1f}")


if __name__ == "__main__":
    main()
