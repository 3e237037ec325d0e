"""The executor for SavedModels that no session can run: TensorFlow 2's own functions.

In: a SavedModel on disk. Out: calls from arrays to arrays, each many times as dear as a
session's where the model is small. A Keras 3 model that was saved with
`tf.saved_model.save` has each variable twice: the one that its signatures read, and a copy,
which is what a session restores. `tf.saved_model.load` goes by the objects instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import InvalidArgument
from sigrun.executors.prepared import Call, Names
from sigrun.executors.saved_model.session import as_array
from sigrun.executors.saved_model.tensorflow_imports import tf
from sigrun.tensors.signature import Array, Signature


class FunctionExecutor:
    """The functions of one loaded object, called by the tensors of its signatures."""

    def __init__(self, loaded: Any, signatures: Mapping[str, Signature]) -> None:
        self._functions = dict(loaded.signatures)
        self._loaded: Any = loaded
        self._signatures = signatures

    @property
    def runs_in_caller(self) -> bool:
        """Whether a call runs in the thread that makes it: TensorFlow has its own for these."""
        return False

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        """Return a call that runs the functions to which `fetches` belong, each once.

        Raises `InvalidArgument` for a tensor that no function yields when these are fed.
        """
        wanted = [self._owner(fetch, feeds) for fetch in fetches]
        steps = {name: self._step(name, feeds) for name, _ in wanted}

        def call(arrays: Sequence[Array]) -> list[Array]:
            results = {name: step.run(arrays) for name, step in steps.items()}
            return [as_array(results[name][alias].numpy()) for name, alias in wanted]

        return call

    def shares_session(self, other: object) -> bool:
        """Return whether closing one of the two closes the other."""
        return other is self

    def close(self) -> None:
        """Give everything back that no running call needs."""
        self._functions.clear()
        self._loaded = None

    def _owner(self, fetch: str, feeds: Names) -> tuple[str, str]:
        """Return the name of a signature that yields `fetch`, and its alias there."""
        for name in self._functions:
            signature = self._signatures[name]
            needed = {spec.name for spec in signature.inputs.values()}
            for alias, spec in signature.outputs.items():
                if spec.name == fetch and needed.issubset(feeds):
                    return name, alias
        raise InvalidArgument(f"No signature yields the tensor {fetch} from {', '.join(feeds)}")

    def _step(self, name: str, feeds: Names) -> _Step:
        function, inputs = self._functions[name], self._signatures[name].inputs
        positions = [feeds.index(inputs[alias].name) for alias in function._arg_keywords]
        return _Step(function, positions, self._loaded)


@dataclass(frozen=True, slots=True)
class _Step:
    """One function, and where its arguments are among the arrays that are fed."""

    function: Any
    positions: Sequence[int]
    loaded: Any  # held: a function only refers to the variables, which belong to the object

    def run(self, arrays: Sequence[Array]) -> Mapping[str, Any]:
        tensors = [tf.convert_to_tensor(arrays[position]) for position in self.positions]
        outputs: Mapping[str, Any] = self.function._call_flat(
            tensors, self.function.captured_inputs
        )
        return outputs


def load_functions(
    path: str, options: ExecutionOptions, signatures: Mapping[str, Signature]
) -> FunctionExecutor:
    """Return an executor of the SavedModel at `path`. Raises TensorFlow's own errors."""
    loaded = tf.saved_model.load(path, tags=sorted(options.saved_model_tags))
    return FunctionExecutor(loaded, signatures)
