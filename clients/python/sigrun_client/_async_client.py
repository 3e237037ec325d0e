"""The client for asyncio: `Client` with `await`, its steps taken on the event loop."""

from __future__ import annotations

import asyncio
import functools
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


class AsyncClient:
    """Asks model servers from coroutines of one event loop.

        async with AsyncClient("localhost:8500") as client:
            result = await client.predict("email_model", {"text": ["Make money fast!"]})

    What is said of `Client` holds here too. It may be made anywhere; its connections belong
    to the event loop of the first call. A call that is cancelled is cancelled at the server.
    """

    def __init__(self, address: str | Sequence[str], options: Options | None = None) -> None:
        self._options = options or Options()
        targets = addresses(address)
        self._flows = Flows(self._options, len(targets))
        self._targets = targets
        self._is_closed = False

    @functools.cached_property
    def _channels(self) -> list[grpc.aio.Channel]:
        """The channels, which gRPC binds to the running event loop."""
        arguments = channel_arguments(self._options, is_one_of_many=len(self._targets) > 1)
        return [self._channel(target, arguments) for target in self._targets]

    def _channel(self, target: str, arguments: Sequence[tuple[str, str | int]]) -> grpc.aio.Channel:
        compression = COMPRESSION[self._options.compression]
        if self._options.tls is None:
            return grpc.aio.insecure_channel(target, arguments, compression)
        return grpc.aio.secure_channel(
            target, credentials(self._options.tls), arguments, compression
        )

    async def predict(
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
        """Run a signature on tensors, as `Client.predict` does."""
        target = Target(model=model, version=version, label=label)
        return await self._run(
            self._flows.predict(
                target, inputs, signature=signature, outputs=outputs, timeout_s=timeout_s
            )
        )

    async def classify(
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
        """Classify examples, as `Client.classify` does."""
        target = Target(model=model, version=version, label=label)
        return await self._run(
            self._flows.classify(
                target, examples, signature=signature, context=context, timeout_s=timeout_s
            )
        )

    async def regress(
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
        """Compute a value for each of the examples, as `Client.regress` does."""
        target = Target(model=model, version=version, label=label)
        return await self._run(
            self._flows.regress(
                target, examples, signature=signature, context=context, timeout_s=timeout_s
            )
        )

    async def multi_inference(
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
        """Run several signatures on the same examples, as `Client.multi_inference`."""
        target = Target(model=model, version=version, label=label)
        return await self._run(
            self._flows.multi_inference(
                target, signatures, examples, context=context, timeout_s=timeout_s
            )
        )

    async def metadata(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> ModelMetadata:
        """Return the signatures of a version."""
        target = Target(model=model, version=version, label=label)
        return await self._run(self._flows.metadata(target, timeout_s=timeout_s))

    async def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """Return the states of the versions that the server knows, the newest first."""
        target = Target(model=model, version=version)
        return await self._run(self._flows.status(target, timeout_s=timeout_s))

    async def health(self, service: str = "", *, timeout_s: float | None = None) -> Health:
        """Return whether the server is `SERVING`, as `Client.health` does."""
        return await self._run(self._flows.health(service, timeout_s=timeout_s))

    async def reload(
        self, config: str | Iterable[ModelConfig], *, timeout_s: float | None = RELOAD_TIMEOUT_S
    ) -> None:
        """Replace the server's whole configuration, as `Client.reload` does."""
        await self._run(self._flows.reload(config, timeout_s=timeout_s))

    async def models(self, *, timeout_s: float | None = None) -> list[ModelInfo]:
        """Return the models that the server serves, as `Client.models` does."""
        return await self._run(self._flows.models(timeout_s=timeout_s))

    async def load_model(self, config: ModelConfig, *, timeout_s: float | None = None) -> ModelInfo:
        """Serve a model, as `Client.load_model` does."""
        return await self._run(self._flows.load_model(config, timeout_s=timeout_s))

    async def unload_model(self, model: str, *, timeout_s: float | None = None) -> None:
        """Serve a model no longer, as `Client.unload_model` does."""
        await self._run(self._flows.unload_model(model, timeout_s=timeout_s))

    async def reload_model(self, model: str, *, timeout_s: float | None = None) -> ModelInfo:
        """Load the versions of a model again, as `Client.reload_model` does."""
        return await self._run(self._flows.reload_model(model, timeout_s=timeout_s))

    async def set_labels(
        self,
        model: str,
        labels: Mapping[str, int],
        *,
        removed: Collection[str] = (),
        timeout_s: float | None = None,
    ) -> ModelInfo:
        """Change labels of a model, as `Client.set_labels` does."""
        return await self._run(
            self._flows.set_labels(model, labels, removed=removed, timeout_s=timeout_s)
        )

    async def wait_until_available(
        self, model: str, *, version: int | None = None, timeout_s: float = 60.0
    ) -> int:
        """Wait for the server and the model, as `Client.wait_until_available` does."""
        target = Target(model=model, version=version)
        return await self._run(self._flows.wait_until_available(target, timeout_s=timeout_s))

    async def close(self) -> None:
        """Close the connections; calls in flight are cancelled."""
        self._is_closed = True
        if "_channels" in self.__dict__:
            for channel in self._channels:
                await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        """Take the steps of a flow, and return what comes of it."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Call):
                    try:
                        answer = await self._call(step)
                    except grpc.RpcError as error:
                        step = flow.throw(call_error(error))
                    else:
                        step = flow.send(answer)
                else:
                    await asyncio.sleep(step.seconds)
                    step = next(flow)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _call(self, call: Call) -> bytes:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        method = self._channels[call.address].unary_unary(call.path)
        answer: bytes = await method(
            call.body, timeout=call.timeout_s, metadata=self._options.call_metadata()
        )
        return answer
