"""Connect, unary: the message is the body, an error is JSON under an HTTP status.

As connectrpc.com/docs/protocol says; a compressed body is not seen here, since it is
compressed as HTTP does it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from sigrun._gen import POOL
from sigrun.errors import Code, InvalidArgument, SigrunError
from sigrun.inference.context import Door
from sigrun.wire.http.messages import HttpRequest, HttpResponse, json_response
from sigrun.wire.protobuf.parse import parse
from sigrun.wire.status import HTTP_STATUS

_VERSION = b"1"
_OBJECT = re.compile(rb"\s*\{")
_TIMEOUT = re.compile(rb"[0-9]{1,10}")


class Connect:
    """Messages in protobuf's binary form."""

    door = Door.CONNECT
    is_text = False

    def timeout_s(self, headers: Mapping[bytes, bytes]) -> float | None:
        """Return the caller's time. Raises `InvalidArgument` for headers that are none."""
        version = headers.get(b"connect-protocol-version", _VERSION)
        if version != _VERSION:
            raise InvalidArgument(
                f"Connect-Protocol-Version must be 1, not {version.decode('latin-1')!r}"
            )
        timeout_ms = headers.get(b"connect-timeout-ms")
        if timeout_ms is None:
            return None
        if not _TIMEOUT.fullmatch(timeout_ms):
            raise InvalidArgument(
                f"Connect-Timeout-Ms must be up to 10 digits, not {timeout_ms.decode('latin-1')!r}"
            )
        return int(timeout_ms) / 1000

    def read(self, request: HttpRequest) -> bytes:
        """Return the body."""
        return bytes(request.body)

    def write(self, reply: bytes, request: HttpRequest) -> HttpResponse:
        """Return the answer: the reply is its body."""
        return HttpResponse(body=reply, content_type=b"application/proto")

    def error(self, error: SigrunError, content_type: bytes) -> HttpResponse:
        """Return `error` in JSON, whatever the format of messages."""
        name = "canceled" if error.code is Code.CANCELLED else error.code.name.lower()
        return json_response({"code": name, "message": str(error)}, status=HTTP_STATUS[error.code])


class ConnectJson(Connect):
    """Messages in protobuf's JSON."""

    door = Door.CONNECT
    is_text = True

    def read(self, request: HttpRequest) -> bytes:
        """Return the message. Raises `InvalidArgument` for a body that is none."""
        kind = GetMessageClass(_method(request.target).input_type)
        try:
            if not _OBJECT.match(request.body):  # the reader takes an empty list for a message
                raise json_format.ParseError("it is no object")
            # What is not known is passed over, as in the binary form: clients may be newer.
            message: Message = json_format.Parse(
                bytes(request.body), kind(), ignore_unknown_fields=True, descriptor_pool=POOL
            )
        except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidArgument(
                f"The body is not the JSON of a {kind.DESCRIPTOR.full_name}: {error}"
            ) from None
        return message.SerializeToString()

    def write(self, reply: bytes, request: HttpRequest) -> HttpResponse:
        """Return the answer: the JSON of the reply is its body."""
        message = parse(GetMessageClass(_method(request.target).output_type), reply)
        text = json_format.MessageToJson(message, indent=None, descriptor_pool=POOL)
        return HttpResponse(body=text.encode())


@functools.lru_cache(maxsize=64)
def _method(target: str) -> MethodDescriptor:
    """Return the method of an RPC that is answered, so that whoever does knows its messages."""
    service, _, method = target.partition("?")[0][1:].partition("/")
    try:
        found = POOL.FindServiceByName(service)
    except KeyError:  # one that is not ours, such as health
        found = descriptor_pool.Default().FindServiceByName(service)
    return found.methods_by_name[method]
