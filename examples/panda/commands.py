"""Wait until the server is ready, then print commands to copy that ask it what is in a photo.

In: the server's host and ports. Out: lines on stdout that work as they stand, in bash, in the root
of the repository.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from examples.readiness import option_parser, print_when_ready

PHOTO = "examples/panda/panda.jpg"
PHOTO_BASE64 = "PHOTO"  # stands in the bodies where the shell puts the photo
READ_PHOTO = f"$(base64 < {PHOTO} | tr -d '\\n')"


def main() -> int:
    """Wait, print, and return the exit code: 1 when the server is not ready in time."""
    parser = option_parser(__doc__)
    parser.add_argument("--grpc-port", type=int, default=8500, help="the server's gRPC port")
    options = parser.parse_args()
    grpc, http = f"{options.host}:{options.grpc_port}", f"{options.host}:{options.port}"
    return print_when_ready(options, lambda: commands(grpc, f"http://{http}/v1/models/panda"))


def commands(address: str, url: str) -> str:
    """Return the lines to copy for the server at `address`, whose model is at `url` too."""
    client = f"{interpreter()} examples/panda/client.py panda.jpg --address {address}"
    return "\n".join(
        [
            "",
            "# The server is ready. Copy these lines into another terminal.",
            "",
            "# What is in the photo? With the Python client, to the latest version (2)",
            client,
            "",
            "# to the version labelled production (1) of the larger model, with asyncio",
            f"{client} --model panda_large --label production --asyncio",
            "",
            "# With the JavaScript client in Node (`make js` builds it)",
            f"ADDRESS=http://{address} node examples/panda/client.mjs panda.jpg",
            "",
            "# With curl, to the version labelled beta",
            curl_line(f"{url}/labels/beta:predict"),
            "",
            "# With grpcurl, in which bytes are base64 both ways",
            grpcurl_line(address),
            "",
        ]
    )


def interpreter() -> str:
    """Return the Python that runs this, which has the client, as a shell finds it from here."""
    path, here = Path(sys.executable), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def curl_line(url: str) -> str:
    """Return the line that sends the photo to `url` as JSON."""
    body = {"instances": [{"b64": PHOTO_BASE64}]}
    return f"{echo(body)} | curl -s {url} -d @-"


def grpcurl_line(address: str) -> str:
    """Return the line that sends the photo to the server at `address` by gRPC."""
    shape = {"dim": [{"size": 1}]}
    images = {"dtype": "DT_STRING", "tensor_shape": shape, "string_val": [PHOTO_BASE64]}
    body = {"model_spec": {"name": "panda"}, "inputs": {"images": images}}
    method = "tensorflow.serving.PredictionService/Predict"
    return f"{echo(body)} | grpcurl -plaintext -d @ {address} {method}"


def echo(body: dict[str, Any]) -> str:
    """Return the shell's command that writes `body` with the photo in its place."""
    before, after = json.dumps(body).split(PHOTO_BASE64)
    return f"echo '{before}'\"{READ_PHOTO}\"'{after}'"


if __name__ == "__main__":
    sys.exit(main())
