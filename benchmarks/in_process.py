"""What a Predict costs from bytes to bytes without a socket, beside the session call inside it.

Usage: python -m benchmarks.in_process MODEL        a breakdown, for who makes the path shorter
       python -m benchmarks.in_process MODEL PORT   serve measurements, a line each: `measured`
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import os
import pstats
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from benchmarks.bodies import example

if TYPE_CHECKING:
    from benchmarks.internals import Inside

PREDICT, CALL = "predict", "call"
_SLICE = 10  # calls between two looks at the clock: few, so that most slices are not interrupted
_WARM_UP_CALLS = 2_000
_ROUNDS, _ROUND_S = 15, 0.2
_PROFILED_CALLS = 3_000
_SHOWN = 20
_TIMEOUT_S = 60.0


class Bench:
    """Times one model, both ways."""

    def __init__(self, inside_model: Inside, model: str) -> None:
        wanted = example(model)
        self._inside = inside_model
        self._body = wanted.message()
        self._arrays = [_as_fed(wanted.inputs[name]) for name in inside_model.input_names]
        self._check = wanted.check_message

    async def warm_up(self) -> None:
        """Check an answer, and let the server find out what is quick."""
        self._check(await self._inside.predict(self._body))
        for _ in range(_WARM_UP_CALLS):
            await self._inside.predict(self._body)
            self._inside.prepared_call(self._arrays)
        gc.collect()
        gc.freeze()

    async def predict_us(self, seconds: float) -> float:
        """Return how long a Predict takes, the lower quartile of slices."""
        return await _quartile_us(self._predicts, seconds)

    async def call_us(self, seconds: float) -> float:
        """Return how long the session call alone takes."""
        return await _quartile_us(self._calls, seconds)

    async def _predicts(self) -> None:
        predict, body = self._inside.predict, self._body
        for _ in range(_SLICE):
            await predict(body)

    async def _calls(self) -> None:
        call, arrays = self._inside.prepared_call, self._arrays
        for _ in range(_SLICE):
            call(arrays)

    async def calls_of_python(self) -> tuple[int, int]:
        """Return how many functions of Python and of C a Predict calls."""
        counts: Counter[str] = Counter()
        sys.setprofile(lambda _frame, event, _function: counts.update((event,)))
        try:
            await self._inside.predict(self._body)
        finally:
            sys.setprofile(None)
        return counts["call"], counts["c_call"]

    async def profile(self) -> pstats.Stats:
        """Return where time goes, with a profiler that makes Python look slower than it is."""
        profiler = cProfile.Profile()
        with profiler:
            for _ in range(_PROFILED_CALLS):
                await self._inside.predict(self._body)
        return pstats.Stats(profiler)


async def measured(bench: Bench, line: str) -> float:
    """Answer `predict SECONDS` or `call SECONDS` with microseconds."""
    what, seconds = line.split()
    measure = {PREDICT: bench.predict_us, CALL: bench.call_us}[what]
    return await measure(float(seconds))


def ask(port: int, what: str, seconds: float) -> float:
    """Ask a process that serves measurements."""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
        connection.sendall(f"{what} {seconds}\n".encode())
        return float(connection.makefile().readline())


async def _serve(model: str, port: int) -> None:
    from benchmarks.internals import inside  # TensorFlow, which reads the environment first

    async with inside(model) as inside_model:
        bench = Bench(inside_model, model)
        await bench.warm_up()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if line := (await reader.readline()).decode():
                writer.write(f"{await measured(bench, line)}\n".encode())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", port)
        await server.serve_forever()


async def _break_down(model: str) -> None:
    from benchmarks.internals import inside

    async with inside(model) as inside_model:
        bench = Bench(inside_model, model)
        await bench.warm_up()
        predict, call = await _interleaved(bench)
        python_calls, c_calls = await bench.calls_of_python()
        print(f"{model}: {predict:.1f} us from bytes to bytes, {predict / call:.2f}x")
        print(f"{'':{len(model)}}  {call:.1f} us the session call alone")
        print(f"{'':{len(model)}}  {python_calls} functions of Python, {c_calls} of C are called")
        print(f"\nself time of each function under a profiler, {_SHOWN} of them")
        print("\n".join(_lines(await bench.profile())))


async def _interleaved(bench: Bench) -> tuple[float, float]:
    predicts, calls = [], []
    for _ in range(_ROUNDS):
        predicts.append(await bench.predict_us(_ROUND_S))
        calls.append(await bench.call_us(_ROUND_S))
    return statistics.median(predicts), statistics.median(calls)


async def _quartile_us(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    took_s: list[float] = []
    ends_at = time.perf_counter() + seconds
    while (started := time.perf_counter()) < ends_at or not took_s:
        await work()
        took_s.append(time.perf_counter() - started)
    return float(np.percentile(took_s, 25)) / _SLICE * 1e6


def _as_fed(array: np.ndarray) -> np.ndarray:
    return array.astype(object) if array.dtype.kind == "S" else array


def _lines(stats: pstats.Stats) -> list[str]:
    rows: list[tuple[float, int, str]] = []
    everything: Any = stats
    for (file, _line, function), (_, count, self_s, _, _) in everything.stats.items():
        place = f"{_short(file)} {function}" if file != "~" else function
        rows.append((self_s / _PROFILED_CALLS * 1e6, round(count / _PROFILED_CALLS), place))
    rows.sort(reverse=True)
    return [f"{us:8.2f} us {count:3} calls  {place}" for us, count, place in rows[:_SHOWN]]


def _short(file: str) -> str:
    _, found, rest = file.partition("/sigrun/")
    return rest if found else Path(file).name


def main() -> None:
    """Serve measurements if there is a port, or print the breakdown."""
    model, *port = sys.argv[1:]
    uvloop.run(_serve(model, int(port[0])) if port else _break_down(model))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    main()
