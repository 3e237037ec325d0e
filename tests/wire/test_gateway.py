"""A gateway in front of real servers: what is its own, the rules of REST are tried elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.config.gateway import GatewayConfig, UpstreamOptions, UpstreamTls, UpstreamTlsFiles
from sigrun.config.server import GrpcOptions, HttpOptions, TlsOptions
from sigrun.errors import InvalidArgument, Unavailable
from sigrun.gateway import Gateway
from sigrun.inference.calls import MetadataCall, MetadataResult
from sigrun.inference.service import InferenceService
from sigrun.servables.state import State
from sigrun.tensors.signature import Array, DType, Signature
from sigrun.wire.config_files import upstream as upstream_files
from sigrun.wire.protobuf import tensors
from tests.fakes.servables import FakeServable, half_plus_two, signature
from tests.wire.clients import NAME, PATIENCE_S, predict_request, soon, spec_of
from tests.wire.gateways import address_of, gateway_to, url_of
from tests.wire.model import FailingServable
from tests.wire.rig import HOST, HTTP, Rig
from tests.wire.test_tls import OPENSSL, Identity, make_identity

pytestmark = pytest.mark.asyncio

PREDICT = f"/v1/models/{NAME}:predict"
STABLE = f"/v1/models/{NAME}/labels/stable:predict"
PROTOBUF = {"content-type": "application/x-protobuf"}
ROW = {"instances": [1.0, 2.0, 5.0]}


@pytest_asyncio.fixture
async def rigs(tmp_path: Path) -> AsyncIterator[Sequence[Rig]]:
    """Yield two servers that have not been started."""
    both = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        both.append(Rig(tmp_path / name))
    yield both
    for rig in both:
        await rig.close()


@pytest.fixture
def metadata_calls(monkeypatch: pytest.MonkeyPatch) -> list[MetadataCall]:
    """Return the metadata calls that servers get."""
    calls: list[MetadataCall] = []
    answer = InferenceService.metadata

    async def count(self: InferenceService, call: MetadataCall) -> MetadataResult:
        calls.append(call)
        return await answer(self, call)

    monkeypatch.setattr(InferenceService, "metadata", count)
    return calls


def serving(served: Signature, compute: Callable[[Mapping[str, Array]], Any]) -> FakeServable:
    return FakeServable([served], compute)


class TestSeveralServers:
    async def test_requests_go_round(self, rigs: Sequence[Rig]) -> None:
        for rig in rigs:
            await rig.start()

        async with gateway_to(*map(address_of, rigs)) as http:
            for _ in range(20):
                assert (await http.post(PREDICT, json=ROW)).status_code == 200

        runs = [len(rig.servable().runs) for rig in rigs]
        assert sum(runs) == 20
        assert min(runs) >= 5

    @pytest.mark.parametrize("kind", ["addresses", "names"])
    async def test_one_that_goes_away_is_passed_by_and_taken_back(
        self, rigs: Sequence[Rig], kind: str, tmp_path: Path
    ) -> None:
        first, second = rigs
        await first.start()
        await second.start()
        addresses = [address_of(rig) for rig in rigs]
        if kind == "names":
            addresses = [address.replace(HOST, "localhost") for address in addresses]

        async with gateway_to(*addresses) as http:
            await answered_by(http, first, second)
            await second.stop()
            await soon(until_ok(http))
            for _ in range(6):
                assert (await http.post(PREDICT, json=ROW)).status_code == 200

            (tmp_path / "again").mkdir()
            again = Rig(tmp_path / "again")
            port = second.server.grpc.port
            await again.start(grpc=GrpcOptions(host=HOST, port=port))
            try:
                await answered_by(http, again)
            finally:
                await again.close()

    async def test_one_that_is_not_ready_gets_no_requests(self, rigs: Sequence[Rig]) -> None:
        draining, ready = rigs
        for rig in rigs:
            await rig.start()

        async with gateway_to(*map(address_of, rigs)) as http:
            await answered_by(http, draining, ready)
            draining.server.readiness.draining()
            await soon(until_only(http, ready))

            before = len(draining.servable().runs)
            for _ in range(6):
                assert (await http.post(PREDICT, json=ROW)).status_code == 200

        assert len(draining.servable().runs) == before

    async def test_versions_that_differ_cost_no_metadata_for_every_request(
        self, rigs: Sequence[Rig], metadata_calls: list[MetadataCall]
    ) -> None:
        old, new = rigs
        await old.start(1)
        await new.start(1, 2)

        async with gateway_to(*map(address_of, rigs)) as http:
            for _ in range(20):
                assert (await http.post(PREDICT, json=ROW)).status_code == 200

        assert old.servable(1).runs
        assert new.servable(2).runs
        assert len(metadata_calls) <= 4


async def answered_by(http: httpx.AsyncClient, *rigs: Rig) -> None:
    """Ask until every one of `rigs` has answered."""
    before = [len(rig.servable().runs) for rig in rigs]
    async with asyncio.timeout(PATIENCE_S):
        while any(len(rig.servable().runs) == n for rig, n in zip(rigs, before, strict=True)):
            await http.post(PREDICT, json=ROW)


async def until_ok(http: httpx.AsyncClient) -> None:
    while (await http.post(PREDICT, json=ROW)).status_code != 200:
        pass


async def until_only(http: httpx.AsyncClient, rig: Rig) -> None:
    """Return when three requests in a row have been answered by `rig`."""
    in_a_row = 0
    while in_a_row < 3:
        before = len(rig.servable().runs)
        await http.post(PREDICT, json=ROW)
        in_a_row = in_a_row + 1 if len(rig.servable().runs) > before else 0


class TestVersions:
    async def test_signatures_are_fetched_once_for_each_version(
        self, rig: Rig, metadata_calls: list[MetadataCall]
    ) -> None:
        await rig.start(1)

        async with gateway_to(address_of(rig)) as http:
            versions = [await version_of(http, PREDICT) for _ in range(5)]
            rig.add_version(2)
            await rig.until_states({2: State.AVAILABLE})
            versions += [await version_of(http, PREDICT) for _ in range(5)]

        assert versions == ["1"] * 5 + ["2"] * 5
        assert len(metadata_calls) == 2

    async def test_a_label_that_moves_takes_its_requests_along(
        self, rig: Rig, metadata_calls: list[MetadataCall]
    ) -> None:
        await rig.start(1, 2)

        async with gateway_to(address_of(rig)) as http:
            versions = []
            for version in (1, 2, 1):
                rig.server.labels.replace({NAME: {"stable": version}})
                versions += [await version_of(http, STABLE) for _ in range(3)]

        assert versions == ["1"] * 3 + ["2"] * 3 + ["1"] * 3
        assert len(metadata_calls) == 2

    @pytest.mark.parametrize("is_same_request", [True, False])
    async def test_a_new_version_with_other_inputs_is_understood_at_once(
        self, rig: Rig, *, is_same_request: bool
    ) -> None:
        """Whether it is the server that refuses what was fit for the old one, or the reader."""
        alias = "x" if is_same_request else "image"
        rig.servables[f"{NAME}:2"] = serving(
            signature({alias: DType.INT64}, {"z": DType.INT64}),
            lambda inputs: {"z": inputs[alias] * 2},
        )
        await rig.start(1)

        async with gateway_to(address_of(rig)) as http:
            await http.post(PREDICT, json={"inputs": {"x": [1]}})
            rig.add_version(2)
            await rig.until_states({2: State.AVAILABLE})
            answer = await http.post(PREDICT, json={"inputs": {alias: [1, 2]}})

        assert answer.json() == {"outputs": [2, 4]}
        assert answer.headers["x-model-version"] == "2"

    async def test_a_version_that_is_another_model_by_now_is_understood_as_well(
        self, rig: Rig
    ) -> None:
        await rig.start(1, 2)

        async with gateway_to(address_of(rig)) as http:
            path = f"/v1/models/{NAME}/versions/1:predict"
            await http.post(path, json={"inputs": {"x": [1]}})
            rig.remove_version(1)
            await rig.until_states({1: State.END})
            gone = await http.post(path, json={"inputs": {"x": [1]}})
            rig.servables[f"{NAME}:1"] = serving(
                signature({"x": DType.INT64}, {"y": DType.INT64}), lambda inputs: {"y": inputs["x"]}
            )
            rig.add_version(1)
            await rig.until_states({1: State.AVAILABLE})
            back = await http.post(path, json={"inputs": {"x": [1]}})

        assert gone.status_code == 404
        assert gone.json()["error"].startswith(
            f"Servable not found for request: Specific({NAME}, 1); "
        )
        assert back.json() == {"outputs": [1]}

    async def test_a_request_that_is_wrong_costs_one_look_at_the_signatures(
        self, rig: Rig, metadata_calls: list[MetadataCall]
    ) -> None:
        await rig.start(1)

        async with gateway_to(address_of(rig)) as http:
            await http.post(PREDICT, json=ROW)
            answer = await http.post(PREDICT, json={"inputs": {"x": ["text"]}})

        assert answer.status_code == 400
        assert len(metadata_calls) == 2

    async def test_a_default_is_the_servers_to_fill_in(self, rig: Rig) -> None:
        await rig.start()

        async with gateway_to(address_of(rig)) as http:
            request = PredictRequest(
                model_spec=spec_of(signature="optional"),
                inputs={"a": tensors.encode(np.ones(1, np.float32))},
            ).SerializeToString()
            answer = await http.post(PREDICT, content=request, headers=PROTOBUF)

        response = PredictResponse.FromString(answer.content)
        assert tensors.decode("sum", response.outputs["sum"]).tolist() == [11.0]
        ((_, inputs, _, _),) = rig.servable().runs
        assert inputs["b"].tolist() == [10.0]


async def version_of(http: httpx.AsyncClient, path: str) -> str:
    answer = await http.post(path, json=ROW)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-model-version"]


class TestBodies:
    async def test_protobuf_goes_through(self, rig: Rig) -> None:
        await rig.start()
        request = predict_request(1, 2, 5).SerializeToString()

        async with gateway_to(address_of(rig)) as http:
            answer = await http.post(PREDICT, content=request, headers=PROTOBUF)

        response = PredictResponse.FromString(answer.content)
        assert tensors.decode("y", response.outputs["y"]).tolist() == [2.5, 3.0, 4.5]
        assert response.model_spec.version.value == 1

    async def test_messages_may_be_larger_than_grpc_likes_by_default(self, rig: Rig) -> None:
        await rig.start()
        x = np.arange(2_000_000, dtype=np.float32)
        request = PredictRequest(inputs={"x": tensors.encode(x)}).SerializeToString()

        async with gateway_to(address_of(rig)) as http:
            answer = await http.post(PREDICT, content=request, headers=PROTOBUF)

        response = PredictResponse.FromString(answer.content)
        y = tensors.decode("y", response.outputs["y"])
        assert np.array_equal(y, half_plus_two({"x": x})["y"])

    async def test_an_answer_that_is_none_is_the_servers_fault(self) -> None:
        async def answer(path: str, _: bytes, __: Any) -> bytes:
            return b"" if path.endswith("Predict") else b"no message"

        async with stranger(answer) as address, gateway_to(address) as http:
            response = await http.get(f"/v1/models/{NAME}/metadata")

        assert response.status_code == 500
        assert "not a tensorflow.serving.GetModelMetadataResponse" in response.json()["error"]


Answer = Callable[[str, bytes, Any], Any]


@asynccontextmanager
async def stranger(answer: Answer) -> AsyncIterator[str]:
    """Yield the address of a server that answers every call by `answer(path, body, context)`.

    It has no health service.
    """

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            if details.method.startswith("/grpc.health.v1."):
                return None

            async def handle(body: bytes, context: Any) -> Any:
                return await answer(details.method, body, context)

            return grpc.unary_unary_rpc_method_handler(handle)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield f"{HOST}:{port}"
    finally:
        await server.stop(None)


class TestCalls:
    async def test_the_timeout_of_http_is_the_deadline_upstream(self, rig: Rig) -> None:
        await rig.start()

        async with gateway_to(address_of(rig), http=HttpOptions(host=HOST, port=0)) as http:
            await http.post(PREDICT, json=ROW)

        ((_, _, _, deadline),) = rig.servable().runs
        assert deadline is not None

    async def test_a_deadline_that_passes_is_told_as_by_a_server(self, rig: Rig) -> None:
        await rig.start()
        rig.servable().gate.clear()

        options = HttpOptions(host=HOST, port=0, timeout_s=0.3)
        async with gateway_to(address_of(rig), http=options) as http:
            answer = await http.post(PREDICT, json=ROW)

        assert answer.status_code == 504
        assert answer.json()["error"] == "Timed out waiting for notification"

    async def test_the_id_of_a_request_is_passed_on(self) -> None:
        seen: list[Mapping[str, Any]] = []

        async def answer(_: str, __: bytes, context: Any) -> bytes:
            seen.append(dict(context.invocation_metadata()))
            return b""

        async with stranger(answer) as address, gateway_to(address) as http:
            given = await http.get(f"/v1/models/{NAME}", headers={"x-request-id": "abc-1"})
            made = await http.get(f"/v1/models/{NAME}")

        assert given.headers["x-request-id"] == seen[0]["x-request-id"] == "abc-1"
        assert made.headers["x-request-id"] == seen[1]["x-request-id"]

    async def test_a_client_that_leaves_takes_its_call_along(self) -> None:
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def answer(_: str, __: bytes, ___: Any) -> bytes:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return b""

        async with stranger(answer) as address, gateway_to(address) as http:
            asking = asyncio.create_task(http.get(f"/v1/models/{NAME}"))
            await soon(started.wait())
            asking.cancel()
            await soon(cancelled.wait())

    @pytest.mark.parametrize(
        ("code", "status"),
        [
            (grpc.StatusCode.CANCELLED, 499),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
            (grpc.StatusCode.UNAVAILABLE, 503),
            (grpc.StatusCode.UNAUTHENTICATED, 401),
        ],
    )
    async def test_an_error_of_a_server_is_the_answer(
        self, code: grpc.StatusCode, status: int
    ) -> None:
        async def answer(_: str, __: bytes, context: Any) -> None:
            await context.abort(code, "for a reason")

        async with stranger(answer) as address, gateway_to(address) as http:
            response = await http.get(f"/v1/models/{NAME}")

        assert response.status_code == status
        assert response.json() == {"error": "for a reason", "code": code.name}

    async def test_a_queue_that_is_full_is_told_at_once(self, rig: Rig) -> None:
        rig.servables[f"{NAME}:1"] = FailingServable(Unavailable("the queue is full"))
        await rig.start()

        async with gateway_to(address_of(rig)) as http:
            answer = await http.post(PREDICT, json=ROW)

        assert (answer.status_code, answer.json()["error"]) == (503, "the queue is full")


class TestLimits:
    async def test_a_gateway_that_is_full_refuses_and_counts_it(self, rig: Rig) -> None:
        await rig.start()
        servable = rig.servable()
        servable.gate.clear()

        async with gateway_to(address_of(rig), max_concurrent_requests=1) as http:
            waiting = asyncio.create_task(http.post(PREDICT, json=ROW))
            await servable.started.wait()
            refused = await http.post(PREDICT, json=ROW)
            metrics = (await http.get("/metrics")).text
            servable.gate.set()
            answer = await waiting

        assert refused.status_code == 503
        assert refused.json()["error"].startswith("The server is full: 1 requests are in flight")
        assert refused.headers["retry-after"] == "1"
        assert answer.status_code == 200
        assert "\nsigrun_in_flight_refusals_total 1.0\n" in metrics
        assert "\nsigrun_log_lines_dropped_total " in metrics


class TestReadiness:
    async def test_a_gateway_is_ready_while_a_server_is(self, rig: Rig) -> None:
        await rig.start()

        async with gateway_to(address_of(rig)) as http:
            ready = await http.get("/readyz")
            rig.server.readiness.draining()
            await soon(until_not_ready(http))
            alive = await http.get("/livez")

        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert alive.status_code == 200

    async def test_no_server_is_unavailable_until_one_is_there(self, rig: Rig) -> None:
        rig.add_version(1)
        await rig.build().start()
        address, port = address_of(rig), rig.server.grpc.port
        await rig.stop()

        async with gateway_to(address) as http:
            answer = await http.post(PREDICT, json=ROW)
            ready = await http.get("/readyz")
            alive = await http.get("/livez")
            again = Rig(rig.folder)
            await again.build(grpc=GrpcOptions(host=HOST, port=port)).start()
            try:
                await soon(until_ok(http))
            finally:
                await again.close()

        assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
        assert (ready.status_code, alive.status_code) == (503, 200)
        assert ready.json()["reasons"][0].startswith("no server upstream can be asked: ")

    async def test_a_server_without_health_service_is_taken_as_it_is(self, rig: Rig) -> None:
        await rig.start(grpc=GrpcOptions(host=HOST, port=0, enable_health=False))

        async with gateway_to(address_of(rig)) as http:
            ready = await http.get("/readyz")
            answer = await http.post(PREDICT, json=ROW)

        assert (ready.status_code, answer.status_code) == (200, 200)


async def until_not_ready(http: httpx.AsyncClient) -> None:
    while (await http.get("/readyz")).status_code != 503:
        pass


class TestStartAndStop:
    async def test_what_is_in_flight_is_finished(self, rig: Rig) -> None:
        await rig.start()
        gateway = Gateway(
            GatewayConfig(upstream=UpstreamOptions(addresses=(address_of(rig),)), http=HTTP)
        )
        await gateway.start()
        rig.servable().gate.clear()
        async with httpx.AsyncClient(base_url=url_of(gateway), timeout=PATIENCE_S) as http:
            asking = asyncio.create_task(http.post(PREDICT, json=ROW))
            await soon(rig.servable().started.wait())

            stopping = asyncio.create_task(gateway.stop(grace_s=PATIENCE_S))
            rig.servable().gate.set()
            await soon(stopping)

            assert (await asking).json() == {"predictions": [2.5, 3.0, 4.5]}

    async def test_a_port_that_is_taken_is_named(self, rig: Rig) -> None:
        await rig.start()
        async with gateway_to(address_of(rig)) as http:
            port = http.base_url.port
            taken = HttpOptions(host=HOST, port=port)
            with pytest.raises(Unavailable, match=f"HTTP cannot listen on {HOST}:{port}"):
                async with gateway_to(address_of(rig), http=taken):
                    pass


@pytest.mark.skipif(OPENSSL is None, reason="certificates are made with the openssl command")
class TestTls:
    async def test_a_server_is_known_by_its_certificate_and_knows_the_gateway_by_its_own(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        server, client = make_identity(tmp_path, "server"), make_identity(tmp_path, "client")
        await rig.start(grpc=secured(server, client))
        known = UpstreamTls(ca=server.cert, client_cert=client.cert, client_key=client.key)
        unknown = UpstreamTls(ca=server.cert)
        strange = UpstreamTls(ca=client.cert, client_cert=client.cert, client_key=client.key)

        statuses = []
        for tls in (known, unknown, strange, None):
            async with gateway_to(address_of(rig), tls=tls) as http:
                statuses.append((await http.post(PREDICT, json=ROW)).status_code)

        assert statuses == [200, 503, 503, 503]

    async def test_its_certificate_is_read_again_when_it_changes(
        self, rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        server, client, strange = (
            make_identity(tmp_path, name) for name in ("server", "client", "strange")
        )
        await rig.start(grpc=secured(server, client))
        ca, cert, key = (tmp_path / name for name in ("ca", "cert", "key"))
        ca.write_bytes(server.cert)

        def show(identity: Identity) -> None:
            cert.write_bytes(identity.cert)
            key.write_bytes(identity.key)

        show(client)
        files = UpstreamTlsFiles(ca=ca, client_cert=cert, client_key=key)
        tls = await asyncio.to_thread(upstream_files.tls, files)
        options = UpstreamOptions(addresses=(address_of(rig),), tls=tls, tls_files=files)
        gateway = Gateway(GatewayConfig(upstream=options, http=HTTP))
        await gateway.start()
        async with httpx.AsyncClient(base_url=url_of(gateway), timeout=PATIENCE_S) as http:
            rig.servable().gate.clear()
            begun = asyncio.create_task(http.post(PREDICT, json=ROW))
            await soon(rig.servable().started.wait())

            show(strange)
            await gateway.look_at_files()
            refused = await http.post(PREDICT, json=ROW)
            key.write_bytes(client.key)
            await gateway.look_at_files()
            show(client)
            await gateway.look_at_files()
            rig.servable().gate.set()
            taken = await http.post(PREDICT, json=ROW)
            finished = await begun
        await gateway.stop(grace_s=0)

        assert (refused.status_code, taken.status_code, finished.status_code) == (503, 200, 200)
        (line,) = [line for line in caplog.messages if "stay in force" in line]
        assert "the certificates for the servers upstream as before stay in force" in line
        assert "KEY_VALUES_MISMATCH" in line

    async def test_a_certificate_that_cannot_be_used_fails_the_start(self, rig: Rig) -> None:
        await rig.start()
        with pytest.raises(InvalidArgument, match="cannot use the certificates for the servers"):
            async with gateway_to(address_of(rig), tls=UpstreamTls(ca=b"none")):
                pass

    async def test_a_certificate_may_bear_another_name(self, rig: Rig, tmp_path: Path) -> None:
        server = make_identity(tmp_path, "model")
        await rig.start(grpc=secured(server))
        tls = UpstreamTls(ca=server.cert, server_name="model")

        async with gateway_to(address_of(rig).replace(HOST, "localhost"), tls=tls) as http:
            answer = await http.post(PREDICT, json=ROW)

        assert answer.status_code == 200


def secured(server: Identity, client: Identity | None = None) -> GrpcOptions:
    tls = TlsOptions(
        server_key=server.key,
        server_cert=server.cert,
        custom_ca=client.cert if client else b"",
        verify_client=client is not None,
    )
    return GrpcOptions(host=HOST, port=0, tls=tls)
