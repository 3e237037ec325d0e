from __future__ import annotations

from pathlib import Path

import pytest

from sigrun._gen.tensorflow.core.protobuf.config_pb2 import ConfigProto
from sigrun._gen.tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from sigrun.cli.flags import GatewayFlags, ModelServerFlags
from sigrun.cli.parsing import parse
from sigrun.cli.settings import gateway_config, log_format, server_config
from sigrun.concurrency.memory import share_in_flight
from sigrun.config.batching import BatchingOptions
from sigrun.config.gateway import GatewayConfig, UpstreamOptions, UpstreamTls
from sigrun.config.lifecycle import LifecycleOptions, VersionTransition
from sigrun.config.models import ModelConfig, ModelSet
from sigrun.config.server import AdminOptions, GrpcOptions, HttpOptions, ServerConfig, TlsOptions
from sigrun.config.warm_up import WarmUpOptions
from sigrun.errors import InvalidArgument, NotFound, SigrunError
from sigrun.telemetry.lines import LogFormat

A_MODEL = "--model_base_path=/models/mnist"


def config(*words: str) -> ServerConfig:
    return server_config(parse([A_MODEL, *words], ModelServerFlags).flags)


def test_without_other_flags_every_setting_has_its_default() -> None:
    mnist = ModelConfig(name="default", base_path="/models/mnist")

    assert config() == ServerConfig(
        models=ModelSet((mnist,)), max_in_flight_bytes=share_in_flight()
    )


# Models


def test_one_model_can_be_named_on_the_command_line() -> None:
    (model,) = config("--model_name=mnist").models

    assert model == ModelConfig(name="mnist", base_path="/models/mnist")


