"""Positions of the numbers in an image file's structure: lengths, offsets, counts, sizes, kinds and versions.

`fields` and `parts` follow a file as far as it can be followed and never raise: they are asked about damaged files too.
They judge nothing. A reader that understands a file otherwise than a decoder does only chooses other bytes to damage.

Sources: those of `imagewarehouse.images.formats`, and ICC.1:2022 for colour profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

Order = Literal["little", "big"]

MAX_FIELDS = 3000  # of a file; a damaged one may lead in circles


@dataclass(frozen=True, slots=True)
class Field:
    """A whole number in a file: `size` bytes at `at`. `base` is what an offset in it counts from."""

    name: str
    at: int
    size: int
    order: Order = "big"
    base: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """A segment, chunk, block, box or directory entry: its head from `start` on, then its body, up to `end`.

    `around`: the places of 32-bit sizes that count this part's bytes too, because they belong to what is around it.
    """

    start: int
    body: int
    end: int
    around: tuple[int, ...] = ()


def fields(content: bytes, image_format: str) -> tuple[Field, ...]:
    """The numbers of the structure that lie inside the file, in the order in which they are met."""
    inside = (field for field in _FIELDS[image_format](content) if 0 <= field.at <= len(content) - field.size)
    return tuple(islice(inside, MAX_FIELDS))


def parts(content: bytes, image_format: str) -> tuple[Part, ...]:
    """The pieces that a file consists of, as far as they lie inside it; nested ones behind the one that is around them."""
    inside = (part for part in _PARTS[image_format](content) if part.start < part.body <= part.end <= len(content))
    return tuple(islice(inside, MAX_FIELDS))


def read(content: bytes, field: Field) -> int:
    return int.from_bytes(content[field.at : field.at + field.size], field.order)


def _number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    """As much of the number as is there."""
    return int.from_bytes(data[max(0, at) : max(0, at) + size], order)


def _row(at: int, order: Order, *columns: tuple[str, int]) -> Iterator[Field]:
    """Fields that follow each other, as (name, size); one without a name is stepped over."""
    for name, size in columns:
        if name:
            yield Field(name, at, size, order)
        at += size


def _list_fields(name: str, at: int, size: int, count: int, order: Order = "big", most: int = 8) -> Iterator[Field]:
    """The first fields of a list."""
    for number in range(min(count, most)):
        yield Field(name, at + number * size, size, order)


# --- blocks that several formats carry ------------------------------------------------------------------------------

_KIND_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_POINTERS = frozenset((0x014A, 0x8769, 0x8825, 0xA005))  # tags whose values are places of directories


def _tiff_fields(data: bytes, base: int = 0) -> Iterator[Field]:
    """Of a TIFF file, or of an EXIF block that begins at `base`."""
    order: Order = "little" if data[base : base + 2] == b"II" else "big"
    big = _number(data, base + 2, 2, order) == 43
    yield Field("byte order", base, 2, order)
    yield Field("TIFF version", base + 2, 2, order)
    if big:
        yield Field("size of offsets", base + 4, 2, order)
        yield Field("always zero", base + 6, 2, order)
    pointer, entry_size, count_size = (8, 20, 8) if big else (4, 12, 2)
    first = base + (8 if big else 4)
    yield Field("place of the first directory", first, pointer, order, base)
    pending, visited = [base + _number(data, first, pointer, order)], set[int]()
    while pending and len(visited) < 20:
        at = pending.pop(0)
        if at in visited or at >= len(data) or at == base:
            continue
        visited.add(at)
        yield Field("number of entries", at, count_size, order)
        entries = min(_number(data, at, count_size, order), 100)
        for entry in range(at + count_size, at + count_size + entries * entry_size, entry_size):
            tag, kind = _number(data, entry, 2, order), _number(data, entry + 2, 2, order)
            count, value = _number(data, entry + 4, pointer, order), entry + 4 + pointer
            yield Field(f"tag {tag}", entry, 2, order)
            yield Field(f"kind of {tag}", entry + 2, 2, order)
            yield Field(f"count of {tag}", entry + 4, pointer, order)
            size = _KIND_SIZES.get(kind, 1)
            if size * count > pointer:
                yield Field(f"place of the values of {tag}", value, pointer, order, base)
                value = base + _number(data, value, pointer, order)
            if kind in (5, 10):
                yield from _list_fields(f"rational of {tag}", value, 4, 2 * count, order)
            else:
                yield from (
                    Field(f.name, f.at, f.size, order, base)
                    for f in _list_fields(f"value of {tag}", value, size, count, order)
                )
            if tag in _POINTERS:
                pending += [base + _number(data, value + n * size, size, order) for n in range(min(count, 4))]
            elif tag == 34675:
                yield from profile_fields(data, value)
        link = at + count_size + entries * entry_size
        yield Field("place of the next directory", link, pointer, order, base)
        following = _number(data, link, pointer, order)
        if following:
            pending.append(base + following)


def profile_fields(data: bytes, base: int = 0) -> Iterator[Field]:
    """Of an ICC profile that begins at `base`; a PNG has it compressed, so that `fields` does not see it."""
    yield from _row(base, "big", ("profile size", 4), ("profile maker", 4), ("profile version", 4), ("profile class", 4),
                    ("profile colours", 4), ("profile connection", 4), ("", 12), ("profile signature", 4), ("", 24),
                    ("profile intent", 4), ("", 60), ("profile tags", 4))  # fmt: skip
    for entry in range(base + 132, base + 132 + 12 * min(_number(data, base + 128, 4), 30), 12):
        yield from _row(entry, "big", ("profile tag", 4), ("place of a profile tag", 4), ("size of a profile tag", 4))
        at = base + _number(data, entry + 4, 4)
        yield from _row(at, "big", ("profile kind", 4), ("", 4), ("profile count", 4), ("profile value", 4))


# --- JPEG -----------------------------------------------------------------------------------------------------------

_BARE = frozenset((0x01, *range(0xD0, 0xDA)))  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _jpeg_parts(data: bytes) -> Iterator[Part]:
    at = 2
    while at + 1 < len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):  # picture data, up to the next marker
            at += 1
            continue
        length = 0 if data[at + 1] in _BARE else _number(data, at + 2, 2)
        body = at + (4 if length >= 2 else 2)
        end = at + 2 + length
        yield Part(at, body, max(body, end))
        at = max(body, end)


def _jpeg_fields(data: bytes) -> Iterator[Field]:
    for part in _jpeg_parts(data):
        marker, body, length = data[part.start + 1], part.body, part.end - part.body
        yield Field("marker", part.start + 1, 1)
        if marker in _BARE:
            continue
        yield Field(f"length of segment {marker:02x}", part.start + 2, 2)
        if marker in _FRAMES:
            yield from _row(body, "big", ("precision", 1), ("height", 2), ("width", 2), ("components", 1))
            for at in range(body + 6, min(part.end, body + 18), 3):
                yield from _row(at, "big", ("component", 1), ("sampling factors", 1), ("quantisation table", 1))
        elif marker == 0xC4:
            at = body
            while at < part.end:
                values = sum(data[at + 1 : at + 17])
                yield Field("Huffman table", at, 1)
                yield from _list_fields("codes of a length", at + 1, 1, 16, most=16)
                yield from _list_fields("Huffman value", at + 17, 1, values, most=4)
                at += 17 + values
        elif marker == 0xDB:
            at = body
            while at < part.end:
                size = 2 if _number(data, at, 1) >> 4 else 1
                yield Field("quantisation table", at, 1)
                yield from _list_fields("quantisation value", at + 1, size, 64, most=4)
                at += 1 + 64 * size
        elif marker == 0xDA:
            yield Field("components of the scan", body, 1)
            yield from _list_fields("scan", body + 1, 1, length - 1, most=12)
            yield from _list_fields("picture data", part.end, 1, 8)
        elif marker == 0xDD:
            yield Field("restart interval", body, 2)
        elif data[body : body + 6] == b"Exif\0\0":
            yield from _tiff_fields(data, body + 6)
        elif data[body : body + 4] == b"MPF\0":
            yield from _tiff_fields(data, body + 4)
        elif data[body : body + 12] == b"ICC_PROFILE\0":
            yield from _row(body + 12, "big", ("number of the piece", 1), ("pieces of the profile", 1))
            yield from profile_fields(data, body + 14)
        elif data[body : body + 14] == b"Photoshop 3.0\0":
            yield from _row(body + 18, "big", ("resource", 2), ("length of a name", 2), ("length of a resource", 4),
                            ("resolution", 4), ("unit", 2))  # fmt: skip
        elif data[body : body + 5] == b"Adobe":
            yield from _row(body + 5, "big", ("Adobe version", 2), ("", 4), ("colour transform", 1))
        else:
            yield from _list_fields(f"segment {marker:02x}", body, 1, length, most=16)
    yield from _trailer_fields(data)


def _trailer_fields(data: bytes) -> Iterator[Field]:
    """Of the first film and of the last directory of Samsung's that stand behind a picture or in a block behind it."""
    at = data.find(b"ftyp") - 4
    for _ in range(10 if at >= 0 else 0):
        size = _number(data, at, 4)
        yield from _row(at, "big", ("size of a film's box", 4), ("kind of a film's box", 4), ("film's box", 4))
        if data[at + 4 : at + 8] == b"moov":
            yield from _row(at + 8, "big", ("size of a film's inner box", 4), ("kind of a film's inner box", 4))
        at += max(8, size)
        if at >= len(data):
            break
    end = data.rfind(b"SEFT")
    if end >= 4:
        yield Field("length of Samsung's directory", end - 4, 4, "little")
        start = end - 4 - _number(data, end - 4, 4, "little")
        yield from _row(start, "little", ("Samsung's mark", 4), ("Samsung's version", 4), ("Samsung's blocks", 4))
        for entry in range(start + 12, min(end - 4, start + 12 + 12 * 10), 12):
            yield from _row(
                entry, "little", ("", 2), ("kind of a block", 2), ("place of a block", 4), ("length of a block", 4)
            )
            block = start - _number(data, entry + 4, 4, "little")
            yield from _row(block, "little", ("", 2), ("kind of a block", 2), ("length of a block's name", 4))


