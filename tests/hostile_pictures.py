"""Pictures byte by byte, for `hostile.py`: a healthy one of each format, and the parts that bad ones are put together from."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from tools.heif_files import heic, heic_grid
from tools.image_seeds import saved

# --- pictures -----------------------------------------------------------------------------------------------------


def picture(mode: str = "RGB", width: int = 64, height: int = 48, seed: int = 7) -> Image.Image:
    """Noise, the same on every run: a flat picture would compress to nothing and leave no place to cut."""

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def animated(image_format: str, frames: int, size: int = 16, **options: object) -> bytes:
    first, *others = (picture(width=size, height=size, seed=seed) for seed in range(frames))
    return saved(first, image_format, save_all=True, append_images=others, **options)


# --- JPEG ---------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes = b"", length: int | None = None) -> bytes:
    """A JPEG segment; `length` replaces the true one, which counts its own two bytes."""

    return struct.pack(">BBH", 0xFF, marker, len(body) + 2 if length is None else length) + body


def jpeg_segments(jpeg: bytes) -> tuple[list[bytes], bytes]:
    """The segments between SOI and the first SOS, and everything from that SOS on."""

    found, at = [], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append(jpeg[at:end])
        at = end
    return found, jpeg[at:]


def jpeg_of(segments: list[bytes], scans: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + scans


def jpeg_with(jpeg: bytes, extra: bytes) -> bytes:
    """`extra` right behind SOI."""

    return jpeg[:2] + extra + jpeg[2:]


def jpeg_without(jpeg: bytes, marker: int) -> bytes:
    segments, scans = jpeg_segments(jpeg)
    return jpeg_of([each for each in segments if each[1] != marker], scans)


def jpeg_patched(jpeg: bytes, markers: tuple[int, ...], at: int, new: bytes) -> bytes:
    """`new` written at offset `at` of every segment with one of the `markers`; offset 4 is the segment's first byte."""

    segments, scans = jpeg_segments(jpeg)
    return jpeg_of([s[:at] + new + s[at + len(new) :] if s[1] in markers else s for s in segments], scans)


def jpeg_with_short_codes(jpeg: bytes) -> bytes:
    """Huffman tables in which all codes are one bit long; their number stays, so every length still fits."""

    segments, scans = jpeg_segments(jpeg)
    tables = [s[:5] + bytes([len(s) - 21]) + bytes(15) + s[21:] if s[1] == 0xC4 else s for s in segments]
    return jpeg_of(tables, scans)


def jpeg_sized(jpeg: bytes, width: int, height: int) -> bytes:
    """Other dimensions in the frame header, the data as they were."""

    return jpeg_patched(jpeg, (0xC0, 0xC2), 5, struct.pack(">HH", height, width))


def jpeg_with_thumbnail() -> bytes:
    """EXIF with a complete JPEG inside: whoever looks for the first or last EOI finds the thumbnail's."""

    thumbnail = saved(picture(width=16, height=16), "JPEG")
    # TIFF header, an empty IFD0, and IFD1 with the thumbnail's offset and length behind it
    head = b"II*\0" + struct.pack("<LHL", 8, 0, 14)
    head += struct.pack("<HHHLLHHLLL", 2, 0x201, LONG, 1, 44, 0x202, LONG, 1, len(thumbnail), 0)
    assert len(head) == 44
    return jpeg_with(JPEG, segment(0xE1, b"Exif\0\0" + head + thumbnail))


