"""Pictures as files, each unlike those of other numbers."""

from __future__ import annotations

import numpy as np
from PIL import Image

from tools.image_seeds import saved


def numbered(number: int = 0, size: tuple[int, int] = (32, 32), kind: str = "JPEG") -> bytes:
    """A flat picture; a JPEG has its number in a comment, because compressed pixels may come out as those of another."""
    image = Image.new("RGB", size, (number % 256, number // 256 % 256, 40))
    image.putpixel((number % size[0], 0), (255, 255, 255))
    file = saved(image, kind)
    if kind != "JPEG":
        return file
    return file[:2] + b"\xff\xfe\x00\x0a" + f"{number:08d}".encode() + file[2:]


def noise(number: int, size: int = 8) -> bytes:
    """A PNG of random pixels."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), "PNG")
