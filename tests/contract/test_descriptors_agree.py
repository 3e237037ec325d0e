"""Our text of the protocol says what TensorFlow's and TensorFlow Serving's say.

The other side is what the PyPI packages carry. It is read in a process of its own, because a
process can hold only one version of it. TensorFlow's messages may be subsets; TensorFlow Serving's
must be complete.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pool import DescriptorPool

from tests.contract.descriptors import enums, messages, our_files, services
from tests.contract.processes import run_python

OUR_FILES = our_files()
OUR_MESSAGES = messages(OUR_FILES)
OUR_ENUMS = enums(OUR_FILES)
OUR_SERVICES = services(OUR_FILES)

UNSHIPPED_FILES = {
    "tensorflow/core/grappler/optimizers/inference/batch_op_rewriter.proto",
    "tensorflow/core/tfrt/graph_executor/config.proto",
    "tensorflow_serving/apis/internal/serialized_input.proto",
    "tensorflow_serving/config/monitoring_config.proto",
    "tensorflow_serving/config/ssl_config.proto",
    "tensorflow_serving/servables/tensorflow/remote_op_config_rewriter.proto",
    "tensorflow_serving/servables/tensorflow/saved_model_bundle_source_adapter.proto",
    "tensorflow_serving/servables/tensorflow/saved_model_config.proto",
    "tensorflow_serving/servables/tensorflow/session_bundle_config.proto",
    "tensorflow_serving/servables/tensorflow/thread_pool_factory_config.proto",
    "tsl/profiler/protobuf/profiler_options.proto",  # carried under another path
    "tsl/profiler/protobuf/profiler_service.proto",
}

# What no PyPI package carries, as TensorFlow's and TensorFlow Serving's sources have it.
UNSHIPPED_MESSAGES = {
    "tensorflow.serving.BatchOpRewriteConfig": """
        map<string, tensorflow.serving.BatchOpRewriteConfig.AdaptiveBatchSchedulerOption> \
model_scheduler_options = 1 deprecated
        map<string, tensorflow.serving.BatchOpRewriteConfig.BatchOptions> batch_options = 2
        bool enable_adaptive_shared_batching_thread_pool = 4
    """,
    "tensorflow.serving.BatchOpRewriteConfig.AdaptiveBatchSchedulerOption": """
        google.protobuf.UInt32Value min_inflight_batches_limit = 1
        google.protobuf.UInt32Value initial_inflight_batches_limit = 2
        google.protobuf.UInt32Value max_inflight_batches_limit = 3
        google.protobuf.UInt32Value batches_to_average_over = 4
    """,
    "tensorflow.serving.BatchOpRewriteConfig.BatchOptions": """
        optional int32 num_batch_threads = 1
        optional int32 max_batch_size = 2
        optional int32 batch_timeout_micros = 3
        repeated int32 allowed_batch_sizes = 4
        optional int32 max_enqueued_batches = 5
        optional bool disable_large_batch_splitting = 6
        optional tensorflow.serving.BatchOpRewriteConfig.AdaptiveBatchSchedulerOption \
adaptive_batch_scheduler_option = 7
    """,
    "tensorflow.ProfileOptions": """
        bool include_dataset_ops = 1
        uint32 host_tracer_level = 2
        uint32 device_tracer_level = 3
        uint32 python_tracer_level = 4
        uint32 version = 5
    """,
    "tensorflow.ProfileRequest": """
        uint64 duration_ms = 1
        uint64 max_events = 2
        tensorflow.ProfileOptions opts = 4
        string repository_root = 5
        string session_id = 6
        string host_name = 7
    """,
    "tensorflow.ProfileResponse": """
        bool empty_trace = 7
    """,
    "tensorflow.TerminateRequest": """
        string session_id = 1
    """,
    "tensorflow.TerminateResponse": "",
    "tensorflow.MonitorRequest": """
        uint64 duration_ms = 1
        int32 monitoring_level = 2
        bool timestamp = 3
    """,
    "tensorflow.MonitorResponse": """
        string data = 1
    """,
    "tensorflow.tfrt_stub.RuntimeConfigProto": """
        repeated google.protobuf.Any config = 1
    """,
    "tensorflow.serving.internal.SerializedExampleList": """
        repeated bytes examples = 1
    """,
    "tensorflow.serving.internal.SerializedExampleListWithContext": """
        repeated bytes examples = 1
        bytes context = 2
    """,
    "tensorflow.serving.internal.SerializedInput": """
        tensorflow.serving.internal.SerializedExampleList example_list = 1 oneof:kind
        tensorflow.serving.internal.SerializedExampleListWithContext example_list_with_context = 2 \
