"""Two workers serve a real SavedModel, under one supervisor that never imports TensorFlow."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import MakeBasePath
from tests.e2e.process import START_TIMEOUT_S, running_server


@pytest.mark.timeout(4 * START_TIMEOUT_S)  # TensorFlow is imported twice, side by side
def test_two_workers_are_one_server(make_base_path: MakeBasePath) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    flags = ["--model_name=half", "--workers=2", "--log_format=json"]
    with running_server(str(base_path), *flags, waits=False) as server:
        server.wait_for(server.is_ready, "readiness", 2 * START_TIMEOUT_S)

        answers = [server.post("/v1/models/half:predict", {"instances": [1.0]}) for _ in range(4)]
        states = server.states("half")
        with urllib.request.urlopen(server.url("/metrics"), timeout=30) as answer:
            metrics = answer.read().decode()
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        server.signal(signal.SIGTERM)
        exit_status = server.wait()

        assert answers == [(200, {"predictions": [2.5]})] * 4
        assert states == {1: "AVAILABLE"}
        assert "sigrun_workers_serving 2.0" in metrics
        assert "# TYPE sigrun_workers_replaced_total counter" in metrics
        assert "libtensorflow" not in maps
        assert exit_status == 0, server.log_text()
        log = server.log_text()
        assert '"worker":1' in log
        assert '"worker":2' in log
        assert "MODEL  VERSION" in log
