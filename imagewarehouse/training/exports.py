"""Exports a model to files and compares each with the Keras network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from imagewarehouse.errors import ModelBroken
from imagewarehouse.images.decoding import Float32Array, InputSpec, UInt8Array, to_batch
from imagewarehouse.models.classifier import Outputs
from imagewarehouse.models.tensors import CLASSES, EMBEDDING
from imagewarehouse.text import one_line
from imagewarehouse.training.dataset import Examples
from imagewarehouse.training.embedding import cosines
from imagewarehouse.training.folder import KERAS_FILE, LITERT_FILE
from imagewarehouse.training.litert import litert_outputs, quiet, to_litert

H5_FILE, QUANTISED_FILE, SAVED_MODEL = "model.h5", "model-int8.tflite", "saved_model"
FORMATS = {"keras": KERAS_FILE, "h5": H5_FILE, "litert": LITERT_FILE, "litert-int8": QUANTISED_FILE}
MORE_FORMATS = {**FORMATS, "savedmodel": SAVED_MODEL}  # a folder, so no part of a version
_LARGEST_STEP = 500
_NOISE_IMAGES = 64

Network = Callable[[Float32Array], Outputs]


@dataclass(frozen=True, slots=True)
class Exported:
    """One file (or folder), and its results on the validation images compared with the Keras network.

    `agreement` is the share of images with the same class (0-1), `largest_difference` that of any probability,
    `embedding_cosine` the mean cosine between its embeddings and the network's, None where it has none.
    """

    path: Path
    agreement: float
    largest_difference: float
    accuracy: float | None
    outputs: Float32Array  # (N, classes), of the validation images
    embedding_cosine: float | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    def facts(self) -> dict[str, Any]:
        """For the manifest and the report."""
        return {
            "bytes": self.size,
            "agreement": round(self.agreement, 4),
            "largest_difference": round(self.largest_difference, 6),
            "accuracy": None if self.accuracy is None else round(self.accuracy, 4),
            **({} if self.embedding_cosine is None else {"embedding_cosine": round(self.embedding_cosine, 6)}),
        }


def export(
    model: keras.Model,
    formats: Mapping[str, str],
    folder: Path,
    spec: InputSpec,
    validation: Examples | None = None,
    output: str = "logits",
) -> dict[str, Exported]:
    """Write a network in several formats and compare each file, loaded again, with the network itself.

    Args:
        model: (batch, height, width, channels) float32 -> (batch, classes), or that and an embedding by their names.
        formats: file names by format, from MORE_FORMATS.
        validation: what they are compared on; without any, on noise.
        output: "logits" or "probabilities", what the model gives.
    Returns: by file name.
    Raises: ModelBroken when a file can't be written or does not load.
    """
    if validation is not None and len(validation):
        images, labels = validation.images, validation.labels
    else:
        shape = (_NOISE_IMAGES, spec.height, spec.width, spec.channels)
        images, labels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), np.zeros(0, np.int64)
    expected, place = outputs_of(_inferring(model), images, spec)
    exported = {}
    for kind, name in formats.items():
        path = folder / name
        _write(model, kind, path)
        outputs, vectors = outputs_of(_reloaded(path, kind, spec), images, spec)
        if (place is None) is not (vectors is None):
            raise ModelBroken(f"{name}: it has lost an output of the network")
        classes = outputs.argmax(1)
        exported[name] = Exported(
            path,
            agreement=float(np.mean(classes == expected.argmax(1))),
            largest_difference=difference(outputs, expected, output),
            accuracy=float(np.mean(classes == labels)) if len(labels) else None,
            outputs=outputs,
            embedding_cosine=None if place is None or vectors is None else float(cosines(place, vectors).mean()),
        )
    return exported


def load_keras(path: Path) -> keras.Model:
    """A Keras file of a model folder, without running code that it may hold.

    Raises: ModelBroken.
    """
    try:
        with quiet():
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, LookupError) as err:
        raise ModelBroken(f"{path.name}: {one_line(err)}") from err


def outputs_of(network: Network, images: UInt8Array, spec: InputSpec) -> Outputs:
    """(N, height, width, channels) uint8 -> (N, classes) float32, and the embeddings where the network gives them."""
    steps = range(0, len(images), _LARGEST_STEP)
    parts = [network(to_batch(list(images[i : i + _LARGEST_STEP]), spec)) for i in steps]
    vectors = [vector for _, vector in parts if vector is not None]
    return np.concatenate([classes for classes, _ in parts]), np.concatenate(vectors) if vectors else None


def difference(one: Float32Array, other: Float32Array, output: str) -> float:
    """The largest difference of any probability. `output`: "logits" or "probabilities", what is given."""
    return float(np.abs(_probabilities(one, output) - _probabilities(other, output)).max())


def _write(model: keras.Model, kind: str, path: Path) -> None:
    if kind in ("litert", "litert-int8"):
        path.write_bytes(to_litert(model, quantise=kind == "litert-int8"))
        return
    try:
        with quiet():
            if kind == "savedmodel":
                model.export(path, format="tf_saved_model", verbose=False)
            else:
                model.save(path)
    except (OSError, ValueError, TypeError) as err:
        raise ModelBroken(f"{path.name}: {one_line(err)}") from err


def _reloaded(path: Path, kind: str, spec: InputSpec) -> Network:
    if kind in ("litert", "litert-int8"):
        return litert_outputs(path.read_bytes(), (spec.height, spec.width, spec.channels))
    if kind == "savedmodel":
        with quiet():
            loaded = tf.saved_model.load(str(path))
        return lambda batch: _outputs(loaded.serve(tf.constant(batch)))
    return _inferring(load_keras(path))


def _inferring(model: keras.Model) -> Network:
    return lambda batch: _outputs(model(batch, training=False))


def _outputs(answer: Any) -> Outputs:
    if isinstance(answer, dict):
        return np.asarray(answer[CLASSES]), np.asarray(answer[EMBEDDING])
    return np.asarray(answer), None


def _probabilities(outputs: Float32Array, output: str) -> Float32Array:
    return np.asarray(softmax(outputs, axis=1)) if output == "logits" else outputs
