"""grpcio's asyncio server: addresses, limits and services; started once, stopped once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping

import grpc

from sigrun.concurrency.budget import Budget
from sigrun.config.server import GrpcOptions, TlsOptions
from sigrun.errors import InvalidArgument, Unavailable
from sigrun.wire.rpcs import Services
from sigrun.wire.transport.grpcio.handlers import service_handler
from sigrun.wire.transport.tls import tls_context

logger = logging.getLogger(__name__)

_OPTIONS: Mapping[str, str | int] = {
    # Tensors are larger than gRPC's default of 4 MB.
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    # Two servers on one port would share its requests without a word.
    "grpc.so_reuseport": 0,
}


class GrpcServer:
    """Serves `services`, whose calls draw on `budget` from when their message is there.

    What of it is still coming, and answers on their way, are in C-core's memory, and not counted.
    Services that are only asked how the server is are `spared`.
    """

    def __init__(
        self,
        options: GrpcOptions,
        services: Services,
        *,
        budget: Budget,
        spared: Collection[str] = (),
    ) -> None:
        self._budget = budget
        self._spared = spared
        self._options = options
        self._services = services
        self._server: grpc.aio.Server | None = None
        self._tls = options.tls  # as it is now
        self.port: int | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises `Unavailable` if an address cannot be had, `InvalidArgument` for TLS settings
        that contradict each other.
        """
        options = {**_OPTIONS, **self._options.channel_arguments}
        self._server = server = grpc.aio.server(options=list(options.items()))
        server.add_generic_rpc_handlers(
            tuple(
                service_handler(name, rpcs, Budget() if name in self._spared else self._budget)
                for name, rpcs in self._services.items()
            )
        )
        self._listen(server)
        await server.start()

    def _listen(self, server: grpc.aio.Server) -> None:
        options = self._options
        if options.port is not None:
            self.port = self._bind(server, f"{options.host}:{options.port}")
        if options.socket_path:
            self._bind(server, f"unix:{options.socket_path}")

    def _bind(self, server: grpc.aio.Server, address: str) -> int:
        try:
            if self._options.alts:
                return server.add_secure_port(address, grpc.alts_server_credentials())
            if self._tls is not None:
                return server.add_secure_port(address, self._credentials(self._tls))
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise Unavailable(f"gRPC cannot listen on {address}: {error}") from None
        except ValueError as error:  # of the certificates
            raise InvalidArgument(f"gRPC cannot use its TLS settings: {error}") from None

    def _credentials(self, tls: TlsOptions) -> grpc.ServerCredentials:
        if tls.verify_client and not tls.custom_ca:
            raise ValueError("client_verify needs a custom_ca")
        # Asked at every handshake, in a thread of gRPC's.
        return grpc.dynamic_ssl_server_credentials(
            _certificates(tls),
            lambda: _certificates(self._tls or tls),
            require_client_authentication=tls.verify_client,
        )

    async def use_tls(self, tls: TlsOptions) -> None:
        """Show these certificates to whoever connects from now on; connections stay as they are.

        Raises `InvalidArgument` for certificates that cannot be used, and where another
        `verify_client` is asked for, which gRPC fixes at the start; those before stay then.
        """
        if self._tls is not None and tls.verify_client != self._tls.verify_client:
            raise InvalidArgument("client_verify cannot change while grpcio's server runs")
        await asyncio.to_thread(tls_context, tls, ())
        self._tls = tls

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those in flight finish for up to `grace_s`, then cut them."""
        if self._server is not None:
            await self._server.stop(grace_s)


def _certificates(tls: TlsOptions) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(tls.server_key, tls.server_cert)], root_certificates=tls.custom_ca or None
    )
