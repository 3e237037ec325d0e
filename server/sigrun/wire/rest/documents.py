"""Status and metadata as JSON documents, in TensorFlow Serving's snake_case form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from sigrun._gen import POOL
from sigrun.inference.calls import MetadataResult
from sigrun.servables.state import ServableState
from sigrun.wire.protobuf import codec

Document = dict[str, Any]


def status(states: Mapping[int, ServableState]) -> Document:
    """Return the states of a model's versions."""
    return _document(codec.status_response(states))


def models(states: Mapping[str, Mapping[int, ServableState]]) -> Document:
    """Return the states of the versions of every model, in the order of their names."""
    return {"models": [{"name": name, **status(states[name])} for name in sorted(states)]}


def metadata(result: MetadataResult) -> Document:
    """Return the signatures of a model; `signature_def` stands twice, as clients expect."""
    return {
        "model_spec": _document(codec.resolved_spec(result.spec)),
        "metadata": {"signature_def": _document(codec.signature_def_map(result.signatures))},
    }


def _document(message: Message) -> Document:
    return MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        descriptor_pool=POOL,
    )
