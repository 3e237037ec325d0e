"""Inputs made up from what a signature says, for runs that nobody asked for."""

from __future__ import annotations

import math

import numpy as np

from sigrun.tensors.signature import Array, DType, Signature, TensorSpec

LARGEST_INPUT = 2**22
"""Elements; making up a larger input would cost more than it shows."""


def made_up_inputs(signature: Signature, *, rows: int, value: int) -> dict[str, Array] | None:
    """Return an array for each input, filled with `value`; strings are empty.

    A free first dimension, that of the batch, has `rows`; others that are free have 1. Inputs
    with a default have that. None where an input does not say of what shape it has to be, or
    has more than `LARGEST_INPUT` elements.
    """
    inputs: dict[str, Array] = {}
    for alias, spec in signature.inputs.items():
        array = signature.defaults.get(alias)
        if array is None:
            array = _filled(spec, rows, value)
        if array is None:
            return None
        inputs[alias] = array
    return inputs


def has_open_batch(signature: Signature) -> bool:
    """Return whether every input has a free first dimension, so that any number of rows fits."""
    shapes = [spec.shape for spec in signature.inputs.values()]
    return bool(shapes) and all(shape and shape[0] is None for shape in shapes)


def _filled(spec: TensorSpec, rows: int, value: int) -> Array | None:
    if spec.shape is None or spec.dtype is None:
        return None
    shape = [
        (rows if index == 0 else 1) if size is None else size
        for index, size in enumerate(spec.shape)
    ]
    if math.prod(shape) > LARGEST_INPUT:
        return None
    content = b"" if spec.dtype is DType.STRING else value
    return np.full(shape, content, dtype=spec.dtype.numpy)
