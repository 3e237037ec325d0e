"""The two paths of a predict body: whatever it is, the fast one says what the general one does."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.concurrency.pace import SLICE_BYTES, keep_on
from sigrun.errors import SigrunError
from sigrun.tensors.signature import DType, Signature
from sigrun.wire.body import Body
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json import document, numbers
from sigrun.wire.rest import predict_body
from tests.fakes.servables import signature
from tests.fuzzing import IS_LONG, rounds

NUMERIC = (
    DType.FLOAT,
    DType.DOUBLE,
    DType.HALF,
    DType.BFLOAT16,
    DType.INT8,
    DType.INT32,
    DType.INT64,
    DType.UINT8,
    DType.UINT64,
)
DTYPES = (*NUMERIC, DType.BOOL, DType.STRING, DType.COMPLEX64)
Outcome = tuple[Any, ...]


@pytest.fixture
def fast_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    make_fast(monkeypatch)


def make_fast(monkeypatch: pytest.MonkeyPatch, slice_bytes: int = 24) -> None:
    """Send the smallest bodies on the fast path, in slices of a few numbers."""
    monkeypatch.setattr(document, "_PACKED_BODY_BYTES", 0)
    monkeypatch.setattr(document, "_PACKED_ARRAY_BYTES", 3)
    monkeypatch.setattr(numbers, "SLICE_BYTES", slice_bytes)


def signature_of(*dtypes: DType) -> Signature:
    return signature(dict(zip("xyz", dtypes, strict=False)), {"out": DType.FLOAT})


def outcome(body: Body, wanted: Signature) -> Outcome:
    """Return what becomes of `body`: its arrays to the bit, or its error."""
    try:
        predict = predict_body.read(body, keep_on)
    except SigrunError as error:
        return "read", error.code, str(error)
    try:
        arrays = predict.bind(wanted, keep_on)
    except SigrunError as error:
        return "inputs", predict.is_row, predict.signature_name, error.code, str(error)
    values = {
        alias: (a.dtype, a.shape, a.tolist() if a.dtype == object else a.tobytes())
        for alias, a in arrays.items()
    }
    return predict.is_row, predict.signature_name, values


SLICES = (16, 40, 4096)  # bytes


def assert_agreement(body: bytes, wanted: Signature) -> None:
    """Compare the two paths: with slices of every size, and as bytes and as a bytearray."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(document, "_PACKED_BODY_BYTES", 2**40)
        exact = outcome(body, wanted)
    for slice_bytes, kinds in zip(SLICES, bodies_to_try(body), strict=True):
        with pytest.MonkeyPatch.context() as monkeypatch:
            make_fast(monkeypatch, slice_bytes)
            for same in kinds:
                assert outcome(same, wanted) == exact


def bodies_to_try(body: bytes) -> list[list[Body]]:
    """Return the kinds of body for each of three sizes of slices; in the brief form one each."""
    if IS_LONG:
        return [[body, bytearray(body)]] * 3
    return [[body], [bytearray(body)], [body]]


def is_fast(body: bytes, wanted: Signature) -> bool:
    """Return whether `body` is read on the fast path to its last value."""
    try:
        predict_body._bind(wanted, keep_on, document._with_packed_numbers(body, keep_on))
    except (NotOnFastPath, SigrunError):
        return False
    return True


FAST = [
    b'{"instances": [[1, 2.5], [-3e2, 4]]}',
    b'{"inputs": [[[1], [2]], [[3], [4]]], "signature_name": "a \\" [1,2"}',
    b'{"inputs": {"x": [1, 2, 3, 4, 5]}, "more": [1, 2]}',
    b'{"instances": [{"x": [1, 2, 3]}, {"x": [4, 5, 6]}]}',
    b'{"instances": [{"x": [1, 2, 3]}, {"x": [4,    5,\n6]}], "signature_name": "s"}',
    b'\n{"inputs" :\t{ "x" : [ [ 1 ] , [ 2 ] ] } } ',
    b'{"instances": [1, NaN, -Infinity, 4, 5, 6, 7, 8, 9, 10, 11]}',
]


@pytest.mark.usefixtures("fast_for_all")
class TestFastPath:
    @pytest.mark.parametrize("body", FAST)
    def test_it_is_taken_in_every_format(self, body: bytes) -> None:
        assert is_fast(body, signature_of(DType.FLOAT))

    def test_it_is_taken_for_several_inputs(self) -> None:
        two = signature_of(DType.FLOAT, DType.INT32)

        assert is_fast(b'{"inputs": {"x": [1.5, 2], "y": [[3], [4]]}}', two)
        assert is_fast(b'{"instances": [{"x": [1.5, 2], "y": 7}, {"x": [3, 4], "y": 8}]}', two)

    def test_integers_keep_every_digit(self) -> None:
        body = b'{"inputs": [9223372036854775807, -9223372036854775808, 1, 2, 3]}'

        assert is_fast(body, signature_of(DType.INT64))
        arrays = predict_body.read(body, keep_on).bind(signature_of(DType.INT64), keep_on)
        assert arrays["x"].tolist() == [2**63 - 1, -(2**63), 1, 2, 3]

    def test_the_largest_integers_are_read(self) -> None:
        body = b'{"inputs": [18446744073709551615, 1]}'

        assert is_fast(body, signature_of(DType.UINT64))
        arrays = predict_body.read(body, keep_on).bind(signature_of(DType.UINT64), keep_on)
        assert arrays["x"].tolist() == [2**64 - 1, 1]


