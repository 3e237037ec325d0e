"""What the HTTP/2 core makes of frames, case by case."""

from __future__ import annotations

import hpack
import pytest

from sigrun.wire.transport.events import (
    Data,
    Ended,
    Head,
    Problem,
    Refused,
    Reset,
    Response,
    Trailers,
)
from sigrun.wire.transport.http2 import PREFACE, Http2
from sigrun.wire.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ErrorCode,
)
from sigrun.wire.transport.limits import Limits
from tests.fakes.http2_peer import (
    ANSWER,
    REQUEST,
    Frame,
    Peer,
    block,
    data,
    ended,
    frame,
    frames_in,
    headers,
    kinds,
    open_request,
    rst,
    settings,
    window_update,
)

SETTING_TABLE, SETTING_PUSH, SETTING_WINDOW, SETTING_FRAME = 1, 2, 4, 5


def decoded(frames: list[Frame]) -> list[list[tuple[bytes, bytes]]]:
    """Return the header lists of a server's frames."""
    decoder = hpack.Decoder()
    return [
        [(bytes(n), bytes(v)) for n, v in decoder.decode(frame.payload, raw=True)]
        for frame in frames
        if frame.kind == HEADERS
    ]


# What is well-formed.


def test_the_greeting_announces_the_limits() -> None:
    core = Http2(Limits(max_concurrent_streams=7, connection_window_bytes=100_000), 0.0)

    greeting, update = frames_in(core.take())

    assert greeting.kind == SETTINGS
    assert bytes.fromhex("000300000007") in greeting.payload
    assert update == Frame(WINDOW_UPDATE, 0, 0, (100_000 - 65_535).to_bytes(4))


def test_a_request_without_a_body_is_one_event() -> None:
    peer = Peer()

    (event,) = peer.send(headers(1, (*REQUEST, (b"a", b"1"), (b"a", b"2"), (b"b", b""))))

    assert isinstance(event, Head)
    assert event.ended
    assert event.head.method == b"POST"
    assert event.head.target == b"/a"
    assert event.head.scheme == b"http"
    assert event.head.authority == b"here"
    assert event.head.version == b"2"
    assert event.head.headers == {b"a": b"1, 2", b"b": b""}


def test_cookies_are_joined_as_cookies() -> None:
    (event,) = Peer().send(headers(1, (*REQUEST, (b"cookie", b"a=1"), (b"cookie", b"b=2"))))

    assert isinstance(event, Head)
    assert event.head.headers == {b"cookie": b"a=1; b=2"}


def test_the_host_header_is_the_authority_if_there_is_no_other() -> None:
    (event,) = Peer().send(headers(1, (*REQUEST[:3], (b"host", b"there"))))

    assert isinstance(event, Head)
    assert event.head.authority == b"there"


def test_body_and_trailers_follow_the_head() -> None:
    events = Peer().send(
        open_request(1),
        data(1, b"ab"),
        data(1, b"cd"),
        headers(1, [(b"grpc-status", b"0")]),
    )

    assert events[1:] == [
        Data(1, b"ab", 2, False),
        Data(1, b"cd", 2, False),
        Trailers(1, {b"grpc-status": b"0"}),
    ]


def test_bytes_may_come_in_any_pieces() -> None:
    sent = PREFACE + settings() + open_request(1) + data(1, b"abc", END_STREAM)
    core = Http2(Limits(), 0.0)

    events = [event for byte in sent for event in core.receive(bytes([byte]), 0.0)]

    assert kinds(events) == [Head, Data]
    assert not core.is_ended


def test_padding_and_priority_are_taken_off() -> None:
    padded_block = b"\x03" + bytes(5) + block(REQUEST) + bytes(3)
    flags = END_HEADERS | PADDED | WITH_PRIORITY

    events = Peer().send(frame(HEADERS, flags, 1, padded_block), data(1, b"\x02ab\0\0", PADDED))

    assert events[1:] == [Data(1, b"ab", 5, False)]


def test_a_block_may_be_continued() -> None:
    whole = block(REQUEST)

    events = Peer().send(
        frame(HEADERS, END_STREAM, 1, whole[:5]),
        frame(CONTINUATION, 0, 1, whole[5:9]),
        frame(CONTINUATION, END_HEADERS, 1, whole[9:]),
    )

    assert kinds(events) == [Head]


