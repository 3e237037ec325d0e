"""Say where the example's files lie; everything made goes below `build/`, which git ignores."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
MESSAGES = BUILD / "spam.jsonl"
CONFIG_TEMPLATE = HERE / "models.config.in"
CONFIG = BUILD / "models.config"
BASE_PATH = BUILD / "models" / "email_model"
VERSIONS = (1, 2, 3)


def missing_versions() -> list[int]:
    """Return the versions that have yet to be trained."""
    return [version for version in VERSIONS if not (BASE_PATH / str(version)).is_dir()]
