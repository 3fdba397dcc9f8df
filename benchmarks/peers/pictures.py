"""The pictures of the comparison, each with the class that the product gives it.

`small` are 2,000 files of CIFAR-10 (32 x 32, about 900 bytes). `photo` are 200 JPEGs of about 300 KB: those pictures grown to
1280 x 960 with detail and grain added, so that a decoder works as on a photograph and the classes still differ. Both are the
same on every machine with the same Pillow; photographs are kept in build/peers/.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, __version__

from imagewarehouse.errors import WarehouseError
from imagewarehouse.models.classifier import Classifier
from imagewarehouse.resources import REPOSITORY

IMAGES = REPOSITORY.parent / "shared" / "data" / "cifar10-test-a.parquet"
KINDS = {"small": 2000, "photo": 200}
_PHOTO_SIZE, _PHOTO_BYTES = (1280, 960), 300_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A file and what the product says of it."""

    content: bytes
    predicted_class: str
    top: tuple[tuple[str, float], ...]  # (class, probability), best first


def pictures(kind: str, classifier: Classifier, folder: Path) -> list[Picture]:
    """All pictures of a kind. `folder` keeps what takes long to make."""
    contents = _small(KINDS[kind]) if kind == "small" else _photographs(KINDS[kind], folder)
    found = []
    for content, outcome in zip(contents, classifier.classify_many([(one, "JPEG") for one in contents]), strict=True):
        if isinstance(outcome, WarehouseError):
            raise outcome
        found.append(Picture(content, outcome.predicted_class, outcome.top))
    return found


def _small(number: int) -> list[bytes]:
    files: list[bytes] = pq.read_table(IMAGES, columns=["image"])["image"].to_pylist()  # sorted by class
    return [files[index * len(files) // number] for index in range(number)]


def _photographs(number: int, folder: Path) -> list[bytes]:
    kept = folder / f"photographs-pillow-{__version__}"
    paths = [kept / f"{index:03d}.jpg" for index in range(number)]
    if not all(path.is_file() for path in paths):
        kept.mkdir(parents=True, exist_ok=True)
        for index, (path, seed) in enumerate(zip(paths, _small(number), strict=True)):
            path.write_bytes(photograph(seed, index))
    return [path.read_bytes() for path in paths]


def photograph(small: bytes, seed: int) -> bytes:
    """The small picture as a large one, at the quality whose file is nearest to 300 KB."""
    width, height = _PHOTO_SIZE
    random = np.random.default_rng(seed)
    base = Image.open(io.BytesIO(small)).convert("RGB").resize(_PHOTO_SIZE, Image.Resampling.BICUBIC)
    pixels = np.array(base, np.float32)
    for cells, weight in ((80, 20), (320, 12)):
        noise = random.integers(0, 255, (cells * height // width, cells, 3), dtype=np.uint8)
        grown = Image.fromarray(noise).resize(_PHOTO_SIZE, Image.Resampling.BICUBIC)
        pixels += (np.asarray(grown, np.float32) - 127) / 127 * weight
    pixels += random.normal(0, 6, pixels.shape).astype(np.float32)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    low, high, files = 10, 96, dict[int, bytes]()
    while low <= high:  # the size grows with the quality
        quality = (low + high) // 2
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        files[quality] = buffer.getvalue()
        if len(files[quality]) < _PHOTO_BYTES:
            low = quality + 1
        else:
            high = quality - 1
    return min(files.values(), key=lambda file: abs(len(file) - _PHOTO_BYTES))


def sizes(found: Sequence[Picture]) -> str:
    """How many and how large, in words."""
    lengths = [len(picture.content) for picture in found]
    return f"{len(lengths):,} files of {min(lengths):,} to {max(lengths):,} bytes, {sum(lengths) // len(lengths):,} on average"
