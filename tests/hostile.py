"""Bad input as a table: one line a case, its id is the report.

Written from the specification of the intake, not from its code. Everything is built here, so the repository carries
no hostile file. `CASES` is also replayed through the real server: see `Case.over_http`.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import numpy as np
from PIL import Image

from tools.image_seeds import saved

# written down once more on purpose: an edit of errors.py must not move an expectation along with it
STATUS = {
    "access.key_missing": 401,
    "access.key_wrong": 401,
    "image.corrupt": 422,
    "image.no_decoder": 415,
    "image.not_an_image": 415,
    "image.too_many_frames": 422,
    "image.too_many_pixels": 413,
    "image.trailing_data": 422,
    "image.truncated": 422,
    "image.type_mismatch": 415,
    "request.malformed_base64": 400,
    "request.malformed_json": 400,
    "request.malformed_multipart": 400,
    "request.method_not_allowed": 405,
    "request.no_body": 400,
    "request.not_a_file": 400,
    "request.too_large": 413,
    "request.too_many_parts": 400,
    "request.uri_not_allowed": 403,
    "type.missing": 415,
    "type.not_accepted": 415,
}

MAX_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One bad request and the answer it has to get."""

    id: str
    content: bytes | Callable[[], bytes] = field(repr=False)
    declared_type: str | None
    code: str
    status: int
    file_name: str | None = None
    request: Mapping[str, object] = field(default_factory=dict)
    """Further fields of `Request`; `size` here replaces the content's own."""
    limits: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    """Operator's settings as text: `keys`, `media_types`, `uri_prefixes`."""
    over_http: bool = True
    """One plain POST with a Content-Type header, to a server with default settings, says all of it."""

    def body(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content()


def bad(
    case_id: str,
    content: bytes | Callable[[], bytes],
    declared_type: str | None,
    code: str,
    *,
    file_name: str | None = None,
    request: Mapping[str, object] | None = None,
    limits: Mapping[str, int] | None = None,
    rules: Mapping[str, str] | None = None,
) -> Case:
    """A case whose status and `over_http` follow from the rest."""

    # a control character cannot travel in a header, and some clients invent a Content-Type where none is given
    sendable = declared_type is not None and declared_type.isprintable()
    return Case(
        id=case_id,
        content=content,
        declared_type=declared_type,
        code=code,
        status=STATUS[code],
        file_name=file_name,
        request=request or {},
        limits=limits or {},
        rules=rules or {},
        over_http=sendable and not (file_name or request or limits or rules),
    )


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


HEIC = ftyp(b"heic", b"mif1", b"heic") + box(b"meta", bytes(64)) + box(b"mdat", bytes(256))
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
}

# --- things that are no picture -----------------------------------------------------------------------------------


