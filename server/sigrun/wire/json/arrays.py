"""A JSON value -> an array of a dtype: the nesting of its lists is the shape.

In: a value as `document` reads it. Out: one tensor. The rules of an API are its own: how it
names inputs, which objects stand for bytes, and what a refusal says; `NotAnArray` has the
facts for it.

The fast path takes nested lists level by level: all items of a level must be lists of one
length, or all of them values that numpy converts at once. That takes a few calls for each
level, and none for each element. The general path looks at each element in the order of the
text. It is taken for what is wrong somewhere, and finds the first mistake.
"""

from __future__ import annotations

import array as plain_array
import enum
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sigrun.concurrency.pace import Pace
from sigrun.errors import SigrunError
from sigrun.tensors.signature import MAX_RANK, Array, DType
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json.lists import LargeList, is_list, parts
from sigrun.wire.json.numbers import FLOATS, INTEGERS, Numbers

Shape = tuple[int, ...]
OfObject = Callable[[Mapping[str, Any], Pace], bytes]
"""Returns the bytes that an object stands for; raises a `SigrunError` if it stands for none."""

_LIST = {list}
_LARGE: frozenset[type] = frozenset((LargeList, Numbers))
_EMPTY: frozenset[type] = frozenset()
_CONCATENATED_AT_ONCE = 16  # arrays of strings, of some thousand elements each

# The types of the values that can be elements; nothing can be one of the dtypes that are not here.
_TYPES: Mapping[DType | None, frozenset[type]] = {
    DType.BOOL: frozenset((bool,)),
    DType.STRING: frozenset((str, dict)),
    **dict.fromkeys(FLOATS, frozenset((float, int))),
    **dict.fromkeys(INTEGERS, frozenset((int,))),
}


class Fault(enum.Enum):
    """What is wrong with a value."""

    NO_JSON_FORM = enum.auto()  # no value is an element of that dtype
    WRONG_TYPE = enum.auto()  # of an element, or beyond the range of the dtype
    VALUE_TOO_HIGH = enum.auto()  # where all others at that level are lists
    LIST_TOO_DEEP = enum.auto()  # where all others at that level are values
    WRONG_SIZE = enum.auto()  # of a list
    TOO_MANY_LEVELS = enum.auto()


class NotAnArray(Exception):
    """A value is no tensor of the dtype.

    `value` is the part of it that is wrong. `level` is in how many lists it stands; `expected`
    is how many levels there should be, or of what size the list.
    """

    def __init__(self, fault: Fault, value: Any, *, level: int = 0, expected: int = 0) -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.value = value
        self.level = level
        self.expected = expected


def array(
    value: Any,
    dtype: DType | None,
    pace: Pace,
    of_object: OfObject,
    *,
    max_rank: int = MAX_RANK,
) -> Array:
    """Return `value`, a scalar or evenly nested lists, as a tensor.

    A dtype of None is one that requests cannot carry. Raises `NotAnArray` for what is uneven
    or of another type, what `of_object` raises, and `NotOnFastPath` if only Python values in
    the place of packed numbers can tell what is wrong.
    """
    try:
        tensor = fast(value, dtype, pace, of_object)
        if tensor.ndim <= max_rank:
            return tensor
    except (NotOnFastPath, SigrunError):
        pass
    shape = _shape_of(value, max_rank)
    walk = _Walk(shape, dtype, pace, of_object)
    walk.take(value, level=0)
    return walk.vector().reshape(shape)


def concatenated(arrays: list[Array], pace: Pace) -> Array:
    """Return the arrays, all of one element shape, one after the other; empties the list."""
    if len(arrays) == 1:
        return arrays.pop()
    size = sum(map(len, arrays))
    whole: Array = np.empty((size, *arrays[0].shape[1:]), arrays[0].dtype)
    stop = size
    # From the end, and each is freed at once: of strings, numpy would hold the GIL for all.
    while arrays:
        last = arrays.pop()
        whole[stop - len(last) : stop] = last
        stop -= len(last)
        if len(arrays) % _CONCATENATED_AT_ONCE == 0:
            pace()
    return whole


def fast(value: Any, dtype: DType | None, pace: Pace, of_object: OfObject) -> Array:
    """Return what `array` returns. Raises `NotOnFastPath` for whatever is not even and right."""
    kind = type(value)
    if kind is list:
        return _of_list(value, dtype, pace, of_object)
    if isinstance(value, Numbers):
        if dtype is None:
            raise NotOnFastPath
        return value.array(dtype, pace)
    if isinstance(value, LargeList):
        return _of_large_list(value, dtype, pace, of_object)
    return _elements([value], {kind}, dtype, pace, of_object).reshape(())


