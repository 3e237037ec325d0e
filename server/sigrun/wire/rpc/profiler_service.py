"""`tensorflow.ProfilerService`: traces of this process, for TensorBoard and TensorFlow's client.

As with TensorFlow's own servers, a trace is written to the folder that the caller names, which
has to be one that both can reach.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from sigrun._gen.tsl.profiler.protobuf import profiler_service_pb2
from sigrun._gen.tsl.profiler.protobuf.profiler_options_pb2 import ProfileOptions
from sigrun._gen.tsl.profiler.protobuf.profiler_service_pb2 import (
    MonitorRequest,
    MonitorResponse,
    ProfileRequest,
    ProfileResponse,
    TerminateRequest,
    TerminateResponse,
)
from sigrun.errors import InvalidArgument, NotFound, PermissionDenied, Unimplemented
from sigrun.inference.context import CallContext
from sigrun.wire.rpc.message_rpc import MessageRpc
from sigrun.wire.rpcs import Rpc

NAME = profiler_service_pb2.DESCRIPTOR.services_by_name["ProfilerService"].full_name

Trace = Callable[[str, float, Mapping[str, int]], Awaitable[bytes]]
"""Traces under a name, for so many seconds, at these levels; returns a serialized `XSpace`."""

_DEFAULT_LEVELS = {"host_tracer_level": 2, "device_tracer_level": 1, "python_tracer_level": 0}


class ProfilerService:
    """Traces with `trace`; `end` ends one before its time and says whether there was one."""

    def __init__(self, trace: Trace, end: Callable[[str], bool]) -> None:
        self._trace = trace
        self._end = end

    def methods(self) -> dict[str, Rpc]:
        """Return the RPCs of the service by name."""
        return {
            "Profile": MessageRpc(ProfileRequest, self.Profile),
            "Terminate": MessageRpc(TerminateRequest, self.Terminate),
            "Monitor": MessageRpc(MonitorRequest, self.Monitor),
        }

    async def Profile(self, request: ProfileRequest, context: CallContext) -> ProfileResponse:
        file = _file_of(request)
        seconds = request.duration_ms / 1000
        # In a task: a request has none of its own until it waits for something.
        space = await asyncio.ensure_future(
            self._trace(request.session_id, seconds, _levels(request.opts))
        )
        if space and file is not None:
            await asyncio.to_thread(_write, file, space)
        return ProfileResponse(empty_trace=not space)

    async def Terminate(self, request: TerminateRequest, context: CallContext) -> TerminateResponse:
        if not self._end(request.session_id):
            raise NotFound(f"There is no trace with the session_id {request.session_id!r}")
        return TerminateResponse()

    async def Monitor(self, request: MonitorRequest, context: CallContext) -> MonitorResponse:
        raise Unimplemented("Monitor summarises what a TPU does, and there is none; see Profile")


def _levels(options: ProfileOptions) -> dict[str, int]:
    if not options.version:
        return _DEFAULT_LEVELS
    return {
        "host_tracer_level": options.host_tracer_level,
        "device_tracer_level": options.device_tracer_level,
        "python_tracer_level": options.python_tracer_level,
    }


def _file_of(request: ProfileRequest) -> Path | None:
    """Return where a trace is written to, as TensorBoard looks for it; None: nowhere."""
    if not request.repository_root:
        return None
    for field in ("session_id", "host_name"):
        name = getattr(request, field)
        if not name or name != os.path.basename(name) or name in (".", ".."):
            raise InvalidArgument(f"{field} is the name of a file, not {name!r}")
    if "://" in request.repository_root:
        raise InvalidArgument(
            f"repository_root is a folder of this machine, not {request.repository_root!r}"
        )
    return Path(request.repository_root, request.session_id, f"{request.host_name}.xplane.pb")


def _write(file: Path, content: bytes) -> None:
    """Write a file as a whole: whoever reads it meanwhile sees none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
            unfinished.write(content)
        os.chmod(unfinished.name, 0o644)
        os.replace(unfinished.name, file)
    except OSError as error:
        raise PermissionDenied(f"This server cannot write {file}: {error.strerror}") from None
