"""What is shown when a server has started: its models, and where to ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sigrun import __version__
from sigrun.config.server import ServerConfig
from sigrun.server import ModelServer
from sigrun.tensors.signature import Signature

# The signature with which TensorFlow 2 marks a model's initialiser; nobody calls it.
_INITIALISER = "__saved_model_init_op"
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
        f"{signature.name} ({', '.join(sorted(signature.inputs))}) "
        f"-> {', '.join(sorted(signature.outputs))}"
        for signature in sorted(signatures, key=lambda signature: signature.name)
        if signature.name != _INITIALISER
    ]
    return described or ["none"]


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
    if server.http is not None:
        scheme = "https" if config.http.tls else "http"
        url = f"{scheme}://{_to_ask(config.http.host)}:{server.http.port}"
        yield f"HTTP  {url}{_reach(config.http.host)}"
        yield f"      curl {url}/readyz"
        yield from (f"      curl {url}/v1/models/{name}/metadata" for name in models[:3])


def _to_ask(host: str) -> str:
    """Return how this machine reaches what is bound to `host`."""
    if host in _EVERY_ADDRESS:
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _reach(host: str) -> str:
    return "  (on every address of this machine)" if host in _EVERY_ADDRESS else ""
