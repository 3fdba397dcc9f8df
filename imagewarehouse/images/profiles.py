"""Colour profiles: what turns the pixels of a picture into sRGB, which models were trained on.

LittleCMS does it, through Pillow. A profile is looked at once: what was found is kept by its hash, for the profiles that were
used last. Most profiles in the wild are sRGB by another name, and cost a hash.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from imagewarehouse.errors import Unsupported
from imagewarehouse.images.primaries import (
    BT709,
    CODED_CURVES,
    CODED_PRIMARIES,
    HIGH_DYNAMIC_RANGE,
    Gamma,
    Primaries,
    profile_for,
)

try:
    from PIL import ImageCms
except ImportError:  # a build of Pillow without LittleCMS: every profile is ignored, with its note
    ImageCms = None  # type: ignore[assignment]


_MAX_BYTES = 4 << 20  # profiles of printing presses have 0.5 to 3 MB; 4 MB take 12 ms to hash
_KEPT = 64  # profiles; each holds at most some megabytes of tables
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}  # the profile's colour space -> the pixels it is for
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # not links between devices, effects and named colours
_MANY = 1 << 18  # pixels; 0.5 s at the most
_SAME = 2  # of 255: what profiles that all mean sRGB differ by, as they round their curves
_SRGB_GAMMA, _NEAR = 0.45455, 0.05  # libpng's PNG_GAMMA_THRESHOLD: within 5 % it is meant to be the same
_ANY_ERROR = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError)


class Conversion:
    """Turns pixels of `mode` (RGB, L, CMYK or LAB) into sRGB. Thread-safe.

    Exact, it takes 0.4 to 2 us a pixel. With tables it takes 0.03 us, but 5 to 100 ms to compute them, and only those of a
    profile that is a matrix and curves are as exact; so they serve such profiles, and pictures of many pixels.
    """

    def __init__(self, profile: Any, mode: str) -> None:
        self.mode = mode
        self._profile = profile
        self._exact = _transform(profile, mode, ImageCms.Flags.NOOPTIMIZE)
        self._simple = mode == "RGB" and bool(profile.profile.is_matrix_shaper)
        self._tables: Any = None
        self._lock = threading.Lock()

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """An image of `mode` as RGB."""
        many = image.width * image.height > _MANY
        return self.exact(image) if not (self._simple or many) else _apply(self._with_tables(), image)

    def exact(self, image: Image.Image) -> Image.Image:
        return _apply(self._exact, image)

    def _with_tables(self) -> Any:
        with self._lock:
            if self._tables is None:
                self._tables = _transform(self._profile, self.mode)
        return self._tables


@dataclass(frozen=True, slots=True)
class Colours:
    """What a picture says about its colours: how they become sRGB (None: they are), and whether that could be read."""

    conversion: Conversion | None = None
    readable: bool = True


@dataclass(frozen=True, slots=True)
class CodedColours:
    """Colours in numbers of ITU-T H.273, as PNG's cICP chunk and AVIF's `nclx` have them."""

    primaries: int
    curve: int


_PLAIN = Colours()
_IGNORED = Colours(readable=False)


def colours_of(image: Image.Image, coded: CodedColours | None = None) -> Colours:
    """What an opened picture says, in the order of the PNG standard: `coded`, profile, sRGB, then gamma and primaries.

    Raises: Unsupported for Lab, in a build without LittleCMS.
    """
    mode = pixels_mode(image)
    if coded is not None:
        return _coded_colours(coded, mode)
    info = image.info
    if mode == "LAB":  # they have a meaning of their own
        return _lab()
    profile = info.get("icc_profile", b"")
    if profile != b"":  # None, where Pillow could not put it together
        return _profile_colours(profile, mode) if isinstance(profile, bytes) else _IGNORED
    if image.format == "PNG" and "srgb" not in info and ("gamma" in info or "chromaticity" in info):
        return _png_colours(info, mode)
    return _PLAIN


def pixels_mode(image: Image.Image) -> str:
    """The mode for whose pixels a profile would be: RGB, L, CMYK or LAB."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        return mode
    return "L" if mode in ("1", "L", "LA", "La") or mode.startswith("I") or mode == "F" else "RGB"