def progressive_scan_bomb(scans: int, side: int = 2048) -> bytes:
    """Each scan is 20 bytes and makes the decoder walk over all blocks again (libjpeg-turbo, "Two Issues with the
    JPEG Standard"): minutes of CPU in a file of kilobytes."""

    blocks = (side // 8) ** 2
    dqt = segment(0xDB, b"\0" + bytes([1]) * 64)
    sof = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
    dc = segment(0xC4, b"\x00" + b"\1" + bytes(15) + b"\x00")  # one code of one bit: difference 0
    ac = segment(0xC4, b"\x10" + b"\1" + bytes(15) + b"\xe0")  # one code of one bit: EOB14, a run of 16384 blocks
    first = segment(0xDA, b"\1\1\x00\x00\x00\x00") + bytes(blocks // 8)
    again = segment(0xDA, b"\1\1\x00\x01\x3f\x00") + bytes((blocks // 16384 * 15 + 7) // 8)
    return b"\xff\xd8" + dqt + sof + dc + ac + first + again * scans + b"\xff\xd9"


# --- PNG ----------------------------------------------------------------------------------------------------------

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"", crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", crc)


def ihdr(width: int, height: int, bits: int = 8, colour: int = 0, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, interlace))


def grey_rows(width: int, height: int) -> bytes:
    """Unfiltered rows of 8-bit grey, compressed."""

    return zlib.compress((b"\0" + bytes(width)) * height)


IEND = chunk(b"IEND")
IHDR = ihdr(8, 8)
IDAT = chunk(b"IDAT", grey_rows(8, 8))


def png(*chunks: bytes) -> bytes:
    return PNG_SIGNATURE + b"".join(chunks) + IEND


def small_png(*extra: bytes) -> bytes:
    """8 x 8 grey with further chunks between IHDR and IDAT."""

    return png(IHDR, *extra, IDAT)


def apng(frames: int, declared: int | None = None) -> bytes:
    """An animation of one-pixel frames; built here because Pillow merges equal ones."""

    data = grey_rows(1, 1)
    parts = [ihdr(1, 1), chunk(b"acTL", struct.pack(">LL", frames if declared is None else declared, 0))]
    sequence = 0
    for frame in range(frames):
        parts.append(chunk(b"fcTL", struct.pack(">LLLLLHHBB", sequence, 1, 1, 0, 0, 1, 10, 0, 0)))
        sequence += 1
        if frame == 0:
            parts.append(chunk(b"IDAT", data))
        else:
            parts.append(chunk(b"fdAT", struct.pack(">L", sequence) + data))
            sequence += 1
    return png(*parts)


def text_bomb() -> bytes:
    """100 MB of zeros as 100 KB of compressed text."""

    return zlib.compress(bytes(100_000_000))


# --- GIF ----------------------------------------------------------------------------------------------------------

GIF_PIXEL = b"\x02\x02\x44\x01\x00"  # LZW for one pixel of colour 0: clear, 0, end
GIF_CONTROL = b"\x21\xf9\x04\x01\x02\x00\x00\x00"  # how long the next frame is shown


def gif_frame(width: int = 1, height: int = 1, data: bytes = GIF_PIXEL) -> bytes:
    return b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + data


def gif(*blocks: bytes, width: int = 1, height: int = 1) -> bytes:
    """A GIF with a palette of black and white."""

    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0)
    return b"GIF89a" + screen + b"\0\0\0\xff\xff\xff" + b"".join(blocks) + b";"


# --- WebP ---------------------------------------------------------------------------------------------------------


def riff_chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<L", len(data)) + data + bytes(len(data) % 2)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")


def vp8x(width: int, height: int, flags: int = 0) -> bytes:
    return riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + uint24(width - 1) + uint24(height - 1))


def vp8(width: int, height: int, start_code: bytes = b"\x9d\x01\x2a", rest: bytes = bytes(16)) -> bytes:
    """A lossy key frame's header and whatever follows."""

    return riff_chunk(b"VP8 ", b"\x10\x02\x00" + start_code + struct.pack("<HH", width, height) + rest)


def vp8l(width: int, height: int, rest: bytes = bytes(16), signature: int = 0x2F) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return riff_chunk(b"VP8L", bytes([signature]) + struct.pack("<L", bits) + rest)


