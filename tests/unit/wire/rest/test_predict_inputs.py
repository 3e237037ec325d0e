"""The body of a JSON predict request -> arrays: what is taken, and each text of a refusal."""

from __future__ import annotations

import base64
import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument, SigrunError, Unimplemented
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec
from sigrun.wire.rest import predict_body
from tests.arrays import assert_same
from tests.fakes.servables import signature

NAN, INF = math.nan, math.inf
B64_ABC = {"b64": "YWJj"}


def read(body: bytes | str, wanted: Signature) -> Mapping[str, Array]:
    text = body.encode() if isinstance(body, str) else body
    return predict_body.read(text, keep_on).bind(wanted, keep_on)


def signature_of(**inputs: DType) -> Signature:
    return signature(inputs, {"y": DType.FLOAT})


def columnar(dtype: DType, value: Any) -> Array:
    """Return what `value` becomes as the whole of one input."""
    return read(json.dumps({"inputs": value}), signature_of(x=dtype))["x"]


def row(dtype: DType, values: list[Any]) -> Array:
    """Return what `values` become as the rows of one input."""
    return read(json.dumps({"instances": values}), signature_of(x=dtype))["x"]


def refusal(body: bytes | str, wanted: Signature) -> str:
    with pytest.raises(InvalidArgument) as error:
        read(body, wanted)
    return str(error.value)


ONE_FLOAT = signature_of(x=DType.FLOAT)
ONE_STRING = signature_of(x=DType.STRING)
TWO = signature_of(a=DType.FLOAT, b=DType.STRING)


class TestSyntax:
    @pytest.mark.parametrize(
        ("body", "offset"),
        [
            (b" ", 0),
            (b"instances = [1, 2]", 0),
            (b'{"a":1', 6),
            (b'{"a" 1}', 5),
            (b"{a:1}", 1),
            (b'{"a":[1 2]}', 8),
            (b'{"a":"x', 7),
            (b'{"v":1e400}', 5),
            (b"[1,2}", 4),
            (b'{"a": tru}', 6),
            (b'{"a": .5}', 6),
            (b'{"inputs": ["\xc3\xa9" 1]}', 17),
            (b'{"inputs": ["\xff"]}', 13),
        ],
    )
    def test_a_mistake_is_named_and_found(self, body: bytes, offset: int) -> None:
        text = refusal(body, ONE_FLOAT)

        assert text.startswith("JSON Parse error: ")
        assert text.endswith(f" at offset: {offset}")

    def test_an_empty_body_is_told_as_such(self) -> None:
        assert refusal(b"", ONE_FLOAT) == "JSON Parse error: The document is empty"

    @pytest.mark.parametrize(
        "body",
        [
            b'{"inputs": ["\xff"]}',
            b'{"inputs": ["\\ud800"]}',
            b'{"inputs": ["\\ud800", NaN]}',
            b'{"instances": "\\ud800NaN"}',
            b'{"inputs": ["\xff", NaN]}',
            b'{"signature_name": "\\udfff", "inputs": [NaN]}',
            b"[" * 100_000 + b"]" * 100_000,
            b"[" * 100_000 + b"NaN" + b"]" * 100_000,
            b"[" * 1020 + b"NaN" + b"]" * 1020,
            b"[1NaN]",
            b"NaNNaN",
            b'{"inputs": [NaN] x}',
            b"[NaN" + b'"' + b'\\"' * 500_000,
            b"\x00N\x00a\x00N",
        ],
        ids=range(14),
    )
    def test_what_is_no_text_or_too_deep_is_a_parse_error(self, body: bytes) -> None:
        assert refusal(body, ONE_STRING).startswith("JSON Parse error: ")

    @pytest.mark.parametrize("rest", [b" x", b"}", b"\0", b" NaN", b'"', b"\xc3\xa9"])
    @pytest.mark.parametrize("value", [b"0", b"NaN"])
    def test_what_follows_the_value_is_passed_over(self, value: bytes, rest: bytes) -> None:
        inputs = read(b'{"\xc3\xa9": 0, "inputs": [' + value + b"]}" + rest, ONE_FLOAT)

        assert_same(inputs["x"], np.array([float(value)], np.float32))

    def test_a_mistake_behind_a_nan_is_found_where_it_is(self) -> None:
        text = refusal(b'{"inputs": [-Infinity, NaN, -Inf, x]}', ONE_FLOAT)

        assert text.endswith(" at offset: 34")

    @pytest.mark.parametrize(
        ("literal", "value"),
        [
            ("NaN", NAN),
            ("-NaN", NAN),
            ("Inf", INF),
            ("-Inf", -INF),
            ("Infinity", INF),
            ("-Infinity", -INF),
        ],
    )
    def test_numbers_that_json_does_not_have_are_read(self, literal: str, value: float) -> None:
        array = read(f'{{"inputs": [{literal}, 0.5, 7]}}', ONE_FLOAT)["x"]

        np.testing.assert_array_equal(array, np.float32([value, 0.5, 7]))  # type: ignore[arg-type]

    def test_inside_a_string_they_are_text(self) -> None:
        body = r'{"inputs": ["NaN", "\"Inf", "-Infinity\\"], "unread": [NaN]}'

        assert read(body, ONE_STRING)["x"].tolist() == [b"NaN", b'"Inf', b"-Infinity\\"]

    @pytest.mark.parametrize("beside", ["", ', "unread": NaN'])
    def test_an_integer_of_thousands_of_digits_is_a_number_too_big(self, beside: str) -> None:
        body = '{"inputs": [' + "9" * 300 + f"]{beside}}}"

        assert read(body, ONE_FLOAT)["x"].tolist() == [INF]
        assert "is not of expected type: int64" in refusal(body, signature_of(x=DType.INT64))

    def test_integers_keep_every_digit_beside_a_nan(self) -> None:
        body = '{"inputs": [9223372036854775807, -9223372036854775808], "unread": NaN}'

        array = read(body, signature_of(x=DType.INT64))["x"]

        assert array.tolist() == [2**63 - 1, -(2**63)]

    def test_white_space_may_be_anywhere(self) -> None:
        assert read(' \n{ "inputs" :\t[ 1 ] }\r\n ', ONE_FLOAT)["x"].tolist() == [1]


