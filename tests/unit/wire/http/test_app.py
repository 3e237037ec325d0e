"""The application, driven directly: no sockets, no server."""

from __future__ import annotations

import gzip
import json
import logging
import time
from typing import Any, ClassVar

import numpy as np
import pytest

from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.concurrency.offload import Offload
from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import HttpOptions
from sigrun.errors import Code, Unavailable, error_for
from sigrun.inference.management import ModelManagement
from sigrun.inference.router import Router
from sigrun.inference.service import InferenceService
from sigrun.servables.file_source import FileSystemSource
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.policy import AvailabilityPreservingPolicy
from sigrun.servables.readiness import Readiness
from sigrun.servables.servable import Servable, ServableId
from sigrun.servables.state import StateStream
from sigrun.telemetry.metrics import Metrics
from sigrun.telemetry.request_id import REQUEST_ID
from sigrun.tensors.signature import Array, DType
from sigrun.wire.http.app import HttpApp
from sigrun.wire.http.messages import HttpRequest, HttpResponse
from sigrun.wire.protobuf import tensors
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.status import HTTP_STATUS
from tests.fakes.servables import FakeLoader, FakeServable, signature

pytestmark = pytest.mark.asyncio

PREDICT = "/v1/models/half_plus_two:predict"
TIMEOUT_S = 12.5
OFFLOAD = Offload()


class Rig:
    """An application over models that are loaded by hand."""

    def __init__(
        self,
        *,
        timeout_s: float | None = TIMEOUT_S,
        offload: Offload = OFFLOAD,
        **http: Any,
    ) -> None:
        options = LifecycleOptions()
        states = StateStream()
        monitor = ServableStateMonitor()
        self.labels = VersionLabels()
        self.labels.replace({"half_plus_two": {"stable": 1}})
        self.manager = AspiredVersionsManager(
            policy=AvailabilityPreservingPolicy(), states=states, options=options
        )
        source = FileSystemSource(
            loaders={},
            target=self.manager,
            states=monitor,
            poll_wait_s=0,
        )
        self.models = models = ServedModels(
            source=source,
            manager=self.manager,
            monitor=monitor,
            labels=self.labels,
            options=options,
            states=states,
        )
        self.readiness = Readiness(models, monitor)
        for listener in (monitor.update, self.readiness.update):
            states.subscribe(listener)
        self.troubles: dict[ServableId, str] = {}
        management = ModelManagement(models, monitor, self.readiness, lambda: self.troubles)
        rest = RestApi(
            InferenceService(Router(self.manager, self.labels), offload),
            management,
            offload,
            timeout_s=timeout_s,
        )
        handlers = {"/v1/": rest.respond, **Probes(management, Metrics()).handlers()}
        self.app = HttpApp(handlers, options=HttpOptions(**http), offload=offload)

    async def load(self, *servables: Servable, name: str = "half_plus_two") -> None:
        loaders = [
            FakeLoader(ServableId(name, version), servable=servable)
            for version, servable in enumerate(servables, start=1)
        ]
        model = ModelConfig(name=name, base_path=f"/models/{name}", version_labels={"stable": 1})
        self.models.expect(ModelSet((model,)))
        self.manager.set_aspired_versions(name, loaders)
        await self.manager.wait_until_settled([name])

    async def request(
        self, method: str, target: str, body: bytes = b"", headers: dict[bytes, bytes] | None = None
    ) -> Response:
        request = HttpRequest(method=method, target=target, headers=headers or {}, body=body)
        return Response(await self.app.respond(request))

    async def predict(self, document: Any, target: str = PREDICT) -> Response:
        return await self.request("POST", target, json.dumps(document).encode())


class Response:
    """What an application answered."""

    def __init__(self, response: HttpResponse) -> None:
        self.status = response.status
        self.body = response.body
        self.content_type = response.content_type
        self.headers = dict(response.headers)

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert list(self.document) == ["error", "code"]
        text: str = self.document["error"]
        return text


