"""Build the C++ stand-in for TensorFlow Serving, once, and say how it is started.

In: `servers/cpp`, the contract in `proto/`, the TensorFlow of this Python, and Debian's gRPC for
C++. Out: `build/cpp/server`; it is built again when any of these changes. The source says what
the server does. Usage: python -m benchmarks.cpp
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import paths
from benchmarks.processes import NotThere, ServerSpec

SOURCES = paths.SERVERS / "cpp"
FOLDER = paths.BUILD / "cpp"
SERVER = FOLDER / "server"
_PROTO = paths.ROOT / "proto"
_SERVICE = "tensorflow_serving/apis/prediction_service.proto"
_PACKAGES = (
    "g++ pkg-config protobuf-compiler protobuf-compiler-grpc libgrpc++-dev libprotobuf-dev "
    "libre2-dev libc-ares-dev libssl-dev zlib1g-dev"
)
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-fvisibility=hidden", "-w")
_DYNAMIC = ("-ldl", "-lpthread", "-lrt", "-latomic", "-lm")
_TIMEOUT_S = 600


def spec(*flags: str) -> ServerSpec:
    """Return the built server, with `flags`."""
    name = "C++ stand-in, batching" if "--enable_batching" in flags else "C++ stand-in"
    places = (f"--models={paths.MODELS}", f"--tensorflow={_tensorflow()}")
    return ServerSpec(name=name, command=(str(SERVER), "--port=GRPC_PORT", *places, *flags))


def build() -> None:
    """Build what is not there or out of date. Raises `NotThere` if that cannot be done here."""
    stamp, state = FOLDER / "state", _state()
    if SERVER.exists() and stamp.read_text() == state:
        return
    _require()
    print(f"building {SERVER}, which takes two minutes", flush=True)
    if not stamp.exists() or stamp.read_text() != state:
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        stamp.write_text(state)  # an interrupted build goes on where it was
    sources = [*_generate(), *sorted(SOURCES.glob("*.cc"))]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        _link(list(threads.map(_compile, sources)))


def _require() -> None:
    def missing() -> Iterable[str]:
        programs = (_compiler(), "protoc", "grpc_cpp_plugin", "pkg-config")
        yield from (program for program in programs if shutil.which(program) is None)
        if shutil.which("pkg-config"):
            libraries = ("grpc++", "protobuf")
            yield from (lib for lib in libraries if not _is_good("pkg-config", "--exists", lib))

    if names := list(missing()):
        raise NotThere(
            f"the C++ stand-in cannot be built without {', '.join(names)}; "
            f"on Debian: apt-get install {_PACKAGES}"
        )


def _compiler() -> str:
    return os.environ.get("CXX", "g++")


def _tensorflow() -> Path:
    """Return the folder of the installed package, without importing it."""
    found = importlib.util.find_spec("tensorflow")
    if found is None or not found.submodule_search_locations:
        raise NotThere("TensorFlow is not installed")
    return Path(found.submodule_search_locations[0])


def _generate() -> list[Path]:
    """Generate C++ for the service, and all that it imports."""
    folder = FOLDER / "generated"
    folder.mkdir(exist_ok=True)
    names = _with_imports(_SERVICE)
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    _run("protoc", f"-I{_PROTO}", f"--cpp_out={folder}", *names)
    _run("protoc", f"-I{_PROTO}", plugin, f"--grpc_out={folder}", _SERVICE)
    return sorted(folder.rglob("*.cc"))


def _with_imports(name: str) -> list[str]:
    """Return the contract's files that one needs, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in found or not (_PROTO / name).exists():  # protobuf's own are in its library
            continue
        found.add(name)
        lines = (_PROTO / name).read_text().splitlines()
        waiting += [line.split('"')[1] for line in lines if line.startswith("import ")]
    return sorted(found)


def _compile(source: Path) -> Path:
    target = FOLDER / f"{source.stem}.o"
    if not target.exists():
        unfinished = target.with_suffix(".unfinished")
        # TensorFlow's headers come last: it brings a protobuf and an Abseil of its own.
        headers = (f"-I{FOLDER / 'generated'}", f"-idirafter{_tensorflow()}/include")
        _run(_compiler(), *_FLAGS, *headers, "-c", source, "-o", unfinished)
        unfinished.replace(target)
    return target


def _link(objects: Iterable[Path]) -> None:
    """Link gRPC and protobuf statically and hidden, so that TensorFlow never meets them."""
    words = _output("pkg-config", "--static", "--libs", "grpc++").split()
    libraries = dict.fromkeys(w for w in words if w.startswith("-l") and w not in _DYNAMIC)
    unfinished = SERVER.with_suffix(".unfinished")
    _run(
        _compiler(), *_FLAGS, *objects, "-o", unfinished,
        *("-Wl,--start-group", "-Wl,-Bstatic", *libraries, "-lprotobuf"),
        *("-Wl,-Bdynamic", *_DYNAMIC, "-Wl,--end-group", "-Wl,--exclude-libs,ALL"),
    )  # fmt: skip
    unfinished.replace(SERVER)


def _state() -> str:
    """Return what the program depends on, as one digest."""
    settings = (importlib.metadata.version("tensorflow"), _compiler(), _FLAGS)
    digest = hashlib.sha256(repr(settings).encode())
    sources = [*SOURCES.iterdir(), *(_PROTO / name for name in _with_imports(_SERVICE))]
    for path in sorted(sources):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_good(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def _run(*words: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        output = done.stdout.strip().splitlines()
        errors = [line for line in output if "error" in line.lower()]
        raise NotThere(f"the C++ stand-in cannot be built: {(errors or output or ['?'])[0]}")


def main() -> int:
    """Build, or say why not."""
    try:
        build()
    except NotThere as error:
        print(error, file=sys.stderr)
        return 1
    print(SERVER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
