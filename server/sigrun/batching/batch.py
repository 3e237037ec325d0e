"""Put the arrays of several requests together, and take the answers apart.

In: arrays of requests, one list each, in the order of the tensors. Out: the arrays of one
batch; and from its outputs the rows of each request. Pure; codes and texts are TensorFlow
Serving's.

Requests run together when their form is equal: what of their shapes must agree. Without
variable-length padding those are all dimensions but the first, with it only the ranks. TensorFlow
Serving puts requests of any form into one batch and then fails them all; here each form
has batches of its own, so that no request fails for the company it is in. An array that
cannot be padded (empty, or of rank above 6) is in company with its exact shape only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from sigrun.errors import FailedPrecondition, InvalidArgument
from sigrun.tensors.signature import Array

ALIGNMENT_BYTES = 64
"""TensorFlow reads an array in place if it begins at a multiple of this."""

_MAX_PADDED_RANK = 6

Arrays = Sequence[Array]


class IndivisibleOutputs(FailedPrecondition):
    """A batch has outputs that do not belong to its rows, one each."""


def rows_of(arrays: Arrays) -> int:
    """Return the size of the first dimension, which all arrays of a request share.

    Raises `InvalidArgument` where there is none.
    """
    if not arrays:
        raise InvalidArgument("Batching Run() must have at least one input tensor")
    for array in arrays:
        if not array.ndim:
            raise InvalidArgument("Batching Run() input tensors must have at least one dimension")
    rows = len(arrays[0])
    for array in arrays:
        if len(array) != rows:
            raise InvalidArgument("Batching Run() input tensors must have equal 0th-dimension size")
    return rows


def form_of(arrays: Arrays, *, pad: bool) -> Hashable:
    """Return what must be equal for requests to run together; `pad`: lengths may vary."""
    if pad:
        return tuple([_padded_form(array) for array in arrays])
    return tuple([array.shape[1:] for array in arrays])


def assemble(requests: Sequence[Arrays], *, rows: int) -> list[Array]:
    """Return the arrays of all `requests` one after the other, padded to `rows` rows.

    Rows that nobody sent are copies of the first row of the last request. Other dimensions
    are made as long as the longest by repeating an array's first element at their end.

    Raises `InvalidArgument` for arrays that would have to be padded and cannot be.
    """
    return [_concatenated(arrays, rows) for arrays in zip(*requests, strict=True)]


def check_outputs(outputs: Arrays, *, rows: int) -> None:
    """Raise `IndivisibleOutputs` unless every output has an entry for each of `rows` rows."""
    for output in outputs:
        if not output.ndim:
            raise IndivisibleOutputs("Batched output tensor has 0 dimensions")
        if len(output) != rows:
            raise IndivisibleOutputs(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                "dimension sizes of the input tensors"
            )


def split(outputs: Arrays, sizes: Sequence[int]) -> list[list[Array]]:
    """Return for each request its rows of `outputs`, which are views; padding is left out."""
    shares = []
    start = 0
    for size in sizes:
        stop = start + size
        shares.append([output[start:stop] for output in outputs])
        start = stop
    return shares


def join(pieces: Sequence[Arrays]) -> list[Array]:
    """Return the outputs of a request that was cut, whose pieces are given in order."""
    return [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Return an array without values that begins where TensorFlow reads it in place."""
    if dtype.hasobject:
        return np.empty(shape, dtype)
    room = np.empty(math.prod(shape) * dtype.itemsize + ALIGNMENT_BYTES, np.uint8)
    offset = -room.ctypes.data % ALIGNMENT_BYTES
    return np.ndarray(shape, dtype, buffer=room, offset=offset)


def _padded_form(array: Array) -> Hashable:
    if array.ndim > _MAX_PADDED_RANK or not array.size:
        return array.shape[1:]
    return array.ndim


def _concatenated(arrays: Arrays, rows: int) -> Array:
    shapes = {array.shape[1:] for array in arrays}
    inner = next(iter(shapes)) if len(shapes) == 1 else _longest(arrays)
    batch = aligned_empty((rows, *inner), arrays[0].dtype)
    size = sum(map(len, arrays))
    if len(shapes) == 1:
        np.concatenate(arrays, out=batch[:size])
    else:
        _copy_padded(arrays, batch)
    if size < rows:
        batch[size:] = batch[size - len(arrays[-1])]
    return batch


def _longest(arrays: Arrays) -> tuple[int, ...]:
    """Return the greatest length of each dimension but the first."""
    for array in arrays:
        if array.ndim > _MAX_PADDED_RANK:
            raise InvalidArgument("Only tensors with rank from 1 to 6 can be padded.")
        if not array.size:
            raise InvalidArgument("Got empty tensor in batch of non-empty tensors.")
    return tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))


def _copy_padded(arrays: Arrays, batch: Array) -> None:
    start = 0
    for array in arrays:
        part = batch[start : start + len(array)]
        if part.shape != array.shape:
            part.fill(array.flat[0])
        part[tuple(map(slice, array.shape))] = array
        start += len(array)
