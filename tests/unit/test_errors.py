from __future__ import annotations

from collections.abc import Iterator

import pytest

from sigrun import errors
from sigrun.errors import Code, NotFound, ServableNotFound, SigrunError, Unknown, error_for, listed


def every_error() -> Iterator[type[SigrunError]]:
    waiting = [SigrunError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


def test_the_codes_are_numbered_as_on_the_wire() -> None:
    assert [code.name for code in sorted(Code)] == [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ]
    assert sorted(Code) == list(range(17))


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_code_has_an_error_of_its_name(code: Code) -> None:
    error = error_for(code, "a text")

    assert type(error).__name__ == code.name.title().replace("_", "")
    assert (error.code, str(error)) == (code, "a text")


@pytest.mark.parametrize("number", [Code.OK, -1, 17, 999])
def test_a_number_that_is_no_error_becomes_an_unknown_one(number: int) -> None:
    error = error_for(number, "a text")

    assert type(error) is Unknown
    assert str(error) == "a text"


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_no_error_has_the_code_ok(kind: type[SigrunError]) -> None:
    assert kind.code is not Code.OK


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (None, "Servable not found for request: Latest(mnist)"),
        (3, "Servable not found for request: Specific(mnist, 3)"),
        (0, "Servable not found for request: Specific(mnist, 0)"),
    ],
)
def test_a_missing_servable_is_named_as_it_was_asked_for(version: int | None, text: str) -> None:
    error = ServableNotFound("mnist", version)

    assert isinstance(error, NotFound)
    assert str(error) == text


def test_every_error_of_the_module_is_in_the_tree() -> None:
    kinds = {x for x in vars(errors).values() if isinstance(x, type) and issubclass(x, Exception)}

    assert kinds == {kind for kind in every_error() if kind.__module__ == errors.__name__}


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, ""),
        (1, "0"),
        (10, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (12, "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"),
    ],
)
def test_of_many_things_a_text_names_some(number: int, text: str) -> None:
    assert listed(range(number)) == text
