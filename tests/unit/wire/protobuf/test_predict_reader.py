"""The fast path from bytes to a Predict call comes to what the general path comes to."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun._gen.tensorflow.core.framework.tensor_pb2 import TensorProto
from sigrun._gen.tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from sigrun._gen.tensorflow.core.framework.types_pb2 import DataType
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.concurrency.pace import keep_on
from sigrun.errors import Code, InvalidArgument, SigrunError
from sigrun.inference.calls import Arrays, ModelSpec, PredictCall, PredictResult, ResolvedSpec
from sigrun.inference.checks import check_input_names
from sigrun.inference.context import INTERNAL, CallContext, Door
from sigrun.tensors.signature import Array, DType, Signature
from sigrun.wire.protobuf import client_codec, codec, predict_reader, tensors
from sigrun.wire.protobuf.parse import parse, parse_answer
from sigrun.wire.protobuf.wire_format import varint
from tests.fakes.servables import signature
from tests.fuzzing import rounds
from tests.samples import ARRAYS, SAMPLES, sample

CONTEXT = CallContext(Door.GRPC, deadline=12.5)
X, XY = (signature(dict.fromkeys(names, DType.FLOAT), {}) for names in ("x", "xy"))
FIXED_SIZE = (DType.FLOAT, DType.DOUBLE, DType.COMPLEX64, DType.COMPLEX128, DType.BOOL)


@pytest.fixture(params=[0, 1 << 20], ids=["by numpy", "by protobuf"])
def integers_either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read integers of any number in both ways."""
    monkeypatch.setattr(predict_reader, "_FEW_INTEGER_BYTES", request.param)


@pytest.fixture
def short_cut_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the general path was taken")

    monkeypatch.setattr(predict_reader, "parse", refuse)


def request_of(
    inputs: Mapping[str, Array | TensorProto], *, as_content: bool = False, **fields: Any
) -> PredictRequest:
    request = PredictRequest(**fields)
    request.model_spec.name = "mnist"
    for alias, value in inputs.items():
        proto = value
        if not isinstance(proto, TensorProto):
            proto = tensors.encode(proto, as_content=as_content)
        request.inputs[alias].CopyFrom(proto)
    return request


def bind(call: PredictCall, to: Signature) -> Mapping[str, Array]:
    """Return the inputs of a call, their names checked as the service does."""
    inputs = call.inputs
    if not isinstance(inputs, Arrays):
        return inputs.bind(to, keep_on)
    if inputs.by_alias.keys() != to.inputs.keys():
        check_input_names(to, inputs.by_alias)
    return inputs.by_alias


def the_long_way(body: bytes) -> PredictCall:
    return codec.predict_call(parse(PredictRequest, body), CONTEXT)


def the_short_way(body: bytes) -> PredictCall:
    return predict_reader.predict_call(body, CONTEXT)


def outcome(read: Any, body: bytes) -> Any:
    """Return all that a caller may notice, in values that can be compared."""
    try:
        call = read(body)
    except SigrunError as error:
        return error.code, str(error)
    return call.spec, call.output_filter, call.context, bound(call, X), bound(call, XY)


def bound(call: PredictCall, to: Signature) -> Any:
    try:
        inputs = bind(call, to)
    except SigrunError as error:
        return error.code, str(error)
    return {alias: described(array) for alias, array in inputs.items()}


def described(array: Array) -> Any:
    """Return dtype, shape and elements, bit for bit but for NaNs: old protobufs quiet some."""
    if array.dtype == object:
        return array.dtype, array.shape, array.tolist()
    elements = array.reshape(-1)
    if array.dtype.kind in "fc":
        parts = elements.view(elements.real.dtype)
        elements = np.where(np.isnan(parts), np.nan, parts)
    return array.dtype, array.shape, elements.tobytes()


def on_the_fast_path(body: bytes) -> PredictCall:
    call = predict_reader.fast_predict_call(body, CONTEXT)
    return call or the_short_way(body)


