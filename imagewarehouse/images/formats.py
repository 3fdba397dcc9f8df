"""Image formats recognised by their bytes, and the end of each picture.

A decoder stops reading at the end of the picture, so it says nothing about what follows; a browser or a ZIP tool may
well read on. Each walker here follows a format's own structure to the byte where the picture ends, counts its frames
and refuses a picture of too many pixels as soon as its header has announced them. None of them decodes pixels;
`imagewarehouse.images.decoding` does that afterwards, with Pillow.

Walkers stand in front of the decoder, so nothing in them may cost much: the number of segments, chunks and entries
they follow is bounded, and what has to look at every byte does it in C.

Sources: ITU T.81 (JPEG), W3C PNG 3rd edition, GIF89a, RFC 9649 (WebP), the BITMAPINFOHEADER family, TIFF 6.0 with
BigTIFF, ISO/IEC 14496-12 and 23008-12 (AVIF).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagewarehouse.errors import Corrupt, TooLarge, TooManyFrames, TooManyPixels, Truncated


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the picture ends, in bytes from the start, and how many frames or pages it has."""

    end: int
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most pixels of a frame and the most frames; a walker stops at the first that is exceeded."""

    pixels: int
    frames: int


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One format: Pillow's name for it, the media types that may declare it, the extension of stored objects."""

    name: str
    media_types: tuple[str, ...]  # the registered one first; the others are seen in the wild
    extension: str
    file_suffixes: tuple[str, ...]
    walk: Callable[[bytes, Ceilings], Extent] | None = None  # None: recognised, but not walked and not decoded here
    bytes_per_pixel: int = 4  # what Pillow's decoder holds at its peak, measured at 50 megapixels


def sniff(content: bytes) -> ImageFormat | None:
    """The format whose signature `content` starts with, or None."""
    for prefix, name in _SIGNATURES:
        if content.startswith(prefix):
            return FORMATS[name]
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return FORMATS["WEBP"]
    if content[4:8] == b"ftyp":
        size = int.from_bytes(content[:4], "big")
        brands = {content[8:12]} | {content[i : i + 4] for i in range(16, min(size, 256, len(content)), 4)}
        if brands & {b"avif", b"avis"}:
            return FORMATS["AVIF"]
        if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
            return FORMATS["HEIF"]
    return None


def by_media_type(media_type: str) -> ImageFormat | None:
    """The format a media type declares, or None when it declares none known here."""
    return _BY_MEDIA_TYPE.get(media_type)


def by_file_name(file_name: str) -> ImageFormat | None:
    """The format a file name's suffix declares, or None."""
    return _BY_SUFFIX.get(file_name.rpartition(".")[2].lower()) if "." in file_name else None


# --- walkers: (content, ceilings) -> Extent ------------------------------------------------------------------------


class _Steps:
    """How many parts of a file a walker follows before it calls the file an attack."""

    __slots__ = ("name", "remaining")

    def __init__(self, name: str, most: int) -> None:
        self.name, self.remaining = name, most

    def take(self, number: int = 1) -> None:
        self.remaining -= number
        if self.remaining < 0:
            raise Corrupt(f"{self.name}: more parts than a picture of its length has")


def _check_pixels(name: str, width: int, height: int, ceilings: Ceilings) -> None:
    if width < 1 or height < 1:
        raise Corrupt(f"{name}: {width} x {height} pixels")
    if width * height > ceilings.pixels:
        raise TooManyPixels(f"{name}: {width} x {height} pixels, at most {ceilings.pixels} in all are allowed")


def _check_frames(name: str, frames: int, ceilings: Ceilings) -> None:
    if frames > ceilings.frames:
        raise TooManyFrames(f"{name}: more frames than the {ceilings.frames} allowed")


Positions = npt.NDArray[np.int64]

_JPEG_FILL = re.compile(rb"\xff+")
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what `_jpeg_markers` finds
_JPEG_SMALL = 8192  # bytes; up to here the search takes less time than numpy's start
_JPEG_MAX_FILL = 1000
_JPEG_MAX_SCANS = 50  # a progressive picture has about 10; each costs a pass over all pixels
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_HUFFMAN = frozenset((0xC0, 0xC1, 0xC2))


def _walk_jpeg(data: bytes, ceilings: Ceilings) -> Extent:
    steps = _Steps("JPEG", 2000)
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
    _check_pixels("JPEG", width, height, ceilings)
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


