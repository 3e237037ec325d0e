from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigrun.errors import DataLoss, ResourceExhausted
from sigrun.wire.tfrecord import framed, read_records


def records(content: bytes) -> list[bytes]:
    return list(read_records(io.BytesIO(content)))


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_was_framed_is_read(written: list[bytes]) -> None:
    assert records(b"".join(map(framed, written))) == written


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_is_data_loss(record: bytes, data: st.DataObject) -> None:
    content = bytearray(framed(record))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1

    with pytest.raises(DataLoss, match="corrupted record at 0"):
        records(bytes(content))


@given(st.binary(max_size=100), st.data())
def test_a_file_that_ends_within_a_record_is_data_loss(record: bytes, data: st.DataObject) -> None:
    content = framed(record)

    with pytest.raises(DataLoss, match="truncated record at 0"):
        records(content[: data.draw(st.integers(1, len(content) - 1))])


def test_a_record_that_no_message_can_fill_is_refused_before_it_is_read() -> None:
    import struct

    from sigrun.wire.tfrecord import masked_crc32c

    length = struct.pack("<Q", 2**31)
    head = length + struct.pack("<I", masked_crc32c(length))

    with pytest.raises(ResourceExhausted, match="2147483648 bytes"):
        records(head)
