"""Wait until the server is ready, then print commands to copy that ask it about spam.

In: the server's host and REST port. Out: curl lines on stdout that work as they stand in bash.
"""

from __future__ import annotations

import json
import shlex
import sys

from examples.readiness import option_parser, print_when_ready

HAM = (
    "Thanks for the report. I think the bug is in the new version of the kernel module; "
    "could you try the patch?"
)
SPAM = (
    "Make money fast from home! Click here for your FREE credit report, 100% guaranteed. "
    "To be removed from our mailing list reply with remove."
)


def main() -> int:
    """Wait, print, and return the exit code: 1 when the server is not ready in time."""
    options = option_parser(__doc__).parse_args()
    url = f"http://{options.host}:{options.port}/v1/models/email_model"
    return print_when_ready(options, lambda: commands(url))


def commands(url: str) -> str:
    """Return the lines to copy for the model at `url`."""
    show_code = "-w 'HTTP %{http_code}\\n'"
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
