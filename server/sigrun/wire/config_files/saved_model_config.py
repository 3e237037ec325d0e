"""SavedModelConfig, which a model brings along -> how this version is executed."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from google.protobuf.message import DecodeError

from sigrun._gen.tensorflow_serving.servables.tensorflow.saved_model_config_pb2 import (
    SavedModelConfig,
    SessionOverrides,
)
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import InvalidArgument, NotFound
from sigrun.wire.config_files.bounded import read_bounded
from sigrun.wire.config_files.session_config import without_rewriting

logger = logging.getLogger(__name__)

FILE_OF_A_VERSION = Path("assets.extra", "saved_model_config.pb")

_MAX_BYTES = 64 * 1024 * 1024
_WITHOUT_EFFECT = {
    "remote_op_remap_config": "no operation of this server calls other models",
    "batch_op_rewriter_config": "requests are batched outside of the graph",
}


def options_of_version(directory: Path, options: ExecutionOptions) -> ExecutionOptions:
    """Return `options` with what the version in `directory` says of its own execution. Blocks.

    Raises `InvalidArgument` for a file that is no SavedModelConfig.
    """
    path = directory / FILE_OF_A_VERSION
    if not path.is_file():
        return options
    overrides = _read(path).session_overrides
    for field, _ in overrides.ListFields():
        if field.name in _WITHOUT_EFFECT:
            logger.info("%s of %s has no effect: %s", field.name, path, _WITHOUT_EFFECT[field.name])
    return _with_overrides(options, overrides)


def _read(path: Path) -> SavedModelConfig:
    try:
        content = read_bounded(path, _MAX_BYTES)
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror}") from None
    try:
        return SavedModelConfig.FromString(content)
    except DecodeError:
        raise InvalidArgument(
            f"{path} is no serialized {SavedModelConfig.DESCRIPTOR.full_name}"
        ) from None


def _with_overrides(options: ExecutionOptions, overrides: SessionOverrides) -> ExecutionOptions:
    if not overrides.disable_meta_optimizer:
        return options
    return dataclasses.replace(
        options,
        session_config=without_rewriting(options.session_config),
        optimize_on_load=False,
    )
