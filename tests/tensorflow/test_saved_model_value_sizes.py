"""Operations whose size a request's values say are found, and only those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(120)]

Compute = Callable[[Any, Any], Any]


def tf() -> Any:
    import tensorflow

    return tensorflow


def found(compute: Compute, *, in_function: bool) -> set[str]:
    """Return what is found in `compute(n, x)`: an int32 scalar and a matrix of floats."""
    from sigrun.executors.saved_model.graph_analysis import reach
    from sigrun.executors.saved_model.value_sizes import sized_by_values

    graph = tf().Graph()
    with graph.as_default():
        n = tf().compat.v1.placeholder(tf().int32, [], name="n")
        x = tf().compat.v1.placeholder(tf().float32, [None, 4], name="x")
        function = tf().function(compute, autograph=False) if in_function else compute
        y = tf().identity(function(n, x), name="y")
    definition = graph.as_graph_def()
    return sized_by_values(reach(definition, [y.name]), [n.name, x.name])


def text(x: Any) -> Any:
    """Return bytes made of values of `x`."""
    return tf().strings.as_string(x[0, 0])


SIZED: dict[str, Compute] = {
    "fill": lambda n, x: tf().fill([n, n], 1.0),
    "zeros": lambda n, x: tf().zeros([n, 4]),
    "range": lambda n, x: tf().range(n),
    "linspace": lambda n, x: tf().linspace(0.0, 1.0, n),
    "tile": lambda n, x: tf().tile(x, [n, 1]),
    "repeat": lambda n, x: tf().repeat(x, n, axis=0),
    "repeat each": lambda n, x: tf().repeat(x, tf().cast(x[:, 0], tf().int32), axis=0),
    "one hot": lambda n, x: tf().one_hot([0, 1], n),
    "eye": lambda n, x: tf().eye(n),
    "broadcast": lambda n, x: tf().broadcast_to(x[0], [n, 4]),
    "sequence mask": lambda n, x: tf().sequence_mask([n]),
    "pad": lambda n, x: tf().pad(x, [[0, n], [0, 0]]),
    "random": lambda n, x: tf().random.uniform([n, n]),
    "random without state": lambda n, x: tf().random.stateless_normal([n], seed=[1, 2]),
    "resize": lambda n, x: tf().image.resize(x[None, :, :, None], [n, n]),
    "crop and resize": lambda n, x: tf().image.crop_and_resize(
        x[None, :, :, None], [[0.0, 0.0, 1.0, 1.0]], [0], tf().stack([n, n])
    ),
    "decode png": lambda n, x: tf().io.decode_png(text(x)),
    "decode jpeg": lambda n, x: tf().io.decode_jpeg(text(x)),
    "decode image": lambda n, x: tf().io.decode_image(text(x)),
    "decompress": lambda n, x: tf().io.decode_compressed(text(x), "ZLIB"),
    "decode padded": lambda n, x: tf().io.decode_raw(text(x), tf().uint8, fixed_length=n),
    "where": lambda n, x: tf().where(x > 0),
    "boolean mask": lambda n, x: tf().boolean_mask(x, x[:, 0] > 0),
    "unique": lambda n, x: tf().unique(x[0])[0],
    "bincount": lambda n, x: tf().math.bincount([1], minlength=n),
    "segments": lambda n, x: tf().math.unsorted_segment_sum(x, [0, 1], n),
    "sorted segments": lambda n, x: tf().math.segment_sum(x[:1], n[None]),
    "scatter": lambda n, x: tf().scatter_nd([[0]], [1.0], n[None]),
    "sparse to dense": lambda n, x: tf().sparse.to_dense(
        tf().SparseTensor([[0]], [1.0], tf().cast(n, tf().int64)[None])
    ),
    "matrix diagonal": lambda n, x: tf().linalg.diag(x, num_rows=n),
    "fourier": lambda n, x: tf().signal.rfft(x, n[None]),
    "parse tensor": lambda n, x: tf().io.parse_tensor(text(x), tf().float32),
    "histogram": lambda n, x: tf().histogram_fixed_width(x, [0.0, 1.0], nbins=n),
    "sobol": lambda n, x: tf().math.sobol_sample(n, 2),
    "gradient of a pooling": lambda n, x: tf().raw_ops.AvgPoolGrad(
        orig_input_shape=tf().stack([1, n, n, 1]),
        grad=x[None, :, :, None],
        ksize=[1, 1, 1, 1],
        strides=[1, 1, 1, 1],
        padding="SAME",
    ),
    "gradient of a filter": lambda n, x: tf().raw_ops.Conv2DBackpropFilter(
        input=x[None, :, :, None],
        filter_sizes=tf().stack([n, n, 1, 1]),
        out_backprop=x[None, :, :, None],
        strides=[1, 1, 1, 1],
        padding="SAME",
    ),
    "gradient of segments": lambda n, x: tf().raw_ops.SparseSegmentSumGrad(
        grad=x[:1], indices=[0], segment_ids=[0], output_dim0=n
    ),
    "ragged to dense": lambda n, x: tf().RaggedTensor.from_row_lengths(x[0], n[None]).to_tensor(),
}

NOT_SIZED: dict[str, Compute] = {
    "constant fill": lambda n, x: x + tf().fill([4], 1.0),
    "zeros of a shape": lambda n, x: tf().zeros([tf().shape(x)[0], 8]),
    "tile by a shape": lambda n, x: tf().tile(x[:1], [tf().shape(x)[0], 1]),
    "range of a shape": lambda n, x: tf().range(tf().shape(x)[0]),
    "constant one hot": lambda n, x: tf().one_hot(tf().cast(x, tf().int32), 10),
    "constant resize": lambda n, x: tf().image.resize(x[None, :, :, None], [8, 8]),
    "constant pad": lambda n, x: tf().pad(x, [[0, 1], [0, 0]]),
    "gather": lambda n, x: tf().gather(x, [n]),
    "slice": lambda n, x: x[:n],
    "reshape": lambda n, x: tf().reshape(x, [n, -1]),
    "random of a shape": lambda n, x: x + tf().random.uniform(tf().shape(x)),
    "arithmetic": lambda n, x: tf().nn.softmax(tf().matmul(x, tf().ones([4, 4]))) * float(2),
    "top": lambda n, x: tf().math.top_k(x, 2)[0],
}


@pytest.mark.parametrize("in_function", [False, True], ids=["graph", "function"])
@pytest.mark.parametrize("name", SIZED)
def test_what_a_value_gives_its_size_is_found(name: str, in_function: bool) -> None:
    assert found(SIZED[name], in_function=in_function)


@pytest.mark.parametrize("in_function", [False, True], ids=["graph", "function"])
@pytest.mark.parametrize("name", NOT_SIZED)
def test_what_a_shape_or_a_constant_gives_its_size_is_not(name: str, in_function: bool) -> None:
    assert found(NOT_SIZED[name], in_function=in_function) == set()


def test_values_are_followed_into_branches() -> None:
    def branches(n: Any, x: Any) -> Any:
        return tf().cond(n > 0, lambda: tf().zeros([n]), lambda: tf().zeros([1]))

    assert found(branches, in_function=False) == {"Fill"}
