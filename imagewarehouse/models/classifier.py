"""The classifier: loads a model folder, warms it up and answers for one image at a time.

The inference runtimes are imported here and nowhere else, and only when a model is loaded. Which one serves is the
manifest's choice: LiteRT where the model has an export, else TensorFlow.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagewarehouse.errors import InferenceFailed, ModelBroken, ModelUnavailable, WarehouseError
from imagewarehouse.images.decoding import Decoded, Float32Array, UInt8Array, decode_rgb, to_batch
from imagewarehouse.models.manifest import LITERT, TENSORFLOW, Manifest, find_version, read_manifest
from imagewarehouse.models.quiet import without_info_lines
from imagewarehouse.models.tensors import CLASSES, EMBEDDING, embedding_of, input_of, output_of
from imagewarehouse.text import one_line

# Of a batch: (N, classes), and where the model gives it and it is wanted (N, width of the embedding).
Outputs = tuple[Float32Array, "Float32Array | None"]
Infer = Callable[[Float32Array], Outputs]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model said of one image. Probabilities 0.0-1.0; times in milliseconds; `embedding`: see `as_bytes`."""

    top: tuple[tuple[str, float], ...]  # (class, probability), best first
    preprocess_ms: float
    inference_ms: float
    embedding: bytes | None = None

    def __post_init__(self) -> None:
        if not self.top:
            raise ValueError("top: expected at least one class")
        for label, probability in self.top:
            if not 0.0 <= probability <= 1.0:
                raise ValueError(f"probability of {label}: expected 0.0-1.0, received {probability!r}")

    @property
    def predicted_class(self) -> str:
        return self.top[0][0]

    @property
    def confidence(self) -> float:
        return self.top[0][1]


