"""What may be in flight: counted by the loop and by threads, refused beyond."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from sigrun.concurrency.budget import Budget, Full, Growth
from sigrun.errors import Cancelled, ResourceExhausted


def test_what_the_loop_holds_and_what_threads_have_made_add_up() -> None:
    budget = Budget(1000)
    budget.held_bytes += 600
    growth = Growth(budget)

    growth.add(400)

    assert budget.in_flight_bytes == 1000
    assert not budget.is_full
    with pytest.raises(Full):
        growth.add(1)
    assert (budget.in_flight_bytes, budget.refused) == (1000, 1)


def test_growth_ends_with_its_request() -> None:
    budget = Budget(1000)
    growth = Growth(budget)
    growth.add(700)

    growth.end()

    assert budget.in_flight_bytes == 0
    with pytest.raises(Cancelled):  # a thread goes on inflating for a client that has left
        growth.add(1)
    growth.end()
    assert budget.in_flight_bytes == 0


def test_nothing_is_lost_between_threads() -> None:
    budget = Budget()
    growths = [Growth(budget) for _ in range(8)]

    def grow(growth: Growth) -> None:
        for _ in range(2000):
            growth.add(3)
        growth.end()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(grow, growths))

    assert budget.in_flight_bytes == 0


def test_a_limit_of_0_is_none() -> None:
    budget = Budget(0, 0)

    Growth(budget).add(1 << 50)

    assert not budget.is_full
    assert budget.requests < budget.max_requests
    assert not any(reading.name.endswith("_limit") for reading in budget.readings())


def test_who_finds_no_room_is_told_what_is_full_and_how_full() -> None:
    budget = Budget(1000, 10)
    budget.held_bytes = 1200
    assert budget.fullness() == (
        "The server is full: 1200 bytes are in flight, of 1000 (--max_in_flight_bytes)"
    )

    budget.requests = 10
    assert budget.fullness() == (
        "The server is full: 10 requests are in flight, of 10 (--max_concurrent_requests)"
    )
    assert issubclass(Full, ResourceExhausted)


def test_what_is_in_flight_can_be_watched() -> None:
    budget = Budget(1000, 10)
    budget.held_bytes, budget.requests, budget.refused = 300, 2, 7

    assert {reading.name: reading.value for reading in budget.readings()} == {
        "sigrun_in_flight_bytes": 300,
        "sigrun_in_flight_bytes_limit": 1000,
        "sigrun_in_flight_requests": 2,
        "sigrun_in_flight_requests_limit": 10,
        "sigrun_in_flight_refusals": 7,
    }
