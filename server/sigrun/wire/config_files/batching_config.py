"""BatchingParameters, as a text file -> `BatchingOptions`."""

from __future__ import annotations

from pathlib import Path

from sigrun._gen.tensorflow_serving.servables.tensorflow.session_bundle_config_pb2 import (
    BatchingParameters,
)
from sigrun.config.batching import BatchingOptions
from sigrun.wire.config_files.text_format import read_message

FILE_OF_A_VERSION = "batching_params.pbtxt"


def from_file(path: Path) -> BatchingOptions:
    """Read a batching parameters file; an empty one means the defaults.

    Raises `NotFound` if it is not there and `InvalidArgument` for what is wrong in it.
    """
    return from_message(read_message(path, BatchingParameters))


def from_version(directory: Path) -> BatchingOptions | None:
    """Read the parameters in the directory of a version; None: it is not batched.

    Raises as `from_file` does.
    """
    file = directory / FILE_OF_A_VERSION
    return from_file(file) if file.is_file() else None


def from_message(parameters: BatchingParameters) -> BatchingOptions:
    """Return what `parameters` say. Raises `InvalidArgument` for what is wrong in them."""
    default = BatchingOptions()
    has = parameters.HasField
    return BatchingOptions(
        max_batch_rows=(
            parameters.max_batch_size.value if has("max_batch_size") else default.max_batch_rows
        ),
        batch_timeout_s=parameters.batch_timeout_micros.value / 1e6,
        max_enqueued_batches=(
            parameters.max_enqueued_batches.value
            if has("max_enqueued_batches")
            else default.max_enqueued_batches
        ),
        num_batch_threads=(
            parameters.num_batch_threads.value if has("num_batch_threads") else None
        ),
        thread_pool_name=(
            parameters.thread_pool_name.value
            if has("thread_pool_name")
            else default.thread_pool_name
        ),
        enable_large_batch_splitting=parameters.enable_large_batch_splitting.value,
        max_execution_batch_rows=(
            parameters.max_execution_batch_size.value if has("max_execution_batch_size") else None
        ),
        allowed_batch_rows=tuple(parameters.allowed_batch_sizes),
        pad_variable_length_inputs=parameters.pad_variable_length_inputs,
    )
