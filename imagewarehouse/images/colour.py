"""Pixels of every mode as the 8-bit sRGB or grey that a model takes."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from imagewarehouse.errors import Unsupported
from imagewarehouse.images.profiles import Conversion

Background = tuple[int, int, int]

WHITE: Background = (255, 255, 255)

_ONLY_BY_WAY_OF = {
    "La": "LA",
    "LAB": "RGB",
    "RGBa": "RGBA",
}  # Pillow converts these to nothing else; a: multiplied by it
_TRANSPARENT = ("LA", "RGBA")


def background_from(text: str) -> Background:
    """ "#ff8000", as HTML has it, as red, green and blue of 0-255. Raises: ValueError."""
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise ValueError(f"background: expected a colour such as #ffffff, received {text!r}")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def background_text(background: Background) -> str:
    return "#" + bytes(background).hex()


def to_8_bit(image: Image.Image, mode: str, background: Background = WHITE) -> Image.Image:
    """To 8-bit RGB or grey; transparency is laid over `background`. The colours stay as they are."""
    image = _without_depth(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (*background, 255)), rgba)
    return image if image.mode == mode else image.convert(mode)


def for_conversion(image: Image.Image, conversion: Conversion) -> Image.Image:
    """As 8 bits of the colours that the conversion takes, transparency beside them."""
    image = _without_depth(image)
    mode = conversion.mode
    if image.has_transparency_data and mode in ("L", "RGB"):
        mode = {"L": "LA", "RGB": "RGBA"}[mode]
    return image if image.mode == mode else image.convert(mode)


def converted(image: Image.Image, conversion: Conversion) -> Image.Image:
    """What `for_conversion` gave, in sRGB: RGB, or RGBA where it has transparency."""
    if image.mode not in _TRANSPARENT:
        return conversion.to_srgb(image)
    *bands, alpha = image.split()
    colours = conversion.to_srgb(bands[0] if len(bands) == 1 else Image.merge("RGB", bands))
    colours.putalpha(alpha)
    return colours


def _without_depth(image: Image.Image) -> Image.Image:
    """16-bit grey has its higher 8 bits, as colours of 16 bits that Pillow reads have; other modes become ordinary ones."""
    if bridge := _ONLY_BY_WAY_OF.get(image.mode):
        return image.convert(bridge)
    if image.mode in ("I", "F"):
        raise Unsupported(f"pixels of mode {image.mode}, whose range is not known, cannot be read here")
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one grey of 16 bits
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey
