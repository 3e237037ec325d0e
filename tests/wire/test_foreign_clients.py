"""gRPC stacks and a proxy that are not ours, in front of both transports.

grpcio is the client of most other tests; here are grpclib (Python, on h2), grpc-js (Node), grpcurl
(Go), and Envoy between a client and the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpclib
import grpclib.client
import httpx
import pytest
from grpc_health.v1 import health_pb2

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.config.server import GrpcOptions, Transport
from tests.wire.clients import NAME, GrpcClient, predict_request
from tests.wire.rig import GRPC, HOST, HTTP, Rig

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

REPOSITORY = Path(__file__).resolve().parents[2]
JS = REPOSITORY / "clients" / "js"
ENVOY = Path(sys.executable).with_name("envoy")
GRPCURL = Path(sys.executable).with_name("grpcurl")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
PATIENCE_S = 60.0

EVERY_TRANSPORT = pytest.mark.parametrize(
    "options",
    [dataclasses.replace(GRPC, transport=transport) for transport in Transport],
    ids=[transport.value for transport in Transport],
)


async def output_of(*command: str) -> str:
    """Return what a command prints, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, error = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, error.decode()
    return out.decode()


@EVERY_TRANSPORT
async def test_grpclib(rig: Rig, options: GrpcOptions) -> None:
    await rig.start(grpc=options)
    async with grpclib.client.Channel(HOST, rig.server.grpc.port) as channel:
        predict = grpclib.client.UnaryUnaryMethod[PredictRequest, PredictResponse](
            channel, PREDICT, PredictRequest, PredictResponse
        )
        watch = grpclib.client.UnaryStreamMethod[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ](
            channel,
            "/grpc.health.v1.Health/Watch",
            health_pb2.HealthCheckRequest,
            health_pb2.HealthCheckResponse,
        )

        answers = await asyncio.gather(
            *(predict(predict_request(1), timeout=PATIENCE_S) for _ in range(100))
        )
        with pytest.raises(grpclib.GRPCError) as refused:
            await predict(predict_request(1, name="nothing"), timeout=PATIENCE_S)
        async with watch.open(timeout=PATIENCE_S) as stream:
            await stream.send_message(health_pb2.HealthCheckRequest(), end=True)
            health = await stream.recv_message()
            await stream.cancel()

    assert [list(a.outputs["y"].float_val) for a in answers] == [[2.5]] * 100
    assert refused.value.status is grpclib.Status.NOT_FOUND
    assert health is not None
    assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.skipif(
    not (JS / "node_modules" / "@grpc" / "grpc-js").exists() or not shutil.which("node"),
    reason="grpc-js is installed by `make js`",
)
@EVERY_TRANSPORT
async def test_grpc_js(rig: Rig, options: GrpcOptions) -> None:
    await rig.start(grpc=options)
    script = Path(__file__).with_name("grpc_js_client.mjs")
    address = f"{HOST}:{rig.server.grpc.port}"
    request = predict_request(1).SerializeToString().hex()

    answers = json.loads(await output_of("node", str(script), str(JS), address, request))

    response = PredictResponse.FromString(bytes.fromhex(answers["predict"]["reply"]))
    assert list(response.outputs["y"].float_val) == [2.5]
    assert answers["predict"]["id"]
    assert answers["many"] == 200
    assert (answers["garbage"]["code"], answers["unknown"]["code"]) == (3, 12)
    assert answers["watch"] == "0801"


@pytest.mark.skipif(not GRPCURL.exists(), reason="grpcurl is packaged for Linux on x86-64")
@EVERY_TRANSPORT
async def test_grpcurl(rig: Rig, options: GrpcOptions) -> None:
    await rig.start(grpc=options)
    address = f"{HOST}:{rig.server.grpc.port}"

    services = await output_of(str(GRPCURL), "-plaintext", address, "list")
    health = await output_of(str(GRPCURL), "-plaintext", address, "grpc.health.v1.Health/Check")

    assert "tensorflow.serving.PredictionService" in services.split()
    assert json.loads(health) == {"status": "SERVING"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def envoy_config(port: int, upstreams: dict[str, int]) -> dict[str, Any]:
    """Return the configuration of a proxy: gRPC, gRPC-Web and JSON in, each to its port."""

    def cluster(name: str, port: int, *, http2: bool) -> dict[str, Any]:
        protocol: dict[str, Any] = {
            "http2_protocol_options" if http2 else "http_protocol_options": {}
        }
        endpoint = {"address": {"socket_address": {"address": HOST, "port_value": port}}}
        options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "5s",
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": options,
                    "explicit_http_config": protocol,
                }
            },
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
            },
        }

    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/v1/"}, "route": {"cluster": "http"}},
                        {"match": {"prefix": "/"}, "route": {"cluster": "grpc", "timeout": "60s"}},
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.grpc_web",
                "typed_config": {"@type": f"{filters}.http.grpc_web.v3.GrpcWeb"},
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{filters}.http.router.v3.Router"},
            },
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": HOST, "port_value": port}},
                    "filter_chains": [
                        {"filters": [{"name": "hcm", "typed_config": manager}]},
                    ],
                }
            ],
            "clusters": [
                cluster("grpc", upstreams["grpc"], http2=True),
                cluster("http", upstreams["http"], http2=False),
            ],
        }
    }


@contextlib.asynccontextmanager
async def envoy(folder: Path, upstreams: dict[str, int]) -> AsyncIterator[int]:
    """Run Envoy in front of these ports; give the port that it listens on."""
    port = free_port()
    config = folder / "envoy.json"
    config.write_text(json.dumps(envoy_config(port, upstreams)))
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY),
            *("-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warn"),
            stdout=log,
            stderr=log,
        )
        try:
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@pytest.mark.skipif(not ENVOY.exists(), reason="Envoy is packaged for Linux on x86-64")
@EVERY_TRANSPORT
async def test_envoy_in_front(rig: Rig, options: GrpcOptions, tmp_path: Path) -> None:
    await rig.start(grpc=options, http=HTTP)
    assert rig.server.http is not None
    upstreams = {"grpc": rig.server.grpc.port or 0, "http": rig.server.http.port or 0}
    message = predict_request(1).SerializeToString()

    async with envoy(tmp_path, upstreams) as port, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        channel = grpc.aio.insecure_channel(f"{HOST}:{port}")
        await asyncio.wait_for(channel.channel_ready(), PATIENCE_S)
        client = GrpcClient(channel)
        answers = await asyncio.gather(*(client.predict(1) for _ in range(200)))
        rig.servable().gate.clear()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await client.begin(predict_request(1), timeout_s=0.2)
        rig.servable().gate.set()
        frame = b"\0" + len(message).to_bytes(4, "big") + message
        web = await http.post(
            f"http://{HOST}:{port}{PREDICT}",
            content=frame,
            headers={"content-type": "application/grpc-web+proto"},
        )
        plain = await http.post(
            f"http://{HOST}:{port}/v1/models/{NAME}:predict", json={"instances": [1]}
        )
        await channel.close()

    assert [list(a.outputs["y"].float_val) for a in answers] == [[2.5]] * 200
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert web.status_code == 200
    assert b"grpc-status:0" in web.content.replace(b" ", b"")
    assert plain.json() == {"predictions": [2.5]}