class TestKeys:
    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("[1, 2]", "JSON Value: [1, 2] Is not object"),
            ("3.5", "JSON Value: 3.5 Is not object"),
            ('"text"', 'JSON Value: "text" Is not object'),
            ("null", "JSON Value: null Is not object"),
            ("NaN", "JSON Value: NaN Is not object"),
            ("{}", "Missing 'inputs' or 'instances' key"),
            ('{"input": [1]}', "Missing 'inputs' or 'instances' key"),
            (
                '{"inputs": [1], "instances": [1]}',
                (
                    'JSON Value: {"inputs": [1], "instances": [1]} Not formatted correctly '
                    "expecting only one of 'inputs' or 'instances' keys to exist "
                ),
            ),
            (
                '{"instances": 1}',
                "JSON Value: {\"instances\": 1} Expecting 'instances' to be an list/array",
            ),
            (
                '{"instances": {"x": 1}}',
                'JSON Value: {"instances": {"x": 1}} Expecting \'instances\' to be an list/array',
            ),
            (
                '{"instances": []}',
                "JSON Value: {\"instances\": []} No values in 'instances' array",
            ),
        ],
    )
    def test_a_body_in_no_format_is_refused(self, body: str, text: str) -> None:
        assert refusal(body, ONE_FLOAT) == text

    def test_unknown_keys_are_ignored(self) -> None:
        assert read('{"inputs": [1], "x": {"y": null}}', ONE_FLOAT)["x"].tolist() == [1]

    @pytest.mark.parametrize("body", ['{"inputs": {}}', "{}", '{"signature_name": "init"}'])
    def test_a_signature_without_inputs_is_called_without_any(self, body: str) -> None:
        assert read(body, signature({}, {"y": DType.FLOAT}, name="init")) == {}

    @pytest.mark.parametrize("body", ['{"inputs": [1]}', '{"inputs": 1}', '{"instances": [1]}'])
    def test_a_signature_without_inputs_takes_none(self, body: str) -> None:
        nothing = signature({}, {"y": DType.FLOAT}, name="init")
        named = body.replace("{", '{"signature_name": "init", ', 1)

        assert refusal(body, nothing) == "Failed to get input map for signature: DEFAULT"
        assert refusal(named, nothing) == "Failed to get input map for signature: init"

    @pytest.mark.parametrize(
        ("body", "begins"),
        [
            ("[" + "1, " * 1_000_000 + "1]", "JSON Value: [1, 1, "),
            ("[" * 1020 + "]" * 1020, "JSON Value: [[[["),
            ('["' + "é" * 10_000 + '"]', 'JSON Value: ["éé'),
        ],
        ids=["long", "deep", "one long string"],
    )
    def test_of_a_large_value_the_beginning_is_told(self, body: str, begins: str) -> None:
        text = refusal(body, ONE_FLOAT)

        assert text.startswith(begins)
        assert text.endswith("... Is not object")
        assert len(text) < 300


