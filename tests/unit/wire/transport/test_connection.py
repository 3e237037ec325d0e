"""One connection, between a core that follows a script and a socket that is none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sigrun.concurrency.budget import Budget, Full
from sigrun.wire.transport.connection import Connection
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
from sigrun.wire.transport.exchange import Answer, BodyTooLarge, Exchange
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.service import Service, Spoken
from sigrun.wire.transport.turns import Turns
from tests.fakes.transport import OK, FakeApplication, FakeTransport, ScriptedCore, head

pytestmark = pytest.mark.asyncio

LIMITS = Limits(
    max_pending_bytes=200, stream_output_high_bytes=40, stream_output_low_bytes=20, linger_s=0.0
)

Serve = Callable[[Exchange], Coroutine[Any, Any, None]]


class Desk:
    """A connection and all that it deals with."""

    def __init__(
        self,
        serve: Serve | None = None,
        limits: Limits = LIMITS,
        *spoken: Spoken,
        budget: Budget | None = None,
        shares: Desk | None = None,  # whose turns
    ):
        self.core = ScriptedCore()
        self.asked_for: list[Spoken] = []
        self.socket = FakeTransport()
        self.application = FakeApplication(serve)
        self.now = 1000.0
        self.turns: Turns = shares.turns if shares else Turns(clock=lambda: self.now)
        self.lost: list[Connection] = []
        self.service: Service = Service(
            application=self.application,
            limits=limits,
            cores={name: self._core_for(name) for name in spoken or (Spoken.HTTP1,)},
            turns=self.turns,
            door=shares.service.door if shares else self.turns.add_door("http"),
            budget=budget or Budget(),
            is_spared=lambda head: head.method == b"GET",
        )
        self.connection = Connection(self.service, "192.0.2.1:80", self.lost.append)
        self.socket.connect(self.connection)

    def _core_for(self, spoken: Spoken) -> Callable[[Limits, float], ScriptedCore]:
        def make(limits: Limits, now: float) -> ScriptedCore:
            self.asked_for.append(spoken)
            return self.core

        return make

    def read(self, *events: Any, data: bytes = b"x") -> None:
        self.core.events += events
        self.connection.data_received(data)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


class TestAnswering:
    async def test_a_request_is_answered_within_the_read_that_brought_it(self) -> None:
        desk = Desk()

        desk.read(Head(1, head(), True))

        assert desk.socket.writes == [b"<1 200 ok>"]

    async def test_all_answers_to_one_read_leave_in_one_write(self) -> None:
        desk = Desk()

        desk.read(*(Head(stream, head(), True) for stream in (1, 2, 3)))

        assert desk.socket.writes == [b"<1 200 ok><2 200 ok><3 200 ok>"]

    async def test_an_answer_to_head_has_no_body(self) -> None:
        desk = Desk()

        desk.read(Head(1, head(method=b"HEAD"), True))

        assert desk.socket.written == b"<1 200 >"

    async def test_answers_that_come_together_later_leave_in_one_write(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await go
            exchange.respond(OK)

        go = asyncio.get_running_loop().create_future()
        desk = Desk(serve)
        desk.core.open_requests = 1
        desk.read(*(Head(stream, head(), True) for stream in (1, 2, 3)))
        assert desk.socket.writes == []

        go.set_result(None)
        await until(lambda: bool(desk.socket.writes))

        assert desk.socket.writes == [b"<1 200 ok><2 200 ok><3 200 ok>"]

    async def test_the_last_answer_of_a_connection_does_not_wait_for_others(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await go
            exchange.respond(OK)
            assert desk.socket.written == b"<1 200 ok>"

        go = asyncio.get_running_loop().create_future()
        desk = Desk(serve)
        desk.read(Head(1, head(), True))
        go.set_result(None)

        await until(lambda: bool(desk.socket.writes))

    async def test_who_asks_is_known(self) -> None:
        desk = Desk()
        desk.read(Head(1, head(b"/path"), True))

        exchange = desk.application.exchanges[0]

        assert (exchange.peer, exchange.is_secure) == ("192.0.2.1:80", False)
        assert exchange.head.target == b"/path"
        assert exchange.arrived_at == 1000.0

    async def test_a_second_answer_is_an_error(self) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(OK)
            with pytest.raises(RuntimeError, match="SENT"):
                exchange.respond(OK)
            seen.append(True)

        seen: list[bool] = []
        Desk(serve).read(Head(1, head(), True))
        assert seen


class TestBodies:
    async def test_a_body_that_is_here_is_read_without_waiting(self) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(Response(200, (), await exchange.read(100)))

        desk = Desk(serve)
        desk.read(Head(1, head(), False), Data(1, b"abc", 3, False), Data(1, b"def", 4, True))

        assert desk.socket.written == b"<1 200 abcdef>"
        assert desk.core.calls == [("consumed", 1, 7)]

    async def test_a_body_in_one_piece_is_not_copied(self) -> None:
        async def serve(exchange: Exchange) -> None:
            bodies.append(await exchange.read(100))
            exchange.respond(OK)

        bodies: list[Any] = []
        piece = b"a body of one piece"
        desk = Desk(serve)
        desk.read(Head(1, head(), False), Data(1, piece, len(piece), True))
        desk.read(Head(2, head(), False))
        desk.read(Data(2, piece, len(piece), True))
        await until(lambda: len(bodies) == 2)

        assert bodies[0] is piece
        assert bodies[1] is piece

    async def test_a_body_that_comes_in_pieces_is_put_together(self) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(Response(200, (), await exchange.read(100)))

        desk = Desk(serve)
        desk.read(Head(1, head(), False))
        for piece in (b"a", b"bc", b"", b"def"):
            desk.read(Data(1, piece, len(piece), False))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        desk.read(Data(1, b"", 0, True))
        await until(lambda: bool(desk.socket.writes))

        assert desk.socket.written == b"<1 200 abcdef>"
        assert [call[2] for call in desk.core.calls] == [1, 2, 3]

    @pytest.mark.parametrize("comes_later", [False, True])
    @pytest.mark.parametrize(
        "pieces",
        [
            [b"\x03abc"],
            [b"\x03", b"abc"],
            [b"\x03a", b"", b"b", b"c"],
            [b"\x02abc"],  # it says something else: that is for the application
            [b"\x09abc"],
            [b"\x02a", b"bc"],
        ],
    )
    async def test_a_body_that_begins_with_its_size_is_read_in_two(
        self, pieces: list[bytes], comes_later: bool
    ) -> None:
        async def serve(exchange: Exchange) -> None:
            parts.append(await exchange.read_framed(1, ord, 100))
            exchange.respond(OK)

        parts: list[Any] = []
        desk = Desk(serve)
        events = [Data(1, piece, len(piece), False) for piece in pieces]
        end = Data(1, b"", 0, True)
        if comes_later:
            for event in (Head(1, head(), False), *events, end):
                desk.read(event)
        else:
            desk.read(Head(1, head(), False), *events, end)
        await until(lambda: bool(parts))

        assert parts == [(pieces[0][:1], b"abc")]
        taken = sum(credit for _, _, credit in desk.core.calls)
        assert taken == 4

    @pytest.mark.parametrize("comes_later", [False, True])
    async def test_a_head_in_several_pieces_is_read_too(self, comes_later: bool) -> None:
        async def serve(exchange: Exchange) -> None:
            parts.append(await exchange.read_framed(3, len, 100))
            exchange.respond(OK)

        parts: list[Any] = []
        desk = Desk(serve)
        events: list[Any] = [Head(1, head(), False)]
        events += [Data(1, piece, len(piece), False) for piece in (b"a", b"b", b"cde", b"f")]
        events.append(Data(1, b"", 0, True))
        for some in [[event] for event in events] if comes_later else [events]:
            desk.read(*some)
        await until(lambda: bool(parts))

        assert parts == [(b"abc", b"def")]

    @pytest.mark.parametrize("comes_later", [False, True])
    async def test_a_body_that_ends_in_its_head_is_short(self, comes_later: bool) -> None:
        async def serve(exchange: Exchange) -> None:
            parts.append(await exchange.read_framed(3, len, 100))
            exchange.respond(OK)

        parts: list[Any] = []
        desk = Desk(serve)
        desk.read(Head(1, head(), False), Data(1, b"ab", 2, not comes_later))
        if comes_later:
            desk.read(Data(1, b"", 0, True))
        await until(lambda: bool(parts))

        assert parts == [(b"ab", b"")]

    async def test_a_body_whose_head_says_that_it_is_too_large_is_not_waited_for(self) -> None:
        async def serve(exchange: Exchange) -> None:
            with pytest.raises(BodyTooLarge, match="larger than 5 bytes"):
                await exchange.read_framed(1, ord, 5)
            exchange.respond(OK)

        desk = Desk(serve)

        desk.read(Head(1, head(), False), Data(1, b"\x06a", 2, False))

        assert desk.socket.written == b"<1 200 ok>"

    @pytest.mark.parametrize("comes_later", [False, True])
    async def test_a_body_that_is_too_large_is_said_to_be(self, comes_later: bool) -> None:
        async def serve(exchange: Exchange) -> None:
            with pytest.raises(BodyTooLarge, match="larger than 5 bytes"):
                await exchange.read(5)
            exchange.respond(OK)

        desk = Desk(serve)
        if comes_later:
            desk.read(Head(1, head(), False))
            desk.read(Data(1, b"abcdef", 6, False))
        else:
            desk.read(Head(1, head(), False), Data(1, b"abcdef", 6, True))
        await until(lambda: bool(desk.socket.writes))
        assert desk.socket.written == b"<1 200 ok>"

    async def test_a_body_that_is_said_to_be_too_large_is_not_waited_for(self) -> None:
        async def serve(exchange: Exchange) -> None:
            with pytest.raises(BodyTooLarge):
                await exchange.read(5)
            exchange.respond(OK)

        desk = Desk(serve)
        desk.read(Head(1, head(content_length=b"6", expect=b"100-continue"), False))

        assert desk.socket.written == b"<1 200 ok>"

    async def test_a_client_that_asks_first_is_told_to_go_on(self) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(Response(200, (), await exchange.read(100)))

        desk = Desk(serve)
        desk.read(Head(1, head(expect=b"100-continue"), False))
        assert desk.socket.written == b"<1 continue>"
        desk.read(Data(1, b"a", 1, True))
        await until(lambda: len(desk.socket.writes) == 2)

        assert desk.socket.writes[1] == b"<1 200 a>"

    async def test_pieces_and_trailers_are_given_as_they_come(self) -> None:
        async def serve(exchange: Exchange) -> None:
            async for piece in exchange.pieces():
                seen.append(piece)  # noqa: PERF401
            seen.append(exchange.trailers[b"a"])
            exchange.respond(OK)

        seen: list[bytes] = []
        desk = Desk(serve)
        desk.read(Head(1, head(), False), Data(1, b"1", 1, False), Data(1, b"2", 1, False))
        desk.read(Data(1, b"3", 1, False))
        await until(lambda: len(seen) == 3)
        desk.read(Trailers(1, {b"a": b"b"}))
        await until(lambda: bool(desk.socket.writes))

        assert seen == [b"1", b"2", b"3", b"b"]
        assert desk.core.calls[0] == ("expect_pauses", 1)

    async def test_what_was_not_read_is_given_back_at_the_end(self) -> None:
        desk = Desk()

        desk.read(Head(1, head(), False), Data(1, b"abc", 3, False))
        desk.read(Data(1, b"def", 3, True))

        assert desk.socket.written == b"<1 200 ok>"
        assert desk.core.calls == [("consumed", 1, 3), ("consumed", 1, 3)]


class TestRoom:
    async def test_a_body_beyond_the_budget_is_refused_and_read_no_further(self) -> None:
        budget = Budget(10_000)
        desk = Desk(_read, budget=budget)
        desk.read(Head(1, head(), False), Head(2, head(), False), Data(1, b"a" * 6000, 6000, False))

        desk.read(Data(2, b"b" * 6000, 6000, False))
        desk.read(Data(2, b"b" * 6000, 6000, False), Data(1, b"a", 1, True))
        await until(lambda: not budget.requests)

        assert desk.socket.written == b"<2 503 FULL><1 200 ok>"
        assert desk.application.exchanges[1].is_gone
        assert (budget.in_flight_bytes, budget.requests, budget.refused) == (0, 0, 1)

    async def test_a_body_that_waits_for_its_turn_is_counted_too(self) -> None:
        budget = Budget(10_000)
        desk = Desk(_read, budget=budget)

        desk.read(
            *(Head(stream, head(), False) for stream in (1, 2)),
            *(Data(stream, b"a" * 6000, 6000, True) for stream in (1, 2)),
        )

        assert desk.socket.written == b"<2 503 FULL><1 200 ok>"
        assert budget.in_flight_bytes == 0

    @pytest.mark.parametrize("end", ["reset", "lost"])
    async def test_a_client_that_leaves_gives_its_room_back(self, end: str) -> None:
        budget = Budget(10_000)
        desk = Desk(_read, budget=budget)
        desk.read(Head(1, head(), False), Data(1, b"a" * 6000, 6000, False))
        assert (budget.in_flight_bytes, budget.requests) == (6000, 1)

        if end == "reset":
            desk.read(Reset(1, 8))
        else:
            desk.connection.connection_lost(None)
        await until(lambda: not budget.requests)

        assert budget.in_flight_bytes == 0

    async def test_answers_that_are_not_sent_are_counted(self) -> None:
        budget = Budget(30)
        desk = Desk(budget=budget)
        desk.connection.pause_writing()
        for stream in range(1, 6):
            desk.read(Head(stream, head(), True))
        assert budget.is_full

        desk.socket.empty()

        assert desk.socket.written.count(b"200 ok") == 4
        assert desk.socket.written.endswith(b"<5 503 FULL>")
        assert budget.in_flight_bytes == 0

    async def test_others_may_ask_while_one_leaves_its_answers_unread(self) -> None:
        budget = Budget(5)
        unread, other = Desk(budget=budget), Desk(budget=budget)
        unread.connection.pause_writing()
        unread.read(Head(1, head(), True))

        other.read(Head(1, head(), True))

        assert other.socket.written == b"<1 200 ok>"

    async def test_requests_are_limited_in_number_and_looks_are_not(self) -> None:
        budget = Budget(0, 2)
        go = asyncio.get_running_loop().create_future()

        async def serve(exchange: Exchange) -> None:
            if exchange.head.method != b"GET":
                await go
            exchange.respond(OK)

        desk = Desk(serve, budget=budget)
        desk.read(*(Head(stream, head(), True) for stream in (1, 2, 3)))
        desk.read(Head(4, head(method=b"GET"), True))
        assert desk.socket.written == b"<3 503 FULL><4 200 ok>"

        go.set_result(None)
        await until(lambda: not budget.requests)
        desk.read(Head(5, head(), True))

        assert desk.socket.written.endswith(b"<5 200 ok>")

    async def test_what_a_body_is_inflated_to_ends_with_the_request(self) -> None:
        budget = Budget(1000)

        async def serve(exchange: Exchange) -> None:
            exchange.growth().add(900)
            with pytest.raises(Full, match="900 bytes are in flight, of 1000"):
                exchange.growth().add(200)
            exchange.respond(OK)

        desk = Desk(serve, budget=budget)

        desk.read(Head(1, head(), True))

        assert desk.socket.written == b"<1 200 ok>"
        assert budget.in_flight_bytes == 0


async def _read(exchange: Exchange) -> None:
    await exchange.read(1 << 20)
    exchange.respond(OK)


class TestStreaming:
    async def test_an_answer_is_written_in_pieces(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await exchange.start(200, ())
            await exchange.write(b"a")
            await exchange.write(b"b")
            exchange.finish(((b"grpc-status", b"0"),))

        desk = Desk(serve)
        desk.read(Head(1, head(), True))

        assert desk.socket.writes == [b"<1 200 ab0>"]

    async def test_a_writer_waits_while_the_client_does_not_take_it(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await exchange.start(200, ())
            for _ in range(100):
                await exchange.write(b"0123456789")
                written.append(10)
            exchange.finish()

        written: list[int] = []
        desk = Desk(serve)
        desk.socket.fills_after = 1
        desk.read(Head(1, head(), True))
        for _ in range(20):
            await asyncio.sleep(0)
        assert sum(written) < 150  # what the socket took, and the limit

        desk.socket.empty()
        await until(lambda: desk.socket.written.endswith(b">"))

        assert len(written) == 100

    async def test_a_writer_whose_client_leaves_is_cancelled(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await exchange.start(200, ())
            try:
                await exchange.write(b"0123456789" * 10)
            except asyncio.CancelledError:
                seen.append(exchange.is_gone)
                raise

        seen: list[bool] = []
        desk = Desk(serve)
        desk.socket.fills_after = 1
        desk.connection.pause_writing()
        desk.read(Head(1, head(), True))
        await asyncio.sleep(0)

        desk.connection.connection_lost(None)
        await until(lambda: bool(seen))

        assert seen == [True]


class TestFailing:
    @pytest.mark.parametrize("waits", [False, True])
    async def test_an_exception_that_escapes_is_logged_and_answered(
        self, waits: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def serve(exchange: Exchange) -> None:
            if waits:
                await asyncio.sleep(0)
            raise LookupError("no such thing")

        desk = Desk(serve)
        desk.read(Head(1, head(), True))
        await until(lambda: bool(desk.socket.writes))

        assert desk.socket.written == b"<1 500 The server failed.\n>"
        assert "no such thing" in caplog.text

    async def test_an_application_that_forgets_to_answer_has_failed(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def serve(exchange: Exchange) -> None:
            pass

        desk = Desk(serve)
        desk.read(Head(1, head(), True))

        assert desk.socket.written.startswith(b"<1 500")
        assert "not answered" in caplog.text

    async def test_an_answer_that_is_not_finished_is_reset(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await exchange.start(200, ())

        desk = Desk(serve)
        desk.read(Head(1, head(), True))

        assert desk.socket.written == b"<1 200 <1 reset>"

    async def test_one_that_fails_does_not_hurt_the_others(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def serve(exchange: Exchange) -> None:
            if exchange.stream == 2:
                raise asyncio.CancelledError
            exchange.respond(OK)

        desk = Desk(serve)
        desk.read(*(Head(stream, head(), True) for stream in (1, 2, 3)))
        await until(lambda: b"<3" in desk.socket.written)

        assert desk.socket.written.count(b"200 ok") == 2
        assert b"<2 500" in desk.socket.written

    async def test_a_core_that_fails_ends_its_connection_alone(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: Any) -> Any:
            raise LookupError("a fault of our own")

        desk = Desk()
        desk.core.take = fail  # type: ignore[method-assign]
        desk.read(Head(1, head(), True))

        assert desk.socket.is_aborted
        assert "a fault of our own" in caplog.text

    async def test_turns_go_on_after_one_that_fails(self) -> None:
        def fail(until: float) -> bool:
            raise LookupError

        desk = Desk()
        desk.now += 1
        broken = Desk()
        broken.connection.take_turn = fail  # type: ignore[method-assign]
        desk.turns._used_s = 1.0  # so that both are queued
        desk.turns.offer(desk.service.door, broken.connection, desk.now)
        desk.read(Head(1, head(), True))
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        await until(lambda: bool(desk.socket.writes))


class TestGivingUp:
    async def test_a_reset_cancels_the_request(self) -> None:
        async def serve(exchange: Exchange) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                seen.append((exchange.stream, exchange.answer))

        seen: list[Any] = []
        desk = Desk(serve)
        desk.read(Head(1, head(), True), Head(2, head(), True))
        desk.read(Reset(1, 8))
        await until(lambda: bool(seen))

        assert seen == [(1, Answer.GONE)]
        assert desk.socket.written == b""

    async def test_a_request_that_is_reset_before_its_turn_is_never_begun(self) -> None:
        desk = Desk()

        desk.read(Head(1, head(), True), Head(2, head(), True), Reset(1, 8))

        assert [exchange.stream for exchange in desk.application.exchanges] == [2]
        assert desk.socket.written == b"<2 200 ok>"

    async def test_a_lost_connection_cancels_everything(self) -> None:
        async def serve(exchange: Exchange) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                seen.append(exchange.stream)
                exchange.respond(OK)  # nobody hears it

        seen: list[int] = []
        desk = Desk(serve)
        desk.read(*(Head(stream, head(), True) for stream in (1, 2, 3)))
        desk.connection.connection_lost(ConnectionResetError())
        await until(lambda: len(seen) == 3)

        assert desk.lost == [desk.connection]
        assert desk.socket.written == b""

    async def test_a_coroutine_may_end_its_work_after_its_answer_though_the_client_leaves(
        self,
    ) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(OK)
            await asyncio.sleep(0)
            seen.append("done")

        seen: list[str] = []
        desk = Desk(serve)
        desk.read(Head(1, head(), True))
        desk.connection.connection_lost(None)
        await until(lambda: bool(seen))


class TestTime:
    async def test_a_core_is_told_the_time_often_only_while_something_goes_on(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await asyncio.Event().wait()

        desk = Desk(serve)
        told: list[float] = []
        desk.core.on_time = lambda now: told.append(now) or []  # type: ignore[func-returns-value,method-assign]
        tick_s = LIMITS.tick_s

        for tick in range(8):
            desk.connection.on_time(desk.now + tick * tick_s)
        assert told == [desk.now, desk.now + 4 * tick_s]

        desk.read(Head(1, head(), True))
        for tick in range(8, 12):
            desk.connection.on_time(desk.now + tick * tick_s)
        assert told[2:] == [desk.now + tick * tick_s for tick in range(8, 12)]


class TestRefusing:
    async def test_the_application_says_what_is_answered(self) -> None:
        desk = Desk()

        desk.read(Refused(1, None, Problem.MALFORMED, "That is no HTTP"))

        assert desk.socket.written == b"<1 503 MALFORMED>"
        assert desk.application.exchanges == []

    async def test_a_request_that_is_being_read_is_cancelled(self) -> None:
        async def serve(exchange: Exchange) -> None:
            try:
                await exchange.read(100)
            finally:
                seen.append("cancelled")

        seen: list[str] = []
        desk = Desk(serve)
        desk.read(Head(1, head(), False))
        desk.core.timed.append(Refused(1, head(), Problem.TOO_SLOW, "Too slow"))
        desk.connection.on_time(desk.now)
        await until(lambda: bool(seen))

        assert desk.socket.written == b"<1 503 TOO_SLOW>"


class TestBackPressure:
    async def test_nothing_is_written_while_the_socket_is_full(self) -> None:
        desk = Desk()
        desk.connection.pause_writing()

        desk.read(Head(1, head(), True))
        assert desk.socket.writes == []
        desk.connection.resume_writing()

        assert desk.socket.writes == [b"<1 200 ok>"]

    async def test_a_connection_that_was_queued_has_its_turn_again_later(self) -> None:
        async def serve(exchange: Exchange) -> None:
            desk.now += 0.0005  # longer than a slice
            exchange.respond(OK)

        desk = Desk(serve)
        for stream in (1, 4, 7):
            desk.read(*(Head(stream + n, head(), True) for n in range(3)))
            await until(lambda: desk.socket.written.count(b"200") == stream + 2)  # noqa: B023

    async def test_no_request_is_begun_while_much_waits_for_the_client(self) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(Response(200, (), b"x" * 60))

        desk = Desk(serve)
        desk.connection.pause_writing()

        desk.read(*(Head(stream, head(), True) for stream in range(1, 11)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(desk.application.exchanges) == 2  # more than half of 200 bytes wait

        desk.connection.resume_writing()
        await until(lambda: len(desk.application.exchanges) == 10)
        assert desk.socket.written.count(b"200") == 10

    async def test_a_core_that_wants_no_data_is_given_none(self) -> None:
        desk = Desk()
        desk.core.wants_data = False
        desk.read()
        assert not desk.socket.reads

        desk.core.wants_data = True
        desk.core.timed.append(Head(1, head(), True))
        desk.connection.on_time(desk.now)

        assert desk.socket.reads

    async def test_others_are_looked_at_between_the_pieces_of_something_large(self) -> None:
        desk = Desk()

        desk.read(data=b"x" * 100_000)
        assert not desk.socket.reads

        await until(lambda: desk.socket.reads)

    async def test_a_large_answer_leaves_in_portions(self) -> None:
        desk = Desk(_answer_100_bytes)
        desk.core.most_at_once = 10

        desk.read(Head(1, head(), True))
        assert len(desk.socket.writes) == 1

        await until(lambda: len(desk.socket.written) == 108)
        assert len(desk.socket.writes) == 11

    async def test_between_two_portions_others_have_their_turn(self) -> None:
        desk = Desk(_answer_100_bytes)
        desk.core.most_at_once = 10
        other = Desk(_answer_100_bytes, shares=desk)
        other.core.most_at_once = 10
        writes: list[Desk] = []
        desk.socket.on_write = lambda: writes.append(desk)
        other.socket.on_write = lambda: writes.append(other)
        desk.read(Head(1, head(), True))  # the first portion leaves at once
        other.read(Head(1, head(), True))

        await until(lambda: len(writes) == 22)

        assert writes == [desk, *[desk, other] * 10, other]

    async def test_who_sends_much_reads_on_when_it_is_its_turn(self) -> None:
        async def serve(exchange: Exchange) -> None:
            desk.now += 0.0005  # longer than a slice
            exchange.respond(OK)

        desk = Desk()
        busy = Desk(serve, shares=desk)
        busy.read(*(Head(stream, head(), True) for stream in (1, 2, 3)))
        assert busy.socket.written == b"<1 200 ok>"

        desk.read(data=b"x" * 100_000)
        busy.socket.on_write = lambda: seen.append(desk.socket.reads)
        seen: list[bool] = []
        await until(lambda: len(seen) == 2)

        assert seen == [False, True]

    async def test_who_has_given_way_reads_no_further_while_the_core_wants_nothing(self) -> None:
        desk = Desk()
        desk.core.wants_data = False
        desk.read(data=b"x" * 100_000)

        for _ in range(5):
            await asyncio.sleep(0)
        assert not desk.socket.reads

        desk.core.wants_data = True
        desk.connection.on_time(desk.now)
        assert desk.socket.reads

    async def test_a_turn_that_comes_after_the_end_does_nothing(self) -> None:
        desk = Desk()
        desk.read(data=b"x" * 100_000)

        desk.connection.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)

        assert desk.lost == [desk.connection]
        assert not desk.socket.reads


async def _answer_100_bytes(exchange: Exchange) -> None:
    exchange.respond(Response(200, (), b"x" * 100))


class TestWhatIsSpoken:
    async def test_it_is_seen_from_the_first_bytes(self) -> None:
        desk = Desk(None, LIMITS, Spoken.HTTP1, Spoken.HTTP2)
        desk.read(data=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert desk.asked_for == [Spoken.HTTP2]

        desk = Desk(None, LIMITS, Spoken.HTTP1, Spoken.HTTP2)
        desk.read(data=b"POST / HTTP/1.1\r\n")
        assert desk.asked_for == [Spoken.HTTP1]

    async def test_bytes_that_come_one_by_one_are_kept(self) -> None:
        desk = Desk(None, LIMITS, Spoken.HTTP1, Spoken.HTTP2)
        for byte in b"PRI * H":
            desk.read(data=bytes([byte]))

        assert desk.asked_for == [Spoken.HTTP2]
        assert b"".join(desk.core.received) == b"PRI * H"

    async def test_a_method_that_begins_alike_is_http1(self) -> None:
        desk = Desk(None, LIMITS, Spoken.HTTP1, Spoken.HTTP2)
        desk.read(data=b"P")
        assert desk.asked_for == []
        desk.read(data=b"OST / HTTP/1.1\r\n")

        assert desk.asked_for == [Spoken.HTTP1]
        assert desk.core.received == [b"POST / HTTP/1.1\r\n"]

    async def test_who_says_nothing_is_not_waited_for(self) -> None:
        desk = Desk(None, LIMITS, Spoken.HTTP1, Spoken.HTTP2)

        desk.connection.on_time(desk.now)
        assert not desk.socket.is_aborted
        desk.connection.on_time(desk.now + LIMITS.head_timeout_s)

        assert desk.socket.is_aborted


class TestEnding:
    async def test_a_core_that_has_ended_closes_the_socket_after_its_last_words(self) -> None:
        async def serve(exchange: Exchange) -> None:
            exchange.respond(OK)

        desk = Desk(serve)
        desk.read(Head(1, head(), True), Ended(0, ""))

        assert desk.socket.written == b"<1 200 ok>"
        assert desk.socket.is_closed

    async def test_last_words_wait_for_a_full_socket(self) -> None:
        desk = Desk()
        desk.connection.pause_writing()
        desk.read(Head(1, head(), True), Ended(0, ""))
        assert not desk.socket.is_closed

        desk.connection.resume_writing()

        assert (desk.socket.written, desk.socket.is_closed) == (b"<1 200 ok>", True)

    async def test_who_does_not_take_the_last_words_is_cut_off(self) -> None:
        desk = Desk()
        desk.read(Ended(0, ""))

        desk.connection.on_time(desk.now + LIMITS.linger_s + 1)

        assert desk.socket.is_aborted

    async def test_a_client_that_sends_no_more_has_left(self) -> None:
        async def serve(exchange: Exchange) -> None:
            if exchange.stream == 1:
                exchange.respond(OK)
            try:
                await never.wait()
            finally:
                seen.append((exchange.stream, exchange.is_gone))

        seen: list[Any] = []
        never = asyncio.Event()
        desk = Desk(serve)
        desk.read(Head(1, head(), True), Head(2, head(), True))

        assert desk.connection.eof_received() is False
        await until(lambda: len(seen) == 1)
        assert seen == [(2, True)]
        assert (desk.socket.written, desk.socket.is_closed) == (b"<1 200 ok>", True)

    async def test_nothing_is_read_any_more(self) -> None:
        desk = Desk()
        desk.read(Ended(0, ""))

        desk.read(Head(1, head(), True))

        assert desk.application.exchanges == []

    async def test_it_is_drained_by_its_core(self) -> None:
        desk = Desk()
        desk.connection.drain(desk.now)
        assert desk.core.calls == ["drain"]

    async def test_one_that_has_not_said_anything_is_drained_too(self) -> None:
        desk = Desk(None, LIMITS, Spoken.HTTP1, Spoken.HTTP2)
        desk.connection.drain(desk.now)
        desk.read(Head(1, head(), True), data=b"GET / HTTP/1.1")

        assert desk.core.calls == ["drain"]
        assert desk.socket.written == b"<1 200 ok>"

    async def test_who_is_cut_off_is_told_so(self) -> None:
        async def serve(exchange: Exchange) -> None:
            if exchange.stream == 2:
                await exchange.start(200, ())
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                seen.append(exchange.stream)

        seen: list[int] = []
        desk = Desk(serve)
        desk.read(Head(1, head(), True), Head(2, head(), True))

        desk.connection.cut(desk.now)
        await until(lambda: len(seen) == 2)

        assert desk.socket.written == b"<2 200 <1 503 STOPPING><2 reset>"
        assert desk.socket.is_closed


class TestPipelining:
    async def test_a_request_that_waited_for_an_answer_is_answered_next(self) -> None:
        desk = Desk()
        desk.core.held.append(Head(2, head(), True))

        desk.read(Head(1, head(), True))
        await until(lambda: len(desk.socket.writes) == 2)

        assert desk.socket.writes == [b"<1 200 ok>", b"<2 200 ok>"]

    async def test_so_it_is_if_the_answer_came_later(self) -> None:
        async def serve(exchange: Exchange) -> None:
            await asyncio.sleep(0)
            exchange.respond(OK)

        desk = Desk(serve)
        desk.core.held.append(Head(2, head(), True))

        desk.read(Head(1, head(), True))
        await until(lambda: len(desk.socket.writes) == 2)

    async def test_our_side_is_closed_while_a_client_is_heard_out(self) -> None:
        desk = Desk()
        desk.read(Head(1, head(), True))
        desk.core.is_lingering = True

        desk.connection.on_time(desk.now)
        desk.connection.on_time(desk.now + 10)

        assert desk.socket.writes == [b"<1 200 ok>", b"EOF"]
        assert not desk.socket.is_closed


class TestLogging:
    async def test_why_a_connection_ends_is_for_those_who_want_to_know(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "sigrun")
        desk = Desk()
        desk.read(Ended(11, "too many resets"))

        assert "too many resets" in caplog.text
        assert [record.levelno for record in caplog.records] == [logging.DEBUG]
