"""The bytes of a message as they came from a socket."""

from __future__ import annotations

Body = bytes | bytearray
