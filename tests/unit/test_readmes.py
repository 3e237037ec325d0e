"""Every block of every README and page of docs/ is run here or elsewhere, or says why it is not.

Blocks are checked by their language, or by the word that they begin with: code is run against
clients that have all of the real ones' methods and none of their connections, command lines are
read by the commands' own parsers, configuration by the server's own readers, and files, modules,
targets and options that are named must be there. A `text` block is what nobody runs: a listing, or
what is printed.
"""

from __future__ import annotations

import ast
import re
import shlex
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, create_autospec
from urllib.parse import urlsplit

import pytest

import sigrun_client
from sigrun.cli import flags
from sigrun.cli.parsing import parse
from sigrun.cli.token import make_token
from sigrun.errors import InvalidArgument
from sigrun.inference.context import INTERNAL
from sigrun.wire import warm_up_files
from sigrun.wire.config_files import batching_config, options, tokens
from sigrun.wire.http.messages import HttpRequest
from sigrun.wire.rest.routes import route
from sigrun_client._cli.arguments import parse as parse_client_words
from sigrun_client._requests import server_config
from tests.documentation import ROOT, RUN_WITH_A_SERVER, Block, blocks, is_same, pages, steps

# What another test runs: the page, how a line or the fence begins, and that test.
RUN_ELSEWHERE = {
    ("clients/js/README.md", "```js"): "clients/js/test/readme.test.ts",
}
# What cannot be run, or is nothing to run: the page, how a block begins, and why.
NOT_RUN = {
    ("clients/js/README.md", "```html"): "a page; what it loads is checked below",
    ("examples/spam/README.md", '{"predictions"'): "is printed",
    ("examples/spam/README.md", '{"error"'): "is printed",
    ("benchmarks/README.md", "B=$PWD"): "docker, which fetches TensorFlow Serving",
    ("docs/migration/fastapi.md", "```py"): "the script that is left behind",
    (
        "docs/how_to/gpu.md",
        '```python title="profile.py"',
    ): "tests/tensorflow/test_profiler.py traces",
    ("docs/tutorials/image_classifier.md", "```js"): "tests/e2e/test_web_app.py drives the page",
    ("docs/how_to/tls_and_tokens.md", "sigrun-client status"): "needs a client's certificate; "
    "tests/wire/test_tls.py has one",
}
# Commands that are not ours, and what is known of them: that they are not run here.
FOREIGN = {
    ".": "a shell's own",
    "apt-get": "changes the machine",
    "cp": "files of the reader",
    "docker": "needs a container engine; tests/deploy/test_image.py runs the steps of the image",
    "git": "fetches",
    "mkdir": "files of the reader",
}
# Packages of others that pages install.
FOREIGN_PACKAGES = {"tensorflow[and-cuda]"}
PROBES = {"/livez", "/readyz", "/metrics"}


def is_one_of(block: Block, named: Any) -> bool:
    """Return whether a table names this block."""
    return any(
        block.page == page and (block.text.startswith(start) or block.fence == start)
        for page, start in named
    )


def is_run_with_a_server(block: Block) -> bool:
    return block.page in RUN_WITH_A_SERVER and block.language in ("console", "python")


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command line, without its comment and its variables."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield words


ALL = [block for page in pages() for block in blocks(page)]
RUN_HERE = [
    block
    for block in ALL
    if not is_one_of(block, NOT_RUN)
    and not is_one_of(block, RUN_ELSEWHERE)
    and not is_run_with_a_server(block)
    and block.language != "text"
]


@pytest.mark.parametrize("block", RUN_HERE, ids=str)
def test_what_stands_on_a_page_works(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    check(block, monkeypatch)


@pytest.mark.parametrize(
    "text",
    ["unheard-of", "make nothing", "sigrun serve --no_flag", "python -m examples.spam.nothing"],
)
def test_what_would_not_work_is_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, InvalidArgument)):
        check(Block("README.md", 1, "", text), monkeypatch)


def test_all_that_is_excused_is_there() -> None:
    """A table that names what is gone would excuse what comes later."""
    for named in (*RUN_ELSEWHERE, *NOT_RUN):
        assert any(is_one_of(block, [named]) for block in ALL), named


@pytest.mark.parametrize(("page", "test"), RUN_WITH_A_SERVER.items(), ids=str)
def test_a_page_that_is_run_with_a_server_is_read_there(page: str, test: str) -> None:
    source = (ROOT / test).read_text()

    assert "Reader(" in source
    assert page in source


@pytest.mark.parametrize(("named", "test"), RUN_ELSEWHERE.items(), ids=str)
def test_what_is_run_elsewhere_is_read_there(named: tuple[str, str], test: str) -> None:
    assert "README.md" in (ROOT / test).read_text()


def test_the_page_of_the_javascript_client_loads_what_is_built() -> None:
    (page,) = [one.text for one in ALL if one.fence == "```html"]
    (file,) = re.findall(r'"/([\w.-]+\.js)"', page)

    assert f"dist/{file}" in (ROOT / "clients/js/package.json").read_text()


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ('{"a":[2.5,3.0]}', '{"a": [2.51, 3.0]}', True),
        ('{"a":[2.5,3.0]}', '{"a": [2.7, 3.0]}', False),
        ('{"version":"2"}', '{"version": "3"}', False),
        (
            "panda.jpg: version 2\n0.96 panda\n0.01 cat",
            "panda.jpg: version 2\n0.97 panda\n...",
            True,
        ),
        ("panda.jpg: version 2\n0.96 cat", "panda.jpg: version 2\n0.97 panda\n...", False),
        ("anything", "...", True),
        ("", "something", False),
    ],
)
def test_an_answer_is_compared_with_what_a_page_shows(printed: str, shown: str, same: bool) -> None:
    assert is_same(printed, shown) is same


