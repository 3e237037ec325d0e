"""Requests that are nearly right: seeds, and what chance does to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_ODD_BYTES = (
    b"\x00",
    b"\xff" * 8,
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # a varint that is as long as one can be
    b"\xff\xff\xff\xff\x0f",  # one of 32 bits
    b"9" * 400,
    b"-1e999",
    b"[" * 100,
    b'{"a":' * 50,
    b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "é\u2028\U0001f600".encode(),
)


def mutated(chance: random.Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """Return `seed` with one to four changes; parts of other `seeds` may come into it."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):  # what is hardly wrong comes furthest
        chance.choice(_CHANGES)(chance, data, seeds)
    return bytes(data)


def _flip(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin = chance.randrange(len(data) + 1)
    del data[begin : begin + chance.randrange(1, 9)]


def _repeat(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    begin = chance.randrange(len(data) + 1)
    part = data[begin : begin + chance.randrange(1, 30)]
    data[begin:begin] = part * chance.randrange(1, 20)


def _insert(chance: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice([chance.randbytes(chance.randrange(1, 9)), *_ODD_BYTES])


def _splice(chance: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at, other = chance.randrange(len(data) + 1), chance.choice(seeds)
    data[at:at] = other[chance.randrange(len(other) + 1) :][:60]


_CHANGES: Sequence[Callable[[random.Random, bytearray, Sequence[bytes]], None]] = (
    _flip,
    _cut,
    _remove,
    _repeat,
    _insert,
    _splice,
)
