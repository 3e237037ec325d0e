"""JSON gets the recorded replies, where it can ask for them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.conformance import rest
from tests.conformance.cases import Case, cases
from tests.conformance.conftest import Addresses

METHODS = ("predict", "classify", "regress", "metadata", "status")


@pytest.fixture(scope="module")
def client(conformance_server: Addresses) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=conformance_server.http, timeout=20) as client:
        yield client


@pytest.mark.parametrize("case", [p for p in cases(*METHODS) if p.values[0].rest is not False])
def test_json_gets_the_recorded_reply(client: httpx.Client, case: Case) -> None:
    rest.check(case, client)