_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _walk_png(data: bytes, ceilings: Ceilings) -> Extent:
    steps = _Steps("PNG", 1000 + len(data) // 256)
    view = memoryview(data)
    pos, frames, expected, palette_missing = 8, 1, 0, False
    inflate, inflated = zlib.decompressobj(), 0
    while True:
        steps.take()
        if pos + 8 > len(data):
            raise Truncated("PNG: the file ends before its IEND chunk")
        length, kind = int.from_bytes(data[pos : pos + 4], "big"), data[pos + 4 : pos + 8]
        body, pos = pos + 8, pos + 12 + length
        if not kind.isalpha() or length > 0x7FFFFFFF:
            raise Corrupt(f"PNG: no chunk at byte {body - 8}")
        name = kind.decode("latin-1")
        if (kind == b"IHDR") != (body == 16):
            raise Corrupt("PNG: IHDR is not its first chunk")
        if kind == b"IHDR" and length == 13 and body + 13 <= len(data):
            _check_pixels(
                "PNG",
                int.from_bytes(data[body : body + 4], "big"),
                int.from_bytes(data[body + 4 : body + 8], "big"),
                ceilings,
            )
        if pos > len(data):
            raise Truncated(f"PNG: the file ends inside its {name} chunk")
        if zlib.crc32(view[body - 4 : pos - 4]) != int.from_bytes(data[pos - 4 : pos], "big"):
            raise Corrupt(f"PNG: the checksum of its {name} chunk is wrong")
        if kind == b"IHDR":
            expected, palette_missing = _png_header(data[body : body + length])
        elif kind == b"PLTE":
            palette_missing = False
        elif kind == b"acTL" and length >= 4:
            frames = max(1, int.from_bytes(data[body : body + 4], "big"))
            _check_frames("PNG", frames, ceilings)
        elif kind == b"IDAT":
            if palette_missing:
                raise Corrupt("PNG: its palette is missing")
            inflated += _inflated(inflate, view[body : body + length], expected - inflated)
        elif kind == b"IEND":
            if inflated < expected:
                raise Corrupt(f"PNG: {inflated} bytes of pixels, its size asks for {expected}")
            return Extent(pos, frames)


def _png_header(header: bytes) -> tuple[int, bool]:
    """Bytes of pixels with their filter bytes, and whether a palette has to come."""
    if len(header) != 13:
        raise Corrupt("PNG: its IHDR chunk is not 13 bytes long")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _PNG_CHANNELS or depth not in (1, 2, 4, 8, 16) or interlaced > 1:
        raise Corrupt("PNG: its IHDR chunk makes no sense")
    bits = depth * _PNG_CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for x, y, across, down in passes:
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total, colour == 3


def _inflated(inflate: zlib._Decompress, chunk: memoryview, wanted: int) -> int:
    """How many bytes come out of a chunk; it stops counting once there are enough, so a bomb costs nothing more."""
    total = 0
    source: bytes | memoryview = chunk
    while source and total < wanted and not inflate.eof:
        try:
            total += len(inflate.decompress(source, 1 << 18))
        except zlib.error as err:
            raise Corrupt(f"PNG: its pixels cannot be inflated: {err}") from err
        source = inflate.unconsumed_tail
    return total


def _walk_gif(data: bytes, ceilings: Ceilings) -> Extent:
    def table_size(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    steps = _Steps("GIF", 1000 + len(data) // 64)

    def skip_sub_blocks(at: int) -> int:
        while True:
            steps.take()
            if at >= len(data):
                raise Truncated("GIF: the file ends inside a block")
            size = data[at]
            at += 1 + size
            if size == 0:
                return at

    if len(data) < 13:
        raise Truncated("GIF: the file ends inside its header")
    width, height = struct.unpack_from("<HH", data, 6)
    if width and height:  # 0 x 0 leaves the size to the first frame
        _check_pixels("GIF", width, height, ceilings)
    pos, frames = 13 + table_size(data[10]), 0
    while True:
        if pos >= len(data):
            raise Truncated("GIF: the file ends before its trailer")
        block = data[pos]
        if block == 0x3B:
            if frames == 0:
                raise Corrupt("GIF: no picture in it")
            return Extent(pos + 1, frames)
        if block == 0x21:
            pos = skip_sub_blocks(pos + 2)
        elif block == 0x2C:
            if pos + 10 > len(data):
                raise Truncated("GIF: the file ends inside an image descriptor")
            width, height = struct.unpack_from("<HH", data, pos + 5)
            _check_pixels("GIF", width, height, ceilings)
            frames += 1
            _check_frames("GIF", frames, ceilings)
            pos = skip_sub_blocks(pos + 10 + table_size(data[pos + 9]) + 1)
        else:
            raise Corrupt(f"GIF: unknown block 0x{block:02x} at byte {pos}")


def _walk_webp(data: bytes, ceilings: Ceilings) -> Extent:
    steps = _Steps("WebP", 1000 + len(data) // 256)
    size = int.from_bytes(data[4:8], "little")
    end = 8 + size
    if len(data) > end and size & 1:
        end += 1  # the padding of an odd size, which some writers leave out
    complete = end <= len(data)
    pos, frames = 12, 0
    while pos + 8 <= min(end, len(data)):
        steps.take()
        kind, length = data[pos : pos + 4], int.from_bytes(data[pos + 4 : pos + 8], "little")
        body = data[pos + 8 : pos + 18]
        if kind == b"VP8X" and len(body) == 10:
            width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
            _check_pixels("WebP", width, height, ceilings)
        elif kind == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", body, 6)
            _check_pixels("WebP", width & 0x3FFF, height & 0x3FFF, ceilings)
        elif kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
            bits = int.from_bytes(body[1:5], "little")
            _check_pixels("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, ceilings)
        if kind == b"ANMF":
            frames += 1
            _check_frames("WebP", frames, ceilings)
        pos += 8 + length + (length & 1)
    if not complete:
        raise Truncated(f"WebP: its header announces {end} bytes, {len(data)} are here")
    if pos > end + 1 or (pos == end + 1 and not size & 1):
        raise Corrupt("WebP: a chunk is longer than the file's own length")
    return Extent(end, max(1, frames))


# Pillow decodes run lengths in Python, byte by byte and pixel by pixel, and nothing else runs meanwhile: 0.2 s a million.
_RLE_PIXELS = 1 << 21  # a screen of 1920 x 1080
_RLE_BYTES = 1 << 20


def _walk_bmp(data: bytes, ceilings: Ceilings) -> Extent:
    if len(data) < 26:
        raise Truncated("BMP: the file ends inside its header")
    declared, pixels_at, header = struct.unpack_from("<I4xII", data, 2)
    compression = image_size = profile_end = 0
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        if len(data) < 14 + min(header, 40):
            raise Truncated("BMP: the file ends inside its header")
        width, height, _, bits, compression, image_size = struct.unpack_from("<iiHHII", data, 18)
        if header >= 124 and len(data) >= 138 and data[70:74] in (b"DEBM", b"KNIL"):  # a colour profile follows
            profile_at, profile_size = struct.unpack_from("<II", data, 14 + 112)
            profile_end = 14 + profile_at + profile_size
    _check_pixels("BMP", width, abs(height), ceilings)
    if pixels_at < 14 + header:
        raise Corrupt("BMP: its pixels start inside its header")
    if compression in (0, 3, 6):
        end = pixels_at + (width * bits + 31) // 32 * 4 * abs(height)
    else:
        end = pixels_at + image_size
        _check_pixels("BMP, run-length encoded", width, abs(height), Ceilings(min(ceilings.pixels, _RLE_PIXELS), 1))
        if len(data) - pixels_at > _RLE_BYTES:
            raise TooLarge(
                f"BMP, run-length encoded: {len(data) - pixels_at} bytes of it, at most {_RLE_BYTES} are allowed"
            )
    end = max(end, profile_end)
    if end > len(data):
        raise Truncated(f"BMP: its header announces {end} bytes, {len(data)} are here")
    # Its own length may count up to three bytes of padding; beyond that it is not believed.
    return Extent(declared if end < declared <= min(end + 3, len(data)) else end)


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_POINTERS = {0x014A, 0x8769, 0x8825, 0xA005}  # SubIFDs, Exif, GPS, Interoperability
_TIFF_DATA = {0x0111: 0x0117, 0x0144: 0x0145, 0x0201: 0x0202}  # offsets -> byte counts: strips, tiles, JPEG
_TIFF_SIZE, _TIFF_TILE = (0x0100, 0x0101), (0x0142, 0x0143)  # width and height
_TIFF_MAX_ENTRIES = 30_000  # of all directories; a page has about 20
_TIFF_MAX_VALUES = 300_000  # strips and tiles of all pages
_TIFF_MAX_PADDING = 15  # writers align to a word; Pillow aligns pages to 16 bytes


def _walk_tiff(data: bytes, ceilings: Ceilings) -> Extent:
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        raise Truncated("TIFF: the file ends inside its header")
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    pointer, entry_size, count_format, inline = ("Q", 20, "Q", 8) if big else ("I", 12, "H", 4)
    entry_steps, value_steps = _Steps("TIFF", _TIFF_MAX_ENTRIES), _Steps("TIFF", _TIFF_MAX_VALUES)
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

    pages = 0
    directory = read(pointer, 8 if big else 4)
    if directory == 0:
        raise Truncated("TIFF: it has no directory; its writer did not finish")
    pending, visited = [(directory, True)], set()
    while pending:
        at, is_page = pending.pop()
        if at in visited:
            raise Corrupt("TIFF: its directories form a loop")
        visited.add(at)
        pages += is_page
        _check_frames("TIFF", pages, ceilings)
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
            size = _TIFF_SIZES.get(kind, 1) * count
            if size > inline:
                value_at = read(pointer, value_at)
                if value_at + size > len(data):
                    raise Truncated(f"TIFF: tag {tag} reaches to byte {value_at + size}, {len(data)} are here")
                end = max(end, value_at + size)
            if tag in _TIFF_POINTERS:
                pending.extend((offset, False) for offset in values(kind, count, value_at))
            elif tag in needed_tags:
                if tag in tags:
                    raise Corrupt(f"TIFF: tag {tag} stands twice in a directory")
                tags[tag] = values(kind, count, value_at)
        width, height = (tags.get(tag, [1])[0] for tag in _TIFF_SIZE)
        _check_pixels("TIFF", width, height, ceilings)
        across, down = (tags.get(tag, [1])[0] for tag in _TIFF_TILE)
        if across * down > ceilings.pixels:  # the decoder makes room for a whole tile, however small the picture
            raise Corrupt(f"TIFF: tiles of {across} x {down} pixels")
        for offsets, counts in _TIFF_DATA.items():
            for offset, size in zip(tags.get(offsets, []), tags.get(counts, []), strict=False):
                if offset + size > len(data):
                    raise Truncated(f"TIFF: picture data reach to byte {offset + size}, {len(data)} are here")
                end = max(end, offset + size)
        following = read(pointer, entries_end)
        if following and is_page:
            pending.append((following, True))
    if len(data) - end <= _TIFF_MAX_PADDING and not any(data[end:]):
        end = len(data)
    return Extent(end, max(1, pages))


_BMFF_BOXES = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov"}


def _walk_bmff(data: bytes, ceilings: Ceilings) -> Extent:
    steps = _Steps("AVIF", 1000)
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
                _check_pixels("AVIF", width, height, ceilings)
            if kind == b"moov":
                frames = max([frames, *(count for (count,) in _bmff_numbers(box, b"stsz", 1, 12))])
                _check_frames("AVIF", frames, ceilings)
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


FORMATS: dict[str, ImageFormat] = {
    f.name: f
    for f in (
        ImageFormat(
            "JPEG", ("image/jpeg", "image/jpg", "image/pjpeg"), "jpg", ("jpg", "jpeg", "jpe", "jfif"), _walk_jpeg
        ),
        ImageFormat("PNG", ("image/png", "image/x-png", "image/apng"), "png", ("png", "apng"), _walk_png),
        ImageFormat("WEBP", ("image/webp",), "webp", ("webp",), _walk_webp, 16),
        ImageFormat("GIF", ("image/gif",), "gif", ("gif",), _walk_gif),
        ImageFormat("BMP", ("image/bmp", "image/x-bmp", "image/x-ms-bmp"), "bmp", ("bmp", "dib"), _walk_bmp),
        ImageFormat("TIFF", ("image/tiff", "image/tif", "image/x-tiff"), "tiff", ("tif", "tiff"), _walk_tiff),
        ImageFormat("AVIF", ("image/avif",), "avif", ("avif",), _walk_bmff, 10),
        # Recognised so that the answer can name them; accepting them by setting ends in image.no_decoder.
        ImageFormat("HEIF", ("image/heic", "image/heif"), "heic", ("heic", "heif")),
        ImageFormat("JXL", ("image/jxl",), "jxl", ("jxl",)),
        ImageFormat("JPEG2000", ("image/jp2", "image/jpx"), "jp2", ("jp2", "j2k")),
    )
}
DEFAULT_MEDIA_TYPES = tuple(f.media_types[0] for f in FORMATS.values() if f.walk is not None)

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
)
_BY_MEDIA_TYPE = {media_type: f for f in FORMATS.values() for media_type in f.media_types}
_BY_SUFFIX = {suffix: f for f in FORMATS.values() for suffix in f.file_suffixes}
