"""A request is one trace from the gateway to the model, as a collector that speaks OTLP sees it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sigrun.config.batching import BatchingOptions
from sigrun.config.gateway import GatewayConfig, UpstreamOptions
from sigrun.gateway import Gateway
from sigrun.telemetry.tracer import Tracer
from sigrun.telemetry.tracing import tracer_from_environment
from tests.processes import children
from tests.wire.clients import NAME, failure
from tests.wire.gateways import QUICK, address_of, url_of
from tests.wire.rig import HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
WITHIN_S = 30.0
SAMPLED = f"00-{TRACE}-{PARENT}-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that are sent to it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []  # with the name of the service

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            service = next(
                one.value.string_value
                for one in resource.resource.attributes
                if one.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans += [(service, span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str, service: str = "sigrun") -> Sequence[Span]:
        return [span for whose, span in self.spans if (whose, span.name) == (service, name)]

    def one(self, name: str, service: str = "sigrun") -> Span:
        (span,) = self.named(name, service)
        return span


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> None:
    """Let the loop read how many CPUs there are, as when a server that batches is built."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Return a collector, to which everything sends that is built in this test."""
    collector = Collector()
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add(collector, server)
        port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:{port}")
        yield collector
        server.stop(0).wait()


@pytest_asyncio.fixture
async def tracers(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Tracer, Tracer]]:
    """Return the tracers of a server and of a gateway, whose processes have begun to send."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    server, gateway = [made_tracer(service) for service in ("sigrun", "sigrun-gateway")]
    for tracer in (server, gateway):
        record(tracer, "begin")
    await until(lambda: len(collector.spans) == 2)
    collector.spans.clear()
    yield server, gateway
    server.close()
    gateway.close()


def made_tracer(service: str) -> Tracer:
    tracer = tracer_from_environment(service=service)
    assert tracer is not None
    return tracer


def record(tracer: Tracer, name: str) -> None:
    trace, _ = tracer.begin(name, {}, {})
    assert trace is not None
    tracer.end(trace)


def trace_processes() -> list[int]:
    """Return those of this process; other tests have processes of their own."""
    module = b"sigrun.telemetry.trace_process"
    return [
        process_id
        for process_id in children(os.getpid())
        if module in Path(f"/proc/{process_id}/cmdline").read_bytes()
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  other processes make it true
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def gateway(tracers: tuple[Tracer, Tracer], rig: Rig) -> AsyncIterator[Gateway]:
    """Return a gateway in front of a server that batches; a test stops both."""
    server_tracer, gateway_tracer = tracers
    await rig.start(
        http=HTTP,
        tracer=server_tracer,
        batching=BatchingOptions(max_batch_rows=4, batch_timeout_s=0.05, num_batch_threads=1),
    )
    upstream = UpstreamOptions(addresses=(address_of(rig),), channel_arguments=QUICK)
    gateway = Gateway(GatewayConfig(upstream=upstream, http=HTTP), tracer=gateway_tracer)
    await gateway.start()
    yield gateway


def attributes(span: Span) -> Mapping[str, Any]:
    values = {one.key: one.value for one in span.attributes}
    return {key: getattr(value, str(value.WhichOneof("value"))) for key, value in values.items()}


async def test_a_request_is_one_trace_across_gateway_and_server(
    collector: Collector, gateway: Gateway, rig: Rig
) -> None:
    answer = await rig.http().post(
        f"{url_of(gateway)}/v1/models/{NAME}:predict",
        json={"instances": [1.0]},
        headers={"traceparent": SAMPLED, "x-request-id": "my-42"},
    )
    await gateway.stop(0)
    await rig.stop()

    assert answer.status_code == 200
    outer = collector.one("POST /v1/models/{model}:predict", "sigrun-gateway")
    inner = collector.one("tensorflow.serving.PredictionService/Predict")
    assert {span.trace_id.hex() for _, span in collector.spans if span in (outer, inner)} == {TRACE}
    assert outer.parent_span_id.hex() == PARENT
    assert inner.parent_span_id == outer.span_id
    assert outer.kind == inner.kind == Span.SPAN_KIND_SERVER
    assert attributes(outer) == {
        "http.request.method": "POST",
        "http.route": "/v1/models/{model}:predict",
        "http.response.status_code": 200,
        "url.path": f"/v1/models/{NAME}:predict",
        "client.address": attributes(outer)["client.address"],
        "sigrun.request_id": "my-42",
        "sigrun.model": NAME,
        "sigrun.version": 1,
        "sigrun.signature": "serving_default",
    }
    shown = attributes(inner)
    assert shown["rpc.system"] == "grpc"
    assert shown["rpc.service"] == "tensorflow.serving.PredictionService"
    assert (shown["rpc.method"], shown["rpc.grpc.status_code"]) == ("Predict", 0)
    assert shown["sigrun.request_id"] == "my-42"
    steps = [span for _, span in collector.spans if span.parent_span_id == inner.span_id]
    assert {span.name for span in steps} == {"decode", "queue", "encode"}
    for step in steps:
        assert inner.start_time_unix_nano <= step.start_time_unix_nano + 1_000_000
        assert step.end_time_unix_nano <= inner.end_time_unix_nano + 1_000_000


async def test_a_batch_is_linked_to_its_requests_and_they_to_it(
    collector: Collector, gateway: Gateway, rig: Rig
) -> None:
    client = rig.client()
    await asyncio.gather(client.predict(1.0), client.predict(2.0), client.predict(3.0))
    await gateway.stop(0)
    await rig.stop()

    requests = collector.named("tensorflow.serving.PredictionService/Predict")
    batch = collector.one("batch")
    runs = collector.named("run")
    assert len(requests) == 3
    assert {link.span_id for link in batch.links} == {span.span_id for span in requests}
    assert {link.span_id for run in runs for link in run.links} == {batch.span_id}
    assert {run.parent_span_id for run in runs} == {span.span_id for span in requests}
    assert attributes(batch) == {"sigrun.batch.requests": 3, "sigrun.batch.rows": 3}
    assert len(collector.named("queue")) == 3


async def test_what_fails_is_told_by_its_code(
    collector: Collector, gateway: Gateway, rig: Rig
) -> None:
    assert (await failure(rig.client().predict(1.0, name="nothing")))[0] == "NOT_FOUND"
    response = await rig.http().post("/v1/models/nothing:predict", json={"instances": [1.0]})
    await gateway.stop(0)
    await rig.stop()

    assert response.status_code == 404
    grpc_span = collector.one("tensorflow.serving.PredictionService/Predict")
    assert attributes(grpc_span)["rpc.grpc.status_code"] == 5
    http_span = collector.one("POST /v1/models/{model}:predict")
    assert attributes(http_span)["http.response.status_code"] == 404
    # What a caller did wrong is no error of the server's.
    assert grpc_span.status.code == http_span.status.code == Status.STATUS_CODE_UNSET


async def test_what_the_caller_does_not_sample_is_not_traced(
    collector: Collector, gateway: Gateway, rig: Rig
) -> None:
    await rig.http().post(
        f"{url_of(gateway)}/v1/models/{NAME}:predict",
        json={"instances": [1.0]},
        headers={"traceparent": SAMPLED.removesuffix("1") + "0"},
    )
    await gateway.stop(0)
    await rig.stop()

    assert not [span for _, span in collector.spans if span.trace_id.hex() == TRACE]


async def test_a_trace_process_that_is_killed_is_replaced_by_the_server(
    collector: Collector, tracers: tuple[Tracer, Tracer], caplog: pytest.LogCaptureFixture
) -> None:
    tracer, _ = tracers
    for process_id in trace_processes():
        os.kill(process_id, signal.SIGKILL)

    async def record_until_it_is_noticed() -> None:
        while not caplog.messages:  # until then a pipe takes some that nobody reads
            record(tracer, "lost")
            await asyncio.sleep(0.01)

    await asyncio.wait_for(record_until_it_is_noticed(), WITHIN_S)
    record(tracer, "last")

    await until(lambda: "last" in [span.name for _, span in collector.spans])
    (told,) = caplog.messages
    assert "the trace process has ended with status -9" in told


async def test_a_collector_that_is_away_is_told_of_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    tracer = made_tracer("sigrun")
    record(tracer, "nowhere")
    warning = re.compile(r"Z WARNING opentelemetry\S*: Transient error StatusCode.UNAVAILABLE")
    said = io.StringIO()

    def is_said() -> bool:
        said.write(capfd.readouterr().err)
        return warning.search(said.getvalue()) is not None

    await until(is_said)
    await asyncio.to_thread(tracer.close)


async def test_a_variable_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{HOST}:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")

    await asyncio.to_thread(made_tracer("sigrun").close)

    said = capfd.readouterr().err
    assert "Z ERROR sigrun.telemetry.trace_process: no spans can be sent as the envi" in said
    assert "ValueError: max_queue_size must be a positive integer" in said


async def test_spans_are_printed_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    tracer = made_tracer("sigrun")

    record(tracer, "printed")
    tracer.close()

    assert json.loads(capfd.readouterr().out)["name"] == "printed"
