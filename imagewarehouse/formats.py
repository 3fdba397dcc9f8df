"""Image formats told from their bytes, and where each picture ends.

A decoder stops reading at the end of the picture, so it says nothing about what follows; a browser or a ZIP tool may
well read on. Each walker here follows a format's own structure to the byte where the picture ends, and counts its
frames on the way. None of them decodes pixels; `imagewarehouse.images` does that afterwards, with Pillow.

Sources: ITU T.81 (JPEG), W3C PNG 3rd edition, GIF89a, RFC 9649 (WebP), the BITMAPINFOHEADER family, TIFF 6.0 with
BigTIFF, ISO/IEC 14496-12 and 23008-12 (AVIF).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from imagewarehouse.errors import Corrupt, Truncated


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the picture ends, in bytes from the start, and how many frames or pages it has."""

    end: int
    frames: int = 1


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One format: Pillow's name for it, the media types that may declare it, the extension of stored objects."""

    name: str
    media_types: tuple[str, ...]  # the registered one first; the others are seen in the wild
    extension: str
    file_suffixes: tuple[str, ...]
    walk: Callable[[bytes], Extent] | None = None  # None: told apart, but not walked and not decoded here


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


# --- walkers ------------------------------------------------------------------------------------------------------

_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # inside entropy-coded data: any marker that is no RSTn


def _walk_jpeg(data: bytes) -> Extent:
    pos, seen_scan = 2, False
    while True:
        if pos >= len(data):
            raise Truncated("JPEG: the file ends before its end-of-image marker")
        if data[pos] != 0xFF:
            raise Corrupt(f"JPEG: expected a marker at byte {pos}, found 0x{data[pos]:02x}")
        while pos < len(data) and data[pos] == 0xFF:  # fill bytes are allowed
            pos += 1
        if pos >= len(data):
            raise Truncated("JPEG: the file ends inside a marker")
        marker = data[pos]
        pos += 1
        if marker == 0xD9:
            if not seen_scan:
                raise Corrupt("JPEG: no picture between its start and its end")
            return Extent(pos)
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        if marker in (0x00, 0xD8):
            raise Corrupt(f"JPEG: marker 0x{marker:02x} where a segment should start, at byte {pos - 1}")
        if pos + 2 > len(data):
            raise Truncated("JPEG: the file ends inside a segment")
        length = int.from_bytes(data[pos : pos + 2], "big")
        if length < 2:
            raise Corrupt(f"JPEG: a segment of length {length} at byte {pos}")
        pos += length
        if pos > len(data):
            raise Truncated("JPEG: the file ends inside a segment")
        if marker == 0xDA:
            seen_scan = True
            found = _JPEG_MARKER.search(data, pos)
            if found is None:
                raise Truncated("JPEG: the file ends inside the picture data")
            pos = found.start()


def _walk_png(data: bytes) -> Extent:
    pos, frames = 8, 1
    while True:
        if pos + 12 > len(data):
            raise Truncated("PNG: the file ends before its IEND chunk")
        length = int.from_bytes(data[pos : pos + 4], "big")
        kind = data[pos + 4 : pos + 8]
        if not kind.isalpha() or length > 0x7FFFFFFF:
            raise Corrupt(f"PNG: no chunk at byte {pos}")
        body = pos + 8
        pos = body + length + 4
        if pos > len(data):
            raise Truncated(f"PNG: the file ends inside a {kind.decode('latin-1')} chunk")
        if kind == b"acTL" and length >= 4:
            frames = max(1, int.from_bytes(data[body : body + 4], "big"))
        if kind == b"IEND":
            return Extent(pos, frames)