class Classifier:
    """One version of one model, loaded and warm. Thread-safe."""

    def __init__(self, manifest: Manifest, infer: Infer, runtime: str, *, embeds: bool = False) -> None:
        """`embeds`: predictions come with an embedding, which `infer` gives."""
        self.manifest = manifest
        self.runtime = runtime
        self.embeds = embeds
        self._infer = infer

    def classify(self, content: bytes, image_format: str | None = None, top_k: int = 5) -> Prediction:
        """Classify one image file.

        Raises: Corrupt when it does not decode, InferenceFailed when the model does not answer with probabilities.
        """
        (outcome,) = self.classify_many([(content, image_format)], top_k)
        if isinstance(outcome, WarehouseError):
            raise outcome
        return outcome

    def classify_many(
        self, images: Sequence[tuple[bytes, str | None] | Decoded], top_k: int = 5
    ) -> list[Prediction | WarehouseError]:
        """Classify images in one call of the model: for each a prediction, or what `classify` would raise.

        Args: images: contents with their formats, None where it is not known, or pictures decoded for this model. Their
            `inference_ms` is an equal share.
        """
        decoded = [image if isinstance(image, Decoded) else self._decode(*image) for image in images]
        pictures = [item for item in decoded if isinstance(item, Decoded)]
        answers = iter(self._answers([picture.pixels for picture in pictures]))
        outcomes: list[Prediction | WarehouseError] = []
        for item in decoded:
            outcome: WarehouseError | _Answer
            outcome = next(answers) if isinstance(item, Decoded) else item
            if isinstance(item, Decoded) and isinstance(outcome, tuple):
                outcomes.append(self._prediction(outcome, item.decode_ms, top_k))
            elif isinstance(outcome, WarehouseError):
                outcomes.append(outcome)
        return outcomes

    def _decode(self, content: bytes, image_format: str | None) -> Decoded | WarehouseError:
        started = time.perf_counter()
        try:
            pixels = decode_rgb(content, self.manifest.spec, image_format)
        except WarehouseError as err:
            return err
        return Decoded(self.manifest.spec, pixels, (time.perf_counter() - started) * 1000)

    def _answers(self, pictures: Sequence[UInt8Array]) -> list[_Answer | WarehouseError]:
        """Of each decoded image; together, and one by one where one of them is refused."""
        if not pictures:
            return []
        started = time.perf_counter()
        try:
            rows, vectors = self.answers(to_batch(pictures, self.manifest.spec))
        except InferenceFailed as err:
            return [err] if len(pictures) == 1 else [self._answers([picture])[0] for picture in pictures]
        share = (time.perf_counter() - started) * 1000 / len(pictures)
        embeddings = [None] * len(rows) if vectors is None else as_bytes(vectors)
        return [(row, share, embedding) for row, embedding in zip(rows, embeddings, strict=True)]

    def _prediction(self, answer: _Answer, preprocess_ms: float, top_k: int) -> Prediction:
        probabilities, inference_ms, embedding = answer
        best = np.argsort(-probabilities, kind="stable")[: max(1, top_k)]
        return Prediction(
            top=tuple((self.manifest.labels[i], float(probabilities[i])) for i in best),
            preprocess_ms=round(preprocess_ms, 3),
            inference_ms=round(inference_ms, 3),
            embedding=embedding,
        )

    def probabilities(self, batch: Float32Array) -> Float32Array:
        """(N, height, width, channels) float32, as `to_batch` makes it -> (N, classes) float32, rows summing to 1.

        Raises: InferenceFailed.
        """
        return self.answers(batch)[0]

    def answers(self, batch: Float32Array) -> Outputs:
        """As `probabilities`, and of the same run of the model the embeddings, (N, width) float32, where it `embeds`."""
        try:
            output, vectors = self._infer(batch)
            output = np.asarray(output, dtype=np.float32)
        except Exception as err:
            raise InferenceFailed(f"{self.manifest.name} {self.manifest.version}: {one_line(err)}") from err
        if self.embeds:
            width = self.manifest.embedding.width if self.manifest.embedding is not None else 0
            if vectors is None or vectors.shape != (len(batch), width):
                shape = None if vectors is None else vectors.shape
                raise InferenceFailed(f"the embedding has shape {shape}, the manifest says {(len(batch), width)}")
        return self._probabilities(output, batch), vectors if self.embeds else None

    def _probabilities(self, output: Float32Array, batch: Float32Array) -> Float32Array:
        expected = (len(batch), len(self.manifest.labels))
        if output.shape != expected:
            raise InferenceFailed(f"the model answered with shape {output.shape}, its labels ask for {expected}")
        if not np.isfinite(output).all():
            raise InferenceFailed("the model answered with NaN or infinity")
        if self.manifest.output == "logits":
            scaled = output / self.manifest.temperature
            output = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            output /= output.sum(axis=1, keepdims=True)
        elif output.min() < 0 or abs(output.sum(axis=1) - 1).max() > 0.01:
            raise InferenceFailed("the manifest says probabilities, but the model's answer does not sum to 1")
        return output.clip(0.0, 1.0)


_Answer = tuple[Float32Array, float, "bytes | None"]  # probabilities, milliseconds, embedding


def as_bytes(vectors: Float32Array) -> list[bytes | None]:
    """(N, width) as a signed byte for each number, the largest of a row 127 or -127: its direction is kept, not its length.

    None where there is no direction: all are 0, or some are no numbers.
    """
    largest = np.abs(vectors).max(axis=1)
    usable = np.isfinite(largest) & (largest > 0)
    steps = np.rint(vectors[usable] / largest[usable, np.newaxis] * 127).astype(np.int8)
    rows = iter(steps)
    return [next(rows).tobytes() if one else None for one in usable]


def load_classifier(model: Path, version: str = "latest", runtime: str = "auto", *, embed: bool = False) -> Classifier:
    """Load, check and warm up a model.

    Args: model: a folder of versions, or one version. runtime: "auto" (the manifest's first that is installed),
        "litert" or "tensorflow". embed: with an embedding of each image, if the model gives one (`Classifier.embeds`).
    Raises: ConfigurationError (no such folder or version), ModelBroken (hash, manifest, shapes), ModelUnavailable
        (its runtime is not installed).
    """
    manifest = read_manifest(find_version(model, version))
    runtimes = list(manifest.runtimes) if runtime == "auto" else [runtime]
    embeds = embed and manifest.embedding is not None
    problems = []
    for name in runtimes:
        if name not in manifest.runtimes:
            problems.append(f"{manifest.name} {manifest.version} has no file for {name}")
            continue
        try:
            infer = _RUNTIMES[name](manifest.runtimes[name], manifest, embeds)
        except ImportError as err:
            problems.append(f"{name} is not installed ({err})")
            continue
        classifier = Classifier(manifest, infer, name, embeds=embeds)
        _warm_up(classifier)
        return classifier
    raise ModelUnavailable("; ".join(problems))