@pytest.mark.parametrize(
    "ignored",
    [
        frame(PRIORITY, 0, 1, bytes(5)),
        frame(PRIORITY, 0, 99, bytes(5)),
        frame(0xBE, 0xFF, 1, b"whatever"),
        settings((SETTING_PUSH, 0), (0xABCD, 5)),
        window_update(1, 5),
        rst(1),
        data(3, b"late"),
        headers(3, [(b"late", b"trailers")]),
    ],
)
def test_some_frames_change_nothing(ignored: bytes) -> None:
    peer = Peer()
    peer.send(headers(1))
    peer.core.respond(1, ANSWER)
    peer.send(open_request(3))
    peer.core.reset(3, ErrorCode.CANCEL)

    assert peer.send(ignored) == []
    assert kinds(peer.send(headers(5))) == [Head]


def test_settings_and_pings_are_acknowledged() -> None:
    peer = Peer()

    peer.send(settings((SETTING_WINDOW, 5)), frame(PING, 0, 0, b"12345678"))

    assert peer.received() == [Frame(SETTINGS, ACK, 0, b""), Frame(PING, ACK, 0, b"12345678")]


def test_a_request_that_the_client_gives_up_is_reset() -> None:
    peer = Peer()
    peer.send(open_request(1))

    assert peer.send(rst(1, 8)) == [Reset(1, 8)]
    assert peer.core.open_requests == 0


# What is not.

BAD_FIELDS = {
    "no method": REQUEST[1:],
    "no scheme": (REQUEST[0], *REQUEST[2:]),
    "no path": (*REQUEST[:2], REQUEST[3]),
    "an empty path": (*REQUEST[:2], (b":path", b""), REQUEST[3]),
    "no path at all": (*REQUEST[:2], (b":path", b"a"), REQUEST[3]),
    "no authority": REQUEST[:3],
    "another host": (*REQUEST, (b"host", b"there")),
    "two hosts": (*REQUEST, (b"host", b"here"), (b"host", b"here")),
    "a pseudo-header twice": (*REQUEST, (b":path", b"/a")),
    "an unknown pseudo-header": (*REQUEST, (b":what", b"a")),
    "a pseudo-header of answers": (*REQUEST, (b":status", b"200")),
    "a late pseudo-header": (*REQUEST[:3], (b"a", b"b"), REQUEST[3]),
    "a pseudo-header after a varying one": (*REQUEST[:3], (b"grpc-timeout", b"1S"), REQUEST[3]),
    "upper case": (*REQUEST, (b"A", b"b")),
    "an empty name": (*REQUEST, (b"", b"b")),
    "a colon in a name": (*REQUEST, (b"a:b", b"b")),
    "a space in a name": (*REQUEST, (b"a b", b"b")),
    "a line break": (*REQUEST, (b"a", b"b\r\nc: d")),
    "a line break in a varying one": (*REQUEST, (b"grpc-timeout", b"b\nc")),
    "a zero byte": (*REQUEST, (b"a", b"b\0")),
    "space before a value": (*REQUEST, (b"a", b" b")),
    "space after a value": (*REQUEST, (b"a", b"b\t")),
    "connection": (*REQUEST, (b"connection", b"close")),
    "transfer-encoding": (*REQUEST, (b"transfer-encoding", b"chunked")),
    "upgrade": (*REQUEST, (b"upgrade", b"h2c")),
    "te": (*REQUEST, (b"te", b"gzip")),
    "CONNECT with a path": ((b":method", b"CONNECT"), *REQUEST[1:]),
    "a length that is no number": (*REQUEST, (b"content-length", b"-1")),
    "two lengths": (*REQUEST, (b"content-length", b"0"), (b"content-length", b"0")),
    "a length without a body": (*REQUEST, (b"content-length", b"1")),
}


@pytest.mark.parametrize("fields", BAD_FIELDS.values(), ids=BAD_FIELDS.keys())
def test_a_malformed_request_costs_its_stream_and_no_more(
    fields: tuple[tuple[bytes, bytes], ...],
) -> None:
    peer = Peer()
    peer.send(headers(1, (*REQUEST, (b"grpc-timeout", b"2S"))))

    assert peer.send(headers(3, fields)) == []
    (reset,) = peer.received()
    assert (reset.kind, reset.stream, reset.code) == (RST_STREAM, 3, ErrorCode.PROTOCOL_ERROR)
    assert kinds(peer.send(headers(5))) == [Head]