def _walk_gif(data: bytes) -> Extent:
    def table_size(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    def skip_sub_blocks(at: int) -> int:
        while True:
            if at >= len(data):
                raise Truncated("GIF: the file ends inside a block")
            size = data[at]
            at += 1 + size
            if size == 0:
                return at

    if len(data) < 13:
        raise Truncated("GIF: the file ends inside its header")
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
            frames += 1
            pos = skip_sub_blocks(pos + 10 + table_size(data[pos + 9]) + 1)
        else:
            raise Corrupt(f"GIF: unknown block 0x{block:02x} at byte {pos}")


def _walk_webp(data: bytes) -> Extent:
    end = 8 + int.from_bytes(data[4:8], "little")
    end += end & 1
    if end > len(data) + (1 if len(data) & 1 else 0):  # some writers leave out the final padding byte
        raise Truncated(f"WebP: its header announces {end} bytes, {len(data)} are here")
    pos, frames = 12, 0
    while pos + 8 <= min(end, len(data)):
        size = int.from_bytes(data[pos + 4 : pos + 8], "little")
        frames += data[pos : pos + 4] == b"ANMF"
        pos += 8 + size + (size & 1)
    if pos > end:
        raise Corrupt("WebP: a chunk is longer than the file's own length")
    return Extent(min(end, len(data)), max(1, frames))


def _walk_bmp(data: bytes) -> Extent:
    if len(data) < 26:
        raise Truncated("BMP: the file ends inside its header")
    declared, pixels_at, header = struct.unpack_from("<I4xII", data, 2)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = image_size = 0
    else:
        if len(data) < 38:
            raise Truncated("BMP: the file ends inside its header")
        width, height, _, bits, compression, image_size = struct.unpack_from("<iiHHII", data, 18)
    if compression in (0, 3, 6):
        end = pixels_at + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    else:
        end = pixels_at + image_size
    if end > len(data):
        raise Truncated(f"BMP: its header announces {end} bytes, {len(data)} are here")
    # The declared size may count padding or a colour profile behind the pixels; some writers leave it 0.
    return Extent(max(end, min(declared, len(data)) if header >= 124 or declared <= end + 4 else end))


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_POINTERS = {0x014A, 0x8769, 0x8825, 0xA005}  # SubIFDs, Exif, GPS, Interoperability
_TIFF_DATA = {0x0111: 0x0117, 0x0144: 0x0145, 0x0201: 0x0202}  # offsets -> byte counts: strips, tiles, JPEG
_TIFF_MAX_IFDS = 10_000  # a chain longer than this is an attack, not a document
_TIFF_MAX_VALUES = 1_000_000


def _walk_tiff(data: bytes) -> Extent:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset_format, entry_size, count_format, header = ("Q", 20, "Q", 16) if big else ("I", 12, "H", 8)
    inline = 8 if big else 4
    end = header

    def read(fmt: str, at: int) -> int:
        try:
            value: int = struct.unpack_from(order + fmt, data, at)[0]
        except struct.error as err:
            raise Truncated(f"TIFF: it refers to byte {at}, {len(data)} are here") from err
        return value

    def values(kind: int, count: int, at: int) -> list[int]:
        fmt = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if fmt is None or count > _TIFF_MAX_VALUES:
            return []
        try:
            return list(struct.unpack_from(f"{order}{count}{fmt}", data, at))
        except struct.error as err:
            raise Truncated(f"TIFF: it refers to byte {at}, {len(data)} are here") from err

    pages = 0
    first = read(offset_format, 8 if big else 4)
    pending, visited = [(first, True)], set()
    while pending:
        at, is_page = pending.pop()
        if at in visited:
            raise Corrupt("TIFF: its directories form a loop")
        visited.add(at)
        if len(visited) > _TIFF_MAX_IFDS:
            raise Corrupt(f"TIFF: more than {_TIFF_MAX_IFDS} directories")
        pages += is_page
        entries = read(count_format, at)
        start = at + struct.calcsize(count_format)
        after = start + entries * entry_size
        if after > len(data):
            raise Truncated(f"TIFF: a directory reaches to byte {after}, {len(data)} are here")
        end = max(end, after + struct.calcsize(offset_format))
        lists: dict[int, list[int]] = {}
        for position in range(start, after, entry_size):
            tag, kind = read("H", position), read("H", position + 2)
            count = read(offset_format, position + 4)
            value_at = position + 4 + struct.calcsize(offset_format)
            size = _TIFF_SIZES.get(kind, 1) * count
            if size > inline:
                value_at = read(offset_format, value_at)
                if value_at + size > len(data):
                    raise Truncated(f"TIFF: tag {tag} reaches to byte {value_at + size}, {len(data)} are here")
                end = max(end, value_at + size)
            if tag in _TIFF_POINTERS:
                pending.extend((pointer, False) for pointer in values(kind, count, value_at))
            elif tag in _TIFF_DATA or tag in _TIFF_DATA.values():
                lists[tag] = values(kind, count, value_at)
        for offsets, counts in _TIFF_DATA.items():
            for offset, size in zip(lists.get(offsets, []), lists.get(counts, []), strict=False):
                if offset + size > len(data):
                    raise Truncated(f"TIFF: picture data reach to byte {offset + size}, {len(data)} are here")
                end = max(end, offset + size)
        following = read(offset_format, after)
        if following and is_page:
            pending.append((following, True))
    return Extent(min(len(data), end + (end & 1)), max(1, pages))  # writers pad to a word


_BMFF_BOXES = {b"ftyp", b"meta", b"mdat", b"free", b"skip", b"moov", b"mini", b"idat"}


def _walk_bmff(data: bytes) -> Extent:
    pos, frames = 0, 1
    seen: set[bytes] = set()
    complete = {b"ftyp", b"meta"}
    while pos < len(data):
        if pos + 8 > len(data):
            if complete <= seen:
                return Extent(pos, frames)
            raise Truncated("AVIF: the file ends inside a box header")
        size, kind = int.from_bytes(data[pos : pos + 4], "big"), data[pos + 4 : pos + 8]
        if kind not in _BMFF_BOXES:
            if complete <= seen:
                return Extent(pos, frames)
            raise Corrupt(f"AVIF: unknown box at byte {pos}")
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[pos + 8 : pos + 16], "big"), 16
        elif size == 0:
            size = len(data) - pos
        if size < header:
            raise Corrupt(f"AVIF: a box of {size} bytes at byte {pos}")
        if pos + size > len(data):
            raise Truncated(f"AVIF: a box reaches to byte {pos + size}, {len(data)} are here")
        if kind == b"moov":
            frames = max(frames, _bmff_samples(data[pos : pos + size]))
        seen.add(kind)
        pos += size
    if not complete <= seen:
        raise Truncated("AVIF: the file ends before its picture")
    return Extent(pos, frames)