# --- what a profile says, once for each ------------------------------------------------------------------------------

_known: OrderedDict[tuple[bytes, str], Colours] = OrderedDict()
_known_lock = threading.Lock()


def _profile_colours(profile: bytes, mode: str) -> Colours:
    if len(profile) > _MAX_BYTES:
        return _IGNORED
    key = (hashlib.sha256(profile).digest(), mode)
    with _known_lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
    colours = _judged(profile, mode)
    with _known_lock:
        _known[key] = colours
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return colours


def _judged(profile: bytes, mode: str) -> Colours:
    if ImageCms is None or profile[12:16] not in _CLASSES or _MODES.get(profile[16:20]) != mode:
        return _IGNORED
    try:
        conversion = Conversion(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
        sample = _sample(mode)
        found = np.asarray(conversion.exact(sample), dtype=np.int16)
    except (*_ANY_ERROR, ImageCms.PyCMSError):
        return _IGNORED
    if _is_absurd(found, mode):
        return _IGNORED
    if mode != "CMYK" and int(np.abs(found - np.asarray(sample.convert("RGB"), dtype=np.int16)).max()) <= _SAME:
        return _PLAIN
    return Colours(conversion)


def _is_absurd(found: np.typing.NDArray[np.int16], mode: str) -> bool:
    """Whether a profile makes black of white, or of the colour in the middle something as bright as one of them."""
    colours = found.reshape(-1, 3).sum(axis=1)
    darkest, middle, brightest = colours[[0, len(colours) // 2, -1]] * (-1 if mode == "CMYK" else 1)
    return not darkest < middle < brightest


@cache
def _sample(mode: str) -> Image.Image:
    """Colours from all over: the darkest first, the brightest last; of CMYK the other way round."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9 if mode == "RGB" else 3).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * len(mode), indexing="ij"), axis=-1).reshape(1, -1, len(mode))
    return Image.frombytes(mode, (grid.shape[1], 1), np.ascontiguousarray(grid).tobytes())


def _transform(profile: Any, mode: str, flags: Any = 0) -> Any:
    return ImageCms.buildTransform(profile, _srgb(), mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags)


def _apply(transform: Any, image: Image.Image) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # without inPlace it never is
    return converted


@cache
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


@cache
def _lab() -> Colours:
    if ImageCms is None:
        raise Unsupported("Lab cannot be read here: this build has no LittleCMS")
    return Colours(Conversion(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB"))


# --- colours in numbers ----------------------------------------------------------------------------------------------


def _coded_colours(coded: CodedColours, mode: str) -> Colours:
    if coded.primaries in CODED_PRIMARIES and coded.curve in HIGH_DYNAMIC_RANGE:
        return _numbers_colours(CODED_PRIMARIES[coded.primaries], HIGH_DYNAMIC_RANGE[coded.curve], mode)
    if coded.primaries not in CODED_PRIMARIES or coded.curve not in CODED_CURVES:
        return _IGNORED
    return _numbers_colours(CODED_PRIMARIES[coded.primaries], CODED_CURVES[coded.curve], mode)


def _png_colours(info: dict[Any, Any], mode: str) -> Colours:
    gamma, xy = info.get("gamma"), info.get("chromaticity")
    exponent: float | None = None
    if gamma is not None and abs(gamma - _SRGB_GAMMA) > _NEAR * _SRGB_GAMMA:
        if not 0.1 <= gamma <= 10:
            return _IGNORED
        exponent = 1 / gamma
    primaries = BT709 if xy is None else Primaries(xy[:2], xy[2:4], xy[4:6], xy[6:8])
    return _numbers_colours(primaries, exponent, mode)


def _numbers_colours(primaries: Primaries, gamma: Gamma, mode: str) -> Colours:
    if mode == "L":  # grey has no primaries
        primaries = BT709
    if primaries == BT709 and gamma is None:
        return _PLAIN
    try:
        profile = profile_for(primaries, gamma)
    except ValueError:
        return _IGNORED
    return _profile_colours(profile, "RGB")
