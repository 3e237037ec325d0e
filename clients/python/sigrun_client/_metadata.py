"""What a model says of itself, to be read by people and by programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sigrun_client._errors import InvalidReply
from sigrun_client._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from sigrun_client._gen.tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo as TensorInfoProto
from sigrun_client._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from sigrun_client._tensors import dtype_name

_METHOD = "tensorflow/serving/"
_INTERNAL = "__saved_model"  # how the names of TensorFlow's own signatures begin

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One input or output of a signature.

    `dtype` is numpy's name of the element type, or `string` or `bfloat16`. `shape` has None
    for a free size, and is None itself where the rank is unknown. `name` is the tensor's own.
    """

    dtype: str
    shape: Shape | None
    name: str

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype} of any rank"
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype}[{sizes}]"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Signature:
    """A named callable of a model; `method` is `predict`, `classify` or `regress`."""

    name: str
    method: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    def __repr__(self) -> str:
        return f"<{self.name} ({self.method}): {_tensors(self.inputs)} -> {_tensors(self.outputs)}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ModelMetadata(Mapping[str, Signature]):
    """The signatures of one version, by name."""

    model: str
    version: int
    signatures: Mapping[str, Signature]

    def __getitem__(self, name: str) -> Signature:
        return self.signatures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.signatures)

    def __len__(self) -> int:
        return len(self.signatures)

    def __repr__(self) -> str:
        lines = [f"<{self.model}, version {self.version}"]
        for name, signature in self.signatures.items():
            lines.append(f"  {name} ({signature.method})")
            lines += [f"    in   {alias}: {info}" for alias, info in signature.inputs.items()]
            lines += [f"    out  {alias}: {info}" for alias, info in signature.outputs.items()]
        return "\n".join(lines) + ">"


def _tensors(infos: Mapping[str, TensorInfo]) -> str:
    return ", ".join(f"{alias}: {info}" for alias, info in infos.items()) or "nothing"


def model_metadata(response: GetModelMetadataResponse) -> ModelMetadata:
    """Read the answer to GetModelMetadata. Raises `InvalidReply` if it has no signatures."""
    signatures = SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(signatures):
        raise InvalidReply("the metadata has no signature_def")
    return ModelMetadata(
        model=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures={
            name: _signature(name, definition)
            for name, definition in sorted(signatures.signature_def.items())
            if not name.startswith(_INTERNAL)
        },
    )


def _signature(name: str, definition: SignatureDef) -> Signature:
    return Signature(
        name=name,
        method=definition.method_name.removeprefix(_METHOD),
        inputs=_infos(definition.inputs),
        outputs=_infos(definition.outputs),
    )


def _infos(protos: Mapping[str, TensorInfoProto]) -> dict[str, TensorInfo]:
    return {alias: _info(proto) for alias, proto in sorted(protos.items())}


def _info(proto: TensorInfoProto) -> TensorInfo:
    shape = proto.tensor_shape
    sizes = tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorInfo(
        dtype=dtype_name(proto.dtype),
        shape=None if shape.unknown_rank else sizes,
        name=proto.name,
    )
