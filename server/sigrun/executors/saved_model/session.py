"""The executor for nearly every SavedModel: a session, and prepared callables of it.

In: a SavedModel on disk. Out: calls from arrays to arrays. `Session.run` and a model's own
functions cost many times as much per call as a prepared callable. Those are no public API
of TensorFlow, but the C++ one behind them is; the tests run every kind of model through
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sigrun.concurrency.cpus import available_cpus
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import InvalidArgument
from sigrun.executors.devices import has_accelerator
from sigrun.executors.prepared import Call, Names
from sigrun.executors.saved_model.graph_analysis import Execution, holds_state
from sigrun.executors.saved_model.tensorflow_imports import (
    config_pb2,
    loader_impl,
    pywrap_tf_session,
    rewriter_config_pb2,
    tf,
)
from sigrun.tensors.signature import Array

_SEQUENTIAL_EXECUTOR = "SINGLE_THREADED_EXECUTOR"

FROZEN_SCOPE = "frozen"
"""Where a graph is put that shares the session of another."""

# Reading a variable must not wait for the session's own threads, which may be stuck.
_IN_CALLER = config_pb2.RunOptions(inter_op_thread_pool=-1)

_MIXED_PRECISION = (  # what a user may ask TensorFlow's graph optimiser for
    "auto_mixed_precision",
    "auto_mixed_precision_cpu",
    "auto_mixed_precision_mkl",
    "auto_mixed_precision_onednn_bfloat16",
)

_COPIED = frozenset({tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int8, tf.int32, tf.int64})


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a new session of the same graph has to be given to answer as the old one does."""

    variables: Collection[str] = ()  # names of nodes
    initialiser: str = ""  # the operation to run, by its node; empty: none
    assets: Mapping[str, Any] = field(default_factory=dict)  # what to feed it: files, by tensor
    rewritten: Collection[str] = ()  # those of the variables that it may write


class SessionExecutor:
    """One MetaGraph with its variables restored and its initialisers run.

    Calls may be made and run by many threads at the same time. After `close` running calls
    are cancelled where they can be, and others fail. `scope` stands before the names of all
    nodes that calls feed and fetch.
    """

    def __init__(self, session: Any, scope: str = "") -> None:
        self._session = session
        self._scope = scope
        self._variables = _Variables(session.graph)

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        """Return a call that feeds and fetches these tensors; it holds the session."""
        options = config_pb2.CallableOptions(
            feed=[self._scope + name for name in feeds],
            fetch=[self._scope + name for name in fetches],
        )
        prepared = self._session._make_callable_from_options(options)
        # What `prepared(*arrays)` does, without its frame.
        run = pywrap_tf_session.TF_SessionRunCallable
        session, handle = self._session._session, prepared._handle
        array_type = np.ndarray

        def call(arrays: Sequence[Array], _held: Any = prepared) -> Sequence[Array]:
            values: list[Any] = run(session, handle, arrays, None)
            for value in values:
                if type(value) is not array_type:
                    return [*map(as_array, values)]
            return values

        return call

    def with_graph(self, graph: Any) -> SessionExecutor:
        """Return an executor of `graph`, a GraphDef, that shares this one's session and state.

        What holds state there (variables, tables) stands for what has its name here. Closing
        one of the two closes both.
        """
        own = self._session.graph
        shared = {node.name for node in graph.node if holds_state(node)}
        others = type(graph)(versions=graph.versions, library=graph.library)
        others.node.extend(node for node in graph.node if node.name not in shared)
        scope = own.unique_name(FROZEN_SCOPE, mark_as_used=False)
        with own.as_default():
            tensors = {f"{name}:0": own.get_tensor_by_name(f"{name}:0") for name in shared}
            tf.import_graph_def(others, input_map=tensors, name=scope)
        return SessionExecutor(self._session, f"{scope}/")

    def renewed(self, renewal: Renewal) -> SessionExecutor:
        """Return an executor that answers as this one does, in a session of its own.

        The values of variables are copied; they must not change meanwhile. Raises
        TensorFlow's own errors, and leaves nothing behind then.
        """
        config = self._session._config
        session = tf.compat.v1.Session(graph=self._session.graph, config=config)
        other = SessionExecutor(session, self._scope)
        other._variables = self._variables
        try:
            for name in renewal.variables:
                other.assign(self.values([name]))
            if renewal.initialiser:
                other.run_operation(renewal.initialiser, renewal.assets)
                other.assign(self.values(renewal.rewritten))
        except BaseException:
            session.close()
            raise
        return other

    def uninitialised(self, variables: Collection[str]) -> list[str]:
        """Return those of `variables` (names of nodes) that have no value."""
        names = sorted(variables)
        answers = self._session.run([self._variables.is_initialised(name) for name in names])
        return [name for name, has_value in zip(names, answers, strict=True) if not has_value]

    @property
    def runs_in_caller(self) -> bool:
        """Whether a call runs in the thread that makes it, from its begin to its end."""
        return bool(self._session._config.inter_op_parallelism_threads < 0)

    @property
    def may_use_accelerator(self) -> bool:
        """Whether a call may run on a GPU, or on anything else that is no CPU."""
        return has_accelerator(self._session.list_devices())

    @property
    def is_precise(self) -> bool:
        """Whether float32 is computed as such: GPUs multiply in TF32, and users ask for less."""
        rewriter = self._session._config.graph_options.rewrite_options
        on = rewriter_config_pb2.RewriterConfig.ON
        is_mixed = any(getattr(rewriter, optimiser) == on for optimiser in _MIXED_PRECISION)
        return not is_mixed and not self.may_use_accelerator

    def graph(self) -> Any:
        """Return a copy of the GraphDef."""
        return self._session.graph.as_graph_def()

    def shares_session(self, other: object) -> bool:
        """Return whether closing one of the two closes the other."""
        return isinstance(other, SessionExecutor) and other._session is self._session

    def scoped(self, tensors: Collection[str]) -> list[str]:
        """Return what tensors of signatures are called in `graph`."""
        return [self._scope + tensor for tensor in tensors]

    def initialiser(self, meta_graph: Any) -> str:
        """Return the node that initialises what `meta_graph` describes; "" if there is none."""
        with self._session.graph.as_default():
            operation = loader_impl.get_init_op(meta_graph)
        return "" if operation is None else str(operation.name).partition(":")[0]

    def declared(self, variables: Collection[str]) -> dict[str, Array]:
        """Return arrays of the dtypes and shapes of `variables`, without values or memory.

        Variables that were declared without a shape are left out.
        """
        return self._variables.declared(variables)

    def values(self, variables: Collection[str]) -> dict[str, Array]:
        """Return copies of the values of `variables` (names of nodes)."""
        reads = {name: self._variables.read(name) for name in sorted(variables)}
        values: dict[str, Array] = self._session.run(reads, options=_IN_CALLER)
        return values

    def assign(self, values: Mapping[str, Array]) -> None:
        """Give variables copies of these values."""
        for name, value in values.items():
            assign, new_value = self._variables.assignment(name)
            self._session.run(assign, {new_value: value}, options=_IN_CALLER)

    def run_operation(self, name: str, feeds: Mapping[str, Any]) -> None:
        """Run an operation for what it does."""
        self._session.run(self._session.graph.get_operation_by_name(name), dict(feeds))

    def close(self) -> None:
        """Give everything back that no running call needs."""
        self._session.close()


