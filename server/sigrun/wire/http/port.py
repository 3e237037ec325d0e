"""The HTTP port put together: its paths and who answers them, whatever stands behind."""

from __future__ import annotations

from sigrun.concurrency.offload import Offload
from sigrun.config.server import HttpOptions
from sigrun.inference.backend import Inference, Management
from sigrun.telemetry.metrics import Metrics
from sigrun.wire.http.app import HttpApp
from sigrun.wire.http.server import HttpServer
from sigrun.wire.interceptors import Interceptors
from sigrun.wire.rest.api import RestApi
from sigrun.wire.rest.probes import Probes
from sigrun.wire.rpc.web import RpcApi
from sigrun.wire.rpcs import Services


def http_port(
    options: HttpOptions,
    inference: Inference,
    management: Management,
    services: Services,
    *,
    metrics: Metrics,
    offload: Offload,
    as_content: bool = False,
    interceptors: Interceptors = (),
) -> HttpServer:
    """Return the server of the port; to be started, and stopped once.

    `services` are the RPCs that Connect and gRPC-Web may call, intercepted already.
    """
    rest = RestApi(
        inference,
        management,
        offload,
        timeout_s=options.timeout_s,
        as_content=as_content,
        interceptors=interceptors,
    )
    rpc = RpcApi(services, offload)
    handlers = {"/v1/": rest.respond, **rpc.handlers(), **Probes(management, metrics).handlers()}
    app = HttpApp(handlers, options=options, offload=offload, error_writers=rpc.error_writers())
    return HttpServer(options, app)
