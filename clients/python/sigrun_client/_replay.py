"""Recorded requests: read them from a file, and compare what is answered now with what was.

In: a TFRecord file of `PredictionLog`, which is what request logs and warm-up files are, or the
same as JSON, one a line. Out: bytes to send, and differences as text. Nothing here asks a server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from sigrun_client import _tensors
from sigrun_client._errors import InvalidInput, InvalidReply
from sigrun_client._gen.pool import POOL
from sigrun_client._gen.tensorflow_serving.apis.classification_pb2 import ClassificationResponse
from sigrun_client._gen.tensorflow_serving.apis.inference_pb2 import MultiInferenceResponse
from sigrun_client._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from sigrun_client._gen.tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from sigrun_client._gen.tensorflow_serving.apis.regression_pb2 import RegressionResponse
from sigrun_client._tensors import Array

_METHODS = {
    "predict_log": "Predict",
    "classify_log": "Classify",
    "regress_log": "Regress",
    "multi_inference_log": "MultiInference",
}
_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_MAX_RECORD_BYTES = (1 << 31) - 1  # of a protobuf message


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request, the method it is for, and what was answered, None if that is not recorded."""

    method: str
    request: bytes
    response: Message | None


def recorded(file: BinaryIO, *, model: str = "") -> Iterator[Recorded]:
    """Yield the requests in the file, sent to `model` instead of their own if it is given.

    Raises `InvalidInput` for what is no such file, naming the place.
    """
    first = file.read(1)
    file.seek(0)
    logs = _lines(file) if first in (b"{", b"") else _records(file)
    for place, log in logs:
        kind = log.WhichOneof("log_type")
        if kind is None:
            continue
        if kind not in _METHODS:
            raise InvalidInput(f"{place}: a {kind} cannot be replayed; {', '.join(_METHODS)} can")
        exchange = getattr(log, kind)
        if model:
            _redirect(kind, exchange.request, model)
        response = exchange.response if exchange.HasField("response") else None
        yield Recorded(_METHODS[kind], exchange.request.SerializeToString(), response)


def differences(recorded: Recorded, answer: bytes, *, rtol: float) -> list[str]:
    """Return how `answer` differs from what was recorded; empty if it is the same.

    Floating-point numbers are the same where they differ by no more than `rtol`, relative to
    what was recorded, or absolutely where that is less than 1; 0 wants them equal. The version
    that answers may be another one. Raises `InvalidReply` for what is no answer.
    """
    expected = recorded.response
    if expected is None:
        return []
    try:
        actual = type(expected).FromString(answer)
    except DecodeError as error:
        raise InvalidReply(f"{len(answer)} bytes are no {type(expected).__name__}") from error
    before, after = _arrays(expected), _arrays(actual)
    found = [f"{name} is missing" for name in before.keys() - after.keys()]
    found += [f"{name} is new" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        if (text := _difference(before[name], after[name], rtol)) is not None:
            found.append(f"{name} {text}")
    return sorted(found)


def _redirect(kind: str, request: Message, model: str) -> None:
    specs = (
        [task.model_spec for task in request.tasks]  # type: ignore[attr-defined]
        if kind == "multi_inference_log"
        else [request.model_spec]  # type: ignore[attr-defined]
    )
    for spec in specs:
        spec.name = model


def _arrays(response: Message) -> dict[str, Array]:
    """Return everything in a response that a model computed, by name."""
    match response:
        case PredictResponse():
            return {alias: _tensors.decode(proto) for alias, proto in response.outputs.items()}
        case ClassificationResponse():
            return _classes("", response.result.classifications)
        case RegressionResponse():
            return _values("", response.result.regressions)
        case MultiInferenceResponse():
            arrays: dict[str, Array] = {}
            for one in response.results:
                name = f"{one.model_spec.signature_name}/"
                arrays |= _classes(name, one.classification_result.classifications)
                arrays |= _values(name, one.regression_result.regressions)
            return arrays
    raise TypeError(f"a {type(response).__name__} has no arrays")


def _classes(prefix: str, rows: Sequence[object]) -> dict[str, Array]:
    if not rows:
        return {}
    classes = [one.classes for one in rows]  # type: ignore[attr-defined]
    labels = [one.label for row in classes for one in row]
    scores = [one.score for row in classes for one in row]
    return {
        f"{prefix}sizes": np.array([len(row) for row in classes]),
        f"{prefix}labels": np.array(labels, object),
        f"{prefix}scores": np.array(scores, np.float32),
    }


def _values(prefix: str, rows: Sequence[object]) -> dict[str, Array]:
    if not rows:
        return {}
    return {f"{prefix}values": np.array([one.value for one in rows], np.float32)}  # type: ignore[attr-defined]


def _difference(before: Array, after: Array, rtol: float) -> str | None:
    if before.dtype != after.dtype:
        return f"is {after.dtype}, and was {before.dtype}"
    if before.shape != after.shape:
        return f"has shape {list(after.shape)}, and had {list(before.shape)}"
    if before.dtype.kind in "fc" and rtol:
        same = np.isclose(after, before, rtol=rtol, atol=rtol, equal_nan=True)
    elif before.dtype.kind in "fc":
        same = (after == before) | (np.isnan(after) & np.isnan(before))
    else:
        same = np.asarray(after == before)
    if same.all():
        return None
    index = tuple(int(i) for i in np.argwhere(~same)[0]) if before.ndim else ()
    return (
        f"differs in {int((~same).sum())} of {before.size} elements, first at {list(index)}: "
        f"{after[index]}, and was {before[index]}"
    )


def _lines(file: BinaryIO) -> Iterator[tuple[str, PredictionLog]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            yield f"line {number}", json_format.Parse(line, PredictionLog(), descriptor_pool=POOL)
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise InvalidInput(f"line {number}: {error}") from None


def _records(file: BinaryIO) -> Iterator[tuple[str, PredictionLog]]:
    number = 0
    while head := file.read(_HEAD.size):
        number += 1
        place = f"record {number}"
        if len(head) < _HEAD.size:
            raise InvalidInput(f"{place} is cut short")
        length, crc = _HEAD.unpack(head)
        if crc != _masked_crc(head[:8]) or length > _MAX_RECORD_BYTES:
            raise InvalidInput(
                f"{place}: this is no TFRecord file of PredictionLog, nor one with a JSON object "
                "of that kind on each line"
            )
        body, tail = file.read(length), file.read(_CRC.size)
        if len(tail) < _CRC.size:
            raise InvalidInput(f"{place} is cut short")
        if _CRC.unpack(tail)[0] != _masked_crc(body):
            raise InvalidInput(f"{place} is damaged: its checksum is another")
        try:
            yield place, PredictionLog.FromString(body)
        except DecodeError as error:
            raise InvalidInput(f"{place} is no PredictionLog: {error}") from None


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _crc_table()


def _masked_crc(data: bytes) -> int:
    """Return the CRC-32C of `data`, masked as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
