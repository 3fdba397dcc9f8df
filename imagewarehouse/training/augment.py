"""Augmentation: in each epoch a new order, and each picture shifted, mirrored, covered in part and recompressed.

Every draw depends on seed, epoch and batch only, so a training that was interrupted goes on with the very same pictures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagewarehouse.images.decoding import UInt8Array
from imagewarehouse.training.dataset import Examples
from imagewarehouse.training.listing import IntArray
from imagewarehouse.training.recipe import Recipe

_QUALITIES = (30, 96)


def epoch_batches(
    examples: Examples, recipe: Recipe, seed: int, epoch: int, start: int = 0
) -> Iterator[tuple[UInt8Array, IntArray]]:
    """Batches of one epoch, from batch number `start` on; what is left over at the end waits for another epoch.

    Yields: images (batch, height, width, channels) uint8 and labels (batch,).
    """
    count = len(examples)
    order = np.random.default_rng((seed, epoch)).permutation(count)
    # Mirrored in every second epoch, each picture from a first side of its own: in two epochs both sides are seen.
    mirrored = (np.random.default_rng(seed).integers(0, 2, count) + epoch) % 2 == 1
    for index in range(start, count // recipe.batch):
        rows = order[index * recipe.batch : (index + 1) * recipe.batch]
        rng = np.random.default_rng((seed, epoch, index))
        yield augment(examples.images[rows], recipe, rng, mirrored[rows]), examples.labels[rows]


def augment(
    images: UInt8Array, recipe: Recipe, rng: np.random.Generator, mirrored: npt.NDArray[np.bool_]
) -> UInt8Array:
    """Changed copies of (N, height, width, channels) uint8 images; `mirrored` (N,) says which are turned left to right."""
    images = images.copy()
    if recipe.flip:
        images[mirrored] = images[mirrored, :, ::-1]
    images = _moved(images, recipe.shift, rng)
    _store_again(images, recipe.jpeg, rng)
    if recipe.light:
        factors = 1 + rng.uniform(-recipe.light, recipe.light, (len(images), 1, 1, 1))
        images = np.clip(images * factors, 0, 255).astype(np.uint8)
    _cover(images, recipe.cutout, rng)
    return images


def _moved(images: UInt8Array, shift: float, rng: np.random.Generator) -> UInt8Array:
    count, height, width, _ = images.shape
    most = round(shift * min(height, width))
    if most == 0:
        return images
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    moved = np.empty_like(images)
    for index, (top, left) in enumerate(rng.integers(0, 2 * most + 1, (count, 2))):
        moved[index] = padded[index, top : top + height, left : left + width]
    return moved


def _store_again(images: UInt8Array, part: float, rng: np.random.Generator) -> None:
    """Through JPEG files of all qualities, as users send them."""
    chosen = np.flatnonzero(rng.random(len(images)) < part)
    for index, quality in zip(chosen, rng.integers(*_QUALITIES, len(chosen)), strict=True):
        stored = io.BytesIO()
        picture = images[index]
        Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(
            stored, "JPEG", quality=int(quality)
        )
        images[index] = np.asarray(Image.open(stored)).reshape(picture.shape)


def _cover(images: UInt8Array, part: float, rng: np.random.Generator) -> None:
    count, height, width, _ = images.shape
    side = round(part * min(height, width))
    if side == 0:
        return
    grey = images.mean(axis=(0, 1, 2)).astype(np.uint8)
    rows: IntArray = rng.integers(0, height, (count,))
    columns: IntArray = rng.integers(0, width, (count,))
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        top, left = max(0, row - side // 2), max(0, column - side // 2)
        images[index, top : row - side // 2 + side, left : column - side // 2 + side] = grey
