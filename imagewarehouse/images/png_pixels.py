"""Of PNG: what Pillow leaves out or takes wrong: transparent colours of less or more than 8 bits, and the chunk cICP."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from imagewarehouse.images.profiles import CodedColours

_STEP = {"L;2": 85, "L;4": 17}  # Pillow spreads greys of 2 and 4 bits over 0-255, but not the transparent one
_HIGH_BYTES, _LOW_BYTES = "RGB;16B", "RGB;16L"
_MAX_CHUNKS = 100


def raw_mode(image: Image.Image) -> str:
    """How the pixels of an opened PNG are stored, in Pillow's words."""
    tiles: list[Any] = getattr(image, "tile", [])
    return str(tiles[0].args) if tiles else ""


def load_png(image: Image.Image, content: bytes) -> Image.Image:
    """Decode an opened PNG; a transparent colour means the pixels that have it at its full depth."""
    transparent, stored = image.info.get("transparency"), raw_mode(image)
    image.load()
    if isinstance(transparent, int) and stored in _STEP:
        image.info["transparency"] = transparent * _STEP[stored] & 0xFF
    elif isinstance(transparent, tuple) and stored == _HIGH_BYTES:
        return _without_colour(image, content, transparent)
    return image


def _without_colour(image: Image.Image, content: bytes, transparent: tuple[int, ...]) -> Image.Image:
    """RGBA of an image of 16 bits a sample, of which Pillow has the higher 8: the lower ones are decoded by themselves."""
    with Image.open(io.BytesIO(content), formats=["PNG"]) as lower:
        lower.tile = [tile._replace(args=_LOW_BYTES) for tile in lower.tile]
        lower.load()
        opaque = np.zeros((image.height, image.width), bool)
        for band, colour in enumerate(transparent):
            opaque |= np.asarray(image.getchannel(band)) != colour >> 8
            opaque |= np.asarray(lower.getchannel(band)) != colour & 0xFF
    del image.info["transparency"]
    image.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return image


def coded_colours(content: bytes) -> CodedColours | None:
    """The chunk cICP, which stands in front of the pixels."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in (b"IDAT", b"PLTE", b""):
            return None
        if kind == b"cICP" and length == 4:
            return CodedColours(content[at + 8], content[at + 9])
        at += 12 + length
    return None
