"""The console scripts.

`sigrun serve [BASE_PATH] [flags]` is the friendly form: HTTP is on, and a table shows what
is served. `tensorflow_model_server [flags]` is TensorFlow Serving's. `sigrun gateway` is the
HTTP port alone, in front of servers upstream. `sigrun token` makes tokens for callers.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from sigrun import __version__
from sigrun.cli.banner import banner
from sigrun.cli.flags import WITHOUT_EFFECT, CommonFlags, GatewayFlags, ModelServerFlags, ServeFlags
from sigrun.cli.help import usage
from sigrun.cli.parsing import Arguments, parse
from sigrun.cli.running import run_until_signalled
from sigrun.cli.settings import gateway_config, log_format, log_level, server_config
from sigrun.cli.token import make_token
from sigrun.config.gateway import GatewayConfig
from sigrun.config.server import ServerConfig
from sigrun.errors import InvalidArgument, NotFound, SigrunError
from sigrun.gateway import Gateway
from sigrun.servables.folders import list_versions
from sigrun.server import ModelServer
from sigrun.telemetry.logs import configure_logs, show
from sigrun.telemetry.output import open_standard_descriptors
from sigrun.telemetry.tracing import tracer_from_environment
from sigrun.wire.transport.addresses import Tcp
from sigrun.workers.supervisor import Supervisor

logger = logging.getLogger(__name__)

_USAGE_ERROR = 2
_START_ERROR = 1
_TENSORFLOW_SERVING_ERROR = 255

_SERVE_USAGE = """\
usage: sigrun serve [BASE_PATH] [flags]

Serves the numbered versions under BASE_PATH as a model named after its last folder, on
gRPC port 8500 and HTTP port 8501; or the models of --model_config_file.
"""
_GATEWAY_USAGE = """\
usage: sigrun gateway --upstream=HOST:PORT[,HOST:PORT...] [flags]

Serves the HTTP API on port 8501 in front of servers that speak TensorFlow Serving's gRPC.
All of them serve the same models; requests go round those that are healthy.
"""
_TOKENS_USAGE = """\
usage: sigrun token NAME [--rights=RIGHT,...] [--expires_in_days=DAYS]

Makes a token that callers show to a server with --auth_tokens_file.
"""
_MODEL_SERVER_USAGE = "usage: tensorflow_model_server [flags]\n"

_SERVE_EXAMPLES = """\
examples:
  sigrun serve /models/email_model
  sigrun serve --model_config_file=/models/models.config --model_config_file_poll_wait_seconds=30
  sigrun serve /models/email_model --host=127.0.0.1 --enable_batching
"""
_GATEWAY_EXAMPLES = """\
examples:
  sigrun gateway --upstream=localhost:8500
  sigrun gateway --upstream=models-1:8500,models-2:8500 --rest_api_enable_cors_support
  sigrun gateway --upstream=dns:///models:8500 --upstream_ca_file=ca.pem --rest_api_port=80
"""
_MODEL_SERVER_EXAMPLES = """\
examples:
  tensorflow_model_server --model_name=mnist --model_base_path=/models/mnist --rest_api_port=8501
  tensorflow_model_server --model_config_file=/models/models.config --port=9000
  tensorflow_model_server --model_base_path=/models/mnist --enable_batching
"""

Run = Callable[[], None]
F = TypeVar("F", bound=CommonFlags)


@dataclass(frozen=True, slots=True)
class _Command(Generic[F]):
    """One thing to run: `prepare` checks the flags and returns what runs until signalled."""

    usage: str
    examples: str
    flags: type[F]
    prepare: Callable[[Arguments[F]], Run]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `sigrun`; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    match words:
        case ["serve", *rest]:
            return _run(rest, _SERVE)
        case ["gateway", *rest]:
            return _run(rest, _GATEWAY)
        case ["token", *rest]:
            return _token(rest)
    if words in (["--version"], ["version"]):
        _print_version()
        return 0
    print("\n".join(_USAGES))
    if words in ([], ["--help"], ["-h"], ["help"]):
        return 0
    print(f"unknown command: {words[0]}", file=sys.stderr)
    return _USAGE_ERROR


def tensorflow_model_server(arguments: Sequence[str] | None = None) -> int:
    """Run `tensorflow_model_server`; return its exit status, 255 for every failure."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = _run(words, _MODEL_SERVER)
    return _TENSORFLOW_SERVING_ERROR if status else 0


def _run(words: Sequence[str], command: _Command[F]) -> int:
    open_standard_descriptors()
    try:
        arguments = parse(words, command.flags)
        if arguments.flags.version:
            _print_version()
            return 0
        if arguments.flags.help:
            print(f"{command.usage}\n{command.examples}\n{usage(command.flags)}")
            return 0
        configure_logs(log_format(arguments.flags), log_level(arguments.flags))
        run = command.prepare(arguments)
    except SigrunError as error:
        print(error, file=sys.stderr)
        print(f"{command.usage}see --help", file=sys.stderr)
        return _USAGE_ERROR
    for name in arguments.ignored:
        logger.info("--%s has no effect: %s", name, WITHOUT_EFFECT[name])
    try:
        run()
    except SigrunError as error:
        print(f"Failed to start server. Error: {error.code.name}: {error}", file=sys.stderr)
        return _START_ERROR
    return 0


