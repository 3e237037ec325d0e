"""Messages in a pool of their own can do what messages in the usual pool can."""

from __future__ import annotations

import pytest
from google.protobuf import json_format, text_format
from google.protobuf import wrappers_pb2 as usual_wrappers_pb2

from sigrun._gen import POOL
from sigrun._gen.google.protobuf import wrappers_pb2
from sigrun._gen.tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    prediction_service_pb2,
)
from sigrun._gen.tensorflow_serving.config import platform_config_pb2
from sigrun._gen.tensorflow_serving.servables.tensorflow import (
    saved_model_bundle_source_adapter_pb2,
)

PLATFORMS = """
platform_configs {
  key: "tensorflow"
  value {
    source_adapter_config {
      [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
        legacy_config { batching_parameters { max_batch_size { value: 128 } } }
      }
    }
  }
}
"""


def test_a_wrapped_number_is_set_through_its_value() -> None:
    spec = model_pb2.ModelSpec()

    spec.version.value = 3

    assert spec.WhichOneof("version_choice") == "version"
    assert spec == model_pb2.ModelSpec(version=wrappers_pb2.Int64Value(value=3))


def test_a_wrapper_of_the_usual_pool_is_refused() -> None:
    spec = model_pb2.ModelSpec()

    with pytest.raises(TypeError):
        spec.version.CopyFrom(usual_wrappers_pb2.Int64Value(value=3))  # type: ignore[arg-type]


def test_any_packs_and_unpacks() -> None:
    packed = signatures_response().metadata["signature_def"]

    unpacked = get_model_metadata_pb2.SignatureDefMap()

    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert packed.Is(get_model_metadata_pb2.SignatureDefMap.DESCRIPTOR)
    assert packed.Unpack(unpacked)
    assert list(unpacked.signature_def) == ["serving_default"]


def test_any_is_written_and_read_as_json_with_the_pool() -> None:
    response = signatures_response()

    text = json_format.MessageToJson(response, descriptor_pool=POOL)
    read = json_format.Parse(
        text, get_model_metadata_pb2.GetModelMetadataResponse(), descriptor_pool=POOL
    )

    assert read == response


def test_any_is_read_from_text_with_the_pool() -> None:
    platforms = text_format.Parse(
        PLATFORMS, platform_config_pb2.PlatformConfigMap(), descriptor_pool=POOL
    )

    config = saved_model_bundle_source_adapter_pb2.SavedModelBundleSourceAdapterConfig()
    assert platforms.platform_configs["tensorflow"].source_adapter_config.Unpack(config)
    assert config.legacy_config.batching_parameters.max_batch_size.value == 128


def test_status_in_json_keeps_its_snake_case_names() -> None:
    response = get_model_status_pb2.GetModelStatusResponse()
    response.model_version_status.add(version=1).status.error_message = "no"

    assert json_format.MessageToDict(response) == {
        "model_version_status": [{"version": "1", "status": {"error_message": "no"}}]
    }


def test_the_pool_knows_services_by_name() -> None:
    service = POOL.FindServiceByName("tensorflow.serving.PredictionService")

    assert service is prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"]


def signatures_response() -> get_model_metadata_pb2.GetModelMetadataResponse:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    return response