STREAM_FAULTS = {
    "more than promised": ([data(1, b"123456")], ErrorCode.PROTOCOL_ERROR),
    "less than promised": ([data(1, b"1234", END_STREAM)], ErrorCode.PROTOCOL_ERROR),
    "less before trailers": ([headers(1, [(b"a", b"b")])], ErrorCode.PROTOCOL_ERROR),
    "trailers that end nothing": (
        [headers(1, [(b"a", b"b")], END_HEADERS)],
        ErrorCode.PROTOCOL_ERROR,
    ),
    "trailers with a pseudo-header": ([headers(1, [(b":path", b"/b")])], ErrorCode.PROTOCOL_ERROR),
    "too many trailers": ([headers(1, [(b"a", b"b")] * 65)], ErrorCode.ENHANCE_YOUR_CALM),
    "too large trailers": ([headers(1, [(b"a", b"b" * 9000)])], ErrorCode.ENHANCE_YOUR_CALM),
    "a window that opens by nothing": ([window_update(1, 0)], ErrorCode.PROTOCOL_ERROR),
    "a window that overflows": ([window_update(1, 2**31 - 1)], ErrorCode.FLOW_CONTROL_ERROR),
    "data after the end": (
        [data(1, b"12345", END_STREAM), data(1, b"6")],
        ErrorCode.STREAM_CLOSED,
    ),
    "a request again": (
        [data(1, b"12345", END_STREAM), headers(1)],
        ErrorCode.STREAM_CLOSED,
    ),
    "trailers after the end": (
        [data(1, b"12345", END_STREAM), headers(1, [(b"a", b"b")])],
        ErrorCode.STREAM_CLOSED,
    ),
}


@pytest.mark.parametrize(("sent", "code"), STREAM_FAULTS.values(), ids=STREAM_FAULTS.keys())
def test_a_mistake_within_a_request_resets_it(sent: list[bytes], code: ErrorCode) -> None:
    peer = Peer()
    peer.send(open_request(1, (b"content-length", b"5")))

    events = peer.send(*sent)

    assert events[-1] == Reset(1, code)
    assert peer.of_kind(RST_STREAM) == [Frame(RST_STREAM, 0, 1, code.to_bytes(4))]
    assert kinds(peer.send(headers(3))) == [Head]