class _Variables:
    """The operations that read and write the variables of a graph, each made once."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._reads: dict[str, Any] = {}
        self._assignments: dict[str, tuple[Any, Any]] = {}

    def is_initialised(self, name: str) -> Any:
        variable = self._variable(name)
        with self._graph.as_default():
            if variable.dtype == tf.resource:
                return tf.raw_ops.VarIsInitializedOp(resource=variable)
            return tf.raw_ops.IsVariableInitialized(ref=variable)

    def declared(self, names: Collection[str]) -> dict[str, Array]:
        declared = {}
        for name in names:
            variable = self._variable(name)
            shape = tf.TensorShape(variable.op.get_attr("shape"))
            if shape.is_fully_defined():
                nothing = np.empty((), _dtype(variable).as_numpy_dtype)
                declared[name] = np.broadcast_to(nothing, shape.as_list())
        return declared

    def read(self, name: str) -> Any:
        if name not in self._reads:
            with self._graph.as_default():
                self._reads[name] = _copy(_read(self._variable(name)))
        return self._reads[name]

    def assignment(self, name: str) -> tuple[Any, Any]:
        """Return an operation that gives a variable a value, and the placeholder of that."""
        if name not in self._assignments:
            with self._graph.as_default():
                self._assignments[name] = _assignment(self._variable(name))
        return self._assignments[name]

    def _variable(self, name: str) -> Any:
        return self._graph.get_tensor_by_name(f"{name}:0")


def _dtype(variable: Any) -> Any:
    return variable.op.get_attr("dtype")


def _read(variable: Any) -> Any:
    if variable.dtype == tf.resource:
        return tf.raw_ops.ReadVariableOp(resource=variable, dtype=_dtype(variable))
    return tf.identity(variable)


def _copy(value: Any) -> Any:
    """Copy a value inside the run, where the GIL is not held.

    Else what shares a variable's memory is copied when it is handed to Python, under the lock;
    and a variable that shares an array's memory keeps it until the next run after its own end.
    """
    return tf.raw_ops.DeepCopy(x=value) if value.dtype in _COPIED else value


def _assignment(variable: Any) -> tuple[Any, Any]:
    value = tf.compat.v1.placeholder(_dtype(variable))
    if variable.dtype == tf.resource:
        return tf.raw_ops.AssignVariableOp(resource=variable, value=_copy(value)), value
    assign = tf.raw_ops.Assign(ref=variable, value=_copy(value), validate_shape=False)
    return assign.op, value


def open_session(
    saved_model: Any,
    options: ExecutionOptions,
    execution: Execution,
    *,
    restore: bool,
    folds: bool,
) -> SessionExecutor:
    """Return an executor of `saved_model` (TensorFlow's loader of one) that is ready to run.

    `restore` says whether there are values to restore, `folds` whether TensorFlow may compute
    at once what comes of constants alone. Raises TensorFlow's own errors, and
    leaves nothing behind then.
    """
    tags = sorted(options.saved_model_tags)
    graph = tf.Graph()
    saver, _ = saved_model.load_graph(graph, tags)
    session = _new_session(graph, options, execution, folds=folds)
    try:
        if restore:
            saved_model.restore_variables(session, saver)
        saved_model.run_init_ops(session, tags)
    except BaseException:
        session.close()
        raise
    return SessionExecutor(session)


def open_graph(
    graph: Any, options: ExecutionOptions, execution: Execution, *, folds: bool
) -> SessionExecutor:
    """Return an executor of a GraphDef in which nothing is to be initialised."""
    imported = tf.Graph()
    with imported.as_default():
        tf.import_graph_def(graph, name="")
    return SessionExecutor(_new_session(imported, options, execution, folds=folds))


def session_config(options: ExecutionOptions, execution: Execution, *, folds: bool) -> Any:
    """Return the ConfigProto of a session: the user's, with what they left open chosen.

    One thread per operation, and runs in their callers' threads: there is a caller for each
    CPU, and work that is handed between threads costs more than most models do. Threads
    inside operations belong to the process, and the first session fixes how many there are;
    only those between operations can be a session's own.
    """
    config = _parse_config(options.session_config)
    intra_op = options.intra_op_threads or config.intra_op_parallelism_threads or 1
    inter_op = options.inter_op_threads or config.inter_op_parallelism_threads
    config.intra_op_parallelism_threads = intra_op
    # Else every prepared call keeps its graph, with a copy of each constant.
    config.experimental.disable_output_partition_graphs = True
    if not folds:
        optimiser = config.graph_options.optimizer_options
        optimiser.opt_level = config_pb2.OptimizerOptions.L0
        rewriter = config.graph_options.rewrite_options
        rewriter.constant_folding = rewriter_config_pb2.RewriterConfig.OFF
    if inter_op == 0 and execution is not Execution.THREADED:
        config.inter_op_parallelism_threads = -1  # none: run in the caller's thread
        if execution is Execution.SEQUENTIAL and not config.experimental.executor_type:
            config.experimental.executor_type = _SEQUENTIAL_EXECUTOR
        return config
    config.inter_op_parallelism_threads = inter_op or available_cpus()
    if execution is Execution.THREADED:
        config.inter_op_parallelism_threads = max(2, config.inter_op_parallelism_threads)
        # Its own: an operation that waits must not take the threads of other models.
        config.use_per_session_threads = True
    return config


def _new_session(
    graph: Any, options: ExecutionOptions, execution: Execution, *, folds: bool
) -> Any:
    config = session_config(options, execution, folds=folds)
    session = tf.compat.v1.Session(graph=graph, config=config)
    if execution is Execution.THREADED or len(session.list_devices()) == 1:
        return session
    # A run has a part on each device, and the parts wait for each other: for ever, where
    # each is run to its end. Only the session knows its devices.
    session.close()
    config = session_config(options, Execution.THREADED, folds=folds)
    return tf.compat.v1.Session(graph=graph, config=config)


def _parse_config(serialized: bytes) -> Any:
    try:
        config = config_pb2.ConfigProto.FromString(serialized)
    except Exception as error:  # protobuf's DecodeError, whichever protobuf TensorFlow has
        raise InvalidArgument(f"session_config is no serialized ConfigProto: {error}") from error
    if not serialized:
        config.allow_soft_placement = True  # a graph made for a GPU runs where there is none
    return config


def list_devices() -> Sequence[Any]:
    """Return the devices of this machine that TensorFlow knows; none of them is taken by it."""
    devices: Sequence[Any] = tf.config.list_physical_devices()
    return devices


def as_array(value: Any) -> Array:
    """Return a scalar of TensorFlow's, which is `bytes` or one of numpy's, as an array."""
    if isinstance(value, bytes):
        return np.array(value, dtype=object)
    return np.asarray(value)
