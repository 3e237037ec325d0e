"""Connect and gRPC-Web, as bytes: the HTTP application over RPCs that are written here."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
)
from sigrun.concurrency.offload import Offload
from sigrun.config.server import HttpOptions
from sigrun.errors import Code, Internal, InvalidArgument, Unavailable, error_for
from sigrun.inference.context import CallContext
from sigrun.wire.http.app import HttpApp
from sigrun.wire.http.messages import HttpRequest, HttpResponse
from sigrun.wire.rpc import model_service
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.rpc.web import RpcApi

pytestmark = pytest.mark.asyncio

SERVICE = model_service.NAME
PATH = f"/{SERVICE}/GetModelStatus"
OFFLOAD = Offload()

PROTO = b"application/proto"
JSON = b"application/json"
GRPC_WEB = b"application/grpc-web+proto"
GRPC_WEB_TEXT = b"application/grpc-web-text"


class Rig:
    """One RPC, which answers the length of the model's name as a version."""

    def __init__(self, error: Exception | None = None) -> None:
        self.deadlines: list[float | None] = []
        self._error = error
        methods = {"GetModelStatus": MessageRpc(GetModelStatusRequest, self._answer)}
        rpc = RpcApi({SERVICE: methods}, OFFLOAD)
        self.app = HttpApp(
            rpc.handlers(),
            options=HttpOptions(max_inflated_bytes=1 << 20),
            offload=OFFLOAD,
            error_writers=rpc.error_writers(),
        )

    async def _answer(
        self, request: GetModelStatusRequest, context: CallContext
    ) -> GetModelStatusResponse:
        self.deadlines.append(context.deadline)
        if self._error is not None:
            raise self._error
        return reply(len(request.model_spec.name))

    async def post(
        self, content_type: bytes, body: bytes, path: str = PATH, **headers: bytes
    ) -> HttpResponse:
        """Send `body`, with `headers` whose names have underscores for dashes."""
        named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        return await self.app.respond(
            HttpRequest(
                method="POST",
                target=path,
                headers={b"content-type": content_type, **named},
                body=body,
            )
        )


def request(name: str = "spam") -> bytes:
    message = GetModelStatusRequest()
    message.model_spec.name = name
    return message.SerializeToString()


def reply(version: int) -> GetModelStatusResponse:
    return GetModelStatusResponse(model_version_status=[ModelVersionStatus(version=version)])


def frame(content: bytes, flags: int = 0) -> bytes:
    return bytes((flags,)) + len(content).to_bytes(4, "big") + content


def connect_error(response: HttpResponse) -> tuple[int, Any]:
    assert response.content_type == JSON
    return response.status, json.loads(response.body)