CONNECTION_FAULTS = {
    "a frame too large": (data(1, bytes(65_537)), ErrorCode.FRAME_SIZE_ERROR),
    "data of an idle stream": (data(9, b"a"), ErrorCode.PROTOCOL_ERROR),
    "data of no stream": (data(0, b"a"), ErrorCode.PROTOCOL_ERROR),
    "data of a stream that is done": (data(3, b"a"), ErrorCode.STREAM_CLOSED),
    "headers of a stream that is done": (headers(3), ErrorCode.STREAM_CLOSED),
    "headers of an even stream": (headers(8), ErrorCode.PROTOCOL_ERROR),
    "headers of no stream": (headers(0), ErrorCode.PROTOCOL_ERROR),
    "more padding than frame": (data(1, b"\x05abc", PADDED), ErrorCode.PROTOCOL_ERROR),
    "no room for padding": (data(1, b"", PADDED), ErrorCode.PROTOCOL_ERROR),
    "no room for a priority": (
        frame(HEADERS, END_HEADERS | WITH_PRIORITY, 9, b"abc"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a priority of no stream": (frame(PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "a short priority": (frame(PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "a reset of an idle stream": (rst(9), ErrorCode.PROTOCOL_ERROR),
    "a reset of no stream": (rst(0), ErrorCode.PROTOCOL_ERROR),
    "a short reset": (frame(RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "settings of a stream": (frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "short settings": (frame(SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (
        frame(SETTINGS, ACK, 0, bytes(6)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "push that is neither on nor off": (settings((SETTING_PUSH, 2)), ErrorCode.PROTOCOL_ERROR),
    "a huge window": (settings((SETTING_WINDOW, 2**31)), ErrorCode.FLOW_CONTROL_ERROR),
    "small frames": (settings((SETTING_FRAME, 16_383)), ErrorCode.PROTOCOL_ERROR),
    "huge frames": (settings((SETTING_FRAME, 2**24)), ErrorCode.PROTOCOL_ERROR),
    "a promise": (frame(PUSH_PROMISE, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a ping of a stream": (frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a short ping": (frame(PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a goodbye of a stream": (frame(GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a short goodbye": (frame(GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a connection's window by nothing": (window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "a connection's window that overflows": (
        window_update(0, 2**31 - 1),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a window of an idle stream": (window_update(9, 1), ErrorCode.PROTOCOL_ERROR),
    "a short window update": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "a continuation of nothing": (frame(CONTINUATION, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "a block interrupted": (
        frame(HEADERS, 0, 9, b"") + frame(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block continued elsewhere": (
        frame(HEADERS, 0, 9, b"") + frame(CONTINUATION, 0, 11, b""),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block with a wrong index": (
        frame(HEADERS, END_HEADERS, 9, b"\xff\x80\x01"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "trailers that cannot be read": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"),
        ErrorCode.COMPRESSION_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "code"), CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS.keys())
def test_a_broken_protocol_ends_the_connection_with_a_reason(sent: bytes, code: ErrorCode) -> None:
    peer = Peer()
    peer.send(open_request(1), headers(3))
    peer.core.respond(3, ANSWER)

    end = ended(peer.send(sent))

    assert end is not None
    assert end.code == code
    assert end.text
    goaway = peer.received()[-1]
    assert (goaway.kind, goaway.code) == (GOAWAY, code)
    assert peer.core.is_ended
    assert peer.send(headers(11)) == []
    assert peer.core.on_time(100.0) == []
    assert not peer.core.has_output


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\n",
        PREFACE[:-1] + b"x",
        PREFACE + headers(1),
        PREFACE + settings()[:3] + b"\x04\x01" + bytes(4),
    ],
    ids=["HTTP/1.1", "a wrong preface", "no settings", "an acknowledgement first"],
)
def test_who_does_not_begin_with_preface_and_settings_is_not_served(first: bytes) -> None:
    core = Http2(Limits(), 0.0)

    end = ended(core.receive(first, 0.0))

    assert end is not None
    assert end.code == ErrorCode.PROTOCOL_ERROR


def test_a_change_of_settings_that_overflows_an_open_window_ends_the_connection() -> None:
    peer = Peer()
    peer.send(open_request(1), window_update(1, 2**31 - 1 - 65_535))

    end = ended(peer.send(settings((SETTING_WINDOW, 65_536))))

    assert end is not None
    assert end.code == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize("late", [data(1, b"late"), headers(1, [(b"late", b"trailers")])])
def test_what_follows_a_reset_by_the_client_itself_is_answered_with_a_reset(late: bytes) -> None:
    peer = Peer()
    peer.send(open_request(1), rst(1))

    assert peer.send(late) == []
    (reset,) = peer.received()
    assert (reset.kind, reset.code) == (RST_STREAM, ErrorCode.STREAM_CLOSED)


# Limits of requests.


def test_streams_beyond_the_limit_are_refused_so_that_they_can_be_tried_again() -> None:
    peer = Peer(Limits(max_concurrent_streams=1))

    events = peer.send(open_request(1), open_request(3), data(3, b"a"), headers(5))

    assert kinds(events) == [Head]
    assert [(f.stream, f.code) for f in peer.of_kind(RST_STREAM)] == [
        (3, ErrorCode.REFUSED_STREAM),
        (5, ErrorCode.REFUSED_STREAM),
    ]
    peer.core.respond(1, ANSWER)
    assert kinds(peer.send(headers(7))) == [Head]


TOO_LARGE_HEADS = {
    "too many": (*REQUEST, (b"content-type", b"application/grpc"), *[(b"a", b"b")] * 300),
    "too large": (*REQUEST, (b"content-type", b"application/grpc"), (b"a", b"b" * 66_000)),
    "too large at last": (
        *REQUEST,
        (b"content-type", b"application/grpc"),
        (b"a", b"b" * 65_000),
        (b"x-request-id", b"c" * 1000),
    ),
}


@pytest.mark.parametrize("fields", TOO_LARGE_HEADS.values(), ids=TOO_LARGE_HEADS.keys())
def test_a_head_that_is_too_large_is_refused_with_what_it_was_about(
    fields: tuple[tuple[bytes, bytes], ...],
) -> None:
    peer = Peer(Limits(max_frame_bytes=100_000))

    refused, _ = peer.send(headers(1, fields), headers(3))

    assert isinstance(refused, Refused)
    assert refused.problem is Problem.HEAD_TOO_LARGE
    assert refused.head is not None
    assert refused.head.headers[b"content-type"] == b"application/grpc"
    peer.core.respond(1, Response(431, ()))
    assert decoded(peer.received()) == [[(b":status", b"431")]]


@pytest.mark.parametrize(
    "sent",
    [
        [open_request(1, (b"content-length", b"11"))],
        [open_request(1), data(1, b"12345678901")],
        [open_request(1), data(1, b"12345678"), data(1, b"9012345", END_STREAM)],
    ],
)
def test_a_body_that_is_too_large_is_refused_and_the_rest_thrown_away(sent: list[bytes]) -> None:
    peer = Peer(Limits(max_body_bytes=10))

    events = peer.send(*sent)

    refused = events[-1]
    assert isinstance(refused, Refused)
    assert refused.problem is Problem.BODY_TOO_LARGE
    assert refused.head is not None
    if not sent[-1][4] & END_STREAM:
        assert peer.send(data(1, b"and so on")) == []
    peer.core.respond(1, Response(413, (), b"too large"))
    assert peer.core.open_requests == 0
    assert decoded(peer.received())[0][0] == (b":status", b"413")


def test_requests_are_refused_while_too_much_of_the_answers_waits() -> None:
    peer = Peer(Limits(max_pending_bytes=1000))
    peer.send(headers(1))
    peer.core.respond(1, ANSWER._replace(body=bytes(70_000)))
    peer.received()

    (refused,) = peer.send(headers(3))

    assert isinstance(refused, Refused)
    assert refused.problem is Problem.TOO_MANY


# Answers.


def test_a_whole_answer_is_head_body_and_trailers() -> None:
    peer = Peer()
    peer.send(headers(1))

    peer.core.respond(1, ANSWER)

    frames = peer.received()
    assert [(f.kind, f.flags) for f in frames] == [
        (HEADERS, END_HEADERS),
        (DATA, 0),
        (HEADERS, END_HEADERS | END_STREAM),
    ]
    assert frames[1].payload == b"answer"
    assert decoded(frames) == [[(b":status", b"200"), (b"a", b"b")], [(b"grpc-status", b"0")]]
    assert peer.core.open_requests == 0


ANSWERS = {
    "no body": (Response(200, ()), False, [HEADERS], None),
    "trailers only": (Response(200, ((b"grpc-status", b"5"),)), False, [HEADERS], None),
    "no body but trailers": (ANSWER._replace(body=b""), False, [HEADERS, HEADERS], None),
    "a body": (Response(200, (), b"abc"), False, [HEADERS, DATA], b"3"),
    "a body in two": (Response(200, (), b"bc", None, b"a"), False, [HEADERS, DATA], b"3"),
    "two, asked about": (Response(200, (), b"bc", None, b"a"), True, [HEADERS], b"3"),
    "but a lead": (Response(200, (), b"", None, b"abc"), False, [HEADERS, DATA], b"3"),
    "two, and trailers": (
        Response(200, (), b"bc", ((b"a", b"b"),), b"a"),
        False,
        [HEADERS, DATA, HEADERS],
        None,
    ),
    "a body asked about": (Response(200, (), b"abc"), True, [HEADERS], b"3"),
    "nothing new": (Response(304, (), b"abc"), False, [HEADERS], None),
    "nothing at all": (Response(204, ()), False, [HEADERS], None),
}


@pytest.mark.parametrize(
    ("response", "head_only", "expected", "length"), ANSWERS.values(), ids=ANSWERS.keys()
)
def test_an_answer_is_as_many_frames_as_it_needs(
    response: Response, head_only: bool, expected: list[int], length: bytes | None
) -> None:
    peer = Peer()
    peer.send(headers(1))

    peer.core.respond(1, response, head_only=head_only)

    frames = peer.received()
    assert [f.kind for f in frames] == expected
    assert [bool(f.flags & END_STREAM) for f in frames] == [False] * (len(frames) - 1) + [True]
    assert dict(decoded(frames)[0]).get(b"content-length") == length


def test_what_leads_a_body_is_sent_before_it() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 1_000_000)), window_update(0, 1_000_000))
    body = bytes(range(256)) * 200
    peer.send(headers(1))

    peer.core.respond(1, ANSWER._replace(body=body, lead=b"lead"))

    assert b"".join(f.payload for f in peer.of_kind(DATA)) == b"lead" + body
    assert peer.core.open_requests == 0


def test_an_answer_in_pieces() -> None:
    peer = Peer()
    peer.send(headers(1))

    peer.core.start(1, 200, ((b"a", b"b"),))
    peer.core.write(1, b"one")
    peer.core.write(1, b"")
    peer.core.write(1, b"two")
    peer.core.end(1, ((b"c", b"d"),))

    frames = peer.received()
    assert [f.payload for f in frames if f.kind == DATA] == [b"one", b"two"]
    assert decoded(frames) == [[(b":status", b"200"), (b"a", b"b")], [(b"c", b"d")]]
    assert frames[-1].flags & END_STREAM
    assert peer.core.open_requests == 0


def test_an_answer_in_pieces_may_end_without_trailers() -> None:
    peer = Peer()
    peer.send(headers(1))

    peer.core.start(1, 200, ())
    peer.core.end(1)

    assert peer.received()[-1] == Frame(DATA, END_STREAM, 1, b"")


def test_an_early_answer_tells_the_client_not_to_send_the_rest() -> None:
    peer = Peer()
    peer.send(open_request(1), data(1, b"some"))

    peer.core.respond(1, Response(404, ()))

    assert peer.received()[-1] == Frame(RST_STREAM, 0, 1, bytes(4))
    assert peer.send(data(1, b"rest", END_STREAM)) == []
    assert not peer.core.is_ended


def test_a_client_may_be_told_to_continue() -> None:
    peer = Peer()
    peer.send(open_request(1, (b"expect", b"100-continue")))

    peer.core.send_continue(1)

    (go_on,) = peer.received()
    assert go_on.flags == END_HEADERS
    assert decoded([go_on]) == [[(b":status", b"100")]]


def test_a_client_that_gets_its_answer_is_not_told_to_continue() -> None:
    peer = Peer()
    peer.send(open_request(1))
    peer.core.start(1, 200, ())
    peer.received()

    peer.core.send_continue(1)

    assert peer.received() == []


def test_what_is_said_about_a_stream_that_is_gone_is_ignored() -> None:
    peer = Peer()
    peer.send(headers(1), rst(1))

    peer.core.start(1, 200, ())
    peer.core.write(1, b"a")
    peer.core.end(1)
    peer.core.respond(1, ANSWER)
    peer.core.send_continue(1)
    peer.core.consumed(1, 5)
    peer.core.expect_pauses(1)

    assert peer.received() == []
    assert peer.core.pending(1) == 0


@pytest.mark.parametrize("say", ["respond", "start"])
def test_answering_twice_is_a_mistake_of_ours(say: str) -> None:
    peer = Peer()
    peer.send(headers(1))
    peer.core.start(1, 200, ())

    with pytest.raises(RuntimeError, match="answered twice"):
        peer.core.respond(1, ANSWER) if say == "respond" else peer.core.start(1, 200, ())


def test_a_header_block_larger_than_a_frame_is_continued() -> None:
    peer = Peer()
    peer.send(headers(1))
    large = b"x" * 40_000

    peer.core.respond(1, Response(200, ((b"a", large),), b"body", ((b"b", large),)))

    frames = peer.received()
    assert [(f.kind, f.flags) for f in frames] == [
        (HEADERS, 0),
        (CONTINUATION, 0),
        (CONTINUATION, END_HEADERS),
        (DATA, 0),
        (HEADERS, END_STREAM),
        (CONTINUATION, 0),
        (CONTINUATION, END_HEADERS),
    ]
    whole = b"".join(f.payload for f in frames[:3])
    assert (b"a", large) in list(hpack.Decoder().decode(whole, raw=True))


def test_a_client_with_a_small_table_is_told_that_none_is_used() -> None:
    peer = Peer()
    peer.send(settings((SETTING_TABLE, 0)), headers(1))
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 0

    peer.core.respond(1, ANSWER)

    first = peer.of_kind(HEADERS)[0]
    assert (b":status", b"200") in list(decoder.decode(first.payload, raw=True))


# Flow control.


def test_an_answer_larger_than_the_windows_goes_as_they_open() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 10)))
    peer.send(headers(1))
    peer.core.respond(1, ANSWER._replace(body=b"0123456789abcdef"))

    assert [f.payload for f in peer.of_kind(DATA)] == [b"0123456789"]
    assert peer.core.pending(1) == 6
    assert peer.core.open_requests == 1
    peer.send(window_update(1, 3))
    assert [f.payload for f in peer.of_kind(DATA)] == [b"abc"]
    peer.send(window_update(1, 100))
    assert [f.kind for f in peer.received()] == [DATA, HEADERS]
    assert peer.core.open_requests == 0
    assert peer.core.pending_bytes == 0


def test_the_connections_window_holds_back_all_streams_together() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 1_000_000)))
    peer.send(headers(1), headers(3))
    peer.core.respond(1, ANSWER._replace(body=bytes(60_000)))
    peer.core.respond(3, ANSWER._replace(body=bytes(60_000)))

    assert sum(len(f.payload) for f in peer.of_kind(DATA)) == 65_535
    assert not peer.core.has_output
    peer.send(window_update(0, 1_000_000))
    assert sum(len(f.payload) for f in peer.of_kind(DATA)) == 120_000 - 65_535


def test_large_answers_take_turns() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 1_000_000)), window_update(0, 1_000_000))
    peer.send(headers(1), headers(3))
    for stream in (1, 3):
        peer.core.respond(stream, ANSWER._replace(body=bytes(50_000)))

    assert [f.stream for f in peer.of_kind(DATA)] == [1, 3, 1, 3, 1, 3, 1, 3]


def test_a_small_answer_overtakes_one_that_waits_for_its_stream() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 10)))
    peer.send(headers(1), headers(3))
    peer.core.respond(1, ANSWER._replace(body=bytes(100)))
    peer.core.respond(3, ANSWER)

    assert peer.received()[-1].stream == 1
    assert peer.core.open_requests == 1


def test_trailers_come_after_all_that_was_written() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 4)))
    peer.send(headers(1))
    peer.core.start(1, 200, ())
    for piece in (b"ab", b"cd", b"ef", b"gh"):
        peer.core.write(1, piece)
    peer.core.end(1, ((b"a", b"b"),))

    assert [f.payload for f in peer.of_kind(DATA)] == [b"ab", b"cd"]
    peer.send(window_update(1, 100))
    assert [f.kind for f in peer.received()] == [DATA, HEADERS]


