"""TLS, certificates and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from sigrun_client import AsyncClient, Client, Options, Retries, Tls, Unauthenticated, Unavailable
from tests.wire.rig import HOST, Rig
from tests.wire.test_tls import OPENSSL, Identity, make_identity, options

pytestmark = pytest.mark.asyncio

X = {"x": np.zeros(1, np.float32)}
NAME = "half_plus_two"
ONCE = Retries(attempts=1)

needs_openssl = pytest.mark.skipif(
    OPENSSL is None, reason="certificates are made with the openssl command"
)


@pytest.fixture
def server_identity(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "server")


@pytest.fixture
def client_identity(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "client")


def address_of(rig: Rig) -> str:
    return f"{HOST}:{rig.server.grpc.port}"


async def predict(rig: Rig, settings: Options) -> int:
    """Return the version that answers `Client` and `AsyncClient` alike."""
    with Client(address_of(rig), settings) as client:
        one = await asyncio.to_thread(client.predict, NAME, X)
    async with AsyncClient(address_of(rig), settings) as async_client:
        other = await async_client.predict(NAME, X)
    assert one.version == other.version
    return one.version


@needs_openssl
async def test_a_server_is_trusted_by_its_roots(rig: Rig, server_identity: Identity) -> None:
    await rig.start(grpc=options(server_identity))

    assert await predict(rig, Options(tls=Tls(root_certificates=server_identity.cert))) == 1


@needs_openssl
async def test_the_certificate_may_have_another_name(rig: Rig, server_identity: Identity) -> None:
    await rig.start(grpc=options(server_identity))
    tls = Tls(root_certificates=server_identity.cert, server_name="server")

    assert await predict(rig, Options(tls=tls)) == 1


@needs_openssl
async def test_a_server_may_ask_for_the_clients_certificate(
    rig: Rig, server_identity: Identity, client_identity: Identity
) -> None:
    await rig.start(grpc=options(server_identity, client_identity))
    known = Tls(
        root_certificates=server_identity.cert,
        private_key=client_identity.key,
        certificate_chain=client_identity.cert,
    )

    assert await predict(rig, Options(tls=known)) == 1
    unknown = Tls(root_certificates=server_identity.cert)
    with pytest.raises(Unavailable):
        await predict(rig, Options(tls=unknown, retries=ONCE))


@needs_openssl
async def test_a_server_that_is_not_trusted_gets_nothing(
    rig: Rig, server_identity: Identity
) -> None:
    await rig.start(grpc=options(server_identity))

    with pytest.raises(Unavailable):
        await predict(rig, Options(tls=Tls(), retries=ONCE))
    assert rig.servable().runs == []


class Listener(grpc.aio.ServerInterceptor):
    """Keeps the metadata of every call, and refuses the call."""

    def __init__(self) -> None:
        self.heard: list[dict[str, str | bytes]] = []

    async def intercept_service(self, _: Any, details: Any) -> Any:
        self.heard.append(dict(details.invocation_metadata))

        async def refuse(_: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[tuple[Listener, str]]:
    """Return a server that only listens, and its address."""
    listener = Listener()
    server = grpc.aio.server(interceptors=[listener])
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    yield listener, f"{HOST}:{port}"
    await server.stop(None)


async def test_a_token_and_headers_go_with_every_call(listener: tuple[Listener, str]) -> None:
    heard, address = listener
    tokens = iter(["one", "two"])
    settings = Options(token=lambda: next(tokens), headers={"x-request-id": "7"})

    async with AsyncClient(address, settings) as client:
        for _ in range(2):
            with pytest.raises(Unauthenticated, match=r"^who are you\?$"):
                await client.predict(NAME, X)

    assert [call["authorization"] for call in heard.heard] == ["Bearer one", "Bearer two"]
    assert [call["x-request-id"] for call in heard.heard] == ["7", "7"]
    assert str(heard.heard[0]["user-agent"]).startswith("sigrun-client/")


async def test_a_token_may_be_a_text(listener: tuple[Listener, str]) -> None:
    heard, address = listener

    with Client(address, Options(token="secret")) as client, pytest.raises(Unauthenticated):
        await asyncio.to_thread(client.predict, NAME, X)

    assert heard.heard[0]["authorization"] == "Bearer secret"
