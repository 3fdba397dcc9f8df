"""The network that is trained: whitening, then blocks that halve the picture, then one linear layer that gives logits.

Only built-in Keras layers are exported, so that every file exported from it loads everywhere without code of ours.
Source: airbench94 (Jordan, 2024), with SiLU for GELU: half a millisecond faster in LiteRT on a processor without AVX-512.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers

from imagewarehouse.images.decoding import Float32Array, InputSpec, UInt8Array, to_batch
from imagewarehouse.training.recipe import Recipe

# Pictures that were JPEGs hold next to nothing in their finest colours: below this the whitening would blow up noise.
_WHITENING_FLOOR = 1e-2
_MOST_DIRECTIONS = 32
_LOGIT_SCALE = 1 / 9


def stem_stride(side: int) -> int:
    """How much the first layer shrinks a picture whose shorter side has so many pixels."""
    return 1 if side < 48 else 2 if side < 96 else 4


def block_widths(side: int, widths: tuple[int, ...]) -> tuple[int, ...]:
    """Filters of each block for a picture of that side: as many blocks as leave about 4 x 4 pixels."""
    blocks = max(1, int(math.log2(max(8, side / stem_stride(side)) / 4)))
    return tuple(widths[min(index, len(widths) - 1)] for index in range(blocks))


def build(
    spec: InputSpec,
    classes: int,
    recipe: Recipe,
    sample: UInt8Array,
    *,
    fixed: bool = False,
    mean: Float32Array | None = None,
) -> keras.Model:
    """Build the network with its first weights.

    Args:
        sample: (N, height, width, channels) uint8, training pictures in random order, for mean and whitening.
        fixed: plain layers for pictures of exactly the size of `spec`, to be exported; else for training, of any size.
        mean: (channels,), the mean colour if it is not to be that of `sample`.
    Returns: a model of (batch, height, width, channels) float32 as `to_batch` makes them -> (batch, classes) logits.
        Its blocks compute in Keras' dtype policy of the moment, what is before and behind them in float32.
    """
    convolution = layers.Conv2D if fixed or tf.config.list_physical_devices("GPU") else QuickConv2D
    side = min(spec.height, spec.width)
    pixels = to_batch(list(sample), spec)
    sample_mean, kernel = whitening(pixels, stem_stride(side))
    mean = sample_mean if mean is None else mean
    shape = (spec.height, spec.width) if fixed else (None, None)
    inputs = keras.Input((*shape, spec.channels), name="image")
    x = layers.Normalization(mean=mean.tolist(), variance=[1.0] * spec.channels, dtype="float32", name="centre")(inputs)
    stem = layers.Conv2D(
        kernel.shape[-1],
        kernel.shape[0],
        strides=stem_stride(side),
        use_bias=False,
        trainable=False,
        dtype="float32",
        name="whitening",
    )
    x = _activate(stem(x))
    stem.set_weights([kernel])
    for index, width in enumerate(block_widths(side, recipe.widths), start=1):
        x = _convolve(convolution, x, width, f"block{index}a")
        x = layers.MaxPooling2D(padding="same")(x)
        x = _activate(_norm(x, f"block{index}a_norm"))
        x = _convolve(convolution, x, width, f"block{index}b")
        x = _activate(_norm(x, f"block{index}b_norm"))
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(classes, use_bias=False, dtype="float32", name="classes")(x)
    logits = layers.Rescaling(_LOGIT_SCALE, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, logits, name="classifier")
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.trainable:
            layer.set_weights([_with_identity(layer.get_weights()[0])])
    return model


def whitening(pixels: Float32Array, stride: int) -> tuple[Float32Array, Float32Array]:
    """Mean colour (channels,) and a kernel (size, size, channels, filters) that decorrelates neighbouring pixels.

    Each direction stands in it twice, with both signs, because the activation that follows cuts off one of them.
    """
    size = max(2, stride)
    channels = pixels.shape[-1]
    mean = pixels.reshape(-1, channels).mean(0)
    rng = np.random.default_rng(0)
    tops = rng.integers(0, max(1, pixels.shape[1] - size + 1), 40)
    lefts = rng.integers(0, max(1, pixels.shape[2] - size + 1), 40)
    patches = np.concatenate(
        [
            pixels[:, t : t + size, left : left + size].reshape(len(pixels), -1)
            for t, left in zip(tops, lefts, strict=True)
        ]
    ).astype(np.float64) - np.tile(mean, size * size)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    best = np.argsort(-values)[:_MOST_DIRECTIONS]
    filters = (vectors[:, best] / np.sqrt(values[best] + _WHITENING_FLOOR)).reshape(size, size, channels, -1)
    return mean.astype(np.float32), np.concatenate([filters, -filters], -1).astype(np.float32)


class QuickConv2D(layers.Conv2D):  # type: ignore[misc]
    """The same convolution, faster to train on a CPU, where TensorFlow's gradient for the input is slow.

    That gradient is itself a convolution, with the kernel turned around. Asked for as one it takes a half to a third of
    the time (12 x 12 pixels, 48 to 160 channels, batch 128, two cores with AVX2: 24 instead of 55 ms); gradient and
    forward pass then cost about the same. For odd kernels, stride 1 and "same" padding only.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def convolve(x: Any, k: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
            def gradient(upstream: Any) -> tuple[Any, Any]:
                turned = tf.transpose(tf.reverse(k, [0, 1]), [0, 1, 3, 2])
                of_kernel = tf.raw_ops.Conv2DBackpropFilter(
                    input=x, filter_sizes=tf.shape(k), out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
                )
                return tf.nn.conv2d(upstream, turned, 1, "SAME"), of_kernel

            return tf.nn.conv2d(x, k, 1, "SAME"), gradient

        return convolve(inputs, tf.convert_to_tensor(kernel))


def _convolve(convolution: Any, x: Any, width: int, name: str) -> Any:
    return convolution(width, 3, padding="same", use_bias=False, kernel_initializer="he_uniform", name=name)(x)


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.8, epsilon=1e-5, scale=False, name=name)(x)


def _activate(x: Any) -> Any:
    return layers.Activation("silu")(x)


def _with_identity(kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The first filters pass their input on, so that the signal survives the depth at the start."""
    middle, passed = kernel.shape[0] // 2, min(kernel.shape[2:])
    kernel[:, :, :, :passed] = 0
    kernel[middle, middle, range(passed), range(passed)] = 1
    return kernel
