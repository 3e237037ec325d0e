from __future__ import annotations

import pytest

from sigrun.wire.upstream.channels import targets


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["model:8500"], ["model:8500"]),
        (["10.0.0.1:8500"], ["10.0.0.1:8500"]),
        (["10.0.0.1:8500", "10.0.0.2:8500"], ["ipv4:10.0.0.1:8500,10.0.0.2:8500"]),
        (["[::1]:8500", "[fe80::2]:8500"], ["ipv6:[::1]:8500,[fe80::2]:8500"]),
        (["a:8500", "b:8500"], ["a:8500", "b:8500"]),
        (["10.0.0.1:8500", "b:8500"], ["10.0.0.1:8500", "b:8500"]),
        (["unix:/run/model"], ["unix:/run/model"]),
    ],
)
def test_addresses_are_one_target_where_grpc_can_take_them_so(
    addresses: list[str], expected: list[str]
) -> None:
    assert targets(addresses) == expected
