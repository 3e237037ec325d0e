"""gRPC-Web, unary: frames in the body, the last of which is the status.

As PROTOCOL-WEB.md of gRPC says. The text form is base64 of the same, for clients that cannot
read bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from sigrun.errors import Code, InvalidArgument, SigrunError, Unimplemented
from sigrun.inference.context import Door
from sigrun.wire.body import Body
from sigrun.wire.http.messages import HttpRequest, HttpResponse
from sigrun.wire.rpc import framing
from sigrun.wire.rpc.framing import COMPRESSED, HEAD_BYTES, MESSAGE, frame_head

_STATUS = 0x80

# Each frame may have been encoded by itself, with padding of its own.
_BASE64 = re.compile(rb"[^=]+=*")


class GrpcWeb:
    """Frames as bytes."""

    door = Door.GRPC_WEB
    is_text = False

    def timeout_s(self, headers: Mapping[bytes, bytes]) -> float | None:
        """Return the caller's time. Raises `InvalidArgument` for a malformed header."""
        return framing.timeout_s(headers)

    def read(self, request: HttpRequest) -> bytes:
        """Return the message of the one frame. Raises a `SigrunError` if it is not one."""
        return _message(request.body)

    def write(self, reply: bytes, request: HttpRequest) -> HttpResponse:
        """Return the answer: a frame with the reply, and the status OK."""
        body = b"".join((frame_head(MESSAGE, len(reply)), reply, _status_frame(Code.OK, "")))
        return self._response(body, request.headers[b"content-type"])

    def error(self, error: SigrunError, content_type: bytes) -> HttpResponse:
        """Return the status alone."""
        return self._response(_status_frame(error.code, str(error)), content_type)

    def _response(self, frames: bytes, content_type: bytes) -> HttpResponse:
        return HttpResponse(body=frames, content_type=content_type)


class GrpcWebText(GrpcWeb):
    """Frames in base64."""

    door = Door.GRPC_WEB
    is_text = True

    def read(self, request: HttpRequest) -> bytes:
        """Return the message of the one frame. Raises a `SigrunError` if it is not one."""
        try:
            parts = [
                binascii.a2b_base64(part, strict_mode=True)
                for part in _BASE64.findall(request.body)
            ]
        except binascii.Error as error:
            raise InvalidArgument(f"The body is not base64: {error}") from None
        return _message(b"".join(parts))

    def _response(self, frames: bytes, content_type: bytes) -> HttpResponse:
        return HttpResponse(body=base64.b64encode(frames), content_type=content_type)


def _message(body: Body) -> bytes:
    if len(body) < HEAD_BYTES:
        raise InvalidArgument(f"The body has {len(body)} bytes, which is no frame of gRPC-Web")
    flags, size = body[0], int.from_bytes(body[1:HEAD_BYTES], "big")
    if flags == COMPRESSED:
        raise Unimplemented("Compressed frames are not read here: use Content-Encoding: gzip")
    if flags != MESSAGE or size != len(body) - HEAD_BYTES:
        raise InvalidArgument(
            "The body must be one frame with a message of gRPC-Web: its flags are "
            f"{flags:#04x}, and its size is {size} where {len(body) - HEAD_BYTES} bytes follow"
        )
    return bytes(memoryview(body)[HEAD_BYTES:])


def _status_frame(code: Code, text: str) -> bytes:
    status = b"grpc-status: %d\r\ngrpc-message: %b\r\n" % (code, framing.quoted(text))
    return frame_head(_STATUS, len(status)) + status
