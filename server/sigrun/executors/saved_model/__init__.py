"""SavedModels: read from disk, run in a session, or by TensorFlow's functions where none can.

- loader: loads and unloads one version; imports TensorFlow when the first one loads
- servable: what a loaded version is to the rest of the server, and what becomes of its runs
- reading: a directory -> signatures and an executor, with errors that say what is wrong
- files: what is on disk, before TensorFlow reads it
- model: what comes of reading
- graph_analysis: which executor a graph permits, which variables it needs, what its runs may do
- value_sizes: operations that make as much as the values of a request say
- optimising, freezing, purity: variables that nothing writes -> constants that TensorFlow folds
- sample_requests: requests made up from a signature, to compare models and to measure them
- session: the executor for nearly all: prepared callables of a session
- functions: the executor for models whose variables a session cannot restore at all
- tensorflow_imports: the imports of TensorFlow
"""

from __future__ import annotations

from sigrun.executors.saved_model.loader import SavedModelLoader
from sigrun.executors.saved_model.servable import SavedModelServable

__all__ = ["SavedModelLoader", "SavedModelServable"]