@pytest.mark.parametrize(
    ("given", "base_path"),
    [
        ("/models/mnist/", "/models/mnist"),
        ("mnist", "HERE/mnist"),
        ("./mnist", "HERE/mnist"),
        ("file:///models/mnist", "file:///models/mnist"),
    ],
)
def test_a_relative_base_path_is_taken_from_here(
    given: str, base_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    (model,) = config(f"--model_base_path={given}").models

    assert model.base_path == base_path.replace("HERE", str(tmp_path))


def test_a_config_file_outweighs_a_base_path(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "iris" base_path: "/models/iris" '
        'model_platform: "tensorflow" } }'
    )

    result = config(f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=7")

    assert result.models.names == {"iris"}
    assert result.config_file == file
    assert result.config_file_poll_wait_s == 7


def test_neither_base_path_nor_config_file_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        server_config(parse([], ModelServerFlags).flags)

    assert str(refused.value) == (
        "Both server_options.model_base_path and server_options.model_config_file are empty!"
    )


@pytest.mark.parametrize(
    "flag",
    [
        "model_config_file",
        "ssl_config_file",
        "rest_api_ssl_config_file",
        "tensorflow_session_config_file",
    ],
)
def test_a_file_that_is_not_there_is_not_found(flag: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        config(f"--{flag}={tmp_path}/missing")

    assert str(refused.value) == f"{tmp_path}/missing; No such file or directory"


# gRPC


def test_grpc_listens_where_it_is_told_to() -> None:
    grpc = config("--port=9000", "--grpc_socket_path=/run/sigrun.sock").grpc

    assert (grpc.port, grpc.socket_path) == (9000, "/run/sigrun.sock")


def test_port_0_turns_tcp_off() -> None:
    assert config("--port=0", "--grpc_socket_path=/run/sigrun.sock").grpc.port is None


def test_nowhere_to_listen_is_refused_before_anything_else() -> None:
    with pytest.raises(InvalidArgument, match=r"^At least one of server_options.grpc_port or "):
        server_config(parse(["--port=0"], ModelServerFlags).flags)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("grpc.max_connection_age_ms=5000", {"grpc.max_connection_age_ms": 5000}),
        ("a=-1,b=text,c=", {"a": -1, "b": "text", "c": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1.5,b=+1,c=--1", {"a": "1.5", "b": "+1", "c": "--1"}),
        ("a=1,,", {"a": 1}),
        ("a=2147483647,b=-2147483648", {"a": 2147483647, "b": -2147483648}),
        ("a=2147483648", {"a": "2147483648"}),
    ],
)
def test_channel_arguments_are_numbers_or_text(text: str, pairs: dict[str, str | int]) -> None:
    assert config(f"--grpc_channel_arguments={text}").grpc.channel_arguments == pairs


def test_a_channel_argument_without_value_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        config("--grpc_channel_arguments=a=1,b")

    assert str(refused.value) == "--grpc_channel_arguments: 'b' is not of the form k=v"


def test_certificates_come_from_the_ssl_config_file(tmp_path: Path) -> None:
    file = tmp_path / "ssl.config"
    file.write_text('server_key: "KEY" server_cert: "CERT" custom_ca: "CA" client_verify: true')

    assert config(f"--ssl_config_file={file}").grpc.tls == TlsOptions(
        server_key=b"KEY", server_cert=b"CERT", custom_ca=b"CA", verify_client=True, file=file
    )


def test_switches_of_grpc_are_handed_on() -> None:
    grpc = config(
        "--enable_grpc_healthcheck_service=false", "--enable_serialization_as_tensor_content"
    ).grpc

    assert grpc == GrpcOptions(enable_health=False, outputs_as_tensor_content=True)


# HTTP


def test_http_is_off_unless_it_has_a_port() -> None:
    assert config().http.port is None
    assert config("--rest_api_port=8501").http.port == 8501


@pytest.mark.parametrize(("ms", "seconds"), [(1500, 1.5), (0, None), (-1, None)])
def test_the_time_limit_of_http_is_in_milliseconds(ms: int, seconds: float | None) -> None:
    assert config(f"--rest_api_timeout_in_ms={ms}").http == HttpOptions(timeout_s=seconds)


# Lifecycle


def test_settings_of_the_lifecycle_are_handed_on_in_seconds() -> None:
    lifecycle = config(
        "--file_system_poll_wait_seconds=5",
        "--max_num_load_retries=2",
        "--load_retry_interval_micros=1500000",
        "--load_timeout_seconds=90",
        "--version_settle_seconds=7",
        "--aspired_version_policy=resource_preserving",
        "--allow_version_labels_for_unavailable_models",
    ).lifecycle

    assert lifecycle == LifecycleOptions(
        poll_wait_s=5,
        max_num_load_retries=2,
        load_retry_interval_s=1.5,
        settle_timeout_s=90,
        quiet_s=7,
        transition=VersionTransition.RESOURCE_PRESERVING,
        allow_labels_for_unavailable=True,
    )


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument) as refused:
        config("--aspired_version_policy=careless")

    assert str(refused.value) == (
        "--aspired_version_policy is one of availability_preserving, resource_preserving, "
        "not 'careless'"
    )


# Execution


@pytest.mark.parametrize(
    ("words", "threads"),
    [
        ([], (0, 0)),
        (["--tensorflow_session_parallelism=4"], (4, 4)),
        (["--tensorflow_intra_op_parallelism=2"], (2, 0)),
        (["--tensorflow_inter_op_parallelism=3"], (0, 3)),
        (["--tensorflow_session_parallelism=4", "--tensorflow_intra_op_parallelism=2"], (2, 4)),
    ],
)
def test_parallelism_is_set_for_both_or_each(words: list[str], threads: tuple[int, int]) -> None:
    execution = config(*words).execution

    assert (execution.intra_op_threads, execution.inter_op_threads) == threads


def test_parallelism_that_is_set_for_both_and_each_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        config(
            "--tensorflow_session_parallelism=1",
            "--tensorflow_intra_op_parallelism=1",
            "--tensorflow_inter_op_parallelism=1",
        )

    assert str(refused.value) == (
        "Either configure server_options.tensorflow_session_parallelism or "
        "(server_options.tensorflow_intra_op_parallelism, "
        "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all."
    )


@pytest.mark.parametrize(
    ("text", "tags"),
    [("serve", {"serve"}), ("serve,gpu", {"serve", "gpu"}), ("", set()), ("serve,", {"serve"})],
)
def test_tags_are_separated_by_commas(text: str, tags: set[str]) -> None:
    assert config(f"--saved_model_tags={text}").execution.saved_model_tags == tags


def test_the_session_config_is_handed_on_serialized(tmp_path: Path) -> None:
    file = tmp_path / "session.config"
    file.write_text("allow_soft_placement: true")

    execution = config(f"--tensorflow_session_config_file={file}").execution

    assert execution.session_config == b"\x38\x01"  # field 7, a varint of 1


def test_other_switches_are_handed_on() -> None:
    result = config("--enable_signature_method_name_check", "--shutdown_grace_seconds=1.5")

    assert (result.check_method_names, result.shutdown_grace_s) == (True, 1.5)
    assert config("--num_load_threads=3").execution.load_threads == 3


def test_limits_on_runs_and_loads_are_handed_on() -> None:
    execution = config(
        "--max_queued_runs_per_model=7",
        "--max_run_seconds=5",
        "--max_run_overtime_seconds=2.5",
        "--max_load_seconds=60",
    ).execution

    assert execution.max_queued_runs_per_model == 7
    assert (execution.max_run_s, execution.max_run_overtime_s) == (5.0, 2.5)
    assert execution.max_load_s == 60.0


# Logs


@pytest.mark.parametrize(("text", "kind"), [("text", LogFormat.TEXT), ("json", LogFormat.JSON)])
def test_logs_are_text_or_json(text: str, kind: LogFormat) -> None:
    assert log_format(parse([f"--log_format={text}"], ModelServerFlags).flags) is kind


def test_any_other_log_format_is_refused() -> None:
    with pytest.raises(SigrunError, match=r"^--log_format is one of text, json, not 'xml'$"):
        log_format(parse(["--log_format=xml"], ModelServerFlags).flags)


def test_one_port_cannot_be_both_doors() -> None:
    with pytest.raises(InvalidArgument, match="gRPC and HTTP cannot both have port 9000"):
        server_config(
            parse(
                ["--model_base_path=/m", "--port=9000", "--rest_api_port=9000"], ModelServerFlags
            ).flags
        )


def test_requests_are_not_batched_unless_asked_for() -> None:
    assert server_config(parse(["--model_base_path=/m"], ModelServerFlags).flags).batching is None


def test_batching_parameters_come_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 64 } batch_timeout_micros { value: 500 }")

    config = server_config(
        parse(
            ["--model_base_path=/m", "--enable_batching", f"--batching_parameters_file={file}"],
            ModelServerFlags,
        ).flags
    )

    assert config.batching == BatchingOptions(max_batch_rows=64, batch_timeout_s=0.0005)


def test_batching_without_a_file_takes_the_defaults() -> None:
    config = server_config(
        parse(["--model_base_path=/m", "--enable_batching"], ModelServerFlags).flags
    )

    assert config.batching == BatchingOptions(thread_pool_name="model_server_batch_threads")


def test_a_parameters_file_without_batching_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        server_config(
            parse(["--model_base_path=/m", "--batching_parameters_file=/f"], ModelServerFlags).flags
        )

    assert str(caught.value) == (
        "server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true."
    )


# A gateway


def gateway(*words: str) -> GatewayConfig:
    return gateway_config(parse(words, GatewayFlags).flags)


def test_a_gateway_needs_nothing_but_its_servers() -> None:
    assert gateway("--upstream=model:8500") == GatewayConfig(
        upstream=UpstreamOptions(addresses=("model:8500",)),
        http=HttpOptions(port=8501),
        max_in_flight_bytes=share_in_flight(),
    )


def test_servers_are_parted_by_commas() -> None:
    config = gateway("--upstream=a:1, b:2,,unix:/run/model")

    assert config.upstream.addresses == ("a:1", "b:2", "unix:/run/model")


@pytest.mark.parametrize("words", [[], ["--upstream="], ["--upstream=,"]])
def test_a_gateway_without_servers_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="A gateway needs servers: --upstream=host:port"):
        gateway(*words)


