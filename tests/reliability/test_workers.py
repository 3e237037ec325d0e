"""Several workers are one server: none is missed when it dies, and none is behind the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from sigrun._gen.tensorflow_serving.apis.model_management_pb2 import (
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from tests.processes import children, is_alive
from tests.reliability.callers import PREDICT, Predict
from tests.reliability.conftest import IS_LONG, SETTLE_S, Victim, running, until
from tests.reliability.supervisor import GRACE_S, MODEL
from tests.wire.clients import GrpcClient, predict_request

pytestmark = pytest.mark.asyncio

CALLERS = 32
ROUNDS = 10 if IS_LONG else 1
MORE = 200
HEALTHY = {"": "SERVING", MODEL: "SERVING"}

_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_SERVING = re.compile(rb"^sigrun_workers_serving (\d+)", re.MULTILINE)
_REQUESTS = re.compile(rb'^sigrun_requests_total\{code="OK",door="grpc".*\} (.+)', re.MULTILINE)

_AVAILABLE, _UNLOADING, _END = 30, 40, 50
_RETRYING = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


@contextlib.contextmanager
def supervised(base_path: Path, workers: int = 2) -> Iterator[Victim]:
    """Run a supervisor and its workers; it is killed at the end if it is still there."""
    with running("tests.reliability.supervisor", str(base_path), str(workers)) as one:
        yield one


@dataclass
class Answers:
    """What callers got: which version, asked when; and how many calls failed with what."""

    got: list[tuple[float, int]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def since(self, moment: float) -> set[int]:
        """Return the versions that answered what was asked after a moment."""
        return {version for asked_at, version in self.got if asked_at > moment}


@contextlib.asynccontextmanager
async def callers(
    address: str, count: int, answers: Answers, *, label: str | None = None, retry: bool = False
) -> AsyncIterator[None]:
    """Have so many callers, each with a connection of its own, ask until the block ends."""
    end = asyncio.Event()
    request = predict_request(1, name=MODEL)
    if label is not None:
        request.model_spec.version_label = label
    body = request.SerializeToString()

    async def call() -> None:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.enable_retries", int(retry)),
            *([("grpc.service_config", _RETRYING)] if retry else []),
        ]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            method: Predict = channel.unary_unary(
                PREDICT, response_deserializer=PredictResponse.FromString
            )
            while not end.is_set():
                asked_at = time.monotonic()
                try:
                    answer = await method(body, timeout=30)
                except grpc.aio.AioRpcError as error:
                    answers.failed[f"{error.code().name}: {error.details()}"] += 1
                    continue
                version = answer.model_spec.version.value
                assert list(answer.outputs["y"].float_val) == [version]
                answers.got.append((asked_at, version))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(call())
        try:
            yield
        finally:
            end.set()


async def more(*answers: Answers) -> None:
    """Return when there is more traffic of each kind than before."""
    enough = [len(each.got) + MORE for each in answers]
    await until(
        lambda: all(len(a.got) >= n for a, n in zip(answers, enough, strict=True)), "traffic"
    )


def metrics(server: Victim) -> bytes:
    with urllib.request.urlopen(f"{server.http}/metrics", timeout=30) as response:
        body: bytes = response.read()
        return body


def workers_serving(server: Victim) -> int:
    found = _SERVING.search(metrics(server))
    return int(found[1]) if found else 0


def requests_answered(server: Victim) -> int:
    # A million is written as 1e+06.
    return int(sum(map(float, _REQUESTS.findall(metrics(server)))))


def worker_processes(server: Victim) -> list[int]:
    """Return the process ids of the workers."""
    return children(server.process.pid)


def add_version(base_path: Path, version: int) -> None:
    (base_path / str(version)).mkdir(parents=True)


async def status(address: str) -> dict[int, int]:
    """Return the state of each version of the model, asked on a new connection."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        request = GetModelStatusRequest()
        request.model_spec.name = MODEL
        answer: GetModelStatusResponse = await channel.unary_unary(
            _STATUS,
            request_serializer=GetModelStatusRequest.SerializeToString,
            response_deserializer=GetModelStatusResponse.FromString,
        )(request, timeout=30)
        return {each.version: int(each.state) for each in answer.model_version_status}


async def reload(address: str, base_path: Path, versions: list[int], stable: int) -> None:
    """Serve these versions, and have the label `stable` mean one of them."""
    request = ReloadConfigRequest()
    model = request.config.model_config_list.config.add()
    model.name, model.base_path, model.model_platform = MODEL, str(base_path), "tensorflow"
    model.model_version_policy.specific.versions.extend(versions)
    model.version_labels["stable"] = stable
    async with grpc.aio.insecure_channel(address) as channel:
        answer: ReloadConfigResponse = await channel.unary_unary(
            _RELOAD,
            request_serializer=ReloadConfigRequest.SerializeToString,
            response_deserializer=ReloadConfigResponse.FromString,
        )(request, timeout=60)
        assert answer.status.error_code == 0, answer.status.error_message


async def until_state(address: str, version: int, *states: int) -> None:
    """Return when a version is said to have come to one of some states."""
    async with asyncio.timeout(SETTLE_S):
        while (await status(address)).get(version) not in states:
            pass