def test_a_change_of_settings_moves_the_windows_of_open_streams() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 10)))
    peer.send(headers(1))
    peer.core.respond(1, ANSWER._replace(body=bytes(30)))
    assert len(peer.of_kind(DATA)[0].payload) == 10

    peer.send(settings((SETTING_WINDOW, 5)), window_update(1, 5))
    assert peer.of_kind(DATA) == []
    peer.send(settings((SETTING_WINDOW, 12)))
    assert len(peer.of_kind(DATA)[0].payload) == 7


def test_frames_are_no_larger_than_the_client_takes() -> None:
    peer = Peer(None, settings((SETTING_WINDOW, 10**6), (SETTING_FRAME, 20_000)))
    peer.send(headers(1), window_update(0, 10**6))
    peer.core.respond(1, ANSWER._replace(body=bytes(45_000)))

    assert [len(f.payload) for f in peer.of_kind(DATA)] == [20_000, 20_000, 5_000]


def test_one_take_is_bounded() -> None:
    peer = Peer(
        Limits(max_take_bytes=50_000),
        settings((SETTING_WINDOW, 2**31 - 1)),
        window_update(0, 2**30),
    )
    peer.send(headers(1))
    peer.core.respond(1, ANSWER._replace(body=bytes(1_000_000)))

    sizes = []
    while peer.core.has_output:
        sizes.append(len(peer.core.take()))

    assert max(sizes) < 50_000 + 16_384 + 100
    assert sum(sizes) > 1_000_000


