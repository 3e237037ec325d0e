"""The imports of TensorFlow, which has no types: every name here is `Any` to its users.

Importing this takes seconds. Only modules that run in a load thread may do it.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os

# Fatal errors only, unless the user wants more: what fails is raised as well, and a machine
# without a GPU is an error to it. The C++ part reads this when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# oneDNN's own allocator keeps the memory of unloaded models for the next one. With the
# system's it comes back, at a price: large batches of images can take longer.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "true")

from sigrun.telemetry.stderr_filter import without_lines

_IS_QUIET = os.environ["TF_CPP_MIN_LOG_LEVEL"] >= "2"  # no more than errors

# What parts of TensorFlow say when they are loaded, whatever that setting: information, warnings,
# and that they are not set up to log yet. Errors and what a crash says come through.
_SAID_ANYWAY = r"[IW]\d{4} \d\d:\d\d:|WARNING: All log messages before absl::InitializeLog"

with without_lines(_SAID_ANYWAY) if _IS_QUIET else contextlib.nullcontext():
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.saved_model import loader_impl

__all__ = [
    "config_pb2",
    "loader_impl",
    "meta_graph_pb2",
    "op_def_registry",
    "pywrap_tf_session",
    "rewriter_config_pb2",
    "tf",
]

if _IS_QUIET:  # the Python part has a setting of its own
    tf.get_logger().setLevel(logging.ERROR)

# TensorFlow leaves hundreds of thousands of objects, which every full collection would walk
# over again. They stay anyway. Models come later, so that theirs are still collected.
gc.collect()
gc.freeze()
