"""HEIF whose picture is coded as HEVC (HEIC), by ISO/IEC 14496-12, 14496-15 and 23008-12.

A file is a list of boxes. The box `meta` lists items: pictures, tiles of pictures, EXIF blocks. Each has properties and
places of its data, and refers to others. One of them is the primary item, which is decoded: one picture (`hvc1`), or a
grid of them, as phones write it. Its decoder reads more kinds of items than these two, and is written in C: what it is not
meant to decode is refused here, and so is what makes it decode more than the picture's size tells.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from imagewarehouse.errors import Corrupt, Truncated, Unsupported
from imagewarehouse.images.walkers.hevc import check_picture, check_settings
from imagewarehouse.images.walkers.samsung import samsung_trailer, walk_samsung
from imagewarehouse.images.walkers.walking import Ceilings, Extent, Steps, check_frames, check_pixels

_TOP = frozenset((b"ftyp", b"meta", b"mdat", b"free", b"skip", b"wide", b"moov", b"mpvd", b"sefd"))
_ONCE_IN_META = frozenset((b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"idat"))
_STEPS = 20_000  # boxes, items, references and parts of pictures; a photo of 48 megapixels has about 2,000
_MAX_ITEMS = 1000  # libheif's own limit
_MAX_EXTENTS = 32  # of an item; libheif's own limit
_MAX_COPIES = 16 << 20  # bytes of profiles and metadata, beside a file's own length

# Item types that are pictures: coded, or derived from others.
_PICTURES = frozenset((b"hvc1", b"grid", b"iden", b"iovl", b"av01", b"avc1", b"jpeg", b"j2k1", b"lhv1", b"unci", b"vvc1",
                       b"evc1", b"mski", b"tili"))  # fmt: skip
_ALPHA = frozenset((b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
                    b"urn:mpeg:avc:2015:auxid:1"))  # fmt: skip
_DEPTH = frozenset((b"urn:mpeg:hevc:2015:auxid:2", b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth"))
_GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap"

# Bytes that decoding takes at its peak, for each pixel: measured with libheif 1.23. By the chroma format in `hvcC` (none,
# 4:2:0, 4:2:2, 4:4:4) of 8 bits, and of more; then what an alpha adds.
_OF_8_BITS, _OF_MORE_BITS = (6.0, 10.0, 10.0, 11.0), (10.0, 10.5, 14.0, 16.0)
_ALPHA_OF_8_BITS, _ALPHA_OF_MORE_BITS = 7.0, 10.0

# A grid's tiles cover its picture and not much more: the decoder decodes all of each.
_TILES_OVER = 4
_TILES_FREE = 1 << 20  # pixels


class _Box(NamedTuple):
    kind: bytes
    body: int
    end: int


class _Reference(NamedTuple):
    kind: bytes
    source: int
    targets: tuple[int, ...]


class _Coded(NamedTuple):
    """A picture as stored, and the memory that it takes."""

    width: int
    height: int
    bytes_per_pixel: float
    deep: bool


@dataclass(slots=True)
class _Item:
    kind: bytes
    hidden: bool = False
    in_meta: bool = False  # its data lie in `idat`, not in the file's own places
    extents: list[tuple[int, int]] | None = None  # place and length; None: in no place that is read here
    properties: list[_Box] = field(default_factory=list)


@dataclass(slots=True)
class _Meta:
    primary: int = 0
    items: dict[int, _Item] = field(default_factory=dict)
    references: list[_Reference] = field(default_factory=list)
    idat: tuple[int, int] = (0, 0)


def walk_heif(data: bytes, ceilings: Ceilings) -> Extent:
    """Raises Unsupported, too: for a primary item of another kind than those that are decoded here."""
    steps = Steps("HEIF", _STEPS)
    end, top = _top_level(data, steps)
    (meta_box,) = (box for box in top if box.kind == b"meta")
    meta = _read_meta(data, meta_box, steps)
    coded = _Decoded(data, meta, ceilings, steps).follow(meta.primary)
    check_pixels("HEIF", coded.width, coded.height, ceilings, coded.bytes_per_pixel)
    pictures, notes = _others(data, meta)
    check_frames("HEIF", len(pictures), ceilings)
    _check_copies(data, meta, pictures)
    kinds = {box.kind for box in top}
    notes |= {"image_sequence": b"moov" in kinds, "motion_photo": b"mpvd" in kinds, "samsung_trailer": b"sefd" in kinds}
    turns = [data[box.body] & 3 for box in meta.items[meta.primary].properties if box.kind == b"irot"]
    return Extent(end, len(pictures), tuple(note for note, found in notes.items() if found), sum(turns) % 2 == 1)


# --- boxes ----------------------------------------------------------------------------------------------------------


def _top_level(data: bytes, steps: Steps) -> tuple[int, list[_Box]]:
    """Where the file's own boxes end, and these."""
    pos = 0
    boxes: list[_Box] = []
    while pos < len(data):
        steps.take()
        kind = data[pos + 4 : pos + 8]
        if pos + 8 > len(data) or kind not in _TOP:
            if _complete(data, boxes):
                return pos, boxes  # something else follows
            if pos + 8 > len(data):
                raise Truncated("HEIF: the file ends inside a box header")
            raise Corrupt(f"HEIF: unknown box at byte {pos}")
        box = _box(data, pos, len(data))
        if box.end > len(data):
            raise Truncated(f"HEIF: a box reaches to byte {box.end}, {len(data)} are here")
        if (kind == b"ftyp") != (pos == 0) or (kind == b"meta" and any(each.kind == b"meta" for each in boxes)):
            raise Corrupt(f"HEIF: a box {kind.decode()} at byte {pos}")
        if kind == b"mpvd" and data[box.body + 4 : box.body + 8] != b"ftyp":  # the film of a motion photo
            raise Corrupt("HEIF: its box mpvd is no film")
        if kind == b"sefd":
            _check_samsung(data, box)
        boxes.append(box)
        pos = box.end
    if not _complete(data, boxes):
        if any(box.kind == b"moov" for box in boxes):
            raise Unsupported("HEIF: a sequence of pictures without a still one cannot be read here")
        raise Truncated("HEIF: the file ends before its picture")
    return pos, boxes


