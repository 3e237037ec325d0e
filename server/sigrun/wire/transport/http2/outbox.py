"""What is on its way out: whole frames, and answers that wait for the client's windows.

    answer ──fits the windows──▶ frames ──take()──▶ the socket
       └──▶ Output of its stream ──turns, as windows allow──┘

Streams whose output may go take turns, one frame each; a stream without a window has no turn
until the client opens it. Output is cut into frames only when the socket asks for more, so
that an answer of megabytes neither is copied early nor delays the others.
"""

from __future__ import annotations

from collections import deque
from typing import cast

from sigrun.wire.transport.http2.abuse import Abuse
from sigrun.wire.transport.http2.frames import (
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_STREAM,
    HEAD_BYTES,
    MAX_WINDOW,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    header_frames,
    pack_head,
)
from sigrun.wire.transport.http2.stream import Output, Stream
from sigrun.wire.transport.limits import Limits

# Larger frames gain nothing, and one stream's turn would be long.
LARGEST_FRAME_BYTES = 64 * 1024
# A client that opens a window by a byte now and then is as good as one that does not.
_FAIR_BYTES = 4096

Buffer = bytes | bytearray | memoryview


class Outbox:
    """The output of one connection. `now` is the time of the last thing that happened."""

    def __init__(self, limits: Limits, abuse: Abuse, now: float) -> None:
        self._limits = limits
        self._abuse = abuse
        self.frames: list[Buffer] = []
        self.pending_bytes = 0  # all of it
        self._queued_bytes = 0  # what waits in streams
        self._turns: deque[Stream] = deque()
        self.window = DEFAULT_WINDOW
        self.stream_window = DEFAULT_WINDOW  # of new streams
        self.max_frame_bytes = DEFAULT_FRAME_BYTES
        self.now = self._flowing_at = now

    @property
    def has_output(self) -> bool:
        """Whether there is anything to take."""
        return bool(self.frames) or (self.window > 0 and bool(self._turns))

    @property
    def is_full(self) -> bool:
        """Whether so much is ready for the socket that nothing should be added."""
        return self.pending_bytes - self._queued_bytes > self._limits.max_untaken_bytes

    def is_stalled(self, now: float) -> bool:
        """Return whether the socket has taken nothing for too long, though there is something."""
        if not self.has_output:
            self._flowing_at = now
        return now - self._flowing_at > self._limits.stalled_s

    def send(self, frames: bytes) -> None:
        """Send frames that no window holds back."""
        self.frames.append(frames)
        self.pending_bytes += len(frames)

    def send_block(self, stream_id: int, block: bytes, flags: int) -> None:
        """Send a header block."""
        self.send(header_frames(stream_id, block, flags, self.max_frame_bytes))

    def fits(self, stream: Stream, size: int) -> bool:
        """Return whether so much data of a stream can go at once, as one frame."""
        return (
            size <= stream.window_out
            and size <= self.window
            and size <= self.max_frame_bytes
            and stream.output is None
            and not self.is_full
        )

    def send_data(self, stream: Stream, data: Buffer) -> None:
        """Send data that `fits`."""
        size = len(data)
        stream.window_out -= size
        self.window -= size
        self._abuse.data_frames += 1
        self.frames += pack_head(size << 8 | DATA, 0, stream.id), data
        self.pending_bytes += HEAD_BYTES + size

    def queue(self, stream: Stream, data: Buffer) -> None:
        """Let data, not empty, wait for its stream's turn."""
        output = stream.output
        if output is None:
            output = stream.output = Output(self.now)
        piece = memoryview(data).cast("B")
        output.pieces.append(piece)
        output.size += len(piece)
        self._queued_bytes += len(piece)
        self.pending_bytes += len(piece)
        self._give_turn(stream, output)

    def discard(self, stream: Stream) -> None:
        """Forget what waits of a stream that is gone."""
        output = stream.output
        if output is not None:
            self._queued_bytes -= output.size
            self.pending_bytes -= output.size
            if output.has_turn:
                self._turns.remove(stream)
            stream.output = None

    def discard_all(self) -> None:
        """Forget what waits of all streams; frames still go out."""
        self._turns.clear()
        self.pending_bytes -= self._queued_bytes
        self._queued_bytes = 0

    # Windows.

    def open_window(self, increment: int) -> None:
        """Let the whole connection send more."""
        self.window += increment
        if self.window > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")

    def open_stream_window(self, stream: Stream, increment: int) -> None:
        """Let a stream send more, or, by a change of settings, less."""
        stream.window_out += increment
        if stream.window_out > MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window overflows")
        if stream.output is not None:
            self._give_turn(stream, stream.output)

    # Turns.

    def _give_turn(self, stream: Stream, output: Output) -> None:
        if stream.window_out > 0 and not output.has_turn:
            output.has_turn = True
            self._turns.append(stream)

    def fill(self) -> list[Stream]:
        """Cut frames for one `take`; return the streams whose answers are whole by that."""
        finished = []
        while (
            self._turns
            and self.window > 0
            and self.pending_bytes - self._queued_bytes < self._limits.max_take_bytes
        ):
            stream = self._turns.popleft()
            output = cast("Output", stream.output)
            self._cut(stream, output)
            if not output.size:
                stream.output = None
                if output.last is not None:
                    finished.append(stream)
            elif stream.window_out > 0:
                self._turns.append(stream)
            else:
                output.has_turn = False
        return finished

    def _cut(self, stream: Stream, output: Output) -> None:
        """Make one DATA frame, as large as the windows allow, and what ends the answer."""
        size = min(output.size, stream.window_out, self.window, self.max_frame_bytes)
        output.size -= size
        output.moved_bytes += size
        if output.moved_bytes >= _FAIR_BYTES:
            output.moved_at = self.now
            output.moved_bytes = 0
        self._queued_bytes -= size
        stream.window_out -= size
        self.window -= size
        self._abuse.data_frames += 1
        is_end = not output.size and output.last == b""
        self.frames.append(pack_head(size << 8 | DATA, END_STREAM if is_end else 0, stream.id))
        self.pending_bytes += HEAD_BYTES
        _move(output.pieces, size, self.frames)
        if not output.size and output.last:
            self.send_block(stream.id, output.last, END_STREAM)

    def take(self) -> bytes:
        """Return all frames."""
        data = b"".join(self.frames)
        self.frames.clear()
        self.pending_bytes -= len(data)
        self._flowing_at = self.now
        return data


def _move(pieces: deque[memoryview], size: int, frames: list[Buffer]) -> None:
    """Move `size` bytes from the front of the pieces to the frames, without copying."""
    while size:
        piece = pieces.popleft()
        if len(piece) > size:
            pieces.appendleft(piece[size:])
            piece = piece[:size]
        frames.append(piece)
        size -= len(piece)
