"""The library h2, strict as it is, as a client of the core, in memory."""

from __future__ import annotations

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes
from hypothesis import given
from hypothesis import strategies as st

from sigrun.wire.transport.events import Data, Head, Reset, Response, Trailers
from sigrun.wire.transport.http2 import Http2
from sigrun.wire.transport.http2.frames import ErrorCode
from sigrun.wire.transport.limits import Limits
from tests.fakes.http2_peer import REQUEST

GRPC = ((b"content-type", b"application/grpc"),)
OK = ((b"grpc-status", b"0"),)


class Pair:
    """A client and a core whose application echoes whole bodies."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self.core = Http2(limits or Limits(), 0.0)
        self.unsent: dict[int, bytes] = {}
        self.bodies: dict[int, bytes] = {}  # as the application got them
        self.answers: dict[int, bytes] = {}
        self.trailers: dict[int, list[tuple[bytes, bytes]]] = {}
        self.resets: list[int] = []
        self.client.initiate_connection()
        self.run()

    def request(self, body: bytes, *, trailers: bool = False) -> int:
        """Begin a request; its body goes as the windows allow."""
        stream = self.client.get_next_available_stream_id()
        self.client.send_headers(stream, REQUEST)
        self.unsent[stream] = body
        self._send_bodies(trailers=trailers)
        return stream

    def _send_bodies(self, *, trailers: bool = False) -> None:
        for stream in list(self.unsent):
            body = self.unsent[stream]
            while body:
                size = min(
                    self.client.local_flow_control_window(stream),
                    self.client.max_outbound_frame_size,
                    len(body),
                )
                if not size:
                    break
                self.client.send_data(stream, body[:size])
                body = body[size:]
            self.unsent[stream] = body
            if not body:
                del self.unsent[stream]
                if trailers:
                    self.client.send_headers(stream, [(b"a", b"b")], end_stream=True)
                else:
                    self.client.end_stream(stream)

    def run(self) -> None:
        """Carry bytes to and fro until there are no more."""
        while True:
            sent = self.client.data_to_send()
            self._serve(sent)
            taken = self.core.take() if self.core.has_output else b""
            self._read(taken)
            self._send_bodies()
            if not sent and not taken:
                return

    def _serve(self, sent: bytes) -> None:
        for event in self.core.receive(sent, 0.0):
            match event:
                case Head(stream):
                    self.bodies[stream] = b""
                case Data(stream, data, credit, ended):
                    self.bodies[stream] += data
                    self.core.consumed(stream, credit)
                    if ended:
                        self.answer(stream)
                case Trailers(stream):
                    self.answer(stream)
                case Reset(stream):
                    self.resets.append(stream)
                case _:
                    raise AssertionError(event)

    def answer(self, stream: int) -> None:
        """Echo a body."""
        self.core.respond(stream, Response(200, GRPC, self.bodies[stream], OK))

    def _read(self, taken: bytes) -> None:
        for event in self.client.receive_data(taken):
            match event:
                case h2.events.DataReceived():
                    stream = event.stream_id
                    self.answers[stream] = self.answers.get(stream, b"") + event.data
                    if not event.stream_ended:
                        self.client.acknowledge_received_data(event.flow_controlled_length, stream)
                case h2.events.TrailersReceived():
                    self.trailers[event.stream_id] = [
                        (bytes(n), bytes(v)) for n, v in event.headers
                    ]


def test_a_small_call() -> None:
    pair = Pair()

    stream = pair.request(b"hello")
    pair.run()

    assert pair.answers[stream] == b"hello"
    assert pair.trailers[stream] == list(OK)
    assert pair.core.open_requests == 0


def test_bodies_larger_than_all_windows_go_both_ways_at_once() -> None:
    pair = Pair(Limits(stream_window_bytes=70_000, connection_window_bytes=100_000))
    bodies = [bytes([n]) * (100_000 + 77_777 * n) for n in range(4)]

    streams = [pair.request(body) for body in bodies]
    pair.run()

    assert [pair.answers[stream] for stream in streams] == bodies
    assert pair.core.pending_bytes == 0


def test_trailers_of_the_client_end_a_request() -> None:
    pair = Pair()

    stream = pair.request(b"hello", trailers=True)
    pair.run()

    assert pair.answers[stream] == b"hello"


def test_a_call_that_the_client_gives_up_does_not_disturb_the_others() -> None:
    pair = Pair(Limits(stream_window_bytes=70_000))
    kept, left = pair.request(b"x" * 500_000), pair.request(b"y" * 500_000)

    pair.client.reset_stream(left, ErrorCode.CANCEL)
    del pair.unsent[left]
    pair.run()

    assert pair.resets == [left]
    assert pair.answers[kept] == b"x" * 500_000


@pytest.mark.parametrize(
    "changes",
    [
        {SettingCodes.INITIAL_WINDOW_SIZE: 1},
        {SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000},
        {SettingCodes.MAX_FRAME_SIZE: 100_000},
        {SettingCodes.HEADER_TABLE_SIZE: 0},
        {SettingCodes.HEADER_TABLE_SIZE: 100_000},
        {SettingCodes.ENABLE_PUSH: 0},
    ],
)
def test_settings_may_change_while_calls_are_open(changes: dict[SettingCodes | int, int]) -> None:
    pair = Pair()
    first = pair.request(b"x" * 1000)
    pair.client.update_settings(changes)
    second = pair.request(b"y" * 1000)

    pair.run()

    assert pair.answers == {first: b"x" * 1000, second: b"y" * 1000}
    third = pair.request(b"z")
    pair.run()
    assert pair.answers[third] == b"z"


def test_pings_are_answered() -> None:
    pair = Pair()

    pair.client.ping(b"12345678")
    pair._serve(pair.client.data_to_send())
    (event,) = pair.client.receive_data(pair.core.take())

    assert isinstance(event, h2.events.PingAckReceived)


def test_a_goodbye_reaches_the_client() -> None:
    pair = Pair()

    pair.core.close(ErrorCode.ENHANCE_YOUR_CALM, "enough")
    (event,) = pair.client.receive_data(pair.core.take())

    assert isinstance(event, h2.events.ConnectionTerminated)
    assert event.error_code == ErrorCode.ENHANCE_YOUR_CALM


steps = st.sampled_from(["small", "large", "trailers", "reset", "window", "ping", "run"])


@given(st.lists(steps, max_size=12))
def test_whatever_the_client_does_its_calls_are_answered(doings: list[str]) -> None:
    pair = Pair(Limits(stream_window_bytes=70_000, connection_window_bytes=100_000))
    sent: dict[int, bytes] = {}
    for number, step in enumerate(doings):
        body = bytes([number]) * (100_000 if step == "large" else number)
        if step in ("small", "large", "trailers"):
            sent[pair.request(body, trailers=step == "trailers")] = body
        elif step == "reset" and sent:
            stream = min(sent)
            try:
                pair.client.reset_stream(stream)
            except StreamClosedError:  # it has its answer
                continue
            pair.unsent.pop(stream, None)
            del sent[stream]
        elif step == "window":
            size = [5_000, 65_535, 100_000][number % 3]
            pair.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
        elif step == "ping":
            pair.client.ping(bytes(8))
        elif step == "run":
            pair.run()

    pair.run()

    assert {stream: pair.answers.get(stream, b"") for stream in sent} == sent
    assert pair.core.open_requests == 0
    assert pair.core.pending_bytes == 0