def _check_samsung(data: bytes, box: _Box) -> None:
    """The blocks that Samsung's phones write stand in a box of their own. Raises: Corrupt."""
    trailer = samsung_trailer(data, box.body, box.end)
    if trailer is None or trailer.start != box.body:
        raise Corrupt("HEIF: its box sefd holds something else than Samsung's blocks")
    walk_samsung(data, trailer)


def _complete(data: bytes, boxes: Sequence[_Box]) -> bool:
    """Whether the boxes that a picture needs are there; a small one may lie in `meta` itself."""
    kinds = {box.kind for box in boxes}
    if b"meta" not in kinds:
        return False
    meta = next(box for box in boxes if box.kind == b"meta")
    return b"mdat" in kinds or data.find(b"idat", meta.body, meta.end) >= 0


def _box(data: bytes, pos: int, stop: int) -> _Box:
    size, kind = struct.unpack_from(">I4s", data, pos)
    body = pos + 8
    if size == 1:
        (size,) = struct.unpack_from(">Q", data, body)
        body += 8
    elif size == 0:
        size = stop - pos
    if pos + size < body:
        raise Corrupt(f"HEIF: a box of {size} bytes at byte {pos}")
    return _Box(kind, body, pos + size)


def _boxes(data: bytes, start: int, stop: int, steps: Steps) -> Iterator[_Box]:
    """The boxes inside another one; they fill it."""
    pos = start
    while pos < stop:
        steps.take()
        box = _box(data, pos, stop) if pos + 8 <= stop else _Box(b"", pos, stop + 1)
        if box.end > stop:
            raise Corrupt(f"HEIF: a box at byte {pos} is longer than the one around it")
        yield box
        pos = box.end


class _Reader:
    """Numbers one after the other, up to the end of a box."""

    def __init__(self, data: bytes, start: int, stop: int) -> None:
        self.data, self.pos, self.stop = data, start, stop

    def number(self, size: int) -> int:
        if self.pos + size > self.stop:
            raise Corrupt(f"HEIF: the box around byte {self.pos} is too short")
        self.pos += size
        return int.from_bytes(self.data[self.pos - size : self.pos], "big")

    def version(self) -> tuple[int, int]:
        """Version and flags, with which many boxes begin."""
        return self.number(1), self.number(3)


