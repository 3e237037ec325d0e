"""gRPC-Web, unary: frames in the body, the last of which is the status.

As PROTOCOL-WEB.md of gRPC says. A frame is a byte of flags, the size in four bytes, and so
many bytes. The text form is base64 of the same, for clients that cannot read bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from urllib.parse import quote

from sigrun.errors import Code, InvalidArgument, SigrunError, Unimplemented
from sigrun.inference.context import Door
from sigrun.wire.body import Body
from sigrun.wire.http.messages import HttpRequest, HttpResponse

_MESSAGE = 0
_COMPRESSED = 1
_STATUS = 0x80
_HEAD_BYTES = 5

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")

# Visible ASCII travels as it is, but for the sign of what does not.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

# Each frame may have been encoded by itself, with padding of its own.
_BASE64 = re.compile(rb"[^=]+=*")


class GrpcWeb:
    """Frames as bytes."""

    door = Door.GRPC_WEB
    is_text = False

    def timeout_s(self, headers: Mapping[bytes, bytes]) -> float | None:
        """Return the caller's time. Raises `InvalidArgument` for a header that is none."""
        timeout = headers.get(b"grpc-timeout")
        if timeout is None:
            return None
        match = _TIMEOUT.fullmatch(timeout)
        if match is None:
            raise InvalidArgument(
                "Grpc-Timeout must be up to 8 digits and one of HMSmun, "
                f"not {timeout.decode('latin-1')!r}"
            )
        return int(match[1]) * _UNITS[match[2]]

    def read(self, request: HttpRequest) -> bytes:
        """Return the message of the one frame. Raises a `SigrunError` if it is not one."""
        return _message(request.body)

    def write(self, reply: bytes, request: HttpRequest) -> HttpResponse:
        """Return the answer: a frame with the reply, and the status OK."""
        body = b"".join((_head(_MESSAGE, reply), reply, _status_frame(Code.OK, "")))
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
    if len(body) < _HEAD_BYTES:
        raise InvalidArgument(f"The body has {len(body)} bytes, which is no frame of gRPC-Web")
    flags, size = body[0], int.from_bytes(body[1:_HEAD_BYTES], "big")
    if flags == _COMPRESSED:
        raise Unimplemented("Compressed frames are not read here: use Content-Encoding: gzip")
    if flags != _MESSAGE or size != len(body) - _HEAD_BYTES:
        raise InvalidArgument(
            "The body must be one frame with a message of gRPC-Web: its flags are "
            f"{flags:#04x}, and its size is {size} where {len(body) - _HEAD_BYTES} bytes follow"
        )
    return bytes(memoryview(body)[_HEAD_BYTES:])


def _status_frame(code: Code, text: str) -> bytes:
    status = f"grpc-status: {code.value}\r\ngrpc-message: {quote(text, safe=_PLAIN)}\r\n".encode()
    return _head(_STATUS, status) + status


def _head(flags: int, content: bytes) -> bytes:
    return bytes((flags,)) + len(content).to_bytes(4, "big")
