from __future__ import annotations

from sigrun.batching.companions import CompanionEstimate


def alone(times: int) -> CompanionEstimate:
    company = CompanionEstimate()
    for _ in range(times):
        company.observed(1)
    return company


def looks(company: CompanionEstimate, times: int) -> int:
    return sum(company.expects_any() for _ in range(times))


def test_company_expects_any_while_nothing_is_known() -> None:
    assert looks(CompanionEstimate(), 20) == 20


def test_who_was_alone_a_few_times_stops_waiting() -> None:
    assert alone(3).expects_any()
    assert not alone(4).expects_any()


def test_one_time_in_many_looks_for_company_all_the_same() -> None:
    assert looks(alone(4), 170) == 10


def test_looks_go_on_while_nobody_is_found() -> None:
    company = alone(4)

    for _ in range(1000):
        if company.expects_any():
            company.observed(1)

    assert looks(company, 170) in (9, 10)


def test_company_that_came_makes_it_likely_again() -> None:
    company = alone(100)

    company.observed(2)

    assert looks(company, 3) == 3


def test_requests_that_were_not_asked_about_count_as_well() -> None:
    company = alone(4)

    assert sum(company.expects_any(17) for _ in range(10)) == 10
    assert 4 <= sum(company.expects_any(9) for _ in range(10)) <= 6


def test_requests_are_alone_after_a_few_that_were() -> None:
    assert not alone(3).is_alone
    assert alone(4).is_alone
