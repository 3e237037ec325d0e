"""Inference over gRPC: what is answered, and every text of a refusal."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    SignatureDefMap,
)
from sigrun._gen.tensorflow_serving.apis.inference_pb2 import InferenceTask, MultiInferenceRequest
from sigrun._gen.tensorflow_serving.apis.input_pb2 import ExampleListWithContext, Input
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.config.models import ModelSet
from sigrun.config.server import GrpcOptions
from sigrun.errors import Code, error_for
from sigrun.servables.state import State
from sigrun.tensors.signature import CLASSIFY_METHOD, PREDICT_METHOD, REGRESS_METHOD, DType
from sigrun.wire.protobuf import tensors
from tests.fakes.servables import FakeServable, signature
from tests.wire.clients import (
    METHODS,
    NAME,
    GrpcClient,
    examples_of,
    failure,
    input_of,
    predict_request,
    sizes_of,
    soon,
    spec_of,
)
from tests.wire.model import SIGNATURES, FailingServable
from tests.wire.rig import HOST, Rig

pytestmark = pytest.mark.asyncio


def floats(*values: float) -> TensorProto:
    return tensors.encode(np.array(values, np.float32))


def values_of(tensor: TensorProto) -> Any:
    return tensors.decode("", tensor).tolist()


class TestPredict:
    async def test_the_answer_has_the_outputs_and_the_resolved_spec(self, rig: Rig) -> None:
        client = await rig.start(3)

        answer = await client.predict(1, 2, 5)

        assert answer.model_spec == spec_of(version=3, signature="serving_default")
        assert list(answer.outputs) == ["y"]
        assert answer.outputs["y"] == floats(2.5, 3.0, 4.5)

    @pytest.mark.parametrize(
        ("spec", "version"),
        [({}, 2), ({"version": 1}, 1), ({"version": 2}, 2), ({"label": "stable"}, 1)],
        ids=str,
    )
    async def test_the_spec_chooses_the_version(
        self, rig: Rig, spec: dict[str, Any], version: int
    ) -> None:
        rig.add_version(1)
        rig.add_version(2)
        await rig.build(models=ModelSet((rig.model(version_labels={"stable": 1}),))).start()

        answer = await rig.client().predict(1, **spec)

        assert answer.model_spec.WhichOneof("version_choice") == "version"
        assert answer.model_spec.version.value == version

    async def test_an_output_filter_leaves_only_what_it_names(self, rig: Rig) -> None:
        client = await rig.start()
        request = PredictRequest(
            model_spec=spec_of(signature="two"), inputs={"a": floats(2), "b": floats(3)}
        )

        everything = await client.call(request)
        request.output_filter.append("product")
        filtered = await client.call(request)

        assert {alias: values_of(t) for alias, t in everything.outputs.items()} == {
            "sum": [5],
            "product": [6],
        }
        assert {alias: values_of(t) for alias, t in filtered.outputs.items()} == {"product": [6]}
        assert rig.servable().runs[-1][2] == ("product",)

    async def test_an_input_with_a_default_may_be_left_out(self, rig: Rig) -> None:
        client = await rig.start()

        answer = await client.call(
            PredictRequest(model_spec=spec_of(signature="optional"), inputs={"a": floats(2)})
        )

        assert values_of(answer.outputs["sum"]) == [12]

    async def test_strings_come_back_as_they_are(self, rig: Rig) -> None:
        client = await rig.start()
        text = np.array([b"\xff\0", b"", "ä".encode()], object)

        answer = await client.call(
            PredictRequest(
                model_spec=spec_of(signature="echo"), inputs={"text": tensors.encode(text)}
            )
        )

        assert list(answer.outputs["text"].string_val) == text.tolist()

    async def test_outputs_go_into_content_where_that_is_configured(self, rig: Rig) -> None:
        options = GrpcOptions(host=HOST, port=0, outputs_as_tensor_content=True)
        client = await rig.start(grpc=options)

        answer = await client.predict(1)

        assert answer.outputs["y"].tensor_content == np.float32(2.5).tobytes()
        assert not answer.outputs["y"].float_val

    async def test_an_empty_batch_goes_to_the_model(self, rig: Rig) -> None:
        client = await rig.start()

        answer = await client.predict()

        assert answer.outputs["y"] == floats()

    async def test_what_the_server_does_not_use_is_ignored(self, rig: Rig) -> None:
        client = await rig.start()
        request = predict_request(1)
        request.client_id = b"someone"
        request.predict_streamed_options.return_single_response = True
        body = request.SerializeToString() + b"\xa2\x06\x03abc"  # field 100, of the future

        answer = await client.send(METHODS[PredictRequest][0], body)

        assert METHODS[PredictRequest][1].FromString(answer).outputs["y"] == floats(2.5)

    async def test_a_message_of_20_megabytes_passes_both_ways(self, rig: Rig) -> None:
        client = await rig.start()
        blob = np.array([b"x" * 20_000_000], object)

        answer = await client.call(
            PredictRequest(
                model_spec=spec_of(signature="echo"), inputs={"text": tensors.encode(blob)}
            )
        )

        assert answer.outputs["text"].string_val[0] == blob[0]


def two(**inputs: TensorProto) -> PredictRequest:
    return PredictRequest(model_spec=spec_of(signature="two"), inputs=inputs)


def filtered(*aliases: str) -> PredictRequest:
    request = two(a=floats(1), b=floats(1))
    request.output_filter.extend(aliases)
    return request


def with_x(tensor: TensorProto) -> PredictRequest:
    return PredictRequest(model_spec=spec_of(), inputs={"x": tensor})


NO_OTHER = "; there is no model other, this server has model half_plus_two"
PREDICT_REFUSALS: dict[str, tuple[PredictRequest, str, str]] = {
    "no spec": (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no name": (
        PredictRequest(model_spec=spec_of("")),
        "INVALID_ARGUMENT",
        "ModelSpec has no name specified.",
    ),
    "an unknown model": (
        predict_request(1, name="other"),
        "NOT_FOUND",
        (
            "Servable not found for request: Latest(other)"
            "; there is no model other, this server has model half_plus_two"
        ),
    ),
    "an unknown version": (
        predict_request(1, version=9),
        "NOT_FOUND",
        ("Servable not found for request: Specific(half_plus_two, 9); half_plus_two has version 1"),
    ),
    "version 0": (
        predict_request(1, version=0),
        "NOT_FOUND",
        ("Servable not found for request: Specific(half_plus_two, 0); half_plus_two has version 1"),
    ),
    "a negative version": (
        predict_request(1, version=-1),
        "NOT_FOUND",
        (
            "Servable not found for request: Specific(half_plus_two, -1)"
            "; half_plus_two has version 1"
        ),
    ),
    "an unknown label": (
        predict_request(1, label="canary"),
        "INVALID_ARGUMENT",
        ("Unrecognized servable version label: canary; half_plus_two has no labels"),
    ),
    "an unknown signature": (
        predict_request(1, signature="other"),
        "FAILED_PRECONDITION",
        'Serving signature key "other" not found.',
    ),
    "no inputs": (
        two(),
        "INVALID_ARGUMENT",
        (
            "input size does not match signature: 0!=2 len({}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {a,b}."
        ),
    ),
    "too few inputs": (
        two(a=floats(1)),
        "INVALID_ARGUMENT",
        (
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}."
        ),
    ),
    "too many inputs": (
        two(a=floats(1), b=floats(1), z=floats(1)),
        "INVALID_ARGUMENT",
        (
            "input size does not match signature: 3!=2 len({a,b,z}) != len({a,b}). "
            "Sent extra: {z}. Missing but required: {}."
        ),
    ),
    "another input": (
        two(a=floats(1), z=floats(1)),
        "INVALID_ARGUMENT",
        (
            "Signature input alias: b(feed name: b:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {a,b}, or default input alias set: {}. "
            "Inputs of the request: {a,z}"
        ),
    ),
    "another input where one has a default": (
        PredictRequest(
            model_spec=spec_of(signature="optional"), inputs={"a": floats(1), "z": floats(1)}
        ),
        "INVALID_ARGUMENT",
        "Inputs contains invalid name. Used request inputs: {a}, request input: {a,z}",
    ),
    "a tensor of unknown rank": (
        with_x(TensorProto(dtype=1, tensor_shape=TensorShapeProto(unknown_rank=True))),  # type: ignore[arg-type]
        "INVALID_ARGUMENT",
        "tensor parsing error: x: its shape has an unknown rank",
    ),
    "a tensor without dtype": (
        with_x(TensorProto()),
        "INVALID_ARGUMENT",
        "tensor parsing error: x: element type 0 is not served",
    ),
    "a tensor of another dtype": (
        with_x(tensors.encode(np.array([1], np.int64))),
        "INVALID_ARGUMENT",
        (
            "Input 'x' of signature 'serving_default' expects DT_FLOAT [?], "
            "but the request has DT_INT64 [1]"
        ),
    ),
    "an unknown output": (
        filtered("sum", "mean"),
        "INVALID_ARGUMENT",
        (
            "output tensor alias not found in signature: mean "
            "Outputs expected to be in the set {product,sum}."
        ),
    ),
    "a tensor's name for an output": (
        filtered("sum:0"),
        "INVALID_ARGUMENT",
        (
            "output tensor alias not found in signature: sum:0 "
            "Outputs expected to be in the set {product,sum}."
        ),
    ),
    "an output twice": (
        filtered("sum", "sum"),
        "INVALID_ARGUMENT",
        "duplicate output tensor alias: sum",
    ),
}


async def test_every_predict_request_that_does_not_fit_is_refused_with_its_text(rig: Rig) -> None:
    client = await rig.start()

    told = {case: await failure(client.call(r)) for case, (r, _, _) in PREDICT_REFUSALS.items()}

    assert told == {case: (code, text) for case, (_, code, text) in PREDICT_REFUSALS.items()}
    assert rig.servable().runs == []


class TestClassifyAndRegress:
    async def test_classes_have_labels_and_scores(self, rig: Rig) -> None:
        client = await rig.start(3)

        answer = await client.call(
            ClassificationRequest(
                model_spec=spec_of(signature="classify"), input=input_of("a", "abc")
            )
        )

        assert answer.model_spec == spec_of(version=3, signature="classify")
        assert [
            [(c.label, c.score) for c in row.classes] for row in answer.result.classifications
        ] == [[("length", size)] for size in sizes_of("a", "abc")]

    async def test_regressions_have_a_value_per_example(self, rig: Rig) -> None:
        client = await rig.start(3)

        answer = await client.call(
            RegressionRequest(model_spec=spec_of(signature="regress"), input=input_of("a", "abc"))
        )

        assert answer.model_spec == spec_of(version=3, signature="regress")
        assert [r.value for r in answer.result.regressions] == sizes_of("a", "abc")

    async def test_a_context_is_put_before_each_example(self, rig: Rig) -> None:
        client = await rig.start()
        given = ExampleListWithContext(
            examples=examples_of("a", "abc"), context=examples_of("context")[0]
        )

        answer = await client.call(
            RegressionRequest(
                model_spec=spec_of(signature="regress"),
                input=Input(example_list_with_context=given),
            )
        )

        (context_size,) = sizes_of("context")
        assert [r.value for r in answer.result.regressions] == [
            context_size + size for size in sizes_of("a", "abc")
        ]


def classify(**spec: Any) -> ClassificationRequest:
    return ClassificationRequest(model_spec=spec_of(**spec), input=input_of("a"))


def regress(**spec: Any) -> RegressionRequest:
    return RegressionRequest(model_spec=spec_of(**spec), input=input_of("a"))


CONTEXT_ALONE = Input(
    example_list_with_context=ExampleListWithContext(context=examples_of("context")[0])
)
# The text is the whole of it, or what it begins with where it goes on to describe a signature.
EXAMPLES_REFUSALS: dict[str, tuple[ClassificationRequest | RegressionRequest, str, str]] = {
    "no spec": (ClassificationRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no spec to regress": (RegressionRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "no name": (classify(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "an unknown model": (
        regress(name="other"),
        "NOT_FOUND",
        "Servable not found for request: Latest(other)",
    ),
    "an unknown signature": (
        classify(signature="other"),
        "INVALID_ARGUMENT",
        "No signature was found with the name: other",
    ),
    "an unknown signature to regress": (
        regress(signature="other"),
        "INVALID_ARGUMENT",
        "No signature was found with the name: other",
    ),
    "a predict signature": (
        classify(),
        "INVALID_ARGUMENT",
        "No classification inputs found in SignatureDef: ",
    ),
    "a predict signature to regress": (
        regress(),
        "INVALID_ARGUMENT",
        "No regression inputs found in SignatureDef: ",
    ),
    "two inputs": (classify(signature="two"), "INVALID_ARGUMENT", "Expected one input Tensor."),
    "two inputs to regress": (
        regress(signature="two"),
        "INVALID_ARGUMENT",
        "Expected one input Tensor.",
    ),
    "a regress signature to classify": (
        classify(signature="regress"),
        "INVALID_ARGUMENT",
        (
            'Expected classification signature outputs to contain at least one of "classes" or '
            '"scores". Signature was: '
        ),
    ),
    "a classify signature to regress": (
        regress(signature="classify"),
        "INVALID_ARGUMENT",
        "Expected one output Tensor.",
    ),
    "no input": (
        ClassificationRequest(model_spec=spec_of(signature="classify")),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "no example": (
        RegressionRequest(model_spec=spec_of(signature="regress"), input=input_of()),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "a context alone": (
        RegressionRequest(model_spec=spec_of(signature="regress"), input=CONTEXT_ALONE),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
}


async def test_every_request_with_examples_that_does_not_fit_is_refused_with_its_text(
    rig: Rig,
) -> None:
    client = await rig.start()

    for case, (request, code, text) in EXAMPLES_REFUSALS.items():
        told_code, told = await failure(client.call(request))
        assert (case, told_code, told[: len(text)]) == (case, code, text)
    assert rig.servable().runs == []


OUTPUT_REFUSALS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "classes in a vector": (
        classify(signature="classify"),
        {"classes": np.array([b"a"], object), "scores": np.zeros((1, 1), np.float32)},
        "Expected Tensor shape: [batch_size num_classes] but got [1]",
    ),
    "classes that are numbers": (
        classify(signature="classify"),
        {"classes": np.zeros((1, 1), np.int64), "scores": np.zeros((1, 1), np.float32)},
        "Expected classes Tensor of DT_STRING. Got: DT_INT64",
    ),
    "classes of another batch size": (
        classify(signature="classify"),
        {"classes": np.full((2, 1), b"a", object), "scores": np.zeros((1, 1), np.float32)},
        "Expected classes output batch size of 1. Got: 2",
    ),
    "scores that are doubles": (
        classify(signature="classify"),
        {"classes": np.full((1, 1), b"a", object), "scores": np.zeros((1, 1))},
        "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    ),
    "scores of another batch size": (
        classify(signature="classify"),
        {"classes": np.full((1, 1), b"a", object), "scores": np.zeros((2, 1), np.float32)},
        "Expected scores output batch size of 1. Got: 2",
    ),
    "more scores than classes": (
        classify(signature="classify"),
        {"classes": np.full((1, 1), b"a", object), "scores": np.zeros((1, 2), np.float32)},
        "Tensors class and score should match in dim_size(1). Got 1 vs. 2",
    ),
    "regressions in a matrix": (
        regress(signature="regress"),
        {"outputs": np.zeros((1, 2), np.float32)},
        "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]",
    ),
    "regressions of another batch size": (
        regress(signature="regress"),
        {"outputs": np.zeros(3, np.float32)},
        "Input batch size did not match output batch size: 1 vs. 3",
    ),
    "regressions that are doubles": (
        regress(signature="regress"),
        {"outputs": np.zeros(1)},
        "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
    ),
}


@pytest.mark.parametrize(
    ("request_", "outputs", "text"), OUTPUT_REFUSALS.values(), ids=OUTPUT_REFUSALS
)
async def test_outputs_that_are_no_classes_or_regressions_are_refused_with_their_text(
    rig: Rig, request_: Any, outputs: dict[str, Any], text: str
) -> None:
    rig.servables[f"{NAME}:1"] = FakeServable(SIGNATURES, lambda _: outputs)
    client = await rig.start()

    assert await failure(client.call(request_)) == ("INVALID_ARGUMENT", text)


def tasks(*signatures_and_methods: tuple[str, str], name: str = NAME) -> MultiInferenceRequest:
    return MultiInferenceRequest(
        tasks=[
            InferenceTask(model_spec=spec_of(name, signature=signature), method_name=method)
            for signature, method in signatures_and_methods
        ],
        input=input_of("a", "abc"),
    )


class TestMultiInference:
    async def test_results_come_in_the_order_of_tasks_from_one_run(self, rig: Rig) -> None:
        client = await rig.start(3)

        answer = await client.call(
            tasks(("regress", REGRESS_METHOD), ("classify", CLASSIFY_METHOD))
        )

        regressed, classified = answer.results
        assert regressed.model_spec == spec_of(version=3, signature="regress")
        assert [r.value for r in regressed.regression_result.regressions] == sizes_of("a", "abc")
        assert classified.model_spec == spec_of(version=3, signature="classify")
        assert len(classified.classification_result.classifications) == 2
        assert len(rig.servable(3).runs) == 1

    async def test_every_request_that_does_not_fit_is_refused_with_its_text(self, rig: Rig) -> None:
        client = await rig.start()
        ok = ("regress", REGRESS_METHOD)
        other_model = tasks(ok, ("classify", CLASSIFY_METHOD))
        other_model.tasks[1].model_spec.name = "other"
        no_model = tasks(ok, ("classify", CLASSIFY_METHOD))
        no_model.tasks[1].model_spec.name = ""
        no_examples = tasks(ok)
        no_examples.ClearField("input")
        refusals = {
            "no task": (
                MultiInferenceRequest(),
                ("INVALID_ARGUMENT", "ModelSpec has no name specified."),
            ),
            "no spec": (
                MultiInferenceRequest(tasks=[InferenceTask()]),
                ("INVALID_ARGUMENT", "ModelSpec has no name specified."),
            ),
            "an unknown model": (
                tasks(ok, name="other"),
                ("NOT_FOUND", f"Servable not found for request: Latest(other){NO_OTHER}"),
            ),
            "a second task without model": (
                no_model,
                ("INVALID_ARGUMENT", "Found ModelSpec with an empty model name."),
            ),
            "two models": (
                other_model,
                (
                    "INVALID_ARGUMENT",
                    "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
                ),
            ),
            "a signature twice": (
                tasks(ok, ok),
                ("INVALID_ARGUMENT", "Duplicate evaluation of signature: regress"),
            ),
            "an unknown signature": (
                tasks(("other", REGRESS_METHOD)),
                ("INVALID_ARGUMENT", "Requested signature not found in model graph: other"),
            ),
            "a method that has no examples": (
                tasks(("regress", PREDICT_METHOD)),
                ("UNIMPLEMENTED", f"Unsupported signature method_name: {PREDICT_METHOD}"),
            ),
            "no method": (
                tasks(("regress", "")),
                ("UNIMPLEMENTED", "Unsupported signature method_name: "),
            ),
            "a signature for another method": (
                tasks(("classify", REGRESS_METHOD)),
                ("INVALID_ARGUMENT", "Expected one output Tensor."),
            ),
            "no examples": (no_examples, ("INVALID_ARGUMENT", "Input is empty.")),
        }

        told = {case: await failure(client.call(r)) for case, (r, _) in refusals.items()}

        assert told == {case: expected for case, (_, expected) in refusals.items()}


class TestGetModelMetadata:
    async def test_every_signature_is_there_as_the_model_defines_it(self, rig: Rig) -> None:
        client = await rig.start(3)

        answer = await client.call(
            GetModelMetadataRequest(model_spec=spec_of(), metadata_field=["signature_def"])
        )

        assert answer.model_spec == spec_of(version=3)
        found = SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(found)
        assert set(found.signature_def) == {signature.name for signature in SIGNATURES}
        assert found.signature_def["serving_default"].method_name == PREDICT_METHOD

    async def test_every_request_that_does_not_fit_is_refused_with_its_text(self, rig: Rig) -> None:
        client = await rig.start()

        async def told(*fields: str, **spec: Any) -> tuple[str, str]:
            request = GetModelMetadataRequest(model_spec=spec_of(**spec), metadata_field=fields)
            return await failure(client.call(request))

        missing = await failure(client.call(GetModelMetadataRequest()))
        assert missing == ("INVALID_ARGUMENT", "Missing ModelSpec")
        assert await told(name="") == (
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        )
        assert await told("signature_def", "other") == (
            "INVALID_ARGUMENT",
            "Metadata field other is not supported",
        )
        assert await told("signature_def", name="") == (
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        )
        assert await told("signature_def", name="other") == (
            "NOT_FOUND",
            f"Servable not found for request: Latest(other){NO_OTHER}",
        )


class TestMethodNames:
    async def test_a_signature_must_be_of_the_kind_that_is_asked_where_that_is_configured(
        self, rig: Rig
    ) -> None:
        odd = signature({"x": DType.FLOAT}, {"y": DType.FLOAT}, method_name="odd")
        also_odd = signature(
            {"inputs": DType.STRING}, {"scores": DType.FLOAT}, name="odd", method_name="odd"
        )
        rig.servables[f"{NAME}:1"] = FakeServable([odd, also_odd])
        client = await rig.start(check_method_names=True)

        assert await failure(client.predict(1)) == (
            "INTERNAL",
            (
                "Expected prediction signature method_name to be one of "
                "{tensorflow/serving/predict, tensorflow/serving/classify, "
                "tensorflow/serving/regress}. Was: odd"
            ),
        )
        assert await failure(client.call(classify(signature="odd"))) == (
            "INVALID_ARGUMENT",
            (
                "Expected classification signature method_name to be tensorflow/serving/classify. "
                "Was: odd"
            ),
        )
        assert await failure(client.call(regress(signature="odd"))) == (
            "INVALID_ARGUMENT",
            "Expected regression signature method_name to be tensorflow/serving/regress. Was: odd",
        )


class TestFailures:
    async def test_a_body_that_is_no_message_is_the_callers_mistake(self, rig: Rig) -> None:
        client = await rig.start()

        for request, (path, _) in METHODS.items():
            assert await failure(client.send(path, b"\xff\xff\xff")) == (
                "INVALID_ARGUMENT",
                f"The 3 bytes sent are not a {request.DESCRIPTOR.full_name}",
            )

    async def test_a_name_that_is_no_text_is_the_callers_mistake(self, rig: Rig) -> None:
        client = await rig.start()
        body = b"\x0a\x04\x0a\x02\xff\xfe"  # model_spec { name: "\xff\xfe" }

        code, _ = await failure(client.send(METHODS[PredictRequest][0], body))

        assert code == "INVALID_ARGUMENT"

    @pytest.mark.parametrize(
        "path",
        [
            "/tensorflow.serving.SessionService/SessionRun",
            "/tensorflow.serving.PredictionService/PredictStreamed",
            "/tensorflow.serving.PredictionService/predict",
            "/other.Service/Predict",
        ],
    )
    async def test_a_method_that_is_not_served_is_unimplemented(self, rig: Rig, path: str) -> None:
        client = await rig.start()

        code, _ = await failure(client.send(path, b""))

        assert code == "UNIMPLEMENTED"

    @pytest.mark.parametrize("code", sorted(set(Code) - {Code.OK}), ids=lambda code: code.name)
    async def test_what_a_model_raises_is_told_with_its_code(self, rig: Rig, code: Code) -> None:
        rig.servables[f"{NAME}:1"] = FailingServable(error_for(code, "the model's own täxt\n"))
        client = await rig.start()

        assert await failure(client.predict(1)) == (code.name, "the model's own täxt\n")

    async def test_a_bug_is_internal_and_logged(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        rig.servables[f"{NAME}:1"] = FailingServable(ZeroDivisionError("a bug"))
        client = await rig.start()

        assert await failure(client.predict(1)) == ("INTERNAL", "ZeroDivisionError: a bug")
        assert "PredictionService/Predict failed unexpectedly" in caplog.text

    async def test_a_long_text_is_cut_after_1024_bytes(self, rig: Rig) -> None:
        rig.servables[f"{NAME}:1"] = FailingServable(error_for(Code.UNAVAILABLE, "é" * 5000))
        client = await rig.start()

        code, text = await failure(client.predict(1))

        assert (code, text) == ("UNAVAILABLE", "é" * 512 + "...TRUNCATED")


class TestDeadlines:
    async def test_the_clients_deadline_is_the_servables(self, rig: Rig) -> None:
        client = await rig.start()

        before = time.monotonic()
        await client.call(predict_request(1), timeout_s=5)

        deadline = rig.servable().runs[0][3]
        assert deadline is not None
        assert before + 4 < deadline < before + 6

    async def test_without_deadline_the_servable_has_none(self, rig: Rig) -> None:
        client = await rig.start()

        await client.call(predict_request(1), timeout_s=None)

        assert rig.servable().runs[0][3] is None

    async def test_a_call_past_its_deadline_ends_and_gives_its_version_back(self, rig: Rig) -> None:
        client = await rig.start()
        rig.servable().gate.clear()

        code, _ = await failure(client.call(predict_request(1), timeout_s=0.05))

        assert code == "DEADLINE_EXCEEDED"
        await unloaded(rig)

    async def test_a_cancelled_call_gives_its_version_back(self, rig: Rig) -> None:
        client = await rig.start()
        rig.servable().gate.clear()

        call = client.begin(predict_request(1))
        await soon(rig.servable().started.wait())
        call.cancel()

        await unloaded(rig)

    async def test_a_call_whose_client_is_gone_gives_its_version_back(self, rig: Rig) -> None:
        client: GrpcClient = await rig.start()
        rig.servable().gate.clear()

        client.begin(predict_request(1))
        await soon(rig.servable().started.wait())
        await client.channel.close()

        await unloaded(rig)


async def unloaded(rig: Rig) -> None:
    """Take the version away and wait until it is unloaded, which it is without requests only."""
    rig.remove_version(1)
    await rig.until_states({1: State.END})
