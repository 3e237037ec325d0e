"""The benchmarks' gRPC connection: what it writes can be read, and it counts only good answers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from benchmarks.grpc_connection import ConnectionBroken, Field, GrpcConnection, HeaderBlocks

Frame = tuple[int, int, int, bytes]
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, ACK = 1, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BODY = b"\0\0\0\0\2ab"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def frames(data: bytes) -> Iterator[Frame]:
    while data:
        size = int.from_bytes(data[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", data[3:9])
        yield kind, flags, stream, data[9 : 9 + size]
        data = data[9 + size :]


def settings(**values: int) -> bytes:
    names = {"table_size": 1, "window": 4}
    pairs = b"".join(struct.pack(">HI", names[name], value) for name, value in values.items())
    return frame(SETTINGS, 0, 0, pairs)


def opened(body: bytes = BODY, **values: int) -> GrpcConnection:
    connection = GrpcConnection("host:1", "/service/Rpc", body, changing_timeouts=True)
    connection.to_send()
    connection.receive(settings(**values))
    connection.to_send()
    return connection


def test_a_connection_opens_with_the_preface_and_waits_for_the_servers_settings() -> None:
    connection = GrpcConnection("host:1", "/service/Rpc", BODY, changing_timeouts=False)
    sent = connection.to_send()
    assert sent.startswith(PREFACE)
    assert [kind for kind, *_ in frames(sent[len(PREFACE) :])] == [SETTINGS, WINDOW_UPDATE]
    assert not connection.is_open
    connection.receive(settings())
    assert connection.is_open
    assert list(frames(connection.to_send())) == [(SETTINGS, ACK, 0, b"")]


def test_heads_are_read_by_an_hpack_decoder_with_timeouts_that_evict_all_else() -> None:
    hpack = pytest.importorskip("hpack")
    blocks, decoder = HeaderBlocks(), hpack.Decoder()
    for number in range(2_000):
        fields: list[Field] = [
            (b":method", b"POST"),
            (b":path", b"/service/Rpc"),
            (b"te", b"trailers"),
            (b"grpc-timeout", b"%du" % (9_000_000 + number % 700)),
        ]
        if number == 1_000:
            blocks.resize(300)
            decoder.max_allowed_table_size = 300
        assert decoder.decode(blocks.block(fields), raw=True) == fields


def test_no_two_heads_of_changing_timeouts_are_alike() -> None:
    connection = opened()
    for _ in range(50):
        connection.request()
    blocks = [payload for kind, _, _, payload in frames(connection.to_send()) if kind == HEADERS]
    assert len(set(blocks)) == len(blocks) == 50


def test_an_answer_is_counted_when_its_stream_ends_in_pieces_of_any_size() -> None:
    connection = opened()
    streams = [connection.request(), connection.request()]
    assert streams == [1, 3]
    answer = b"".join(
        frame(HEADERS, 0, stream, b"\x88") + frame(DATA, 0, stream, b"12345") for stream in streams
    ) + frame(HEADERS, END_STREAM, 3, b"\x88")
    for at in range(len(answer)):
        assert connection.answered == []
        connection.receive(answer[at : at + 1])
    assert connection.answered == [3]
    assert connection.data_bytes == 10


def test_an_answer_without_a_message_is_an_error() -> None:
    connection = opened()
    stream = connection.request()
    with pytest.raises(ConnectionBroken):
        connection.receive(frame(HEADERS, END_STREAM, stream, b"\x88"))


def test_a_reset_is_an_error() -> None:
    connection = opened()
    with pytest.raises(ConnectionBroken):
        connection.receive(frame(RST_STREAM, 0, connection.request(), bytes(4)))


def test_a_ping_is_answered_with_its_own_bytes() -> None:
    connection = opened()
    connection.receive(frame(PING, 0, 0, b"12345678"))
    assert list(frames(connection.to_send())) == [(PING, ACK, 0, b"12345678")]


def test_bodies_wait_for_the_window_of_their_stream_and_of_the_connection() -> None:
    body = bytes(range(256)) * 400  # 102,400 bytes
    connection = opened(body, window=1_000)
    stream = connection.request()

    def data() -> list[Frame]:
        return [sent for sent in frames(connection.to_send()) if sent[0] == DATA]

    (first,) = data()
    assert first[3] == body[:1_000]
    connection.receive(frame(WINDOW_UPDATE, 0, stream, (200_000).to_bytes(4, "big")))
    sent = 1_000 + sum(len(payload) for *_, payload in data())
    assert sent == 65_535  # the connection's window
    connection.receive(frame(WINDOW_UPDATE, 0, 0, (100_000).to_bytes(4, "big")))
    rest = data()
    assert sent + sum(len(payload) for *_, payload in rest) == len(body)
    assert [flags for _, flags, _, _ in rest][-1] == END_STREAM
    assert b"".join(payload for *_, payload in rest) == body[sent:]
