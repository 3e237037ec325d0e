"""Header blocks are read as the library hpack reads them, and written so that it can."""

from __future__ import annotations

import re

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from sigrun.wire.transport.http2 import huffman
from sigrun.wire.transport.http2.frames import ConnectionFault
from sigrun.wire.transport.http2.header_blocks import (
    Decoder,
    answer_block,
    content_length,
    encode,
)

_HUGE_INTEGER = re.compile(rb"[\x80-\xff]{5}")

huffman_encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode

names = st.sampled_from([b":path", b":status", b"accept", b"grpc-timeout", b"a", b"b" * 50])
values = st.sampled_from([b"", b"/", b"200", b"1S", b"x" * 200, b"y" * 3900]) | st.binary(
    max_size=9
)
fields = st.tuples(names, values)
field_lists = st.lists(fields, max_size=8).map(tuple)


def hpack_decode(decoder: hpack.Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return what the library makes of a block."""
    try:
        return [(bytes(n), bytes(v)) for n, v in decoder.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


def our_decode(decoder: Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return what we make of a block."""
    try:
        return decoder.decode(block)
    except ConnectionFault:
        return None


@given(
    st.lists(st.tuples(field_lists, st.booleans(), st.none() | st.integers(0, 4096)), max_size=12)
)
def test_what_an_encoder_writes_is_read(
    blocks: list[tuple[tuple[tuple[bytes, bytes], ...], bool, int | None]],
) -> None:
    encoder, decoder = hpack.Encoder(), Decoder(4096)

    for headers, is_huffman, table_size in blocks:
        if table_size is not None:
            encoder.header_table_size = table_size
        assert decoder.decode(encoder.encode(headers, huffman=is_huffman)) == list(headers)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_read_as_the_library_reads_them(blocks: list[bytes]) -> None:
    library, ours = hpack.Decoder(max_header_list_size=2**31), Decoder(4096)

    for block in blocks:
        expected, got = hpack_decode(library, block), our_decode(ours, block)
        if got is None and _HUGE_INTEGER.search(block):
            break  # the library takes integers of any length
        assert got == expected
        if expected is None:
            break


@given(field_lists, st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_block_is_read_as_the_library_reads_it(
    headers: tuple[tuple[bytes, bytes], ...], at: int, byte: int
) -> None:
    block = bytearray(hpack.Encoder().encode(headers))
    block[at : at + 1] = bytes([byte])

    expected = hpack_decode(hpack.Decoder(max_header_list_size=2**31), bytes(block))

    assert our_decode(Decoder(4096), bytes(block)) == expected


def test_a_huge_integer_is_an_error() -> None:
    with pytest.raises(ConnectionFault, match="huge integer"):
        Decoder(4096).decode(b"\x3f" + b"\x80" * 10 + b"\x00")


@given(st.binary(max_size=40))
def test_huffman_codes_are_read(text: bytes) -> None:
    assert huffman.decode(huffman_encode(text)) == text


@given(st.binary(max_size=20))
def test_any_bytes_are_read_as_huffman_codes_as_the_library_does(code: bytes) -> None:
    try:
        expected = decode_huffman(code)
    except hpack.HPACKDecodingError:
        with pytest.raises(ValueError, match="Huffman"):
            huffman.decode(code)
    else:
        assert huffman.decode(code) == expected


@given(field_lists)
def test_what_is_written_can_be_read_with_any_table(
    headers: tuple[tuple[bytes, bytes], ...],
) -> None:
    decoder = hpack.Decoder()
    decoder.decode(hpack.Encoder().encode([(b"some", b"thing")]))
    entries = list(decoder.header_table.dynamic_entries)

    assert hpack_decode(decoder, encode(headers)) == list(headers)
    assert list(decoder.header_table.dynamic_entries) == entries


@pytest.mark.parametrize("status", [200, 204, 206, 404, 431, 503])
def test_a_status_is_written(status: int) -> None:
    block = answer_block(status, ((b"content-type", b"application/grpc"),)) + content_length(17)

    assert hpack_decode(hpack.Decoder(), block) == [
        (b":status", b"%d" % status),
        (b"content-type", b"application/grpc"),
        (b"content-length", b"17"),
    ]


def test_a_larger_table_than_announced_is_an_error_once_the_peer_knows() -> None:
    decoder = Decoder(100)
    encoder = hpack.Encoder()
    decoder.decode(encoder.encode([(b"a", b"b")]))
    decoder.settings_known()

    with pytest.raises(ConnectionFault, match="larger than allowed"):
        decoder.decode(encoder.encode([(b"a", b"b")]))


def test_a_smaller_table_drops_its_oldest_entries() -> None:
    decoder = Decoder(100)
    encoder = hpack.Encoder()
    decoder.decode(encoder.encode([(b"a", b"1"), (b"a", b"2"), (b"a", b"3")]))
    decoder.settings_known()
    encoder.header_table_size = 100

    assert decoder.decode(encoder.encode([(b"a", b"3"), (b"a", b"2"), (b"a", b"1")])) == [
        (b"a", b"3"),
        (b"a", b"2"),
        (b"a", b"1"),
    ]
