"""Run one set of tensors of a model: for one request as it is, or for several as one batch.

In: a request's own arrays, or a batch of pending requests. Out: the outputs of each. On the way
the cost models learn what runs take, and the merge rule is dropped as soon as a run shows that the
outputs are not what the signature declares.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sigrun.batching.batch import IndivisibleOutputs, assemble, misfit, split
from sigrun.batching.cost_model import CostModel
from sigrun.batching.merging import merge_rule
from sigrun.batching.pending import Batch, Pending, ReplyT
from sigrun.batching.statistics import BatchRecorder
from sigrun.config.batching import BatchingOptions
from sigrun.servables.servable import Servable
from sigrun.tensors.signature import Array, Signature, shape_text

logger = logging.getLogger(__name__)

_LARGE_BYTES = 4 << 20  # copying more than this would hold up the event loop for a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One of the ways in which requests ask for the same tensors.

    `inputs` are the signature's aliases in the order of the fed tensors; `lead` is one of them that
    has rows, if any has. `order` says where each of the `outputs` is among the fetched tensors;
    None: they are in the same order.
    """

    signature: Signature
    inputs: tuple[str, ...]
    lead: str
    outputs: tuple[str, ...]
    order: tuple[int, ...] | None

    def arranged(self, answer: Sequence[Array]) -> Sequence[Array]:
        """Return the fetched tensors in the order of `outputs`."""
        return answer if self.order is None else [answer[index] for index in self.order]


class Runs:
    """Runs what feeds and fetches one set of tensors of one loaded version.

    `input_names` and `output_names` are the tensors, each once: the order of arrays in a batch.
    `name` says whose they are, for people.
    """

    def __init__(
        self,
        servable: Servable,
        signature: Signature,
        outputs: Sequence[str],
        *,
        name: str,
        options: BatchingOptions,
        recorder: BatchRecorder,
        clock: Callable[[], float],
    ) -> None:
        aliases = {signature.outputs[alias].name: alias for alias in outputs}
        self.name = name
        self.input_names = tuple(dict.fromkeys(spec.name for spec in signature.inputs.values()))
        self.output_names = tuple(aliases)
        self.rule = merge_rule(
            signature, outputs, self.input_names, pad=options.pad_variable_length_inputs
        )
        self.cost = CostModel()
        # Of one request after another. The first one after a merged run takes longer, by what that
        # left in the caches, and does not count.
        self.cost_alone = CostModel()
        self._is_after_merged = False
        self.servable = servable
        self._signature = signature
        self._outputs = tuple(aliases.values())
        self._options = options
        self._recorder = recorder
        self._clock = clock

    def pads(self, rows: int) -> bool:
        """Tell whether a run of so many rows has to be padded to a listed size."""
        options = self._options
        return bool(options.allowed_batch_rows) and options.processed_rows(rows) != rows

    def forget_alone(self) -> None:
        """Learn anew what requests take that run one after another."""
        self.cost_alone = CostModel()

    async def as_sent(
        self, route: Route, inputs: Mapping[str, Array], rows: int, deadline: float | None
    ) -> Sequence[Array]:
        """Return the outputs of `route` for one request, run with its own arrays.

        `rows` is 0 for one that the merge rule keeps apart. Raises what `Servable.run` does.
        """
        started_at = self._clock()
        outputs = await self.servable.run(route.signature, inputs, route.outputs, deadline=deadline)
        run_s = self._clock() - started_at
        self.cost.observe(rows or 1, run_s)
        if not self._is_after_merged:
            self.cost_alone.observe(rows or 1, run_s)
        self._is_after_merged = False
        if rows:
            self._compare(outputs, rows)
        return outputs

    async def as_batch(
        self, route: Route, inputs: Mapping[str, Array], pending: Pending[ReplyT]
    ) -> Sequence[Array]:
        """Return the outputs of `route` for one request that is a batch, padded if need be."""
        rows = 0 if pending.form is None else pending.rows
        if rows and self.rule.merges and self.pads(rows):
            try:
                (outputs,) = await self.merged([pending])
                return route.arranged(outputs)
            except IndivisibleOutputs:
                rows = 0  # what it is answered depends on the padding: leave that away
        self._recorder.run(pending.rows, pending.rows)
        return await self.as_sent(route, inputs, rows, pending.deadline)

    async def merged(self, batch: Batch[ReplyT]) -> list[list[Array]]:
        """Run a batch, put together and padded, and return the outputs of each request.

        Raises `IndivisibleOutputs` if they cannot be told apart, also if another run has found
        that out meanwhile: numbers of rows that agree then agree by chance.
        """
        sizes = [pending.rows for pending in batch]
        rows = sum(sizes)
        processed_rows = self._options.processed_rows(rows)
        if self.rule.merges:
            arrays = await _assembled(batch, processed_rows)
            self._recorder.run(rows, processed_rows)
            outputs = await self._compute(arrays, processed_rows, _latest_deadline(batch))
            self._is_after_merged = True
            self._compare(outputs, processed_rows)
        if self.rule.objection is not None:
            raise IndivisibleOutputs(self.rule.objection)
        return split(outputs, sizes)

    async def alone(self, pending: Pending[ReplyT]) -> Sequence[Array]:
        """Return the outputs for the arrays of one request, as they are."""
        self._recorder.run(pending.rows, pending.rows)
        return await self._compute(pending.arrays, pending.rows, pending.deadline)

    async def _compute(
        self, arrays: Sequence[Array], rows: int, deadline: float | None
    ) -> Sequence[Array]:
        feeds = dict(zip(self.input_names, arrays, strict=True))
        inputs = {alias: feeds[spec.name] for alias, spec in self._signature.inputs.items()}
        started_at = self._clock()
        outputs = await self.servable.run(self._signature, inputs, self._outputs, deadline=deadline)
        self.cost.observe(rows, self._clock() - started_at)
        return outputs

    def _compare(self, outputs: Sequence[Array], rows: int) -> None:
        """Stop merging if the outputs of a run of `rows` rows do not have as many."""
        output = misfit(outputs, rows=rows)
        if output is not None and self.rule.merges:
            objection = f"an output of shape {shape_text(output.shape)} came back for {rows} rows"
            self.rule = self.rule.without_merging(objection)
            logger.warning("Requests for %s run one by one from now on: %s", self.name, objection)


def _latest_deadline(batch: Batch[ReplyT]) -> float | None:
    """Return when the last caller gives up; None if one never does."""
    latest = 0.0
    for pending in batch:
        if pending.deadline is None:
            return None
        latest = max(latest, pending.deadline)
    return latest


async def _assembled(batch: Batch[ReplyT], rows: int) -> list[Array]:
    requests = [pending.arrays for pending in batch]
    row_bytes = sum(array.nbytes for array in requests[0]) / batch[0].rows
    if row_bytes * rows > _LARGE_BYTES:
        return await asyncio.to_thread(assemble, requests, rows=rows)
    return assemble(requests, rows=rows)
