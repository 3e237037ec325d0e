"""The face of JSON: which reader is chosen, what it costs, and what happens on both paths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument
from sigrun.wire.fast_path import NotOnFastPath
from sigrun.wire.json import document
from sigrun.wire.json.lists import LargeList
from sigrun.wire.json.numbers import Numbers

NUMBERS = json.dumps({"x": [0.5] * 10_000, "y": "text"}).encode()
STRINGS = json.dumps({"x": ["text"] * 100_000}).encode()
BUDGET_S = 200e-6


def kind_of_x(members: Mapping[str, Any]) -> type:
    return type(members["x"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b'{"x": [1, 2]}', list), (NUMBERS, Numbers), (STRINGS, LargeList)],
    ids=["small", "numbers", "large"],
)
def test_the_reader_is_chosen_by_what_the_body_is(body: bytes, kind: type) -> None:
    assert document.read(body, keep_on).convert(kind_of_x, keep_on) is kind


def test_what_fails_on_the_fast_path_is_done_again_on_the_general_path() -> None:
    seen: list[type] = []

    def convert(members: Mapping[str, Any]) -> str:
        seen.append(kind_of_x(members))
        if seen[-1] is Numbers:
            raise NotOnFastPath
        return "done"

    found = document.read(NUMBERS, keep_on)

    assert found.convert(convert, keep_on) == "done"
    assert seen == [Numbers, list]


def test_what_fails_on_the_general_path_is_raised() -> None:
    def convert(members: Mapping[str, Any]) -> None:
        raise InvalidArgument(kind_of_x(members).__name__)

    with pytest.raises(InvalidArgument, match=r"^list$"):
        document.read(NUMBERS, keep_on).convert(convert, keep_on)


def test_arrays_are_packed_wherever_a_protocol_may_have_its_data() -> None:
    body = json.dumps({"inputs": [{"name": "x", "data": [0.5] * 10_000}]}).encode()

    kind = document.read(body, keep_on).convert(
        lambda members: type(members["inputs"][0]["data"]), keep_on
    )

    assert kind is Numbers


@pytest.mark.parametrize(
    "body", [b"[1]", b"1", b'"x"', b"null", b'["' + b'a", "' * 100_000 + b'"]']
)
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"Is not object$"):
        document.read(body, keep_on)


def test_small_bodies_cost_less_than_the_loop_may_spend() -> None:
    assert document.cost_s(b'{"instances": [1.0, 2.0, 5.0]}') < BUDGET_S
    assert document.cost_s(b'{"instances": ["' + b"a" * 10_000 + b'"]}') < BUDGET_S


@pytest.mark.parametrize("body", [NUMBERS, STRINGS, b'{"x": [' + b"1," * 5_000 + b"1]}"])
def test_bodies_of_many_values_cost_more(body: bytes) -> None:
    assert document.cost_s(body) > BUDGET_S


def test_an_object_of_countless_members_is_refused() -> None:
    body = json.dumps({"inputs": {f"a{number}": 1 for number in range(66_000)}}).encode()

    with pytest.raises(InvalidArgument, match="more than 65536 members"):
        document.read(body, keep_on)
