"""What goes on beside the requests that are measured: a model comes and goes, a huge body is read.

Each is done again and again in a thread until the block ends, and fails loudly if it fails.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np

from benchmarks import paths
from benchmarks.bodies import json_path
from benchmarks.http_client import post
from sigrun._gen.tensorflow_serving.apis import model_management_pb2

_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_TIMEOUT_S = 120.0
_IMAGES = 26  # of 224x224x3 numbers, as long as Python prints them: a little over 100 MB


class DisturbanceFailed(Exception):
    """What was to go on beside the requests did not."""


@contextlib.contextmanager
def repeated(once: Callable[[], None]) -> Iterator[list[None]]:
    """Call `once` in a thread, again and again, until the block ends.

    Yields a list that grows by one with every call that returned; the last is waited for.
    Raises `DisturbanceFailed` at the end if a call raised, or none returned.
    """
    stop = threading.Event()
    done: list[None] = []
    errors: list[Exception] = []

    def repeat() -> None:
        try:
            while not stop.is_set():
                once()
                done.append(None)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=repeat, name="disturbance", daemon=True)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join(_TIMEOUT_S)
    if errors or not done:
        raise DisturbanceFailed(str(errors[0] if errors else "it did not end in time"))


def load_and_unload(port: int, model: str, other: str) -> None:
    """Have `other` loaded beside `model`, then have it unloaded."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        reload = channel.unary_unary(
            _RELOAD,
            model_management_pb2.ReloadConfigRequest.SerializeToString,
            model_management_pb2.ReloadConfigResponse.FromString,
        )
        base_paths = {model: paths.MODELS / model, other: paths.LOADED / other}
        for served in (base_paths, {model: base_paths[model]}):
            response = reload(_request(served), timeout=_TIMEOUT_S)
            if response.status.error_code:
                raise DisturbanceFailed(response.status.error_message)


def send_large_body(port: int) -> None:
    """POST 100 MB of JSON, and read the answer."""
    post(port, json_path("image_mean"), large_body())


def large_body() -> bytes:
    """Return a body of a little over 100 MB, written once and kept."""
    path = paths.BODIES / "hundred_megabytes.json"
    if not path.exists():
        random = np.random.default_rng(7)
        text = str(random.random((_IMAGES, 224, 224, 3)).tolist())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"instances": {text}}}')
    return path.read_bytes()


def _request(base_paths: dict[str, Path]) -> model_management_pb2.ReloadConfigRequest:
    request = model_management_pb2.ReloadConfigRequest()
    for name, path in base_paths.items():
        request.config.model_config_list.config.add(
            name=name, base_path=str(path), model_platform="tensorflow"
        )
    return request
