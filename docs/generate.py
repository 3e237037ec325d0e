"""Write the pages of the reference that say what the code says.

`python -m docs.generate` writes them, `--check` says which of them are not current. In: the flags,
the errors, the comments of proto/, the docstrings of the Python client and the comments of the
JavaScript client. Out: pages below docs/, which are committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from docs.pages.errors import errors_page
from docs.pages.flags import flags_page
from docs.pages.javascript_api import javascript_page
from docs.pages.markdown import ROOT
from docs.pages.protos import configuration_page, grpc_page
from docs.pages.python_api import python_page
from docs.pages.tensorflow_serving_flags import serving_flags_page

DOCS = ROOT / "docs"


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    is_check = sys.argv[1:] == ["--check"]
    stale = {path: text for path, text in pages().items() if not is_current(path, text)}
    for path, text in stale.items():
        if is_check:
            print(f"{path.relative_to(ROOT)} is not current: run make reference")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if is_check and stale else 0


def is_current(path: Path, text: str) -> bool:
    """Return whether a page has this text."""
    return path.exists() and path.read_text(encoding="utf-8") == text


def pages() -> dict[Path, str]:
    """Return every generated page with its text."""
    return {
        DOCS / "reference/flags.md": flags_page(),
        DOCS / "reference/configuration.md": configuration_page(),
        DOCS / "reference/grpc.md": grpc_page(),
        DOCS / "reference/errors.md": errors_page(),
        DOCS / "reference/python_api.md": python_page(),
        DOCS / "reference/javascript_api.md": javascript_page(),
        DOCS / "migration/tensorflow_serving_flags.md": serving_flags_page(),
    }


if __name__ == "__main__":
    sys.exit(main())
