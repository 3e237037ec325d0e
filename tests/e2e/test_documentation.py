"""What a reader types: the commands of a page against a real server, and what it promises.

Pages about the examples are read by `test_spam_example` and `test_panda_example`, whose servers
they can share.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.reader import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with contextlib.ExitStack() as stack:
        yield Reader(tmp_path, stack)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["docs/how_to/tls_and_tokens.md", "docs/quick_start.md"])
def test_a_page_does_what_it_says(page: str, reader: Reader) -> None:
    reader.read(page)

    assert reader.answers
