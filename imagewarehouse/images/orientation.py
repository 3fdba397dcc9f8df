"""Turns a picture as its orientation tag (EXIF, TIFF: 0x0112) wants it shown."""

from __future__ import annotations

from PIL import Image

from imagewarehouse.images.metadata_blocks import DECODE_ERRORS

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
_XMP = ("xmp", "XML:com.adobe.xmp")  # where Pillow keeps it


def orientation_of(loaded: Image.Image) -> object:
    """What a loaded picture says about its turn: 1 to 8, as EXIF has it; 1 where nothing can be read."""
    if loaded.format == "HEIF":  # libheif has turned it by the file's own boxes, beside which EXIF does not count
        return 1
    try:
        if any(name in loaded.info for name in _XMP):
            # Where EXIF says nothing, Pillow asks XMP. Browsers do not, and so they show the picture otherwise.
            bare = Image.new("1", (1, 1))
            bare.info = {name: value for name, value in loaded.info.items() if name not in _XMP}
            return bare.getexif().get(ORIENTATION, 1)
        return loaded.getexif().get(ORIENTATION, 1)
    except DECODE_ERRORS:  # no pixel depends on it
        return 1


def without_xmp(image: Image.Image) -> None:
    """So that Pillow, which turns a TIFF by itself, does not ask XMP."""
    for name in _XMP:
        image.info.pop(name, None)


def turned(image: Image.Image, orientation: object) -> Image.Image:
    """The loaded picture upright; it is closed where another takes its place."""
    turn = _TURNS.get(orientation)  # type: ignore[call-overload]
    if turn is None:
        return image
    upright: Image.Image = image.transpose(turn)
    image.close()  # lets go of the pixels: two copies of 50 megapixels are 400 MB
    return upright