def assert_agree(body: bytes) -> None:
    expected = outcome(the_long_way, body)
    assert outcome(the_short_way, body) == expected, body.hex()
    assert outcome(on_the_fast_path, body) == expected, body.hex()


def field(number: int, payload: bytes, *, wire_type: int = 2) -> bytes:
    """Return one field; `payload` gets its size in front if the wire type has one."""
    size = varint(len(payload)) if wire_type == 2 else b""
    return varint(number << 3 | wire_type) + size + payload


SPEC = field(1, field(1, b"mnist"))
FLOAT = b"\x08\x01"
SHAPE_2 = field(2, field(2, b"\x08\x02"))
TWO_FLOATS = struct.pack("<2f", 1, 2)
TENSOR = FLOAT + SHAPE_2 + field(5, TWO_FLOATS)


def entry(tensor: bytes, key: bytes = b"x") -> bytes:
    return field(2, field(1, key) + field(2, tensor))


class TestTheShortCut:
    @pytest.mark.usefixtures("short_cut_only", "integers_either_way")
    @pytest.mark.parametrize("repeated", [1, 10, 2_000])
    @pytest.mark.parametrize("dtype", sorted(set(DType) - {DType.STRING}))
    def test_values_in_the_field_of_their_dtype_are_read(self, dtype: DType, repeated: int) -> None:
        expected = sample(dtype, repeated).reshape(3, repeated)

        call = the_short_way(request_of({"x": expected}).SerializeToString())

        assert described(bind(call, X)["x"]) == described(expected)

    @pytest.mark.usefixtures("short_cut_only")
    def test_a_few_strings_are_read(self) -> None:
        expected = sample(DType.STRING, 10).reshape(3, 10)

        call = the_short_way(request_of({"x": expected}).SerializeToString())

        assert described(bind(call, X)["x"]) == described(expected)

    @pytest.mark.usefixtures("short_cut_only")
    @pytest.mark.parametrize("dtype", sorted(set(DType) - {DType.STRING}))
    def test_values_in_tensor_content_are_read(self, dtype: DType) -> None:
        expected = sample(dtype)

        call = the_short_way(request_of({"x": expected}, as_content=True).SerializeToString())

        assert described(bind(call, X)["x"]) == described(expected)

    @pytest.mark.usefixtures("short_cut_only", "integers_either_way")
    @pytest.mark.parametrize("dtype", sorted(DType))
    def test_a_scalar_is_read(self, dtype: DType) -> None:
        expected = np.array(SAMPLES[dtype][2], dtype.numpy)

        call = the_short_way(request_of({"x": expected}).SerializeToString())

        assert described(bind(call, X)["x"]) == described(expected)

    @pytest.mark.usefixtures("short_cut_only")
    @pytest.mark.parametrize(
        ("dtype", "as_content"),
        [(dtype, False) for dtype in FIXED_SIZE]
        + [(dtype, True) for dtype in sorted(set(DType) - {DType.STRING, DType.BOOL})],
    )
    def test_elements_of_fixed_size_are_not_copied(self, dtype: DType, as_content: bool) -> None:
        body = request_of({"x": sample(dtype)}, as_content=as_content).SerializeToString()

        array = bind(the_short_way(body), X)["x"]

        assert np.shares_memory(array, np.frombuffer(body, np.uint8))

    @pytest.mark.usefixtures("short_cut_only")
    def test_spec_filter_deadline_and_several_inputs_are_read(self) -> None:
        request = request_of(
            {"x": sample(DType.FLOAT), "y": sample(DType.STRING)}, output_filter=["b", "ä", ""]
        )
        request.model_spec.signature_name = "s"
        request.model_spec.version.value = 7

        call = the_short_way(request.SerializeToString())

        assert call.spec == ModelSpec(name="mnist", version=7, signature_name="s")
        assert call.output_filter == ("b", "ä", "")
        assert call.context is CONTEXT
        assert bind(call, XY).keys() == {"x", "y"}

    def test_names_that_do_not_fit_are_refused_when_the_signature_is_known(self) -> None:
        call = the_short_way(request_of({"x": sample(DType.FLOAT)}).SerializeToString())

        with pytest.raises(InvalidArgument, match=r"Missing but required: \{y\}"):
            bind(call, XY)

    def test_inputs_are_refused_by_name_before_they_are_refused_as_broken(self) -> None:
        call = the_short_way(SPEC + entry(FLOAT + SHAPE_2 + field(4, b"cut")))

        with pytest.raises(InvalidArgument, match="input size does not match signature"):
            bind(call, XY)
        with pytest.raises(InvalidArgument, match="tensor parsing error: x"):
            bind(call, X)

    def test_large_tensors_are_on_the_fast_path_if_they_are_read_in_place(self) -> None:
        body = request_of(
            {"x": np.zeros(100_000, np.float32), "y": sample(DType.INT64)}
        ).SerializeToString()

        call = predict_reader.fast_predict_call(body, CONTEXT)

        assert call is not None
        assert outcome(lambda _: call, body) == outcome(the_long_way, body)

    @pytest.mark.parametrize(
        "array",
        [np.full(50_000, 300), np.array([b"s" * 50] * 2_000, object)],
        ids=["integers", "strings"],
    )
    def test_large_tensors_that_must_be_decoded_are_not(self, array: Array) -> None:
        body = request_of({"x": array}).SerializeToString()

        assert predict_reader.fast_predict_call(body, CONTEXT) is None
        assert_agree(body)

    def test_bytes_that_are_no_request_are_refused(self) -> None:
        with pytest.raises(InvalidArgument) as refused:
            the_short_way(b"\x0a\x05mni")

        assert refused.value.code is Code.INVALID_ARGUMENT
        assert str(refused.value) == "The 5 bytes sent are not a tensorflow.serving.PredictRequest"


