"""Three replicas, one address: what clients see of a death, a drain, a roll-out and a slow one.

They call through the Envoy of `deploy/envoy` (gRPC, gRPC-Web, Connect and JSON), and balance by
themselves (gRPC's `round_robin`, and the Python client with three addresses).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest

from sigrun._gen.tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from sigrun_client import AsyncClient
from tests.reliability.callers import JSON_REQUEST, PREDICT, REQUEST, Predict
from tests.reliability.conftest import IS_LONG
from tests.reliability.proxy import ENVOY, Proxy, proxy
from tests.reliability.replicas import Replicas

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(not ENVOY.exists(), reason="Envoy is packaged for Linux on x86-64"),
]

JSON_PATH = "/v1/models/half_plus_two:predict"
FRAME = b"\0" + len(REQUEST).to_bytes(4, "big") + REQUEST
PAUSE_S = 0.1  # of a caller after an answer: two cores carry servers, proxy and callers
CALL_TIMEOUT_S = 30.0
SLOW_S = 0.3
ROUNDS = 3 if IS_LONG else 1
ROUND_ROBIN = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

Ask = Callable[[], Awaitable[int]]  # returns the version that has answered; raises otherwise


@dataclass
class Calls:
    """What became of the calls of one kind, and the versions that answered, in order."""

    versions: list[int] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return len(self.versions) + self.failed.total()


async def call_until(end: asyncio.Event, ask: Ask, calls: Calls) -> None:
    while not end.is_set():
        try:
            calls.versions.append(await ask())
        except (grpc.aio.AioRpcError, httpx.HTTPError, ValueError) as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else ""
            calls.failed[f"{type(error).__name__} {code} {error}"[:300]] += 1
        await asyncio.sleep(PAUSE_S)


def version_of(answer: PredictResponse) -> int:
    values = list(answer.outputs["y"].float_val)
    if values != [2.5]:
        raise ValueError(f"expected [2.5], not {values}")
    return answer.model_spec.version.value


@contextlib.asynccontextmanager
async def grpc_caller(target: str, *, balances: bool = False) -> AsyncIterator[Ask]:
    options: list[tuple[str, str | int]] = [("grpc.use_local_subchannel_pool", 1)]
    options += (
        [("grpc.service_config", json.dumps(ROUND_ROBIN)), ("grpc.max_reconnect_backoff_ms", 500)]
        if balances
        else [("grpc.enable_retries", 0)]
    )
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        method: Predict = channel.unary_unary(
            PREDICT, response_deserializer=PredictResponse.FromString
        )

        async def ask() -> int:
            return version_of(await method(REQUEST, timeout=CALL_TIMEOUT_S))

        yield ask


@contextlib.asynccontextmanager
async def python_client(addresses: list[str]) -> AsyncIterator[Ask]:
    async with AsyncClient(addresses) as client:

        async def ask() -> int:
            result = await client.predict("half_plus_two", {"x": [1.0]}, timeout_s=CALL_TIMEOUT_S)
            if result["y"].tolist() != [2.5]:
                raise ValueError(f"expected [2.5], not {result['y']}")
            return result.version

        yield ask


@contextlib.asynccontextmanager
async def http_caller(url: str, content: bytes, content_type: str) -> AsyncIterator[Ask]:
    path = JSON_PATH if content_type == "application/json" else PREDICT
    headers = {"content-type": content_type}
    if content_type == "application/proto":
        headers["connect-protocol-version"] = "1"
    async with httpx.AsyncClient(base_url=url, timeout=CALL_TIMEOUT_S) as client:

        async def ask() -> int:
            answer = await client.post(
                path,
                content=content,
                headers=headers,
            )
            if answer.status_code != 200:
                raise ValueError(f"{answer.status_code} {answer.text}")
            if content_type == "application/json":
                if answer.json() != {"predictions": [2.5]}:
                    raise ValueError(f"expected 2.5, not {answer.text}")
                return int(answer.headers["x-model-version"])
            if content_type == "application/proto":
                return version_of(PredictResponse.FromString(answer.content))
            length = int.from_bytes(answer.content[1:5], "big")
            if b"grpc-status:0" not in answer.content[5 + length :].replace(b" ", b""):
                raise ValueError(f"gRPC-Web: {answer.headers}, {answer.content!r}")
            return version_of(PredictResponse.FromString(answer.content[5 : 5 + length]))

        yield ask


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    running = Replicas(tmp_path)
    yield running
    running.close()


async def test_nobody_notices_a_death_a_drain_and_a_roll_out(
    replicas: Replicas, tmp_path: Path
) -> None:
    await in_threads(*(lambda n=n: replicas.begin(n, model_version=1) for n in range(3)))
    calls: defaultdict[str, Calls] = defaultdict(Calls)
    end = asyncio.Event()
    with proxy(tmp_path, replicas.ports) as envoy:
        async with contextlib.AsyncExitStack() as clients:
            callers = [
                (name, await clients.enter_async_context(caller))
                for name, count, make in kinds_of_callers(envoy, replicas)
                for caller in (make() for _ in range(count))
            ]
            calling = [
                asyncio.create_task(call_until(end, ask, calls[name])) for name, ask in callers
            ]
            for _ in range(ROUNDS):
                await every_kind_has(calls, 10)
                await one_dies(replicas, envoy, calls)
                await one_drains(replicas, envoy, calls)
            for number in range(3):
                await asyncio.to_thread(replicas.drain, number)
                await asyncio.to_thread(replicas.begin, number, model_version=2)
                await asyncio.to_thread(envoy.wait_until_healthy, [replicas.ports[number]])
            rolled = {name: len(one.versions) for name, one in calls.items()}
            await every_kind_has(calls, 10)
            end.set()
            await asyncio.wait_for(asyncio.gather(*calling), CALL_TIMEOUT_S)

    for name, one in calls.items():
        print(f"{name}: {len(one.versions)} answered, {one.failed.total()} failed")
    assert {name: dict(one.failed) for name, one in calls.items() if one.failed} == {}
    for name, one in calls.items():
        # What was in flight when the last old one left has been answered by now.
        assert set(one.versions[rolled[name] + CALLERS_OF_A_KIND :]) == {2}, name


CALLERS_OF_A_KIND = 4


def kinds_of_callers(
    envoy: Proxy, replicas: Replicas
) -> list[tuple[str, int, Callable[[], contextlib.AbstractAsyncContextManager[Ask]]]]:
    target = f"ipv4:{','.join(replicas.addresses)}"
    web = "application/grpc-web+proto"
    return [
        ("gRPC through Envoy", CALLERS_OF_A_KIND, lambda: grpc_caller(envoy.address)),
        (
            "JSON through Envoy",
            CALLERS_OF_A_KIND,
            lambda: http_caller(envoy.url, JSON_REQUEST, "application/json"),
        ),
        ("gRPC-Web through Envoy", 2, lambda: http_caller(envoy.url, FRAME, web)),
        ("Connect through Envoy", 2, lambda: http_caller(envoy.url, REQUEST, "application/proto")),
        ("round_robin", CALLERS_OF_A_KIND, lambda: grpc_caller(target, balances=True)),
        ("the Python client", 2, lambda: python_client(replicas.addresses)),
    ]


async def one_dies(replicas: Replicas, envoy: Proxy, calls: Mapping[str, Calls]) -> None:
    await asyncio.to_thread(replicas.kill, 0)
    await every_kind_has(calls, 20)
    await asyncio.to_thread(replicas.begin, 0, model_version=1)
    await asyncio.to_thread(envoy.wait_until_healthy, [replicas.ports[0]])


async def one_drains(replicas: Replicas, envoy: Proxy, calls: Mapping[str, Calls]) -> None:
    await asyncio.to_thread(replicas.drain, 1)
    await every_kind_has(calls, 20)
    await asyncio.to_thread(replicas.begin, 1, model_version=1)
    await asyncio.to_thread(envoy.wait_until_healthy, [replicas.ports[1]])


async def every_kind_has(calls: Mapping[str, Calls], more: int) -> None:
    """Return when callers of each kind have so many more answers or failures."""
    begun = {name: one.count for name, one in calls.items()}
    async with asyncio.timeout(60):
        while any(one.count < begun[name] + more for name, one in calls.items()):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_S)


async def test_a_slow_replica_gets_less_and_a_model_stays_with_one(
    replicas: Replicas, tmp_path: Path
) -> None:
    """Each replica serves a version of its own, so that an answer tells who gave it."""
    await in_threads(
        *(
            lambda n=n: replicas.begin(n, model_version=n + 1, delay_s=SLOW_S if n == 2 else 0.0)
            for n in range(3)
        )
    )
    with (
        proxy(tmp_path, replicas.ports) as envoy,
        proxy(tmp_path, replicas.ports, balancing="ROUND_ROBIN") as taking_turns,
    ):
        fewest_in_flight = await answers_by_version(envoy, callers=12, calls=20)
        turns = await answers_by_version(taking_turns, callers=12, calls=10)
        first = await replica_of_each_model(envoy)
        again = await replica_of_each_model(envoy)
        await asyncio.to_thread(replicas.kill, 1)
        without_one = await replica_of_each_model(envoy)
        refusal = await reload_through(envoy)

    print(f"LEAST_REQUEST {dict(fewest_in_flight)}, ROUND_ROBIN {dict(turns)}")
    assert fewest_in_flight[3] < fewest_in_flight.total() / 6  # half a fair share
    assert turns == Counter({1: 40, 2: 40, 3: 40})
    assert first == again
    assert set(first.values()) == {1, 2, 3}
    stayed = {model: version for model, version in first.items() if version != 2}
    assert {model: without_one[model] for model in stayed} == stayed
    assert set(without_one.values()) == {1, 3}
    assert refusal == (
        grpc.StatusCode.PERMISSION_DENIED,
        "a reload goes to each replica itself, not through the proxy",
    )


async def answers_by_version(envoy: Proxy, *, callers: int, calls: int) -> Counter[int]:
    counts: Counter[int] = Counter()

    async def call(ask: Ask) -> None:
        for _ in range(calls):
            counts[await ask()] += 1

    async with grpc_caller(envoy.address) as ask:
        await asyncio.gather(*(call(ask) for _ in range(callers)))
    return counts


async def replica_of_each_model(envoy: Proxy) -> dict[str, int]:
    """Return who answers requests with the header of each of 24 models, one after the other."""
    found = {}
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        method: Predict = channel.unary_unary(
            PREDICT, response_deserializer=PredictResponse.FromString
        )
        for model in (f"model-{number}" for number in range(24)):
            answer = await method(REQUEST, metadata=(("x-model", model),), timeout=CALL_TIMEOUT_S)
            found[model] = version_of(answer)
    return found


async def reload_through(envoy: Proxy) -> tuple[grpc.StatusCode, str]:
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(ReloadConfigRequest().SerializeToString(), timeout=CALL_TIMEOUT_S)
    return refused.value.code(), refused.value.details() or ""


async def in_threads(*work: Callable[[], None]) -> None:
    await asyncio.gather(*map(asyncio.to_thread, work))
