"""The client works in one process with TensorFlow and tensorflow-serving-api."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conformance.conftest import REPOSITORY, Addresses

CLIENT = "from sigrun_client import Client"
OTHERS = "import tensorflow as tf; from tensorflow_serving.apis import predict_pb2"
ASK = """
import sys, grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

request = predict_pb2.PredictRequest()
request.model_spec.name = "half_plus_two"
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    theirs = tf.make_ndarray(stub.Predict(request, 20).outputs["y"])
example = tf.train.Example()
example.features.feature["x"].float_list.value.extend([1.0, 2.0])
with Client(sys.argv[1]) as client:
    assert client.predict("half_plus_two", {"x": [1.0, 2.0]})["y"].tolist() == theirs.tolist()
    assert client.predict("half_plus_two", {"x": tf.constant([1.0])})["y"].tolist() == [3.5]
    assert client.regress("multi_head", [example], signature="regress").values.tolist() == [5.0]
"""


@pytest.mark.parametrize(
    "imports", [(CLIENT, OTHERS), (OTHERS, CLIENT)], ids=["client first", "tensorflow first"]
)
def test_both_clients_ask_from_one_process(
    conformance_server: Addresses, imports: tuple[str, str]
) -> None:
    path = REPOSITORY / "clients" / "python"
    result = subprocess.run(
        [sys.executable, "-c", "\n".join([*imports, ASK]), conformance_server.grpc],
        env=os.environ | {"PYTHONPATH": str(path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
