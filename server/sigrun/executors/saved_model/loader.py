"""Load and unload one version of a SavedModel; cheap until `load`.

TensorFlow is imported when the first model loads, in a load thread: neither `--help` nor
the event loop waits for it.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from sigrun.concurrency.load_threads import LoadThreads
from sigrun.concurrency.threads import Threads
from sigrun.config.execution import ExecutionOptions
from sigrun.executors.memory import give_back_memory
from sigrun.executors.saved_model.servable import SavedModelServable
from sigrun.servables.folders import check_loadable
from sigrun.servables.servable import ServableId

if TYPE_CHECKING:
    from sigrun.executors.saved_model.model import LoadedModel


class SavedModelLoader:
    """Loads the SavedModel at `path`, runs it in `runners`; implements `Loader`.

    A load whose caller is cancelled goes on in its thread; what it made is given back when
    it has ended.
    """

    def __init__(
        self,
        id: ServableId,
        path: str,
        revision: Hashable,
        *,
        options: ExecutionOptions,
        runners: Threads,
        load_threads: LoadThreads,
    ) -> None:
        self._id = id
        self._path = path
        self._revision = revision
        self._options = options
        self._runners = runners
        self._load_threads = load_threads
        self._model: LoadedModel | None = None

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
        load = self._load_threads.load
        self._model = model = await load(_read, self._path, self._options, what=str(self._id))
        return SavedModelServable(model.signatures, model.calls, self._runners)

    async def unload(self) -> None:
        """Give back everything that `load` took; a second time does nothing.

        A run whose caller has given up may go on. It is cancelled where TensorFlow can,
        and gives the rest back when it ends.
        """
        model, self._model = self._model, None
        if model is not None:
            await self._load_threads.unload(_close, model)
            del model
            await self._load_threads.unload(give_back_memory)


def _read(path: str, options: ExecutionOptions) -> LoadedModel:
    check_loadable(Path(path))  # before TensorFlow opens what may never answer
    # Imports TensorFlow.
    from sigrun.executors.saved_model.reading import read_saved_model  # noqa: PLC0415

    model = read_saved_model(path, options)
    give_back_memory()  # of the files, and of what was replaced by something better
    return model


def _close(model: LoadedModel) -> None:
    model.close()
