"""Run a command: parse, ask, print. Exit status: 0 done, 1 the server refused, 2 wrong usage."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sigrun_client import _replay as _replays
from sigrun_client._async_client import AsyncClient
from sigrun_client._cli import bench, inputs, output
from sigrun_client._cli.arguments import label_version, parse
from sigrun_client._client import Client
from sigrun_client._errors import DeadlineExceeded, InvalidInput, ServerError, SigrunClientError
from sigrun_client._metadata import Signature
from sigrun_client._options import Options, Tls, token_from_file
from sigrun_client._requests import ModelConfig
from sigrun_client._results import ModelInfo
from sigrun_client._tensors import TensorLike

REFUSED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

_DRAW_TABLES = frozenset(
    {"predict", "classify", "metadata", "status", "models", "load", "label", "bench"}
)


def main(words: Sequence[str] | None = None) -> int:
    """Run `sigrun-client`; return its exit status."""
    arguments = parse(words)
    try:
        if _draws_tables(arguments) and not arguments.json:
            output.require_tables()
        return _run(arguments, _options(arguments))
    except InvalidInput as error:
        return _fail(str(error), WRONG_USAGE)
    except OSError as error:
        return _fail(f"{error.strerror}: {error.filename}", WRONG_USAGE)
    except ServerError as error:
        return _fail(f"{error.code}: {error}", REFUSED)
    except SigrunClientError as error:
        return _fail(str(error), REFUSED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: argparse.Namespace, options: Options) -> int:
    """Do what is asked; return the exit status."""
    if arguments.command == "bench":
        return asyncio.run(_bench(arguments, options))
    with Client(arguments.server, options) as client:
        return _COMMANDS[arguments.command](client, arguments) or 0


def _draws_tables(arguments: argparse.Namespace) -> bool:
    is_of_one_model = arguments.command == "reload" and arguments.model is not None
    return arguments.command in _DRAW_TABLES or is_of_one_model


def _fail(text: str, status: int) -> int:
    sys.stderr.write(f"sigrun-client: {text}\n")
    return status


def _options(arguments: argparse.Namespace) -> Options:
    tls = None
    if arguments.tls or arguments.ca or arguments.key or arguments.cert:
        tls = Tls(
            root_certificates=_optional(arguments.ca),
            private_key=_optional(arguments.key),
            certificate_chain=_optional(arguments.cert),
            server_name=arguments.server_name,
        )
    return Options(timeout_s=arguments.timeout, tls=tls, token=_token(arguments))


def _token(arguments: argparse.Namespace) -> str | Callable[[], str] | None:
    """Return the token of the command, or else that of the environment."""
    file, token = arguments.token_file, arguments.token
    if file is None and token is None:
        file, token = os.environ.get("SIGRUN_TOKEN_FILE"), os.environ.get("SIGRUN_TOKEN")
    return token_from_file(file) if file else token


def _optional(path: str | None) -> bytes | None:
    return None if path is None else _read(path)


def _read(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _predict(client: Client, arguments: argparse.Namespace) -> None:
    result = client.predict(
        arguments.model,
        _inputs(client, arguments),
        **_target(arguments),
        signature=arguments.signature,
        outputs=arguments.output,
    )
    if arguments.json:
        output.print_json(output.predict_document(result))
    else:
        output.print_predict(result)


def _inputs(client: Client, arguments: argparse.Namespace) -> dict[str, TensorLike]:
    metadata = client.metadata(arguments.model, **_target(arguments))
    name = arguments.signature or "serving_default"
    if name not in metadata:
        raise InvalidInput(
            f"model {arguments.model!r} has no signature {name!r}; it has {', '.join(metadata)}"
        )
    signature: Signature = metadata[name]
    return inputs.inputs(arguments.inputs, signature, _read)


def _target(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"version": arguments.version, "label": arguments.label}


def _classify(client: Client, arguments: argparse.Namespace) -> None:
    result = client.classify(
        arguments.model,
        inputs.examples(arguments.examples, _read),
        **_target(arguments),
        signature=arguments.signature,
        context=inputs.context(arguments.context) if arguments.context else None,
    )
    if arguments.json:
        output.print_json(output.classify_document(result))
    else:
        output.print_classify(result)


def _metadata(client: Client, arguments: argparse.Namespace) -> None:
    metadata = client.metadata(arguments.model, **_target(arguments))
    if arguments.json:
        output.print_json(output.metadata_document(metadata))
    else:
        output.print_metadata(metadata)


def _status(client: Client, arguments: argparse.Namespace) -> None:
    versions = client.status(arguments.model, version=arguments.version)
    if arguments.json:
        output.print_json(output.status_document(versions))
    else:
        output.print_status(arguments.model, versions)


def _models(client: Client, arguments: argparse.Namespace) -> None:
    models = client.models()
    if arguments.json:
        output.print_json([output.model_document(model) for model in models])
    else:
        output.print_models(models)


def _load(client: Client, arguments: argparse.Namespace) -> None:
    config = ModelConfig(
        name=arguments.model,
        base_path=arguments.base_path,
        latest=None if arguments.all else arguments.latest,
        versions=arguments.versions,
        labels=dict(arguments.label),
    )
    _print_model(client.load_model(config), arguments)


def _unload(client: Client, arguments: argparse.Namespace) -> None:
    client.unload_model(arguments.model)
    if arguments.json:
        output.print_json({"unloaded": arguments.model})
    else:
        sys.stdout.write(f"{arguments.model} is served no longer\n")


def _label(client: Client, arguments: argparse.Namespace) -> None:
    try:
        labels = dict(map(label_version, arguments.labels))
    except argparse.ArgumentTypeError as error:
        raise InvalidInput(str(error)) from None
    if not labels and not arguments.remove:
        raise InvalidInput("name a label to put, LABEL=N, or one to take away, --remove LABEL")
    _print_model(client.set_labels(arguments.model, labels, removed=arguments.remove), arguments)


def _print_model(model: ModelInfo, arguments: argparse.Namespace) -> None:
    if arguments.json:
        output.print_json(output.model_document(model))
    else:
        output.print_models([model])


def _health(client: Client, arguments: argparse.Namespace) -> int:
    status = client.health(arguments.service)
    if arguments.json:
        output.print_json({"status": status})
    else:
        sys.stdout.write(f"{status}\n")
    return 0 if status == "SERVING" else REFUSED


def _reload(client: Client, arguments: argparse.Namespace) -> None:
    if arguments.model is not None:
        _print_model(client.reload_model(arguments.model), arguments)
        return
    try:
        client.reload(_read(arguments.config).decode(), timeout_s=arguments.timeout)
    except DeadlineExceeded:
        raise DeadlineExceeded(
            f"no answer within {arguments.timeout:g} s. sigrun then stays with the models it had; "
            "TensorFlow Serving may still load the new ones and serve them. "
            "`sigrun-client status MODEL` tells; `--timeout` gives a reload more time"
        ) from None
    if arguments.json:
        output.print_json({"reloaded": True})
    else:
        sys.stdout.write("the server serves the new configuration\n")


def _wait(client: Client, arguments: argparse.Namespace) -> None:
    ends_at = time.monotonic() + arguments.timeout
    available = {}
    for model in arguments.models:
        left_s = max(ends_at - time.monotonic(), 0.0)
        available[model] = client.wait_until_available(
            model, version=arguments.version, timeout_s=left_s
        )
    if arguments.json:
        output.print_json(available)
    else:
        for model, version in available.items():
            sys.stdout.write(f"{model} version {version} is available\n")


async def _bench(arguments: argparse.Namespace, options: Options) -> int:
    with Client(arguments.server, options) as looking:
        arrays = await asyncio.to_thread(_inputs, looking, arguments)
    load = bench.Load(
        concurrency=arguments.concurrency,
        duration_s=arguments.duration,
        requests=arguments.requests,
    )
    async with AsyncClient(arguments.server, options) as client:

        async def ask() -> object:
            return await client.predict(
                arguments.model,
                arrays,
                **_target(arguments),
                signature=arguments.signature,
                outputs=arguments.output,
            )

        with output.progress(is_shown=sys.stderr.isatty() and not arguments.json) as report:
            measured = await bench.run(ask, load, report)
    if arguments.json:
        output.print_json(output.bench_document(measured))
    else:
        output.print_bench(measured)
    return INTERRUPTED if measured.is_cut else 0


def _replay(client: Client, arguments: argparse.Namespace) -> int:
    """Send what was recorded again; return the exit status."""
    sent = differ = failed = uncompared = 0
    with Path(arguments.file).open("rb") as file:
        requests = _replays.recorded(file, model=arguments.model)
        for one in itertools.islice(requests, arguments.requests):
            sent += 1
            uncompared += one.response is None
            try:
                answer = client._send_recorded(one.method, one.request)
            except ServerError as error:
                failed += 1
                sys.stderr.write(f"request {sent} ({one.method}): {error.code}: {error}\n")
                continue
            found = _replays.differences(one, answer, rtol=arguments.rtol)
            differ += bool(found)
            for text in found:
                sys.stderr.write(f"request {sent} ({one.method}): {text}\n")
    if arguments.json:
        output.print_json(
            {"sent": sent, "different": differ, "failed": failed, "without_answer": uncompared}
        )
    else:
        sys.stdout.write(f"{sent} requests: {differ} differences, {failed} failed")
        sys.stdout.write(f", {uncompared} had no answer to compare\n" if uncompared else "\n")
    return REFUSED if differ or failed else 0


_COMMANDS: Mapping[str, Callable[[Client, argparse.Namespace], int | None]] = {
    "predict": _predict,
    "classify": _classify,
    "metadata": _metadata,
    "status": _status,
    "models": _models,
    "load": _load,
    "unload": _unload,
    "label": _label,
    "health": _health,
    "reload": _reload,
    "wait": _wait,
    "replay": _replay,
}