UNUSUAL = {
    "nothing at all": b"",
    "no model spec": entry(TENSOR),
    "an empty model spec": field(1, b"") + entry(TENSOR),
    "two model specs, which are merged": SPEC + field(1, field(3, b"s")) + entry(TENSOR),
    "a model spec too long to be remembered": field(1, field(1, b"n" * 500)) + entry(TENSOR),
    "a model spec that is not UTF-8": field(1, field(1, b"\xff")),
    "a surrogate in the model spec": field(1, field(1, b"\xed\xa0\x80")),
    "a broken model spec": field(1, b"\x0a\x09mnist") + entry(TENSOR),
    "an input twice": SPEC + entry(TENSOR) + entry(FLOAT + field(5, TWO_FLOATS[:4])),
    "a key that is not UTF-8": SPEC + entry(TENSOR, b"\xc0\x80"),
    "an input without key": SPEC + field(2, field(2, TENSOR)),
    "an input without value": SPEC + field(2, field(1, b"x")),
    "an empty input": SPEC + field(2, b""),
    "the value before the key": SPEC + field(2, field(2, TENSOR) + field(1, b"x")),
    "a key twice": SPEC + field(2, field(1, b"y") + field(1, b"x") + field(2, TENSOR)),
    "a value twice": SPEC + field(2, field(1, b"x") + field(2, TENSOR) + field(2, TENSOR)),
    "something after the value": SPEC + field(2, field(1, b"x") + field(2, TENSOR) + field(9, b"")),
    "an output filter that is not UTF-8": SPEC + field(3, b"\xff"),
    "a client id": SPEC + entry(TENSOR) + field(6, b"me"),
    "streaming options": SPEC + entry(TENSOR) + field(5, b"\x08\x01"),
    "broken request options": SPEC + entry(TENSOR) + field(7, b"\x0a\x09"),
    "an unknown field": SPEC + field(99, b"new") + entry(TENSOR),
    "an unknown number": SPEC + field(99, b"\x05", wire_type=0) + entry(TENSOR),
    "an unknown group": SPEC + b"\x9b\x06\x08\x01\x9c\x06" + entry(TENSOR),
    "a group without end": SPEC + b"\x9b\x06\x08\x01" + entry(TENSOR),
    "an end without group": SPEC + b"\x9c\x06" + entry(TENSOR),
    "groups too deep": SPEC + b"\x9b\x06" * 101 + b"\x9c\x06" * 101,
    "field number 0": SPEC + b"\x02\x00" + entry(TENSOR),
    "wire type 6": SPEC + b"\x0e\x00" + entry(TENSOR),
    "a tag of more bytes than it needs": SPEC + b"\x92\x00" + entry(TENSOR)[1:],
    "a size of more bytes than it needs": b"\x0a\x87\x00" + SPEC[2:] + entry(TENSOR),
    "a size of five bytes": b"\x0a\x87\x80\x80\x80\x00" + SPEC[2:] + entry(TENSOR),
    "a size of six bytes": SPEC + b"\x1a\x85\x80\x80\x80\x80\x00four",
    "a size of ten bytes": b"\x0a\x87" + b"\x80" * 8 + b"\x00" + SPEC[2:] + entry(TENSOR),
    "a size that overflows": SPEC + b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "a size of 2 GiB": SPEC + b"\x12\x80\x80\x80\x80\x08" + entry(TENSOR),
    "an input cut short": SPEC + entry(TENSOR)[:-1],
    "a tensor longer than its entry": SPEC
    + field(2, field(1, b"x") + b"\x12\x40" + TENSOR)
    + field(3, b"y" * 60),
    "a key longer than its entry": SPEC + field(2, b"\x0a\x20x") + field(3, b"y" * 60),
    "a shape longer than its tensor": SPEC + entry(FLOAT + b"\x12\x20") + field(3, b"y" * 60),
    "values longer than their tensor": SPEC
    + entry(FLOAT + SHAPE_2 + b"\x2a\x08")
    + field(3, b"y" * 6),
    "an empty tensor": SPEC + entry(b""),
    "an empty tensor before a filter": SPEC + entry(b"") + field(3, b"y"),
    "a dtype alone": SPEC + entry(FLOAT),
    "no dtype": SPEC + entry(SHAPE_2 + field(5, TWO_FLOATS)),
    "dtype 0": SPEC + entry(b"\x08\x00" + SHAPE_2 + field(5, TWO_FLOATS)),
    "an unknown dtype": SPEC + entry(b"\x08\x7f" + SHAPE_2 + field(5, TWO_FLOATS)),
    "a resource": SPEC + entry(b"\x08\x14" + field(14, field(1, b"cpu"))),
    "a variant": SPEC + entry(b"\x08\x15" + field(15, field(1, b"list"))),
    "a dtype of two bytes": SPEC + entry(b"\x08\x81\x00" + SHAPE_2 + field(5, TWO_FLOATS)),
    "a dtype twice": SPEC + entry(TENSOR + b"\x08\x09"),
    "a dtype of wire type 2": SPEC + entry(field(1, b"\x01") + SHAPE_2 + field(5, TWO_FLOATS)),
    "a shape twice, which is merged": SPEC + entry(TENSOR + SHAPE_2),
    "a shape after the values": SPEC + entry(FLOAT + field(5, TWO_FLOATS) + SHAPE_2),
    "a shape too long to be remembered": SPEC
    + entry(FLOAT + field(2, field(2, b"\x08\x01") * 50) + field(5, TWO_FLOATS[:4])),
    "a shape of too many dimensions": SPEC
    + entry(FLOAT + field(2, b"\x12\x00" * 64 + field(2, b"\x08\x01")) + field(5, TWO_FLOATS[:4])),
    "a broken shape": SPEC + entry(FLOAT + field(2, b"\x12\x09") + field(5, TWO_FLOATS)),
    "an unknown rank": SPEC + entry(FLOAT + field(2, b"\x18\x01") + field(5, TWO_FLOATS)),
    "an unknown rank of one element": SPEC
    + entry(FLOAT + field(2, b"\x18\x01") + field(5, TWO_FLOATS[:4])),
    "named dimensions": SPEC
    + entry(FLOAT + field(2, field(2, b"\x08\x02" + field(2, b"rows"))) + field(5, TWO_FLOATS)),
    "a dimension's name that is not UTF-8": SPEC
    + entry(FLOAT + field(2, field(2, b"\x08\x02" + field(2, b"\xff"))) + field(5, TWO_FLOATS)),
    "two negative dimensions": SPEC
    + entry(
        FLOAT
        + field(2, field(2, b"\x08" + varint(2**64 - 1)) + field(2, b"\x08" + varint(2**64 - 2)))
        + field(5, TWO_FLOATS)
    ),
    "0 times what no array can have": SPEC
    + entry(b"\x08\x07" + field(2, field(2, b"\x08" + varint(2**62)) * 3 + b"\x12\x00")),
    "more elements than bytes there are": SPEC
    + entry(b"\x08\x09" + field(2, field(2, b"\x08" + varint(2**40))) + field(10, b"\x01")),
    "no values, which are zeros": SPEC + entry(FLOAT + SHAPE_2),
    "one value, which is repeated": SPEC + entry(FLOAT + SHAPE_2 + field(5, TWO_FLOATS[:4])),
    "surplus values": SPEC + entry(FLOAT + SHAPE_2 + field(5, TWO_FLOATS * 2)),
    "part of a float": SPEC + entry(FLOAT + SHAPE_2 + field(5, TWO_FLOATS + b"\x00")),
    "an empty packed field": SPEC + entry(FLOAT + SHAPE_2 + field(5, b"")),
    "floats that are not packed": SPEC
    + entry(
        FLOAT
        + SHAPE_2
        + field(5, TWO_FLOATS[:4], wire_type=5)
        + field(5, TWO_FLOATS[4:], wire_type=5)
    ),
    "packed floats in two parts": SPEC
    + entry(FLOAT + SHAPE_2 + field(5, TWO_FLOATS[:4]) + field(5, TWO_FLOATS[4:])),
    "the field of another dtype": SPEC + entry(FLOAT + SHAPE_2 + field(6, TWO_FLOATS * 2)),
    "strings among floats": SPEC + entry(TENSOR + field(8, b"s")),
    "strings where floats belong": SPEC + entry(FLOAT + SHAPE_2 + field(8, b"s") * 2),
    "content and values": SPEC + entry(FLOAT + SHAPE_2 + field(4, b"8 bytes.") + TENSOR[8:]),
    "content that is too short": SPEC + entry(FLOAT + SHAPE_2 + field(4, b"7 bytes")),
    "content that is empty": SPEC + entry(FLOAT + SHAPE_2 + field(4, b"")),
    "content twice": SPEC + entry(FLOAT + SHAPE_2 + field(4, b"8 bytes.") + field(4, b"8 bytes,")),
    "strings as content": SPEC + entry(b"\x08\x07" + SHAPE_2 + field(4, b"\x01\x02abb")),
    "no strings": SPEC + entry(b"\x08\x07" + field(2, field(2, b""))),
    "a string too many": SPEC + entry(b"\x08\x07" + SHAPE_2 + field(8, b"s") * 3),
    "a string too few": SPEC + entry(b"\x08\x07" + SHAPE_2 + field(8, b"s")),
    "a string longer than its tensor": SPEC
    + entry(b"\x08\x07" + field(8, b"s")[:1] + b"\x09s")
    + field(3, b"y" * 7),
    "something between strings": SPEC
    + entry(b"\x08\x07" + SHAPE_2 + field(8, b"s") + b"\x18\x01" + field(8, b"s")),
    "many strings": SPEC
    + entry(b"\x08\x07" + field(2, field(2, b"\x08\x64")) + field(8, b"s") * 100),
    "a version number": SPEC + entry(FLOAT + b"\x18\x01" + SHAPE_2 + field(5, TWO_FLOATS)),
    "bytes that are not 0 or 1 as booleans": SPEC
    + entry(b"\x08\x0a" + SHAPE_2 + field(11, b"\x01\x02")),
    "booleans of more bytes than they need": SPEC
    + entry(b"\x08\x0a" + SHAPE_2 + field(11, b"\x81\x00\x00")),
    "integers of more bytes than they need": SPEC
    + entry(b"\x08\x03" + SHAPE_2 + field(7, b"\x81\x80\x00\x01")),
    "integers of 33 bits": SPEC
    + entry(b"\x08\x03" + SHAPE_2 + field(7, varint(2**32 + 1) + varint(2**33 - 1))),
    "integers of 65 bits": SPEC
    + entry(b"\x08\x09" + SHAPE_2 + field(10, (b"\xff" * 9 + b"\x7f") * 2)),
    "an integer of eleven bytes": SPEC
    + entry(b"\x08\x09" + SHAPE_2 + field(10, b"\x05" + b"\xff" * 10 + b"\x01")),
    "an integer cut short": SPEC + entry(b"\x08\x09" + SHAPE_2 + field(10, b"\x05\xff")),
    "an empty field of integers": SPEC + entry(b"\x08\x09" + SHAPE_2 + field(10, b"")),
    "a two-byte tag cut short": SPEC + entry(b"\x08\x16" + SHAPE_2 + b"\x82"),
    "a crowd of filters": SPEC + field(3, b"y") * 2000 + entry(TENSOR),
}


