"""What is the same for every Predict of one signature of one version.

In: a version that is loaded, and the name of a signature. Out: the signature, and what checking
and answering need of it. It is found out at the first request, remembered with the version, and
gone with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sigrun.inference import checks
from sigrun.inference.calls import PredictResult, ResolvedSpec
from sigrun.servables.handle import LoadedVersion
from sigrun.tensors.signature import Array, Signature


class PredictTarget:
    """One signature of one version."""

    __slots__ = ("_dtypes", "_outputs", "signature", "spec")

    def __init__(self, version: LoadedVersion, signature: Signature) -> None:
        self.signature = signature
        self.spec = ResolvedSpec(version.id.name, version.id.version, signature.name)
        self._outputs = tuple(signature.outputs)
        self._dtypes = [
            (alias, None if spec.dtype is None else spec.dtype.numpy)
            for alias, spec in signature.inputs.items()
        ]

    def complete_inputs(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Do what `checks.complete_inputs` does; nothing if nothing is missing or wrong."""
        if len(inputs) != len(self._dtypes):
            return checks.complete_inputs(self.signature, inputs)
        for alias, dtype in self._dtypes:
            array = inputs.get(alias)
            if array is None or dtype is None or array.dtype != dtype:
                return checks.complete_inputs(self.signature, inputs)
        return inputs

    def output_aliases(self, output_filter: Sequence[str]) -> Sequence[str]:
        """Return the outputs to compute, as `checks.output_aliases` does."""
        if not output_filter:
            return self._outputs
        return checks.output_aliases(self.signature, output_filter)

    def result(self, aliases: Sequence[str], outputs: Sequence[Array]) -> PredictResult:
        """Return the answer: the arrays of these outputs."""
        if len(aliases) == 1 == len(outputs):
            # By its own name it would take twice the time: a function in Python is called for it.
            return tuple.__new__(PredictResult, (self.spec, {aliases[0]: outputs[0]}))
        return PredictResult(self.spec, dict(zip(aliases, outputs, strict=True)))


def predict_target(
    version: LoadedVersion, signature_name: str, *, check_method: bool
) -> PredictTarget:
    """Return what a request comes to. Raises what `checks.predict_signature` raises.

    All who ask for the targets of a version check the method, or none does.
    """
    targets: dict[str, PredictTarget] | None = version.memo
    if targets is None:
        targets = version.memo = {}
    target = targets.get(signature_name)
    if target is None:
        signature = checks.predict_signature(
            version.servable.signatures, signature_name, check_method=check_method
        )
        target = targets[signature_name] = PredictTarget(version, signature)
    return target
