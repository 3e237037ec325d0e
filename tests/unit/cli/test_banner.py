from __future__ import annotations

import numpy as np
import pytest

from sigrun.cli.banner import predict_line, tensors
from sigrun.tensors.signature import CLASSIFY_METHOD, PREDICT_METHOD, DType, Signature, TensorSpec

URL = "http://localhost:8501"


def spec(dtype: DType | None, *shape: int | None) -> TensorSpec:
    return TensorSpec(name="", dtype=dtype, shape=shape)


def line(inputs: dict[str, TensorSpec], method_name: str = PREDICT_METHOD) -> str | None:
    signature = Signature(
        name="serving_default",
        method_name=method_name,
        inputs=inputs,
        outputs={},
        defaults={"k": np.array(1)} if "k" in inputs else {},
    )
    return predict_line(URL, "half", {"serving_default": signature})


def test_tensors_are_shown_with_type_and_shape() -> None:
    specs = {
        "x": spec(DType.FLOAT, None, 3),
        "k": spec(DType.INT32),
        "any": TensorSpec(name="", dtype=DType.STRING, shape=None),
        "table": spec(None, 2),
    }

    assert tensors(specs) == "any: string[...], k: int32, table: other[2], x: float[?,3]"


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ({"x": spec(DType.FLOAT, None, 2)}, '{"inputs":[[1.0,1.0]]}'),
        ({"x": spec(DType.STRING, None)}, '{"inputs":["text"]}'),
        ({"x": TensorSpec(name="", dtype=DType.FLOAT, shape=None)}, '{"inputs":[1.0]}'),
        ({"x": spec(DType.BOOL)}, '{"inputs":true}'),
        ({"a": spec(DType.INT64, 2), "b": spec(DType.HALF)}, '{"inputs":{"a":[1,1],"b":1.0}}'),
        ({"x": spec(DType.INT8, 1), "k": spec(DType.INT32)}, '{"inputs":{"x":[1]}}'),
    ],
)
def test_a_line_to_try_is_made_from_the_signature(inputs: dict[str, TensorSpec], body: str) -> None:
    assert line(inputs) == f"curl {URL}/v1/models/half:predict -d '{body}'"


@pytest.mark.parametrize(
    "tensor",
    [
        spec(DType.FLOAT, None, 224, 224, 3),
        spec(None, 1),
        spec(DType.COMPLEX64, 1),
    ],
)
def test_there_is_no_line_for_what_does_not_fit_into_one(tensor: TensorSpec) -> None:
    assert line({"x": tensor}) is None


def test_there_is_no_line_for_a_signature_that_predict_does_not_take() -> None:
    assert line({"inputs": spec(DType.STRING, None)}, CLASSIFY_METHOD) is None
    assert predict_line(URL, "half", {}) is None
