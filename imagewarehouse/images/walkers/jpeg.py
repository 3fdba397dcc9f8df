"""JPEG, by ITU T.81."""

from __future__ import annotations

import re
import struct

import numpy as np
import numpy.typing as npt

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import Ceilings, Extent, Steps, check_pixels

Positions = npt.NDArray[np.int64]

_JPEG_FILL = re.compile(rb"\xff+")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what `_jpeg_markers` finds
_JPEG_SMALL = 8192  # bytes; up to here the search takes less time than numpy's start
_JPEG_MAX_FILL = 1000
_JPEG_MAX_SCANS = 50  # a progressive picture has about 10; each costs a pass over all pixels
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_HUFFMAN = frozenset((0xC0, 0xC1, 0xC2))


def walk_jpeg(data: bytes, ceilings: Ceilings) -> Extent:
    steps = Steps("JPEG", 2000)
    markers: Positions | None = None
    pos, scans, scanned, blocks = 2, 0, 0, 0
    while True:
        steps.take()
        fill = _JPEG_FILL.match(data, pos)
        if fill is None:
            if pos >= len(data):
                raise Truncated("JPEG: the file ends before its end-of-image marker")
            raise Corrupt(f"JPEG: expected a marker at byte {pos}, found 0x{data[pos]:02x}")
        pos = fill.end()
        if pos - fill.start() > _JPEG_MAX_FILL:  # Pillow steps over each of them in Python, half a second a megabyte
            raise Corrupt(f"JPEG: {pos - fill.start()} fill bytes in front of a marker")
        if pos >= len(data):
            raise Truncated("JPEG: the file ends inside a marker")
        marker = data[pos]
        pos += 1
        if marker == 0xD9:
            if not scans:
                raise Corrupt("JPEG: no picture between its start and its end")
            if scanned * 8 < blocks:  # a block takes a bit at the very least
                raise Corrupt(f"JPEG: {scanned} bytes of picture data for {blocks} blocks of pixels")
            return Extent(pos)
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        if marker in (0x00, 0xD8):
            raise Corrupt(f"JPEG: marker 0x{marker:02x} where a segment should start, at byte {pos - 1}")
        length = int.from_bytes(data[pos : pos + 2], "big")
        if pos + 2 > len(data) or pos + length > len(data):
            raise Truncated("JPEG: the file ends inside a segment")
        if length < 2:
            raise Corrupt(f"JPEG: a segment of length {length} at byte {pos}")
        if marker in _JPEG_FRAMES and not blocks:
            blocks = _jpeg_blocks(data[pos + 2 : pos + length], ceilings)
            if marker not in _JPEG_HUFFMAN:
                blocks = 0  # arithmetic coding needs no whole bit a block
        pos += length
        if marker == 0xDA:
            scans += 1
            if scans > _JPEG_MAX_SCANS:
                raise Corrupt(f"JPEG: more than {_JPEG_MAX_SCANS} scans")
            if len(data) < _JPEG_SMALL:
                following = _JPEG_MARKER.search(data, pos)
                end = -1 if following is None else following.start()
            else:
                if markers is None:
                    markers = _jpeg_markers(data, pos)
                index = int(np.searchsorted(markers, pos))
                end = -1 if index == len(markers) else int(markers[index])
            if end < 0:
                raise Truncated("JPEG: the file ends inside the picture data")
            scanned += end - pos
            pos = end


def _jpeg_blocks(frame: bytes, ceilings: Ceilings) -> int:
    """Blocks of 8 x 8 values that a frame header announces."""
    if len(frame) < 6:
        raise Corrupt("JPEG: its frame header is too short")
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    check_pixels("JPEG", width, height, ceilings)
    factors = [frame[6 + 3 * n + 1] for n in range(components) if 6 + 3 * n + 1 < len(frame)]
    sampling = [(factor >> 4, factor & 15) for factor in factors]
    if not sampling or not all(h and v for h, v in sampling):
        raise Corrupt("JPEG: its frame header has no usable components")
    widest, highest = max(h for h, _ in sampling), max(v for _, v in sampling)
    units = -(-width // (8 * widest)) * -(-height // (8 * highest))
    interleaved: int = units * sum(h * v for h, v in sampling)
    return interleaved if len(sampling) > 1 else -(-width // 8) * -(-height // 8)


def _jpeg_markers(data: bytes, start: int) -> Positions:
    """Positions from `start` on where picture data end: 0xFF, and neither a stuffed zero nor a restart behind it."""
    values = np.frombuffer(data, np.uint8)
    at = np.flatnonzero(values[start:-1] == 0xFF) + start
    following = values[at + 1]
    markers: Positions = at[(following != 0) & (following != 0xFF) & ((following & 0xF8) != 0xD0)]
    return markers
