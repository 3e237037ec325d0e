"""A worker that serves nothing and behaves as the folder that it is started in says.

`python -m tests.wire.workers.scripted_worker FOLDER CONTROL HANDOVER`. Each worker writes what it
is asked to do, a line each, into a file named by its process. While there is a file `stuck` in
the folder those that were started before it say that they are; with a file `refuse` they refuse
to load; with `deaf` they do not do what they are told.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from sigrun.errors import InvalidArgument
from sigrun.workers import process
from sigrun.workers.channel import Channel, Handler
from sigrun.workers.values import Plain


class Script:
    """Answers a supervisor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._comes_after_stuck = self._is_there("stuck")
        self.end = asyncio.Event()

    def handlers(self) -> dict[str, Handler]:
        return {
            "begin": self.begin,
            "load": self.load,
            "apply": self.apply,
            "unload": self.unload,
            "report": self.report,
            "readings": self.readings,
            "drain": self.drain,
            "draining": self.note_only,
        }

    async def begin(self, _: Plain) -> None:
        self._note("begin")

    async def load(self, order: Plain) -> Plain:
        self._note("load", order["key"])
        if self._is_there("refuse"):
            raise InvalidArgument("the model is broken")
        return []

    async def apply(self, entries: Plain) -> None:
        self._note("apply", entries)
        if self._is_there("deaf"):
            raise ValueError("this worker does not follow")

    async def unload(self, key: Plain) -> None:
        self._note("unload", key)

    async def report(self, _: Plain) -> Plain:
        is_stuck = self._is_there("stuck") and not self._comes_after_stuck
        return ["four runs do not end"] if is_stuck else []

    async def readings(self, _: Plain) -> Plain:
        return [["Counter", "sigrun_answers", "Answers", {}, 1]]

    async def drain(self, grace_s: Plain) -> None:
        self._note("drain", grace_s)
        self.end.set()

    async def note_only(self, _: Plain) -> None:
        self._note("draining")

    def _is_there(self, name: str) -> bool:
        return (self._folder / name).exists()

    def _note(self, what: str, value: Plain = None) -> None:
        with (self._folder / f"{os.getpid()}.log").open("a") as log:
            log.write(json.dumps([what, value]) + "\n")


async def run(folder: Path, control: socket.socket) -> None:
    """Follow the supervisor until it says that this is the end, or is gone."""
    script = Script(folder)
    channel = await Channel.over(control, script.handlers(), peer="the supervisor")
    ends = [asyncio.create_task(channel.run()), asyncio.create_task(script.end.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    channel.close()


if __name__ == "__main__":
    process.load(sys.stdin.buffer)
    asyncio.run(run(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))))
