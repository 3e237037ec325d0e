"""Make everything the example needs; what is there already is left alone.

Usage: python examples/spam/prepare.py
Out: `build/spam.jsonl`, `build/models/email_model/{1,2,3}`, `build/models.config`.
"""

from __future__ import annotations

from string import Template

import corpus
from paths import BASE_PATH, CONFIG, CONFIG_TEMPLATE, missing_versions


def prepare() -> None:
    """Fetch the mails, train the missing versions, write the server's configuration."""
    if missing_versions():
        corpus.fetch()
        print("training: importing TensorFlow ...", flush=True)
        import train  # here, because it takes ten seconds that are rarely needed

        train.train_versions(missing_versions())
    write_config()


def write_config() -> None:
    """Fill the template in; TensorFlow Serving's format wants absolute base paths."""
    template = Template(CONFIG_TEMPLATE.read_text(encoding="utf-8"))
    text = template.substitute(base_path=BASE_PATH.as_posix())
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    unfinished = CONFIG.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(CONFIG)


if __name__ == "__main__":
    prepare()
