"""What the JavaScript client exports, from its source."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docs.pages.markdown import ROOT, joined

JS_CLIENT = ROOT / "clients/js/src"


_EXPORT = re.compile(r"export (?:type )?\{(?P<names>[^}]*)\} from \"\./(?P<file>[\w.]+)\.js\"")
_FROM = re.compile(r"export \* from \"\./(?P<file>[\w.]+)\.js\"")
_DECLARATION = (
    r"(?P<doc>/\*\*(?:(?!\*/).)*\*/\n)?export (?P<kind>interface|type|function|class|const) {}\b"
)


def javascript_page() -> str:
    """Return what `sigrun-client` exports, from its source."""
    return joined(
        "# JavaScript API",
        "What `sigrun-client` exports. [The client's own page](../../clients/js/README.md) shows how it is used.",
        *javascript_exports("index"),
        "## From `sigrun-client/node`",
        *javascript_exports("node"),
        "## From `sigrun-client/connect`",
        *javascript_exports("connect"),
    )


def javascript_exports(module: str) -> Iterator[str]:
    """Yield heading, comment and declaration of everything that a module exports."""
    source = (JS_CLIENT / f"{module}.ts").read_text()
    for match in _FROM.finditer(source):
        yield from javascript_exports(match["file"])
    for match in _EXPORT.finditer(source):
        names = [name.strip().removeprefix("type ") for name in match["names"].split(",")]
        declared_in = (JS_CLIENT / f"{match['file']}.ts").read_text()
        for name in filter(None, names):
            yield from javascript_declaration(declared_in, name)
    for name in re.findall(
        r"^export (?:interface|type|function|class|const) (\w+)", source, re.MULTILINE
    ):
        yield from javascript_declaration(source, name)


def javascript_declaration(source: str, name: str) -> Iterator[str]:
    """Yield heading, comment and declaration of one name, without the bodies of functions."""
    match = re.search(_DECLARATION.format(name), source, re.DOTALL)
    if match is None:
        raise LookupError(f"{name} is exported, and declared nowhere")
    yield f"### {name}"
    yield (
        re.sub(r"^\s*/?\*+/? ?", "", match["doc"] or "", flags=re.MULTILINE)
        .replace("*/", "")
        .strip()
    )
    rest = source[match.start("kind") :]
    end = {
        "interface": r"\n\}\n|\{\}\n",
        "type": r";\n(?! )",
        "function": r" \{\n(?!  readonly)",
        "class": r"\n\}\n",
        "const": r";\n(?! )",
    }[match["kind"]]
    found = re.search(end, rest)
    text = rest[: found.end()] if found else rest
    if match["kind"] == "function":
        text = text.rstrip(" {\n") + ";"
    if match["kind"] == "class":
        text = without_bodies(text)
    yield f"```ts\n{text.strip()}\n```"


def without_bodies(text: str) -> str:
    """Return a class with the heads of its methods alone."""
    return re.sub(r" \{\n(?:    .*\n|\n)*  \}\n", ";\n", text)
