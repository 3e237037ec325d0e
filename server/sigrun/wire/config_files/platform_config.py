"""PlatformConfigMap, as a text file -> `PlatformOptions`.

The file has a `SessionBundleConfig` for the platform `tensorflow`, which stands in place of the
flags that say the same. What it does not say has that message's default, as in TensorFlow
Serving; what that message has no field for stays as the flags say.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from sigrun._gen.tensorflow_serving.config.platform_config_pb2 import PlatformConfigMap
from sigrun._gen.tensorflow_serving.servables.tensorflow import (
    saved_model_bundle_source_adapter_pb2 as source_adapter_pb2,
)
from sigrun._gen.tensorflow_serving.servables.tensorflow.session_bundle_config_pb2 import (
    SessionBundleConfig,
)
from sigrun.config.execution import SERVING_TAGS
from sigrun.config.models import PLATFORM_TENSORFLOW
from sigrun.config.platform import PlatformOptions
from sigrun.config.warm_up import WarmUpOptions
from sigrun.errors import InvalidArgument
from sigrun.wire.config_files import batching_config
from sigrun.wire.config_files.session_config import with_mixed_precision
from sigrun.wire.config_files.text_format import read_message

logger = logging.getLogger(__name__)

_WITHOUT_EFFECT = {
    "session_target": "models run in this process",
    "in_graph_batching_parameters": "requests are batched outside of the graph",
    "session_run_load_threadpool_index": "loads have threads of their own",
    "experimental_transient_ram_bytes_during_load": "memory is not set aside for loads",
    "experimental_fixed_input_tensors": "signatures have defaults for that",
    "enable_session_metadata": "metrics know the model",
    "resource_estimation_uses_validation_result": "memory is not set aside for loads",
    "num_tflite_interpreters": "num_tflite_pools is the field for it",
    "wrap_session_with_no_threading_params": "no request brings threads along",
}


def from_file(path: Path, flags: PlatformOptions) -> PlatformOptions:
    """Read a platform config file; `flags` say what it has no field for.

    Raises `NotFound` if it is not there and `InvalidArgument` for what is wrong in it.
    """
    platforms = read_message(path, PlatformConfigMap).platform_configs
    if unknown := sorted(platforms.keys() - {PLATFORM_TENSORFLOW}):
        raise InvalidArgument(
            f"{path} configures the platform {unknown[0]!r}; there is {PLATFORM_TENSORFLOW!r}"
        )
    if PLATFORM_TENSORFLOW not in platforms:
        raise InvalidArgument(f"{path} does not configure the platform {PLATFORM_TENSORFLOW!r}")
    packed = platforms[PLATFORM_TENSORFLOW].source_adapter_config
    config = source_adapter_pb2.SavedModelBundleSourceAdapterConfig()
    if not packed.Unpack(config):
        raise InvalidArgument(
            f"{path} has {packed.type_url or 'nothing'!r} as source_adapter_config of "
            f"{PLATFORM_TENSORFLOW!r}, not a {config.DESCRIPTOR.full_name}"
        )
    bundle = config.legacy_config
    for field, _ in bundle.ListFields():
        if field.name in _WITHOUT_EFFECT:
            logger.info("%s of %s has no effect: %s", field.name, path, _WITHOUT_EFFECT[field.name])
    return _options(bundle, flags)


def _options(bundle: SessionBundleConfig, flags: PlatformOptions) -> PlatformOptions:
    batching = (
        batching_config.from_message(bundle.batching_parameters)
        if bundle.HasField("batching_parameters")
        else None
    )
    session_config = bundle.session_config.SerializeToString()
    if bundle.mixed_precision:
        session_config = with_mixed_precision(session_config, bundle.mixed_precision)
    execution = dataclasses.replace(
        flags.execution,
        session_config=session_config,
        saved_model_tags=frozenset(bundle.saved_model_tags) or SERVING_TAGS,
        intra_op_threads=0,  # those of the session's configuration
        inter_op_threads=0,
        prefer_tflite_model=bundle.prefer_tflite_model,
        tflite_pools=bundle.num_tflite_pools,
        tflite_interpreters_per_pool=bundle.num_tflite_interpreters_per_pool or 1,
    )
    return PlatformOptions(
        execution=execution,
        batching=batching,
        has_batching_per_model=bundle.enable_per_model_batching_params,
        warm_up=_warm_up(bundle, flags.warm_up),
    )


def _warm_up(bundle: SessionBundleConfig, flags: WarmUpOptions) -> WarmUpOptions:
    given = bundle.model_warmup_options
    iterations = given.num_request_iterations.value
    return dataclasses.replace(
        flags,
        replays=bundle.enable_model_warmup,
        iterations=iterations if iterations > 0 else 1,
        at_all_batch_sizes=given.enable_all_batch_sizes_warmup,
    )