# dtype, a JSON value as text, and the element that it becomes.
ACCEPTED: list[tuple[DType, str, Any]] = [
    (DType.FLOAT, "1", 1.0),
    (DType.FLOAT, "-1.5e3", -1500.0),
    (DType.FLOAT, "1e39", INF),
    (DType.FLOAT, "-1e39", -INF),
    (DType.FLOAT, "1e-60", 0.0),
    (DType.FLOAT, "0.1", np.float32(0.1)),
    (DType.FLOAT, "123456789012345678901234567890", np.float32(1.2345679e29)),
    (DType.DOUBLE, "0.1", 0.1),
    (DType.DOUBLE, "1e300", 1e300),
    (DType.HALF, "0.5", 0.5),
    (DType.HALF, "1e9", INF),
    (DType.BFLOAT16, "0.5", 0.5),
    (DType.BFLOAT16, "1e39", INF),
    (DType.INT8, "-128", -128),
    (DType.INT16, "32767", 32767),
    (DType.INT32, "-2147483648", -(2**31)),
    (DType.INT64, "9223372036854775807", 2**63 - 1),
    (DType.UINT8, "255", 255),
    (DType.UINT16, "65535", 65535),
    (DType.UINT32, "4294967295", 2**32 - 1),
    (DType.UINT64, "18446744073709551615", 2**64 - 1),
    (DType.BOOL, "true", True),
    (DType.BOOL, "false", False),
    (DType.STRING, '"text"', b"text"),
    (DType.STRING, '""', b""),
    (DType.STRING, '"\\u00e4\\n\\ud83d\\ude00"', "ä\n😀".encode()),
    (DType.STRING, '{"b64": "YWJj"}', b"abc"),
    (DType.STRING, '{"b64": "YQ=="}', b"a"),
    (DType.STRING, '{"b64": "YQ.."}', b"a"),
    (DType.STRING, '{"b64": "YQ"}', b"a"),
    (DType.STRING, '{"b64": "+/8="}', b"\xfb\xff"),
    (DType.STRING, '{"b64": ""}', b""),
]

NUMBERS = [DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16]
INTEGERS = [
    DType.INT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.UINT8,
    DType.UINT16,
    DType.UINT32,
    DType.UINT64,
]
WITHOUT_JSON_FORM = [DType.COMPLEX64, DType.COMPLEX128]

# dtypes, a JSON value as text, and what its JSON type is called.
NOT_ACCEPTED: list[tuple[list[DType], str, str]] = [
    (NUMBERS, "true", "True"),
    (NUMBERS, '"1"', "String"),
    (NUMBERS, "null", "Null"),
    (NUMBERS, '{"b64": "YQ=="}', "Object"),
    (INTEGERS, "1.0", "Number"),
    (INTEGERS, "1.5", "Number"),
    (INTEGERS, "18446744073709551616", "Number"),
    (INTEGERS, "-9223372036854775809", "Number"),
    (INTEGERS, "false", "False"),
    (INTEGERS, '"1"', "String"),
    (INTEGERS, "null", "Null"),
    ([DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64], "-1", "Number"),
    ([DType.INT8], "128", "Number"),
    ([DType.UINT8], "256", "Number"),
    ([DType.INT16], "-32769", "Number"),
    ([DType.INT32], "2147483648", "Number"),
    ([DType.UINT32], "4294967296", "Number"),
    ([DType.INT64], "9223372036854775808", "Number"),
    ([DType.BOOL], "1", "Number"),
    ([DType.BOOL], '"true"', "String"),
    ([DType.BOOL], "null", "Null"),
    ([DType.STRING], "1", "Number"),
    ([DType.STRING], "true", "True"),
    ([DType.STRING], "null", "Null"),
]


