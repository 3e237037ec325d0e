"""Models of TensorFlow Lite: a file -> signatures, and calls that interpreters make.

An interpreter answers one request at a time, with memory of its own, so a model has several of
them; a call that finds none free waits for one in its runner thread. LiteRT (the package
ai-edge-litert) brings the interpreter.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from sigrun.concurrency.cpus import available_cpus
from sigrun.config.execution import ExecutionOptions
from sigrun.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from sigrun.executors.prepared import Call, Names, PreparedCalls, tensor_names
from sigrun.executors.saved_model.model import Executor, LoadedModel
from sigrun.executors.saved_model.signatures import read_signature
from sigrun.executors.saved_model.tensorflow_imports import meta_graph_pb2, tf
from sigrun.servables.folders import GRAPH_FILES, TFLITE_FILE
from sigrun.tensors.signature import PREDICT_METHOD, Array, Signature

logger = logging.getLogger(__name__)

_DEFAULT_SIGNATURE = "serving_default"
_WAIT_S = 60.0  # for a free interpreter; runs that wait are bounded before that


def is_tflite(path: Path, options: ExecutionOptions) -> bool:
    """Return whether the version in `path` is to be loaded as a model of TensorFlow Lite."""
    if not (path / TFLITE_FILE).is_file():
        return False
    return options.prefer_tflite_model or not any((path / name).exists() for name in GRAPH_FILES)


def read_tflite(path: str, options: ExecutionOptions) -> LoadedModel:
    """Load `model.tflite` in `path`, in this thread.

    Raises `FailedPrecondition` without LiteRT, `InvalidArgument` for a file that is no such
    model or has operations that LiteRT lacks.
    """
    file = Path(path) / TFLITE_FILE
    content = _content(file)
    make = _interpreter_maker(content, file, options)
    first = make()
    parts = _parts(first)
    signatures = MappingProxyType({part.name: part.signature for part in parts})
    executor = TfLiteExecutor(parts, first, make, options)
    calls = PreparedCalls(executor.make_call, lambda _: False)
    for signature in signatures.values():
        calls.keep(*tensor_names(signature, signature.outputs))
    return LoadedModel(signatures=signatures, calls=calls, executor=executor)


@dataclass(frozen=True, slots=True)
class _Part:
    """One signature: what it is called in the file (None: the whole model), and its tensors."""

    name: str
    key: str | None
    signature: Signature
    inputs: Mapping[str, str]  # name of a tensor -> alias
    outputs: Mapping[str, str]


class TfLiteExecutor:
    """Runs a model in interpreters, of which there are as many as the options say at most."""

    runs_in_caller = True

    def __init__(
        self,
        parts: Sequence[_Part],
        first: Any,
        make_interpreter: Any,
        options: ExecutionOptions,
    ) -> None:
        self._parts = parts
        self._make_interpreter = make_interpreter
        self._most = options.choose_tflite_interpreters(available_cpus())
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        self._free.put(first)
        self._made = 1
        self._lock = threading.Lock()
        self._is_closed = False

    def make_call(self, feeds: Names, fetches: Names) -> Call:
        """Return a call that feeds and fetches these tensors, which are one signature's."""
        part = self._part(feeds, fetches)
        run = _run_signature if part.key is not None else _run_model

        def call(arrays: Sequence[Array]) -> Sequence[Array]:
            interpreter = self._take()
            try:
                return run(interpreter, part, dict(zip(feeds, arrays, strict=True)), fetches)
            except (ValueError, RuntimeError, TypeError) as error:
                raise InvalidArgument(f"TensorFlow Lite: {error}") from error
            finally:
                self._free.put(interpreter)

        return call

    def shares_session(self, other: Executor) -> bool:
        """Return whether closing one of the two closes the other."""
        return self is other

    def close(self) -> None:
        """Give everything back that no running call needs."""
        with self._lock:
            self._is_closed = True
        while True:
            try:
                self._free.get_nowait()
            except queue.Empty:
                return

    def _part(self, feeds: Names, fetches: Names) -> _Part:
        for part in self._parts:
            if part.inputs.keys() == set(feeds) and part.outputs.keys() >= set(fetches):
                return part
        raise Unimplemented(
            "A model of TensorFlow Lite runs one signature at a time, with all its inputs"
        )

    def _take(self) -> Any:
        """Return an interpreter that nobody uses: a free one, a new one, or the next one."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            pass
        with self._lock:
            if self._is_closed:
                raise Unavailable("The model is being unloaded")
            may_make = self._made < self._most
            self._made += may_make
        if may_make:
            try:
                return self._make_interpreter()
            except BaseException:
                with self._lock:
                    self._made -= 1
                raise
        try:
            return self._free.get(timeout=_WAIT_S)
        except queue.Empty:
            raise Unavailable(
                f"None of the {self._most} interpreters of the model was free for {_WAIT_S:g} s"
            ) from None


def _run_signature(
    interpreter: Any, part: _Part, feeds: Mapping[str, Array], fetches: Names
) -> Sequence[Array]:
    runner = interpreter.get_signature_runner(part.key)
    outputs = runner(**{part.inputs[name]: array for name, array in feeds.items()})
    return [_answer(outputs[part.outputs[name]]) for name in fetches]


def _run_model(
    interpreter: Any, part: _Part, feeds: Mapping[str, Array], fetches: Names
) -> Sequence[Array]:
    inputs = {details["name"]: details for details in interpreter.get_input_details()}
    for name, array in feeds.items():
        if tuple(inputs[name]["shape"]) != array.shape:
            interpreter.resize_tensor_input(inputs[name]["index"], array.shape)
    interpreter.allocate_tensors()
    for name, array in feeds.items():
        interpreter.set_tensor(inputs[name]["index"], array)
    interpreter.invoke()
    outputs = {details["name"]: details for details in interpreter.get_output_details()}
    return [_answer(interpreter.get_tensor(outputs[name]["index"])) for name in fetches]


def _answer(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind == "S" else array


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFound(f"Cannot read {file}: {error.strerror}") from None


def _interpreter_maker(content: bytes, file: Path, options: ExecutionOptions) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # optional
    except ImportError as error:
        raise FailedPrecondition(
            f"{file} is a model of TensorFlow Lite, which needs the package ai-edge-litert "
            f"(pip install 'sigrun[tflite]'): {error}"
        ) from None

    def make() -> Any:
        try:
            interpreter = Interpreter(
                model_content=content, num_threads=options.intra_op_threads or 1
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InvalidArgument(f"{file} cannot be loaded by TensorFlow Lite: {error}") from None
        return interpreter

    return make


def _parts(interpreter: Any) -> list[_Part]:
    """Return the signatures of the file, or `serving_default` made of all inputs and outputs."""
    names = sorted(interpreter.get_signature_list())
    if not names:
        inputs = {tensor["name"]: tensor for tensor in interpreter.get_input_details()}
        outputs = {tensor["name"]: tensor for tensor in interpreter.get_output_details()}
        return [_part(_DEFAULT_SIGNATURE, None, inputs, outputs)]
    runners = {name: interpreter.get_signature_runner(name) for name in names}
    return [
        _part(name, name, runner.get_input_details(), runner.get_output_details())
        for name, runner in runners.items()
    ]


def _part(
    name: str, key: str | None, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> _Part:
    definition = meta_graph_pb2.SignatureDef(
        inputs={alias: _tensor_info(tensor) for alias, tensor in inputs.items()},
        outputs={alias: _tensor_info(tensor) for alias, tensor in outputs.items()},
        method_name=PREDICT_METHOD,
    )
    return _Part(
        name,
        key,
        read_signature(name, definition),
        {tensor["name"]: alias for alias, tensor in inputs.items()},
        {tensor["name"]: alias for alias, tensor in outputs.items()},
    )


def _tensor_info(tensor: Mapping[str, Any]) -> Any:
    shape = tensor["shape_signature"] if len(tensor["shape_signature"]) else tensor["shape"]
    info = meta_graph_pb2.TensorInfo(
        name=tensor["name"], dtype=tf.as_dtype(tensor["dtype"]).as_datatype_enum
    )
    info.tensor_shape.SetInParent()
    for size in shape:
        info.tensor_shape.dim.add(size=int(size))
    return info
