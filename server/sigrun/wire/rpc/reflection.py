"""Server reflection, v1 and v1alpha, so that grpcurl and its like need no .proto files.

Both versions have the same messages; grpcio-reflection brings the older one, and the newer
is the same handler under its own name. Our messages live in a pool of their own, which is
given the files of health and reflection as well, since those services are listed too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from sigrun._gen import POOL
from sigrun.inference.context import CallContext
from sigrun.wire.protobuf.parse import parse
from sigrun.wire.rpcs import Services, StreamRpc

_V1ALPHA = "grpc.reflection.v1alpha"
_V1 = "grpc.reflection.v1"
_SERVICE = "ServerReflection"


def reflection_services(service_names: Collection[str]) -> Services:
    """Return both versions of reflection, describing `service_names` and themselves."""
    versions = (f"{_V1}.{_SERVICE}", f"{_V1ALPHA}.{_SERVICE}")
    for file in (_file_of(health_pb2), _file_of(reflection_pb2), _v1_file()):
        POOL.AddSerializedFile(file.SerializeToString())
    # The servicer for asyncio: the other one holds a thread for as long as a stream is open.
    servicer = aio.ReflectionServicer((*service_names, *versions), pool=_Symbols())

    async def answer(requests: AsyncIterator[bytes], context: CallContext) -> AsyncIterator[bytes]:
        async for reply in servicer.ServerReflectionInfo(_parsed(requests), None):
            yield reply.SerializeToString()

    return {name: {"ServerReflectionInfo": StreamRpc(answer)} for name in versions}


async def _parsed(
    requests: AsyncIterator[bytes],
) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for body in requests:
        yield parse(reflection_pb2.ServerReflectionRequest, body)


class _Symbols:
    """The pool, which finds the file of a method as well, by that of its service."""

    def __getattr__(self, name: str) -> Any:
        return getattr(POOL, name)

    def FindFileContainingSymbol(self, name: str) -> FileDescriptor:  # noqa: N802  # the pool's
        """Return the file that defines `name`. Raises KeyError."""
        try:
            return POOL.FindFileContainingSymbol(name)
        except KeyError:
            service, _, method = name.rpartition(".")
            found = POOL.FindServiceByName(service)
            return found.methods_by_name[method].containing_service.file


def _file_of(module: object) -> FileDescriptorProto:
    file = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)  # type: ignore[attr-defined]  # a generated module
    return file


def _v1_file() -> FileDescriptorProto:
    """Return the file of v1: that of v1alpha, in another package."""
    file = _file_of(reflection_pb2)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_V1ALPHA, _V1)
        method.output_type = method.output_type.replace(_V1ALPHA, _V1)
    return file
