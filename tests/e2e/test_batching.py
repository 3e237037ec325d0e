"""With batching on every answer is what it is alone, and a bad request fails alone."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import model_config
from tests.e2e.process import RunningServer, running_server

CLIENTS = 32
REQUESTS = 320


@pytest.fixture(scope="module")
def server(
    shared_base_paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("config")
    models = folder / "models.config"
    models.write_text(model_config(shared_base_paths))
    parameters = folder / "batching.config"
    parameters.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 2000 } "
        "allowed_batch_sizes: 4 allowed_batch_sizes: 16 num_batch_threads { value: 2 }"
    )
    with running_server(
        f"--model_config_file={models}",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
    ) as server:
        yield server


def test_every_client_gets_its_own_answer(server: RunningServer) -> None:
    def ask(number: int) -> None:
        rows = [float(number), float(number + 1)][: 1 + number % 2]
        answer = server.post("/v1/models/half_plus_two:predict", {"instances": rows})
        assert answer == (200, {"predictions": [row / 2 + 2 for row in rows]})

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, range(REQUESTS)))


def test_a_bad_request_fails_alone(server: RunningServer) -> None:
    def ask(number: int) -> None:
        is_bad = number % 5 == 0
        rows = ["x"] if is_bad else [float(number)]
        status, document = server.post("/v1/models/half_plus_two:predict", {"instances": rows})
        assert status == (400 if is_bad else 200), document

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, range(REQUESTS)))


def test_more_rows_than_a_batch_may_have_are_refused(server: RunningServer) -> None:
    answer = server.post("/v1/models/half_plus_two:predict", {"instances": [1.0] * 17})

    text = "Task size 17 is larger than maximum input batch size 16"
    assert answer == (400, {"error": text, "code": "INVALID_ARGUMENT"})


def test_what_batching_does_and_how_the_event_loop_fares_can_be_seen(server: RunningServer) -> None:
    server.post("/v1/models/half_plus_two:predict", {"instances": [1.0, 2.0]})

    with urllib.request.urlopen(server.url("/metrics"), timeout=10) as response:
        assert response.headers["content-type"].startswith("text/plain")
        families = {
            family.name: family.samples
            for family in text_string_to_metric_families(response.read().decode())
        }

    (runs,) = (
        sample.value
        for sample in families["sigrun_batching_runs"]
        if sample.labels == {"model": "half_plus_two", "signature": "serving_default"}
    )
    assert runs >= 1
    assert {"sigrun_batching_queue_requests", "sigrun_batching_queue_wait_seconds"} <= {*families}
    assert families["sigrun_event_loop_lag_seconds"]
    assert {sample.labels["threads"] for sample in families["sigrun_threads"]} >= {"runner", "body"}
