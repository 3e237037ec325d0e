"""Errors as each transport tells them."""

from __future__ import annotations

import grpc
import pytest

from sigrun.errors import Code, InvalidArgument, NotFound
from sigrun.wire.http.messages import error_response
from sigrun.wire.status import GRPC_STATUS, HTTP_STATUS, grpc_details


def test_every_code_has_a_grpc_status_of_the_same_name() -> None:
    assert {code: GRPC_STATUS[code].name for code in Code} == {code: code.name for code in Code}


def test_there_is_no_grpc_status_without_a_code() -> None:
    assert set(GRPC_STATUS.values()) == set(grpc.StatusCode)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.OK, 200),
        (Code.CANCELLED, 499),
        (Code.UNKNOWN, 500),
        (Code.INVALID_ARGUMENT, 400),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.PERMISSION_DENIED, 403),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.FAILED_PRECONDITION, 400),
        (Code.ABORTED, 409),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNIMPLEMENTED, 501),
        (Code.INTERNAL, 500),
        (Code.UNAVAILABLE, 503),
        (Code.DATA_LOSS, 500),
        (Code.UNAUTHENTICATED, 401),
    ],
    ids=str,
)
def test_http_statuses_are_those_of_tensorflow_serving(code: Code, status: int) -> None:
    assert HTTP_STATUS[code] == status


def test_every_code_has_an_http_status() -> None:
    assert HTTP_STATUS.keys() == set(Code)


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("", ""),
        ("short", "short"),
        ("a" * 1024, "a" * 1024),
        ("a" * 1025, "a" * 1024 + "...TRUNCATED"),
        ("a" * 100_000, "a" * 1024 + "...TRUNCATED"),
        ("é" * 512, "é" * 512),
        ("é" * 513, "é" * 512 + "...TRUNCATED"),
    ],
    ids=["none", "short", "1024", "1025", "long", "1024 bytes", "1026 bytes"],
)
def test_grpc_text_is_cut_after_1024_bytes(text: str, details: str) -> None:
    assert grpc_details(InvalidArgument(text)) == details


def test_grpc_text_is_not_cut_inside_a_character() -> None:
    details = grpc_details(InvalidArgument("a" + "é" * 600))

    assert details == "a" + "é" * 511 + "...TRUNCATED"


def test_an_http_error_is_its_whole_text_under_the_status_of_its_code() -> None:
    response = error_response(NotFound('no "model"\n' + "é" * 2000))

    assert response.status == 404
    assert response.content_type == b"application/json"
    assert (
        response.body
        == ('{"error":"no \\"model\\"\\n' + "é" * 2000 + '","code":"NOT_FOUND"}\n').encode()
    )
