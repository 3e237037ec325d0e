"""What supervisor and workers tell each other, as plain values that JSON can carry, and back.

Only values cross the socket: a worker reads what strangers send, and the supervisor must not run
what it is told, as unpickling would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sigrun.config.models import (
    AllVersions,
    LatestVersions,
    ModelConfig,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.config.request_log import LogKind, RequestLogging
from sigrun.errors import SigrunError, error_for
from sigrun.inference.management import ManagedModel
from sigrun.servables.servable import ServableId
from sigrun.servables.source import Finding
from sigrun.servables.state import ServableState, State
from sigrun.telemetry.metrics import Counter, Distribution, Gauge, Histogram, Reading, Untyped
from sigrun.tensors.signature import DType, Signature, TensorSpec

Plain = Any
"""None, bool, int, float, str, or lists and dicts of them."""

_KINDS: dict[str, type[Gauge | Counter | Untyped | Distribution]] = {
    kind.__name__: kind for kind in (Gauge, Counter, Untyped, Distribution)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """All that a worker must know of one model.

    `served` has the key of the load that answers for each version; keys are the supervisor's.
    `config` is None for a model that is not in the set in force, or not yet.
    """

    served: Mapping[int, int] = field(default_factory=dict)
    config: ModelConfig | None = None
    states: tuple[ServableState, ...] = ()
    finding: Finding | None = None


def error_to_plain(error: SigrunError) -> Plain:
    """Return code and text."""
    return [int(error.code), str(error)]


def error_from_plain(plain: Plain) -> SigrunError:
    """Return an error of the same code and text; what a caller sees is the same."""
    code, text = plain
    return error_for(code, text)


def state_to_plain(state: ServableState) -> Plain:
    """Return a state of a version."""
    error = None if state.error is None else error_to_plain(state.error)
    return [state.id.name, state.id.version, int(state.state), error, state.note]


def state_from_plain(plain: Plain) -> ServableState:
    """Return what `state_to_plain` was given."""
    name, version, state, error, note = plain
    failure = None if error is None else error_from_plain(error)
    return ServableState(ServableId(name, version), State(state), failure, note)


def states_to_plain(states: Mapping[int, ServableState]) -> Plain:
    """Return the states of a model's versions, in their order."""
    return [state_to_plain(state) for state in states.values()]


def states_from_plain(plain: Plain) -> dict[int, ServableState]:
    """Return states by version, in the order in which they were."""
    return {state.id.version: state for state in map(state_from_plain, plain)}


def model_to_plain(model: ModelConfig) -> Plain:
    """Return the configuration of a model."""
    return {
        "name": model.name,
        "base_path": model.base_path,
        "platform": model.platform,
        "policy": _policy_to_plain(model.version_policy),
        "labels": dict(model.version_labels),
        "logging": None if model.logging is None else _logging_to_plain(model.logging),
    }


def model_from_plain(plain: Plain) -> ModelConfig:
    """Return what `model_to_plain` was given."""
    return ModelConfig(
        name=plain["name"],
        base_path=plain["base_path"],
        platform=plain["platform"],
        version_policy=_policy_from_plain(plain["policy"]),
        version_labels=plain["labels"],
        logging=None if plain["logging"] is None else _logging_from_plain(plain["logging"]),
    )


def entry_to_plain(entry: ModelEntry) -> Plain:
    """Return all that a worker must know of a model."""
    return {
        "served": list(entry.served.items()),
        "config": None if entry.config is None else model_to_plain(entry.config),
        "states": [state_to_plain(state) for state in entry.states],
        "finding": None if entry.finding is None else _finding_to_plain(entry.finding),
    }


def entry_from_plain(plain: Plain) -> ModelEntry:
    """Return what `entry_to_plain` was given."""
    return ModelEntry(
        served=dict(plain["served"]),
        config=None if plain["config"] is None else model_from_plain(plain["config"]),
        states=tuple(map(state_from_plain, plain["states"])),
        finding=None if plain["finding"] is None else _finding_from_plain(plain["finding"]),
    )


