"""The chain around every request, and the interceptors that come with the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import pytest

from sigrun.errors import Unavailable
from sigrun.inference.calls import ResolvedSpec
from sigrun.inference.context import INTERNAL, CallContext, Door, Outcome
from sigrun.telemetry.logs import FIELDS
from sigrun.telemetry.request_id import REQUEST_ID
from sigrun.wire.access_log import AccessLog
from sigrun.wire.interceptors import Answer, Reply, Request, intercepted, intercepted_services
from sigrun.wire.observing import Ended, Observing
from sigrun.wire.rpcs import StreamRpc

pytestmark = pytest.mark.asyncio

CONTEXT = CallContext(Door.REST, request_id="id-7", peer="10.0.0.1:5")


class Note:
    """An interceptor that writes down what passes."""

    def __init__(self, name: str, passed: list[str]) -> None:
        self._name = name
        self._passed = passed

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        async def noted(request: Request, context: CallContext) -> Reply:
            self._passed.append(f"{self._name} before {method}")
            reply = await answer(request, context)
            self._passed.append(f"{self._name} after")
            return reply

        return noted


async def echo(body: bytes, context: CallContext) -> bytes:
    return body + body


async def fail(body: bytes, context: CallContext) -> bytes:
    raise Unavailable("too much to do")


async def test_the_first_interceptor_is_outermost() -> None:
    passed: list[str] = []

    rpc = intercepted("S/M", echo, [Note("first", passed), Note("second", passed)])

    assert await rpc(b"x", INTERNAL) == b"xx"
    assert passed == ["first before S/M", "second before S/M", "second after", "first after"]


async def test_every_unary_rpc_of_the_services_is_intercepted_and_streams_are_not() -> None:
    passed: list[str] = []
    stream = StreamRpc(lambda requests, _: requests)

    services = intercepted_services({"S": {"M": echo, "W": stream}}, [Note("n", passed)])

    rpc = services["S"]["M"]
    assert not isinstance(rpc, StreamRpc)
    await rpc(b"x", INTERNAL)
    assert passed[0] == "n before S/M"
    assert services["S"]["W"] is stream


async def test_the_access_log_says_who_asked_for_what_and_how_it_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    observing = Observing([], in_rows=[AccessLog()])
    rpc, broken = (intercepted("S/M", answer, [observing]) for answer in (echo, fail))

    await rpc(b"abc", CONTEXT)
    with pytest.raises(Unavailable):
        await broken(b"abc", CONTEXT)
    observing.tell_rows()

    first, second = caplog.messages
    assert first.startswith("rest S/M OK from 10.0.0.1:5: 3 bytes in, 6 bytes out, ")
    assert second.startswith("rest S/M UNAVAILABLE from 10.0.0.1:5: 3 bytes in, 0 bytes out, ")


async def test_the_access_log_says_what_answered_in_fields_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(body: bytes, context: CallContext) -> bytes:
        assert context.outcome is not None
        context.outcome.target = ResolvedSpec("mnist", 3, "serving_default")
        context.outcome.inference_began, context.outcome.inference_ended = 10.001, 10.004
        return body

    caplog.set_level(logging.INFO)
    ticks = iter((10.0, 10.0045))
    context = CONTEXT._replace(outcome=Outcome())
    observing = Observing([], in_rows=[AccessLog()], clock=ticks.__next__)
    await intercepted("S/M", answer, [observing])(b"abc", context)
    monkeypatch.setattr("time.perf_counter", lambda: 13.0)
    monkeypatch.setattr("time.time", lambda: 1003.0)
    ids: list[str] = []

    def keep_id(_: logging.LogRecord) -> bool:
        ids.append(REQUEST_ID.get())
        return True

    monkeypatch.setattr(caplog.handler, "filters", [keep_id])
    observing.tell_rows()

    assert ids == ["id-7"]
    (record,) = caplog.records
    assert record.created == pytest.approx(1000.0045)  # when it ended
    assert record.getMessage().endswith(
        "OK by mnist:3 serving_default from 10.0.0.1:5: 3 bytes in, 3 bytes out, 4.500 ms "
        "(read 1.000, inference 3.000, write 0.500)"
    )
    assert getattr(record, FIELDS) == {
        "door": "rest",
        "method": "S/M",
        "code": "OK",
        "peer": "10.0.0.1:5",
        "request_bytes": 3,
        "response_bytes": 3,
        "duration_ms": 4.5,
        "model": "mnist",
        "version": 3,
        "signature": "serving_default",
        "read_ms": 1.0,
        "inference_ms": 3.0,
        "write_ms": 0.5,
    }


async def test_a_share_of_what_succeeds_is_logged_and_all_that_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    log = AccessLog(0.5, random=iter((0.4, 0.6)).__next__)
    observing = Observing([], in_rows=[log])
    rpc, broken = (intercepted("S/M", answer, [observing]) for answer in (echo, fail))

    await rpc(b"first", CONTEXT)
    await rpc(b"second", CONTEXT)
    with pytest.raises(Unavailable):
        await broken(b"third", CONTEXT)
    observing.tell_rows()

    assert [message.split()[2] for message in caplog.messages] == ["OK", "UNAVAILABLE"]


class Rows:
    """An observer that keeps the bodies' sizes of the rows of which it is told."""

    def __init__(self) -> None:
        self.told: list[list[int]] = []

    def tell(self, row: Sequence[Ended]) -> None:
        self.told.append([asked for _, _, _, (asked, _), _ in row])


async def test_requests_are_told_in_rows_and_few_of_them_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = Rows()
    observing = Observing([], in_rows=[rows])
    rpc = intercepted("S/M", echo, [observing])
    timers: list[Callable[[], None]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda _, call: timers.append(call))

    for size in range(262):
        await rpc(b"x" * size, CONTEXT)

    assert rows.told == [list(range(256))]
    (timer,) = timers
    timer()
    assert rows.told[1:] == [list(range(256, 262))]
    await rpc(b"", CONTEXT)
    assert len(timers) == 2


async def test_without_observers_in_rows_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observing = Observing([])
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda *_: pytest.fail("a timer"))

    await intercepted("S/M", echo, [observing])(b"x", CONTEXT)
