"""Pixels of the kinds of BMP that Pillow reads wrong, or not at all: palettes, run lengths, bit masks."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagewarehouse.errors import Corrupt, Truncated, Unsupported

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

_CORE = 12  # OS/2's first header
_OS2_SIZES = range(16, 65, 4)  # its second one may be cut off after any field
_WINDOWS_SIZES = (40, 52, 56, 108, 124)
_SIZES_IN_PILLOW = (_CORE, 64, *_WINDOWS_SIZES)
_RAW, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_NAMES = {4: "JPEG inside", 5: "PNG inside", 11: "CMYK", 12: "CMYK", 13: "CMYK"}
_USUAL_MASKS = {  # what Pillow reads: bits and red, green and blue
    (16, (0xF800, 0x7E0, 0x1F)), (16, (0x7C00, 0x3E0, 0x1F)), (32, (0xFF0000, 0xFF00, 0xFF)),
}  # fmt: skip
_MAX_COLOURS = 1 << 16
_ROWS = 1 << 20  # pixels whose masks are applied at a time


@dataclass(frozen=True, slots=True)
class _Header:
    size: int
    width: int
    height: int
    top_down: bool
    bits: int
    compression: int
    colours: int
    masks: tuple[int, int, int, int]  # red, green, blue, alpha
    palette_at: int
    pixels_at: int


def read_bmp(content: bytes) -> Image.Image | None:
    """The picture as a Pillow image of mode 1, L, P, RGB or RGBA; None where Pillow reads it right.

    Raises: Unsupported naming the kind; Truncated, Corrupt.
    """
    header = _header(content)
    if header.bits <= 8:
        return _palette_image(content, header)
    if header.size not in _SIZES_IN_PILLOW:
        raise Unsupported(f"BMP: pixels of {header.bits} bits with a header of {header.size} bytes cannot be read here")
    if header.compression == _RAW:
        return None
    if header.compression not in (_MASKS, _ALPHA_MASKS):
        raise Corrupt(f"BMP: compression {header.compression} of pixels of {header.bits} bits")
    usual = (header.bits, header.masks[:3]) in _USUAL_MASKS and not header.masks[3]
    return None if usual and header.compression == _MASKS else _masked_image(content, header)


def profile_of(content: bytes) -> bytes | None:
    """The colour profile that a header of version 5 may have behind the pixels."""
    if len(content) < 138 or struct.unpack_from("<I", content, 14)[0] < 124 or content[70:74] != b"DEBM":
        return None
    at, size = struct.unpack_from("<II", content, 14 + 112)
    return content[14 + at : 14 + at + size]


def _header(data: bytes) -> _Header:
    pixels_at, size = struct.unpack_from("<II", data, 10)
    masks_at, colours, compression = 14 + 40, 0, _RAW
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    elif size in _WINDOWS_SIZES or size in _OS2_SIZES:
        # A header that is cut off has zeros in its place.
        width, height, _, bits, compression, colours = struct.unpack_from(
            "<iiHHI12xI", data[18 : 14 + size].ljust(32, b"\0")
        )
        if size not in _WINDOWS_SIZES and compression > _RLE4:
            raise Unsupported("BMP: OS/2's own compressions cannot be read here")
    else:
        raise Unsupported(f"BMP: a header of {size} bytes cannot be read here")
    if compression in _NAMES:
        raise Unsupported(f"BMP: {_NAMES[compression]} cannot be read here")
    if bits == 64:
        raise Unsupported("BMP: pixels of 64 bits cannot be read here")
    if compression not in (_RAW, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS) or bits not in (1, 2, 4, 8, 16, 24, 32):
        raise Corrupt(f"BMP: pixels of {bits} bits with compression {compression}")
    if colours > _MAX_COLOURS:
        raise Corrupt(f"BMP: {colours} colours")
    masks, palette_at = (0, 0, 0, 0), 14 + size
    if compression in (_MASKS, _ALPHA_MASKS):
        number = 4 if size >= 56 or compression == _ALPHA_MASKS else 3
        red, green, blue, *alpha = struct.unpack_from(f"<{number}I", data, masks_at)
        masks = (red, green, blue, alpha[0] if alpha else 0)
        palette_at += 4 * number if size == 40 else 0
    return _Header(size, width, abs(height), height < 0, bits, compression, colours, masks, palette_at, pixels_at)


def _rows(content: bytes, header: _Header) -> UInt8Array:
    """(height, bytes of a row), the top row first."""
    stride = (header.width * header.bits + 31) // 32 * 4
    data = content[header.pixels_at : header.pixels_at + stride * header.height]
    if len(data) < stride * header.height:
        raise Truncated(f"BMP: {len(data)} bytes of pixels, its size asks for {stride * header.height}")
    rows = np.frombuffer(data, np.uint8).reshape(header.height, stride)
    return rows if header.top_down else rows[::-1]


# --- palettes -------------------------------------------------------------------------------------------------------


def _palette_image(content: bytes, header: _Header) -> Image.Image:
    missing = None
    if header.compression == _RAW:
        indices = _indices(_rows(content, header), header)
    elif (header.compression, header.bits) in ((_RLE8, 8), (_RLE4, 4)):
        indices, missing = _run_lengths(content[header.pixels_at :], header)
    else:
        raise Corrupt(f"BMP: compression {header.compression} of pixels of {header.bits} bits")
    entry = 3 if header.size == _CORE else 4
    wanted = min(header.colours or 1 << header.bits, 256)
    table = content[header.palette_at : min(header.palette_at + wanted * entry, header.pixels_at)]
    colours = np.frombuffer(table[: len(table) // entry * entry], np.uint8).reshape(-1, entry)[:, 2::-1]
    if header.bits == 1 and colours.tolist() == [[0] * 3, [255] * 3]:
        return Image.fromarray(indices.astype(bool))
    image = Image.fromarray(indices)
    if header.bits == 8 and len(colours) == 256 and (colours == np.arange(256, dtype=np.uint8)[:, None]).all():
        return image
    image.putpalette(colours.tobytes().ljust(768, b"\0"))  # what has no colour is black
    if missing is not None and missing.any():
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    return image


def _indices(rows: UInt8Array, header: _Header) -> UInt8Array:
    """(height, width) of indices."""
    if header.bits == 8:
        return np.ascontiguousarray(rows[:, : header.width])
    if header.bits == 1:
        return np.unpackbits(rows, axis=1)[:, : header.width]
    shifts = np.arange(8 - header.bits, -1, -header.bits, dtype=np.uint8)
    values = rows[:, :, None] >> shifts & np.uint8((1 << header.bits) - 1)
    return np.ascontiguousarray(values.reshape(len(rows), -1)[:, : header.width])


def _run_lengths(data: bytes, header: _Header) -> tuple[UInt8Array, BoolArray]:
    """(height, width) of indices; and which pixels were jumped over or missing at the end: browsers show them transparent.

    Pixels beyond the end of a row are left out, as other readers do.
    """
    width, height, small = header.width, header.height, header.compression == _RLE4
    indices, missing = bytearray(width * height), bytearray(b"\1") * (width * height)
    x, y, at, end = 0, 0, 0, len(data) - 1
    while at < end and y < height:
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            run = bytes((value >> 4, value & 15)) * (count // 2 + 1) if small else bytes((value,)) * count
        elif value == 0:
            x, y = 0, y + 1
            continue
        elif value == 1:
            break
        elif value == 2:
            if at + 2 > len(data):
                break
            x, y, at = x + data[at], y + data[at + 1], at + 2
            continue
        else:
            count, length = value, (value + 1) // 2 if small else value
            run = data[at : at + length]
            if len(run) < length:
                raise Truncated("BMP: its run lengths end inside a series of pixels")
            run = bytes(nibble for byte in run for nibble in (byte >> 4, byte & 15)) if small else run
            at += length + length % 2
        shown = min(count, width - x)
        if shown > 0:
            place = y * width + x
            indices[place : place + shown] = run[:shown]
            missing[place : place + shown] = bytes(shown)
        x += count
    step = 1 if header.top_down else -1
    rows, gaps = (np.frombuffer(each, np.uint8).reshape(height, width)[::step] for each in (indices, missing))
    return np.ascontiguousarray(rows), gaps.astype(bool)


# --- bit masks ------------------------------------------------------------------------------------------------------


def _masked_image(content: bytes, header: _Header) -> Image.Image:
    if header.bits == 24:
        raise Unsupported("BMP: bit masks of 24-bit pixels cannot be read here")
    if not any(header.masks[:3]) or any(not _one_piece(mask) for mask in header.masks):
        raise Unsupported(f"BMP: bit masks {', '.join(f'{mask:08x}' for mask in header.masks)} cannot be read here")
    channels = list(header.masks[:3]) + ([header.masks[3]] if header.masks[3] else [])
    values = _rows(content, header).view(f"<u{header.bits // 8}")[:, : header.width]
    pixels = np.empty((header.height, header.width, len(channels)), np.uint8)
    step = max(1, _ROWS // header.width)
    for top in range(0, header.height, step):
        for number, mask in enumerate(channels):
            pixels[top : top + step, :, number] = _channel(values[top : top + step], mask)
    if (
        len(channels) == 4 and not pixels[:, :, 3].any()
    ):  # a mask, but nothing behind it: browsers show the picture, too
        pixels = np.ascontiguousarray(pixels[:, :, :3])
    return Image.fromarray(pixels)


def _one_piece(mask: int) -> bool:
    return mask == 0 or bin(mask).strip("0b").count("0") == 0


def _channel(values: npt.NDArray[np.unsignedinteger], mask: int) -> UInt8Array:
    if mask == 0:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    wide = (values.astype(np.uint64) & np.uint64(mask)) >> np.uint64(shift)
    return ((wide * np.uint64(255) + np.uint64(most // 2)) // np.uint64(most)).astype(np.uint8)