def _of_list(values: list[Any], dtype: DType | None, pace: Pace, of_object: OfObject) -> Array:
    shape = [len(values)]
    kinds = set(map(type, values))
    while kinds == _LIST:
        sizes = set(map(len, values))
        if len(sizes) != 1 or len(shape) >= MAX_RANK:
            raise NotOnFastPath
        shape += sizes
        values = list(itertools.chain.from_iterable(values))
        kinds = set(map(type, values))
    if kinds.isdisjoint(_LARGE):
        elements = _elements(values, kinds, dtype, pace, of_object)
        return elements if len(shape) == 1 else elements.reshape(shape)
    parts = [fast(value, dtype, pace, of_object) for value in values]
    (element_shape, *others) = {part.shape for part in parts}
    if others or len(shape) + len(element_shape) > MAX_RANK:
        raise NotOnFastPath
    return concatenated([part.reshape(1, -1) for part in parts], pace).reshape(
        *shape, *element_shape
    )


def _of_large_list(
    values: LargeList, dtype: DType | None, pace: Pace, of_object: OfObject
) -> Array:
    arrays: list[Array] = []
    for part in values.parts(pace):
        arrays.append(_of_list(part, dtype, pace, of_object))
        if arrays[-1].shape[1:] != arrays[0].shape[1:]:
            raise NotOnFastPath
    return concatenated(arrays, pace)


def _elements(
    values: list[Any], kinds: set[type], dtype: DType | None, pace: Pace, of_object: OfObject
) -> Array:
    """Return `values`, which are of these types, as a vector."""
    if not kinds <= _TYPES.get(dtype, _EMPTY) or dtype is None:
        raise NotOnFastPath
    if dtype is DType.FLOAT:
        # Beyond its range is infinity, which numpy warns of.
        return np.frombuffer(plain_array.array("f", values), np.float32)
    if dtype is DType.STRING:
        return _strings(values, kinds, pace, of_object)
    try:
        if dtype in _NARROW_FLOATS:
            with np.errstate(over="ignore"):
                return np.array(values, np.float64).astype(dtype.numpy)
        return np.array(values, dtype.numpy)
    except OverflowError:  # an integer beyond the range of the dtype
        raise NotOnFastPath from None


_NARROW_FLOATS = frozenset((DType.HALF, DType.BFLOAT16))


def _strings(values: list[Any], kinds: set[type], pace: Pace, of_object: OfObject) -> Array:
    if dict in kinds:
        encoded = [v.encode() if type(v) is str else of_object(v, pace) for v in values]
    else:
        encoded = list(map(str.encode, values))
    vector: Array = np.empty(len(values), object)
    vector[:] = encoded
    return vector


def _shape_of(value: Any, max_rank: int) -> Shape:
    shape: list[int] = []
    while is_list(value):
        shape.append(len(value))
        value = next(iter(value), None)
        if len(shape) > max_rank:
            raise NotAnArray(Fault.TOO_MANY_LEVELS, value, expected=max_rank)
    return (*shape, *value.shape) if isinstance(value, Numbers) else tuple(shape)


class _Walk:
    """The general path: collects elements in the order of the text, and checks each list."""

    def __init__(self, shape: Shape, dtype: DType | None, pace: Pace, of_object: OfObject) -> None:
        self._shape = shape
        self._dtype = dtype
        self._pace = pace
        self._of_object = of_object
        self._vectors: list[Array] = []

    def take(self, value: Any, level: int) -> None:
        """Take all elements of `value`, which stands in so many lists."""
        rank = len(self._shape)
        if not is_list(value):
            self._take_element(value, level)
            return
        if level >= rank:
            raise NotAnArray(Fault.LIST_TOO_DEEP, value, level=level, expected=rank)
        if len(value) != self._shape[level]:
            raise NotAnArray(Fault.WRONG_SIZE, value, level=level, expected=self._shape[level])
        for part in parts(value, self._pace):
            # Most are as they should be: parts of a large list, and lists of elements.
            is_nested = part is value and level + 1 < rank
            if is_nested or not self._took_whole(part, level + 1):
                for element in part:
                    self.take(element, level + 1)

    def vector(self) -> Array:
        """Return all elements."""
        if not self._vectors:
            return np.empty(0, object if self._dtype is None else self._dtype.numpy)
        return concatenated(self._vectors, self._pace)

    def _take_element(self, value: Any, level: int) -> None:
        if isinstance(value, Numbers):
            raise NotOnFastPath
        rank = len(self._shape)
        if level != rank:
            raise NotAnArray(Fault.VALUE_TOO_HIGH, value, level=level, expected=rank)
        if self._dtype not in _TYPES:
            raise NotAnArray(Fault.NO_JSON_FORM, value)
        try:
            vector = _elements([value], {type(value)}, self._dtype, self._pace, self._of_object)
        except NotOnFastPath:
            raise NotAnArray(Fault.WRONG_TYPE, value) from None
        self._vectors.append(vector)

    def _took_whole(self, part: list[Any], level: int) -> bool:
        try:
            array = _of_list(part, self._dtype, self._pace, self._of_object)
        except (NotOnFastPath, SigrunError):
            return False
        if array.shape[1:] != self._shape[level:]:
            return False
        self._vectors.append(array.reshape(-1))
        return True
