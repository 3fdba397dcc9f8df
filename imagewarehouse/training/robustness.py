"""Robustness: accuracy under noise, blur, brightness and JPEG compression; after Hendrycks & Dietterich, ICLR 2019."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from imagewarehouse.images.decoding import Float32Array, InputSpec, UInt8Array

if TYPE_CHECKING:
    from imagewarehouse.training.dataset import Examples

Predict = Callable[[Sequence[UInt8Array]], Float32Array]  # N images -> (N, classes) probabilities
Progress = Callable[[str, int, int], None]  # what is being done, how much of it is, out of how much

LIMIT = 2_000  # images; each is classified once for every severity
CHUNK = 64


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption; `apply(image, severity, spec, rng)` leaves shape and type as they are."""

    name: str
    unit: str
    severities: tuple[float, ...]  # mildest first
    apply: Callable[[UInt8Array, float, InputSpec, np.random.Generator], UInt8Array]


def to_picture(image: UInt8Array, spec: InputSpec) -> Image.Image:
    """(height, width, channels) in the colour order of `spec` as a grey or RGB picture."""
    if spec.colour_order == "L":
        return Image.fromarray(np.ascontiguousarray(image[:, :, 0]))
    return Image.fromarray(np.ascontiguousarray(image[:, :, ::-1] if spec.colour_order == "BGR" else image))


def from_picture(picture: Image.Image, spec: InputSpec) -> UInt8Array:
    """The other way round."""
    pixels = np.asarray(picture, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)
    return pixels[:, :, ::-1] if spec.colour_order == "BGR" else pixels


def add_noise(image: UInt8Array, deviation: float, _: InputSpec, rng: np.random.Generator) -> UInt8Array:
    """Gaussian noise of its own for every value; `deviation` on the scale of 0-255."""
    noisy = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(deviation)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)


def blur(image: UInt8Array, percent: float, spec: InputSpec, _: np.random.Generator) -> UInt8Array:
    """Gaussian blur; its radius (standard deviation) is a share of the shorter side, so it looks alike at every size."""
    radius = min(spec.height, spec.width) * percent / 100
    return from_picture(to_picture(image, spec).filter(ImageFilter.GaussianBlur(radius)), spec)


def brighten(image: UInt8Array, factor: float, _: InputSpec, __: np.random.Generator) -> UInt8Array:
    """Every value times `factor`, cut off at 255."""
    brighter: Float32Array = np.rint(image * np.float32(factor))
    return brighter.clip(0, 255).astype(np.uint8)


def compress(image: UInt8Array, quality: float, spec: InputSpec, _: np.random.Generator) -> UInt8Array:
    """Through a JPEG file and back."""
    file = io.BytesIO()
    to_picture(image, spec).save(file, "JPEG", quality=int(quality))
    with Image.open(file, formats=["JPEG"]) as picture:
        return from_picture(picture, spec)


CORRUPTIONS = (
    Corruption("Gaussian noise", "standard deviation, of 255", (5, 10, 20, 40), add_noise),
    Corruption("Gaussian blur", "radius, % of the shorter side", (1, 2, 4), blur),
    Corruption("Brighter", "times", (1.25, 1.5, 2), brighten),
    Corruption("Darker", "times", (0.75, 0.5, 0.25), brighten),
    Corruption("JPEG", "quality", (90, 75, 50, 30, 10), compress),
)


def robustness(
    predict: Predict,
    examples: Examples,
    spec: InputSpec,
    *,
    seed: int = 0,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Accuracy under every corruption and severity, and without any, on the same images.

    Noise depends on seed and image only, so a severity is the same noise made stronger and every run gives the same.

    Args: examples: at least one image. limit: at most so many of them, drawn at random.
    Returns: `images`, `seed`, `clean` (accuracy), `corruptions`: a list of `name`, `unit`, `levels`, these a list of
        `severity`, `accuracy`.
    """
    total = len(examples.labels)
    rows = np.sort(np.random.default_rng(seed).permutation(total)[:limit])
    steps = (1 + sum(len(corruption.severities) for corruption in CORRUPTIONS)) * len(rows)
    done = 0

    def accuracy(corruption: Corruption | None = None, severity: float = 0.0) -> float:
        nonlocal done
        right = 0
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            images = [examples.images[row] for row in chunk]
            if corruption:
                images = [
                    corruption.apply(image, severity, spec, np.random.default_rng((seed, row)))
                    for image, row in zip(images, chunk.tolist(), strict=True)
                ]
            right += int(np.sum(predict(images).argmax(axis=1) == examples.labels[chunk]))
            done += len(chunk)
            if progress:
                progress("robustness", done, steps)
        return right / len(rows)

    return {
        "images": len(rows),
        "seed": seed,
        "clean": accuracy(),
        "corruptions": [
            {
                "name": corruption.name,
                "unit": corruption.unit,
                "levels": [
                    {"severity": severity, "accuracy": accuracy(corruption, severity)}
                    for severity in corruption.severities
                ],
            }
            for corruption in CORRUPTIONS
        ],
    }
