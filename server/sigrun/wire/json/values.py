"""Single JSON values, for error messages: what type one is, and how its text begins."""

from __future__ import annotations

import itertools
import json
from typing import Any

from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json.lists import LargeList

_EXCERPT_CHARACTERS = 256


def json_type(value: Any) -> str:
    """Return the type of a value, as TensorFlow Serving names it."""
    match value:
        case None:
            return "Null"
        case bool():
            return str(value)
        case str():
            return "String"
        case list() | LargeList():
            return "Array"
        case dict():
            return "Object"
        case _:
            return "Number"


def excerpt(value: Any) -> str:
    """Return the beginning of `value` as JSON text.

    Raises `NotOnFastPath` if an array of packed numbers is in it.
    """
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False, default=_beginning).iterencode(value):
        text += piece
        if len(text) > _EXCERPT_CHARACTERS:  # the rest may be megabytes, or nested too deep
            return text[:_EXCERPT_CHARACTERS] + "..."
    return text


def _beginning(value: Any) -> Any:
    if not isinstance(value, LargeList):
        raise NotOnFastPath
    return list(itertools.islice(value, _EXCERPT_CHARACTERS))
