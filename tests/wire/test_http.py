"""REST over real sockets: the same server, the same models, the same texts."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import math
import socket
import statistics
from typing import Any

import httpx
import numpy as np
import pytest

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.config.models import ModelSet
from sigrun.config.server import HttpOptions
from sigrun.errors import Code, error_for
from sigrun.servables.state import State
from sigrun.wire.protobuf import tensors
from tests.fakes.servables import FakeServable
from tests.wire.clients import NAME, PATIENCE_S, soon
from tests.wire.model import SIGNATURES, FailingServable
from tests.wire.rest_model import RestServable
from tests.wire.rig import HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio

PREDICT = f"/v1/models/{NAME}:predict"


async def start(rig: Rig, *versions: int, **settings: Any) -> httpx.AsyncClient:
    await rig.start(*versions, **{"http": HTTP, **settings})
    return rig.http()


class TestRest:
    async def test_rows_and_columns_are_answered(self, rig: Rig) -> None:
        http = await start(rig)

        rows = await http.post(PREDICT, json={"instances": [1.0, 2.0, 5.0]})
        columns = await http.post(PREDICT, json={"inputs": {"x": [1.0]}})

        assert (rows.status_code, columns.status_code) == (200, 200)
        assert rows.json() == {"predictions": [2.5, 3.0, 4.5]}
        assert columns.json() == {"outputs": [2.5]}
        assert rows.headers["content-type"] == "application/json"

    async def test_several_outputs_are_objects(self, rig: Rig) -> None:
        http = await start(rig)
        body = {"signature_name": "two", "instances": [{"a": 2, "b": 3}, {"a": 4, "b": 5}]}

        answer = await http.post(PREDICT, json=body)

        assert answer.json() == {
            "predictions": [{"sum": 5, "product": 6}, {"sum": 9, "product": 20}]
        }

    async def test_numbers_that_json_does_not_have_go_both_ways(self, rig: Rig) -> None:
        http = await start(rig)

        answer = await http.post(PREDICT, content=b'{"instances": [NaN, -Infinity, 0.2]}')

        assert answer.text == '{"predictions":[NaN,-Infinity,2.1]}\n'
        assert math.isnan(json.loads(answer.text)["predictions"][0])

    async def test_the_path_chooses_version_or_label(self, rig: Rig) -> None:
        http = await start(rig, 1, 2)
        rig.server.labels.replace({NAME: {"stable": 1}})

        for path in ("", "/versions/1", "/labels/stable"):
            await http.post(f"/v1/models/{NAME}{path}:predict", json={"instances": [1]})

        assert (len(rig.servable(1).runs), len(rig.servable(2).runs)) == (2, 1)

    async def test_status_and_metadata_are_answered(self, rig: Rig) -> None:
        http = await start(rig, 3)

        status = await http.get(f"/v1/models/{NAME}")
        metadata = await http.get(f"/v1/models/{NAME}/metadata")

        assert status.json() == {
            "model_version_status": [
                {
                    "version": "3",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }
        assert metadata.json()["model_spec"] == {
            "name": NAME,
            "signature_name": "",
            "version": "3",
        }
        signatures = metadata.json()["metadata"]["signature_def"]["signature_def"]
        assert signatures.keys() == {signature.name for signature in SIGNATURES}
        assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"

    async def test_a_chunked_body_is_read_whole(self, rig: Rig) -> None:
        http = await start(rig)

        async def body() -> Any:
            for chunk in (b'{"inst', b'ances": [1, 2', b", 5]}"):
                yield chunk

        answer = await http.post(PREDICT, content=body())

        assert answer.json() == {"predictions": [2.5, 3.0, 4.5]}

    async def test_a_body_of_20_megabytes_passes_both_ways(self, rig: Rig) -> None:
        http = await start(rig)
        text = "x" * 20_000_000

        answer = await http.post(PREDICT, json={"signature_name": "echo", "instances": [text]})

        assert answer.json() == {"predictions": [text]}

    async def test_megabytes_of_numbers_pass_both_ways(self, rig: Rig) -> None:
        http = await start(rig)
        values = np.arange(600_000, dtype=np.float32).reshape(200, 3000) / 8

        answer = await http.post(PREDICT, json={"instances": values.tolist()})

        predictions = np.array(answer.json()["predictions"], np.float32)
        np.testing.assert_array_equal(predictions, values / 2 + 2)

    async def test_one_connection_carries_many_requests(self, rig: Rig) -> None:
        http = await start(rig)

        answers = [await http.post(PREDICT, json={"instances": [i]}) for i in range(20)]

        assert [a.json()["predictions"] for a in answers] == [[i / 2 + 2] for i in range(20)]
        assert len({a.extensions["network_stream"] for a in answers}) == 1

    async def test_an_answer_does_not_wait_for_the_receipt_of_the_one_before(
        self, rig: Rig
    ) -> None:
        http = await start(rig)

        answers = [await http.post(PREDICT, json={"instances": [1]}) for _ in range(15)]

        # Nagle's algorithm and a delayed receipt would make it 40 ms.
        assert statistics.median(a.elapsed.total_seconds() for a in answers) < 0.03

    async def test_without_timeout_the_servable_has_no_deadline(self, rig: Rig) -> None:
        http = await start(rig, http=HttpOptions(host=HOST, port=0, timeout_s=None))

        await http.post(PREDICT, json={"instances": [1]})

        assert rig.servable().runs[0][3] is None


class TestErrors:
    async def test_what_a_model_raises_has_the_status_of_its_code(self, rig: Rig) -> None:
        codes = sorted(set(Code) - {Code.OK})
        errors = [error_for(code, f"the model's own täxt: {code.name}\n") for code in codes]
        rig.servables[f"{NAME}:1"] = FailingServable(*errors)
        http = await start(rig)

        answers = [await http.post(PREDICT, json={"instances": [1]}) for _ in codes]

        assert {code.name: a.status_code for code, a in zip(codes, answers, strict=True)} == {
            "CANCELLED": 499,
            "UNKNOWN": 500,
            "INVALID_ARGUMENT": 400,
            "DEADLINE_EXCEEDED": 504,
            "NOT_FOUND": 404,
            "ALREADY_EXISTS": 409,
            "PERMISSION_DENIED": 403,
            "RESOURCE_EXHAUSTED": 429,
            "FAILED_PRECONDITION": 400,
            "ABORTED": 409,
            "OUT_OF_RANGE": 400,
            "UNIMPLEMENTED": 501,
            "INTERNAL": 500,
            "UNAVAILABLE": 503,
            "DATA_LOSS": 500,
            "UNAUTHENTICATED": 401,
        }
        assert [a.json() for a in answers] == [
            {"error": str(error), "code": error.code.name} for error in errors
        ]
        assert {a.headers["content-type"] for a in answers} == {"application/json"}

    async def test_a_long_text_is_told_whole(self, rig: Rig) -> None:
        rig.servables[f"{NAME}:1"] = FailingServable(error_for(Code.UNAVAILABLE, "é" * 5000))
        http = await start(rig)

        answer = await http.post(PREDICT, json={"instances": [1]})

        assert answer.json() == {"error": "é" * 5000, "code": "UNAVAILABLE"}

    async def test_what_is_not_served_is_told(self, rig: Rig) -> None:
        http = await start(rig)
        too_long = "9" * 5000
        refusals = {
            ("GET", "/"): (404, "Nothing is served at GET /"),
            ("GET", "/favicon.ico"): (404, "Nothing is served at GET /favicon.ico"),
            ("GET", "/v1/models/versions/1"): (400, "Missing model name in request."),
            ("DELETE", PREDICT): (400, f"Malformed request: DELETE {PREDICT}"),
            ("POST", f"{PREDICT}?a=b"): (400, f"Malformed request: POST {PREDICT}?a=b"),
            ("POST", PREDICT): (400, "JSON Parse error: The document is empty"),
            ("GET", "/v1/models/other"): (
                404,
                (
                    "Could not find any versions of model other; there is no model other, "
                    f"this server has model {NAME}"
                ),
            ),
            ("GET", f"/v1/models/{NAME}/versions/{too_long}"): (
                400,
                f"Failed to convert version: {too_long} to numeric.",
            ),
        }

        answers = {asked: await http.request(*asked) for asked in refusals}

        assert {asked: (a.status_code, a.json()["error"]) for asked, a in answers.items()} == (
            refusals
        )

    async def test_an_answer_to_head_has_no_body(self, rig: Rig) -> None:
        http = await start(rig)

        answer = await http.head("/livez")

        assert (answer.status_code, answer.content) == (200, b"")
        assert (await http.get("/livez")).json() == {"status": "alive"}

    async def test_outputs_that_are_no_rows_are_refused(self, rig: Rig) -> None:
        rig.servables[f"{NAME}:1"] = FakeServable(compute=lambda _: {"y": np.array(1, np.float32)})
        http = await start(rig)

        rows = await http.post(PREDICT, json={"instances": [1]})
        columns = await http.post(PREDICT, json={"inputs": [1]})

        assert rows.json()["error"] == "Tensor name: y has no shape information "
        assert columns.json() == {"outputs": 1.0}


async def raw_connection(rig: Rig) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert rig.server.http is not None
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.open_connection(HOST, rig.server.http.port)


class TestBeyondTensorFlowServing:
    async def test_all_models_are_listed(self, rig: Rig) -> None:
        rig.add_version(7, "other")
        models = ModelSet((rig.model(), rig.model("other")))
        await rig.start(1, 2, models=models, http=HTTP)

        answer = await rig.http().get("/v1/models")

        versions = {
            model["name"]: [(v["version"], v["state"]) for v in model["model_version_status"]]
            for model in answer.json()["models"]
        }
        assert versions == {
            NAME: [("2", "AVAILABLE"), ("1", "AVAILABLE")],
            "other": [("7", "AVAILABLE")],
        }

    async def test_gzip_goes_both_ways(self, rig: Rig) -> None:
        http = await start(rig)
        body = gzip.compress(json.dumps({"instances": [1.0] * 20_000}).encode())

        answer = await http.post(PREDICT, content=body, headers={"content-encoding": "gzip"})

        assert answer.headers["content-encoding"] == "gzip"  # httpx asks for it
        assert answer.json() == {"predictions": [2.5] * 20_000}

    async def test_megabytes_of_protobuf_go_both_ways(self, rig: Rig) -> None:
        http = await start(rig)
        values = np.arange(1_000_000, dtype=np.float32)
        request = PredictRequest(inputs={"x": tensors.encode(values)})

        answer = await http.post(
            PREDICT,
            content=request.SerializeToString(),
            headers={"content-type": "application/x-protobuf"},
        )

        assert answer.headers["content-type"] == "application/x-protobuf"
        outputs = PredictResponse.FromString(answer.content).outputs
        np.testing.assert_array_equal(tensors.decode("y", outputs["y"]), values / 2 + 2)

    async def test_a_page_of_another_origin_may_ask(self, rig: Rig) -> None:
        http = await start(rig, http=dataclasses.replace(HTTP, enable_cors=True))
        origin = {"origin": "https://pages.example"}
        asking = {
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }

        first = await http.options(PREDICT, headers=asking)
        then = await http.post(PREDICT, json={"instances": [1]}, headers=origin)

        assert (first.status_code, first.content) == (200, b"")
        assert "content-type" in first.headers["access-control-allow-headers"].lower()
        assert then.json() == {"predictions": [2.5]}
        assert {a.headers["access-control-allow-origin"] for a in (first, then)} == {"*"}

    async def test_a_page_is_told_how_long_the_server_took_and_others_are_not(
        self, rig: Rig
    ) -> None:
        http = await start(rig, http=dataclasses.replace(HTTP, enable_cors=True))

        page = await http.post(
            PREDICT, json={"instances": [1]}, headers={"origin": "https://pages.example"}
        )
        other = await http.post(PREDICT, json={"instances": [1]})

        name, _, duration_ms = page.headers["server-timing"].partition(";dur=")
        assert name == "server"
        assert float(duration_ms) >= 0
        assert "server-timing" in page.headers["access-control-expose-headers"].lower()
        assert "server-timing" not in other.headers

    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
    async def test_it_listens_to_both_versions_of_ip(self, rig: Rig) -> None:
        await rig.start(http=HttpOptions(port=0))
        assert rig.server.http is not None

        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            answers = [
                await http.get(f"http://{host}:{rig.server.http.port}/livez")
                for host in ("127.0.0.1", "[::1]")
            ]

        assert [answer.status_code for answer in answers] == [200, 200]


class TestClientsThatLeave:
    async def test_one_that_leaves_before_its_body_is_whole_costs_nothing(self, rig: Rig) -> None:
        http = await start(rig)
        _, writer = await raw_connection(rig)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b'{"instances"')
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        answer = await http.post(PREDICT, json={"instances": [1]})

        assert answer.status_code == 200
        assert len(rig.servable().runs) == 1

    async def test_one_that_leaves_while_its_request_runs_gives_its_version_back(
        self, rig: Rig
    ) -> None:
        await start(rig)
        rig.servable().gate.clear()
        _, writer = await raw_connection(rig)
        body = b'{"instances": [1]}'
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await soon(rig.servable().started.wait())
        writer.close()
        await writer.wait_closed()

        rig.servable().gate.set()
        rig.remove_version(1)

        await rig.until_states({1: State.END})

    async def test_one_that_leaves_while_its_request_runs_has_it_cancelled(self, rig: Rig) -> None:
        servable = rig.servables["rest:1"] = RestServable()
        rig.add_version(1, "rest")
        await rig.start(models=ModelSet((rig.model(), rig.model("rest"))), http=HTTP)
        _, writer = await raw_connection(rig)
        body = b'{"signature_name": "slow", "instances": [1]}'
        head = f"POST /v1/models/rest:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await soon(servable.started.wait())

        writer.close()
        await writer.wait_closed()

        await soon(servable.cancelled.wait())

    async def test_one_that_is_too_slow_is_told_so(self, rig: Rig) -> None:
        await start(rig, http=dataclasses.replace(HTTP, body_timeout_s=0.1))
        reader, writer = await raw_connection(rig)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b'{"instances"')

        answer = await soon(reader.read())
        writer.close()
        await writer.wait_closed()

        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"12 bytes of it are there" in answer

    async def test_one_that_sends_too_much_is_told_so(self, rig: Rig) -> None:
        http = await start(rig, http=dataclasses.replace(HTTP, max_body_bytes=1000))

        answer = await http.post(PREDICT, content=b" " * 200_000)

        assert answer.status_code == 413
        assert answer.json()["error"] == "The body is larger than 1000 bytes"

    async def test_what_is_no_http_is_refused(self, rig: Rig) -> None:
        await start(rig)
        reader, writer = await raw_connection(rig)

        writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        answer = await soon(reader.read())
        writer.close()
        await writer.wait_closed()

        assert answer.startswith(b"HTTP/1.1 400 ")


class TestProbes:
    async def test_http_is_open_alive_and_not_ready_while_the_first_models_load(
        self, rig: Rig
    ) -> None:
        rig.held.add(f"{NAME}:1")
        rig.add_version(1)
        starting = asyncio.create_task(rig.build(http=HTTP).start())
        await rig.until_states({1: State.LOADING})
        http = rig.http()

        alive = await http.get("/livez")
        ready = await http.get("/readyz")
        predicted = await http.post(PREDICT, json={"instances": [1]})
        labelled = await http.post(
            f"/v1/models/{NAME}/labels/stable:predict", json={"instances": [1]}
        )
        status = await http.get(f"/v1/models/{NAME}")

        assert alive.status_code == 200
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["the initial models are not settled yet"]
        assert predicted.status_code == 503
        assert predicted.json()["error"] == (
            f"Servable not found for request: Latest({NAME}); version 1 is loading"
        )
        assert labelled.status_code == 503
        assert labelled.json()["error"] == "Model labels does not init yet.stable"
        assert status.json()["model_version_status"][0]["state"] == "LOADING"
        assert rig.server.grpc.port is None

        rig.loaders[f"{NAME}:1"].release.set()
        await soon(starting)
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        assert (await http.post(PREDICT, json={"instances": [1]})).status_code == 200

    async def test_it_is_not_ready_when_its_only_model_is_gone(self, rig: Rig) -> None:
        http = await start(rig)

        rig.remove_version(1)
        await rig.until_states({1: State.END})

        ready = await http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json() == {"status": "not ready", "reasons": ["no model is available"]}