def webp_animation(frames: int, width: int = 1, height: int = 1) -> bytes:
    """One-pixel frames on a canvas of any size; a real player needs the whole canvas for them."""

    pixel = saved(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    frame = riff_chunk(b"ANMF", uint24(0) * 2 + uint24(0) * 2 + uint24(10) + b"\0" + pixel)
    return webp(vp8x(width, height, flags=2), riff_chunk(b"ANIM", bytes(6)), frame * frames)


# --- BMP ----------------------------------------------------------------------------------------------------------


def bmp(
    width: int = 8,
    height: int = 8,
    *,
    bits: int = 24,
    compression: int = 0,
    colours: int = 0,
    palette: bytes = b"",
    pixels: bytes | None = None,
    header_size: int = 40,
    extra_header: bytes = b"",
    file_size: int | None = None,
    offset: int | None = None,
    planes: int = 1,
) -> bytes:
    """A Windows bitmap in which every field can lie."""

    if pixels is None:
        pixels = bytes((width * bits + 31) // 32 * 4 * abs(height))
    info = struct.pack(
        "<LllHHLLllLL", header_size, width, height, planes, bits, compression, len(pixels), 2835, 2835, colours, 0
    )
    head = info + extra_header + palette
    true_offset = 14 + len(head)
    size = true_offset + len(pixels) if file_size is None else file_size
    return b"BM" + struct.pack("<LHHL", size, 0, 0, true_offset if offset is None else offset) + head + pixels


def bmp_v5(pixels: bytes | None = None, tail: bytes = b"") -> bytes:
    """BITMAPV5HEADER, 32 bits with masks, sRGB, as Windows puts it on the clipboard; its size counts the `tail`."""

    masks = struct.pack("<LLLL", 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    rest = masks + b"BGRs" + bytes(36 + 12) + struct.pack("<LLLL", 4, 0, 0, 0)
    assert len(rest) == 124 - 40
    whole = bmp(bits=32, compression=3, header_size=124, extra_header=rest, pixels=pixels) + tail
    return whole[:2] + struct.pack("<L", len(whole)) + whole[6:]


def bmp_core(width: int, height: int, pixels: bytes) -> bytes:
    """The 12-byte header of OS/2 1.x."""

    return b"BM" + struct.pack("<LHHLLHHHH", 26 + len(pixels), 0, 0, 26, 12, width, height, 1, 24) + pixels


# --- TIFF ---------------------------------------------------------------------------------------------------------

SHORT, LONG = 3, 4
IMAGE_WIDTH, IMAGE_LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 277, 278, 279
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
SUB_DIRECTORIES = 330

Tag = tuple[int, int, int]
"""Type, count, value or offset."""


def tiff_directory(
    tags: Mapping[int, Tag | None], next_directory: int = 0, order: str = "<", entries: int | None = None
) -> bytes:
    present = sorted((tag, entry) for tag, entry in tags.items() if entry is not None)
    out = struct.pack(order + "H", len(present) if entries is None else entries)
    for tag, (kind, count, value) in present:
        out += struct.pack(order + "HHL", tag, kind, count)
        out += struct.pack(order + "HH", value, 0) if kind == SHORT and count == 1 else struct.pack(order + "L", value)
    return out + struct.pack(order + "L", next_directory)


def grey_tags(width: int, height: int, data_at: int, data_length: int) -> dict[int, Tag | None]:
    """The tags of 8-bit grey in one uncompressed strip."""

    return {
        IMAGE_WIDTH: (LONG, 1, width),
        IMAGE_LENGTH: (LONG, 1, height),
        BITS: (SHORT, 1, 8),
        COMPRESSION: (SHORT, 1, 1),
        PHOTOMETRIC: (SHORT, 1, 1),
        STRIP_OFFSETS: (LONG, 1, data_at),
        SAMPLES: (SHORT, 1, 1),
        ROWS_PER_STRIP: (LONG, 1, height),
        STRIP_BYTES: (LONG, 1, data_length),
    }


def tiff(
    changes: Mapping[int, Tag | None] | None = None,
    width: int = 8,
    height: int = 8,
    *,
    data: bytes | None = None,
    order: str = "<",
    next_directory: int = 0,
    first_directory: int = 8,
    entries: int | None = None,
) -> bytes:
    """A picture of one strip; `changes` replaces tags, or with None removes them; offset 0 stands for the data's."""

    data = bytes(width * height) if data is None else data
    tags = grey_tags(width, height, 0, len(data)) | dict(changes or {})
    start = 8 + 2 + 12 * sum(entry is not None for entry in tags.values()) + 4
    for tag in (STRIP_OFFSETS, TILE_OFFSETS):
        if tags.get(tag) == (LONG, 1, 0):
            tags[tag] = (LONG, 1, start)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", first_directory)
    return head + tiff_directory(tags, next_directory, order, entries) + data


def tiff_tiled(tile_width: int, tile_length: int, data: bytes, compression: int = 1) -> bytes:
    return tiff(
        {
            STRIP_OFFSETS: None,
            ROWS_PER_STRIP: None,
            STRIP_BYTES: None,
            COMPRESSION: (SHORT, 1, compression),
            TILE_WIDTH: (LONG, 1, tile_width),
            TILE_LENGTH: (LONG, 1, tile_length),
            TILE_OFFSETS: (LONG, 1, 0),
            TILE_BYTES: (LONG, 1, len(data)),
        },
        data=data,
    )


def tiff_pages(pages: int, *, loop_to: int | None = None) -> bytes:
    """Directories in a chain, all showing the same pixel; `loop_to` closes the chain at that page."""

    length = 2 + 9 * 12 + 4
    out = b"II*\0" + struct.pack("<L", 8)
    pixel_at = 8 + pages * length
    for page in range(pages):
        following = page + 1 if page + 1 < pages else loop_to
        out += tiff_directory(grey_tags(1, 1, pixel_at, 1), 0 if following is None else 8 + following * length)
    return out + b"\x7f"


def tiff_overlapping_directories(directories: int) -> bytes:
    """Each directory starts 12 bytes behind the one before and has 65535 entries, all in the same 786 KB: whoever
    reads them one by one reads 65535 entries for every 16 bytes of file."""

    pointers_at = 8 + 2 + 12 + 4
    first = pointers_at + 4 * directories
    out = b"II*\0" + struct.pack("<L", 8)
    out += struct.pack("<HHHLLL", 1, SUB_DIRECTORIES, LONG, directories, pointers_at, 0)
    out += b"".join(struct.pack("<L", first + 12 * number) for number in range(directories))
    # a count is the last two bytes of an entry of the directory before, where nobody looks: that entry has no values
    return out + (b"\xff\xff" + bytes(10)) * directories + bytes(65535 * 12 - 6)


def tiff_equal_tags(tag: int, times: int, values: int) -> bytes:
    """One list of `values` offsets that many entries of the same tag share."""

    list_at = 8 + 2 + 12 * times + 4
    entries = struct.pack("<HHLL", tag, LONG, values, list_at) * times
    return b"II*\0" + struct.pack("<LH", 8, times) + entries + bytes(4) + bytes(4 * values)


# --- AVIF and its relatives ---------------------------------------------------------------------------------------


def box(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">L", len(data) + 8) + kind + data


def ftyp(brand: bytes, *compatible: bytes) -> bytes:
    return box(b"ftyp", brand + bytes(4) + b"".join(compatible))


def avif_sized(avif: bytes, width: int, height: int) -> bytes:
    """Other dimensions in the image spatial extents; the stream inside keeps its own."""

    at = avif.index(b"ispe") + 8
    return avif[:at] + struct.pack(">LL", width, height) + avif[at + 8 :]


def avif_with_blank_pixels(avif: bytes) -> bytes:
    at = avif.index(b"mdat") + 4
    return avif[:at] + bytes(len(avif) - at)


def avif_with_foreign_boxes(avif: bytes) -> bytes:
    """Boxes nobody knows between the known ones; the offset of the pixels is moved along, so nothing else is wrong."""

    foreign = box(b"evil", b"<script>alert(1)</script>") * 3
    meta = avif.index(b"meta") - 4
    at = avif.index(b"iloc") + 18  # extent offset of the only item: version 0, 4-byte offsets, no base offset
    (offset,) = struct.unpack_from(">L", avif, at)
    assert offset == avif.index(b"mdat") + 4, "Pillow's layout of AVIF has changed"
    moved = avif[:at] + struct.pack(">L", offset + len(foreign)) + avif[at + 4 :]
    return moved[:meta] + foreign + moved[meta:]


JXL = b"\x00\x00\x00\x0cJXL \r\n\x87\n" + ftyp(b"jxl ", b"jxl ") + box(b"jxlc", b"\xff\x0a" + bytes(64))
MP4 = ftyp(b"isom", b"isom", b"mp41") + box(b"moov", bytes(64)) + box(b"mdat", bytes(256))

# --- one healthy picture of each format ---------------------------------------------------------------------------

JPEG = saved(picture(), "JPEG")
PROGRESSIVE = saved(picture(), "JPEG", progressive=True)
PNG = saved(picture(), "PNG")
WEBP = saved(picture(), "WEBP")
WEBP_LOSSLESS = saved(picture(), "WEBP", lossless=True)
WEBP_ANIMATED = animated("WEBP", 3)
GIF = saved(picture(), "GIF")
GIF_ANIMATED = animated("GIF", 3)
APNG = animated("PNG", 3)
BMP = saved(picture(), "BMP")
TIFF = saved(picture(), "TIFF")
TIFF_LZW = saved(picture(), "TIFF", compression="tiff_lzw")
TIFF_PAGES = tiff_pages(3)  # not Pillow's: it pads to 16 bytes, and a cut could hit nothing but padding
AVIF = saved(picture(), "AVIF", speed=10)
HEIC = heic("colour")
HEIC_GRID = heic_grid("quarters", 2, 2, 100, 90)
JP2 = saved(picture(), "JPEG2000")
J2K = saved(picture(), "JPEG2000", no_jp2=True)
JP2_TILES = saved(picture(), "JPEG2000", tile_size=(32, 32))
JPEG_THUMBNAIL = jpeg_with_thumbnail()

HEALTHY: dict[str, tuple[str, bytes]] = {
    "jpeg": ("image/jpeg", JPEG),
    "jpeg-progressive": ("image/jpeg", PROGRESSIVE),
    "jpeg-thumbnail": ("image/jpeg", JPEG_THUMBNAIL),
    "png": ("image/png", PNG),
    "apng": ("image/png", APNG),
    "webp": ("image/webp", WEBP),
    "webp-lossless": ("image/webp", WEBP_LOSSLESS),
    "webp-animated": ("image/webp", WEBP_ANIMATED),
    "gif": ("image/gif", GIF),
    "gif-animated": ("image/gif", GIF_ANIMATED),
    "bmp": ("image/bmp", BMP),
    "tiff": ("image/tiff", TIFF),
    "tiff-lzw": ("image/tiff", TIFF_LZW),
    "tiff-pages": ("image/tiff", TIFF_PAGES),
    "avif": ("image/avif", AVIF),
    "heic": ("image/heic", HEIC),
    "heic-grid": ("image/heic", HEIC_GRID),
    "jp2": ("image/jp2", JP2),
    "jp2-tiles": ("image/jp2", JP2_TILES),
    "j2k": ("image/j2k", J2K),
}