# --- meta -----------------------------------------------------------------------------------------------------------


def _read_meta(data: bytes, box: _Box, steps: Steps) -> _Meta:
    inside: dict[bytes, _Box] = {}
    for each in _boxes(data, box.body + 4, box.end, steps):
        if each.kind in _ONCE_IN_META:
            if each.kind in inside:
                raise Corrupt(f"HEIF: two boxes {each.kind.decode()}")
            inside[each.kind] = each
    meta = _Meta()
    for kind, name in ((b"pitm", "primary item"), (b"iinf", "items"), (b"iloc", "places"), (b"iprp", "properties")):
        if kind not in inside:
            raise Corrupt(f"HEIF: it names no {name}")
    reader = _Reader(data, *inside[b"pitm"][1:])
    meta.primary = reader.number(4 if reader.version()[0] else 2)
    _read_items(data, inside[b"iinf"], meta, steps)
    if b"idat" in inside:
        meta.idat = inside[b"idat"][1:]
    _read_places(data, inside[b"iloc"], meta, steps)
    _read_properties(data, inside[b"iprp"], meta, steps)
    if b"iref" in inside:
        _read_references(data, inside[b"iref"], meta, steps)
    return meta


def _read_items(data: bytes, box: _Box, meta: _Meta, steps: Steps) -> None:
    reader = _Reader(data, box.body, box.end)
    count = reader.number(4 if reader.version()[0] else 2)
    if count > _MAX_ITEMS:
        raise Corrupt(f"HEIF: {count} items, at most {_MAX_ITEMS} are read")
    for each in _boxes(data, reader.pos, box.end, steps):
        if each.kind != b"infe":
            continue
        entry = _Reader(data, each.body, each.end)
        version, flags = entry.version()
        if version < 2:
            raise Unsupported("HEIF: items without a type cannot be read here")
        number, protection = entry.number(4 if version > 2 else 2), entry.number(2)
        kind = entry.number(4).to_bytes(4, "big")
        try:  # names and media types; pi-heif believes them
            data[entry.pos : each.end].decode("utf-8")
            if not kind.decode("ascii").isprintable():
                raise ValueError
        except ValueError as err:
            raise Corrupt(f"HEIF: item {number} has a name that is no text") from err
        if protection:
            raise Unsupported("HEIF: protected items cannot be read here")
        if number in meta.items or len(meta.items) >= _MAX_ITEMS:
            raise Corrupt(f"HEIF: item {number} stands twice, or behind {_MAX_ITEMS} others")
        meta.items[number] = _Item(kind, hidden=flags & 1 == 1)


def _read_places(data: bytes, box: _Box, meta: _Meta, steps: Steps) -> None:
    reader = _Reader(data, box.body, box.end)
    version = reader.version()[0]
    sizes = reader.number(2)
    wide, long, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version > 2 or {wide, long, of_base, of_index if version else 0} - {0, 4, 8}:
        raise Corrupt("HEIF: its table of places makes no sense")
    for _ in range(reader.number(4 if version == 2 else 2)):
        steps.take()
        number = reader.number(4 if version == 2 else 2)
        method = reader.number(2) & 15 if version else 0
        elsewhere, base, count = reader.number(2), reader.number(of_base), reader.number(2)
        if count > _MAX_EXTENTS:
            raise Corrupt(f"HEIF: an item in {count} pieces, at most {_MAX_EXTENTS} are read")
        extents = []
        for _ in range(count):
            reader.pos += of_index if version else 0
            extents.append((base + reader.number(wide), reader.number(long)))
        if (item := meta.items.get(number)) is None:
            continue
        if item.extents is not None:
            raise Corrupt(f"HEIF: item {number} has its place twice")
        if not elsewhere and method < 2:  # not in another file, nor inside another item
            item.in_meta, item.extents = method == 1, extents


