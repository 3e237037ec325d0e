from __future__ import annotations

import asyncio
import time

import pytest

from sigrun.errors import DeadlineExceeded, NotFound
from sigrun.inference.calls import MetadataResult, ModelSpec, ResolvedSpec
from sigrun.tensors.signature import DType
from sigrun.wire.upstream import signatures as module
from sigrun.wire.upstream.signatures import Signatures, agree
from tests.fakes.lifecycle import FakeSleep, let_others_run
from tests.fakes.servables import HALF_PLUS_TWO, signature

pytestmark = pytest.mark.asyncio

LATEST = ModelSpec(name="mnist")
STABLE = ModelSpec(name="mnist", label="stable")


class FakeServers:
    """Answers with `version` once `gate` is open, or raises `error`.

    A version that is `missing` is not found by its number.
    """

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.error: Exception | None = None
        self.missing: set[int] = set()
        self.asked: list[ModelSpec] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, spec: ModelSpec, deadline: float) -> MetadataResult:
        self.asked.append(spec)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        if spec.version in self.missing:
            raise NotFound("no such version")
        return answer(self.version if spec.version is None else spec.version)


def answer(version: int) -> MetadataResult:
    return MetadataResult(
        spec=ResolvedSpec(name="mnist", version=version),
        signatures={"serving_default": HALF_PLUS_TWO},
    )


async def test_what_was_fetched_is_known_under_the_name_it_was_asked_by() -> None:
    signatures = Signatures(FakeServers(version=3).fetch)

    await signatures.fetch(STABLE, None)

    known = signatures.known(STABLE)
    assert known is not None
    assert known.spec.version == 3
    assert signatures.known(LATEST) is None


async def test_what_was_fetched_is_known_by_its_version_as_well() -> None:
    signatures = Signatures(FakeServers(version=3).fetch)

    await signatures.fetch(LATEST, None)

    assert signatures.known(ModelSpec(name="mnist", version=3)) is not None


async def test_signatures_are_those_of_a_model_whichever_one_is_asked_for() -> None:
    servers = FakeServers()
    signatures = Signatures(servers.fetch)

    await signatures.fetch(ModelSpec(name="mnist", signature_name="classify"), None)

    assert signatures.known(ModelSpec(name="mnist", signature_name="regress")) is not None
    assert servers.asked == [LATEST]


async def test_who_asks_for_the_same_at_the_same_time_shares_one_fetch() -> None:
    servers = FakeServers()
    servers.gate.clear()
    signatures = Signatures(servers.fetch)
    waiting = [asyncio.create_task(signatures.fetch(LATEST, None)) for _ in range(3)]
    await let_others_run()
    waiting[0].cancel()

    servers.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert isinstance(answers[1], MetadataResult)
    assert answers[1] is answers[2]
    assert len(servers.asked) == 1


async def test_a_fetch_that_failed_is_not_remembered() -> None:
    servers = FakeServers()
    servers.error = NotFound("no such model")
    signatures = Signatures(servers.fetch)
    with pytest.raises(NotFound):
        await signatures.fetch(LATEST, None)

    servers.error = None
    await signatures.fetch(LATEST, None)

    assert len(servers.asked) == 2


async def test_a_fetch_takes_no_longer_than_the_caller_waits() -> None:
    servers = FakeServers()
    servers.gate.clear()
    signatures = Signatures(servers.fetch)

    with pytest.raises(DeadlineExceeded):
        await signatures.fetch(LATEST, time.monotonic())

    await signatures.close()


async def test_a_version_that_is_known_takes_over_without_a_fetch() -> None:
    servers = FakeServers(version=1)
    signatures = Signatures(servers.fetch)
    await signatures.fetch(ModelSpec(name="mnist", version=2), None)
    await signatures.fetch(LATEST, None)

    signatures.moved(LATEST, 2)

    known = signatures.known(LATEST)
    assert known is not None
    assert known.spec.version == 2


async def test_a_version_that_is_not_known_is_fetched_and_takes_over() -> None:
    servers = FakeServers()
    servers.gate.clear()
    signatures = Signatures(servers.fetch)
    signatures.moved(LATEST, 2)
    signatures.moved(LATEST, 2)
    await let_others_run()

    servers.gate.set()
    await let_others_run()

    known = signatures.known(LATEST)
    assert known is not None
    assert known.spec.version == 2
    assert servers.asked == [ModelSpec(name="mnist", version=2)]


async def test_a_version_that_the_server_asked_has_not_got_is_asked_for_again_later() -> None:
    servers, sleep = FakeServers(), FakeSleep()
    servers.missing = {2}
    signatures = Signatures(servers.fetch, sleep)
    for _ in range(3):
        signatures.moved(STABLE, 2)
        await let_others_run()
    asked_before = len(servers.asked)

    servers.missing = set()
    sleep.wake()
    await let_others_run()

    known = signatures.known(STABLE)
    assert known is not None
    assert known.spec.version == 2
    assert (asked_before, len(servers.asked), sleep.naps) == (1, 2, [1.0])


async def test_a_version_that_no_server_has_is_not_asked_for_for_ever() -> None:
    servers = FakeServers()
    servers.missing = {2}
    signatures = Signatures(servers.fetch, FakeSleep(lambda: None))

    signatures.moved(STABLE, 2)
    await let_others_run()
    await let_others_run()

    assert len(servers.asked) == 10


async def test_the_oldest_is_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_KNOWN", 3)
    signatures = Signatures(FakeServers().fetch)

    for version in (1, 2, 3, 4):
        await signatures.fetch(ModelSpec(name="mnist", version=version), None)

    known = [signatures.known(ModelSpec(name="mnist", version=v)) is not None for v in range(1, 5)]
    assert known == [False, True, True, True]


async def test_fetches_under_way_are_given_up_at_the_end() -> None:
    servers = FakeServers()
    servers.gate.clear()
    signatures = Signatures(servers.fetch)
    waiting = asyncio.create_task(signatures.fetch(LATEST, None))
    await let_others_run()

    await signatures.close()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_same_definitions_of_another_version_are_something_else() -> None:
    other = MetadataResult(
        spec=ResolvedSpec(name="mnist", version=1),
        signatures={"serving_default": signature({"x": DType.INT64}, {"y": DType.FLOAT})},
    )

    assert agree(answer(1), answer(1))
    assert not agree(answer(1), answer(2))
    assert not agree(answer(1), other)
