"""Run three servers behind Envoy: `python -m examples.replicas [flags of sigrun serve]`.

In: deploy/envoy/envoy.yaml, which says where the replicas are and where Envoy listens. Out: the
servers and Envoy, until SIGINT or SIGTERM; then all of them drain. A server that dies is reported
and stays away, as the others take its requests.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ENVOY_CONFIG = HERE.parent / "deploy" / "envoy" / "envoy.yaml"
HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 45.0  # longer than --shutdown_grace_seconds
POLL_S = 0.2


def main() -> int:
    """Run everything; return 0 when it was told to stop, 1 when something did not start."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--envoy_config", type=Path, default=ENVOY_CONFIG, metavar="FILE")
    options, server_flags = parser.parse_known_args()
    config: dict[str, Any] = yaml.safe_load(options.envoy_config.read_text())
    signal.signal(signal.SIGTERM, _interrupt)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        return _run(options.envoy_config, config, server_flags, processes)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(list(processes.values()))


def replica_ports(config: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the gRPC and the HTTP port of each replica, from Envoy's configuration."""
    clusters = {one["name"]: one for one in config["static_resources"]["clusters"]}
    ports = (_endpoint_ports(clusters[name]) for name in ("grpc", "json"))
    return list(zip(*ports, strict=True))


def _endpoint_ports(cluster: dict[str, Any]) -> list[int]:
    (group,) = cluster["load_assignment"]["endpoints"]
    return [
        one["endpoint"]["address"]["socket_address"]["port_value"] for one in group["lb_endpoints"]
    ]


def _run(
    envoy_config: Path,
    config: dict[str, Any],
    server_flags: Sequence[str],
    processes: dict[str, subprocess.Popen[bytes]],
) -> int:
    binaries = Path(sys.executable).parent
    ports = replica_ports(config)
    for number, (grpc_port, http_port) in enumerate(ports, 1):
        where = [f"--host={HOST}", f"--port={grpc_port}", f"--rest_api_port={http_port}"]
        processes[f"replica {number}"] = subprocess.Popen(
            [str(binaries / "sigrun"), "serve", *server_flags, *where], stdout=subprocess.DEVNULL
        )
    if not _are_ready([f"{HOST}:{http_port}/readyz" for _, http_port in ports], processes):
        return 1
    processes["envoy"] = subprocess.Popen(
        [str(binaries / "envoy"), "-c", str(envoy_config), "-l", "warn", "--disable-hot-restart"]
    )
    admin = config["admin"]["address"]["socket_address"]
    if not _are_ready([f"{admin['address']}:{admin['port_value']}/ready"], processes):
        return 1
    listener = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    print(f"gRPC, gRPC-Web, Connect and JSON on {listener['address']}:{listener['port_value']}")
    for name, process in processes.items():
        print(f"  {name}: process {process.pid}")
    sys.stdout.flush()
    return _watch(processes)


def _are_ready(probes: Sequence[str], processes: dict[str, subprocess.Popen[bytes]]) -> bool:
    """Wait until each probe answers 200; say what has ended or is not ready in time."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    waiting = set(probes)
    while waiting:
        for name, process in processes.items():
            if process.poll() is not None:
                print(f"{name} ended with status {process.returncode}", file=sys.stderr)
                return False
        if time.monotonic() > ends_at:
            print(f"not ready after {START_TIMEOUT_S:g} s: {sorted(waiting)}", file=sys.stderr)
            return False
        waiting -= {probe for probe in waiting if _answers(probe)}
        time.sleep(POLL_S)
    return True


def _answers(probe: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{probe}", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, timed out, or another status
        return False


def _watch(processes: dict[str, subprocess.Popen[bytes]]) -> int:
    """Report replicas that end; return when Envoy or the last replica has."""
    while len(processes) > 1 and "envoy" in processes:
        for name, process in list(processes.items()):
            if process.poll() is not None:
                print(f"{name} ended with status {process.returncode}", flush=True)
                del processes[name]
        time.sleep(POLL_S)
    return 1


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    ends_at = time.monotonic() + STOP_TIMEOUT_S
    for process in processes:
        try:
            process.wait(max(ends_at - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