def _read_properties(data: bytes, box: _Box, meta: _Meta, steps: Steps) -> None:
    properties: list[_Box] = []
    tables: list[_Box] = []
    for each in _boxes(data, box.body, box.end, steps):
        if each.kind == b"ipco":
            properties += _boxes(data, each.body, each.end, steps)
        elif each.kind == b"ipma":
            tables.append(each)
    for table in tables:
        reader = _Reader(data, table.body, table.end)
        version, flags = reader.version()
        for _ in range(reader.number(4)):
            number, count = reader.number(4 if version else 2), reader.number(1)
            steps.take(1 + count)
            item = meta.items.get(number)
            for _ in range(count):
                index = reader.number(2) & 0x7FFF if flags & 1 else reader.number(1) & 0x7F
                if index > len(properties):
                    raise Corrupt(f"HEIF: item {number} has property {index} of {len(properties)}")
                if item is not None and index:
                    item.properties.append(properties[index - 1])


def _read_references(data: bytes, box: _Box, meta: _Meta, steps: Steps) -> None:
    wide = 4 if data[box.body] else 2
    for each in _boxes(data, box.body + 4, box.end, steps):
        reader = _Reader(data, each.body, each.end)
        source, count = reader.number(wide), reader.number(2)
        steps.take(count)
        meta.references.append(_Reference(each.kind, source, tuple(reader.number(wide) for _ in range(count))))


# --- what is decoded ------------------------------------------------------------------------------------------------


class _Decoded:
    """Follows the primary item to all pictures that its decoder will decode."""

    def __init__(self, data: bytes, meta: _Meta, ceilings: Ceilings, steps: Steps) -> None:
        self.data, self.meta, self.ceilings, self.steps = data, meta, ceilings, steps
        self.coded = 0  # bytes of all pictures that were met
        self.alphas: dict[int, int] = {}
        for kind, source, targets in meta.references:
            item = meta.items.get(source)
            if kind == b"auxl" and item is not None and _auxiliary_type(data, item) in _ALPHA:
                self.alphas.update(dict.fromkeys(targets, source))

    def follow(self, number: int, of_alpha: bool = False) -> _Coded:
        """One picture with its tiles and its alpha. Raises what `walk_heif` does."""
        item = self.meta.items.get(number)
        if item is None:
            raise Corrupt("HEIF: its primary item, or the alpha of that, is not there")
        if item.kind == b"hvc1":
            coded = self._coded(item)
        elif item.kind == b"grid":
            coded = self._grid(number, item, of_alpha)
        else:
            kind = item.kind.decode("latin-1")
            raise Unsupported(f"HEIF: a picture of kind {kind!r} cannot be read here, only hvc1 and grids of it")
        return self._with_alpha(number, coded, of_alpha)

    def _with_alpha(self, number: int, coded: _Coded, of_alpha: bool) -> _Coded:
        if number not in self.alphas:
            return coded
        if of_alpha:  # libheif would follow a circle
            raise Corrupt("HEIF: an alpha that has an alpha")
        self.follow(self.alphas[number], of_alpha=True)
        more = _ALPHA_OF_MORE_BITS if coded.deep else _ALPHA_OF_8_BITS
        return coded._replace(bytes_per_pixel=coded.bytes_per_pixel + more)

    def _size(self, item: _Item) -> tuple[int, int]:
        """What `ispe` says: pixels as stored."""
        found = [box for box in item.properties if box.kind == b"ispe"]
        if len(found) != 1:
            raise Corrupt(f"HEIF: {len(found)} sizes of one picture")
        reader = _Reader(self.data, found[0].body + 4, found[0].end)
        width, height = reader.number(4), reader.number(4)
        check_pixels("HEIF", width, height, self.ceilings, 0.0)
        return width, height

    def _content(self, item: _Item) -> bytes:
        """An item's data. All of them together are no longer than the file: it is no bomb of one tile, a thousand times."""
        if not item.extents:
            raise Corrupt("HEIF: a picture that has no place in the file")
        start, stop = self.meta.idat if item.in_meta else (0, len(self.data))
        content = b""
        for at, length in item.extents:
            at += start
            length = length or stop - at  # 0: up to the end
            if at + length > stop:
                raise Truncated(f"HEIF: picture data reach to byte {at + length}, {stop} are here")
            self.coded += length
            if self.coded > len(self.data):
                raise Corrupt("HEIF: its pictures share their data")
            content += self.data[at : at + length]
        return content

    def _coded(self, item: _Item) -> _Coded:
        width, height = self._size(item)
        headers = [box for box in item.properties if box.kind == b"hvcC"]
        if len(headers) != 1:
            raise Corrupt(f"HEIF: {len(headers)} decoder settings of one picture")
        pixels = check_settings(self.data[headers[0].body : headers[0].end], self.steps)
        check_picture(self._content(item), pixels, self.steps)
        deep = pixels.luma_bits > 8
        return _Coded(width, height, (_OF_MORE_BITS if deep else _OF_8_BITS)[pixels.chroma], deep)

    def _grid(self, number: int, item: _Item, of_alpha: bool) -> _Coded:
        width, height = self._size(item)
        content = self._content(item)
        reader = _Reader(content, 0, len(content))
        version, flags = reader.number(1), reader.number(1)
        if version:
            raise Unsupported(f"HEIF: grids of version {version} cannot be read here")
        rows, columns = reader.number(1) + 1, reader.number(1) + 1
        wide = 4 if flags & 1 else 2
        if (reader.number(wide), reader.number(wide)) != (width, height):
            raise Corrupt("HEIF: its grid is of another size than its picture")
        lists = [each.targets for each in self.meta.references if (each.kind, each.source) == (b"dimg", number)]
        tiles = lists[0] if len(lists) == 1 else ()
        if len(tiles) != rows * columns:
            raise Corrupt(f"HEIF: {len(tiles)} tiles in a grid of {columns} x {rows}")
        found = []
        for each in tiles:
            tile = self.meta.items.get(each)
            if tile is None or tile.kind != b"hvc1":
                raise Unsupported("HEIF: tiles of another kind than hvc1 cannot be read here")
            found.append(self._with_alpha(each, self._coded(tile), of_alpha))
        across, down = found[0][:2]
        if any(each[:2] != (across, down) for each in found):
            raise Corrupt("HEIF: tiles of different sizes")
        if not ((columns - 1) * across < width <= columns * across and (rows - 1) * down < height <= rows * down):
            raise Corrupt(f"HEIF: {columns} x {rows} tiles of {across} x {down} for {width} x {height} pixels")
        if len(tiles) * across * down > _TILES_OVER * width * height + _TILES_FREE:
            raise Corrupt(f"HEIF: tiles of {across} x {down} for {width} x {height} pixels")
        return _Coded(width, height, max(each.bytes_per_pixel for each in found), any(each.deep for each in found))