oneof:kind
    """,
    "tensorflow.serving.PrometheusConfig": """
        bool enable = 1
        string path = 2
    """,
    "tensorflow.serving.MonitoringConfig": """
        tensorflow.serving.PrometheusConfig prometheus_config = 1
    """,
    "tensorflow.serving.SSLConfig": """
        string server_key = 1
        string server_cert = 2
        string custom_ca = 3
        bool client_verify = 4
    """,
    "tensorflow.serving.tools.RemoteOpRemapConfig": """
        map<string, string> model_name_remap = 1
        map<string, string> target_address_remap = 2
        bool propagate_version = 4
        bool propagate_model_name = 5
        map<string, string> backend_model_name_to_target_address_remap = 6
        reserved 3
    """,
    "tensorflow.serving.SavedModelBundleSourceAdapterConfig": """
        tensorflow.serving.SessionBundleConfig legacy_config = 1000
    """,
    "tensorflow.serving.SessionOverrides": """
        optional tensorflow.serving.tools.RemoteOpRemapConfig remote_op_remap_config = 1
        optional tensorflow.serving.BatchOpRewriteConfig batch_op_rewriter_config = 2
        optional bool disable_meta_optimizer = 3
    """,
    "tensorflow.serving.SavedModelConfig": """
        optional tensorflow.serving.SessionOverrides session_overrides = 1
        optional tensorflow.tfrt_stub.RuntimeConfigProto tfrt_runtime_config = 2
        bool critical = 3
    """,
    "tensorflow.serving.ThreadPoolFactoryConfig": """
        google.protobuf.Any thread_pool_factory_config = 1
    """,
    "tensorflow.serving.ModelWarmupOptions": """
        google.protobuf.Int32Value num_request_iterations = 1
        google.protobuf.Int32Value num_model_warmup_threads = 2
        string model_name = 3
        int64 model_version = 4
        bool enable_all_batch_sizes_warmup = 5
    """,
    "tensorflow.serving.SessionBundleConfig": """
        string session_target = 1
        tensorflow.ConfigProto session_config = 2
        tensorflow.serving.BatchingParameters batching_parameters = 3
        google.protobuf.Int32Value session_run_load_threadpool_index = 4
        uint64 experimental_transient_ram_bytes_during_load = 5
        repeated string saved_model_tags = 6
        tensorflow.BatchingOptions in_graph_batching_parameters = 7
        repeated tensorflow.NamedTensorProto experimental_fixed_input_tensors = 778
        bool enable_model_warmup = 779
        tensorflow.serving.ModelWarmupOptions model_warmup_options = 780
        bool enable_session_metadata = 781
        bool remove_unused_fields_from_bundle_metagraph = 782
        bool prefer_tflite_model = 783
        bool resource_estimation_uses_validation_result = 784
        int32 num_tflite_interpreters = 785 deprecated
        int32 num_tflite_interpreters_per_pool = 786
        int32 num_tflite_pools = 787
        bool wrap_session_with_no_threading_params = 788
        bool enable_per_model_batching_params = 789
        bool enable_saved_model_config = 790
        string mixed_precision = 791
    """,
    "tensorflow.serving.BatchingParameters": """
        google.protobuf.Int64Value max_batch_size = 1
        google.protobuf.Int64Value batch_timeout_micros = 2
        google.protobuf.Int64Value max_enqueued_batches = 3
        google.protobuf.Int64Value num_batch_threads = 4
        google.protobuf.StringValue thread_pool_name = 5
        repeated int64 allowed_batch_sizes = 6
        bool pad_variable_length_inputs = 7
        google.protobuf.BoolValue enable_large_batch_splitting = 8
        google.protobuf.Int64Value max_execution_batch_size = 9
    """,
}

SHIPPED_MESSAGES = [n for n, m in OUR_MESSAGES.items() if m.file.name not in UNSHIPPED_FILES]

READ_THEIRS = """
import base64, importlib, json, pkgutil, sys
import tensorflow_serving

