"""Make everything the example needs; what is there already is left alone.

Usage: python -m examples.spam.prepare
Out: `build/spam.jsonl`, `build/models/email_model/{1,2,3}`, `build/models.config`.
"""

from __future__ import annotations

from examples.files import fill_in
from examples.spam import corpus
from examples.spam.paths import BASE_PATH, CONFIG, CONFIG_TEMPLATE, missing_versions


def prepare() -> None:
    """Fetch the mails, train the missing versions, write the server's configuration."""
    if missing_versions():
        corpus.fetch()
        print("training: importing TensorFlow ...", flush=True)
        from examples.spam import train  # here: it takes ten seconds that are rarely needed

        train.train_versions(missing_versions())
    fill_in(CONFIG_TEMPLATE, CONFIG, base_path=BASE_PATH.as_posix())


if __name__ == "__main__":
    prepare()
