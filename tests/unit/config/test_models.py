from __future__ import annotations

import dataclasses

import pytest

from sigrun.config.models import (
    STORES,
    AllVersions,
    LatestVersions,
    ModelConfig,
    ModelSet,
    SpecificVersions,
    VersionPolicy,
)
from sigrun.errors import InvalidArgument

PRESENT = (3, 10, 1)


def model(name: str, labels: dict[str, int] | None = None) -> ModelConfig:
    return ModelConfig(name=name, base_path=f"/models/{name}", version_labels=labels or {})


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (LatestVersions(), {10}),
        (LatestVersions(0), {10}),
        (LatestVersions(1), {10}),
        (LatestVersions(2), {3, 10}),
        (LatestVersions(9), {1, 3, 10}),
        (AllVersions(), {1, 3, 10}),
        (SpecificVersions(frozenset({1, 10})), {1, 10}),
        (SpecificVersions(frozenset({1, 2})), {1}),
        (SpecificVersions(frozenset()), set()),
    ],
)
def test_a_version_policy_chooses_from_the_versions_that_are_present(
    policy: VersionPolicy, chosen: set[int]
) -> None:
    assert policy.select(PRESENT) == chosen


@pytest.mark.parametrize("policy", [LatestVersions(), AllVersions(), SpecificVersions(frozenset())])
def test_no_version_policy_chooses_what_is_not_there(policy: VersionPolicy) -> None:
    assert policy.select(()) == frozenset()


def test_a_model_serves_its_latest_version_unless_it_says_otherwise() -> None:
    assert model("mnist").version_policy == LatestVersions(1)


@pytest.mark.parametrize(
    ("base_path", "folder"),
    [
        ("/models/mnist", "/models/mnist"),
        ("/", "/"),
        ("file:///models/mnist", "/models/mnist"),
        ("FILE://localhost/models/a b%20c", "/models/a b%20c"),
    ],
)
def test_a_base_path_is_absolute_or_the_uri_of_a_file(base_path: str, folder: str) -> None:
    model = ModelConfig(name="mnist", base_path=base_path)

    assert (model.base_path, model.folder) == (base_path, folder)


@pytest.mark.parametrize("scheme", ["hdfs", "s3+x", "ram", "S3"])
def test_a_base_path_in_a_store_of_another_kind_is_refused(scheme: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ModelConfig(name="mnist", base_path=f"{scheme}://bucket/mnist")

    assert str(refused.value) == (
        f"Model mnist has base_path()={scheme}://bucket/mnist, but models are read from "
        "/path, file:///path and s3://, gs://, gcs://, az://, abfs://, http://, https://; "
        f"{scheme}:// is not supported"
    )


@pytest.mark.parametrize("scheme", STORES)
def test_a_base_path_may_be_in_an_object_store(scheme: str) -> None:
    model = ModelConfig(name="mnist", base_path=f"{scheme}://bucket/mnist")

    assert (model.folder, model.is_stored) == (model.base_path, True)


def test_a_file_on_another_host_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="file:// is not supported"):
        ModelConfig(name="mnist", base_path="file://models/mnist")


@pytest.mark.parametrize(
    ("policy", "selected"),
    [
        (LatestVersions(), {2, 9}),
        (LatestVersions(2), {2, 5, 9}),
        (AllVersions(), {2, 5, 9}),
        (SpecificVersions(frozenset({5})), {5}),
    ],
)
def test_versions_that_labels_name_stay_next_to_the_latest(
    policy: VersionPolicy, selected: set[int]
) -> None:
    labels = {"stable": 2, "gone": 1}
    model = ModelConfig(
        name="mnist", base_path="/models/mnist", version_policy=policy, version_labels=labels
    )

    assert model.select([2, 5, 9]) == selected


@pytest.mark.parametrize("base_path", ["", "models/mnist", "./mnist", "~/mnist", "://x", "1s://x"])
def test_any_other_base_path_is_refused(base_path: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ModelConfig(name="mnist", base_path=base_path)

    assert str(refused.value) == (
        f"Expected model mnist to have an absolute path or URI; got base_path()={base_path}"
    )


def test_any_other_platform_than_tensorflow_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        ModelConfig(name="mnist", base_path="/models/mnist", platform="caffe")

    assert str(refused.value) == "Model mnist requests unsupported platform caffe"


def test_a_model_that_is_listed_twice_is_refused() -> None:
    with pytest.raises(InvalidArgument) as refused:
        ModelSet((model("mnist"), model("iris"), model("mnist")))

    assert str(refused.value) == "Illegal to list model mnist multiple times in config list"


def test_a_set_knows_its_models_by_name_in_their_order() -> None:
    models = ModelSet((model("mnist"), model("iris")))

    assert [each.name for each in models] == ["mnist", "iris"]
    assert models.names == {"mnist", "iris"}


def test_a_set_knows_the_labels_of_models_that_have_some() -> None:
    models = ModelSet((model("mnist", {"stable": 1, "canary": 2}), model("iris")))

    assert models.labels == {"mnist": {"stable": 1, "canary": 2}}


def test_sets_that_say_the_same_are_equal() -> None:
    one, other = (ModelSet((model("mnist", {"stable": 1}),)) for _ in range(2))

    assert one == other


@pytest.mark.parametrize(
    "change",
    [
        {"base_path": "/other"},
        {"version_policy": AllVersions()},
        {"version_labels": {"stable": 2}},
    ],
    ids=["base path", "version policy", "labels"],
)
def test_sets_that_differ_in_anything_are_not_equal(change: dict[str, object]) -> None:
    before = model("mnist", {"stable": 1})

    after = dataclasses.replace(before, **change)  # type: ignore[arg-type]

    assert ModelSet((before,)) != ModelSet((after,))


def test_what_no_server_holds_is_refused_by_number() -> None:
    one = model("mnist")
    for make, text in (
        (lambda: ModelSet((one,) * 10_001), "10001 models are configured; 10000 can be"),
        (
            lambda: model("mnist", {f"l{number}": 1 for number in range(1_001)}),
            "1001 labels of model mnist are configured; 1000 can be",
        ),
        (
            lambda: SpecificVersions(frozenset(range(10_001))),
            "10001 specific versions are configured; 10000 can be",
        ),
    ):
        with pytest.raises(InvalidArgument) as refused:
            make()
        assert str(refused.value) == text
