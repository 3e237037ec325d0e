"""SavedModels: read from disk, run in a session, or by TensorFlow's functions where none can.

- loader: loads and unloads one version; imports TensorFlow when the first one loads
- servable: what a loaded version is to the rest of the server
- reading: a directory -> signatures and an executor, with errors that say what is wrong
- model: what comes of reading
- demands: which executor a graph permits, which variables it needs, what its runs may do
- optimising, freezing: variables that nothing writes -> constants that TensorFlow folds
- synthesis: requests made up from a signature, to compare models and to measure them
- session: the executor for nearly all: prepared callables of a session
- functions: the executor for models whose variables a session cannot restore at all
- boundary: the imports of TensorFlow
"""

from __future__ import annotations

from sigrun.executors.saved_model.loader import SavedModelLoader
from sigrun.executors.saved_model.servable import SavedModelServable

__all__ = ["SavedModelLoader", "SavedModelServable"]