def _warm_up(classifier: Classifier) -> None:
    spec = classifier.manifest.spec
    shape = (spec.height, spec.width, spec.channels)
    try:
        classifier.probabilities(to_batch([np.zeros(shape, np.uint8)], spec))
    except InferenceFailed as err:
        raise ModelBroken(f"{classifier.manifest.folder}: {err}") from err


def _litert(path: Path, manifest: Manifest, embeds: bool) -> Infer:
    """LiteRT, one thread each: an interpreter is not thread-safe, so no two calls ever share one.

    Idle interpreters wait in a list. It grows to the number of calls that were ever under way at once, not to the
    number of threads, of which NiFi's bridge starts new ones all the time.
    """
    from ai_edge_litert.interpreter import Interpreter

    content = path.read_bytes()
    idle: list[Any] = []
    lock = threading.Lock()

    def new_interpreter() -> Any:
        try:
            interpreter = Interpreter(model_content=content, num_threads=1)
            spec = manifest.spec
            shape = [1, spec.height, spec.width, spec.channels]
            source, answer = input_of(interpreter), output_of(interpreter)
            place = embedding_of(interpreter) if embeds else None
            if list(interpreter.get_input_details()[0]["shape"]) != shape:
                interpreter.resize_tensor_input(source.index, shape, strict=True)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError, ModelBroken) as err:
            raise ModelBroken(f"{path.name}: {one_line(err)}") from err
        return interpreter, source, answer, place

    with without_info_lines():  # the first of a process says what it runs on
        idle.append(new_interpreter())

    def infer(batch: Float32Array) -> Outputs:
        with lock:
            interpreter = idle.pop() if idle else None
        runner, source, answer, place = interpreter or new_interpreter()
        # One at a time: this runtime gains nothing from batches (386 against 385 us an image), and a fixed shape
        # needs no new allocation.
        rows, vectors = [], []
        for image in batch:
            runner.set_tensor(source.index, source.encode(image[np.newaxis]))
            runner.invoke()
            rows.append(answer.decode(runner.get_tensor(answer.index)[0]))
            if place is not None:
                vectors.append(place.decode(runner.get_tensor(place.index)[0]))
        with lock:  # not after an error: a broken interpreter is dropped
            idle.append((runner, source, answer, place))
        answers = np.stack(rows)
        if answer.step and manifest.output == "probabilities":
            answers = answer.sum_to_1(answers)
        return answers, np.stack(vectors) if vectors else None

    return infer


def _tensorflow(path: Path, manifest: Manifest, embeds: bool) -> Infer:
    """Keras through one concrete function; `predict` would take 28 ms an image and is not thread-safe."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, LookupError, OSError) as err:
        raise ModelBroken(f"{path.name}: {one_line(err)}") from err
    spec = manifest.spec
    signature = tf.TensorSpec((None, spec.height, spec.width, spec.channels), tf.float32)
    try:
        call = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature)
    except (ValueError, TypeError) as err:
        raise ModelBroken(f"{path.name}: {one_line(err)}") from err

    def infer(batch: Float32Array) -> Outputs:
        outputs = call(tf.constant(batch))
        if not isinstance(outputs, dict):
            return np.asarray(outputs), None
        return np.asarray(outputs[CLASSES]), np.asarray(outputs[EMBEDDING]) if embeds else None

    return infer


_RUNTIMES: dict[str, Callable[[Path, Manifest, bool], Infer]] = {LITERT: _litert, TENSORFLOW: _tensorflow}
