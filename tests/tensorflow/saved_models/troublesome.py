"""SavedModels that load but fail when they run, or take long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from . import graphs
from .graphs import MetaGraph


def run_time_errors(path: Path) -> None:
    """Write signatures that can fail, each with one canonical code.

    matmul               predict  x float, rank unknown  -> y float [-1, 2]; INVALID_ARGUMENT
                                  unless x is [-1, 3]
    assert_positive      predict  x float [-1]     -> y float [-1]; INVALID_ARGUMENT `x must be
                                  positive` if any x is not: one bad row fails its whole batch
    not_found            predict  name string []   -> y string []; the file of that name's text
    failed_precondition  predict  x float [-1]     -> y float [-1]; always: a missing variable
    data_loss            predict  data string [-1] -> y string [-1]; unless data is zlib's
    resource_exhausted   predict  size int64 []    -> y float [-1]; zeros, if there is the memory
    internal             predict  target string [] -> y float []; INTERNAL unless target names a
                                  device of the process, as `/device:CPU:0` does
    """

    def build() -> MetaGraph:
        signatures = _argument_errors() | _other_errors()
        return MetaGraph(signatures=signatures)

    graphs.write(path, build)


def _argument_errors() -> dict[str, Any]:
    anything = graphs.placeholder(tf.float32, None, name="anything")
    product = tf.matmul(anything, tf.compat.v1.Variable(tf.ones([3, 2]), name="kernel"))
    x = graphs.placeholder(tf.float32, [None], name="x")
    positive = tf.compat.v1.assert_positive(x, message="x must be positive")
    with tf.control_dependencies([positive]):
        checked = tf.identity(x)
    return {
        "matmul": graphs.signature({"x": anything}, {"y": product}),
        "assert_positive": graphs.signature({"x": x}, {"y": checked}),
    }


def _other_errors() -> dict[str, Any]:
    name = graphs.placeholder(tf.string, [], name="name")
    x = graphs.placeholder(tf.float32, [None], name="missing_x")
    data = graphs.placeholder(tf.string, [None], name="data")
    size = graphs.placeholder(tf.int64, [], name="size")
    target = graphs.placeholder(tf.string, [], name="target")
    missing = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="missing")
    sum_with_missing = x + tf.raw_ops.ReadVariableOp(resource=missing, dtype=tf.float32)
    return {
        "not_found": graphs.signature({"name": name}, {"y": tf.io.read_file(name)}),
        "failed_precondition": graphs.signature({"x": x}, {"y": sum_with_missing}),
        "data_loss": graphs.signature(
            {"data": data}, {"y": tf.io.decode_compressed(data, compression_type="ZLIB")}
        ),
        "resource_exhausted": graphs.signature(
            {"size": size}, {"y": tf.fill(tf.reshape(size, [1]), 0.0)}
        ),
        "internal": graphs.signature({"target": target}, {"y": _called_on(target)}),
    }


def _called_on(device: tf.Tensor) -> tf.Tensor:
    identity = tf.function(tf.identity).get_concrete_function(tf.TensorSpec([], tf.float32))
    return tf.raw_ops.RemoteCall(
        target=device, args=[tf.constant(1.0)], Tout=[tf.float32], f=identity
    )[0]


def slow(path: Path) -> None:
    """Write signatures that take as long as they are told to.

    serving_default  predict  n int64 [-1]             -> steps int64 [-1]: n, after as many
                              products of two 128 x 128 matrices as the largest n says (30-100 us
                              each)
    sleep            predict  milliseconds int64 [-1]  -> slept int64 [-1]: milliseconds, after
                              waiting for the longest of them without using a processor
    """
    graphs.write(path, lambda: MetaGraph(signatures=_slow()))


def _slow() -> dict[str, Any]:
    n = graphs.placeholder(tf.int64, [None], name="n")
    steps = tf.minimum(n, _multiply_often(tf.reduce_max(n)))
    milliseconds = graphs.placeholder(tf.int64, [None], name="milliseconds")
    with tf.control_dependencies([_wait(tf.reduce_max(milliseconds))]):
        slept = tf.identity(milliseconds)
    return {
        "serving_default": graphs.signature({"n": n}, {"steps": steps}),
        "sleep": graphs.signature({"milliseconds": milliseconds}, {"slept": slept}),
    }


def _multiply_often(times: tf.Tensor) -> tf.Tensor:
    """Return `times`, in such a way that no optimiser can leave the products out."""
    matrix = tf.ones([128, 128]) / 128  # times itself it is itself
    step, product = tf.while_loop(
        lambda step, product: step < times,
        lambda step, product: (step + 1, tf.matmul(product, matrix)),
        [tf.constant(0, tf.int64), matrix],
        parallel_iterations=1,
    )
    return step + tf.cast(product[0, 0] > 1.0, tf.int64)


def _wait(milliseconds: tf.Tensor) -> tf.Tensor:
    """Read a dataset of one element, which sleeps twice: before the element and before the end."""
    of_int64: dict[str, Any] = {"output_types": [tf.int64], "output_shapes": [[]]}
    start, stop, step = (tf.constant(value, tf.int64) for value in (0, 1, 1))
    one = tf.raw_ops.RangeDataset(start=start, stop=stop, step=step, **of_int64)
    sleepy = tf.raw_ops.SleepDataset(
        input_dataset=one, sleep_microseconds=milliseconds * 500, **of_int64
    )
    return tf.raw_ops.DatasetToSingleElement(dataset=sleepy, **of_int64)[0]
