"""HEVC as far as a HEIF file needs it: what a decoder is told first, and the units of a coded picture (ITU H.265).

The same facts stand in `hvcC` and in the sequence parameter sets, of which there may be several. libheif asks the one, its
decoder the others; where they differ, pi-heif writes beyond its memory. So they have to agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imagewarehouse.errors import Corrupt, Unsupported
from imagewarehouse.images.walkers.walking import Steps

_HEADER = 23  # bytes of `hvcC` in front of its parameter sets
_SEQUENCE = 33  # type of the unit that is a sequence parameter set
_PICTURES = 32  # types below it are slices of pictures
_UNUSED = 63
_SET_BYTES = 512  # of a parameter set; what is looked for stands in its first 150
_MAX_EXPONENT = 31


class Pixels(NamedTuple):
    """Chroma format (0: none, 1: 4:2:0, 2: 4:2:2, 3: 4:4:4), bits of brightness, bits of colours."""

    chroma: int
    luma_bits: int
    chroma_bits: int


def check_settings(settings: bytes, steps: Steps) -> Pixels:
    """What `hvcC` says, held against the parameter sets in it. Raises: Corrupt, Unsupported."""
    if len(settings) < _HEADER:
        raise Corrupt("HEIF: its decoder settings are too short")
    pixels = Pixels(settings[16] & 3, (settings[17] & 7) + 8, (settings[18] & 7) + 8)
    if pixels.chroma and pixels.luma_bits != pixels.chroma_bits:
        raise Unsupported("HEIF: colours of other depths than the brightness cannot be read here")
    prefix = (settings[21] & 3) + 1
    if prefix != 4:  # libheif takes them for that
        raise Unsupported(f"HEIF: lengths of {prefix} bytes inside a picture cannot be read here")
    for unit in _units_of_settings(settings, steps):
        _check_unit(unit, pixels)
    return pixels


def check_picture(data: bytes, pixels: Pixels, steps: Steps) -> None:
    """The units of one picture, each behind its length; the decoder would decode each further picture. Raises: Corrupt."""
    pos, pictures = 0, 0
    while pos < len(data):
        steps.take()
        start, end = pos + 4, pos + 4 + int.from_bytes(data[pos : pos + 4], "big")
        if start + 2 > len(data) or end > len(data):
            raise Corrupt("HEIF: picture data that end inside a unit")
        kind = _check_unit(data[start : min(end, start + _SET_BYTES)], pixels)
        pictures += kind < _PICTURES and end > start + 2 and data[start + 2] >= 0x80  # the first slice of a picture
        pos = end
    if pictures != 1:
        raise Corrupt(f"HEIF: {pictures} pictures in the data of one")


def _units_of_settings(settings: bytes, steps: Steps) -> Iterator[bytes]:
    pos = _HEADER
    for _ in range(settings[22]):
        count = int.from_bytes(settings[pos + 1 : pos + 3], "big")
        pos += 3
        for _ in range(count):
            steps.take()
            length = int.from_bytes(settings[pos : pos + 2], "big")
            if pos + 2 + length > len(settings):
                raise Corrupt("HEIF: its decoder settings end inside a parameter set")
            yield settings[pos + 2 : pos + 2 + length]
            pos += 2 + length


def _check_unit(unit: bytes, pixels: Pixels) -> int:
    """The type of a unit; a sequence parameter set has to say the same as `pixels`.

    A unit of a further layer has the type that is not in use: the decoder passes over it.
    """
    if len(unit) < 2:
        raise Corrupt("HEIF: a unit without a header")
    kind, layer = unit[0] >> 1 & 63, (unit[0] & 1) << 5 | unit[1] >> 3
    if layer:
        return _UNUSED
    if kind == _SEQUENCE:
        found = _pixels_of(unit)
        if found != pixels and (found[:2] != pixels[:2] or pixels.chroma):
            raise Corrupt(f"HEIF: pixels of kind {tuple(pixels)} outside, {tuple(found)} inside")
    return kind


class _Bits:
    """Bits of a parameter set, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, number: int) -> int:
        self.left -= number
        if self.left < 0:
            raise Corrupt("HEIF: a parameter set that ends too early")
        return self.value >> self.left & (1 << number) - 1

    def exponential(self) -> int:
        """An Exp-Golomb code, 9.2."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > _MAX_EXPONENT:
                raise Corrupt("HEIF: a parameter set that makes no sense")
        return (1 << zeros) - 1 + self.take(zeros)


def _pixels_of(unit: bytes) -> Pixels:
    """A sequence parameter set, 7.3.2.2, up to the depths."""
    bits = _Bits(unit[2:_SET_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    bits.take(88 + 8)  # profile and level
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.exponential()
    chroma = bits.exponential()
    if chroma == 3 and bits.take(1):
        raise Unsupported("HEIF: colours in planes of their own cannot be read here")
    bits.exponential()
    bits.exponential()
    if bits.take(1):
        for _ in range(4):
            bits.exponential()
    return Pixels(chroma, bits.exponential() + 8, bits.exponential() + 8)
