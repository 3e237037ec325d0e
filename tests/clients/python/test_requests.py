"""Examples, targets and configurations, as messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sigrun_client import InvalidInput, ModelConfig
from sigrun_client._gen.tensorflow.core.example.example_pb2 import Example
from sigrun_client._requests import Target, examples_input, server_config


def feature(value: Any) -> Any:
    (example,) = examples_input([{"f": value}]).example_list.examples
    return example.features.feature["f"]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("grün", "bytes_list", ["grün".encode()]),
        (b"\xff\0", "bytes_list", [b"\xff\0"]),
        (["a", b"b"], "bytes_list", [b"a", b"b"]),
        (np.array(["a", "b"]), "bytes_list", [b"a", b"b"]),
        (3, "int64_list", [3]),
        ([True, 2], "int64_list", [1, 2]),
        (np.array([1, 2], np.uint8), "int64_list", [1, 2]),
        (np.int32(7), "int64_list", [7]),
        (1.5, "float_list", [1.5]),
        ([1, 2.5], "float_list", [1.0, 2.5]),
        (np.array([[1.5], [2.5]], np.float32), "float_list", [1.5, 2.5]),
    ],
)
def test_a_feature_has_the_kind_of_its_values(value: Any, kind: str, expected: Any) -> None:
    proto = feature(value)

    assert proto.WhichOneof("kind") == kind
    assert list(getattr(proto, kind).value) == expected


def test_a_feature_without_values_has_no_kind() -> None:
    assert feature([]).WhichOneof("kind") is None


@pytest.mark.parametrize("value", [["a", 1], [None], [1j], [2**63], {"a": 1}])
def test_a_feature_of_no_kind_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"^feature 'f' "):
        feature(value)


def test_examples_may_be_bytes_or_messages_of_any_pool() -> None:
    example = Example()
    example.features.feature["f"].float_list.value.append(1.5)

    both = examples_input([example, example.SerializeToString()], context=example)

    assert list(both.example_list_with_context.examples) == [example, example]
    assert both.example_list_with_context.context == example


def test_bytes_that_are_no_example_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^3 bytes are no tf\.Example"):
        examples_input([b"\xff\xff\xff"])


def test_one_example_is_not_a_list_of_them() -> None:
    with pytest.raises(InvalidInput, match=r"^examples are a list"):
        examples_input(b"one example")  # type: ignore[arg-type]


def test_a_request_is_for_a_version_or_a_label() -> None:
    with pytest.raises(InvalidInput, match=r"version 0 and label 'beta'$"):
        Target(model="m", version=0, label="beta")


def test_version_0_is_a_version() -> None:
    assert Target(model="m", version=0).spec().WhichOneof("version_choice") == "version"
    assert Target(model="m").spec().WhichOneof("version_choice") is None


def test_a_configuration_is_made_of_models() -> None:
    by_models = server_config(
        [
            ModelConfig(name="a", base_path="/a", versions=[1, 3], labels={"stable": 1}),
            ModelConfig(name="b", base_path="/b", latest=2),
            ModelConfig(name="c", base_path="/c", latest=None),
        ]
    )
    by_text = server_config(
        """
        model_config_list {
          config {
            name: "a" base_path: "/a" model_platform: "tensorflow"
            model_version_policy { specific { versions: 1 versions: 3 } }
            version_labels { key: "stable" value: 1 }
          }
          config {
            name: "b" base_path: "/b" model_platform: "tensorflow"
            model_version_policy { latest { num_versions: 2 } }
          }
          config {
            name: "c" base_path: "/c" model_platform: "tensorflow"
            model_version_policy { all {} }
          }
        }
        """
    )

    assert by_models == by_text


def test_no_models_are_a_configuration_too() -> None:
    assert server_config([]).WhichOneof("config") == "model_config_list"


def test_a_text_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r'^this is no ModelServerConfig: 1:1 .*"models"'):
        server_config("models: 3")
