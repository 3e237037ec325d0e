"""Server reflection, v1 and v1alpha, so that grpcurl and its like need no .proto files.

Both versions have the same messages; grpcio-reflection brings the older one, and the newer
is the same handler under its own name. Our messages live in a pool of their own, which is
given the files of health and reflection as well, since those services are listed too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from sigrun._gen import POOL

_V1ALPHA = "grpc.reflection.v1alpha"
_V1 = "grpc.reflection.v1"
_SERVICE = "ServerReflection"


def add_reflection(server: grpc.aio.Server, service_names: Collection[str]) -> None:
    """Register both versions of reflection, describing `service_names` and themselves."""
    versions = (f"{_V1}.{_SERVICE}", f"{_V1ALPHA}.{_SERVICE}")
    for file in (_file_of(health_pb2), _file_of(reflection_pb2), _v1_file()):
        POOL.AddSerializedFile(file.SerializeToString())
    # The one for asyncio: the other holds a thread for as long as a stream is open.
    servicer = aio.ReflectionServicer((*service_names, *versions), pool=_Symbols())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            for name in versions
        )
    )


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
