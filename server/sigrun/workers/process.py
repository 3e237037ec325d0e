"""A worker as a process: how the supervisor starts one, and what it is given.

A worker is a program of its own and not a fork: the threads of gRPC, numpy and TensorFlow do not
survive one. It gets what it needs to know over its standard input, once: the configuration as
the supervisor has read it, so that files which have changed since make no worker different.
"""

from __future__ import annotations

import asyncio
import copyreg
import io
import pickle
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO

from sigrun.config.server import ServerConfig
from sigrun.telemetry.lines import LogFormat

COMMAND = (sys.executable, "-P", "-m", "sigrun.workers")
"""Starts a worker. With -P the folder that the server was started in is not searched for code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker is told when it starts; `number` counts from 1."""

    number: int
    config: ServerConfig
    log_format: LogFormat
    log_level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A process that has been started, and the supervisor's ends of its sockets."""

    process: asyncio.subprocess.Process
    control: socket.socket
    handover: socket.socket


async def start(options: WorkerOptions, command: Sequence[str] = COMMAND) -> WorkerProcess:
    """Start a worker. Raises OSError if there can be no further process."""
    told = dump(options)
    control, its_control = socket.socketpair()
    handover, its_handover = socket.socketpair()
    try:
        with its_control, its_handover:
            descriptors = (its_control.fileno(), its_handover.fileno())
            process = await asyncio.create_subprocess_exec(
                *command,
                *map(str, descriptors),
                stdin=asyncio.subprocess.PIPE,
                pass_fds=descriptors,
            )
    except BaseException:
        control.close()
        handover.close()
        raise
    if process.stdin is not None:  # it is a pipe
        process.stdin.write(told)
        process.stdin.close()
    return WorkerProcess(process=process, control=control, handover=handover)


def dump(options: WorkerOptions) -> bytes:
    """Return what `load` reads: from the supervisor, whom a worker trusts, and nobody else."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer)
    pickler.dispatch_table = {**copyreg.dispatch_table, MappingProxyType: _reduce_view}
    pickler.dump(options)
    return buffer.getvalue()


def load(file: BinaryIO) -> WorkerOptions:
    """Return what `dump` was given."""
    options: WorkerOptions = pickle.load(file)  # noqa: S301  # the supervisor has written it
    return options


def _reduce_view(view: MappingProxyType[Any, Any]) -> tuple[Any, ...]:
    return _view, (dict(view),)


def _view(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)