class TestConnect:
    async def test_a_message_comes_back_as_the_body(self) -> None:
        response = await Rig().post(PROTO, request())

        assert (response.status, response.content_type) == (200, PROTO)
        assert GetModelStatusResponse.FromString(response.body) == reply(4)

    async def test_json_is_answered_in_json(self) -> None:
        body = b'{"modelSpec": {"name": "spam"}, "fromTheFuture": 1}'

        response = await Rig().post(b"application/json; charset=utf-8", body)

        assert (response.status, response.content_type) == (200, JSON)
        assert json.loads(response.body) == {"model_version_status": [{"version": "4"}]}

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'{"modelSpec": 3}', b"\xff", b"[" * 100_000]
    )
    async def test_a_body_that_is_no_json_message_is_the_callers_mistake(self, body: bytes) -> None:
        status, error = connect_error(await Rig().post(JSON, body))

        assert (status, error["code"]) == (400, "invalid_argument")
        assert "is not the JSON of a tensorflow.serving.GetModelStatusRequest" in error["message"]

    async def test_a_long_json_body_is_read_in_a_thread(self) -> None:
        name = "x" * 100_000

        response = await Rig().post(JSON, json.dumps({"modelSpec": {"name": name}}).encode())

        assert json.loads(response.body) == {"model_version_status": [{"version": "100000"}]}

    async def test_a_body_that_is_no_message_is_the_callers_mistake(self) -> None:
        status, error = connect_error(await Rig().post(PROTO, b"\xff\xff"))

        assert (status, error["code"]) == (400, "invalid_argument")
        assert error["message"].startswith("The 2 bytes sent are not a tensorflow.serving.")

    @pytest.mark.parametrize(
        ("code", "status", "name"),
        [
            (Code.CANCELLED, 499, "canceled"),
            (Code.UNKNOWN, 500, "unknown"),
            (Code.INVALID_ARGUMENT, 400, "invalid_argument"),
            (Code.DEADLINE_EXCEEDED, 504, "deadline_exceeded"),
            (Code.NOT_FOUND, 404, "not_found"),
            (Code.ALREADY_EXISTS, 409, "already_exists"),
            (Code.PERMISSION_DENIED, 403, "permission_denied"),
            (Code.RESOURCE_EXHAUSTED, 429, "resource_exhausted"),
            (Code.FAILED_PRECONDITION, 400, "failed_precondition"),
            (Code.ABORTED, 409, "aborted"),
            (Code.OUT_OF_RANGE, 400, "out_of_range"),
            (Code.UNIMPLEMENTED, 501, "unimplemented"),
            (Code.INTERNAL, 500, "internal"),
            (Code.UNAVAILABLE, 503, "unavailable"),
            (Code.DATA_LOSS, 500, "data_loss"),
            (Code.UNAUTHENTICATED, 401, "unauthenticated"),
        ],
    )
    async def test_an_error_has_connects_name_and_status(
        self, code: Code, status: int, name: str
    ) -> None:
        response = await Rig(error_for(code.value, "no: ü")).post(PROTO, request())

        assert connect_error(response) == (status, {"code": name, "message": "no: ü"})

    async def test_the_callers_time_becomes_the_deadline(self, monkeypatch: Any) -> None:
        monkeypatch.setattr("sigrun.wire.http.messages.time.monotonic", lambda: 100.0)
        rig = Rig()

        await rig.post(PROTO, request(), connect_timeout_ms=b"1500")
        await rig.post(PROTO, request())

        assert rig.deadlines == [101.5, None]

    @pytest.mark.parametrize("sent", [b"", b"-1", b"1.5", b"12345678901", b"1s"])
    async def test_a_time_that_is_none_is_refused(self, sent: bytes) -> None:
        response = await Rig().post(PROTO, request(), connect_timeout_ms=sent)

        status, error = connect_error(response)
        assert (status, error["code"]) == (400, "invalid_argument")
        assert error["message"].startswith("Connect-Timeout-Ms must be up to 10 digits")

    async def test_another_version_of_the_protocol_is_refused(self) -> None:
        response = await Rig().post(PROTO, request(), connect_protocol_version=b"2")

        assert connect_error(response)[1]["message"] == (
            "Connect-Protocol-Version must be 1, not '2'"
        )

    async def test_gzip_is_read_and_written(self) -> None:
        name = "x" * 5000
        body = gzip.compress(request(name))

        response = await Rig().post(PROTO, body, content_encoding=b"gzip")

        assert GetModelStatusResponse.FromString(response.body) == reply(5000)

    async def test_errors_before_the_rpc_are_connects_too(self) -> None:
        rig = Rig()

        unknown = await rig.post(PROTO, b"", content_encoding=b"br")
        bomb = await rig.post(PROTO, gzip.compress(bytes(2 << 20)), content_encoding=b"gzip")

        assert connect_error(unknown)[1]["code"] == "unimplemented"
        assert connect_error(bomb) == (
            429,
            {
                "code": "resource_exhausted",
                "message": "The gzip body holds more than 1048576 bytes",
            },
        )


