"""TFRecord: the records of a file, written, and read one at a time with their checksums checked.

A record is a length (8 bytes, little endian), a checksum of that, the data, and a checksum of the
data. A checksum is a CRC-32C, rotated and shifted, so that those of data that hold checksums are
no weaker.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from sigrun.errors import DataLoss, ResourceExhausted

MAX_RECORD_BYTES = 2**31 - 1
"""The most that a message in protobuf may have."""

_HEAD = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """Return the checksum of `data` as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    """Return `record` with what a file has around it."""
    length = struct.pack("<Q", len(record))
    return b"".join(
        (
            length,
            _CHECKSUM.pack(masked_crc32c(length)),
            record,
            _CHECKSUM.pack(masked_crc32c(record)),
        )
    )


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the records of `file`. Blocks.

    Raises `DataLoss` where the file is no TFRecord file, is damaged or ends within a record,
    and `ResourceExhausted` for a record of more than `MAX_RECORD_BYTES`.
    """
    offset = 0
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise DataLoss(f"truncated record at {offset}")
        length, checksum = _HEAD.unpack(head)
        if masked_crc32c(head[:8]) != checksum:
            raise DataLoss(f"corrupted record at {offset}")
        if length > MAX_RECORD_BYTES:
            raise ResourceExhausted(
                f"the record at {offset} has {length} bytes, of {MAX_RECORD_BYTES} at most"
            )
        data = file.read(length)
        end = file.read(_CHECKSUM.size)
        if len(data) < length or len(end) < _CHECKSUM.size:
            raise DataLoss(f"truncated record at {offset}")
        if masked_crc32c(data) != _CHECKSUM.unpack(end)[0]:
            raise DataLoss(f"corrupted record at {offset}")
        yield data
        offset += _HEAD.size + length + _CHECKSUM.size
