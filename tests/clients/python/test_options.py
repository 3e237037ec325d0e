"""Settings, and what they mean to gRPC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sigrun_client import InvalidInput, KeepAlive, Options, Retries, Tls, token_from_file
from sigrun_client._addresses import addresses
from sigrun_client._channels import channel_arguments
from sigrun_client._cli.arguments import parse
from sigrun_client._cli.main import _options


def arguments(*, is_one_of_many: bool = False, **options: Any) -> dict[str, Any]:
    return dict(channel_arguments(Options(**options), is_one_of_many=is_one_of_many))


def service_config(**settings: Any) -> Any:
    return json.loads(arguments(**settings)["grpc.service_config"])


def test_only_unavailable_is_retried_and_with_backoff() -> None:
    (config,) = service_config(retries=Retries(attempts=3, initial_backoff_s=0.05))["methodConfig"]

    assert config == {
        "name": [{}],
        "retryPolicy": {
            "maxAttempts": 3,
            "initialBackoff": "0.050s",
            "maxBackoff": "2.000s",
            "backoffMultiplier": 2.0,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }


def test_grpc_makes_five_attempts_at_most() -> None:
    (config,) = service_config(retries=Retries(attempts=9))["methodConfig"]

    assert config["retryPolicy"]["maxAttempts"] == 5


def test_one_of_many_addresses_is_not_retried_by_grpc() -> None:
    assert "methodConfig" not in service_config(is_one_of_many=True)
    assert "methodConfig" not in service_config(retries=Retries(attempts=1))


def test_the_addresses_of_a_name_take_turns() -> None:
    assert service_config()["loadBalancingConfig"] == [{"round_robin": {}}]


def test_messages_are_as_large_as_they_may_be_and_kept_for_a_retry() -> None:
    settings = arguments(max_message_bytes=1 << 20)

    assert settings["grpc.max_send_message_length"] == 1 << 20
    assert settings["grpc.max_receive_message_length"] == 1 << 20
    assert settings["grpc.per_rpc_retry_buffer_size"] == 1 << 20


def test_keep_alive_is_off_unless_asked_for() -> None:
    assert not any("keepalive" in name for name in arguments())
    settings = arguments(keep_alive=KeepAlive(interval_s=10, timeout_s=2, without_calls=True))
    assert settings["grpc.keepalive_time_ms"] == 10_000
    assert settings["grpc.keepalive_timeout_ms"] == 2_000
    assert settings["grpc.keepalive_permit_without_calls"] == 1


def test_the_name_in_the_certificate_may_be_another() -> None:
    assert "grpc.ssl_target_name_override" not in arguments(tls=Tls())
    assert arguments(tls=Tls(server_name="a"))["grpc.ssl_target_name_override"] == "a"


def test_a_token_is_asked_for_at_each_call() -> None:
    tokens = iter(["first", "second"])
    options = Options(token=lambda: next(tokens), headers={"x-request-id": "7"})

    assert options.call_metadata() == (("x-request-id", "7"), ("authorization", "Bearer first"))
    assert options.call_metadata()[1] == ("authorization", "Bearer second")


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Options(token="secret"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("localhost:8500", ("localhost:8500",)),
        ("a:1, b:2", ("a:1", "b:2")),
        (["a:1", "b:2"], ("a:1", "b:2")),
        ("ipv4:10.0.0.1:8500,10.0.0.2:8500", ("ipv4:10.0.0.1:8500,10.0.0.2:8500",)),
        ("dns:///models:8500", ("dns:///models:8500",)),
        ("unix:/tmp/grpc.sock", ("unix:/tmp/grpc.sock",)),
        ("localhost", ("localhost:8500",)),
        ("localhost:", ("localhost:8500",)),
        ("10.0.0.1, models", ("10.0.0.1:8500", "models:8500")),
        ("[::1]", ("[::1]:8500",)),
        ("::1", ("[::1]:8500",)),
        ("[::1]:9000", ("[::1]:9000",)),
    ],
)
def test_addresses_are_one_text_or_a_list(given: Any, expected: tuple[str, ...]) -> None:
    assert addresses(given) == expected


@pytest.mark.parametrize("given", ["", "a:1,", [], [""]])
def test_no_address_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^an address is `host:port`"):
        addresses(given)


@pytest.mark.parametrize("given", ["http://models:8500", "https://models", "grpc://models:8500"])
def test_an_address_with_a_scheme_is_refused_with_a_hint(given: str) -> None:
    host = given.partition("//")[2]
    with pytest.raises(InvalidInput, match=f"^an address has no `[a-z]+://`: give {host!r}"):
        addresses([given])


@pytest.mark.parametrize(
    "settings",
    [{"attempts": 0}, {"initial_backoff_s": 0}, {"max_backoff_s": -1}, {"backoff_multiplier": 0}],
)
def test_retries_that_make_no_sense_are_refused(settings: Any) -> None:
    with pytest.raises(InvalidInput):
        Retries(**settings)


@pytest.mark.parametrize("size", [0, 1 << 31])
def test_a_size_that_no_message_has_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="max_message_bytes"):
        Options(max_message_bytes=size)


def test_a_token_is_read_from_its_file_at_each_call(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    options = Options(token=token_from_file(file))
    assert options.call_metadata() == (("authorization", "Bearer first"),)

    file.write_text("second\n")

    assert options.call_metadata() == (("authorization", "Bearer second"),)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff"])
def test_a_file_that_holds_no_token_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(InvalidInput, match="does not hold a token, which is a line of ASCII"):
        token_from_file(file)


def test_a_file_of_a_token_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read the token in .*: No such file"):
        token_from_file(tmp_path / "token")


@pytest.mark.parametrize(
    ("words", "environment", "token"),
    [
        (["--token=word"], {"SIGRUN_TOKEN": "environment"}, "word"),
        (["--token-file=FILE"], {"SIGRUN_TOKEN": "environment"}, "file"),
        ([], {"SIGRUN_TOKEN": "environment"}, "environment"),
        ([], {"SIGRUN_TOKEN_FILE": "FILE"}, "file"),
        (["--token=word"], {"SIGRUN_TOKEN_FILE": "FILE"}, "word"),
        ([], {}, None),
    ],
)
def test_a_command_takes_its_token_from_its_words_or_else_the_environment(
    words: list[str],
    environment: dict[str, str],
    token: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "token"
    file.write_text("file")
    for name in ("SIGRUN_TOKEN", "SIGRUN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("FILE", str(file)))
    arguments = parse(["status", "m", *(word.replace("FILE", str(file)) for word in words)])

    sent = _options(arguments).call_metadata()

    assert sent == ((("authorization", f"Bearer {token}"),) if token else ())
