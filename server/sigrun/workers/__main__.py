"""`python -m sigrun.workers`: one worker, as the supervisor starts it."""

from __future__ import annotations

from sigrun.workers.worker import main

main()
