from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.errors import InvalidArgument, ServableNotFound, SigrunError, Unavailable
from sigrun.inference.calls import ModelSpec, ResolvedSpec
from sigrun.inference.router import Router, resolved
from sigrun.servables.labels import VersionLabels
from sigrun.servables.servable import ServableId
from tests.fakes.lifecycle import Lifecycle, models, serve
from tests.fakes.servables import FakeLoader

pytestmark = pytest.mark.asyncio


async def resolver() -> Router:
    """Return one over mnist 1 (stable), 2 (canary) and 10; the label `gone` means 3."""
    labels = VersionLabels()
    labels.replace({"mnist": {"stable": 1, "canary": 2, "gone": 3}})
    return Router(await serve(*(FakeLoader(ServableId("mnist", v)) for v in (1, 2, 10))), labels)


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (ModelSpec(name="mnist"), 10),
        (ModelSpec(name="mnist", version=1), 1),
        (ModelSpec(name="mnist", label="canary"), 2),
    ],
    ids=["latest", "version", "label"],
)
async def test_a_spec_names_a_version(spec: ModelSpec, version: int) -> None:
    with (await resolver()).pin(spec) as handle:
        pinned = handle.id

    assert pinned == ServableId("mnist", version)


@pytest.mark.parametrize(
    ("spec", "kind", "text"),
    [
        (ModelSpec(name=""), InvalidArgument, "ModelSpec has no name specified."),
        (ModelSpec(name="", label="x"), InvalidArgument, "ModelSpec has no name specified."),
        (
            ModelSpec(name="mnist", label="nightly"),
            InvalidArgument,
            "Unrecognized servable version label: nightly",
        ),
        (
            ModelSpec(name="iris", label="stable"),
            InvalidArgument,
            "Unrecognized servable version label: stable",
        ),
        (
            ModelSpec(name="iris"),
            ServableNotFound,
            "Servable not found for request: Latest(iris)",
        ),
        (
            ModelSpec(name="mnist", version=0),
            ServableNotFound,
            "Servable not found for request: Specific(mnist, 0)",
        ),
        (
            ModelSpec(name="mnist", label="gone"),
            ServableNotFound,
            "Servable not found for request: Specific(mnist, 3)",
        ),
    ],
)
async def test_a_spec_that_names_nothing_is_refused(
    spec: ModelSpec, kind: type[Exception], text: str
) -> None:
    resolve = await resolver()

    with pytest.raises(kind) as refused:
        resolve.pin(spec)

    assert str(refused.value) == text


async def test_a_label_is_unavailable_before_the_first_models_are() -> None:
    resolve = Router(await serve(), VersionLabels())

    with pytest.raises(Unavailable, match=r"^Model labels does not init yet.stable$"):
        resolve.pin(ModelSpec(name="mnist", label="stable"))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("", "serving_default"), ("serving_default", "serving_default"), ("embed", "embed")],
)
async def test_an_answer_names_the_version_and_the_signature_that_gave_it(
    asked: str, answered: str
) -> None:
    spec = ModelSpec(name="mnist", label="canary", signature_name=asked)

    with (await resolver()).pin(spec) as handle:
        answer = resolved(spec, handle.id)

    assert answer == ResolvedSpec(name="mnist", version=2, signature_name=answered)


async def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    life = Lifecycle(tmp_path)
    life.add_version("mnist", 1)
    await life.models.start(models(life.model("mnist", labels={"stable": 1})))
    resolver = Router(life.manager, life.labels, life.models.absence)

    told: dict[str, str] = {}
    for spec in (
        ModelSpec(name="iris"),
        ModelSpec(name="mnist", version=2),
        ModelSpec(name="mnist", label="canary"),
    ):
        with pytest.raises(SigrunError) as refused:
            resolver.pin(spec)
        told[f"{spec.name} {spec.version or spec.label}"] = str(refused.value).split("; ")[1]

    assert told == {
        "iris None": "there is no model iris, this server has model mnist",
        "mnist 2": "mnist has version 1",
        "mnist canary": "mnist has label stable",
    }
