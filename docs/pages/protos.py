"""The messages and services of proto/, with their comments.

In: files in the style that buf checks, a field a line. Out: the reference of the configuration files
and of gRPC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docs.pages.markdown import ROOT, joined, table

PROTO = ROOT / "proto"


CONFIGURATION = (
    (
        "Models: `--model_config_file`",
        "A `ModelServerConfig` in protobuf's text format. The same message is what `HandleReloadConfigRequest` "
        "carries. [Choose versions](../how_to/versions.md) and [Move labels](../how_to/labels.md) have "
        "examples.",
        (
            "ModelServerConfig",
            "ModelConfigList",
            "ModelConfig",
            "ServableVersionPolicy",
            "Latest",
            "All",
            "Specific",
            "LoggingConfig",
            "LogCollectorConfig",
            "SamplingConfig",
        ),
    ),
    (
        "Batching: `--batching_parameters_file`",
        "A `BatchingParameters` in text format; `batching_params.pbtxt` in the folder of a version with "
        "`--enable_per_model_batching_parameters`. Fields of a wrapper type are written "
        "`max_batch_size { value: 32 }`. [Batch requests](../how_to/batching.md) has advice.",
        ("BatchingParameters",),
    ),
    (
        "TLS: `--ssl_config_file`, `--rest_api_ssl_config_file`",
        "An `SSLConfig` in text format. It has the PEM contents, not the names of files. "
        "[Encrypt and ask for tokens](../how_to/tls_and_tokens.md) shows how to write one.",
        ("SSLConfig",),
    ),
    (
        "Metrics: `--monitoring_config_file`",
        "A `MonitoringConfig` in text format: another path for [the metrics](../metrics.md).",
        ("MonitoringConfig", "PrometheusConfig"),
    ),
    (
        "Platforms: `--platform_config_file`",
        "A `PlatformConfigMap` in text format, whose key `tensorflow` holds a "
        "`SavedModelBundleSourceAdapterConfig`. It takes the place of the flags for batching, warm-up, "
        "sessions and TensorFlow Lite. What this server cannot do is refused by name.",
        (
            "PlatformConfigMap",
            "PlatformConfig",
            "SavedModelBundleSourceAdapterConfig",
            "SessionBundleConfig",
            "ModelWarmupOptions",
        ),
    ),
)


@dataclass
class Field:
    """A field of a message, a value of an enum or a method, with its comment."""

    name: str
    kind: str
    comment: str


@dataclass
class Message:
    """A message, an enum or a service of proto/."""

    kind: str
    name: str
    comment: str
    package: str
    file: str
    fields: list[Field] = field(default_factory=list)


_OPENING = re.compile(r"(message|enum|service|oneof)\s+(\w+)\s*\{(\s*\})?")
_FIELD = re.compile(
    r"(?:(?P<kind>(?:repeated |optional )?[\w.]+|map<[^>]+>)\s+)?(?P<name>\w+)\s*=\s*-?\d+"
)
_METHOD = re.compile(
    r"rpc\s+(?P<name>\w+)\((?P<request>[\w.]+)\)\s+returns\s+\((?P<response>[\w.]+)\)"
)


def messages(*globs: str) -> dict[str, Message]:
    """Return what proto files declare, by its own name, in the order of the files."""
    found: dict[str, Message] = {}
    for path in sorted(path for glob in globs for path in PROTO.glob(glob)):
        for message in declarations(path):
            found.setdefault(message.name, message)
    return found


def declarations(path: Path) -> Iterator[Message]:
    """Yield what one file declares; comments are the lines before."""
    open_ones: list[Message | None] = []
    comment: list[str] = []
    source = path.read_text()
    package = re.findall(r"^package ([\w.]+);", source, re.MULTILINE)[0]
    for line in map(str.strip, source.splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        text = " ".join(" ".join(comment).split())
        if opening := _OPENING.match(line):
            kind, name, is_empty = opening.groups()
            message = None
            if kind != "oneof":
                message = Message(kind, name, text, package, path.relative_to(PROTO).as_posix())
                yield message
            if not is_empty:
                open_ones.append(message)
        elif line.startswith("}"):
            open_ones.pop()
        elif current := next((one for one in reversed(open_ones) if one), None):
            if method := _METHOD.match(line):
                kind = f"{method['request']} → {method['response']}"
                current.fields.append(Field(method["name"], kind, text))
            elif named := _FIELD.match(line):
                current.fields.append(Field(named["name"], named["kind"] or "", text))
        comment = []


def configuration_page() -> str:
    """Return the fields of every configuration file."""
    known = messages("tensorflow_serving/config/*.proto", "tensorflow_serving/servables/**/*.proto")
    blocks = [
        "# Configuration files",
        "Every file is TensorFlow Serving's, in protobuf's text format. A file that cannot be read, or has an "
        "unknown field, is refused with its line.",
    ]
    for heading, text, names in CONFIGURATION:
        blocks += [f"## {heading}", text]
        for name in names:
            blocks += fields_of(known[name])
    return joined(*blocks)


def fields_of(message: Message) -> Iterator[str]:
    """Yield heading, comment and table of a message, an enum or a service."""
    is_plain = message.kind != "service" and message.package == "tensorflow.serving"
    yield f"### {message.name}" if is_plain else f"### {message.package}.{message.name}"
    yield message.comment
    if message.fields:
        heads = {"message": ("field", "type"), "enum": ("value", ""), "service": ("method", "")}
        head = (*heads[message.kind], "what it is")
        rows = [
            (f"`{one.name}`", f"`{one.kind}`" if one.kind else "", one.comment)
            for one in message.fields
        ]
        yield table(head, rows)


def grpc_page() -> str:
    """Return the services, and the messages that they take and give."""
    known = messages("sigrun/**/*.proto", "tensorflow_serving/apis/*.proto")
    public = {name: one for name, one in known.items() if not hidden(one)}
    services = [one for one in public.values() if one.kind == "service"]
    others = [one for one in public.values() if one.kind != "service"]
    return joined(
        "# gRPC",
        "Names and numbers are TensorFlow Serving's, so that its clients, and code generated from its protos, work. "
        "`grpc.health.v1.Health`, server reflection and `tensorflow.ProfilerService` are there too. Over the HTTP port the same methods are "
        "answered as Connect and gRPC-Web.",
        "## Services",
        *(block for service in services for block in fields_of(service)),
        "## Messages",
        "Tensors are `tensorflow.TensorProto`, examples `tensorflow.Example`.",
        *(block for message in others for block in fields_of(message)),
    )


def hidden(message: Message) -> bool:
    """Return whether a message is no part of a call: what is logged has pages of its own."""
    return message.file.endswith(("session_service.proto", "prediction_log.proto", "logging.proto"))
