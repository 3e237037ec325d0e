"""The ports put together: who answers what, whatever stands behind, on which transport."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sigrun.concurrency.budget import Budget
from sigrun.concurrency.offload import Offload
from sigrun.config.server import AdminOptions, GrpcOptions, HttpOptions, TlsOptions, Transport
from sigrun.telemetry.metrics import Reading
from sigrun.wire import limits
from sigrun.wire.http.app import HttpApp
from sigrun.wire.http.messages import Handler
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.rpc import health
from sigrun.wire.rpc.grpc import Grpc, is_grpc
from sigrun.wire.rpc.web import RpcApi
from sigrun.wire.rpcs import Services
from sigrun.wire.transport import accepting
from sigrun.wire.transport.addresses import Address, Tcp, Unix
from sigrun.wire.transport.events import Problem, RequestHead, Response
from sigrun.wire.transport.exchange import Application, Exchange
from sigrun.wire.transport.grpcio.server import GrpcServer
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.listener import Listener
from sigrun.wire.transport.turns import Turns

_HEALTH = f"/{health.NAME}/".encode()


class SharedPort:
    """gRPC and everything else on one port: the content type says which it is."""

    def __init__(self, grpc: Application, http: Application) -> None:
        self._grpc = grpc
        self._http = http

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Answer one request."""
        return self._of(exchange.head).serve(exchange)

    def refuse(self, head: RequestHead | None, problem: Problem, text: str) -> Response:
        """Return what is said to a client whose request the transport refuses."""
        return self._of(head).refuse(head, problem, text)

    def _of(self, head: RequestHead | None) -> Application:
        return self._grpc if head is not None and is_grpc(head) else self._http


class AsTasks:
    """Runs an application in tasks from the first step on, for what must have one."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.refuse = application.refuse

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request."""
        await exchange.as_task()
        await self._application.serve(exchange)


class Port(Protocol):
    """A port, whatever its transport; started once, stopped once."""

    @property
    def port(self) -> int | None:
        """The number of the TCP port, once it is open; None without one."""

    async def start(self) -> None:
        """Listen and serve. Raises `Unavailable` or `InvalidArgument` where that cannot be."""

    async def use_tls(self, tls: TlsOptions) -> None:
        """Show these certificates to whoever connects from now on.

        Raises `InvalidArgument` for certificates that cannot be used; those before stay then.
        """

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those in flight finish for up to `grace_s`, then cut them."""


class MakesPorts(Protocol):
    """Builds the ports of a server."""

    def readings(self) -> Iterable[Reading]:
        """Return the numbers of connections at these ports, as metrics."""

    def grpc(self, options: GrpcOptions, services: Services) -> Port:
        """Return the port of gRPC."""

    def http(
        self,
        options: HttpOptions,
        rest: RestApi,
        probes: Probes,
        services: Services,
        grpc: GrpcOptions | None = None,
    ) -> Port:
        """Return the port of everything else."""

    def admin(
        self,
        admin: AdminOptions,
        probes: Probes,
        services: Services,
        http: HttpOptions,
        grpc: GrpcOptions,
    ) -> Port:
        """Return the port of administration."""


class Ports:
    """Builds the ports of a process, which share their turns on the event loop and one budget.

    With `in_tasks` every request has a task of its own, as grpcio's client wants it; else only
    those that wait for something. Where it does not `listen`, connections are given to it.
    """

    def __init__(
        self,
        offload: Offload,
        *,
        budget: Budget | None = None,
        in_tasks: bool = False,
        listen: bool = True,
    ) -> None:
        self._offload = offload
        self._budget = budget or Budget()
        self._in_tasks = in_tasks
        self._listen = listen
        self._turns = Turns()
        self._listeners: list[Listener] = []

    def readings(self) -> Iterable[Reading]:
        """Return the numbers of connections, as metrics; grpcio's server has none."""
        for listener in self._listeners:
            yield from listener.readings()
        yield from accepting.readings(listener.acceptor for listener in self._listeners)

    def grpc(self, options: GrpcOptions, services: Services) -> Port:
        """Return the port of gRPC."""
        if options.transport is Transport.GRPCIO or options.alts:
            return GrpcServer(options, services, budget=self._budget, spared=[health.NAME])
        application = self._grpc(options, services)
        where = grpc_addresses(options)
        return self._listener("gRPC", application, where, limits.of_grpc(options), options.tls)

    def http(
        self,
        options: HttpOptions,
        rest: RestApi,
        probes: Probes,
        services: Services,
        grpc: GrpcOptions | None = None,
    ) -> Port:
        """Return the port of everything else, and of gRPC for those who can reach only one.

        `services` are the RPCs for gRPC-Web, Connect and gRPC, intercepted already.
        """
        handlers = {"/v1/": rest.respond, **probes.handlers()}
        application = self._shared(handlers, services, options, grpc or GrpcOptions())
        where = http_addresses(options)
        return self._listener("HTTP", application, where, limits.of_http(options), options.tls)

    def admin(
        self,
        admin: AdminOptions,
        probes: Probes,
        services: Services,
        http: HttpOptions,
        grpc: GrpcOptions,
    ) -> Port:
        """Return the port of administration: gRPC and everything else, but for inference.

        Its limits are those of the other ports.
        """
        application = self._shared(probes.handlers(), services, http, grpc)
        where = admin_addresses(admin)
        return self._listener("administration", application, where, limits.of_http(http), admin.tls)

    def _shared(
        self,
        handlers: Mapping[str, Handler],
        services: Services,
        http: HttpOptions,
        grpc: GrpcOptions,
    ) -> Application:
        web = RpcApi(services, self._offload)
        app = HttpApp(
            {**handlers, **web.handlers()},
            options=http,
            offload=self._offload,
            error_writers=web.error_writers(),
        )
        return SharedPort(self._grpc(grpc, services), app)

    def _grpc(self, options: GrpcOptions, services: Services) -> Grpc:
        return Grpc(services, self._offload, max_message_bytes=limits.max_message_bytes(options))

    def _listener(
        self,
        door: str,
        application: Application,
        where: Sequence[Address],
        bounds: Limits,
        tls: TlsOptions | None,
    ) -> Port:
        if self._in_tasks:
            application = AsTasks(application)
        listener = Listener(
            application,
            where if self._listen else (),
            door=door,
            turns=self._turns,
            limits=bounds,
            tls=tls,
            budget=self._budget,
            is_spared=is_a_look,
        )
        self._listeners.append(listener)
        return listener


def grpc_addresses(options: GrpcOptions) -> list[Address]:
    """Return where gRPC is to be served."""
    where: list[Address] = []
    if options.port is not None:
        where.append(Tcp(options.host, options.port))
    if options.socket_path:
        where.append(Unix(options.socket_path))
    return where


def http_addresses(options: HttpOptions) -> list[Address]:
    """Return where HTTP is to be served."""
    return [Tcp(options.host, options.port or 0)]


def admin_addresses(options: AdminOptions) -> list[Address]:
    """Return where administration is to be served."""
    if options.socket_path:
        return [Unix(options.socket_path, is_private=True)]
    return [Tcp(options.host, options.port)]


def is_a_look(head: RequestHead) -> bool:
    """Return whether a request only asks how the server is: probes, metrics, status, health.

    A full server answers those too. Whoever watches it would take it for dead, and restart it.
    """
    return head.method == b"GET" or head.target.startswith(_HEALTH)
