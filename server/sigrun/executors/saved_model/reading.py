"""Read a SavedModel: a directory -> its signatures, and an executor that runs them.

Every way in which a directory can be wrong ends here, in an error that says which. A model
that the cheapest executor cannot run is given to the next.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Any, TypeVar

from sigrun.concurrency.aside import start_aside
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import DataLoss, NotFound, SigrunError, error_for, listed
from sigrun.executors.error_texts import error_from, readable
from sigrun.executors.prepared import MayBeInline, PreparedCalls, tensor_names
from sigrun.executors.saved_model.freezing import CannotFreeze
from sigrun.executors.saved_model.functions import load_functions
from sigrun.executors.saved_model.graph_analysis import (
    Execution,
    Reached,
    all_nodes,
    choose_execution,
    holds_state,
    initialised_copies,
    may_hold_up,
    reach,
    state_changes,
)
from sigrun.executors.saved_model.model import Executor, LoadedModel, is_callable
from sigrun.executors.saved_model.optimising import (
    Frozen,
    check_alike,
    freeze,
    signature_tensors,
)
from sigrun.executors.saved_model.purity import reaches_out
from sigrun.executors.saved_model.sample_requests import (
    FULL_PRECISION,
    REDUCED_PRECISION,
    Compare,
    difference,
    is_slower,
    measure,
)
from sigrun.executors.saved_model.session import (
    Renewal,
    SessionExecutor,
    open_graph,
    open_session,
)
from sigrun.executors.saved_model.signatures import read_signature
from sigrun.executors.saved_model.tensorflow_imports import loader_impl, tf
from sigrun.executors.saved_model.value_sizes import sized_by_values
from sigrun.tensors.signature import Array, Signature

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SEQUENTIAL_REFUSES = "Single-threaded executor"  # begins what it says of a graph it cannot run

OpenExecutor = Callable[[Execution], Executor]


def read_saved_model(
    path: str, options: ExecutionOptions, compare: Compare = difference
) -> LoadedModel:
    """Load the SavedModel at `path`, in this thread.

    `compare` judges whether an optimised model answers as the model itself does. Raises a
    `SigrunError` that says why it cannot be served, and leaves nothing behind.
    """
    try:
        return _Reader(path, options, compare).read()
    except tf.errors.OpError as error:
        text = f"{readable(error.message)}\nSavedModel that was read: {path}"
        raise error_for(error.error_code, text) from error
    except Exception as error:
        raise error_from(error) from error


class _Reader:
    """One directory that is being read."""

    def __init__(self, path: str, options: ExecutionOptions, compare: Compare) -> None:
        self._path = path
        self._options = options
        self._compare = compare
        self._saved_model = _parse(path)
        self._meta_graph = _choose_meta_graph(self._saved_model.saved_model, options)
        self._folds = not reaches_out(all_nodes(self._meta_graph.graph_def))
        self._signatures = MappingProxyType(
            {name: self._read_signature(name) for name in sorted(self._meta_graph.signature_def)}
        )

    def _read_signature(self, name: str) -> Signature:
        signature = read_signature(name, self._meta_graph.signature_def[name])
        if not is_callable(signature):
            return signature
        changes = state_changes(self._reach([signature]).operations)
        return dataclasses.replace(signature, changes_state=bool(changes))

    def read(self) -> LoadedModel:
        model = self._renewable(self._cheapest(self._executor, self._meta_graph.graph_def))
        if self._options.optimize_on_load and isinstance(model.executor, SessionExecutor):
            model = self._optimised(model, model.executor)
        if not state_changes(self._reach_all().operations):
            model = self._measured(model)
        return model

    def _cheapest(self, open_executor: OpenExecutor, graph: Any) -> LoadedModel:
        """Return the model in the cheapest executor that runs `graph`."""
        execution = choose_execution(graph)
        try:
            return self._model(open_executor(execution))
        except tf.errors.OpError as error:
            refused = execution is Execution.SEQUENTIAL and _SEQUENTIAL_REFUSES in error.message
            if not refused:
                raise
            logger.info("%s needs another executor: %s", self._path, error.message)
        return self._model(open_executor(Execution.CALLER))

    def _model(self, executor: Executor) -> LoadedModel:
        try:
            calls = self._prepared(executor)
        except BaseException:
            executor.close()
            raise
        return LoadedModel(signatures=self._signatures, calls=calls, executor=executor)

    def _optimised(self, model: LoadedModel, session: SessionExecutor) -> LoadedModel:
        """Return the model with constants for variables, or `model` where that cannot be."""
        better: LoadedModel | None = None
        try:
            frozen = freeze(session, self._signatures)
            better = self._with_constants(session, frozen)
            self._within_limit(functools.partial(self._check, session, model, better))
        except CannotFreeze as reason:
            logger.info("%s is served as it is: %s", self._path, reason)
        except TimeoutError:
            return self._given_up(model, better)
        except Exception as error:  # whatever it is, there is a model to serve
            logger.warning("%s is served as it is: %s", self._path, error_from(error))
        else:
            logger.info("%s is served with frozen variables: %d", self._path, frozen.constants)
            _drop(model, better)
            return self._renewable(better)
        if better is not None:
            _drop(better, model)
        return model

    def _check(self, session: SessionExecutor, model: LoadedModel, better: LoadedModel) -> None:
        """Raise `CannotFreeze` unless `better` is what it is to be."""
        tolerance = FULL_PRECISION if session.is_precise else REDUCED_PRECISION
        check_alike(self._meta_graph.graph_def, model, better, self._compare, tolerance)
        # On CPUs it is known what gains; kernels of other devices are others.
        if session.may_use_accelerator and is_slower(better, model):
            raise CannotFreeze("it would be slower on the devices here")

    def _with_constants(self, session: SessionExecutor, frozen: Frozen) -> LoadedModel:
        """Return a model of `frozen`: by itself if it can be, else in `session`."""
        if any(map(holds_state, all_nodes(frozen.graph))):
            return self._model(session.with_graph(frozen.graph))
        return self._cheapest(
            functools.partial(open_graph, frozen.graph, self._options, folds=self._folds),
            frozen.graph,
        )

    def _measured(self, model: LoadedModel) -> LoadedModel:
        """Return the model when it is known how long its short runs take."""
        try:
            self._within_limit(functools.partial(measure, model))
        except TimeoutError:
            return self._given_up(model, None)
        return model

    def _within_limit(self, runs: Callable[[], T]) -> T:
        """Make runs that nobody asked for. Raises `TimeoutError` if they take too long."""
        thread = start_aside(runs, name=f"made-up runs of {self._path}")
        return thread.result(self._options.sample_runs_s)

    def _given_up(self, model: LoadedModel, better: LoadedModel | None) -> LoadedModel:
        """Return a model to serve after a made-up run that does not end, and end it if possible."""
        logger.warning(
            "%s is served as it is: requests that were made up took more than %g s",
            self._path,
            self._options.sample_runs_s,
        )
        if better is not None and not better.executor.shares_session(model.executor):
            start_aside(better.close, name=f"closing {self._path}")
        if model.renew is None:  # the run ends by itself, or not at all
            return model
        renewed = model.renew()
        start_aside(model.close, name=f"closing {self._path}")
        return renewed

    def _renewable(self, model: LoadedModel) -> LoadedModel:
        """Return the model with a way to make it anew, if that ends runs and loses nothing."""
        if not isinstance(model.executor, SessionExecutor):
            return model
        graph = model.executor.graph()
        reached = reach(graph, model.executor.scoped(signature_tensors(self._signatures)))
        operations = reached.operations
        if not may_hold_up(operations) or state_changes(operations) or reached.hidden_variables:
            return model
        return _with_renewal(model, model.executor, self._renewal(model.executor, graph, reached))

    def _renewal(self, session: SessionExecutor, graph: Any, reached: Reached) -> Renewal:
        if not any(map(holds_state, reached.nodes.values())):
            return Renewal()
        initialiser = session.initialiser(self._meta_graph)
        at_start = reach(graph, [initialiser] if initialiser else []).variables
        variables = reached.variables | at_start
        variables -= set(session.uninitialised(variables))
        return Renewal(
            variables=sorted(variables),
            initialiser=initialiser,
            assets=loader_impl.get_asset_tensors(self._path, self._meta_graph),
            rewritten=sorted(at_start & variables),
        )

    def _executor(self, execution: Execution) -> Executor:
        has_values = self._has_values()
        session = open_session(
            self._saved_model, self._options, execution, restore=has_values, folds=self._folds
        )
        try:
            missing = session.uninitialised(self._reach_all().variables)
            if missing:
                session.assign(self._values_of_copies(session, missing))
                missing = session.uninitialised(missing)
            replacement = self._replacement(missing) if missing else None
        except BaseException:
            session.close()
            raise
        if replacement is None:
            return session
        session.close()
        return replacement

    def _values_of_copies(self, session: SessionExecutor, missing: list[str]) -> dict[str, Array]:
        """Return values for those of `missing` of which a copy was saved in their stead.

        Keras 3 models that were saved with `tf.saved_model.save` are such: a signature reads
        one variable, and another that was initialised with it is what is restored.
        """
        copies = initialised_copies(self._meta_graph.graph_def, missing)
        values = session.values(set(copies.values()) - set(session.uninitialised(copies.values())))
        return {name: values[copy] for name, copy in copies.items() if copy in values}

    def _prepared(self, executor: Executor) -> PreparedCalls:
        calls = PreparedCalls(executor.make_call, self._may_be_inline(executor))
        for signature in filter(is_callable, self._signatures.values()):
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
        names = listed(missing)
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

    def _may_be_inline(self, executor: Executor) -> MayBeInline:
        """Return what says of some outputs whether computing them cannot hold up the loop."""
        if not executor.runs_in_caller:
            return lambda _: False
        tensors = frozenset(
            spec.name
            for signature in filter(is_callable, self._signatures.values())
            if self._takes_what_its_inputs_take(signature)
            for spec in signature.outputs.values()
        )
        return tensors.issuperset

    def _takes_what_its_inputs_take(self, signature: Signature) -> bool:
        """Return whether runs with inputs of the same sizes take about the same time."""
        reached = self._reach([signature])
        fed = [spec.name for spec in signature.inputs.values()]
        return not may_hold_up(reached.operations) and not sized_by_values(reached, fed)

    def _reach_all(self) -> Reached:
        return self._reach(filter(is_callable, self._signatures.values()))

    def _reach(self, signatures: Iterable[Signature]) -> Reached:
        outputs = [spec.name for each in signatures for spec in each.outputs.values()]
        return reach(self._meta_graph.graph_def, outputs)

    def _has_values(self) -> bool:
        # A SavedModel without variables may come without their files.
        index = tf.compat.as_text(self._saved_model.variables_path) + ".index"
        return bool(tf.io.gfile.exists(index))


def _with_renewal(model: LoadedModel, session: SessionExecutor, renewal: Renewal) -> LoadedModel:
    def renew() -> LoadedModel:
        renewed = session.renewed(renewal)
        calls = model.calls.renewed(renewed.make_call)
        fresh = LoadedModel(signatures=model.signatures, calls=calls, executor=renewed)
        return _with_renewal(fresh, renewed, renewal)

    return dataclasses.replace(model, renew=renew)


def _drop(model: LoadedModel, kept: LoadedModel) -> None:
    """Give back what `model` takes and `kept` does not."""
    model.calls.clear()
    if not model.executor.shares_session(kept.executor):
        model.executor.close()


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
    there_are = listed(_tags_text(tags) for tags in tag_sets) or "none"
    raise NotFound(
        f"Could not find meta graph def matching supplied tags: "
        f"{_tags_text(options.saved_model_tags)}. Tag sets of this SavedModel: {there_are}"
    )


def _tags_text(tags: frozenset[str]) -> str:
    return "{ " + " ".join(sorted(tags)) + " }"
