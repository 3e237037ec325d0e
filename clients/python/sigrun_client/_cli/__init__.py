"""The command line: `sigrun-client COMMAND`; `sigrun-client --help` lists the commands."""

from sigrun_client._cli.main import main

__all__ = ["main"]