def _token(words: Sequence[str]) -> int:
    try:
        print(make_token(words), end="")
    except SigrunError as error:
        print(f"sigrun token: {error}", file=sys.stderr)
        return _USAGE_ERROR
    return 0


def _print_version() -> None:
    print(f"sigrun: {__version__}")
    print(f"TensorFlow ModelServer: {__version__} (sigrun)")
    print(f"TensorFlow Library: {importlib.metadata.version('tensorflow')}")


def _model_server(arguments: Arguments[ModelServerFlags]) -> Run:
    _check_positional(arguments, 0)
    return _served(arguments.flags, shows_banner=False)


def _serve(arguments: Arguments[ServeFlags]) -> Run:
    _check_positional(arguments, 1)
    return _served(_with_base_path(arguments), shows_banner=True)


def _gateway(arguments: Arguments[GatewayFlags]) -> Run:
    _check_positional(arguments, 0)
    config = gateway_config(arguments.flags)
    tracer = tracer_from_environment(service="sigrun-gateway")
    return functools.partial(
        run_until_signalled,
        functools.partial(Gateway, config, tracer=tracer),
        functools.partial(_announce_gateway, config),
        grace_s=config.shutdown_grace_s,
    )


_MODEL_SERVER = _Command(
    _MODEL_SERVER_USAGE, _MODEL_SERVER_EXAMPLES, ModelServerFlags, _model_server
)
_SERVE = _Command(_SERVE_USAGE, _SERVE_EXAMPLES, ServeFlags, _serve)
_GATEWAY = _Command(_GATEWAY_USAGE, _GATEWAY_EXAMPLES, GatewayFlags, _gateway)
_USAGES = (_SERVE_USAGE, _GATEWAY_USAGE, _TOKENS_USAGE)


def _served(flags: ModelServerFlags, *, shows_banner: bool) -> Run:
    config = server_config(flags)
    if config.workers > 1:
        return functools.partial(
            run_until_signalled,
            functools.partial(Supervisor, config, log_format=log_format(flags)),
            lambda supervisor: _announce(config, supervisor.server, shows_banner=shows_banner),
            grace_s=config.shutdown_grace_s,
        )
    return functools.partial(
        run_until_signalled,
        functools.partial(ModelServer, config, tracer=tracer_from_environment(service="sigrun")),
        functools.partial(_announce, config, shows_banner=shows_banner),
        grace_s=config.shutdown_grace_s,
    )


def _check_positional(arguments: Arguments[F], most: int) -> None:
    if len(arguments.positional) <= most:
        return
    if most == 0:
        raise InvalidArgument(f"unknown argument: {arguments.positional[-1]}")
    raise InvalidArgument(
        f"one model can be named here, not {len(arguments.positional)} "
        f"({', '.join(arguments.positional)}); list several in a file and serve that: "
        "--model_config_file=FILE"
    )


def _with_base_path(arguments: Arguments[ServeFlags]) -> ServeFlags:
    """Return the flags with the model that is named by its path alone."""
    flags = arguments.flags
    for base_path in arguments.positional:
        flags = dataclasses.replace(flags, model_base_path=_checked_base_path(base_path))
        if "model_name" not in arguments.given:
            name = os.path.basename(os.path.abspath(base_path))
            flags = dataclasses.replace(flags, model_name=name)
    return flags


def _checked_base_path(base_path: str) -> str:
    """Return the path. Raises `NotFound` at once for the mistakes newcomers make."""
    if "://" in base_path:  # the configuration says which of these can be read
        return base_path
    path = Path(base_path)
    if not path.is_dir():
        raise NotFound(f"The base path {base_path} is not a directory")
    if not list_versions(path).versions:
        raise NotFound(
            f"No versions found under base path {base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return base_path


def _announce(config: ServerConfig, server: ModelServer, *, shows_banner: bool) -> None:
    if server.grpc.port is not None:
        logger.info("Running gRPC ModelServer at %s ...", Tcp(config.grpc.host, server.grpc.port))
    if server.http is not None and server.http.port is not None:
        logger.info("Exporting HTTP/REST API at:%s ...", Tcp(config.http.host, server.http.port))
    if shows_banner:
        show(banner(server, config))


def _announce_gateway(config: GatewayConfig, gateway: Gateway) -> None:
    if gateway.http.port is not None:
        logger.info("Exporting HTTP/REST API at:%s ...", Tcp(config.http.host, gateway.http.port))
    logger.info("in front of %s", ", ".join(config.upstream.addresses))