class TestGrpcWeb:
    async def test_a_message_comes_back_in_a_frame_before_the_status(self) -> None:
        response = await Rig().post(GRPC_WEB, frame(request()))

        status = b"grpc-status: 0\r\ngrpc-message: \r\n"
        assert (response.status, response.content_type) == (200, GRPC_WEB)
        assert response.body == frame(reply(4).SerializeToString()) + frame(status, 0x80)

    async def test_text_is_the_same_in_base64(self) -> None:
        body = frame(request())
        in_two_parts = base64.b64encode(body[:5]) + base64.b64encode(body[5:])

        response = await Rig().post(GRPC_WEB_TEXT, in_two_parts)

        status = b"grpc-status: 0\r\ngrpc-message: \r\n"
        frames = frame(reply(4).SerializeToString()) + frame(status, 0x80)
        assert (response.content_type, response.body) == (GRPC_WEB_TEXT, base64.b64encode(frames))

    @pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
    async def test_an_error_is_a_status_alone(self, code: Code) -> None:
        response = await Rig(error_for(code.value, "100 %\nü")).post(GRPC_WEB, frame(request()))

        status = f"grpc-status: {code.value}\r\ngrpc-message: 100 %25%0A%C3%BC\r\n".encode()
        assert (response.status, response.body) == (200, frame(status, 0x80))

    @pytest.mark.parametrize(
        ("sent", "seconds"),
        [(b"2S", 2), (b"3M", 180), (b"1H", 3600), (b"250m", 0.25), (b"1u", 1e-6), (b"9n", 9e-9)],
    )
    async def test_the_callers_time_becomes_the_deadline(
        self, sent: bytes, seconds: float, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("sigrun.wire.http.messages.time.monotonic", lambda: 100.0)
        rig = Rig()

        await rig.post(GRPC_WEB, frame(request()), grpc_timeout=sent)

        assert rig.deadlines == [100 + seconds]

    @pytest.mark.parametrize(
        ("content_type", "body", "text"),
        [
            (GRPC_WEB, b"", "The body has 0 bytes, which is no frame"),
            (GRPC_WEB, frame(b"abc")[:-1], "must be one frame"),
            (GRPC_WEB, frame(b"abc") + frame(b""), "must be one frame"),
            (GRPC_WEB, frame(b"abc", 0x80), "its flags are 0x80"),
            (GRPC_WEB, frame(b"abc", 1), "Compressed frames are not read here"),
            (GRPC_WEB_TEXT, b"A", "The body is not base64"),
            (GRPC_WEB_TEXT, b"????", "The body is not base64"),
            (GRPC_WEB_TEXT, b"=", "The body has 0 bytes"),
        ],
    )
    async def test_a_body_that_is_no_frame_is_refused(
        self, content_type: bytes, body: bytes, text: str
    ) -> None:
        response = await Rig().post(content_type, body)

        frames = base64.b64decode(response.body) if content_type == GRPC_WEB_TEXT else response.body
        assert frames[0] == 0x80
        assert text in frames.decode("latin-1").replace("%", "")

    @pytest.mark.parametrize("sent", [b"", b"1", b"S", b"123456789S", b"1.5S"])
    async def test_a_time_that_is_none_is_refused(self, sent: bytes) -> None:
        response = await Rig().post(GRPC_WEB, frame(request()), grpc_timeout=sent)

        assert b"grpc-status: 3" in response.body


class TestPaths:
    @pytest.mark.parametrize("content_type", [PROTO, JSON])
    async def test_a_method_that_there_is_not_is_told(self, content_type: bytes) -> None:
        response = await Rig().post(content_type, b"{}", f"/{SERVICE}/Nothing?x=1")

        message = f"{SERVICE} has no method 'Nothing'"
        assert connect_error(response) == (501, {"code": "unimplemented", "message": message})

    async def test_a_service_that_there_is_not_is_no_path(self) -> None:
        response = await Rig().post(PROTO, b"", "/no.Service/Method")

        assert response.status == 404

    async def test_another_content_type_is_told_which_there_are(self) -> None:
        response = await Rig().post(b"text/plain", b"")

        assert response.status == 415
        accepted = dict(response.headers)[b"accept-post"]
        assert {PROTO, JSON, GRPC_WEB, GRPC_WEB_TEXT} <= set(accepted.split(b", "))

    async def test_only_post_is_taken(self) -> None:
        response = await Rig().app.respond(HttpRequest(method="GET", target=PATH))

        assert response.status == 405
        assert (b"allow", b"POST") in response.headers

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (InvalidArgument("bad"), InvalidArgument("bad")),
            (Unavailable("busy"), Unavailable("busy")),
            (ZeroDivisionError("oh"), Internal("ZeroDivisionError: oh")),
        ],
    )
    async def test_both_protocols_tell_the_same_errors(
        self, error: Exception, expected: Exception
    ) -> None:
        connect = await Rig(error).post(PROTO, request())
        grpc_web = await Rig(error).post(GRPC_WEB, frame(request()))

        assert json.loads(connect.body)["message"] == str(expected)
        assert f"grpc-message: {expected}".encode() in grpc_web.body
