"""Turns a picture as its orientation tag (EXIF, TIFF: 0x0112) wants it shown."""

from __future__ import annotations

from PIL import Image

ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turned(image: Image.Image, orientation: object) -> Image.Image:
    """The loaded picture upright; it is closed where another takes its place."""
    turn = _TURNS.get(orientation)  # type: ignore[call-overload]
    if turn is None:
        return image
    upright: Image.Image = image.transpose(turn)
    image.close()  # lets go of the pixels: two copies of 50 megapixels are 400 MB
    return upright
