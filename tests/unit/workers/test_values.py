"""What goes to another process as JSON comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sigrun.config.models import (
    AllVersions,
    LatestVersions,
    ModelConfig,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.errors import NotFound, ServableNotFound, Unavailable
from sigrun.servables.servable import ServableId
from sigrun.servables.source import Finding
from sigrun.servables.state import ServableState, State
from sigrun.telemetry.metrics import Counter, Distribution, Gauge, Histogram, Reading, Untyped
from sigrun.workers import values
from tests.fakes.servables import HALF_PLUS_TWO


def sent(plain: Any) -> Any:
    """Return what arrives."""
    return json.loads(json.dumps(plain))


@pytest.mark.parametrize(
    "policy", [LatestVersions(3), AllVersions(), SpecificVersions(frozenset({1, 2**63 - 1}))]
)
def test_the_configuration_of_a_model(policy: VersionPolicy) -> None:
    model = ModelConfig(
        name="m", base_path="/m", version_policy=policy, version_labels={"stable": 1}
    )

    assert values.model_from_plain(sent(values.model_to_plain(model))) == model


def test_an_error_keeps_its_code_and_its_text() -> None:
    error = values.error_from_plain(sent(values.error_to_plain(ServableNotFound("m", 3))))

    assert isinstance(error, NotFound)
    assert str(error) == str(ServableNotFound("m", 3))


def test_all_that_a_worker_must_know_of_a_model() -> None:
    entry = values.ModelEntry(
        served={1: 17, 2: 18},
        config=ModelConfig(name="m", base_path="/m"),
        states=(ServableState(ServableId("m", 2), State.AVAILABLE, note="as it was"),),
        finding=Finding(
            chosen=frozenset({1, 2}), settling={3: "is being written"}, changed={1: "a"}
        ),
    )

    assert values.entry_from_plain(sent(values.entry_to_plain(entry))) == entry


def test_states_come_in_their_order_with_their_errors() -> None:
    states = {
        2: ServableState(ServableId("m", 2), State.END, Unavailable("full")),
        1: ServableState(ServableId("m", 1), State.AVAILABLE),
    }

    back = values.states_from_plain(sent(values.states_to_plain(states)))

    assert list(back) == [2, 1]
    assert back[1] == states[1]
    assert isinstance(back[2].error, Unavailable)


def test_signatures_keep_names_types_and_shapes() -> None:
    signatures = {HALF_PLUS_TWO.name: HALF_PLUS_TWO}

    back = values.signatures_from_plain(sent(values.signatures_to_plain(signatures)))

    assert back[HALF_PLUS_TWO.name].inputs == HALF_PLUS_TWO.inputs
    assert back[HALF_PLUS_TWO.name].outputs == HALF_PLUS_TWO.outputs


def test_readings_of_every_kind() -> None:
    readings: list[Reading] = [
        Counter(name="c", help="C", value=1, labels={"model": "m"}),
        Gauge(name="g", help="G", value=0.5),
        Untyped(name=":u", help="U", value=2),
        Distribution(name="d", help="D", value=Histogram(bounds=(1.0,), counts=(1, 2), sum=3.0)),
    ]

    assert values.readings_from_plain(sent(values.readings_to_plain(readings))) == readings
