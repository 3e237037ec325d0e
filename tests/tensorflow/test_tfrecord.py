"""What is written as TFRecords is what TensorFlow reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.wire.tfrecord import framed

pytestmark = pytest.mark.tensorflow


def test_tensorflow_reads_the_records(tmp_path: Path) -> None:
    import tensorflow as tf

    records = [b"", b"a record", bytes(range(256)) * 5]
    file = tmp_path / "records"
    file.write_bytes(b"".join(map(framed, records)))

    assert [record.numpy() for record in tf.data.TFRecordDataset(str(file))] == records
