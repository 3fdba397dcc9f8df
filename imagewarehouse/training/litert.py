"""From a Keras network, or any TensorFlow function, to the LiteRT file that serves it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagewarehouse.errors import ModelBroken
from imagewarehouse.images.decoding import Float32Array
from imagewarehouse.models.classifier import Outputs
from imagewarehouse.models.tensors import embedding_of, input_of, output_of
from imagewarehouse.training.reasons import reason

if TYPE_CHECKING:
    import keras

# Before TensorFlow is imported for the first time, or it prints what the CPU can do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def to_litert(model: keras.Model, quantise: bool = False) -> bytes:
    """The model as a LiteRT file that takes one image at a time.

    Args:
        model: one input (None, height, width, channels) float32 of a fixed size; one output, or several by name.
        quantise: 8-bit weights (dynamic range): a quarter of the size; the input stays float32.
    Raises: ModelBroken naming the operations that LiteRT has not.
    """
    shape = tuple(model.input_shape[1:])
    if None in shape:
        raise ModelBroken(f"{model.name}: its input is {shape}, a LiteRT file needs a fixed size")
    return convert(lambda image: model(image, training=False), shape, quantise)


def convert(call: Callable[[Any], Any], shape: tuple[int, ...], quantise: bool = False) -> bytes:
    """A function of one float32 tensor as a LiteRT file.

    Args:
        call: from a tensor (1, *shape) to one tensor, or several by name, built of TensorFlow operations.
        shape: height, width, channels of the image.
    Raises: ModelBroken naming the operations that LiteRT has not.
    """
    import tensorflow as tf

    # A batch of exactly 1: with an open one XNNPACK cannot plan its memory and many operations run without it.
    signature = tf.TensorSpec((1, *shape), tf.float32, name="image")
    try:
        with quiet():
            concrete = tf.function(call).get_concrete_function(signature)
            # The converter finds variables in a tf.Module only; those of a Keras 3 model would stay variables, all NaN.
            module = tf.Module()
            module.held = list(concrete.variables)
            converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
            if quantise:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            content: bytes = converter.convert()
    except Exception as err:
        raise ModelBroken(f"cannot be converted to LiteRT: {reason(err)}") from err
    return content


def litert_function(content: bytes, shape: tuple[int, ...]) -> Callable[[Float32Array], Float32Array]:
    """A LiteRT file as a function (N, *shape) -> (N, classes); as `litert_outputs`."""
    outputs = litert_outputs(content, shape)
    return lambda batch: outputs(batch)[0]


def litert_outputs(content: bytes, shape: tuple[int, ...]) -> Callable[[Float32Array], Outputs]:
    """A LiteRT file as a function (N, *shape) -> (N, classes) and, where it has one, its embedding (N, width).

    One image at a time on one thread, as the service runs it. All are real numbers, also of a quantised file; its
    probabilities sum to 1 only within `Tensor.tolerance`.

    Raises: ModelBroken when LiteRT cannot load it for images of this shape; the function, when it fails on one.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet():
            interpreter = Interpreter(model_content=content, num_threads=1)
            source, answer, place = input_of(interpreter), output_of(interpreter), embedding_of(interpreter)
            if list(interpreter.get_input_details()[0]["shape"]) != [1, *shape]:
                interpreter.resize_tensor_input(source.index, [1, *shape], strict=True)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as err:
        raise ModelBroken(f"LiteRT cannot load it: {reason(err)}") from err

    def run(batch: Float32Array) -> Outputs:
        rows, vectors = [], []
        for image in batch:
            try:
                interpreter.set_tensor(source.index, source.encode(image[np.newaxis]))
                interpreter.invoke()
            except (RuntimeError, ValueError) as err:
                raise ModelBroken(f"LiteRT fails on an image: {reason(err)}") from err
            rows.append(answer.decode(interpreter.get_tensor(answer.index)))
            if place is not None:
                vectors.append(place.decode(interpreter.get_tensor(place.index)))
        return np.concatenate(rows), np.concatenate(vectors) if vectors else None

    return run


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what TensorFlow prints, from Python and from C++, away from the terminal; the process' whole stderr."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as sink:
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(stderr, 2)
    finally:
        os.close(stderr)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
