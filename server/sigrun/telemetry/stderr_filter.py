"""Keep certain lines out of stderr for a while, whoever in the process writes them.

In: a pattern of lines. Out: a context in which lines that match it are dropped. Native libraries
write to the descriptor itself, so that is what is put elsewhere: into a pipe, to a small process
that passes on what does not match. A thread would not do: what a crash says last must be seen, and
only another process is still there to pass it on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

from sigrun.telemetry.output import STDERR

logger = logging.getLogger(__name__)

_PROGRAM = """
import re, sys
matches = re.compile(sys.argv[1].encode()).match
for line in sys.stdin.buffer:
    if not matches(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
_WAIT_S = 1.0  # for the last lines to be passed on


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Drop lines of stderr that match `pattern` from their beginning.

    Where no process can be started nothing is dropped.
    """
    output, pipe = os.pipe()
    filtering = _start(pattern, output)
    os.close(output)
    own = os.dup(STDERR)
    if filtering is not None:
        os.dup2(pipe, STDERR)
    os.close(pipe)
    try:
        yield
    finally:
        os.dup2(own, STDERR)
        os.close(own)
        if filtering is not None:
            # If nobody reads stderr, or a child has it still, it ends when that is over.
            with contextlib.suppress(subprocess.TimeoutExpired):
                filtering.wait(_WAIT_S)


def _start(pattern: str, stdin: int) -> subprocess.Popen[bytes] | None:
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, pattern]
    try:
        # A session of its own: Ctrl-C in a terminal is for the server, which says what it does.
        return subprocess.Popen(  # noqa: S603  # our own interpreter, with the program above
            command, stdin=stdin, stdout=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        logger.debug("stderr is not filtered: %s", error)
        return None
