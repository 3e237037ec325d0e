"""The cases that compare with another server: one in C++, a TensorFlow Serving, an older sigrun.

In: a `Peer` or an installed commit. Out: cases whose subject is the sigrun of this checkout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks import bench, cpp
from benchmarks.bench import Contender, closed_loop, large_body_comes, model_comes_and_goes
from benchmarks.bodies import Door
from benchmarks.cases import Case, Figure, grpc_load, json_load
from benchmarks.commits import Commit
from benchmarks.processes import ServerSpec
from benchmarks.senders import Load
from benchmarks.specs import SIGRUN_PLAIN, batching_sigrun, running, sigrun

# "No worse", as far as rounds on a shared machine can tell.
_AS_MANY, _AS_LONG = 0.9, 1.15

Sides = tuple[Contender, Contender]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server with TensorFlow Serving's protocol and work; `key` begins its cases' names."""

    key: str
    label: str
    plain: ServerSpec | None
    batching: ServerSpec | None
    has_cpu: bool  # it is a process of ours, whose CPU time can be read


def cpp_peer() -> Peer:
    """Return the C++ stand-in, which is built when it is first needed."""
    return Peer(
        key="cpp",
        label="C++ stand-in",
        plain=cpp.spec(),
        batching=cpp.spec("--enable_batching"),
        has_cpu=True,
    )


def running_peer(address: str | None, batching_address: str | None) -> Peer:
    """Return a server that runs at one address without batching, at another with it."""
    return Peer(
        key="serving",
        label="TensorFlow Serving",
        plain=running(address, "server") if address else None,
        batching=running(batching_address, "batching server") if batching_address else None,
        has_cpu=False,
    )


def peer_cases(peer: Peer, batching_flags: tuple[str, ...] = ()) -> list[Case]:
    """Return the cases that compare with a peer; `batching_flags`: of each sigrun that batches."""
    batching = batching_sigrun(batching_flags)
    cases: list[Case] = []
    if peer.plain is not None:
        cases += _plain_cases(peer, peer.plain)
    if peer.batching is not None:
        cases += [
            Case(
                name=f"{peer.key}-{name}",
                title=f"gRPC {model}, {in_flight} in flight, batching, vs {peer.label}",
                figure=Figure.REQUESTS_PER_S,
                target=target,
                subject=closed_loop(batching, grpc_load(model, in_flight)),
                reference=closed_loop(peer.batching, grpc_load(model, in_flight)),
            )
            for name, model, in_flight, target in (
                ("mlp-batching", "mlp", 64, 1.2),
                ("mobilenet-8", "mobilenet", 8, 2.2),
                ("mobilenet-64", "mobilenet", 64, 2.2),
            )
        ]
    return cases


def _plain_cases(peer: Peer, spec: ServerSpec) -> Iterable[Case]:
    def case(name: str, title: str, target: float | None, figure: Figure, sides: Sides) -> Case:
        return Case(
            name=f"{peer.key}-{name}",
            title=f"{title}, vs {peer.label}",
            figure=figure,
            target=target,
            subject=sides[0],
            reference=sides[1],
        )

    def sides(what: Load) -> Sides:
        return closed_loop(SIGRUN_PLAIN, what), closed_loop(spec, what)

    rate = Figure.REQUESTS_PER_S
    half = sides(grpc_load("half_plus_two", 64))
    yield case("half_plus_two", "gRPC half_plus_two, 64 in flight", 0.9, rate, half)
    if peer.has_cpu:  # measured once, judged twice: the sides are the same
        title = "CPU per gRPC request to half_plus_two, 64 in flight"
        yield case("half_plus_two-cpu", title, 1.1, Figure.CPU_US, half)
    mlp = sides(grpc_load("mlp", 64))
    yield case("mlp", "gRPC mlp, 64 in flight", 0.9, rate, mlp)
    alone = sides(grpc_load("half_plus_two", 1))
    yield case("alone", "gRPC half_plus_two, 1 in flight", 1.4, Figure.P50_MS, alone)
    timeouts = sides(grpc_load("half_plus_two", 64, changing_timeouts=True))
    title = "gRPC half_plus_two, 64 in flight, each with another timeout"
    yield case("timeouts", title, None, rate, timeouts)


def commit_cases(commit: Commit) -> list[Case]:
    """Return the cases that compare with an older sigrun."""
    old = sigrun(f"sigrun {commit.name}", program=commit.sigrun)
    loads: tuple[tuple[str, str, float | None, Load], ...] = (
        ("json-half_plus_two", "JSON half_plus_two", 1.3, json_load("half_plus_two", 32)),
        ("json-mlp", "JSON mlp", 1.3, json_load("mlp", 32)),
        ("json-image", "JSON image", _AS_MANY, json_load("image_mean", 8)),
        ("half_plus_two", "gRPC half_plus_two", _AS_MANY, grpc_load("half_plus_two", 64)),
        ("mlp", "gRPC mlp", _AS_MANY, grpc_load("mlp", 64)),
        ("image", "gRPC image", _AS_MANY, grpc_load("image_mean", 16, Door.GRPC)),
    )
    rates = [
        Case(
            name=f"commit-{name}",
            title=f"{title}, {load.concurrency} in flight, vs sigrun {commit.name}",
            figure=Figure.REQUESTS_PER_S,
            target=target,
            subject=closed_loop(SIGRUN_PLAIN, load),
            reference=closed_loop(old, load),
        )
        for name, title, target, load in loads
    ]
    return [*rates, *_commit_latencies(commit, old)]


def _commit_latencies(commit: Commit, old: ServerSpec) -> Iterable[Case]:
    ours = sigrun("sigrun, one model", serves="mlp")
    theirs = sigrun(f"sigrun {commit.name}, one model", serves="mlp", program=commit.sigrun)
    mlp, small = grpc_load("mlp", 1), json_load("half_plus_two", 1)
    name = f"sigrun {commit.name}"
    yield Case(
        name="commit-loading",
        title=f"gRPC mlp at a fixed rate while 100 MB load and unload, vs {name}",
        figure=Figure.P99_MS,
        target=_AS_LONG,
        subject=bench.open_loop("sigrun", ours, mlp, model_comes_and_goes),
        reference=bench.open_loop(name, theirs, mlp, model_comes_and_goes),
    )
    yield Case(
        name="commit-large-body",
        title=f"JSON half_plus_two at a fixed rate while 100 MB of JSON are read, vs {name}",
        figure=Figure.P99_MS,
        target=_AS_LONG,
        subject=bench.open_loop("sigrun", SIGRUN_PLAIN, small, large_body_comes),
        reference=bench.open_loop(name, old, small, large_body_comes),
    )
    yield Case(
        name="commit-start",
        title=f"Start to first answer, vs {name}",
        figure=Figure.SECONDS,
        target=_AS_LONG,
        subject=bench.first_answer(label="sigrun"),
        reference=bench.first_answer(commit.sigrun, name),
    )