class TestValues:
    @pytest.mark.parametrize(("dtype", "text", "value"), ACCEPTED)
    def test_a_value_of_the_right_type_is_read(self, dtype: DType, text: str, value: Any) -> None:
        wanted = signature_of(x=dtype)

        scalar = read(f'{{"inputs": {text}}}', wanted)["x"]
        vector = read(f'{{"inputs": [{text}]}}', wanted)["x"]
        rows = read(f'{{"instances": [{text}, {text}]}}', wanted)["x"]

        assert {array.dtype for array in (scalar, vector, rows)} == {dtype.numpy}
        assert (scalar.shape, scalar[()]) == ((), value)
        assert vector.tolist() == [value]
        assert rows.tolist() == [value, value]

    @pytest.mark.parametrize(
        ("dtype", "text", "kind"),
        [(dtype, text, kind) for dtypes, text, kind in NOT_ACCEPTED for dtype in dtypes],
    )
    def test_a_value_of_another_type_is_refused(self, dtype: DType, text: str, kind: str) -> None:
        refused = refusal(f'{{"instances": [[{text}]]}}', signature_of(x=dtype))

        assert refused.startswith(
            "Failed to process element: 0 of 'instances' list. "
            "Error: INVALID_ARGUMENT: JSON Value: "
        )
        assert refused.endswith(f" Type: {kind} is not of expected type: {dtype.name.lower()}")

    def test_every_dtype_is_accepted_or_refused_as_a_whole(self) -> None:
        assert {dtype for dtype, _, _ in ACCEPTED} == set(DType) - set(WITHOUT_JSON_FORM)

    @pytest.mark.parametrize("dtype", [*WITHOUT_JSON_FORM, None])
    def test_a_dtype_without_json_form_is_not_served(self, dtype: DType | None) -> None:
        spec = TensorSpec(name="x:0", dtype=dtype, shape=(None,))
        wanted = Signature(name="s", method_name="", inputs={"x": spec}, outputs={})
        text = "Conversion of JSON Value: 1 to type: "

        with pytest.raises(Unimplemented, match=text):
            read('{"inputs": [1]}', wanted)
        with pytest.raises(InvalidArgument, match=f"element: 0 .* Error: UNIMPLEMENTED: {text}"):
            read('{"instances": [1]}', wanted)

    @pytest.mark.parametrize(
        "value",
        [{"b64": 1}, {"b64": "YQ==", "x": 1}, {"B64": "YQ=="}, {}, {"b64": None}],
        ids=str,
    )
    def test_another_object_is_no_base64(self, value: Any) -> None:
        text = refusal(json.dumps({"inputs": {"a": [1], "b": [value]}}), TWO)

        assert text == (f"JSON Value: {json.dumps(value)} not formatted correctly for base64 data")

    @pytest.mark.parametrize(
        "text", ["?", "Y", "Y Q=", "YQ==YQ==", "_-8=", "é", "=", "YQ=", "YWJj=", "日本語"]
    )
    def test_base64_that_cannot_be_decoded_is_refused(self, text: str) -> None:
        assert refusal(json.dumps({"inputs": [{"b64": text}]}), ONE_STRING) == (
            "Unable to base64 decode"
        )


