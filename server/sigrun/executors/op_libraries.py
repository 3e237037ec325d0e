"""Libraries that bring operations: loaded once, before the first model that may need one.

In: names of Python packages, which register their operations when they are imported, and paths
of shared libraries. Everything here blocks, and imports TensorFlow.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Iterable

from sigrun.errors import FailedPrecondition
from sigrun.executors.saved_model.tensorflow_imports import tf

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_loaded: set[str] = set()


def load_op_libraries(libraries: Iterable[str]) -> None:
    """Load those of `libraries` that are not loaded.

    Raises `FailedPrecondition` for one that cannot be, which the next load tries again.
    """
    with _lock:
        for library in libraries:
            if library not in _loaded:
                _load(library)
                _loaded.add(library)
                logger.info("loaded the operations of %s", library)


def _load(library: str) -> None:
    is_file = library.endswith((".so", ".dylib", ".dll"))
    try:
        if is_file:
            tf.load_op_library(library)
        else:
            importlib.import_module(library)
    except Exception as error:  # whatever a library does when it is loaded
        kind = "is no library of operations" if is_file else "cannot be imported"
        raise FailedPrecondition(
            f"--op_libraries={library} {kind}: {type(error).__name__}: {error}"
        ) from error
