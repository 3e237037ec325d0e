"""A whole server on loopback ports, over loaders that obey the test."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx

from sigrun.config.lifecycle import LifecycleOptions
from sigrun.config.models import AllVersions, ModelConfig, ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions, ServerConfig
from sigrun.errors import SigrunError
from sigrun.servables.servable import Servable, ServableId
from sigrun.servables.state import State
from sigrun.server import ModelServer
from sigrun.telemetry.tracer import Tracer
from tests.fakes.servables import FakeLoader, FakeServable
from tests.wire.clients import NAME, PATIENCE_S, GrpcClient
from tests.wire.model import SIGNATURES, compute

HOST = "127.0.0.1"
GRPC = GrpcOptions(host=HOST, port=0)
HTTP = HttpOptions(host=HOST, port=0)
NO_HTTP = HttpOptions(port=None)
LIFECYCLE = LifecycleOptions(
    poll_wait_s=0.02, quiet_s=0, max_num_load_retries=0, settle_timeout_s=PATIENCE_S
)


class Rig:
    """One server and its clients.

    Base paths lie in `folder`. `servables`, `errors` and `held` say, by servable id
    (`half_plus_two:3`), what comes of loading it; `loaders` has the newest loader of each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servables: dict[str, Servable] = {}
        self.errors: dict[str, SigrunError] = {}
        self.held: set[str] = set()
        self.loaders: dict[str, FakeLoader] = {}
        self._changed = asyncio.Event()
        self._clients: list[GrpcClient | httpx.AsyncClient] = []
        self._server: ModelServer | None = None
        self._is_stopped = False

    @property
    def server(self) -> ModelServer:
        """The server, once it has been built."""
        assert self._server is not None
        return self._server

    def add_version(self, version: int, name: str = NAME) -> Path:
        """Put a version under the base path of a model, complete at once."""
        path = self.folder / name / str(version)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"unfinished-{name}-{version}"
        unfinished.mkdir(parents=True)
        (unfinished / "saved_model.pb").write_bytes(b"a model")
        unfinished.rename(path)
        return path

    def remove_version(self, version: int, name: str = NAME) -> None:
        """Take a version away."""
        (self.folder / name / str(version)).rename(self.folder / f"removed-{name}-{version}")

    def model(self, name: str = NAME, **settings: Any) -> ModelConfig:
        """Return the configuration of the model whose base path is `folder / name`."""
        return ModelConfig(
            name=name,
            base_path=str(self.folder / name),
            **{"version_policy": AllVersions(), **settings},
        )

    def build(
        self,
        *,
        models: ModelSet | None = None,
        grpc: GrpcOptions = GRPC,
        http: HttpOptions = NO_HTTP,
        lifecycle: LifecycleOptions = LIFECYCLE,
        tracer: Tracer | None = None,
        **settings: Any,
    ) -> ModelServer:
        """Build the server, by default of one model with every version in its folder."""
        config = ServerConfig(
            models=models if models is not None else ModelSet((self.model(),)),
            grpc=grpc,
            http=http,
            lifecycle=lifecycle,
            **settings,
        )
        self._server = server = ModelServer(config, make_loader=self._make_loader, tracer=tracer)
        server.readiness.subscribe(self._wake)
        return server

    async def start(self, *versions: int, **settings: Any) -> GrpcClient:
        """Start the server with `versions` of the model, 1 if none are named."""
        for version in versions or (1,):
            self.add_version(version)
        await self.build(**settings).start()
        return self.client()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stop the server, once."""
        if self._server is not None and not self._is_stopped:
            self._is_stopped = True
            await self._server.stop(grace_s)

    async def close(self) -> None:
        """Leave with every client, stop the server."""
        for client in self._clients:
            await (client.channel.close() if isinstance(client, GrpcClient) else client.aclose())
        for loader in self.loaders.values():
            loader.release.set()
        await self.stop()

    def client(
        self, address: str = "", credentials: grpc.ChannelCredentials | None = None
    ) -> GrpcClient:
        """Return a client with a connection of its own."""
        address = address or f"{HOST}:{self.server.grpc.port}"
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=options)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=options)
        client = GrpcClient(channel)
        self._clients.append(client)
        return client

    def http(self, **settings: Any) -> httpx.AsyncClient:
        """Return an HTTP client of its own."""
        assert self.server.http is not None
        client = httpx.AsyncClient(
            base_url=f"http://{HOST}:{self.server.http.port}", timeout=PATIENCE_S, **settings
        )
        self._clients.append(client)
        return client

    def servable(self, version: int = 1, name: str = NAME) -> FakeServable:
        """Return the servable of a version that is loaded."""
        servable = self.loaders[f"{name}:{version}"].servable
        assert isinstance(servable, FakeServable)
        return servable

    def state(self, version: int = 1, name: str = NAME) -> State | None:
        """Return the last state of a version."""
        known = self.server.monitor.state(ServableId(name, version))
        return known.state if known else None

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when `is_so`, looked at after every change of any state."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await self._changed.wait()

    async def until_states(self, states: Mapping[int, State], name: str = NAME) -> None:
        """Return when every version in `states` is in that state."""
        await self.until(lambda: all(self.state(v, name) is s for v, s in states.items()))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _make_loader(self, id: ServableId, _: Path, revision: Hashable) -> FakeLoader:
        loader = self.loaders.get(str(id))
        if loader is None or loader.revision != revision or loader.unloads:
            error = self.errors.get(str(id))
            loader = self.loaders[str(id)] = FakeLoader(
                id,
                revision=revision,
                servable=self.servables.get(str(id)) or FakeServable(SIGNATURES, compute),
                errors=[error] if error else [],
                is_held=str(id) in self.held,
            )
        return loader


def tuned(**lifecycle: Any) -> LifecycleOptions:
    """Return the lifecycle options of these tests with some of them changed."""
    return dataclasses.replace(LIFECYCLE, **lifecycle)
