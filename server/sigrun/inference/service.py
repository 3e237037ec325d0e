"""The path of a request, for every transport: pin, bind, check, run, answer.

A handle is held from the choice of the version to its last output, so that a version is
never unloaded under a request, and a swap never fails one.
"""

from __future__ import annotations

from collections.abc import Sequence

from sigrun.concurrency.offload import Offload
from sigrun.errors import InvalidArgument, SigrunError
from sigrun.inference import checks
from sigrun.inference.binding import bound_inline, bound_inputs
from sigrun.inference.calls import (
    METADATA_FIELD,
    Arrays,
    ClassifyResult,
    ExamplesCall,
    InferenceTask,
    MetadataCall,
    MetadataResult,
    ModelSpec,
    MultiInferenceCall,
    MultiInferenceResult,
    PredictCall,
    PredictResult,
    RegressResult,
    ResolvedSpec,
)
from sigrun.inference.router import Pinning, resolved
from sigrun.inference.target import predict_target
from sigrun.servables.handle import ServableHandle
from sigrun.servables.servable import Servable
from sigrun.tensors.signature import CLASSIFY_METHOD, REGRESS_METHOD, Array, Signature


class InferenceService:
    """Answers calls from the models that are loaded.

    Every method raises a `SigrunError` whose code and text go to the caller as they are.
    With `check_method_names` a signature must be of the kind that is asked of it.
    """

    def __init__(
        self, router: Pinning, offload: Offload, *, check_method_names: bool = False
    ) -> None:
        self._router = router
        self._offload = offload
        self._check_method_names = check_method_names

    async def predict(self, call: PredictCall) -> PredictResult:
        """Run a signature on tensors."""
        with self._router.pin(call.spec) as handle:
            target = predict_target(
                handle.version, call.spec.signature_name, check_method=self._check_method_names
            )
            servable, signature = handle.servable, target.signature
            arrays = bound_inline(call, signature, self._offload)
            if arrays is None:
                arrays = await bound_inputs(call, signature, self._offload)
            arrays = target.complete_inputs(arrays)
            aliases = target.output_aliases(call.output_filter)
            deadline = call.context.deadline
            outputs = servable.run_inline(signature, arrays, aliases, deadline=deadline)
            if outputs is None:
                outputs = await servable.run(signature, arrays, aliases, deadline=deadline)
            return target.result(aliases, outputs)

    def predict_inline(self, call: PredictCall) -> PredictResult | None:
        """Do what `predict` does, at once; return None where that may take long.

        Nothing is pinned: no version is unloaded before the event loop goes on.
        """
        spec, inputs, context, output_filter = call
        if not isinstance(inputs, Arrays):
            return None
        version = self._router.find(spec)
        servable = version.servable
        if not servable.may_run_inline:
            return None
        try:
            target = predict_target(
                version, spec.signature_name, check_method=self._check_method_names
            )
            arrays = target.complete_inputs(inputs.by_alias)
            aliases = target.output_aliases(output_filter)
            outputs = servable.run_inline(
                target.signature, arrays, aliases, deadline=context.deadline
            )
        except SigrunError as error:
            version.blame(error)
            raise
        return None if outputs is None else target.result(aliases, outputs)

    async def classify(self, call: ExamplesCall) -> ClassifyResult:
        """Return the classes of each example."""
        with self._router.pin(call.spec) as handle:
            signature = self._examples_signature(handle, call.spec, CLASSIFY_METHOD)
            outputs = await _run_on_examples(handle.servable, signature, CLASSIFY_METHOD, call)
            return _classify_result(
                signature, outputs, len(call.examples), resolved(call.spec, handle.id)
            )

    async def regress(self, call: ExamplesCall) -> RegressResult:
        """Return one value for each example."""
        with self._router.pin(call.spec) as handle:
            signature = self._examples_signature(handle, call.spec, REGRESS_METHOD)
            outputs = await _run_on_examples(handle.servable, signature, REGRESS_METHOD, call)
            return _regress_result(outputs, len(call.examples), resolved(call.spec, handle.id))

    async def multi_inference(self, call: MultiInferenceCall) -> MultiInferenceResult:
        """Run several signatures of one model on the same examples, as one run."""
        first = call.tasks[0].spec if call.tasks else ModelSpec(name="")
        with self._router.pin(first) as handle:
            signatures = self._task_signatures(handle, call.tasks)
            aliases = [
                checks.wanted_outputs(signature, task.method_name)
                for signature, task in zip(signatures, call.tasks, strict=True)
            ]
            joint = checks.joined(signatures, aliases)
            _check_examples(call.examples)
            inputs = checks.complete_inputs(joint, dict.fromkeys(joint.inputs, call.examples))
            outputs = iter(
                await handle.servable.run(
                    joint, inputs, tuple(joint.outputs), deadline=call.context.deadline
                )
            )
            return [
                _task_result(
                    task.method_name,
                    signature,
                    [next(outputs) for _ in names],
                    len(call.examples),
                    resolved(task.spec, handle.id),
                )
                for task, signature, names in zip(call.tasks, signatures, aliases, strict=True)
            ]

    async def metadata(self, call: MetadataCall) -> MetadataResult:
        """Return the signatures of a model."""
        if not call.fields:
            raise InvalidArgument(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for field in call.fields:
            if field != METADATA_FIELD:
                raise InvalidArgument(f"Metadata field {field} is not supported")
        with self._router.pin(call.spec) as handle:
            return MetadataResult(
                spec=ResolvedSpec(name=handle.id.name, version=handle.id.version),
                signatures=handle.servable.signatures,
            )

    def _examples_signature(
        self, handle: ServableHandle, spec: ModelSpec, method: str
    ) -> Signature:
        return checks.examples_signature(
            handle.servable.signatures,
            spec.signature_name,
            method,
            check_method=self._check_method_names,
        )

    def _task_signatures(
        self, handle: ServableHandle, tasks: Sequence[InferenceTask]
    ) -> Sequence[Signature]:
        """Return the signature of each task, all of one model and each asked for once."""
        found: dict[str, Signature] = {}
        for task in tasks:
            name = resolved(task.spec, handle.id).signature_name
            if not task.spec.name:
                raise InvalidArgument("Found ModelSpec with an empty model name.")
            if task.spec.name != handle.id.name:
                raise InvalidArgument(
                    "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                )
            if name in found:
                raise InvalidArgument(f"Duplicate evaluation of signature: {name}")
            if name not in handle.servable.signatures:
                raise InvalidArgument(f"Requested signature not found in model graph: {name}")
            found[name] = handle.servable.signatures[name]
            checks.check_examples_signature(
                found[name], task.method_name, check_method=self._check_method_names
            )
        return tuple(found.values())


async def _run_on_examples(
    servable: Servable, signature: Signature, method: str, call: ExamplesCall
) -> Sequence[Array]:
    _check_examples(call.examples)
    inputs = checks.complete_inputs(signature, {checks.EXAMPLES_INPUT: call.examples})
    aliases = checks.wanted_outputs(signature, method)
    return await servable.run(signature, inputs, aliases, deadline=call.context.deadline)


def _check_examples(examples: Array) -> None:
    if not len(examples):
        raise InvalidArgument("Input is empty.")


def _task_result(
    method: str, signature: Signature, outputs: Sequence[Array], batch_size: int, spec: ResolvedSpec
) -> ClassifyResult | RegressResult:
    if method == CLASSIFY_METHOD:
        return _classify_result(signature, outputs, batch_size, spec)
    return _regress_result(outputs, batch_size, spec)


def _classify_result(
    signature: Signature, outputs: Sequence[Array], batch_size: int, spec: ResolvedSpec
) -> ClassifyResult:
    aliases = checks.wanted_outputs(signature, CLASSIFY_METHOD)
    by_alias = dict(zip(aliases, outputs, strict=True))
    return ClassifyResult(spec=spec, classifications=checks.classifications(by_alias, batch_size))


def _regress_result(outputs: Sequence[Array], batch_size: int, spec: ResolvedSpec) -> RegressResult:
    (values,) = outputs
    return RegressResult(spec=spec, values=checks.regressions(values, batch_size))
