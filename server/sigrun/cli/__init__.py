"""The command line: flags -> config -> run until signalled."""

from __future__ import annotations

from sigrun.cli.main import main, tensorflow_model_server

__all__ = ["main", "tensorflow_model_server"]
