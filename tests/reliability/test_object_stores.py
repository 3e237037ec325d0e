"""Versions come to object stores, and the stores go away, while clients ask; nobody is failed."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import SavedModel
from tests.e2e.conftest import model_config
from tests.e2e.process import RunningServer, running_server
from tests.e2e.test_hot_swap import Traffic
from tests.reliability.conftest import IS_LONG
from tests.reliability.object_stores import (
    Store,
    azurite,
    misstate_azure_md5,
    running_azure,
    running_google,
    running_http,
    running_s3,
)

CLIENTS = 4
AWAY_S = 60.0 if IS_LONG else 0.0
PROBLEM = "sigrun_base_path_problem"


@contextmanager
def serving(
    stores: Sequence[Store], tmp_path: Path, environment: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    """Run a server with a model from each store, under the store's name."""
    for store in stores:
        for name, value in store.environment.items():
            environment.setenv(name, value)
    config = tmp_path / "models.config"
    config.write_text(model_config({store.name: f"{store.url}/half" for store in stores}))
    with running_server(
        f"--model_config_file={config}",
        f"--object_store_cache_dir={tmp_path / 'cache'}",
        "--version_settle_seconds=1",
    ) as server:
        yield server


def metric(server: RunningServer, name: str) -> float:
    with urllib.request.urlopen(server.url("/metrics"), timeout=10) as response:
        lines = response.read().decode().splitlines()
    (value,) = [line.rpartition(" ")[2] for line in lines if line.startswith(name)]
    return float(value)


def keep_away(server: RunningServer, traffic: Sequence[Traffic], stores: Sequence[Store]) -> None:
    """Let the stores be away until the server has said so, and for `AWAY_S`; it serves on."""
    began = time.monotonic()
    with ExitStack() as stack:
        for store in stores:
            stack.enter_context(store.away())
        for store in stores:
            server.wait_for(
                lambda name=store.name: metric(server, f'{PROBLEM}{{model="{name}"}}') == 1,
                f"word of {store.url}, which is away",
                timeout_s=60,
            )
        server.wait_for(lambda: time.monotonic() > began + AWAY_S, "a while", AWAY_S + 10)
        asked = [one.versions[2] for one in traffic]
        for one, before in zip(traffic, asked, strict=True):
            server.wait_for(
                lambda one=one, before=before: one.versions[2] > before + 10,
                "traffic without the stores",
            )


def check_versions(server: RunningServer, stores: Sequence[Store], saved_model: SavedModel) -> None:
    """Swap version 2 in, let the stores be away, then offer a version 3 that is damaged."""
    traffic = [Traffic(server, store.name) for store in stores]
    names = [store.name for store in stores]

    with ExitStack() as stack:
        for one in traffic:
            stack.enter_context(one.flowing(CLIENTS))
        for store in stores:
            store.upload(saved_model("half_plus_three"), "half/2")
        server.wait_for(
            lambda: all(server.states(n) == {2: "AVAILABLE", 1: "END"} for n in names),
            "the swap",
            timeout_s=90,
        )
        server.wait_for(lambda: all(2 in one.versions for one in traffic), "traffic on version 2")
        keep_away(server, traffic, stores)
        for store in stores:
            store.upload(saved_model("half_plus_two"), "half/3")
            store.write("half/3/saved_model.pb", b"damaged")
        server.wait_for(
            lambda: all(server.states(n).get(3) == "END" for n in names), "version 3", timeout_s=90
        )

    for store, one in zip(stores, traffic, strict=True):
        assert one.failures == [], store.name
        assert set(one.versions) == {1, 2}, store.name
        assert server.states(store.name)[2] == "AVAILABLE"
        assert metric(server, f'{PROBLEM}{{model="{store.name}"}}') == 0
    assert metric(server, "sigrun_object_store_fetches_total") >= 2 * len(stores)


@pytest.mark.timeout(400)
def test_versions_are_swapped_in_from_stores_and_served_while_they_are_away(
    saved_model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with running_s3() as s3, running_google() as google, running_http(files) as http:
        stores = [s3, google, http]
        for store in stores:
            store.upload(saved_model("half_plus_two"), "half/1")
        with serving(stores, tmp_path, monkeypatch) as server:
            check_versions(server, stores, saved_model)


@pytest.mark.timeout(900)
def test_versions_are_swapped_in_from_azure_and_served_while_it_is_away(
    saved_model: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = azurite(fetch=IS_LONG)
    if not command:
        pytest.skip(
            "azurite-blob is not on the PATH (npm install --global azurite); "
            "`make reliability` fetches its 190 MB where there is npx"
        )
    with running_azure(command) as store:
        store.upload(saved_model("half_plus_two"), "half/1")
        with serving([store], tmp_path, monkeypatch) as server:
            check_versions(server, [store], saved_model)
            store.upload(saved_model("half_plus_two"), "half/4")
            misstate_azure_md5(store, "half/4/saved_model.pb")
            server.wait_for(
                lambda: "half/4/saved_model.pb came damaged: MD5" in server.log_text(),
                "word of the damage",
                timeout_s=90,
            )
