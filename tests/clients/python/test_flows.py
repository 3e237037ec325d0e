"""What a client does step by step, without a server and without time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from sigrun_client import (
    InvalidArgument,
    InvalidInput,
    InvalidReply,
    NotAvailable,
    NotFound,
    Options,
    Retries,
    SigrunClientError,
    Unavailable,
)
from sigrun_client._flows import Call, Flow, Flows, Pause
from sigrun_client._gen.tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from sigrun_client._gen.tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from sigrun_client._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from sigrun_client._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun_client._gen.tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from sigrun_client._requests import Target

TARGET = Target(model="m")
DT_FLOAT, DT_INT64 = 1, 9

Answer = bytes | SigrunClientError


class Clock:
    """Time that passes with pauses only."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Script:
    """Answers each call in turn; keeps the calls and the pauses."""

    def __init__(self, *answers: Answer, clock: Clock | None = None) -> None:
        self.answers = list(answers)
        self.clock = clock or Clock()
        self.calls: list[Call] = []
        self.pauses: list[float] = []

    def run(self, flow: Flow[Any]) -> Any:
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.clock.now += step.seconds
                    step = next(flow)
                    continue
                self.calls.append(step)
                answer = self.answers.pop(0)
                step = flow.send(answer) if isinstance(answer, bytes) else flow.throw(answer)
        except StopIteration as end:
            return end.value

    @property
    def methods(self) -> list[str]:
        return [call.path.rpartition("/")[2] for call in self.calls]

    @property
    def addresses(self) -> list[int]:
        return [call.address for call in self.calls]


def flows(count: int = 1, clock: Clock | None = None, **options: Any) -> Flows:
    return Flows(Options(**options), count, clock or Clock())


def predict(flows: Flows, inputs: Any, timeout_s: float | None = None) -> Flow[Any]:
    return flows.predict(TARGET, inputs, signature="", outputs=(), timeout_s=timeout_s)


def spec(version: int) -> ModelSpec:
    answer = ModelSpec(name="m", signature_name="serving_default")
    answer.version.value = version
    return answer


def metadata(version: int = 1, **inputs: int) -> bytes:
    definition = SignatureDef(method_name="tensorflow/serving/predict")
    for alias, dtype in inputs.items():
        definition.inputs[alias].dtype = dtype  # type: ignore[assignment]
    signatures = SignatureDefMap(signature_def={"serving_default": definition})
    answer = GetModelMetadataResponse(model_spec=spec(version))
    answer.metadata["signature_def"].Pack(signatures)
    return answer.SerializeToString()


def predicted(version: int = 1) -> bytes:
    return PredictResponse(model_spec=spec(version)).SerializeToString()


def states(**versions: int) -> bytes:
    answer = GetModelStatusResponse()
    for name, state in versions.items():
        answer.model_version_status.add(
            version=int(name.removeprefix("v")),
            state=state,
        )
    return answer.SerializeToString()


def sent_dtype(call: Call) -> int:
    (tensor,) = PredictRequest.FromString(call.body).inputs.values()
    return tensor.dtype


def test_arrays_and_strings_need_no_metadata() -> None:
    script = Script(predicted())

    script.run(predict(flows(), {"a": np.zeros(2), "b": ["text"], "c": b"bytes"}))

    assert script.methods == ["Predict"]


@pytest.mark.parametrize("status", ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"])
def test_health_is_asked_as_grpc_has_it(status: str) -> None:
    number = health_pb2.HealthCheckResponse.ServingStatus.Value(status)
    script = Script(health_pb2.HealthCheckResponse(status=number).SerializeToString())

    answer = script.run(flows().health("email_model", timeout_s=None))

    assert answer == status
    assert script.calls[0].path == "/grpc.health.v1.Health/Check"
    asked = health_pb2.HealthCheckRequest.FromString(script.calls[0].body)
    assert asked.service == "email_model"


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"\xff", "1 bytes are no HealthCheckResponse"), (b"\x08\x09", "9 is no status")],
)
def test_a_health_that_is_none_is_refused(body: bytes, text: str) -> None:
    with pytest.raises(InvalidReply, match=text):
        Script(body).run(flows().health("", timeout_s=None))


