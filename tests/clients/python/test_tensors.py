"""What users hand over, as arrays of a dtype."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from sigrun_client import InvalidInput, InvalidReply
from sigrun_client._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun_client._tensors import as_array, decode, has_dtype
from tests.arrays import assert_same


@pytest.mark.parametrize(
    ("value", "has"),
    [
        (np.zeros(2), True),
        (np.float32(1), True),
        ([np.zeros(2), np.zeros(2)], True),
        ("text", True),
        (b"bytes", True),
        ([["a"], ["b"]], True),
        (1.5, False),
        ([1, 2], False),
        ([], False),
        ([[]], False),
    ],
)
def test_arrays_and_strings_say_of_which_dtype_they_are(value: Any, has: bool) -> None:
    assert has_dtype(value) is has


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([1, 2], "float32", np.array([1, 2], np.float32)),
        ([1.5, 2], "float64", np.array([1.5, 2], np.float64)),
        (2, "float32", np.array(2, np.float32)),
        ([[1], [2]], "int64", np.array([[1], [2]], np.int64)),
        ([2**63], "uint64", np.array([2**63], np.uint64)),
        ([True, False], "bool", np.array([True, False])),
        ([1.5], "float16", np.array([1.5], np.float16)),
        ([1 + 2j, 3], "complex64", np.array([1 + 2j, 3], np.complex64)),
        ([], "int32", np.array([], np.int32)),
        ([[], []], "float32", np.empty((2, 0), np.float32)),
        ([float("inf"), float("nan")], "float32", np.array([np.inf, np.nan], np.float32)),
    ],
)
def test_numbers_in_lists_take_the_dtype_of_the_signature(
    value: Any, dtype: str, expected: Any
) -> None:
    name, array = as_array("x", value, dtype)

    assert name == dtype
    assert_same(array, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        ([1.5], "int64", r"^input 'x' takes int64, not \[1\.5\]$"),
        ([1], "bool", r"^input 'x' takes bool, not \[1\]$"),
        ([1j], "float32", r"^input 'x' takes float32, not \[1j\]$"),
        ([1], "string", r"^input 'x' takes strings, not \[1\]$"),
        ([300], "uint8", r"^input 'x' takes uint8: .*300"),
        ([-1], "uint64", r"^input 'x' takes uint64: "),
        ([2**64], "int64", r"^input 'x' takes int64, not \[18446744073709551616\]$"),
        ([1e300], "float32", r"^input 'x' takes float32: "),
        ([[1], [1, 2]], "int64", r"^the lists of input 'x' differ in length"),
        ([["a"], ["b", "c"]], "string", r"^the lists of input 'x' differ in length"),
        (["a", 1], "string", r"^input 'x' has strings beside 1$"),
        ([None], "float32", r"^input 'x' takes float32, not \[None\]$"),
        (np.zeros(1, "datetime64[s]"), None, r"^input 'x' has elements of type datetime64\[s\]"),
    ],
)
def test_what_the_dtype_cannot_hold_is_refused(value: Any, dtype: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        as_array("x", value, dtype)


@pytest.mark.parametrize(
    "value",
    [
        ["grün", b"\0bytes\0"],
        np.array(["grün", "\0bytes\0"], object),
        np.array([b"gr\xc3\xbcn", b"\0bytes\0"], object),
    ],
)
def test_strings_become_bytes_and_keep_their_zeros(value: Any) -> None:
    name, array = as_array("x", value, None)

    assert name == "string"
    assert array.tolist() == ["grün".encode(), b"\0bytes\0"]


@pytest.mark.parametrize("value", [np.array(["a", "bc"]), np.array([b"a", b"bc"])])
def test_numpys_own_strings_are_strings(value: Any) -> None:
    assert as_array("x", value, None)[1].tolist() == [b"a", b"bc"]


def test_one_string_is_a_scalar() -> None:
    _, array = as_array("x", "text", None)

    assert array.shape == ()
    assert array[()] == b"text"


def test_an_empty_list_for_an_input_of_strings_is_no_strings() -> None:
    assert as_array("x", [], "string")[0] == "string"


def test_arrays_go_as_they_are_whatever_the_signature_says() -> None:
    given = np.arange(3, dtype=np.int16)

    name, array = as_array("x", given, "float32")

    assert name == "int16"
    assert array is given


def test_lists_of_arrays_are_arrays() -> None:
    name, array = as_array("x", [np.zeros(2, np.int8), np.ones(2, np.int8)], "float32")

    assert name == "int8"
    assert array.shape == (2, 2)


@pytest.mark.parametrize(
    "values",
    [
        [0.0, -0.0, 1.0, 1.00390625, 3.3895313892515355e38, 1e-40],
        [1.0 + 2**-8, 1.0 + 3 * 2**-8, float("inf"), float("-inf")],
    ],
)
def test_bfloat16_is_rounded_as_ml_dtypes_rounds_it(values: list[float]) -> None:
    name, bits = as_array("x", values, "bfloat16")

    assert name == "bfloat16"
    expected = np.array(values, np.float32).astype(ml_dtypes.bfloat16)
    assert bits.tolist() == expected.view(np.uint16).tolist()


def test_a_bfloat16_nan_stays_one() -> None:
    _, bits = as_array("x", float("nan"), "bfloat16")

    assert np.isnan(bits.reshape(1).view(ml_dtypes.bfloat16).astype(np.float32)).all()


def test_the_last_value_of_a_reply_is_repeated() -> None:
    proto = TensorProto(dtype=1, float_val=[1.0, 2.5])  # type: ignore[arg-type]
    proto.tensor_shape.dim.add(size=4)

    assert decode(proto).tolist() == [1.0, 2.5, 2.5, 2.5]


@pytest.mark.parametrize(
    ("proto", "text"),
    [
        (TensorProto(dtype=20), "element type 20 cannot be read"),  # type: ignore[arg-type]
        (
            TensorProto(dtype=1, tensor_content=b"123"),  # type: ignore[arg-type]
            r"3 bytes are no float32 tensor of shape \[\]",
        ),
        (
            TensorProto(dtype=7, tensor_content=b"\x05abc"),  # type: ignore[arg-type]
            "4 bytes are no 1 strings",
        ),
        (TensorProto(dtype=7, tensor_content=b"\xff"), "1 bytes are no 1 strings"),  # type: ignore[arg-type]
    ],
)
def test_a_tensor_that_is_none_is_refused(proto: TensorProto, text: str) -> None:
    with pytest.raises(InvalidReply, match=text):
        decode(proto)


def test_few_values_for_a_vast_shape_are_refused() -> None:
    proto = TensorProto(dtype=1, float_val=[1.0])  # type: ignore[arg-type]
    proto.tensor_shape.dim.add(size=1 << 40)

    with pytest.raises(InvalidReply, match="has 1 values"):
        decode(proto)
