"""Every limit of the transport, in one frozen object.

Sizes are in bytes, times in seconds of a monotonic clock. `math.inf` switches a time off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection, and one listener, puts up with."""

    # A request's head. HTTP/2 counts as RFC 9113 says: name + value + 32 for each field.
    max_head_bytes: int = 64 * 1024
    max_headers: int = 256
    head_timeout_s: float = 10.0  # from its first byte; also for the TLS handshake and the preface
    # Fields after a body.
    max_trailer_bytes: int = 8 * 1024
    max_trailers: int = 64

    # A request's body: it must be `min_body_bytes_per_s * (age - body_grace_s)` long by then.
    # Time in which we hold the client back does not count.
    max_body_bytes: int = 2**31 - 1
    body_grace_s: float = 20.0
    min_body_bytes_per_s: float = 1024.0
    max_chunk_overhead_bytes: int = 256 * 1024  # HTTP/1.1: of chunk heads beyond 1/16 of the data

    # Requests of one connection at a time.
    max_pipelined: int = 16  # HTTP/1.1: told to the application before the first is answered
    max_concurrent_streams: int = 1024  # HTTP/2

    # What a client may send before the application has read it.
    stream_window_bytes: int = 1024 * 1024
    connection_window_bytes: int = 4 * 1024 * 1024
    max_unread_bytes: int = 1024 * 1024  # HTTP/1.1 reads no further until less is unread

    # Answers that wait for the client to take them.
    stream_output_high_bytes: int = 256 * 1024  # a writer waits above this ...
    stream_output_low_bytes: int = 64 * 1024  # ... until it is below this
    max_untaken_bytes: int = 1024 * 1024  # ready for the socket; nothing is read beyond it
    max_pending_bytes: int = 64 * 1024 * 1024  # of a connection; further requests are refused
    max_take_bytes: int = 256 * 1024  # about what one `take()` returns
    stalled_s: float = 60.0  # for the client to take some more of an answer

    # HTTP/2 frames and header compression.
    max_frame_bytes: int = 64 * 1024
    header_table_bytes: int = 4096

    # HTTP/2 frames that cost us work and the client nothing, in any `abuse_interval_s`. Each answer
    # given adds `abuse_per_answer` to every one of them: a busy proxy sends many, an attacker
    # gets no answers.
    abuse_interval_s: float = 10.0
    abuse_per_answer: int = 4
    max_resets: int = 5000  # RST_STREAM of requests that were not answered
    max_caused_resets: int = 500  # streams that we reset for the client's mistakes
    max_settings: int = 100
    max_pings: int = 5000
    max_window_updates: int = 5000  # and as many as we sent DATA frames
    max_priorities: int = 5000
    max_useless_frames: int = 1000  # empty ones and unknown ones
    max_small_frames: int = 10_000  # DATA of less than 64 bytes that does not end a body
    max_continuations: int = 32  # of one header block

    # How long a connection lasts.
    idle_s: float = 75.0  # HTTP/1.1: between requests; HTTP/2: before the first
    linger_s: float = 2.0  # after a refusal, what still comes is read and thrown away
    keepalive_interval_s: float = 300.0  # HTTP/2: PING after so long without a frame
    keepalive_timeout_s: float = 20.0  # for anything to come after it
    max_connection_idle_s: float = 1800.0  # HTTP/2: without a request
    max_connection_age_s: float = math.inf  # then it is drained ...
    max_connection_age_grace_s: float = math.inf  # ... and ended after this

    # The listener.
    max_connections: int = 10_000
    accept_backlog: int = 1024
    tick_s: float = 0.25  # how often each connection is told the time

    # Draining.
    drain_ping_s: float = 1.0  # HTTP/2: second GOAWAY at the latest so long after the first
    drain_idle_s: float = 0.5  # HTTP/1.1: an idle connection stays open so long