class TestWhatIsUnusual:
    @pytest.mark.usefixtures("integers_either_way")
    @pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
    def test_it_comes_to_what_protobuf_makes_of_it(self, body: bytes) -> None:
        assert_agree(body)

    @pytest.mark.usefixtures("integers_either_way")
    @pytest.mark.parametrize("end", [b"\xff" * 10 + b"\x01", b"\xff" * 9 + b"\x02", b"\xff"])
    def test_many_integers_with_a_broken_end_come_to_what_protobuf_makes_of_them(
        self, end: bytes
    ) -> None:
        shape = field(2, field(2, b"\x08" + varint(1001)))

        assert_agree(SPEC + entry(b"\x08\x09" + shape + field(10, b"\x80\x01" * 1000 + end)))

    @pytest.mark.usefixtures("integers_either_way")
    def test_a_shape_larger_than_memory_comes_to_what_protobuf_makes_of_it(self) -> None:
        shape = field(2, field(2, b"\x08" + varint(2**40)))

        assert_agree(SPEC + entry(b"\x08\x09" + shape + field(10, b"\x80\x01" * 1000)))

    def test_groups_too_deep_come_to_what_protobuf_makes_of_them(self) -> None:
        for depth in range(40, 110):
            nested = b"\x4b" * depth + b"\x4c" * depth
            assert_agree(field(1, nested))
            assert_agree(SPEC + entry(FLOAT + field(2, nested) + field(5, TWO_FLOATS[:4])))

    @pytest.mark.parametrize(
        "name",
        [
            "a size of more bytes than it needs",
            "a crowd of filters",
            "an input twice",
            "many strings",
            "strings as content",
            "a model spec too long to be remembered",
            "a shape too long to be remembered",
        ],
    )
    def test_it_is_left_to_protobuf(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        parsed = Mock(wraps=parse)
        monkeypatch.setattr(predict_reader, "parse", parsed)

        the_short_way(UNUSUAL[name])

        parsed.assert_called_once_with(PredictRequest, UNUSUAL[name])

    def test_every_cut_of_a_request_comes_to_what_protobuf_makes_of_it(self) -> None:
        body = request_of(
            {"x": sample(DType.INT64), "y": sample(DType.STRING)}, output_filter=["z"]
        ).SerializeToString()

        for end in range(len(body)):
            assert_agree(body[:end])


def corpus() -> Iterator[bytes]:
    """Yield small requests of every kind that is read without protobuf, and some that are not."""
    for dtype in DType:
        yield request_of({"x": sample(dtype)}, output_filter=["z"]).SerializeToString()
        yield request_of({"x": sample(dtype)}, as_content=True).SerializeToString()
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=4, name="rows")])
    yield request_of(
        {
            "x": sample(DType.FLOAT).reshape(3, 1),
            "y": TensorProto(dtype=DataType.DT_INT32, tensor_shape=shape, int_val=[300]),
        }
    ).SerializeToString()


