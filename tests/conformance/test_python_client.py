"""sigrun-client, in threads and on an event loop, gets the recorded replies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sigrun_client import AsyncClient, Client
from tests.conformance.cases import Case, cases
from tests.conformance.conftest import Addresses
from tests.conformance.python_client import PythonAgent, on_a_loop, threaded

CASES = [case for case in cases() if not case.values[0].raw]


@pytest.fixture(scope="module")
def agent(conformance_server: Addresses) -> Iterator[PythonAgent]:
    with Client(conformance_server.grpc) as client:
        yield PythonAgent(threaded(client))


@pytest.fixture(scope="module")
def async_agent(conformance_server: Addresses) -> Iterator[PythonAgent]:
    with asyncio.Runner() as runner:
        client = AsyncClient(conformance_server.grpc)
        yield PythonAgent(on_a_loop(client, runner))
        runner.run(client.close())


@pytest.mark.parametrize("case", CASES)
def test_the_client_gets_the_recorded_reply(agent: PythonAgent, case: Case) -> None:
    case.check(agent)


@pytest.mark.parametrize("case", CASES)
def test_the_async_client_gets_the_recorded_reply(async_agent: PythonAgent, case: Case) -> None:
    case.check(async_agent)
