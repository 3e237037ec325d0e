"""The requests that lie beside a model to warm it up -> calls.

In: the folder of a version. Out: its calls, one at a time. `tf_serving_warmup_requests` is
TensorFlow Serving's: `PredictionLog`s in a TFRecord file. `warmup_requests.jsonl` is for people:
each line is the body of a JSON request, with its `method` if that is not `predict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.concurrency.pace import let_others_run
from sigrun.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    SigrunError,
    Unimplemented,
    error_for,
)
from sigrun.inference.calls import ExamplesCall, ModelSpec, PredictCall
from sigrun.inference.context import CallContext
from sigrun.inference.warm_up import ClassifyCall, RegressCall, WarmUpCall
from sigrun.wire.json import document
from sigrun.wire.protobuf import codec
from sigrun.wire.rest import examples_body, predict_body
from sigrun.wire.tfrecord import read_records

FOLDER = "assets.extra"
RECORDS_FILE = "tf_serving_warmup_requests"
LINES_FILE = "warmup_requests.jsonl"

MAX_RECORDS = 1000
"""Of each file, as in TensorFlow Serving."""

_MAX_LINE_BYTES = 256 * 1024 * 1024
_NAME = "warm-up"  # of the model in calls whose own name does not count


def read_calls(version: Path, context: CallContext) -> Iterator[WarmUpCall]:
    """Yield the calls that lie beside the model in `version`, with `context`. Blocks.

    Raises `InvalidArgument` for more than `MAX_RECORDS` and for what cannot be read as a call,
    `DataLoss` for a file that is no TFRecord file, `Unimplemented` for a kind of call that no
    server makes by itself.
    """
    for name, read in ((RECORDS_FILE, _records), (LINES_FILE, _lines)):
        path = version / FOLDER / name
        if not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                yield from _limited(read(file, path, context), path)
        except OSError as error:
            raise NotFound(f"Cannot read {path}: {error.strerror}") from None


def _limited(calls: Iterator[WarmUpCall], path: Path) -> Iterator[WarmUpCall]:
    for count, call in enumerate(calls):
        if count == MAX_RECORDS:
            raise InvalidArgument(
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"
            )
        yield call


def _records(file: BinaryIO, path: Path, context: CallContext) -> Iterator[WarmUpCall]:
    try:
        for record in read_records(file):
            call = _logged_call(_parsed(record, path), context)
            if call is not None:
                yield call
    except DataLoss as error:
        raise DataLoss(
            f"{path}: {error}. Please verify your warmup data is in TFRecord format."
        ) from None


def _parsed(record: bytes, path: Path) -> PredictionLog:
    try:
        return PredictionLog.FromString(record)
    except DecodeError:
        raise InvalidArgument(
            f"Failed to parse warmup record: its {len(record)} bytes are no "
            f"tensorflow.serving.PredictionLog from {path}"
        ) from None


def _logged_call(log: PredictionLog, context: CallContext) -> WarmUpCall | None:
    """Return what is logged as a call; None for a record without one."""
    kind = log.WhichOneof("log_type")
    match kind:
        case None:
            return None
        case "predict_log":
            return codec.predict_call(log.predict_log.request, context, default=ModelSpec(_NAME))
        case "classify_log":
            return ClassifyCall(_examples_call(log.classify_log.request, context))
        case "regress_log":
            return RegressCall(_examples_call(log.regress_log.request, context))
        case "multi_inference_log":
            return codec.multi_inference_call(log.multi_inference_log.request, context)
        case _:
            number = PredictionLog.DESCRIPTOR.fields_by_name[kind].number
            raise Unimplemented(f"Unsupported log_type for warmup: {number}")


def _examples_call(
    request: ClassificationRequest | RegressionRequest, context: CallContext
) -> ExamplesCall:
    if not request.HasField("model_spec"):
        request.model_spec.name = _NAME
    return codec.examples_call(request, context)


def _lines(file: BinaryIO, path: Path, context: CallContext) -> Iterator[WarmUpCall]:
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise InvalidArgument(
                f"Line {number} of {path} has more than {_MAX_LINE_BYTES} bytes; "
                "put large requests into a TFRecord file"
            )
        if not line.strip():
            continue
        try:
            yield _written_call(line, context)
        except SigrunError as error:
            raise error_for(error.code, f"Line {number} of {path}: {error}") from None


def _written_call(line: bytes, context: CallContext) -> WarmUpCall:
    method = document.read_values(line, let_others_run).get("method", "predict")
    read = _METHODS.get(method) if isinstance(method, str) else None
    if read is None:
        raise InvalidArgument(f'"method" is one of {", ".join(_METHODS)}, not {method!r}')
    return read(line, context)


def _predict(line: bytes, context: CallContext) -> WarmUpCall:
    body = predict_body.read(line, let_others_run)
    spec = ModelSpec(_NAME, signature_name=body.signature_name)
    return PredictCall(spec=spec, inputs=body, context=context)


def _classify(line: bytes, context: CallContext) -> WarmUpCall:
    return ClassifyCall(_examples(line, context))


def _regress(line: bytes, context: CallContext) -> WarmUpCall:
    return RegressCall(_examples(line, context))


def _examples(line: bytes, context: CallContext) -> ExamplesCall:
    body = examples_body.read(line, let_others_run)
    spec = ModelSpec(_NAME, signature_name=body.signature_name)
    return ExamplesCall(spec=spec, examples=body.examples, context=context)


_METHODS: Mapping[str, Callable[[bytes, CallContext], WarmUpCall]] = {
    "predict": _predict,
    "classify": _classify,
    "regress": _regress,
}
