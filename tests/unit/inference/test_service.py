from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from sigrun.concurrency.offload import Offload
from sigrun.concurrency.pace import Pace
from sigrun.errors import (
    Code,
    InvalidArgument,
    ResourceExhausted,
    ServableNotFound,
    SigrunError,
)
from sigrun.inference.calls import (
    Arrays,
    ClassifyResult,
    ExamplesCall,
    InferenceTask,
    MetadataCall,
    ModelSpec,
    MultiInferenceCall,
    PredictCall,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.context import INTERNAL, CallContext, Door
from sigrun.inference.router import Router
from sigrun.inference.service import InferenceService
from sigrun.servables.labels import VersionLabels
from sigrun.servables.manager import AspiredVersionsManager
from sigrun.servables.servable import ServableId
from sigrun.tensors.signature import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Array,
    DType,
    Signature,
)
from tests.fakes.lifecycle import let_others_run, serve
from tests.fakes.servables import HALF_PLUS_TWO, Compute, FakeLoader, FakeServable, signature

pytestmark = pytest.mark.asyncio

OFFLOAD = Offload()

FLOAT, STRING = DType.FLOAT, DType.STRING
MNIST = ModelSpec(name="mnist")
EXAMPLES: Array = np.array([b"first", b"second"], object)
NO_EXAMPLES: Array = np.array([], object)

SUM = signature(
    {"x": FLOAT, "y": FLOAT},
    {"sum": FLOAT, "product": FLOAT},
    defaults={"y": np.array([10], np.float32)},
)
RANK = signature(
    {"inputs": STRING},
    {"scores": FLOAT, "classes": STRING},
    name="rank",
    method_name=CLASSIFY_METHOD,
)
PRICE = signature({"inputs": STRING}, {"outputs": FLOAT}, name="price", method_name=REGRESS_METHOD)


