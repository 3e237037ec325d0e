"""A loaded SavedModel as the rest of the server sees it: a `Servable`.

In: a signature and arrays. Out: the arrays of the outputs that were asked for, computed in
one of the runner threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sigrun.errors import InvalidArgument
from sigrun.executors.messages import error_from
from sigrun.executors.prepared import Call, Names, PreparedCalls, tensor_names
from sigrun.executors.threads import Threads
from sigrun.servables.signature import Array, Signature


class SavedModelServable:
    """Runs the signatures of one loaded version; implements `Servable`."""

    def __init__(
        self, signatures: Mapping[str, Signature], calls: PreparedCalls, runners: Threads
    ) -> None:
        self._signatures = signatures
        self._calls = calls
        self._runners = runners

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Every signature of the model by name, those that cannot be called included."""
        return self._signatures

    async def run(
        self,
        signature: Signature,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        *,
        deadline: float | None,
    ) -> Sequence[Array]:
        """Run `signature` in a runner thread; see `Servable.run`."""
        feeds, fetches = tensor_names(signature, outputs)
        arrays = [inputs[alias] for alias in signature.inputs]
        return await self._runners.run(self._run, feeds, fetches, arrays, deadline=deadline)

    def prepared(self, signature: Signature, outputs: Sequence[str]) -> Call:
        """Return what `run` calls: arrays in the order of `signature.inputs`, in this thread.

        Preparing one that is new takes milliseconds. The call raises a `SigrunError`.
        """
        feeds, fetches = tensor_names(signature, outputs)
        return lambda arrays: self._run(feeds, fetches, arrays)

    def _run(self, feeds: Names, fetches: Names, arrays: Sequence[Array]) -> Sequence[Array]:
        try:
            return self._calls.get(feeds, fetches)(arrays)
        except TypeError as error:  # elements that TensorFlow has no type for
            raise InvalidArgument(str(error)) from error
        except Exception as error:
            raise error_from(error) from error