def mutant(generator: random.Random, bodies: Sequence[bytes]) -> bytes:
    """Return a request after one or a few accidents."""
    body = bytearray(generator.choice(bodies))
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        start, end = sorted(generator.randrange(len(body) + 1) for _ in range(2))
        match generator.randrange(7):
            case 0 if body:
                body[generator.randrange(len(body))] ^= 1 << generator.randrange(8)
            case 1 if body:
                body[generator.randrange(len(body))] = generator.choice(b"\x00\x01\x02\x7f\x80\xff")
            case 2:
                body[start:start] = generator.randbytes(generator.randrange(1, 4))
            case 3:
                del body[start : start + generator.randrange(1, 4)]
            case 4:
                body[start:start] = body[start:end]
            case 5:
                other = generator.choice(bodies)
                body[start:] = other[generator.randrange(len(other)) :]
            case _:
                del body[end:]
    return bytes(body)


class TestAccidents:
    @pytest.mark.timeout(600)
    @pytest.mark.usefixtures("integers_either_way")
    def test_mutants_of_requests_come_to_what_protobuf_makes_of_them(self) -> None:
        generator, bodies = random.Random(20_000), list(corpus())

        for _ in range(rounds(1_000)):
            assert_agree(mutant(generator, bodies))

    @pytest.mark.timeout(600)
    @pytest.mark.usefixtures("integers_either_way")
    def test_mutants_of_tensors_come_to_what_protobuf_makes_of_them(self) -> None:
        generator = random.Random(10_000)
        protos = [tensors.encode(sample(dtype)).SerializeToString() for dtype in DType]

        for _ in range(rounds(1_000)):
            assert_agree(SPEC + entry(mutant(generator, protos)))


