"""Which commands there are and what they take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TypeAlias

from sigrun_client._addresses import DEFAULT_PORT
from sigrun_client._options import RELOAD_TIMEOUT_S
from sigrun_client._version import __version__

DEFAULT_SERVER = f"localhost:{DEFAULT_PORT}"

_LISTS = ("inputs", "examples", "models", "labels")

_INPUTS = """\
inputs:
  NAME=VALUE         a value for the input NAME; NAME= may be left out where there is one input
  NAME=@FILE         .npy: an array; .json: JSON; any other file: its bytes, such as an image
  {...}, @F.json, -  all inputs in one JSON object; - reads it from standard input

A value is JSON. For an input of strings it is text as it stands, unless it begins with [ or ".
Bytes in JSON are {"b64": "..."}. Where the signature has one dimension more in front, of any
size, the value becomes a batch of one.
"""


_RECORDED = """\
A file holds PredictionLog messages, as TFRecords or as JSON, one a line. The exit status is 1 if an
answer differs from the recorded one, or a request fails; which version answers is not compared.
"""


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return what a command line says. Exits with a message for one that is wrong.

    Options may stand between the words of a list, which argparse alone does not allow.
    """
    top = _parser()
    arguments, late = top.parse_known_args(words)
    if not late:
        return arguments
    unknown = [word for word in late if word.startswith("-") and word != "-"]
    rest = next((name for name in _LISTS if hasattr(arguments, name)), None)
    if unknown or rest is None:
        top.error(f"unknown: {' '.join(unknown or late)}; see sigrun-client COMMAND --help")
    getattr(arguments, rest).extend(late)
    return arguments


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="sigrun-client", description="Ask model servers that speak TensorFlow Serving's gRPC."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        *(_predict, _classify, _metadata, _status, _health, _models),
        *(_load, _unload, _reload, _label, _wait, _bench, _replay),
    ):
        add(commands)
    return top


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _predict(commands: Commands) -> None:
    command = _command(commands, "predict", "run a signature on tensors", epilog=_INPUTS)
    _add_model(command)
    _add_inputs(command)


def _classify(commands: Commands) -> None:
    command = _command(commands, "classify", "classify examples")
    _add_model(command)
    command.add_argument("--signature", default="", metavar="NAME")
    command.add_argument("--context", metavar="JSON", help="features that all examples share")
    command.add_argument(
        "examples",
        nargs="+",
        metavar="EXAMPLE",
        help='a JSON object of features, {"x": 1.5}; @FILE holds one or a list of them, - is stdin',
    )


def _metadata(commands: Commands) -> None:
    _add_model(_command(commands, "metadata", "show a model's signatures"))


def _status(commands: Commands) -> None:
    command = _command(commands, "status", "show the states of a model's versions")
    command.add_argument("model", metavar="MODEL")
    command.add_argument("--version", type=int, metavar="N")


def _models(commands: Commands) -> None:
    _command(commands, "models", "list the models of a sigrun server")


def _load(commands: Commands) -> None:
    command = _command(
        commands, "load", "serve a model beside those there are", timeout_s=RELOAD_TIMEOUT_S
    )
    command.add_argument("model", metavar="MODEL", help="one of that name is replaced")
    command.add_argument("base_path", metavar="BASE_PATH", help="as the server sees it")
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--latest", type=_positive_int, default=1, metavar="N", help="newest versions; default: 1"
    )
    which.add_argument("--all", action="store_true", help="every version")
    which.add_argument("--versions", type=_versions, default=(), metavar="N,N", help="these")
    command.add_argument(
        "--label", type=label_version, action="append", default=[], metavar="LABEL=N"
    )


def _unload(commands: Commands) -> None:
    command = _command(commands, "unload", "serve a model no longer")
    command.add_argument("model", metavar="MODEL")


def _health(commands: Commands) -> None:
    command = _command(
        commands,
        "health",
        "ask whether a server is serving; exit status 1 if not",
        timeout_s=5.0,
    )
    command.add_argument(
        "service",
        nargs="?",
        default="",
        metavar="NAME",
        help="a model or a service; default: the whole server",
    )