def archive(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, text in files.items():
            target.writestr(zipfile.ZipInfo(name), text)  # ZipInfo: a fixed date
    return out.getvalue()


HTML = b"<html><body><script>alert(document.domain)</script></body></html>"
PHP = b"<?php system($_GET['c']); __HALT_COMPILER(); ?>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
XXE = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg><text>&x;</text></svg>'
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n(%pipe%id) (w) file\nshowpage\n"
MVG = b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://127.0.0.1/x.png\"|id\")'\npop graphic-context\n"
ZIP = archive(**{"a.txt": "a"})
JAR = archive(**{"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\nMain-Class: A\n", "A.class": "\u00ca\u00fe"})

TAILS = {"html": HTML, "php": PHP, "zip": ZIP, "nuls": bytes(64), "second-picture": PNG}

NO_PICTURES = {
    "text": (b"Once upon a time, in a land far away, there was no picture.\n" * 20, "image/png"),
    "html": (HTML, "image/jpeg"),
    "svg": (SVG, "image/png"),
    "svg-with-external-entity": (XXE, "image/png"),
    "php": (PHP, "image/gif"),
    "json": (b'{"image": 1}', "image/png"),
    "shell-script": (b"#!/bin/sh\nid\n", "image/png"),
    "imagemagick-mvg": (MVG, "image/jpeg"),
    "postscript": (EPS, "image/jpeg"),
    "eps-with-preview": (b"\xc5\xd0\xd3\xc6" + struct.pack("<LL", 30, len(EPS)) + bytes(18) + EPS, "image/tiff"),
    "pdf": (PDF, "image/png"),
    "pdf-with-a-jpeg-inside": (b"%PDF-1.4\n1 0 obj<</Filter/DCTDecode>>stream\n" + JPEG + b"\nendstream", "image/jpeg"),
    "zip": (ZIP, "image/png"),
    "gzip": (gzip.compress(PNG, mtime=0), "image/png"),
    "elf": (b"\x7fELF\x02\x01\x01" + bytes(64), "image/png"),
    "windows-program": (b"MZ\x90\0" + bytes(128), "image/bmp"),
    "java-class": (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(64), "image/jpeg"),
    "mp4": (MP4, "image/avif"),
    "mp3": (b"ID3\x04" + bytes(128), "image/jpeg"),
    "wave": (b"RIFF" + struct.pack("<L", 36) + b"WAVEfmt " + bytes(28), "image/webp"),
    "one-byte": (b"\x89", "image/png"),
    "zeros": (bytes(4096), "image/png"),
    "spaces": (b" " * 4096, "image/jpeg"),
    "noise": (b"\x13" + np.random.default_rng(3).bytes(4095), "image/jpeg"),
    "png-with-a-line-before-it": (b"\n" + PNG, "image/png"),
    "png-sent-as-text": (PNG.replace(b"\r\n", b"\n"), "image/png"),
    "png-as-base64": (base64.b64encode(PNG), "image/png"),
    "jpeg-as-data-uri": (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "image/jpeg"),
    "jpeg-behind-http-headers": (b"Content-Type: image/jpeg\r\n\r\n" + JPEG, "image/jpeg"),
    # pictures of formats nobody asked for; Pillow's own decoders for them have a history of their own
    "ico": (saved(picture(width=32, height=32), "ICO"), "image/png"),
    "psd": (b"8BPS" + struct.pack(">H6xHLLHH", 1, 3, 8, 8, 8, 3) + bytes(12) + bytes(2 + 192), "image/png"),
    "pcx": (saved(picture(), "PCX"), "image/png"),
    "tga": (saved(picture(), "TGA"), "image/png"),
    "xbm": (saved(picture("1"), "XBM"), "image/png"),
    "ppm": (saved(picture(), "PPM"), "image/png"),
}

# --- JSON envelope ------------------------------------------------------------------------------------------------


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def envelope(**fields: object) -> bytes:
    return json.dumps(fields).encode()


BUCKET = "s3://warehouse/images/"
"""The one prefix the cases below allow."""

FORBIDDEN_URIS = {
    "parent-folder": "s3://warehouse/images/../secret/a.png",
    "parent-folder-at-the-end": "s3://warehouse/images/..",
    "parent-folder-in-percent": "s3://warehouse/images/%2e%2e/secret/a.png",
    "parent-folder-half-in-percent": "s3://warehouse/images/.%2E/secret/a.png",
    "slash-in-percent": "s3://warehouse/images/..%2fsecret%2fa.png",
    "percent-twice": "s3://warehouse/images/%252e%252e/secret/a.png",
    "backslashes": "s3://warehouse/images/..\\secret\\a.png",
    "look-alike-folder": "s3://warehouse/images-private/a.png",
    "look-alike-bucket": "s3://warehouse.example.org/images/a.png",
    "bucket-as-user": "s3://warehouse@example.org/images/a.png",
    "user-before-bucket": "s3://key:secret@warehouse/images/a.png",
    "other-bucket": "s3://other/images/a.png",
    "prefix-further-back": "s3://other/s3://warehouse/images/a.png",
    "other-scheme": "gs://warehouse/images/a.png",
    "no-scheme": "//warehouse/images/a.png",
    "path": "/etc/passwd",
    "file": "file:///etc/passwd",
    "cloud-metadata": "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "space-before": " s3://warehouse/images/a.png",
    "nul-inside": "s3://warehouse/images/a.png\0.jpg",
    "newline-inside": "s3://warehouse/images/a\n.png",
    # pyarrow.fs takes options from the query: this one sends the node's credentials to another host
    "endpoint-in-query": "s3://warehouse/images/a.png?endpoint_override=example.org:9000",
}

MALFORMED_JSON = {
    "no-json": b"image=abc",
    "nothing-but-spaces": b"   \n ",
    "cut": envelope(image=b64(PNG))[:-20],
    "text-behind-it": envelope(image=b64(PNG)) + b"<script>",
    "two-documents": envelope(image=b64(PNG)) + envelope(image=b64(PNG)),
    "single-quotes": b"{'image': 'aaaa'}",
    "invalid-utf-8": b'{"image": "\xff\xfe\xfd"}',
    "raw-picture": PNG,
    "list": b'["iVBORw0KGgo="]',
    "string": b'"iVBORw0KGgo="',
    "number": b"7",
    "null": b"null",
    "empty-object": b"{}",
    "neither-key": envelope(picture=b64(PNG), type="image/png"),
    "both-keys": envelope(image=b64(PNG), image_uri="s3://warehouse/images/a.png"),
    "image-is-null": envelope(image=None),
    "image-is-a-number": envelope(image=5),
    "image-is-a-list": envelope(image=[b64(PNG)]),
    "image-is-an-object": envelope(image={"data": b64(PNG)}),
    "uri-is-a-list": envelope(image_uri=["s3://warehouse/images/a.png"]),
    "type-is-a-number": envelope(image=b64(PNG), type=1),
    "file-name-is-an-object": envelope(image=b64(PNG), type="image/png", file_name={}),
    # Python refuses to convert it; other parsers spend minutes
    "number-of-a-million-digits": b'{"image": ' + b"9" * 1_000_000 + b"}",
    # recursion: a C stack overflow would end the server, not the request
    "nested-lists": b"[" * 100_000,
    "nested-lists-closed": b'{"image": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested-objects": b'{"image":' * 100_000,
}

COSTLY_JSON: dict[str, Callable[[], bytes]] = {
    # 27 MB, which base64 of 20 MiB would need: 64 bytes of memory for each three
    "of-9-million-objects": lambda: b'{"x":[' + b"{}," * 9_000_000 + b"{}]}",
    "of-2-million-keys": lambda: b"{" + b",".join(b'"%x":0' % number for number in range(2_000_000)) + b"}",
}

MALFORMED_BASE64 = {
    "bad-alphabet": envelope(image="!!!!" + b64(PNG), type="image/png"),
    "bad-character-inside": envelope(image=b64(PNG)[:400] + "*" + b64(PNG)[401:], type="image/png"),
    "padding-missing": envelope(image=b64(gif(gif_frame())).rstrip("="), type="image/gif"),  # 35 bytes need one
    "padding-in-the-middle": envelope(image=b64(PNG[:100]) + b64(PNG[100:]), type="image/png"),
    "padding-alone": envelope(image="====", type="image/png"),
    "one-character": envelope(image="i", type="image/png"),
    "letters-outside-ascii": envelope(image="\u0456VBORw0KGgo=", type="image/png"),  # a Cyrillic i
    "full-width-letters": envelope(image="\uff49VBORw0KGgo=", type="image/png"),
    "data-uri-in-percent": envelope(image="data:image/png,%89PNG%0D%0A%1A%0A"),
    "data-uri-without-comma": envelope(image="data:image/png;base64"),
    "data-uri-with-bad-alphabet": envelope(image="data:image/png;base64,<script>"),
    "data-uri-with-bad-padding": envelope(image="data:image/png;base64,iVBORw0KGgo=="),
}

# --- Idempotency-Key ----------------------------------------------------------------------------------------------

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def uuid7(at: datetime, version: int = 7, variant: int = 0b10) -> str:
    milliseconds = int(at.timestamp() * 1000)
    number = milliseconds << 80 | version << 76 | 0xABC << 64 | variant << 62 | 0x123456789ABCDEF
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


BAD_IDEMPOTENCY_KEYS = {
    "no-uuid": "order-4711",
    "uuid-4": "9b2f3c1e-5b0a-4c3d-8e1f-0a1b2c3d4e5f",
    "uuid-1": "c232ab00-9414-11ec-b3c8-9f6bdeced846",
    "nil": "00000000-0000-0000-0000-000000000000",
    "max": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "version-6-with-a-fitting-time": uuid7(NOW, version=6),
    "version-8-with-a-fitting-time": uuid7(NOW, version=8),
    "version-7-of-another-variant": uuid7(NOW, variant=0b11),
    "older-than-7-days": uuid7(NOW - timedelta(days=7, minutes=1)),
    "year-1970": uuid7(datetime.fromtimestamp(0, timezone.utc)),
    "more-than-an-hour-ahead": uuid7(NOW + timedelta(hours=1, minutes=1)),
    "year-10889": "ffffffff-ffff-7abc-8123-456789abcdef",  # behind Python's last year
    "one-digit-short": uuid7(NOW)[:-1],
    "newline-behind-it": uuid7(NOW) + "\n",
    "quote-inside": uuid7(NOW)[:-1] + "'",
    "underscore-inside": uuid7(NOW)[:-2] + "_f",  # int() reads it
    "digits-outside-ascii": uuid7(NOW)[:-1] + "\u0663",  # an Arabic three, a digit to int()
    "very-long": uuid7(NOW) * 1000,
}

# --- the table ----------------------------------------------------------------------------------------------------

Content = bytes | Callable[[], bytes]

KEYS = "alice:0123456789abcdefghij, bob:abcdefghij0123456789"

WRONG_KEYS = {
    "wrong": "00000000000000000000",
    "cut": "0123456789abcdefghi",
    "too-long": "0123456789abcdefghijk",
    "in-capitals": "0123456789ABCDEFGHIJ",
    "is-the-name": "alice",
    "with-its-name": "alice:0123456789abcdefghij",
    "outside-ascii": "\u043a\u043b\u044e\u0447" * 5,  # hmac.compare_digest raises TypeError on such text
}

REQUESTS = [
    bad("no-body", b"", "image/png", "request.no_body"),
    bad("no-body-as-json", b"", "application/json", "request.no_body"),
    bad("body-over-20-mib", lambda: PNG + bytes(MAX_BYTES), "image/png", "request.too_large"),
    # nothing to read at all: the answer can only come from the announced size
    bad("announced-20-mib-and-one-byte", b"", "image/png", "request.too_large", request={"size": MAX_BYTES + 1}),
    bad("announced-one-tebibyte", b"", "image/png", "request.too_large", request={"size": 2**40}),
    bad("announced-json-of-64-mib", b"", "application/json", "request.too_large", request={"size": 2**26}),
    bad("one-byte-over-the-limit", PNG, "image/png", "request.too_large", limits={"max_bytes": len(PNG) - 1}),
    *(
        bad(f"method-{method.lower()}", PNG, "image/png", "request.method_not_allowed", request={"method": method})
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POSTED")
    ),
    bad("key-missing", PNG, "image/png", "access.key_missing", rules={"keys": KEYS}),
    *(
        bad(f"key-{name}", PNG, "image/png", "access.key_wrong", rules={"keys": KEYS}, request={"access_key": key})
        for name, key in WRONG_KEYS.items()
    ),
    bad(
        "two-parts-synchronous",
        PNG,
        "image/png",
        "request.too_many_parts",
        request={"part": 1, "parts": 2, "synchronous": True},
    ),
    bad(
        "form-field-no-file",
        b"hello",
        "image/png",
        "request.not_a_file",
        request={"part": 1, "parts": 1, "part_is_file": False},
    ),
    bad("multipart-without-boundary", b"--x\r\n\r\nhi\r\n--x--", "multipart/form-data", "request.malformed_multipart"),
    bad("multipart-without-parts", b"hello", "multipart/form-data; boundary=x", "request.malformed_multipart"),
]

NOT_ACCEPTED = {
    "octet-stream": ("application/octet-stream", PNG),
    "text": ("text/plain", b"hello"),
    "html": ("text/html; charset=utf-8", HTML),
    "pdf": ("application/pdf", PDF),
    "svg": ("image/svg+xml", SVG),
    "form": ("application/x-www-form-urlencoded", b"image=abc"),
    "video": ("video/mp4", MP4),
    "zip": ("application/zip", ZIP),
    "xml": ("application/xml", SVG),
    "icon": ("image/x-icon", PNG),
    "heic": ("image/heic", HEIC),
    "any-image": ("image/*", PNG),
    "anything": ("*/*", PNG),
    "half": ("image/", PNG),
    "suffix-only": ("png", PNG),
    "two-at-once": ("image/png, image/jpeg", PNG),
    "longer-than-a-known-one": ("image/pngx", PNG),
    "hidden-in-a-parameter": ("text/html; type=image/png", HTML),
    "of-4-kilobytes": ("image/" + "x" * 4000, PNG),
    "with-a-header-injected": ("image/png\r\nX-Role: admin", PNG),
}

MISMATCHES = {
    "heic-as-jpeg": (HEIC, "image/jpeg"),
    "heic-as-avif": (HEIC, "image/avif"),
    "png-as-jpeg": (PNG, "image/jpeg"),
    "png-as-jpg-in-capitals": (PNG, "IMAGE/JPG; q=1"),
    "jpeg-as-png": (JPEG, "image/png"),
    "webp-as-png": (WEBP, "image/png"),
    "gif-as-png": (GIF, "image/png"),
    "bmp-as-gif": (BMP, "image/gif"),
    "tiff-as-jpeg": (TIFF, "image/jpeg"),
    "avif-as-webp": (AVIF, "image/webp"),
}

TYPES = [
    bad("type-missing", PNG, None, "type.missing"),
    bad("type-missing-name-without-suffix", PNG, None, "type.missing", file_name="picture"),
    bad("type-missing-unknown-suffix", PNG, None, "type.missing", file_name="picture.xyz"),
    bad("type-missing-two-suffixes", PNG, None, "type.missing", file_name="picture.png.xyz"),
    bad("type-missing-suffix-of-another-format", PNG, None, "image.type_mismatch", file_name="picture.jpg"),
    bad("type-not-in-the-operators-list", JPEG, "image/jpeg", "type.not_accepted", rules={"media_types": "image/png"}),
    bad("type-octet-stream-with-a-good-name", PNG, "application/octet-stream", "type.not_accepted", file_name="a.png"),
    bad("heic-accepted-but-no-decoder", HEIC, "image/heic", "image.no_decoder", rules={"media_types": "image/heic"}),
    *(
        bad(f"type-{name}", content, declared, "type.not_accepted")
        for name, (declared, content) in NOT_ACCEPTED.items()
    ),
    *(bad(name, content, declared, "image.type_mismatch") for name, (content, declared) in MISMATCHES.items()),
    *(
        bad(f"{name}-as-{declared.removeprefix('image/')}", content, declared, "image.not_an_image")
        for name, (content, declared) in NO_PICTURES.items()
    ),
]

CUT: dict[str, Content] = {
    **{
        f"{name}-cut-at-{percent}-percent": content[: len(content) * percent // 100]
        for name, (_, content) in HEALTHY.items()
        for percent in (15, 50, 90)
    },
    **{f"{name}-without-its-last-byte": content[:-1] for name, (_, content) in HEALTHY.items()},
    "jpeg-cut-in-its-first-segment": JPEG[:12],
    "jpeg-cut-before-its-scan": JPEG[: JPEG.index(b"\xff\xda")],
    "jpeg-cut-behind-its-scan-header": JPEG[: JPEG.index(b"\xff\xda") + 14],
    "jpeg-without-eoi": JPEG[:-2],
    "jpeg-progressive-without-eoi": PROGRESSIVE[:-2],
    "jpeg-progressive-cut-behind-its-first-scan": PROGRESSIVE[
        : PROGRESSIVE.index(b"\xff\xc4", PROGRESSIVE.index(b"\xff\xda"))
    ],
    "jpeg-cut-behind-its-thumbnail": JPEG_THUMBNAIL[: JPEG_THUMBNAIL.index(b"\xff\xd9") + 2],
    # allowed dimensions, next to no data: decoding it first would fill 49 megapixels with grey
    "jpeg-of-49-megapixels-cut": jpeg_sized(JPEG, 7000, 7000)[:-2],
    "jpeg-progressive-of-49-megapixels-cut": jpeg_sized(PROGRESSIVE, 7000, 7000)[:-2],
    "png-cut-in-its-header": PNG[:20],
    "png-cut-behind-its-header": PNG[:33],
    "png-without-iend": PNG[:-12],
    "png-cut-in-the-checksum-of-iend": PNG[:-2],
    "png-cut-behind-an-iend-in-its-text": PNG_SIGNATURE + IHDR + chunk(b"tEXt", b"a\0" + IEND)[:-4],
    "png-chunk-of-2-gib": PNG[:33] + b"\x7f\xff\xff\xff" + PNG[37:],
    "webp-cut-behind-its-riff-header": WEBP[:16],
    "webp-riff-longer-than-the-file": WEBP[:4] + struct.pack("<L", len(WEBP) + 992) + WEBP[8:],
    "gif-cut-behind-its-screen": gif(gif_frame())[:13],
    "gif-cut-in-its-image-header": gif(gif_frame())[:24],
    "gif-cut-in-its-pixels": gif(gif_frame())[:-3],
    "bmp-cut-in-its-header": BMP[:30],
    "bmp-without-pixels": BMP[:54],
    "bmp-with-half-of-its-rows": bmp(64, 64, pixels=bytes(64 * 32 * 3)),
    "tiff-header-only": TIFF[:8],
    # what a writer leaves that was interrupted: a reference that goes nowhere, data without their description
    "tiff-directory-at-0": tiff(first_directory=0),
    "tiff-of-4-billion-strips": tiff({STRIP_OFFSETS: (LONG, 0xFFFFFFFF, 8)}),  # 16 GiB of offsets fit in no TIFF
    "avif-without-meta": AVIF[: AVIF.index(b"meta") - 4] + box(b"mdat", bytes(64)),
    "tiff-cut-in-its-directory": tiff()[:60],
    "tiff-directory-outside-the-file": tiff(first_directory=0x7FFFFFF0),
    "tiff-next-directory-outside-the-file": tiff(next_directory=0x7FFFFFF0),
    "tiff-pixels-outside-the-file": tiff({STRIP_OFFSETS: (LONG, 1, 0x7FFFFFF0)}),
    "tiff-strip-longer-than-the-file": tiff({STRIP_BYTES: (LONG, 1, 0x7FFFFFF0)}),
    "tiff-of-65535-tags": tiff(entries=65535),
    "tiff-big-endian-cut": tiff(order=">")[:-10],
    "avif-without-its-pixels": AVIF[: AVIF.index(b"mdat") - 4],
    "avif-cut-in-its-meta-box": AVIF[:150],
}

TRAILING: dict[str, Content] = {
    **{
        f"{name}-with-{tail}-behind-it": HEALTHY[name][1] + data
        for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif")
        for tail, data in TAILS.items()
    },
    # the other ways to end: more scans, more frames, more pages
    **{f"{name}-with-html-behind-it": content + HTML for name, (_, content) in HEALTHY.items() if "-" in name},
    "apng-with-html-behind-it": APNG + HTML,
    "jpeg-with-one-byte-behind-it": JPEG + b"\n",
    "png-with-one-byte-behind-it": PNG + b"\n",
    "gif-with-one-byte-behind-it": GIF + b"\n",
    "gif-and-jar": GIF + JAR,  # GIFAR
    "jpeg-and-jar": JPEG + JAR,
    "jpeg-twice": JPEG + JPEG,
    "jpeg-with-html-and-eoi-behind-it": JPEG + HTML + b"\xff\xd9",
    "png-with-html-and-iend-behind-it": PNG + HTML + IEND,
    "gif-with-html-and-trailer-behind-it": GIF + HTML + b";",
    # the width spells "/*": as a script the file is one comment and what stands behind the picture
    "gif-that-is-a-script": gif(gif_frame(), width=0x2A2F) + b"*/=1;alert(document.domain);",
    "webp-with-a-chunk-outside-its-riff": WEBP + riff_chunk(b"EXIF", HTML),
    "bmp-v5-that-counts-html-as-its-own": bmp_v5(tail=HTML),
    "jpeg-that-is-a-phar": jpeg_with(JPEG, segment(0xFE, PHP)) + bytes(8) + b"GBMB",
}

BOMBS: dict[str, Content] = {
    "png-header-of-60000-squared": PNG_SIGNATURE + ihdr(60000, 60000),
    "png-of-60000-squared": png(ihdr(60000, 60000), IDAT),
    "png-of-65536-squared": png(ihdr(65536, 65536), IDAT),  # width * height is 0 in 32 bits
    "png-of-2-billion-by-1": png(ihdr(2**31 - 1, 1), IDAT),
    "png-interlaced-of-60000-squared": png(ihdr(60000, 60000, interlace=1), IDAT),
    # not a header that lies: 44 KB of zlib really are 361 megapixels of one bit
    "png-bomb-of-44-kilobytes": lambda: png(
        ihdr(19000, 19000, bits=1), chunk(b"IDAT", zlib.compress(bytes((1 + 19000 // 8) * 19000)))
    ),
    "jpeg-of-64250-squared": jpeg_sized(JPEG, 64250, 64250),
    "jpeg-of-65500-by-800": jpeg_sized(JPEG, 65500, 800),
    "jpeg-progressive-of-65500-squared": jpeg_sized(PROGRESSIVE, 65500, 65500),
    "gif-screen-of-65535-squared": gif(gif_frame(), width=65535, height=65535),
    "gif-frame-of-65535-squared-on-a-pixel": gif(gif_frame(65535, 65535)),  # Pillow grows the picture to its frame
    "webp-lossy-of-16383-squared": webp(vp8(16383, 16383)),
    "webp-lossless-of-16384-squared": webp(vp8l(16384, 16384)),
    "webp-canvas-of-16384-squared": webp_animation(1, 16384, 16384),
    "webp-canvas-of-16-million-by-200": webp_animation(1, 2**24, 200),
    "bmp-of-60000-squared": bmp(60000, 60000, pixels=bytes(64)),
    "bmp-top-down-of-60000-squared": bmp(60000, -60000, pixels=bytes(64)),
    "bmp-run-length-of-60000-squared": bmp(
        60000, 60000, bits=8, compression=1, colours=2, palette=bytes(8), pixels=b"\xff\0" * 32 + b"\0\1"
    ),
    "bmp-os2-of-65535-squared": bmp_core(65535, 65535, bytes(64)),
    "tiff-of-60000-squared": tiff({}, 60000, 60000, data=bytes(64)),
    "tiff-big-endian-of-60000-squared": tiff({}, 60000, 60000, data=bytes(64), order=">"),
    "tiff-deflate-bomb": tiff({COMPRESSION: (SHORT, 1, 8)}, 60000, 60000, data=zlib.compress(bytes(1_000_000))),
    "avif-of-60000-squared": avif_sized(AVIF, 60000, 60000),
}

FRAMES: dict[str, Content] = {
    "gif-of-101-frames": gif(gif_frame() * 101),
    "gif-of-10000-frames": lambda: gif(gif_frame() * 10_000),
    "gif-of-a-million-frames": lambda: gif(gif_frame() * 1_000_000),
    "apng-of-101-frames": apng(101),
    "apng-of-10000-frames": lambda: apng(10_000),
    "apng-that-claims-2-billion-frames": apng(2, declared=0x7FFFFFFF),
    "webp-of-101-frames": webp_animation(101),
    "webp-of-10000-frames": lambda: webp_animation(10_000),
    "tiff-of-101-pages": tiff_pages(101),
    "tiff-of-10000-pages": lambda: tiff_pages(10_000),
    "avif-of-101-frames": lambda: animated("AVIF", 101, speed=10),
}

CORRUPT: dict[str, Content] = {
    "jpeg-without-a-scan": jpeg_of(jpeg_segments(JPEG)[0], b"\xff\xd9"),
    "jpeg-of-nothing-but-its-ends": b"\xff\xd8\xff\xd9",
    "jpeg-segment-of-length-0": jpeg_with(JPEG, segment(0xE0, length=0)),
    "jpeg-segment-of-length-1": jpeg_with(JPEG, segment(0xE5, length=1)),
    "jpeg-without-a-frame-header": jpeg_without(JPEG, 0xC0),
    "jpeg-without-quantisation": jpeg_without(JPEG, 0xDB),
    "jpeg-huffman-of-4080-codes": jpeg_patched(JPEG, (0xC4,), 5, b"\xff" * 16),
    "jpeg-huffman-with-too-many-short-codes": jpeg_with_short_codes(JPEG),
    "jpeg-huffman-of-class-15": jpeg_patched(JPEG, (0xC4,), 4, b"\xff"),
    "jpeg-of-no-width": jpeg_sized(JPEG, 0, 48),
    "jpeg-of-0-by-0": jpeg_sized(JPEG, 0, 0),
    "jpeg-of-0-components": jpeg_patched(JPEG, (0xC0,), 9, b"\0"),
    "jpeg-of-200-components": jpeg_patched(JPEG, (0xC0,), 9, b"\xc8"),
    "jpeg-of-precision-77": jpeg_patched(JPEG, (0xC0,), 4, b"\x4d"),
    "jpeg-sampling-of-15-by-15": jpeg_patched(JPEG, (0xC0,), 11, b"\xff"),
    # the end marker is there, so nothing was cut off: the scan itself is too short
    "jpeg-of-49-megapixels-from-2-kilobytes": jpeg_sized(JPEG, 7000, 7000),
    "jpeg-progressive-of-49-megapixels-from-2-kilobytes": jpeg_sized(PROGRESSIVE, 7000, 7000),
    "jpeg-progressive-scan-bomb": lambda: progressive_scan_bomb(10_000),
    "png-header-checksum-flipped": PNG[:29] + bytes([PNG[29] ^ 1]) + PNG[30:],
    "png-pixel-checksum-flipped": PNG[:-13] + bytes([PNG[-13] ^ 1]) + PNG[-12:],
    "png-end-checksum-flipped": PNG[:-1] + bytes([PNG[-1] ^ 1]),
    "png-text-checksum-flipped": small_png(chunk(b"tEXt", b"a\0b", crc=1)),
    "png-pixel-flipped": PNG[:2000] + bytes([PNG[2000] ^ 0xFF]) + PNG[2001:],
    "png-pixels-not-zlib": png(IHDR, chunk(b"IDAT", b"x" * 64)),
    "png-pixels-gzip": png(IHDR, chunk(b"IDAT", gzip.compress(bytes(72), mtime=0))),
    "png-pixels-too-few": png(ihdr(64, 64), chunk(b"IDAT", grey_rows(64, 8))),  # IEND is there, so nothing was cut off
    "png-filter-of-type-9": png(IHDR, chunk(b"IDAT", zlib.compress(b"\x09" * 72))),
    "png-without-pixels": png(IHDR),
    "png-without-header": png(IDAT),
    "png-header-not-first": png(chunk(b"tEXt", b"a\0b"), IHDR, IDAT),
    "png-header-of-5-bytes": png(chunk(b"IHDR", b"\0\0\0\x08\0"), IDAT),
    "png-of-0-by-0": png(ihdr(0, 0), chunk(b"IDAT", zlib.compress(b""))),
    "png-of-no-height": png(ihdr(8, 0), chunk(b"IDAT", zlib.compress(b""))),
    "png-of-colour-type-1": png(ihdr(8, 8, colour=1), IDAT),
    "png-of-3-bits": png(ihdr(8, 8, bits=3), IDAT),
    "png-palette-missing": png(ihdr(8, 8, colour=3), IDAT),
    "png-chunk-without-a-name": small_png(chunk(b"\0\0\0\0", b"a")),
    "png-text-bomb": lambda: small_png(chunk(b"zTXt", b"Comment\0\0" + text_bomb())),
    "png-unicode-text-bomb": lambda: small_png(chunk(b"iTXt", b"a\0\1\0\0\0" + text_bomb())),
    "png-colour-profile-bomb": lambda: small_png(chunk(b"iCCP", b"icc\0\0" + text_bomb())),
    "webp-lossy-without-start-code": webp(vp8(8, 8, start_code=bytes(3))),
    "webp-lossy-of-0-by-0": webp(vp8(0, 0)),
    "webp-lossy-partition-of-512-kilobytes": webp(riff_chunk(b"VP8 ", b"\xf0\xff\xff" + WEBP[23:])),
    "webp-lossless-of-ones": webp(vp8l(64, 64, rest=b"\xff" * 64)),
    "webp-lossless-without-signature": webp(vp8l(8, 8, signature=0)),
    "webp-without-picture": webp(vp8x(8, 8)),
    "webp-of-an-unknown-chunk": webp(riff_chunk(b"EVIL", HTML)),
    "webp-animation-without-frames": webp_animation(0),
    "gif-without-a-picture": gif(),
    "gif-of-a-comment-only": gif(b"\x21\xfe\x05hello\x00"),
    "gif-of-0-by-0": gif(gif_frame(0, 0), width=0, height=0),
    "gif-lzw-of-ones": gif(gif_frame(8, 8, b"\x02\x08" + b"\xff" * 8 + b"\0"), width=8, height=8),
    "gif-lzw-of-13-bits": gif(gif_frame(data=b"\x0d" + GIF_PIXEL[1:])),
    "gif-lzw-without-data": gif(gif_frame(8, 8, b"\x02\x00"), width=8, height=8),
    "gif-with-an-unknown-block": gif(b"\x55\x03abc\x00", gif_frame()),
    "bmp-of-0-by-0": bmp(0, 0),
    "bmp-of-no-height": bmp(8, 0),
    "bmp-of-negative-width": bmp(-8, 8, pixels=bytes(192)),
    "bmp-of-7-bits": bmp(bits=7),
    "bmp-of-compression-99": bmp(compression=99),
    "bmp-of-a-jpeg": bmp(64, 48, bits=0, compression=4, pixels=JPEG),
    "bmp-header-of-no-length": bmp(header_size=0),
    "bmp-header-of-an-unknown-length": bmp(header_size=41),
    "bmp-pixels-inside-its-header": bmp(offset=10),
    "bmp-of-a-billion-colours": bmp(bits=8, colours=2**30, palette=bytes(1024)),
    "tiff-directory-that-follows-itself": tiff_pages(1, loop_to=0),
    "tiff-directories-in-a-circle": tiff_pages(3, loop_to=0),
    "tiff-directories-in-a-circle-further-on": tiff_pages(5, loop_to=2),
    "tiff-directory-without-tags": b"II*\0" + struct.pack("<LHL", 8, 0, 0),
    "tiff-without-width": tiff({IMAGE_WIDTH: None}),
    "tiff-without-pixels": tiff({STRIP_OFFSETS: None, STRIP_BYTES: None}, data=b""),
    "tiff-of-0-by-0": tiff({}, 0, 0, data=bytes(64)),
    "tiff-of-60000-samples": tiff({SAMPLES: (SHORT, 1, 60000)}),
    "tiff-of-255-bits": tiff({BITS: (SHORT, 1, 255)}),
    "tiff-of-an-unknown-compression": tiff({COMPRESSION: (SHORT, 1, 65000)}),
    "tiff-deflate-garbage": tiff({COMPRESSION: (SHORT, 1, 8)}, data=b"x" * 64),
    "tiff-lzw-garbage": tiff({COMPRESSION: (SHORT, 1, 5)}, data=b"\xff" * 64),
    "tiff-jpeg-garbage": tiff({COMPRESSION: (SHORT, 1, 7)}, data=b"x" * 64),
    "tiff-tile-of-20000-squared": tiff_tiled(20000, 20000, zlib.compress(bytes(400)), 8),  # 400 MB for 8 x 8 pixels
    "tiff-tile-of-0-by-0": tiff_tiled(0, 0, bytes(64)),
    "avif-with-unknown-boxes": avif_with_foreign_boxes(AVIF),
    "avif-pixels-of-zeros": avif_with_blank_pixels(AVIF),
    "avif-of-0-by-0": avif_sized(AVIF, 0, 0),
}


# Written after reading the code, unlike the rest: files of at most 20 MiB in the shape that costs a reader the most
# time or memory for each of their bytes. Every one of them is bad, so the answer is known.
COSTLY_CORRUPT: dict[str, Content] = {
    "jpeg-of-20-megabytes-of-fill-bytes": lambda: b"\xff\xd8" + b"\xff" * (MAX_BYTES - 2),
    "jpeg-with-20-megabytes-of-fill-bytes": lambda: JPEG[:2] + b"\xff" * (MAX_BYTES - 20_000) + JPEG[2:],
    # cut as well, but nobody should follow them to where that would show
    "jpeg-of-5-million-empty-comments": lambda: b"\xff\xd8" + segment(0xFE) * (MAX_BYTES // 4 - 1),
    "jpeg-of-10-million-restart-markers": lambda: b"\xff\xd8" + b"\xff\xd0" * (MAX_BYTES // 2 - 1),
    "png-of-a-million-empty-chunks": lambda: PNG_SIGNATURE + IHDR + chunk(b"prVt") * 1_700_000,
    "avif-of-2-million-empty-boxes": lambda: ftyp(b"avif", b"mif1") + box(b"free") * 2_600_000,
    "gif-of-10-million-one-byte-blocks": lambda: gif(b"\x21\xfe" + b"\x01a" * 10_000_000 + b"\0"),
    "webp-of-2-million-empty-chunks": lambda: webp(riff_chunk(b"EVIL", b"") * 2_600_000),
    "tiff-of-50-overlapping-directories": lambda: tiff_overlapping_directories(50),
    "tiff-of-1000-equal-strip-lists": lambda: tiff_equal_tags(STRIP_OFFSETS, 1000, 1_000_000),
    "tiff-of-5-million-sub-directories": lambda: tiff_equal_tags(SUB_DIRECTORIES, 5, 1_000_000),
    "tiff-tile-of-40000-squared": tiff_tiled(40000, 40000, zlib.compress(bytes(400)), 8),  # 1.6 GB from 148 bytes
}


def type_of(case_id: str) -> str:
    """The ids of pictures start with their format."""

    return {"apng": "image/png"}.get(name := case_id.partition("-")[0], f"image/{name}")


PICTURES = [
    *(bad(name, content, type_of(name), "image.truncated") for name, content in CUT.items()),
    *(bad(name, content, type_of(name), "image.trailing_data") for name, content in TRAILING.items()),
    *(bad(name, content, type_of(name), "image.too_many_pixels") for name, content in BOMBS.items()),
    *(bad(name, content, type_of(name), "image.too_many_frames") for name, content in FRAMES.items()),
    *(bad(name, content, type_of(name), "image.corrupt") for name, content in CORRUPT.items()),
    *(bad(name, content, type_of(name), "image.corrupt") for name, content in COSTLY_CORRUPT.items()),
    bad("png-one-row-over", PNG, "image/png", "image.too_many_pixels", limits={"max_pixels": 64 * 47}),
    bad("jpeg-over-a-small-limit", JPEG, "image/jpeg", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("webp-over-a-small-limit", WEBP, "image/webp", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("gif-over-a-small-limit", GIF, "image/gif", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("bmp-over-a-small-limit", BMP, "image/bmp", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("tiff-over-a-small-limit", TIFF, "image/tiff", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("avif-over-a-small-limit", AVIF, "image/avif", "image.too_many_pixels", limits={"max_pixels": 1000}),
    bad("gif-of-3-frames-not-1", GIF_ANIMATED, "image/gif", "image.too_many_frames", limits={"max_frames": 1}),
    bad("apng-of-3-frames-not-2", APNG, "image/png", "image.too_many_frames", limits={"max_frames": 2}),
    bad("webp-of-3-frames-not-2", WEBP_ANIMATED, "image/webp", "image.too_many_frames", limits={"max_frames": 2}),
    bad("tiff-of-3-pages-not-1", TIFF_PAGES, "image/tiff", "image.too_many_frames", limits={"max_frames": 1}),
]

INSIDE_ENVELOPES = {
    "empty-image": ({"image": "", "type": "image/png"}, "request.no_body"),
    "empty-data-uri": ({"image": "data:image/png;base64,"}, "request.no_body"),
    "text": ({"image": b64(b"hello, world"), "type": "image/png"}, "image.not_an_image"),
    "svg-in-a-data-uri-of-a-png": ({"image": "data:image/png;base64," + b64(SVG)}, "image.not_an_image"),
    "html-data-uri": ({"image": "data:text/html;base64," + b64(HTML)}, "type.not_accepted"),
    "svg-data-uri": ({"image": "data:image/svg+xml;base64," + b64(SVG)}, "type.not_accepted"),
    "octet-stream": ({"image": b64(PNG), "type": "application/octet-stream"}, "type.not_accepted"),
    "json-again": ({"image": b64(envelope(image=b64(PNG))), "type": "application/json"}, "type.not_accepted"),
    "jpeg-declared-png": ({"image": b64(JPEG), "type": "image/png"}, "image.type_mismatch"),
    "jpeg-in-a-data-uri-of-a-png": ({"image": "data:image/png;base64," + b64(JPEG)}, "image.type_mismatch"),
    "jpeg-named-png": ({"image": b64(JPEG), "file_name": "a.png"}, "image.type_mismatch"),
    "cut-png": ({"image": b64(PNG[:500]), "type": "image/png"}, "image.truncated"),
    "png-and-script": ({"image": b64(PNG + HTML), "type": "image/png"}, "image.trailing_data"),
    "bomb": ({"image": b64(png(ihdr(60000, 60000), IDAT)), "type": "image/png"}, "image.too_many_pixels"),
    "101-frames": ({"image": b64(gif(gif_frame() * 101)), "type": "image/gif"}, "image.too_many_frames"),
    "corrupt-png": ({"image": b64(png(IHDR)), "type": "image/png"}, "image.corrupt"),
}

URIS_WITHOUT_PREFIXES = {
    "s3": "s3://warehouse/images/a.png",
    "file": "file:///etc/passwd",
    "cloud-metadata": "http://169.254.169.254/latest/meta-data/",
    "path": "../../etc/passwd",
}

ENVELOPES = [
    *(bad(f"json-{name}", body, "application/json", "request.malformed_json") for name, body in MALFORMED_JSON.items()),
    *(bad(f"json-{name}", body, "application/json", "request.malformed_json") for name, body in COSTLY_JSON.items()),
    bad("json-with-charset-malformed", b"{", "application/json; charset=utf-8", "request.malformed_json"),
    *(
        bad(f"base64-{name}", body, "application/json", "request.malformed_base64")
        for name, body in MALFORMED_BASE64.items()
    ),
    *(
        bad(f"json-with-{name}-inside", envelope(**fields), "application/json", code)
        for name, (fields, code) in INSIDE_ENVELOPES.items()
    ),
    bad(
        "json-with-an-image-over-the-limit-inside",
        envelope(image=b64(PNG), type="image/png"),
        "application/json",
        "request.too_large",
        limits={"max_bytes": len(PNG) - 1},
    ),
    *(
        bad(f"uri-without-prefixes-{name}", envelope(image_uri=uri), "application/json", "request.uri_not_allowed")
        for name, uri in URIS_WITHOUT_PREFIXES.items()
    ),
    *(
        bad(
            f"uri-{name}",
            envelope(image_uri=uri),
            "application/json",
            "request.uri_not_allowed",
            rules={"uri_prefixes": BUCKET},
        )
        for name, uri in FORBIDDEN_URIS.items()
    ),
    bad(
        "uri-file-parent-folder",
        envelope(image_uri="file:///data/images/../../etc/passwd"),
        "application/json",
        "request.uri_not_allowed",
        rules={"uri_prefixes": "file:///data/images/"},
    ),
]

CASES: list[Case] = [*REQUESTS, *TYPES, *PICTURES, *ENVELOPES]