names = [m.name for m in pkgutil.walk_packages(tensorflow_serving.__path__, "tensorflow_serving.")]
names += [name.removesuffix(".proto").replace("/", ".") + "_pb2" for name in sys.argv[1:]]
files = {}

def add(file):
    if file.name not in files:
        for dependency in file.dependencies:
            add(dependency)
        files[file.name] = base64.b64encode(file.serialized_pb).decode()

for name in names:
    if name.endswith("_pb2"):
        add(importlib.import_module(name).DESCRIPTOR)
print(json.dumps(files))
"""


@pytest.fixture(scope="session")
def their_files() -> dict[str, FileDescriptor]:
    """The files that tensorflow and tensorflow-serving-api carry, those of proto/ at least."""
    shipped = [n for n in OUR_FILES if n not in UNSHIPPED_FILES and n.startswith("tensorflow/")]
    result = run_python("-c", READ_THEIRS, *shipped)
    assert result.returncode == 0, result.stderr

    pool = DescriptorPool()
    names = []
    for name, content in json.loads(result.stdout.splitlines()[-1]).items():
        pool.AddSerializedFile(base64.b64decode(content))
        names.append(name)
    return {n: pool.FindFileByName(n) for n in names if not n.startswith("google/")}


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", SHIPPED_MESSAGES)
def test_a_message_agrees_with_the_one_that_python_packages_carry(
    name: str, their_files: dict[str, FileDescriptor]
) -> None:
    ours, theirs = OUR_MESSAGES[name], messages(their_files)[name]
    subset = None if is_complete(ours) else set(ours.fields_by_name)

    assert fields(ours) == fields(theirs, only=subset)
    assert reservations(ours) == reservations(theirs)
    assert ours.file.name == theirs.file.name


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", OUR_ENUMS)
def test_an_enum_agrees_with_the_one_that_python_packages_carry(
    name: str, their_files: dict[str, FileDescriptor]
) -> None:
    ours, theirs = OUR_ENUMS[name], enums(their_files)[name]

    assert values(ours) == values(theirs)
    assert reservations(ours) == reservations(theirs)
    assert ours.file.name == theirs.file.name


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "name", [n for n, service in OUR_SERVICES.items() if service.file.name not in UNSHIPPED_FILES]
)
def test_a_service_agrees_with_the_one_that_python_packages_carry(
    name: str, their_files: dict[str, FileDescriptor]
) -> None:
    ours, theirs = OUR_SERVICES[name], services(their_files)[name]

    assert methods(ours) == methods(theirs)
    assert ours.file.name == theirs.file.name


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
def test_nothing_of_tensorflow_serving_is_missing(their_files: dict[str, FileDescriptor]) -> None:
    serving = {n: f for n, f in their_files.items() if n.startswith("tensorflow_serving/")}

    assert serving.keys() <= OUR_FILES.keys()
    assert messages(serving).keys() <= OUR_MESSAGES.keys()
    assert enums(serving).keys() <= OUR_ENUMS.keys()
    assert services(serving).keys() <= OUR_SERVICES.keys()


@pytest.mark.tensorflow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [n for n in OUR_FILES if n not in UNSHIPPED_FILES])
def test_a_file_has_the_package_and_options_that_python_packages_carry(
    name: str, their_files: dict[str, FileDescriptor]
) -> None:
    ours, theirs = OUR_FILES[name], their_files[name]

    assert ours.package == theirs.package
    assert ours.GetOptions().cc_enable_arenas == theirs.GetOptions().cc_enable_arenas
    assert re_exports(ours) == re_exports(theirs)


@pytest.mark.parametrize("name", UNSHIPPED_MESSAGES)
def test_a_message_that_no_python_package_carries_is_as_it_is_in_the_sources(name: str) -> None:
    message = OUR_MESSAGES[name]

    declarations = [
        declaration(field) for field in sorted(message.fields, key=lambda field: field.number)
    ]
    declarations += [f"reserved {start}" for start, _ in reservations(message)[0]]

    assert declarations == [line.strip() for line in UNSHIPPED_MESSAGES[name].strip().splitlines()]


def test_every_message_is_compared_with_something() -> None:
    unshipped = {n for n, m in OUR_MESSAGES.items() if m.file.name in UNSHIPPED_FILES}

    assert unshipped == UNSHIPPED_MESSAGES.keys()


def is_complete(message: Descriptor) -> bool:
    return message.full_name.startswith("tensorflow.serving.")


def fields(message: Descriptor, *, only: set[str] | None = None) -> dict[str, Any]:
    """Return the facts of all fields, or of some, each under a key such as "score: type"."""
    chosen = [field for field in message.fields if only is None or field.name in only]
    return {f"{field.name}: {k}": v for field in chosen for k, v in facts(field).items()}


def facts(field: FieldDescriptor) -> dict[str, Any]:
    """Return all that a field means to bytes, JSON, text and generated code."""
    options = field.GetOptions()
    kind = field.message_type or field.enum_type
    return {
        "number": field.number,
        "type": declared_type(field),
        "wire type": field.type,
        "type name": kind.full_name if kind else None,
        "repeated": field.is_repeated,
        "presence": field.has_presence,
        "optional": is_optional(field),
        "oneof": field.containing_oneof.name if field.containing_oneof else None,
        "json name": field.json_name,
        "packed": field.is_packed,
        "default": None if field.is_repeated or field.message_type else field.default_value,
        "deprecated": options.deprecated,
        "lazy": options.lazy,
    }


def declaration(field: FieldDescriptor) -> str:
    """Write a field in the notation of UNSHIPPED_MESSAGES."""
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    words = [
        "repeated" if field.is_repeated and not is_map else "",
        "optional" if is_optional(field) else "",
        f"{declared_type(field)} {field.name} = {field.number}",
        "deprecated" if field.GetOptions().deprecated else "",
    ]
    if field.containing_oneof and not is_optional(field):
        words.append(f"oneof:{field.containing_oneof.name}")
    return " ".join(word for word in words if word)


def declared_type(field: FieldDescriptor) -> str:
    """Return the type as a .proto file names it; for a map, with key and value."""
    if field.message_type is not None:
        if not field.message_type.GetOptions().map_entry:
            return field.message_type.full_name
        entry = field.message_type.fields_by_name
        return f"map<{declared_type(entry['key'])}, {declared_type(entry['value'])}>"
    if field.enum_type is not None:
        return field.enum_type.full_name
    name = descriptor_pb2.FieldDescriptorProto.Type.Name(as_type(field.type))
    return name.removeprefix("TYPE_").lower()


def as_type(number: int) -> descriptor_pb2.FieldDescriptorProto.Type.ValueType:
    return descriptor_pb2.FieldDescriptorProto.Type.ValueType(number)


def is_optional(field: FieldDescriptor) -> bool:
    """Say whether the field has a oneof only because it is declared `optional`."""
    assert field.containing_type is not None, "only extensions have none"
    message = descriptor_pb2.DescriptorProto()
    field.containing_type.CopyToProto(message)
    return any(f.proto3_optional for f in message.field if f.number == field.number)


def reservations(kind: Descriptor | EnumDescriptor) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the numbers and names that may not be used again."""
    if isinstance(kind, Descriptor):
        message = descriptor_pb2.DescriptorProto()
        kind.CopyToProto(message)
        return sorted((r.start, r.end) for r in message.reserved_range), sorted(
            message.reserved_name
        )
    enum = descriptor_pb2.EnumDescriptorProto()
    kind.CopyToProto(enum)
    return sorted((r.start, r.end) for r in enum.reserved_range), sorted(enum.reserved_name)


def values(enum: EnumDescriptor) -> dict[str, tuple[int, bool]]:
    return {value.name: (value.number, value.GetOptions().deprecated) for value in enum.values}


def methods(service: ServiceDescriptor) -> dict[str, tuple[str, str, bool, bool]]:
    return {
        method.name: (
            method.input_type.full_name,
            method.output_type.full_name,
            method.client_streaming,
            method.server_streaming,
        )
        for method in service.methods
    }


def re_exports(file: FileDescriptor) -> list[str]:
    return [dependency.name for dependency in file.public_dependencies]
