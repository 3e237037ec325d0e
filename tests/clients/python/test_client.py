"""Both clients against a whole server of fakes: what is asked, what comes back, what goes wrong.

Every test here runs twice: with `AsyncClient`, and with `Client` in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from sigrun.config.models import ModelSet
from sigrun.config.server import GrpcOptions
from sigrun.errors import ResourceExhausted as OutOfMemory
from sigrun.errors import Unavailable as ServerUnavailable
from sigrun.tensors.signature import Array, Signature
from sigrun_client import (
    AsyncClient,
    Class,
    ClassifyResult,
    Client,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ModelConfig,
    NotAvailable,
    NotFound,
    Options,
    RegressResult,
    ResourceExhausted,
    Retries,
    Unavailable,
)
from tests.fakes.servables import FakeServable
from tests.wire.clients import sizes_of
from tests.wire.model import SIGNATURES, compute
from tests.wire.rig import HOST, Rig

pytestmark = pytest.mark.asyncio

NAME = "half_plus_two"
X = {"x": [1.0, 2.0, 5.0]}
FOREVER = Options(timeout_s=None)


class FullAtFirst(FakeServable):
    """Has no room for its first requests."""

    def __init__(self, *, times: int) -> None:
        super().__init__(SIGNATURES, compute)
        self._times = times
        self.refused = 0

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        if self.refused < self._times:
            self.refused += 1
            raise ServerUnavailable("The queue is full")
        return await super().run(signature, inputs, outputs, deadline=deadline)


Ask = Callable[..., Awaitable[Any]]
Connect = Callable[..., Ask]


@pytest_asyncio.fixture(params=["Client", "AsyncClient"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Return a way to connect; what that returns calls a method of the client by name."""
    clients: list[Client | AsyncClient] = []

    def connect(address: str | Rig | list[str], options: Options | None = None) -> Ask:
        if isinstance(address, Rig):
            address = address_of(address)
        if request.param == "Client":
            threaded = Client(address, options)
            clients.append(threaded)
            return lambda name, *a, **k: asyncio.to_thread(getattr(threaded, name), *a, **k)
        client = AsyncClient(address, options)
        clients.append(client)
        return lambda name, *a, **k: getattr(client, name)(*a, **k)

    yield connect
    for client in clients:
        if isinstance(client, Client):
            client.close()
        else:
            await client.close()


def address_of(rig: Rig) -> str:
    return f"{HOST}:{rig.server.grpc.port}"


async def test_predict_returns_arrays_and_who_answered(rig: Rig, connect: Connect) -> None:
    await rig.start(1, 3)

    result = await connect(rig)("predict", NAME, X)

    assert result["y"].tolist() == [2.5, 3.0, 4.5]
    assert result["y"].dtype == np.float32
    assert (result.model, result.version, result.signature) == (NAME, 3, "serving_default")


async def test_a_version_or_a_label_answers(rig: Rig, connect: Connect) -> None:
    await rig.start(1, 3, models=ModelSet((rig.model(version_labels={"beta": 1}),)))
    ask = connect(rig)

    assert (await ask("predict", NAME, X, version=1)).version == 1
    assert (await ask("predict", NAME, X, label="beta")).version == 1
    assert (await ask("predict", NAME, X)).version == 3


async def test_a_signature_and_its_outputs_are_chosen(rig: Rig, connect: Connect) -> None:
    await rig.start()
    inputs = {"a": np.array([2], np.float32), "b": np.array([3], np.float32)}

    result = await connect(rig)("predict", NAME, inputs, signature="two", outputs=["product"])

    assert {name: array.tolist() for name, array in result.items()} == {"product": [6.0]}


async def test_one_tensor_is_enough_for_one_input(rig: Rig, connect: Connect) -> None:
    await rig.start()

    result = await connect(rig)("predict", NAME, [1, 2])

    assert result["y"].tolist() == [2.5, 3.0]


async def test_strings_come_back_as_bytes_and_as_text(rig: Rig, connect: Connect) -> None:
    await rig.start()

    result = await connect(rig)("predict", NAME, {"text": ["grün", b"a"]}, signature="echo")

    assert result["text"].tolist() == ["grün".encode(), b"a"]
    assert result.text("text").tolist() == ["grün", "a"]


async def test_large_tensors_go_both_ways(rig: Rig, connect: Connect) -> None:
    await rig.start()
    x = np.arange(5_000_000, dtype=np.float32)  # 20 MB

    result = await connect(rig)("predict", NAME, {"x": x})

    np.testing.assert_array_equal(result["y"], x / 2 + 2)


async def test_a_reply_larger_than_allowed_is_an_error(rig: Rig, connect: Connect) -> None:
    await rig.start()
    ask = connect(rig, Options(max_message_bytes=100_000))

    with pytest.raises(ResourceExhausted, match="larger than max"):
        await ask("predict", NAME, {"x": np.zeros(1_000_000, np.float32)})


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
async def test_requests_may_be_compressed(rig: Rig, connect: Connect, compression: Any) -> None:
    await rig.start()
    ask = connect(rig, Options(compression=compression))

    result = await ask("predict", NAME, {"x": np.zeros(100_000, np.float32)})

    assert result["y"].shape == (100_000,)


