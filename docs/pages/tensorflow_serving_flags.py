"""What becomes of every flag of TensorFlow Serving."""

from __future__ import annotations

from docs.pages.flags import shown
from docs.pages.markdown import joined, table
from sigrun.cli.flags import (
    WITHOUT_EFFECT,
    Flag,
    ModelServerFlags,
    Value,
    flags_of,
)

# TensorFlow Serving's flags with their defaults, as its main.cc declared them in July 2026. A default
# that depends on the machine is in words.
TENSORFLOW_SERVING_FLAGS: dict[str, Value] = {
    "port": 8500,
    "grpc_socket_path": "",
    "rest_api_port": 0,
    "rest_api_num_threads": "4 x CPUs",
    "rest_api_timeout_in_ms": 30000,
    "rest_api_enable_cors_support": False,
    "enable_batching": False,
    "batching_parameters_file": "",
    "enable_per_model_batching_parameters": False,
    "model_config_file": "",
    "model_config_file_poll_wait_seconds": 0,
    "model_name": "default",
    "model_base_path": "",
    "allow_version_labels_for_unavailable_models": False,
    "num_load_threads": 0,
    "num_unload_threads": 0,
    "max_num_load_retries": 5,
    "load_retry_interval_micros": 60_000_000,
    "file_system_poll_wait_seconds": 1,
    "flush_filesystem_caches": True,
    "tensorflow_session_parallelism": 0,
    "tensorflow_intra_op_parallelism": 0,
    "tensorflow_inter_op_parallelism": 0,
    "tensorflow_session_config_file": "",
    "use_alts_credentials": False,
    "ssl_config_file": "",
    "platform_config_file": "",
    "per_process_gpu_memory_fraction": 0.0,
    "saved_model_tags": "serve",
    "grpc_channel_arguments": "",
    "grpc_max_threads": "4 x CPUs",
    "enable_model_warmup": True,
    "num_request_iterations_for_warmup": 0,
    "version": False,
    "monitoring_config_file": "",
    "remove_unused_fields_from_bundle_metagraph": True,
    "prefer_tflite_model": False,
    "num_tflite_pools": "CPUs",
    "num_tflite_interpreters_per_pool": 1,
    "enable_signature_method_name_check": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
    "enable_profiler": True,
    "thread_pool_factory_config_file": "",
    "mixed_precision": "",
    "skip_initialize_tpu": False,
    "enable_grpc_healthcheck_service": False,
    "enable_serialization_as_tensor_content": False,
}

# What these flags do differently here, where that is more than another default.
DIFFERENT = {
    "allow_version_labels_for_unavailable_models": "seldom needed: labels given at start wait for their "
    "versions",
    "enable_batching": "only signatures with an open first dimension everywhere are batched; a bad request "
    "fails alone",
    "enable_grpc_healthcheck_service": "on, and it follows the state of each model",
    "enable_serialization_as_tensor_content": "of gRPC alone; JSON is not affected",
    "file_system_poll_wait_seconds": "0 or less: until the versions have been loaded, instead of once or never",
    "load_retry_interval_micros": "only failures of the surroundings, such as memory, are tried again by the "
    "clock; others when the files change",
    "monitoring_config_file": "metrics are at `/metrics` in any case; this adds another path",
    "num_load_threads": "0 chooses a number, instead of none",
    "num_tflite_pools": "0 is one for each CPU",
    "per_process_gpu_memory_fraction": "0 is TensorFlow's choice; more than 1 is refused",
    "rest_api_port": "0 turns HTTP off; `sigrun serve` has 8501",
    "tensorflow_session_parallelism": "0 is chosen by the CPUs that the process may use, its quota included",
    "tensorflow_session_config_file": "its thread counts stay where the flags are 0",
}


def serving_flags_page() -> str:
    """Return what becomes of every flag of TensorFlow Serving."""
    here = {flag.name: flag for flag in flags_of(ModelServerFlags)}
    rows = [
        (f"`--{name}`", text_of(default), *fate(name, default, here))
        for name, default in sorted(TENSORFLOW_SERVING_FLAGS.items())
    ]
    return joined(
        "# TensorFlow Serving's flags",
        "Every flag of TensorFlow Serving's `tensorflow_model_server`, as of July 2026, and what becomes of it here. *taken*: it means the same. "
        "*different*: it is taken, and what differs is said. *ignored*: it is taken without an effect, and the "
        "log says so. An argument that is unknown is refused, where TensorFlow Serving prints its usage and starts.",
        table(("flag", "default there", "here", "what differs"), rows),
        "The flags that only this server has are in [the reference](../reference/flags.md).",
    )


def text_of(default: Value) -> str:
    """Return a default of TensorFlow Serving; a text with a space says it in words."""
    return (
        str(default)
        if isinstance(default, str) and default not in ("default", "serve")
        else shown(default)
    )


def fate(name: str, default: Value, here: dict[str, Flag]) -> tuple[str, str]:
    """Return whether a flag is taken, different or ignored, and how. Raises `KeyError` if it is not taken."""
    if name in WITHOUT_EFFECT:
        return "ignored", WITHOUT_EFFECT[name]
    own = here[name].default
    if name in DIFFERENT:
        return "different", DIFFERENT[name]
    if own != default:
        return "different", f"the default is {shown(own)}"
    return "taken", ""