def test_windows_are_opened_when_the_application_has_taken_half_of_them() -> None:
    limits = Limits(stream_window_bytes=100_000, connection_window_bytes=300_000)
    peer = Peer(limits)
    peer.send(open_request(1), *[data(1, bytes(10_000)) for _ in range(10)])

    for _ in range(4):
        peer.core.consumed(1, 10_000)
    assert peer.received() == []
    peer.core.consumed(1, 10_000)
    assert peer.received() == [Frame(WINDOW_UPDATE, 0, 1, (50_000).to_bytes(4))]


def test_small_bodies_hold_nothing_of_the_connections_window() -> None:
    peer = Peer(Limits(connection_window_bytes=80_000))
    streams = range(1, 61, 2)
    small = [
        event
        for stream in streams
        for event in peer.send(open_request(stream), data(stream, bytes(4096), END_STREAM))
    ]

    assert [event for event in small if isinstance(event, Data)] == [
        Data(stream, bytes(4096), 0, True) for stream in streams
    ]
    (*_, large) = peer.send(open_request(61), data(61, bytes(4097), END_STREAM))
    assert large == Data(61, bytes(4097), 4097, True)


@pytest.mark.parametrize("leave", ["client", "server", "answer"])
def test_what_nobody_read_of_a_stream_that_is_gone_opens_the_connections_window(leave: str) -> None:
    peer = Peer(Limits(stream_window_bytes=200_000, connection_window_bytes=300_000))
    peer.send(open_request(1), *[data(1, bytes(50_000)) for _ in range(3)])

    if leave == "client":
        peer.send(rst(1))
    elif leave == "server":
        peer.core.reset(1, ErrorCode.CANCEL)
    else:
        peer.core.respond(1, ANSWER)

    assert Frame(WINDOW_UPDATE, 0, 0, (150_000).to_bytes(4)) in peer.received()


