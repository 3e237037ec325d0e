"""A server without TensorFlow, to be treated badly: `python -m tests.reliability.server OPTIONS`.

Serves fake models on the loopback interface: `half_plus_two`, which answers at once, or after
`--delay_s`, `slow`, which takes 200 ms, and `rest`, which has a signature for every rule. Prints
one line of JSON when it serves, `{"grpc": PORT, "http": PORT}`, and drains on SIGTERM as the
command line's server does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from sigrun.cli.running import run_until_signalled
from sigrun.config.batching import BatchingOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig, Transport
from sigrun.errors import InvalidArgument
from sigrun.servables.servable import ServableId
from sigrun.servables.source import MakeLoader
from sigrun.server import ModelServer
from sigrun.telemetry.lines import LogFormat
from sigrun.telemetry.logs import configure_logs
from sigrun.tensors.signature import Array, Signature
from tests.fakes.servables import HALF_PLUS_TWO, FakeLoader, half_plus_two
from tests.wire.rest_model import RestServable

HOST = "127.0.0.1"
SLOW_S = 0.2
MODELS = ("half_plus_two", "slow", "rest")


class Model:
    """The tutorial's model, `delay_s` after it is asked."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {HALF_PLUS_TWO.name: HALF_PLUS_TWO}

    @property
    def may_run_inline(self) -> bool:
        return False

    def run_inline(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> None:
        """Leave everything to `run`."""

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        values = half_plus_two(inputs)
        return [values[alias] for alias in outputs]


class Rest(RestServable):
    """The model behind the rules of the REST API, which keeps nothing of what was asked."""

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        self.runs.clear()
        # Of signatures that are joined the aliases have the names of those before them.
        inputs = {alias.rpartition("/")[2]: array for alias, array in inputs.items()}
        outputs = [alias.rpartition("/")[2] for alias in outputs]
        try:
            return await super().run(signature, inputs, outputs, deadline=deadline)
        except DecodeError as error:  # of an Example
            raise InvalidArgument(str(error)) from error


def loaders(delay_s: float) -> MakeLoader:
    """Return what makes the loader of a version."""

    def make_loader(id: ServableId, _path: Path, revision: object) -> FakeLoader:
        if id.name == "rest":
            return FakeLoader(id, servable=Rest())
        return FakeLoader(id, servable=Model(SLOW_S if id.name == "slow" else delay_s))

    return make_loader


def main(
    words: Sequence[str] | None = None, announce: Callable[[ModelServer], None] | None = None
) -> None:
    """Serve until SIGTERM; `announce` is told when it serves, in place of standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", type=Transport, default=Transport.OWN)
    parser.add_argument("--batching", action="store_true")
    parser.add_argument("--grace_s", type=float, default=20.0)
    parser.add_argument("--max_requests", type=int, default=0)
    parser.add_argument("--grpc_port", type=int, default=0)
    parser.add_argument("--http_port", type=int, default=0)
    parser.add_argument("--model_version", default="1")
    parser.add_argument("--delay_s", type=float, default=0.0)
    parser.add_argument("--access_log", action="store_true")
    options = parser.parse_args(words)
    if options.access_log:
        configure_logs(LogFormat.TEXT)
    else:
        logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            (Path(folder) / name / options.model_version).mkdir(parents=True)
        config = ServerConfig(
            models=ModelSet(
                tuple(ModelConfig(name=name, base_path=str(Path(folder) / name)) for name in MODELS)
            ),
            grpc=GrpcOptions(host=HOST, port=options.grpc_port, transport=options.transport),
            http=HttpOptions(host=HOST, port=options.http_port),
            batching=BatchingOptions() if options.batching else None,
            max_concurrent_requests=options.max_requests,
            access_log=options.access_log,
        )
        run_until_signalled(
            lambda: ModelServer(config, make_loader=loaders(options.delay_s)),
            announce or print_ports,
            grace_s=options.grace_s,
        )


def print_ports(server: ModelServer) -> None:
    """Say where it serves."""
    assert server.http is not None
    sys.stdout.write(json.dumps({"grpc": server.grpc.port, "http": server.http.port}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
