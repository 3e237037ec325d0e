"""Versions come to an S3 bucket, and the bucket goes away, while clients ask; nobody is failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SavedModel
from tests.e2e.conftest import Serve
from tests.e2e.object_store import S3, running_s3
from tests.e2e.process import RunningServer
from tests.e2e.test_hot_swap import CLIENTS, Traffic

pytest.importorskip("moto")
pytest.importorskip("s3fs")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with running_s3() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


def metric(server: RunningServer, name: str) -> float:
    import urllib.request

    with urllib.request.urlopen(server.url("/metrics"), timeout=10) as response:
        lines = response.read().decode().splitlines()
    (value,) = [line.rpartition(" ")[2] for line in lines if line.startswith(name)]
    return float(value)


@pytest.mark.timeout(240)
def test_versions_are_swapped_in_from_s3_and_served_while_it_is_away(
    s3: S3, serve: Serve, saved_model: SavedModel, tmp_path: Path
) -> None:
    s3.upload(saved_model("half_plus_two"), "half/1")
    server = serve(
        "s3://models/half",
        f"--object_store_cache_dir={tmp_path / 'cache'}",
        "--version_settle_seconds=1",
    )
    traffic = Traffic(server, "half")

    with traffic.flowing():
        server.wait_for(lambda: traffic.versions.get(1, 0) > CLIENTS, "traffic on version 1")
        s3.upload(saved_model("half_plus_three"), "half/2")
        server.wait_for(lambda: traffic.versions.get(2, 0) > CLIENTS, "traffic on version 2")
        server.wait_for(lambda: server.states("half") == {2: "AVAILABLE", 1: "END"}, "unloading")
        with s3.away():
            server.wait_for(
                lambda: metric(server, 'sigrun_base_path_problem{model="half"}') == 1,
                "word of the store that is away",
                timeout_s=60,
            )
            asked = traffic.versions[2]
            server.wait_for(lambda: traffic.versions[2] > asked + 100, "traffic without the store")
        s3.upload(saved_model("half_plus_two"), "half/3")
        s3.write("half/3/saved_model.pb", b"damaged")
        server.wait_for(lambda: server.states("half").get(3) == "END", "version 3", timeout_s=90)

    assert traffic.failures == []
    assert set(traffic.versions) == {1, 2}
    assert server.states("half")[2] == "AVAILABLE"
    assert metric(server, "sigrun_object_store_fetches_total") >= 2
    assert metric(server, 'sigrun_base_path_problem{model="half"}') == 0
