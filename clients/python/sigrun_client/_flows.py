"""What each method of a client does, step by step, without doing it.

A flow is a generator. It yields a `Call`, and is sent the bytes that came back or thrown the
error; or it yields a `Pause`. `Client` and `AsyncClient` take the steps, each in its own way, so
that everything that is decided is decided here, once, and can be tested without a server.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from sigrun_client import _health, _metadata, _predict, _requests, _results, _tensors
from sigrun_client._addresses import Rotation
from sigrun_client._errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvalidInput,
    InvalidReply,
    NotAvailable,
    NotFound,
    Unavailable,
    server_error,
)
from sigrun_client._gen.sigrun.v1.model_management_pb2 import (
    ListModelsRequest,
    ListModelsResponse,
    LoadModelRequest,
    LoadModelResponse,
    ReloadModelRequest,
    ReloadModelResponse,
    SetLabelsRequest,
    SetLabelsResponse,
    UnloadModelRequest,
    UnloadModelResponse,
)
from sigrun_client._gen.tensorflow_serving.apis.classification_pb2 import (
    ClassificationRequest,
    ClassificationResponse,
)
from sigrun_client._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
)
from sigrun_client._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    GetModelStatusResponse,
)
from sigrun_client._gen.tensorflow_serving.apis.inference_pb2 import (
    MultiInferenceRequest,
    MultiInferenceResponse,
)
from sigrun_client._gen.tensorflow_serving.apis.model_management_pb2 import (
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from sigrun_client._gen.tensorflow_serving.apis.regression_pb2 import (
    RegressionRequest,
    RegressionResponse,
)
from sigrun_client._metadata import ModelMetadata, Signature
from sigrun_client._options import Options
from sigrun_client._requests import ExampleLike, Method, ModelConfig, Target
from sigrun_client._results import (
    ClassifyResult,
    ModelInfo,
    PredictResult,
    RegressResult,
    VersionStatus,
)
from sigrun_client._tensors import Array, TensorLike

T = TypeVar("T")
M = TypeVar("M", bound=Message)

Inputs: TypeAlias = "Mapping[str, TensorLike] | TensorLike"
"""Tensors by name; or the one tensor of a signature that takes one."""

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_MANAGEMENT = "/sigrun.v1.ModelManagementService/"
_DEFAULT_SIGNATURE = "serving_default"
_SIGNATURE_DEF = "signature_def"

_MAX_REMEMBERED = 256  # models, versions and labels whose signatures are kept
_POLL_S = 0.25
_ASK_TIMEOUT_S = 5.0  # for one look at a model that is waited for


@dataclass(frozen=True, slots=True)
class Call:
    """Send `body` to the method at `path`, at the address of that number."""

    path: str
    body: bytes
    timeout_s: float | None
    address: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so long."""

    seconds: float


Flow: TypeAlias = Generator[Call | Pause, bytes, T]


