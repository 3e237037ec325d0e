"""A real server's metrics: as documented, as Prometheus reads them, as dashboard and alerts ask."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc

from tests.conftest import SavedModel
from tests.e2e.conftest import model_config
from tests.e2e.process import ROOT, RunningServer, free_port, running_server

DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "sigrun.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
ADAPTER = DEPLOY / "prometheus" / "adapter.yaml"
METRIC = re.compile(r"\bsigrun_[a-z_]+|\bprocess_[a-z_]+")
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<kind>\w+) \| (?P<labels>[\w, ]*)\|", re.MULTILINE)
HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")

LOGGING = """logging_config {
  log_collector_config { filename_prefix: "%s" }
  sampling_config { sampling_rate: 1 }
}"""

pytestmark = pytest.mark.timeout(300)  # one start, several loads, and a Prometheus

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="there is no prometheus here; on Debian: apt install prometheus",
)

Family = tuple[str, frozenset[str]]
"""The kind of a metric, and the names of its labels."""


@pytest.fixture(scope="module")
def server(saved_model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a server to which everything has happened that is counted."""
    folder = tmp_path_factory.mktemp("metrics")
    base_paths = {name: folder / name for name in ("half_plus_two", "broken")}
    base_paths["half_plus_two"].mkdir()
    (base_paths["half_plus_two"] / "1").symlink_to(saved_model("half_plus_two"))
    (base_paths["broken"] / "1").mkdir(parents=True)
    (base_paths["broken"] / "1" / "saved_model.pb").write_text("no model")
    config = folder / "models.config"
    config.write_text(
        model_config(base_paths).replace(
            'name: "half_plus_two"', f'name: "half_plus_two" {LOGGING % (folder / "requests")}'
        )
    )
    batching = folder / "batching.config"
    batching.write_text("allowed_batch_sizes: [4, 32] max_batch_size { value: 32 }")
    monitoring = folder / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/monitoring/metrics" }')
    with running_server(
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=1",
        "--enable_batching",
        f"--batching_parameters_file={batching}",
        f"--monitoring_config_file={monitoring}",
        waits=False,
    ) as server:
        server.wait_for(lambda: states(server) == {1: "AVAILABLE"}, "the load", 180)
        server.wait_for(lambda: "Running gRPC" in server.log_text(), "the gRPC port")
        ask(server)
        server.wait_for(lambda: records_written(server) == 2, "the records of Predict and Classify")
        config.write_text(config.read_text().replace("/broken", "/missing"))
        add_version_2(base_paths["half_plus_two"], saved_model("half_plus_two"), folder)
        server.wait_for(lambda: states(server).get(2) == "AVAILABLE", "version 2")
        server.wait_for(lambda: "failed to ReloadConfig" in server.log_text(), "the reload")
        ask(server)
        yield server


def add_version_2(base_path: Path, model: Path, logs: Path) -> None:
    """Add a version that has to settle, and that is warmed up with what was logged."""
    unfinished = logs / "unfinished"
    shutil.copytree(model, unfinished, copy_function=shutil.copyfile)
    (log,) = logs.glob("requests.*.tfrecord")
    (unfinished / "assets.extra").mkdir(exist_ok=True)
    shutil.copyfile(log, unfinished / "assets.extra" / "tf_serving_warmup_requests")
    unfinished.rename(base_path / "2")


def states(server: RunningServer) -> dict[int, str]:
    try:
        return server.states("half_plus_two")
    except (OSError, KeyError):  # no port yet, or nothing to say of the model
        return {}


def ask(server: RunningServer) -> None:
    """Ask over REST and gRPC, rightly and wrongly."""
    for instances in ([1.0, 2.0, 5.0], ["wrong"]):
        server.post("/v1/models/half_plus_two:predict", {"instances": instances})
    server.post("/v1/models/nothing:predict", {"instances": [1.0]})
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "half_plus_two"
    request.model_spec.signature_name = "classify_x_to_y"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1.0)
    with grpc.insecure_channel(server.grpc_address) as channel:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Classify(request, timeout=30)


def text_at(server: RunningServer, path: str) -> str:
    with urllib.request.urlopen(server.url(path), timeout=30) as response:
        return str(response.read().decode())


def records_written(server: RunningServer) -> float:
    """Return how many requests the request log holds; they get there after their answers."""
    written = r'^sigrun_request_log_records_total{.*outcome="written".*} (\S+)$'
    return sum(map(float, re.findall(written, text_at(server, "/metrics"), re.MULTILINE)))


def exported(page: str) -> dict[str, Family]:
    """Return the metrics on the page by the names that stand in its TYPE lines."""
    found: dict[str, Family] = {}
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, re.MULTILINE))
    for family in text_string_to_metric_families(page):
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = family.name if family.name in kinds else f"{family.name}_total"
        found[name] = (kinds[name], frozenset(labels))
    return found