def test_the_http_port_of_a_gateway_is_set_as_that_of_a_server() -> None:
    config = gateway(
        "--upstream=a:1",
        "--rest_api_port=0",
        "--rest_api_timeout_in_ms=500",
        "--rest_api_enable_cors_support",
        "--shutdown_grace_seconds=2",
        "--upstream_channel_arguments=grpc.x=1,grpc.y=z",
    )

    assert config.http == HttpOptions(port=0, timeout_s=0.5, enable_cors=True)
    assert config.shutdown_grace_s == 2
    assert config.upstream.channel_arguments == {"grpc.x": 1, "grpc.y": "z"}


def test_certificates_are_read_from_files_and_mean_tls(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)

    config = gateway(
        "--upstream=a:1",
        f"--upstream_ca_file={tmp_path / 'ca'}",
        f"--upstream_client_cert_file={tmp_path / 'cert'}",
        f"--upstream_client_key_file={tmp_path / 'key'}",
        "--upstream_tls_server_name=model",
    )

    assert config.upstream.tls == UpstreamTls(
        ca=b"ca", client_cert=b"cert", client_key=b"key", server_name="model"
    )


def test_tls_can_do_with_the_certificates_that_grpc_knows() -> None:
    assert gateway("--upstream=a:1", "--upstream_tls").upstream.tls == UpstreamTls()


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert").write_text("cert")

    with pytest.raises(InvalidArgument, match="A client certificate and its key come together"):
        gateway("--upstream=a:1", f"--upstream_client_cert_file={tmp_path / 'cert'}")


