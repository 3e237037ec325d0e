"""Take the first step of a coroutine without a task, and make a task of the rest if it waits.

Most requests are answered without ever waiting, and for them a task would cost more than all
else here. So a coroutine is stepped at once, in a context of its own. Only if that step ends
in a wait is a task made, of a `Continuation`: to the loop it looks like a coroutine that begins
with the very wait at which the real one stands.

In the first step there is no current task. `asyncio.timeout`, `asyncio.TaskGroup` and
`asyncio.current_task` do not work in it; `suspend` ends it.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any


class Continuation(Coroutine[Any, Any, None]):
    """What is left of a coroutine whose first step ended by yielding `awaited`.

    It is made for a task, which gives it its steps; nobody awaits it.
    """

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited  # None once the task knows of it
        if asyncio.isfuture(awaited):  # whoever else awaits it would fail on the mark
            awaited._asyncio_future_blocking = False

    def send(self, value: Any, /) -> Any:
        """Take the next step."""
        awaited = self._awaited
        if awaited is None:
            return self._coroutine.send(value)
        self._awaited = None
        if asyncio.isfuture(awaited) and awaited.done():
            return self._coroutine.send(None)
        return _waited_for(awaited)

    def throw(self, exception: Any, /, *rest: Any) -> Any:
        """Take the next step with an exception, which the task has from its `cancel`."""
        awaited, self._awaited = self._awaited, None
        # A task that waits is cancelled through what it waits for: a child task must end too.
        if (
            isinstance(exception, asyncio.CancelledError)
            and asyncio.isfuture(awaited)
            and awaited.cancel(*exception.args)
        ):
            return _waited_for(awaited)
        return self._coroutine.throw(exception, *rest)

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise RuntimeError("a continuation is for a task; nobody awaits it")


def make_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, None],
    awaited: Any,
    context: Context,
) -> asyncio.Task[None]:
    """Return a task that goes on with a coroutine whose first step yielded `awaited`.

    `context` is the one of the first step: what that has set can be set back.
    """
    return loop.create_task(Continuation(coroutine, awaited), context=context)


@types.coroutine
def suspend() -> Generator[None, None, None]:
    """Let the loop have one turn."""
    yield


def _waited_for(awaited: Any) -> Any:
    """Return what a task may wait for, with the mark by which it tells `await` from `yield`.

    A future sets it when it is awaited, and the task takes it off at once.
    """
    if asyncio.isfuture(awaited):
        awaited._asyncio_future_blocking = True
    return awaited
