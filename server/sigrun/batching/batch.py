"""Put the arrays of several requests together, and take the answers apart.

In: arrays of requests, one list each, in the order of the tensors. Out: the arrays of one
batch; and from its outputs the rows of each request. Pure. Which requests may be put together is
decided in `merging`. TensorFlow Serving puts requests of any shapes into one batch and then fails
them all; here no request fails because of those it runs with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sigrun.errors import FailedPrecondition
from sigrun.tensors.signature import Array

ALIGNMENT_BYTES = 64
"""TensorFlow reads an array in place if it begins at a multiple of this."""

Arrays = Sequence[Array]


class IndivisibleOutputs(FailedPrecondition):
    """A batch has outputs that cannot be divided among its requests."""


def assemble(requests: Sequence[Arrays], *, rows: int) -> list[Array]:
    """Return the arrays of all `requests` one after the other, padded to `rows` rows.

    Rows that nobody sent are copies of the first row of the last request. Other dimensions
    are made as long as the longest by repeating an array's first element at their end. Of scalars,
    which are equal, one is left.
    """
    return [_concatenated(arrays, rows) for arrays in zip(*requests, strict=True)]


def misfit(outputs: Arrays, *, rows: int) -> Array | None:
    """Return the first output that has not one entry for each of `rows` rows, if there is one."""
    for output in outputs:
        if output.shape[:1] != (rows,):
            return output
    return None


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


def _concatenated(arrays: Arrays, rows: int) -> Array:
    if not arrays[0].ndim:
        return arrays[0]
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
    return tuple(map(max, zip(*(array.shape[1:] for array in arrays), strict=True)))


def _copy_padded(arrays: Arrays, batch: Array) -> None:
    start = 0
    for array in arrays:
        part = batch[start : start + len(array)]
        if part.shape != array.shape:
            part.fill(array.flat[0])
        part[tuple(map(slice, array.shape))] = array
        start += len(array)
