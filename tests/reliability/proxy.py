"""Envoy with the configuration in `deploy/envoy`, in front of servers on other ports."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.reliability.conftest import HOST, REPOSITORY
from tests.reliability.ports import steady_ports

ENVOY = Path(sys.executable).with_name("envoy")
CONFIG = REPOSITORY / "deploy" / "envoy" / "envoy.yaml"
_PATIENCE_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running Envoy: what it listens on, and what it knows of its clusters."""

    port: int
    admin_port: int
    log: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def healthy_ports(self, cluster: str) -> set[int]:
        """Return the ports of the replicas that get requests now."""
        with urllib.request.urlopen(
            f"http://{HOST}:{self.admin_port}/clusters?format=json", timeout=10
        ) as answer:
            clusters = json.loads(answer.read())["cluster_statuses"]
        (hosts,) = (one["host_statuses"] for one in clusters if one["name"] == cluster)
        return {
            host["address"]["socket_address"]["port_value"]
            for host in hosts
            if host["health_status"].get("eds_health_status") == "HEALTHY"
            and set(host["health_status"]) == {"eds_health_status"}
        }

    def wait_until_healthy(self, ports: Sequence[tuple[int, int]]) -> None:
        """Return when each replica, by its gRPC and its HTTP port, gets requests."""
        ends_at = time.monotonic() + _PATIENCE_S
        wanted = {"grpc": {grpc for grpc, _ in ports}, "json": {http for _, http in ports}}
        while any(not expected <= self.healthy_ports(name) for name, expected in wanted.items()):
            assert time.monotonic() < ends_at, self.log.read_text(errors="replace")
            time.sleep(_POLL_S)


def config_for(
    ports: Mapping[int, int], *, admin_port: int, balancing: str | None = None
) -> dict[str, Any]:
    """Return the file's configuration with other ports, and another `lb_policy` for `grpc`."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config = _replaced(config, ports)
    config["admin"]["address"]["socket_address"]["port_value"] = admin_port
    if balancing is not None:
        cluster = config["static_resources"]["clusters"][0]
        del cluster["least_request_lb_config"]
        cluster["lb_policy"] = balancing
    return config


def _replaced(node: Any, ports: Mapping[int, int]) -> Any:
    if isinstance(node, dict):
        return {
            key: ports.get(value, value) if key == "port_value" else _replaced(value, ports)
            for key, value in node.items()
        }
    return [_replaced(one, ports) for one in node] if isinstance(node, list) else node


@contextlib.contextmanager
def proxy(
    folder: Path, replicas: Sequence[tuple[int, int]], *, balancing: str | None = None
) -> Iterator[Proxy]:
    """Run Envoy in front of three replicas, each with its gRPC and its HTTP port."""
    port, admin_port = steady_ports(2)
    ports = {8500: port}
    for number, (grpc_port, http_port) in enumerate(replicas, 1):
        ports |= {8500 + 10 * number: grpc_port, 8501 + 10 * number: http_port}
    config = folder / f"envoy-{port}.json"
    config.write_text(json.dumps(config_for(ports, admin_port=admin_port, balancing=balancing)))
    log = config.with_suffix(".log")
    command = [str(ENVOY), "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "-l", "warn"], stdout=output, stderr=output)
    running = Proxy(port, admin_port, log)
    try:
        _wait_for_admin(running, process)
        running.wait_until_healthy(replicas)
        yield running
    finally:
        process.kill()
        process.wait()


def _wait_for_admin(running: Proxy, process: subprocess.Popen[bytes]) -> None:
    ends_at = time.monotonic() + _PATIENCE_S
    while True:
        assert process.poll() is None, running.log.read_text(errors="replace")
        assert time.monotonic() < ends_at, running.log.read_text(errors="replace")
        with contextlib.suppress(OSError):
            running.healthy_ports("grpc")
            return
        time.sleep(_POLL_S)
