"""AVIF, by ISO/IEC 14496-12 and 23008-12."""

from __future__ import annotations

import struct

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import Ceilings, Extent, Steps, check_frames, check_pixels, check_sides

_MAX_SIDE = 32_768  # libavif's
_BMFF_BOXES = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov"}


def walk_bmff(data: bytes, ceilings: Ceilings) -> Extent:
    steps = Steps("AVIF", 1000)
    pos, frames = 0, 1
    box_kinds: set[bytes] = set()
    complete = {b"ftyp", b"meta", b"mdat"}
    while pos < len(data):
        steps.take()
        if pos + 8 > len(data):
            if complete <= box_kinds:
                return Extent(pos, frames)
            raise Truncated("AVIF: the file ends inside a box header")
        size, kind = int.from_bytes(data[pos : pos + 4], "big"), data[pos + 4 : pos + 8]
        if kind not in _BMFF_BOXES:
            if complete <= box_kinds:
                return Extent(pos, frames)
            raise Corrupt(f"AVIF: unknown box at byte {pos}")
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[pos + 8 : pos + 16], "big"), 16
        elif size == 0:
            size = len(data) - pos
        if size < header:
            raise Corrupt(f"AVIF: a box of {size} bytes at byte {pos}")
        if kind in (b"meta", b"moov"):
            box = data[pos : pos + size]
            for width, height in _bmff_numbers(box, b"ispe", 2, 8):
                check_pixels("AVIF", width, height, ceilings)
                check_sides("AVIF", width, height, _MAX_SIDE)
            if kind == b"moov":
                frames = max([frames, *(count for (count,) in _bmff_numbers(box, b"stsz", 1, 12))])
                check_frames("AVIF", frames, ceilings)
            if b"idat" in box:  # small pictures may lie in the meta box itself
                box_kinds.add(b"mdat")
        if pos + size > len(data):
            raise Truncated(f"AVIF: a box reaches to byte {pos + size}, {len(data)} are here")
        box_kinds.add(kind)
        pos += size
    if not complete <= box_kinds:
        raise Truncated("AVIF: the file ends before its picture")
    return Extent(pos, frames)


def _bmff_numbers(box: bytes, name: bytes, count: int, offset: int) -> list[tuple[int, ...]]:
    """32-bit numbers `offset` bytes behind the start of each box `name` inside another; 100 of them at most."""
    numbers: list[tuple[int, ...]] = []
    at = box.find(name)
    while at >= 0 and len(numbers) < 100:
        if at + offset + 4 * count <= len(box):
            numbers.append(struct.unpack_from(f">{count}I", box, at + offset))
        at = box.find(name, at + 4)
    return numbers
