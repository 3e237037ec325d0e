"""A blocking call in a thread of its own, waited for only so long.

In: a function. Out: what it returned or raised, or `TimeoutError` when the wait is over; the
call goes on then, unobserved. For what may hang and must hold nothing up: closing a session,
runs that are made up. The thread is a daemon, so the process ends without it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def start_aside(call: Callable[[], T], *, name: str) -> Future[T]:
    """Make `call` in a new thread; `result(timeout)` of what is returned waits for it."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # whatever it is, somebody may wait for it
            with suppress(InvalidStateError):  # nobody waits any more
                future.set_exception(error)
        else:
            with suppress(InvalidStateError):
                future.set_result(result)

    threading.Thread(target=work, name=name, daemon=True).start()
    return future


async def run_aside(call: Callable[[], T], *, name: str, wait_s: float) -> T:
    """Return what `call`, made in a new thread, returns; for event loops.

    Raises what it raises, or `TimeoutError` after `wait_s`.
    """
    async with asyncio.timeout(wait_s):
        return await asyncio.wrap_future(start_aside(call, name=name))
