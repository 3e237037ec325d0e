"""What a browser loads of the web app, read without one."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest

from examples.webapp.serve import BUNDLE, PageServer

pytestmark = pytest.mark.skipif(not BUNDLE.exists(), reason="needs examples/webapp/bundle")

_LOADED = re.compile(r"""<(?:link|script|img)\b[^>]* (?:src|href)="([^"]+)\"""")
_IMPORT = re.compile(r"""\b(?:from|import)\s*["'][^"']+["']""")


@pytest.fixture
def url() -> Iterator[str]:
    with PageServer("localhost", 0, model_port=18501) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def read(url: str) -> str:
    with urllib.request.urlopen(url) as response:
        text: str = response.read().decode()
        return text


def test_all_that_the_page_names_is_there_and_its_javascript_is_one_file(url: str) -> None:
    named = sorted(set(_LOADED.findall(read(url))))

    assert named == ["app.js", "icon.svg", "style.css"]
    texts = {name: read(urljoin(url, name)) for name in named}
    assert not _IMPORT.search(texts["app.js"])


def test_the_page_is_told_the_port_of_the_model_server(url: str) -> None:
    assert '<meta name="model-server-port" content="18501">' in read(url)
