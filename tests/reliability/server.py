"""A server without TensorFlow, to be treated badly: `python -m tests.reliability.server OPTIONS`.

Serves fake models on free ports of the loopback interface: `half_plus_two`, which answers at
once, `slow`, which takes 200 ms, and `rest`, which has a signature for every rule. Prints
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
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from sigrun.cli.running import run_until_signalled
from sigrun.config.batching import BatchingOptions
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig, Transport
from sigrun.errors import InvalidArgument
from sigrun.servables.servable import ServableId
from sigrun.server import ModelServer
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


def make_loader(id: ServableId, _path: Path, revision: object) -> FakeLoader:
    """Return the loader of a version."""
    if id.name == "rest":
        return FakeLoader(id, servable=Rest())
    delay_s = SLOW_S if id.name == "slow" else 0.0
    return FakeLoader(id, servable=Model(delay_s))


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", type=Transport, default=Transport.OWN)
    parser.add_argument("--batching", action="store_true")
    parser.add_argument("--grace_s", type=float, default=20.0)
    parser.add_argument("--max_requests", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            (Path(folder) / name / "1").mkdir(parents=True)
        config = ServerConfig(
            models=ModelSet(
                tuple(ModelConfig(name=name, base_path=str(Path(folder) / name)) for name in MODELS)
            ),
            grpc=GrpcOptions(host=HOST, port=0, transport=options.transport),
            http=HttpOptions(host=HOST, port=0),
            batching=BatchingOptions() if options.batching else None,
            max_concurrent_requests=options.max_requests,
        )
        run_until_signalled(
            lambda: ModelServer(config, make_loader=make_loader), announce, grace_s=options.grace_s
        )


def announce(server: ModelServer) -> None:
    """Say where it serves."""
    assert server.http is not None
    sys.stdout.write(json.dumps({"grpc": server.grpc.port, "http": server.http.port}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
