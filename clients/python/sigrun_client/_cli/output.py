"""Results -> JSON documents, and tables for people."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sigrun_client._cli.bench import Measured, Report
from sigrun_client._errors import InvalidInput
from sigrun_client._metadata import ModelMetadata, TensorInfo
from sigrun_client._results import ClassifyResult, ModelInfo, PredictResult, VersionStatus
from sigrun_client._tensors import Array

_MAX_ROWS = 100
_MAX_ELEMENTS = 12  # of one cell


def print_json(document: Any) -> None:
    """Print a document."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def require_tables() -> None:
    """Raise `InvalidInput` where rich, which draws tables and bars, is not installed."""
    if importlib.util.find_spec("rich") is None:
        raise InvalidInput("tables need rich: pip install 'sigrun-client[cli]'; or use --json")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=any(columns))
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    console.print(Text(title, "bold"))
    console.print(table)


@contextlib.contextmanager
def progress(*, is_shown: bool) -> Iterator[Report]:
    """Give a way to report progress; it is a bar on standard error where someone looks."""
    if not is_shown:
        yield lambda _part, _count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    count = TextColumn("{task.fields[count]} answers")
    bar = Progress(
        BarColumn(), count, TimeRemainingColumn(), console=Console(stderr=True), transient=True
    )
    with bar:
        task = bar.add_task("", total=1.0, count=0)
        yield lambda part, count: bar.update(task, completed=part, count=count)


def predict_document(result: PredictResult) -> dict[str, Any]:
    """Return a result as JSON; bytes that are not UTF-8 become base64 objects."""
    return {
        "model": result.model,
        "version": result.version,
        "signature": result.signature,
        "outputs": {name: _plain(array.tolist()) for name, array in result.items()},
    }


def _plain(value: Any) -> Any:
    match value:
        case list():
            return [_plain(one) for one in value]
        case bytes():
            return _text(value) or {"b64": base64.b64encode(value).decode()}
        case complex():
            return [value.real, value.imag]
        case _:
            return value


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def print_predict(result: PredictResult) -> None:
    """Print the outputs: a row for each row where they have as many, else one for each.

    Lists of classes and their scores get a row for each class.
    """
    title = f"{result.model}, version {result.version}, {result.signature}"
    sizes = {array.shape[0] if array.ndim else -1 for array in result.values()}
    if _are_classes(result):
        shape = next(iter(result.values())).shape
        _print_rows(title, result, list(itertools.product(*map(range, shape))))
    elif len(sizes) == 1 and -1 not in sizes:
        _print_rows(title, result, [(row,) for row in range(sizes.pop())])
    else:
        rows = [[name, str(list(a.shape)), _cell(a)] for name, a in result.items()]
        print_table(title, ["output", "shape", "values"], rows)


def _are_classes(result: PredictResult) -> bool:
    """Return whether the outputs are lists of the same lengths, some of them of names."""
    arrays = list(result.values())
    return (
        len(arrays) > 1
        and arrays[0].ndim == 2
        and all(array.shape == arrays[0].shape for array in arrays)
        and any(array.dtype.kind == "O" for array in arrays)
    )


def _print_rows(title: str, result: PredictResult, places: Sequence[tuple[int, ...]]) -> None:
    """Print what every output has at each of the places, which begin with the row's number."""
    rows = [
        [str(place[0]), *(_cell(array[place]) for array in result.values())]
        for place in places[:_MAX_ROWS]
    ]
    print_table(title, ["", *result], rows)
    if len(places) > _MAX_ROWS:
        sys.stdout.write(f"and {len(places) - _MAX_ROWS} rows more\n")


def _cell(value: Any) -> str:
    """Return an element, or an array with most of it left out if it is large."""
    if isinstance(value, bytes):
        text = _text(value)
        return text if text is not None else f"<{len(value)} bytes>"
    array: Array = np.asarray(value)
    if array.dtype.kind == "O":
        array = np.array([_cell(one) for one in array.reshape(-1)], object).reshape(array.shape)
    if array.ndim == 0:
        return str(array[()])
    return np.array2string(array, threshold=_MAX_ELEMENTS, edgeitems=3, precision=5)


