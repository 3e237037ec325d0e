"""Predict's bytes: the server's own codecs judge what the client writes and reads."""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.concurrency.pace import keep_on
from sigrun.inference.calls import Arrays, PredictResult, ResolvedSpec
from sigrun.inference.context import INTERNAL
from sigrun.tensors.signature import Array, DType, Signature, TensorSpec, dtype_of
from sigrun.wire.protobuf import predict_reader, predict_writer
from sigrun_client import InvalidReply, _predict
from sigrun_client._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun_client._tensors import as_array
from tests.arrays import assert_same
from tests.samples import ARRAYS, sample

SPEC = ResolvedSpec(name="mnist", version=3, signature_name="serving_default")
EITHER_WAY = pytest.mark.parametrize("as_content", [False, True], ids=["typed", "as content"])


def as_the_server_reads(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return what the server makes of the client's request."""
    arrays = {alias: as_array(alias, array, None) for alias, array in inputs.items()}
    body = _predict.request(ModelSpec(name="mnist"), arrays, ["y"])
    call = predict_reader.predict_call(body, INTERNAL)
    assert call.spec.name == "mnist"
    assert call.output_filter == ("y",)
    infos = {
        alias: TensorSpec(name="", dtype=dtype_of(array), shape=None)
        for alias, array in inputs.items()
    }
    signature = Signature(name="s", method_name="", inputs=infos, outputs={})
    sent = call.inputs
    return sent.by_alias if isinstance(sent, Arrays) else sent.bind(signature, keep_on)


def as_the_client_reads(outputs: Mapping[str, Array], *, as_content: bool) -> dict[str, Array]:
    """Return what the client makes of the server's reply."""
    body = predict_writer.predict_response(
        PredictResult(spec=SPEC, outputs=outputs), as_content=as_content
    )
    spec, arrays = _predict.reply(body)
    assert (spec.name, spec.version.value, spec.signature_name) == ("mnist", 3, "serving_default")
    return arrays


def readable(array: Array) -> Array:
    """Return an array as the client hands it out."""
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array


@pytest.mark.parametrize("repeated", [1, 100, 30_000])
@pytest.mark.parametrize("dtype", sorted(DType))
def test_the_server_reads_what_the_client_writes(dtype: DType, repeated: int) -> None:
    array = sample(dtype, repeated).reshape(3, repeated)

    assert_same(as_the_server_reads({"x": array})["x"], array)


@EITHER_WAY
@pytest.mark.parametrize("repeated", [1, 100, 30_000])
@pytest.mark.parametrize("dtype", sorted(DType))
def test_the_client_reads_what_the_server_writes(
    dtype: DType, repeated: int, as_content: bool
) -> None:
    array = sample(dtype, repeated).reshape(3, repeated)

    outputs = as_the_client_reads({"y": array, "z": array[:1]}, as_content=as_content)

    assert_same(outputs["y"], readable(array))
    assert_same(outputs["z"], readable(array[:1]))


@given(st.dictionaries(st.text(max_size=5), ARRAYS, min_size=1, max_size=3))
def test_any_tensors_arrive(arrays: dict[str, Array]) -> None:
    arrived = as_the_server_reads(arrays)
    answered = as_the_client_reads(arrays, as_content=False)

    for alias, array in arrays.items():
        assert_same(arrived[alias], array)
        assert_same(answered[alias], array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(60_000, dtype=np.float32).reshape(200, 300).T,
        np.arange(60_000, dtype=np.float32)[::2],
        np.arange(6, dtype=">i4"),
        np.array(2.5, np.float32),
        np.empty((0, 3), np.float32),
    ],
    ids=["transposed", "strided", "big-endian", "scalar", "empty"],
)
def test_memory_of_any_layout_arrives(array: Array) -> None:
    native = array.astype(array.dtype.newbyteorder("="))

    assert_same(as_the_server_reads({"x": native})["x"], native)
    arrays = {"x": as_array("x", array, None)}
    body = _predict.request(ModelSpec(), arrays, [])
    assert body == _predict.request(ModelSpec(), {"x": as_array("x", native, None)}, [])


def test_a_large_array_is_a_view_of_the_reply() -> None:
    array = np.arange(100_000, dtype=np.float32)

    outputs = as_the_client_reads({"y": array}, as_content=False)

    assert not outputs["y"].flags.owndata
    assert not outputs["y"].flags.writeable


def test_small_arrays_are_read_only_as_large_ones_are() -> None:
    outputs = as_the_client_reads({"y": np.arange(3), "s": sample(DType.STRING)}, as_content=False)

    assert not any(array.flags.writeable for array in outputs.values())


@pytest.mark.parametrize("count", [3, 100_000])
def test_a_reply_that_is_cut_short_is_refused(count: int) -> None:
    body = predict_writer.predict_response(
        PredictResult(spec=SPEC, outputs={"y": np.arange(count, dtype=np.float32)}),
        as_content=False,
    )

    for size in (len(body) - 1, 5):
        with pytest.raises(InvalidReply):
            _predict.reply(body[:size])


@given(st.data())
def test_a_reply_with_wrong_bytes_is_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(
        predict_writer.predict_response(
            PredictResult(spec=SPEC, outputs={"y": np.arange(20_000, dtype=np.float32)}),
            as_content=data.draw(st.booleans()),
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, 60))] = data.draw(st.integers(0, 255))

    try:
        _, outputs = _predict.reply(bytes(body))
    except InvalidReply:
        return
    assert all(isinstance(array, np.ndarray) for array in outputs.values())
