"""`python -m sigrun`: the same as the console script."""

from __future__ import annotations

import sys

from sigrun.cli import main

sys.exit(main())
