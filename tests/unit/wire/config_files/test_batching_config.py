from __future__ import annotations

from pathlib import Path

import pytest

from sigrun.config.batching import BatchingOptions
from sigrun.errors import InvalidArgument, NotFound
from sigrun.wire.config_files import batching_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "batching_params.pbtxt"


def test_every_parameter_of_the_file_is_read(file: Path) -> None:
    file.write_text("""
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 1500 }
        max_enqueued_batches { value: 100 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "mine" }
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 64 }
        allowed_batch_sizes: 32
        allowed_batch_sizes: 128
        pad_variable_length_inputs: true
    """)

    assert batching_config.from_file(file) == BatchingOptions(
        max_batch_rows=128,
        batch_timeout_s=0.0015,
        max_enqueued_batches=100,
        num_batch_threads=3,
        thread_pool_name="mine",
        enable_large_batch_splitting=True,
        max_execution_batch_rows=64,
        allowed_batch_rows=(32, 128),
        pad_variable_length_inputs=True,
    )


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    file.write_text("")

    assert batching_config.from_file(file) == BatchingOptions()


def test_a_zero_that_is_written_down_is_not_taken_for_nothing(file: Path) -> None:
    file.write_text("num_batch_threads { value: 0 }")

    with pytest.raises(InvalidArgument, match=r"^num_batch_threads must be positive; was 0$"):
        batching_config.from_file(file)


def test_a_file_that_does_not_parse_is_named(file: Path) -> None:
    file.write_text("max_batch_size: 128")

    with pytest.raises(InvalidArgument, match=r"^Invalid protobuf file: '.*batching_params.pbtxt'"):
        batching_config.from_file(file)


def test_a_file_that_is_not_there_is_not_found(file: Path) -> None:
    with pytest.raises(NotFound):
        batching_config.from_file(file)


def test_a_version_has_the_parameters_that_lie_in_its_directory(file: Path) -> None:
    file.write_text("max_batch_size { value: 4 }")

    assert batching_config.from_version(file.parent) == BatchingOptions(max_batch_rows=4)


def test_a_version_without_parameters_is_not_batched(tmp_path: Path) -> None:
    assert batching_config.from_version(tmp_path) is None
