"""The image: what its Dockerfile says, and what comes of it where it is carried out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sigrun.cli.flags import ModelServerFlags
from sigrun.cli.parsing import parse
from sigrun.config.models import ModelSet
from sigrun.wire.config_files import model_config
from sigrun_client._cli.arguments import parse as parse_client_words
from tests.deploy.image import DOCKERFILE, REPOSITORY, carry_out, may_be_carried_out, stages
from tests.saved_model_cache import cached

DOCKER = DOCKERFILE.parent
BINARIES = Path(sys.executable).parent
HADOLINT = BINARIES / "hadolint"


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is packaged for Linux on x86-64")
@pytest.mark.parametrize("file", sorted(DOCKER.glob("*Dockerfile")), ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    done = subprocess.run([HADOLINT, str(file)], capture_output=True, text=True, check=False)

    assert done.stdout == ""
    assert done.returncode == 0


def test_the_image_keeps_the_conventions_of_tensorflow_serving() -> None:
    image = stages(DOCKERFILE)[-1]

    assert image.environment["MODEL_NAME"] == "model"
    assert image.environment["MODEL_BASE_PATH"] == "/models"
    assert image.only("EXPOSE").text == "8500 8501"
    assert image.only("ENTRYPOINT").words == ["/usr/bin/tf_serving_entrypoint.sh"]


def test_nobody_is_root_in_the_images() -> None:
    for file in DOCKER.glob("*Dockerfile"):
        assert stages(file)[-1].only("USER").text == "65532:65532"


def test_the_health_check_is_a_command_of_the_client() -> None:
    program, *words = stages(DOCKERFILE)[-1].only("HEALTHCHECK").words

    assert program == "sigrun-client"
    assert parse_client_words(words).command == "health"


def test_all_that_is_copied_is_there_and_is_sent_to_the_engine() -> None:
    allowed = {
        line[1:]
        for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for stage in stages(DOCKERFILE)
        for one in stage.instructions
        if one.name == "COPY" and "from" not in one.options
        for source in one.words[:-1]
    }

    assert copied == allowed
    assert [one for one in copied if not (REPOSITORY / one).exists()] == []


def test_the_page_needs_nothing_but_python(tmp_path: Path) -> None:
    """What its image copies is enough, with the options that image and compose file give."""
    image = stages(DOCKER / "webapp.Dockerfile")[-1]
    shutil.copytree(
        REPOSITORY / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("build")
    )
    _, *words = image.only("ENTRYPOINT").words
    options = COMPOSE["services"]["webapp"]["command"]

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", RUN_MODULE, *words[1:], *options, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "--page-host" in done.stdout
    assert [option.partition("=")[0] for option in options] == ["--host", "--port"]


# Without site-packages: what the page's server imports is Python's own or beside it.
RUN_MODULE = """
import runpy, sys
sys.path.insert(0, "")
sys.argv[:] = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())

CHECK = """
cd /
tf_serving_entrypoint.sh --rest_api_timeout_in_ms=5000 >/tmp/log 2>&1 &
server=$!
for _ in $(seq 600); do HEALTH >/tmp/health 2>/tmp/error && break
  kill -0 $server || break; sleep 0.2; done
cat /tmp/health
[ -s /tmp/health ] || { cat /tmp/error /tmp/log; exit 1; }
python -c 'import os; print(os.getuid(), os.access("/opt", os.W_OK), os.access("/models", os.W_OK))'
sigrun-client predict half_plus_two x=[1.0,2.0] --json | tr -d ' \\n'; echo
tensorflow_model_server --version
kill -TERM $server
wait $server && echo "ended with $?"
grep -c "draining, for up to" /tmp/log
"""


@pytest.mark.e2e
@pytest.mark.tensorflow
@pytest.mark.timeout(450)
@pytest.mark.skipif(not may_be_carried_out(), reason="namespaces and mounts need root on Linux")
def test_what_the_dockerfile_makes_serves_and_drains(tmp_path: Path) -> None:
    health = shlex.join(stages(DOCKERFILE)[-1].only("HEALTHCHECK").words)

    printed = carry_out(
        tmp_path,
        stand_ins={"uv": BINARIES / "uv"},
        volumes={"/models/half_plus_two/1": cached("half_plus_two")},
        environment={"MODEL_NAME": "half_plus_two"},
        check=CHECK.replace("HEALTH", health),
    ).splitlines()

    assert printed[:2] == ["SERVING", "65532 False False"]
    answer = json.loads(printed[2])
    assert answer["outputs"] == {"y": [2.5, 3.0]}
    assert printed[3].startswith("sigrun: ")
    assert printed[-2:] == ["ended with 0", "1"]


# Made by `make panda`, and not in the repository.
MADE = {"examples/panda/build/models"}


def test_what_compose_mounts_and_builds_is_there() -> None:
    found = set()
    for service in COMPOSE["services"].values():
        if "build" in service:
            context = DOCKER / service["build"]["context"]
            found.add((context / service["build"]["dockerfile"]).resolve())
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                found.add((DOCKER / source).resolve())
            else:
                assert source in COMPOSE["volumes"]

    missing = {str(one.relative_to(REPOSITORY)) for one in found if not one.exists()}
    assert missing <= MADE


def test_compose_opens_ports_to_this_machine_alone() -> None:
    for service in COMPOSE["services"].values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")


def test_the_configurations_that_compose_carries_name_each_other() -> None:
    carried = {name: yaml.safe_load(one["content"]) for name, one in COMPOSE["configs"].items()}
    used = {
        config["source"]
        for one in COMPOSE["services"].values()
        for config in one.get("configs", ())
    }
    (scrape,) = carried["prometheus"]["scrape_configs"]
    (target,) = scrape["static_configs"][0]["targets"]
    (source,) = carried["grafana-datasources"]["datasources"]

    assert used == set(carried)
    assert target.partition(":")[0] in COMPOSE["services"]
    assert source["url"] == "http://prometheus:9090"


def test_the_server_takes_what_compose_gives_it() -> None:
    service = COMPOSE["services"]["sigrun"]
    flags = parse(service["command"], ModelServerFlags).flags
    models: ModelSet = model_config.from_file(DOCKER / "models.config")
    example = (REPOSITORY / "examples/panda/models.config.in").read_text()

    assert Path(flags.model_config_file).name == "models.config"
    assert float(service["stop_grace_period"].removesuffix("s")) > flags.shutdown_grace_seconds
    assert [model.name for model in models.models] == re.findall(r'name: "(.*)"', example)


UNIT = REPOSITORY / "deploy" / "systemd" / "sigrun.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "tensorflow_model_server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    here = tmp_path / "sigrun.service"
    text = UNIT.read_text().replace("/opt/sigrun/bin/tensorflow_model_server", str(program))
    here.write_text(text)
    wrong = tmp_path / "wrong.service"
    wrong.write_text(text.replace("TimeoutStopSec", "TimeoutStopSecs"))

    right, misspelt = (
        subprocess.run(
            ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
        )
        for file in (here, wrong)
    )

    assert (right.returncode, right.stdout + right.stderr) == (0, "")
    assert "TimeoutStopSecs" in misspelt.stderr


def test_the_unit_starts_a_server_and_gives_it_time_to_drain() -> None:
    text = UNIT.read_text().replace("\\\n", " ")
    settings = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"\w+=", line))
    program, *words = shlex.split(settings["ExecStart"])

    flags = parse(words, ModelServerFlags).flags

    assert Path(program).name == "tensorflow_model_server"
    assert float(settings["TimeoutStopSec"]) > flags.shutdown_grace_seconds
    assert flags.model_config_file == "/etc/sigrun/models.config"
