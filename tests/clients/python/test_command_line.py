"""`sigrun-client`: from words to requests, from results to text."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigrun.config.models import ModelSet
from sigrun_client import (
    DeadlineExceeded,
    InvalidInput,
    PredictResult,
    Signature,
    TensorInfo,
    Unavailable,
)
from sigrun_client._cli import bench, main
from sigrun_client._cli.arguments import parse
from sigrun_client._cli.inputs import examples, inputs
from sigrun_client._cli.output import _cell, print_predict, progress
from tests.wire.rig import HOST, Rig

NAME = "half_plus_two"
FILES = {
    "photo.jpg": b"\xff\xd8\xff",
    "rows.json": b"[[1, 2], [3, 4]]",
    "all.json": b'{"x": [[5, 6]], "text": ["a"]}',
    "-": b'{"x": [[7, 8]]}',
    "some.json": b'[{"f": 1}, {"f": 2}]',
}


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def read(path: str) -> bytes:
    return npy(np.arange(2, dtype=np.float64)) if path == "x.npy" else FILES[path]


def signature(**tensors: tuple[str, tuple[int | None, ...] | None]) -> Signature:
    infos = {
        name: TensorInfo(dtype=dtype, shape=shape, name="")
        for name, (dtype, shape) in tensors.items()
    }
    return Signature(name="s", method="predict", inputs=infos, outputs={})


ROWS = signature(x=("float32", (None, 2)))
TEXT = signature(text=("string", (None,)))
BOTH = signature(x=("float32", (None, 2)), text=("string", (None,)))


def read_inputs(signature: Signature, *words: str) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in inputs(words, signature, read).items()
    }


@pytest.mark.parametrize(
    ("signature", "words", "expected"),
    [
        (ROWS, ["x=[[1, 2]]"], {"x": [[1.0, 2.0]]}),
        (ROWS, ["[[1, 2]]"], {"x": [[1.0, 2.0]]}),
        (ROWS, ["x=[1, 2]"], {"x": [[1.0, 2.0]]}),
        (ROWS, ["@rows.json"], {"x": [[1.0, 2.0], [3.0, 4.0]]}),
        (ROWS, ["x=@rows.json"], {"x": [[1.0, 2.0], [3.0, 4.0]]}),
        (ROWS, ["x=@x.npy"], {"x": [[0.0, 1.0]]}),
        (ROWS, ["-"], {"x": [[7.0, 8.0]]}),
        (TEXT, ["Make money = fast"], {"text": [b"Make money = fast"]}),
        (TEXT, ["text=a=b"], {"text": [b"a=b"]}),
        (TEXT, ['["a", "b"]'], {"text": [b"a", b"b"]}),
        (TEXT, ['"[a]"'], {"text": [b"[a]"]}),
        (TEXT, ['{"b64": "/w=="}'], {"text": [b"\xff"]}),
        (TEXT, ['text=[{"b64": "/w=="}, "a"]'], {"text": [b"\xff", b"a"]}),
        (TEXT, ["@photo.jpg"], {"text": [b"\xff\xd8\xff"]}),
        (BOTH, ["x=[1, 2]", "text=hello"], {"x": [[1.0, 2.0]], "text": [b"hello"]}),
        (BOTH, ["@all.json"], {"x": [[5.0, 6.0]], "text": [b"a"]}),
        (BOTH, ['{"x": [[1, 2]]}', "text=b"], {"x": [[1.0, 2.0]], "text": [b"b"]}),
        (signature(n=("int64", ())), ["7"], {"n": 7}),
        (signature(n=("bfloat16", (None,))), ["[1.5]"], {"n": [1.5]}),
        (signature(n=("bfloat16", (None,))), ["1.5"], {"n": [1.5]}),
        (signature(n=("float32", None)), ["1.5"], {"n": 1.5}),
    ],
)
def test_words_are_inputs(signature: Signature, words: list[str], expected: Any) -> None:
    assert read_inputs(signature, *words) == expected


@pytest.mark.parametrize(
    ("signature", "word", "text"),
    [
        (ROWS, "x=[1,", r"^input 'x': '\[1,' is not JSON"),
        (ROWS, "x=@photo.jpg", r"^input 'x' takes float32\[\?, 2\]: give it as \.npy or \.json"),
        (ROWS, '{"z": 1}', r"^signature 's' takes x: float32\[\?, 2\]; not 'z'$"),
        (BOTH, "[1]", r"^'\[1\]' names no input; signature 's' takes x: .*, text: string\[\?\]$"),
        (ROWS, "y=[[1]]", r"^signature 's' takes x: float32\[\?, 2\]; not 'y'$"),
        (TEXT, "image=@photo.jpg", r"^signature 's' takes text: string\[\?\]; not 'image'$"),
        (TEXT, '{"b64": "!"}', "^this is no base64"),
        (signature(n=("int64", ())), "1.5", r"^input 'n' takes int64, not 1\.5$"),
    ],
)
def test_words_that_are_no_input_are_refused(signature: Signature, word: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        inputs([word], signature, read)


def test_a_file_that_is_no_array_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^a\.npy is no array of numpy"):
        inputs(["x=@a.npy"], ROWS, lambda _: b"no array")


def test_examples_are_objects_or_lists_of_them() -> None:
    assert examples(['{"f": {"b64": "/w=="}}', "@some.json"], read) == [
        {"f": b"\xff"},
        {"f": 1},
        {"f": 2},
    ]
    with pytest.raises(InvalidInput, match=r"^an example is a JSON object of features, not 3$"):
        examples(["3"], read)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(1.5), "1.5"),
        (b"text", "text"),
        (b"\xff\xd8", "<2 bytes>"),
        (np.arange(3), "[0 1 2]"),
        (np.arange(100), "[ 0  1  2 ... 97 98 99]"),
        (np.array([b"a", b"\xff"], object), "['a' '<1 bytes>']"),
    ],
)
def test_a_cell_shows_the_value_or_its_ends(value: Any, text: str) -> None:
    assert _cell(value) == text


@pytest.mark.asyncio
async def test_a_bench_counts_answers_and_errors() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if asked % 4 == 0:
            raise Unavailable("full")

    reports: list[tuple[float, int]] = []
    load = bench.Load(concurrency=3, duration_s=60, requests=40)
    measured = await bench.run(ask, load, lambda part, count: reports.append((part, count)))

    assert measured.requests == 30
    assert measured.errors == {"UNAVAILABLE": 10}
    assert list(measured.latencies()) == ["mean", "p50", "p90", "p99", "p99.9", "max"]
    assert reports[-1] == (1.0, 40)


@pytest.mark.asyncio
async def test_a_bench_that_is_cut_returns_what_it_has() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked > 5:
            running.cancel()
            await asyncio.Event().wait()

    load = bench.Load(concurrency=1, duration_s=60)
    running = asyncio.ensure_future(bench.run(ask, load, lambda _part, _count: None))
    measured = await running

    assert measured.is_cut
    assert measured.requests == 4
    assert measured.seconds < 60


@pytest.mark.asyncio
async def test_a_bench_whose_first_request_fails_does_not_begin() -> None:
    async def ask() -> None:
        raise Unavailable("no server")

    load = bench.Load(concurrency=1, duration_s=60)
    with pytest.raises(Unavailable):
        await bench.run(ask, load, lambda _part, _count: None)


Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a way to run the command line against `rig`: status, output, errors."""
    monkeypatch.setenv("COLUMNS", "100")

    async def run(*words: str) -> tuple[int, str, str]:
        server = ["--server", f"{HOST}:{rig.server.grpc.port}"]
        status = await asyncio.to_thread(main, [*words, *server])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.asyncio
