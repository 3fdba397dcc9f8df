"""JPEGs of a wanted size that look like photographs to a decoder, every one of them another file."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from benchmarks.load import request_bytes

SIZES = {"3 KB": (96, 72), "30 KB": (400, 300), "300 KB": (1280, 960), "3 MB": (4000, 3000)}


@cache
def photograph(name: str, seed: int = 1) -> bytes:
    """A JPEG of about that many bytes: broad shapes with detail and grain, 4:2:0, the quality that gives the size."""
    width, height = SIZES[name]
    number, unit = name.split()
    wanted = int(number) * (1 << 10 if unit == "KB" else 1 << 20)
    random = np.random.default_rng(seed)
    layers = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((4, 90), (16, 45), (64, 25), (256, 12)):
        small = random.integers(0, 255, (max(2, cells * height // width), cells, 3), dtype=np.uint8)
        grown = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        layers += (np.asarray(grown, np.float32) - 127) / 127 * weight
    layers += random.normal(0, 6, layers.shape)
    picture = Image.fromarray((layers + 127).clip(0, 255).astype(np.uint8))
    best = b""
    for quality in range(20, 97, 4):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        found = buffer.getvalue()
        if not best or abs(len(found) - wanted) < abs(len(best) - wanted):
            best = found
    return best


def requests(name: str, pictures: int = 4) -> Callable[[int], bytes]:
    """For each number a request with a picture that nobody has sent yet."""
    make = contents(name, pictures)
    return lambda number: request_bytes("/classify", make(number))


def contents(name: str, pictures: int = 4) -> Callable[[int], bytes]:
    """For each number another file: a comment in it makes it one."""
    files = [photograph(name, seed) for seed in range(pictures)]

    def make(number: int) -> bytes:
        file = files[number % len(files)]
        return file[:2] + b"\xff\xfe\x00\x22" + f"{number:032d}".encode() + file[2:]

    return make
