"""Version directories that are corrupt, half there, or gone again while they are read: what was
served goes on, and what comes whole is served."""

from __future__ import annotations

import asyncio
import functools
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeBasePath, SavedModel
from tests.e2e.process import RunningServer, running_server
from tests.reliability.callers import Tally, call_grpc, call_http
from tests.reliability.conftest import IS_LONG, resident_bytes
from tests.wire.clients import NAME

pytestmark = pytest.mark.asyncio

ROUNDS = 20 if IS_LONG else 1
PATIENCE_S = 60.0
FLAGS = [
    "--file_system_poll_wait_seconds=1",
    "--version_settle_seconds=0.2",
    "--max_num_load_retries=0",
    "--shutdown_grace_seconds=2",
]

Break = Callable[[random.Random, Path], None]


def _files(version: Path) -> list[Path]:
    return sorted(path for path in version.rglob("*") if path.is_file())


def cut_a_file(chance: random.Random, version: Path) -> None:
    """Shorten one of the files."""
    file = chance.choice(_files(version))
    os.truncate(file, chance.randrange(file.stat().st_size or 1))


def flip_bits(chance: random.Random, version: Path) -> None:
    """Change some bytes of the graph. It may be a model still, of other names."""
    graph = version / "saved_model.pb"
    data = bytearray(graph.read_bytes())
    for _ in range(20):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    graph.write_bytes(data)


def remove_a_file(chance: random.Random, version: Path) -> None:
    """Leave one of the files out."""
    chance.choice(_files(version)).unlink()


def make_a_pipe(_: random.Random, version: Path) -> None:
    """Put a pipe where the graph should be."""
    (version / "saved_model.pb").unlink()
    os.mkfifo(version / "saved_model.pb")


def link_in_a_circle(_: random.Random, version: Path) -> None:
    """Put a link to itself where the variables should be."""
    shutil.rmtree(version / "variables")
    (version / "variables").symlink_to(version / "variables")


def leave_nothing(_: random.Random, version: Path) -> None:
    """Leave an empty folder."""
    shutil.rmtree(version)
    version.mkdir()


BREAKS: tuple[Break, ...] = (
    cut_a_file,
    flip_bits,
    remove_a_file,
    make_a_pipe,
    link_in_a_circle,
    leave_nothing,
)


def is_right(version: int | None, values: list[float]) -> bool:
    """Judge an answer to 1. What has flipped bits may answer anything, as its own version."""
    return values == [2.5] or version not in (None, 1)


async def test_what_is_served_goes_on_beside_what_is_broken(
    make_base_path: MakeBasePath, saved_model: SavedModel, tmp_path: Path
) -> None:
    chance = random.Random(5)
    base_path = make_base_path({1: "half_plus_two"})
    flags = [*FLAGS, f"--model_config_file={config_file(tmp_path, base_path)}"]
    with running_server(*flags) as server:
        tally, end = Tally(), asyncio.Event()
        callers = [
            asyncio.create_task(call_grpc(server.grpc_address, tally, end, is_right)),
            asyncio.create_task(call_http(server.http_port, tally, end, is_right)),
        ]
        before, number = resident_bytes(server.process.pid), 1
        for _ in range(ROUNDS):
            broken = []
            for change in BREAKS:
                number += 1
                broken.append(number)
                put(saved_model("half_plus_two"), base_path / str(number), change, chance)
            # And one that is taken away again while it is looked at or read.
            number += 1
            put(saved_model("half_plus_two"), base_path / str(number), leave_it, chance)
            await asyncio.sleep(chance.random())
            shutil.rmtree(base_path / str(number))
            await until(server, functools.partial(are_settled, server, broken), "the end")
            for version in broken:
                shutil.rmtree(base_path / str(version))
        end.set()
        await asyncio.gather(*callers)
        whole = number + 1
        put(saved_model("half_plus_three"), base_path / str(whole), leave_it, chance)
        await until(
            server, lambda: server.states(NAME).get(whole) == "AVAILABLE", "a version that is whole"
        )
        base_path.rename(base_path.with_name("away"))
        answer = await asyncio.to_thread(
            server.post, f"/v1/models/{NAME}/versions/{whole}:predict", {"instances": [1.0]}
        )
        grown = resident_bytes(server.process.pid) - before
        log = server.log_text()
        server.process.terminate()
        status = await asyncio.to_thread(server.process.wait, PATIENCE_S)

    print(
        f"{ROUNDS * len(BREAKS)} broken versions beside one that is served: {tally.answered} "
        f"answered, {sum(tally.lost.values())} lost, {tally.wrong} wrong; RSS {grown >> 20:+d} MiB"
    )
    assert tally.are_all_accounted_for, (tally, log)
    assert tally.answered > 100
    assert answer == (200, {"predictions": [3.5]})
    assert status == 0, log
    assert "Traceback" not in log


def config_file(folder: Path, base_path: Path) -> Path:
    """Write a config that serves all versions, so that the one that works stays."""
    file = folder / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "{NAME}" base_path: "{base_path}" '
        'model_platform: "tensorflow" model_version_policy { all {} } } }'
    )
    return file


def leave_it(_chance: random.Random, _version: Path) -> None:
    """Break nothing."""


def put(source: Path, target: Path, change: Break, chance: random.Random) -> None:
    """Put a copy that is changed in its place, whole."""
    incoming = target.with_name("incoming")
    shutil.copytree(source, incoming, symlinks=True)
    change(chance, incoming)
    incoming.rename(target)


def are_settled(server: RunningServer, versions: list[int]) -> bool:
    """Return whether each was loaded, or refused."""
    states = server.states(NAME)
    return all(states.get(version) in ("AVAILABLE", "END") for version in versions)


async def until(server: RunningServer, condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(server.wait_for, condition, what, PATIENCE_S)
