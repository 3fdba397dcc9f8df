"""Evaluation of a model: scores with confidence intervals, calibration, robustness and speed.

Everything is measured on what is served: the file and the runtime that answer in NiFi, temperature included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from imagewarehouse.errors import ModelBroken
from imagewarehouse.images.decoding import Float32Array, InputSpec, to_batch
from imagewarehouse.models.classifier import Classifier
from imagewarehouse.training.calibration import (
    FloatArray,
    IntArray,
    at_temperature_one,
    expected_calibration_error,
    reliability,
)
from imagewarehouse.training.litert import litert_function
from imagewarehouse.training.robustness import CHUNK, Progress, robustness

if TYPE_CHECKING:
    from imagewarehouse.training.dataset import Examples

LATENCY_RUNS, WARM_UP = 300, 20


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image that was taken for another class. `index` into the examples; confidence 0-1."""

    index: int
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`metrics` is what metrics.json holds (see `evaluate_model`); `mistakes`, the most confident first."""

    metrics: dict[str, Any]
    mistakes: tuple[Mistake, ...]


def evaluate_model(
    classifier: Classifier,
    examples: Examples,
    *,
    seed: int = 0,
    robustness: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a loaded model on labelled images that it was not trained on.

    Args:
        examples: labels are numbers of the manifest's labels.
        seed: of the noise and of the images that robustness is measured on.
        progress: called with what is being done, how much is done, and of how much.
    Returns: metrics that JSON can hold: `model`, `version`, `runtime`, `file`, `temperature`, what `score` returns,
        `ece` (as served), `ece_unscaled` (at temperature 1), `reliability` and `reliability_unscaled` (their bins),
        `robustness` (what `training.robustness.robustness` returns) unless it is switched off.
    Raises: ValueError without images; InferenceFailed when the model does not answer with probabilities.
    """
    manifest = classifier.manifest
    probabilities = _predict_all(classifier, examples, progress)
    metrics: dict[str, Any] = {
        "model": manifest.name,
        "version": manifest.version,
        "runtime": classifier.runtime,
        "file": manifest.runtimes[classifier.runtime].name,
        "temperature": manifest.temperature if manifest.output == "logits" else 1.0,
        **score(probabilities, examples.labels, manifest.labels),
        **_calibration(probabilities, examples.labels, classifier),
    }
    if robustness:
        metrics["robustness"] = _robustness(classifier, examples, seed, progress)
    return Evaluation(rounded(metrics), _mistakes(probabilities, examples.labels, manifest.labels))


def score(probabilities: FloatArray, labels: IntArray, classes: Sequence[str]) -> dict[str, Any]:
    """Compare probabilities (N, classes), rows summing to 1, with the true classes (N,).

    Returns:
        `images`; `accuracy` with `accuracy_interval` (see `wilson_interval`) and `noise_points`, the wider half of that
        in percentage points; `top_2_accuracy` for more than two classes; `macro_f1`, the mean over the classes that
        have images; `nll`, in nats; `brier`, 0-2, the squared distance to the truth summed over the classes (Brier
        1950); `mean_confidence`; `by_class`, a list of `class`, `images`, `precision`, `recall`, `f1`, where None is a
        value that does not exist: all three without images, the precision of a class that was never predicted;
        `confusion`, rows the true and columns the predicted class, in the order of `by_class`.
    Raises: ValueError without images, or when a label is none of the classes.
    """
    if len(labels) == 0:
        raise ValueError("no images to score")
    numbers = np.arange(len(classes))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels: expected 0-{len(classes) - 1}, received {labels.min()}-{labels.max()}")
    # float32 rows sum to 1 within 1e-6 only, which scikit-learn complains about.
    values = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    predicted = values.argmax(axis=1)
    accuracy = float(accuracy_score(labels, predicted))
    low, high = wilson_interval(int(np.sum(predicted == labels)), len(labels))
    by_class = _by_class(predicted, labels, classes)
    result: dict[str, Any] = {
        "images": len(labels),
        "accuracy": accuracy,
        "accuracy_interval": [low, high],
        "noise_points": 100 * max(high - accuracy, accuracy - low),
    }
    if len(classes) > 2:
        result["top_2_accuracy"] = float(top_k_accuracy_score(labels, values, k=2, labels=numbers))
    return {
        **result,
        "macro_f1": float(np.mean([row["f1"] for row in by_class if row["images"]])),
        "nll": float(log_loss(labels, values, labels=numbers)),
        "brier": float(brier_score_loss(labels, _columns(values), labels=numbers, scale_by_half=False)),
        "mean_confidence": float(values.max(axis=1).mean()),
        "by_class": by_class,
        "confusion": confusion_matrix(labels, predicted, labels=numbers).tolist(),
    }