def documented() -> dict[str, Family]:
    """Return what the documentation lists."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return {
        row["name"]: (row["kind"], frozenset(filter(None, row["labels"].strip().split(", "))))
        for row in ROW.finditer(text)
    }


def test_what_is_exported_is_what_is_documented(server: RunningServer) -> None:
    everywhere = {
        name: family
        for name, family in documented().items()
        if not name.startswith("sigrun_workers_")  # of several processes; `test_workers` looks
    }
    assert exported(text_at(server, "/metrics")) == everywhere


def test_a_request_log_serves_as_a_warm_up_file(server: RunningServer) -> None:
    page = text_at(server, "/metrics")

    read = r"^:tensorflow:serving:model_warmup_records_read{(.*)} (\S+)$"
    (warmed,) = re.findall(read, page, re.MULTILINE)
    assert 'status="OK"' in warmed[0]
    assert float(warmed[1]) == 2  # one Predict, one Classify


def test_the_monitoring_config_file_says_where_they_are_too(server: RunningServer) -> None:
    page = text_at(server, "/monitoring/metrics")

    assert exported(page).keys() == exported(text_at(server, "/metrics")).keys()
    status, answer = server.get("/monitoring/metrics?format=json")
    assert status == 400
    assert answer["error"].startswith("Unexpected path: /monitoring/metrics?format=json. Should be")


@pytest.mark.parametrize("file", [DASHBOARD, ALERTS], ids=["dashboard", "alerts"])
def test_what_is_asked_for_is_documented(file: Path) -> None:
    known = documented()
    wanted = set(METRIC.findall(file.read_text(encoding="utf-8")))

    assert wanted
    assert not {name for name in wanted - {*known} if HISTOGRAMS.sub("", name) not in known}


@needs_prometheus
def test_prometheus_has_nothing_to_say_against_the_page(server: RunningServer) -> None:
    lines = text_at(server, "/metrics").splitlines(keepends=True)
    own = "".join(line for line in lines if ":tensorflow:" not in line)  # promtool wants no colons

    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=own, capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@needs_prometheus
def test_the_alerts_fire_when_they_should() -> None:
    for command in (["check", "config", "prometheus.yaml"], ["test", "rules", "alerts_test.yaml"]):
        checked = subprocess.run(
            ["promtool", *command], cwd=ALERTS.parent, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_prometheus
def test_dashboard_and_autoscaler_have_what_a_real_prometheus_scraped(
    server: RunningServer, tmp_path: Path
) -> None:
    queries = dashboard_queries() + adapter_queries()
    assert len(queries) > 20

    with prometheus(server, tmp_path) as query, asking(server):
        server.wait_for(
            lambda: not [text for text in queries if not query(text)],
            "data for each query",
            timeout_s=60,
        )
        (up,) = query("up")
        failed = query("sigrun_model_version_failed == 1")
        refused = query("sigrun_last_reload_success == 0")

    assert up["value"][1] == "1"
    assert [one["metric"]["model"] for one in failed] == ["broken"]
    assert [one["metric"]["trigger"] for one in refused] == ["file"]


def dashboard_queries() -> list[str]:
    """Return the queries of all panels, with values for the dashboard's variables."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    variables = {"$__rate_interval": "20s", "$model": ".*", "$job": ".*", "$instance": ".*"}
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [re.sub(r"\$\w+", lambda variable: variables[variable[0]], query) for query in queries]


def adapter_queries() -> list[str]:
    """Return the queries of the adapter's rules, with values for its variables."""
    rules = yaml.safe_load(ADAPTER.read_text(encoding="utf-8"))["rules"]["custom"]
    return [
        rule["metricsQuery"]
        .replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        .replace("<<.LabelMatchers>>", 'job="sigrun"')
        .replace("<<.GroupBy>>", "instance")
        .replace("[2m]", "[20s]")
        for rule in rules
    ]


@contextlib.contextmanager
def asking(server: RunningServer) -> Iterator[None]:
    """Keep on asking until the block ends."""
    is_over = threading.Event()

    def ask_on() -> None:
        while not is_over.wait(0.2):
            ask(server)

    thread = threading.Thread(target=ask_on)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def prometheus(
    server: RunningServer, folder: Path
) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Run a Prometheus that scrapes `server`; yield what answers queries."""
    config = folder / "prometheus.yaml"
    shipped = (DEPLOY / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8")
    config.write_text(
        shipped.replace("localhost:8501", f"127.0.0.1:{server.http_port}")
        .replace("15s", "1s")
        .replace("alerts.yaml", str(ALERTS))
    )
    port = free_port()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def query(text: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                found: list[dict[str, Any]] = json.loads(response.read())["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:
                    return []  # it still starts
                raise AssertionError(f"{text}: {error.read().decode()}") from None
        except OSError:
            return []  # it does not listen yet

    try:
        ends_at = time.monotonic() + 60
        while not query("up"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < ends_at, (folder / "log").read_text()
            time.sleep(0.1)
        yield query
    finally:
        process.terminate()
        process.wait(30)
