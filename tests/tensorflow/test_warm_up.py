"""Warm-up of real models by a whole server: what is beside them, and what is made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.config.batching import BatchingOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig
from sigrun.config.warm_up import WarmUpOptions
from sigrun.server import ModelServer
from sigrun.wire.tfrecord import read_records
from tests.conftest import MakeBasePath

pytestmark = [pytest.mark.tensorflow, pytest.mark.asyncio]


async def outcome(
    base_path: Path, warm_up: WarmUpOptions, batching: BatchingOptions | None = None
) -> str:
    """Serve the model; return the state of version 1 and its error."""
    server = ModelServer(
        ServerConfig(
            models=ModelSet((ModelConfig(name="model", base_path=str(base_path)),)),
            grpc=GrpcOptions(host="127.0.0.1", port=0),
            http=HttpOptions(port=None),
            batching=batching,
            warm_up=warm_up,
        )
    )
    try:
        await server.start()
        metrics = server._metrics.text().decode()
        line = next((x for x in metrics.splitlines() if "warmup_records_read{" in x), "none")
        return line.rpartition(" ")[2]
    except Exception as error:
        return str(error)
    finally:
        await server.stop(0)


async def test_records_that_tensorflow_wrote_are_run_through_batching(
    make_base_path: MakeBasePath,
) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    base_path = make_base_path({1: "half_plus_two"})
    (base_path / "1" / "assets.extra").mkdir(exist_ok=True)
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0], [2.0]], tf.float32))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    path = base_path / "1" / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())
        writer.write(log.SerializeToString())
    with path.open("rb") as file:
        assert len(list(read_records(file))) == 2

    said = await outcome(base_path, WarmUpOptions(), BatchingOptions(allowed_batch_rows=(4, 1000)))

    assert said == "2.0"


async def test_a_request_that_the_model_refuses_keeps_its_version_from_being_served(
    make_base_path: MakeBasePath,
) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    (base_path / "1" / "assets.extra").mkdir(exist_ok=True)
    (base_path / "1" / "assets.extra" / "warmup_requests.jsonl").write_text(
        '{"instances": [[1.0]]}\n{"signature_name": "gone", "instances": [1.0]}\n'
    )

    said = await outcome(base_path, WarmUpOptions())

    assert 'Warm-up of model:1 failed at request 2: Serving signature key "gone"' in said


@pytest.mark.parametrize("kind", ["half_plus_two"])
async def test_made_up_requests_run_at_each_batch_size(
    make_base_path: MakeBasePath, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    said = await outcome(
        make_base_path({1: kind}),
        WarmUpOptions(synthesizes=True),
        BatchingOptions(allowed_batch_rows=(2, 8), max_batch_rows=8),
    )

    assert said == "none"
    assert any("requests that were made up" in record.getMessage() for record in caplog.records)
