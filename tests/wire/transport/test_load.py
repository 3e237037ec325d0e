"""Clients that ask for too much, or take too little, cost no more than they may."""

from __future__ import annotations

import asyncio
import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sigrun.wire.transport.limits import Limits
from tests.wire.transport.desk import Desk, read_answer, request, until, watched
from tests.wire.transport.h2_client import HOST

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parents[3]


async def settle(desk: Desk) -> None:
    """Wait until no further request is begun."""
    begun = -1
    while begun != len(desk.application.begun):
        begun = len(desk.application.begun)
        await asyncio.sleep(0.05)


class TestBackPressure:
    async def test_answers_that_nobody_reads_are_not_made(self, desk: Desk) -> None:
        listener = await desk.listen()
        reader, writer = await desk.connect(listener, limit=1000)
        writer.write(request("/large?240000") * 500)
        await settle(desk)

        assert listener.statistics().pending_bytes < 8 * MIB
        assert len(desk.application.begun) < 60  # socket buffers take some megabytes

        for _ in range(500):  # and all of them as soon as they are read
            assert (await read_answer(reader))[0] == 200

    async def test_so_it_is_for_a_client_that_opens_no_window(self, desk: Desk) -> None:
        limits = Limits(max_pending_bytes=4 * MIB)
        listener = await desk.listen(limits=limits)
        client = await desk.http2(listener, takes_data=False)
        for _ in range(90):
            client.begin("/large?100000")
        await settle(desk)

        assert listener.statistics().pending_bytes < 2 * MIB + 200_000
        assert len(desk.application.begun) < 30

        client.takes_data = True
        client.h2.increment_flow_control_window(20 * MIB)
        for stream in client.answers:
            client.h2.increment_flow_control_window(100_000, stream)
        client.flush()
        for stream in client.answers:
            assert len((await client.answer(stream)).body) == 100_000

    @pytest.mark.parametrize("spoken", ["http1", "http2"])
    async def test_a_stream_that_nobody_reads_waits_and_ends(self, desk: Desk, spoken: str) -> None:
        listener = await desk.listen(limits=Limits(stalled_s=0.3, tick_s=0.05))
        if spoken == "http1":
            _, writer = await desk.connect(listener, limit=1000)
            writer.write(request("/flood?10000"))
        else:
            (await desk.http2(listener, takes_data=False)).begin("/flood?10000")
        await until(lambda: bool(desk.application.begun))
        most = 0
        while not desk.application.cancelled:
            most = max(most, listener.statistics().pending_bytes)
            await asyncio.sleep(0.01)

        assert most < 2 * MIB

    async def test_a_body_that_nobody_reads_is_not_taken(self, desk: Desk) -> None:
        listener = await desk.listen()
        client = await desk.http2(listener)
        stream = client.begin("/wait", ends=False)
        sending = asyncio.create_task(client.send(stream, bytes(20 * MIB)))
        await until(lambda: client.h2.local_flow_control_window(stream) == 0)
        assert client.h2.streams[stream].outbound_flow_control_window == 0

        desk.application.may_go_on.set()

        assert (await client.answer(stream)).body == b"went on"
        sending.cancel()
        assert (await client.ask("/echo", bytes(2 * MIB))).body == bytes(2 * MIB)

    async def test_so_it_is_over_http1(self, desk: Desk) -> None:
        listener = await desk.listen()
        _, writer = await desk.connect(listener)
        writer.write(request("/wait").replace(b": 0", b": %d" % (60 * MIB)))
        writer.write(bytes(60 * MIB))
        await until(lambda: bool(desk.application.begun))
        await settle(desk)

        assert writer.transport.get_write_buffer_size() > 40 * MIB


class TestFairness:
    """Client and server share a thread, so its time is what a client has waited for."""

    async def test_a_calm_client_is_answered_beside_a_flood(self, desk: Desk) -> None:
        listener = await desk.listen()
        flooding, calm = await desk.http2(listener), await desk.http2(listener)
        await calm.ask("/echo", b"warm up")
        for _ in range(90):
            flooding.begin("/busy?2000")

        began = time.thread_time()
        assert (await calm.ask("/echo", b"abc")).body == b"abc"

        assert time.thread_time() - began < 0.06  # of the 180 ms of the flood

    async def test_a_door_is_not_shut_by_another(self, desk: Desk) -> None:
        grpc, http = await desk.listen(door="grpc"), await desk.listen(door="http")
        flood = [await desk.http2(grpc) for _ in range(8)]
        calm = await desk.http2(http)
        for client in flood:
            for _ in range(50):
                client.begin("/busy?1000")
        streams = [calm.begin("/busy?1000") for _ in range(50)]

        for stream in streams:
            await calm.answer(stream)

        answered = sum(answer.done.is_set() for each in flood for answer in each.answers.values())
        assert answered < 130  # of 400; without fairness, 350 before the last of the calm one

    async def test_a_large_body_lets_others_read(self, desk: Desk) -> None:
        listener = await desk.listen()
        large, calm = await desk.http2(listener), await desk.http2(listener)
        async with watched(0.1):
            sending = asyncio.create_task(large.ask("/echo", os.urandom(8 * MIB)))
            for n in range(20):
                assert (await calm.ask("/echo", b"%d" % n)).body == b"%d" % n
            await sending


class TestDescriptors:
    SERVER = textwrap.dedent(
        """
        import asyncio, resource, sys
        import uvloop
        from sigrun.wire.transport.addresses import Tcp
        from tests.wire.transport.desk import Desk

        async def main():
            desk = Desk()
            listener = await desk.listen(Tcp("127.0.0.1", 0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            print(listener.port, flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            print(listener.statistics().starved, flush=True)
            await listener.stop(1)

        factory = uvloop.new_event_loop if sys.argv[1] == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
        """
    )

    async def test_without_descriptors_it_waits_and_goes_on(self) -> None:
        loop = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", self.SERVER, loop),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}:{ROOT}/server"},
        )
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        clients = [await asyncio.open_connection(HOST, port) for _ in range(60)]
        for _, writer in clients:
            writer.write(request("/echo", b"abc"))
        answers = [asyncio.create_task(read_answer(reader)) for reader, _ in clients]
        await until(lambda: sum(answer.done() for answer in answers) > 10)

        used_before_s = cpu_s(server.pid)
        await asyncio.sleep(1)
        assert cpu_s(server.pid) - used_before_s < 0.5  # it does not turn in circles
        assert sum(answer.done() for answer in answers) < 40

        for n, answer in enumerate(answers):  # who is answered makes room for others
            assert await answer == (200, b"abc")
            clients[n][1].close()
        output, errors = await server.communicate(b"\n")
        assert int(output) > 0
        assert errors.decode().count("connections have to wait") <= 2


def cpu_s(pid: int) -> float:
    """Return how long a process has used a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
