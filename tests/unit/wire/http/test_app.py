"""The ASGI application, driven directly: no sockets, no server."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np
import pytest

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.server import HttpOptions
from sigrun.errors import Code, Unavailable, error_for
from sigrun.executors.threads import Threads
from sigrun.inference.management import ModelManagement
from sigrun.inference.resolve import Resolver
from sigrun.inference.service import InferenceService
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.models import ServedModels
from sigrun.servables.monitor import ServableStateMonitor
from sigrun.servables.policy import AvailabilityPreservingPolicy
from sigrun.servables.readiness import Readiness
from sigrun.servables.servable import Servable, ServableId
from sigrun.servables.signature import DType
from sigrun.servables.source import FileSystemSource
from sigrun.servables.state import StateStream
from sigrun.wire.http import app as app_module
from sigrun.wire.http.app import HttpApp
from sigrun.wire.http.probes import Probes
from sigrun.wire.http.rest import RestApi
from sigrun.wire.status import HTTP_STATUS
from tests.fakes.servables import FakeLoader, FakeServable, signature

pytestmark = pytest.mark.asyncio

PREDICT = "/v1/models/half_plus_two:predict"
TIMEOUT_S = 12.5
BODIES = Threads(name="body", count=1, max_waiting=16)


class Rig:
    """An application over models that are loaded by hand."""

    def __init__(
        self,
        *,
        timeout_s: float | None = TIMEOUT_S,
        bodies: Threads | None = None,
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
            make_loader=lambda servable_id, _path, _revision: FakeLoader(servable_id),
            target=self.manager,
            has_failed=monitor.has_failed,
            poll_wait_s=0,
        )
        models = ServedModels(
            source=source,
            manager=self.manager,
            monitor=monitor,
            labels=self.labels,
            options=options,
        )
        self.readiness = Readiness(models, monitor)
        for listener in (monitor.update, self.readiness.update):
            states.subscribe(listener)
        management = ModelManagement(models, monitor, self.readiness)
        rest = RestApi(
            InferenceService(Resolver(self.manager, self.labels)),
            management,
            timeout_s=timeout_s,
            bodies=bodies or BODIES,
        )
        handlers = {"/v1/": rest.respond, **Probes(management).handlers()}
        self.app = HttpApp(handlers, options=HttpOptions(**http), bodies=bodies or BODIES)

    async def load(self, *servables: Servable, name: str = "half_plus_two") -> None:
        loaders = [
            FakeLoader(ServableId(name, version), servable=servable)
            for version, servable in enumerate(servables, start=1)
        ]
        self.manager.set_aspired_versions(name, loaders)
        await self.manager.wait_until_settled([name])

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Response:
        chunks = [body] if isinstance(body, bytes) else body
        messages = [
            {"type": "http.request", "body": chunk, "more_body": index < len(chunks)}
            for index, chunk in enumerate(chunks, start=1)
        ]
        return await self.run(scope_of(method, target, headers), messages)

    async def run(
        self, scope: dict[str, Any], messages: Sequence[MutableMapping[str, Any]]
    ) -> Response:
        waiting, response = list(messages), Response()

        async def receive() -> MutableMapping[str, Any]:
            return waiting.pop(0)

        await self.app(scope, receive, response.send)
        return response

    async def predict(self, document: Any, target: str = PREDICT) -> Response:
        return await self.request("POST", target, json.dumps(document).encode())


class Response:
    """What an application sent, checked against the order that ASGI wants."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, Any]] = []

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        start, *chunks = self.messages
        assert start["type"] == "http.response.start"
        assert {chunk["type"] for chunk in chunks} == {"http.response.body"}
        status: int = start["status"]
        return status

    @property
    def body(self) -> bytes:
        headers = dict(self.messages[0]["headers"])
        chunks = self.messages[1:]
        assert [chunk.get("more_body", False) for chunk in chunks] == [True] * (len(chunks) - 1) + [
            False
        ]
        body = b"".join(chunk["body"] for chunk in chunks)
        assert headers[b"content-length"] == b"%d" % len(body)
        assert headers[b"content-type"] == b"application/json"
        return body

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert list(self.document) == ["error", "code"]
        text: str = self.document["error"]
        return text

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