async def test_classify_and_regress_take_examples(rig: Rig, connect: Connect) -> None:
    await rig.start()
    ask = connect(rig)
    short, long = sizes_of("a", "abc")

    classes = await ask("classify", NAME, [{"text": "a"}, {"text": b"abc"}], signature="classify")
    values = await ask("regress", NAME, [{"text": "a"}, {"text": "abc"}], signature="regress")

    assert list(classes) == [(Class("length", short),), (Class("length", long),)]
    assert classes.top() == [[Class("length", short)], [Class("length", long)]]
    assert classes.version == 1
    assert values.values.tolist() == [short, long]
    assert values.values.dtype == np.float32


async def test_several_signatures_run_on_the_same_examples(rig: Rig, connect: Connect) -> None:
    await rig.start()

    results = await connect(rig)(
        "multi_inference", NAME, {"regress": "regress", "classify": "classify"}, [{"text": "a"}]
    )

    assert isinstance(results["classify"], ClassifyResult)
    assert isinstance(results["regress"], RegressResult)
    assert results["regress"].values.tolist() == sizes_of("a")


async def test_metadata_names_the_signatures(rig: Rig, connect: Connect) -> None:
    await rig.start(2)

    metadata = await connect(rig)("metadata", NAME)

    assert (metadata.model, metadata.version) == (NAME, 2)
    assert "serving_default" in metadata


async def test_status_lists_versions(rig: Rig, connect: Connect) -> None:
    rig.errors[f"{NAME}:2"] = OutOfMemory("no memory")
    await rig.start(1, 2)

    newest, oldest = await connect(rig)("status", NAME)

    assert (newest.version, newest.state, newest.code) == (2, "END", "RESOURCE_EXHAUSTED")
    assert newest.message == "no memory"
    assert oldest.is_available


async def test_reload_replaces_the_models(rig: Rig, connect: Connect) -> None:
    await rig.start()
    rig.add_version(7, name="other")
    ask = connect(rig)

    await ask("reload", [ModelConfig(name="other", base_path=str(rig.folder / "other"))])

    assert await ask("wait_until_available", "other") == 7
    with pytest.raises(NotFound):
        await ask("predict", NAME, X)


