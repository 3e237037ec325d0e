"""Arrays -> the body of a JSON predict response, byte for byte."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument, Unimplemented
from sigrun.tensors.signature import Array, DType
from sigrun.wire.json import outputs as json_outputs


def array(dtype: DType, values: Any) -> Array:
    return np.array(values, dtype.numpy)


def strings(values: Any) -> Array:
    return array(DType.STRING, values)


def columnar(**outputs: Array) -> str:
    return _line(json_outputs.outputs(outputs, keep_on))


def row(**outputs: Array) -> str:
    return _line(json_outputs.predictions(outputs, keep_on))


def _line(body: bytes) -> str:
    """Return the text of a body, which is a line."""
    text = body.decode()
    assert text.endswith("\n")
    return text[:-1]


NAN, INF = math.nan, math.inf

# What a tensor of some dtype is written as, wherever it stands.
VALUES: list[tuple[DType, Any, str]] = [
    (DType.FLOAT, [2.5, 3, 4.5], "[2.5,3.0,4.5]"),
    (DType.FLOAT, [0.1, 0.001, 1 / 3], "[0.1,0.001,0.33333334]"),
    (DType.FLOAT, [16777216, 999999, -0.0], "[16777216.0,999999.0,-0.0]"),
    (DType.DOUBLE, [0.1, 1 / 3], "[0.1,0.3333333333333333]"),
    (DType.HALF, [1.5, 65504], "[1.5,65504.0]"),
    (DType.BFLOAT16, [1.5, 3.0], "[1.5,3.0]"),
    (DType.INT8, [-128, 127], "[-128,127]"),
    (DType.INT16, [-32768, 32767], "[-32768,32767]"),
    (DType.INT32, [-(2**31), 2**31 - 1], "[-2147483648,2147483647]"),
    (DType.INT64, [-(2**63), 2**63 - 1], "[-9223372036854775808,9223372036854775807]"),
    (DType.UINT8, [0, 255], "[0,255]"),
    (DType.UINT16, [0, 65535], "[0,65535]"),
    (DType.UINT32, [0, 2**32 - 1], "[0,4294967295]"),
    (DType.UINT64, [0, 2**64 - 1], "[0,18446744073709551615]"),
    (DType.BOOL, [True, False], "[true,false]"),
    (DType.STRING, [b"a", b"", 'ä"\n'.encode()], '["a","","ä\\"\\n"]'),
    (DType.FLOAT, [[1, 2], [3, 4]], "[[1.0,2.0],[3.0,4.0]]"),
    (DType.STRING, [[b"a"], [b"b"]], '[["a"],["b"]]'),
    (DType.FLOAT, np.zeros((2, 0, 3)), "[[],[]]"),
    # Not JSON, but what TensorFlow Serving writes and its clients read.
    (DType.FLOAT, [NAN, INF, -INF, 0.1], "[NaN,Infinity,-Infinity,0.1]"),
    (DType.DOUBLE, [NAN, INF, -INF, 0.1], "[NaN,Infinity,-Infinity,0.1]"),
    (DType.HALF, [NAN, INF, -INF, 1.5], "[NaN,Infinity,-Infinity,1.5]"),
    (DType.BFLOAT16, [NAN, INF, -INF, 1.5], "[NaN,Infinity,-Infinity,1.5]"),
    (DType.FLOAT, [[NAN, 0.001], [1 / 3, 1]], "[[NaN,0.001],[0.33333334,1.0]]"),
]


@pytest.mark.parametrize(("dtype", "values", "text"), VALUES)
def test_a_tensor_reads_the_same_in_both_formats(dtype: DType, values: Any, text: str) -> None:
    given = array(dtype, values)

    assert columnar(y=given) == f'{{"outputs":{text}}}'
    assert row(y=given) == f'{{"predictions":{text}}}'


def test_the_table_has_every_dtype_with_a_json_form() -> None:
    assert {dtype for dtype, _, _ in VALUES} == set(DType) - {DType.COMPLEX64, DType.COMPLEX128}


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        (DType.FLOAT, 0.1, "0.1"),
        (DType.FLOAT, NAN, "NaN"),
        (DType.BFLOAT16, INF, "Infinity"),
        (DType.HALF, 1.5, "1.5"),
        (DType.INT64, 7, "7"),
        (DType.UINT8, 7, "7"),
        (DType.BOOL, True, "true"),
        (DType.STRING, b"a", '"a"'),
    ],
)
def test_a_scalar_is_a_bare_value_in_columnar_format(dtype: DType, value: Any, text: str) -> None:
    assert columnar(y=array(dtype, value)) == f'{{"outputs":{text}}}'


class TestColumnarFormat:
    def test_several_outputs_are_an_object(self) -> None:
        text = columnar(a=array(DType.FLOAT, [1, 2]), b=array(DType.INT32, 3))

        assert text == '{"outputs":{"a":[1.0,2.0],"b":3}}'

    def test_first_dimensions_may_differ(self) -> None:
        text = columnar(a=array(DType.INT32, [1, 2]), b=array(DType.INT32, []))

        assert text == '{"outputs":{"a":[1,2],"b":[]}}'

    def test_one_output_that_is_not_finite_leaves_the_others_as_they_are(self) -> None:
        text = columnar(
            a=array(DType.FLOAT, [NAN, 0.1]),
            b=array(DType.INT64, [2**62]),
            c=array(DType.BOOL, [True]),
            d=strings([b"\xc3\xa4"]),
            e=array(DType.FLOAT, 0.1),
            f=array(DType.UINT64, 2**64 - 1),
        )

        assert json.loads(text)["outputs"] == {
            "a": [pytest.approx(NAN, nan_ok=True), 0.1],
            "b": [2**62],
            "c": [True],
            "d": ["ä"],
            "e": 0.1,
            "f": 2**64 - 1,
        }


class TestRowFormat:
    def test_several_outputs_are_an_object_per_example(self) -> None:
        text = row(
            a=array(DType.FLOAT, [[1, 2], [3, 4]]),
            b=strings([b"x", b"y"]),
            c=array(DType.BOOL, [True, False]),
        )

        assert json.loads(text) == {
            "predictions": [
                {"a": [1, 2], "b": "x", "c": True},
                {"a": [3, 4], "b": "y", "c": False},
            ]
        }

    def test_several_outputs_that_are_not_finite_are_written_too(self) -> None:
        text = row(a=array(DType.FLOAT, [[NAN, 0.1]]), b=array(DType.BFLOAT16, [INF]))

        assert text == '{"predictions":[{"a":[NaN,0.1],"b":Infinity}]}'

    def test_an_empty_batch_is_an_empty_list(self) -> None:
        empty = array(DType.FLOAT, np.zeros((0, 3)))

        assert row(y=empty) == '{"predictions":[]}'
        assert row(y=empty, z=strings([])) == '{"predictions":[]}'

    def test_a_scalar_has_no_rows(self) -> None:
        with pytest.raises(InvalidArgument) as error:
            row(y=array(DType.FLOAT, 1))

        assert str(error.value) == "Tensor name: y has no shape information "

    def test_outputs_must_have_one_batch_size(self) -> None:
        with pytest.raises(InvalidArgument) as error:
            row(a=array(DType.FLOAT, [1, 2]), b=array(DType.FLOAT, [1]))

        assert str(error.value) == "Tensor name: b has inconsistent batch size: 1 expecting: 2"


class TestStrings:
    def test_an_alias_in_bytes_is_written_in_base64(self) -> None:
        image = strings([b"\xff\0", b"", b"abc"])

        assert (
            columnar(image_bytes=image) == '{"outputs":[{"b64":"/wA="},{"b64":""},{"b64":"YWJj"}]}'
        )
        assert (
            row(image_bytes=image) == '{"predictions":[{"b64":"/wA="},{"b64":""},{"b64":"YWJj"}]}'
        )

    def test_a_scalar_in_bytes_is_an_object(self) -> None:
        assert columnar(x_bytes=strings(b"abc")) == '{"outputs":{"b64":"YWJj"}}'

    @pytest.mark.parametrize("alias", ["bytes", "_bytes_", "x_BYTES", "xbytes"])
    def test_only_the_end_of_the_alias_counts(self, alias: str) -> None:
        assert columnar(**{alias: strings([b"abc"])}) == '{"outputs":["abc"]}'

    def test_only_strings_are_written_in_base64(self) -> None:
        assert columnar(x_bytes=array(DType.INT32, [1])) == '{"outputs":[1]}'

    @pytest.mark.parametrize("write", [columnar, row])
    def test_bytes_that_are_no_text_are_refused_with_a_way_out(self, write: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"'image'.*UTF-8.*_bytes.*base64.*gRPC"):
            write(image=strings([b"\xff"]))


@pytest.mark.parametrize("write", [columnar, row])
class TestRefusals:
    def test_no_output_has_no_json_form(self, write: Any) -> None:
        with pytest.raises(InvalidArgument, match=r"^Cannot convert empty tensor map to JSON$"):
            write()

    @pytest.mark.parametrize("dtype", [DType.COMPLEX64, DType.COMPLEX128], ids=lambda d: d.name)
    def test_complex_numbers_have_no_json_form(self, write: Any, dtype: DType) -> None:
        with pytest.raises(InvalidArgument) as error:
            write(y=array(dtype, [1 + 2j]))

        name = dtype.name.lower()
        assert str(error.value) == f"Failed to write JSON value for tensor type: {name}"

    def test_a_numpy_dtype_that_is_no_tensor_is_not_served(self, write: Any) -> None:
        with pytest.raises(Unimplemented):
            write(y=np.zeros(2, "datetime64[s]"))


FLOATS = st.floats(width=32)


@given(values=st.lists(st.one_of(FLOATS, st.sampled_from([0.1, NAN, INF])), max_size=5))
def test_every_float32_reads_back_as_itself(values: list[float]) -> None:
    given_floats = array(DType.FLOAT, values)

    again = np.array(json.loads(columnar(y=given_floats))["outputs"], np.float32)

    np.testing.assert_array_equal(again, given_floats)


@given(values=st.lists(st.floats(), max_size=5))
def test_every_double_reads_back_as_itself(values: list[float]) -> None:
    given_floats = array(DType.DOUBLE, values)

    again = np.array(json.loads(columnar(y=given_floats))["outputs"], np.float64)

    np.testing.assert_array_equal(again, given_floats)


@given(value=FLOATS)
def test_a_float32_is_as_short_as_it_can_be(value: float) -> None:
    text = columnar(y=array(DType.FLOAT, [value]))

    written = text.removeprefix('{"outputs":[').removesuffix("]}")
    assert float(written) == float(str(np.float32(value))) or math.isnan(value)


class TestLargeOutputs:
    """They are written in slices, to the same text."""

    @pytest.fixture(autouse=True)
    def small_slices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(json_outputs, "SLICE_BYTES", 16)

    @pytest.mark.parametrize(
        "shape", [(5,), (9, 1), (1, 9), (3, 2, 2), (1, 1, 20), (2, 7, 3), (7, 0), (0, 7)], ids=str
    )
    def test_a_tensor_is_whole(self, shape: tuple[int, ...]) -> None:
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 4

        assert json.loads(columnar(y=values)) == {"outputs": values.tolist()}
        assert json.loads(row(y=values)) == {"predictions": values.tolist()}
        assert json.loads(columnar(y=values, z=values)) == {
            "outputs": {"y": values.tolist(), "z": values.tolist()}
        }
        assert json.loads(row(y=values, z=values)) == {
            "predictions": [{"y": one, "z": one} for one in values.tolist()]
        }

    def test_a_number_that_json_does_not_have_may_be_in_any_slice(self) -> None:
        values = array(DType.FLOAT, [*[0.5] * 20, NAN, -INF])

        assert columnar(y=values) == '{"outputs":[' + "0.5," * 20 + "NaN,-Infinity]}"
        assert row(y=values, z=values).endswith('{"y":-Infinity,"z":-Infinity}]}')


class TestCost:
    """Estimates decide what may be written on the event loop: for many values, nothing may."""

    BUDGET_S = 200e-6

    @pytest.mark.parametrize(
        "large",
        [
            np.zeros(10_000, np.float32),
            np.zeros(100_000, np.int64),
            strings([b"a"] * 10_000),
            strings([b"a" * 1_000_000]),
        ],
        ids=["floats", "integers", "strings", "one long string"],
    )
    def test_large_outputs_cost_more_than_the_loop_may_spend(self, large: Array) -> None:
        assert json_outputs.cost_s({"y": large}) > self.BUDGET_S

    @pytest.mark.parametrize(
        "small",
        [np.zeros(100, np.float32), np.zeros(100, np.int64), strings([b"a" * 100] * 100)],
        ids=["floats", "integers", "strings"],
    )
    def test_small_ones_do_not(self, small: Array) -> None:
        assert json_outputs.cost_s({"y": small}) < self.BUDGET_S
