"""The Helm chart, rendered by Helm's own library, and the other manifests."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from deploy.helm.render import CHART, as_text, merged, render
from sigrun.cli.flags import ModelServerFlags
from sigrun.cli.parsing import parse
from sigrun.concurrency.budget import Budget
from sigrun.wire.config_files import model_config
from tests.deploy.manifests import BadManifestError, Manifest, check

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCENARIOS = sorted((DEPLOY / "helm" / "scenarios").glob("*.yaml"))
DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
STORED = {"modelStorage": {"existingClaim": "models"}}


def values_of(scenario: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((DEPLOY / "helm/scenarios" / scenario).read_text())
    return values


def manifests(values: dict[str, Any]) -> dict[str, Manifest]:
    """Return what is rendered, by kind and name, for the release `demo`."""
    found = {}
    for text in render(values, release="demo", namespace="prod"):
        manifest = yaml.safe_load(text)
        found[f"{manifest['kind']} {manifest['metadata']['name']}"] = manifest
    return found


def container(rendered: dict[str, Manifest]) -> Manifest:
    (only,) = rendered["Deployment demo-sigrun"]["spec"]["template"]["spec"]["containers"]
    result: Manifest = only
    return result


def pod(rendered: dict[str, Manifest]) -> Manifest:
    result: Manifest = rendered["Deployment demo-sigrun"]["spec"]["template"]["spec"]
    return result


def test_there_are_the_five_scenarios() -> None:
    assert [path.stem for path in SCENARIOS] == [
        "gpu",
        "minimal",
        "object-store",
        "replicas",
        "tls-tokens",
    ]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_renders_to_what_a_cluster_takes(path: Path) -> None:
    rendered = manifests(values_of(path.name))

    for manifest in rendered.values():
        check(manifest)
    selected = rendered["Deployment demo-sigrun"]["spec"]["selector"]["matchLabels"]
    labels = rendered["Deployment demo-sigrun"]["spec"]["template"]["metadata"]["labels"]
    assert selected.items() <= labels.items()
    for service in (one for key, one in rendered.items() if key.startswith("Service ")):
        assert service["spec"]["selector"] == selected
        assert {port["targetPort"] for port in service["spec"]["ports"]} == {"grpc", "http"}


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_server_takes_the_flags_and_the_models(path: Path, tmp_path: Path) -> None:
    rendered = manifests(values_of(path.name))
    flags = parse(container(rendered)["args"], ModelServerFlags).flags
    config = tmp_path / "models.config"
    config.write_text(rendered["ConfigMap demo-sigrun"]["data"]["models.config"])

    assert (flags.port, flags.rest_api_port) == (8500, 8501)
    assert flags.model_config_file == "/etc/sigrun/models.config"
    assert flags.model_config_file_poll_wait_seconds > 0
    assert model_config.from_file(config).models


def test_helm_finds_nothing_to_complain_of() -> None:
    found = helm_python.lint(str(CHART))

    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


def test_a_pod_has_time_to_leave() -> None:
    values = merged(STORED, {"shutdown": {"preStopSeconds": 7, "graceSeconds": 60}})
    rendered = manifests(values)

    assert container(rendered)["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert "--shutdown_grace_seconds=60" in container(rendered)["args"]
    assert pod(rendered)["terminationGracePeriodSeconds"] > 7 + 60


def test_a_pod_has_no_rights_and_nothing_to_write_on() -> None:
    rendered = manifests(STORED)

    assert pod(rendered)["automountServiceAccountToken"] is False
    assert pod(rendered)["securityContext"]["runAsNonRoot"] is True
    assert container(rendered)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [one["name"] for one in container(rendered)["volumeMounts"] if "readOnly" not in one]
    assert writable == ["tmp"]


def test_a_gpu_is_asked_for() -> None:
    limits = container(manifests(values_of("gpu.yaml")))["resources"]["limits"]

    assert limits == {"memory": "16Gi", "nvidia.com/gpu": 1}


def test_copies_from_an_object_store_have_a_volume_of_their_own() -> None:
    rendered = manifests(values_of("object-store.yaml"))
    flags = parse(container(rendered)["args"], ModelServerFlags).flags
    mounts = {one["mountPath"]: one["name"] for one in container(rendered)["volumeMounts"]}
    volumes = {one["name"]: one for one in pod(rendered)["volumes"]}

    assert mounts[flags.object_store_cache_dir] == "cache"
    assert volumes["cache"]["emptyDir"] == {"sizeLimit": "50Gi"}
    assert "models" not in volumes


def test_with_tls_probes_and_scrapes_are_encrypted() -> None:
    rendered = manifests(values_of("tls-tokens.yaml"))
    probes = [container(rendered)[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]

    assert {probe["httpGet"]["scheme"] for probe in probes} == {"HTTPS"}
    (endpoint,) = rendered["ServiceMonitor demo-sigrun"]["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"]["credentials"] == {"name": "prometheus-sigrun", "key": "token"}


def test_probes_show_no_certificate_where_one_is_asked_for() -> None:
    values = merged(values_of("tls-tokens.yaml"), {"tls": {"verifiesClients": True}})
    rendered = manifests(values)

    check(rendered["Deployment demo-sigrun"])
    assert container(rendered)["readinessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert container(rendered)["livenessProbe"]["tcpSocket"] == {"port": "http"}


def test_the_autoscaler_follows_a_metric_that_the_server_has() -> None:
    names = {reading.name for reading in Budget().readings()}

    assert DEFAULTS["autoscaling"]["inFlightRequests"]["metric"] in names


def test_the_autoscaler_follows_metrics_that_the_adapter_has_rules_for() -> None:
    adapter = yaml.safe_load((DEPLOY / "prometheus" / "adapter.yaml").read_text("utf-8"))
    rules = {
        rule.get("name", {}).get("as") or rule["seriesQuery"].partition("{")[0]
        for rule in adapter["rules"]["custom"]
    }
    autoscaler = manifests(values_of("replicas.yaml"))["HorizontalPodAutoscaler demo-sigrun"]
    pods = [metric["pods"] for metric in autoscaler["spec"]["metrics"] if "pods" in metric]

    assert {(one["metric"]["name"], one["target"]["averageValue"]) for one in pods} == {
        ("sigrun_in_flight_requests", "32"),
        ("sigrun_batch_queue_wait_seconds", "20m"),
    }
    assert {one["metric"]["name"] for one in pods} <= rules
    assert DEFAULTS["autoscaling"]["queueWait"]["metric"] in rules


def test_replicas_are_left_to_the_autoscaler() -> None:
    rendered = manifests(values_of("replicas.yaml"))

    assert "replicas" not in rendered["Deployment demo-sigrun"]["spec"]
    assert rendered["HorizontalPodAutoscaler demo-sigrun"]["spec"]["minReplicas"] == 3


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "takes exactly one of existingClaim, volume and objectStore.enabled; 0 are set"),
        (
            {"modelStorage": {"existingClaim": "a", "objectStore": {"enabled": True}}},
            "2 are set",
        ),
        (STORED | {"replicaCuont": 3}, "replicaCuont"),
        (STORED | {"image": {"repositroy": "x"}}, "repositroy"),
        (STORED | {"shutdown": {"preStopSeconds": "five"}}, "preStopSeconds"),
        (STORED | {"autoscaling": {"queueWait": {"target": "20 ms"}}}, "queueWait"),
        (
            STORED | {"autoscaling": {"enabled": True, "inFlightRequests": {"target": 0}}},
            "autoscaling needs a target",
        ),
        (
            STORED | {"authTokens": {"secretName": "a"}, "serviceMonitor": {"enabled": True}},
            "serviceMonitor.tokenSecret.name",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], text: str) -> None:
    with pytest.raises(helm_python.HelmError, match=text):
        render(values)


def every_field(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every field whose name Kubernetes defines."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            if key not in FREE_NAMES:
                yield from every_field(value, (*path, key))
    if isinstance(node, list):
        for number, one in enumerate(node):
            yield from every_field(one, (*path, number))


# Below these, names are the user's.
FREE_NAMES = {
    "labels",
    "annotations",
    "matchLabels",
    "data",
    "limits",
    "requests",
    "nodeSelector",
    "selector",
}


@pytest.mark.parametrize("scenario", ["replicas.yaml", "tls-tokens.yaml"])
def test_a_misspelling_anywhere_is_caught(scenario: str) -> None:
    """Each field of each manifest in turn gets one letter more."""
    unnoticed, count = [], 0
    for name, manifest in manifests(values_of(scenario)).items():
        for path in every_field(manifest):
            if path in [("apiVersion",), ("kind",), ("metadata",), ("metadata", "name")]:
                continue
            *above, last = path
            wrong = copy.deepcopy(manifest)
            parent: Any = wrong
            for step in above:
                parent = parent[step]
            parent[f"{last}s"] = parent.pop(last)
            count += 1
            with contextlib.suppress(BadManifestError):
                check(wrong)
                unnoticed.append((name, path))

    assert unnoticed == []
    assert count > 100


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    values = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())

    assert (DEPLOY / "kubernetes" / "sigrun.yaml").read_text() == as_text(render(values)), (
        "run `make manifests`"
    )


@pytest.mark.parametrize("file", ["serving-runtime.yaml", "inference-service.yaml"])
def test_kserve_takes_the_manifests(file: str) -> None:
    check(yaml.safe_load((DEPLOY / "kserve" / file).read_text()))


def test_the_runtime_of_kserve_starts_a_server() -> None:
    runtime = yaml.safe_load((DEPLOY / "kserve" / "serving-runtime.yaml").read_text())
    service = yaml.safe_load((DEPLOY / "kserve" / "inference-service.yaml").read_text())
    (only,) = runtime["spec"]["containers"]

    flags = parse(only["args"], ModelServerFlags).flags

    assert (flags.port, flags.rest_api_port) == (9000, 8080)
    assert flags.model_base_path == "/mnt/models"
    grace_s = service["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert grace_s > flags.shutdown_grace_seconds


@pytest.mark.parametrize(
    ("file", "above", "field"),
    [
        ("serving-runtime.yaml", ["spec"], "protocolVersions"),
        ("serving-runtime.yaml", ["spec", "containers", 0], "args"),
        ("serving-runtime.yaml", ["spec", "supportedModelFormats", 0], "autoSelect"),
        ("inference-service.yaml", ["spec", "predictor", "model"], "storageUri"),
        ("inference-service.yaml", ["spec", "predictor"], "minReplicas"),
    ],
)
def test_a_misspelling_for_kserve_is_caught(file: str, above: list[str | int], field: str) -> None:
    manifest: Any = yaml.safe_load((DEPLOY / "kserve" / file).read_text())
    parent = manifest
    for step in above:
        parent = parent[step]
    parent[f"{field}s"] = parent.pop(field)

    with pytest.raises(BadManifestError, match=f"{field}s"):
        check(manifest)