DIMS = st.builds(TensorShapeProto.Dim, size=st.integers(-1, 4), name=st.sampled_from(["", "n"]))
LOOSE_TENSORS = st.builds(
    TensorProto,
    dtype=st.sampled_from(sorted(DType)) | st.integers(0, 130),
    tensor_shape=st.builds(
        TensorShapeProto,
        dim=st.lists(DIMS, max_size=3),
        unknown_rank=st.sampled_from([False] * 9 + [True]),
    ),
    tensor_content=st.just(b"") | st.binary(max_size=16),
    float_val=st.lists(st.floats(width=32), max_size=4),
    int_val=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    string_val=st.lists(st.binary(max_size=3), max_size=4),
)
REQUESTS = st.builds(
    request_of,
    st.dictionaries(st.sampled_from(["x", "y", "z", ""]), ARRAYS | LOOSE_TENSORS),
    as_content=st.booleans(),
    output_filter=st.lists(st.text(max_size=3), max_size=3),
)

NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 10, 16, 17, 99])
SOUP = st.recursive(
    st.binary(max_size=12),
    lambda payloads: st.lists(
        st.builds(field, NUMBERS, payloads, wire_type=st.sampled_from([2] * 8 + [0, 1, 3, 4, 5])),
        max_size=4,
    ).map(b"".join),
    max_leaves=12,
)


