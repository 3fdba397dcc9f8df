"""Calibration of probabilities: temperature scaling, calibration error, reliability.

Source of both methods: Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

BINS = 15  # as in the paper
LOWEST, HIGHEST = 0.05, 20.0
FEWEST = 100  # images; below that one mistake more or less moves the temperature by itself


def fit_temperature(logits: FloatArray, labels: IntArray) -> float:
    """The temperature T that makes softmax(logits / T) most likely, which never changes the predicted class.

    Args: logits: (N, classes), of images that the network was not trained on. labels: (N,), class numbers.
    Returns: T within 0.05-20, or 1.0 where the data does not determine one: fewer than 100 images, logits that are not
        finite or all the same, every answer right (the likeliest T would be 0) or none better than chance (infinity).
    """
    values = np.asarray(logits, dtype=np.float64)
    if len(labels) < FEWEST or not np.isfinite(values).all():
        return 1.0
    values = values - values.max(axis=1, keepdims=True)
    of_label = values[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        return float(np.mean(logsumexp(values / temperature, axis=1) - of_label / temperature))

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    best = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)
    at_a_bound = min(best - bounds[0], bounds[1] - best) < 1e-2
    return 1.0 if at_a_bound or not loss(best) < loss(0.0) else math.exp(best)


def at_temperature_one(probabilities: FloatArray, temperature: float) -> FloatArray:
    """What softmax(logits) would be, from softmax(logits / temperature).

    log p * temperature are the logits up to a constant for each image. A probability that float32 rounded to 0
    stays 0: of those the logit was over 87 * temperature below the highest.

    Args: probabilities: (N, classes), rows summing to 1.
    Returns: the same shape, float64.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(softmax(np.log(np.asarray(probabilities, dtype=np.float64)) * temperature, axis=1))


def reliability(probabilities: FloatArray, labels: IntArray, bins: int = BINS) -> list[dict[str, float]]:
    """How often the answers of one confidence are right.

    Bins of equal width, (lower, upper], over the probability of the predicted class; the empty ones are left out.
    Not by scikit-learn's calibration_curve: that is for one class against the rest and has no numbers of images.

    Args: probabilities: (N, classes). labels: (N,).
    Returns: for each bin `lower`, `upper`, `images`, mean `confidence` and `accuracy`, all but `images` 0-1.
    """
    confidence = np.max(probabilities, axis=1).astype(np.float64)
    right = np.argmax(probabilities, axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    number = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    return [
        {
            "lower": float(edges[bin_]),
            "upper": float(edges[bin_ + 1]),
            "images": int(np.sum(number == bin_)),
            "confidence": float(confidence[number == bin_].mean()),
            "accuracy": float(right[number == bin_].mean()),
        }
        for bin_ in np.unique(number)
    ]


def expected_calibration_error(probabilities: FloatArray, labels: IntArray, bins: int = BINS) -> float:
    """The mean distance between confidence and accuracy over the bins of `reliability`, weighted by their images; 0-1.

    Equation 3 of Guo et al. 2017; scikit-learn has none. On few images chance alone makes it larger than 0.
    """
    filled_bins = reliability(probabilities, labels, bins)
    return sum(bin_["images"] * abs(bin_["accuracy"] - bin_["confidence"]) for bin_ in filled_bins) / len(labels)