def test_more_than_a_streams_window_resets_it() -> None:
    peer = Peer(Limits(stream_window_bytes=70_000))

    events = peer.send(open_request(1), *[data(1, bytes(50_000)) for _ in range(2)])

    assert events[-1] == Reset(1, ErrorCode.FLOW_CONTROL_ERROR)


def test_more_than_the_connections_window_ends_it() -> None:
    peer = Peer(Limits(connection_window_bytes=70_000))

    end = ended(peer.send(open_request(1), *[data(1, bytes(50_000)) for _ in range(2)]))

    assert end is not None
    assert end.code == ErrorCode.FLOW_CONTROL_ERROR


def test_reading_stops_while_the_socket_takes_nothing_but_not_for_windows() -> None:
    peer = Peer(Limits(max_untaken_bytes=1000), settings((SETTING_WINDOW, 10)))
    peer.send(headers(1), headers(3))
    peer.core.respond(1, ANSWER._replace(body=bytes(5000)))
    assert peer.core.wants_data

    peer.core.respond(3, Response(200, ((b"a", b"b" * 2000),)))
    assert not peer.core.wants_data
    peer.received()
    assert peer.core.wants_data
    assert peer.core.pending_bytes == 4990


# Life.


def test_draining_takes_what_is_under_way_and_then_ends() -> None:
    peer = Peer()
    peer.send(headers(1))

    peer.core.drain(0.0)
    goaway, ping = peer.received()
    assert (goaway.kind, goaway.payload) == (GOAWAY, b"\x7f\xff\xff\xff" + bytes(4))
    assert kinds(peer.send(headers(3))) == [Head]
    peer.send(frame(PING, ACK, 0, ping.payload))
    (goaway,) = peer.received()
    assert goaway.payload == (3).to_bytes(4) + bytes(4)
    assert peer.send(headers(5), open_request(7), data(7, b"a")) == []
    peer.core.respond(1, ANSWER)
    assert not peer.core.is_ended
    peer.core.respond(3, ANSWER)
    assert peer.core.is_ended
    assert [f.kind for f in peer.received()] == [HEADERS, DATA, HEADERS] * 2
    assert peer.core.on_time(1.0) == [Ended(0, "")]


def test_draining_does_not_wait_long_for_the_ping() -> None:
    peer = Peer(Limits(drain_ping_s=1.0))
    peer.core.drain(0.0)

    assert peer.wait(0.75) == []
    assert peer.wait(0.5) == [Ended(0, "")]


def test_a_goodbye_of_the_client_is_answered_by_draining() -> None:
    peer = Peer()
    peer.send(headers(1), frame(GOAWAY, 0, 0, bytes(8)))
    ping = peer.received()[-1]
    peer.send(frame(PING, ACK, 0, ping.payload))

    peer.core.respond(1, ANSWER)

    assert peer.core.is_ended


def test_the_end_of_the_bytes_is_the_end() -> None:
    peer = Peer()
    peer.send(open_request(1))

    (end,) = peer.core.receive_eof(0.0)

    assert isinstance(end, Ended)
    assert end.code == 0
    assert peer.core.open_requests == 0


def test_closing_says_why() -> None:
    peer = Peer()

    peer.core.close(ErrorCode.ENHANCE_YOUR_CALM, "enough")

    (goaway,) = peer.received()
    assert goaway.payload[8:] == b"enough"
    assert peer.core.on_time(0.0) == [Ended(ErrorCode.ENHANCE_YOUR_CALM, "enough")]
