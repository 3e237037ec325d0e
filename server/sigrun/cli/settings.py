"""From parsed flags, and the files they name, to a `ServerConfig` or a `GatewayConfig`."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from sigrun.cli.flags import CommonFlags, GatewayFlags, ModelServerFlags
from sigrun.concurrency.memory import share_in_flight
from sigrun.config.access import Tokens
from sigrun.config.batching import THREAD_POOL_NAME_WITHOUT_FILE, BatchingOptions
from sigrun.config.execution import ExecutionOptions
from sigrun.config.gateway import GatewayConfig, UpstreamOptions, UpstreamTls, UpstreamTlsFiles
from sigrun.config.lifecycle import LifecycleOptions, VersionTransition
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.object_store import ObjectStoreOptions, default_cache_dir
from sigrun.config.platform import PlatformOptions
from sigrun.config.request_log import RequestLogLimits
from sigrun.config.server import (
    AdminOptions,
    GrpcOptions,
    HttpOptions,
    ServerConfig,
    TlsOptions,
    Transport,
)
from sigrun.config.warm_up import WarmUpOptions
from sigrun.errors import InvalidArgument
from sigrun.telemetry.lines import LogFormat
from sigrun.wire.config_files import (
    batching_config,
    model_config,
    options,
    platform_config,
    session_config,
    tokens,
)
from sigrun.wire.config_files import upstream as upstream_files

_MAX_PORT = 65535
_INT32 = range(-(2**31), 2**31)


def server_config(flags: ModelServerFlags) -> ServerConfig:
    """Return the configuration that the flags ask for.

    Raises `InvalidArgument` or `NotFound` for what is wrong in them or in a file.
    """
    grpc = _grpc(flags)  # checked first, as TensorFlow Serving does
    config_file = flags.model_config_file
    platform = _platform(flags)
    return ServerConfig(
        models=_models(flags),
        config_file=Path(config_file) if config_file else None,
        config_file_poll_wait_s=flags.model_config_file_poll_wait_seconds,
        grpc=grpc,
        http=_http(flags),
        lifecycle=_lifecycle(flags),
        execution=platform.execution,
        batching=platform.batching,
        has_batching_per_model=platform.has_batching_per_model,
        object_store=_object_store(flags),
        warm_up=platform.warm_up,
        check_method_names=flags.enable_signature_method_name_check,
        enable_admin=flags.enable_admin,
        admin=_admin(flags, grpc),
        auth_tokens_file=_path(flags.auth_tokens_file),
        tokens=_tokens(flags),
        metrics_path=_metrics_path(flags.monitoring_config_file),
        access_log=flags.access_log,
        access_log_sampling_rate=flags.access_log_sampling_rate,
        request_log=RequestLogLimits(
            max_file_bytes=flags.request_log_max_file_bytes,
            max_file_age_s=flags.request_log_max_file_seconds,
            max_total_bytes=flags.request_log_max_total_bytes,
            max_waiting_bytes=flags.request_log_max_waiting_bytes,
        ),
        max_in_flight_bytes=flags.max_in_flight_bytes or share_in_flight(),
        max_concurrent_requests=flags.max_concurrent_requests,
        shutdown_grace_s=flags.shutdown_grace_seconds,
        workers=_workers(flags),
    )


def _workers(flags: ModelServerFlags) -> int:
    number = _positive("workers", flags.workers)
    if number > 1 and sys.platform == "win32":
        raise InvalidArgument(
            f"--workers={number} needs a system where processes hand sockets to each other; "
            "on Windows one process serves"
        )
    return number


def gateway_config(flags: GatewayFlags) -> GatewayConfig:
    """Return the configuration of a gateway. Raises `InvalidArgument` or `NotFound`."""
    addresses = (address.strip() for address in flags.upstream.split(","))
    token_file = _path(flags.upstream_token_file)
    upstream = UpstreamOptions(
        addresses=tuple(filter(None, addresses)),
        tls=_upstream_tls(flags),
        tls_files=_upstream_tls_files(flags),
        token="" if token_file is None else upstream_files.token(token_file),
        token_file=token_file,
        channel_arguments=_channel_arguments(
            "upstream_channel_arguments", flags.upstream_channel_arguments
        ),
    )
    http = dataclasses.replace(_http(flags), port=flags.rest_api_port)  # 0 is any free one
    return GatewayConfig(
        upstream=upstream,
        http=http,
        auth_tokens_file=_path(flags.auth_tokens_file),
        tokens=_tokens(flags),
        max_in_flight_bytes=flags.max_in_flight_bytes or share_in_flight(),
        max_concurrent_requests=flags.max_concurrent_requests,
        shutdown_grace_s=flags.shutdown_grace_seconds,
    )


def _upstream_tls(flags: GatewayFlags) -> UpstreamTls | None:
    """Return the settings of TLS if it is asked for, or any flag needs it."""
    files = _upstream_tls_files(flags)
    name = flags.upstream_tls_server_name
    if files is not None:
        return upstream_files.tls(files, name)
    return UpstreamTls(server_name=name) if flags.upstream_tls or name else None


def _upstream_tls_files(flags: GatewayFlags) -> UpstreamTlsFiles | None:
    files = UpstreamTlsFiles(
        ca=_path(flags.upstream_ca_file),
        client_cert=_path(flags.upstream_client_cert_file),
        client_key=_path(flags.upstream_client_key_file),
    )
    return None if files == UpstreamTlsFiles() else files


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _tokens(flags: CommonFlags) -> Tokens | None:
    file = _path(flags.auth_tokens_file)
    return None if file is None else tokens.from_file(file)


def log_format(flags: CommonFlags) -> LogFormat:
    """Return how log lines are to look. Raises `InvalidArgument`."""
    return LogFormat(_choice("log_format", flags.log_format, [kind.value for kind in LogFormat]))


def log_level(flags: CommonFlags) -> int:
    """Return from which level on lines are logged. Raises `InvalidArgument`."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    return levels[_choice("log_level", flags.log_level, [*levels])]


