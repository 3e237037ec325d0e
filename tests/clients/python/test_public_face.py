"""What the package shows of itself."""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path

import grpc
import pytest

import sigrun_client
from sigrun_client import (
    AsyncClient,
    Client,
    ModelMetadata,
    PredictResult,
    ServerError,
    Signature,
    TensorInfo,
)
from sigrun_client._errors import server_error

PACKAGE = Path(sigrun_client.__file__).parent


def test_all_is_what_is_there() -> None:
    shown = {
        name
        for name, value in vars(sigrun_client).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert {*shown, "__version__"} == set(sigrun_client.__all__)
    assert sorted(sigrun_client.__all__) == sigrun_client.__all__


def test_every_module_is_private() -> None:
    modules = [path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()]

    assert [name for name in modules if not name.startswith("_")] == []
    assert (PACKAGE / "py.typed").exists()


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]

    assert project["version"] == sigrun_client.__version__


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(method).parameters.values())
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_every_code_has_its_error(code: grpc.StatusCode) -> None:
    error = server_error(code.name, "the server's text")

    assert type(error) is not ServerError
    assert error.code == code.name
    assert str(error) == error.message == "the server's text"


def test_metadata_can_be_read() -> None:
    text = TensorInfo(dtype="string", shape=(None,), name="text:0")
    label = TensorInfo(dtype="string", shape=(None, 3), name="label:0")
    score = TensorInfo(dtype="float32", shape=None, name="score:0")
    signature = Signature(
        name="serving_default",
        method="predict",
        inputs={"text": text},
        outputs={"label": label, "score": score},
    )

    assert repr(signature) == (
        "<serving_default (predict): text: string[?] -> "
        "label: string[?, 3], score: float32 of any rank>"
    )
    assert repr(ModelMetadata(model="m", version=3, signatures={"serving_default": signature})) == (
        "<m, version 3\n"
        "  serving_default (predict)\n"
        "    in   text: string[?]\n"
        "    out  label: string[?, 3]\n"
        "    out  score: float32 of any rank>"
    )


def test_a_result_is_a_mapping() -> None:
    result = PredictResult(model="m", version=1, signature="s", outputs={})

    assert dict(result) == {}
