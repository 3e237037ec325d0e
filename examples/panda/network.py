"""EfficientNet-Lite in TensorFlow: pixels in, features and probabilities out.

In: a state dict with the names and layouts of PyTorch. A batch normalization does at inference what
a convolution can do as well, so it becomes part of the one before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from examples.panda.models import Model
from examples.panda.state_dict import Array

BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks that follow each other; their kernels and channels are in the weights."""

    blocks: int
    stride: int  # of the first block; the others have 1


STAGES = (Stage(1, 1), Stage(2, 2), Stage(2, 2), Stage(3, 2), Stage(3, 1), Stage(4, 2), Stage(1, 1))


class EfficientNetLite(tf.Module):
    """The network of one of the models; all its weights are variables, for inference only."""

    def __init__(self, model: Model, weights: Mapping[str, Array]) -> None:
        super().__init__()
        self.stem = Convolution(weights, "_conv_stem", "_bn0", stride=2)
        self.blocks = [
            Block(weights, f"_blocks.{number}", stride=stride)
            for number, stride in enumerate(block_strides(model.depth))
        ]
        self.head = Convolution(weights, "_conv_head", "_bn1")
        self.kernel = tf.Variable(weights["_fc.weight"].T)
        self.bias = tf.Variable(weights["_fc.bias"])

    def features(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return the 1280 features of each picture; `pixels` are rgb, (value - 127) / 128."""
        tensor = tf.nn.relu6(self.stem(pixels))
        for block in self.blocks:
            tensor = block(tensor)
        return tf.reduce_mean(tf.nn.relu6(self.head(tensor)), axis=[1, 2])

    def probabilities(self, features: tf.Tensor) -> tf.Tensor:
        """Return a probability for each of the thousand classes."""
        return tf.nn.softmax(features @ self.kernel + self.bias)


class Block(tf.Module):
    """An inverted residual: widen, look around in each channel by itself, narrow."""

    def __init__(self, weights: Mapping[str, Array], name: str, *, stride: int) -> None:
        super().__init__()
        self.expand = None
        if f"{name}._expand_conv.weight" in weights:
            self.expand = Convolution(weights, f"{name}._expand_conv", f"{name}._bn0")
        self.depthwise = Convolution(
            weights, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride
        )
        self.project = Convolution(weights, f"{name}._project_conv", f"{name}._bn2")

    def __call__(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the block's output: added to its input where the two have one shape."""
        inner = tensor if self.expand is None else tf.nn.relu6(self.expand(tensor))
        inner = self.project(tf.nn.relu6(self.depthwise(inner)))
        return tensor + inner if inner.shape == tensor.shape else inner


class Convolution(tf.Module):
    """A convolution without bias and the batch normalization after it, as one."""

    def __init__(
        self, weights: Mapping[str, Array], name: str, norm: str, *, stride: int = 1
    ) -> None:
        super().__init__()
        deviation = np.sqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
        scale = weights[f"{norm}.weight"] / deviation
        kernel = weights[f"{name}.weight"] * scale[:, None, None, None]
        self.is_depthwise = kernel.shape[1] == 1
        # PyTorch: output, input, height, width. TensorFlow: height, width, input, output, and in
        # a depthwise convolution height, width, channel, multiplier.
        axes = (2, 3, 0, 1) if self.is_depthwise else (2, 3, 1, 0)
        self.kernel = tf.Variable(kernel.transpose(axes))
        self.bias = tf.Variable(weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale)
        self.strides = [1, stride, stride, 1]

    def __call__(self, tensor: tf.Tensor) -> tf.Tensor:
        """Return the convolution of a picture (or of a stack of feature maps)."""
        convolve = tf.nn.depthwise_conv2d if self.is_depthwise else tf.nn.conv2d
        return tf.nn.bias_add(convolve(tensor, self.kernel, self.strides, "SAME"), self.bias)


def block_strides(depth: float) -> list[int]:
    """Return the stride of every block of a network that is `depth` times as deep.

    The first and the last stage keep their length.
    """
    first, *middle, last = STAGES
    deepened = [Stage(math.ceil(stage.blocks * depth), stage.stride) for stage in middle]
    return [
        stage.stride if block == 0 else 1
        for stage in (first, *deepened, last)
        for block in range(stage.blocks)
    ]
