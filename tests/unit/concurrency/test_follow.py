"""A file is followed: what is new is put in force, and what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sigrun.concurrency.follow import Followed
from sigrun.errors import InvalidArgument, SigrunError

pytestmark = pytest.mark.asyncio


class File:
    """What is read next, and what has been applied."""

    def __init__(self) -> None:
        self.says: str | Exception = "first"
        self.applied: list[str] = []
        self.refusal: SigrunError | None = None

    def read(self) -> str:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    async def apply(self, text: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(text)


async def no_time(_: float) -> None:
    """Wait for nothing."""


@pytest.fixture
def file() -> File:
    return File()


@pytest_asyncio.fixture
async def followed(file: File) -> AsyncIterator[Followed[str]]:
    followed = Followed("words", read=file.read, apply=file.apply, applied="first", sleep=no_time)
    yield followed
    followed.close()


async def test_what_is_new_is_applied_once(file: File, followed: Followed[str]) -> None:
    await followed.look()
    file.says = "second"
    await followed.look()
    await followed.look()

    assert file.applied == ["second"]


@pytest.mark.parametrize("half", ["", "sec", InvalidArgument("it ends too early")], ids=str)
async def test_a_file_that_is_half_written_changes_nothing(
    file: File, half: str | Exception
) -> None:
    async def written_meanwhile(_: float) -> None:
        file.says = "second"

    followed = Followed(
        "words", read=file.read, apply=file.apply, applied="first", sleep=written_meanwhile
    )
    file.says = half
    await followed.look()
    assert file.applied == []

    file.says = "second"
    await followed.look()
    assert file.applied == ["second"]
    followed.close()


@pytest.mark.parametrize("broken", [InvalidArgument("no sense"), OSError("no disk")], ids=str)
async def test_what_cannot_be_read_is_told_once_and_changes_nothing(
    file: File, followed: Followed[str], broken: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    file.says = broken
    await followed.look()
    await followed.look()

    assert file.applied == []
    assert caplog.messages == [f"the words as before stay in force: {broken}"]
    file.says = "second"
    await followed.look()
    assert file.applied == ["second"]


async def test_what_cannot_be_applied_is_tried_again(
    file: File, followed: Followed[str], caplog: pytest.LogCaptureFixture
) -> None:
    file.says, file.refusal = "second", InvalidArgument("it does not fit")
    await followed.look()
    await followed.look()
    assert caplog.messages == ["the words as before stay in force: it does not fit"]

    file.refusal = None
    await followed.look()

    assert file.applied == ["second"]


async def test_a_file_system_that_does_not_answer_is_told_and_waited_for(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()

    def read() -> str:
        answers.wait()
        return file.read()

    followed = Followed(
        "words",
        read=read,
        apply=file.apply,
        applied="first",
        sleep=no_time,
        answer_within_s=0.01,
    )
    file.says = "second"
    await followed.look()
    assert caplog.messages == ["the words as before stay in force: its file system does not answer"]

    answers.set()
    while not file.applied:
        await followed.look()

    assert file.applied == ["second"]
    followed.close()


async def test_it_looks_until_it_is_cancelled_whatever_goes_wrong(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    looks: asyncio.Queue[None] = asyncio.Queue()
    may_look: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(_: float) -> None:
        looks.put_nowait(None)
        await may_look.get()

    followed = Followed("words", read=file.read, apply=file.apply, applied="first", sleep=sleep)
    running = asyncio.create_task(followed.run())
    await looks.get()
    file.says = ZeroDivisionError("a bug")
    may_look.put_nowait(None)
    await looks.get()
    file.says = "second"
    for _ in range(2):  # it reads again before it believes
        may_look.put_nowait(None)
        await looks.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert file.applied == ["second"]
    assert "following words failed; will try again" in caplog.messages
