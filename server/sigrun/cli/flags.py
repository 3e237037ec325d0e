"""What can stand on a command line: every flag, its type, its default and what it means.

One frozen object per command, whose fields are its flags. Names, types and defaults are
TensorFlow Serving's. What that server knows and this one does not is refused with the reason,
and what has no effect here is taken, so that its deployments start unchanged.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TypeVar, cast

Value = bool | int | float | str
V = TypeVar("V", bound=Value)

_MODELS = "Models"
_GRPC = "gRPC"
_HTTP = "HTTP"
_ACCESS = "Who may ask"
_LOADING = "Versions and loading"
_BATCHING = "Batching"
_RUNNING = "Running"
_UPSTREAM = "Servers upstream"
_PROCESS = "Process"


def _flag(group: str, default: V, help: str) -> V:
    flag: V = field(default=default, metadata={"group": group, "help": help})
    return flag


@dataclass(frozen=True, slots=True)
class CommonFlags:
    """What every command takes."""

    host: str = _flag(
        _ACCESS, "", "address that the ports are bound to, such as 127.0.0.1; empty: all there are"
    )
    rest_api_port: int = _flag(_HTTP, 0, "HTTP port; 0 turns HTTP off")
    rest_api_timeout_in_ms: int = _flag(
        _HTTP, 30000, "time limit of an HTTP inference; 0 or less: none"
    )
    rest_api_ssl_config_file: str = _flag(
        _HTTP, "", "text SSLConfig with the PEM contents for the HTTP port"
    )
    rest_api_max_body_bytes: int = _flag(_HTTP, 2**31 - 1, "largest HTTP body that is taken")
    rest_api_body_timeout_in_ms: int = _flag(
        _HTTP, 30000, "time for an HTTP body to come, and a second more for every 64 KiB of it"
    )
    rest_api_enable_cors_support: bool = _flag(
        _HTTP, False, "let web pages of other origins ask over HTTP"
    )
    max_in_flight_bytes: int = _flag(
        _RUNNING, 0, "room for bodies and answers; 0: a quarter of the memory"
    )
    max_concurrent_requests: int = _flag(
        _RUNNING, 10_000, "requests at a time, more are refused; 0: no limit"
    )
    auth_tokens_file: str = _flag(
        _ACCESS,
        "",
        "TOML file of the tokens that callers show, by their hashes, see `sigrun token --help`; "
        "empty: nobody is asked for one",
    )
    shutdown_grace_seconds: float = _flag(
        _PROCESS, 30.0, "time for requests in flight when the server stops"
    )
    log_format: str = _flag(_PROCESS, "text", "text or json")
    log_level: str = _flag(_PROCESS, "info", "debug, info, warning or error")
    version: bool = _flag(_PROCESS, False, "print the versions and exit")
    help: bool = _flag(_PROCESS, False, "print this text and exit")


@dataclass(frozen=True, slots=True)
class ModelServerFlags(CommonFlags):
    """What `tensorflow_model_server` takes."""

    model_base_path: str = _flag(_MODELS, "", "base path of the single model")
    model_name: str = _flag(_MODELS, "default", "name of the single model")
    model_config_file: str = _flag(_MODELS, "", "text ModelServerConfig that lists the models")
    model_config_file_poll_wait_seconds: int = _flag(
        _MODELS, 0, "how often that file is read again; 0 or less: never"
    )
    saved_model_tags: str = _flag(_MODELS, "serve", "comma-separated tags of the MetaGraph to load")
    allow_version_labels_for_unavailable_models: bool = _flag(
        _MODELS, False, "let a new label point to a version that is not available"
    )
    enable_signature_method_name_check: bool = _flag(
        _MODELS, False, "refuse signatures whose method_name is of another kind"
    )
    port: int = _flag(_GRPC, 8500, "gRPC TCP port; 0 turns TCP off")
    grpc_socket_path: str = _flag(_GRPC, "", "also listen for gRPC on this UNIX socket")
    ssl_config_file: str = _flag(
        _GRPC, "", "text SSLConfig with the PEM contents for the gRPC port"
    )
    use_alts_credentials: bool = _flag(
        _GRPC, False, "ALTS on the gRPC port, on Google Cloud; grpcio's server speaks it"
    )
    grpc_channel_arguments: str = _flag(_GRPC, "", "gRPC channel arguments, k=v,k=v")
    grpc_transport: str = _flag(_GRPC, "own", "who speaks HTTP/2 on the gRPC port: own or grpcio")
    enable_grpc_healthcheck_service: bool = _flag(_GRPC, True, "serve grpc.health.v1")
    enable_serialization_as_tensor_content: bool = _flag(
        _GRPC, False, "put outputs into tensor_content instead of the typed fields"
    )
    enable_admin: bool = _flag(
        _ACCESS, True, "answer the calls with which a caller says what is served"
    )
    admin_address: str = _flag(
        _ACCESS,
        "",
        "HOST:PORT or unix:PATH at which callers say what is served, and not on the other ports; "
        "TLS is that of --ssl_config_file, and a PATH has none",
    )
    file_system_poll_wait_seconds: int = _flag(
        _LOADING,
        1,
        "how often base paths are looked at; 0 or less: only until their versions are loaded",
    )
    version_settle_seconds: float = _flag(
        _LOADING, 2.0, "how long young files of a version must stay the same before it is loaded"
    )
    aspired_version_policy: str = _flag(
        _LOADING,
        "availability_preserving",
        "availability_preserving loads the new version first, resource_preserving unloads first",
    )
    load_timeout_seconds: float = _flag(
        _LOADING,
        600.0,
        "time for a load, and for models to become available at start and on reload",
    )
    max_load_seconds: float = _flag(
        _LOADING, 1800.0, "time for one version to load, after which its thread is left to itself"
    )
    object_store_cache_dir: str = _flag(
        _LOADING, "", "folder for copies of models from object stores; empty: the user's cache"
    )
    object_store_cache_bytes: int = _flag(
        _LOADING, 0, "room for those copies; 0: half of what the disk has free"
    )
    max_fetch_seconds: float = _flag(
        _LOADING, 1800.0, "time for one version to come from an object store"
    )
    max_num_load_retries: int = _flag(_LOADING, 5, "how often a failed load is tried again")
    load_retry_interval_micros: int = _flag(_LOADING, 60_000_000, "wait between those tries")
    num_load_threads: int = _flag(_LOADING, 0, "how many versions load at the same time; 0: chosen")
    enable_model_warmup: bool = _flag(
        _LOADING,
        True,
        "run the requests in assets.extra/tf_serving_warmup_requests and warmup_requests.jsonl of "
        "a version before it becomes available",
    )
    num_request_iterations_for_warmup: int = _flag(
        _LOADING, 0, "how often each of them is run; 0 or less: once"
    )
    enable_all_batch_sizes_warmup: bool = _flag(
        _LOADING, False, "run each of them with each of the allowed batch sizes too"
    )
    synthesize_warmup: bool = _flag(
        _LOADING,
        False,
        "also run requests made up from the signatures, with each of the allowed batch sizes",
    )
    max_warmup_seconds: float = _flag(
        _LOADING,
        600.0,
        "time for the warm-up of a version, which fails to load if its own requests take longer",
    )
    optimize_on_load: bool = _flag(
        _LOADING,
        True,
        "make constants of variables that no signature writes, where the answers stay the same",
    )
    enable_batching: bool = _flag(_BATCHING, False, "run requests for the same tensors together")
    batching_parameters_file: str = _flag(_BATCHING, "", "text BatchingParameters")
    enable_per_model_batching_parameters: bool = _flag(
        _BATCHING,
        False,
        "read batching_params.pbtxt in each version directory; versions without are not batched",
    )
    max_run_seconds: float = _flag(_RUNNING, 600.0, "time for a run whose caller sets no deadline")
    max_run_overtime_seconds: float = _flag(
        _RUNNING,
        30.0,
        "how long a run may go on after its deadline, or after its caller has left, before it is "
        "written off: another thread takes its place, and its model's session is made anew",
    )
    max_queued_runs_per_model: int = _flag(
        _RUNNING,
        1024,
        "runs of one version that may wait for a thread; more are refused with UNAVAILABLE",
    )
    max_queue_seconds: float = _flag(
        _RUNNING,
        30.0,
        "how long a call without a deadline may wait for its run; what would wait for longer is "
        "refused with UNAVAILABLE",
    )
    tensorflow_session_parallelism: int = _flag(
        _RUNNING, 0, "intra-op and inter-op threads; 0: chosen"
    )
    tensorflow_intra_op_parallelism: int = _flag(_RUNNING, 0, "intra-op threads; 0: chosen")
    tensorflow_inter_op_parallelism: int = _flag(_RUNNING, 0, "inter-op threads; 0: chosen")
    tensorflow_session_config_file: str = _flag(_RUNNING, "", "text tensorflow.ConfigProto")
    per_process_gpu_memory_fraction: float = _flag(
        _RUNNING, 0.0, "share of each GPU's memory to take, up to 1; 0: TensorFlow's own choice"
    )
    mixed_precision: str = _flag(
        _RUNNING, "", "bfloat16 computes in that precision where it is safe; empty: as the model is"
    )
    platform_config_file: str = _flag(
        _RUNNING,
        "",
        "text PlatformConfigMap, in place of the flags for batching, warm-up, sessions and TFLite",
    )
    prefer_tflite_model: bool = _flag(
        _RUNNING, False, "load model.tflite of a version where it has one beside a SavedModel"
    )
    num_tflite_pools: int = _flag(
        _RUNNING, 0, "pools of TensorFlow Lite interpreters for a version; 0: one per CPU"
    )
    num_tflite_interpreters_per_pool: int = _flag(
        _RUNNING, 1, "interpreters of a pool, each of which answers one request at a time"
    )
    op_libraries: str = _flag(
        _RUNNING,
        "",
        "packages, such as tensorflow_text, and .so files that bring operations; with commas",
    )
    enable_profiler: bool = _flag(
        _ACCESS, True, "answer TensorFlow's ProfilerService on the gRPC port"
    )
    monitoring_config_file: str = _flag(
        _PROCESS, "", "text MonitoringConfig with another path for /metrics on the HTTP port"
    )
    access_log: bool = _flag(_PROCESS, False, "log a line for every request")
    workers: int = _flag(
        _PROCESS,
        1,
        "processes that serve, each with all models in its memory, led by this one; 1: this one",
    )
    access_log_sampling_rate: float = _flag(
        _PROCESS,
        1.0,
        "share of the requests that have one, from 0 to 1; those that fail do",
    )
    request_log_max_file_bytes: int = _flag(
        _PROCESS, 256 << 20, "size at which a model's logging_config gets another file"
    )
    request_log_max_file_seconds: float = _flag(_PROCESS, 3600.0, "age at which it does")
    request_log_max_total_bytes: int = _flag(
        _PROCESS, 4 << 30, "room for all files of one prefix; the oldest are deleted"
    )
    request_log_max_waiting_bytes: int = _flag(
        _PROCESS, 64 << 20, "room for records that wait to be written; more are dropped"
    )


@dataclass(frozen=True, slots=True)
class ServeFlags(ModelServerFlags):
    """What `sigrun serve` takes: the same, and HTTP is on."""

    rest_api_port: int = _flag(_HTTP, 8501, "HTTP port; 0 turns HTTP off")


@dataclass(frozen=True, slots=True)
class GatewayFlags(CommonFlags):
    """What `sigrun gateway` takes."""

    upstream: str = _flag(
        _UPSTREAM, "", "gRPC servers, host:port[,host:port...]; each may be any gRPC target"
    )
    upstream_tls: bool = _flag(
        _UPSTREAM, False, "speak TLS to them; the certificates that gRPC knows are trusted"
    )
    upstream_ca_file: str = _flag(
        _UPSTREAM, "", "speak TLS, and trust the PEM certificates in this file"
    )
    upstream_client_cert_file: str = _flag(_UPSTREAM, "", "PEM certificate to show to them")
    upstream_client_key_file: str = _flag(_UPSTREAM, "", "PEM key of that certificate")
    upstream_tls_server_name: str = _flag(
        _UPSTREAM, "", "name in their certificates, if it is another"
    )
    upstream_token_file: str = _flag(
        _UPSTREAM, "", "file that holds the token to show to them; callers' own are not passed on"
    )
    upstream_channel_arguments: str = _flag(_UPSTREAM, "", "gRPC channel arguments, k=v,k=v")
    rest_api_port: int = _flag(_HTTP, 8501, "HTTP port; 0: any free one")


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag as it is parsed and explained; its type is that of its default."""

    name: str
    default: Value
    group: str
    help: str


def flags_of(command: type[CommonFlags]) -> tuple[Flag, ...]:
    """Return the flags of a command, those of its own first."""
    shared = {common.name for common in dataclasses.fields(CommonFlags)}
    ordered = sorted(dataclasses.fields(command), key=lambda flag: flag.name in shared)
    return tuple(Flag(flag.name, cast("Value", flag.default), **flag.metadata) for flag in ordered)


WITHOUT_EFFECT: dict[str, str] = {
    "rest_api_num_threads": "HTTP needs no threads of its own",
    "grpc_max_threads": "gRPC needs no threads of its own",
    "num_unload_threads": "unloading never holds anything up",
    "flush_filesystem_caches": "the system's cache is left to the system",
    "remove_unused_fields_from_bundle_metagraph": "only what is used is kept",
    "skip_initialize_tpu": "there is no TPU support",
    "xla_cpu_compilation_enabled": "models that ask for XLA are compiled with it in any case",
    "xla_gpu_compilation_enabled": "models that ask for XLA are compiled with it in any case",
    "thread_pool_factory_config_file": "runs have the threads of this server, which models share",
}
