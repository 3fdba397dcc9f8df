"""Pixels: checking that an image really decodes, and turning it into a model's input.

Training, evaluation, the standalone runner and NiFi all call `decode_rgb` and `to_batch`, so a model sees the same
numbers everywhere. `check_image` goes the same way on one pixel, so what it accepts the classifier can decode. Pillow is
the decoder; only the formats of `imagewarehouse.images.formats` are ever opened.
"""

from __future__ import annotations

import io
import struct
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, features
from PIL.JpegImagePlugin import JpegImageFile

from imagewarehouse.errors import (
    Corrupt,
    ImageRejected,
    NoDecoder,
    TooManyPixels,
    TrailingData,
    Truncated,
)
from imagewarehouse.images.colour import to_8_bit
from imagewarehouse.images.formats import ImageFormat
from imagewarehouse.images.walkers.walking import Ceilings
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

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_CHANNELS = ("RGB", "L")  # what models take
_GPS_IFD = 0x8825
# What the decoders raise on broken input, over every format: Pillow promises OSError, its plugins also let these out.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, struct.error,
                  ArithmeticError, RuntimeError, AssertionError)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a full decode found. Width and height in pixels as stored, before the EXIF orientation."""

    format: str
    width: int
    height: int
    color_mode: str
    frames: int
    notes: tuple[str, ...] = ()  # codes, see `Extent`


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model expects: size in pixels, how a picture is made to fit it, and how 0-255 becomes its numbers.

    A pixel value p becomes `p * multiply + add`, channel by channel; one number stands for all three.
    """

    height: int
    width: int
    multiply: tuple[float, ...] = (1 / 255,)
    add: tuple[float, ...] = (0.0,)
    colour_order: Literal["RGB", "BGR", "L"] = "RGB"
    fit: Fit = "stretch"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"input size: expected at least 1 x 1, received {self.height} x {self.width}")
        if self.colour_order not in ("RGB", "BGR", "L"):
            raise ValueError(f"colour_order: expected RGB, BGR or L, received {self.colour_order!r}")
        if self.fit not in ("stretch", "crop", "pad"):
            raise ValueError(f"fit: expected stretch, crop or pad, received {self.fit!r}")
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
    """Whether this build of Pillow decodes the format."""
    if image_format.walk is None:
        return False
    feature = {"AVIF": "avif", "WEBP": "webp", "JPEG": "jpg", "PNG": "zlib"}.get(image_format.name)
    return feature is None or bool(features.check(feature))


def check_image(content: bytes, image_format: ImageFormat, limits: Limits) -> ImageFacts:
    """Decode the first frame completely and follow the file's structure to its end.

    Cheap tests first: structure, frames and pixels are judged before any pixel is decoded.

    Raises: NoDecoder, Truncated, Corrupt, TooManyFrames, TooManyPixels, TrailingData.
    """
    return check_and_decode(content, image_format, limits)[0]


def check_and_decode(
    content: bytes, image_format: ImageFormat, limits: Limits, spec: InputSpec | None = None
) -> tuple[ImageFacts, Decoded | None]:
    """As `check_image`; with a `spec` the same decode also gives what `decode_rgb` would."""
    if image_format.walk is None or not can_decode(image_format):
        raise NoDecoder(f"{image_format.media_types[0]} is accepted by setting, but this build has no decoder for it")
    name = image_format.name
    most = limits.max_pixels * 4 // image_format.bytes_per_pixel
    try:
        extent = image_format.walk(content, Ceilings(most, limits.max_frames))
    except (struct.error, IndexError) as err:
        raise Truncated(f"{name}: the file ends inside its header") from err
    except (OverflowError, ValueError) as err:  # a number that no file of this length can mean
        raise Corrupt(f"{name}: its structure makes no sense: {one_line(err)}") from err
    if extent.end < len(content) and not limits.allow_trailing_data:
        raise TrailingData(f"{name}: {len(content) - extent.end} bytes behind the end of the picture")
    started = time.perf_counter()
    decoded = None
    try:
        with _open(content, name) as image:
            width, height = image.size
            if width * height > most:  # in case the decoder reads the header otherwise than the walker did
                raise TooManyPixels(f"{name}: {width} x {height} pixels, at most {most} in all are allowed")
            mode = image.mode
            # JPEG: every coefficient is read and checked all the same, but at 1/8 the pixels cost a fifth of the time.
            _load(image, side=1 if spec is None else _side(spec))
            if image.mode not in _CHANNELS or image.has_transparency_data:  # those two become each other at any pixel
                pixel = image.crop((0, 0, 1, 1))
                for channels in _CHANNELS:
                    to_8_bit(pixel, channels)
            if spec is not None:
                decoded = Decoded(spec, _fitted(image, spec), (time.perf_counter() - started) * 1000)
    except ImageRejected:
        raise
    except Image.DecompressionBombError as err:
        raise TooManyPixels(f"{name}: {err}") from err
    except UnidentifiedImageError as err:
        raise Corrupt(f"{name}: the decoder does not recognise it") from err
    except MemoryError as err:
        raise TooManyPixels(f"{name}: not enough memory to decode it") from err
    except _DECODE_ERRORS as err:
        text = one_line(err)
        # The walker has seen the structure to its end, so only picture data can still be too short.
        if text.startswith("image file is truncated") and name in ("JPEG", "TIFF"):
            raise Truncated(f"{name}: {text}") from err
        raise Corrupt(f"{name}: {text}") from err
    return ImageFacts(name, width, height, mode, extent.frames, extent.notes), decoded


def decode_rgb(content: bytes, spec: InputSpec, image_format: str | None = None) -> UInt8Array:
    """Decode the first frame, upright, at the size of `spec`.

    Args:
        content: a whole file of one of the formats in `imagewarehouse.images.formats`.
        image_format: Pillow's name where it is known already; None lets Pillow tell among those formats.
    Returns: (height, width, channels) uint8, 0-255, channels in the order of `spec`.
    Raises: Corrupt when it does not decode.
    """
    try:
        with _open(content, image_format) as image:
            _load(image, _side(spec))
            return _fitted(image, spec)
    except (*_DECODE_ERRORS, Image.DecompressionBombError, MemoryError) as err:
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
        with _open(content, image_format) as image:
            gps = image.getexif().get_ifd(_GPS_IFD)
            latitude, longitude = _degrees(gps[2]), _degrees(gps[4])
            south, west = gps.get(1) == "S", gps.get(3) == "W"
    except _DECODE_ERRORS:
        return None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return (-latitude if south else latitude, -longitude if west else longitude)


def _open(content: bytes, image_format: str | None) -> Image.Image:
    formats = [image_format] if image_format else ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]
    return Image.open(io.BytesIO(content), formats=formats)


def _load(image: Image.Image, side: int) -> None:
    """Decode the first frame; a JPEG at the least scale that leaves `side` pixels on each side."""
    if isinstance(image, JpegImageFile):  # also one that calls itself MPO
        image.draft(image.mode, (side, side))
    image.load()


def _side(spec: InputSpec) -> int:
    """Pixels that a decode has to leave on each side.

    libjpeg scales by 1/2, 1/4 or 1/8 while decoding: 5 times faster on 12 megapixels. Twice the target (turned either way) is
    kept for the true resampling in `_fitted`.
    """
    return 2 * max(spec.width, spec.height)


def _fitted(loaded: Image.Image, spec: InputSpec) -> UInt8Array:
    """A loaded picture, upright, as (height, width, channels) of `spec`."""
    size = (spec.width, spec.height)
    image = to_8_bit(_upright(loaded), "L" if spec.colour_order == "L" else "RGB")
    if image.size != size:
        image = _resize(image, size, spec.fit)
    pixels = np.asarray(image, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)
    return pixels[:, :, ::-1] if spec.colour_order == "BGR" else pixels


def _upright(image: Image.Image) -> Image.Image:
    """The loaded picture as its EXIF block wants it shown; as it is where that block cannot be read."""
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _DECODE_ERRORS:  # no pixel depends on it
        turn = None
    if turn is None:
        return image
    turned = image.transpose(turn)
    image.close()  # lets go of the pixels: two copies of 50 megapixels are 400 MB
    return turned


def _resize(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    method = Image.Resampling.BICUBIC
    if fit == "crop":
        return ImageOps.fit(image, size, method)
    if fit == "pad":
        return ImageOps.pad(image, size, method)
    return image.resize(size, method)


def _degrees(parts: Sequence[float]) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600