def test_a_certificate_that_cannot_be_read_is_named() -> None:
    with pytest.raises(NotFound, match="--upstream_ca_file: cannot read /nowhere/ca: "):
        gateway("--upstream=a:1", "--upstream_ca_file=/nowhere/ca")


@pytest.mark.parametrize("flag", ["upstream_ca_file", "upstream_token_file"])
def test_an_empty_file_is_no_certificate_and_no_token(flag: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    with pytest.raises(InvalidArgument, match=rf"--{flag}: \S+ is empty"):
        gateway("--upstream=a:1", f"--{flag}={tmp_path / 'empty'}")


def test_a_gateway_takes_no_flag_that_is_about_models() -> None:
    with pytest.raises(InvalidArgument, match="unknown argument: --model_name=mnist"):
        gateway("--upstream=a:1", "--model_name=mnist")


# Who may ask


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_both_ports_are_bound_to_the_host(host: str) -> None:
    result = config(f"--host={host}")

    assert (result.grpc.host, result.http.host) == (host, host)


def test_without_a_host_both_ports_are_bound_to_every_address() -> None:
    assert (config().grpc.host, config().http.host) == ("0.0.0.0", "::")


def test_the_port_of_a_gateway_is_bound_to_the_host() -> None:
    words = ["--upstream=localhost:8500", "--host=127.0.0.1"]

    assert gateway_config(parse(words, GatewayFlags).flags).http.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("word", "is_on"), [("--enable_admin", True), ("--enable_admin=false", False)]
)
def test_reload_by_callers_can_be_turned_off(word: str, is_on: bool) -> None:
    assert config(word).enable_admin is is_on


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("127.0.0.1:8502", AdminOptions(host="127.0.0.1", port=8502)),
        ("[::1]:0", AdminOptions(host="::1", port=0)),
        ("unix:/run/admin.sock", AdminOptions(socket_path="/run/admin.sock")),
    ],
)
def test_administration_may_have_an_address(address: str, options: AdminOptions) -> None:
    assert config(f"--admin_address={address}").admin == options