CURIOUS = [
    b"[[1, 2], [3]]",
    b"[[1, 2], 3, 4]",
    b"[1, [2], 3]",
    b"[[], [1]]",
    b"[[1], []]",
    b"[[], []]",
    b"[[[]]]",
    b"[1, 2, true]",
    b"[1, null, 2]",
    b'[1, "2", 3]',
    b"[1, {}, 3]",
    b"[1, 2.0, 3]",
    b"[1, 2, 1e2]",
    b"[1,, 2]",
    b"[1, 2,]",
    b"[,1, 2]",
    b"[1 2, 3]",
    b"[[1[,2]]",
    b"[[1], [2]]3",
    b"[[1], [2] 3]",
    b"[[1], [2]], [[3], [4]]",
    b"[1, 2]]",
    b"[[1, 2]",
    b"[1, 2}",
    b"[01, 2]",
    b"[+1, 2]",
    b"[1., 2]",
    b"[.5, 2]",
    b"[1e, 2]",
    b"[e, E, 1]",
    b"[-, 1, 2]",
    b"[1e400, 2]",
    b"[1e-400, 5e-324, 1.7976931348623157e308]",
    b"[3.5e38, 65520, 1.00048828125]",
    b"[-0, -0.0, 0]",
    b"[18446744073709551616, 2]",
    b"[-1, 18446744073709551615]",
    b"[-9223372036854775809, 1]",
    b"[127, 128, -129, 255, 256]",
    b"[2147483647, 2147483648]",
    b"[NaN, Inf, -Infinity, -NaN]",
    b"[1NaN, 2]",
    b"[NaNNaN, 2]",
    b"[[NaN, 1], [2, 3, 4]]",
    b"[[NaN, 1], 2]",
    b"[NaN, 18446744073709551616, 1e400]",
    b"[Nan, nan, inf]",
    b"[NaN, null, 1]",
    b"[NaN5, 2]",
    b"[NaNe5, 2]",
    b"[1e-Inf, 2]",
    b"[--Inf, 2]",
    b"[- Inf, -\nNaN]",
    b"[-NaN,-Inf,Inf,NaN]",
    b"[[-Infinity],[NaN ],[ Inf\n]]",
    b"[Infinit, 1]",
    b"[[], NaN]",
    b"[NaN, [], 1]",
    b"[1, 2\xff]",
    b"[1,\x002]",
    b"[1,\x0b2]",
    b"[1, 2] /* */",
    b"[" * 70 + b"1, 2" + b"]" * 70,
    b"[" * 32 + b"1, 2" + b"]" * 32,
    b"[" * 31 + b"1, 2" + b"]" * 31,
    b"[1," + b" " * 100 + b"2]",
    b"[" + b"1" * 100 + b", 2]",
    b"[0." + b"1" * 100 + b", 2]",
]
FRAMES = [
    b'{"instances": %s}',
    b'{"inputs": %s}',
    b'{"inputs": {"x": %s}}',
    b'{"instances": [{"x": %s}]}',
    b'{"instances": [{"x": [7, 8]}, {"x": %s}]}',
    b'{"instances": [{"x": %s}, {"x": [7, 8]}]}',
    b'{"instances": [7, %s]}',
    b'{"instances": [1, 2], "other": %s}',
]


