"""Wait until a model server is ready, then say something.

In: the server's host and REST port, as options of a command line. Out: an exit code.
Waits quietly and for a bounded time; ends at once, without a word, when its parent process is gone,
so that it can run beside the server that the same parent becomes.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import time
from collections.abc import Callable

POLL_INTERVAL_S = 0.2
REQUEST_TIMEOUT_S = 2.0


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that say where the server is and how long to wait for it."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8501, help="the server's REST port")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds to wait at most")
    return parser


def print_when_ready(options: argparse.Namespace, text: Callable[[], str]) -> int:
    """Print `text()` when the server is ready; return the exit code, 1 when it is not in time."""
    started_by = os.getppid()
    give_up_at = time.monotonic() + options.timeout
    while not is_ready(options.host, options.port):
        if os.getppid() != started_by:
            return 0
        if time.monotonic() >= give_up_at:
            address = f"{options.host}:{options.port}"
            print(f"no answer from {address} after {options.timeout:g} s", file=sys.stderr)
            return 1
        time.sleep(POLL_INTERVAL_S)
    print(text(), flush=True)
    return 0


def is_ready(host: str, port: int) -> bool:
    """Say whether `/readyz` answers 200; never through a proxy, as the server is near."""
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