# --- PNG ------------------------------------------------------------------------------------------------------------

_PNG_ROWS: dict[bytes, tuple[tuple[str, int], ...]] = {
    b"IHDR": (("width", 4), ("height", 4), ("depth", 1), ("colour type", 1), ("compression", 1), ("filter", 1),
              ("interlace", 1)),
    b"acTL": (("frames", 4), ("plays", 4)),
    b"fcTL": (("sequence", 4), ("frame width", 4), ("frame height", 4), ("frame x", 4), ("frame y", 4), ("delay", 2),
              ("delay of", 2), ("disposal", 1), ("blending", 1)),
    b"fdAT": (("sequence", 4), ("zlib", 2)), b"IDAT": (("zlib", 2), ("deflate", 1)), b"gAMA": (("gamma", 4),),
    b"pHYs": (("pixels a unit", 4), ("pixels a unit", 4), ("unit", 1)), b"sRGB": (("intent", 1),),
    b"cHRM": (("white x", 4), ("white y", 4), ("red x", 4), ("red y", 4)), b"tRNS": (("transparent", 2), ("transparent", 2)),
    b"bKGD": (("background", 2),), b"tIME": (("year", 2), ("month", 1)), b"hIST": (("histogram", 2),),
    b"PLTE": (("colour", 1),),
}  # fmt: skip