def _models(flags: ModelServerFlags) -> ModelSet:
    if config_file := flags.model_config_file:
        return model_config.from_file(Path(config_file))
    base_path = flags.model_base_path
    if not base_path:
        raise InvalidArgument(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )
    if "://" not in base_path:
        base_path = os.path.abspath(base_path)
    return ModelSet((ModelConfig(name=flags.model_name, base_path=base_path),))


def _grpc(flags: ModelServerFlags) -> GrpcOptions:
    if flags.use_alts_credentials and flags.ssl_config_file:
        raise InvalidArgument(
            "Either use_alts_credentials must be false or ssl_config_file must be empty."
        )
    return GrpcOptions(
        host=flags.host or GrpcOptions().host,
        port=flags.port or None,
        socket_path=flags.grpc_socket_path,
        transport=Transport(
            _choice("grpc_transport", flags.grpc_transport, [kind.value for kind in Transport])
        ),
        channel_arguments=_channel_arguments(
            "grpc_channel_arguments", flags.grpc_channel_arguments
        ),
        tls=_tls(flags.ssl_config_file),
        alts=flags.use_alts_credentials,
        enable_profiler=flags.enable_profiler,
        enable_health=flags.enable_grpc_healthcheck_service,
        outputs_as_tensor_content=flags.enable_serialization_as_tensor_content,
    )


def _admin(flags: ModelServerFlags, grpc: GrpcOptions) -> AdminOptions | None:
    address = flags.admin_address
    if not address:
        return None
    path = address.removeprefix("unix:")
    if path and path != address:
        return AdminOptions(socket_path=path)
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise InvalidArgument(f"--admin_address is HOST:PORT or unix:PATH, not {address!r}")
    return AdminOptions(host=host, port=int(port), tls=grpc.tls)


def _channel_arguments(name: str, text: str) -> dict[str, str | int]:
    """Read `k=v,k=v`; a value that parses as int32 is passed as one."""
    pairs: dict[str, str | int] = {}
    for entry in filter(None, text.split(",")):
        key, separator, value = entry.partition("=")
        if not separator:
            raise InvalidArgument(f"--{name}: {entry!r} is not of the form k=v")
        is_int32 = value.removeprefix("-").isdecimal() and int(value) in _INT32
        pairs[key] = int(value) if is_int32 else value
    return pairs


def _http(flags: CommonFlags) -> HttpOptions:
    timeout_ms = flags.rest_api_timeout_in_ms
    return HttpOptions(
        host=flags.host or HttpOptions().host,
        port=flags.rest_api_port or None,
        tls=_tls(flags.rest_api_ssl_config_file),
        timeout_s=timeout_ms / 1000 if timeout_ms > 0 else None,
        body_timeout_s=_positive("rest_api_body_timeout_in_ms", flags.rest_api_body_timeout_in_ms)
        / 1000,
        max_body_bytes=_positive("rest_api_max_body_bytes", flags.rest_api_max_body_bytes),
        enable_cors=flags.rest_api_enable_cors_support,
    )


def _tls(file: str) -> TlsOptions | None:
    return options.tls_options(Path(file)) if file else None