async def serve_models(address: str, base_paths: Mapping[str, Path]) -> None:
    """Serve these models, and no others."""
    request = ReloadConfigRequest()
    for name, base_path in base_paths.items():
        model = request.config.model_config_list.config.add()
        model.name, model.base_path, model.model_platform = name, str(base_path), "tensorflow"
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await GrpcClient(channel).call(request)
        assert answer.status.error_code == 0, answer.status.error_message


@contextlib.asynccontextmanager
async def connections(address: str, count: int) -> AsyncIterator[list[GrpcClient]]:
    """Return clients with a connection each, which go to the workers in turn."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with contextlib.AsyncExitStack() as stack:
        yield [
            GrpcClient(await stack.enter_async_context(channel))
            for channel in (
                grpc.aio.insecure_channel(address, options=options) for _ in range(count)
            )
        ]


async def replaced(server: Victim, worker: int) -> None:
    """Return when another process has taken the place of a worker."""
    await until(lambda: not is_alive(worker), "the end of the worker")
    await until(lambda: workers_serving(server) == 2, "its replacement")


async def test_a_worker_that_is_killed_fails_no_more_than_it_was_answering(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    retrying, plain = Answers(), Answers()
    kills = 2 * ROUNDS
    counted: list[int] = []
    with supervised(tmp_path) as server:
        async with (
            callers(server.grpc, CALLERS // 2, retrying, retry=True),
            callers(server.grpc, CALLERS // 2, plain),
        ):
            for number in range(kills):
                await more(retrying, plain)
                counted.append(requests_answered(server))
                victim = worker_processes(server)[number % 2]
                os.kill(victim, signal.SIGKILL)
                await replaced(server, victim)
            await more(retrying, plain)
        counted.append(requests_answered(server))
        workers = worker_processes(server)
        server.process.kill()
        await until(lambda: not any(map(is_alive, workers)), "the end of the orphans")

    print(
        f"{kills} kills: {len(retrying.got)} answers to those who retry, {retrying.failed} failed; "
        f"{len(plain.got)} to others, {plain.failed} failed; counted were {counted}"
    )
    assert not retrying.failed
    assert plain.failed.total() <= kills * CALLERS // 2, "one in flight for each caller"
    assert {version for _, version in retrying.got + plain.got} == {1}
    assert counted == sorted(counted), "what a worker has counted outlives it"


async def test_all_workers_move_together_and_no_request_fails(tmp_path: Path) -> None:
    add_version(tmp_path, 1)
    labelled, latest = Answers(), Answers()
    with supervised(tmp_path) as server:
        address = server.grpc
        await reload(address, tmp_path, [1], stable=1)
        async with (
            callers(address, CALLERS // 2, labelled, label="stable"),
            callers(address, CALLERS // 2, latest),
        ):
            for new in range(2, ROUNDS + 2):
                old = new - 1
                add_version(tmp_path, new)
                await more(labelled, latest)
                await reload(address, tmp_path, [old, new], stable=old)
                await until_state(address, new, _AVAILABLE)
                available_at = time.monotonic()
                await reload(address, tmp_path, [old, new], stable=new)
                moved_at = time.monotonic()
                await reload(address, tmp_path, [new], stable=new)
                await until_state(address, old, _UNLOADING, _END)
                removed_at = time.monotonic()
                await more(labelled, latest)

                assert latest.since(available_at) == {new}
                assert labelled.since(moved_at) == {new}
                assert latest.since(removed_at) == labelled.since(removed_at) == {new}
        exit_status = await asyncio.to_thread(server.stop, GRACE_S + 10)

    print(f"{ROUNDS} rounds: {len(labelled.got)} by label, {len(latest.got)} by latest version")
    assert not labelled.failed
    assert not latest.failed
    assert exit_status == 0, server.log


async def test_the_health_of_every_worker_is_that_of_the_whole(tmp_path: Path) -> None:
    paths = {MODEL: tmp_path / MODEL, "leaving": tmp_path / "leaving"}
    for path in paths.values():
        add_version(path, 1)
    with supervised(paths[MODEL]) as server:
        await serve_models(server.grpc, paths)
        async with connections(server.grpc, 4) as clients:
            for client in clients:
                health = {name: await client.check(name) for name in ("", *paths)}
                assert health == {**HEALTHY, "leaving": "SERVING"}
            watchers = [client.watch("leaving") for client in clients]
            assert {await watcher.next() for watcher in watchers} == {"SERVING"}
            (paths["leaving"] / "1").rmdir()
            assert {await watcher.next() for watcher in watchers} == {"NOT_SERVING"}
        victim = worker_processes(server)[0]
        os.kill(victim, signal.SIGKILL)
        await replaced(server, victim)
        async with connections(server.grpc, 4) as clients:
            for client in clients:
                health = {name: await client.check(name) for name in ("", *paths)}
                assert health == {**HEALTHY, "leaving": "NOT_SERVING"}
            watchers = [client.watch() for client in clients]
            assert {await watcher.next() for watcher in watchers} == {"SERVING"}
            server.process.terminate()
            assert {await watcher.next() for watcher in watchers} == {"NOT_SERVING"}