def classify_document(result: ClassifyResult) -> dict[str, Any]:
    """Return a result as JSON."""
    return {
        "model": result.model,
        "version": result.version,
        "signature": result.signature,
        "classifications": [[one._asdict() for one in row] for row in result],
    }


def print_classify(result: ClassifyResult) -> None:
    """Print the classes of each example."""
    rows = [
        [str(index), one.label, f"{one.score:g}"] for index, row in enumerate(result) for one in row
    ]
    title = f"{result.model}, version {result.version}, {result.signature}"
    print_table(title, ["", "class", "score"], rows)


def metadata_document(metadata: ModelMetadata) -> dict[str, Any]:
    """Return signatures as JSON."""

    def infos(tensors: Any) -> dict[str, Any]:
        return {name: {"dtype": i.dtype, "shape": i.shape} for name, i in tensors.items()}

    return {
        "model": metadata.model,
        "version": metadata.version,
        "signatures": {
            name: {
                "method": signature.method,
                "inputs": infos(signature.inputs),
                "outputs": infos(signature.outputs),
            }
            for name, signature in metadata.items()
        },
    }


def print_metadata(metadata: ModelMetadata) -> None:
    """Print the signatures: a row for each tensor."""
    rows: list[list[str]] = []
    for name, signature in metadata.items():
        heads = iter([[name, signature.method]])
        for direction, infos in (("in", signature.inputs), ("out", signature.outputs)):
            rows += [_tensor_row(next(heads, ["", ""]), direction, *i) for i in infos.items()]
    columns = ["signature", "method", "", "name", "tensor"]
    print_table(f"{metadata.model}, version {metadata.version}", columns, rows)


def _tensor_row(head: list[str], direction: str, name: str, info: TensorInfo) -> list[str]:
    return [*head, direction, name, str(info)]


def status_document(versions: Sequence[VersionStatus]) -> list[dict[str, Any]]:
    """Return states as JSON."""
    return [
        {"version": one.version, "state": one.state, "code": one.code, "message": one.message}
        for one in versions
    ]


def print_status(model: str, versions: Sequence[VersionStatus]) -> None:
    """Print the states of a model."""
    rows = [
        [str(one.version), one.state, "" if one.code == "OK" else f"{one.code}: {one.message}"]
        for one in versions
    ]
    print_table(model, ["version", "state", "error"], rows)


def model_document(model: ModelInfo) -> dict[str, Any]:
    """Return a model as JSON."""
    return {
        "model": model.name,
        "base_path": model.base_path,
        "labels": dict(model.labels),
        "versions": status_document(model.versions),
    }


def print_models(models: Sequence[ModelInfo]) -> None:
    """Print models: a row for each version."""
    rows: list[list[str]] = []
    for model in models:
        heads = iter([[model.name, model.base_path]])
        for one in model.versions:
            labels = ", ".join(n for n, version in model.labels.items() if version == one.version)
            error = "" if one.code == "OK" else f"{one.code}: {one.message}"
            rows.append([*next(heads, ["", ""]), str(one.version), labels, one.state, error])
        rows += [[*head, "", "", "", ""] for head in heads]  # one without versions
    columns = ["model", "base path", "version", "labels", "state", "error"]
    print_table(f"{len(models)} model{'' if len(models) == 1 else 's'}", columns, rows)


def bench_document(measured: Measured) -> dict[str, Any]:
    """Return what was measured as JSON; latencies in seconds."""
    return {
        "interrupted": measured.is_cut,
        "requests": measured.requests,
        "errors": measured.errors,
        "seconds": measured.seconds,
        "requests_per_second": measured.requests / measured.seconds,
        "latency_s": measured.latencies(),
    }


def print_bench(measured: Measured) -> None:
    """Print what was measured."""
    rows = [
        ["requests", str(measured.requests)],
        ["requests per second", f"{measured.requests / measured.seconds:.1f}"],
        *([f"latency {name}", f"{s * 1000:.2f} ms"] for name, s in measured.latencies().items()),
        *([f"errors {code}", str(count)] for code, count in sorted(measured.errors.items())),
    ]
    seconds = f"{'interrupted after ' if measured.is_cut else ''}{measured.seconds:.1f} s"
    print_table(f"{seconds}, {measured.concurrency} at a time", ["", ""], rows)
