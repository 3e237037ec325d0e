"""Check requests and answers against a signature.

Texts and codes are TensorFlow Serving's where it has the rule. Checked here and not there:
the dtype of each input, so that a mistake is named as such. Shapes are left to the model,
as there: signatures are known to declare one shape and take another (the tutorial's
half_plus_two says `[?,1]` and is fed `[3]`).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence

from sigrun.errors import Internal, InvalidArgument, SignatureNotFound, Unimplemented, listed
from sigrun.inference.calls import DEFAULT_SIGNATURE, Classifications
from sigrun.tensors.signature import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Array,
    DType,
    Signature,
    TensorSpec,
    dtype_of,
    shape_text,
)

EXAMPLES_INPUT = "inputs"
CLASSES_OUTPUT = "classes"
SCORES_OUTPUT = "scores"
REGRESS_OUTPUT = "outputs"

Signatures = Mapping[str, Signature]

_MAX_NAMES_SHOWN = 100


def predict_signature(signatures: Signatures, name: str, *, check_method: bool) -> Signature:
    """Return the signature that a Predict request runs.

    Raises `SignatureNotFound` if there is none of that name; with `check_method`,
    `Internal` if its method name is of another kind.
    """
    name = name or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise SignatureNotFound(name, signatures)
    methods = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if check_method and signature.method_name not in methods:
        raise Internal(
            "Expected prediction signature method_name to be one of "
            f"{{{', '.join(methods)}}}. Was: {signature.method_name}"
        )
    return signature


def check_input_names(signature: Signature, names: Collection[str]) -> None:
    """Raise `InvalidArgument` unless `names` and the defaults are the signature's inputs."""
    wanted = signature.inputs
    extra, missing = set(names) - wanted.keys(), wanted.keys() - set(names)
    if len(names) > len(wanted) or (len(names) < len(wanted) and not signature.defaults):
        raise InvalidArgument(
            f"input size does not match signature: {len(names)}!={len(wanted)} "
            f"len({_set(names)}) != len({_set(wanted)}). "
            f"Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    for alias in sorted(missing - signature.defaults.keys()):
        raise InvalidArgument(
            f"Signature input alias: {alias}(feed name: {wanted[alias].name}) not found in "
            "request and no default value provided. Inputs expected to be in the request "
            f"{_set(wanted.keys() - signature.defaults.keys())}, or default input alias set: "
            f"{_set(signature.defaults)}. Inputs of the request: {_set(names)}"
        )
    if extra:
        raise InvalidArgument(
            "Inputs contains invalid name. Used request inputs: "
            f"{_set(wanted.keys() & set(names))}, request input: {_set(names)}"
        )


def complete_inputs(signature: Signature, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Return `inputs` with the signature's defaults where one is missing.

    Raises `InvalidArgument` for an array of the wrong dtype, one missing or one too many.
    """
    if inputs.keys() != signature.inputs.keys():
        check_input_names(signature, inputs)
        inputs = {**signature.defaults, **inputs}
    for alias, spec in signature.inputs.items():
        array = inputs[alias]
        if spec.dtype is None or array.dtype != spec.dtype.numpy:
            raise _mismatch(signature, alias, spec, array)
    return inputs


def _mismatch(signature: Signature, alias: str, spec: TensorSpec, array: Array) -> InvalidArgument:
    return InvalidArgument(
        f"Input {alias!r} of signature {signature.name!r} expects {spec}, "
        f"but the request has {dtype_of(array).label} {shape_text(array.shape)}"
    )


def output_aliases(signature: Signature, output_filter: Sequence[str]) -> Sequence[str]:
    """Return the outputs to compute: those of the filter, or all when it is empty.

    Raises `InvalidArgument` for an alias that is unknown or listed twice.
    """
    if not output_filter:
        return tuple(signature.outputs)
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_set(signature.outputs)}."
            )
        if alias in seen:
            raise InvalidArgument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return tuple(output_filter)


def examples_signature(
    signatures: Signatures, name: str, method: str, *, check_method: bool
) -> Signature:
    """Return the signature that a Classify or Regress request runs, fit for `method`.

    Raises `InvalidArgument` if it is not there or has not the inputs and outputs of such a
    signature.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise InvalidArgument(f"No signature was found with the name: {name}")
    check_examples_signature(signatures[name], method, check_method=check_method)
    return signatures[name]


def check_examples_signature(signature: Signature, method: str, *, check_method: bool) -> None:
    """Raise `InvalidArgument` unless `signature` can do `method`; `Unimplemented` for others."""
    if method not in (CLASSIFY_METHOD, REGRESS_METHOD):
        raise Unimplemented(f"Unsupported signature method_name: {method}")
    kind = "classification" if method == CLASSIFY_METHOD else "regression"
    if check_method and signature.method_name != method:
        raise InvalidArgument(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if method == CLASSIFY_METHOD:
        _check_classification(signature)
    else:
        _check_regression(signature)


def _check_classification(signature: Signature) -> None:
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if EXAMPLES_INPUT not in signature.inputs:
        raise InvalidArgument(
            f"No classification inputs found in SignatureDef: {_describe(signature)}"
        )
    if not {CLASSES_OUTPUT, SCORES_OUTPUT} & signature.outputs.keys():
        raise InvalidArgument(
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES_OUTPUT}" or "{SCORES_OUTPUT}". Signature was: {_describe(signature)}'
        )


def _check_regression(signature: Signature) -> None:
    if len(signature.outputs) != 1:
        raise InvalidArgument("Expected one output Tensor.")
    if EXAMPLES_INPUT not in signature.inputs:
        raise InvalidArgument(f"No regression inputs found in SignatureDef: {_describe(signature)}")
    if REGRESS_OUTPUT not in signature.outputs:
        raise InvalidArgument(
            f"No regression outputs found in SignatureDef: {_describe(signature)}"
        )


def wanted_outputs(signature: Signature, method: str) -> Sequence[str]:
    """Return the outputs of a classify or regress signature that its answer is made of."""
    if method == REGRESS_METHOD:
        return (REGRESS_OUTPUT,)
    return tuple(alias for alias in (CLASSES_OUTPUT, SCORES_OUTPUT) if alias in signature.outputs)


def classifications(outputs: Mapping[str, Array], batch_size: int) -> Classifications:
    """Return the classes that a model's `outputs` hold for `batch_size` examples.

    Raises `InvalidArgument` when shape or dtype is not that of classes.
    """
    labels, scores = outputs.get(CLASSES_OUTPUT), outputs.get(SCORES_OUTPUT)
    if labels is not None:
        _check_matrix(labels, CLASSES_OUTPUT, DType.STRING, batch_size)
    if scores is not None:
        _check_matrix(scores, SCORES_OUTPUT, DType.FLOAT, batch_size)
    if labels is not None and scores is not None and labels.shape[1] != scores.shape[1]:
        raise InvalidArgument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {labels.shape[1]} vs. {scores.shape[1]}"
        )
    return Classifications(labels=labels, scores=scores)


def _check_matrix(array: Array, alias: str, dtype: DType, batch_size: int) -> None:
    if array.ndim != 2:
        raise InvalidArgument(
            "Expected Tensor shape: [batch_size num_classes] but got " + shape_text(array.shape)
        )
    if array.dtype != dtype.numpy:
        raise InvalidArgument(
            f"Expected {alias} Tensor of {dtype.label}. Got: {dtype_of(array).label}"
        )
    if array.shape[0] != batch_size:
        raise InvalidArgument(
            f"Expected {alias} output batch size of {batch_size}. Got: {array.shape[0]}"
        )


def regressions(values: Array, batch_size: int) -> Array:
    """Return the float32 vector that a regression's output holds, one value per example.

    Raises `InvalidArgument` when shape or dtype is not that of regressions.
    """
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
        raise InvalidArgument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + shape_text(values.shape)
        )
    if values.shape[0] != batch_size:
        raise InvalidArgument(
            f"Input batch size did not match output batch size: {batch_size} vs. {values.shape[0]}"
        )
    if values.dtype != DType.FLOAT.numpy:
        raise InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: {dtype_of(values).label}")
    return values.reshape(-1)


