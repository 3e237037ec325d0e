"""Calls between the supervisor and a worker, both ways at once over one stream socket.

In: a socket, and what answers each call by name. Out: answers, or the error that the other side
raised. A frame is four bytes of length and a JSON object: a call, its end, or that nobody wants
its end any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping

from sigrun.errors import DeadlineExceeded, Internal, ResourceExhausted, SigrunError, Unavailable
from sigrun.workers.values import Plain, error_from_plain, error_to_plain

logger = logging.getLogger(__name__)

Handler = Callable[[Plain], Awaitable[Plain]]
"""Answers one call; what it raises as a `SigrunError` goes to the caller."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
_MAX_UNSENT_BYTES = 2 * MAX_FRAME_BYTES
_MAX_ANSWERED_AT_ONCE = 1024
_LENGTH = struct.Struct(">I")


class ChannelClosed(Unavailable):
    """The other process has ended, or is about to."""


class Channel:
    """One end of it. `run` it as long as it is to answer, and to be answered."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handlers: Mapping[str, Handler],
        *,
        peer: str,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handlers = handlers
        self._peer = peer
        self._last_id = 0
        self._asked: dict[int, asyncio.Future[Plain]] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._is_closed = False

    @classmethod
    async def over(
        cls, end: socket.socket, handlers: Mapping[str, Handler], *, peer: str
    ) -> Channel:
        """Return an end over a connected stream socket, which it owns from now on."""
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end), handlers, peer=peer)

    async def run(self) -> None:
        """Read until the other side has gone; calls that are not answered by then have failed."""
        try:
            while True:
                head = await self._reader.readexactly(_LENGTH.size)
                (length,) = _LENGTH.unpack(head)
                if length > MAX_FRAME_BYTES:
                    logger.error("%s sends a message of %d bytes", self._peer, length)
                    return
                self._receive(json.loads(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            self.close()

    async def call(self, name: str, value: Plain = None, *, within_s: float | None) -> Plain:
        """Return what the other side answers.

        Raises what it raised, `ChannelClosed` if it ends first, `DeadlineExceeded` if there is no
        answer `within_s`. A caller that is cancelled, or late, cancels the work there.
        """
        self._last_id += 1
        loop = asyncio.get_running_loop()
        id, answer = self._last_id, loop.create_future()
        self._asked[id] = answer
        # Not `asyncio.timeout`: requests ask before they have a task.
        timer = None if within_s is None else loop.call_later(within_s, self._expire, id, name)
        try:
            self._send({"id": id, "call": name, "value": value})
            return await answer
        except (asyncio.CancelledError, DeadlineExceeded):
            self._cancel(id)
            raise
        finally:
            del self._asked[id]
            if timer is not None:
                timer.cancel()

    def _expire(self, id: int, name: str) -> None:
        answer = self._asked.get(id)
        if answer is not None and not answer.done():
            answer.set_exception(
                DeadlineExceeded(f"{self._peer} has not answered {name!r} in time")
            )

    def close(self) -> None:
        """End every call, here and there."""
        if self._is_closed:
            return
        self._is_closed = True
        self._writer.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(self._closed())
        for task in self._answering.values():
            task.cancel()

    def _closed(self) -> ChannelClosed:
        return ChannelClosed(f"{self._peer} has ended")

    def _receive(self, message: Plain) -> None:
        id = message["id"]
        if "call" in message:
            self._begin(id, message["call"], message["value"])
        elif "cancel" in message:
            if (task := self._answering.get(id)) is not None:
                task.cancel()
        elif (answer := self._asked.get(id)) is not None and not answer.done():
            if "error" in message:
                answer.set_exception(error_from_plain(message["error"]))
            else:
                answer.set_result(message["result"])

    def _begin(self, id: int, name: str, value: Plain) -> None:
        if len(self._answering) >= _MAX_ANSWERED_AT_ONCE:
            error = ResourceExhausted(f"{_MAX_ANSWERED_AT_ONCE} calls are being answered already")
            self._send({"id": id, "error": error_to_plain(error)})
            return
        task = asyncio.create_task(self._answer(id, name, value), name=f"answer {name}")
        self._answering[id] = task
        task.add_done_callback(lambda _: self._answering.pop(id))

    async def _answer(self, id: int, name: str, value: Plain) -> None:
        try:
            answer = {"id": id, "result": await self._handlers[name](value)}
        except SigrunError as error:
            answer = {"id": id, "error": error_to_plain(error)}
        except Exception as error:
            logger.exception("answering %r of %s failed", name, self._peer)
            failure = Internal(f"{type(error).__name__}: {error}")
            answer = {"id": id, "error": error_to_plain(failure)}
        with contextlib.suppress(ChannelClosed):
            self._send(answer)

    def _cancel(self, id: int) -> None:
        with contextlib.suppress(SigrunError):
            self._send({"id": id, "cancel": True})

    def _send(self, message: Plain) -> None:
        """Send a message. Raises `ChannelClosed`, and `ResourceExhausted` for one too long."""
        if self._is_closed or self._writer.is_closing():
            raise self._closed()
        body = json.dumps(message, separators=(",", ":")).encode()
        unsent = self._writer.transport.get_write_buffer_size()
        if len(body) > MAX_FRAME_BYTES or unsent + len(body) > _MAX_UNSENT_BYTES:
            raise ResourceExhausted(
                f"{len(body)} bytes cannot be sent to {self._peer}, which has not taken {unsent} "
                f"bytes yet; a message may have {MAX_FRAME_BYTES}"
            )
        self._writer.write(_LENGTH.pack(len(body)) + body)
