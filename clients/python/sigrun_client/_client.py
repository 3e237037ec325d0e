"""The client for threads: takes the steps of flows over gRPC channels, one for each address."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import grpc

from sigrun_client._addresses import addresses
from sigrun_client._channels import COMPRESSION, call_error, channel_arguments, credentials
from sigrun_client._flows import Call, Flow, Flows, Inputs
from sigrun_client._health import Health
from sigrun_client._metadata import ModelMetadata
from sigrun_client._options import RELOAD_TIMEOUT_S, Options
from sigrun_client._requests import ExampleLike, Method, ModelConfig, Target
from sigrun_client._results import (
    ClassifyResult,
    ModelInfo,
    PredictResult,
    RegressResult,
    VersionStatus,
)

T = TypeVar("T")


class Client:
    """Asks model servers; threads may share it.

        with Client("localhost:8500") as client:
            result = client.predict("email_model", {"text": ["Make money fast!"]})

    `address` is `host:port`, the port being 8500 if it is left out, or several with commas or
    as a list, which then take turns, past those that are away.
    Connections are made when they are needed. Every call raises `InvalidInput` for what
    cannot be sent and a `ServerError` for what the server answers,
    `Unavailable` if none is there and `DeadlineExceeded` after `timeout_s` seconds: None is
    the client's default, `math.inf` no limit.

    `version` or `label` picks a version; with neither the newest one answers.
    """

    def __init__(self, address: str | Sequence[str], options: Options | None = None) -> None:
        self._options = options or Options()
        targets = addresses(address)
        self._flows = Flows(self._options, len(targets))
        arguments = channel_arguments(self._options, is_one_of_many=len(targets) > 1)
        self._channels = [self._channel(target, arguments) for target in targets]
        self._is_closed = False

    def _channel(self, target: str, arguments: Sequence[tuple[str, str | int]]) -> grpc.Channel:
        compression = COMPRESSION[self._options.compression]
        if self._options.tls is None:
            return grpc.insecure_channel(target, arguments, compression)
        return grpc.secure_channel(target, credentials(self._options.tls), arguments, compression)

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> PredictResult:
        """Run a signature on tensors, and return its outputs, or those listed in `outputs`.

        `inputs` are tensors by name, or one tensor for a signature that takes one. An array
        goes as it is, with its dtype and shape. Strings and bytes are strings, and lists of
        them too. Other numbers get the dtype of the signature, for which the model's
        metadata is asked for once per version.
        """
        target = Target(model=model, version=version, label=label)
        return self._run(
            self._flows.predict(
                target, inputs, signature=signature, outputs=outputs, timeout_s=timeout_s
            )
        )

    def classify(
        self,
        model: str,
        examples: Iterable[ExampleLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        context: ExampleLike | None = None,
        timeout_s: float | None = None,
    ) -> ClassifyResult:
        """Classify examples, each a dict of features, or a tf.Example as bytes or message.

        A feature is a value or a list: strings and bytes, or integers and booleans, or floats.
        `context` has features that all examples share.
        """
        target = Target(model=model, version=version, label=label)
        return self._run(
            self._flows.classify(
                target, examples, signature=signature, context=context, timeout_s=timeout_s
            )
        )

    def regress(
        self,
        model: str,
        examples: Iterable[ExampleLike],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        context: ExampleLike | None = None,
        timeout_s: float | None = None,
    ) -> RegressResult:
        """Compute a value for each of the examples, which are as for `classify`."""
        target = Target(model=model, version=version, label=label)
        return self._run(
            self._flows.regress(
                target, examples, signature=signature, context=context, timeout_s=timeout_s
            )
        )

    def multi_inference(
        self,
        model: str,
        signatures: Mapping[str, Method],
        examples: Iterable[ExampleLike],
        *,
        version: int | None = None,
        label: str | None = None,
        context: ExampleLike | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, ClassifyResult | RegressResult]:
        """Run several signatures on the same examples, and return their results by name.

        `signatures` says how each is run: `{"spam": "classify", "length": "regress"}`.
        """
        target = Target(model=model, version=version, label=label)
        return self._run(
            self._flows.multi_inference(
                target, signatures, examples, context=context, timeout_s=timeout_s
            )
        )

    def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelMetadata:
        """Return the signatures of a version."""
        target = Target(model=model, version=version, label=label)
        return self._run(self._flows.metadata(target, timeout_s=timeout_s))

    def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """Return the states of the versions that the server knows, the newest first."""
        target = Target(model=model, version=version)
        return self._run(self._flows.status(target, timeout_s=timeout_s))

    def health(self, service: str = "", *, timeout_s: float | None = None) -> Health:
        """Return whether the server is `SERVING`, or the service or model of that name.

        The other answers are `NOT_SERVING` and `UNKNOWN`. Raises `NotFound` for a name that is
        neither, and `Unimplemented` where the server has no grpc.health.v1. The status is that
        of the one address whose turn it is.
        """
        return self._run(self._flows.health(service, timeout_s=timeout_s))

    def reload(
        self, config: str | Iterable[ModelConfig], *, timeout_s: float | None = RELOAD_TIMEOUT_S
    ) -> None:
        """Replace the server's whole configuration, by the text of a config file or by models.

        Models that it leaves out are unloaded. With several addresses one of the servers gets
        it: give each its own client. The server answers when the new models are loaded, so there
        is more time than for other calls; with None there is as much as for those.
        """
        self._run(self._flows.reload(config, timeout_s=timeout_s))

    def models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Return the models that the server serves; sigrun's servers know how."""
        return self._run(self._flows.models(timeout_s=timeout_s))

    def load_model(self, config: ModelConfig, *, timeout_s: float | None = None) -> ModelInfo:
        """Serve a model, in the place of the one of its name, and return it when it is available.

        The other models stay as they are. Loading takes as long as it takes: give it time.
        """
        return self._run(self._flows.load_model(config, timeout_s=timeout_s))

    def unload_model(self, model: str, *, timeout_s: float | None = None) -> None:
        """Serve a model no longer; what it has begun to answer is answered."""
        self._run(self._flows.unload_model(model, timeout_s=timeout_s))

    def reload_model(self, model: str, *, timeout_s: float | None = None) -> ModelInfo:
        """Load the versions of a model again, which answer meanwhile, and return it."""
        return self._run(self._flows.reload_model(model, timeout_s=timeout_s))

    def set_labels(
        self,
        model: str,
        labels: Mapping[str, int],
        *,
        removed: Collection[str] = (),
        timeout_s: float | None = None,
    ) -> ModelInfo:
        """Put labels on versions that are available, and take the `removed` ones away.

        Labels that are not named stay. Return the model.
        """
        return self._run(
            self._flows.set_labels(model, labels, removed=removed, timeout_s=timeout_s)
        )

    def wait_until_available(
        self, model: str, *, version: int | None = None, timeout_s: float = 60.0
    ) -> int:
        """Wait for the server and the model, and return the newest version available.

        Raises `NotAvailable` with what was last seen when that takes more than `timeout_s`.
        """
        target = Target(model=model, version=version)
        return self._run(self._flows.wait_until_available(target, timeout_s=timeout_s))

    def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        self._is_closed = True
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send_recorded(self, method: str, request: bytes) -> bytes:
        """Send a request as it was recorded; for the command line."""
        return self._run(self._flows.recorded(method, request))

    def _run(self, flow: Flow[T]) -> T:
        """Take the steps of a flow, and return what comes of it."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Call):
                    try:
                        answer = self._call(step)
                    except grpc.RpcError as error:
                        step = flow.throw(call_error(error))
                    else:
                        step = flow.send(answer)
                else:
                    time.sleep(step.seconds)
                    step = next(flow)
        except StopIteration as end:
            result: T = end.value
            return result

    def _call(self, call: Call) -> bytes:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes]
        method = self._channels[call.address].unary_unary(call.path)
        answer: bytes = method(
            call.body, timeout=call.timeout_s, metadata=self._options.call_metadata()
        )
        return answer
