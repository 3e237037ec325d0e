"""Serve the web app's page, on a port of its own.

In: the model server's REST port. Out: `page/` with that port in it, the page's JavaScript in the
one file that `bundle` builds, and the photo of the panda.
Prints the page's address, once more when the model server is ready; ends when its parent process is
gone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from examples.panda.models import PHOTO
from examples.readiness import option_parser, print_when_ready

HERE = Path(__file__).resolve().parent
PAGE = HERE / "page"
BUNDLE = HERE / "build" / "app.js"
ELSEWHERE = {"/app.js": BUNDLE, f"/{PHOTO.name}": PHOTO}
PORT_IN_PAGE = b'name="model-server-port" content="8501"'


def main() -> int:
    """Serve until interrupted; return the exit code."""
    parser = option_parser(__doc__)
    parser.add_argument("--page-host", default="localhost", help="the address to serve the page on")
    parser.add_argument("--page-port", type=int, default=8000, help="the port to serve it on")
    options = parser.parse_args()
    if not BUNDLE.is_file():
        print(f"{BUNDLE} is missing: `make webapp` builds it", file=sys.stderr)
        return 1
    try:
        server = PageServer(options.page_host, options.page_port, model_port=options.port)
    except OSError as error:
        print(f"no page on {options.page_host}:{options.page_port}: {error}", file=sys.stderr)
        return 1
    print(f"# The page is at {server.url} and waits for the model server.", flush=True)
    text = f"\n# The model server is ready. Open {server.url}\n"
    with server:
        announcement = (options, lambda: text)
        threading.Thread(target=print_when_ready, args=announcement, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


class PageServer(ThreadingHTTPServer):
    """A server of the page; it lives no longer than the process that started it."""

    daemon_threads = True

    def __init__(self, host: str, port: int, *, model_port: int) -> None:
        told = PORT_IN_PAGE.replace(b"8501", b"%d" % model_port)
        self.index = (PAGE / "index.html").read_bytes().replace(PORT_IN_PAGE, told)
        self._started_by = os.getppid()
        super().__init__((host, port), PageHandler)
        self.url = f"http://{host}:{self.server_address[1]}/"

    def service_actions(self) -> None:
        """Look for the parent between requests; the base class calls this twice a second."""
        if os.getppid() != self._started_by:
            raise KeyboardInterrupt


class PageHandler(SimpleHTTPRequestHandler):
    """One request for a file."""

    protocol_version = "HTTP/1.1"  # one connection for many files
    extensions_map = {
        ".css": "text/css",
        ".jpg": "image/jpeg",
        ".js": "text/javascript",
        ".svg": "image/svg+xml",
    }
    server: PageServer

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, directory=str(PAGE))

    def do_GET(self) -> None:
        """Answer with a file; the page itself has the port in it."""
        if urlsplit(self.path).path not in ("/", "/index.html"):
            super().do_GET()
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.index)))
        self.end_headers()
        self.wfile.write(self.server.index)

    def translate_path(self, path: str) -> str:
        """Return the file that `path` means; what leads out of its folder does not exist."""
        file = ELSEWHERE.get(urlsplit(path).path)
        return str(file) if file else super().translate_path(path)

    def end_headers(self) -> None:
        """Let browsers keep files, and ask whether they have changed."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the model server's log is in the same terminal."""


if __name__ == "__main__":
    sys.exit(main())
