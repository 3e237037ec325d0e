"""Where the benchmarks' files lie; everything made goes below `build/`, which git ignores."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = HERE / "build"
MODELS = BUILD / "models"  # what every server serves
LOADED = BUILD / "loaded"  # what one server loads and unloads while it is measured
EXAMPLES = BUILD / "examples"  # one request per model, with the answer that is expected
BODIES = BUILD / "bodies"  # the same requests, as bytes on the wire
LOGS = BUILD / "logs"
CONFIG = BUILD / "models.config"  # the list of models, as TensorFlow Serving reads it
TOKENS = BUILD / "tokens.toml"  # of the server that asks for one
COMMITS = BUILD / "commits"  # sigruns of other commits
LATEST = HERE / "results" / "latest.json"
SAVED = HERE / "results.json"
PLOT = HERE / "results.svg"
SERVERS = HERE / "servers"
