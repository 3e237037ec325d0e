"""The cases: what is compared with what, by which figure, and the ratio that is aimed at."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from benchmarks import bench, in_process
from benchmarks.bench import (
    Contender,
    closed_loop,
    in_process_time,
    large_body_comes,
    model_comes_and_goes,
    open_loop,
)
from benchmarks.bodies import Door
from benchmarks.load import Sample
from benchmarks.processes import ServerSpec
from benchmarks.senders import Load
from benchmarks.specs import (
    CPUS,
    ECHO,
    FASTAPI,
    SIGRUN_PLAIN,
    TOKEN,
    USUAL_GRPC,
    batching_sigrun,
    sigrun,
)


class Figure(enum.Enum):
    """What of a sample is compared."""

    REQUESTS_PER_S = "req/s"
    P50_MS = "p50 ms"
    P99_MS = "p99 ms"
    SECONDS = "s"
    CPU_US = "CPU us"
    CALL_US = "us"

    def of(self, sample: Sample) -> float:
        """Return this figure of `sample`."""
        value = {
            Figure.REQUESTS_PER_S: sample.requests_per_s,
            Figure.P50_MS: sample.p50_ms,
            Figure.P99_MS: sample.p99_ms,
            Figure.SECONDS: sample.seconds,
            Figure.CPU_US: sample.cpu_us,
            Figure.CALL_US: sample.call_us,
        }[self]
        if value is None:
            raise ValueError(f"{self.value} was not measured")
        return value

    @property
    def is_better_when_high(self) -> bool:
        return self is Figure.REQUESTS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A ratio: the figure of `subject` divided by that of `reference`.

    The target is a floor for throughput and a ceiling for times; None: shown, not judged.
    """

    name: str
    title: str
    figure: Figure
    target: float | None
    subject: Contender
    reference: Contender

    def is_met_by(self, ratio: float) -> bool | None:
        """Return whether `ratio` is as good as the target, or None if there is none."""
        if self.target is None:
            return None
        return ratio >= self.target if self.figure.is_better_when_high else ratio <= self.target


def make_cases(batching_flags: tuple[str, ...] = ()) -> list[Case]:
    """Return every case; `batching_flags` are given to each sigrun that batches."""
    batching = batching_sigrun(batching_flags)
    return [
        *_grpc_cases(),
        *_in_process_cases(),
        *_batching_cases(batching),
        *_json_cases(batching),
        *_beside_cases(),
        *_latency_cases(),
        *_gateway_cases(),
        Case(
            name="start",
            title="Start to first answer, vs `import tensorflow` alone",
            figure=Figure.SECONDS,
            target=1.5,
            subject=bench.first_answer(),
            reference=bench.bare_import(),
        ),
    ]


def grpc_load(
    model: str, concurrency: int, door: Door = Door.GRPC, *, changing_timeouts: bool = False
) -> Load:
    """Return a load on the gRPC port, on up to four connections."""
    connections = min(4, concurrency)
    return Load(
        model=model,
        door=door,
        connections=connections,
        streams=concurrency // connections,
        changing_timeouts=changing_timeouts,
    )


def json_load(model: str, concurrency: int) -> Load:
    """Return a load on the HTTP port, one connection for each request in flight."""
    return Load(model=model, door=Door.JSON, connections=concurrency)


def _grpc_cases() -> list[Case]:
    half, mobilenet = grpc_load("half_plus_two", 64), grpc_load("mobilenet", 8)
    as_tensorflow_serving = sigrun(
        "sigrun, TensorFlow's defaults",
        "--optimize_on_load=false",
        f"--tensorflow_intra_op_parallelism={CPUS}",
        f"--tensorflow_inter_op_parallelism={CPUS}",
    )
    return [
        Case(
            name="echo",
            title="gRPC half_plus_two, 64 in flight, vs a gRPC echo",
            figure=Figure.REQUESTS_PER_S,
            target=3.0,
            subject=closed_loop(SIGRUN_PLAIN, half),
            reference=closed_loop(ECHO, half),
        ),
        Case(
            name="usual",
            title="gRPC half_plus_two, 64 in flight, vs the usual Python handler",
            figure=Figure.REQUESTS_PER_S,
            target=4.0,
            subject=closed_loop(SIGRUN_PLAIN, half),
            reference=closed_loop(USUAL_GRPC, half),
        ),
        Case(
            name="watched",
            title="gRPC half_plus_two, 64 in flight, with access log, traces, tokens, vs without",
            figure=Figure.REQUESTS_PER_S,
            target=0.85,
            subject=bench.watched(dataclasses.replace(half, token=TOKEN)),
            reference=closed_loop(SIGRUN_PLAIN, half),
        ),
        _large_tensor("image", Door.GRPC, "float_val", 6.0),
        _large_tensor("image-content", Door.GRPC_CONTENT, "tensor_content", None),
        Case(
            name="mobilenet",
            title="gRPC MobileNetV2, 8 in flight, vs unoptimized with TensorFlow's threads",
            figure=Figure.REQUESTS_PER_S,
            target=2.5,
            subject=closed_loop(SIGRUN_PLAIN, mobilenet),
            reference=closed_loop(as_tensorflow_serving, mobilenet),
        ),
    ]


