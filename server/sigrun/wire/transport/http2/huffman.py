"""HPACK's Huffman code, read a byte at a time.

The library hpack has the code as an automaton that is fed with half bytes. Here two of its steps
are one, remembered when first made: a `grpc-timeout` of 5 bytes takes 0.8 us instead of 2.7, a
request id of 27 bytes 3 us instead of 13.
"""

from __future__ import annotations

from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

_Step = tuple[int, bytes, bool]  # next state << 8, symbols, whether the text may end here

# By state << 8 | byte. There can be 65,536 of them at most; some hundreds are met in practice.
_steps: dict[int, _Step] = {}


def decode(text: bytes) -> bytes:
    """Return what a code stands for; raise ValueError if it is none."""
    state = 0
    may_end = True
    symbols = []
    for byte in text:
        step = _steps.get(state | byte)
        if step is None:
            step = _steps[state | byte] = _step(state >> 8, byte)
        state, some, may_end = step
        symbols.append(some)
    if not may_end:
        raise ValueError("a Huffman code that is cut off")
    return b"".join(symbols)


def _step(state: int, byte: int) -> _Step:
    symbols = []
    flags = 0
    for half in (byte >> 4, byte & 0xF):
        state, flags, symbol = HUFFMAN_TABLE[state << 4 | half]
        if flags & HUFFMAN_FAIL:
            raise ValueError("a wrong Huffman code")
        if flags & HUFFMAN_EMIT_SYMBOL:
            symbols.append(symbol)
    return state << 8, bytes(symbols), bool(flags & HUFFMAN_COMPLETE)