async def test_a_reload_has_more_time_than_other_calls_or_as_much_as_its_caller_says(
    rig: Rig, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.start()
    ask = connect(rig)
    left_s: list[float] = []

    async def reload(_: ModelSet, deadline: float | None = None) -> None:
        assert deadline is not None
        left_s.append(deadline - time.monotonic())

    monkeypatch.setattr(rig.server.models, "reload", reload)
    for given in ({}, {"timeout_s": None}, {"timeout_s": 30.0}):
        await ask("reload", [], **given)

    longest = [600, 60, 30]  # of the method, of the options, of the caller
    for left, most in zip(left_s, longest, strict=True):
        assert left == pytest.approx(most, rel=0.3)


async def test_a_reload_that_is_refused_raises(rig: Rig, connect: Connect) -> None:
    await rig.start()

    with pytest.raises(InvalidArgument, match="absolute path or URI"):
        await connect(rig)("reload", [ModelConfig(name="other", base_path="relative")])


async def test_models_are_managed_one_by_one(rig: Rig, connect: Connect) -> None:
    await rig.start(1, 2)
    rig.add_version(7, name="other")
    ask = connect(rig)
    path = str(rig.folder / "other")

    loaded = await ask("load_model", ModelConfig(name="other", base_path=path, latest=2))
    assert (loaded.name, loaded.base_path, loaded.labels) == ("other", path, {})
    assert [str(version) for version in loaded.versions] == ["version 7 AVAILABLE"]
    labelled = await ask("set_labels", NAME, {"stable": 1, "canary": 2})
    assert labelled.labels == {"canary": 2, "stable": 1}
    labelled = await ask("set_labels", NAME, {"stable": 2}, removed=["canary"])
    assert labelled.labels == {"stable": 2}
    rig.loaders.pop("other:7")
    reloaded = await ask("reload_model", "other")
    assert reloaded.name == "other"
    assert rig.loaders["other:7"].loads == 1
    assert [model.name for model in await ask("models")] == [NAME, "other"]
    await ask("unload_model", "other")
    with pytest.raises(NotFound, match="there is no model other"):
        await ask("unload_model", "other")


async def test_waiting_sees_the_server_come(rig: Rig, connect: Connect) -> None:
    socket = rig.folder / "grpc.sock"
    ask = connect(f"unix:{socket}")
    waiting = asyncio.ensure_future(ask("wait_until_available", NAME, timeout_s=8))

    await rig.start(4, grpc=GrpcOptions(port=None, socket_path=str(socket)))

    assert await waiting == 4


async def test_waiting_for_what_never_comes_ends(rig: Rig, connect: Connect) -> None:
    await rig.start()

    with pytest.raises(NotAvailable, match=r"'nothing' did not become available within 0.3 s"):
        await connect(rig)("wait_until_available", "nothing", timeout_s=0.3)


async def test_errors_have_the_servers_text(rig: Rig, connect: Connect) -> None:
    await rig.start()
    ask = connect(rig)

    with pytest.raises(NotFound, match=r"^Servable not found for request: Latest\(nothing\)"):
        await ask("predict", "nothing", {"x": np.zeros(1, np.float32)})
    with pytest.raises(FailedPrecondition, match=r"^Serving signature key") as failure:
        await ask("predict", NAME, {"x": "text"}, signature="nothing")
    assert failure.value.code == "FAILED_PRECONDITION"


async def test_a_call_ends_at_its_deadline(rig: Rig, connect: Connect) -> None:
    await rig.start()
    rig.servable().gate.clear()

    with pytest.raises(DeadlineExceeded):
        await connect(rig)("predict", NAME, {"x": np.zeros(1, np.float32)}, timeout_s=0.2)


async def test_the_deadline_reaches_the_server(rig: Rig, connect: Connect) -> None:
    await rig.start()
    x = {"x": np.zeros(1, np.float32)}

    await connect(rig, Options(timeout_s=5))("predict", NAME, x)
    await connect(rig, FOREVER)("predict", NAME, x)

    (*_, limited), (*_, unlimited) = rig.servable().runs
    assert limited is not None
    assert unlimited is None


@pytest.mark.parametrize("count", [1, 1_000_000], ids=["small", "4 MB"])
async def test_unavailable_is_tried_again(rig: Rig, connect: Connect, count: int) -> None:
    rig.servables[f"{NAME}:1"] = servable = FullAtFirst(times=2)
    await rig.start()
    ask = connect(rig, Options(retries=Retries(attempts=3, initial_backoff_s=0.01)))

    result = await ask("predict", NAME, {"x": np.zeros(count, np.float32)})

    assert result["y"].shape == (count,)
    assert servable.refused == 2


async def test_after_the_last_attempt_unavailable_is_told(rig: Rig, connect: Connect) -> None:
    rig.servables[f"{NAME}:1"] = servable = FullAtFirst(times=9)
    await rig.start()
    ask = connect(rig, Options(retries=Retries(attempts=2, initial_backoff_s=0.01)))

    with pytest.raises(Unavailable, match=r"^The queue is full$"):
        await ask("predict", NAME, {"x": np.zeros(1, np.float32)})

    assert servable.refused == 2


async def test_without_a_server_there_is_unavailable(connect: Connect) -> None:
    options = Options(retries=Retries(attempts=2, initial_backoff_s=0.01))

    with pytest.raises(Unavailable):
        await connect(f"{HOST}:1", options)("predict", NAME, {"x": np.zeros(1, np.float32)})


async def test_a_port_that_answers_in_http_1_is_said_to_be_the_wrong_one(connect: Connect) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    web = await asyncio.start_server(answer, HOST, 0)
    async with web:
        port = web.sockets[0].getsockname()[1]
        options = Options(retries=Retries(attempts=1))
        with pytest.raises(Unavailable, match=r"speaks HTTP/1\.1.* gRPC.* 8500"):
            await connect(f"{HOST}:{port}", options)("status", NAME)


async def test_two_servers_share_the_calls(rig: Rig, other_rig: Rig, connect: Connect) -> None:
    await rig.start()
    await other_rig.start()
    ask = connect([address_of(rig), address_of(other_rig)])

    for _ in range(6):
        await ask("predict", NAME, {"x": np.zeros(1, np.float32)})

    assert len(rig.servable().runs) == len(other_rig.servable().runs) == 3


async def test_when_one_server_goes_the_other_has_all(
    rig: Rig, other_rig: Rig, connect: Connect
) -> None:
    await rig.start()
    await other_rig.start()
    ask = connect(f"{address_of(rig)},{address_of(other_rig)}")

    await rig.stop()
    for _ in range(6):
        await ask("predict", NAME, {"x": np.zeros(1, np.float32)})

    assert len(other_rig.servable().runs) == 6


async def test_one_name_for_several_servers_is_balanced_by_grpc(
    rig: Rig, other_rig: Rig, connect: Connect
) -> None:
    await rig.start()
    await other_rig.start()
    ask = connect(f"ipv4:{address_of(rig)},{address_of(other_rig)}")

    async with asyncio.timeout(8):
        while not (rig.servable().runs and other_rig.servable().runs):
            await ask("predict", NAME, {"x": np.zeros(1, np.float32)})


async def test_lists_follow_a_new_version(rig: Rig, connect: Connect) -> None:
    await rig.start(1)
    ask = connect(rig)
    assert (await ask("predict", NAME, X)).version == 1

    rig.add_version(2)
    await ask("wait_until_available", NAME, version=2)

    assert (await ask("predict", NAME, X)).version == 2
