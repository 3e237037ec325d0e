"""The benchmarks' own gRPC client, against a server of another make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from benchmarks.closed_loop import GrpcCaller, Log
from benchmarks.grpc_connection import ConnectionBroken, GrpcConnection

pytestmark = pytest.mark.asyncio

LARGE = bytes(300_000)  # larger than the windows of HTTP/2


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """Serve `/test/Echo`, and `/test/Refuse`."""

    async def echo(body: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return body

    async def refuse(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        raise AssertionError

    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    bound = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield bound
    await server.stop(0)


async def call(port: int, path: str, message: bytes, log: Log) -> None:
    body = b"\0" + len(message).to_bytes(4, "big") + message
    connection = GrpcConnection(f"127.0.0.1:{port}", path, body, changing_timeouts=True)
    _, caller = await asyncio.get_running_loop().create_connection(
        lambda: GrpcCaller(connection, 8, log), "127.0.0.1", port
    )
    await asyncio.wait_for(caller.done, 8)


@pytest.mark.parametrize("message", [b"abc", LARGE])
async def test_every_request_is_answered_and_counted(
    port: int, message: bytes, tmp_path: Path
) -> None:
    log = Log(0.3)
    await call(port, "/test/Echo", message, log)
    log.write(tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) >= 8
    assert {line.split("\t")[1] for line in lines} == {"200"}
    assert log.answer_bytes == len(lines) * (len(message) + 5)


async def test_an_error_ends_the_round(port: int) -> None:
    with pytest.raises(ConnectionBroken):
        await call(port, "/test/Refuse", b"abc", Log(5))
