"""Bodies of classify and regress; the table of rules has what they may hold."""

from __future__ import annotations

import json

import pytest

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument
from sigrun.wire.rest import examples_body


def test_a_context_stands_before_each_example() -> None:
    body = {"context": {"c": 1}, "examples": [{"a": 2}, {"c": 3}]}

    read = examples_body.read(json.dumps(body).encode(), keep_on)

    first, second = (Example.FromString(example).features.feature for example in read.examples)
    assert first["c"].int64_list.value == [1]
    assert second["c"].int64_list.value == [3]


def test_a_small_body_does_not_become_huge() -> None:
    body = {"context": {"c": "x" * 200_000}, "examples": [{}] * 66_000}

    with pytest.raises(InvalidArgument, match="bytes for each of 66000 examples"):
        examples_body.read(json.dumps(body).encode(), keep_on)


def test_large_bodies_are_read_like_small_ones() -> None:
    examples = [{"a": [number, number + 1], "t": "text"} for number in range(20_000)]
    body = json.dumps({"examples": examples}).encode()

    read = examples_body.read(body, keep_on)

    assert len(read.examples) == 20_000
    assert Example.FromString(read.examples[-1]).features.feature["a"].int64_list.value == [
        19_999,
        20_000,
    ]