def sum_and_product(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {"sum": inputs["x"] + inputs["y"], "product": inputs["x"] * inputs["y"]}


def judge(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Classify and price examples, for `rank`, `price` and both of them joined."""
    (examples, *_) = inputs.values()
    sizes = np.array([len(example) for example in examples], np.float32)
    labels = np.array([[b"short", b"long"]] * len(examples), object)
    outputs: dict[str, Array] = {
        "scores": np.stack([-sizes, sizes], axis=1),
        "classes": labels,
        "outputs": sizes.reshape(-1, 1),
    }
    return (
        outputs
        | {f"rank/{a}": x for a, x in outputs.items()}
        | {f"price/{a}": x for a, x in outputs.items()}
    )


class Rig:
    """A service over mnist, version 3 (label `stable`), and what it ran."""

    def __init__(self, manager: AspiredVersionsManager, loader: FakeLoader, *, check: bool) -> None:
        labels = VersionLabels()
        labels.replace({"mnist": {"stable": 3}})
        assert isinstance(loader.servable, FakeServable)
        self.manager = manager
        self.loader = loader
        self.servable = loader.servable
        self.service = InferenceService(Router(manager, labels), OFFLOAD, check_method_names=check)


async def rig(signatures: Sequence[Signature], compute: Compute, *, check: bool = False) -> Rig:
    loader = FakeLoader(ServableId("mnist", 3), servable=FakeServable(signatures, compute))
    return Rig(await serve(loader), loader, check=check)


async def summing() -> Rig:
    return await rig([SUM], sum_and_product)


async def judging(*, check: bool = False) -> Rig:
    return await rig([RANK, PRICE], judge, check=check)


def bind(**inputs: Sequence[float]) -> Arrays:
    """Return the inputs of a request with these float vectors."""
    return Arrays({alias: np.array(values, np.float32) for alias, values in inputs.items()})


@dataclass
class Unread:
    """Inputs that are read by `read` once the signature is known."""

    read: Callable[[Signature], Mapping[str, Array]]
    cost_s: float = 0.0

    def bind(self, signature: Signature, pace: Pace) -> Mapping[str, Array]:
        return self.read(signature)


def refusal(error: pytest.ExceptionInfo[SigrunError]) -> tuple[Code, str]:
    return error.value.code, str(error.value)


# Predict


async def test_predict_returns_the_outputs_by_alias() -> None:
    sums = await summing()

    result = await sums.service.predict(
        PredictCall(
            spec=ModelSpec(name="mnist", label="stable"),
            inputs=bind(x=[2], y=[3]),
            context=INTERNAL,
        )
    )

    assert {alias: array.tolist() for alias, array in result.outputs.items()} == {
        "sum": [5],
        "product": [6],
    }
    assert result.spec == ResolvedSpec(name="mnist", version=3, signature_name="serving_default")


async def test_predict_fills_in_the_defaults_of_the_signature() -> None:
    sums = await summing()

    result = await sums.service.predict(
        PredictCall(spec=MNIST, inputs=bind(x=[2]), context=INTERNAL)
    )

    assert result.outputs["sum"].tolist() == [12]


async def test_predict_computes_nothing_but_what_the_filter_asks_for() -> None:
    sums = await summing()

    result = await sums.service.predict(
        PredictCall(
            spec=MNIST, inputs=bind(x=[2], y=[3]), output_filter=["product"], context=INTERNAL
        )
    )

    assert list(result.outputs) == ["product"]
    assert [outputs for _, _, outputs, _ in sums.servable.runs] == [("product",)]


async def test_predict_hands_the_deadline_on() -> None:
    sums = await summing()

    await sums.service.predict(
        PredictCall(
            spec=MNIST, inputs=bind(x=[2]), context=CallContext(Door.INTERNAL, deadline=17.0)
        )
    )

    assert [deadline for _, _, _, deadline in sums.servable.runs] == [17.0]


async def test_predict_reads_no_body_for_a_model_or_a_signature_that_is_not_there() -> None:
    sums, asked = await summing(), []

    def inputs_of(signature: Signature) -> Mapping[str, Array]:
        asked.append(signature)
        return {}

    for spec in (ModelSpec(name="iris"), ModelSpec(name="mnist", signature_name="embed")):
        with pytest.raises(SigrunError):
            await sums.service.predict(
                PredictCall(spec=spec, inputs=Unread(inputs_of), context=INTERNAL)
            )

    assert asked == []


async def test_predict_reads_the_body_by_the_signature_that_was_asked_for() -> None:
    other = signature({"x": FLOAT}, {"y": FLOAT}, name="other")
    both, asked = await rig([SUM, other], lambda inputs: {"y": inputs["x"]}), []

    def inputs_of(signature: Signature) -> Mapping[str, Array]:
        asked.append(signature)
        return {"x": np.array([1], np.float32)}

    await both.service.predict(
        PredictCall(
            spec=ModelSpec(name="mnist", signature_name="other"),
            inputs=Unread(inputs_of),
            context=INTERNAL,
        )
    )

    assert asked == [other]


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        (
            PredictCall(spec=ModelSpec(name=""), inputs=bind(), context=INTERNAL),
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            PredictCall(spec=ModelSpec(name="mnist", version=4), inputs=bind(), context=INTERNAL),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(mnist, 4)",
        ),
        (
            PredictCall(
                spec=ModelSpec(name="mnist", signature_name="embed"),
                inputs=bind(),
                context=INTERNAL,
            ),
            Code.FAILED_PRECONDITION,
            'Serving signature key "embed" not found.',
        ),
        (
            PredictCall(
                spec=MNIST, inputs=bind(x=[1], z=[1]), output_filter=["mean"], context=INTERNAL
            ),
            Code.INVALID_ARGUMENT,
            "Inputs contains invalid name. Used request inputs: {x}, request input: {x,z}",
        ),
        (
            PredictCall(spec=MNIST, inputs=bind(x=[1]), output_filter=["mean"], context=INTERNAL),
            Code.INVALID_ARGUMENT,
            (
                "output tensor alias not found in signature: mean "
                "Outputs expected to be in the set {product,sum}."
            ),
        ),
    ],
    ids=["name", "version", "signature", "inputs", "outputs"],
)
async def test_predict_refuses_what_is_wrong_in_this_order_and_runs_nothing(
    call: PredictCall, code: Code, text: str
) -> None:
    sums = await summing()

    with pytest.raises(SigrunError) as refused:
        await sums.service.predict(call)

    assert refusal(refused) == (code, text)
    assert sums.servable.runs == []


async def test_errors_of_the_model_reach_the_caller_as_they_are() -> None:
    error = ResourceExhausted("OOM when allocating tensor")

    def fail(_: Mapping[str, Array]) -> dict[str, Array]:
        raise error

    failing = await rig([HALF_PLUS_TWO], fail)

    with pytest.raises(ResourceExhausted) as failed:
        await failing.service.predict(PredictCall(spec=MNIST, inputs=bind(x=[1]), context=INTERNAL))

    assert failed.value is error


@pytest.mark.parametrize(("check", "is_refused"), [(False, False), (True, True)])
async def test_method_names_are_checked_where_that_is_asked_for(
    check: bool, is_refused: bool
) -> None:
    strange = signature({"x": FLOAT}, {"y": FLOAT}, method_name="mine")
    service = (await rig([strange], lambda inputs: {"y": inputs["x"]}, check=check)).service

    try:
        await service.predict(PredictCall(spec=MNIST, inputs=bind(x=[1]), context=INTERNAL))
        was_refused = False
    except SigrunError:
        was_refused = True

    assert was_refused is is_refused


# Predict at once


def times(factor: float) -> FakeServable:
    """Return a quick model that multiplies its input."""
    scale = signature({"x": FLOAT}, {"y": FLOAT})
    return FakeServable([scale], lambda inputs: {"y": inputs["x"] * factor}, is_quick=True)


def asked(spec: ModelSpec = MNIST, **inputs: Sequence[float]) -> PredictCall:
    return PredictCall(spec=spec, inputs=bind(**inputs), context=INTERNAL)


def service_of(manager: AspiredVersionsManager, labels: VersionLabels) -> InferenceService:
    return InferenceService(Router(manager, labels), OFFLOAD)


async def test_a_quick_model_answers_at_once_what_it_answers_otherwise() -> None:
    quick = times(3)
    service = service_of(
        await serve(FakeLoader(ServableId("mnist", 3), servable=quick)), VersionLabels()
    )

    at_once = service.predict_inline(asked(x=[2]))
    otherwise = await service.predict(asked(x=[2]))

    assert at_once is not None
    assert at_once.spec == otherwise.spec == ResolvedSpec("mnist", 3, "serving_default")
    assert at_once.outputs["y"].tolist() == otherwise.outputs["y"].tolist() == [6]


async def test_what_may_take_long_is_left_to_predict() -> None:
    quick = service_of(
        await serve(FakeLoader(ServableId("mnist", 3), servable=times(3))), VersionLabels()
    )
    unread = PredictCall(spec=MNIST, inputs=Unread(lambda _: {}), context=INTERNAL)

    assert quick.predict_inline(unread) is None
    assert (await summing()).service.predict_inline(asked(x=[2])) is None


async def test_what_is_remembered_of_a_version_goes_with_it() -> None:
    labels = VersionLabels()
    old, new, again = (
        FakeLoader(ServableId("mnist", version), servable=times(factor), revision=factor)
        for version, factor in ((1, 2), (2, 3), (2, 4))
    )
    manager = await serve(old)
    service = service_of(manager, labels)
    labelled = ModelSpec(name="mnist", label="stable")

    def answers(spec: ModelSpec = MNIST) -> tuple[int, list[float]]:
        result = service.predict_inline(asked(spec, x=[1]))
        assert result is not None
        return result.spec.version, result.outputs["y"].tolist()

    async def become(*loaders: FakeLoader) -> None:
        manager.set_aspired_versions("mnist", loaders)
        for _ in range(10):
            await let_others_run()

    labels.replace({"mnist": {"stable": 1}})
    latest, stable = [answers()], [answers(labelled)]
    await become(old, new)
    latest.append(answers())
    stable.append(answers(labelled))
    labels.replace({"mnist": {"stable": 2}})
    stable.append(answers(labelled))
    await become(again)
    latest.append(answers())
    stable.append(answers(labelled))

    assert latest == [(1, [2]), (2, [3]), (2, [4])]
    assert stable == [(1, [2]), (1, [2]), (2, [3]), (2, [4])]
    await become()
    with pytest.raises(ServableNotFound):
        answers()


async def test_a_quick_model_refuses_what_is_wrong_as_predict_does() -> None:
    manager = await serve(FakeLoader(ServableId("mnist", 3), servable=times(3)))
    service = service_of(manager, VersionLabels())
    wrong = [
        asked(ModelSpec(name="iris"), x=[1]),
        asked(ModelSpec(name="mnist", signature_name="embed"), x=[1]),
        asked(z=[1]),
        asked(x=[1])._replace(output_filter=["mean"]),
        asked()._replace(inputs=Arrays({"x": np.array([1], np.int32)})),
    ]

    for call in wrong:
        with pytest.raises(SigrunError) as at_once:
            service.predict_inline(call)
        with pytest.raises(SigrunError) as otherwise:
            await service.predict(call)

        assert refusal(at_once) == refusal(otherwise)
        assert at_once.value.servable == otherwise.value.servable


# The handle


async def test_a_version_stays_until_the_request_that_runs_on_it_is_answered() -> None:
    sums = await summing()
    sums.servable.gate.clear()
    asking = asyncio.create_task(
        sums.service.predict(PredictCall(spec=MNIST, inputs=bind(x=[2]), context=INTERNAL))
    )
    await sums.servable.started.wait()

    sums.manager.set_aspired_versions("mnist", [])
    await let_others_run()
    unloads_meanwhile = sums.loader.unloads
    sums.servable.gate.set()
    result = await asking
    await sums.manager.close()

    assert result.outputs["sum"].tolist() == [12]
    assert (unloads_meanwhile, sums.loader.unloads) == (0, 1)


async def test_a_version_stays_while_the_body_of_a_request_is_read() -> None:
    sums, reading, is_read = await summing(), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def inputs_of(_: Signature) -> Mapping[str, Array]:
        loop.call_soon_threadsafe(reading.set)
        assert is_read.wait(5)
        return {"x": np.array([2], np.float32)}

    asking = asyncio.create_task(
        sums.service.predict(
            PredictCall(spec=MNIST, inputs=Unread(inputs_of, cost_s=1.0), context=INTERNAL)
        )
    )
    await reading.wait()
    sums.manager.set_aspired_versions("mnist", [])
    await let_others_run()
    is_read.set()

    assert (await asking).outputs["sum"].tolist() == [12]


async def test_a_request_that_fails_lets_the_version_go() -> None:
    sums = await summing()

    def unreadable(_: Signature) -> Mapping[str, Array]:
        raise InvalidArgument("tensor parsing error: x")

    with pytest.raises(InvalidArgument):
        await sums.service.predict(
            PredictCall(spec=MNIST, inputs=Unread(unreadable), context=INTERNAL)
        )
    await sums.manager.close()

    assert sums.loader.unloads == 1


async def test_a_request_that_is_cancelled_lets_the_version_go() -> None:
    sums = await summing()
    sums.servable.gate.clear()
    asking = asyncio.create_task(
        sums.service.predict(PredictCall(spec=MNIST, inputs=bind(x=[2]), context=INTERNAL))
    )
    await sums.servable.started.wait()

    asking.cancel()
    await sums.manager.close()

    assert sums.loader.unloads == 1


async def test_a_request_goes_on_on_the_version_on_which_it_started() -> None:
    old = FakeServable([HALF_PLUS_TWO], lambda _: {"y": np.array([1], np.float32)})
    new = FakeServable([HALF_PLUS_TWO], lambda _: {"y": np.array([2], np.float32)})
    first = FakeLoader(ServableId("mnist", 1), servable=old)
    manager = await serve(first)
    service = InferenceService(Router(manager, VersionLabels()), OFFLOAD)
    old.gate.clear()
    call = PredictCall(spec=MNIST, inputs=bind(x=[0]), context=INTERNAL)

    before = asyncio.create_task(service.predict(call))
    await old.started.wait()
    manager.set_aspired_versions("mnist", [FakeLoader(ServableId("mnist", 2), servable=new)])
    await manager.wait_until_settled(["mnist"])
    after = await service.predict(call)
    old.gate.set()
    result = await before

    assert (after.spec.version, after.outputs["y"].tolist()) == (2, [2])
    assert (result.spec.version, result.outputs["y"].tolist()) == (1, [1])


# Classify and regress


async def test_classify_returns_the_classes_of_each_example_in_the_models_order() -> None:
    judges = await judging()
    spec = ModelSpec(name="mnist", signature_name="rank")

    result = await judges.service.classify(
        ExamplesCall(spec=spec, examples=EXAMPLES, context=INTERNAL)
    )

    found = result.classifications
    assert found.labels is not None
    assert found.scores is not None
    assert found.labels.tolist() == [[b"short", b"long"], [b"short", b"long"]]
    assert found.scores.tolist() == [[-5, 5], [-6, 6]]
    assert result.spec == ResolvedSpec(name="mnist", version=3, signature_name="rank")


async def test_regress_returns_one_value_for_each_example() -> None:
    judges = await judging()
    spec = ModelSpec(name="mnist", signature_name="price")

    result = await judges.service.regress(
        ExamplesCall(spec=spec, examples=EXAMPLES, context=INTERNAL)
    )

    assert result.values.tolist() == [5, 6]
    assert result.spec == ResolvedSpec(name="mnist", version=3, signature_name="price")


async def test_examples_go_to_the_input_named_inputs_with_the_deadline() -> None:
    judges = await judging()
    spec = ModelSpec(name="mnist", signature_name="price")

    await judges.service.regress(
        ExamplesCall(
            spec=spec, examples=EXAMPLES, context=CallContext(Door.INTERNAL, deadline=17.0)
        )
    )

    assert judges.servable.runs == [("price", {"inputs": EXAMPLES}, ("outputs",), 17.0)]


@pytest.mark.parametrize("kind", ["classify", "regress"])
async def test_no_examples_are_refused(kind: str) -> None:
    judges = await judging()
    ask = judges.service.classify if kind == "classify" else judges.service.regress
    name = "rank" if kind == "classify" else "price"
    call = ExamplesCall(
        spec=ModelSpec(name="mnist", signature_name=name), examples=NO_EXAMPLES, context=INTERNAL
    )

    with pytest.raises(SigrunError) as refused:
        await ask(call)

    assert refusal(refused) == (Code.INVALID_ARGUMENT, "Input is empty.")
    assert judges.servable.runs == []


async def test_a_signature_that_is_unfit_is_named_before_an_empty_input() -> None:
    sums = await rig([HALF_PLUS_TWO], lambda inputs: {"y": inputs["x"]})

    with pytest.raises(SigrunError, match=r"^No classification inputs found in SignatureDef: "):
        await sums.service.classify(
            ExamplesCall(spec=MNIST, examples=NO_EXAMPLES, context=INTERNAL)
        )


async def test_answers_that_do_not_fit_the_examples_are_refused() -> None:
    short = await rig([PRICE], lambda _: {"outputs": np.array([1], np.float32)})
    spec = ModelSpec(name="mnist", signature_name="price")

    with pytest.raises(SigrunError) as refused:
        await short.service.regress(ExamplesCall(spec=spec, examples=EXAMPLES, context=INTERNAL))

    assert refusal(refused) == (
        Code.INVALID_ARGUMENT,
        "Input batch size did not match output batch size: 2 vs. 1",
    )


# Several at once


def task(signature_name: str, method_name: str, *, model: str = "mnist") -> InferenceTask:
    return InferenceTask(
        spec=ModelSpec(name=model, signature_name=signature_name), method_name=method_name
    )


RANKING, PRICING = task("rank", CLASSIFY_METHOD), task("price", REGRESS_METHOD)


async def test_several_tasks_are_one_run_on_the_same_examples() -> None:
    judges = await judging()

    await judges.service.multi_inference(
        MultiInferenceCall(
            tasks=[RANKING, PRICING],
            examples=EXAMPLES,
            context=CallContext(Door.INTERNAL, deadline=17.0),
        )
    )

    ((_, inputs, outputs, deadline),) = judges.servable.runs
    assert {alias: array is EXAMPLES for alias, array in inputs.items()} == {
        "rank/inputs": True,
        "price/inputs": True,
    }
    assert set(outputs) == {"rank/classes", "rank/scores", "price/outputs"}
    assert deadline == 17.0


@pytest.mark.parametrize("tasks", [[RANKING, PRICING], [PRICING, RANKING]])
async def test_results_come_in_the_order_of_the_tasks(tasks: list[InferenceTask]) -> None:
    judges = await judging()

    results = await judges.service.multi_inference(
        MultiInferenceCall(tasks=tasks, examples=EXAMPLES, context=INTERNAL)
    )

    assert [result.spec for result in results] == [
        ResolvedSpec(name="mnist", version=3, signature_name=task.spec.signature_name)
        for task in tasks
    ]
    for result in results:
        match result:
            case ClassifyResult():
                assert result.classifications.scores is not None
                assert result.classifications.scores.tolist() == [[-5, 5], [-6, 6]]
            case RegressResult():
                assert result.values.tolist() == [5, 6]


async def test_the_first_task_chooses_the_version() -> None:
    judges = await judging()
    first = InferenceTask(
        spec=ModelSpec(name="mnist", label="stable", signature_name="rank"),
        method_name=CLASSIFY_METHOD,
    )
    second = InferenceTask(
        spec=ModelSpec(name="mnist", version=99, signature_name="price"),
        method_name=REGRESS_METHOD,
    )

    results = await judges.service.multi_inference(
        MultiInferenceCall(tasks=[first, second], examples=EXAMPLES, context=INTERNAL)
    )

    assert [result.spec.version for result in results] == [3, 3]


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        pytest.param([], Code.INVALID_ARGUMENT, "ModelSpec has no name specified.", id="no task"),
        pytest.param(
            [task("rank", CLASSIFY_METHOD, model="")],
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
            id="no model in the first task",
        ),
        pytest.param(
            [RANKING, task("price", REGRESS_METHOD, model="")],
            Code.INVALID_ARGUMENT,
            "Found ModelSpec with an empty model name.",
            id="no model in another task",
        ),
        pytest.param(
            [RANKING, task("price", REGRESS_METHOD, model="iris")],
            Code.INVALID_ARGUMENT,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            id="another model",
        ),
        pytest.param(
            [RANKING, task("rank", "mine")],
            Code.INVALID_ARGUMENT,
            "Duplicate evaluation of signature: rank",
            id="a signature twice",
        ),
        pytest.param(
            [RANKING, task("", "mine")],
            Code.INVALID_ARGUMENT,
            "Requested signature not found in model graph: serving_default",
            id="a signature that is not there",
        ),
        pytest.param(
            [RANKING, task("price", PREDICT_METHOD)],
            Code.UNIMPLEMENTED,
            "Unsupported signature method_name: tensorflow/serving/predict",
            id="another method",
        ),
        pytest.param(
            [RANKING, task("price", CLASSIFY_METHOD)],
            Code.INVALID_ARGUMENT,
            "Expected classification signature outputs to contain at least one of "
            '"classes" or "scores". Signature was: '
            "'price' (tensorflow/serving/regress) with inputs {inputs: DT_STRING [?]} "
            "and outputs {outputs: DT_FLOAT [?]}",
            id="an unfit signature",
        ),
    ],
)
async def test_tasks_that_are_wrong_are_refused_and_nothing_runs(
    tasks: list[InferenceTask], code: Code, text: str
) -> None:
    judges = await judging()

    with pytest.raises(SigrunError) as refused:
        await judges.service.multi_inference(
            MultiInferenceCall(tasks=tasks, examples=EXAMPLES, context=INTERNAL)
        )

    assert refusal(refused) == (code, text)
    assert judges.servable.runs == []


async def test_several_tasks_without_examples_are_refused() -> None:
    judges = await judging()

    with pytest.raises(SigrunError) as refused:
        await judges.service.multi_inference(
            MultiInferenceCall(tasks=[RANKING], examples=NO_EXAMPLES, context=INTERNAL)
        )

    assert refusal(refused) == (Code.INVALID_ARGUMENT, "Input is empty.")


# Metadata


async def test_metadata_has_every_signature_and_names_the_version() -> None:
    judges = await judging()

    result = await judges.service.metadata(
        MetadataCall(spec=MNIST, fields=["signature_def"], context=INTERNAL)
    )

    assert result.signatures == {"rank": RANK, "price": PRICE}
    assert result.spec == ResolvedSpec(name="mnist", version=3)


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        (
            MetadataCall(spec=ModelSpec(name=""), fields=[], context=INTERNAL),
            Code.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            MetadataCall(
                spec=ModelSpec(name=""), fields=["signature_def", "weights"], context=INTERNAL
            ),
            Code.INVALID_ARGUMENT,
            "Metadata field weights is not supported",
        ),
        (
            MetadataCall(spec=ModelSpec(name=""), fields=["signature_def"], context=INTERNAL),
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            MetadataCall(spec=ModelSpec(name="iris"), fields=["signature_def"], context=INTERNAL),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(iris)",
        ),
    ],
    ids=["no field", "another field", "no name", "another model"],
)
async def test_metadata_refuses_what_is_wrong_in_this_order(
    call: MetadataCall, code: Code, text: str
) -> None:
    judges = await judging()

    with pytest.raises(SigrunError) as refused:
        await judges.service.metadata(call)

    assert refusal(refused) == (code, text)
