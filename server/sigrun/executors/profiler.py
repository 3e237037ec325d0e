"""Profiles of this process by TensorFlow's own profiler, which has one session at a time.

In: for how long, and in what detail. Out: an `XSpace`, serialized, which TensorBoard reads. It
imports TensorFlow in a thread, if no model has done so.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sigrun.concurrency.aside import run_aside, start_aside
from sigrun.errors import AlreadyExists, Cancelled, Internal, InvalidArgument

logger = logging.getLogger(__name__)

MAX_DURATION_S = 300.0
"""The longest trace: what is traced is kept in memory until its end."""

# TensorFlow's own, which need not be given: TensorFlow 2.21 warns of any level, and ignores it.
_DEFAULT_LEVELS = {"host_tracer_level": 2, "device_tracer_level": 1, "python_tracer_level": 0}
_STEP_S = 120.0  # for TensorFlow to begin or end a session


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """What is traced. `levels` are TensorFlow's, such as `host_tracer_level`."""

    duration_s: float
    levels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.duration_s <= MAX_DURATION_S:
            raise InvalidArgument(
                f"A trace takes more than 0 s and at most {MAX_DURATION_S:g} s, "
                f"not {self.duration_s:g} s"
            )


class Profiler:
    """Traces this process. Used on one event loop."""

    def __init__(self) -> None:
        self._ends: dict[str, asyncio.Event] = {}
        self._is_tracing = False

    async def trace(self, name: str, options: TraceOptions) -> bytes:
        """Trace until the time is over or `end` is called with `name`; return an `XSpace`.

        Raises `AlreadyExists` while another trace is under way.
        """
        if self._is_tracing:
            raise AlreadyExists("Another profiler session is active; try again when it has ended")
        self._is_tracing = True
        self._ends[name] = end = asyncio.Event()
        session = _Session()
        try:
            await _step(session, "start", options)
            logger.info("tracing for %g s", options.duration_s)
            try:
                async with asyncio.timeout(options.duration_s):
                    await end.wait()
            except TimeoutError:
                pass
            return await _step(session, "stop", options)
        except BaseException:
            session.abandon()
            raise
        finally:
            del self._ends[name]
            self._is_tracing = False

    def end(self, name: str) -> bool:
        """End the trace of that name now; return whether there is one."""
        end = self._ends.get(name)
        if end is not None:
            end.set()
        return end is not None


async def _step(session: _Session, step: str, options: TraceOptions) -> bytes:
    try:
        return await run_aside(
            lambda: session.start(options) if step == "start" else session.stop(),
            name=f"profiler: {step}",
            wait_s=_STEP_S,
        )
    except TimeoutError:
        raise Cancelled(f"TensorFlow's profiler did not {step} within {_STEP_S:g} s") from None


class _Session:
    """One session of TensorFlow's profiler; its methods block.

    TensorFlow gives an `XSpace` as a file only, so that there is a folder for it.
    """

    def __init__(self) -> None:
        self._is_abandoned = False
        self._session: Any = None
        self._folder = ""

    def start(self, options: TraceOptions) -> bytes:
        # The public API has one session for its users in this process, and no `XSpace` either.
        from tensorflow.python.profiler.internal import _pywrap_profiler  # noqa: PLC0415

        levels = {k: v for k, v in options.levels.items() if _DEFAULT_LEVELS.get(k) != v}
        session = _pywrap_profiler.ProfilerSession()
        folder = tempfile.mkdtemp(prefix="sigrun-profile-")
        try:
            session.start(folder, levels)
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            if "nother profil" in str(error):  # of somebody else in this process
                raise AlreadyExists(str(error)) from None
            raise Internal(f"TensorFlow's profiler does not start: {error}") from error
        self._session, self._folder = session, folder
        if self._is_abandoned:
            self._let_go()
        return b""

    def stop(self) -> bytes:
        try:
            self._session.export_to_tb()
            traces = [path.read_bytes() for path in Path(self._folder).rglob("*.xplane.pb")]
        finally:
            self._let_go()
        return traces[0] if traces else b""

    def abandon(self) -> None:
        """Let go of a session that nobody waits for, now or when it has begun."""
        self._is_abandoned = True
        if self._session is not None:
            start_aside(self._let_go, name="profiler: letting go")

    def _let_go(self) -> None:
        self._session = None  # TensorFlow ends it with its last reference
        shutil.rmtree(self._folder, ignore_errors=True)
