"""Serve the models of the conformance cases: `python -m tests.conformance.server [TRANSPORT]`.

Prints one line of JSON when everything answers, `{"grpc_port": ..., "http_port": ...}`, and
stops when its standard input closes, so that no parent leaves it behind.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import AllVersions, ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig, Transport
from sigrun.server import ModelServer
from tests.saved_model_cache import cached

HOST = "127.0.0.1"
# Model -> version -> kind of SavedModel, as tests/tensorflow/saved_models describes them.
MODELS = {
    "half_plus_two": {1: "half_plus_two", 2: "half_plus_three"},
    "identities": {1: "identities"},
    "all_dtypes": {1: "all_dtypes"},
    "multi_head": {1: "multi_head"},
    "module": {1: "module"},
    "default_inputs": {1: "default_inputs"},
    "odd_outputs": {1: "odd_outputs"},
    "run_time_errors": {1: "run_time_errors"},
    "slow": {1: "slow"},
    "partly_broken": {1: "half_plus_two", 2: "garbage_graph"},
}
LABELS = {"half_plus_two": {"production": 1, "beta": 2}}


def main() -> None:
    """Serve until standard input closes."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(
            _serve(_config(Path(folder), Transport(sys.argv[1] if sys.argv[1:] else "own")))
        )


def _config(folder: Path, transport: Transport) -> ServerConfig:
    for model, versions in MODELS.items():
        (folder / model).mkdir()
        for version, kind in versions.items():
            (folder / model / str(version)).symlink_to(cached(kind))
    models = ModelSet(
        tuple(
            ModelConfig(
                name=model,
                base_path=str(folder / model),
                version_policy=AllVersions(),
                version_labels=LABELS.get(model, {}),
            )
            for model in MODELS
        )
    )
    return ServerConfig(
        models=models,
        grpc=GrpcOptions(host=HOST, port=0, transport=transport),
        http=HttpOptions(host=HOST, port=0, enable_cors=True),
        lifecycle=LifecycleOptions(max_num_load_retries=0),
    )


async def _serve(config: ServerConfig) -> None:
    server = ModelServer(config)
    await server.start()
    try:
        assert server.http is not None
        ports = {"grpc_port": server.grpc.port, "http_port": server.http.port}
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)
    finally:
        await server.stop(0)


if __name__ == "__main__":
    main()