def scope_of(
    method: str, target: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "headers": headers,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
    }


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

    async def test_the_body_may_come_in_chunks(self) -> None:
        rig = Rig()
        await rig.load(FakeServable())

        response = await rig.request("POST", PREDICT, [b'{"instan', b"", b'ces": [1', b"]}", b""])

        assert response.document == {"predictions": [2.5]}

    async def test_a_large_body_in_many_chunks_is_answered_in_many(self) -> None:
        values = [[float(i), 0.5] for i in range(100_000)]
        body = json.dumps({"instances": values}).encode()
        with Threads(name="body", count=1, max_waiting=1) as threads:
            rig = Rig(bodies=threads)
            await rig.load(FakeServable())

            response = await rig.request(
                "POST", PREDICT, [body[i : i + 9999] for i in range(0, len(body), 9999)]
            )

        assert response.document == {"predictions": [[a / 2 + 2, b / 2 + 2] for a, b in values]}
        assert len(response.messages) > 3

    async def test_only_large_bodies_are_read_in_threads(self) -> None:
        with Threads(name="body", count=1, max_waiting=1) as threads:
            rig = Rig(bodies=threads)
        await rig.load(FakeServable())

        small = await rig.predict({"instances": [1.0]})
        large = await rig.predict({"instances": [1.0] * 100_000})

        assert small.document == {"predictions": [2.5]}
        assert large.status == 503
        assert large.error == "The body threads are closed"

    async def test_a_large_reply_to_a_small_body_is_written_in_threads(self) -> None:
        with Threads(name="body", count=1, max_waiting=1) as threads:
            rig = Rig(bodies=threads)
        await rig.load(FakeServable(compute=lambda _: {"y": np.zeros(100_000, np.float32)}))

        response = await rig.predict({"instances": [1.0]})

        assert response.status == 503

    @pytest.mark.parametrize("extra", [-1, 0, 1])
    async def test_a_reply_about_as_long_as_a_chunk_is_whole(self, extra: int) -> None:
        rig = Rig()
        text = "x" * (
            2 * app_module._CHUNK_BYTES + extra - len('{"error":"","code":"UNAVAILABLE"}')
        )
        await rig.load(FailingServable(Unavailable(text)))

        response = await rig.predict({"instances": [1]})

        assert response.error == text

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

    async def test_a_body_too_large_is_refused_before_it_is_whole(self) -> None:
        rig = Rig(max_body_bytes=10)

        response = await rig.request("POST", PREDICT, [b"12345", b"678901", b"never read"])

        assert response.status == 413
        assert response.error == "The body is larger than 10 bytes"


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
        assert response.error == text

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


class TestRequestsThatEndEarly:
    async def test_nobody_is_answered_when_the_client_leaves_before_its_body_is_whole(
        self,
    ) -> None:
        rig = Rig()
        servable = FakeServable()
        await rig.load(servable)

        response = await rig.run(
            scope_of("POST", PREDICT),
            [
                {"type": "http.request", "body": b'{"instances": [1]}', "more_body": True},
                {"type": "http.disconnect"},
            ],
        )

        assert response.messages == []
        assert servable.runs == []

    async def test_a_request_that_is_cut_off_is_told_so_and_gives_its_version_back(self) -> None:
        rig = Rig()
        servable = FakeServable()
        servable.gate.clear()
        await rig.load(servable)

        request = asyncio.create_task(rig.predict({"instances": [1]}))
        await servable.started.wait()
        request.cancel()
        response = await request

        assert response.status == 503
        assert response.error == "The server is stopping"
        await rig.manager.close()  # waits for every handle

    async def test_an_upload_that_is_cut_off_is_told_so(self) -> None:
        rig, response = Rig(), Response()
        is_waiting = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            is_waiting.set()
            await asyncio.Event().wait()
            raise AssertionError("nothing comes")

        request = asyncio.create_task(rig.app(scope_of("POST", PREDICT), receive, response.send))
        await is_waiting.wait()
        request.cancel()
        await request

        assert response.status == 503

    async def test_what_is_not_http_is_left_alone(self) -> None:
        response = await Rig().run({"type": "websocket"}, [])

        assert response.messages == []


async def test_models_may_have_any_name() -> None:
    rig = Rig()
    await rig.load(FakeServable(), name="a/b:c ä")

    response = await rig.predict({"instances": [1]}, "/v1/models/a%2Fb%3Ac%20%C3%A4:predict")

    assert response.document == {"predictions": [2.5]}
