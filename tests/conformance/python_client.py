"""The agent that is sigrun-client: `Client`, and `AsyncClient` step for step the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes

from sigrun_client import (
    AsyncClient,
    ClassifyResult,
    Client,
    ModelMetadata,
    RegressResult,
    ServerError,
    TensorInfo,
)
from tests.conformance.cases import Document, Failure, array, number, raw_bytes, tensor

Ask = Callable[..., Any]
"""Calls the method of a client by name and returns what comes of it."""

_DTYPES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}


def threaded(client: Client) -> Ask:
    """Return how `Client` is asked."""
    return lambda name, *arguments, **settings: getattr(client, name)(*arguments, **settings)


def on_a_loop(client: AsyncClient, runner: asyncio.Runner) -> Ask:
    """Return how `AsyncClient` is asked."""

    async def ask(name: str, *arguments: Any, **settings: Any) -> Any:
        return await getattr(client, name)(*arguments, **settings)

    return lambda name, *arguments, **settings: runner.run(ask(name, *arguments, **settings))


class PythonAgent:
    """Asks through the public face of sigrun-client."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def __call__(self, method: str, request: Document) -> Document:
        methods: Mapping[str, Callable[[Document], Document]] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "multi_inference": self._multi_inference,
            "metadata": self._metadata,
            "status": self._status,
        }
        try:
            return methods[method](request)
        except ServerError as error:
            raise Failure(error.code, error.message) from None

    def _predict(self, request: Document) -> Document:
        result = self._ask(
            "predict",
            request["model"],
            {alias: array(value) for alias, value in request["inputs"].items()},
            outputs=request.get("output_filter", ()),
            **_target(request),
            **_signature(request),
        )
        infos = self._ask("metadata", result.model, version=result.version)[result.signature]
        outputs = {}
        for alias, values in result.items():
            is_bfloat16 = infos.outputs[alias].dtype == "bfloat16"  # which comes as float32
            outputs[alias] = tensor(values.astype(ml_dtypes.bfloat16) if is_bfloat16 else values)
        return {"version": str(result.version), "signature": result.signature, "outputs": outputs}

    def _classify(self, request: Document) -> Document:
        return _result(self._examples("classify", request))

    def _regress(self, request: Document) -> Document:
        return _result(self._examples("regress", request))

    def _examples(self, method: str, request: Document) -> Any:
        return self._ask(
            method,
            request["model"],
            [_example(example) for example in request["examples"]],
            context=_example(request["context"]) if "context" in request else None,
            **_target(request),
            **_signature(request),
        )

    def _multi_inference(self, request: Document) -> Document:
        first, *_ = request["tasks"]
        results = self._ask(
            "multi_inference",
            first["model"],
            {task["signature"]: task["method"].rpartition("/")[2] for task in request["tasks"]},
            [_example(example) for example in request["examples"]],
            **_target(first),
        )
        return {"results": [_result(result) for result in results.values()]}

    def _metadata(self, request: Document) -> Document:
        metadata: ModelMetadata = self._ask("metadata", request["model"], **_target(request))
        return {
            "version": str(metadata.version),
            "signatures": {
                name: {
                    "method": f"tensorflow/serving/{signature.method}",
                    "inputs": {alias: _info(info) for alias, info in signature.inputs.items()},
                    "outputs": {alias: _info(info) for alias, info in signature.outputs.items()},
                }
                for name, signature in metadata.items()
            },
        }

    def _status(self, request: Document) -> Document:
        versions = self._ask("status", request["model"], **_target(request))
        return {
            "versions": [
                {
                    "version": str(one.version),
                    "state": one.state,
                    "code": one.code,
                    "message": one.message,
                }
                for one in versions
            ]
        }


def _target(request: Document) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if "version" in request:
        target["version"] = int(request["version"])
    if "label" in request:
        target["label"] = request["label"]
    return target


def _signature(request: Document) -> dict[str, str]:
    return {"signature": request["signature"]} if "signature" in request else {}


def _example(features: Document) -> dict[str, Any]:
    kinds: Mapping[str, Callable[[Any], Any]] = {"float": float, "int64": int, "bytes": raw_bytes}
    return {
        name: [kinds[kind](value) for value in values]
        for name, feature in features.items()
        for kind, values in feature.items()
    }


def _result(result: ClassifyResult | RegressResult) -> Document:
    answered = {"version": str(result.version), "signature": result.signature}
    if isinstance(result, RegressResult):
        return {**answered, "values": [number(value) for value in result.values.tolist()]}
    rows = [[{"label": one.label, "score": number(one.score)} for one in row] for row in result]
    return {**answered, "classifications": rows}


def _info(info: TensorInfo) -> Document:
    return {
        "dtype": _DTYPES.get(info.dtype, f"DT_{info.dtype.upper()}"),
        "shape": None
        if info.shape is None
        else [-1 if size is None else size for size in info.shape],
    }
