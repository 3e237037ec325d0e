"""The HTTP port put together: its paths and who answers them, whatever stands behind."""

from __future__ import annotations

from sigrun.config.server import HttpOptions
from sigrun.executors.threads import Threads
from sigrun.inference.backend import Inference, Management
from sigrun.wire.http.app import HttpApp
from sigrun.wire.http.probes import Probes
from sigrun.wire.http.rest import RestApi
from sigrun.wire.http.server import HttpServer


def http_port(
    options: HttpOptions,
    inference: Inference,
    management: Management,
    *,
    bodies: Threads,
    as_content: bool = False,
) -> HttpServer:
    """Return the server of the port; to be started, and stopped once."""
    rest = RestApi(
        inference, management, timeout_s=options.timeout_s, bodies=bodies, as_content=as_content
    )
    handlers = {"/v1/": rest.respond, **Probes(management).handlers()}
    return HttpServer(options, HttpApp(handlers, options=options, bodies=bodies))
