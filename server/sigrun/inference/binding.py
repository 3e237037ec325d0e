"""Inputs of a call -> arrays by alias, once the signature is known."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from sigrun.concurrency.offload import Offload
from sigrun.concurrency.pace import keep_on
from sigrun.inference.calls import Arrays, PredictCall
from sigrun.tensors.signature import Array, Signature


def bound_inline(
    call: PredictCall, signature: Signature, offload: Offload
) -> Mapping[str, Array] | None:
    """Do what `bound_inputs` does, at once; return None where that takes long.

    It spares most requests a coroutine. Raises what `bound_inputs` raises.
    """
    inputs = call.inputs
    if isinstance(inputs, Arrays):
        return inputs.by_alias
    return inputs.bind(signature, keep_on) if offload.is_short(inputs.cost_s) else None


async def bound_inputs(
    call: PredictCall, signature: Signature, offload: Offload
) -> Mapping[str, Array]:
    """Return the inputs of `call`, bound on the event loop or in a thread as their cost says.

    Raises `InvalidArgument` for what does not fit `signature`, `Unavailable` and
    `DeadlineExceeded` as `Offload.run` does.
    """
    inputs = call.inputs
    if isinstance(inputs, Arrays):
        return inputs.by_alias
    bind = functools.partial(inputs.bind, signature)
    return await offload.run(bind, cost_s=inputs.cost_s, deadline=call.context.deadline)