def managed_to_plain(model: ManagedModel) -> Plain:
    """Return a model as it is configured, and its states."""
    config = None if model.config is None else model_to_plain(model.config)
    return [model.name, config, states_to_plain(model.states)]


def managed_from_plain(plain: Plain) -> ManagedModel:
    """Return what `managed_to_plain` was given."""
    name, config, states = plain
    return ManagedModel(
        name, None if config is None else model_from_plain(config), states_from_plain(states)
    )


def signatures_to_plain(signatures: Mapping[str, Signature]) -> Plain:
    """Return names, types and shapes of signatures: what the table at the start shows."""
    return [
        {
            "name": signature.name,
            "method_name": signature.method_name,
            "inputs": _specs_to_plain(signature.inputs),
            "outputs": _specs_to_plain(signature.outputs),
        }
        for signature in signatures.values()
    ]


def signatures_from_plain(plain: Plain) -> dict[str, Signature]:
    """Return signatures by name, without the values of inputs that may be left out."""
    return {
        each["name"]: Signature(
            name=each["name"],
            method_name=each["method_name"],
            inputs=_specs_from_plain(each["inputs"]),
            outputs=_specs_from_plain(each["outputs"]),
        )
        for each in plain
    }


def readings_to_plain(readings: Iterable[Reading]) -> Plain:
    """Return what was counted."""
    return [
        [
            type(reading).__name__,
            reading.name,
            reading.help,
            dict(reading.labels),
            _value_to_plain(reading),
        ]
        for reading in readings
    ]


def readings_from_plain(plain: Plain) -> list[Reading]:
    """Return what `readings_to_plain` was given."""
    return [
        _KINDS[kind](name=name, help=help, labels=labels, value=_value_from_plain(value))
        for kind, name, help, labels, value in plain
    ]


def _value_to_plain(reading: Reading) -> Plain:
    if not isinstance(reading, Distribution):
        return reading.value
    return [list(reading.value.bounds), list(reading.value.counts), reading.value.sum]


def _value_from_plain(plain: Plain) -> Any:
    if not isinstance(plain, list):
        return plain
    bounds, counts, total = plain
    return Histogram(bounds=tuple(bounds), counts=tuple(counts), sum=total)


def _policy_to_plain(policy: VersionPolicy) -> Plain:
    match policy:
        case LatestVersions():
            return ["latest", policy.num_versions]
        case AllVersions():
            return ["all", None]
        case SpecificVersions():
            return ["specific", sorted(policy.versions)]


def _policy_from_plain(plain: Plain) -> VersionPolicy:
    kind, value = plain
    match kind:
        case "latest":
            return LatestVersions(value)
        case "all":
            return AllVersions()
    return SpecificVersions(frozenset(value))


def _logging_to_plain(logging: RequestLogging) -> Plain:
    return {**dataclasses.asdict(logging), "kind": logging.kind.value}


def _logging_from_plain(plain: Plain) -> RequestLogging:
    return RequestLogging(**{**plain, "kind": LogKind(plain["kind"])})


def _finding_to_plain(finding: Finding) -> Plain:
    return {
        "chosen": sorted(finding.chosen),
        "problem": None if finding.problem is None else error_to_plain(finding.problem),
        "settling": list(finding.settling.items()),
        "changed": list(finding.changed.items()),
        "is_overdue": finding.is_overdue,
    }


def _finding_from_plain(plain: Plain) -> Finding:
    return Finding(
        chosen=frozenset(plain["chosen"]),
        problem=None if plain["problem"] is None else error_from_plain(plain["problem"]),
        settling=dict(plain["settling"]),
        changed=dict(plain["changed"]),
        is_overdue=plain["is_overdue"],
    )


def _specs_to_plain(specs: Mapping[str, TensorSpec]) -> Plain:
    return [
        [alias, spec.name, spec.dtype, None if spec.shape is None else list(spec.shape)]
        for alias, spec in specs.items()
    ]


def _specs_from_plain(plain: Plain) -> dict[str, TensorSpec]:
    return {
        alias: TensorSpec(
            name=name,
            dtype=None if dtype is None else DType(dtype),
            shape=None if shape is None else tuple(shape),
        )
        for alias, name, dtype, shape in plain
    }
