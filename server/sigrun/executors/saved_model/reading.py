"""Read a SavedModel: a directory -> its signatures, and an executor that runs them.

Every way in which a directory can be wrong ends here, in an error that says which. A model
that the cheapest executor cannot run is given to the next.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from sigrun.config.execution import ExecutionOptions
from sigrun.errors import DataLoss, NotFound, SigrunError, error_for
from sigrun.executors.messages import error_from, readable
from sigrun.executors.prepared import Call, Names, PreparedCalls, tensor_names
from sigrun.executors.saved_model.boundary import loader_impl, tf
from sigrun.executors.saved_model.demands import Execution, choose_execution, variables_read
from sigrun.executors.saved_model.functions import load_functions
from sigrun.executors.saved_model.session import open_session
from sigrun.executors.saved_model.signatures import read_signature
from sigrun.servables.signature import Signature

logger = logging.getLogger(__name__)

_SEQUENTIAL_REFUSES = "Single-threaded executor"  # begins what it says of a graph it cannot run


class Executor(Protocol):
    """Makes calls of one model."""

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        """Return a call that feeds and fetches the tensors with these names."""

    def close(self) -> None:
        """Give everything back that no running call needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A SavedModel in memory, with a call prepared for each signature."""

    signatures: Mapping[str, Signature]
    calls: PreparedCalls
    executor: Executor

    def close(self) -> None:
        """Give back what the model takes."""
        self.calls.clear()
        self.executor.close()


def read_saved_model(path: str, options: ExecutionOptions) -> LoadedModel:
    """Load the SavedModel at `path`, in this thread.

    Raises a `SigrunError` that says why it cannot be served, and leaves nothing behind.
    """
    try:
        return _Reader(path, options).read()
    except tf.errors.OpError as error:
        text = f"{readable(error.message)}\nSavedModel that was read: {path}"
        raise error_for(error.error_code, text) from error
    except Exception as error:
        raise error_from(error) from error


class _Reader:
    """One directory that is being read."""

    def __init__(self, path: str, options: ExecutionOptions) -> None:
        self._path = path
        self._options = options
        self._saved_model = _parse(path)
        self._meta_graph = _choose_meta_graph(self._saved_model.saved_model, options)
        self._signatures = MappingProxyType(
            {
                name: read_signature(name, self._meta_graph.signature_def[name])
                for name in sorted(self._meta_graph.signature_def)
            }
        )

    def read(self) -> LoadedModel:
        execution = choose_execution(self._meta_graph.graph_def)
        try:
            return self._read(execution)
        except tf.errors.OpError as error:
            refused = execution is Execution.SEQUENTIAL and _SEQUENTIAL_REFUSES in error.message
            if not refused:
                raise
            logger.info("%s needs another executor: %s", self._path, error.message)
        return self._read(Execution.CALLER)

    def _read(self, execution: Execution) -> LoadedModel:
        executor = self._executor(execution)
        try:
            calls = self._prepared(executor)
        except BaseException:
            executor.close()
            raise
        return LoadedModel(signatures=self._signatures, calls=calls, executor=executor)

    def _executor(self, execution: Execution) -> Executor:
        has_values = self._has_values()
        session = open_session(self._saved_model, self._options, execution, restore=has_values)
        try:
            missing = session.uninitialised(self._variables())
            replacement = self._replacement(missing) if missing else None
        except BaseException:
            session.close()
            raise
        if replacement is None:
            return session
        session.close()
        return replacement

    def _prepared(self, executor: Executor) -> PreparedCalls:
        calls = PreparedCalls(executor.make_call)
        for signature in filter(_is_callable, self._signatures.values()):
            try:
                calls.keep(*tensor_names(signature, signature.outputs))
            except (tf.errors.OpError, SigrunError) as error:
                if _SEQUENTIAL_REFUSES in str(error):
                    raise
                # Its requests will be told the same; the other signatures are fit to serve.
                logger.warning(
                    "Signature %s of %s cannot be run: %s",
                    signature.name,
                    self._path,
                    error_from(error),
                )
        return calls

    def _replacement(self, missing: list[str]) -> Executor | None:
        """Return what can run the model although `missing` have no value in a session."""
        names = ", ".join(missing)
        if not self._has_values():
            raise NotFound(
                f"{self._path} has no variables/variables.index, but its signatures read the "
                f"variables {names}"
            )
        if not self._meta_graph.HasField("object_graph_def"):  # TensorFlow 1: no other way
            logger.warning("%s: nothing restores or initialises %s", self._path, names)
            return None
        logger.warning(
            "%s runs through TensorFlow's functions, which is slower: a session does not "
            "restore %s. Models saved with `model.export` are not affected.",
            self._path,
            names,
        )
        return load_functions(self._path, self._options, self._signatures)

    def _variables(self) -> set[str]:
        outputs = [
            spec.name
            for signature in filter(_is_callable, self._signatures.values())
            for spec in signature.outputs.values()
        ]
        return variables_read(self._meta_graph.graph_def, outputs)

    def _has_values(self) -> bool:
        # A SavedModel without variables may come without their files.
        index = tf.compat.as_text(self._saved_model.variables_path) + ".index"
        return bool(tf.io.gfile.exists(index))


def _parse(path: str) -> Any:
    if not loader_impl.maybe_saved_model_directory(path):
        raise NotFound(
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            f"file called `saved_model.pb`)\nSpecified file path: {path}"
        )
    try:
        return loader_impl.SavedModelLoader(path)
    except OSError as error:
        raise DataLoss(f"Can't parse the SavedModel in {path} as a protobuf message") from error


def _choose_meta_graph(saved_model: Any, options: ExecutionOptions) -> Any:
    tag_sets = [frozenset(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
    for tags, meta_graph in zip(tag_sets, saved_model.meta_graphs, strict=True):
        if tags == options.saved_model_tags:
            return meta_graph
    there_are = ", ".join(_tags_text(tags) for tags in tag_sets) or "none"
    raise NotFound(
        f"Could not find meta graph def matching supplied tags: "
        f"{_tags_text(options.saved_model_tags)}. Tag sets of this SavedModel: {there_are}"
    )


def _tags_text(tags: frozenset[str]) -> str:
    return "{ " + " ".join(sorted(tags)) + " }"


def _is_callable(signature: Signature) -> bool:
    """Return whether every tensor has a name and a type that can travel; an op has neither."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.outputs) and all(spec.name and spec.dtype for spec in specs)