class TestColumnarFormat:
    @pytest.mark.parametrize(
        ("value", "shape"),
        [
            (1, ()),
            ([1], (1,)),
            ([], (0,)),
            ([[], []], (2, 0)),
            ([[[]]], (1, 1, 0)),
            ([[1, 2, 3], [4, 5, 6]], (2, 3)),
            ([[[[[1]]]]], (1,) * 5),
        ],
        ids=str,
    )
    def test_the_nesting_is_the_shape(self, value: Any, shape: tuple[int, ...]) -> None:
        array = columnar(DType.FLOAT, value)

        assert array.shape == shape
        np.testing.assert_array_equal(array, np.array(value, np.float32))

    def test_elements_are_in_the_order_of_rows(self) -> None:
        array = columnar(DType.STRING, [["a", "b"], ["c", B64_ABC]])

        assert array.tolist() == [[b"a", b"b"], [b"c", b"abc"]]

    def test_one_input_may_be_named(self) -> None:
        assert read('{"inputs": {"x": [1]}}', ONE_FLOAT)["x"].tolist() == [1]
        assert read('{"inputs": {"x": ["a"]}}', ONE_STRING)["x"].tolist() == [b"a"]

    def test_one_string_may_be_given_in_base64(self) -> None:
        assert columnar(DType.STRING, B64_ABC)[()] == b"abc"

    def test_several_inputs_are_given_by_name(self) -> None:
        inputs = read('{"inputs": {"b": "t", "a": [[1, 2]], "unread": 1}}', TWO)

        assert {alias: array.tolist() for alias, array in inputs.items()} == {
            "a": [[1.0, 2.0]],
            "b": b"t",
        }

    @pytest.mark.parametrize(
        ("wanted", "value", "text"),
        [
            (
                TWO,
                [1, 2],
                (
                    "inputs is a plain value/list, but expecting an object as multiple input "
                    "tensors required as per tensorinfo_map"
                ),
            ),
            (
                TWO,
                1,
                (
                    "inputs is a plain value/list, but expecting an object as multiple input "
                    "tensors required as per tensorinfo_map"
                ),
            ),
            (TWO, {"a": [1]}, "Missing named input: b in 'inputs' object."),
            (TWO, {}, "Missing named input: a in 'inputs' object."),
            (ONE_FLOAT, {"y": [1]}, "Missing named input: x in 'inputs' object."),
            (ONE_FLOAT, {"b64": "YQ=="}, "Missing named input: x in 'inputs' object."),
            (ONE_STRING, {"b64": 1}, "Missing named input: x in 'inputs' object."),
            (
                ONE_FLOAT,
                [[1, 2], [3]],
                "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
            ),
            (
                ONE_FLOAT,
                [[], [1]],
                "Encountered list at unexpected size: 1 at level: 1 expected size: 0",
            ),
            (ONE_FLOAT, [1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
            (
                ONE_FLOAT,
                [[1], 2],
                "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
            ),
            (
                ONE_FLOAT,
                [["1"]],
                'JSON Value: "1" Type: String is not of expected type: float',
            ),
            (
                ONE_FLOAT,
                [{"x": 1}],
                'JSON Value: {"x": 1} Type: Object is not of expected type: float',
            ),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_refused(self, wanted: Signature, value: Any, text: str) -> None:
        assert refusal(json.dumps({"inputs": value}), wanted) == text

    def test_an_input_named_b64_is_taken_for_base64(self) -> None:
        wanted = signature_of(b64=DType.STRING)

        assert read('{"inputs": {"b64": "YWJj"}}', wanted)["b64"][()] == b"abc"
        assert read('{"inputs": {"b64": ["YWJj"]}}', wanted)["b64"].tolist() == [b"YWJj"]

    @pytest.mark.parametrize("dtype", [DType.FLOAT, DType.STRING], ids=lambda d: d.name)
    def test_32_dimensions_are_the_most(self, dtype: DType) -> None:
        value = "1" if dtype is DType.FLOAT else '"1"'
        deepest = json.loads("[" * 32 + value + "]" * 32)

        assert columnar(dtype, deepest).shape == (1,) * 32
        for _ in range(40):
            deepest = [deepest]
            assert refusal(json.dumps({"inputs": deepest}), signature_of(x=dtype)) == (
                "Lists are nested deeper than 32 levels"
            )


class TestRowFormat:
    @pytest.mark.parametrize(
        ("values", "shape"),
        [
            ([1, 2, 3], (3,)),
            ([[1], [2]], (2, 1)),
            ([[[1, 2]], [[3, 4]]], (2, 1, 2)),
            ([[], []], (2, 0)),
        ],
        ids=str,
    )
    def test_examples_of_one_shape_are_stacked(
        self, values: list[Any], shape: tuple[int, ...]
    ) -> None:
        array = row(DType.FLOAT, values)

        assert array.shape == shape
        np.testing.assert_array_equal(array, np.array(values, np.float32))

    def test_one_input_may_be_named(self) -> None:
        assert row(DType.FLOAT, [{"x": [1]}, {"x": [2]}]).tolist() == [[1], [2]]
        assert row(DType.STRING, [{"x": "a"}, {"x": B64_ABC}]).tolist() == [b"a", b"abc"]

    def test_strings_and_base64_may_be_mixed(self) -> None:
        assert row(DType.STRING, [B64_ABC, "a", B64_ABC]).tolist() == [b"abc", b"a", b"abc"]
        assert row(DType.STRING, [["a", B64_ABC]]).tolist() == [[b"a", b"abc"]]

    def test_several_inputs_are_given_by_name(self) -> None:
        body = {"instances": [{"a": [1, 2], "b": "s"}, {"b": "t", "a": [3, 4]}]}

        inputs = read(json.dumps(body), TWO)

        assert {alias: array.tolist() for alias, array in inputs.items()} == {
            "a": [[1, 2], [3, 4]],
            "b": [b"s", b"t"],
        }

    @pytest.mark.parametrize(
        ("wanted", "values", "text"),
        [
            (
                TWO,
                [1, 2],
                (
                    "instances is a plain list, but expecting list of objects as multiple input "
                    "tensors required as per tensorinfo_map"
                ),
            ),
            (
                TWO,
                [{"a": 1, "b": "s"}, 2],
                "Expecting object but got list at item 1 of input list",
            ),
            (ONE_FLOAT, [{"x": 1}, 2], "Expecting object but got list at item 1 of input list"),
            (
                ONE_FLOAT,
                [1, {"x": 1}],
                "Expecting value/list but got object at item 1 of input list",
            ),
            (
                ONE_STRING,
                ["a", {"x": "a"}],
                "Expecting value/list but got object at item 1 of input list",
            ),
            (
                TWO,
                [{"a": 1, "b": "s"}, {"a": 1}],
                (
                    "Failed to process element: 1 of 'instances' list. JSON object: "
                    '{"a": 1} keys must be equal to: a,b'
                ),
            ),
            (
                TWO,
                [{"a": 1, "b": "s", "c": 1}],
                (
                    "Failed to process element: 0 of 'instances' list. JSON object: "
                    '{"a": 1, "b": "s", "c": 1} keys must be equal to: a,b'
                ),
            ),
            (
                ONE_FLOAT,
                [{"y": 1}],
                (
                    "Failed to process element: 0 of 'instances' list. JSON object: "
                    '{"y": 1} keys must be equal to: x'
                ),
            ),
            (
                ONE_FLOAT,
                [[1, 2], [3]],
                (
                    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                    "Expecting tensor size: 2 but got: 1"
                ),
            ),
            (
                ONE_FLOAT,
                [1, [2, 3]],
                (
                    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                    "Expecting tensor size: 1 but got: 2"
                ),
            ),
            (
                ONE_FLOAT,
                [[1, 2], [[3, 4]]],
                (
                    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                    "Expecting shape [2] but got: [1,2]"
                ),
            ),
            (
                ONE_FLOAT,
                [[[1, 2]], [[3], [4]]],
                (
                    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                    "Expecting shape [1,2] but got: [2,1]"
                ),
            ),
            (
                ONE_FLOAT,
                [1, [2]],
                (
                    "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                    "Expecting shape [] but got: [1]"
                ),
            ),
            (
                ONE_FLOAT,
                [[1, [2]]],
                (
                    "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
                    "Encountered list at unexpected level: 1 expected < 1"
                ),
            ),
            (
                TWO,
                [{"a": 1, "b": "s"}, {"a": "1", "b": "s"}],
                (
                    "Failed to process element: 1 key: a of 'instances' list. Error: "
                    'INVALID_ARGUMENT: JSON Value: "1" Type: String is not of expected type: float'
                ),
            ),
            (
                ONE_FLOAT,
                [1, "a"],
                (
                    "Failed to process element: 1 of 'instances' list. Error: "
                    'INVALID_ARGUMENT: JSON Value: "a" Type: String is not of expected type: float'
                ),
            ),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_refused(
        self, wanted: Signature, values: list[Any], text: str
    ) -> None:
        assert refusal(json.dumps({"instances": values}), wanted) == text

    def test_31_dimensions_are_the_most_of_one_example(self) -> None:
        deepest = json.loads("[" * 31 + "1" + "]" * 31)

        assert row(DType.FLOAT, [deepest, deepest]).shape == (2, *[1] * 31)
        assert refusal(json.dumps({"instances": [[deepest]]}), ONE_FLOAT).endswith(
            "Lists are nested deeper than 31 levels"
        )


class TestDefaults:
    """An input that the signature has a default for may be left out."""

    ONE_OF_TWO = signature(
        {"x": DType.FLOAT, "t": DType.FLOAT},
        {"y": DType.FLOAT},
        defaults={"t": np.array(0.5, np.float32)},
    )
    BOTH = signature(
        {"x": DType.FLOAT, "t": DType.FLOAT},
        {"y": DType.FLOAT},
        defaults={"x": np.array(1, np.float32), "t": np.array(0.5, np.float32)},
    )

    @pytest.mark.parametrize(
        "body",
        [
            '{"inputs": {"x": [1, 2]}}',
            '{"inputs": [1, 2]}',
            '{"instances": [{"x": 1}, {"x": 2}]}',
            '{"instances": [1, 2]}',
        ],
    )
    def test_it_is_left_to_the_signature(self, body: str) -> None:
        inputs = read(body, self.ONE_OF_TWO)

        assert inputs.keys() == {"x"}
        assert inputs["x"].tolist() == [1, 2]

    @pytest.mark.parametrize(
        "body",
        [
            '{"inputs": {"x": [1, 2], "t": [3, 4]}}',
            '{"instances": [{"x": 1, "t": 3}, {"t": 4, "x": 2}]}',
        ],
    )
    def test_what_is_sent_counts(self, body: str) -> None:
        inputs = read(body, self.ONE_OF_TWO)

        assert {alias: array.tolist() for alias, array in inputs.items()} == {
            "x": [1, 2],
            "t": [3, 4],
        }

    @pytest.mark.parametrize("body", ["{}", '{"inputs": {}}', '{"instances": [{}]}'])
    def test_all_may_be_left_out(self, body: str) -> None:
        assert read(body, self.BOTH) == {}

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ('{"inputs": {"t": 1}}', "Missing named input: x in 'inputs' object."),
            ("{}", "Missing 'inputs' or 'instances' key"),
            (
                '{"instances": [{"t": 1}]}',
                (
                    "Failed to process element: 0 of 'instances' list. JSON object: "
                    '{"t": 1} keys must be equal to: t,x'
                ),
            ),
            (
                '{"instances": [{"x": 1}, {"x": 2, "t": 1}]}',
                (
                    "Failed to process element: 1 of 'instances' list. JSON object: "
                    '{"x": 2, "t": 1} keys must be equal to: x'
                ),
            ),
        ],
    )
    def test_another_may_not(self, body: str, text: str) -> None:
        assert refusal(body, self.ONE_OF_TWO) == text

    def test_which_of_two_a_plain_value_is_for_must_be_clear(self) -> None:
        assert refusal('{"inputs": 1}', self.BOTH).startswith("inputs is a plain value/list")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "x", "b64", "inputs"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    dtype=st.sampled_from(sorted(DType)),
    key=st.sampled_from(["inputs", "instances"]),
    value=JSON_VALUES,
)
def test_nothing_but_an_array_or_an_error_for_the_caller_comes_of_anything(
    dtype: DType, key: str, value: Any
) -> None:
    read_or_told = _read_or_told(json.dumps({key: value}), signature_of(x=dtype))

    if isinstance(read_or_told, str):
        assert read_or_told.encode()
    else:
        assert {alias: array.dtype for alias, array in read_or_told.items()} == {"x": dtype.numpy}


def _read_or_told(body: str, wanted: Signature) -> Mapping[str, Array] | str:
    try:
        return read(body, wanted)
    except SigrunError as error:
        return str(error)


@given(body=st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidArgument):
        read(body, ONE_STRING)


def _abseil(text: str) -> bytes | None:
    """Decode base64 digit by digit, as abseil's Base64Unescape is documented; None if refused."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bits, padding = "", 0
    for character in text:
        if character in " \t\n\v\f\r":
            continue
        if character in "=.":
            padding += 1
        elif padding or character not in digits:
            return None
        else:
            bits += f"{digits.index(character):06b}"
    left = len(bits) % 8
    if left == 6 or padding not in (0, left // 2):
        return None
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - left, 8))


@given(text=st.text(st.sampled_from("AQz09+/==..?é \n\t\v"), max_size=12))
def test_base64_is_read_as_abseil_reads_it(text: str) -> None:
    body, expected = json.dumps({"inputs": {"b64": text}}), _abseil(text)

    if expected is None:
        assert refusal(body, ONE_STRING) == "Unable to base64 decode"
    else:
        assert read(body, ONE_STRING)["x"][()] == expected


@given(data=st.binary(max_size=50), is_padded=st.booleans())
def test_any_bytes_can_be_sent_in_base64(data: bytes, is_padded: bool) -> None:
    text = base64.b64encode(data).decode()

    array = columnar(DType.STRING, [{"b64": text if is_padded else text.rstrip("=")}])

    assert array.tolist() == [data]