def wilson_interval(right: int, images: int) -> tuple[float, float]:
    """The interval, 0-1, that holds the true accuracy with 95 % confidence (Wilson 1927).

    Not the usual p +- 1.96 sqrt(p (1 - p) / n): that one shrinks to nothing where every answer is right, leaves 0-1
    near the ends and is too narrow on few images.
    """
    interval = binomtest(right, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def latency(
    files: Mapping[str, Path], spec: InputSpec, *, runs: int = LATENCY_RUNS, progress: Progress | None = None
) -> dict[str, Any]:
    """Time LiteRT files as they are served: one image at a time on one thread.

    The files take turns, image by image, so that whatever else the machine does slows all of them alike.

    Args: files: by the name to report them under; the others are compared with the first. runs: images for each.
    Returns: `runs`, `threads`, `files`: for each `bytes`, `median_ms`, `p99_ms` and `ratio`, its median by the first's.
    Raises: ModelBroken when a file does not take an image of `spec`.
    """
    image = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), dtype=np.uint8)
    batch = to_batch([image], spec)
    calls = {name: _litert_call(path, batch) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for run in range(WARM_UP + runs):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - started) * 1000)
        if progress:
            progress("latency", run + 1, WARM_UP + runs)
    medians = {name: float(np.median(values[WARM_UP:])) for name, values in times.items()}
    first = next(iter(medians.values()), 1.0)
    return {
        "runs": runs,
        "threads": 1,
        "files": {
            name: {
                "bytes": path.stat().st_size,
                "median_ms": medians[name],
                "p99_ms": float(np.quantile(times[name][WARM_UP:], 0.99)),
                "ratio": medians[name] / first,
            }
            for name, path in files.items()
        },
    }


def rounded(value: Any) -> Any:
    """The same for JSON: five significant digits, Python's own numbers, None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(name): rounded(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value if value is None else str(value)


def _predict_all(classifier: Classifier, examples: Examples, progress: Progress | None) -> FloatArray:
    total = len(examples.labels)
    if total == 0:
        raise ValueError("no images to evaluate")
    spec = classifier.manifest.spec
    parts = []
    for start in range(0, total, CHUNK):
        images = examples.images[start : start + CHUNK]
        parts.append(classifier.probabilities(to_batch(list(images), spec)))
        if progress:
            progress("evaluation", start + len(images), total)
    return np.concatenate(parts)


def _calibration(probabilities: FloatArray, labels: IntArray, classifier: Classifier) -> dict[str, Any]:
    manifest = classifier.manifest
    if manifest.output == "logits":
        unscaled = at_temperature_one(probabilities, manifest.temperature)
    else:  # the network ends in its own softmax, nothing is divided
        unscaled = probabilities
    return {
        "ece": expected_calibration_error(probabilities, labels),
        "ece_unscaled": expected_calibration_error(unscaled, labels),
        "reliability": reliability(probabilities, labels),
        "reliability_unscaled": reliability(unscaled, labels),
    }


def _robustness(
    classifier: Classifier, examples: Examples, seed: int, progress: Progress | None
) -> dict[str, Any]:  # a name of its own: `evaluate_model` has an argument of that name
    spec = classifier.manifest.spec
    return robustness(
        lambda images: classifier.probabilities(to_batch(images, spec)), examples, spec, seed=seed, progress=progress
    )


def _mistakes(probabilities: FloatArray, labels: IntArray, classes: Sequence[str]) -> tuple[Mistake, ...]:
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    misclassified = np.flatnonzero(predicted != labels)
    return tuple(
        Mistake(int(row), classes[labels[row]], classes[predicted[row]], float(confidence[row]))
        for row in misclassified[np.argsort(-confidence[misclassified], kind="stable")]
    )


def _by_class(predicted: IntArray, labels: IntArray, classes: Sequence[str]) -> list[dict[str, Any]]:
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=np.arange(len(classes)), zero_division=np.nan
    )
    rows = []
    for number, name in enumerate(classes):
        values = {"precision": precision[number], "recall": recall[number], "f1": f1[number]}
        scores = {
            key: float(value) if support[number] and np.isfinite(value) else None for key, value in values.items()
        }
        rows.append({"class": name, "images": int(support[number]), **scores})
    return rows


def _columns(values: FloatArray) -> FloatArray:
    """What scikit-learn's Brier score takes: for two classes the probability of the second alone."""
    return values[:, 1] if values.shape[1] == 2 else values


def _litert_call(path: Path, batch: Float32Array) -> Callable[[], Any]:
    """From setting the input to having the output."""
    try:
        network = litert_function(path.read_bytes(), batch.shape[1:])
        network(batch)
    except (OSError, ModelBroken) as err:
        raise ModelBroken(f"{path.name}: {err}") from err
    return lambda: network(batch)
