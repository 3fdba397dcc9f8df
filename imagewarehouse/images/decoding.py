"""Pixels: checking that an image really decodes, and turning it into a model's input.

Training, evaluation, the standalone runner and NiFi all call `decode_rgb` and `to_batch`, so a model sees the same
numbers everywhere. `check_image` goes the same way on one pixel, so what it accepts the classifier can decode. Pillow is
the decoder; only the formats of `imagewarehouse.images.formats` are ever opened.
"""

from __future__ import annotations

import struct
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features

from imagewarehouse.errors import (
    Corrupt,
    ImageRejected,
    NoDecoder,
    TooManyPixels,
    TrailingData,
    Truncated,
)
from imagewarehouse.images.colour import WHITE, Background, converted, for_conversion, to_8_bit
from imagewarehouse.images.formats import ImageFormat, sniff
from imagewarehouse.images.heif_decoder import HOW_TO_GET_IT, heif_available
from imagewarehouse.images.metadata_blocks import DECODE_ERRORS, open_image
from imagewarehouse.images.opening import Picture, open_picture, refuse_rare_jpeg
from imagewarehouse.images.orientation import orientation_of, turned
from imagewarehouse.images.profiles import Conversion
from imagewarehouse.images.walkers.walking import check_pixels
from imagewarehouse.limits import Limits
from imagewarehouse.text import one_line

# Our own ceiling is checked right after the header; Pillow's warning at half of its own would only repeat it.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# What Pillow finds odd in a client's file says nothing to an operator: it is refused with a reason, or it does not matter.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
ImageFile.LOAD_TRUNCATED_IMAGES = False

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Fit = Literal["stretch", "crop", "pad"]

