"""Workers are loaded, told, replaced and ended together; these only pretend to serve."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sigrun.config.models import ModelSet
from sigrun.config.server import ServerConfig
from sigrun.errors import InvalidArgument, Unavailable
from sigrun.servables.servable import ServableId
from sigrun.telemetry.lines import LogFormat
from sigrun.telemetry.metrics import Counter, Reading
from sigrun.workers.fleet import Fleet
from sigrun.workers.loading import Order
from sigrun.workers.process import WorkerOptions

pytestmark = pytest.mark.asyncio

OPTIONS = WorkerOptions(
    number=0, config=ServerConfig(models=ModelSet()), log_format=LogFormat.TEXT, log_level=30
)
ORDER = Order(key=7, id=ServableId("m", 1), path="/m/1")
REPOSITORY = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def fleet(folder: Path, count: int = 2, *, up: bool = True) -> AsyncIterator[Fleet]:
    """Run workers that do what the folder says."""
    program = f"import sys; sys.path[:0] = [{str(REPOSITORY)!r}]; import runpy; sys.argv[0] = ''; "
    program += "runpy.run_module('tests.wire.workers.scripted_worker', run_name='__main__')"
    command = (sys.executable, "-c", program, str(folder))
    made = Fleet(OPTIONS, count, {}, command=command)
    made.start()
    try:
        if up:
            await made.up()
        yield made
    finally:
        await made.close()


def told(folder: Path) -> dict[int, list[tuple[str, object]]]:
    """Return what each worker was told, by process."""
    return {
        int(log.stem): [tuple(json.loads(line)) for line in log.read_text().splitlines()]
        for log in sorted(folder.glob("*.log"))
    }


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(50):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_version_is_loaded_when_every_worker_has_loaded_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as workers:
        assert await workers.load(ORDER) == {}
        assert [("load", 7) in lines for lines in told(tmp_path).values()] == [True, True]

        await workers.unload(7)
        assert [lines[-1] for lines in told(tmp_path).values()] == [("unload", 7)] * 2


async def test_a_version_that_one_cannot_load_none_keeps(tmp_path: Path) -> None:
    async with fleet(tmp_path) as workers:
        (tmp_path / "refuse").touch()

        with pytest.raises(InvalidArgument, match="the model is broken"):
            await workers.load(ORDER)

        (tmp_path / "refuse").unlink()
        assert await workers.load(ORDER) == {}


async def test_what_is_told_is_settled_when_all_have_done_it(tmp_path: Path) -> None:
    async with fleet(tmp_path) as workers:
        workers.tell("a", 1)
        workers.tell("b", 2)
        await workers.settled()

        assert [lines[-1] for lines in told(tmp_path).values()] == [("apply", {"a": 1, "b": 2})] * 2


async def test_one_that_dies_is_replaced_by_one_that_knows_what_it_knew(tmp_path: Path) -> None:
    async with fleet(tmp_path) as workers:
        await workers.load(ORDER)
        workers.tell("a", 1)
        await workers.settled()
        await workers.readings([])
        first = told(tmp_path)

        os.kill(next(iter(first)), signal.SIGKILL)
        await until(lambda: len(told(tmp_path)) == 3)
        await until(lambda: len(workers.givers()) == 2)

        (new,) = (lines for pid, lines in told(tmp_path).items() if pid not in first)
        assert new == [("begin", None), ("load", 7), ("apply", {"a": 1})]
        readings = await workers.readings([])
        assert Counter(name="sigrun_answers", help="Answers", value=3) in readings
        assert replaced(readings) == {"ended": 1, "unresponsive": 0, "stuck": 0}


async def test_one_whose_runs_are_stuck_leaves_when_another_has_taken_its_place(
    tmp_path: Path,
) -> None:
    async with fleet(tmp_path, 1) as workers:
        (first,) = told(tmp_path)

        (tmp_path / "stuck").touch()
        await until(lambda: ("drain", OPTIONS.config.shutdown_grace_s) in told(tmp_path)[first])

        assert len(told(tmp_path)) == 2
        assert len(workers.givers()) == 1
        assert replaced(await workers.readings([]))["stuck"] == 1


async def test_one_that_does_not_do_what_it_is_told_is_replaced(tmp_path: Path) -> None:
    async with fleet(tmp_path) as workers:
        first = told(tmp_path)
        (tmp_path / "deaf").touch()
        workers.tell("a", 1)
        await until(lambda: not workers.givers())
        (tmp_path / "deaf").unlink()

        await until(lambda: len(workers.givers()) == 2)

        assert len(told(tmp_path).keys() - first.keys()) >= 2
        assert replaced(await workers.readings([]))["unresponsive"] == 2


async def test_all_drain_and_end(tmp_path: Path) -> None:
    async with fleet(tmp_path) as workers:
        await workers.announce_drain()
        await workers.drain(3.0)

        assert workers.givers() == []
        assert [lines[-2:] for lines in told(tmp_path).values()] == [
            [("draining", None), ("drain", 3.0)]
        ] * 2


async def test_workers_that_never_come_up_fail_the_start(tmp_path: Path) -> None:
    made = Fleet(OPTIONS, 1, {}, command=(sys.executable, "-c", "raise SystemExit(3)"))
    made.start()
    try:
        with pytest.raises(Unavailable, match="The workers do not start"):
            await made.up()
    finally:
        await made.close()


def replaced(readings: Sequence[Reading]) -> dict[str, float]:
    """Return how many workers were replaced, by the reason."""
    return {
        each.labels["reason"]: each.value
        for each in readings
        if isinstance(each, Counter) and each.name == "sigrun_workers_replaced"
    }