class TestAgreement:
    @pytest.mark.parametrize("frame", FRAMES)
    def test_on_what_is_curious_in_every_place(self, frame: bytes) -> None:
        for value, dtype in itertools.product(CURIOUS, (DType.FLOAT, DType.INT8, DType.INT64)):
            assert_agreement(frame % value, signature_of(dtype))

    @pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
    def test_on_every_dtype(self, dtype: DType) -> None:
        for value in CURIOUS:
            assert_agreement(b'{"inputs": %s}' % value, signature_of(dtype))

    @pytest.mark.parametrize(
        "body",
        [
            b'{"inputs": [1, 2], "inputs": [3, 4]}',
            b'{"inputs": [1, 2], "inputs": 3}',
            b'{"inputs": {"x": [1, 2], "x": [3, 4]}}',
            b'{"instances": [1, 2], "inputs": [3, 4]}',
            b'{"instances": {"x": [1, 2]}}',
            b'{"signature_name": [1, 2], "inputs": [3, 4]}',
            b'{"signature_name": 7, "inputs": [3, 4]}',
            b'{"inputs": {"x": [[1, 2], "a", [3, 4]]}}',
            b'{"inputs": {"x": {"y": [1, 2]}}}',
            b'{"inputs": {"y": [1, 2]}}',
            b'{[1, 2]: 3, "inputs": [1, 2]}',
            b'{"inputs": 1[1, 2]}',
            b'{"inputs": "a"[1, 2]}',
            b'{"inputs": [1, 2]"a"}',
            b'{"inputs": [1, 2]} [3, 4]',
            b'{"inputs": ["a, [1, 2]", "]"]}',
            b'{"inputs": "\\"[1, 2]", "x": "\\\\"}',
            b'{"inputs": [1, 2], "text": "[1, 2',
            b'{"instances": ["mark", [1, 2]]}',
            b"[[1, 2], [3, 4]]",
            b"[1, 2, 3]",
            b'{"instances": [{"x": [1, 2]}, [3, 4]]}',
            b'{"instances": [[3, 4], {"x": [1, 2]}]}',
            b'{"instances": [{"x": [1, 2], "y": [3, 4]}, {"x": 1}]}',
            b'{"instances": [{"x": [1, 2]}, {"x": 1.5}, {"x": [[1, 2]]}]}',
            b'{"inputs": {"b64": [1, 2]}}',
        ],
    )
    @pytest.mark.parametrize("dtype", [DType.FLOAT, DType.STRING, DType.INT32])
    def test_on_curious_documents(self, body: bytes, dtype: DType) -> None:
        assert_agreement(body, signature_of(dtype))
        assert_agreement(body, signature_of(dtype, DType.FLOAT))


NUMBERS = st.one_of(
    st.integers(-300, 300),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(width=16),
)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """Draw an even array, sometimes with an element of another kind."""
    values: Any = draw(NUMBERS if draw(st.integers(0, 9)) else st.sampled_from([True, None, "a"]))
    kind = draw(st.sampled_from([NUMBERS, st.integers(-100, 100), st.floats(-1e5, 1e5)]))
    shape = draw(SHAPES)

    def fill(level: int) -> Any:
        return [
            fill(level + 1) if level + 1 < len(shape) else draw(kind) for _ in range(shape[level])
        ]

    array = fill(0)
    if not draw(st.integers(0, 4)):
        array[draw(st.integers(0, len(array) - 1))] = values
    return array


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    x, y = draw(tensors()), draw(tensors())
    document = draw(
        st.sampled_from(
            [
                {"instances": x},
                {"instances": [{"x": x}, {"x": y}]},
                {"instances": [{"x": x}, {"x": x}], "signature_name": "s"},
                {"instances": [{"x": x, "y": y}] * 2},
                {"inputs": x},
                {"inputs": {"x": x}},
                {"inputs": {"x": x, "y": y}},
            ]
        )
    )
    return json.dumps(document, indent=draw(st.sampled_from([None, None, 1]))).encode()


@given(body=bodies(), dtype=st.sampled_from(NUMERIC), other=st.sampled_from([None, DType.FLOAT]))
def test_the_readers_agree(body: bytes, dtype: DType, other: DType | None) -> None:
    assert_agreement(body, signature_of(dtype) if other is None else signature_of(dtype, other))


def test_the_readers_agree_on_bodies_with_mistakes() -> None:
    chance = random.Random(7)
    alphabet = b'0123456789[],:{} .eE-+"\\NaInfinitytrue\n\x00\xff'
    right = itertools.cycle([*FAST, b'{"instances": [-0, 0.5, 1e3]}'])
    for body in itertools.islice(right, rounds(600)):
        text = bytearray(body)
        for _ in range(chance.randint(1, 2)):
            place = chance.randrange(len(text))
            inserted = bytes(chance.choices(alphabet, k=chance.randint(0, 2)))
            text[place : place + chance.randint(0, 2)] = inserted
        dtype = chance.choice((DType.FLOAT, DType.INT32, DType.DOUBLE))

        assert_agreement(bytes(text), signature_of(dtype))


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda dtype: dtype.name)
def test_a_large_array_is_read_in_slices_to_the_last_number(dtype: DType) -> None:
    values = np.random.default_rng(7).integers(0, 100, (300, 50, 7))
    body = orjson.dumps({"instances": values.tolist()}, option=orjson.OPT_INDENT_2)
    assert len(body) > 4 * SLICE_BYTES

    arrays = predict_body.read(body, keep_on).bind(signature_of(dtype), keep_on)

    assert is_fast(body, signature_of(dtype))
    np.testing.assert_array_equal(arrays["x"], values.astype(dtype.numpy))


def test_a_mistake_at_the_end_of_a_large_array_is_found_where_it_is() -> None:
    body = b'{"instances": [' + b"1.5, " * 100_000 + b"1.5.]}"

    with pytest.raises(SigrunError) as error:
        predict_body.read(body, keep_on)

    assert f"at offset: {body.index(b'1.5.]') + 3}" in str(error.value)


def test_many_strings_are_not_searched_for_arrays() -> None:
    body = orjson.dumps({"instances": ["a"] * 10_000 + [[1] * 10_000]})

    assert numbers.spans(body, 1024) == []
