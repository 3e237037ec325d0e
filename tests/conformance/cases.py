"""The cases, read from `cases/*.json`, and their form of a tensor as numpy has it.

README.md in this folder describes the files. An agent, which is one way of asking a server,
turns a request into a reply of the same form, or raises `Failure`; `check` compares.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

Document = Mapping[str, Any]
Agent = Callable[[str, Document], Document]
"""Sends the request of a method; returns its reply."""

FOLDER = Path(__file__).parent / "cases"

DTYPES: dict[str, np.dtype[Any]] = {
    "DT_FLOAT": np.dtype(np.float32),
    "DT_DOUBLE": np.dtype(np.float64),
    "DT_INT32": np.dtype(np.int32),
    "DT_UINT8": np.dtype(np.uint8),
    "DT_INT16": np.dtype(np.int16),
    "DT_INT8": np.dtype(np.int8),
    "DT_STRING": np.dtype(object),
    "DT_COMPLEX64": np.dtype(np.complex64),
    "DT_INT64": np.dtype(np.int64),
    "DT_BOOL": np.dtype(np.bool_),
    "DT_BFLOAT16": np.dtype(ml_dtypes.bfloat16),
    "DT_UINT16": np.dtype(np.uint16),
    "DT_COMPLEX128": np.dtype(np.complex128),
    "DT_HALF": np.dtype(np.float16),
    "DT_UINT32": np.dtype(np.uint32),
    "DT_UINT64": np.dtype(np.uint64),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Failure(Exception):
    """The server refused: the name of the canonical code, and its text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and what must come of it: a reply or an error.

    `rest` is None where JSON answers alike, False where it can't ask that, and otherwise
    says how its error differs. `raw`: only bare messages can ask it.
    """

    method: str
    name: str
    request: Document
    reply: Document | None
    error: Document | None
    rest: Any
    raw: bool

    def check(self, agent: Agent) -> None:
        """Fail unless `agent` brings the reply, or is refused with the error."""
        if self.error is None:
            same(agent(self.method, self.request), self.reply)
            return
        with pytest.raises(Failure) as failure:
            agent(self.method, self.request)
        assert failure.value.code == self.error["code"]
        same_text(failure.value.message, self.error)


def cases(*methods: str) -> list[Any]:
    """Return the cases of these methods, all by default, as parameters of a test."""
    return [
        pytest.param(case, id=f"{case.method}: {case.name}")
        for path in sorted(FOLDER.glob("*.json"))
        if path.stem in methods or not methods
        for case in _read(path)
    ]


def _read(path: Path) -> list[Case]:
    document = json.loads(path.read_text(encoding="utf-8"))
    return [
        Case(
            method=document["method"],
            name=case["name"],
            request=case["request"],
            reply=case.get("reply"),
            error=case.get("error"),
            rest=case.get("rest"),
            raw=case.get("raw", False),
        )
        for case in document["cases"]
    ]


def same(actual: Any, expected: Any) -> None:
    """Fail unless both are the same data; scores and values of examples may be a hair off."""
    if isinstance(expected, dict) and ("message" in expected or "contains" in expected):
        same_text(actual["message"], expected)
        expected = {**expected, "message": actual["message"]}
        expected.pop("contains", None)
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            same(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert math.isclose(actual, expected, rel_tol=1e-6), (actual, expected)
        assert math.copysign(1, actual) == math.copysign(1, expected)
    else:
        assert actual == expected


def same_text(actual: str, expected: Document) -> None:
    """Fail unless a message is the expected one, or holds the expected part."""
    if "contains" in expected:
        assert expected["contains"] in actual
    else:
        assert actual == expected["message"]


def array(tensor: Document) -> NDArray[Any]:
    """Return a tensor of a case as an array; strings are objects of bytes."""
    dtype = DTYPES[tensor["dtype"]]
    values = np.empty(len(tensor["values"]), dtype)
    values[:] = [_element(value, dtype) for value in tensor["values"]]
    return values.reshape(tensor["shape"])


def _element(value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return raw_bytes(value)
    if dtype.kind == "c":
        return complex(float(value[0]), float(value[1]))
    if dtype.kind in "iu":
        return int(value)
    if dtype.kind == "b":
        return value
    return float(value)


def raw_bytes(value: Any) -> bytes:
    """Return a string of a case, which is text or base64, as bytes."""
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()


def tensor(values: NDArray[Any]) -> Document:
    """Return an array in the form of the cases."""
    return {
        "dtype": _NAMES[values.dtype],
        "shape": list(values.shape),
        "values": [_value(value, values.dtype) for value in values.reshape(-1).tolist()],
    }


def _value(value: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return text_or_base64(value)
    if dtype.kind == "c":
        return [number(value.real), number(value.imag)]
    if dtype.itemsize == 8 and dtype.kind in "iu":
        return str(value)
    return number(value) if isinstance(value, float) else value


def text_or_base64(value: bytes) -> Any:
    """Return bytes in the form of the cases: as text where they are UTF-8."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
    return {"b64": base64.b64encode(value).decode()} if "\0" in text else text


def number(value: float) -> Any:
    """Return a float in the form of the cases."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
