"""A JSON predict body, read in two steps: its text now, its values once the signature is known.

There are two readers, and the body chooses. `json_inputs` reads everything, through Python
values; it alone says what a body means and what is wrong with it. The quick way is for
bodies with large arrays of numbers: those are taken out of the text and read by
`json_numbers`, and the little that is left is read as ever, with a mark where each was. On
any doubt, and for every error, the body is read again by `json_inputs`, in slices if it is
large.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import MutableMapping, MutableSequence
from typing import Any

import orjson

from sigrun.concurrency.pace import SLICE_BYTES, Pace, give_way
from sigrun.errors import SigrunError
from sigrun.tensors.signature import Array, Signature
from sigrun.wire.body import Body
from sigrun.wire.json import inputs, numbers, values
from sigrun.wire.json.numbers import Numbers
from sigrun.wire.json.syntax import Doubt
from sigrun.wire.json.values import Document

_S_PER_BYTE = 6e-9

# Below them Python values are the quicker way.
_QUICK_BODY_BYTES = 4096
_QUICK_ARRAY_BYTES = 4096

# In larger bodies they may be smaller: slower then, but they do not hold up others.
_LARGE_BODY_BYTES = 1024 * 1024

# Where an array was; no client knows it, so that none can send it.
_MARK = secrets.token_hex(16)


class PredictBody:
    """A body whose text is right; made by `read`."""

    def __init__(self, document: Document, text: Body | None, cost_s: float) -> None:
        self.cost_s = cost_s
        self._document = document
        self._text = text  # where the document was read the quick way
        self.is_row = "instances" in document
        self.signature_name = values.signature_name(document)

    def bind(self, signature: Signature, pace: Pace) -> dict[str, Array]:
        """Return the inputs in the body. Raises as `inputs.predict_inputs` does."""
        if self._text is not None:
            with contextlib.suppress(Doubt, SigrunError):
                return inputs.predict_inputs(self._document, signature)
            self._document, self._text = inputs.predict_document(self._text), None
        return inputs.predict_inputs(self._document, signature)


def cost_s(text: Body) -> float:
    """Return the time that reading the body will take, and about the same for binding it."""
    return len(text) * _S_PER_BYTE


def read(text: Body, pace: Pace) -> PredictBody:
    """Read a predict body. Raises `InvalidArgument` unless it is an object that names its target.

    What is wrong with its values is said when they are asked for.
    """
    if len(text) >= _QUICK_BODY_BYTES:
        with contextlib.suppress(Doubt, SigrunError):
            return _read_quickly(text)
    return PredictBody(inputs.predict_document(text), None, cost_s(text))


def _read_quickly(text: Body) -> PredictBody:
    rest, arrays = _take_out(text)
    if len(rest) >= _LARGE_BODY_BYTES:
        raise Doubt
    try:
        document = orjson.loads(rest)
    except orjson.JSONDecodeError:
        raise Doubt from None
    if not isinstance(document, dict):
        raise Doubt
    _put_back(document, arrays)
    return PredictBody(document, text, cost_s(text))


def _take_out(text: Body) -> tuple[bytes, list[Numbers]]:
    """Return `text` with a marked array, `["mark0"]`, for each of the arrays of numbers."""
    is_large = len(text) >= _LARGE_BODY_BYTES
    spans = numbers.spans(text, _QUICK_ARRAY_BYTES // 4 if is_large else _QUICK_ARRAY_BYTES)
    if not spans:
        raise Doubt
    rest: list[bytes] = []
    arrays: list[Numbers] = []
    position = unpaused = 0
    with memoryview(text) as view:
        for number, (start, stop) in enumerate(spans):
            arrays.append(numbers.read_numbers(view[start:stop]))
            rest += (bytes(view[position:start]), b'["%s%d"]' % (_MARK.encode(), number))
            unpaused += stop - position
            position = stop
            if unpaused > SLICE_BYTES:
                give_way()
                unpaused = 0
        rest.append(bytes(view[position:]))
    return b"".join(rest), arrays


def _put_back(document: dict[str, Any], arrays: list[Numbers]) -> None:
    """Put each array where its mark is. Raises `Doubt` if one is where no tensor can be."""
    places: list[MutableMapping[str, Any] | MutableSequence[Any]] = [document]
    inputs, instances = document.get("inputs"), document.get("instances")
    if isinstance(inputs, dict):
        places.append(inputs)
    if isinstance(instances, list):
        places.append(instances)
        places += [element for element in instances if isinstance(element, dict)]
    if sum(_put_back_in(place, arrays) for place in places) != len(arrays):
        raise Doubt


def _put_back_in(place: Any, arrays: list[Numbers]) -> int:
    """Replace the marks in a dict or list. Return how many there were."""
    count = 0
    for key, value in place.items() if isinstance(place, dict) else enumerate(place):
        if type(value) is list and len(value) == 1 and type(value[0]) is str:
            mark, _, number = value[0].partition(_MARK)
            if number and not mark:
                place[key] = arrays[int(number)]  # of a key that is there: nothing moves
                count += 1
    return count
