"""Calls and results as a client has them: what it writes the server reads, and the reverse."""

from __future__ import annotations

import numpy as np
import pytest

from sigrun._gen.tensorflow.core.framework import types_pb2
from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import (
    Class,
    ClassificationRequest,
    ClassificationResponse,
    ClassificationResult,
)
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import (
    Classifications as ClassificationsProto,
)
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusResponse,
    ModelVersionStatus,
)
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictResponse
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.errors import DataLoss, Internal
from sigrun.inference.calls import (
    Classifications,
    ClassifyResult,
    ExamplesCall,
    MetadataCall,
    MetadataResult,
    ModelSpec,
    RegressResult,
    ResolvedSpec,
    StatusCall,
)
from sigrun.inference.context import INTERNAL
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State
from sigrun.tensors.signature import Array, DType
from sigrun.wire.protobuf import client_codec, codec
from tests.arrays import assert_same
from tests.fakes.servables import signature

SPEC = ModelSpec(name="mnist", version=3, signature_name="serving_default")
RESOLVED = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")


def examples(*values: bytes) -> Array:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(name=""),
        ModelSpec(name="mnist"),
        ModelSpec(name="mnist", version=0),
        ModelSpec(name="mnist", version=2**40, signature_name="classify"),
        ModelSpec(name="mnist", label="stable"),
        ModelSpec(name="mnist", label=""),
    ],
)
def test_a_model_spec_comes_back(spec: ModelSpec) -> None:
    assert codec.model_spec(client_codec.model_spec(spec)) == spec


@pytest.mark.parametrize("kind", [ClassificationRequest, RegressionRequest])
def test_examples_come_back_as_they_were(
    kind: type[ClassificationRequest | RegressionRequest],
) -> None:
    call = ExamplesCall(spec=SPEC, examples=examples(b"\x0a\x00", b""), context=INTERNAL)

    read = codec.examples_call(kind.FromString(client_codec.examples_request(kind, call)), INTERNAL)

    assert read.spec == SPEC
    assert_same(read.examples, call.examples)


def test_classes_come_back() -> None:
    labels = np.array([[b"cat", b"dog"], [b"", "käfer".encode()]], object)
    scores = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    result = ClassifyResult(
        spec=RESOLVED, classifications=Classifications(labels=labels, scores=scores)
    )

    read = client_codec.classify_result(codec.classification_response(result))

    assert read.spec == RESOLVED
    assert read.classifications.labels is not None
    assert read.classifications.scores is not None
    assert_same(read.classifications.labels, labels)
    assert_same(read.classifications.scores, scores)


@pytest.mark.parametrize("shape", [(2, 0), (0, 0)])
def test_no_classes_come_back_as_none(shape: tuple[int, int]) -> None:
    result = ClassificationResult(classifications=[ClassificationsProto() for _ in range(shape[0])])

    found = client_codec.classify_result(ClassificationResponse(result=result)).classifications

    assert found.labels is not None
    assert found.scores is not None
    assert (found.labels.shape, found.scores.shape) == (shape, shape)


def test_more_classes_for_some_examples_are_the_servers_fault() -> None:
    result = ClassificationResult(
        classifications=[
            ClassificationsProto(classes=[Class(label="a")]),
            ClassificationsProto(),
        ]
    )

    with pytest.raises(Internal, match="more classes for some examples"):
        client_codec.classify_result(ClassificationResponse(result=result))


def test_values_come_back() -> None:
    result = RegressResult(spec=RESOLVED, values=np.array([1.5, -2.0], np.float32))

    read = client_codec.regress_result(codec.regression_response(result))

    assert read.spec == RESOLVED
    assert_same(read.values, result.values)


def test_a_request_for_metadata_is_read_as_it_was_meant() -> None:
    call = MetadataCall(spec=SPEC, fields=("signature_def",), context=INTERNAL)

    assert codec.metadata_call(client_codec.metadata_request(call), INTERNAL) == call


def test_signatures_come_back_with_their_defaults() -> None:
    served = signature(
        {"x": DType.FLOAT, "y": DType.STRING},
        {"z": DType.BFLOAT16},
        name="classify",
        defaults={"x": np.full(1, 10, np.float32)},
    )
    result = MetadataResult(spec=RESOLVED, signatures={"classify": served})

    read = client_codec.metadata_result(codec.metadata_response(result))

    found = read.signatures["classify"]
    assert read.spec == RESOLVED
    assert (found.name, found.method_name) == (served.name, served.method_name)
    assert (found.inputs, found.outputs) == (served.inputs, served.outputs)
    assert found.definition == served.definition
    assert_same(found.defaults["x"], served.defaults["x"])


def test_an_answer_without_signatures_has_none() -> None:
    assert client_codec.metadata_result(GetModelMetadataResponse()).signatures == {}


def test_states_come_back_with_their_errors() -> None:
    states = {
        2: ServableState(ServableId("mnist", 2), State.END, DataLoss("a bad disk")),
        1: ServableState(ServableId("mnist", 1), State.AVAILABLE, note="overwritten"),
    }

    read = client_codec.states("mnist", codec.status_response(states))

    assert list(read) == [2, 1]
    assert read[1] == states[1]
    assert (read[2].state, type(read[2].error), str(read[2].error)) == (
        State.END,
        DataLoss,
        "a bad disk",
    )


def test_a_state_that_there_is_not_is_the_servers_fault() -> None:
    response = GetModelStatusResponse(model_version_status=[ModelVersionStatus(version=1)])

    with pytest.raises(Internal, match="unknown state 0"):
        client_codec.states("mnist", response)


def test_a_request_for_the_status_names_the_version() -> None:
    request = client_codec.status_request(
        StatusCall(spec=ModelSpec(name="mnist", version=3), context=INTERNAL)
    )

    assert codec.target(request) == ModelSpec(name="mnist", version=3)


def test_a_broken_tensor_in_an_answer_is_the_servers_fault() -> None:
    response = PredictResponse(
        outputs={"y": TensorProto(dtype=types_pb2.DT_FLOAT, tensor_content=b"123")}
    )

    with pytest.raises(Internal, match="The server upstream answered with a broken tensor"):
        client_codec.predict_result(response)
