"""Node with the JavaScript client, and a page in the real Chromium, driven through Playwright.

Chromium is the machine's own: Playwright's download of one is not used.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import ROOT

JS_CLIENT = ROOT / "clients" / "js"
AGENT = Path(__file__).with_name("browser_agent.mjs")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NODE = shutil.which("node")
STOP_TIMEOUT_S = 20

needs_js_client = pytest.mark.skipif(
    not (NODE and (JS_CLIENT / "dist" / "node.js").exists()),
    reason="needs Node and the JavaScript client (make js)",
)
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and NODE and (JS_CLIENT / "dist" / "index.js").exists()),
    reason="needs Chromium, Node and the JavaScript client (make js)",
)
AXE = JS_CLIENT / "node_modules" / "axe-core" / "axe.min.js"


class BrowserError(Exception):
    """The page refused, or did not do in time what was waited for."""


class Page:
    """One page; the methods are Playwright's, such as `click` and `keyboard.press`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of Playwright's Page and return its result if that is plain data."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the browser is gone"}')
        if "error" in answer:
            raise BrowserError(f"{method}{arguments}: {answer['error']}")
        return answer["result"]

    def text(self, selector: str) -> str:
        """Return the text that people see in an element."""
        text: str = self.call("innerText", selector)
        return text

    def wait_for_text(self, selector: str, text: str) -> None:
        """Return when an element that people see has `text` in it."""
        self.call("waitForSelector", f"{selector}:visible:has-text({json.dumps(text)})")

    def accessibility_problems(self, impacts: Sequence[str] = ()) -> list[str]:
        """Return what axe finds on the page as it is now: the rule and the elements.

        With `impacts`, such as `serious`, only what has one of them.
        """
        self.call("addScriptTag", {"path": str(AXE)})
        problems: list[tuple[str, str]] = self.call(
            "evaluate",
            """axe.run().then(({ violations }) => violations.map(({ id, impact, nodes }) =>
              [impact, `${id}: ${nodes.map((n) => n.html).join(" ")}`]))""",
        )
        return [problem for impact, problem in problems if not impacts or impact in impacts]


@contextlib.contextmanager
def open_page(url: str, context: Mapping[str, Any]) -> Iterator[Page]:
    """Open `url` in a browser of its own with these options of Playwright's context."""
    process = subprocess.Popen(
        [str(NODE), str(AGENT), f"{JS_CLIENT}/", str(CHROMIUM), json.dumps(context)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        page = Page(process)
        try:
            page.call("goto", url)
            yield page
        finally:
            assert process.stdin is not None
            process.stdin.close()  # at its end the agent closes the browser
            process.wait(STOP_TIMEOUT_S)
