"""TensorFlow's errors as callers should read them: the message, once, without the machinery.

In: an exception, or the text of one. Out: a `SigrunError` with its code, or that text
without stack traces, repetitions and graph notation. Needs no TensorFlow.
"""

from __future__ import annotations

import logging
import re

from sigrun.errors import Internal, InvalidArgument, ResourceExhausted, SigrunError, error_for

logger = logging.getLogger(__name__)

# gRPC sends the text as a header, and clients refuse headers of more than 8 KiB.
_LONGEST_TEXT = 2048

_TRACE_BEGINS = ("Detected at node", "Original stack trace for")
_TRACE_GOES_ON = (" ", "\t", "<stack traces unavailable>", "Node: '", *_TRACE_BEGINS)
_LEFT_OUT = re.compile(
    r"Graph execution error:$"
    r"|\d+ root error\(s\) found\.$|\d+ successful operations\.$|\d+ derived errors ignored\.$"
    r"|Hint: If you want to see a list of allocated tensors"  # by options that no caller has
)
_ROOT_ERROR = re.compile(r"^\s*\(\d+\)\s+(?:[A-Z][A-Z_]+: )?")
_NODE = re.compile(
    r"\s*\[\[(?:\{\{function_node [^}]*\}\}\s*)?\{\{node (?:frozen/)?([^}]*)\}\}[^\n]*?\]\]"
)
# `frozen/` is the scope that a session puts before the names of an optimised graph.
_DERIVED_NODE = re.compile(r"^\s+\[\[[^\n]*\]\]\s*$", re.MULTILINE)
_FUNCTION = re.compile(r"\{\{function_node [^}]*\}\}\s*")
_INLINE_NODE = re.compile(r"\{\{node (?:frozen/)?([^}]*)\}\}")
_MISSING_OPERATION = re.compile(r"(Op type not registered '([^']+)'[^.\n]*\.)[^\n]*")
# Which package usually brings operations with such names.
_PACKAGES = (
    (re.compile(r"^TFText>|Sentencepiece|Tokenize|UTF8|^RegexSplit|^RougeL"), "tensorflow-text"),
    (re.compile(r"^Addons>"), "tensorflow-addons"),
    (re.compile(r"^SimpleML"), "tensorflow-decision-forests"),
    (re.compile(r"^IO>"), "tensorflow-io"),
    (re.compile(r"^TFRA>"), "tensorflow-recommenders-addons"),
    (re.compile(r"^Horovod"), "horovod"),
)
_OPERATION = re.compile(r"\s*\[Op:[^\]\n]*\](?: name:[^\n]*)?")


def error_from(error: Exception) -> SigrunError:
    """Return what a caller is told about `error`, which a model raised."""
    if isinstance(error, SigrunError):
        return error
    code = getattr(error, "error_code", None)
    if isinstance(code, int):  # tensorflow.errors.OpError, known by what it has
        return error_for(code, readable(str(getattr(error, "message", error))))
    if isinstance(error, ValueError):  # a graph or an array that TensorFlow cannot take
        return InvalidArgument(readable(str(error)))
    if isinstance(error, MemoryError):
        return ResourceExhausted(str(error) or "Out of memory")
    logger.error("A model failed in a way that is no error of TensorFlow's", exc_info=error)
    return Internal(f"{type(error).__name__}: {error}")


def readable(message: str) -> str:
    """Return TensorFlow's `message` without stack traces, graph notation and repetitions.

    The name of the node that failed is kept, once, at the end.
    """
    message = _MISSING_OPERATION.sub(_missing_operation, message)
    node = _NODE.search(message)
    text = _DERIVED_NODE.sub("", _NODE.sub("", message))
    text = _OPERATION.sub("", _INLINE_NODE.sub(r"\1", _FUNCTION.sub("", text)))
    lines = [_ROOT_ERROR.sub("", line).rstrip() for line in _without_traces(text.splitlines())]
    text = "\n".join(dict.fromkeys(line for line in lines if line))
    if not text:
        text = message.strip()
    elif node is not None and _is_worth_telling(node[1], text):
        text += f" (node {node[1]})"
    return _shortened(text)


def _missing_operation(match: re.Match[str]) -> str:
    """Return what TensorFlow says of an operation that it lacks, and where that comes from."""
    name = match[2]
    usual = [package for pattern, package in _PACKAGES if pattern.search(name)]
    known = ", ".join(dict.fromkeys(package for _, package in _PACKAGES))
    source = (
        f"the package {usual[0]} usually brings it; install it and start with "
        f"--op_libraries={usual[0].replace('-', '_')}"
        if usual
        else f"a library brings it, such as those in the packages {known}; start with "
        "--op_libraries=PACKAGE or --op_libraries=/path/to/library.so"
    )
    return f"{match[1]} The operation {name} is not one of TensorFlow's own: {source}."


def _without_traces(lines: list[str]) -> list[str]:
    kept = []
    is_in_trace = False
    for line in lines:
        if line.startswith(_TRACE_BEGINS):
            is_in_trace = True
        elif not line or _LEFT_OUT.match(line):
            continue
        elif not (is_in_trace and line.startswith(_TRACE_GOES_ON)):
            is_in_trace = False
            kept.append(line)
    return kept


def _is_worth_telling(node: str, text: str) -> bool:
    """Return whether the name says more than `text`; TensorFlow's own begin with `_`."""
    return not node.startswith("_") and node not in text


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
