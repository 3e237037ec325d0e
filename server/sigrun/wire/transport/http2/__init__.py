"""HTTP/2, the server's side, without I/O.

    frames         constants, and what packs and checks frames
    reader         bytes to whole frames
    header_blocks  HPACK: blocks of bytes to lists of fields, and answers' fields to bytes
    heads          lists of fields to request heads and trailers, checked; what was seen is kept
    streams        one request and its answer
    answers        answers to frames
    outbox         frames on their way out: windows, turns between streams
    abuse          counts frames that cost us work and the peer nothing
    lifetime       keep-alive, idleness, age, draining
    core           ties them together behind the face of `events.Core`

Nothing here imports more of sigrun than `limits` and `events`.
"""

from sigrun.wire.transport.http2.core import Http2
from sigrun.wire.transport.http2.frames import PREFACE

__all__ = ["PREFACE", "Http2"]
