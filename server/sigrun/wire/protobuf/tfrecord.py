"""TFRecord: records of bytes in a file, each between its length and its checksums.

    length   8 bytes, little-endian
    crc      4 bytes, of the length
    record
    crc      4 bytes, of the record

A checksum is CRC-32C, rotated and shifted, so that those of data that hold checksums are no weaker.
"""

from __future__ import annotations

import struct

import google_crc32c

_MASK = 0xA282EAD8

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def frame(record: bytes) -> bytes:
    """Return `record` as it stands in a file."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _CRC.pack(_masked(length)), record, _CRC.pack(_masked(record))))


def _masked(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
