"""tensorflow-serving-api, without any client of ours, gets the recorded replies."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.conformance.cases import Case, cases
from tests.conformance.conftest import Addresses

pytest.importorskip("tensorflow")
from tests.conformance.raw import RawAgent


@pytest.fixture(scope="module")
def agent(conformance_server: Addresses) -> Iterator[RawAgent]:
    with grpc.insecure_channel(conformance_server.grpc) as channel:
        yield RawAgent(channel)


@pytest.mark.parametrize("case", cases())
def test_raw_stubs_get_the_recorded_reply(agent: RawAgent, case: Case) -> None:
    case.check(agent)
