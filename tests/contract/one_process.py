"""Import several copies of the protocol in the order given, and let them read each other's bytes.

Run by test_one_process.py, in a process of its own: `python one_process.py COPY...`, where each
copy is the package that stands in front of `tensorflow_serving`, or "" for the PyPI packages.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

CONFIG = """
model_config_list {
  config {
    name: "half_plus_two"
    base_path: "/models/half_plus_two"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
  }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy of the protocol: the modules that the exchange needs."""

    predict: Any
    metadata: Any
    config: Any
    tensor: Any


def main(packages: list[str]) -> None:
    copies = [load(package) for package in packages]
    for writer, reader in itertools.permutations(copies, 2):
        exchange_tensors(writer, reader)
        exchange_signatures(writer, reader)
        exchange_text(writer, reader)


def load(package: str) -> Copy:
    prefix = f"{package}." if package else ""
    serving = f"{prefix}tensorflow_serving"
    return Copy(
        predict=importlib.import_module(f"{serving}.apis.predict_pb2"),
        metadata=importlib.import_module(f"{serving}.apis.get_model_metadata_pb2"),
        config=importlib.import_module(f"{serving}.config.model_server_config_pb2"),
        tensor=importlib.import_module(f"{prefix}tensorflow.core.framework.tensor_pb2"),
    )


def exchange_tensors(writer: Copy, reader: Copy) -> None:
    written = writer.predict.PredictRequest(output_filter=["y"])
    written.model_spec.name = "half_plus_two"
    written.model_spec.version.value = 3
    written.inputs["x"].CopyFrom(writer.tensor.TensorProto(dtype=1, float_val=[1.0, 2.5]))

    read = reader.predict.PredictRequest.FromString(written.SerializeToString())

    assert type(read) is not type(written)
    assert read.model_spec.WhichOneof("version_choice") == "version"
    assert read.model_spec.version.value == 3
    assert list(read.inputs["x"].float_val) == [1.0, 2.5]
    assert written == writer.predict.PredictRequest.FromString(read.SerializeToString())


def exchange_signatures(writer: Copy, reader: Copy) -> None:
    signatures = writer.metadata.SignatureDefMap()
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    written = writer.metadata.GetModelMetadataResponse()
    written.metadata["signature_def"].Pack(signatures)

    read = reader.metadata.GetModelMetadataResponse.FromString(written.SerializeToString())

    unpacked = reader.metadata.SignatureDefMap()
    assert read.metadata["signature_def"].Unpack(unpacked)
    assert unpacked.signature_def["serving_default"].method_name == "tensorflow/serving/predict"


def exchange_text(writer: Copy, reader: Copy) -> None:
    written = text_format.Parse(CONFIG, writer.config.ModelServerConfig())

    read = text_format.Parse(
        text_format.MessageToString(written), reader.config.ModelServerConfig()
    )

    assert read.SerializeToString(deterministic=True) == written.SerializeToString(
        deterministic=True
    )
    assert dict(read.model_config_list.config[0].version_labels) == {"stable": 1}


if __name__ == "__main__":
    main(sys.argv[1:])