class TestProperties:
    @given(request=REQUESTS)
    def test_requests_come_to_what_protobuf_makes_of_them(self, request: PredictRequest) -> None:
        assert_agree(request.SerializeToString())

    @given(first=REQUESTS, second=REQUESTS)
    def test_requests_one_after_the_other_come_to_what_protobuf_makes_of_them(
        self, first: PredictRequest, second: PredictRequest
    ) -> None:
        assert_agree(first.SerializeToString() + second.SerializeToString())

    @given(body=SOUP)
    def test_any_fields_come_to_what_protobuf_makes_of_them(self, body: bytes) -> None:
        assert_agree(body)
        assert_agree(SPEC + body)
        assert_agree(SPEC + entry(body))
        assert_agree(SPEC + entry(FLOAT + body))


# Answers


def answer_of(outputs: Mapping[str, Array], *, as_content: bool = False) -> bytes:
    spec = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")
    result = PredictResult(spec=spec, outputs=outputs)
    return codec.predict_response(result, as_content=as_content).SerializeToString()


def answered(read: Any, body: bytes) -> Any:
    try:
        result = read(body)
    except SigrunError as error:
        return error.code, str(error)
    return result.spec, {alias: described(array) for alias, array in result.outputs.items()}


def assert_answers_agree(body: bytes) -> None:
    def long(body: bytes) -> PredictResult:
        return client_codec.predict_result(parse_answer(PredictResponse, body))

    def fast(body: bytes) -> PredictResult:
        return predict_reader.fast_predict_result(body) or predict_reader.predict_result(body)

    expected = answered(long, body)
    assert answered(predict_reader.predict_result, body) == expected, body.hex()
    assert answered(fast, body) == expected, body.hex()