async def test_predict_prints_a_table(rig: Rig, run: Run) -> None:
    await rig.start(1, 3)

    status, out, _ = await run("predict", NAME, "[1, 2]", "--version", "3")

    assert status == 0
    assert f"{NAME}, version 3, serving_default" in out
    assert [line.split()[1::2] for line in out.splitlines()[4:6]] == [["0", "2.5"], ["1", "3.0"]]


def test_outputs_that_belong_together_get_a_row_for_each_class(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    outputs = {
        "classes": np.array([[b"panda", b"koala"], [b"cat", b"dog"]], object),
        "scores": np.array([[0.75, 0.25], [0.5, 0.125]], np.float32),
    }

    print_predict(PredictResult(outputs=outputs, model="m", version=1, signature="s"))

    rows = [line.split()[1::2] for line in capsys.readouterr().out.splitlines()[4:-1]]
    assert rows == [
        ["0", "panda", "0.75"],
        ["0", "koala", "0.25"],
        ["1", "cat", "0.5"],
        ["1", "dog", "0.125"],
    ]


@pytest.mark.asyncio
async def test_predict_prints_json(rig: Rig, run: Run) -> None:
    await rig.start(1, 3, models=ModelSet((rig.model(version_labels={"beta": 1}),)))

    status, out, _ = await run("predict", NAME, "--label", "beta", "x=[1, 2]", "--json")

    assert status == 0
    assert json.loads(out) == {
        "model": NAME,
        "version": 1,
        "signature": "serving_default",
        "outputs": {"y": [2.5, 3.0]},
    }


@pytest.mark.asyncio
async def test_metadata_status_and_wait_print_what_there_is(rig: Rig, run: Run) -> None:
    await rig.start(1, 3)

    assert "float32[?]" in (await run("metadata", NAME))[1]
    assert "AVAILABLE" in (await run("status", NAME))[1]
    assert json.loads((await run("status", NAME, "--json", "--version", "1"))[1]) == [
        {"version": 1, "state": "AVAILABLE", "code": "OK", "message": ""}
    ]
    assert (await run("wait", NAME))[:2] == (0, f"{NAME} version 3 is available\n")


@pytest.mark.asyncio
async def test_health_is_printed_and_is_the_exit_status(rig: Rig, run: Run) -> None:
    await rig.start()

    assert await run("health") == (0, "SERVING\n", "")
    assert json.loads((await run("health", NAME, "--json"))[1]) == {"status": "SERVING"}
    unheard_of = await run("health", "unheard-of")
    rig.server.readiness.draining()
    draining = await run("health")

    assert unheard_of[0] == 1
    assert "NOT_FOUND: No service or model is named 'unheard-of'" in unheard_of[2]
    assert draining == (1, "NOT_SERVING\n", "")


@pytest.mark.asyncio
async def test_classify_prints_classes(rig: Rig, run: Run) -> None:
    await rig.start()

    status, out, _ = await run(
        "classify", NAME, "--signature", "classify", '{"text": "a"}', '{"text": "abc"}', "--json"
    )

    assert status == 0
    rows = json.loads(out)["classifications"]
    assert [[one["label"] for one in row] for row in rows] == [["length"], ["length"]]


@pytest.mark.asyncio
async def test_models_are_managed_one_by_one(rig: Rig, run: Run) -> None:
    await rig.start(1, 2)
    rig.add_version(7, name="other")
    path = str(rig.folder / "other")

    loaded = await run("load", "other", path, "--versions", "7,8", "--label", "stable=7", "--json")
    assert json.loads(loaded[1]) == {
        "model": "other",
        "base_path": path,
        "labels": {"stable": 7},
        "versions": [{"version": 7, "state": "AVAILABLE", "code": "OK", "message": ""}],
    }
    labelled = await run("label", NAME, "canary=2", "--json", "old=1")
    assert json.loads(labelled[1])["labels"] == {"canary": 2, "old": 1}
    labelled = await run("label", NAME, "--remove", "canary", "--remove", "old", "--json")
    assert json.loads(labelled[1])["labels"] == {}
    rig.loaders.pop("other:7")
    assert (await run("reload", "--model", "other"))[0] == 0
    assert rig.loaders["other:7"].loads == 1
    table = (await run("models"))[1]
    assert "2 models" in table
    assert "stable" in table
    assert (await run("unload", "other"))[:2] == (0, "other is served no longer\n")
    listed = json.loads((await run("models", "--json"))[1])
    assert NAME in [model["model"] for model in listed]


@pytest.mark.asyncio
async def test_reload_sends_a_file(rig: Rig, run: Run, tmp_path: Path) -> None:
    await rig.start()
    rig.add_version(7, name="other")
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "other" base_path: "{rig.folder}/other" '
        'model_platform: "tensorflow" } }'
    )

    assert (await run("reload", str(config)))[0] == 0
    assert (await run("wait", "other"))[0] == 0