def test_metadata_is_asked_for_once() -> None:
    script, client = Script(metadata(x=DT_FLOAT), predicted(), predicted()), flows()

    script.run(predict(client, {"x": [1]}))
    script.run(predict(client, {"x": [2]}))

    assert script.methods == ["GetModelMetadata", "Predict", "Predict"]
    assert [sent_dtype(call) for call in script.calls[1:]] == [DT_FLOAT, DT_FLOAT]


def test_one_tensor_goes_to_the_only_input() -> None:
    script = Script(metadata(x=DT_FLOAT), predicted())

    script.run(predict(flows(), np.zeros(2, np.float32)))

    assert list(PredictRequest.FromString(script.calls[1].body).inputs) == ["x"]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [({}, "takes no inputs"), ({"a": DT_FLOAT, "b": DT_FLOAT}, "takes a, b: give a dict")],
)
def test_one_tensor_for_a_signature_of_several_is_refused(inputs: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        Script(metadata(**inputs)).run(predict(flows(), [1.0]))


def test_one_tensor_for_a_signature_that_is_not_there_is_refused() -> None:
    flow = flows().predict(TARGET, [1], signature="nothing", outputs=(), timeout_s=None)

    with pytest.raises(InvalidInput, match="no signature 'nothing', only serving_default"):
        Script(metadata(x=DT_FLOAT)).run(flow)


def test_names_that_are_no_input_are_left_to_the_server() -> None:
    script = Script(metadata(x=DT_FLOAT), InvalidArgument("no input z"))

    with pytest.raises(InvalidArgument, match=r"^no input z$"):
        script.run(predict(flows(), {"z": [1]}))


def test_signatures_are_forgotten_when_another_version_answers() -> None:
    client = flows()
    script = Script(
        metadata(1, x=DT_FLOAT), predicted(2), metadata(2, x=DT_INT64), predicted(2), predicted(2)
    )

    for _ in range(3):
        script.run(predict(client, {"x": [1]}))

    assert script.methods == [
        *("GetModelMetadata", "Predict"),
        *("GetModelMetadata", "Predict"),
        "Predict",
    ]
    assert sent_dtype(script.calls[-1]) == DT_INT64


def test_a_refusal_by_a_new_version_that_takes_something_else_is_mended() -> None:
    client = flows()
    script = Script(
        *(metadata(1, x=DT_FLOAT), predicted(1)),
        *(InvalidArgument("x is int64"), metadata(2, x=DT_INT64), predicted(2)),
    )

    script.run(predict(client, {"x": [1]}))
    result = script.run(predict(client, {"x": [1]}))

    assert result.version == 2
    assert sent_dtype(script.calls[-1]) == DT_INT64


def test_input_that_only_a_new_version_takes_is_sent() -> None:
    client = flows()
    script = Script(metadata(1, x=DT_INT64), predicted(1), metadata(2, x=DT_FLOAT), predicted(2))

    script.run(predict(client, {"x": [1]}))
    result = script.run(predict(client, {"x": [1.5]}))

    assert result.version == 2


def test_a_refusal_with_the_same_signature_stands() -> None:
    client = flows()
    script = Script(
        *(metadata(1, x=DT_FLOAT), predicted(1)),
        *(InvalidArgument("bad shape"), metadata(1, x=DT_FLOAT)),
    )
    script.run(predict(client, {"x": [1]}))

    with pytest.raises(InvalidArgument, match=r"^bad shape$"):
        script.run(predict(client, {"x": [1]}))

    assert script.answers == []


def test_signatures_of_so_many_models_are_remembered() -> None:
    client = flows()
    for number in range(300):
        flow = client.predict(
            Target(model=str(number)), {"x": [1]}, signature="", outputs=(), timeout_s=None
        )
        Script(metadata(x=DT_FLOAT), predicted()).run(flow)

    assert len(client._known) == 256


def test_a_call_has_the_time_it_was_given_or_the_clients() -> None:
    client = flows(timeout_s=7.0)
    script = Script(*[predicted()] * 3)

    for timeout_s in (None, 0.5, float("inf")):
        script.run(predict(client, {"x": "text"}, timeout_s))

    assert [call.timeout_s for call in script.calls] == [7.0, 0.5, None]


def test_addresses_take_turns() -> None:
    client = flows(3)
    script = Script(*[predicted()] * 6)

    for _ in range(6):
        script.run(predict(client, {"x": "text"}))

    assert script.addresses == [0, 1, 2, 0, 1, 2]


def test_an_address_that_is_away_is_passed_over_for_a_while() -> None:
    clock = Clock()
    client = flows(2, clock, retries=Retries(max_backoff_s=2.0))
    script = Script(Unavailable("away"), *[predicted()] * 4, clock=clock)

    for _ in range(3):
        script.run(predict(client, {"x": "text"}))
    clock.now += 3
    script.run(predict(client, {"x": "text"}))

    assert script.addresses == [0, 1, 1, 1, 1]


def test_an_address_that_is_back_gets_its_turn_again() -> None:
    clock = Clock()
    client = flows(2, clock, retries=Retries(max_backoff_s=2.0))
    script = Script(Unavailable("away"), *[predicted()] * 5, clock=clock)

    script.run(predict(client, {"x": "text"}))
    clock.now += 3
    for _ in range(4):
        script.run(predict(client, {"x": "text"}))

    assert script.addresses == [0, 1, 1, 0, 1, 0]


def test_when_all_are_away_there_is_a_pause_before_the_next_round() -> None:
    clock = Clock()
    client = flows(2, clock, retries=Retries(attempts=5, initial_backoff_s=0.1))
    script = Script(*[Unavailable("away")] * 5, clock=clock)

    with pytest.raises(Unavailable):
        script.run(predict(client, {"x": "text"}))

    assert len(script.calls) == 5
    assert script.pauses == [pytest.approx(0.1), pytest.approx(0.2)]


def test_every_address_is_tried_however_few_the_attempts() -> None:
    client = flows(3, retries=Retries(attempts=2))
    script = Script(Unavailable("away"), Unavailable("away"), predicted())

    script.run(predict(client, {"x": "text"}))

    assert script.addresses == [0, 1, 2]


def test_without_retries_there_is_one_attempt() -> None:
    script = Script(Unavailable("away"))

    with pytest.raises(Unavailable):
        script.run(predict(flows(2, retries=Retries(attempts=1)), {"x": "text"}))

    assert len(script.calls) == 1


def test_no_attempt_begins_after_the_deadline() -> None:
    clock = Clock()
    client = flows(2, clock, retries=Retries(attempts=5, initial_backoff_s=1.0))
    script = Script(*[Unavailable("away")] * 5, clock=clock)

    with pytest.raises(Unavailable):
        script.run(predict(client, {"x": "text"}, timeout_s=0.5))

    assert len(script.calls) == 2


def test_other_errors_are_not_tried_elsewhere() -> None:
    script = Script(NotFound("no model"))

    with pytest.raises(NotFound):
        script.run(predict(flows(2), {"x": "text"}))


def test_waiting_ends_with_the_newest_version_available() -> None:
    clock = Clock()
    loading, available = 20, 30
    script = Script(
        *(Unavailable("no server"), NotFound("no model"), states(), states(v1=loading)),
        states(v3=loading, v2=available, v1=available),
        clock=clock,
    )

    version = script.run(flows(1, clock).wait_until_available(TARGET, timeout_s=10))

    assert version == 2
    assert len(script.pauses) == 4


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Unavailable("no server"), "last seen: UNAVAILABLE: no server$"),
        (states(v1=20), "last seen: version 1 LOADING$"),
        (states(), "last seen: the server knows no version of it$"),
    ],
)
def test_waiting_in_vain_tells_what_was_last_seen(answer: Answer, text: str) -> None:
    clock = Clock()
    script = Script(*[answer] * 10, clock=clock)

    with pytest.raises(NotAvailable, match=f"'m' did not become available within 1 s; {text}"):
        script.run(flows(1, clock).wait_until_available(TARGET, timeout_s=1))


def test_waiting_ends_at_an_error_that_waiting_does_not_mend() -> None:
    with pytest.raises(InvalidArgument):
        Script(InvalidArgument("no name")).run(flows().wait_until_available(TARGET, timeout_s=10))
