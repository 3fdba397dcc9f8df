"""Small pictures of stored ones, for people who look at many: upright, in sRGB, without anything else of the file."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from imagewarehouse.errors import Corrupt, NoDecoder, TooManyPixels
from imagewarehouse.images.colour import converted, for_conversion, to_8_bit
from imagewarehouse.images.decoding import can_decode, opened
from imagewarehouse.images.formats import sniff
from imagewarehouse.images.metadata_blocks import DECODE_ERRORS
from imagewarehouse.images.orientation import orientation_of, turned
from imagewarehouse.images.profiles import Conversion
from imagewarehouse.images.walkers.walking import check_pixels
from imagewarehouse.limits import Limits
from imagewarehouse.text import one_line

SMALLEST, LARGEST = 16, 1024  # pixels of the longest side

_JPEG_QUALITY, _WEBP_QUALITY = 82, 80
_KEEPS_TRANSPARENCY = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
)  # not 16 bits: their transparent grey has 16, too


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """`suffix`: jpg, or webp where something is transparent."""

    content: bytes
    suffix: str


def thumbnail(content: bytes, side: int, limits: Limits) -> Thumbnail:
    """The picture of a file with `side` pixels on its longest side, or with as many as it has, if those are fewer.

    JPEG; WebP where pixels are transparent, since a page's own colour is to shine through and a PNG would be ten times
    as long. No more is decoded than the check of requests would: `max_pixels` and `max_memory` of `limits`.

    Raises: NoDecoder, TooManyPixels, Corrupt.
    """
    image_format = sniff(content)
    if image_format is None or not can_decode(image_format):
        raise NoDecoder(f"no thumbnail can be made of {image_format.name if image_format else 'this content'}")
    try:
        with opened(content, image_format.name) as picture:
            width, height = picture.width, picture.height
            check_pixels(image_format.name, width, height, image_format.ceilings(limits))
            image = picture.load(2 * side)
            orientation = orientation_of(image)  # a resized image has none
            # Of what was loaded: a JPEG is smaller by now, and Pillow has turned a TIFF.
            scale = min(side, max(width, height)) / max(image.size)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            return _encoded(turned(_small(image, size, picture.colours.conversion), orientation))
    except Image.DecompressionBombError as err:
        raise TooManyPixels(one_line(err)) from err
    except MemoryError as err:
        raise TooManyPixels("not enough memory to decode it") from err
    except DECODE_ERRORS as err:
        raise Corrupt(f"{image_format.name}: {one_line(err)}") from err


def _small(image: Image.Image, size: tuple[int, int], conversion: Conversion | None) -> Image.Image:
    """Resized, then in sRGB: RGB, or with its transparency."""
    if conversion is not None:
        return converted(_resized(for_conversion(image, conversion), size), conversion)
    if image.has_transparency_data and image.mode in _KEEPS_TRANSPARENCY:
        return _resized(image.convert("RGBA"), size)
    return _resized(to_8_bit(image, "RGB"), size)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Image.Image) -> Thumbnail:
    file = io.BytesIO()
    if image.has_transparency_data and image.getchannel("A").tobytes().strip(b"\xff"):
        image.save(file, "WEBP", quality=_WEBP_QUALITY, icc_profile=b"", exif=b"")
        return Thumbnail(file.getvalue(), "webp")
    image.convert("RGB").save(file, "JPEG", quality=_JPEG_QUALITY, icc_profile=None, exif=b"")
    return Thumbnail(file.getvalue(), "jpg")
