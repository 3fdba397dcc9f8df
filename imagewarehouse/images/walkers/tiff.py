"""TIFF 6.0 and BigTIFF."""

from __future__ import annotations

import struct

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.tiff_tags import SIZES, byte_order
from imagewarehouse.images.walkers.walking import (
    EXIF,
    OTHER,
    PROFILE,
    Ceilings,
    Extent,
    Steps,
    check_frames,
    check_pixels,
)

TIFF_PIXELS = frozenset((
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 330, 332, 334,
    336, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532,
))  # fmt: skip
"""Tags without whose values the pixels are not what they should be."""
_TIFF_PROFILE = 0x8773
_TIFF_EXIF = (0x8769, 0x8825, 0xA005)  # directories: Exif, GPS, Interoperability
_TIFF_SUB_DIRECTORIES = 0x014A
_TIFF_DATA = {0x0111: 0x0117, 0x0144: 0x0145, 0x0201: 0x0202}  # offsets -> byte counts: strips, tiles, JPEG
_TIFF_SIZE, _TIFF_TILE = (0x0100, 0x0101), (0x0142, 0x0143)  # width and height
_TIFF_MAX_ENTRIES = 30_000  # of all directories; a page has about 20
_TIFF_MAX_VALUES = 300_000  # strips and tiles of all pages
_TIFF_MAX_PADDING = 15  # writers align to a word; Pillow aligns pages to 16 bytes


def walk_tiff(data: bytes, ceilings: Ceilings) -> Extent:
    order = byte_order(data)
    if len(data) < 8:
        raise Truncated("TIFF: the file ends inside its header")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    pointer, entry_size, count_format, inline = ("Q", 20, "Q", 8) if big else ("I", 12, "H", 4)
    entry_steps, value_steps = Steps("TIFF", _TIFF_MAX_ENTRIES), Steps("TIFF", _TIFF_MAX_VALUES)
    needed_tags = {*_TIFF_DATA, *_TIFF_DATA.values(), *_TIFF_SIZE, *_TIFF_TILE}
    end = 2 * inline

    def read(fmt: str, at: int) -> int:
        try:
            value: int = struct.unpack_from(order + fmt, data, at)[0]
        except (struct.error, OverflowError) as err:  # the latter: BigTIFF, beyond 2^63
            raise Truncated(f"TIFF: it refers to byte {at}, {len(data)} are here") from err
        return value

    def values(kind: int, count: int, at: int) -> list[int]:
        fmt = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if fmt is None:
            return []
        value_steps.take(count)
        try:
            return list(struct.unpack_from(f"{order}{count}{fmt}", data, at))
        except (struct.error, OverflowError) as err:
            raise Truncated(f"TIFF: it refers to byte {at}, {len(data)} are here") from err

    def follow_exif(kind: int, count: int, at: int) -> int:
        """Where the directories end that a tag names, with all that they refer to; those that go wrong have their note."""
        reach = 0
        try:
            directories = values(kind, count, at)
            while directories:
                at = directories.pop()
                if at in visited:
                    raise Corrupt("TIFF: its directories form a loop")
                visited.add(at)
                entries = read(count_format, at)
                start = at + struct.calcsize(count_format)
                entry_steps.take(entries + 1)
                reach = max(reach, min(start + entries * entry_size + inline, len(data)))
                for position in range(start, start + entries * entry_size, entry_size):
                    tag, kind, count = read("H", position), read("H", position + 2), read(pointer, position + 4)
                    value_at, size = position + 4 + inline, SIZES.get(kind, 1) * count
                    if size > inline:
                        value_at = read(pointer, value_at)
                        if value_at + size > len(data):
                            raise Truncated(f"TIFF: tag {tag} reaches to byte {value_at + size}, {len(data)} are here")
                        reach = max(reach, value_at + size)
                    if tag in _TIFF_EXIF:
                        directories += values(kind, count, value_at)
        except (Truncated, Corrupt):  # no pixel depends on it
            notes[EXIF] = None
        return reach

    pages, notes, visited = 0, dict[str, None](), set[int]()
    directory = read(pointer, 8 if big else 4)
    if directory == 0:
        raise Truncated("TIFF: it has no directory; its writer did not finish")
    pending = [(directory, True)]
    while pending:
        at, is_page = pending.pop()
        if at in visited:
            if not is_page:  # it stands in a tag, and again behind another one
                continue
            raise Corrupt("TIFF: its directories form a loop")
        visited.add(at)
        pages += is_page
        check_frames("TIFF", pages, ceilings)
        entries = read(count_format, at)
        start = at + struct.calcsize(count_format)
        entries_end = start + entries * entry_size
        if entries_end > len(data):
            raise Truncated(f"TIFF: a directory reaches to byte {entries_end}, {len(data)} are here")
        entry_steps.take(entries + 1)
        end = max(end, min(entries_end + inline, len(data)))
        tags: dict[int, list[int]] = {}
        for position in range(start, entries_end, entry_size):
            tag, kind = read("H", position), read("H", position + 2)
            count = read(pointer, position + 4)
            value_at = position + 4 + inline
            size = SIZES.get(kind, 1) * count
            if size > inline:
                value_at = read(pointer, value_at)
                if value_at + size > len(data):
                    if tag not in TIFF_PIXELS:
                        notes[unreadable_tag(tag)] = None
                        continue
                    raise Truncated(f"TIFF: tag {tag} reaches to byte {value_at + size}, {len(data)} are here")
                end = max(end, value_at + size)
            if tag in _TIFF_EXIF:
                end = max(end, follow_exif(kind, count, value_at))
            elif tag == _TIFF_SUB_DIRECTORIES:
                pending.extend((offset, False) for offset in values(kind, count, value_at))
            elif tag in needed_tags:
                if tag in tags:
                    raise Corrupt(f"TIFF: tag {tag} stands twice in a directory")
                tags[tag] = values(kind, count, value_at)
        width, height = (tags.get(tag, [1])[0] for tag in _TIFF_SIZE)
        check_pixels("TIFF", width, height, ceilings)
        across, down = (tags.get(tag, [1])[0] for tag in _TIFF_TILE)
        if across * down > ceilings.pixels:  # the decoder makes room for a whole tile, however small the picture
            raise Corrupt(f"TIFF: tiles of {across} x {down} pixels")
        for offsets, counts in _TIFF_DATA.items():
            for offset, size in zip(tags.get(offsets, []), tags.get(counts, []), strict=False):
                if offset + size > len(data):
                    raise Truncated(f"TIFF: picture data reach to byte {offset + size}, {len(data)} are here")
                end = max(end, offset + size)
        # Some programs leave it out where nothing follows.
        following = read(pointer, entries_end) if entries_end + inline <= len(data) else 0
        if following and (is_page or following < len(data) - entry_size):
            pending.append((following, is_page))
    if len(data) - end <= _TIFF_MAX_PADDING and not any(data[end:]):
        end = len(data)
    return Extent(end, max(1, pages), tuple(notes))


def unreadable_tag(tag: int) -> str:
    """The note of a tag whose values lie outside the file."""
    return PROFILE if tag == _TIFF_PROFILE else EXIF if tag in _TIFF_EXIF else OTHER
