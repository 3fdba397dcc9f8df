"""Properties of the picture in an AVIF, HEIF or JP2 file, by ISO/IEC 14496-12, 23008-12 and 15444-1."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagewarehouse.images.profiles import CodedColours

_MAX_BOXES = 4096


@dataclass(frozen=True, slots=True)
class ItemProperties:
    """What the primary item says: the part of it that is shown (left, top, right, bottom), and its colours in numbers."""

    crop: tuple[int, int, int, int] | None = None
    colours: CodedColours | None = None


def item_properties(content: bytes) -> ItemProperties:
    """The primary item's properties; none where the boxes cannot be read: the decoder judges the file.

    `crop` is None, too, where `clap` cuts nothing off, or does not lie on whole pixels inside the picture (as libavif has it).
    """
    try:
        properties = dict(_primary(content))
    except (struct.error, ValueError, LookupError):
        return ItemProperties()
    crop = None
    if b"clap" in properties and b"ispe" in properties:
        crop = _crop(properties[b"clap"], properties[b"ispe"])
    colours = None
    if b"nclx" in properties and len(properties[b"nclx"]) >= 4:
        colours = CodedColours(*struct.unpack_from(">HH", properties[b"nclx"]))
    return ItemProperties(crop, colours)


def jp2_profile(content: bytes) -> bytes | None:
    """The colour profile of a JP2, which Pillow passes over; None without one, or where the boxes cannot be read."""
    try:
        header = dict(boxes(content)).get(b"jp2h", b"")
        colours = [body for kind, body in boxes(header) if kind == b"colr"]
    except (struct.error, ValueError):
        return None
    # The first counts. Methods 2 and 3 are a profile, behind two bytes more.
    return colours[0][3:] if colours and colours[0][:1] in (b"\2", b"\3") else None


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:
            (size,), header = struct.unpack_from(">Q", data, at + 8), 16
        end = at + size if size else len(data)
        if size and size < header:
            raise ValueError("a box that is shorter than its header")
        yield kind, data[at + header : end]
        at = end


def _primary(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each property of the primary item; `nclx` and `prof` in place of `colr`."""
    meta = dict(boxes(next(body for kind, body in boxes(content) if kind == b"meta")[4:]))
    pitm, iprp = meta[b"pitm"], list(boxes(meta[b"iprp"]))
    (primary,) = struct.unpack_from(">I" if pitm[0] else ">H", pitm, 4)
    properties = list(boxes(dict(iprp)[b"ipco"]))
    for index in (index for kind, body in iprp if kind == b"ipma" for index in _associated(body, primary)):
        if not 0 < index <= len(properties):
            continue
        kind, body = properties[index - 1]
        yield (body[:4], body[4:]) if kind == b"colr" else (kind, body)


def _associated(ipma: bytes, primary: int) -> Iterator[int]:
    """Numbers of the primary item's properties, from 1 on."""
    version, wide = ipma[0], ipma[3] & 1
    (entries,), at = struct.unpack_from(">I", ipma, 4), 8
    for _ in range(min(entries, _MAX_BOXES)):
        item, count = struct.unpack_from(">IB" if version else ">HB", ipma, at)
        at += 5 if version else 3
        for _ in range(count):
            index = int.from_bytes(ipma[at : at + 2], "big") & 0x7FFF if wide else ipma[at] & 0x7F
            at += 2 if wide else 1
            if item == primary:
                yield index


def _crop(clap: bytes, ispe: bytes) -> tuple[int, int, int, int] | None:
    """By 14496-12, 12.1.4: a size, and how far its middle lies from the picture's; all are fractions."""
    width, height = struct.unpack_from(">II", ispe, 4)
    wide, wide_by, high, high_by, right, right_by, down, down_by = struct.unpack_from(">IIIIiIiI", clap)
    if not (wide_by and high_by and right_by and down_by) or wide % wide_by or high % high_by:
        return None
    wide, high = wide // wide_by, high // high_by
    # Twice the place of the left and the upper edge, so that half pixels stay whole numbers.
    left, left_rest = divmod((width - wide) * right_by + 2 * right, 2 * right_by)
    top, top_rest = divmod((height - high) * down_by + 2 * down, 2 * down_by)
    if left_rest or top_rest or left < 0 or top < 0 or wide < 1 or high < 1:
        return None
    if left + wide > width or top + high > height or (wide, high) == (width, height):
        return None
    return left, top, left + wide, top + high
