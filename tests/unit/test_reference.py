"""The generated pages of docs/ are what the code says now, and links lead to what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

from docs import generate, hooks
from docs.pages.tensorflow_serving_flags import DIFFERENT, TENSORFLOW_SERVING_FLAGS
from sigrun.cli.flags import WITHOUT_EFFECT, GatewayFlags, ServeFlags, flags_of
from tests.documentation import ROOT

COMMANDS = (ServeFlags, GatewayFlags)
PAGES = generate.pages()
CODE_LINK = re.compile(r"`--(\w+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(page: Path) -> None:
    assert generate.is_current(page, PAGES[page]), "run `make reference`"


def test_every_flag_that_a_page_names_is_there() -> None:
    ours = {flag.name for command in COMMANDS for flag in flags_of(command)}
    known = ours | set(WITHOUT_EFFECT)
    pages = [
        ROOT / "README.md",
        *(ROOT / "docs/how_to").glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
    ]

    named = {
        (page.name, name)
        for page in pages
        for name in CODE_LINK.findall(page.read_text())
        if "_" in name and name not in known
    }

    assert named == set()


def test_what_is_said_to_be_different_is_a_flag_of_tensorflow_serving() -> None:
    assert set(DIFFERENT) <= set(TENSORFLOW_SERVING_FLAGS)


@pytest.mark.parametrize(
    ("page", "written", "on_the_site"),
    [
        ("index.md", "[start](docs/quick_start.md)", "[start](quick_start.md)"),
        ("quick_start.md", "[deploy](../deploy/README.md)", "[deploy](how_to/deploy.md)"),
        ("how_to/deploy.md", "[chart](helm/sigrun)", "chart"),
        ("how_to/gpu.md", "[a](../../deploy)", "[a](deploy.md)"),
        ("performance.md", "![a](../benchmarks/results.svg)", "![a](images/results.svg)"),
        ("index.md", "[a](https://example.com/a) [b](#c)", "[a](https://example.com/a) [b](#c)"),
        ("index.md", "```\n[a](nowhere.md)\n```", "```\n[a](nowhere.md)\n```"),
    ],
)
def test_links_are_made_for_the_site(page: str, written: str, on_the_site: str) -> None:
    assert hooks.site_text(written, page) == on_the_site


@pytest.mark.parametrize("link", ["[a](nowhere.md)", "[a](../README.md)", "![a](Makefile)"])
def test_a_link_that_the_site_cannot_have_ends_the_build(link: str) -> None:
    with pytest.raises(PluginError):
        hooks.site_text(link, "index.md")