class Flows:
    """The methods of a client, as flows. Threads may share it.

    Signatures are remembered, for numbers in lists; those of a model are forgotten when a
    version answers that they are not from.
    """

    def __init__(
        self,
        options: Options,
        address_count: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._rotation = Rotation(address_count, rest_s=options.retries.max_backoff_s)
        self._clock = clock
        self._known: dict[Target, ModelMetadata] = {}

    def predict(
        self,
        target: Target,
        inputs: Inputs,
        *,
        signature: str,
        outputs: Sequence[str],
        timeout_s: float | None,
    ) -> Flow[PredictResult]:
        """Run a signature on tensors."""
        name = signature or _DEFAULT_SIGNATURE
        if isinstance(inputs, Mapping) and all(map(_tensors.has_dtype, inputs.values())):
            arrays = {alias: _tensors.as_array(alias, v, None) for alias, v in inputs.items()}
            return (yield from self._predict(target, signature, arrays, outputs, timeout_s))
        is_remembered = target in self._known
        metadata = self._known.get(target) or (yield from self._look_up(target, timeout_s))
        try:
            arrays = _arrays(inputs, metadata, name)
            return (yield from self._predict(target, signature, arrays, outputs, timeout_s))
        except (InvalidArgument, InvalidInput):
            # Perhaps another version has come that takes something else.
            fresh = (yield from self._look_up(target, timeout_s)) if is_remembered else metadata
            if fresh.get(name) == metadata.get(name):
                raise
        arrays = _arrays(inputs, fresh, name)
        return (yield from self._predict(target, signature, arrays, outputs, timeout_s))

    def _predict(
        self,
        target: Target,
        signature: str,
        arrays: Mapping[str, tuple[str, Array]],
        outputs: Sequence[str],
        timeout_s: float | None,
    ) -> Flow[PredictResult]:
        body = _predict.request(target.spec(signature), arrays, outputs)
        answer = yield from self._send(f"{_PREDICTION}Predict", body, timeout_s)
        result = _results.predict_result(*_predict.reply(answer))
        known = self._known.get(target)
        if known is not None and known.version != result.version:
            self._known.pop(target, None)
        return result

    def _look_up(self, target: Target, timeout_s: float | None) -> Flow[ModelMetadata]:
        metadata = yield from self.metadata(target, timeout_s=timeout_s)
        while len(self._known) >= _MAX_REMEMBERED:
            self._known.pop(next(iter(self._known)), None)
        self._known[target] = metadata
        return metadata

    def classify(
        self,
        target: Target,
        examples: Iterable[ExampleLike],
        *,
        signature: str,
        context: ExampleLike | None,
        timeout_s: float | None,
    ) -> Flow[ClassifyResult]:
        """Classify examples."""
        request = ClassificationRequest(
            model_spec=target.spec(signature), input=_requests.examples_input(examples, context)
        )
        answer = yield from self._ask(
            f"{_PREDICTION}Classify", request, ClassificationResponse, timeout_s
        )
        return _results.classify_result(answer.model_spec, answer.result)

    def regress(
        self,
        target: Target,
        examples: Iterable[ExampleLike],
        *,
        signature: str,
        context: ExampleLike | None,
        timeout_s: float | None,
    ) -> Flow[RegressResult]:
        """Compute a value for each example."""
        request = RegressionRequest(
            model_spec=target.spec(signature), input=_requests.examples_input(examples, context)
        )
        answer = yield from self._ask(
            f"{_PREDICTION}Regress", request, RegressionResponse, timeout_s
        )
        return _results.regress_result(answer.model_spec, answer.result)

    def multi_inference(
        self,
        target: Target,
        signatures: Mapping[str, Method],
        examples: Iterable[ExampleLike],
        *,
        context: ExampleLike | None,
        timeout_s: float | None,
    ) -> Flow[dict[str, ClassifyResult | RegressResult]]:
        """Run several signatures on the same examples."""
        request = MultiInferenceRequest(
            tasks=_requests.tasks(target, signatures),
            input=_requests.examples_input(examples, context),
        )
        answer = yield from self._ask(
            f"{_PREDICTION}MultiInference", request, MultiInferenceResponse, timeout_s
        )
        results: dict[str, ClassifyResult | RegressResult] = {}
        for name, one in zip(signatures, answer.results, strict=False):
            if one.HasField("classification_result"):
                results[name] = _results.classify_result(one.model_spec, one.classification_result)
            else:
                results[name] = _results.regress_result(one.model_spec, one.regression_result)
        return results

    def metadata(self, target: Target, *, timeout_s: float | None) -> Flow[ModelMetadata]:
        """Ask for the signatures of a version."""
        request = GetModelMetadataRequest(model_spec=target.spec(), metadata_field=[_SIGNATURE_DEF])
        answer = yield from self._ask(
            f"{_PREDICTION}GetModelMetadata", request, GetModelMetadataResponse, timeout_s
        )
        return _metadata.model_metadata(answer)

    def status(self, target: Target, *, timeout_s: float | None) -> Flow[list[VersionStatus]]:
        """Ask for the states of a model's versions."""
        request = GetModelStatusRequest(model_spec=target.spec())
        answer = yield from self._ask(
            f"{_MODEL}GetModelStatus", request, GetModelStatusResponse, timeout_s
        )
        return [_results.version_status(version) for version in answer.model_version_status]

    def health(self, service: str, *, timeout_s: float | None) -> Flow[_health.Health]:
        """Ask whether the server, a service or a model is serving."""
        answer = yield from self._send(_health.PATH, _health.request(service), timeout_s)
        return _health.reply(answer)

    def reload(self, config: str | Iterable[ModelConfig], *, timeout_s: float | None) -> Flow[None]:
        """Give the server another configuration."""
        request = ReloadConfigRequest(config=_requests.server_config(config))
        answer = yield from self._ask(
            f"{_MODEL}HandleReloadConfigRequest", request, ReloadConfigResponse, timeout_s
        )
        if code := answer.status.error_code:
            raise server_error(_results.code_name(code), answer.status.error_message)

    def models(self, *, timeout_s: float | None) -> Flow[list[ModelInfo]]:
        """List the models of a sigrun server."""
        answer = yield from self._ask(
            f"{_MANAGEMENT}ListModels", ListModelsRequest(), ListModelsResponse, timeout_s
        )
        return list(map(_results.model_info, answer.models))

    def load_model(self, config: ModelConfig, *, timeout_s: float | None) -> Flow[ModelInfo]:
        """Have a model served."""
        request = LoadModelRequest(config=_requests.managed_config(config))
        answer = yield from self._ask(
            f"{_MANAGEMENT}LoadModel", request, LoadModelResponse, timeout_s
        )
        return _results.model_info(answer.model)

    def unload_model(self, model: str, *, timeout_s: float | None) -> Flow[None]:
        """Have a model served no longer."""
        request = UnloadModelRequest(name=model)
        yield from self._ask(f"{_MANAGEMENT}UnloadModel", request, UnloadModelResponse, timeout_s)

    def reload_model(self, model: str, *, timeout_s: float | None) -> Flow[ModelInfo]:
        """Have the versions of a model loaded again."""
        request = ReloadModelRequest(name=model)
        answer = yield from self._ask(
            f"{_MANAGEMENT}ReloadModel", request, ReloadModelResponse, timeout_s
        )
        return _results.model_info(answer.model)

    def set_labels(
        self,
        model: str,
        labels: Mapping[str, int],
        *,
        removed: Collection[str],
        timeout_s: float | None,
    ) -> Flow[ModelInfo]:
        """Add, move and remove labels of a model."""
        request = SetLabelsRequest(name=model, version_labels=labels, removed_labels=removed)
        answer = yield from self._ask(
            f"{_MANAGEMENT}SetLabels", request, SetLabelsResponse, timeout_s
        )
        return _results.model_info(answer.model)

    def wait_until_available(self, target: Target, *, timeout_s: float) -> Flow[int]:
        """Ask for the status until a version is available; return the newest that is."""
        ends_at = self._clock() + timeout_s
        while True:
            last_state = ""
            left_s = max(ends_at - self._clock(), _POLL_S)
            try:
                states = yield from self.status(target, timeout_s=min(left_s, _ASK_TIMEOUT_S))
                available = [one.version for one in states if one.is_available]
                if available:
                    return max(available)
                last_state = ", ".join(map(str, states)) or "the server knows no version of it"
            except (Unavailable, NotFound, DeadlineExceeded) as error:
                last_state = f"{error.code}: {error}"
            if self._clock() + _POLL_S > ends_at:
                raise NotAvailable(
                    f"model {target.model!r} did not become available within {timeout_s:.3g} s; "
                    f"last seen: {last_state}"
                )
            yield Pause(_POLL_S)

    def recorded(self, method: str, request: bytes) -> Flow[bytes]:
        """Send a request of `PredictionService` as it was recorded, and return the answer."""
        return self._send(f"{_PREDICTION}{method}", request, None)

    def _ask(self, path: str, request: Message, kind: type[M], timeout_s: float | None) -> Flow[M]:
        answer = yield from self._send(path, request.SerializeToString(), timeout_s)
        try:
            return kind.FromString(answer)
        except DecodeError as error:
            raise InvalidReply(f"{len(answer)} bytes are no {kind.__name__}: {error}") from None

    def _send(self, path: str, body: bytes, timeout_s: float | None) -> Flow[bytes]:
        """Send to the address whose turn it is, and on to the next where that is away.

        With one address gRPC does the retrying.
        """
        timeout_s = _finite(self._options.timeout_s if timeout_s is None else timeout_s)
        if len(self._rotation) == 1:
            return (yield Call(path, body, timeout_s, 0))
        ends_at = math.inf if timeout_s is None else self._clock() + timeout_s
        retries = self._options.retries
        failures = 0
        while True:
            for address in self._rotation.order(self._clock()):
                left_s = _finite(ends_at - self._clock())
                try:
                    answer = yield Call(path, body, left_s, address)
                except Unavailable:
                    self._rotation.failed(address, self._clock())
                    failures += 1
                    if not self._may_go_on(failures, ends_at):
                        raise
                else:
                    self._rotation.answered(address)
                    return answer
            yield Pause(retries.backoff_s(failures // len(self._rotation)))

    def _may_go_on(self, failures: int, ends_at: float) -> bool:
        """Return whether there is another attempt, and time for it.

        Every address has one where retrying is on at all; a pause follows when all had it.
        """
        retries = self._options.retries
        rounds, rest = divmod(failures, len(self._rotation))
        pause_s = 0.0 if rest else retries.backoff_s(rounds)
        attempts = max(retries.attempts, len(self._rotation)) if retries.attempts > 1 else 1
        return failures < attempts and self._clock() + pause_s < ends_at


def _finite(timeout_s: float | None) -> float | None:
    return None if timeout_s is None or math.isinf(timeout_s) else timeout_s


def _arrays(inputs: Inputs, metadata: ModelMetadata, name: str) -> dict[str, tuple[str, Array]]:
    """Return the inputs as arrays. Names that the signature has not are left to the server."""
    signature = metadata.get(name)
    named = inputs if isinstance(inputs, Mapping) else _named(inputs, metadata, signature, name)
    infos = signature.inputs if signature else {}
    return {
        alias: _tensors.as_array(alias, value, infos[alias].dtype if alias in infos else None)
        for alias, value in named.items()
    }


def _named(
    value: TensorLike, metadata: ModelMetadata, signature: Signature | None, name: str
) -> Mapping[str, TensorLike]:
    if signature is None:
        raise InvalidInput(
            f"model {metadata.model!r} has no signature {name!r}, only {', '.join(metadata)}"
        )
    if len(signature.inputs) != 1:
        raise InvalidInput(
            f"signature {name!r} takes {', '.join(signature.inputs) or 'no inputs'}: "
            "give a dict of them"
        )
    return dict.fromkeys(signature.inputs, value)
