"""JPEG, by ITU T.81."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import STRAY, Ceilings, Extent, Steps, check_pixels, check_sides

Positions = npt.NDArray[np.int64]
_NOWHERE: Positions = np.empty(0, np.int64)

_JPEG_FILL = re.compile(rb"\xff+")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what `_jpeg_markers` finds
_JPEG_SEGMENT = re.compile(rb"\xff+[^\x00\xff]")  # what libjpeg looks for where no marker stands
_JPEG_SMALL = 8192  # bytes; up to here the search takes less time than numpy's start
_JPEG_STRETCH = 1 << 20  # bytes that are searched at once
_JPEG_MAX_FILL = 1000
_JPEG_MAX_STRAY = 4096  # bytes between segments in all; Pillow steps over them one by one, too
_JPEG_MAX_SCANS = 50  # a progressive picture has about 10; each costs a pass over all pixels
_JPEG_MAX_SIDE = 65_500  # libjpeg's; the format has 65,535
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_HUFFMAN = frozenset((0xC0, 0xC1, 0xC2))


class ScanEnds:
    """Finds where picture data end. It looks at each byte once, and at none that is far behind the end of the picture.

    Ask for growing positions: several scans, and several pictures of a file, share what was found.
    """

    __slots__ = ("_data", "_markers", "_start", "_stop")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._markers: Positions = _NOWHERE
        self._start = self._stop = 0  # where it has looked

    def behind(self, pos: int) -> int:
        """Where the first marker at `pos` or behind it stands that is neither stuffing nor a restart; -1: nowhere."""
        data = self._data
        if len(data) < _JPEG_SMALL:
            following = _JPEG_MARKER.search(data, pos)
            return -1 if following is None else following.start()
        while pos < len(data):
            if not self._start <= pos < self._stop:
                self._start, self._stop = pos, min(len(data), pos + _JPEG_STRETCH)
                self._markers = _jpeg_markers(data, self._start, self._stop)
            index = int(np.searchsorted(self._markers, pos))
            if index < len(self._markers):
                return int(self._markers[index])
            pos = self._stop
        return -1


def walk_jpeg(data: bytes, ceilings: Ceilings) -> Extent:
    return walk_picture(data, 0, ceilings, ScanEnds(data))


def walk_picture(data: bytes, start: int, ceilings: Ceilings, scan_ends: ScanEnds) -> Extent:
    """One picture from its start-of-image marker at `start` to its end; there may be several in a file."""
    steps = Steps("JPEG", 2000)
    pos, scans, scanned, blocks, stray = start + 2, 0, 0, 0, 0
    while True:
        steps.take()
        fill = _JPEG_FILL.match(data, pos)
        if fill is None or data[fill.end() : fill.end() + 1] == b"\0":
            if pos >= len(data):
                raise Truncated("JPEG: the file ends before its end-of-image marker")
            # libjpeg warns of "extraneous bytes before marker" and goes on; so does everything that is built on it.
            following = _JPEG_SEGMENT.search(data, pos, pos + _JPEG_MAX_STRAY - stray + 2)
            if following is None:
                raise Corrupt(f"JPEG: expected a marker at byte {pos}, found 0x{data[pos]:02x}")
            stray += following.start() - pos
            pos = following.start()
            continue
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
            return Extent(pos, notes=(STRAY,) if stray else ())
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        if marker == 0xD8:
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
            end = scan_ends.behind(pos)
            if end < 0:
                raise Truncated("JPEG: the file ends inside the picture data")
            scanned += end - pos
            pos = end


def metadata_segments(data: bytes, start: int) -> Iterator[bytes]:
    """The bodies of the APP1 and APP2 segments in front of the first scan of a picture that `walk_picture` has walked."""
    pos = start + 2
    while (segment := _JPEG_SEGMENT.search(data, pos)) is not None:
        marker, pos = data[segment.end() - 1], segment.end()
        if marker in (0xDA, 0xD9):
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        length = int.from_bytes(data[pos : pos + 2], "big")
        if marker in (0xE1, 0xE2):
            yield data[pos + 2 : pos + length]
        pos += length


def _jpeg_blocks(frame: bytes, ceilings: Ceilings) -> int:
    """Blocks of 8 x 8 values that a frame header announces."""
    if len(frame) < 6:
        raise Corrupt("JPEG: its frame header is too short")
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    check_pixels("JPEG", width, height, ceilings)
    check_sides("JPEG", width, height, _JPEG_MAX_SIDE)
    factors = [frame[6 + 3 * n + 1] for n in range(components) if 6 + 3 * n + 1 < len(frame)]
    sampling = [(factor >> 4, factor & 15) for factor in factors]
    if not sampling or not all(h and v for h, v in sampling):
        raise Corrupt("JPEG: its frame header has no usable components")
    widest, highest = max(h for h, _ in sampling), max(v for _, v in sampling)
    units = -(-width // (8 * widest)) * -(-height // (8 * highest))
    interleaved: int = units * sum(h * v for h, v in sampling)
    return interleaved if len(sampling) > 1 else -(-width // 8) * -(-height // 8)


def _jpeg_markers(data: bytes, start: int, stop: int) -> Positions:
    """Positions from `start` to `stop` where picture data end: 0xFF, and neither a stuffed zero nor a restart behind it."""
    values = np.frombuffer(data, np.uint8, min(stop + 1, len(data)) - start, start)
    at = np.flatnonzero(values[:-1] == 0xFF)
    following = values[at + 1]
    markers: Positions = at[(following != 0) & (following != 0xFF) & ((following & 0xF8) != 0xD0)] + start
    return markers