def _positive(name: str, value: int) -> int:
    if value <= 0:
        raise InvalidArgument(f"--{name} is more than 0, not {value}")
    return value


def _lifecycle(flags: ModelServerFlags) -> LifecycleOptions:
    transition = _choice(
        "aspired_version_policy",
        flags.aspired_version_policy,
        [kind.value for kind in VersionTransition],
    )
    return LifecycleOptions(
        poll_wait_s=flags.file_system_poll_wait_seconds,
        max_num_load_retries=flags.max_num_load_retries,
        load_retry_interval_s=flags.load_retry_interval_micros / 1e6,
        settle_timeout_s=flags.load_timeout_seconds,
        quiet_s=flags.version_settle_seconds,
        transition=VersionTransition(transition),
        allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
    )


def _batching(flags: ModelServerFlags) -> BatchingOptions | None:
    parameters_file = flags.batching_parameters_file
    if not flags.enable_batching:
        if parameters_file:
            raise InvalidArgument(
                "server_options.batching_parameters_file is set without setting "
                "server_options.enable_batching to true."
            )
        return None
    if parameters_file:
        return batching_config.from_file(Path(parameters_file))
    return BatchingOptions(thread_pool_name=THREAD_POOL_NAME_WITHOUT_FILE)


def _platform(flags: ModelServerFlags) -> PlatformOptions:
    """Return how versions are made of what is on disk, by the flags or by a file."""
    file = flags.platform_config_file
    if file:
        options = PlatformOptions(execution=_execution(flags), warm_up=_warm_up(flags))
        return platform_config.from_file(Path(file), options)
    return PlatformOptions(
        execution=_execution(flags),
        batching=_batching(flags),
        has_batching_per_model=flags.enable_per_model_batching_parameters,
        warm_up=_warm_up(flags),
    )


def _object_store(flags: ModelServerFlags) -> ObjectStoreOptions:
    folder = flags.object_store_cache_dir
    return ObjectStoreOptions(
        cache_dir=Path(folder) if folder else default_cache_dir(),
        cache_bytes=flags.object_store_cache_bytes,
        max_fetch_s=flags.max_fetch_seconds,
    )


def _session_config(flags: ModelServerFlags) -> bytes:
    file = flags.tensorflow_session_config_file
    config = session_config.from_file(Path(file)) if file else b""
    if flags.per_process_gpu_memory_fraction:
        fraction = flags.per_process_gpu_memory_fraction
        config = session_config.with_gpu_memory_fraction(config, fraction)
    if flags.mixed_precision:
        config = session_config.with_mixed_precision(config, flags.mixed_precision)
    return config


def _warm_up(flags: ModelServerFlags) -> WarmUpOptions:
    iterations = flags.num_request_iterations_for_warmup
    return WarmUpOptions(
        replays=flags.enable_model_warmup,
        iterations=iterations if iterations > 0 else 1,
        at_all_batch_sizes=flags.enable_all_batch_sizes_warmup,
        synthesizes=flags.synthesize_warmup,
        limit_s=flags.max_warmup_seconds,
    )


def _execution(flags: ModelServerFlags) -> ExecutionOptions:
    both = flags.tensorflow_session_parallelism
    intra = flags.tensorflow_intra_op_parallelism
    inter = flags.tensorflow_inter_op_parallelism
    if both > 0 and intra > 0 and inter > 0:
        raise InvalidArgument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. "
            "You cannot configure all."
        )
    return ExecutionOptions(
        saved_model_tags=frozenset(filter(None, flags.saved_model_tags.split(","))),
        intra_op_threads=intra or both,
        inter_op_threads=inter or both,
        session_config=_session_config(flags),
        op_libraries=tuple(filter(None, map(str.strip, flags.op_libraries.split(",")))),
        prefer_tflite_model=flags.prefer_tflite_model,
        tflite_pools=max(flags.num_tflite_pools, 0),
        tflite_interpreters_per_pool=max(flags.num_tflite_interpreters_per_pool, 1),
        load_threads=flags.num_load_threads,
        max_load_s=flags.max_load_seconds,
        max_queued_runs_per_model=flags.max_queued_runs_per_model,
        max_queue_s=flags.max_queue_seconds,
        max_run_s=flags.max_run_seconds,
        max_run_overtime_s=flags.max_run_overtime_seconds,
        optimize_on_load=flags.optimize_on_load,
    )


def _metrics_path(config_file: str) -> str:
    return options.metrics_path(Path(config_file)) if config_file else ""


def _choice(name: str, value: str, choices: list[str]) -> str:
    if value not in choices:
        raise InvalidArgument(f"--{name} is one of {', '.join(choices)}, not {value!r}")
    return value
