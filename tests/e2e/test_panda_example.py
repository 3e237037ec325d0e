"""The panda is a giant panda, whoever asks; a picture that is none fails alone."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from examples.panda.models import CONFIG, MODELS, PHOTO
from sigrun._gen.tensorflow_serving.apis import prediction_service_pb2_grpc
from sigrun_client import Client
from tests.e2e.browser import needs_js_client
from tests.e2e.process import (
    RunningServer,
    predict_request,
    run_line,
    run_module,
    running_server,
)
from tests.e2e.reader import Reader
from tests.e2e.test_grpcurl import GRPCURL

PANDA = "giant panda, panda, panda bear, coon bear, Ailuropoda melanoleuca"
PANDA_BASE64 = base64.b64encode(PHOTO.read_bytes()).decode()
NO_PICTURE_BASE64 = base64.b64encode(b"no picture").decode()
REQUESTS = 32
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    run_module("examples.panda.prepare", timeout_s=600)
    parameters = tmp_path_factory.mktemp("config") / "batching.config"
    parameters.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 20000 }")
    with running_server(
        f"--model_config_file={CONFIG}",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
    ) as server:
        yield server


@pytest.fixture(scope="module")
def lines(server: RunningServer) -> list[str]:
    """Return the lines that `make panda` prints to copy."""
    ports = (f"--port={server.http_port}", f"--grpc-port={server.grpc_port}")
    printed = run_module("examples.panda.commands", *ports)
    return [line for line in printed.splitlines() if line and not line.startswith("#")]


def run_client(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    client = PHOTO.with_name("client.py")
    return subprocess.run(
        [sys.executable, client, *arguments, f"--address={server.grpc_address}"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def classify(server: RunningServer, path: str, image: str = PANDA_BASE64) -> dict[str, Any]:
    status, document = server.post(f"/v1/models/{path}:predict", {"instances": [{"b64": image}]})
    assert status == 200, document
    (row,) = document["predictions"]
    return dict(row)


def test_the_python_client_finds_the_panda(lines: list[str]) -> None:
    title, first, *rest = run_line(lines[0]).splitlines()

    assert title == "panda.jpg: version 2 of panda"
    score, name = first.strip().split("  ")
    assert name == PANDA
    assert float(score) > 0.9
    assert len(rest) == 4


def test_the_asynchronous_client_finds_the_panda(server: RunningServer) -> None:
    done = run_client(server, "panda.jpg", "panda.jpg", "--label=production", "--asyncio")

    lines = done.stdout.splitlines()
    assert (lines[0], lines[6]) == ("panda.jpg: version 1 of panda",) * 2
    for first in (lines[1], lines[7]):
        assert first.endswith(PANDA)
        assert float(first.split()[0]) > 0.9


def test_the_line_for_asyncio_asks_the_larger_model(lines: list[str]) -> None:
    title, first, *_ = run_line(lines[1]).splitlines()

    assert title == "panda.jpg: version 1 of panda_large"
    assert first.endswith(PANDA)


@needs_js_client
def test_node_finds_the_panda(lines: list[str]) -> None:
    title, first, *rest = run_line(lines[2]).splitlines()

    assert title == "panda.jpg: version 2 of panda"
    assert first.endswith(PANDA)
    assert float(first.split()[0]) > 0.9
    assert len(rest) == 4


def test_curl_finds_the_panda(lines: list[str]) -> None:
    (row,) = json.loads(run_line(lines[3]))["predictions"]

    assert row["classes"][0] == PANDA
    assert row["scores"][0] > 0.9
    assert row["scores"] == sorted(row["scores"], reverse=True)


@pytest.mark.skipif(GRPCURL is None, reason="grpcurl is packed for Linux on x86-64 only")
def test_grpcurl_finds_the_panda(lines: list[str]) -> None:
    outputs = json.loads(run_line(lines[4].replace("grpcurl", str(GRPCURL), 1)))["outputs"]

    classes = outputs["classes"]["string_val"]
    assert base64.b64decode(classes[0]).decode() == PANDA
    assert outputs["scores"]["float_val"][0] > 0.9


def test_versions_differ_as_they_look_at_photos_in_another_way(server: RunningServer) -> None:
    production, beta, first, second = (
        classify(server, f"panda/{version}")["scores"]
        for version in ("labels/production", "labels/beta", "versions/1", "versions/2")
    )

    assert production == pytest.approx(first)
    assert beta == pytest.approx(second)
    assert abs(production[0] - beta[0]) > 0.01


@pytest.mark.parametrize("model", [model.name for model in MODELS])
def test_every_signature_answers(server: RunningServer, model: str) -> None:
    side = next(m.side for m in MODELS if m.name == model)
    image = np.array([PHOTO.read_bytes()], object)
    pixels = np.zeros((1, side, side, 3), np.float32)

    with grpc.insecure_channel(server.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        features = stub.Predict(predict_request(model, "features", images=image), TIMEOUT_S)
        probabilities = stub.Predict(predict_request(model, "pixels", pixels=pixels), TIMEOUT_S)

    assert [d.size for d in features.outputs["features"].tensor_shape.dim] == [1, 1280]
    assert sum(probabilities.outputs["probabilities"].float_val) == pytest.approx(1, abs=1e-3)


def test_the_classify_call_takes_examples(server: RunningServer) -> None:
    with Client(server.grpc_address) as client:
        example = {"image/encoded": PHOTO.read_bytes()}
        (classes,) = client.classify("panda", [example], signature="classify")

    assert classes[0].label == PANDA
    assert classes[0].score > 0.9
    assert len(classes) == 5


def test_a_picture_that_is_none_fails_alone_in_its_batch(server: RunningServer) -> None:
    def ask(number: int) -> None:
        is_bad = number % 4 == 0
        image = NO_PICTURE_BASE64 if is_bad else PANDA_BASE64
        body = {"instances": [{"b64": image}]}
        status, document = server.post("/v1/models/panda/versions/1:predict", body)
        if is_bad:
            assert status == 400
            assert "Unknown image file format" in document["error"]
        else:
            assert status == 200, document
            assert document["predictions"][0]["classes"][0] == PANDA

    with ThreadPoolExecutor(REQUESTS) as clients:
        list(clients.map(ask, range(REQUESTS)))


def test_the_client_says_what_is_wrong_with_a_picture(server: RunningServer) -> None:
    done = run_client(server, __file__)

    assert done.returncode == 1
    assert "Unknown image file format" in done.stderr


@pytest.mark.timeout(300)
def test_the_tutorial_does_what_it_says(server: RunningServer, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        reader = Reader(tmp_path, stack, server)
        reader.read("docs/tutorials/image_classifier.md")

    assert reader.answers
