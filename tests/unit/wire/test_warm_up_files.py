from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from sigrun.concurrency.pace import keep_on
from sigrun.errors import DataLoss, InvalidArgument, SigrunError, Unimplemented
from sigrun.inference.calls import MultiInferenceCall, PredictCall
from sigrun.inference.context import INTERNAL
from sigrun.inference.warm_up import ClassifyCall, RegressCall, WarmUpCall
from sigrun.tensors.signature import DType
from sigrun.wire.tfrecord import framed
from sigrun.wire.warm_up_files import LINES_FILE, MAX_RECORDS, RECORDS_FILE, read_calls
from tests.fakes.servables import HALF_PLUS_TWO

CONTEXT = INTERNAL._replace(deadline=12.0)


def predict_log(signature: str = "") -> PredictionLog:
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "another"
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(TensorProto(dtype=DType.FLOAT.value, float_val=[1.0]))  # type: ignore[arg-type]
    request.inputs["x"].tensor_shape.dim.add(size=1)
    return log


def write(folder: Path, name: str, content: bytes) -> Path:
    (folder / "assets.extra").mkdir(exist_ok=True)
    path = folder / "assets.extra" / name
    path.write_bytes(content)
    return path


def write_logs(folder: Path, *logs: PredictionLog) -> Path:
    return write(folder, RECORDS_FILE, b"".join(framed(log.SerializeToString()) for log in logs))


def calls(folder: Path) -> list[WarmUpCall]:
    return list(read_calls(folder, CONTEXT))


def test_a_version_without_files_has_no_calls(tmp_path: Path) -> None:
    assert calls(tmp_path) == []


def test_every_kind_of_call_is_read_with_its_signature(tmp_path: Path) -> None:
    classify, regress, multi = PredictionLog(), PredictionLog(), PredictionLog()
    classify.classify_log.request.model_spec.signature_name = "c"
    classify.classify_log.request.input.example_list.examples.add()
    regress.regress_log.request.input.example_list.examples.add()
    multi.multi_inference_log.request.input.example_list.examples.add()
    multi.multi_inference_log.request.tasks.add(method_name="tensorflow/serving/classify")
    write_logs(tmp_path, predict_log("p"), classify, regress, multi)

    predict_call, classify_call, regress_call, multi_call = calls(tmp_path)

    assert isinstance(predict_call, PredictCall)
    assert (predict_call.spec.signature_name, predict_call.context) == ("p", CONTEXT)
    assert isinstance(classify_call, ClassifyCall)
    assert classify_call.call.spec.signature_name == "c"
    assert isinstance(regress_call, RegressCall)
    assert len(regress_call.call.examples) == 1
    assert isinstance(multi_call, MultiInferenceCall)


def test_a_record_without_a_call_is_passed_over(tmp_path: Path) -> None:
    write_logs(tmp_path, PredictionLog(), predict_log())

    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize(("kind", "number"), [("session_run_log", 5), ("predict_streamed_log", 7)])
def test_a_kind_that_is_not_served_is_named_by_its_number(
    tmp_path: Path, kind: str, number: int
) -> None:
    log = PredictionLog()
    getattr(log, kind).SetInParent()
    write_logs(tmp_path, log)

    with pytest.raises(Unimplemented, match=f"Unsupported log_type for warmup: {number}$"):
        calls(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (
            b"{}",
            DataLoss,
            r"truncated record at 0\. Please verify your warmup data is in TFRecord format\.$",
        ),
        (framed(b"\xff"), InvalidArgument, "Failed to parse warmup record: .* from /"),
    ],
)
def test_what_is_no_record_of_a_call_is_told_with_its_file(
    tmp_path: Path, content: bytes, kind: type[SigrunError], text: str
) -> None:
    write(tmp_path, RECORDS_FILE, content)

    with pytest.raises(kind, match=text):
        calls(tmp_path)


def test_there_are_a_thousand_records_at_most(tmp_path: Path) -> None:
    path = write_logs(tmp_path, *[predict_log()] * MAX_RECORDS)
    assert len(calls(tmp_path)) == 1000

    path.write_bytes(path.read_bytes() + framed(predict_log().SerializeToString()))

    with pytest.raises(InvalidArgument, match=r"exceeds the maximum \(1000\) at /"):
        calls(tmp_path)


def test_a_line_is_the_body_of_a_json_request(tmp_path: Path) -> None:
    write(
        tmp_path,
        LINES_FILE,
        b'{"signature_name": "serving_default", "instances": [1.0, 2.0]}\n\n'
        b'{"method": "classify", "examples": [{"age": 3}]}\n'
        b'{"method": "regress", "examples": [{"age": 3}]}',
    )

    predict, classify, regress = calls(tmp_path)

    assert isinstance(predict, PredictCall)
    assert not isinstance(predict.inputs, dict)
    bound = predict.inputs.bind(HALF_PLUS_TWO, keep_on)  # type: ignore[union-attr]
    np.testing.assert_array_equal(bound["x"], np.array([1, 2], np.float32))
    assert isinstance(classify, ClassifyCall)
    assert isinstance(regress, RegressCall)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"{", "Line 2 of .*: JSON Parse error"),
        (b'{"method": "train"}', 'Line 2 of .*"method" is one of predict, classify, regress'),
        (b'{"method": "classify"}', "Line 2 of .*'examples' is expected"),
    ],
)
def test_a_line_that_is_none_is_told_by_its_number(tmp_path: Path, line: bytes, text: str) -> None:
    write(tmp_path, LINES_FILE, b'{"instances": [1.0]}\n' + line)

    with pytest.raises(InvalidArgument, match=text):
        calls(tmp_path)
