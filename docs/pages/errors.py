"""The codes of errors, from `sigrun.errors` and `sigrun.wire.status`."""

from __future__ import annotations

from docs.pages.markdown import joined, table
from sigrun import errors
from sigrun.errors import Code
from sigrun.wire.status import HTTP_STATUS


def errors_page() -> str:
    """Return the codes, with what each means and its status over HTTP."""
    meanings = {
        kind.code: (kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        for kind in errors.SigrunError.__subclasses__()
    }
    rows = [
        (f"`{code.name}`", str(code.value), str(HTTP_STATUS[code]), meanings.get(code, ""))
        for code in Code
        if code is not Code.OK
    ]
    return joined(
        "# Errors",
        "Every error has a canonical code and a text that says what was asked and what there is. The text is TensorFlow "
        "Serving's where clients match it.",
        table(("code", "gRPC", "HTTP", "meaning"), rows),
        "Over gRPC it is the status, with the text cut after 1,024 bytes. Over HTTP the body is JSON:",
        '```json\n{"error": "Servable not found for request: Specific(email_model, 4); email_model has versions 3, 2, 1", '
        '"code": "NOT_FOUND"}\n```',
        "## What to do",
        table(
            ("code", "try again?"),
            [
                (
                    "`UNAVAILABLE`",
                    "yes, with backoff: the server is full or draining, a model still loads, or the connection broke",
                ),
                (
                    "`RESOURCE_EXHAUSTED`",
                    "later: `--max_in_flight_bytes` or `--max_concurrent_requests` is reached. Over HTTP this refusal is "
                    "503 with `retry-after`",
                ),
                ("`DEADLINE_EXCEEDED`", "with a longer deadline; the run may have begun"),
                ("`NOT_FOUND`", "no: the text says which models, versions and labels there are"),
                (
                    "`INVALID_ARGUMENT`, `FAILED_PRECONDITION`",
                    "no: the request or its signature is wrong",
                ),
                ("`INTERNAL`, `UNKNOWN`", "no: the model failed; the log has the whole of it"),
            ],
        ),
    )
