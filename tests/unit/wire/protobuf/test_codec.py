"""Messages <-> calls and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun._gen.tensorflow.core.example.feature_pb2 import Feature, Features, Int64List
from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.protobuf.error_codes_pb2 import Code as ErrorCode
from sigrun._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from sigrun._gen.tensorflow_serving.apis import get_model_status_pb2
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    SignatureDefMap,
)
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import InferenceTask, MultiInferenceRequest
from sigrun._gen.tensorflow_serving.apis.input_pb2 import Input
from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec as ModelSpecProto
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.concurrency.offload import LOOP_BUDGET_S
from sigrun.concurrency.pace import keep_on
from sigrun.errors import Code, DataLoss, InvalidArgument
from sigrun.inference.calls import (
    Arrays,
    Classifications,
    ClassifyResult,
    Inputs,
    MetadataResult,
    ModelSpec,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.context import CallContext, Door
from sigrun.servables.servable import ServableId
from sigrun.servables.state import ServableState, State
from sigrun.tensors.signature import PREDICT_METHOD, Array, DType, Signature
from sigrun.wire.protobuf import codec, tensors
from tests.fakes.servables import HALF_PLUS_TWO

SPEC = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")
EXAMPLES = [
    Example(features=Features(feature={"age": Feature(int64_list=Int64List(value=[years]))}))
    for years in (7, 12)
]
SERIALIZED = [example.SerializeToString() for example in EXAMPLES]


def strings(*rows: list[bytes]) -> Any:
    return np.array(rows, object)


def floats(*values: Any) -> Any:
    return np.array(values, np.float32)


CONTEXT = CallContext(Door.GRPC, deadline=12.5)


def bind(inputs: Inputs, to: Signature) -> Mapping[str, Array]:
    assert not isinstance(inputs, Arrays)
    return inputs.bind(to, keep_on)


class TestModelSpec:
    def test_a_spec_is_read_whole(self) -> None:
        spec = ModelSpecProto(name="mnist", signature_name="classify")
        spec.version.value = 3

        assert codec.model_spec(spec) == ModelSpec(
            name="mnist", version=3, signature_name="classify"
        )

    def test_a_version_of_0_is_a_version(self) -> None:
        spec = ModelSpecProto(name="mnist")
        spec.version.SetInParent()

        assert codec.model_spec(spec).version == 0

    def test_no_version_is_none(self) -> None:
        assert codec.model_spec(ModelSpecProto(name="mnist")) == ModelSpec(name="mnist")

    def test_a_label_is_read(self) -> None:
        spec = codec.model_spec(ModelSpecProto(name="mnist", version_label="stable"))

        assert spec == ModelSpec(name="mnist", label="stable")

    def test_an_empty_label_is_a_label(self) -> None:
        assert codec.model_spec(ModelSpecProto(name="mnist", version_label="")).label == ""

    def test_of_version_and_label_the_last_on_the_wire_counts(self) -> None:
        labelled = ModelSpecProto(version_label="stable").SerializeToString()
        versioned = ModelSpecProto()
        versioned.version.value = 3

        spec = ModelSpecProto.FromString(labelled + versioned.SerializeToString())

        assert codec.model_spec(spec) == ModelSpec(name="", version=3)

    @pytest.mark.parametrize(
        "request_type",
        [
            PredictRequest,
            ClassificationRequest,
            RegressionRequest,
            GetModelMetadataRequest,
            GetModelStatusRequest,
        ],
    )
    def test_a_request_without_spec_is_refused(self, request_type: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"^Missing ModelSpec$"):
            codec.target(request_type())

    def test_an_empty_spec_is_a_spec(self) -> None:
        assert codec.target(PredictRequest(model_spec=ModelSpecProto())) == ModelSpec(name="")

    def test_an_answer_always_tells_its_version(self) -> None:
        spec = codec.resolved_spec(ResolvedSpec(name="mnist", version=0))

        assert spec.HasField("version")
        assert spec.WhichOneof("version_choice") == "version"
        assert (spec.name, spec.version.value, spec.signature_name) == ("mnist", 0, "")


class TestPredict:
    def test_a_request_is_read_whole(self) -> None:
        request = PredictRequest(
            model_spec=ModelSpecProto(name="mnist", signature_name="other"),
            inputs={"x": tensors.encode(floats(1.5, 2))},
            output_filter=["b", "a"],
        )

        call = codec.predict_call(request, CONTEXT)

        assert call.spec == ModelSpec(name="mnist", signature_name="other")
        assert call.output_filter == ("b", "a")
        assert call.context is CONTEXT
        inputs = bind(call.inputs, HALF_PLUS_TWO)
        assert inputs["x"].tolist() == [1.5, 2]

    def test_tensors_are_not_looked_at_before_the_signature_is_known(self) -> None:
        broken = TensorProto()
        call = codec.predict_call(
            PredictRequest(model_spec=ModelSpecProto(name="mnist"), inputs={"x": broken}), CONTEXT
        )

        with pytest.raises(InvalidArgument, match="tensor parsing error: x"):
            bind(call.inputs, HALF_PLUS_TWO)

    @pytest.mark.parametrize("as_content", [False, True])
    def test_an_answer_has_every_output_and_the_resolved_spec(self, as_content: bool) -> None:
        outputs = {"y": floats(1.5), "label": strings([b"a"])}

        response = codec.predict_response(
            PredictResult(spec=SPEC, outputs=outputs), as_content=as_content
        )

        assert response.model_spec == codec.resolved_spec(SPEC)
        assert set(response.outputs) == {"y", "label"}
        assert bool(response.outputs["y"].tensor_content) == as_content
        assert tensors.decode("y", response.outputs["y"]).tolist() == [1.5]
        assert tensors.decode("label", response.outputs["label"]).tolist() == [[b"a"]]


def input_of(**kind: Any) -> Input:
    message = Input()
    for name, fields in kind.items():
        getattr(message, name).SetInParent()
        for field, value in fields.items():
            part = getattr(getattr(message, name), field)
            if isinstance(value, list):
                part.extend(value)
            else:
                part.CopyFrom(value)
    return message


class TestCost:
    def test_it_counts_what_a_request_becomes(self) -> None:
        small = PredictRequest(model_spec=ModelSpecProto(name="m"))
        small.inputs["x"].float_val.append(1)
        small.inputs["x"].dtype = DType.FLOAT.value  # type: ignore[assignment]
        large = PredictRequest()
        large.CopyFrom(small)
        large.inputs["x"].tensor_shape.dim.add(size=1 << 22)

        of_small, of_large = (codec.predict_call(each, CONTEXT).inputs for each in (small, large))

        assert not isinstance(of_small, Arrays)
        assert not isinstance(of_large, Arrays)
        assert of_small.cost_s < LOOP_BUDGET_S < of_large.cost_s


class TestExamples:
    def test_examples_stay_the_bytes_they_are(self) -> None:
        examples = codec.serialized_examples(input_of(example_list={"examples": EXAMPLES}))

        assert examples.dtype == object
        assert examples.tolist() == SERIALIZED

    def test_unknown_fields_of_an_example_are_kept(self) -> None:
        unknown = b"\xa2\x06\x03abc"  # field 100
        example = Example.FromString(SERIALIZED[0] + unknown)

        examples = codec.serialized_examples(input_of(example_list={"examples": [example]}))

        assert sorted(examples[0]) == sorted(SERIALIZED[0] + unknown)

    def test_a_small_request_does_not_become_huge(self) -> None:
        example = Example(features=Features(feature={"f": Feature()}))
        context = Example(features=Features(feature={"f" * 3_000_000: Feature()}))
        message = Input()
        message.example_list_with_context.context.CopyFrom(context)
        message.example_list_with_context.examples.extend([example] * 100)

        with pytest.raises(InvalidArgument, match=r"bytes for each of 100 examples"):
            codec.serialized_examples(message)

    def test_a_context_comes_before_each_example_whose_own_features_win(self) -> None:
        context = Example(
            features=Features(
                feature={
                    "age": Feature(int64_list=Int64List(value=[99])),
                    "zip": Feature(int64_list=Int64List(value=[8000])),
                }
            )
        )

        examples = codec.serialized_examples(
            input_of(example_list_with_context={"examples": EXAMPLES, "context": context})
        )

        merged = [Example.FromString(example).features.feature for example in examples]
        assert [m["age"].int64_list.value[0] for m in merged] == [7, 12]
        assert [m["zip"].int64_list.value[0] for m in merged] == [8000, 8000]

    @pytest.mark.parametrize(
        "message",
        [
            Input(),
            input_of(example_list={}),
            input_of(example_list_with_context={}),
            input_of(example_list_with_context={"context": EXAMPLES[0]}),
        ],
        ids=["no kind", "no example", "no example and no context", "a context alone"],
    )
    def test_no_examples_are_an_empty_vector(self, message: Input) -> None:
        assert codec.serialized_examples(message).shape == (0,)

    def test_an_example_without_features_counts(self) -> None:
        examples = codec.serialized_examples(
            input_of(example_list={"examples": [Example(), Example()]})
        )

        assert examples.tolist() == [b"", b""]

    @pytest.mark.parametrize("request_type", [ClassificationRequest, RegressionRequest])
    def test_classify_and_regress_requests_are_read_alike(self, request_type: Any) -> None:
        request = request_type(
            model_spec=ModelSpecProto(name="mnist", version_label="stable"),
            input=input_of(example_list={"examples": EXAMPLES}),
        )

        call = codec.examples_call(request, CONTEXT)

        assert call.spec == ModelSpec(name="mnist", label="stable")
        assert call.examples.tolist() == SERIALIZED
        assert call.context is CONTEXT

    def test_a_multi_inference_request_is_read_whole(self) -> None:
        request = MultiInferenceRequest(
            tasks=[
                InferenceTask(model_spec=ModelSpecProto(name="m"), method_name="classify"),
                InferenceTask(method_name="regress"),
            ],
            input=input_of(example_list={"examples": EXAMPLES}),
        )

        call = codec.multi_inference_call(request, CONTEXT)

        assert [(task.spec.name, task.method_name) for task in call.tasks] == [
            ("m", "classify"),
            ("", "regress"),
        ]
        assert call.examples.tolist() == SERIALIZED


class TestAnswersToExamples:
    @pytest.mark.parametrize(
        ("labels", "scores", "expected"),
        [
            (
                strings([b"cat", b"dog"]),
                floats([0.75, 0.25]),
                [[("cat", 0.75), ("dog", 0.25)]],
            ),
            (None, floats([0.75], [0.25]), [[("", 0.75)], [("", 0.25)]]),
            (strings([b"cat"], ["Käse".encode()]), None, [[("cat", 0.0)], [("Käse", 0.0)]]),
            (None, np.zeros((2, 0), np.float32), [[], []]),
        ],
        ids=["both", "scores alone", "labels alone", "no class"],
    )
    def test_classes_are_given_in_the_models_order(
        self, labels: Any, scores: Any, expected: list[list[tuple[str, float]]]
    ) -> None:
        found = Classifications(labels=labels, scores=scores)

        response = codec.classification_response(ClassifyResult(spec=SPEC, classifications=found))

        assert response.model_spec == codec.resolved_spec(SPEC)
        assert [
            [(c.label, c.score) for c in row.classes] for row in response.result.classifications
        ] == expected

    def test_a_label_that_is_no_text_is_an_error(self) -> None:
        found = Classifications(labels=strings([b"\xff"]), scores=None)

        with pytest.raises(InvalidArgument, match="is not UTF-8"):
            codec.classification_response(ClassifyResult(spec=SPEC, classifications=found))

    def test_regressions_are_given_in_order(self) -> None:
        response = codec.regression_response(RegressResult(spec=SPEC, values=floats(1.5, np.inf)))

        assert response.model_spec == codec.resolved_spec(SPEC)
        assert [r.value for r in response.result.regressions] == [1.5, float("inf")]

    def test_each_task_has_its_own_result_and_spec(self) -> None:
        other = ResolvedSpec(name="mnist", version=3, signature_name="score")
        found = Classifications(labels=None, scores=floats([0.5]))

        response = codec.multi_inference_response(
            [
                RegressResult(spec=other, values=floats(2)),
                ClassifyResult(spec=SPEC, classifications=found),
            ]
        )

        assert [r.WhichOneof("result") for r in response.results] == [
            "regression_result",
            "classification_result",
        ]
        assert [r.model_spec.signature_name for r in response.results] == [
            "score",
            "serving_default",
        ]


class TestMetadata:
    def test_a_request_is_read_whole(self) -> None:
        call = codec.metadata_call(
            GetModelMetadataRequest(
                model_spec=ModelSpecProto(name="mnist"), metadata_field=["signature_def", "b"]
            ),
            CONTEXT,
        )

        assert call.spec == ModelSpec(name="mnist")
        assert (call.fields, call.context) == (("signature_def", "b"), CONTEXT)

    def test_signatures_are_answered_as_the_model_defines_them(self) -> None:
        definition = SignatureDef(method_name=PREDICT_METHOD)
        definition.inputs["x"].name = "x:0"
        signature = Signature(
            name="serving_default",
            method_name=PREDICT_METHOD,
            inputs={},
            outputs={},
            definition=definition.SerializeToString(),
        )

        response = codec.metadata_response(
            MetadataResult(
                spec=ResolvedSpec(name="mnist", version=3),
                signatures={"serving_default": signature},
            )
        )

        packed = response.metadata["signature_def"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        found = SignatureDefMap.FromString(packed.value)
        assert dict(found.signature_def) == {"serving_default": definition}
        assert response.model_spec.version.value == 3


class TestStatus:
    def test_states_are_given_in_the_order_they_come_in(self) -> None:
        states = {
            3: ServableState(ServableId("mnist", 3), State.LOADING),
            1: ServableState(ServableId("mnist", 1), State.AVAILABLE),
        }

        response = codec.status_response(states)

        assert [(s.version, s.state) for s in response.model_version_status] == [
            (3, get_model_status_pb2.ModelVersionStatus.LOADING),
            (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE),
        ]
        assert {s.status.error_code for s in response.model_version_status} == {0}
        assert {s.status.error_message for s in response.model_version_status} == {""}

    def test_a_version_that_failed_tells_why(self) -> None:
        error = DataLoss("the file is cut short")
        state = ServableState(ServableId("mnist", 3), State.END, error)

        (status,) = codec.status_response({3: state}).model_version_status

        assert status.state == get_model_status_pb2.ModelVersionStatus.END
        assert int(status.status.error_code) == Code.DATA_LOSS
        assert status.status.error_message == "the file is cut short"

    def test_a_note_is_a_message_without_an_error(self) -> None:
        state = ServableState(ServableId("mnist", 3), State.START, note="it is being written")

        (status,) = codec.status_response({3: state}).model_version_status

        assert int(status.status.error_code) == Code.OK
        assert status.status.error_message == "it is being written"

    @pytest.mark.parametrize("state", State, ids=lambda state: state.name)
    def test_states_go_by_the_contracts_names(self, state: State) -> None:
        (status,) = codec.status_response(
            {1: ServableState(ServableId("mnist", 1), state)}
        ).model_version_status

        names = get_model_status_pb2.ModelVersionStatus.State
        assert names.Name(status.state) == state.name

    @pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
    def test_codes_are_numbered_as_in_the_contract(self, code: Code) -> None:
        assert int(ErrorCode.Value(code.name)) == code
