"""A gateway on a loopback port, in front of servers of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from sigrun.config.gateway import GatewayConfig, UpstreamOptions
from sigrun.gateway import Gateway
from tests.wire.clients import PATIENCE_S
from tests.wire.rig import HOST, HTTP, Rig

# A server that was away is looked for again at once.
QUICK = {
    "grpc.initial_reconnect_backoff_ms": 20,
    "grpc.min_reconnect_backoff_ms": 5_000,  # the time that an attempt is given
    "grpc.max_reconnect_backoff_ms": 50,
}


def address_of(rig: Rig) -> str:
    """Return where the gRPC port of a server is."""
    return f"{HOST}:{rig.server.grpc.port}"


@asynccontextmanager
async def gateway_to(
    *addresses: str, http: Any = HTTP, max_concurrent_requests: int = 0, **upstream: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a gateway in front of these servers."""
    options = UpstreamOptions(addresses=addresses, channel_arguments=QUICK, **upstream)
    config = GatewayConfig(
        upstream=options, http=http, max_concurrent_requests=max_concurrent_requests
    )
    async with client_of(config) as client:
        yield client


@asynccontextmanager
async def client_of(config: GatewayConfig) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway, and yield a client of it."""
    gateway = Gateway(config)
    await gateway.start()
    try:
        async with httpx.AsyncClient(base_url=url_of(gateway), timeout=PATIENCE_S) as client:
            yield client
    finally:
        await gateway.stop(grace_s=0)


def url_of(gateway: Gateway) -> str:
    """Return the URL of a gateway's port."""
    return f"http://{HOST}:{gateway.http.port}"


@asynccontextmanager
async def front(rig: Rig) -> AsyncIterator[str]:
    """Yield the URL of a gateway in front of the server of `rig`."""
    async with gateway_to(address_of(rig)) as client:
        yield str(client.base_url)
