"""Small pictures of stored ones, for people who look at many: upright, in sRGB, without anything else of the file."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageCms

from imagewarehouse.errors import Corrupt, NoDecoder, TooManyPixels
from imagewarehouse.images.colour import to_8_bit
from imagewarehouse.images.decoding import _DECODE_ERRORS, _ORIENTATION, _TURNS, _load, _open, can_decode
from imagewarehouse.images.formats import sniff
from imagewarehouse.limits import Limits
from imagewarehouse.text import one_line

SMALLEST, LARGEST = 16, 1024  # pixels of the longest side

_JPEG_QUALITY, _WEBP_QUALITY = 82, 80
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
# What a profile is for; LittleCMS refuses one that is for other pixels.
_WITH_A_PROFILE = ("RGB", "RGBA", "L", "CMYK", "LAB")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """`suffix`: jpg, or webp where something is transparent."""

    content: bytes
    suffix: str


def thumbnail(content: bytes, side: int, limits: Limits) -> Thumbnail:
    """The picture of a file with `side` pixels on its longest side, or with as many as it has, if those are fewer.

    JPEG; WebP where pixels are transparent, since a page's own colour is to shine through and a PNG would be ten times
    as long. No more is decoded than the check of requests would: `max_pixels` of `limits`, with as many fewer for formats
    that take more memory.

    Raises: NoDecoder, TooManyPixels, Corrupt.
    """
    image_format = sniff(content)
    if image_format is None or not can_decode(image_format):
        raise NoDecoder(f"no thumbnail can be made of {image_format.name if image_format else 'this content'}")
    most = limits.max_pixels * 4 // image_format.bytes_per_pixel
    try:
        with _open(content, image_format.name) as image:
            width, height = image.size
            if width * height > most:
                raise TooManyPixels(f"{width} x {height} pixels, at most {most} are decoded")
            scale = min(1.0, side / max(width, height))
            profile = image.info.get("icc_profile")
            _load(image, 2 * side)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            turn = _turn(image)
            small = _small(image, size)
            return _encoded(small if turn is None else small.transpose(turn), profile)
    except Image.DecompressionBombError as err:
        raise TooManyPixels(one_line(err)) from err
    except MemoryError as err:
        raise TooManyPixels("not enough memory to decode it") from err
    except _DECODE_ERRORS as err:
        raise Corrupt(f"{image_format.name}: {one_line(err)}") from err


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How the EXIF block wants the loaded picture turned; not at all where it cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_ERRORS:
        return None


def _small(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resized, in a mode that can be averaged. Deeper pixels become 8-bit."""
    if image.has_transparency_data:
        small = image.convert("RGBA")
    elif image.mode in _WITH_A_PROFILE:
        small = image
    elif image.mode.startswith("I") or image.mode in ("F", "1"):
        small = to_8_bit(image, "L")
    else:
        small = to_8_bit(image, "RGB")
    return small if small.size == size else small.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Image.Image, profile: bytes | None) -> Thumbnail:
    image = _in_srgb(image, profile)
    file = io.BytesIO()
    if image.mode == "RGBA" and image.getchannel("A").tobytes().strip(b"\xff"):
        image.save(file, "WEBP", quality=_WEBP_QUALITY, icc_profile=b"", exif=b"")
        return Thumbnail(file.getvalue(), "webp")
    image.convert("RGB").save(file, "JPEG", quality=_JPEG_QUALITY, exif=b"")
    return Thumbnail(file.getvalue(), "jpg")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours as the file's profile means them; as they are where it has none, or one that nothing can be done with."""
    if profile:
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode=mode)
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image if image.mode in ("RGB", "RGBA") else to_8_bit(image, "RGB")
