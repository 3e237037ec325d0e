from __future__ import annotations

import asyncio
import threading

import pytest

from sigrun.config.models import ModelConfig, ModelSet
from sigrun.errors import Aborted, InvalidArgument, NotFound, Unknown
from sigrun.servables.config_poller import ConfigFilePoller
from tests.fakes.lifecycle import FakeSleep

pytestmark = pytest.mark.asyncio

FIRST = ModelSet((ModelConfig(name="mnist", base_path="/models/mnist"),))
SECOND = ModelSet((ModelConfig(name="iris", base_path="/models/iris"),))


class Rig:
    """A poller of a file that says `file`, into a server that raises `refusal` if it is set."""

    def __init__(self, answer_within_s: float = 60) -> None:
        self.file: ModelSet | Exception = FIRST
        self.refusal: Exception | None = None
        self.applied: list[ModelSet] = []
        self.took_over: list[bool] = []
        self.has_applied = asyncio.Event()
        self.reads = 0
        self.answers = threading.Event()
        self.answers.set()
        self.sleep = FakeSleep()
        self.poller = ConfigFilePoller(
            read=self._read,
            apply=self._apply,
            applied=FIRST,
            poll_wait_s=5,
            sleep=self.sleep,
            answer_within_s=answer_within_s,
        )

    def _read(self) -> ModelSet:
        self.reads += 1
        assert self.answers.wait(8)
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    async def _apply(self, wanted: ModelSet, *, takes_over: bool) -> None:
        self.applied.append(wanted)
        self.has_applied.set()
        self.took_over.append(takes_over)
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_file_that_says_the_same_changes_nothing(rig: Rig) -> None:
    await rig.poller.poll()

    assert rig.applied == []


async def test_a_file_that_says_something_new_is_applied_once(rig: Rig) -> None:
    rig.file = SECOND

    await rig.poller.poll()
    await rig.poller.poll()

    assert rig.applied == [SECOND]


async def test_going_back_is_something_new(rig: Rig) -> None:
    rig.file = SECOND
    await rig.poller.poll()

    rig.file = FIRST
    await rig.poller.poll()

    assert rig.applied == [SECOND, FIRST]


@pytest.mark.parametrize("error", [NotFound("gone"), InvalidArgument("3:1: what?"), OSError("io")])
async def test_a_file_that_cannot_be_read_changes_nothing_and_is_logged_once(
    rig: Rig, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rig.file = error

    await rig.poller.poll()
    await rig.poller.poll()

    assert rig.applied == []
    assert caplog.messages == [f"Failed to read ModelServerConfig file: {error}"]


async def test_a_set_that_is_refused_is_tried_again_and_logged_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.file, rig.refusal = SECOND, Unknown("some model failed")

    await rig.poller.poll()
    await rig.poller.poll()

    assert rig.applied == [SECOND, SECOND]
    assert caplog.messages == [
        "PollFilesystemAndReloadConfig failed to ReloadConfig: some model failed"
    ]


async def test_a_set_that_was_refused_is_applied_when_it_can_be(rig: Rig) -> None:
    rig.file, rig.refusal = SECOND, Unknown("some model failed")
    await rig.poller.poll()

    rig.refusal = None
    await rig.poller.poll()
    await rig.poller.poll()

    assert rig.applied == [SECOND, SECOND]


async def test_a_failure_that_comes_back_is_logged_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for said in (NotFound("gone"), FIRST, NotFound("gone")):
        rig.file = said
        await rig.poller.poll()

    assert caplog.messages == ["Failed to read ModelServerConfig file: gone"] * 2


@pytest.mark.parametrize("where", ["read", "apply"])
async def test_an_error_that_nobody_expected_does_not_end_the_polling(
    rig: Rig, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    if where == "read":
        rig.file = ZeroDivisionError("by zero")
    else:
        rig.file, rig.refusal = SECOND, ZeroDivisionError("by zero")
    running = asyncio.create_task(rig.poller.run())

    for _ in range(2):
        await rig.sleep.until_asleep()
        rig.sleep.wake()
    await rig.sleep.until_asleep()
    running.cancel()

    assert caplog.text.count("following the model config file failed") == 2


async def test_the_file_is_read_once_in_every_period(rig: Rig) -> None:
    running = asyncio.create_task(rig.poller.run())

    await rig.sleep.until_asleep()
    applied_before_the_first_period = list(rig.applied)
    rig.file = SECOND
    rig.sleep.wake()
    await rig.sleep.until_asleep()
    running.cancel()

    assert (applied_before_the_first_period, rig.applied) == ([], [SECOND])
    assert rig.sleep.naps == [5, 5]


async def test_only_what_is_new_takes_the_place_of_a_reload_that_is_under_way(rig: Rig) -> None:
    rig.file, rig.refusal = SECOND, Unknown("some model failed")

    await rig.poller.poll()
    await rig.poller.poll()

    assert rig.took_over == [True, False]


async def test_a_set_that_a_newer_reload_has_overtaken_is_not_tried_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.file, rig.refusal = SECOND, Aborted("a newer one has come")

    await rig.poller.poll()
    await rig.poller.poll()

    assert rig.applied == [SECOND]
    assert "is not taken over until it changes: a newer one has come" in caplog.text


async def test_a_file_that_does_not_answer_is_read_once_and_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(answer_within_s=0.05)
    rig.file = SECOND
    rig.answers.clear()
    for _ in range(2):
        await rig.poller.poll()
    reads = rig.reads

    rig.answers.set()
    while not rig.applied:
        await rig.poller.poll()

    assert reads == 1
    assert caplog.messages[0] == (
        "Failed to read ModelServerConfig file: its file system does not answer"
    )


async def test_a_poll_that_is_wanted_comes_before_the_pause_has_ended(rig: Rig) -> None:
    running = asyncio.create_task(rig.poller.run())
    await rig.sleep.until_asleep()
    rig.file = SECOND

    rig.poller.want()
    await asyncio.wait_for(rig.has_applied.wait(), 10)

    assert (rig.reads, rig.applied) == (1, [SECOND])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
