"""Every check of requests and answers, with the text and code that callers see."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest

from sigrun.errors import Code, SigrunError
from sigrun.inference import checks
from sigrun.tensors.signature import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Array,
    DType,
    Signature,
    TensorSpec,
)
from tests.fakes.servables import HALF_PLUS_TWO, signature

FLOAT, STRING, INT64 = DType.FLOAT, DType.STRING, DType.INT64
ONE = np.array([1.0], np.float32)

PREDICT = signature({"x": FLOAT, "y": FLOAT}, {"sum": FLOAT, "product": FLOAT})
WITH_DEFAULT = signature({"x": FLOAT, "y": FLOAT}, {"sum": FLOAT}, defaults={"y": ONE})
CLASSIFY = signature(
    {"inputs": STRING}, {"classes": STRING, "scores": FLOAT}, method_name=CLASSIFY_METHOD
)
REGRESS = signature({"inputs": STRING}, {"outputs": FLOAT}, method_name=REGRESS_METHOD)


def refusal(error: pytest.ExceptionInfo[SigrunError]) -> tuple[Code, str]:
    return error.value.code, str(error.value)


# Predict: the signature


@pytest.mark.parametrize("name", ["", "serving_default"])
def test_a_signature_without_a_name_is_serving_default(name: str) -> None:
    found = checks.predict_signature({"serving_default": PREDICT}, name, check_method=True)

    assert found is PREDICT


@pytest.mark.parametrize(("name", "key"), [("", "serving_default"), ("embed", "embed")])
def test_predict_refuses_a_signature_that_is_not_there(name: str, key: str) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.predict_signature({"other": PREDICT}, name, check_method=False)

    assert refusal(refused) == (
        Code.FAILED_PRECONDITION,
        f'Serving signature key "{key}" not found.',
    )


@pytest.mark.parametrize("method", [PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD])
def test_predict_runs_signatures_of_every_kind(method: str) -> None:
    kind = signature({"x": FLOAT}, {"y": FLOAT}, method_name=method)

    found = checks.predict_signature({"serving_default": kind}, "", check_method=True)

    assert found is kind


@pytest.mark.parametrize("method", ["", "mine"])
def test_predict_refuses_other_method_names_only_where_they_are_checked(method: str) -> None:
    strange = signature({"x": FLOAT}, {"y": FLOAT}, method_name=method)

    with pytest.raises(SigrunError) as refused:
        checks.predict_signature({"serving_default": strange}, "", check_method=True)
    unchecked = checks.predict_signature({"serving_default": strange}, "", check_method=False)

    assert unchecked is strange
    assert refusal(refused) == (
        Code.INTERNAL,
        (
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict, "
            f"tensorflow/serving/classify, tensorflow/serving/regress}}. Was: {method}"
        ),
    )


# Predict: the names of inputs


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (PREDICT, ["x", "y"]),
        (PREDICT, ["y", "x"]),
        (WITH_DEFAULT, ["x"]),
        (WITH_DEFAULT, ["x", "y"]),
        (signature({}, {"y": FLOAT}), []),
    ],
)
def test_names_that_are_the_signatures_are_taken(asked: Signature, names: list[str]) -> None:
    checks.check_input_names(asked, names)


def test_of_a_crowd_of_names_the_first_are_told() -> None:
    names = [f"{number:06}" for number in range(100_000)]

    with pytest.raises(SigrunError) as error:
        checks.check_input_names(HALF_PLUS_TWO, names)

    assert "000099,...}" in str(error.value)
    assert len(str(error.value)) < 4000


@pytest.mark.parametrize(
    ("asked", "names", "text"),
    [
        pytest.param(
            PREDICT,
            ["x", "y", "b", "a"],
            "input size does not match signature: 4!=2 len({a,b,x,y}) != len({x,y}). "
            "Sent extra: {a,b}. Missing but required: {}.",
            id="too many",
        ),
        pytest.param(
            PREDICT,
            ["x"],
            "input size does not match signature: 1!=2 len({x}) != len({x,y}). "
            "Sent extra: {}. Missing but required: {y}.",
            id="too few",
        ),
        pytest.param(
            PREDICT,
            [],
            "input size does not match signature: 0!=2 len({}) != len({x,y}). "
            "Sent extra: {}. Missing but required: {x,y}.",
            id="none",
        ),
        pytest.param(
            WITH_DEFAULT,
            ["x", "y", "z"],
            "input size does not match signature: 3!=2 len({x,y,z}) != len({x,y}). "
            "Sent extra: {z}. Missing but required: {}.",
            id="too many, with a default",
        ),
        pytest.param(
            PREDICT,
            ["x", "z"],
            "Signature input alias: y(feed name: y:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {x,y}, or default input alias set: "
            "{}. Inputs of the request: {x,z}",
            id="as many, but one is another",
        ),
        pytest.param(
            WITH_DEFAULT,
            [],
            "Signature input alias: x(feed name: x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {x}, or default input alias set: "
            "{y}. Inputs of the request: {}",
            id="too few, and the default is another's",
        ),
        pytest.param(
            WITH_DEFAULT,
            ["x", "z"],
            "Inputs contains invalid name. Used request inputs: {x}, request input: {x,z}",
            id="one in the place of a default",
        ),
    ],
)
def test_other_names_are_refused(asked: Signature, names: list[str], text: str) -> None:
    with pytest.raises(SigrunError) as by_name:
        checks.check_input_names(asked, names)
    with pytest.raises(SigrunError) as with_arrays:
        checks.complete_inputs(asked, dict.fromkeys(names, ONE))

    assert refusal(by_name) == (Code.INVALID_ARGUMENT, text)
    assert refusal(with_arrays) == (Code.INVALID_ARGUMENT, text)


# Predict: the arrays of inputs


def test_inputs_of_the_right_dtypes_are_taken_as_they_are() -> None:
    inputs = {"x": ONE, "y": ONE}

    assert checks.complete_inputs(PREDICT, inputs) is inputs


def test_an_input_that_is_left_out_gets_its_default() -> None:
    two = ONE * 2

    inputs = checks.complete_inputs(WITH_DEFAULT, {"x": two})

    assert {alias: array.tolist() for alias, array in inputs.items()} == {"x": [2], "y": [1]}


def test_an_input_that_is_given_does_not_get_its_default() -> None:
    two = ONE * 2

    assert checks.complete_inputs(WITH_DEFAULT, {"x": ONE, "y": two})["y"] is two


def test_shapes_are_left_to_the_model() -> None:
    matrix = np.zeros((2, 3), np.float32)

    inputs = checks.complete_inputs(PREDICT, {"x": matrix, "y": matrix})

    assert inputs["x"] is matrix


def spec_of(dtype: DType | None, shape: tuple[int | None, ...] | None) -> Signature:
    return Signature(
        name="serving_default",
        method_name=PREDICT_METHOD,
        inputs={"x": TensorSpec(name="x:0", dtype=dtype, shape=shape)},
        outputs={},
    )


@pytest.mark.parametrize(
    ("asked", "array", "wanted", "has"),
    [
        (spec_of(FLOAT, (None, 28)), np.zeros((2, 28)), "DT_FLOAT [?,28]", "DT_DOUBLE [2,28]"),
        (spec_of(FLOAT, ()), np.array(1), "DT_FLOAT []", "DT_INT64 []"),
        (spec_of(STRING, None), ONE, "DT_STRING <unknown>", "DT_FLOAT [1]"),
        (spec_of(FLOAT, None), np.array([b"a"], object), "DT_FLOAT <unknown>", "DT_STRING [1]"),
        (
            spec_of(DType.HALF, None),
            np.zeros(1, ml_dtypes.bfloat16),
            "DT_HALF <unknown>",
            "DT_BFLOAT16 [1]",
        ),
        (spec_of(None, None), ONE, "a type without wire form <unknown>", "DT_FLOAT [1]"),
    ],
)
def test_an_input_of_another_dtype_is_refused(
    asked: Signature, array: Array, wanted: str, has: str
) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.complete_inputs(asked, {"x": array})

    assert refusal(refused) == (
        Code.INVALID_ARGUMENT,
        f"Input 'x' of signature 'serving_default' expects {wanted}, but the request has {has}",
    )


# Predict: outputs


@pytest.mark.parametrize(
    ("output_filter", "aliases"),
    [
        ([], ["sum", "product"]),
        (["product"], ["product"]),
        (["product", "sum"], ["product", "sum"]),
    ],
)
def test_the_outputs_are_those_of_the_filter_or_all(
    output_filter: list[str], aliases: list[str]
) -> None:
    assert list(checks.output_aliases(PREDICT, output_filter)) == aliases


@pytest.mark.parametrize(
    ("output_filter", "text"),
    [
        (
            ["sum", "sum:0"],
            (
                "output tensor alias not found in signature: sum:0 "
                "Outputs expected to be in the set {product,sum}."
            ),
        ),
        (["sum", "product", "sum"], "duplicate output tensor alias: sum"),
    ],
)
def test_a_filter_with_other_or_repeated_outputs_is_refused(
    output_filter: list[str], text: str
) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.output_aliases(PREDICT, output_filter)

    assert refusal(refused) == (Code.INVALID_ARGUMENT, text)


# Classify and regress: the signature


@pytest.mark.parametrize(
    ("fit", "method"),
    [
        (CLASSIFY, CLASSIFY_METHOD),
        (signature({"inputs": STRING}, {"classes": STRING}), CLASSIFY_METHOD),
        (signature({"inputs": STRING}, {"scores": FLOAT}), CLASSIFY_METHOD),
        (signature({"inputs": STRING}, {"scores": FLOAT, "other": FLOAT}), CLASSIFY_METHOD),
        (REGRESS, REGRESS_METHOD),
        (signature({"inputs": STRING}, {"outputs": FLOAT}), REGRESS_METHOD),
    ],
)
def test_a_signature_with_fit_inputs_and_outputs_is_found(fit: Signature, method: str) -> None:
    found = checks.examples_signature({"serving_default": fit}, "", method, check_method=False)

    assert found is fit


@pytest.mark.parametrize("method", [CLASSIFY_METHOD, REGRESS_METHOD])
@pytest.mark.parametrize(("name", "key"), [("", "serving_default"), ("rank", "rank")])
def test_a_signature_that_is_not_there_is_refused(name: str, key: str, method: str) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.examples_signature({"other": CLASSIFY}, name, method, check_method=False)

    assert refusal(refused) == (
        Code.INVALID_ARGUMENT,
        f"No signature was found with the name: {key}",
    )


TWO_INPUTS = {"inputs": STRING, "more": STRING}
PREDICTOR = "'serving_default' (tensorflow/serving/predict) with"


@pytest.mark.parametrize(
    ("unfit", "method", "text"),
    [
        pytest.param(
            signature(TWO_INPUTS, {"scores": FLOAT}),
            CLASSIFY_METHOD,
            "Expected one input Tensor.",
            id="classify: two inputs",
        ),
        pytest.param(
            signature({}, {"scores": FLOAT}),
            CLASSIFY_METHOD,
            "Expected one input Tensor.",
            id="classify: no input",
        ),
        pytest.param(
            signature({"inputs": STRING}, {}),
            CLASSIFY_METHOD,
            "Expected one or two output Tensors, found 0",
            id="classify: no output",
        ),
        pytest.param(
            signature({"inputs": STRING}, {"classes": STRING, "scores": FLOAT, "more": FLOAT}),
            CLASSIFY_METHOD,
            "Expected one or two output Tensors, found 3",
            id="classify: three outputs",
        ),
        pytest.param(
            signature({"x": FLOAT}, {"y": FLOAT}),
            CLASSIFY_METHOD,
            f"No classification inputs found in SignatureDef: {PREDICTOR} "
            "inputs {x: DT_FLOAT [?]} and outputs {y: DT_FLOAT [?]}",
            id="classify: another input",
        ),
        pytest.param(
            signature({"inputs": STRING}, {"y": FLOAT}),
            CLASSIFY_METHOD,
            "Expected classification signature outputs to contain at least one of "
            f'"classes" or "scores". Signature was: {PREDICTOR} '
            "inputs {inputs: DT_STRING [?]} and outputs {y: DT_FLOAT [?]}",
            id="classify: another output",
        ),
        pytest.param(
            signature(TWO_INPUTS, {"outputs": FLOAT}),
            REGRESS_METHOD,
            "Expected one input Tensor.",
            id="regress: two inputs",
        ),
        pytest.param(
            signature({"inputs": STRING}, {"outputs": FLOAT, "more": FLOAT}),
            REGRESS_METHOD,
            "Expected one output Tensor.",
            id="regress: two outputs",
        ),
        pytest.param(
            signature({"x": FLOAT}, {"outputs": FLOAT}),
            REGRESS_METHOD,
            f"No regression inputs found in SignatureDef: {PREDICTOR} "
            "inputs {x: DT_FLOAT [?]} and outputs {outputs: DT_FLOAT [?]}",
            id="regress: another input",
        ),
        pytest.param(
            signature({"inputs": STRING}, {"y": FLOAT}),
            REGRESS_METHOD,
            f"No regression outputs found in SignatureDef: {PREDICTOR} "
            "inputs {inputs: DT_STRING [?]} and outputs {y: DT_FLOAT [?]}",
            id="regress: another output",
        ),
    ],
)
def test_a_signature_with_unfit_inputs_or_outputs_is_refused(
    unfit: Signature, method: str, text: str
) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.check_examples_signature(unfit, method, check_method=False)

    assert refusal(refused) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("asked", "method", "text"),
    [
        (
            REGRESS,
            CLASSIFY_METHOD,
            (
                "Expected classification signature method_name to be tensorflow/serving/classify. "
                "Was: tensorflow/serving/regress"
            ),
        ),
        (
            CLASSIFY,
            REGRESS_METHOD,
            (
                "Expected regression signature method_name to be tensorflow/serving/regress. "
                "Was: tensorflow/serving/classify"
            ),
        ),
    ],
)
def test_where_method_names_are_checked_one_of_another_kind_is_refused(
    asked: Signature, method: str, text: str
) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.check_examples_signature(asked, method, check_method=True)

    assert refusal(refused) == (Code.INVALID_ARGUMENT, text)


def test_nothing_but_classify_and_regress_works_on_examples() -> None:
    with pytest.raises(SigrunError) as refused:
        checks.check_examples_signature(PREDICT, PREDICT_METHOD, check_method=False)

    assert refusal(refused) == (
        Code.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    )


@pytest.mark.parametrize(
    ("outputs", "method", "wanted"),
    [
        ({"scores": FLOAT, "classes": STRING}, CLASSIFY_METHOD, ["classes", "scores"]),
        ({"scores": FLOAT, "other": FLOAT}, CLASSIFY_METHOD, ["scores"]),
        ({"classes": STRING}, CLASSIFY_METHOD, ["classes"]),
        ({"outputs": FLOAT}, REGRESS_METHOD, ["outputs"]),
    ],
)
def test_only_the_outputs_that_an_answer_is_made_of_are_wanted(
    outputs: dict[str, DType], method: str, wanted: list[str]
) -> None:
    asked = signature({"inputs": STRING}, outputs)

    assert list(checks.wanted_outputs(asked, method)) == wanted


# Classify and regress: the outputs


def labels(*shape: int) -> Array:
    return np.full(shape, b"cat", object)


def scores(*shape: int) -> Array:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize("names", [["classes"], ["scores"], ["classes", "scores"]])
def test_classes_scores_or_both_make_classifications(names: Sequence[str]) -> None:
    outputs = {"classes": labels(2, 3), "scores": scores(2, 3)}

    result = checks.classifications({name: outputs[name] for name in names}, 2)

    assert (result.labels is not None, result.scores is not None) == (
        "classes" in names,
        "scores" in names,
    )


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        pytest.param(
            {"classes": labels(2)},
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
            id="classes: a vector",
        ),
        pytest.param(
            {"scores": scores(2, 3, 4)},
            "Expected Tensor shape: [batch_size num_classes] but got [2,3,4]",
            id="scores: rank 3",
        ),
        pytest.param(
            {"classes": scores(2, 3)},
            "Expected classes Tensor of DT_STRING. Got: DT_FLOAT",
            id="classes: numbers",
        ),
        pytest.param(
            {"classes": labels(1, 3)},
            "Expected classes output batch size of 2. Got: 1",
            id="classes: too few",
        ),
        pytest.param(
            {"scores": np.ones((2, 3))},
            "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
            id="scores: doubles",
        ),
        pytest.param(
            {"classes": labels(2, 3), "scores": scores(3, 3)},
            "Expected scores output batch size of 2. Got: 3",
            id="scores: too many",
        ),
        pytest.param(
            {"classes": labels(2, 3), "scores": scores(2, 4)},
            "Tensors class and score should match in dim_size(1). Got 3 vs. 4",
            id="as many classes as scores",
        ),
    ],
)
def test_outputs_that_make_no_classifications_are_refused(
    outputs: dict[str, Array], text: str
) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.classifications(outputs, 2)

    assert refusal(refused) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_vector_or_a_column_makes_regressions(shape: tuple[int, ...]) -> None:
    values = np.array([1.5, 2.5], np.float32).reshape(shape)

    assert checks.regressions(values, 2).tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        pytest.param(
            np.float32(1),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
            id="a scalar",
        ),
        pytest.param(
            scores(2, 2),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            "but got [2,2]",
            id="two columns",
        ),
        pytest.param(
            scores(2, 1, 1),
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
            "but got [2,1,1]",
            id="rank 3",
        ),
        pytest.param(
            scores(3),
            "Input batch size did not match output batch size: 2 vs. 3",
            id="too many",
        ),
        pytest.param(
            np.ones(2),
            "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE",
            id="doubles",
        ),
    ],
)
def test_outputs_that_make_no_regressions_are_refused(values: Array, text: str) -> None:
    with pytest.raises(SigrunError) as refused:
        checks.regressions(values, 2)

    assert refusal(refused) == (Code.INVALID_ARGUMENT, text)


# Several as one


def test_joined_signatures_keep_the_tensors_of_each_under_aliases_of_their_own() -> None:
    rank = signature({"inputs": STRING}, {"scores": FLOAT, "classes": STRING}, name="rank")
    price = signature({"inputs": STRING}, {"outputs": FLOAT}, name="price")

    joint = checks.joined([rank, price], [["scores"], ["outputs"]])

    assert joint.inputs == {
        "rank/inputs": rank.inputs["inputs"],
        "price/inputs": price.inputs["inputs"],
    }
    assert joint.outputs == {
        "rank/scores": rank.outputs["scores"],
        "price/outputs": price.outputs["outputs"],
    }
