"""What a browser loads of the web app, followed from file to file without one."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest

from examples.webapp.serve import JS_CLIENT, PageServer

pytestmark = pytest.mark.skipif(
    not (JS_CLIENT / "dist" / "index.js").exists(), reason="`make js` has not been run"
)

_IMPORT = re.compile(r"""\b(?:from|import)\s*["']([^"']+)["']""")


@pytest.fixture
def url() -> Iterator[str]:
    with PageServer("localhost", 0, model_port=8501) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def read(url: str) -> str:
    with urllib.request.urlopen(url) as response:
        text: str = response.read().decode()
        return text


def test_the_page_is_a_handful_of_modules_and_the_client_is_one(url: str) -> None:
    page = read(url)
    (import_map,) = re.findall(r"(?s)<script type=.importmap.>(.*?)</script>", page)
    names = json.loads(import_map)["imports"]
    waiting = [urljoin(url, src) for src in re.findall(r"<script[^>]* src=.([^\"']+)", page)]
    loaded: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in loaded:
            continue
        loaded.add(module)
        waiting += [
            urljoin(url if name in names else module, names.get(name, name))
            for name in _IMPORT.findall(read(module))
        ]

    assert len(loaded) < 10, sorted(loaded)
    assert sum("sigrun-client" in module for module in loaded) == 1
