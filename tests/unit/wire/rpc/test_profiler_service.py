from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from sigrun._gen.tsl.profiler.protobuf.profiler_service_pb2 import (
    MonitorRequest,
    ProfileRequest,
    TerminateRequest,
)
from sigrun.errors import InvalidArgument, NotFound, PermissionDenied, Unimplemented
from sigrun.inference.context import INTERNAL
from sigrun.wire.rpc.profiler_service import ProfilerService

pytestmark = pytest.mark.asyncio


class Rig:
    def __init__(self, space: bytes = b"space") -> None:
        self.asked: list[tuple[str, float, Mapping[str, int]]] = []
        self.space = space
        self.service = ProfilerService(self._trace, lambda name: name == "known")

    async def _trace(self, name: str, duration_s: float, levels: Mapping[str, int]) -> bytes:
        self.asked.append((name, duration_s, levels))
        return self.space


def request(root: Path | str, session: str = "s", host: str = "h_1") -> ProfileRequest:
    return ProfileRequest(
        duration_ms=1500, repository_root=str(root), session_id=session, host_name=host
    )


async def test_a_trace_is_written_where_tensorboard_looks(tmp_path: Path) -> None:
    rig = Rig()

    answer = await rig.service.Profile(request(tmp_path / "logs"), INTERNAL)

    assert not answer.empty_trace
    assert os.listdir(tmp_path / "logs" / "s") == ["h_1.xplane.pb"]
    assert (tmp_path / "logs" / "s" / "h_1.xplane.pb").read_bytes() == b"space"
    ((name, duration_s, levels),) = rig.asked
    assert (name, duration_s, levels["host_tracer_level"]) == ("s", 1.5, 2)


async def test_levels_are_those_of_the_caller() -> None:
    rig = Rig()
    asked = ProfileRequest(duration_ms=1)
    asked.opts.version = 1
    asked.opts.host_tracer_level = 3

    await rig.service.Profile(asked, INTERNAL)

    assert rig.asked[0][2] == {
        "host_tracer_level": 3,
        "device_tracer_level": 0,
        "python_tracer_level": 0,
    }


async def test_nothing_traced_writes_nothing(tmp_path: Path) -> None:
    answer = await Rig(b"").service.Profile(request(tmp_path), INTERNAL)

    assert answer.empty_trace
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("root", "session", "host"),
    [
        ("/x", "../s", "h"),
        ("/x", "s", "a/b"),
        ("/x", "..", "h"),
        ("/x", "", "h"),
        ("gs://x", "s", "h"),
    ],
)
async def test_a_place_that_is_none_is_refused_before_anything_is_traced(
    root: str, session: str, host: str
) -> None:
    rig = Rig()

    with pytest.raises(InvalidArgument):
        await rig.service.Profile(request(root, session, host), INTERNAL)

    assert rig.asked == []


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(PermissionDenied, match=r"cannot write .*/h_1\.xplane\.pb"):
        await Rig().service.Profile(request(tmp_path / "file"), INTERNAL)


async def test_a_trace_is_ended_by_its_name_and_monitor_is_for_tpus() -> None:
    service = Rig().service

    await service.Terminate(TerminateRequest(session_id="known"), INTERNAL)
    with pytest.raises(NotFound, match="'gone'"):
        await service.Terminate(TerminateRequest(session_id="gone"), INTERNAL)
    with pytest.raises(Unimplemented):
        await service.Monitor(MonitorRequest(), INTERNAL)
