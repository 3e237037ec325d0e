"""The agent that speaks JSON: TensorFlow Serving's REST API, columnar format.

JSON has no dtypes, so what comes back is read by those that the case expects.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from tests.conformance.cases import DTYPES, Case, Document, array, number, raw_bytes, same, tensor

STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "DATA_LOSS": 500,
}


def check(case: Case, client: httpx.Client) -> None:
    """Fail unless JSON answers as the case says."""
    response = _send(case, client)
    if case.error is not None:
        override = (case.rest or {}).get("error", {})
        expected = {"status": STATUS[case.error["code"]], **case.error, **override}
        answer = {"status": response.status_code, "message": response.json()["error"]}
        same(answer, {k: v for k, v in expected.items() if k != "code"})
        return
    assert response.status_code == 200, response.text
    assert case.reply is not None
    same(_READ[case.method](response.json(), case.reply), _without_spec(case))


def _send(case: Case, client: httpx.Client) -> httpx.Response:
    path = f"/v1/models/{quote(case.request['model'], safe='')}"
    if "version" in case.request:
        path += f"/versions/{case.request['version']}"
    if "label" in case.request:
        path += f"/labels/{quote(case.request['label'], safe='')}"
    match case.method:
        case "status":
            return client.get(path)
        case "metadata":
            return client.get(f"{path}/metadata")
        case "predict":
            body: dict[str, Any] = {
                "inputs": {alias: _nested(t) for alias, t in case.request["inputs"].items()}
            }
        case _:
            body = {"examples": [_example(e) for e in case.request["examples"]]}
            if "context" in case.request:
                body["context"] = _example(case.request["context"])
    if "signature" in case.request:
        body["signature_name"] = case.request["signature"]
    content = json.dumps(body)  # httpx's own `json=` refuses NaN
    return client.post(f"{path}:{case.method}", content=content)


def _nested(t: Document) -> Any:
    values = array(t)
    if values.dtype.kind == "O":
        values = np.array([_text(v) for v in values.reshape(-1)] or [], object).reshape(t["shape"])
    return values.tolist()


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _example(features: Document) -> dict[str, Any]:
    kinds: dict[str, Callable[[Any], Any]]
    kinds = {"float": float, "int64": int, "bytes": lambda value: _text(raw_bytes(value))}
    return {
        name: [kinds[kind](value) for value in values]
        for name, feature in features.items()
        for kind, values in feature.items()
    }


def _outputs(answer: Any, reply: Document) -> Document:
    outputs = answer["outputs"]
    if len(reply["outputs"]) == 1:
        outputs = dict.fromkeys(reply["outputs"], outputs)
    return {"outputs": {alias: _tensor(v, reply["outputs"][alias]) for alias, v in outputs.items()}}


def _tensor(value: Any, expected: Document) -> Document:
    dtype = DTYPES[expected["dtype"]]
    if dtype.kind != "O":
        return tensor(np.array(value, dtype))
    texts = np.array(value, object)
    values = np.empty(texts.size, object)
    values[:] = [text.encode() for text in texts.reshape(-1)]
    return tensor(values.reshape(texts.shape))


def _classifications(answer: Any, _: Document) -> Document:
    return {
        "classifications": [
            [{"label": label, "score": number(score)} for label, score in row]
            for row in answer["results"]
        ]
    }


def _values(answer: Any, _: Document) -> Document:
    return {"values": answer["results"]}


def _signatures(answer: Any, _: Document) -> Document:
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    return {
        "version": answer["model_spec"]["version"],
        "signatures": {
            name: {
                "method": signature["method_name"],
                "inputs": {alias: _info(i) for alias, i in signature["inputs"].items()},
                "outputs": {alias: _info(o) for alias, o in signature["outputs"].items()},
            }
            for name, signature in signatures.items()
            if not name.startswith("__saved_model")
        },
    }


def _info(info: Document) -> Document:
    shape = info["tensor_shape"]
    return {
        "dtype": info["dtype"],
        "shape": None if shape["unknown_rank"] else [int(dim["size"]) for dim in shape["dim"]],
    }


def _versions(answer: Any, _: Document) -> Document:
    return {
        "versions": [
            {
                "version": version["version"],
                "state": version["state"],
                "code": version["status"]["error_code"],
                "message": version["status"]["error_message"],
            }
            for version in answer["model_version_status"]
        ]
    }


def _without_spec(case: Case) -> Document:
    """Return what JSON tells of the reply: only metadata has the version in its body."""
    assert case.reply is not None
    hidden = set() if case.method == "metadata" else {"version", "signature"}
    return {key: value for key, value in case.reply.items() if key not in hidden}


_READ: Mapping[str, Any] = {
    "predict": _outputs,
    "classify": _classifications,
    "regress": _values,
    "metadata": _signatures,
    "status": _versions,
}
