"""End a process after the one that leads it, even if it is stuck."""

from __future__ import annotations

import os
import select
import socket
import threading
import time


def end_after(other_side: int | socket.socket, grace_s: float) -> None:
    """End the process `grace_s` seconds after the other side of a pipe or a socket is gone."""

    def wait() -> None:
        hung_up = select.poll()
        hung_up.register(other_side, 0)  # nothing but the end of the other side
        hung_up.poll()
        time.sleep(grace_s)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
