"""Every rule of the REST API, over HTTP; and where gRPC can be asked the same, the same answer."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from sigrun._gen.tensorflow.core.example.example_pb2 import Example
from sigrun._gen.tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from sigrun._gen.tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from sigrun._gen.tensorflow_serving.apis.input_pb2 import ExampleList, Input
from sigrun._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest
from sigrun._gen.tensorflow_serving.apis.regression_pb2 import RegressionRequest
from sigrun.config.models import ModelSet
from sigrun.errors import Code, DataLoss
from sigrun.servables.state import State
from sigrun.wire.http.messages import HttpRequest
from sigrun.wire.protobuf import tensors
from sigrun.wire.rest.routes import route
from tests.arrays import assert_same
from tests.wire import gateways
from tests.wire.clients import PATIENCE_S, GrpcClient, failure, spec_of
from tests.wire.rest_model import RestServable
from tests.wire.rest_rules import (
    CASES,
    EXAMPLES,
    NOT_FOR_EXAMPLES,
    NOT_FOUND,
    Case,
)
from tests.wire.rig import HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def local(rig: Rig) -> AsyncIterator[str]:
    """Yield the URL of the server itself."""
    assert rig.server.http is not None
    yield f"http://{HOST}:{rig.server.http.port}"


# What stands in front of the models of a rig, by name: it yields the URL to ask.
FRONTS: dict[str, Callable[[Rig], AbstractAsyncContextManager[str]]] = {
    "gateway": gateways.front,
    "local": local,
}


class Front:
    """One front and what is behind it."""

    def __init__(self, http: httpx.AsyncClient, grpc: GrpcClient, servable: RestServable) -> None:
        self.http = http
        self.grpc = grpc
        self.servable = servable

    async def ask(self, case: Case) -> httpx.Response:
        # The target goes out as it stands: httpx would normalise a URL.
        target = case.target.encode("latin-1")
        url = self.http.base_url.copy_with(raw_path=target)
        request = httpx.Request(case.method, url, content=case.body.encode() or None)
        return await self.http.send(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(FRONTS))
async def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    rig = Rig(tmp_path_factory.mktemp("models"))
    names, servable = ("rest", "a/b:c ä"), RestServable()
    rig.errors["rest:3"] = DataLoss("the disk is full of holes")
    for name, versions in zip(names, ([1, 2, 3], [1]), strict=True):
        for version in versions:
            rig.servables[f"{name}:{version}"] = servable
            rig.add_version(version, name)
    models = ModelSet(tuple(rig.model(name) for name in names))
    try:
        await rig.build(models=models, http=HTTP).start()
        await rig.until_states({1: State.AVAILABLE, 2: State.AVAILABLE, 3: State.END}, "rest")
        rig.server.labels.replace({"rest": {"stable": 1}})
        async with (
            FRONTS[request.param](rig) as url,
            httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as http,
        ):
            yield Front(http, rig.client(), servable)
    finally:
        await rig.close()


def of(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(cases), ids=lambda case: str(case)[:70])


@of(CASES)
async def test_a_rule_is_kept(front: Front, case: Case) -> None:
    answer = await front.ask(case)

    assert (answer.status_code, answer.headers["content-type"]) == (
        case.status,
        "application/json",
    ), answer.text
    assert answer.text.endswith("}\n")
    if case.status != 200:
        assert Code[answer.json()["code"]] is not Code.OK
        text = answer.json()["error"]
        assert text.startswith(case.reply) if case.begins else text == case.reply
    else:
        assert_alike(answer.json(), case.reply)
    version = answer.headers.get("x-model-version")
    assert version == (None if case.version is None else str(case.version))


def assert_alike(actual: Any, expected: Any) -> None:
    """Fail unless both are the same JSON, NaN and the sign of zero included."""
    assert type(actual) is type(expected), (actual, expected)
    match expected:
        case dict():
            assert actual.keys() == expected.keys()
            for key, value in expected.items():
                assert_alike(actual[key], value)
        case list():
            assert len(actual) == len(expected), actual
            for one, other in zip(actual, expected, strict=True):
                assert_alike(one, other)
        case float() if math.isnan(expected):
            assert math.isnan(actual)
        case float():
            assert actual == expected
            assert math.copysign(1, actual) == math.copysign(1, expected)
        case _:
            assert actual == expected


@of(case for case in CASES if case.status == 200 and case.target.endswith(":predict"))
async def test_grpc_gives_the_same_outputs_for_the_same_inputs(front: Front, case: Case) -> None:
    reply = (await front.ask(case)).json()
    signature, inputs = front.servable.runs[-1]
    spec = front_spec(case, signature)

    request = PredictRequest(
        model_spec=spec,
        inputs={alias: tensors.encode(array) for alias, array in inputs.items()},
    )
    outputs = (await front.grpc.call(request)).outputs

    values = reply["predictions"] if "predictions" in reply else reply["outputs"]
    for alias, proto in outputs.items():
        expected = tensors.decode(alias, proto)
        actual = column(values, alias, is_only=len(outputs) == 1, is_row="predictions" in reply)
        if alias.endswith("_bytes"):
            assert json.dumps(actual).count("b64") == expected.size
        elif expected.dtype == object:
            assert_same(strings(actual).reshape(expected.shape), expected)
        else:
            assert_same(np.array(actual, expected.dtype).reshape(expected.shape), expected)


def front_spec(case: Case, signature: str = "") -> Any:
    spec = route(HttpRequest(method=case.method, target=case.target)).spec
    return spec_of(spec.name, version=spec.version, label=spec.label, signature=signature)


def column(values: Any, alias: str, *, is_only: bool, is_row: bool) -> Any:
    if is_only:
        return values
    return [row[alias] for row in values] if is_row else values[alias]


def strings(value: Any) -> Any:
    flat: list[bytes] = []
    pending = [value]
    while pending:
        first = pending.pop(0)
        if isinstance(first, list):
            pending = first + pending
        else:
            flat.append(first.encode())
    array = np.empty(len(flat), object)
    array[:] = flat
    return array


@of(EXAMPLES)
async def test_grpc_gives_the_same_results_for_the_same_examples(front: Front, case: Case) -> None:
    results = (await front.ask(case)).json()["results"]
    signature, inputs = front.servable.runs[-1]
    examples = [Example.FromString(example) for example in inputs["inputs"]]
    kind = ClassificationRequest if case.target.endswith("classify") else RegressionRequest

    result = (
        await front.grpc.call(
            kind(
                model_spec=front_spec(case, signature),
                input=Input(example_list=ExampleList(examples=examples)),
            )
        )
    ).result

    if kind is ClassificationRequest:
        expected: Any = [
            [[c.label, c.score] for c in one.classes] for one in result.classifications
        ]
        assert [[label for label, _ in one] for one in results] == [
            [label for label, _ in one] for one in expected
        ]
        expected = [[score for _, score in one] for one in expected]
        results = [[score for _, score in one] for one in results]
    else:
        expected = [regression.value for regression in result.regressions]
    assert_same(np.array(results, np.float32), np.array(expected, np.float32))


@of([*NOT_FOUND, *NOT_FOR_EXAMPLES])
async def test_grpc_refuses_in_the_same_words(front: Front, case: Case) -> None:
    answer = (await front.ask(case)).json()
    wanted = route(HttpRequest(method=case.method, target=case.target))
    name = json.loads(case.body).get("signature_name", "") if case.body else ""
    spec = front_spec(case, name)
    examples = Input(example_list=ExampleList(examples=[Example()]))
    request = {
        "predict": PredictRequest(model_spec=spec),
        "classify": ClassificationRequest(model_spec=spec, input=examples),
        "regress": RegressionRequest(model_spec=spec, input=examples),
        "metadata": GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"]),
        "status": GetModelStatusRequest(model_spec=spec),
    }[wanted.action]

    code, text = await failure(front.grpc.call(request))

    assert (answer["code"], answer["error"]) == (code, text)


async def test_metadata_is_what_grpc_says(front: Front) -> None:
    for path, version in [("", "2"), ("/versions/1", "1"), ("/labels/stable", "1")]:
        answer = await front.http.get(f"/v1/models/rest{path}/metadata")

        assert answer.headers["x-model-version"] == version
        document = answer.json()
        assert document["model_spec"] == {"name": "rest", "signature_name": "", "version": version}
        signatures = document["metadata"]["signature_def"]["signature_def"]
        assert signatures.keys() == front.servable.signatures.keys()
        assert signatures["two"] == {
            "inputs": {
                alias: {
                    "dtype": dtype,
                    "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                    "name": f"{alias}:0",
                }
                for alias, dtype in (("a", "DT_FLOAT"), ("b", "DT_STRING"))
            },
            "outputs": {
                alias: {
                    "dtype": dtype,
                    "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                    "name": f"{alias}:0",
                }
                for alias, dtype in (("a", "DT_FLOAT"), ("b", "DT_STRING"))
            },
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }


async def test_the_table_is_large_and_has_no_case_twice() -> None:
    keys = [(case.method, case.target, case.body) for case in CASES]

    assert len(keys) > 500
    assert len(set(keys)) == len(keys)
