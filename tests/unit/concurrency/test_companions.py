from __future__ import annotations

from sigrun.concurrency.companions import Company


def alone(times: int) -> Company:
    company = Company()
    for _ in range(times):
        company.came(1)
    return company


def looks(company: Company, times: int) -> int:
    return sum(company.is_likely() for _ in range(times))


def test_company_is_likely_while_nothing_is_known() -> None:
    assert looks(Company(), 20) == 20


def test_who_was_alone_a_few_times_stops_waiting() -> None:
    assert alone(3).is_likely()
    assert not alone(4).is_likely()


def test_one_time_in_many_looks_for_company_all_the_same() -> None:
    assert looks(alone(4), 170) == 10


def test_looks_go_on_while_nobody_is_found() -> None:
    company = alone(4)

    for _ in range(1000):
        if company.is_likely():
            company.came(1)

    assert looks(company, 170) in (9, 10)


def test_company_that_came_makes_it_likely_again() -> None:
    company = alone(100)

    company.came(2)

    assert looks(company, 3) == 3
