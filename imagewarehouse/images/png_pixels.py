"""Of PNG: what Pillow leaves out or takes wrong.

Transparent colours of less or more than 8 bits, the chunk cICP, and chunks in a place where nobody else heeds them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from imagewarehouse.images.profiles import CodedColours

_STEP = {"L;2": 85, "L;4": 17}  # Pillow spreads greys of 2 and 4 bits over 0-255, but not the transparent one
_HIGH_BYTES, _LOW_BYTES = "RGB;16B", "RGB;16L"
_MAX_CHUNKS = 100
_BEFORE_PALETTE = {b"iCCP": "icc_profile", b"sRGB": "srgb", b"gAMA": "gamma", b"cHRM": "chromaticity"}  # Pillow's names


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


def forget_misplaced(image: Image.Image, content: bytes) -> bool:
    """Leave out of an opened PNG what libpng, and so browsers, pass over: colours behind the palette, and a list of
    transparent colours in front of the palette or longer than that. Gives whether colours were left out."""
    found = list(_chunks(content))
    kinds = [kind for kind, _ in found]
    palette = kinds.index(b"PLTE") if b"PLTE" in kinds else len(kinds)
    late = [name for kind, name in _BEFORE_PALETTE.items() if kind in kinds[palette:]]
    for name in late:
        image.info.pop(name, None)
    if image.mode == "P" and b"tRNS" in kinds:
        at = kinds.index(b"tRNS")
        if at < palette or (palette < at and found[at][1] > found[palette][1] // 3):
            image.info.pop("transparency", None)
    return bool(late)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and length of the chunks in front of the pixels."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in (b"IDAT", b""):
            return
        yield kind, length
        at += 12 + length


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