_CHANNELS = ("RGB", "L")  # what models take
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# Bytes a pixel that are held besides, measured: while these modes become 8 bits, or transparency is laid over a colour.
_OF_COPIES = 11.0
_FAR = 64  # times as long as the result
_GPS_IFD = 0x8825
_FEATURES = {"AVIF": "avif", "WEBP": "webp", "JPEG": "jpg", "PNG": "zlib", "JPEG2000": "jpg_2000"}  # Pillow's names


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a full decode found. Width and height in pixels as stored: before any turn, behind a crop (AVIF's `clap`)."""

    format: str
    width: int
    height: int
    color_mode: str
    frames: int
    notes: tuple[str, ...] = ()  # codes, see `Extent`


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model expects: size in pixels, how a picture is made to fit it, and how 0-255 becomes its numbers.

    A pixel value p becomes `p * multiply + add`, channel by channel; one number stands for all three. `background`: the colour
    (sRGB, 0-255) behind what is transparent.
    """

    height: int
    width: int
    multiply: tuple[float, ...] = (1 / 255,)
    add: tuple[float, ...] = (0.0,)
    colour_order: Literal["RGB", "BGR", "L"] = "RGB"
    fit: Fit = "stretch"
    background: Background = WHITE

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"input size: expected at least 1 x 1, received {self.height} x {self.width}")
        if self.colour_order not in ("RGB", "BGR", "L"):
            raise ValueError(f"colour_order: expected RGB, BGR or L, received {self.colour_order!r}")
        if self.fit not in ("stretch", "crop", "pad"):
            raise ValueError(f"fit: expected stretch, crop or pad, received {self.fit!r}")
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise ValueError(f"background: expected red, green and blue of 0-255, received {list(self.background)}")
        for name, value in (("multiply", self.multiply), ("add", self.add)):
            if len(value) not in (1, self.channels):
                raise ValueError(f"{name}: expected 1 or {self.channels} numbers, received {len(value)}")

    @property
    def channels(self) -> int:
        return 1 if self.colour_order == "L" else 3


@dataclass(frozen=True, slots=True)
class Decoded:
    """A picture as `decode_rgb` gives it for `spec`, with the milliseconds that it took."""

    spec: InputSpec
    pixels: UInt8Array = field(repr=False)
    decode_ms: float


# What the model of this process takes, where the check and the model share a process: then one decode serves both.
_wanted: InputSpec | None = None


def want_pixels(spec: InputSpec | None) -> None:
    """Say what a model of this process takes."""
    global _wanted
    _wanted = spec


def wanted_pixels() -> InputSpec | None:
    return _wanted


class ShapeMismatch(ValueError):
    """An array is not of the shape that the model's input asks for."""


def can_decode(image_format: ImageFormat) -> bool:
    """Whether the format is decoded by what is installed here."""
    if image_format.walk is None:
        return False
    if image_format.name == "HEIF":
        return heif_available()
    feature = _FEATURES.get(image_format.name)
    return feature is None or _pillow_has(feature)


@cache  # Pillow looks through its C modules each time, a tenth of the check of a small picture
def _pillow_has(feature: str) -> bool:
    return bool(features.check(feature))


def no_decoder(image_format: ImageFormat) -> NoDecoder:
    """The error that names the format and, where there is one, how to get a decoder for it."""
    how = HOW_TO_GET_IT if image_format.name == "HEIF" else "this build has none"
    return NoDecoder(f"no decoder for {image_format.name} ({image_format.media_types[0]}) here: {how}")


def check_image(content: bytes, image_format: ImageFormat, limits: Limits) -> ImageFacts:
    """Decode the first frame completely and follow the file's structure to its end.

    Cheap tests first: structure, frames and pixels are judged before any pixel is decoded.

    Raises: NoDecoder, Truncated, Corrupt, Unsupported, TooManyFrames, TooManyPixels, TrailingData.
    """
    return check_and_decode(content, image_format, limits)[0]


def check_and_decode(
    content: bytes, image_format: ImageFormat, limits: Limits, spec: InputSpec | None = None
) -> tuple[ImageFacts, Decoded | None]:
    """As `check_image`; with a `spec` the same decode also gives what `decode_rgb` would."""
    if image_format.walk is None or not can_decode(image_format):
        raise no_decoder(image_format)
    name, ceilings = image_format.name, image_format.ceilings(limits)
    try:
        extent = image_format.follow(content, ceilings)
    except (struct.error, IndexError) as err:
        raise Truncated(f"{name}: the file ends inside its header") from err
    except (OverflowError, ValueError) as err:  # a number that no file of this length can mean
        raise Corrupt(f"{name}: its structure makes no sense: {one_line(err)}") from err
    if extent.end < len(content) and not limits.allow_trailing_data:
        raise TrailingData(f"{name}: {len(content) - extent.end} bytes behind the end of the picture")
    notes = extent.notes if extent.end == len(content) else (*extent.notes, "trailing_data")
    started = time.perf_counter()
    decoded = None
    try:
        with opened(content, name) as picture:
            width, height = picture.width, picture.height
            if extent.turned:
                width, height = height, width
            # Once more, in case the decoder reads the header otherwise than the walker did.
            copied = ceilings.bytes_per_pixel and (picture.mode in _DEEP or picture.image.has_transparency_data)
            check_pixels(name, width, height, ceilings, ceilings.bytes_per_pixel + (_OF_COPIES if copied else 0))
            # JPEG: every coefficient is read and checked all the same, but at 1/8 the pixels cost a fifth of the time.
            image = picture.load(side=1 if spec is None else _side(spec))
            if image.mode not in _CHANNELS or image.has_transparency_data:  # those two become each other at any pixel
                pixel = image.crop((0, 0, 1, 1))
                for channels in _CHANNELS:
                    to_8_bit(pixel, channels)
            if spec is not None:
                pixels = _fitted(image, spec, picture.colours.conversion)
                decoded = Decoded(spec, pixels, (time.perf_counter() - started) * 1000)
    except ImageRejected:
        raise
    except Image.DecompressionBombError as err:
        raise TooManyPixels(f"{name}: {err}") from err
    except UnidentifiedImageError as err:
        raise Corrupt(f"{name}: the decoder does not recognise it") from err
    except MemoryError as err:
        raise TooManyPixels(f"{name}: not enough memory to decode it") from err
    except DECODE_ERRORS as err:
        if name == "JPEG":
            refuse_rare_jpeg(content)
        text = one_line(err)
        # The walker has seen the structure to its end, so only picture data can still be too short.
        if text.startswith("image file is truncated") and name in ("JPEG", "TIFF"):
            raise Truncated(f"{name}: {text}") from err
        raise Corrupt(f"{name}: {text}") from err
    notes = (*notes, *picture.notes)
    return ImageFacts(name, width, height, picture.mode, extent.frames, tuple(dict.fromkeys(notes))), decoded


def decode_rgb(content: bytes, spec: InputSpec, image_format: str | None = None) -> UInt8Array:
    """Decode the first frame, upright, in sRGB, at the size of `spec`.

    Args:
        content: a whole file of one of the formats in `imagewarehouse.images.formats`.
        image_format: its name there where it is known already; None: what its first bytes say.
    Returns: (height, width, channels) uint8, 0-255, channels in the order of `spec`.
    Raises: Corrupt when it does not decode; Unsupported, Truncated as the check.
    """
    try:
        with opened(content, image_format) as picture:
            return _fitted(picture.load(_side(spec)), spec, picture.colours.conversion)
    except (*DECODE_ERRORS, Image.DecompressionBombError, MemoryError) as err:
        if image_format == "JPEG":
            refuse_rare_jpeg(content)
        raise Corrupt(f"{image_format or 'image'}: {one_line(err)}") from err


def to_batch(images: Sequence[UInt8Array], spec: InputSpec) -> Float32Array:
    """Stack decoded images into one classifier input.

    Args: images: N arrays (height, width, channels), uint8, 0-255, already at the size of `spec`.
    Returns: (N, height, width, channels) float32, scaled by `spec`.
    Raises: ShapeMismatch: names the index, the shape expected and the shape received.
    """
    expected = (spec.height, spec.width, spec.channels)
    batch = np.empty((len(images), *expected), dtype=np.float32)
    for index, image in enumerate(images):
        if image.shape != expected:
            raise ShapeMismatch(f"image {index}: expected shape {expected}, received {image.shape}")
        batch[index] = image
    batch *= np.asarray(spec.multiply, dtype=np.float32)
    batch += np.asarray(spec.add, dtype=np.float32)
    return batch


def gps_position(content: bytes, image_format: str) -> tuple[float, float] | None:
    """Latitude and longitude in degrees (north and east positive) from the EXIF block, or None."""
    try:
        with open_image(content, image_format) as image:
            gps = image.getexif().get_ifd(_GPS_IFD)
            latitude, longitude = _degrees(gps[2]), _degrees(gps[4])
            south, west = gps.get(1) == "S", gps.get(3) == "W"
    except (*DECODE_ERRORS, Image.DecompressionBombError, MemoryError):
        return None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return (-latitude if south else latitude, -longitude if west else longitude)


@contextmanager
def opened(content: bytes, image_format: str | None) -> Iterator[Picture]:
    """A file of that format, of the one that its first bytes say by default; closed afterwards.

    Raises Unsupported, Corrupt, Truncated, and one of DECODE_ERRORS.
    """
    if image_format is None:
        found = sniff(content)
        if found is None or not can_decode(found):
            raise Corrupt("image: not of a format that is decoded here")
        image_format = found.name
    picture = open_picture(content, image_format)
    with picture.image:
        yield picture


def _side(spec: InputSpec) -> int:
    """Pixels that a decode has to leave on each side.

    libjpeg scales by 1/2, 1/4 or 1/8 while decoding: 5 times faster on 12 megapixels. Twice the target (turned either way) is
    kept for the true resampling in `_fitted`.
    """
    return 2 * max(spec.width, spec.height)


def _fitted(loaded: Image.Image, spec: InputSpec, conversion: Conversion | None) -> UInt8Array:
    """A loaded picture, upright and in sRGB, as (height, width, channels) of `spec`."""
    mode = "L" if spec.colour_order == "L" else "RGB"
    image = turned(loaded, orientation_of(loaded))
    if conversion is None:
        image = _scaled(to_8_bit(image, mode, spec.background), spec)
    else:  # small, it costs a hundredth, and is 0.3 to 0.8 of 255 off what the whole picture would give (docs/intake.md)
        image = converted(_scaled(for_conversion(image, conversion), spec), conversion)
        image = to_8_bit(image, mode, spec.background)
    if spec.fit == "pad":
        image = ImageOps.pad(image, (spec.width, spec.height))
    pixels = np.asarray(image, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)
    return pixels[:, :, ::-1] if spec.colour_order == "BGR" else pixels


def _scaled(image: Image.Image, spec: InputSpec) -> Image.Image:
    """At the size of `spec`; of "pad" at the largest size inside it."""
    size, method = (spec.width, spec.height), Image.Resampling.BICUBIC
    if image.size == size:
        return image
    if spec.fit == "crop":
        return ImageOps.fit(image, size, method)
    if spec.fit == "pad":
        size = _inside(image.size, size)
    return _shortened(image, size).resize(size, method)


def _inside(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape inside of `box`, at least 1 x 1: a picture may be a line."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shortened(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Averages over sides that are very much longer than `size` asks for.

    `resize` first makes all rows as wide as the result: of a line of 49 million pixels, gigabytes. So far from the result, the
    average of a few pixels and what the filter makes of them are the same level.
    """
    across, down = (max(1, side // (_FAR * wanted)) for side, wanted in zip(image.size, size, strict=True))
    return image.reduce((across, down)) if across > 1 or down > 1 else image


def _degrees(parts: Sequence[float]) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600
