"""Heads that repeat are found again, and never mistaken for others."""

from __future__ import annotations

import hpack
from hypothesis import given
from hypothesis import strategies as st

from sigrun.wire.transport.http2.heads import Heads
from sigrun.wire.transport.limits import Limits
from tests.fakes.http2_peer import REQUEST


def blocks(*requests: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    """Return the header blocks of a client that puts everything into the table."""
    encoder = hpack.Encoder()
    return [encoder.encode(request) for request in requests]


def test_the_same_block_is_the_same_head() -> None:
    heads = Heads(Limits())
    first, second, third = blocks(REQUEST, REQUEST, REQUEST)
    assert second == third

    assert heads.request(first).head is heads.request(second).head is heads.request(third).head


def test_the_same_block_means_something_else_when_the_table_has_changed() -> None:
    heads = Heads(Limits())
    first, newest, other, same_bytes = blocks(
        (*REQUEST, (b"a", b"1")),
        (*REQUEST, (b"a", b"1")),
        (*REQUEST, (b"a", b"2")),
        (*REQUEST, (b"a", b"2")),
    )
    for block in (first, newest):
        assert heads.request(block).head.headers == {b"a": b"1"}

    assert heads.request(other).head.headers == {b"a": b"2"}
    assert heads.request(same_bytes).head.headers == {b"a": b"2"}


def test_calls_that_differ_in_their_timeout_share_their_base() -> None:
    heads = Heads(Limits())
    found = [
        heads.request(block).head
        for block in blocks(
            *[(*REQUEST, (b"grpc-timeout", b"%dm" % n), (b"a", b"b")) for n in range(3)]
        )
    ]

    assert [head.headers[b"grpc-timeout"] for head in found] == [b"0m", b"1m", b"2m"]
    assert found[0].base is not None
    assert found[0].base is found[1].base is found[2].base
    assert found[0].base.headers == {b"a": b"b"}
    assert found[0].target == b"/a"


def test_a_varying_header_may_come_twice() -> None:
    heads = Heads(Limits())

    (block,) = blocks((*REQUEST, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")))

    assert heads.request(block).head.headers == {b"tracestate": b"a=1, b=2"}


values = st.sampled_from([b"1", b"2", b"3", b"x" * 1500])
extra = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"grpc-timeout", b"x-request-id"]), values), max_size=4
)


@given(st.lists(st.tuples(extra, st.booleans()), max_size=30))
def test_what_is_remembered_is_what_would_be_read(
    requests: list[tuple[list[tuple[bytes, bytes]], bool]],
) -> None:
    heads, encoder, decoder = Heads(Limits()), hpack.Encoder(), hpack.Decoder()

    for fields, is_indexed in requests:
        wrap = hpack.HeaderTuple if is_indexed else hpack.NeverIndexedHeaderTuple
        block = encoder.encode([*REQUEST, *[wrap(*field) for field in fields]])
        expected: dict[bytes, bytes] = {}
        for name, value in list(decoder.decode(block, raw=True))[len(REQUEST) :]:
            known = expected.get(bytes(name))
            expected[bytes(name)] = bytes(value) if known is None else known + b", " + bytes(value)
        assert heads.request(block).head.headers == expected
