"""Our generated code lives beside tensorflow's and tensorflow-serving-api's in one process."""

from __future__ import annotations

import pytest

from tests.contract.processes import run_python

SERVER, CLIENT, PYPI = "sigrun._gen", "sigrun_client._gen", ""


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "copies",
    [
        pytest.param((SERVER, PYPI, CLIENT), id="server first"),
        pytest.param((PYPI, CLIENT, SERVER), id="tensorflow-serving-api first"),
    ],
)
def test_copies_of_the_protocol_read_each_other_in_one_process(copies: tuple[str, ...]) -> None:
    result = run_python("tests/contract/one_process.py", *copies)

    assert result.returncode == 0, result.stderr


def test_server_and_client_read_each_other_in_one_process() -> None:
    result = run_python("tests/contract/one_process.py", CLIENT, SERVER)

    assert result.returncode == 0, result.stderr
