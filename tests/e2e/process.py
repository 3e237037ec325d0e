"""Start `sigrun`, talk to it, stop it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sigrun._gen.tensorflow_serving.apis import predict_pb2
from sigrun.tensors.signature import Array
from sigrun.wire.protobuf.tensors import encode

ROOT = Path(__file__).resolve().parents[2]
SIGRUN = Path(sys.executable).with_name("sigrun")
START_TIMEOUT_S = 150
STOP_TIMEOUT_S = 40
POLL_S = 0.05


@dataclass
class RunningServer:
    """One server process."""

    process: subprocess.Popen[str]
    grpc_port: int
    http_port: int
    log: Path

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and parsed body."""
        return self._request(urllib.request.Request(self.url(path)))

    def post(self, path: str, document: Any) -> tuple[int, Any]:
        """Send `document` as JSON and return status and parsed body."""
        body = json.dumps(document).encode()
        return self._request(urllib.request.Request(self.url(path), data=body))

    def wait_for(self, condition: Any, what: str, timeout_s: float = 30.0) -> None:
        """Return when `condition()` is true."""
        ends_at = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.log_text()
            assert time.monotonic() < ends_at, f"{what} did not happen\n{self.log_text()}"
            time.sleep(POLL_S)

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def states(self, model: str) -> dict[int, str]:
        """Return the states of a model's versions."""
        status, document = self.get(f"/v1/models/{model}")
        if status == 404:
            return {}
        return {int(v["version"]): v["state"] for v in document["model_version_status"]}

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit status."""
        return self.process.wait(STOP_TIMEOUT_S)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def url(self, path: str) -> str:
        """Return where `path` is on the HTTP port."""
        return f"http://127.0.0.1:{self.http_port}{path}"

    @staticmethod
    def _request(request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@contextlib.contextmanager
def running_server(
    *flags: str, waits: bool = True, http_port: int | None = None
) -> Iterator[RunningServer]:
    """Run `sigrun serve` with `flags` until the block ends; it is ready when that begins."""
    grpc_port, http_port = free_port(), http_port or free_port()
    ports = (f"--port={grpc_port}", f"--rest_api_port={http_port}")
    with _running(["serve", *flags, *ports], grpc_port, http_port, waits=waits) as server:
        yield server


@contextlib.contextmanager
def running_gateway(*addresses: str) -> Iterator[RunningServer]:
    """Run `sigrun gateway` in front of `addresses` until the block ends."""
    http_port = free_port()
    words = ["gateway", f"--upstream={','.join(addresses)}", f"--rest_api_port={http_port}"]
    with _running(words, 0, http_port, waits=True) as gateway:
        yield gateway


@contextlib.contextmanager
def _running(
    words: list[str], grpc_port: int, http_port: int, *, waits: bool
) -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(SIGRUN), *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        server = RunningServer(process, grpc_port, http_port, log)
        try:
            if waits:
                server.wait_for(server.is_ready, "readiness", START_TIMEOUT_S)
            yield server
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(STOP_TIMEOUT_S)


def run_module(module: str, *arguments: str, timeout_s: float = 60.0) -> str:
    """Run `python -m module` in the root of the repository, and return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        timeout=timeout_s,
    ).stdout


def run_line(line: str) -> str:
    """Run a line as bash does in the root of the repository, and return what it printed."""
    done = subprocess.run(
        ["bash", "-c", line], check=True, capture_output=True, text=True, cwd=ROOT, timeout=30
    )
    return done.stdout


def predict_request(model: str, signature: str = "", **inputs: Array) -> predict_pb2.PredictRequest:
    """Return a request for `model` with these arrays."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(encode(array))
    return request


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