def _png_parts(data: bytes) -> Iterator[Part]:
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + _number(data, at, 4)
        yield Part(at, at + 8, end)
        at = end


def _png_fields(data: bytes) -> Iterator[Field]:
    for part in _png_parts(data):
        kind, body = data[part.start + 4 : part.body], part.body
        yield Field(f"length of {kind.decode('latin-1')}", part.start, 4)
        yield Field(f"kind of {kind.decode('latin-1')}", part.start + 4, 4)
        inside = (
            field for field in _row(body, "big", *_PNG_ROWS.get(kind, ())) if field.at + field.size <= part.end - 4
        )
        yield from inside
        if kind == b"eXIf":
            yield from _tiff_fields(data, body)
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            name = data.find(b"\0", body, part.end)
            yield from _list_fields("compression", name + 1, 1, 2)


# --- WebP -----------------------------------------------------------------------------------------------------------

_WEBP_ROWS: dict[bytes, tuple[tuple[str, int], ...]] = {
    b"VP8X": (("flags", 1), ("reserved", 3), ("canvas width", 3), ("canvas height", 3)),
    b"VP8 ": (("frame tag", 3), ("start code", 3), ("width", 2), ("height", 2), ("partition", 1), ("partition", 1)),
    b"VP8L": (("signature", 1), ("size and version", 4), ("transforms", 1), ("codes", 2)),
    b"ANIM": (("background", 4), ("loops", 2)), b"ALPH": (("alpha flags", 1), ("alpha data", 2)),
    b"ANMF": (("frame x", 3), ("frame y", 3), ("frame width", 3), ("frame height", 3), ("duration", 3), ("frame flags", 1)),
}  # fmt: skip


