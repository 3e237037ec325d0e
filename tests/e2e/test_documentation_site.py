"""The documentation as a site, in the real Chromium: readable by everybody, on every screen."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import Page, needs_chromium, open_page
from tests.e2e.process import ROOT

PAGES = (
    "index.html",
    "quick_start.html",
    "tutorials/versions_and_labels.html",
    "reference/flags.html",
)
DARK = {"viewport": {"width": 1280, "height": 860}, "colorScheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "isMobile": True, "hasTouch": True}

pytestmark = needs_chromium


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing of it."""

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # a page that is left takes no more of its files
            self.close_connection = True


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the site; yield where it is served."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    subprocess.run(
        [*command, f"--site-dir={folder}"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        timeout=120,
    )
    with serving(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def serving(folder: Path) -> http.server.ThreadingHTTPServer:
    handler = functools.partial(Quiet, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def is_scrolled_sideways(page: Page) -> bool:
    wider: bool = page.call("evaluate", "document.documentElement.scrollWidth > innerWidth")
    return wider


@pytest.mark.parametrize(
    ("context", "pages"),
    [(PHONE, PAGES), (DARK, PAGES[1:2])],
    ids=["phone", "desktop, dark"],
)
def test_pages_have_no_obstacles(site: str, context: dict[str, Any], pages: Sequence[str]) -> None:
    found: dict[str, Any] = {}
    with open_page("about:blank", context) as page:
        for name in pages:
            page.call("goto", f"{site}/{name}")
            problems = page.accessibility_problems(impacts=("serious", "critical"))
            found[name] = (problems, is_scrolled_sideways(page))
        complaints = page.call("complaints")

    assert found == dict.fromkeys(pages, ([], False))
    assert complaints == []


def test_a_page_is_found_and_read_with_the_keyboard_alone(site: str) -> None:
    with open_page(f"{site}/index.html", PHONE) as page:
        page.call("keyboard.press", "Tab")
        assert page.call("evaluate", "document.activeElement.innerText") == "Skip to content"

        page.call("keyboard.press", "/")  # the theme's key for the search
        page.call("keyboard.type", "serve from object stores")
        page.call("waitForSelector", ".md-search-result__link")
        page.call("keyboard.press", "ArrowDown")
        page.call("keyboard.press", "Enter")

        page.wait_for_text("h1", "Serve from object stores")

        wide = "pre > code[tabindex='0']"
        page.call("waitForSelector", wide)
        page.call("focus", wide)
        page.call("keyboard.press", "ArrowRight")
        page.call("waitForFunction", "document.activeElement.scrollLeft > 0")
