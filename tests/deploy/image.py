"""Carry out a Dockerfile without an engine: each stage is an overlay over this machine's root.

What the base images bring, Python and uv, is this machine's own; what follows is done as the
Dockerfile says, at the paths that it says, and is run as its user on a root file system that is
read-only, in namespaces of its own for mounts, processes and network. It needs root on Linux.
Nothing is left on the machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "deploy" / "docker" / "Dockerfile"
_TIMEOUT_S = 400


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its lines joined: `RUN`, and what it says."""

    name: str
    text: str

    @property
    def options(self) -> dict[str, str]:
        """Return what begins with two dashes: `--from=build`."""
        words = [word for word in self.text.split() if word.startswith("--")]
        return dict(word[2:].split("=", 1) for word in words)

    @property
    def words(self) -> list[str]:
        """Return the words that are no options; those of the JSON form where it has that."""
        start = self.text.find("[")
        if start >= 0 and self.name in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            words: list[str] = json.loads(self.text[start:])
            return words
        return [word for word in shlex.split(self.text) if not word.startswith("--")]


@dataclass(slots=True)
class Stage:
    """What stands between two FROMs."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def only(self, name: str) -> Instruction:
        (found,) = (one for one in self.instructions if one.name == name)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Return what ENV and ARG set, with the defaults of ARG."""
        found: dict[str, str] = {}
        for one in self.instructions:
            if one.name in ("ENV", "ARG"):
                found |= dict(word.split("=", 1) for word in one.words if "=" in word)
        return found


def stages(dockerfile: Path) -> list[Stage]:
    """Return what a Dockerfile says, stage by stage."""
    found: list[Stage] = []
    for one in _instructions(dockerfile.read_text()):
        if one.name == "FROM":
            base, *alias = one.words
            found.append(Stage(base, alias[1] if alias else ""))
        else:
            found[-1].instructions.append(one)
    return found


def _instructions(text: str) -> Iterator[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.strip().partition(" ")
        yield Instruction(name.upper(), rest.strip())


def may_be_carried_out() -> bool:
    """Return whether this process may make namespaces and mounts."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--mount", "--net", "true"], check=False).returncode == 0


def carry_out(
    folder: Path,
    *,
    stand_ins: Mapping[str, Path],
    volumes: Mapping[str, Path],
    environment: Mapping[str, str],
    check: str,
) -> str:
    """Build every stage, then run `check` in the last one; return what it prints.

    `stand_ins` are for images that only give files: the file in place of the stage of that name.
    `volumes` (what to mount, by where) and `environment` are those of `docker run`.
    """
    script = folder / "image.sh"
    script.write_text("\n".join(_script(folder, stand_ins, volumes, environment, check)) + "\n")
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--kill-child", "bash", str(script)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    finally:
        for layer in folder.glob("upper*"):  # the mounts are gone with their namespace
            shutil.rmtree(layer)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def _script(
    folder: Path,
    stand_ins: Mapping[str, Path],
    volumes: Mapping[str, Path],
    environment: Mapping[str, str],
    check: str,
) -> Iterator[str]:
    yield "set -euo pipefail"
    yield "mount --make-rprivate /"
    built = [stage for stage in stages(DOCKERFILE) if stage.name not in stand_ins]
    origins = {"": REPOSITORY, **stand_ins}
    for number, stage in enumerate(built):
        root = origins[stage.name or "the image"] = folder / f"root{number}"
        yield from _layer(folder, number, root)
        for one in stage.instructions:
            yield from _step(one, stage, root, origins)
    for where, what in volumes.items():
        yield f"mkdir -p {root}{where} && mount --bind {what} {root}{where}"
    yield from _run(built[-1], root, environment, check)


def _layer(folder: Path, number: int, root: Path) -> Iterator[str]:
    upper, work = folder / f"upper{number}", folder / f"work{number}"
    yield f"mkdir {root} {upper} {work}"
    yield f"mount -t overlay overlay -o lowerdir=/,upperdir={upper},workdir={work} {root}"
    yield f"mount --rbind /dev {root}/dev"
    yield f"mount -t proc proc {root}/proc"
    yield f"mount -t tmpfs tmpfs {root}/tmp && chmod 1777 {root}/tmp"
    yield f"ln -sf /usr/bin/python3 {root}/usr/local/bin/python"
    # uv links to its cache, with what the first stage has put there: the image's user reads it too.
    yield f"chmod o+rx {root}/root {root}/root/.cache {root}/root/.cache/uv"
    if number:
        yield f"mount --bind {folder}/root0/root/.cache/uv {root}/root/.cache/uv"


def _step(one: Instruction, stage: Stage, root: Path, origins: Mapping[str, Path]) -> Iterator[str]:
    """Yield the commands for one instruction; `origins` are the other stages, by name."""
    if one.name == "COPY":
        *sources, target = one.words
        origin = origins[one.options.get("from", "")]
        is_file = origin.is_file()
        sources = [str(origin) if is_file else f"{origin}/{one.lstrip('/')}" for one in sources]
        yield from _copied(
            sources, f"{root}{_absolute(target, stage)}", is_mounted="from" in one.options
        )
        if mode := one.options.get("chmod"):
            yield f"chmod {mode} {root}{target}"
    elif one.name == "WORKDIR":
        yield f"mkdir -p {root}{one.words[0]}"
    elif one.name == "RUN":
        settings = {"PATH": "/usr/local/bin:/usr/bin:/bin"} | stage.environment
        # Copies of all files and their bytecode are what takes long; links to uv's cache do here.
        settings |= {"UV_LINK_MODE": "symlink", "UV_COMPILE_BYTECODE": "0"}
        words = [f"{name}={value}" for name, value in settings.items() if name != "HOME"]
        command = ["sh", "-c", f"cd {_workdir(stage)} && {one.text}"]
        yield shlex.join(["chroot", str(root), "env", *words, *command]) + " >&2"


def _copied(sources: Sequence[str], target: str, *, is_mounted: bool) -> Iterator[str]:
    """Yield the commands for COPY: of a folder its contents, of files the files.

    A folder of another stage, of which there are tens of thousands of files, is mounted.
    """
    for source in sources:
        into = f"mount --bind {source} {target}" if is_mounted else f"cp -a {source}/. {target}"
        parent = target if target.endswith("/") else str(Path(target).parent)
        yield (
            f"if [ -d {source} ]; then mkdir -p {target} && {into}; "
            f"else mkdir -p {parent} && cp -a {source} {target}; fi"
        )


def _workdir(stage: Stage) -> str:
    folders = [one.words[0] for one in stage.instructions if one.name == "WORKDIR"]
    return folders[0] if folders else "/"


def _absolute(target: str, stage: Stage) -> str:
    if target.startswith("/"):
        return target
    return f"{_workdir(stage)}/{target.removeprefix('./')}"


def _run(stage: Stage, root: Path, environment: Mapping[str, str], check: str) -> Iterator[str]:
    user, _, group = stage.only("USER").text.partition(":")
    settings = [f"{name}={value}" for name, value in {**stage.environment, **environment}.items()]
    as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
    inside = ["chroot", str(root), "env", "-i", *settings, *as_user, "bash", "-euc", check]
    yield f"mount -o remount,ro {root}"
    network = f"ip link set lo up && exec {shlex.join(inside)}"
    yield shlex.join(["unshare", "--net", "bash", "-c", network])
