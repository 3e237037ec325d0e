"""A server in which a load and the reading of the config file hang, without TensorFlow.

`python -m tests.e2e.hanging_server FOLDER SECONDS` waits so long for models. It says `hangs`
when the load has begun that never ends, and `serves` when it has started.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Hashable
from pathlib import Path

from sigrun.cli.running import run_until_signalled
from sigrun.concurrency.daemons import DaemonThreads
from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, ServerConfig
from sigrun.servables.servable import Servable, ServableId
from sigrun.server import ModelServer
from tests.fakes.servables import FakeLoader

GRACE_S = 1.0
FOREVER_S = 3600.0


class HangingLoader(FakeLoader):
    """Loads in a thread that never ends, as a file system can make it."""

    threads = DaemonThreads("load")

    async def load(self) -> Servable:
        return await self.threads.run(_hang, self.servable)


def _hang(servable: Servable) -> Servable:
    _say("hangs")
    time.sleep(FOREVER_S)
    return servable


def _say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def make_server(folder: Path, settle_timeout_s: float) -> ModelServer:
    """Return a server of two models, one of which never loads, that follows a named pipe."""

    def make_loader(id: ServableId, path: Path, revision: Hashable) -> FakeLoader:
        kind = HangingLoader if id.name == "hangs" else FakeLoader
        return kind(id, revision=revision)

    models = ModelSet(
        tuple(ModelConfig(name=name, base_path=str(folder / name)) for name in ("hangs", "works"))
    )
    config = ServerConfig(
        models=models,
        config_file=folder / "pipe",
        config_file_poll_wait_s=0.1,
        grpc=GrpcOptions(host="127.0.0.1", port=0),
        lifecycle=LifecycleOptions(quiet_s=0, settle_timeout_s=settle_timeout_s),
    )
    return ModelServer(config, make_loader=make_loader)


if __name__ == "__main__":
    run_until_signalled(
        lambda: make_server(Path(sys.argv[1]), float(sys.argv[2])),
        lambda _: _say("serves"),
        grace_s=GRACE_S,
    )
