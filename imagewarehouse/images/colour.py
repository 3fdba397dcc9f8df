"""Pixels of every mode as the 8-bit RGB or grey that a model takes."""

from __future__ import annotations

import numpy as np
from PIL import Image

_ONLY_BY_WAY_OF = {"La": "LA", "LAB": "RGB"}  # Pillow converts these to nothing else; La: multiplied by its alpha


def to_8_bit(image: Image.Image, mode: str) -> Image.Image:
    """To 8-bit RGB or grey. Transparency is laid over white; deeper grey is scaled, not clipped as Pillow would."""
    if bridge := _ONLY_BY_WAY_OF.get(image.mode):
        image = image.convert(bridge)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float32)
        brightest = float(np.nanmax(values, initial=0.0))
        if image.mode == "F":
            scale = 255.0 if brightest <= 1.0 else 1.0
        else:
            scale = 1 / 256 if brightest > 255 else 1.0
        values *= np.float32(scale)
        image = Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == mode else image.convert(mode)
