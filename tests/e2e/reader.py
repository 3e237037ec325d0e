"""Does what a page tells its reader to type, and compares the answers with those it shows."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

from examples.spam import paths as spam
from tests.documentation import ROOT, Step, blocks, is_same, steps
from tests.e2e.process import START_TIMEOUT_S, RunningServer, running_server

COMMAND_TIMEOUT_S = 300
MODEL_OF_PAGES = re.compile(r"(?<!\w)/models/email_model")  # a folder, and no part of a URL
MAKE_SERVE = f"--model_config_file={spam.CONFIG}"


class Reader:
    """Does what a page says, in a folder that looks like a checkout.

    `server` is one that serves what the page serves; without it the page's own is started, for as
    long as `stack` is open.
    """

    def __init__(
        self, folder: Path, stack: contextlib.ExitStack, server: RunningServer | None = None
    ) -> None:
        for name in ("examples", "clients", "deploy"):
            (folder / name).symlink_to(ROOT / name)
        self._folder = folder
        self._stack = stack
        self._server = server
        self._has_server = server is not None
        self.answers = 0

    def read(self, page: str) -> None:
        """Do everything on a page, in its order."""
        for block in blocks(page):
            if block.title:
                (self._folder / block.title).write_text(block.text)
            elif block.language == "python":
                self._run(shlex.join(["python", "-c", self._here(block.text)]))
            elif block.language == "console":
                for step in steps(block.text):
                    self._do(step)

    def _do(self, step: Step) -> None:
        words = shlex.split(step.command)
        if words[:2] in (["sigrun", "serve"], ["make", "serve"]):
            self._serve([MAKE_SERVE] if words[0] == "make" else words[2:])
            return
        printed = self._run(self._here(step.command))
        assert is_same(printed, step.answer), f"{step.command}\n{printed}"
        self.answers += bool(step.answer)

    def _serve(self, words: list[str]) -> None:
        if self._has_server:
            return
        flags = [self._path(self._here(word)) for word in words]
        self._server = self._stack.enter_context(running_server(*flags, waits=False))
        # gRPC opens when the models can be asked, with TLS and without.
        self._server.wait_for(self._is_open, "an open port", START_TIMEOUT_S)

    def _is_open(self) -> bool:
        assert self._server is not None
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", self._server.grpc_port)).close()
            return True
        return False

    def _path(self, word: str) -> str:
        """Return an argument whose path is relative to the folder as an absolute one."""
        name, equals, value = word.rpartition("=")
        is_there = value and (self._folder / value).exists()
        return f"{name}{equals}{self._folder / value}" if is_there else word

    def _here(self, text: str) -> str:
        text = MODEL_OF_PAGES.sub(str(spam.BASE_PATH), text)
        if self._server is not None:
            text = text.replace("localhost:8500", f"localhost:{self._server.grpc_port}")
            text = text.replace("localhost:8501", f"localhost:{self._server.http_port}")
            if text.startswith("python examples/panda/client.py"):
                text += f" --address=localhost:{self._server.grpc_port}"
        return text

    def _run(self, command: str) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        if self._server is not None:
            environment["SIGRUN_SERVER"] = f"localhost:{self._server.grpc_port}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout
