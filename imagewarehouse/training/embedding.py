"""The second output of a network: where it sees an image among others, as at most 128 numbers.

What feeds the last Dense layer is all that the network knows of an image when it names its class. Where that is wider, it is
projected onto the directions in which images differ most (principal components), after taking off their mean: measured with
CIFAR-10 that keeps more of each image's neighbours than the same without the mean, and rounding to bytes costs less
(docs/models.md). Mean and projection are one Dense layer of the exported network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewarehouse.images.decoding import Float32Array
from imagewarehouse.metadata import MOST_DIMENSIONS
from imagewarehouse.models.classifier import as_bytes
from imagewarehouse.models.tensors import CLASSES, EMBEDDING

LAYER = "image_embedding"  # not `embedding`, as Keras calls layers of its class Embedding
FITTED_ON = 10_000  # images at most: more do not change the directions
NEAREST = 10
_WIDEST = 4096  # features, whose directions are computed within seconds
_CHUNK = 512  # images compared with all others at once

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Features:
    """What feeds a network's last Dense layer.

    `layer`: the name of what gives it. `tensor`: (N, width), symbolic, of Keras 2 or 3. `classes`: the network's output, made
    of that tensor.
    """

    layer: str
    tensor: Any
    classes: Any

    @property
    def width(self) -> int:
        return int(self.tensor.shape[-1])


@dataclass(frozen=True, slots=True)
class Projection:
    """(features - mean) @ matrix. `mean`: (of,), `matrix`: (of, width), float32; `facts`: for the manifest."""

    mean: Float32Array
    matrix: Float32Array
    facts: dict[str, Any]

    @property
    def offset(self) -> Float32Array:
        """(width,): the same as features @ matrix + offset."""
        offset: Float32Array = (-self.mean.astype(np.float64) @ self.matrix).astype(np.float32)
        return offset

    def apply(self, features: Float32Array) -> Float32Array:
        """(N, of) -> (N, width)."""
        return features @ self.matrix + self.offset


# --- the layer --------------------------------------------------------------------------------------------------------


def find_features(model: Any, make: Callable[[Any, Any], Any]) -> Features | None:
    """What feeds the last Dense layer of a model with one output; None where it does not end in one, or learns nothing before.

    Args: model: of Keras 2 or 3, Sequential or Functional, models within it included. make: its `Model`.
    """
    inputs = model.inputs[0]
    found = _walk(model, make)
    if found is None:
        return None
    layer, tensor, after = found
    if len(tensor.shape) != 2 or tensor.shape[-1] is None or not make(inputs, tensor).count_params():
        return None
    classes = model.outputs[0]
    if "/" in layer:  # a model within it would be run twice: once for its answer, once for what is inside
        classes = tensor
        for one in after:
            classes = one(classes)
    return Features(layer, tensor, classes)


def _walk(model: Any, make: Callable[[Any, Any], Any]) -> tuple[str, Any, list[Any]] | None:
    """(name of the layer, what it gives, the layers from there to the output)."""
    tensor, after = model.outputs[0], list[Any]()
    while True:
        layer, number = tensor._keras_history[:2]
        inputs = layer._inbound_nodes[number].input_tensors
        inputs = list(inputs) if isinstance(inputs, Sequence) else [inputs]
        if len(inputs) != 1 or inputs[0] is tensor:  # the input of all
            return None
        if type(layer).__name__ == "Dense":
            return inputs[0]._keras_history[0].name, inputs[0], [layer, *after]
        if getattr(layer, "layers", None):
            within = _walk(layer, make)
            if within is None:
                return None
            name, features, rest = within
            behind = [*rest, *after]
            if not all(map(_is_layer, behind)):
                return None
            return f"{layer.name}/{name}", make(layer.inputs[0], features)(inputs[0]), behind
        if getattr(layer, "weights", None):  # a function such as `keras.ops.softmax` has none
            return None
        tensor = inputs[0]
        after.insert(0, layer)


def _is_layer(one: Any) -> bool:
    """False of a function among the layers, such as `x / 2`: its other arguments are in the graph, so it can't be called again.

    In Keras 3 it has no weights, in Keras 2 it is a layer that has a function.
    """
    return hasattr(one, "weights") and not hasattr(one, "function")


def with_embedding(model: Any, features: Features, projection: Projection | None) -> Any:
    """The network with both outputs, as a model of Keras 3: the same layers, and behind `features` the projection."""
    import keras

    vector = features.tensor
    if projection is not None:
        layer = keras.layers.Dense(projection.matrix.shape[1], dtype="float32", name=LAYER)
        vector = layer(vector)
        layer.set_weights([projection.matrix, projection.offset])
    return keras.Model(model.inputs[0], {CLASSES: features.classes, EMBEDDING: vector}, name=model.name)


def without_embedding(model: Any) -> Any:
    """The network with its classes alone; a model that has no other output as it is."""
    import keras

    return model if len(model.outputs) == 1 else keras.Model(model.inputs[0], model.output[CLASSES], name=model.name)


# --- the projection ---------------------------------------------------------------------------------------------------


def fit_projection(features: Float32Array) -> Projection:
    """Principal components of (N, of) features: at most 128 directions, in which they differ most, around their mean."""
    of = features.shape[1]
    if of > _WIDEST:
        projection = random_projection(of)
        assert projection is not None
        return projection
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features.astype(np.float64) - mean
    spread, directions = np.linalg.eigh(centred.T @ centred)
    spread, directions = spread[::-1].clip(0), directions[:, ::-1]
    width = min(of, MOST_DIMENSIONS)
    matrix = directions[:, :width]
    # A direction and its opposite are alike; which one comes out is chance, but for this.
    matrix = matrix * np.sign(matrix[np.abs(matrix).argmax(axis=0), range(width)])
    kept = float(spread[:width].sum() / spread.sum()) if spread.sum() > 0 else 1.0
    facts = {"method": "principal components", "images": len(features), "kept_variance": round(kept, 4)}
    return Projection(mean.astype(np.float32), matrix.astype(np.float32), facts)


def random_projection(of: int) -> Projection | None:
    """At most 128 directions at right angles, drawn by chance, which keep all angles within some degrees; always the same.

    For models of which no image is at hand. None where nothing has to be left out.
    """
    if of <= MOST_DIMENSIONS:
        return None
    drawn = np.random.default_rng(0).normal(size=(of, MOST_DIMENSIONS))
    matrix = np.linalg.qr(drawn)[0].astype(np.float32)
    return Projection(np.zeros(of, np.float32), matrix, {"method": "random directions", "seed": 0})


# --- what it costs ----------------------------------------------------------------------------------------------------


def measure(
    projection: Projection, among: Float32Array, labels: IntArray, queries: Float32Array, expected: IntArray
) -> dict[str, Any] | None:
    """How good neighbours are, before and after the projection, for the manifest; None where there is nothing to compare.

    `found_again`: the share of the nearest by all features, their mean taken off, that are among the nearest as stored.

    Args: among: (N, of) features to search among, with their labels. queries: (M, of) and what their classes are.
    """
    if not len(queries) or len(among) <= NEAREST:
        return None
    projected = projection.apply(among), projection.apply(queries)
    centred = nearest(among - projection.mean, queries - projection.mean)
    stored = nearest(_rounded(projected[0]), _rounded(projected[1]))
    found = {
        "features": nearest(among, queries),
        "centred": centred,
        "projected": nearest(*projected),
        "stored": stored,
    }
    again = [len(set(one) & set(other)) / NEAREST for one, other in zip(centred.tolist(), stored.tolist(), strict=True)]
    return {
        "nearest": NEAREST,
        "queries": len(queries),
        "among": len(among),
        "same_class": {name: round(float(np.mean(labels[n] == expected[:, None])), 4) for name, n in found.items()},
        "found_again": round(float(np.mean(again)), 4),
    }


def nearest(among: Float32Array, queries: Float32Array, count: int = NEAREST) -> IntArray:
    """(M, count): the rows of `among` with the greatest cosine to each query, in no order."""
    others = _unit(among)
    chunks = (_unit(queries[first : first + _CHUNK]) @ others.T for first in range(0, len(queries), _CHUNK))
    return np.concatenate([np.argpartition(-chunk, count, axis=1)[:, :count] for chunk in chunks])


def cosines(one: Float32Array, other: Float32Array) -> Float32Array:
    """(N, width) twice -> (N,), row by row."""
    cosine: Float32Array = (_unit(one) * _unit(other)).sum(axis=1)
    return cosine


def _unit(vectors: Float32Array) -> Float32Array:
    unit: Float32Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return unit


def _rounded(vectors: Float32Array) -> Float32Array:
    """As they are stored."""
    nothing = bytes(vectors.shape[1])
    return np.array([np.frombuffer(one or nothing, np.int8) for one in as_bytes(vectors)], np.float32)
