"""Connect and gRPC-Web over real sockets: what gRPC answers, in the other framings."""

from __future__ import annotations

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from sigrun.config.gateway import GatewayConfig, UpstreamOptions
from sigrun.config.server import HttpOptions
from sigrun.gateway import Gateway
from sigrun.servables.state import State
from tests.fakes.servables import FakeServable
from tests.wire.clients import NAME, predict_request
from tests.wire.rig import HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio

PREDICTION = "/tensorflow.serving.PredictionService"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
HEALTH = "/grpc.health.v1.Health/Check"


@pytest_asyncio.fixture(params=["server", "gateway"])
async def http(request: pytest.FixtureRequest, rig: Rig):  # type: ignore[no-untyped-def]
    """A client of the HTTP port: the server's own, or that of a gateway before it."""
    await rig.start(http=HTTP)
    if request.param == "server":
        yield rig.http()
        return
    gateway = Gateway(
        GatewayConfig(
            upstream=UpstreamOptions(addresses=(f"{HOST}:{rig.server.grpc.port}",)), http=HTTP
        )
    )
    await gateway.start()
    async with httpx.AsyncClient(base_url=f"http://{HOST}:{gateway.http.port}") as client:
        yield client
    await gateway.stop(grace_s=0)


async def connect(
    http: httpx.AsyncClient, path: str, message: Message, **headers: str
) -> httpx.Response:
    return await http.post(
        path,
        content=message.SerializeToString(),
        headers={"content-type": "application/proto", "connect-protocol-version": "1", **headers},
    )


async def grpc_web(http: httpx.AsyncClient, path: str, message: Message) -> list[bytes]:
    """Return the frames of the answer, their flags and sizes taken off."""
    body = message.SerializeToString()
    response = await http.post(
        path,
        content=b"\0" + len(body).to_bytes(4, "big") + body,
        headers={"content-type": "application/grpc-web+proto"},
    )
    frames, content = [], response.content
    while content:
        size = int.from_bytes(content[1:5], "big")
        frames.append(content[5 : 5 + size])
        content = content[5 + size :]
    return frames


class TestAnswers:
    async def test_predict_gives_the_bytes_that_grpc_gives(
        self, rig: Rig, http: httpx.AsyncClient
    ) -> None:
        request = predict_request(1, 2, 5)
        over_grpc = await rig.client().call(request)

        over_connect = await connect(http, f"{PREDICTION}/Predict", request)
        over_grpc_web = await grpc_web(http, f"{PREDICTION}/Predict", request)

        assert PredictResponse.FromString(over_connect.content) == over_grpc
        assert PredictResponse.FromString(over_grpc_web[0]) == over_grpc
        assert over_grpc_web[1] == b"grpc-status: 0\r\ngrpc-message: \r\n"

    async def test_a_large_body_is_answered_in_both(self, http: httpx.AsyncClient) -> None:
        request = predict_request(*range(1_000_000))

        over_connect = await connect(http, f"{PREDICTION}/Predict", request)
        over_grpc_web = await grpc_web(http, f"{PREDICTION}/Predict", request)

        values = PredictResponse.FromString(over_connect.content).outputs["y"].float_val
        assert (len(values), values[-1]) == (1_000_000, 499_999.5 + 2)
        assert over_grpc_web[0] == over_connect.content

    async def test_metadata_and_status_are_answered(self, http: httpx.AsyncClient) -> None:
        spec = ModelSpec(name=NAME)

        metadata = await connect(
            http,
            f"{PREDICTION}/GetModelMetadata",
            GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]),
        )
        status = await connect(http, STATUS, GetModelStatusRequest(model_spec=spec))

        assert list(GetModelMetadataResponse.FromString(metadata.content).metadata) == [
            "signature_def"
        ]
        (version,) = GetModelStatusResponse.FromString(status.content).model_version_status
        assert (version.version, version.state) == (1, State.AVAILABLE.value)

    async def test_json_is_read_and_written(self, http: httpx.AsyncClient) -> None:
        tensor = {"dtype": "DT_FLOAT", "tensorShape": {"dim": [{"size": 1}]}, "floatVal": [3]}

        response = await http.post(
            f"{PREDICTION}/Predict", json={"modelSpec": {"name": NAME}, "inputs": {"x": tensor}}
        )

        assert response.json()["outputs"]["y"]["floatVal"] == [3.5]

    async def test_metadata_in_json_shows_what_is_packed(self, http: httpx.AsyncClient) -> None:
        body = {"modelSpec": {"name": NAME}, "metadataField": ["signature_def"]}

        response = await http.post(f"{PREDICTION}/GetModelMetadata", json=body)

        packed = response.json()["metadata"]["signature_def"]
        assert "serving_default" in packed["signatureDef"]

    async def test_an_error_is_told_as_grpc_tells_it(self, http: httpx.AsyncClient) -> None:
        request = predict_request(1, name="nothing")

        over_connect = await connect(http, f"{PREDICTION}/Predict", request)
        over_grpc_web = await grpc_web(http, f"{PREDICTION}/Predict", request)

        text = (
            "Servable not found for request: Latest(nothing); there is no model nothing, this "
            f"server has model {NAME}"
        )
        assert over_connect.status_code == 404
        assert over_connect.json() == {"code": "not_found", "message": text}
        assert over_grpc_web == [f"grpc-status: 5\r\ngrpc-message: {text}\r\n".encode()]


async def test_the_servers_deadline_is_the_callers_time(rig: Rig) -> None:
    servable = FakeServable()
    rig.servables[f"{NAME}:1"] = servable
    await rig.start(http=HTTP)

    await connect(
        rig.http(), f"{PREDICTION}/Predict", predict_request(1), **{"connect-timeout-ms": "9000"}
    )

    ((_, _, _, deadline),) = servable.runs
    assert deadline is not None


async def test_health_is_answered_in_json(rig: Rig) -> None:
    await rig.start(http=HTTP)
    http = rig.http()

    whole = await http.post(HEALTH, json={})
    nobody = await http.post(HEALTH, json={"service": "nobody"})

    assert whole.json() == {"status": "SERVING"}
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")


async def test_a_page_elsewhere_is_told_that_it_may_ask(rig: Rig) -> None:
    await rig.start(http=HttpOptions(host=HOST, port=0, enable_cors=True))

    answer = await rig.http().options(
        f"{PREDICTION}/Predict",
        headers={
            "origin": "https://example.com",
            "access-control-request-method": "POST",
            "access-control-request-headers": (
                "connect-protocol-version,connect-timeout-ms,content-type,x-grpc-web,grpc-timeout"
            ),
        },
    )

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    asked = answer.request.headers["access-control-request-headers"].split(",")
    assert set(asked) <= set(allowed)
