"""The words of a command line -> the inputs of a signature, and examples."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sigrun_client import _tensors
from sigrun_client._errors import InvalidInput
from sigrun_client._metadata import Signature, TensorInfo
from sigrun_client._tensors import BFLOAT16, STRING, TensorLike

Read = Callable[[str], bytes]
"""Returns the contents of a file, `-` being standard input."""

_B64 = "b64"
_NAME = re.compile(r"\w[\w./-]*")


def inputs(words: Sequence[str], signature: Signature, read: Read) -> dict[str, TensorLike]:
    """Return the inputs that the words stand for, as arrays where numpy has the dtype.

    Raises `InvalidInput`.
    """
    found: dict[str, TensorLike] = {}
    for word in words:
        for alias, value in _values(word, signature, read):
            info = signature.inputs.get(alias)
            if info is None:
                raise _unknown(alias, signature)
            found[alias] = _tensor(alias, value, info)
    return found


def _unknown(alias: str, signature: Signature) -> InvalidInput:
    return InvalidInput(f"signature {signature.name!r} takes {_names(signature)}; not {alias!r}")


def _values(word: str, signature: Signature, read: Read) -> Iterator[tuple[str, Any]]:
    """Yield the inputs in one word, each as text or as what a file or JSON holds."""
    document = _document(word, read)
    if isinstance(document, dict) and _B64 not in document:
        yield from document.items()
        return
    alias, value = _split(word, signature)
    info = signature.inputs[alias]
    if document is not None:
        yield alias, document
    elif value.startswith("@"):
        yield alias, _file(alias, value[1:], info, read)
    else:
        yield alias, _text(alias, value, info)


def _document(word: str, read: Read) -> Any:
    """Return the JSON that a whole word stands for, or None."""
    if word.startswith("{"):
        return _json("the inputs", word)
    if word == "-" or (word.startswith("@") and word.endswith(".json")):
        return _json(word, read(word.removeprefix("@")).decode())
    return None


def _split(word: str, signature: Signature) -> tuple[str, str]:
    """Return name and value; the name of the only input where none is there."""
    alias, equals, value = word.partition("=")
    if equals and alias in signature.inputs:
        return alias, value
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"{word!r} names no input; signature {signature.name!r} takes {_names(signature)}"
        )
    ((only, info),) = signature.inputs.items()
    # A text may well have an equals sign in it. Other values never have one, nor is a text
    # likely to look like the name of a file for an input.
    if equals and _NAME.fullmatch(alias) and (info.dtype != STRING or value.startswith("@")):
        raise _unknown(alias, signature)
    return only, word


def _names(signature: Signature) -> str:
    return ", ".join(f"{name}: {info}" for name, info in signature.inputs.items()) or "no inputs"


def _text(alias: str, value: str, info: TensorInfo) -> Any:
    if info.dtype == STRING and not value.startswith(("[", '"', "{")):
        return value
    return _json(f"input {alias!r}", value)


def _file(alias: str, path: str, info: TensorInfo, read: Read) -> Any:
    contents = read(path)
    match Path(path).suffix.lower():
        case ".npy":
            try:
                return np.load(io.BytesIO(contents), allow_pickle=False)
            except (ValueError, EOFError) as error:
                raise InvalidInput(f"{path} is no array of numpy: {error}") from None
        case ".json":
            return _json(path, contents.decode())
        case _ if info.dtype == STRING:
            return contents
        case _:
            raise InvalidInput(
                f"input {alias!r} takes {info}: give it as .npy or .json, not as {path}"
            )


def _json(what: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{what}: {text[:40]!r} is not JSON: {error}") from None


def _tensor(alias: str, value: Any, info: TensorInfo) -> TensorLike:
    """Return a value checked and as an array; as one row where a batch is wanted."""
    value = _with_bytes(value)
    _, array = _tensors.as_array(alias, value, info.dtype)
    shape = info.shape or ()
    is_row = shape[:1] == (None,) and array.ndim == len(shape) - 1
    if info.dtype == BFLOAT16:  # whose bits numpy would take for integers
        return [value] if is_row else value
    return array[np.newaxis] if is_row else array


def _with_bytes(value: Any) -> Any:
    """Return a JSON value with bytes in place of its base64 objects."""
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if isinstance(value, dict) and value.keys() == {_B64}:
        try:
            return base64.b64decode(value[_B64], validate=True)
        except (binascii.Error, TypeError) as error:
            raise InvalidInput(f"this is no base64: {error}") from None
    return value


def examples(words: Sequence[str], read: Read) -> list[Mapping[str, Any]]:
    """Return the examples that the words stand for. Raises `InvalidInput`."""
    found: list[Mapping[str, Any]] = []
    for word in words:
        is_file = word == "-" or word.startswith("@")
        document = _json("an example", read(word.removeprefix("@")).decode() if is_file else word)
        found += document if isinstance(document, list) else [document]
    return [example(document) for document in found]


def example(document: Any) -> Mapping[str, Any]:
    """Return the features in a JSON value. Raises `InvalidInput` unless it is an object."""
    if not isinstance(document, dict):
        raise InvalidInput(f"an example is a JSON object of features, not {document!r}")
    return {name: _with_bytes(value) for name, value in document.items()}


def context(text: str) -> Mapping[str, Any]:
    """Return the features that all examples share. Raises `InvalidInput`."""
    return example(_json("the context", text))