def _auxiliary_type(data: bytes, item: _Item) -> bytes:
    for box in item.properties:
        if box.kind == b"auxC":
            return data[box.body + 4 : box.end].partition(b"\0")[0]
    return b""


def _others(data: bytes, meta: _Meta) -> tuple[list[int], dict[str, bool]]:
    """The pictures that stand side by side, and notes of those that belong to another one.

    Tiles, thumbnails, alpha, depth and gain maps are no pictures of their own, nor is `tmap`, the picture and its gain map
    together.
    """
    parts = {number for each in meta.references if each.kind == b"dimg" for number in each.targets}
    parts |= {each.source for each in meta.references if each.kind in (b"thmb", b"auxl")}
    pictures = [
        number
        for number, item in meta.items.items()
        if number == meta.primary or (item.kind in _PICTURES and not item.hidden and number not in parts)
    ]
    auxiliary = {_auxiliary_type(data, item) for item in meta.items.values()}
    gain_map = _GAIN_MAP in auxiliary or any(item.kind == b"tmap" for item in meta.items.values())
    return pictures, {"gain_map": gain_map, "depth_map": bool(auxiliary & _DEPTH)}


def _check_copies(data: bytes, meta: _Meta, pictures: Sequence[int]) -> None:
    """pi-heif copies the profile and the metadata of each picture; items may all lie in one place. Raises: Corrupt."""
    copies = sum(
        box.end - box.body for number in pictures for box in meta.items[number].properties if box.kind == b"colr"
    )
    for kind, source, targets in meta.references:
        item = meta.items.get(source)
        if kind == b"cdsc" and item is not None:
            copies += sum(length or len(data) for _, length in item.extents or ()) * len(targets)
    if copies > len(data) + _MAX_COPIES:
        raise Corrupt(f"HEIF: {copies} bytes of profiles and metadata in a file of {len(data)}")