@pytest.mark.asyncio
async def test_a_reload_that_takes_too_long_says_what_may_still_happen(
    rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await rig.start()
    config = tmp_path / "models.config"
    config.write_text("model_config_list {}")

    given: list[float] = []

    def too_late(_client: object, _config: str, *, timeout_s: float) -> None:
        given.append(timeout_s)
        raise DeadlineExceeded("Deadline Exceeded")

    monkeypatch.setattr("sigrun_client.Client.reload", too_late)
    status, _, err = await run("reload", str(config), "--timeout", "7")

    assert (status, given) == (1, [7.0])
    assert "no answer within 7 s" in err
    assert "may still load" in err
    assert "sigrun-client status" in err


def test_a_reload_has_time_for_loads_by_default() -> None:
    assert parse(["reload", "models.config"]).timeout == 600
    assert parse(["status", NAME]).timeout == 60


def test_ctrl_c_prints_what_a_bench_has_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def cut(*_: object) -> bench.Measured:
        return bench.Measured(
            concurrency=1, seconds=2.0, times_s=(0.5, 0.5), errors={}, is_cut=True
        )

    monkeypatch.setattr(bench, "run", cut)
    # The name of the module leads to the function of that name.
    monkeypatch.setattr(sys.modules["sigrun_client._cli.main"], "_inputs", lambda *_: {})

    assert main(["bench", NAME, "--server", f"{HOST}:1"]) == 130
    out = capsys.readouterr().out
    assert "interrupted after 2.0 s" in out
    assert "requests per second" in out


@pytest.mark.asyncio
async def test_a_signal_ends_a_bench_with_what_it_has(rig: Rig) -> None:
    await rig.start()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sigrun_client", "bench", NAME, "[1, 2]", "--json"),
        *("--duration", "60", "--server", f"{HOST}:{rig.server.grpc.port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 45
    while len(rig.servable().runs) < 100 and process.returncode is None:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.01)

    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    out, err = await process.communicate()

    assert process.returncode == 130, (out, err)
    measured = json.loads(out)
    assert measured["interrupted"]
    assert measured["requests"] > 10
    assert measured["seconds"] < 60


@pytest.mark.asyncio
async def test_bench_measures(rig: Rig, run: Run) -> None:
    await rig.start()

    status, out, _ = await run("bench", NAME, "[1, 2]", "-n", "20", "-c", "4", "--json")

    assert status == 0
    assert json.loads(out)["requests"] == 20
    status, out, _ = await run("bench", NAME, "[1, 2]", "-n", "20")
    assert "requests per second" in out
    assert "latency p99" in out


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["predict", "nothing", "[1]"], 1, "NOT_FOUND: Servable not found for request"),
        (["predict", NAME, "x=[1,"], 2, "is not JSON"),
        (["predict", NAME, "--signature", "s"], 2, "has no signature 's'; it has classify, echo"),
        (["predict", NAME, "x=@/no/such.npy"], 2, "No such file or directory: /no/such.npy"),
        (["wait", "nothing", "-t", "0.3"], 1, "did not become available"),
        (["label", NAME], 2, "name a label to put, LABEL=N, or one to take away"),
        (["label", NAME, "stable"], 2, "'stable' is not of the form LABEL=N"),
        (["label", NAME, "stable=x"], 2, "'x' is not the number of a version"),
        (["unload", "nothing"], 1, "NOT_FOUND: Could not find any versions of model nothing"),
        (["reload", "/no/such"], 2, "No such file or directory: /no/such"),
    ],
)
async def test_what_goes_wrong_is_told_in_one_line(
    rig: Rig, run: Run, words: list[str], status: int, text: str
) -> None:
    await rig.start()

    actual, out, err = await run(*words)

    assert (actual, out) == (status, "")
    assert err.startswith("sigrun-client: ")
    assert text in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["predict", NAME, "[1]", "--nothing"], ["status", NAME, "x"]])
def test_words_that_mean_nothing_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)

    assert end.value.code == 2
    assert "unknown: " in capsys.readouterr().err


def test_without_rich_tables_are_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)

    assert main(["status", NAME, "--server", f"{HOST}:1"]) == 2
    assert "pip install 'sigrun-client[cli]'" in capsys.readouterr().err


def test_the_bar_of_a_bench_takes_reports(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes anything for a terminal
    with progress(is_shown=True) as report:
        report(0.5, 7)
        report(1.0, 14)

    assert "14 answers" in capsys.readouterr().err