@pytest.mark.parametrize("address", ["8502", ":8502", "localhost", "host:99999", "unix:"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(InvalidArgument, match="--admin_address is HOST:PORT or unix:PATH, not"):
        config(f"--admin_address={address}")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--admin_address=h:9000", "--enable_admin=false"], "give one of them"),
        (["--admin_address=h:9000", "--port=9000"], "needs a port of its own, not 9000"),
    ],
)
def test_an_address_that_contradicts_another_flag_is_told(flags: list[str], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        config(*flags)


def test_tokens_come_from_their_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text("")

    found = config(f"--auth_tokens_file={file}")

    assert found.tokens is not None
    assert found.auth_tokens_file == file
    assert config().tokens is None
    with pytest.raises(NotFound):
        config(f"--auth_tokens_file={tmp_path / 'nothing'}")


# Warm-up, platforms, TensorFlow Lite


def test_warm_up_is_set_by_flags() -> None:
    words = ["--enable_model_warmup=false", "--num_request_iterations_for_warmup=3"]
    words += ["--synthesize_warmup", "--max_warmup_seconds=5", "--enable_all_batch_sizes_warmup"]

    assert config(*words).warm_up == WarmUpOptions(
        replays=False, iterations=3, synthesizes=True, limit_s=5, at_all_batch_sizes=True
    )
    assert config("--num_request_iterations_for_warmup=0").warm_up.iterations == 1


def test_memory_of_gpus_and_precision_are_put_into_the_session_config() -> None:
    serialized = config(
        "--per_process_gpu_memory_fraction=0.5", "--mixed_precision=bfloat16"
    ).execution.session_config

    given = ConfigProto.FromString(serialized)
    assert given.gpu_options.per_process_gpu_memory_fraction == 0.5
    rewriter = given.graph_options.rewrite_options
    assert rewriter.auto_mixed_precision_onednn_bfloat16 == RewriterConfig.ON
    assert given.allow_soft_placement


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("--per_process_gpu_memory_fraction=2", "at most 1, not 2"),
        ("--per_process_gpu_memory_fraction=-1", "more than 0 and at most 1, not -1"),
        ("--mixed_precision=float8", "mixed precision is bfloat16, not 'float8'"),
    ],
)
def test_a_share_or_a_precision_that_is_none_is_refused(word: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        config(word)


def test_what_models_are_made_of_is_handed_on() -> None:
    words = [
        "--prefer_tflite_model",
        "--num_tflite_pools=3",
        "--num_tflite_interpreters_per_pool=2",
    ]
    words += ["--op_libraries=tensorflow_text, /lib/a.so,"]

    execution = config(*words).execution

    assert (execution.prefer_tflite_model, execution.choose_tflite_interpreters(8)) == (True, 6)
    assert execution.op_libraries == ("tensorflow_text", "/lib/a.so")


def test_alts_is_for_grpc_and_excludes_tls(tmp_path: Path) -> None:
    file = tmp_path / "ssl.pbtxt"
    file.write_text('server_key: "k" server_cert: "c"')

    assert config("--use_alts_credentials").grpc.alts
    with pytest.raises(InvalidArgument, match="Either use_alts_credentials must be false or"):
        config("--use_alts_credentials", f"--ssl_config_file={file}")


PLATFORM = """
platform_configs {{
  key: "tensorflow"
  value {{
    source_adapter_config {{
      [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {{
        legacy_config {{ {bundle} }}
      }}
    }}
  }}
}}
"""


def platform(tmp_path: Path, bundle: str, *words: str) -> ServerConfig:
    file = tmp_path / "platform.pbtxt"
    file.write_text(PLATFORM.format(bundle=bundle))
    return config(f"--platform_config_file={file}", *words)


def test_a_platform_config_file_stands_in_place_of_the_flags(tmp_path: Path) -> None:
    bundle = """
      session_config { intra_op_parallelism_threads: 3 }
      batching_parameters { max_batch_size { value: 16 } }
      saved_model_tags: "serve" saved_model_tags: "gpu"
      enable_model_warmup: true
      model_warmup_options {
        num_request_iterations { value: 7 } enable_all_batch_sizes_warmup: true
      }
      prefer_tflite_model: true
      enable_per_model_batching_params: true
      mixed_precision: "bfloat16"
    """

    got = platform(tmp_path, bundle, "--saved_model_tags=other", "--op_libraries=a")

    assert got.batching == BatchingOptions(max_batch_rows=16)
    assert got.has_batching_per_model
    assert got.warm_up == WarmUpOptions(iterations=7, at_all_batch_sizes=True)
    assert got.execution.saved_model_tags == {"serve", "gpu"}
    assert got.execution.prefer_tflite_model
    assert got.execution.op_libraries == ("a",)
    session = ConfigProto.FromString(got.execution.session_config)
    assert session.intra_op_parallelism_threads == 3


def test_what_a_platform_config_file_leaves_out_is_off(tmp_path: Path) -> None:
    got = platform(tmp_path, "", "--enable_batching", "--enable_model_warmup")

    assert (got.batching, got.warm_up.replays) == (None, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "does not configure the platform 'tensorflow'"),
        ('platform_configs { key: "onnx" value {} }', "platform 'onnx'; there is 'tensorflow'"),
        (
            'platform_configs { key: "tensorflow" value {} }',
            "'nothing' as source_adapter_config",
        ),
        ("platforms {}", "Invalid protobuf file"),
    ],
)
def test_a_platform_config_file_that_does_not_fit_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "platform.pbtxt"
    file.write_text(text)

    with pytest.raises(InvalidArgument, match=said):
        config(f"--platform_config_file={file}")
