"""The executor for nearly every SavedModel: a session, and prepared callables of it.

In: a SavedModel on disk. Out: calls from arrays to arrays. `Session.run` and a model's own
functions cost many times as much per call as a prepared callable. Those are no public API
of TensorFlow, but the C++ one behind them is; the tests run every kind of model through
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from sigrun.concurrency.cpus import available_cpus
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import InvalidArgument
from sigrun.executors.prepared import Call, Names
from sigrun.executors.saved_model.graph_analysis import Execution
from sigrun.executors.saved_model.tensorflow_imports import config_pb2, loader_impl, tf
from sigrun.tensors.signature import Array

_SEQUENTIAL_EXECUTOR = "SINGLE_THREADED_EXECUTOR"

_COPIED = frozenset({tf.float16, tf.bfloat16, tf.float32, tf.float64, tf.int8, tf.int32, tf.int64})


class SessionExecutor:
    """One MetaGraph with its variables restored and its initialisers run.

    Calls may be made and run by many threads at the same time. After `close` running calls
    are cancelled where they can be, and others fail.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        """Return a call that feeds and fetches these tensors; it holds the session."""
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        run = self._session._make_callable_from_options(options)

        def call(arrays: Sequence[Array]) -> list[Array]:
            return [
                value if type(value) is np.ndarray else as_array(value) for value in run(*arrays)
            ]

        return call

    def uninitialised(self, variables: Collection[str]) -> list[str]:
        """Return those of `variables` (names of nodes) that have no value."""
        names = sorted(variables)
        with self._session.graph.as_default():
            answers = self._session.run([self._is_initialised(name) for name in names])
        return [name for name, has_value in zip(names, answers, strict=True) if not has_value]

    @property
    def runs_in_caller(self) -> bool:
        """Whether a call runs in the thread that makes it, from its begin to its end."""
        return bool(self._session._config.inter_op_parallelism_threads < 0)

    def graph(self) -> Any:
        """Return a copy of the GraphDef."""
        return self._session.graph.as_graph_def()

    def initialiser(self, meta_graph: Any) -> str:
        """Return the node that initialises what `meta_graph` describes; "" if there is none."""
        with self._session.graph.as_default():
            operation = loader_impl.get_init_op(meta_graph)
        return "" if operation is None else str(operation.name).partition(":")[0]

    def declared(self, variables: Collection[str]) -> dict[str, Array]:
        """Return arrays of the dtypes and shapes of `variables`, without values or memory.

        Variables that were declared without a shape are left out.
        """
        declared = {}
        for name in variables:
            variable = self._variable(name)
            shape = tf.TensorShape(variable.op.get_attr("shape"))
            if shape.is_fully_defined():
                nothing = np.empty((), _dtype(variable).as_numpy_dtype)
                declared[name] = np.broadcast_to(nothing, shape.as_list())
        return declared

    def values(self, variables: Collection[str]) -> dict[str, Array]:
        """Return copies of the values of `variables` (names of nodes)."""
        with self._session.graph.as_default():
            reads = {name: _copy(_read(self._variable(name))) for name in sorted(variables)}
        values: dict[str, Array] = self._session.run(reads)
        return values

    def assign(self, values: Mapping[str, Array]) -> None:
        """Give variables copies of these values."""
        with self._session.graph.as_default():
            steps = [(_assignment(self._variable(name)), value) for name, value in values.items()]
        for (assign, new_value), value in steps:
            self._session.run(assign, {new_value: value})

    def run_operation(self, name: str, feeds: Mapping[str, Any]) -> None:
        """Run an operation for what it does."""
        self._session.run(self._session.graph.get_operation_by_name(name), dict(feeds))

    def close(self) -> None:
        """Give everything back that no running call needs."""
        self._session.close()

    def _variable(self, name: str) -> Any:
        return self._session.graph.get_tensor_by_name(f"{name}:0")

    def _is_initialised(self, name: str) -> Any:
        variable = self._variable(name)
        if variable.dtype == tf.resource:
            return tf.raw_ops.VarIsInitializedOp(resource=variable)
        return tf.raw_ops.IsVariableInitialized(ref=variable)


def _dtype(variable: Any) -> Any:
    return variable.op.get_attr("dtype")


def _read(variable: Any) -> Any:
    if variable.dtype == tf.resource:
        return tf.raw_ops.ReadVariableOp(resource=variable, dtype=_dtype(variable))
    return tf.identity(variable)


def _copy(value: Any) -> Any:
    """Copy a value inside the run, where the interpreter's lock is not held.

    Else what shares a variable's memory is copied when it is handed to Python, under the lock;
    and a variable that shares an array's memory keeps it until the next run after its own end.
    """
    return tf.raw_ops.DeepCopy(x=value) if value.dtype in _COPIED else value


def _assignment(variable: Any) -> tuple[Any, Any]:
    """Return an operation that gives `variable` a value, and the placeholder of that."""
    value = tf.compat.v1.placeholder(_dtype(variable))
    if variable.dtype == tf.resource:
        return tf.raw_ops.AssignVariableOp(resource=variable, value=_copy(value)), value
    assign = tf.raw_ops.Assign(ref=variable, value=_copy(value), validate_shape=False)
    return assign.op, value


def open_session(
    saved_model: Any, options: ExecutionOptions, execution: Execution, *, restore: bool
) -> SessionExecutor:
    """Return an executor of `saved_model` (TensorFlow's loader of one) that is ready to run.

    `restore` says whether there are values to restore. Raises TensorFlow's own errors, and
    leaves nothing behind then.
    """
    tags = sorted(options.saved_model_tags)
    graph = tf.Graph()
    saver, _ = saved_model.load_graph(graph, tags)
    session = _new_session(graph, options, execution)
    try:
        if restore:
            saved_model.restore_variables(session, saver)
        saved_model.run_init_ops(session, tags)
    except BaseException:
        session.close()
        raise
    return SessionExecutor(session)


def open_graph(graph: Any, options: ExecutionOptions, execution: Execution) -> SessionExecutor:
    """Return an executor of a GraphDef in which nothing is initialised."""
    imported = tf.Graph()
    with imported.as_default():
        tf.import_graph_def(graph, name="")
    return SessionExecutor(_new_session(imported, options, execution))


def session_config(options: ExecutionOptions, execution: Execution) -> Any:
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


def _new_session(graph: Any, options: ExecutionOptions, execution: Execution) -> Any:
    session = tf.compat.v1.Session(graph=graph, config=session_config(options, execution))
    if execution is Execution.THREADED or len(session.list_devices()) == 1:
        return session
    # A run has a part on each device, and the parts wait for each other: for ever, where
    # each is run to its end. Only the session knows its devices.
    session.close()
    config = session_config(options, Execution.THREADED)
    return tf.compat.v1.Session(graph=graph, config=config)


def _parse_config(serialized: bytes) -> Any:
    try:
        config = config_pb2.ConfigProto.FromString(serialized)
    except Exception as error:  # protobuf's DecodeError, whichever protobuf TensorFlow has
        raise InvalidArgument(f"session_config is no serialized ConfigProto: {error}") from error
    if not serialized:
        config.allow_soft_placement = True  # a graph made for a GPU runs where there is none
    return config


def as_array(value: Any) -> Array:
    """Return a scalar of TensorFlow's, which is `bytes` or one of numpy's, as an array."""
    if isinstance(value, bytes):
        return np.array(value, dtype=object)
    return np.asarray(value)
