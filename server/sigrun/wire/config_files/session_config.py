"""`tensorflow.ConfigProto`: a text file, flags and settings of a model -> serialized.

Executors take it serialized, as TensorFlow parses it with descriptors of its own.
"""

from __future__ import annotations

from pathlib import Path

from sigrun._gen.tensorflow.core.protobuf.config_pb2 import ConfigProto
from sigrun._gen.tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from sigrun.errors import InvalidArgument
from sigrun.wire.config_files.text_format import read_message

BFLOAT16 = "bfloat16"


def from_file(path: Path) -> bytes:
    """Read a `tensorflow.ConfigProto`. Raises `NotFound` or `InvalidArgument`."""
    return read_message(path, ConfigProto).SerializeToString()


def with_gpu_memory_fraction(config: bytes, fraction: float) -> bytes:
    """Return `config` with the share of each GPU's memory that is taken.

    Raises `InvalidArgument` for a share that is none.
    """
    if not 0 < fraction <= 1:
        raise InvalidArgument(
            f"--per_process_gpu_memory_fraction is more than 0 and at most 1, not {fraction:g}"
        )
    message = _parsed(config)
    message.gpu_options.per_process_gpu_memory_fraction = fraction
    return message.SerializeToString()


def with_mixed_precision(config: bytes, precision: str) -> bytes:
    """Return `config` with lower precision where TensorFlow knows it to be safe.

    Raises `InvalidArgument` for a precision that is not `bfloat16`.
    """
    if precision != BFLOAT16:
        raise InvalidArgument(f"mixed precision is {BFLOAT16}, not {precision!r}")
    message = _parsed(config)
    rewriter = message.graph_options.rewrite_options
    rewriter.auto_mixed_precision_onednn_bfloat16 = RewriterConfig.ON
    return message.SerializeToString()


def without_rewriting(config: bytes) -> bytes:
    """Return `config` with graphs left as they are, by TensorFlow's optimisers at least."""
    message = _parsed(config)
    message.graph_options.rewrite_options.disable_meta_optimizer = True
    return message.SerializeToString()


def _parsed(config: bytes) -> ConfigProto:
    if config:
        return ConfigProto.FromString(config)
    return ConfigProto(allow_soft_placement=True)  # what executors choose where nothing is given
