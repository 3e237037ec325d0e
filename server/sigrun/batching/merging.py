"""Decide which requests may be merged, from what a signature declares.

In: the declared shapes of a signature's tensors; then the arrays of one request at a time. Out:
how many rows a request has, and the form that it must share with those it is merged with. Pure.

A row is one entry of the first dimension. Merging lays the rows of several requests one after the
other and hands each caller its own rows of the outputs. That is right only where a model computes
every row by itself, which nobody can see from outside. What can be seen is what the model declares:
a first dimension that is left open, in every input and every output, is how a signature says that
it takes batches. `[1,2]` is not one of two rows; an output `[4]` is not one row for each of four
callers. A signature that declares anything else is never merged, nor is a request that is not of
the declared ranks.

Scalar inputs (a threshold, a mode) are fed once for the whole batch, so only requests with equal
ones meet.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from sigrun.tensors.signature import Array, Signature, TensorSpec

_MAX_PADDED_RANK = 6
_MAX_COMPARED_BYTES = 1024  # of a scalar; strings can be whole files


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRule:
    """What requests for one set of tensors must share to run together.

    `inputs` are the declared shapes of the inputs, in the order in which `rows` and `form` take
    the arrays. With `pad`, open dimensions may differ. `objection` says why nothing is merged.
    """

    inputs: tuple[tuple[int | None, ...] | None, ...]
    pad: bool
    objection: str | None

    @property
    def merges(self) -> bool:
        """Whether any requests may run together."""
        return self.objection is None

    def rows(self, arrays: Sequence[Array]) -> int:
        """Return how many rows a request has, or 0 if it has to run by itself."""
        if self.objection is not None:
            return 0
        rows = -1
        for array, declared in zip(arrays, self.inputs, strict=True):
            shape = array.shape
            if declared is not None and len(shape) != len(declared):
                return 0
            if not shape:
                if declared is None:
                    return 0
                continue  # a scalar, as declared
            if rows < 0:
                rows = shape[0]
            elif rows != shape[0]:
                return 0
        return max(0, rows)

    def form(self, arrays: Sequence[Array]) -> Hashable | None:
        """Return what must be equal for requests with rows to run together; None: nothing is."""
        form: list[Hashable] = []
        for array, declared in zip(arrays, self.inputs, strict=True):
            if not array.ndim:
                value = _scalar_value(array)
                if value is None:
                    return None
                form.append(value)
            elif self.pad and _may_be_padded(array, declared):
                form.append(array.ndim)
            else:
                form.append(array.shape[1:])
        return tuple(form)

    def without_merging(self, objection: str) -> MergeRule:
        """Return the rule under which every request runs by itself."""
        return replace(self, objection=objection)


def merge_rule(
    signature: Signature, outputs: Sequence[str], tensors: Sequence[str], *, pad: bool
) -> MergeRule:
    """Return the rule for requests that feed `tensors`, by name, and fetch `outputs`, by alias."""
    shapes = {spec.name: spec.shape for spec in signature.inputs.values()}
    return MergeRule(
        inputs=tuple(shapes[name] for name in tensors),
        pad=pad,
        objection=_objection(signature, outputs),
    )


def _objection(signature: Signature, outputs: Sequence[str]) -> str | None:
    for alias, spec in signature.inputs.items():
        if spec.shape and spec.shape[0] is not None:
            return f"input {alias!r} is declared {spec}, whose first dimension is fixed"
    if all(spec.shape == () for spec in signature.inputs.values()):
        return "no input has a first dimension"
    for alias in outputs:
        spec = signature.outputs[alias]
        if not _is_open(spec):
            what = "whose first dimension is fixed" if spec.shape else "without a first dimension"
            return f"output {alias!r} is declared {spec}, {what}"
    return None


def _is_open(spec: TensorSpec) -> bool:
    return spec.shape is None or (bool(spec.shape) and spec.shape[0] is None)


def _scalar_value(array: Array) -> Hashable | None:
    """Return the value of a scalar as what compares fast, or None if it is too large."""
    if array.dtype != object:
        return array.tobytes()  # not the number: NaN is not equal to itself, and 0.0 is to -0.0
    value = array.item()
    return value if isinstance(value, bytes) and len(value) <= _MAX_COMPARED_BYTES else None


def _may_be_padded(array: Array, declared: tuple[int | None, ...] | None) -> bool:
    """Tell whether the array has values to pad with, and its size where one is declared."""
    if array.ndim > _MAX_PADDED_RANK or not array.size:
        return False
    # Padding an array whose size is wrong would turn a mistake into an answer.
    return declared is None or all(
        size is None or size == length
        for size, length in zip(declared[1:], array.shape[1:], strict=True)
    )
