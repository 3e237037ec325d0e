"""The command line as a table: every flag, its type, its default and what it means.

Names, types and defaults are TensorFlow Serving's. A bool is `--flag`, `--flag=true` or
`--flag=false`; every other flag is `--name=value` or `--name value`. What that server
knows and this one does not is refused with the reason, and what has no effect here is
taken, so that its deployments start unchanged.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sigrun.errors import InvalidArgument

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag; its type is that of its default."""

    name: str
    default: Value
    help: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A parsed command line."""

    values: dict[str, Value]
    given: frozenset[str]
    positional: tuple[str, ...]
    ignored: tuple[str, ...]

    def text(self, name: str) -> str:
        """Return the value of a string flag."""
        return str(self.values[name])

    def integer(self, name: str) -> int:
        """Return the value of an integer flag."""
        return int(self.values[name])

    def number(self, name: str) -> float:
        """Return the value of a float flag."""
        return float(self.values[name])

    def is_set(self, name: str) -> bool:
        """Return the value of a bool flag."""
        return bool(self.values[name])


FLAGS: tuple[Flag, ...] = (
    Flag("port", 8500, "gRPC TCP port; 0 turns TCP off"),
    Flag("grpc_socket_path", "", "also listen for gRPC on this UNIX socket"),
    Flag("rest_api_port", 0, "HTTP port; 0 turns HTTP off"),
    Flag("rest_api_timeout_in_ms", 30000, "time limit of an HTTP inference; 0 or less: none"),
    Flag("rest_api_ssl_config_file", "", "text SSLConfig with the PEM contents for the HTTP port"),
    Flag("rest_api_max_body_bytes", 2**31 - 1, "largest HTTP body that is taken"),
    Flag(
        "rest_api_body_timeout_in_ms",
        30000,
        "time for an HTTP body to come, and a second more for every 64 KiB of it",
    ),
    Flag("rest_api_enable_cors_support", False, "let web pages of other origins ask over HTTP"),
    Flag("model_config_file", "", "text ModelServerConfig that lists the models"),
    Flag(
        "model_config_file_poll_wait_seconds",
        0,
        "how often that file is read again; 0 or less: never",
    ),
    Flag("model_name", "default", "name of the single model"),
    Flag("model_base_path", "", "base path of the single model"),
    Flag(
        "allow_version_labels_for_unavailable_models",
        False,
        "let a new label point to a version that is not available",
    ),
    Flag(
        "optimize_on_load",
        True,
        "make constants of variables that no signature writes, where the answers stay the same",
    ),
    Flag("enable_batching", False, "run requests for the same tensors together"),
    Flag("batching_parameters_file", "", "text BatchingParameters"),
    Flag(
        "enable_per_model_batching_parameters",
        False,
        "read batching_params.pbtxt in each version directory; versions without are not batched",
    ),
    Flag("num_load_threads", 0, "how many versions load at the same time; 0: chosen"),
    Flag("max_num_load_retries", 5, "how often a failed load is tried again"),
    Flag("load_retry_interval_micros", 60_000_000, "wait between those tries"),
    Flag(
        "file_system_poll_wait_seconds",
        1,
        "how often base paths are looked at; 0 or less: only until their versions are loaded",
    ),
    Flag(
        "max_load_seconds",
        1800.0,
        "time for one version to load, after which its thread is left to itself",
    ),
    Flag(
        "max_queued_runs_per_model",
        1024,
        "runs of one version that may wait for a thread; more are refused with UNAVAILABLE",
    ),
    Flag("max_run_seconds", 600.0, "time for a run whose caller sets no deadline"),
    Flag(
        "max_run_overtime_seconds",
        30.0,
        "how long a run may go on after its deadline, or after its caller has left, before it is "
        "written off: another thread takes its place, and its model's session is made anew",
    ),
    Flag("tensorflow_session_parallelism", 0, "intra-op and inter-op threads; 0: chosen"),
    Flag("tensorflow_intra_op_parallelism", 0, "intra-op threads; 0: chosen"),
    Flag("tensorflow_inter_op_parallelism", 0, "inter-op threads; 0: chosen"),
    Flag("tensorflow_session_config_file", "", "text tensorflow.ConfigProto"),
    Flag("saved_model_tags", "serve", "comma-separated tags of the MetaGraph to load"),
    Flag("ssl_config_file", "", "text SSLConfig with the PEM contents for the gRPC port"),
    Flag("grpc_channel_arguments", "", "gRPC channel arguments, k=v,k=v"),
    Flag(
        "enable_signature_method_name_check",
        False,
        "refuse signatures whose method_name is of another kind",
    ),
    Flag("enable_grpc_healthcheck_service", True, "serve grpc.health.v1"),
    Flag(
        "enable_serialization_as_tensor_content",
        False,
        "put outputs into tensor_content instead of the typed fields",
    ),
    Flag("version", False, "print the versions and exit"),
    Flag("help", False, "print this text and exit"),
    Flag("shutdown_grace_seconds", 30.0, "time for requests in flight when the server stops"),
    Flag(
        "load_timeout_seconds",
        600.0,
        "time for a load, and for models to become available at start and on reload",
    ),
    Flag(
        "version_settle_seconds",
        2.0,
        "how long young files of a version must stay the same before it is loaded",
    ),
    Flag(
        "aspired_version_policy",
        "availability_preserving",
        "availability_preserving loads the new version first, resource_preserving unloads first",
    ),
    Flag("grpc_transport", "own", "who speaks HTTP/2 on the gRPC port: own or grpcio"),
    Flag("max_in_flight_bytes", 0, "room for bodies and answers; 0: a quarter of the memory"),
    Flag("max_concurrent_requests", 10_000, "requests at a time, more are refused; 0: no limit"),
    Flag("access_log", False, "log a line for every request"),
    Flag("log_format", "text", "text or json"),
)

_UPSTREAM_FLAGS: tuple[Flag, ...] = (
    Flag("upstream", "", "gRPC servers, host:port[,host:port...]; each may be any gRPC target"),
    Flag("upstream_tls", False, "speak TLS to them; the certificates that gRPC knows are trusted"),
    Flag("upstream_ca_file", "", "speak TLS, and trust the PEM certificates in this file"),
    Flag("upstream_client_cert_file", "", "PEM certificate to show to them"),
    Flag("upstream_client_key_file", "", "PEM key of that certificate"),
    Flag("upstream_tls_server_name", "", "name in their certificates, if it is another"),
    Flag("upstream_channel_arguments", "", "gRPC channel arguments, k=v,k=v"),
    Flag("rest_api_port", 8501, "HTTP port; 0: any free one"),
)
_SHARED = frozenset({"version", "help", "shutdown_grace_seconds", "log_format"})

GATEWAY_FLAGS: tuple[Flag, ...] = (
    *_UPSTREAM_FLAGS,
    *(
        flag
        for flag in FLAGS
        if flag.name in _SHARED
        or (flag.name.startswith("rest_api_") and flag.name != "rest_api_port")
    ),
)

WITHOUT_EFFECT: dict[str, str] = {
    "rest_api_num_threads": "HTTP needs no threads of its own",
    "grpc_max_threads": "gRPC needs no threads of its own",
    "num_unload_threads": "unloading never holds anything up",
    "flush_filesystem_caches": "the system's cache is left to the system",
    "remove_unused_fields_from_bundle_metagraph": "only what is used is kept",
    "enable_profiler": "there is no profiler service",
    "skip_initialize_tpu": "there is no TPU support",
}

_NOT_SERVED: frozenset[str] = frozenset(
    {
        "use_alts_credentials",
        "platform_config_file",
        "per_process_gpu_memory_fraction",
        "enable_model_warmup",
        "num_request_iterations_for_warmup",
        "monitoring_config_file",
        "prefer_tflite_model",
        "num_tflite_pools",
        "num_tflite_interpreters_per_pool",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
        "thread_pool_factory_config_file",
        "mixed_precision",
    }
)

_BOOLS = {"true": True, "false": False}


def parse(arguments: Sequence[str], flags: Sequence[Flag] = FLAGS) -> Arguments:
    """Read a command line on which `flags` may stand.

    Raises `InvalidArgument` for an unknown flag, naming the nearest known one, and for a
    value of the wrong type. The last of several values of a flag counts.
    """
    by_name = {flag.name: flag for flag in flags}
    values = {flag.name: flag.default for flag in flags}
    given: set[str] = set()
    positional: list[str] = []
    ignored: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, _, text = word.removeprefix("--").partition("=")
        if word == "--":
            positional += words
            break
        if not word.startswith("-"):
            positional.append(word)
        elif name in WITHOUT_EFFECT:
            ignored.append(name)
        else:
            flag = _find(by_name, word, name)
            values[name] = _value(flag, text if "=" in word else _following(flag, words))
            given.add(name)
    return Arguments(values, frozenset(given), tuple(positional), tuple(ignored))


def _find(by_name: Mapping[str, Flag], word: str, name: str) -> Flag:
    flag = by_name.get(name)
    if flag is not None and word.startswith("--"):
        return flag
    if name in _NOT_SERVED:
        raise InvalidArgument(f"--{name} is known to TensorFlow Serving and not supported here")
    nearest = difflib.get_close_matches(name.lstrip("-"), list(by_name), n=1, cutoff=0.5)
    hint = f"; did you mean --{nearest[0]}?" if nearest else ""
    raise InvalidArgument(f"unknown argument: {word}{hint}")


def _following(flag: Flag, words: list[str]) -> str:
    """Return the value of a flag that came without `=`."""
    if isinstance(flag.default, bool):
        return "true"
    if not words or words[0].startswith("--"):
        raise InvalidArgument(f"--{flag.name} needs a value: --{flag.name}=VALUE")
    return words.pop(0)


def _value(flag: Flag, text: str) -> Value:
    kind = type(flag.default)
    if kind is bool:
        if text not in _BOOLS:
            raise InvalidArgument(f"--{flag.name} is true or false, not {text!r}")
        return _BOOLS[text]
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise InvalidArgument(f"--{flag.name} is {what}, not {text!r}") from None


def usage(flags: Sequence[Flag] = FLAGS) -> str:
    """Return one line per flag, with its default."""
    lines = [f"  --{flag.name}={_shown(flag.default)}" for flag in flags]
    width = max(map(len, lines)) + 2
    return "\n".join(
        f"{line.ljust(width)}{flag.help}" for line, flag in zip(lines, flags, strict=True)
    )


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)
