"""Run calls that may never return in threads that nobody has to wait for.

In: a blocking call, from one event loop. Out: what it returned or raised. A caller that is
cancelled goes on at once; the call ends unobserved, and does not keep the process alive.
`asyncio.to_thread` has few threads and joins them when the loop is closed, so that one
file system that does not answer would hold up everything else, and the end.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_MAX_IDLE = 4

Deliver = Callable[[Any, BaseException | None], object]
Inbox = queue.SimpleQueue[tuple[Callable[[], Any], Deliver] | None]
"""How a thread is given its next call, or None: then it ends."""


class DaemonThreads:
    """As many threads as there are calls; some are kept for the next ones.

    The caller bounds how many calls there are. Only the event loop touches what is kept here.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: list[Inbox] = []
        self._is_closed = False

    async def run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Return what `call(*arguments)` returns in a thread, or raise what it raises."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[T] = loop.create_future()
        inbox = self._idle.pop() if self._idle else self._start()
        settle = functools.partial(self._settle, inbox, reply)
        deliver = functools.partial(loop.call_soon_threadsafe, settle)
        inbox.put((functools.partial(call, *arguments), deliver))
        try:
            return await reply
        finally:
            del reply, settle, deliver  # an error knows this frame: together they would be a cycle

    def close(self) -> None:
        """Let the idle threads end, and the others when their calls have returned."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _start(self) -> Inbox:
        inbox: Inbox = queue.SimpleQueue()
        threading.Thread(target=_work, args=(inbox,), name=self._name, daemon=True).start()
        return inbox

    def _settle(
        self,
        inbox: Inbox,
        reply: asyncio.Future[Any],
        result: Any,
        error: BaseException | None,
    ) -> None:
        if self._is_closed or len(self._idle) >= _MAX_IDLE:
            inbox.put(None)
        else:
            self._idle.append(inbox)
        if reply.done():  # the caller has gone
            return
        if error is not None:
            reply.set_exception(error)
        else:
            reply.set_result(result)


def _work(inbox: Inbox) -> None:
    while (job := inbox.get()) is not None:
        call, deliver = job
        result: Any = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as raised:  # whatever it is, the caller waits for it
            error = raised
        try:
            deliver(result, error)
        except RuntimeError:  # the loop is closed, nobody waits
            return
        del job, call, deliver, result, error  # else they would live until the next call
