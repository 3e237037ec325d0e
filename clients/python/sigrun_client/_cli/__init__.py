"""The command line: `sigrun-client predict|classify|metadata|status|reload|wait|bench`."""

from sigrun_client._cli.main import main

__all__ = ["main"]
