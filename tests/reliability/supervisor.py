"""Workers without TensorFlow: `python -m tests.reliability.supervisor BASE_PATH WORKERS`.

Serves the model `m`, whose versions answer with their numbers, from BASE_PATH on free ports of
the loopback interface, and prints one line of JSON, `{"grpc": PORT, "http": PORT}`, when it does.
"""

from __future__ import annotations

import json
import logging
import sys

from sigrun.cli.running import run_until_signalled
from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig
from sigrun.workers.supervisor import Supervisor

HOST = "127.0.0.1"
MODEL = "m"
GRACE_S = 5.0
COMMAND = (sys.executable, "-m", "tests.reliability.worker")


def main() -> None:
    """Serve until SIGTERM."""
    base_path, workers = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, force=True)
    config = ServerConfig(
        models=ModelSet((ModelConfig(name=MODEL, base_path=base_path),)),
        grpc=GrpcOptions(host=HOST, port=0),
        http=HttpOptions(host=HOST, port=0),
        lifecycle=LifecycleOptions(poll_wait_s=0.2, quiet_s=0.1),
        shutdown_grace_s=GRACE_S,
        workers=int(workers),
    )
    run_until_signalled(lambda: Supervisor(config, command=COMMAND), announce, grace_s=GRACE_S)


def announce(supervisor: Supervisor) -> None:
    """Say where it serves."""
    grpc, http = supervisor.server.grpc, supervisor.server.http
    assert http is not None
    sys.stdout.write(json.dumps({"grpc": grpc.port, "http": http.port}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
