"""Bytes of a Predict answer: they must parse to the message that protobuf would have made."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun.concurrency.offload import LOOP_BUDGET_S
from sigrun.errors import Unimplemented
from sigrun.inference.calls import ModelSpec, PredictResult, ResolvedSpec
from sigrun.tensors.signature import Array, DType
from sigrun.wire.protobuf import client_codec, codec, predict_writer, tensors
from tests.arrays import assert_same
from tests.samples import ARRAYS, SAMPLES, sample

SPEC = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")
EITHER_WAY = pytest.mark.parametrize("as_content", [False, True], ids=["typed", "as content"])


def result(outputs: Mapping[str, Array], spec: ResolvedSpec = SPEC) -> PredictResult:
    return PredictResult(spec=spec, outputs=outputs)


def written(outputs: Mapping[str, Array], *, as_content: bool = False) -> bytes:
    body = predict_writer.predict_response(result(outputs), as_content=as_content)
    for _ in range(2):  # when the answer is new, and when one like it is remembered
        small = predict_writer.small_predict_response(result(outputs), as_content=as_content)
        assert small is None or small == body
    return body


def by_protobuf(outputs: Mapping[str, Array], *, as_content: bool = False) -> bytes:
    message = codec.predict_response(result(outputs), as_content=as_content)
    return message.SerializeToString()


def assert_same_message(actual: bytes, expected: bytes) -> None:
    """Fail unless both parse to the same; in one order of outputs the bytes are the same too."""
    in_order = [
        PredictResponse.FromString(body).SerializeToString(deterministic=True)
        for body in (actual, expected)
    ]
    assert in_order[0] == in_order[1]
    assert len(actual) == len(expected)


@EITHER_WAY
@pytest.mark.parametrize("repeated", [1, 100, 1_000, 10_000])
@pytest.mark.parametrize("dtype", sorted(DType))
def test_one_output_is_the_bytes_that_protobuf_writes(
    dtype: DType, repeated: int, as_content: bool
) -> None:
    outputs = {"y": sample(dtype, repeated).reshape(3, repeated)}

    assert written(outputs, as_content=as_content) == by_protobuf(outputs, as_content=as_content)


@EITHER_WAY
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 0, 2)], ids=str)
@pytest.mark.parametrize("dtype", sorted(DType))
def test_a_scalar_or_no_element_is_the_bytes_that_protobuf_writes(
    dtype: DType, shape: tuple[int, ...], as_content: bool
) -> None:
    outputs = {"y": np.full(shape, SAMPLES[dtype][2], dtype.numpy)}

    assert written(outputs, as_content=as_content) == by_protobuf(outputs, as_content=as_content)


@pytest.mark.parametrize("size", [100, 5_000], ids=["short", "long"])
def test_strings_of_any_length_are_the_bytes_that_protobuf_writes(size: int) -> None:
    outputs = {"y": np.array([b"a" * size, b"", b"b" * (size * 3)], object)}

    assert written(outputs) == by_protobuf(outputs)


@pytest.mark.parametrize("value", [0, 100, 127, 128, 300, 2**21, -1])
@pytest.mark.parametrize("count", [1, 150, 151, 2_000])
def test_integers_of_any_length_are_the_bytes_that_protobuf_writes(count: int, value: int) -> None:
    outputs = {"y": np.full(count, value, np.int64)}

    assert written(outputs) == by_protobuf(outputs)


@EITHER_WAY
@pytest.mark.parametrize("rows", [3, 300], ids=["small", "large"])
@pytest.mark.parametrize("dtype", sorted(DType))
def test_elements_are_written_in_the_order_of_the_array(
    dtype: DType, rows: int, as_content: bool
) -> None:
    array = sample(dtype, rows * 2).reshape(-1, rows)

    for view in (array.T, array[::2, ::-1]):
        expected = {"y": view.copy()}
        assert written({"y": view}, as_content=as_content) == written(
            expected, as_content=as_content
        )


def test_read_only_arrays_are_written() -> None:
    array = np.zeros(5_000, np.float32)
    array.flags.writeable = False

    assert written({"y": array}) == by_protobuf({"y": array})


@EITHER_WAY
@pytest.mark.parametrize(
    ("outputs", "is_small"),
    [
        ({"y": sample(DType.FLOAT, 100)}, True),
        ({"y": sample(DType.FLOAT, 5_000)}, False),
        ({"y": sample(DType.INT64, 1)}, False),
        ({"y": sample(DType.FLOAT, 1), "z": sample(DType.FLOAT, 1)}, False),
        ({"y": np.zeros(0, np.float32)}, False),
    ],
    ids=["floats", "many floats", "integers", "two outputs", "nothing"],
)
def test_only_one_small_array_is_written_at_once(
    outputs: Mapping[str, Array], is_small: bool, as_content: bool
) -> None:
    small = predict_writer.small_predict_response(result(outputs), as_content=as_content)

    assert (small is not None) is is_small


def test_answers_of_another_version_or_shape_are_not_taken_for_those_that_are_remembered() -> None:
    other = SPEC._replace(version=4)
    one, two = np.zeros(1, np.float32), np.zeros((1, 1), np.float32)

    for spec, array in ((SPEC, one), (other, one), (SPEC, two), (SPEC, one)):
        answer = result({"y": array}, spec)
        expected = codec.predict_response(answer, as_content=False).SerializeToString()

        assert predict_writer.small_predict_response(answer, as_content=False) == expected


def test_several_outputs_are_the_message_that_protobuf_writes() -> None:
    outputs = {f"output {dtype.label} ä": sample(dtype) for dtype in DType}

    assert_same_message(written(outputs), by_protobuf(outputs))


def test_no_output_is_written() -> None:
    assert written({}) == by_protobuf({})


@pytest.mark.parametrize(
    "spec",
    [
        ResolvedSpec(name="", version=0),
        ResolvedSpec(name="n" * 200, version=2**40, signature_name="s" * 200),
    ],
    ids=["short", "long"],
)
def test_any_spec_is_the_bytes_that_protobuf_writes(spec: ResolvedSpec) -> None:
    answer = result({"y": sample(DType.FLOAT)}, spec)

    body = predict_writer.predict_response(answer, as_content=False)

    assert body == codec.predict_response(answer, as_content=False).SerializeToString()


@pytest.mark.parametrize("alias", ["", "y" * 127, "y" * 128, "y" * 20_000])
def test_any_alias_is_the_bytes_that_protobuf_writes(alias: str) -> None:
    outputs = {alias: sample(DType.FLOAT)}

    assert written(outputs) == by_protobuf(outputs)


@pytest.mark.parametrize(
    ("outputs", "as_content", "long"),
    [
        ({"y": np.zeros(100_000, np.float32)}, False, False),
        ({"y": np.zeros(2_000_000, np.float32)}, False, True),
        ({"x": np.zeros(1, np.float32), "y": np.zeros(100_000, np.int64)}, False, True),
        ({"y": np.zeros(100_000, np.int64)}, True, False),
        ({"y": np.full(10_000, b"s", object)}, True, True),
        ({"y": np.full(100, b"s", object)}, False, False),
    ],
    ids=["floats", "many floats", "integers", "integers as content", "many strings", "strings"],
)
def test_only_much_that_must_be_encoded_or_copied_takes_long(
    outputs: dict[str, Array], as_content: bool, long: bool
) -> None:
    assert (predict_writer.cost_s(outputs.values(), as_content=as_content) > LOOP_BUDGET_S) is long


def test_an_element_type_without_wire_form_is_unimplemented() -> None:
    with pytest.raises(Unimplemented, match="float8_e4m3fn"):
        written({"y": np.zeros(2, ml_dtypes.float8_e4m3fn)})


def test_a_string_that_is_not_bytes_is_refused_as_by_protobuf() -> None:
    outputs = {"y": np.array(["text"], object)}

    with pytest.raises(TypeError):
        by_protobuf(outputs)
    with pytest.raises(TypeError):
        written(outputs)


def test_an_answer_is_an_entry_for_each_output_and_then_the_spec() -> None:
    memory = np.array([[1.0, 2.0]], np.float32).tobytes()
    shape = b"\x12\x08" + b"\x12\x02\x08\x01" + b"\x12\x02\x08\x02"
    tensor = b"\x08\x01" + shape + b"\x2a\x08" + memory
    spec = b"\x0a\x05mnist" + b"\x12\x02\x08\x03" + b"\x1a\x0fserving_default"

    body = written({"y": np.array([[1.0, 2.0]], np.float32)})

    assert body == b"\x0a\x1b" + b"\x0a\x01y" + b"\x12\x16" + tensor + b"\x12\x1c" + spec


@given(
    outputs=st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4),
    as_content=st.booleans(),
)
def test_answers_are_the_message_that_protobuf_writes(
    outputs: dict[str, Array], as_content: bool
) -> None:
    assert_same_message(
        written(outputs, as_content=as_content), by_protobuf(outputs, as_content=as_content)
    )


# Requests


@pytest.mark.parametrize("repeated", [1, 10_000])
@pytest.mark.parametrize("dtype", sorted(DType))
def test_a_request_is_the_bytes_that_protobuf_writes(dtype: DType, repeated: int) -> None:
    spec = ModelSpec(name="mnist", label="stable", signature_name="classify")
    inputs = {"x": sample(dtype, repeated).reshape(3, repeated)}

    body = predict_writer.predict_request(spec, inputs, ("y", "z" * 200))

    expected = client_codec.predict_request(spec, inputs, ("y", "z" * 200))
    assert body == expected.SerializeToString()


@given(inputs=st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_requests_are_read_as_they_were_meant(inputs: dict[str, Array]) -> None:
    spec = ModelSpec(name="mnist", version=3)

    body = predict_writer.predict_request(spec, inputs)

    message = PredictRequest.FromString(body)
    assert codec.target(message) == spec
    assert message.inputs.keys() == inputs.keys()
    for alias, proto in message.inputs.items():
        assert_same(tensors.decode(alias, proto), inputs[alias])


def test_only_requests_with_many_strings_or_much_memory_take_long() -> None:
    def takes_long(array: Array) -> bool:
        return predict_writer.cost_s([array], as_content=True) > LOOP_BUDGET_S

    assert not takes_long(np.zeros(100_000, np.int64))
    assert takes_long(np.zeros(1_000_000, np.int64))
    assert takes_long(np.full(10_000, b"s", object))
