"""Load and unload one version of a SavedModel; cheap until `load`.

TensorFlow is imported when the first model loads, in a load thread: neither `--help` nor
the event loop waits for it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sigrun.concurrency.aside import run_aside
from sigrun.concurrency.threads import Threads
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import Cancelled, DeadlineExceeded
from sigrun.executors.devices import summary
from sigrun.executors.memory import give_back_memory, resident_bytes
from sigrun.executors.running import RunningModels
from sigrun.executors.saved_model.servable import SavedModelServable
from sigrun.servables.folders import check_loadable
from sigrun.servables.servable import ServableId

if TYPE_CHECKING:
    from sigrun.executors.saved_model.model import LoadedModel


logger = logging.getLogger(__name__)

_MAX_WAITING = 16  # loads of one version; the manager asks for one at a time
_TRIM_S = 2.0
_importing = threading.Lock()


OptionsOfVersion = Callable[[Path, ExecutionOptions], ExecutionOptions]
"""Returns the options for the version in a folder, which may bring some along. Blocks."""


def _unchanged(_: Path, options: ExecutionOptions) -> ExecutionOptions:
    return options


class SavedModelLoader:
    """Loads the model at `path`, runs it in `runners`; implements `Loader`.

    A model is a SavedModel, or one of TensorFlow Lite where there is none or it is preferred.

    A load whose caller is cancelled, or that takes too long, goes on in its thread; what it
    made is given back when it has ended.
    """

    def __init__(
        self,
        id: ServableId,
        path: str,
        revision: Hashable,
        *,
        options: ExecutionOptions,
        runners: Threads,
        load_threads: Threads,
        running: RunningModels,
        options_of_version: OptionsOfVersion = _unchanged,
    ) -> None:
        self._id = id
        self._path = path
        self._revision = revision
        self._options = options
        self._runners = runners
        self._loading = load_threads.owner(str(id), max_waiting=_MAX_WAITING)
        self._running = running
        self._options_of_version = options_of_version
        self._servable: SavedModelServable | None = None

    @property
    def id(self) -> ServableId:
        """The servable that this loads."""
        return self._id

    @property
    def revision(self) -> Hashable:
        """What is on disk, as seen when the loader was made."""
        return self._revision

    async def load(self) -> SavedModelServable:
        """Load the version. Raises a `SigrunError` that says why it cannot be served."""
        if self._loading.written_off:
            raise Cancelled("A load of this version does not end")
        deadline = time.monotonic() + self._options.max_load_s
        try:
            model, grown_bytes = await self._loading.run(self._read, deadline=deadline)
        except DeadlineExceeded:  # the same again would take another thread
            raise Cancelled(f"Loading took more than {self._options.max_load_s:g} s") from None
        self._servable = SavedModelServable(self._id, model, self._runners, self._options)
        self._servable.memory_bytes = grown_bytes
        self._running.add(self._servable)
        return self._servable

    def _read(self) -> tuple[LoadedModel, int | None]:
        return _read(self._path, self._options_of_version(Path(self._path), self._options))

    async def unload(self) -> None:
        """Give back everything that `load` took, within seconds; a second time does nothing."""
        servable, self._servable = self._servable, None
        if servable is not None:
            self._running.remove(servable)
            await servable.close()
            del servable
            with suppress(TimeoutError):
                await run_aside(give_back_memory, name="giving back memory", wait_s=_TRIM_S)


def _import_tensorflow() -> None:
    """Import it, and say what it computes on; other threads wait until it is there."""
    with _importing:
        if "tensorflow" not in sys.modules:
            logger.info("importing TensorFlow")
            from sigrun.executors.saved_model.session import list_devices  # noqa: PLC0415

            logger.info("TensorFlow computes on: %s", summary(list_devices()))


def _read(path: str, options: ExecutionOptions) -> tuple[LoadedModel, int | None]:
    """Return the model, and what the process grew by for it, as far as the system tells."""
    check_loadable(Path(path))  # before TensorFlow opens what may never answer
    _import_tensorflow()
    from sigrun.executors.op_libraries import load_op_libraries  # noqa: PLC0415
    from sigrun.executors.saved_model.reading import read_saved_model  # noqa: PLC0415
    from sigrun.executors.tflite import is_tflite, read_tflite  # noqa: PLC0415

    load_op_libraries(options.op_libraries)
    began, before = time.monotonic(), resident_bytes()
    read = read_tflite if is_tflite(Path(path), options) else read_saved_model
    model = read(path, options)
    logger.info("read %s in %.1f s", path, time.monotonic() - began)
    give_back_memory()  # of the files, and of what was replaced by something better
    after = resident_bytes()
    return model, None if before is None or after is None else max(after - before, 0)
