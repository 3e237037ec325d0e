"""Every block of every README is run here, or is said to be run elsewhere, or says why it is not.

A block is what stands in a fence or is indented. It falls into paragraphs, at its empty lines, and
these are checked by the word that they begin with: code is run against clients that have all of the
real ones' methods and none of their connections, command lines are read by the commands' own
parsers, and files, modules, targets and options that are named must be there.
"""

from __future__ import annotations

import ast
import re
import shlex
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest

import sigrun_client
from sigrun.cli import flags
from sigrun.cli.parsing import parse
from sigrun.cli.token import make_token
from sigrun.errors import InvalidArgument
from sigrun.inference.context import INTERNAL
from sigrun.wire import warm_up_files
from sigrun_client._cli.arguments import parse as parse_client_words
from sigrun_client._requests import server_config

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(
    path.relative_to(ROOT)
    for pattern in ("README.md", "*/README.md", "*/*/README.md")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).parts[0].startswith(".")
)

# What another test runs: the README, how a line or the fence begins, and that test.
RUN_ELSEWHERE = {
    ("README.md", "curl "): "tests/e2e/test_spam_example.py",
    ("clients/js/README.md", "```js"): "clients/js/test/readme.test.ts",
}
# What cannot be run, or is nothing to run: the README, how a paragraph begins, and why.
NOT_RUN = {
    ("README.md", "panda.jpg: "): "is printed",
    ("README.md", "/models/email_model"): "a tree of files",
    ("README.md", "bytes ──▶"): "a drawing",
    ("clients/js/README.md", "```html"): "a page; what it loads is checked below",
    ("examples/spam/README.md", '{"predictions"'): "is printed",
    ("examples/spam/README.md", '{"error"'): "is printed",
    ("benchmarks/README.md", "B=$PWD"): "docker, which fetches TensorFlow Serving",
}
# Commands that fetch something, or are not ours.
FETCHING = {"apt-get", "docker", "git"}


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some lines of a README without an empty one, with the fence that they stand in, if any."""

    readme: str
    line: int
    fence: str
    text: str

    def __str__(self) -> str:
        return f"{self.readme}:{self.line}"

    def is_one_of(self, named: Any) -> bool:
        """Return whether a table names this paragraph."""
        return any(
            self.readme == readme and (self.text.startswith(start) or self.fence == start)
            for readme, start in named
        )


def paragraphs(readme: Path) -> Iterator[Paragraph]:
    """Yield the paragraphs of all blocks; those of a fence stay in one piece."""
    fence = ""
    lines: list[str] = []
    for number, line in enumerate([*(ROOT / readme).read_text().splitlines(), ""], 1):
        is_mark = line.startswith("```")
        is_inside = bool(fence) or line.startswith("    ")
        if lines and (is_mark or not is_inside):
            text = "\n".join(lines)
            yield Paragraph(str(readme), number - len(lines), fence, text)
            lines = []
        if is_mark:
            fence = "" if fence else line.rstrip()
        elif is_inside:
            lines.append(line if fence else line.removeprefix("    "))


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command line, without its comment."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


ALL = [paragraph for readme in READMES for paragraph in paragraphs(readme)]
RUN_HERE = [
    one
    for one in ALL
    if not one.is_one_of(NOT_RUN) and (one.readme, one.fence) not in RUN_ELSEWHERE
]


@pytest.mark.parametrize("paragraph", RUN_HERE, ids=str)
def test_what_stands_in_a_readme_works(
    paragraph: Paragraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(paragraph, monkeypatch)


@pytest.mark.parametrize(
    "text",
    ["unheard-of", "make nothing", "sigrun serve --no_flag", "python -m examples.spam.nothing"],
)
def test_what_would_not_work_is_found(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, InvalidArgument)):
        check(Paragraph("README.md", 1, "", text), monkeypatch)


def test_all_that_is_excused_is_there() -> None:
    """A table that names what is gone would excuse what comes later."""
    for named in (*RUN_ELSEWHERE, *NOT_RUN):
        assert any(one.is_one_of([named]) for one in ALL), named


@pytest.mark.parametrize(("named", "test"), RUN_ELSEWHERE.items(), ids=str)
def test_what_is_run_elsewhere_is_read_there(named: tuple[str, str], test: str) -> None:
    assert "README.md" in (ROOT / test).read_text()


def test_the_page_of_the_javascript_client_loads_what_is_built() -> None:
    (page,) = [one.text for one in ALL if one.fence == "```html"]
    (file,) = re.findall(r'"/([\w.-]+\.js)"', page)

    assert f"dist/{file}" in (ROOT / "clients/js/package.json").read_text()


def check(paragraph: Paragraph, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_python(paragraph):
        run_python(paragraph.text, monkeypatch)
        return
    if paragraph.text.startswith('{"'):
        read_as_warm_up(paragraph.text)
        return
    if paragraph.text.startswith("model_config_list"):
        server_config(paragraph.text)
        return
    for words in commands(paragraph.text):
        if (paragraph.readme, f"{words[0]} ") in RUN_ELSEWHERE:
            continue
        assert words[0] in CHECKS, f"nobody runs {shlex.join(words)!r}: see the tables above"
        CHECKS[words[0]](words[1:])


def read_as_warm_up(lines: str) -> None:
    with tempfile.TemporaryDirectory() as version:
        file = Path(version) / warm_up_files.FOLDER / warm_up_files.LINES_FILE
        file.parent.mkdir()
        file.write_text(lines)
        assert list(warm_up_files.read_calls(Path(version), INTERNAL))


def is_python(paragraph: Paragraph) -> bool:
    return paragraph.fence == "```python" or paragraph.text.startswith(("from ", "import "))


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


def check_client(words: list[str]) -> None:
    parse_client_words(words)


def check_python(words: list[str]) -> None:
    """Check that module or script exists, and that its package knows the options."""
    name, *options = words[1:] if words[0] == "-m" else words
    if name == "pytest":
        assert all((ROOT / word).exists() for word in options)
        return
    path = ROOT / (f"{name.replace('.', '/')}.py" if words[0] == "-m" else name)
    sources = [*path.parent.rglob("*.py"), *path.parent.parent.glob("*.py")]
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
        is_ours = name in projects and (not extra or extra in projects[name])
        assert is_ours or (ROOT / name).exists() or name == ".venv", word


def check_grpcurl(words: list[str]) -> None:
    service = words[-1].rpartition(".")[2]
    protos = "\n".join(path.read_text() for path in (ROOT / "proto").rglob("*.proto"))
    assert f"service {service} " in protos


def check_deployment(words: list[str]) -> None:
    """Check that the files of this repository that a tool is given are there."""
    files = [word for word in words if word.startswith("deploy/")]
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "sigrun": check_sigrun,
    "sigrun-client": check_client,
    "python": check_python,
    ".venv/bin/python": check_python,
    ".venv/bin/uv": check_pip,
    "pip": check_pip,
    "grpcurl": check_grpcurl,
    "helm": check_deployment,
    "kubectl": check_deployment,
    **dict.fromkeys(FETCHING, lambda _: None),
}