def _large_tensor(name: str, door: Door, form: str, target: float | None) -> Case:
    what = grpc_load("image_mean", 16, door)
    return Case(
        name=name,
        title=f"gRPC 600 KB of floats in {form}, 16 in flight, vs the usual Python handler",
        figure=Figure.REQUESTS_PER_S,
        target=target,
        subject=closed_loop(SIGRUN_PLAIN, what),
        reference=closed_loop(USUAL_GRPC, what),
    )


def _in_process_cases() -> list[Case]:
    return [
        Case(
            name=f"in-process-{model}",
            title=f"{model} from bytes to bytes in process, vs the session call alone",
            figure=Figure.CALL_US,
            target=target,
            subject=in_process_time("Predict", model, in_process.PREDICT),
            reference=in_process_time("the call", model, in_process.CALL),
        )
        for model, target in (("half_plus_two", 3.5), ("mlp", 1.5))
    ]


def _beside_cases() -> list[Case]:
    """Return what the callers of each port keep when those of the other one come."""
    http, grpc = json_load("half_plus_two", 32), grpc_load("half_plus_two", 32)
    return [
        Case(
            name=f"beside-{other_name}",
            title=f"32 callers by {name}, beside 32 by {other_name}, vs alone",
            figure=Figure.REQUESTS_PER_S,
            target=0.35,
            subject=bench.beside(f"beside {other_name}", SIGRUN_PLAIN, what, other),
            reference=closed_loop(SIGRUN_PLAIN, what),
        )
        for name, what, other_name, other in (
            ("HTTP", http, "gRPC", grpc),
            ("gRPC", grpc, "HTTP", http),
        )
    ]


def _batching_cases(batching: ServerSpec) -> list[Case]:
    gains = {"mlp": 1.2, "conv": 1.2, "half_plus_two": 0.9}
    return [
        Case(
            name=f"batching-{model}",
            title=f"gRPC {model}, 64 in flight, batching on vs off",
            figure=Figure.REQUESTS_PER_S,
            target=target,
            subject=closed_loop(batching, grpc_load(model, 64)),
            reference=closed_loop(SIGRUN_PLAIN, grpc_load(model, 64)),
        )
        for model, target in gains.items()
    ] + [
        Case(
            name=f"batching-alone-{model}",
            title=f"gRPC {model}, 1 in flight, batching on vs off",
            figure=Figure.P50_MS,
            target=1.1,
            subject=closed_loop(batching, grpc_load(model, 1)),
            reference=closed_loop(SIGRUN_PLAIN, grpc_load(model, 1)),
        )
        for model in gains
    ]


def _json_cases(batching: ServerSpec) -> list[Case]:
    return [
        Case(
            name="json-mlp",
            title="JSON mlp, 64 in flight, batching on, vs FastAPI",
            figure=Figure.REQUESTS_PER_S,
            target=5.0,
            subject=closed_loop(batching, json_load("mlp", 64)),
            reference=closed_loop(FASTAPI, json_load("mlp", 64)),
        ),
        Case(
            name="json-image",
            title="JSON image of 224x224x3 floats, 8 in flight, vs FastAPI",
            figure=Figure.REQUESTS_PER_S,
            target=12.0,
            subject=closed_loop(SIGRUN_PLAIN, json_load("image_mean", 8)),
            reference=closed_loop(FASTAPI, json_load("image_mean", 8)),
        ),
    ]


def _latency_cases() -> list[Case]:
    one_model = sigrun("sigrun, one model", serves="mlp")
    mlp, small = grpc_load("mlp", 1), json_load("half_plus_two", 1)
    return [
        Case(
            name="loading",
            title="gRPC mlp at a fixed rate while 100 MB load and unload, vs alone",
            figure=Figure.P99_MS,
            target=3.0,
            subject=open_loop("beside a loading model", one_model, mlp, model_comes_and_goes),
            reference=open_loop("alone", one_model, mlp),
        ),
        Case(
            name="large-body",
            title="JSON half_plus_two at a fixed rate while 100 MB of JSON are read, vs alone",
            figure=Figure.P99_MS,
            target=5.0,
            subject=open_loop("beside a large body", SIGRUN_PLAIN, small, large_body_comes),
            reference=open_loop("alone", SIGRUN_PLAIN, small),
        ),
    ]


def _gateway_cases() -> list[Case]:
    """Return what a gateway costs, alone and with its server, beside the server's own HTTP port.

    gRPC between two processes costs more than the server's part in a tiny model, so that the
    sum is shown and not judged.
    """
    return [
        Case(
            name=f"gateway{suffix}-{model}",
            title=f"CPU per JSON request to {model}, 64 in flight: {who} vs the server's own port",
            figure=Figure.CPU_US,
            target=target,
            subject=bench.through_gateway(who, SIGRUN_PLAIN, json_load(model, 64), **settings),
            reference=closed_loop(SIGRUN_PLAIN, json_load(model, 64)),
        )
        for suffix, who, target, settings in (
            ("", "a gateway", 2.5, {"counts_server": False}),
            ("-total", "gateway and server", None, {"counts_server": True}),
        )
        for model in ("half_plus_two", "mlp")
    ]