@pytest.mark.parametrize("as_content", [False, True], ids=["typed", "as content"])
@pytest.mark.parametrize("repeated", [1, 1_000])
@pytest.mark.parametrize("dtype", sorted(DType))
def test_an_answer_is_read_as_protobuf_reads_it(
    dtype: DType, repeated: int, as_content: bool
) -> None:
    outputs = {"y": sample(dtype, repeated).reshape(3, repeated), "z": sample(DType.FLOAT)}

    assert_answers_agree(answer_of(outputs, as_content=as_content))


def test_an_answer_is_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_reader, "parse_answer", None)
    body = answer_of({"y": np.arange(3, dtype=np.float32)})

    result = predict_reader.predict_result(body)

    assert result.spec == ResolvedSpec(name="mnist", version=3, signature_name="serving_default")
    assert result.outputs["y"].tolist() == [0, 1, 2]


def test_a_long_answer_that_protobuf_must_read_is_not_on_the_fast_path() -> None:
    body = answer_of({"y": np.full(100_000, 300, np.int64)})

    assert predict_reader.fast_predict_result(body) is None


@pytest.mark.parametrize(
    "body", [b"", b"\x0a", b"\xff" * 20, b"\x0a\x02\x0a\x00", b"\x12\x00\x12\x00"]
)
def test_what_is_no_usual_answer_is_judged_by_protobuf(body: bytes) -> None:
    assert_answers_agree(body)


@given(
    outputs=st.dictionaries(st.text(max_size=3), ARRAYS, max_size=3),
    as_content=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_answers_that_are_damaged_are_judged_as_by_protobuf(
    outputs: dict[str, Array], as_content: bool, seed: int
) -> None:
    body = answer_of(outputs, as_content=as_content)
    assert_answers_agree(body)
    choose = random.Random(seed)
    damaged = bytearray(body)
    for _ in range(choose.randint(1, 3)):
        damaged[choose.randrange(len(damaged))] = choose.randrange(256)
    assert_answers_agree(bytes(damaged))
    assert_answers_agree(body[: choose.randrange(len(body))])


def test_a_crowd_of_inputs_is_refused_by_number() -> None:
    request = PredictRequest()
    request.model_spec.name = "m"
    for number in range(predict_reader.MAX_FIELDS - 1):
        request.inputs[f"x{number}"].version_number = 1
    assert predict_reader.predict_call(request.SerializeToString(), INTERNAL) is not None

    request.inputs["one more"].version_number = 1

    with pytest.raises(InvalidArgument, match="more than 10000 inputs and output filters"):
        predict_reader.predict_call(request.SerializeToString(), INTERNAL)