def _reload(commands: Commands) -> None:
    command = _command(
        commands,
        "reload",
        "load a model again, or give the server another configuration, all of it",
        timeout_s=RELOAD_TIMEOUT_S,
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="MODEL", help="load its versions again")
    which.add_argument("config", nargs="?", metavar="FILE", help="a model config file; - is stdin")


def _label(commands: Commands) -> None:
    command = _command(commands, "label", "put labels on versions of a model")
    command.add_argument("model", metavar="MODEL")
    command.add_argument(
        "labels", nargs="*", metavar="LABEL=N", help="a label, and the version it is to stand for"
    )
    command.add_argument(
        "--remove", action="append", default=[], metavar="LABEL", help="may be repeated"
    )


def _wait(commands: Commands) -> None:
    command = _command(commands, "wait", "wait until models are available")
    command.add_argument("models", nargs="+", metavar="MODEL")
    command.add_argument("--version", type=int, metavar="N", help="this version of each")


def _bench(commands: Commands) -> None:
    command = _command(commands, "bench", "measure throughput and latency", epilog=_INPUTS)
    _add_model(command)
    _add_inputs(command)
    command.add_argument(
        "-c", "--concurrency", type=_positive_int, default=8, metavar="N", help="default: 8"
    )
    command.add_argument(
        "-d", "--duration", type=_positive, default=10.0, metavar="S", help="default: 10 s"
    )
    command.add_argument(
        "-n", "--requests", type=_positive_int, metavar="N", help="stop after so many requests"
    )


def _replay(commands: Commands) -> None:
    command = _command(
        commands,
        "replay",
        "send the requests of a request log again, and compare the answers",
        epilog=_RECORDED,
    )
    command.add_argument("file", metavar="FILE", help="a request log, or a warm-up file")
    command.add_argument("--model", default="", metavar="NAME", help="send them to this model")
    command.add_argument(
        "--rtol",
        type=_not_negative,
        default=1e-5,
        metavar="X",
        help="how far numbers may differ, relative to themselves; 0: not at all; default: 1e-5",
    )
    command.add_argument(
        "-n", "--requests", type=_positive_int, metavar="N", help="stop after so many requests"
    )


def _command(
    commands: Commands,
    name: str,
    help_text: str,
    *,
    epilog: str | None = None,
    timeout_s: float = 60.0,
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    connection = command.add_argument_group("connection")
    connection.add_argument(
        "-s",
        "--server",
        default=os.environ.get("SIGRUN_SERVER", DEFAULT_SERVER),
        metavar="HOST:PORT",
        help=f"one or several, with commas; default: $SIGRUN_SERVER or {DEFAULT_SERVER}",
    )
    connection.add_argument(
        "-t",
        "--timeout",
        type=_positive,
        default=timeout_s,
        metavar="S",
        help=f"default: {timeout_s:g} s",
    )
    connection.add_argument("--tls", action="store_true", help="encrypt; trust the usual roots")
    connection.add_argument("--ca", metavar="FILE", help="encrypt; trust these roots, PEM")
    connection.add_argument("--key", metavar="FILE", help="this side's private key, PEM")
    connection.add_argument("--cert", metavar="FILE", help="this side's certificate, PEM")
    connection.add_argument(
        "--server-name", default="", metavar="NAME", help="the name in the server's certificate"
    )
    token = connection.add_mutually_exclusive_group()
    token.add_argument(
        "--token",
        help="sent as `authorization: Bearer`; default: $SIGRUN_TOKEN. Others on this machine can "
        "see the words of a command",
    )
    token.add_argument(
        "--token-file", metavar="FILE", help="holds the token; default: $SIGRUN_TOKEN_FILE"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    return command


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    which = command.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N")
    which.add_argument("--label", metavar="LABEL")


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--signature", default="", metavar="NAME")
    command.add_argument(
        "--output", action="append", default=[], metavar="NAME", help="only this; may be repeated"
    )
    command.add_argument("inputs", nargs="*", metavar="INPUT")


def _versions(text: str) -> tuple[int, ...]:
    return tuple(map(_version, text.split(",")))


def label_version(text: str) -> tuple[str, int]:
    """Read LABEL=N. Raises `argparse.ArgumentTypeError`."""
    label, separator, version = text.partition("=")
    if not label or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form LABEL=N")
    return label, _version(version)


def _version(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a version")
    return int(text)


def _positive(text: str) -> float:
    number = float(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def _positive_int(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number
