from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from sigrun.telemetry.output import STDERR, STDOUT, Output, write_all


class Reader:
    """Takes what is written, once it is allowed to."""

    def __init__(self) -> None:
        self.is_reading = threading.Event()
        self.has_begun = threading.Event()
        self.got: list[tuple[int, bytes]] = []

    def __call__(self, descriptor: int, data: bytes) -> None:
        self.has_begun.set()
        self.is_reading.wait(10)
        self.got.append((descriptor, data))


def test_what_is_put_is_written_in_its_order() -> None:
    reader = Reader()
    reader.is_reading.set()
    output = Output(reader)

    output.put(STDERR, b"one")
    output.put(STDOUT, b"two")

    assert output.flush(10)
    assert reader.got == [(2, b"one"), (1, b"two")]


def test_lines_that_come_quickly_are_written_together() -> None:
    reader = Reader()
    reader.is_reading.set()
    output = Output(reader, pause_s=60)

    output.put(STDERR, b"alone")
    assert output.flush(10)
    for text in "abc":
        output.put(STDERR, text.encode())
    output.put(STDOUT, b"d")

    assert output.flush(10)
    assert reader.got == [(2, b"alone"), (2, b"abc"), (1, b"d")]


def test_a_reader_that_does_not_read_makes_nobody_wait_and_drops_are_counted() -> None:
    reader = Reader()
    told: list[int] = []
    output = Output(reader, max_waiting_bytes=10, on_drop=told.append)

    output.put(STDERR, b"12345")
    assert reader.has_begun.wait(10)
    output.put(STDERR, b"67890")
    output.put(STDERR, b"dropped\nas well\n", lines=2)
    output.put(STDERR, b"x")

    assert (output.dropped, output.flush(0.01), told) == (3, False, [])
    reader.is_reading.set()
    assert output.flush(10)
    assert [data for _, data in reader.got] == [b"12345", b"67890"]
    assert told == [3]


def test_what_can_be_written_now_is_and_the_thread_waits_with_the_rest() -> None:
    reader = Reader()
    now: list[bytes] = []

    def write_now(_: int, data: bytes) -> int:
        now.append(data[:4])
        return len(now[-1])

    output = Output(reader, write_now=write_now)
    output.put(STDERR, b"one.")
    output.put(STDERR, b"two, and more")
    output.put(STDERR, b"three")  # behind what waits, though there might be room by now

    reader.is_reading.set()
    assert output.flush(10)
    assert now == [b"one.", b"two,"]
    assert b"".join(data for _, data in reader.got) == b" and morethree"


def test_there_is_room_again_when_something_was_read() -> None:
    reader = Reader()
    output = Output(reader, max_waiting_bytes=4)
    output.put(STDERR, b"1234")
    reader.is_reading.set()
    assert output.flush(10)

    output.put(STDERR, b"5678")

    assert output.flush(10)
    assert output.dropped == 0


def test_a_descriptor_that_takes_nothing_is_no_error(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        write_all(full, b"text")
    finally:
        os.close(full)
    write_all(full, b"text to a closed descriptor")


def test_all_is_written_to_a_pipe_that_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = b"x" * 300_000
    thread = threading.Thread(target=write_all, args=(writing, data))
    thread.start()
    got = bytearray()
    while len(got) < len(data):
        got += os.read(reading, 65536)
    thread.join(10)
    os.close(reading)
    os.close(writing)

    assert got == data


_WRITER = """
import sys
from sigrun.telemetry.output import STDOUT, write_all
data = (sys.argv[1] * 199 + "\\n").encode() * 10_000
write_all(STDOUT, b"ready\\n")
sys.stdin.read()
write_all(STDOUT, data)
"""


def test_lines_of_processes_that_share_a_pipe_stay_whole() -> None:
    reading, writing = os.pipe()
    command = (sys.executable, "-c", _WRITER)
    writers = [
        subprocess.Popen([*command, letter], stdin=subprocess.PIPE, stdout=writing)
        for letter in "ab"
    ]
    os.close(writing)
    with open(reading, "rb", buffering=1000) as pipe:  # slow, so that both wait for room
        assert [pipe.readline(), pipe.readline()] == [b"ready\n"] * 2
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.close()
        lines = list(pipe)

    assert [writer.wait(10) for writer in writers] == [0, 0]
    assert Counter(lines) == {b"a" * 199 + b"\n": 10_000, b"b" * 199 + b"\n": 10_000}
