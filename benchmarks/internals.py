"""What the benchmarks use of sigrun's inside: all in one place, as it changes with the inside.

In: a model. Out: its Predict RPC from bytes to bytes, as every transport calls it, and the call of
its session that stands at the bottom of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import paths
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, ServerConfig
from sigrun.executors.prepared import tensor_names
from sigrun.inference.context import CallContext, Door, Outcome
from sigrun.server import ModelServer

_SERVICE = "tensorflow.serving.PredictionService"
_SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """One loaded model, from within the process."""

    predict: Callable[[bytes], Awaitable[bytes]]
    prepared_call: Callable[[Sequence[Any]], Sequence[Any]]  # arrays in the signature's order
    input_names: Sequence[str]


@contextlib.asynccontextmanager
async def inside(model: str) -> AsyncIterator[Inside]:
    """Load a model into a server whose ports nobody uses."""
    models = ModelSet((ModelConfig(name=model, base_path=str(paths.MODELS / model)),))
    server = ModelServer(ServerConfig(models=models, grpc=GrpcOptions(host="127.0.0.1", port=0)))
    await server.start()
    try:
        rpc: Any = server.services[_SERVICE]["Predict"]
        with server.manager.acquire(model) as handle:
            servable: Any = handle.servable
            signature = servable.signatures[_SIGNATURE]
            names = tensor_names(signature, tuple(signature.outputs))
            yield Inside(
                predict=lambda body: rpc(body, _context()),
                prepared_call=servable._model.calls.get(*names).call,
                input_names=tuple(signature.inputs),
            )
    finally:
        await server.stop(0)


def _context() -> CallContext:
    """Return what a door makes for every request."""
    return CallContext(Door.GRPC, "benchmark", None, "", {}, "", "", Outcome())