def joined(signatures: Sequence[Signature], outputs: Sequence[Sequence[str]]) -> Signature:
    """Return one signature that computes the given `outputs` of several signatures at once.

    Input I and output O of signature S get the aliases `S/I` and `S/O`.
    """
    return Signature(
        name="+".join(signature.name for signature in signatures),
        method_name=PREDICT_METHOD,
        inputs={
            joined_alias(signature, alias): spec
            for signature in signatures
            for alias, spec in signature.inputs.items()
        },
        outputs={
            joined_alias(signature, alias): signature.outputs[alias]
            for signature, aliases in zip(signatures, outputs, strict=True)
            for alias in aliases
        },
    )


def joined_alias(signature: Signature, alias: str) -> str:
    """Return the alias that an input or output of `signature` has in a joined one."""
    return f"{signature.name}/{alias}"


def _set(names: Iterable[str]) -> str:
    """Return the names in order; of a crowd, which a client may send, only the first."""
    first = heapq.nsmallest(_MAX_NAMES_SHOWN + 1, names)
    if len(first) > _MAX_NAMES_SHOWN:
        first[-1] = "..."
    return "{" + ",".join(first) + "}"


def _describe(signature: Signature) -> str:
    inputs = listed(f"{alias}: {spec}" for alias, spec in sorted(signature.inputs.items()))
    outputs = listed(f"{alias}: {spec}" for alias, spec in sorted(signature.outputs.items()))
    return (
        f"{signature.name!r} ({signature.method_name}) "
        f"with inputs {{{inputs}}} and outputs {{{outputs}}}"
    )
