"""`python -m sigrun_client` is `sigrun-client`."""

from __future__ import annotations

import sys

from sigrun_client._cli import main

if __name__ == "__main__":
    sys.exit(main())