def _bmff_samples(moov: bytes) -> int:
    """Frames of an image sequence: the largest sample count of its tracks (box stsz)."""
    found = [int.from_bytes(moov[m.start() + 12 : m.start() + 16], "big") for m in re.finditer(b"stsz", moov)]
    return max(found, default=1)


FORMATS: dict[str, ImageFormat] = {
    f.name: f
    for f in (
        ImageFormat(
            "JPEG", ("image/jpeg", "image/jpg", "image/pjpeg"), "jpg", ("jpg", "jpeg", "jpe", "jfif"), _walk_jpeg
        ),
        ImageFormat("PNG", ("image/png", "image/x-png", "image/apng"), "png", ("png", "apng"), _walk_png),
        ImageFormat("WEBP", ("image/webp",), "webp", ("webp",), _walk_webp),
        ImageFormat("GIF", ("image/gif",), "gif", ("gif",), _walk_gif),
        ImageFormat("BMP", ("image/bmp", "image/x-bmp", "image/x-ms-bmp"), "bmp", ("bmp", "dib"), _walk_bmp),
        ImageFormat("TIFF", ("image/tiff", "image/tif", "image/x-tiff"), "tiff", ("tif", "tiff"), _walk_tiff),
        ImageFormat("AVIF", ("image/avif",), "avif", ("avif",), _walk_bmff),
        # Told apart so that the answer can name them; accepting them by setting ends in image.no_decoder.
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
