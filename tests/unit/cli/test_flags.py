from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from sigrun.cli.flags import (
    WITHOUT_EFFECT,
    CommonFlags,
    GatewayFlags,
    ModelServerFlags,
    ServeFlags,
    Value,
    flags_of,
)
from sigrun.cli.help import usage
from sigrun.cli.parsing import Arguments
from sigrun.cli.parsing import parse as parse_command
from sigrun.errors import InvalidArgument

# Name and default of every flag of TensorFlow Serving's model server; None where the default
# depends on the machine.
TENSORFLOW_SERVING: dict[str, Value | None] = {
    "port": 8500,
    "grpc_socket_path": "",
    "rest_api_port": 0,
    "rest_api_num_threads": None,
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
    "grpc_max_threads": None,
    "enable_model_warmup": True,
    "num_request_iterations_for_warmup": 0,
    "version": False,
    "monitoring_config_file": "",
    "remove_unused_fields_from_bundle_metagraph": True,
    "prefer_tflite_model": False,
    "num_tflite_pools": None,
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
OURS = {flag.name: flag.default for flag in flags_of(ModelServerFlags)}
# Health is on unless it is turned off: nobody is served worse by that.
OTHER_DEFAULTS = {"enable_grpc_healthcheck_service"}


def parse(words: Sequence[str]) -> Arguments[ModelServerFlags]:
    return parse_command(words, ModelServerFlags)


# TensorFlow Serving's flags


@pytest.mark.parametrize("name", sorted(OURS.keys() & TENSORFLOW_SERVING.keys() - OTHER_DEFAULTS))
def test_a_flag_has_the_type_and_the_default_it_has_there(name: str) -> None:
    theirs = TENSORFLOW_SERVING[name]

    assert theirs is None or (OURS[name], type(OURS[name])) == (theirs, type(theirs))


@pytest.mark.parametrize("name", sorted(TENSORFLOW_SERVING.keys() - OURS.keys()))
def test_a_flag_that_does_nothing_here_is_ignored_by_name(name: str) -> None:
    assert parse([f"--{name}=1"]).ignored == (name,)


def test_every_flag_that_is_ignored_is_one_of_theirs_and_not_ours() -> None:
    assert WITHOUT_EFFECT.keys() <= TENSORFLOW_SERVING.keys() - OURS.keys()


@pytest.mark.parametrize("name", sorted(TENSORFLOW_SERVING))
def test_every_flag_of_theirs_is_taken_and_does_something_or_is_told_to_have_no_effect(
    name: str,
) -> None:
    default = OURS.get(name, "1")
    arguments = parse([f"--{name}={str(default).lower() if default is not None else 1}"])

    assert (name in arguments.given) != (name in arguments.ignored)
    assert name in arguments.given or WITHOUT_EFFECT[name]


# Values


def test_without_arguments_every_flag_has_its_default() -> None:
    arguments = parse([])

    assert dataclasses.asdict(arguments.flags) == OURS
    assert (arguments.given, arguments.positional, arguments.ignored) == (frozenset(), (), ())


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--port=9000"], "port", 9000),
        (["--port", "9000"], "port", 9000),
        (["--load_retry_interval_micros=-1"], "load_retry_interval_micros", -1),
        (["--load_retry_interval_micros", "-1"], "load_retry_interval_micros", -1),
        (["--shutdown_grace_seconds=0.5"], "shutdown_grace_seconds", 0.5),
        (["--shutdown_grace_seconds=2"], "shutdown_grace_seconds", 2.0),
        (["--model_name=mnist"], "model_name", "mnist"),
        (["--model_name", "mnist"], "model_name", "mnist"),
        (["--model_name="], "model_name", ""),
        (["--grpc_channel_arguments=a=1,b=2"], "grpc_channel_arguments", "a=1,b=2"),
        (["--version"], "version", True),
        (["--version=true"], "version", True),
        (["--enable_grpc_healthcheck_service=false"], "enable_grpc_healthcheck_service", False),
        (["--port=1", "--port=2"], "port", 2),
    ],
)
def test_a_value_follows_an_equals_sign_or_a_space(
    words: list[str], name: str, value: Value
) -> None:
    arguments = parse(words)

    got = dataclasses.asdict(arguments.flags)[name]
    assert (got, type(got)) == (value, type(value))
    assert arguments.given == {name}
    assert arguments.positional == ()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--version=1"], "--version is true or false, not '1'"),
        (["--version=yes"], "--version is true or false, not 'yes'"),
        (["--version=True"], "--version is true or false, not 'True'"),
        (["--version="], "--version is true or false, not ''"),
        (["--port=grpc"], "--port is a whole number, not 'grpc'"),
        (["--port=1.5"], "--port is a whole number, not '1.5'"),
        (["--port="], "--port is a whole number, not ''"),
        (["--shutdown_grace_seconds=long"], "--shutdown_grace_seconds is a number, not 'long'"),
        (["--port"], "--port needs a value: --port=VALUE"),
        (["--port", "--version"], "--port needs a value: --port=VALUE"),
    ],
)
def test_a_value_of_another_type_is_refused(words: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(words)

    assert str(refused.value) == text


def test_a_bool_takes_no_word_after_it() -> None:
    arguments = parse(["--version", "true"])

    assert (arguments.flags.version, arguments.positional) == (True, ("true",))


# Other words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("--prot=1", "unknown argument: --prot=1; did you mean --port?"),
        ("--noversion", "unknown argument: --noversion; did you mean --version?"),
        ("-port=1", "unknown argument: -port=1; did you mean --port?"),
        ("--qqqq", "unknown argument: --qqqq"),
        ("-", "unknown argument: -"),
    ],
)
def test_an_unknown_flag_is_refused_with_the_nearest_known_one(word: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse([word])

    assert str(refused.value) == text


def test_words_that_are_no_flags_are_kept_in_their_order() -> None:
    assert parse(["/models/mnist", "--port=1", "more"]).positional == ("/models/mnist", "more")


def test_two_dashes_end_the_flags() -> None:
    arguments = parse(["--port=1", "--", "--port=2", "-x"])

    assert arguments.flags.port == 1
    assert arguments.positional == ("--port=2", "-x")


# The help text


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_usage_has_a_line_for_every_flag(name: str) -> None:
    (line,) = [
        line for line in usage(ModelServerFlags).splitlines() if line.startswith(f"  --{name}=")
    ]

    assert len(line) > len(f"  --{name}=")


@pytest.mark.parametrize(
    "shown", ["  --port=8500 ", "  --version=false ", "  --model_name='default' "]
)
def test_the_usage_shows_defaults_as_one_would_write_them(shown: str) -> None:
    assert shown in usage(ModelServerFlags)


@pytest.mark.parametrize(
    ("command", "default"),
    [(ModelServerFlags, 0), (ServeFlags, 8501), (GatewayFlags, 8501)],
)
def test_the_usage_has_the_defaults_of_its_command(
    command: type[CommonFlags], default: int
) -> None:
    assert f"  --rest_api_port={default} " in usage(command)


@pytest.mark.parametrize("command", [ModelServerFlags, ServeFlags, GatewayFlags])
def test_no_line_of_the_usage_is_wider_than_a_terminal(command: type[CommonFlags]) -> None:
    assert max(map(len, usage(command).splitlines())) <= 96


def test_the_usage_comes_in_groups_each_of_which_comes_once() -> None:
    headings = [line for line in usage(ServeFlags).splitlines() if line[:1].strip()]

    assert headings[:2] == ["Models:", "gRPC:"]
    assert len(headings) == len(set(headings))