def _webp_parts(
    data: bytes, start: int = 12, stop: int | None = None, around: tuple[int, ...] = (4,)
) -> Iterator[Part]:
    at, stop = start, len(data) if stop is None else min(stop, len(data))
    while at + 8 <= stop:
        length = _number(data, at + 4, 4, "little")
        yield Part(at, at + 8, at + 8 + length, around)
        if data[at : at + 4] == b"ANMF" and len(around) == 1:
            yield from _webp_parts(data, at + 24, at + 8 + length, (*around, at + 4))
        at += 8 + length + length % 2


def _webp_fields(data: bytes) -> Iterator[Field]:
    yield Field("RIFF size", 4, 4, "little")
    for part in _webp_parts(data):
        kind, body = data[part.start : part.start + 4], part.body
        yield Field(f"kind of {kind.decode('latin-1')}", part.start, 4, "little")
        yield Field(f"size of {kind.decode('latin-1')}", part.start + 4, 4, "little")
        yield from _row(body, "little", *_WEBP_ROWS.get(kind, ()))
        if kind == b"EXIF":
            yield from _tiff_fields(data, body + (6 if data[body : body + 6] == b"Exif\0\0" else 0))
        elif kind == b"ICCP":
            yield from profile_fields(data, body)


# --- GIF ------------------------------------------------------------------------------------------------------------


