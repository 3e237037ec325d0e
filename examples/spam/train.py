"""Train the versions of the spam classifier, each on a larger part of the same mails.

In: `build/spam.jsonl`. Out: one SavedModel per version in `build/models/email_model/`, with the
signature `serving_default`: `text` (string [-1]) -> `spam_probability` (float [-1]) and `label`
(string [-1], `spam` or `ham`).

A fifth of the mails is held out: no version sees it in training, and all are measured on it.
A version's vocabulary and weights come from its own part of the training mails only.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read by TensorFlow when it is imported
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # a model of this size trains no faster there

import keras
import numpy as np
import tensorflow as tf

from examples.files import whole_folder
from examples.spam.paths import BASE_PATH, MESSAGES, missing_versions

SEED = 7
HELD_OUT_PART = 0.2
TRAINING_PARTS = {1: 0.05, 2: 0.25, 3: 1.0}  # by version
MAX_WORDS = 12_000
MAX_BYTES = 6_000  # of a mail; the rest says little
EPOCHS = 12
ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Mails:
    """Mails as words, with 1 for spam and 0 for ham."""

    words: Sequence[Sequence[bytes]]
    spam: np.ndarray

    def first(self, count: int) -> Mails:
        """Return the first `count` mails."""
        return Mails(words=self.words[:count], spam=self.spam[:count])


class SpamClassifier(tf.Module):
    """Logistic regression on the words of a mail, with the splitting into words inside."""

    def __init__(self, vocabulary: Sequence[bytes], idf: np.ndarray) -> None:
        super().__init__()
        keys = tf.constant(vocabulary)
        ids = tf.range(len(vocabulary), dtype=tf.int64)
        entries = tf.lookup.KeyValueTensorInitializer(keys, ids)
        self.table = tf.lookup.StaticHashTable(entries, default_value=-1)
        self.idf = tf.Variable(idf, trainable=False, name="idf")
        self.weights = tf.Variable(tf.zeros([len(vocabulary), 1]), name="weights")
        self.bias = tf.Variable(tf.zeros([1]), name="bias")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def predict(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the probability that each text is spam, and the likelier label."""
        logits = self.features(split(text)) @ self.weights + self.bias
        probability = tf.sigmoid(logits)[:, 0]
        label = tf.where(probability > 0.5, "spam", "ham")
        return {"spam_probability": probability, "label": label}

    def features(self, words: tf.RaggedTensor) -> tf.Tensor:
        """Return one row of unit length per text: log(1 + count * idf) of each known word."""
        ids = self.table.lookup(words)
        known = tf.ragged.boolean_mask(ids, ids >= 0)
        size = tf.shape(self.idf)[0]
        rows = tf.cast(known.value_rowids(), tf.int32)
        flat = rows * size + tf.cast(known.values, tf.int32)
        total = tf.cast(known.nrows(), tf.int32) * size
        counts = tf.math.bincount(flat, minlength=total, maxlength=total, dtype=tf.float32)
        counts = tf.reshape(counts, [-1, size])
        return tf.math.l2_normalize(tf.math.log1p(counts * self.idf), axis=1)


def train_versions(versions: Iterable[int]) -> None:
    """Train, measure and export each of `versions`."""
    started = time.monotonic()
    training, held_out = load_mails()
    print(
        f"training: {len(training.words)} mails to train with, {len(held_out.words)} held out",
        flush=True,
    )
    for version in versions:
        keras.utils.set_random_seed(SEED)
        part = training.first(round(len(training.words) * TRAINING_PARTS[version]))
        classifier = train(part)
        export(classifier, BASE_PATH / str(version))
        print(
            f"training: version {version} from {len(part.words)} mails "
            f"({classifier.idf.shape[0]} words): {measure(classifier, held_out)}",
            flush=True,
        )
    print(f"training: done in {time.monotonic() - started:.0f} s", flush=True)


def load_mails() -> tuple[Mails, Mails]:
    """Return (training mails, held-out mails), the same ones on every machine."""
    with MESSAGES.open(encoding="utf-8") as lines:
        messages = [json.loads(line) for line in lines]
    random.Random(SEED).shuffle(messages)
    text = [message["text"] for message in messages]
    words = [
        mail
        for start in range(0, len(text), ROWS_AT_ONCE)
        for mail in split(tf.constant(text[start : start + ROWS_AT_ONCE])).to_list()
    ]
    spam = np.array([message["spam"] for message in messages], np.float32)
    count = round(len(messages) * (1 - HELD_OUT_PART))
    return (
        Mails(words=words[:count], spam=spam[:count]),
        Mails(words=words[count:], spam=spam[count:]),
    )


def split(text: tf.Tensor) -> tf.RaggedTensor:
    """Split texts into lower-case words without punctuation."""
    text = tf.strings.lower(tf.strings.substr(text, 0, MAX_BYTES))
    return tf.strings.split(tf.strings.regex_replace(text, r"[[:punct:]]", ""))


def train(mails: Mails) -> SpamClassifier:
    """Return a classifier that has learnt from `mails`, and from nothing else."""
    vocabulary, idf = count_words(mails.words)
    classifier = SpamClassifier(vocabulary, idf)
    layer = keras.layers.Dense(
        1, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(1e-5)
    )
    regression = keras.Sequential([keras.Input((len(vocabulary),)), layer])
    regression.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    rows = feature_rows(classifier, mails.words)
    regression.fit(rows, mails.spam, batch_size=128, epochs=EPOCHS, verbose=0)
    classifier.weights.assign(layer.kernel)
    classifier.bias.assign(layer.bias)
    return classifier


def count_words(mails: Sequence[Sequence[bytes]]) -> tuple[list[bytes], np.ndarray]:
    """Return the words found in most mails, and how telling each is (inverse frequency)."""
    mails_with = Counter(word for mail in mails for word in set(mail))
    by_frequency = sorted(mails_with, key=lambda word: (-mails_with[word], word))
    vocabulary = by_frequency[:MAX_WORDS]
    idf = [math.log(1 + len(mails) / (1 + mails_with[word])) for word in vocabulary]
    return vocabulary, np.array(idf, np.float32)


def feature_rows(classifier: SpamClassifier, mails: Sequence[Sequence[bytes]]) -> np.ndarray:
    """Return the features of all mails, worked out a few hundred at a time."""
    features = tf.function(
        classifier.features, input_signature=[tf.RaggedTensorSpec([None, None], tf.string)]
    )
    parts = [
        features(tf.ragged.constant(mails[start : start + ROWS_AT_ONCE], dtype=tf.string))
        for start in range(0, len(mails), ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def measure(classifier: SpamClassifier, mails: Mails) -> str:
    """Return accuracy, precision and recall on `mails`, as text."""
    rows = feature_rows(classifier, mails.words)
    logits = rows @ classifier.weights.numpy() + classifier.bias.numpy()
    found, spam = logits[:, 0] > 0, mails.spam > 0
    accuracy = np.mean(found == spam)
    precision = np.sum(found & spam) / max(1, np.sum(found))
    recall = np.sum(found & spam) / np.sum(spam)
    return f"accuracy {accuracy:.3f}, precision {precision:.3f}, recall {recall:.3f}"


def export(classifier: SpamClassifier, path: Path) -> None:
    """Save the SavedModel; a version directory is whole or absent."""
    with whole_folder(path) as folder:
        tf.saved_model.save(
            classifier, str(folder), signatures={"serving_default": classifier.predict}
        )


if __name__ == "__main__":
    train_versions(missing_versions())
