"""What `sigrun_client` offers, from its source, which is not imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docs.pages.markdown import ROOT, joined

PYTHON_CLIENT = ROOT / "clients/python/sigrun_client"


_MAX_COLUMNS = 96


def python_page() -> str:
    """Return what `sigrun_client` offers, from its source."""
    blocks = [
        "# Python API",
        "What `sigrun_client` offers. [The client's own page](../../clients/python/README.md) shows how it is used.",
    ]
    tree = ast.parse((PYTHON_CLIENT / "__init__.py").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = {name.name: node.module or "" for node in imports for name in node.names}
    for name in sorted(names, key=lambda name: (rank(name), name)):
        if not name.startswith("_"):
            path = PYTHON_CLIENT / f"{names[name].rpartition('.')[2]}.py"
            blocks += python_definition(path, name)
    return joined(*blocks)


def rank(name: str) -> int:
    """Return where a name stands: clients first."""
    return (
        ["Client", "AsyncClient", "Options"].index(name)
        if name in ("Client", "AsyncClient", "Options")
        else 3
    )


def python_definition(path: Path, name: str) -> Iterator[str]:
    """Yield heading, declaration and docstring of one name, with the methods of a class."""
    source = path.read_text()
    node = next(node for node in ast.parse(source).body if declared_name(node) == name)
    yield f"## {name}"
    if isinstance(node, ast.FunctionDef):
        yield f"```text\n{signature(node)}\n```"
        yield prose(ast.get_docstring(node) or "")
        return
    if not isinstance(node, ast.ClassDef):
        yield f"```text\n{ast.unparse(node)}\n```"
        return
    lines = source.splitlines()
    bases = [base for base in map(ast.unparse, node.bases) if not base.startswith("_")]
    declared = [f"class {name}({', '.join(bases)})" if bases else f"class {name}"]
    declared += [
        f"    {lines[one.lineno - 1].strip()}"
        for one in node.body
        if isinstance(one, ast.AnnAssign) and not ast.unparse(one.target).startswith("_")
    ]
    yield "```text\n" + "\n".join(declared) + "\n```"
    yield prose(ast.get_docstring(node) or "")
    for one in node.body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(one):
            yield f"### {name}.{one.name}" if one.name != "__init__" else f"### {name}()"
            head = signature(one).replace("def __init__", name).removesuffix(" -> None")
            yield f"```text\n{head if one.name == '__init__' else signature(one)}\n```"
            yield prose(ast.get_docstring(one) or "")


def declared_name(node: ast.stmt) -> str:
    """Return the name that a statement of a module declares, empty for none."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return ""


def is_public(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether a method is for callers, or is how an object is made."""
    return function.name == "__init__" or not function.name.startswith("_")


def signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return a method's head without `self`, an argument a line where it is long."""
    prefix = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    arguments = re.sub(r"^self(, )?", "", ast.unparse(function.args))
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    if any(ast.unparse(one) == "property" for one in function.decorator_list):
        return f"{function.name}{returns.replace(' -> ', ': ')}"
    line = f"{prefix} {function.name}({arguments}){returns}"
    if len(line) <= _MAX_COLUMNS:
        return line
    lines = "".join(f"    {argument},\n" for argument in split_arguments(arguments))
    return f"{prefix} {function.name}(\n{lines}){returns}"


def split_arguments(arguments: str) -> list[str]:
    """Split at the commas that are outside of brackets."""
    parts, depth = [""], 0
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def prose(docstring: str) -> str:
    """Return a docstring as Markdown: double backquotes, and what is indented stays code."""
    return docstring.replace("``", "`")