def _gif_parts(data: bytes) -> Iterator[Part]:
    """Extensions and frames; the body of one begins with the sub-blocks of its data."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    at = 13 + table(_number(data, 10, 1))
    while at < len(data):
        if data[at] == 0x21:
            body = at + 2
        elif data[at] == 0x2C:
            body = at + 11 + table(_number(data, at + 9, 1))
        else:
            return
        end = body
        while end < len(data) and data[end]:
            end += 1 + data[end]
        yield Part(at, body, end + 1)
        at = end + 1


def _gif_fields(data: bytes) -> Iterator[Field]:
    yield from _row(
        6, "little", ("screen width", 2), ("screen height", 2), ("screen flags", 1), ("background", 1), ("aspect", 1)
    )
    for part in _gif_parts(data):
        if data[part.start] == 0x21:
            yield Field("extension", part.start + 1, 1)
            yield Field("size of a sub-block", part.body, 1)
            if data[part.start + 1 : part.start + 3] == b"\xf9\x04":
                yield from _row(part.body + 1, "little", ("control flags", 1), ("delay", 2), ("transparent", 1))
        else:
            yield from _row(part.start + 1, "little", ("frame x", 2), ("frame y", 2), ("frame width", 2), ("frame height", 2),
                            ("frame flags", 1))  # fmt: skip
            yield Field("LZW code size", part.body - 1, 1)
            at = part.body
            for _ in range(4):
                yield Field("size of a sub-block", at, 1)
                yield from _list_fields("LZW code", at + 1, 1, _number(data, at, 1), most=2)
                at += 1 + _number(data, at, 1)
        yield Field("end of a block", part.end - 1, 1)


# --- BMP ------------------------------------------------------------------------------------------------------------


def _bmp_fields(data: bytes) -> Iterator[Field]:
    yield from _row(2, "little", ("file size", 4), ("", 4), ("place of the pixels", 4), ("header size", 4))
    if _number(data, 14, 4, "little") == 12:
        yield from _row(18, "little", ("width", 2), ("height", 2), ("planes", 2), ("bits", 2))
    else:
        yield from _row(18, "little", ("width", 4), ("height", 4), ("planes", 2), ("bits", 2), ("compression", 4),
                        ("image size", 4), ("resolution", 4), ("resolution", 4), ("colours", 4), ("important colours", 4),
                        ("red mask", 4), ("green mask", 4), ("blue mask", 4), ("alpha mask", 4),
                        ("colour space", 4))  # fmt: skip
        if _number(data, 14, 4, "little") >= 124:
            yield from _row(122, "little", ("intent", 4), ("place of the profile", 4), ("size of the profile", 4))
            yield from profile_fields(data, 14 + _number(data, 126, 4, "little"))
    yield from _list_fields("pixels", _number(data, 10, 4, "little"), 1, 16, most=16)


# --- AVIF and HEIF -----------------------------------------------------------------------------------------------------------

_CONTAINERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"iprp", b"ipco", b"edts", b"udta", b"tref")
)
_COUNTED = {
    b"meta": 4,
    b"iinf": 6,
    b"iref": 4,
    b"stsd": 8,
    b"dref": 8,
}  # containers behind a version and, mostly, a count
_FULL = frozenset((b"ispe", b"pixi", b"iloc", b"infe", b"pitm", b"ipma", b"auxC", b"hdlr", b"mvhd", b"tkhd", b"mdhd", b"stts",
                   b"stsz", b"stsc", b"stco", b"co64", b"stss", b"ctts", b"elst", b"sbgp", b"vmhd", *_COUNTED))  # fmt: skip


def _bmff_parts(data: bytes, start: int = 0, stop: int | None = None, around: tuple[int, ...] = ()) -> Iterator[Part]:
    at, stop = start, len(data) if stop is None else min(stop, len(data))
    while at + 8 <= stop:
        size, kind, head = _number(data, at, 4), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        elif size == 0:
            size = stop - at
        yield Part(at, at + head, at + size, around)
        if size < head:
            return
        inner = head + _COUNTED.get(kind, 0)
        if kind == b"av01" and start:  # an entry of stsd: 78 bytes, then boxes
            inner = head + 78
        if (kind in _CONTAINERS or inner > head) and len(around) < 10:
            yield from _bmff_parts(data, at + inner, at + size, (*around, at) if head == 8 else around)
        at += size


def _bmff_fields(data: bytes) -> Iterator[Field]:
    for part in _bmff_parts(data):
        kind, body = data[part.start + 4 : part.start + 8], part.body
        name = kind.decode("latin-1")
        yield Field(f"size of {name}", part.start, 4)
        yield Field(f"kind of {name}", part.start + 4, 4)
        if body - part.start == 16:
            yield Field(f"large size of {name}", part.start + 8, 8)
        if kind in _FULL:
            yield from _row(body, "big", (f"version of {name}", 1), (f"flags of {name}", 3))
        if kind == b"iloc":
            yield from _iloc_fields(data, body)
        elif kind == b"ispe":
            yield from _row(body + 4, "big", ("width", 4), ("height", 4))
        elif kind == b"pixi":
            yield from _list_fields("bits of a channel", body + 4, 1, 4)
        elif kind in (b"tkhd", b"av01"):
            yield from _list_fields(f"value of {name}", body + 4, 4, (part.end - body) // 4 - 1, most=24)
        elif kind == b"mdat":
            yield from _list_fields("picture data", body, 1, part.end - body, most=24)
            for magic in (b"II*\0", b"MM\0*"):  # an EXIF block lies among the picture data
                exif = data.find(magic, body, part.end)
                yield from _tiff_fields(data, exif) if exif >= 0 else ()
        elif kind == b"colr" and data[body : body + 4] in (b"prof", b"rICC"):
            yield from profile_fields(data, body + 4)
        else:  # whatever it holds, most of it are numbers of 1, 2 and 4 bytes
            start = body + (4 if kind in _FULL else 0)
            yield from _list_fields(f"byte of {name}", start, 1, part.end - start, most=16)
            yield from _list_fields(f"16 bits of {name}", start, 2, (part.end - start) // 2, most=8)
            yield from _list_fields(f"32 bits of {name}", start, 4, (part.end - start) // 4)


def _iloc_fields(data: bytes, body: int) -> Iterator[Field]:
    """The places of the items, whose fields are as wide as the box itself says."""
    version, sizes = _number(data, body, 1), _number(data, body + 4, 2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    yield from _list_fields("sizes in iloc", body + 4, 1, 2)
    yield Field("items", body + 6, wide)
    at = body + 6 + wide
    for _ in range(min(_number(data, body + 6, wide), 10)):
        columns = [
            ("item", wide),
            ("construction", 2 if version else 0),
            ("data reference", 2),
            ("base offset", base),
            ("extents", 2),
        ]
        for name, size in columns:
            if size:
                yield Field(name, at, size)
            at += size
        for _ in range(min(_number(data, at - 2, 2), 4)):
            for name, size in (
                ("extent index", index if version else 0),
                ("extent offset", offset),
                ("extent length", length),
            ):
                if size:
                    yield Field(name, at, size)
                at += size


def _tiff_parts(data: bytes) -> Iterator[Part]:
    """The entries of the directories: head is the tag, body the rest."""
    big = len(data) > 3 and 43 in data[2:4]
    for field in _tiff_fields(data):
        if field.name.startswith("tag "):
            yield Part(field.at, field.at + 2, field.at + (20 if big else 12))


# --- JPEG 2000 ------------------------------------------------------------------------------------------------------

_SUPER_BOXES = frozenset((b"jp2h", b"res ", b"uinf", b"asoc"))
_J2K_ROWS: dict[int, tuple[tuple[str, int], ...]] = {
    0x51: (("capabilities", 2), ("width", 4), ("height", 4), ("x offset", 4), ("y offset", 4), ("tile width", 4),
           ("tile height", 4), ("tile x offset", 4), ("tile y offset", 4), ("components", 2), ("bits", 1), ("step x", 1),
           ("step y", 1)),
    0x52: (("coding style", 1), ("progression", 1), ("layers", 2), ("transform of colours", 1), ("levels", 1),
           ("block width", 1), ("block height", 1), ("block style", 1), ("wavelet", 1), ("precinct", 1), ("precinct", 1)),
    0x53: (("component", 1), ("coding style", 1), ("levels", 1), ("block width", 1), ("block height", 1), ("block style", 1),
           ("wavelet", 1)),
    0x90: (("tile", 2), ("length of a tile part", 4), ("tile part", 1), ("tile parts", 1)),
}  # fmt: skip


def _jp2_parts(data: bytes, start: int = 0, stop: int | None = None, around: tuple[int, ...] = ()) -> Iterator[Part]:
    """Boxes, and the segments of the codestream in them; a tile's data are the body of its SOD."""
    if not around and data.startswith(b"\xff\x4f"):
        yield from _j2k_parts(data, 0, len(data), ())
        return
    at, stop = start, len(data) if stop is None else min(stop, len(data))
    while at + 8 <= stop:
        size, kind, head = _number(data, at, 4), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        elif size == 0:
            size = stop - at
        yield Part(at, at + head, at + size, around)
        if size < head:
            return
        inside = (*around, at) if head == 8 and _number(data, at, 4) else around
        if kind in _SUPER_BOXES and len(around) < 10:
            yield from _jp2_parts(data, at + head, at + size, inside or (at,))
        elif kind == b"jp2c":
            yield from _j2k_parts(data, at + head, min(stop, at + size), inside)
        at += size


