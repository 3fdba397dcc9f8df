"""HEIF files put together from pictures that are coded already: no encoder of HEVC is needed for them.

The coded ones lie in tests/data/heif, each a HEIF file of a single picture. `HeifFile` makes others of them: grids as phones
write them, turned ones, some with alpha, thumbnails, gain maps.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache

from imagewarehouse.resources import REPOSITORY

FOLDER = REPOSITORY / "tests" / "data" / "heif"
ALPHA = b"urn:mpeg:hevc:2015:auxid:1"
DEPTH = b"urn:mpeg:hevc:2015:auxid:2"
GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap"


@dataclass(frozen=True, slots=True)
class Coded:
    """A picture in HEVC: what a decoder has to know first (`hvcC`, without its head), and the data."""

    width: int
    height: int
    settings: bytes = field(repr=False)
    data: bytes = field(repr=False)


@cache
def coded(name: str) -> Coded:
    """The picture of a file in tests/data/heif, whose data are the last thing in it."""
    content = (FOLDER / f"{name}.heic").read_bytes()
    size, settings = content.index(b"ispe"), content.index(b"hvcC")
    length = int.from_bytes(content[settings - 4 : settings], "big")
    width, height = struct.unpack_from(">II", content, size + 8)
    data = content[content.index(b"mdat") + 4 :]
    return Coded(width, height, content[settings + 4 : settings - 4 + length], data)


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", len(content) + 8, kind) + content


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def size(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, 0, struct.pack(">II", width, height))


def rotation(quarters: int) -> bytes:
    """Anticlockwise."""
    return box(b"irot", bytes((quarters,)))


def mirror(axis: int) -> bytes:
    """0: the upper half and the lower one change places; 1: left and right."""
    return box(b"imir", bytes((axis,)))


def crop(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """What is shown; `right` and `down`: how far its middle lies from the picture's."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, down, 1))


def auxiliary(kind: bytes) -> bytes:
    return full_box(b"auxC", 0, 0, kind + b"\0")


def profile(icc: bytes) -> bytes:
    return box(b"colr", b"prof", icc)


def grid_data(columns: int, rows: int, width: int, height: int) -> bytes:
    return struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)


@dataclass(slots=True)
class _Item:
    kind: bytes
    data: bytes
    properties: tuple[int, ...]
    hidden: bool
    names: bytes = b"\0"  # of the item, then perhaps the media type of its data


class HeifFile:
    """Items one after the other; each call gives the number of what it added."""

    def __init__(self, brand: bytes = b"heic") -> None:
        self.brand = brand
        self.items: list[_Item] = []
        self.properties: list[bytes] = []
        self.references: list[tuple[bytes, int, tuple[int, ...]]] = []

    def item(self, kind: bytes, data: bytes, *properties: bytes, hidden: bool = False, media_type: bytes = b"") -> int:
        for each in properties:
            if each not in self.properties:
                self.properties.append(each)
        numbers = tuple(self.properties.index(each) + 1 for each in properties)
        names = b"\0" + media_type + b"\0" if media_type else b"\0"
        self.items.append(_Item(kind, data, numbers, hidden, names))
        return len(self.items)

    def picture(self, picture: Coded, *properties: bytes, hidden: bool = False) -> int:
        own = (size(picture.width, picture.height), box(b"hvcC", picture.settings))
        return self.item(b"hvc1", picture.data, *own, *properties, hidden=hidden)

    def grid(self, tile: Coded, columns: int, rows: int, width: int, height: int, *properties: bytes) -> int:
        tiles = [self.picture(tile, hidden=True) for _ in range(columns * rows)]
        number = self.item(b"grid", grid_data(columns, rows, width, height), size(width, height), *properties)
        self.refer(b"dimg", number, *tiles)
        return number

    def refer(self, kind: bytes, source: int, *targets: int) -> None:
        self.references.append((kind, source, targets))

    def xmp(self, packet: bytes, of: int) -> None:
        self.refer(b"cdsc", self.item(b"mime", packet, media_type=b"application/rdf+xml"), of)

    def exif(self, block: bytes, of: int) -> None:
        self.refer(b"cdsc", self.item(b"Exif", bytes(4) + block), of)

    def content(self, primary: int, *, in_meta: bool = False) -> bytes:
        """The file; `in_meta`: the data lie in `meta` itself, as those of small pictures may."""
        start = 0
        if not in_meta:  # places have the same width wherever they are, so the length is known
            start = len(self._head(primary, 0, in_meta)) + 8
        head = self._head(primary, start, in_meta)
        return head if in_meta else head + box(b"mdat", *(item.data for item in self.items))

    def _head(self, primary: int, start: int, in_meta: bool) -> bytes:
        infe = [
            full_box(b"infe", 2, int(item.hidden), struct.pack(">HH4s", number, 0, item.kind), item.names)
            for number, item in enumerate(self.items, 1)
        ]
        parts = [
            full_box(b"hdlr", 0, 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, 0, struct.pack(">H", primary)),
            full_box(b"iinf", 0, 0, struct.pack(">H", len(infe)), *infe),
        ]
        if self.references:
            references = (box(kind, struct.pack(f">HH{len(to)}H", source, len(to), *to))
                          for kind, source, to in self.references)  # fmt: skip
            parts.append(full_box(b"iref", 0, 0, *references))
        parts += [self._iprp(), self._iloc(start, in_meta)]
        if in_meta:
            parts.append(box(b"idat", *(item.data for item in self.items)))
        return box(b"ftyp", self.brand, bytes(4), b"mif1", b"heic") + full_box(b"meta", 0, 0, *parts)

    def _iprp(self) -> bytes:
        rows = (
            struct.pack(">HB", number, len(item.properties)) + bytes(0x80 | each for each in item.properties)
            for number, item in enumerate(self.items, 1)
        )
        table = full_box(b"ipma", 0, 0, struct.pack(">I", len(self.items)), *rows)
        return box(b"iprp", box(b"ipco", *self.properties), table)

    def _iloc(self, start: int, in_meta: bool) -> bytes:
        rows = []
        for number, item in enumerate(self.items, 1):
            rows.append(struct.pack(">HHHHII", number, int(in_meta), 0, 1, start, len(item.data)))
            start += len(item.data)
        return full_box(b"iloc", 1, 0, struct.pack(">HH", 0x4400, len(rows)), *rows)


def heic(name: str, *properties: bytes) -> bytes:
    """A file of one picture from tests/data/heif with further properties."""
    file = HeifFile()
    return file.content(file.picture(coded(name), *properties))


def heic_grid(name: str, columns: int, rows: int, width: int, height: int, *properties: bytes) -> bytes:
    """A picture of equal tiles."""
    file = HeifFile()
    return file.content(file.grid(coded(name), columns, rows, width, height, *properties))
