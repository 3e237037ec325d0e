"""Hooks of mkdocs: files outside docs/ as pages, and links that fit a checkout and the site.

In: Markdown whose links are relative to the file, as it is read in a checkout. Out: the same for
the site, which has no other files of the repository: a link to a file with a page leads to the
page, a link to another file becomes its text, and a link to what is not there ends the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "clients/js/README.md": "reference/javascript_client.md",
    "clients/python/README.md": "reference/python_client.md",
    "deploy/README.md": "how_to/deploy.md",
    "examples/panda/README.md": "examples/panda.md",
    "examples/spam/README.md": "examples/spam.md",
    "examples/webapp/README.md": "examples/webapp.md",
}
"""Files outside docs/ that are pages of the site, and where."""

IMAGES = {"benchmarks/results.svg": "images/results.svg"}

_SOURCES = {page: source for source, page in PAGES.items()}
_FENCE = re.compile(r"^( *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<path>[^()\s#]*)(?P<anchor>#[^()\s]*)?\)"
)
_SEARCH = '<div class="md-search" data-md-component="search" role="dialog"'
_ELSEWHERE = re.compile(r"[a-z]+:")


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside docs/."""
    for source, page in (PAGES | IMAGES).items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's text with the links of the site."""
    return site_text(markdown, page.file.src_uri)


def on_post_page(output: str, **_: Any) -> str:
    """Return a page whose search has the name that assistive technology reads out."""
    return _with_named_search(output)


def on_post_template(output: str, template_name: str, **_: Any) -> str:
    """Return the same for the page of a page that is not there."""
    return _with_named_search(output) if template_name == "404.html" else output


def _with_named_search(page: str) -> str:
    if _SEARCH not in page:
        raise PluginError("the theme's search has changed: does it have a name by now?")
    return page.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')


def site_text(markdown: str, page: str) -> str:
    """Return the text of a page with links for the site. Raises `PluginError` for a dead one."""
    parts = _FENCE.split(markdown)  # every other one is a fence
    parts[::2] = (_LINK.sub(lambda link: _site_link(link, page), part) for part in parts[::2])
    return "".join(parts)


def _site_link(link: re.Match[str], page: str) -> str:
    path, anchor = link["path"], link["anchor"] or ""
    if not path or _ELSEWHERE.match(path):
        return link[0]
    source = _SOURCES.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if target.startswith("..") or not (ROOT / target).exists():
        raise PluginError(f"{source}: {path} is not there")
    found = _page_of(target)
    if found is not None:
        relative = posixpath.relpath(found, posixpath.dirname(page))
        return f"{link['image']}[{link['text']}]({relative}{anchor})"
    if link["image"]:
        raise PluginError(f"{source}: the site does not have {target}; name it in docs/hooks.py")
    return link["text"]


def _page_of(target: str) -> str | None:
    """Return the page, or image, of the site that a file or folder of the repository is."""
    known = PAGES | IMAGES
    if target in known:
        return known[target]
    if f"{target}/README.md" in PAGES:
        return PAGES[f"{target}/README.md"]
    inside = target.removeprefix("docs/")
    return inside if inside != target and (ROOT / target).is_file() else None