def _j2k_parts(data: bytes, start: int, stop: int, around: tuple[int, ...]) -> Iterator[Part]:
    at, tile_end = start + 2, stop
    while at + 4 <= stop:
        marker = data[at + 1]
        if marker == 0x93:
            yield Part(at, at + 2, max(at + 2, tile_end), around)
            at = max(at + 2, tile_end)
            continue
        length = _number(data, at + 2, 2)
        if data[at] != 0xFF or length < 2:
            return
        if marker == 0x90:
            tile_end = at + _number(data, at + 6, 4)
        yield Part(at, at + 4, at + 2 + length, around)
        at += 2 + length


def _jp2_fields(data: bytes) -> Iterator[Field]:
    for part in _jp2_parts(data):
        head, kind = data[part.start : part.start + 2], data[part.start + 4 : part.start + 8]
        if head[:1] == b"\xff" and part.body - part.start in (2, 4):
            marker = head[1]
            yield Field("marker", part.start + 1, 1)
            if part.body - part.start == 4:
                yield Field(f"length of segment {marker:02x}", part.start + 2, 2)
            yield from _row(part.body, "big", *_J2K_ROWS.get(marker, ()))
            yield from _list_fields(f"segment {marker:02x}", part.body, 1, part.end - part.body, most=24)
            continue
        name = kind.decode("latin-1")
        yield Field(f"size of {name}", part.start, 4)
        yield Field(f"kind of {name}", part.start + 4, 4)
        if kind == b"ihdr":
            yield from _row(
                part.body, "big", ("height", 4), ("width", 4), ("components", 2), ("bits", 1), ("coding", 1)
            )
        elif kind == b"colr" and data[part.body : part.body + 1] == b"\2":
            yield from profile_fields(data, part.body + 3)
        elif kind not in (b"jp2h", b"jp2c"):
            yield from _list_fields(f"byte of {name}", part.body, 1, part.end - part.body, most=16)
            yield from _list_fields(f"32 bits of {name}", part.body, 4, (part.end - part.body) // 4)


def _no_parts(data: bytes) -> Iterator[Part]:
    return iter(())


_FIELDS: dict[str, Callable[[bytes], Iterator[Field]]] = {
    "JPEG": _jpeg_fields,
    "PNG": _png_fields,
    "WEBP": _webp_fields,
    "GIF": _gif_fields,
    "BMP": _bmp_fields,
    "TIFF": _tiff_fields,
    "AVIF": _bmff_fields,
    "HEIF": _bmff_fields,
    "JPEG2000": _jp2_fields,
}
_PARTS: dict[str, Callable[[bytes], Iterator[Part]]] = {
    "JPEG": _jpeg_parts,
    "PNG": _png_parts,
    "WEBP": _webp_parts,
    "GIF": _gif_parts,
    "BMP": _no_parts,
    "TIFF": _tiff_parts,
    "AVIF": _bmff_parts,
    "HEIF": _bmff_parts,
    "JPEG2000": _jp2_parts,
}
