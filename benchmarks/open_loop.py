"""Send requests at a fixed rate and say how late each answer was, as a process of its own.

Latency counts from when a request was due, not from when it could be sent: a server that stops
for a second is late for every request of that second, not only for those in flight.

Usage: python -m benchmarks.open_loop grpc|json PORT MODEL RATE SECONDS
Out: a JSON list of milliseconds, one per request, or an error on stderr and exit status 1.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import grpc
import uvloop

from benchmarks.bodies import PREDICT, Door, Example, example, json_path
from benchmarks.http_client import Connection

Ask = Callable[[], Awaitable[object]]
_CALLERS = 32  # enough that a request is sent when it is due, unless the server stands still
_TIMEOUT_S = 60.0


async def latencies_ms(
    door: Door, port: int, model: str, rate: float, seconds: float
) -> list[float]:
    """Return the latency of each of `rate` x `seconds` requests."""
    async with AsyncExitStack() as stack:
        open_caller = _grpc_caller if door is Door.GRPC else _json_caller
        callers = [await open_caller(stack, port, example(model)) for _ in range(_CALLERS)]
        for ask in callers:  # connections are there and warm before the clock starts
            await ask()
        starts_at = time.monotonic() + 0.1
        due = iter([starts_at + n / rate for n in range(round(rate * seconds))])
        async with asyncio.timeout(seconds + _TIMEOUT_S):
            parts = await asyncio.gather(*(_take_turns(ask, due) for ask in callers))
    return list(itertools.chain.from_iterable(parts))


async def _take_turns(ask: Ask, due: Iterator[float]) -> list[float]:
    """Send the next request that is due until there is none; the callers share `due`."""
    took_ms = []
    for due_at in due:
        await asyncio.sleep(max(0.0, due_at - time.monotonic()))
        await ask()
        took_ms.append((time.monotonic() - due_at) * 1e3)
    return took_ms


async def _grpc_caller(stack: AsyncExitStack, port: int, wanted: Example) -> Ask:
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    call = channel.unary_unary(PREDICT, lambda message: message, lambda reply: reply)
    message = wanted.message()

    async def ask() -> None:
        await call(message, timeout=_TIMEOUT_S)

    return ask


async def _json_caller(stack: AsyncExitStack, port: int, wanted: Example) -> Ask:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    return Connection(reader, writer, json_path(wanted.model), wanted.body(Door.JSON)).ask


def main() -> None:
    """Read the arguments, run, print."""
    door, port, model, rate, seconds = sys.argv[1:]
    took_ms = uvloop.run(
        latencies_ms(Door[door.upper()], int(port), model, float(rate), float(seconds))
    )
    print(json.dumps(took_ms))


if __name__ == "__main__":
    main()
