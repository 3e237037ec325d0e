"""`sigrun gateway` as a process of its own, in front of servers that are."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.e2e.conftest import Serve
from tests.e2e.process import SIGRUN, RunningServer, running_gateway

ROW = {"instances": [1.0, 2.0, 5.0]}
PREDICT = "/v1/models/half_plus_two:predict"


def test_it_answers_as_the_server_does(model_server: RunningServer) -> None:
    paths = ["/v1/models/half_plus_two", "/v1/models/multi_head/metadata", "/v1/models/nothing"]
    bodies = {
        PREDICT: ROW,
        "/v1/models/half_plus_two/versions/7:predict": ROW,
        "/v1/models/half_plus_two:regress": {"examples": []},
    }

    with running_gateway(model_server.grpc_address) as gateway:
        for path in paths:
            assert gateway.get(path) == model_server.get(path)
        for path, body in bodies.items():
            assert gateway.post(path, body) == model_server.post(path, body)


def test_it_goes_on_when_a_server_does_not(
    shared_base_paths: dict[str, Path], serve: Serve
) -> None:
    base_path = str(shared_base_paths["half_plus_two"])
    first, second = serve(base_path), serve(base_path)

    with running_gateway(first.grpc_address, second.grpc_address) as gateway:
        assert gateway.post(PREDICT, ROW)[0] == 200
        first.process.send_signal(signal.SIGTERM)
        statuses = [gateway.post(PREDICT, ROW)[0] for _ in range(50)]
        assert first.wait() == 0

    assert statuses == [200] * 50


def test_it_stops_when_it_is_told_to(model_server: RunningServer) -> None:
    with running_gateway(model_server.grpc_address) as gateway:
        gateway.signal(signal.SIGTERM)

        assert gateway.wait() == 0
        assert "stopped" in gateway.log_text()


def test_large_tensors_come_through_as_they_are(model_server: RunningServer) -> None:
    values = np.arange(200_000, dtype=np.float32)

    with running_gateway(model_server.grpc_address) as gateway:
        status, document = gateway.post(PREDICT, {"instances": values.tolist()})

    assert status == 200
    assert np.array_equal(np.array(document["predictions"], np.float32), values / 2 + 2)


def test_it_never_imports_tensorflow() -> None:
    program = (
        "import sys; from sigrun.cli import main; main(['gateway', '--help']);"
        "from sigrun.gateway import Gateway; assert 'tensorflow' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


def test_without_servers_it_says_what_it_needs() -> None:
    done = subprocess.run(
        [str(SIGRUN), "gateway"], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "A gateway needs servers: --upstream=host:port[,host:port...]" in done.stderr
