"""A client built on PyPI's tensorflow-serving-api gets the right answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from tests.e2e.process import RunningServer

tf = pytest.importorskip("tensorflow")
from tensorflow_serving.apis import (  # noqa: E402
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

TIMEOUT_S = 20


@pytest.fixture
def channel(model_server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(model_server.grpc_address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def example(**features: float) -> Any:
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
                for name, value in features.items()
            }
        )
    )


def test_predict_answers_in_the_typed_field_with_the_version_and_the_signature(stub: Any) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0, 5.0]))

    response = stub.Predict(request, TIMEOUT_S)

    assert list(response.outputs["y"].float_val) == [2.5, 3.0, 4.5]
    assert response.outputs["y"].tensor_content == b""
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"


def test_predict_takes_several_inputs_and_an_output_filter(stub: Any) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half_plus_two"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[4.0]], np.float32)))
    request.output_filter.append("y")

    response = stub.Predict(request, TIMEOUT_S)

    assert tf.make_ndarray(response.outputs["y"]).tolist() == [[4.0]]


def test_classify_answers_the_scores_of_each_example(stub: Any) -> None:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify_x_to_y"
    request.input.example_list.examples.extend([example(x=2.0), example(x=4.0)])

    response = stub.Classify(request, TIMEOUT_S)

    scores = [c.classes[0].score for c in response.result.classifications]
    assert scores == [3.0, 4.0]


def test_regress_lets_the_context_supply_what_an_example_leaves_out(stub: Any) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "regress_x_to_y"
    given = request.input.example_list_with_context
    given.context.CopyFrom(example(x=10.0))
    given.examples.extend([example(), example(x=2.0)])

    response = stub.Regress(request, TIMEOUT_S)

    assert [r.value for r in response.result.regressions] == [7.0, 3.0]


def test_multi_inference_answers_every_task_in_order(stub: Any) -> None:
    request = inference_pb2.MultiInferenceRequest()
    for signature_name, method in (("classify_x_to_y", "classify"), ("regress_x_to_y2", "regress")):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = "half_plus_two"
        task.model_spec.signature_name = signature_name
    request.input.example_list.examples.append(example(x=2.0))

    classified, regressed = stub.MultiInference(request, TIMEOUT_S).results

    assert classified.classification_result.classifications[0].classes[0].score == 3.0
    assert regressed.regression_result.regressions[0].value == 4.0
    assert regressed.model_spec.signature_name == "regress_x_to_y2"


def test_metadata_holds_every_signature_of_the_model(stub: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_two"

    response = stub.GetModelMetadata(request, TIMEOUT_S)

    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    serving_default = signatures.signature_def["serving_default"]
    assert serving_default.inputs["x"].dtype == tf.float32.as_datatype_enum
    assert serving_default.method_name == "tensorflow/serving/predict"
    assert "regress_x_to_y" in signatures.signature_def


def test_status_says_that_the_version_is_available(channel: grpc.Channel) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"

    (status,) = stub.GetModelStatus(request, TIMEOUT_S).model_version_status

    assert (status.version, status.state) == (1, status.AVAILABLE)
    assert status.status.error_code == 0


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (None, "Servable not found for request: Latest(nobody)"),
        (7, "Servable not found for request: Specific(nobody, 7)"),
    ],
)
def test_a_model_that_is_not_there_is_not_found(stub: Any, version: int | None, text: str) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "nobody"
    if version is not None:
        request.model_spec.version.value = version

    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request, TIMEOUT_S)

    code, details = caught.value.code(), caught.value.details()
    # TensorFlow Serving's text, as clients match it, then what there is instead.
    served = "half_plus_two, module, multi_head, run_time_errors, slow"
    there_is = f"there is no model nobody, this server has models {served}"
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, f"{text}; {there_is}")
