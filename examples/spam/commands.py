"""Wait until the server is ready, then print commands to copy that ask it about spam.

In: the server's host and REST port. Out: curl lines on stdout that work as they stand in bash.
Waits quietly and for a bounded time; ends at once, without a word, when its parent process is gone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import sys
import time

HAM = (
    "Thanks for the report. I think the bug is in the new version of the kernel module; "
    "could you try the patch?"
)
SPAM = (
    "Make money fast from home! Click here for your FREE credit report, 100% guaranteed. "
    "To be removed from our mailing list reply with remove."
)
POLL_INTERVAL_S = 0.2
REQUEST_TIMEOUT_S = 2.0


def main() -> int:
    """Wait, print, and return the exit code: 1 when the server is not ready in time."""
    options = parse_options()
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
    print(commands(f"http://{options.host}:{options.port}/v1/models/email_model"), flush=True)
    return 0


def parse_options() -> argparse.Namespace:
    """Return the settings of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=8501, help="the server's REST port")
    parser.add_argument("--timeout", type=float, default=180.0, help="seconds to wait at most")
    return parser.parse_args()


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


def commands(url: str) -> str:
    """Return the lines to copy for the model at `url`."""
    show_code = "-w '\\nHTTP %{http_code}\\n'"
    return "\n".join(
        [
            "",
            "# The server is ready. Copy these lines into another terminal.",
            "",
            "# Which versions of the model are loaded?",
            f"curl -s {url}",
            "",
            "# Is this spam? The first mail is not, the second is. The latest version (3) answers.",
            predict_line(f"{url}:predict", HAM, SPAM),
            "",
            "# The same question to version 2",
            predict_line(f"{url}/versions/2:predict", HAM, SPAM),
            "",
            '# and to the version labelled "beta", which is version 2 too',
            predict_line(f"{url}/labels/beta:predict", HAM, SPAM),
            "",
            "# There is no version 4: 404",
            f"{predict_line(f'{url}/versions/4:predict', HAM)} {show_code}",
            "",
        ]
    )


def predict_line(url: str, *texts: str) -> str:
    """Return the curl line that sends `texts` to `url`."""
    body = json.dumps({"instances": texts})
    return f"curl -s {url} -d {shlex.quote(body)}"


if __name__ == "__main__":
    sys.exit(main())
