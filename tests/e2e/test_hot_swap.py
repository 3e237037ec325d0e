"""Versions come and go on disk while clients ask; nobody is failed."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sigrun._gen.tensorflow_serving.apis import prediction_service_pb2_grpc
from tests.conftest import MakeBasePath, SavedModel
from tests.e2e.conftest import Serve
from tests.e2e.process import RunningServer, predict_request

CLIENTS = 16
POLL_WAIT_S = 1
ANSWERS = {1: 2.5, 2: 3.5}  # to x = 1, by half_plus_two and half_plus_three


class Traffic:
    """Clients that ask without a pause, and remember every version, answer and failure."""

    def __init__(self, server: RunningServer, model: str) -> None:
        self._server = server
        self._request = predict_request(model, x=np.array([1.0], np.float32))
        self.versions: dict[int, int] = {}
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def flowing(self, clients: int = CLIENTS) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _ask(self) -> None:
        with grpc.insecure_channel(self._server.grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self._stop.is_set():
                try:
                    self._note(stub.Predict(self._request, timeout=20))
                except grpc.RpcError as error:
                    with self._lock:
                        self.failures.append(str(error))

    def _note(self, response: Any) -> None:
        version = response.model_spec.version.value
        answer = response.outputs["y"].float_val[0]
        with self._lock:
            self.versions[version] = self.versions.get(version, 0) + 1
            if answer != ANSWERS[version]:
                self.failures.append(f"version {version} answered {answer}")


def copy_slowly(source: Path, target: Path) -> None:
    """Copy file by file, as `cp -r` does: the directory is there before it is complete."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    target.mkdir()
    for file in files:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        time.sleep(0.1)


def test_a_version_copied_in_takes_over_within_two_polls_and_no_request_fails(
    serve: Serve, make_base_path: MakeBasePath, saved_model: SavedModel
) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    server = serve(
        str(base_path), "--model_name=half", f"--file_system_poll_wait_seconds={POLL_WAIT_S}"
    )
    traffic = Traffic(server, "half")

    with traffic.flowing():
        server.wait_for(lambda: traffic.versions.get(1, 0) > CLIENTS, "traffic on version 1")
        copy_slowly(saved_model("half_plus_three"), base_path / "2")
        copied_at = time.monotonic()
        server.wait_for(lambda: 2 in traffic.versions, "traffic on version 2")
        took_s = time.monotonic() - copied_at
        server.wait_for(lambda: server.states("half") == {2: "AVAILABLE", 1: "END"}, "unloading")

    assert traffic.failures == []
    assert took_s < 2 * POLL_WAIT_S + 8, "two polls, and loading on a machine that is busy"


def test_a_broken_version_leaves_the_old_one_serving_and_shows_its_error(
    serve: Serve, make_base_path: MakeBasePath
) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    server = serve(str(base_path), "--model_name=half")

    (base_path / "2").mkdir()
    (base_path / "2" / "saved_model.pb").write_bytes(b"not a graph")
    server.wait_for(lambda: server.states("half").get(2) == "END", "version 2 failing")

    _, document = server.get("/v1/models/half")
    broken, serving = document["model_version_status"]
    assert (serving["version"], serving["state"]) == ("1", "AVAILABLE")
    assert broken["status"]["error_code"] != "OK"
    assert "2" in broken["status"]["error_message"]
    assert server.post("/v1/models/half:predict", {"instances": [1.0]})[1] == {"predictions": [2.5]}


def test_a_broken_version_is_tried_again_when_it_is_mended(
    serve: Serve, make_base_path: MakeBasePath, saved_model: SavedModel
) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    server = serve(str(base_path), "--model_name=half")
    (base_path / "2").mkdir()
    server.wait_for(lambda: server.states("half").get(2) == "END", "version 2 failing")

    shutil.copytree(saved_model("half_plus_three"), base_path / "2", dirs_exist_ok=True)

    server.wait_for(lambda: server.states("half").get(2) == "AVAILABLE", "version 2 mended")


def test_taking_the_highest_version_away_goes_back_to_the_one_below(
    serve: Serve, make_base_path: MakeBasePath
) -> None:
    base_path = make_base_path({1: "half_plus_two", 2: "half_plus_three"})
    server = serve(str(base_path), "--model_name=half")
    traffic = Traffic(server, "half")

    with traffic.flowing():
        server.wait_for(lambda: traffic.versions.get(2, 0) > CLIENTS, "traffic on version 2")
        (base_path / "2").rename(base_path / "withdrawn")
        server.wait_for(lambda: 1 in traffic.versions, "traffic on version 1")
        server.wait_for(lambda: server.states("half") == {2: "END", 1: "AVAILABLE"}, "unloading")

    assert traffic.failures == []


@pytest.mark.parametrize("policy", ["latest { num_versions: 2 }", "all {}"])
def test_policies_of_the_config_file_choose_the_versions(
    serve: Serve, make_base_path: MakeBasePath, tmp_path: Path, policy: str
) -> None:
    base_path = make_base_path({1: "half_plus_two", 2: "half_plus_three", 5: "half_plus_two"})
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list { config { "
        f'name: "half" base_path: "{base_path}" model_platform: "tensorflow" '
        f"model_version_policy {{ {policy} }} }} }}"
    )

    server = serve(f"--model_config_file={config}")

    wanted = {"latest { num_versions: 2 }": {5, 2}, "all {}": {5, 2, 1}}[policy]
    assert server.states("half") == dict.fromkeys(wanted, "AVAILABLE")
