"""Ask for more than can be served, from a process of its own: `python -m tests.reliability.flood`.

Arguments are an address, requests per second, the steps of each (see the model `slow`), and the
deadline of each in seconds. Says `floods`, and sends them at that rate, whatever becomes of them,
until SIGTERM; then prints how many ended with which code, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter

import grpc
import numpy as np

from tests.e2e.process import predict_request
from tests.reliability.callers import PREDICT

_TICK_S = 0.02


async def flood(address: str, rate: float, steps: int, timeout_s: float) -> Counter[str]:
    """Return how many calls ended with which code."""
    outcomes: Counter[str] = Counter()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    request = predict_request("flooded", n=np.array([steps])).SerializeToString()
    async with grpc.aio.insecure_channel(address) as channel:
        rpc: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PREDICT)

        async def ask() -> None:
            outcomes[(await rpc(request, timeout=timeout_s).code()).name] += 1

        sys.stdout.write("floods\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as tasks:
            while not stop.is_set():
                for _ in range(round(rate * _TICK_S)):
                    tasks.create_task(ask())
                await asyncio.sleep(_TICK_S)
    return outcomes


if __name__ == "__main__":
    _, where, per_second, steps_of_each, deadline_s = sys.argv
    result = asyncio.run(flood(where, float(per_second), int(steps_of_each), float(deadline_s)))
    sys.stdout.write(json.dumps(result))
