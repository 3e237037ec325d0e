"""The two console scripts.

`sigrun serve [BASE_PATH] [flags]` is the friendly form: HTTP is on, and a table shows what
is served. `tensorflow_model_server [flags]` is TensorFlow Serving's.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sigrun import __version__
from sigrun.cli.banner import banner
from sigrun.cli.flags import WITHOUT_EFFECT, Arguments, parse, usage
from sigrun.cli.settings import log_format, server_config
from sigrun.config.server import ServerConfig
from sigrun.errors import InvalidArgument, NotFound, SigrunError
from sigrun.server import ModelServer
from sigrun.telemetry.logs import configure_logs

logger = logging.getLogger(__name__)

_USAGE_ERROR = 2
_START_ERROR = 1
_TENSORFLOW_SERVING_ERROR = 255
_DEFAULT_HTTP_PORT = 8501
# A wrapper and a terminal often send one wish to stop as two signals.
_SAME_SIGNAL_S = 1.0

_SIGRUN_USAGE = """\
usage: sigrun serve [BASE_PATH] [flags]

Serves the numbered versions under BASE_PATH as a model named after its last folder, on
gRPC port 8500 and HTTP port 8501; or the models of --model_config_file.
"""
_MODEL_SERVER_USAGE = "usage: tensorflow_model_server [flags]\n"


# For so long a thread that loads a model or reads a body may keep the event loop waiting for the
# interpreter's lock, at each of its turns; Python's own 5 ms would be seen in every latency.
_SWITCH_INTERVAL_S = 0.0005


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `sigrun`; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["serve"]:
        return _run(words[1:], _SIGRUN_USAGE, is_friendly=True)
    if words in (["--version"], ["version"]):
        _print_version()
        return 0
    print(_SIGRUN_USAGE)
    if words in ([], ["--help"], ["-h"], ["help"]):
        return 0
    print(f"unknown command: {words[0]}", file=sys.stderr)
    return _USAGE_ERROR


def tensorflow_model_server(arguments: Sequence[str] | None = None) -> int:
    """Run `tensorflow_model_server`; return its exit status, 255 for every failure."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    status = _run(words, _MODEL_SERVER_USAGE, is_friendly=False)
    return _TENSORFLOW_SERVING_ERROR if status else 0


def _run(words: Sequence[str], usage_line: str, *, is_friendly: bool) -> int:
    try:
        arguments = parse(words)
        if arguments.is_set("version"):
            _print_version()
            return 0
        if arguments.is_set("help"):
            print(f"{usage_line}\n{usage()}")
            return 0
        configure_logs(log_format(arguments))
        config = server_config(_with_friendly_defaults(arguments, is_friendly=is_friendly))
    except SigrunError as error:
        print(error, file=sys.stderr)
        print(f"{usage_line}see --help", file=sys.stderr)
        return _USAGE_ERROR
    for name in arguments.ignored:
        logger.info("--%s has no effect: %s", name, WITHOUT_EFFECT[name])
    return _serve(config, shows_banner=is_friendly)


def _print_version() -> None:
    print(f"sigrun: {__version__}")
    print(f"TensorFlow ModelServer: {__version__} (sigrun)")
    print(f"TensorFlow Library: {importlib.metadata.version('tensorflow')}")


def _with_friendly_defaults(arguments: Arguments, *, is_friendly: bool) -> Arguments:
    if arguments.positional and not (is_friendly and len(arguments.positional) == 1):
        raise InvalidArgument(f"unknown argument: {arguments.positional[-1]}")
    values = dict(arguments.values)
    if is_friendly and "rest_api_port" not in arguments.given:
        values["rest_api_port"] = _DEFAULT_HTTP_PORT
    for base_path in arguments.positional:
        values["model_base_path"] = _checked_base_path(base_path)
        if "model_name" not in arguments.given:
            values["model_name"] = os.path.basename(os.path.abspath(base_path))
    return Arguments(values, arguments.given, arguments.positional, arguments.ignored)


def _checked_base_path(base_path: str) -> str:
    """Return the path. Raises `NotFound` at once for the mistakes newcomers make."""
    path = Path(base_path)
    if not path.is_dir():
        raise NotFound(f"The base path {base_path} is not a directory")
    if not any(child.name.isdecimal() for child in path.iterdir()):
        raise NotFound(
            f"No versions found under base path {base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return base_path


def _serve(config: ServerConfig, *, shows_banner: bool) -> int:
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve_until_signalled(config, shows_banner=shows_banner))
    except SigrunError as error:
        print(f"Failed to start server. Error: {error.code.name}: {error}", file=sys.stderr)
        return _START_ERROR
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop, a third faster under gRPC, where it runs."""
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  # it is not there on Windows

    return uvloop.new_event_loop


async def _serve_until_signalled(config: ServerConfig, *, shows_banner: bool) -> None:
    """Start, wait for SIGTERM or SIGINT, drain. Raises what starting raises."""
    stop = _stop_signal()
    server = ModelServer(config)
    starting = asyncio.create_task(server.start(), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return
    await starting
    _announce(server, config, shows_banner=shows_banner)
    await stopping
    logger.info("draining, for up to %g s", config.shutdown_grace_s)
    await server.stop(config.shutdown_grace_s)
    logger.info("stopped")


def _stop_signal() -> asyncio.Event:
    """Return an event that the first signal sets; one that comes later ends the process."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    is_impatient_at = math.inf

    def on_signal(number: int) -> None:
        nonlocal is_impatient_at
        if not stop.is_set():
            is_impatient_at = loop.time() + _SAME_SIGNAL_S
            stop.set()
        elif loop.time() >= is_impatient_at:
            logger.warning("stopping at once, requests in flight are lost")
            os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _announce(server: ModelServer, config: ServerConfig, *, shows_banner: bool) -> None:
    if server.grpc.port is not None:
        logger.info("Running gRPC ModelServer at %s:%d ...", config.grpc.host, server.grpc.port)
    if server.http is not None:
        logger.info("Exporting HTTP/REST API at:localhost:%d ...", server.http.port)
    if shows_banner:
        print(banner(server, config), flush=True)
