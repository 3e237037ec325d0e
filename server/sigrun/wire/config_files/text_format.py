"""Read a configuration file in protobuf text format; a mistake is named by line and column."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from sigrun._gen import POOL
from sigrun.errors import InvalidArgument, NotFound
from sigrun.wire.config_files.bounded import read_bounded

_MAX_BYTES = 64 * 1024 * 1024

MessageT = TypeVar("MessageT", bound=Message)


def read_message(path: Path, kind: type[MessageT]) -> MessageT:
    """Return the message of type `kind` that the file holds; an empty file is an empty one.

    Raises `NotFound` if it cannot be opened, `InvalidArgument` if it is too large or does not
    parse.
    """
    try:
        text = read_bounded(path, _MAX_BYTES).decode()
    except OSError as error:
        raise NotFound(f"{path}; {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"Invalid protobuf file: '{path}': {error}") from None
    try:
        return text_format.Parse(text, kind(), descriptor_pool=POOL)
    except text_format.ParseError as error:
        raise InvalidArgument(
            f"Invalid protobuf file: '{path}'\n"
            f"Error parsing text-format {kind.DESCRIPTOR.full_name}: {_position(error)}"
        ) from None


def _position(error: text_format.ParseError) -> str:
    """Return the mistake as `LINE:COL: text`."""
    text = str(error)
    place = f"{error.GetLine()}:{error.GetColumn()} : "
    return f"{error.GetLine()}:{error.GetColumn()}: {text.removeprefix(place)}"