def test_a_console_is_commands_with_their_answers() -> None:
    found = [(step.command, step.answer) for step in steps("$ a \\\n  b\nc\nd\n$ e")]

    assert found == [("a \\\n  b", "c\nd"), ("e", "")]


def check(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_python(block):
        run_python(block.text, monkeypatch)
        return
    if block.text.startswith('{"'):
        read_as_warm_up(block.text)
        return
    for start, read in READERS.items():
        if block.text.startswith(start):
            read(block.text)
            return
    for words in commands(block.text):
        if words[0] in FOREIGN:
            continue
        assert words[0] in CHECKS, f"nobody runs {shlex.join(words)!r}: see the tables above"
        CHECKS[words[0]](words[1:])


def read_file(read: Callable[[Path], Any]) -> Callable[[str], None]:
    """Return what writes text to a file, and has the server's own reader read it."""

    def write_and_read(text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_text(text)
            assert read(file)

    return write_and_read


READERS: dict[str, Callable[[str], Any]] = {
    "[[token]]": read_file(tokens.from_file),
    "model_config_list": server_config,
    "max_batch_size": read_file(batching_config.from_file),
    "prometheus_config": read_file(options.metrics_path),
}


def read_as_warm_up(lines: str) -> None:
    with tempfile.TemporaryDirectory() as version:
        file = Path(version) / warm_up_files.FOLDER / warm_up_files.LINES_FILE
        file.parent.mkdir()
        file.write_text(lines)
        assert list(warm_up_files.read_calls(Path(version), INTERNAL))


def is_python(block: Block) -> bool:
    return block.language == "python" or block.text.startswith(("from ", "import "))


def run_python(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run code with a client that takes the arguments of the real one, and asks nobody."""
    ast.parse(code)
    client = create_autospec(sigrun_client.Client)
    asked = client.return_value
    asked.__enter__.return_value = asked
    public = {name: getattr(sigrun_client, name) for name in sigrun_client.__all__}
    monkeypatch.setattr(sigrun_client, "Client", client)
    names = {
        **public,
        "Client": client,
        "client": asked,
        "pem": b"",
        "vault": MagicMock(),
        "pixels": [0.0],
        "examples": [{"text": "a"}],
        "open": lambda *_: MagicMock(),
        "print": lambda *_: None,
    }
    exec(code, names)
    assert client.called or asked.method_calls


def check_make(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(words) <= targets


def check_sigrun(words: list[str]) -> None:
    if words[0] == "token":
        assert make_token(words[1:])
    elif words[0] == "serve":
        parse(words[1:], flags.ServeFlags)
    else:
        assert words[0] == "gateway"
        parse(words[1:], flags.GatewayFlags)


def check_model_server(words: list[str]) -> None:
    parse(words, flags.ModelServerFlags)


def check_client(words: list[str]) -> None:
    parse_client_words(words)


def check_python(words: list[str]) -> None:
    """Check that module or script exists, and that its package knows the options."""
    if words[:2] == ["-m", "venv"]:
        return
    name, *options = words[1:] if words[0] == "-m" else words
    if name == "pytest":
        assert all((ROOT / word).exists() for word in options)
        return
    path = ROOT / (f"{name.replace('.', '/')}.py" if words[0] == "-m" else name)
    sources = [*path.parent.glob("*.py"), *path.parent.parent.glob("*.py")]
    source = "\n".join(one.read_text() for one in sources)
    assert path.exists()
    for option in (word.partition("=")[0] for word in options if word.startswith("--")):
        assert f'"{option}"' in source, option


def check_pip(words: list[str]) -> None:
    """Check that what is installed is a package of this repository, with that extra, or here."""
    files = (ROOT / "pyproject.toml", ROOT / "clients/python/pyproject.toml")
    projects = {}
    for file in files:
        project = tomllib.loads(file.read_text())["project"]
        projects[project["name"]] = set(project.get("optional-dependencies", {}))
    for word in (word for word in words if word not in ("install", "pip", "-r", "--python")):
        name, _, extra = word.rstrip("]").partition("[")
        if word in FOREIGN_PACKAGES:
            continue
        is_ours = name in projects and (not extra or extra in projects[name])
        assert is_ours or (ROOT / name).exists() or name == ".venv", word


def check_curl(words: list[str]) -> None:
    """Check that what is asked is served: a path of the REST API, or a probe."""
    (url,) = [word for word in words if word.startswith("http")]
    path = urlsplit(url).path
    method = "POST" if "-d" in words else "GET"
    assert path in PROBES or route(HttpRequest(method=method, target=path))


def check_grpcurl(words: list[str]) -> None:
    service = words[-1].rpartition(".")[2]
    protos = "\n".join(path.read_text() for path in (ROOT / "proto").rglob("*.proto"))
    assert f"service {service} " in protos


def check_deployment(words: list[str]) -> None:
    """Check that the files of this repository that a tool is given are there."""
    files = [word for word in words if word.startswith("deploy/")]
    assert files or words[0] in ("port-forward", "rollout")
    assert [file for file in files if not (ROOT / file).exists()] == []


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "sigrun": check_sigrun,
    "sigrun-client": check_client,
    "tensorflow_model_server": check_model_server,
    "curl": check_curl,
    "python": check_python,
    "python3": check_python,
    ".venv/bin/python": check_python,
    ".venv/bin/uv": check_pip,
    "pip": check_pip,
    "grpcurl": check_grpcurl,
    "helm": check_deployment,
    "kubectl": check_deployment,
}
