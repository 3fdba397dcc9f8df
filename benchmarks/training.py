"""Images a second in training, with QuickConv2D and with Keras' own convolution, taking turns in one process.

python -m benchmarks.training [--preset standard] [--rounds 5] [--seconds 6]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, or it prints what the CPU can do

import keras
import numpy as np

from benchmarks.machine import describe
from imagewarehouse.images.decoding import InputSpec
from imagewarehouse.training import network
from imagewarehouse.training.dataset import Examples
from imagewarehouse.training.loop import Trainer
from imagewarehouse.training.recipe import PRESETS

SPEC, CLASSES = InputSpec(32, 32), 10
PIXELS = (16, 24, 28, 32)
KINDS = {"quick": network.QuickConv2D, "plain": keras.layers.Conv2D}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="standard", choices=sorted(PRESETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    arguments = parser.parse_args()
    recipe = PRESETS[arguments.preset]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (recipe.batch, SPEC.height, SPEC.width, SPEC.channels), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, recipe.batch)
    examples = Examples(images, labels, ("",) * recipe.batch)
    print(f"{describe()}\npreset {arguments.preset}: {recipe.widths}, batch {recipe.batch}; images/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        trainers = {}
        for kind, convolution in KINDS.items():
            network.QuickConv2D = convolution  # type: ignore[misc,assignment]
            trainers[kind] = Trainer(examples, examples, SPEC, CLASSES, recipe, 0, Path(folder) / kind)
        for pixels in PIXELS:
            speeds: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for turn in range(arguments.rounds + 1):
                for kind, trainer in trainers.items():
                    speed = measure(trainer, images, labels, pixels, arguments.seconds if turn else 0.0)
                    if turn:  # the first one builds the graph
                        speeds[kind].append(speed)
            ratios = [a / b for a, b in zip(speeds["quick"], speeds["plain"], strict=True)]
            print(
                f"{pixels} x {pixels}: quick {statistics.median(speeds['quick']):.0f}, plain "
                f"{statistics.median(speeds['plain']):.0f}, ratio {statistics.median(ratios):.2f} "
                f"[{min(ratios):.2f}, {max(ratios):.2f}]",
                flush=True,
            )


def measure(trainer: Trainer, images: np.ndarray, labels: np.ndarray, pixels: int, seconds: float) -> float:
    """Images a second of whole steps, augmentation left out: it runs beside them."""
    started, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - started < seconds:
        trainer.learn(images, labels, (pixels, pixels))
        steps += 1
    return steps * len(images) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
