"""What a server logs of its requests can be sent again, and is answered the same."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import (
    InferenceTask,
    MultiInferenceRequest,
)
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.config.models import ModelSet
from sigrun.config.request_log import LogKind, RequestLogging
from sigrun.config.server import HttpOptions
from sigrun.tensors.signature import CLASSIFY_METHOD, REGRESS_METHOD
from sigrun_client import _replay
from sigrun_client._cli import main
from sigrun_client._errors import InvalidInput
from sigrun_client._gen.tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tests.fakes.servables import FakeServable
from tests.wire.clients import NAME, input_of, spec_of
from tests.wire.model import SIGNATURES, compute
from tests.wire.rig import HOST, Rig

KINDS = [
    "Predict",
    "Predict",
    "Predict",
    "Classify",
    "Regress",
    "MultiInference",
]


async def log_requests(rig: Rig, folder: Path, kind: LogKind) -> Path:
    """Ask a server in every way that is logged, and return the file of its log."""
    logging = RequestLogging(
        filename_prefix=str(folder / "requests"), sampling_rate=1.0, kind=kind, logs_origin=True
    )
    client = await rig.start(
        models=ModelSet((rig.model(logging=logging),)), http=HttpOptions(host=HOST, port=0)
    )
    await client.predict(1.0, 2.5)
    http = rig.http()
    await http.post(f"/v1/models/{NAME}:predict", json={"instances": [1.5, 2.0]})
    await http.post(
        f"/v1/models/{NAME}:predict",
        json={"signature_name": "echo", "inputs": {"text": ["grün", "x"]}},
    )
    await http.post(f"/v1/models/{NAME}:predict", json={"instances": ["wrong"]})
    texts = input_of("a", "bcd")
    await client.call(ClassificationRequest(model_spec=spec_of(signature="classify"), input=texts))
    await client.call(RegressionRequest(model_spec=spec_of(signature="regress"), input=texts))
    tasks = [
        InferenceTask(model_spec=spec_of(signature="classify"), method_name=CLASSIFY_METHOD),
        InferenceTask(model_spec=spec_of(signature="regress"), method_name=REGRESS_METHOD),
    ]
    await client.call(MultiInferenceRequest(tasks=tasks, input=texts))
    await rig.stop()
    (file,) = await asyncio.to_thread(lambda: [*folder.iterdir()])
    return file


async def replay(rig: Rig, *words: str) -> int:
    server = f"--server={HOST}:{rig.server.grpc.port}"
    return await asyncio.to_thread(main, ["replay", server, *words])


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", LogKind, ids=lambda kind: kind.value)
async def test_what_was_logged_is_answered_the_same(
    kind: LogKind, rig: Rig, other_rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = await log_requests(rig, tmp_path / "log", kind)
    await other_rig.start()

    status = await replay(other_rig, str(file))

    with file.open("rb") as opened:
        assert [one.method for one in _replay.recorded(opened)] == KINDS
    assert (status, capsys.readouterr().out) == (0, "6 requests: 0 differences, 0 failed\n")


@pytest.mark.asyncio
async def test_what_is_answered_in_another_way_is_told(
    rig: Rig, other_rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = await log_requests(rig, tmp_path / "log", LogKind.TF_RECORD)
    other_rig.servables[f"{NAME}:1"] = FakeServable(
        SIGNATURES, lambda inputs: {n: a + a for n, a in compute(inputs).items()}
    )
    await other_rig.start()

    status = await replay(other_rig, str(file), "--requests=1", "--json")

    shown = capsys.readouterr()
    assert status == 1
    assert json.loads(shown.out) == {
        "sent": 1,
        "different": 1,
        "failed": 0,
        "without_answer": 0,
    }
    assert "request 1 (Predict): y differs in 2 of 2 elements, first at [0]: 5.0" in shown.err
    assert await replay(other_rig, str(file), "--requests=1", "--model=nothing") == 1
    assert "NOT_FOUND" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_a_record_says_what_answered_whom_and_when(rig: Rig, tmp_path: Path) -> None:
    file = await log_requests(rig, tmp_path / "log", LogKind.JSON_LINES)

    first = json.loads(file.read_text().splitlines()[0])

    metadata = first["log_metadata"]
    assert metadata["model_spec"]["version"] == "1"
    assert metadata["sampling_config"] == {"sampling_rate": 1.0}
    assert HOST in metadata["request_origin"]
    assert int(metadata["timestamp_secs"]) > 1_600_000_000
    assert first["predict_log"]["request"]["inputs"]["x"]["float_val"] == [1.0, 2.5]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"short", "record 1 is cut short"),
        (b"no such file at all", "record 1: this is no TFRecord file of PredictionLog"),
        (b'{"predict_logs": {}}', "line 1: "),
    ],
    ids=["short", "another file", "another object"],
)
def test_a_file_that_is_none_is_refused(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)

    with (tmp_path / "file").open("rb") as file, pytest.raises(InvalidInput, match=text):
        list(_replay.recorded(file))


def test_a_warm_up_file_has_no_answers_to_compare() -> None:
    request = PredictionLog()
    request.predict_log.request.model_spec.name = "m"
    recorded = _replay.Recorded("Predict", b"", None)

    assert _replay.differences(recorded, b"whatever", rtol=0) == []
