"""Run a case in interleaved rounds, and the overview; keep medians, ratios and what went wrong.

Both sides of a case are prepared first. Then they take turns, and who begins changes with every
round (AB BA AB ...), so that a machine that slowly gets faster or slower favours neither.
"""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import grpc

from benchmarks.bench import Bench, closed_loop
from benchmarks.bodies import Door, WrongAnswer
from benchmarks.cases import Case, grpc_load, json_load
from benchmarks.disturbances import DisturbanceFailed
from benchmarks.http_client import HttpError
from benchmarks.load import Sample
from benchmarks.processes import DidNotStart, NotThere, ServerSpec, missing_flags
from benchmarks.senders import Load, LoadFailed
from benchmarks.specs import FASTAPI, SIGRUN_PLAIN, USUAL_GRPC, batching_sigrun

CONCURRENCIES = (1, 8, 64)
OVERVIEW_MODELS = ("half_plus_two", "strings", "mlp", "conv", "mobilenet", "image_mean")
_FAILURES = (
    DidNotStart,
    DisturbanceFailed,
    HttpError,
    LoadFailed,
    WrongAnswer,
    OSError,
    grpc.RpcError,
    subprocess.SubprocessError,
)


@dataclass(slots=True, kw_only=True)
class Comparison:
    """The rounds of one case. `problem` says why there are none."""

    case: Case
    subject: list[Sample] = field(default_factory=list)
    reference: list[Sample] = field(default_factory=list)
    problem: str = ""
    is_failure: bool = False  # not merely something that is not there

    @property
    def medians(self) -> tuple[float, float] | None:
        """Return the median figures of subject and reference, or None if there are none."""
        if self.problem:
            return None
        figure = self.case.figure.of
        return (
            statistics.median(map(figure, self.subject)),
            statistics.median(map(figure, self.reference)),
        )

    @property
    def ratio(self) -> float | None:
        medians = self.medians
        return medians[0] / medians[1] if medians else None

    @property
    def ratios(self) -> list[float]:
        """Return the ratio of each round."""
        figure = self.case.figure.of
        pairs = zip(self.subject, self.reference, strict=True)
        return [figure(subject) / figure(reference) for subject, reference in pairs]

    @property
    def cpu_us(self) -> tuple[float, float] | None:
        """Return the median CPU times per request, whatever the case is about, if both are known.

        On a machine that does other things as well they say more than requests per second do:
        the system gives a server with many threads more of its time.
        """
        sides = [
            [sample.cpu_us for sample in samples if sample.cpu_us is not None]
            for samples in (self.subject, self.reference)
        ]
        if not all(sides):
            return None
        return statistics.median(sides[0]), statistics.median(sides[1])

    @property
    def verdict(self) -> str:
        if self.ratio is None:
            return "failed" if self.is_failure else "not there"
        return {True: "met", False: "missed", None: "shown"}[self.case.is_met_by(self.ratio)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """One server, model, protocol and concurrency; no sample if something went wrong."""

    model: str
    door: Door
    concurrency: int
    server: str
    sample: Sample | None
    problem: str = ""


def compare(cases: Sequence[Case], bench: Bench, rounds: int, starts: int = 1) -> list[Comparison]:
    """Measure cases that differ in their figure only: the rounds are the same for all.

    All servers are started `starts` times, for as many `rounds` each. What goes wrong is told, not
    raised: other cases still run.
    """
    subject: list[Sample] = []
    reference: list[Sample] = []
    sides = [(cases[0].subject, subject), (cases[0].reference, reference)]
    try:
        for start in range(starts):
            if start:
                bench.pool.end()
            for contender, _ in sides:
                contender.prepare(bench)
            for _ in range(rounds):
                for contender, samples in sides:
                    samples.append(contender.measure(bench))
                sides.reverse()
    except NotThere as error:
        return [Comparison(case=case, problem=str(error)) for case in cases]
    except _FAILURES as error:
        problem = f"{contender.label}: {error}"
        return [Comparison(case=case, problem=problem, is_failure=True) for case in cases]
    return [Comparison(case=case, subject=subject, reference=reference) for case in cases]


def overview(
    bench: Bench, rounds: int, models: Iterable[str], batching_flags: tuple[str, ...]
) -> Iterator[OverviewRow]:
    """Yield what each server does with each model, by protocol and concurrency."""
    batching = batching_sigrun(batching_flags)
    ours = [spec for spec in (SIGRUN_PLAIN, batching) if not missing_flags(spec)]
    doors = {Door.GRPC: [*ours, USUAL_GRPC], Door.JSON: [*ours, FASTAPI]}
    for model in models:
        for door, specs in doors.items():
            for concurrency in CONCURRENCIES:
                make = grpc_load if door is Door.GRPC else json_load
                yield from _overview_rows(bench, rounds, specs, make(model, concurrency))


def _overview_rows(
    bench: Bench, rounds: int, specs: list[ServerSpec], what: Load
) -> Iterator[OverviewRow]:
    samples: dict[str, list[Sample]] = {spec.name: [] for spec in specs}
    problems: dict[str, str] = {}
    for _ in range(rounds):
        for spec in specs:
            try:
                samples[spec.name].append(closed_loop(spec, what).measure(bench))
            except (NotThere, *_FAILURES) as error:
                problems[spec.name] = str(error)
        specs = specs[::-1]
    for name, measured in samples.items():
        yield OverviewRow(
            model=what.model,
            door=what.door,
            concurrency=what.concurrency,
            server=name,
            sample=None if name in problems else _median(measured),
            problem=problems.get(name, ""),
        )


def _median(samples: list[Sample]) -> Sample:
    medians = {}
    for name in (entry.name for entry in dataclasses.fields(Sample)):
        values = [value for value in (getattr(sample, name) for sample in samples) if value]
        medians[name] = statistics.median(values) if values else None
    return Sample(**medians)
