"""What is shown when a server has started: its models, and where to ask for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from sigrun import __version__
from sigrun.config.server import ServerConfig
from sigrun.server import ModelServer
from sigrun.tensors.signature import PREDICT_METHOD, DType, Signature, TensorSpec, shape_text

# The signature with which TensorFlow 2 marks a model's initialiser; nobody calls it.
_INITIALISER = "__saved_model_init_op"
_DEFAULT_SIGNATURE = "serving_default"
_REAL = frozenset({DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16})
_NOT_IN_JSON = frozenset({DType.COMPLEX64, DType.COMPLEX128})
_MOST_SAMPLED = 32  # elements of an input in a line to try
_MOST_MODELS = 3  # for which there are such lines
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared, not bound
_HEADINGS = ("MODEL", "VERSION", "LABELS", "SIGNATURES")


def banner(server: ModelServer, config: ServerConfig) -> str:
    """Return the table of models and the addresses to try."""
    lines = [f"sigrun {__version__}", ""]
    lines += _table([_HEADINGS, *_rows(server)])
    lines += ["", *_addresses(server, config)]
    return "\n".join(f"  {line}".rstrip() for line in ["", *lines, ""])


def _rows(server: ModelServer) -> Iterator[Sequence[str]]:
    for name in sorted(server.models.current.names):
        versions = server.manager.available_versions(name)
        if not versions:
            yield name, "-", "-", "not available, see the log"
        for version in versions:
            labels = [label for label, v in server.labels.of(name).items() if v == version]
            with server.manager.acquire(name, version) as handle:
                first, *others = _described(handle.servable.signatures.values())
            yield name, str(version), ", ".join(labels) or "-", first
            yield from (("", "", "", other) for other in others)


def _described(signatures: Iterable[Signature]) -> list[str]:
    described = [
        f"{signature.name} ({tensors(signature.inputs)}) -> {tensors(signature.outputs)}"
        for signature in sorted(signatures, key=lambda signature: signature.name)
        if signature.name != _INITIALISER
    ]
    return described or ["none"]


def tensors(specs: Mapping[str, TensorSpec]) -> str:
    """Return tensors as a reader's shorthand: `x: float[?,3], y: string`."""
    return ", ".join(f"{alias}: {_type(spec)}" for alias, spec in sorted(specs.items()))


def _type(spec: TensorSpec) -> str:
    name = spec.dtype.name.lower() if spec.dtype is not None else "other"
    if spec.shape is None:
        return f"{name}[...]"
    return f"{name}{shape_text(spec.shape)}" if spec.shape else name


def predict_line(url: str, model: str, signatures: Mapping[str, Signature]) -> str | None:
    """Return a command that asks a model something of the right form.

    None if it has no default signature for Predict, an input of an unknown form, or one too
    large for a line.
    """
    signature = signatures.get(_DEFAULT_SIGNATURE)
    if signature is None or signature.method_name not in ("", PREDICT_METHOD):
        return None
    needed = sorted(signature.inputs.keys() - signature.defaults.keys())
    samples = {alias: _sample(signature.inputs[alias]) for alias in needed}
    if not samples or None in samples.values():
        return None
    inputs = samples[needed[0]] if len(signature.inputs) == 1 else samples
    body = orjson.dumps({"inputs": inputs}).decode()
    return f"curl {url}/v1/models/{model}:predict -d '{body}'"


def _sample(spec: TensorSpec) -> object:
    """Return a small value as JSON has it; free dimensions are 1, as is an unknown shape."""
    if spec.dtype is None or spec.dtype in _NOT_IN_JSON:
        return None
    # What says nothing of its rank is most often a batch.
    sizes = (None,) if spec.shape is None else spec.shape
    shape = [1 if size is None else size for size in sizes]
    if math.prod(shape) > _MOST_SAMPLED:
        return None
    if spec.dtype is DType.STRING:
        value: object = "text"
    elif spec.dtype is DType.BOOL:
        value = True
    else:
        value = 1.0 if spec.dtype in _REAL else 1
    for size in reversed(shape):
        value = [value] * size
    return value


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))


def _addresses(server: ModelServer, config: ServerConfig) -> Iterator[str]:
    models = sorted(server.models.current.names)
    if server.grpc.port is not None:
        plaintext = "" if config.grpc.tls else "-plaintext "
        address = f"{_to_ask(config.grpc.host)}:{server.grpc.port}"
        yield f"gRPC  {address}{_reach(config.grpc.host)}"
        yield f"      grpcurl {plaintext}{address} list"
    if config.grpc.socket_path:
        yield f"gRPC  unix:{config.grpc.socket_path}"
    if server.admin is not None and config.admin is not None:
        path = config.admin.socket_path
        host = f"{_to_ask(config.admin.host)}:{server.admin.port}"
        yield f"admin {f'unix:{path}' if path else host}"
    if server.http is not None:
        scheme = "https" if config.http.tls else "http"
        url = f"{scheme}://{_to_ask(config.http.host)}:{server.http.port}"
        yield f"HTTP  {url}{_reach(config.http.host)}"
        yield f"      curl {url}/readyz"
        for name in models[:_MOST_MODELS]:
            yield f"      curl {url}/v1/models/{name}/metadata"
            if server.manager.available_versions(name):
                with server.manager.acquire(name, None) as handle:
                    line = predict_line(url, name, handle.servable.signatures)
                if line is not None:
                    yield f"      {line}"


def _to_ask(host: str) -> str:
    """Return how this machine reaches what is bound to `host`."""
    if host in _EVERY_ADDRESS:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _reach(host: str) -> str:
    return "  (on every address of this machine)" if host in _EVERY_ADDRESS else ""
