"""Builders of real SavedModels, one of every kind: `KINDS[name](path)` writes it to `path`.

Each builder's docstring states the model's signatures. Importing this imports TensorFlow; tests
use the fixtures of `tests/tensorflow/conftest.py`, which build each kind once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import broken, kinds_v1, kinds_v2, troublesome, tutorial

Builder = Callable[[Path], None]

KINDS: dict[str, Builder] = {
    builder.__name__: builder
    for builder in (
        tutorial.half_plus_two,
        tutorial.half_plus_three,
        tutorial.half_plus_two_as_text,
        tutorial.half_plus_two_for_gpu,
        tutorial.half_plus_two_for_training,
        tutorial.half_plus_two_meta_graphs,
        kinds_v1.all_dtypes,
        kinds_v1.counter,
        kinds_v1.default_inputs,
        kinds_v1.identities,
        kinds_v1.multi_head,
        kinds_v1.odd_outputs,
        kinds_v1.vocabulary_v1,
        kinds_v2.keras_export,
        kinds_v2.keras_export_archive,
        kinds_v2.keras_in_module,
        kinds_v2.keras_saved_directly,
        kinds_v2.keras_values_in_module,
        kinds_v2.module,
        kinds_v2.vocabulary_v2,
        troublesome.run_time_errors,
        troublesome.slow,
        broken.empty_directory,
        broken.garbage_graph,
        broken.missing_variables,
        broken.plain_file,
        broken.truncated_graph,
        broken.truncated_variables,
    )
}

__all__ = ["KINDS", "Builder"]