class FailingServable(FakeServable):
    """Raises `error` from every run."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def run(self, *_: Any, deadline: float | None) -> Any:
        raise self._error


class TestPredict:
    async def test_rows_are_answered_with_predictions(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.predict({"instances": [1.0, 2.0, 5.0]})

        assert response.status == 200
        assert response.document == {"predictions": [2.5, 3.0, 4.5]}

    async def test_columns_are_answered_with_outputs(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.predict({"inputs": {"x": [1.0]}})

        assert response.document == {"outputs": [2.5]}

    @pytest.mark.parametrize(
        ("path", "version"),
        [("", 2), ("/versions/1", 1), ("/versions/2", 2), ("/labels/stable", 1)],
    )
    async def test_the_path_chooses_the_version(self, path: str, version: int) -> None:
        rig = Rig()
        servables = [FakeServable(), FakeServable()]
        await rig.load(*servables)

        await rig.predict({"instances": [1]}, f"/v1/models/half_plus_two{path}:predict")

        assert [len(servable.runs) for servable in servables] == [version == 1, version == 2]

    async def test_the_body_chooses_the_signature(self) -> None:
        rig = Rig()
        other = signature({"x": DType.FLOAT}, {"y": DType.FLOAT}, name="other")
        servable = FakeServable([other])
        await rig.load(servable)

        response = await rig.predict({"signature_name": "other", "instances": [1]})

        assert response.status == 200
        assert servable.runs[0][0] == "other"

    async def test_only_large_bodies_are_read_in_threads(self) -> None:
        offload = Offload()
        offload.close()
        rig = Rig(offload=offload)
        await rig.load(FakeServable())

        small = await rig.predict({"instances": [1.0]})
        large = await rig.predict({"instances": [1.0] * 100_000})

        assert small.document == {"predictions": [2.5]}
        assert large.status == 503
        assert large.error == "The body threads are closed"

    async def test_a_large_reply_to_a_small_body_is_written_in_threads(self) -> None:
        offload = Offload()
        offload.close()
        rig = Rig(offload=offload)
        await rig.load(FakeServable(compute=lambda _: {"y": np.zeros(100_000, np.float32)}))

        response = await rig.predict({"instances": [1.0]})

        assert response.status == 503

    async def test_the_timeout_is_a_deadline_for_the_servable(self) -> None:
        rig = Rig()
        servable = FakeServable()
        await rig.load(servable)

        before = time.monotonic()
        await rig.predict({"instances": [1]})
        after = time.monotonic()

        deadline = servable.runs[0][3]
        assert deadline is not None
        assert before + TIMEOUT_S <= deadline <= after + TIMEOUT_S

    async def test_without_timeout_there_is_no_deadline(self) -> None:
        rig = Rig(timeout_s=None)
        servable = FakeServable()
        await rig.load(servable)

        await rig.predict({"instances": [1]})

        assert servable.runs[0][3] is None


class TestErrors:
    @pytest.mark.parametrize(
        ("target", "body", "status", "text"),
        [
            (PREDICT, b"", 400, "JSON Parse error: The document is empty"),
            (PREDICT, b"{}", 400, "Missing 'inputs' or 'instances' key"),
            (
                PREDICT,
                b'{"signature_name": 3, "instances": [1]}',
                400,
                (
                    'JSON Value: {"signature_name": 3, "instances": [1]} not formatted '
                    "correctly. 'signature_name' key must be a string value."
                ),
            ),
            (
                PREDICT,
                b'{"signature_name": null, "instances": [1]}',
                400,
                (
                    'JSON Value: {"signature_name": null, "instances": [1]} not formatted '
                    "correctly. 'signature_name' key must be a string value."
                ),
            ),
            (
                "/v1/models/other:predict",
                b'{"instances": [1]}',
                404,
                "Servable not found for request: Latest(other)",
            ),
            (
                "/v1/models/half_plus_two/versions/7:predict",
                b'{"instances": [1]}',
                404,
                "Servable not found for request: Specific(half_plus_two, 7)",
            ),
            (
                "/v1/models/half_plus_two/labels/canary:predict",
                b'{"instances": [1]}',
                400,
                "Unrecognized servable version label: canary",
            ),
            (
                PREDICT,
                b'{"instances": ["a"]}',
                400,
                (
                    "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
                    'JSON Value: "a" Type: String is not of expected type: float'
                ),
            ),
        ],
    )
    async def test_an_error_is_its_text_under_its_status(
        self, target: str, body: bytes, status: int, text: str
    ) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("POST", target, body)

        assert response.status == status
        assert response.error == text

    async def test_a_signature_that_is_not_there_is_named(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.predict({"signature_name": "other", "instances": [1]})

        assert response.status == 400
        assert '"other" not found' in response.error

    async def test_an_output_without_json_form_is_an_error(self) -> None:
        rig = Rig()
        complex_output = signature({"x": DType.FLOAT}, {"y": DType.COMPLEX64})
        await rig.load(FakeServable([complex_output], lambda _: {"y": np.zeros(1, np.complex64)}))

        response = await rig.predict({"instances": [1]})

        assert response.status == 400
        assert response.error == "Failed to write JSON value for tensor type: complex64"

    @pytest.mark.parametrize("code", sorted(set(Code) - {Code.OK}), ids=lambda code: code.name)
    async def test_what_a_model_raises_is_told_under_the_status_of_its_code(
        self, code: Code
    ) -> None:
        rig = Rig()
        await rig.load(FailingServable(error_for(code, "the model's own text")))

        response = await rig.predict({"instances": [1]})

        assert response.status == HTTP_STATUS[code]
        assert response.error == "the model's own text"

    async def test_a_long_text_is_not_cut(self) -> None:
        rig = Rig()
        await rig.load(FailingServable(Unavailable("x" * 5000)))

        response = await rig.predict({"instances": [1]})

        assert response.status == 503
        assert response.error == "x" * 5000

    async def test_a_bug_is_logged_and_answered(self, caplog: pytest.LogCaptureFixture) -> None:
        rig = Rig()
        await rig.load(FailingServable(ZeroDivisionError("a bug")))

        with caplog.at_level(logging.ERROR):
            response = await rig.predict({"instances": [1]})

        assert response.status == 500
        assert response.error == "ZeroDivisionError: a bug"
        assert f"POST {PREDICT} failed unexpectedly" in caplog.text

    @pytest.mark.parametrize(
        ("method", "target", "status", "text"),
        [
            ("GET", "/", 404, "Nothing is served at GET /"),
            ("GET", "/v2/models", 404, "Nothing is served at GET /v2/models"),
            ("POST", "/v1", 404, "Nothing is served at POST /v1"),
            ("GET", "/livez/", 404, "Nothing is served at GET /livez/"),
            ("GET", "/%2fv1/models/m", 404, "Nothing is served at GET /%2fv1/models/m"),
            ("GET", "/x?y=1", 404, "Nothing is served at GET /x?y=1"),
            ("GET", "/\xff", 404, "Nothing is served at GET /\xff"),
            ("PUT", PREDICT, 400, f"Malformed request: PUT {PREDICT}"),
            ("POST", f"{PREDICT}?x=1", 400, f"Malformed request: POST {PREDICT}?x=1"),
            ("GET", "/V1/nothing", 400, "Malformed request: GET /V1/nothing"),
            ("GET", "/v1/models/versions/1", 400, "Missing model name in request."),
        ],
    )
    async def test_an_unknown_path_is_told_as_it_was_sent(
        self, method: str, target: str, status: int, text: str
    ) -> None:
        response = await Rig().request(method, target)

        assert response.status == status
        assert response.error == text


class TestStatusAndMetadata:
    async def test_status_lists_the_versions_highest_first(self) -> None:
        rig = Rig()
        await rig.load(FakeServable(), FakeServable())

        response = await rig.request("GET", "/v1/models/half_plus_two")

        assert response.status == 200
        assert response.document == {
            "model_version_status": [
                {
                    "version": version,
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for version in ("2", "1")
            ]
        }

    async def test_status_of_one_version_is_its_own(self) -> None:
        rig = Rig()
        await rig.load(FakeServable(), FakeServable())

        response = await rig.request("GET", "/v1/models/half_plus_two/versions/1")

        assert [s["version"] for s in response.document["model_version_status"]] == ["1"]

    async def test_status_under_a_label_is_that_of_all_versions(self) -> None:
        rig = Rig()
        await rig.load(FakeServable(), FakeServable())

        response = await rig.request("GET", "/v1/models/half_plus_two/labels/stable")

        assert len(response.document["model_version_status"]) == 2

    @pytest.mark.parametrize(
        ("target", "text"),
        [
            ("/v1/models/other", "Could not find any versions of model other"),
            (
                "/v1/models/half_plus_two/versions/7",
                "Could not find version 7 of model half_plus_two",
            ),
            (
                "/v1/models/half_plus_two/labels/nightly",
                "Unrecognized servable version label: nightly; half_plus_two has label stable",
            ),
            (
                "/v1/models/other/metadata",
                "Servable not found for request: Latest(other)",
            ),
        ],
    )
    async def test_what_is_not_there_is_not_found(self, target: str, text: str) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("GET", target)

        assert response.status == 404
        assert response.error.startswith(text)

    async def test_metadata_holds_every_signature(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("GET", "/v1/models/half_plus_two/metadata")

        assert response.status == 200
        document = response.document
        assert document["model_spec"] == {
            "name": "half_plus_two",
            "signature_name": "",
            "version": "1",
        }
        assert list(document["metadata"]["signature_def"]["signature_def"]) == ["serving_default"]


class TestProbes:
    async def test_it_is_alive_before_it_is_ready(self) -> None:
        rig = Rig()

        assert (await rig.request("GET", "/livez")).document == {"status": "alive"}
        readiness = await rig.request("GET", "/readyz")
        assert readiness.status == 503
        assert readiness.document == {
            "status": "not ready",
            "reasons": ["the initial models are not settled yet"],
        }

    async def test_it_is_ready_once_started(self) -> None:
        rig = Rig()
        rig.readiness.started()

        response = await rig.request("GET", "/readyz")

        assert response.status == 200
        assert response.document == {"status": "ready"}

    async def test_it_is_ready_and_says_what_is_wrong_with_a_model(self) -> None:
        rig = Rig()
        rig.readiness.started()
        rig.troubles[ServableId("m", 1)] = "4 runs do not end"

        response = await rig.request("GET", "/readyz")

        assert response.status == 200
        assert response.document == {"status": "ready", "troubles": ["m:1: 4 runs do not end"]}

    async def test_it_is_alive_but_not_ready_while_it_drains(self) -> None:
        rig = Rig()
        rig.readiness.started()
        rig.readiness.draining()

        assert (await rig.request("GET", "/livez")).status == 200
        response = await rig.request("GET", "/readyz")
        assert response.status == 503
        assert response.document["reasons"] == ["the server is draining"]

    async def test_a_query_string_makes_no_difference(self) -> None:
        assert (await Rig().request("GET", "/livez?verbose")).status == 200


class TestRequestIds:
    async def test_the_callers_own_comes_back(self) -> None:
        response = await Rig().request("GET", "/livez", headers={b"x-request-id": b"abc-1"})

        assert response.headers[b"x-request-id"] == b"abc-1"

    async def test_one_is_made_for_each_request_without(self) -> None:
        rig = Rig()

        ids = {(await rig.request("GET", "/livez")).headers[b"x-request-id"] for _ in range(3)}

        assert len(ids) == 3
        assert all(ids)

    async def test_whoever_answers_knows_it_and_errors_have_it_too(self) -> None:
        rig = Rig()
        seen: list[str] = []

        def compute(_: object) -> dict[str, Array]:
            seen.append(REQUEST_ID.get())
            raise Unavailable("not now")

        await rig.load(FakeServable(compute=compute))

        response = await rig.request(
            "POST", PREDICT, b'{"instances": [1]}', {b"x-request-id": b"mine"}
        )

        assert (response.status, response.headers[b"x-request-id"]) == (503, b"mine")
        assert seen == ["mine"]


class TestCrossOrigin:
    async def test_every_answer_may_be_read_when_it_is_on(self) -> None:
        rig = Rig(enable_cors=True)

        for target in ("/livez", "/nothing", "/v1/models/other"):
            headers = (await rig.request("GET", target)).headers
            assert headers[b"access-control-allow-origin"] == b"*"
            assert headers[b"access-control-allow-methods"] == b"POST, GET"
            assert headers[b"access-control-allow-headers"].startswith(b"Content-Type")

    async def test_no_answer_may_be_read_unless_it_is_on(self) -> None:
        headers = (await Rig().request("GET", "/livez", headers={b"origin": b"http://a"})).headers

        assert not [name for name in headers if name.startswith(b"access-control")]

    @pytest.mark.parametrize("is_on", [False, True])
    @pytest.mark.parametrize(
        ("origin", "status"),
        [(b"http://a:80", 200), (b"https://a.b", 200), (b"null", 400), (b"", 400)],
    )
    async def test_a_browser_that_asks_first_is_told(
        self, is_on: bool, origin: bytes, status: int
    ) -> None:
        rig = Rig(enable_cors=is_on)

        response = await rig.request("OPTIONS", PREDICT, headers={b"origin": origin})

        assert (response.status, response.body) == (status, b"")
        assert (b"access-control-allow-origin" in response.headers) == is_on
        assert response.headers.get(b"access-control-max-age") == (b"7200" if is_on else None)


class TestCompression:
    BODY = json.dumps({"instances": [0.5] * 2000}).encode()

    async def test_a_gzip_body_is_read(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        for body in (gzip.compress(self.BODY), gzip.compress(b"") + gzip.compress(self.BODY)):
            response = await rig.request("POST", PREDICT, body, {b"content-encoding": b"gzip"})
            assert response.document == {"predictions": [2.25] * 2000}

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            (BODY, 400),
            (gzip.compress(b"{}")[:-9], 400),
            (gzip.compress(b"{}") + b"x", 400),
            (gzip.compress(b"0" * 1001), 413),
            (gzip.compress(b"0" * 5_000_000), 413),
            (gzip.compress(b"0" * 600) * 2, 413),
        ],
        ids=["no gzip", "cut short", "more follows", "a byte too much", "a bomb", "two of them"],
    )
    async def test_a_bad_gzip_body_is_refused(self, body: bytes, status: int) -> None:
        response = await Rig(max_inflated_bytes=1000).request(
            "POST", PREDICT, body, {b"content-encoding": b"gzip"}
        )

        assert response.status == status
        assert "gzip" in response.error

    @pytest.mark.parametrize("encoding", [b"br", b"deflate", b"zstd", b"BR, identity"])
    async def test_another_compression_is_refused(self, encoding: bytes) -> None:
        response = await Rig().request("POST", PREDICT, self.BODY, {b"content-encoding": encoding})

        assert response.status == 415
        assert response.error.endswith("send gzip, or no compression")

    @pytest.mark.parametrize("encoding", [b"identity", b"", b"utf-8"])
    async def test_an_encoding_that_is_no_compression_is_passed_over(self, encoding: bytes) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("POST", PREDICT, self.BODY, {b"content-encoding": encoding})

        assert response.status == 200

    @pytest.mark.parametrize("count", [2000, 200_000])
    async def test_an_answer_is_compressed_when_asked_for(self, count: int) -> None:
        rig = Rig()
        await rig.load(FakeServable())
        body = json.dumps({"instances": [0.5] * count}).encode()

        response = await rig.request("POST", PREDICT, body, {b"accept-encoding": b"br, gzip"})

        assert response.headers[b"content-encoding"] == b"gzip"
        assert response.headers[b"vary"] == b"accept-encoding"
        assert json.loads(gzip.decompress(response.body)) == {"predictions": [2.25] * count}
        assert len(response.body) < count

    async def test_tensors_in_binary_are_sent_as_they_are(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())
        headers = {b"accept-encoding": b"gzip", b"accept": b"application/x-protobuf"}

        response = await rig.request("POST", PREDICT, self.BODY, headers)

        assert response.status == 200
        assert response.content_type == b"application/x-protobuf"
        assert b"content-encoding" not in response.headers

    @pytest.mark.parametrize("accepted", [b"br", b"gzip;q=0", b"gzip; q=0.000, br", b"gzipped"])
    async def test_an_answer_is_not_compressed_for_others(self, accepted: bytes) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("POST", PREDICT, self.BODY, {b"accept-encoding": accepted})

        assert b"content-encoding" not in response.headers
        assert response.document == {"predictions": [2.25] * 2000}

    async def test_a_small_answer_is_not_compressed(self) -> None:
        response = await Rig().request("GET", "/livez", headers={b"accept-encoding": b"gzip"})

        assert response.document == {"status": "alive"}


class TestBinary:
    PROTOBUF: ClassVar = {b"content-type": b"application/x-protobuf"}

    def body(self, **spec: Any) -> bytes:
        request = PredictRequest(inputs={"x": tensors.encode(np.array([1, 2], np.float32))})
        if spec:
            version, label = spec.pop("version", None), spec.pop("label", None)
            request.model_spec.CopyFrom(ModelSpec(**spec))
            if version is not None:
                request.model_spec.version.value = version
            if label is not None:
                request.model_spec.version_label = label
        return request.SerializeToString()

    async def test_a_request_is_answered_in_kind(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("POST", PREDICT, self.body(), self.PROTOBUF)

        assert response.content_type == b"application/x-protobuf"
        assert response.headers[b"x-model-version"] == b"1"
        answer = PredictResponse.FromString(response.body)
        assert answer.model_spec.version.value == 1
        assert tensors.decode("y", answer.outputs["y"]).tolist() == [2.5, 3.0]

    @pytest.mark.parametrize(
        ("path", "spec", "version"),
        [
            ("", {}, 2),
            ("", {"name": ""}, 2),
            ("", {"name": "half_plus_two"}, 2),
            ("", {"name": "half_plus_two", "version": 1}, 1),
            ("", {"label": "stable"}, 1),
            ("/versions/1", {}, 1),
            ("/versions/1", {"version": 1}, 1),
            ("/labels/stable", {"label": "stable"}, 1),
        ],
    )
    async def test_the_url_and_the_spec_say_together_what_is_asked(
        self, path: str, spec: dict[str, Any], version: int
    ) -> None:
        rig = Rig()
        await rig.load(FakeServable(), FakeServable())

        response = await rig.request(
            "POST", f"/v1/models/half_plus_two{path}:predict", self.body(**spec), self.PROTOBUF
        )

        assert response.headers[b"x-model-version"] == b"%d" % version

    @pytest.mark.parametrize(
        ("path", "spec", "text"),
        [
            (
                "",
                {"name": "other"},
                "name 'half_plus_two' $ 'other'",
            ),
            ("/versions/1", {"version": 2}, "version 1 $ 2"),
            (
                "/versions/1",
                {"label": "a"},
                "version 1 $ 'label a'",
            ),
            ("/labels/a", {"label": "b"}, "label 'a' $ 'b'"),
            (
                "/labels/a",
                {"version": 1},
                "label 'a' $ 'version 1'",
            ),
        ],
    )
    async def test_url_and_spec_must_not_disagree(
        self, path: str, spec: dict[str, Any], text: str
    ) -> None:
        response = await Rig().request(
            "POST", f"/v1/models/half_plus_two{path}:predict", self.body(**spec), self.PROTOBUF
        )

        text = text.replace("$", "and the model_spec in the body for")
        assert (response.status, response.error) == (400, f"The URL asks for {text}")
        assert response.content_type == b"application/json"

    @pytest.mark.parametrize(
        ("request_type", "accept", "answer_type"),
        [
            (b"application/x-protobuf", b"", b"application/x-protobuf"),
            (b"application/protobuf; x=y", b"*/*", b"application/x-protobuf"),
            (b"application/x-protobuf", b"application/json, */*", b"application/x-protobuf"),
            (b"application/x-protobuf", b"application/json", b"application/json"),
            (b"application/x-protobuf", b"text/html", b"application/x-protobuf"),
            (b"application/json", b"application/x-protobuf", b"application/x-protobuf"),
            (b"text/plain", b"application/json, application/x-protobuf", b"application/json"),
            (b"application/json", b"application/x-protobuf, */*", b"application/json"),
        ],
    )
    async def test_the_answer_has_the_form_of_the_request_unless_another_is_asked_for(
        self, request_type: bytes, accept: bytes, answer_type: bytes
    ) -> None:
        rig = Rig()
        await rig.load(FakeServable())
        body = self.body() if b"protobuf" in request_type else b'{"inputs": [1, 2]}'
        headers = {b"content-type": request_type} | ({b"accept": accept} if accept else {})

        response = await rig.request("POST", PREDICT, body, headers)

        assert response.content_type == answer_type
        if answer_type == b"application/json":
            assert response.document == {"outputs": [2.5, 3.0]}
        else:
            outputs = PredictResponse.FromString(response.body).outputs
            assert tensors.decode("y", outputs["y"]).tolist() == [2.5, 3.0]

    async def test_what_is_no_message_is_refused(self) -> None:
        response = await Rig().request("POST", PREDICT, b"\xff{}", self.PROTOBUF)

        assert response.status == 400
        assert response.error == "The 3 bytes sent are not a tensorflow.serving.PredictRequest"

    async def test_other_methods_take_json_alone(self) -> None:
        for verb in ("classify", "regress"):
            response = await Rig().request(
                "POST", f"/v1/models/half_plus_two:{verb}", b"", self.PROTOBUF
            )
            assert response.status == 415


async def test_all_models_are_listed() -> None:
    rig = Rig()

    response = await rig.request("GET", "/v1/models")

    assert response.document == {"models": []}


async def test_models_may_have_any_name() -> None:
    rig = Rig()
    await rig.load(FakeServable(), name="a/b:c ä")

    response = await rig.predict({"instances": [1]}, "/v1/models/a%2Fb%3Ac%20%C3%A4:predict")

    assert response.document == {"predictions": [2.5]}
