"""What a newcomer sees: `make serve`, and then the curl lines that it prints."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.spam.paths import BASE_PATH, CONFIG
from tests.e2e.process import RunningServer, run_line, run_module, running_server
from tests.e2e.reader import Reader


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    run_module("examples.spam.prepare", timeout_s=600)
    with running_server(f"--model_config_file={CONFIG}") as server:
        yield server


@pytest.fixture(scope="module")
def curl_lines(server: RunningServer) -> list[str]:
    printed = run_module("examples.spam.commands", f"--port={server.http_port}")
    return [line for line in printed.splitlines() if line.startswith("curl")]


def test_the_first_line_shows_three_versions_available(curl_lines: list[str]) -> None:
    statuses = json.loads(run_line(curl_lines[0]))["model_version_status"]

    assert [(s["version"], s["state"]) for s in statuses] == [
        ("3", "AVAILABLE"),
        ("2", "AVAILABLE"),
        ("1", "AVAILABLE"),
    ]


@pytest.mark.parametrize("line", [1, 2, 3], ids=["latest", "version 2", "label beta"])
def test_ham_is_below_a_half_and_spam_above(curl_lines: list[str], line: int) -> None:
    ham, spam = json.loads(run_line(curl_lines[line]))["predictions"]

    assert (ham["label"], spam["label"]) == ("ham", "spam")
    assert ham["spam_probability"] < 0.5 < spam["spam_probability"]


def test_an_unknown_version_is_not_found(curl_lines: list[str]) -> None:
    body, status = run_line(curl_lines[4]).strip().splitlines()

    text = (
        "Servable not found for request: Specific(email_model, 4); email_model has versions 3, 2, 1"
    )
    assert json.loads(body) == {"error": text, "code": "NOT_FOUND"}
    assert status == "HTTP 404"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/how_to/manage.md",
        "docs/how_to/watching.md",
        "docs/tutorials/versions_and_labels.md",
    ],
)
def test_a_page_does_what_it_says(page: str, server: RunningServer, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        reader = Reader(tmp_path, stack, server)
        reader.read(page)

    assert reader.answers


def test_a_label_and_its_version_give_the_same_answer(server: RunningServer) -> None:
    body: dict[str, Any] = {"inputs": {"text": ["Cheap watches, click here"]}}

    by_label = server.post("/v1/models/email_model/labels/production:predict", body)
    by_version = server.post("/v1/models/email_model/versions/1:predict", body)
    latest = server.post("/v1/models/email_model:predict", body)

    assert by_label == by_version
    assert by_label != latest


def test_an_unknown_label_is_refused(server: RunningServer) -> None:
    answer = server.post("/v1/models/email_model/labels/gamma:predict", {"instances": ["a"]})

    text = "Unrecognized servable version label: gamma; email_model has labels beta, production"
    assert answer == (400, {"error": text, "code": "INVALID_ARGUMENT"})


def test_with_the_default_policy_only_the_highest_version_is_served() -> None:
    with running_server(str(BASE_PATH)) as server:
        assert server.states("email_model") == {3: "AVAILABLE"}
        answer = server.post("/v1/models/email_model/versions/2:predict", {"instances": ["a"]})

    text = "Servable not found for request: Specific(email_model, 2); email_model has version 3"
    assert answer == (404, {"error": text, "code": "NOT_FOUND"})
