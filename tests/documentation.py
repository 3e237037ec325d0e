"""README files and docs/ as data: the blocks of a page, and the pages whose blocks are run.

A block is what stands in a fence or is indented. In a `console` block lines that begin with `$` are
typed, and the others are what comes back; `...` stands for what is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.generate import pages as generated_pages

ROOT = Path(__file__).resolve().parents[1]

# Pages whose `console` blocks, files and Python are run, in order, and the test that does it.
RUN_WITH_A_SERVER = {
    "README.md": "tests/e2e/test_spam_example.py",
    "docs/how_to/manage.md": "tests/e2e/test_spam_example.py",
    "docs/how_to/tls_and_tokens.md": "tests/e2e/test_documentation.py",
    "docs/how_to/watching.md": "tests/e2e/test_spam_example.py",
    "docs/quick_start.md": "tests/e2e/test_documentation.py",
    "docs/tutorials/image_classifier.md": "tests/e2e/test_panda_example.py",
    "docs/tutorials/versions_and_labels.md": "tests/e2e/test_spam_example.py",
}

_TITLE = re.compile(r'title="([^"]+)"')
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)")
_LEFT_OUT = "..."
# Probabilities of a model that is trained anew differ a little between machines.
_TOLERANCE = 0.05


def pages() -> list[str]:
    """Return README files and written pages of docs/, relative to the repository."""
    generated = {path.relative_to(ROOT).as_posix() for path in generated_pages()}
    globs = ("README.md", "*/README.md", "*/*/README.md", "docs/**/*.md")
    found = {path.relative_to(ROOT).as_posix() for glob in globs for path in ROOT.glob(glob)}
    return sorted(page for page in found - generated if not page.startswith("."))


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a page: all of a fence, or a paragraph of what is indented."""

    page: str
    line: int
    fence: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def language(self) -> str:
        """What the fence says it holds; empty for what is indented."""
        return self.fence.removeprefix("```").partition(" ")[0]

    @property
    def title(self) -> str:
        """The name of the file that it is, if it is one."""
        title = _TITLE.search(self.fence)
        return title[1] if title else ""


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    fence = ""
    lines: list[str] = []
    for number, line in enumerate([*(ROOT / page).read_text().splitlines(), ""], 1):
        is_mark = line.startswith("```")
        is_inside = bool(fence) or line.startswith("    ")
        if lines and (is_mark or not is_inside):
            yield Block(page, number - len(lines), fence, "\n".join(lines))
            lines = []
        if is_mark:
            fence = "" if fence else line.rstrip()
        elif is_inside:
            lines.append(line if fence else line.removeprefix("    "))


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what the page says comes back."""

    command: str
    answer: str


def steps(console: str) -> list[Step]:
    """Return the steps of a `console` block."""
    typed = re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]
    found = []
    for text in typed:
        lines = text.splitlines()
        ends = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
        found.append(Step("\n".join(lines[: ends + 1]), "\n".join(lines[ends + 1 :])))
    return found


def is_same(printed: str, shown: str) -> bool:
    """Return whether an answer is the one that a page shows, numbers with a point nearly so.

    What follows `...` may be anything.
    """
    if not shown:
        return True
    head, *rest = shown.split(_LEFT_OUT)
    expected, found = _parts(head), _parts(printed)
    if rest:
        found = found[: len(expected)]
        if expected and not _NUMBER.fullmatch(expected[-1]):
            found[-1:] = [part[: len(expected[-1])] for part in found[-1:]]
    return len(found) == len(expected) and all(map(_is_near, found, expected))


def _parts(text: str) -> list[str]:
    return [part for part in _NUMBER.split("".join(text.split())) if part]


def _is_near(found: str, expected: str) -> bool:
    is_real = all(_NUMBER.fullmatch(one) and "." in one for one in (found, expected))
    return abs(float(found) - float(expected)) <= _TOLERANCE if is_real else found == expected
