"""Small healthy files of every format the product decodes, from which `tools.mutations` makes damaged ones.

Pillow writes what it can. What it cannot write (most kinds of TIFF, BMP and PNG) is put together here, from the
specifications, over noise: a decoder does not care what a picture shows. Every call gives the same bytes, as long as
Pillow and zlib are the same; no seed is larger than 400 x 300 pixels.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageCms

from tools import trailer_seeds as behind
from tools.heif_files import (
    ALPHA,
    DEPTH,
    GAIN_MAP,
    HeifFile,
    auxiliary,
    box,
    coded,
    crop,
    heic,
    heic_grid,
    mirror,
    profile,
    rotation,
)


@dataclass(frozen=True, slots=True)
class Seed:
    """A healthy file. `format` is the name that Pillow and `imagewarehouse.images.formats` have for its format."""

    format: str
    name: str
    content: bytes = field(repr=False)


@cache
def seeds() -> Mapping[str, Sequence[Seed]]:
    """The seeds of each format. They are made at the first call, which takes about a second."""
    makers: dict[str, Callable[[], dict[str, bytes]]] = {
        "JPEG": _jpeg,
        "PNG": _png,
        "WEBP": _webp,
        "GIF": _gif,
        "BMP": _bmp,
        "TIFF": _tiff,
        "AVIF": _avif,
        "HEIF": _heif,
        "JPEG2000": _jpeg2000,
    }
    return {
        name: tuple(Seed(name, variant, content) for variant, content in make().items())
        for name, make in makers.items()
    }


# --- what several formats share -------------------------------------------------------------------------------------


def _noise(length: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def _picture(mode: str = "RGB", width: int = 40, height: int = 30, seed: int = 7) -> Image.Image:
    """A ramp under noise: a flat picture compresses to nothing, and pure noise has no long matches and no zero runs."""
    rows, columns = np.mgrid[0:height, 0:width]
    ramp = np.stack([rows * 5, columns * 3, rows + columns], axis=2)
    grain = np.random.default_rng(seed).integers(0, 24, (height, width, 3))
    return Image.fromarray(((ramp + grain) % 256).astype(np.uint8)).convert(mode)


def _transparent(width: int = 40, height: int = 30) -> Image.Image:
    image = _picture("RGB", width, height)
    image.putalpha(_picture("L", width, height, seed=8))
    return image


def saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def _animated(image_format: str, frames: int, mode: str = "RGB", **options: object) -> bytes:
    first, *following = (_picture(mode, 24, 18, seed) for seed in range(frames))
    return saved(first, image_format, save_all=True, append_images=following, **options)


@cache
def _profile() -> bytes:
    """sRGB. The library writes the time into it, bytes 24 to 35, which would be another seed each second."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + profile[36:]


@dataclass(frozen=True, slots=True)
class _Directory:
    """One TIFF directory before it has a place in a file.

    `tags`: kind and values of each, where a rational counts as two values. `blocks`: the strips or tiles, whose tags
    (`offsets_tag` and the one behind it for their lengths) the writer adds. `children`: directories that tags refer to.
    """

    tags: Mapping[int, tuple[int, Sequence[int] | bytes]]
    blocks: Sequence[bytes] = ()
    block_tags: tuple[int, int] = (273, 279)
    children: Mapping[int, _Directory] = field(default_factory=dict)


_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED, _SSHORT, _SLONG, _IFD, _LONG8 = 1, 2, 3, 4, 5, 7, 8, 9, 13, 16
_CODES = {_BYTE: "B", _ASCII: "B", _SHORT: "H", _LONG: "I", _RATIONAL: "I", _UNDEFINED: "B", _SSHORT: "h", _SLONG: "i",
          _IFD: "I", _LONG8: "Q"}  # fmt: skip


def _tiff_file(directories: Sequence[_Directory], order: str = "<", big: bool = False) -> bytes:
    """A TIFF file: pictures first, behind them the values, behind these each directory. Also what an EXIF block is."""
    pointer = "Q" if big else "I"
    out = bytearray(b"II" if order == "<" else b"MM")
    out += struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    link = len(out) - struct.calcsize(pointer)  # where the place of the next directory has to be written

    def append(data: bytes) -> int:
        out.extend(bytes(len(out) % 2))  # values start at even places
        out.extend(data)
        return len(out) - len(data)

    def write(directory: _Directory) -> tuple[int, int]:
        """Where the directory starts, and where its link to the next one stands."""
        tags = dict(directory.tags)
        for tag, child in directory.children.items():
            tags[tag] = (_LONG8 if big else _LONG, (write(child)[0],))
        if directory.blocks:
            kind = _LONG8 if big else _LONG
            tags[directory.block_tags[0]] = (kind, tuple(append(block) for block in directory.blocks))
            tags[directory.block_tags[1]] = (kind, tuple(len(block) for block in directory.blocks))
        entries = b""
        for tag in sorted(tags):
            kind, values = tags[tag]
            data = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            count = len(values) // 2 if kind == _RATIONAL else len(values)
            if len(data) > struct.calcsize(pointer):
                data = struct.pack(order + pointer, append(data))
            entries += struct.pack(f"{order}HH{pointer}", tag, kind, count) + data.ljust(
                struct.calcsize(pointer), b"\0"
            )
        head = struct.pack(order + ("Q" if big else "H"), len(tags))
        start = append(head + entries + bytes(struct.calcsize(pointer)))
        return start, len(out) - struct.calcsize(pointer)

    for directory in directories:
        start, following = write(directory)
        struct.pack_into(order + pointer, out, link, start)
        link = following
    return bytes(out)


def _exif(order: str = "<", thumbnail: bytes = b"", orientation: int = 6) -> bytes:
    """An EXIF block without its prefix: camera, orientation, Exif and GPS directories, and a thumbnail where given."""
    exif = _Directory(
        {
            0x829A: (_RATIONAL, (1, 250)),
            0x9000: (_UNDEFINED, b"0232"),
            0x9003: (_ASCII, b"2026:01:01 10:00:00\0"),
            0x927C: (_UNDEFINED, b"MakerNote" + bytes(20)),
            0x9286: (_UNDEFINED, b"ASCII\0\0\0a comment"),
            0xA002: (_LONG, (40,)),
        },
        children={0xA005: _Directory({1: (_ASCII, b"R98\0"), 2: (_UNDEFINED, b"0100")})},
    )
    gps = _Directory(
        {
            0: (_BYTE, (2, 3, 0, 0)),
            1: (_ASCII, b"N\0"),
            2: (_RATIONAL, (48, 1, 51, 1, 2999, 100)),
            3: (_ASCII, b"E\0"),
            4: (_RATIONAL, (2, 1, 17, 1, 4000, 100)),
            5: (_BYTE, (0,)),
            6: (_RATIONAL, (3500, 100)),
        }
    )
    first = _Directory(
        {
            0x010F: (_ASCII, b"Camera & Sons\0"),
            0x0112: (_SHORT, (orientation,)),
            0x011A: (_RATIONAL, (72, 1)),
            0x0128: (_SHORT, (2,)),
            0x0132: (_ASCII, b"2026:01:01 10:00:00\0"),
            0x9C9B: (_BYTE, "title".encode("utf-16-le")),
        },
        children={0x8769: exif, 0x8825: gps},
    )
    if not thumbnail:
        return _tiff_file([first], order)
    return _tiff_file([first, _Directory({0x0103: (_SHORT, (6,))}, [thumbnail], (0x0201, 0x0202))], order)


_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'


# --- JPEG -----------------------------------------------------------------------------------------------------------


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """The segments stand right behind the start of the picture."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def _arithmetic(jpeg: bytes, marker: int) -> bytes:
    """The same headers with arithmetic coding and other data: to its decoder every series of bytes is a picture."""
    output, at = bytearray(jpeg[:2]), 2
    while True:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        kind, part = jpeg[at + 1], jpeg[at:end]
        if kind in (0xC0, 0xC2):
            output += bytes((0xFF, marker)) + part[2:]
        elif kind == 0xDA:
            return bytes(output + _segment(0xCC, b"\0\x10\x10\5") + part + bytes(range(1, 250)) + b"\xff\xd9")
        elif kind != 0xC4:
            output += part
        at = end


def _second_picture_inside(first: bytes, second: bytes, pictures: int) -> bytes:
    """What phones write (CIPA DC-007): an index of several pictures. The second one lies in a segment here."""
    index = struct.pack("<4sIHHHI4sHHIIHHIIII", b"II*\0", 8, 3, 0xB000, 7, 4, b"0100", 0xB001, _LONG, 1, pictures,
                        0xB002, 7, 16 * pictures, 50, 0, 0)[:50]  # fmt: skip
    first_entry = struct.pack("<IIIHH", 0x20030000, len(first), 0, 0, 0)
    # Offsets count from the index's own start, which is 4 + 4 bytes behind the segment's.
    other = struct.pack("<IIIHH", 0, len(second), 50 + 16 * pictures + 4 + 5, 0, 0)
    body = b"MPF\0" + index + first_entry + other * (pictures - 1)
    return _with_segments(first, _segment(0xE2, body), _segment(0xEF, b"MORE\0" + second))


def _jpeg() -> dict[str, bytes]:
    plain, grey = _picture(), _picture("L")
    baseline, thumbnail = saved(plain, "JPEG"), saved(_picture("RGB", 16, 12), "JPEG")
    cmyk = saved(_picture("CMYK"), "JPEG")
    adobe = cmyk.index(b"Adobe") + 11
    resolution = b"8BIM\x03\xed\0\0\0\0\0\x10" + struct.pack(">IHHIHH", 72 << 16, 1, 1, 72 << 16, 1, 1)
    return {
        "baseline": baseline,
        "one-pixel": saved(_picture("RGB", 1, 1), "JPEG"),
        "odd-size": saved(_picture("RGB", 17, 5), "JPEG"),
        "larger": saved(_picture("RGB", 400, 300), "JPEG", quality=60),
        "no-subsampling": saved(plain, "JPEG", subsampling=0),
        "half-subsampling": saved(plain, "JPEG", subsampling=1),
        "optimised": saved(plain, "JPEG", optimize=True, quality=95),
        "extended": baseline.replace(b"\xff\xc0", b"\xff\xc1", 1),
        "progressive": saved(plain, "JPEG", progressive=True),
        "grey": saved(grey, "JPEG"),
        "grey-progressive": saved(grey, "JPEG", progressive=True),
        "cmyk": cmyk,
        "ycck": cmyk[:adobe] + b"\2" + cmyk[adobe + 1 :],
        "rgb": saved(plain, "JPEG", keep_rgb=True),
        "restart-markers": saved(plain, "JPEG", restart_marker_blocks=1),
        "progressive-restart-markers": saved(plain, "JPEG", restart_marker_rows=1, progressive=True),
        "arithmetic": _arithmetic(saved(grey, "JPEG"), 0xC9),
        "arithmetic-colour": _arithmetic(baseline, 0xC9),
        "exif": _with_segments(baseline, _segment(0xE1, b"Exif\0\0" + _exif(thumbnail=thumbnail))),
        "exif-big-endian": _with_segments(baseline, _segment(0xE1, b"Exif\0\0" + _exif(">", orientation=3))),
        "profile": saved(plain, "JPEG", icc_profile=_profile()),
        "comment-and-xmp": saved(plain, "JPEG", comment=b"holiday", xmp=_XMP),
        "photoshop": _with_segments(baseline, _segment(0xED, b"Photoshop 3.0\0" + resolution)),
        "index-of-pictures": _second_picture_inside(baseline, thumbnail, 2),
        "behind-pictures": behind.with_index(baseline, thumbnail, baseline),
        "behind-gain-map": behind.with_index(baseline, behind.gain_map(saved(grey, "JPEG"))),
        "behind-film": baseline + behind.film(),
        "behind-everything": behind.with_index(
            behind.with_segments(baseline, behind.container(("image/jpeg", "Primary", 0), ("video/mp4", "MotionPhoto", 400))),
            behind.gain_map(thumbnail),
        ) + bytes(16) + behind.film(),
        "behind-samsung": baseline + behind.samsung(
            behind.TIME_OF_DAY, (0x0A30, b"MotionPhoto_Data", behind.film()), (0x0B41, b"SingeShot_DepthMap_1", _noise(90))),
        "behind-fotostation": baseline + b"".join(
            behind.part_of_fotostation(*part) for part in ((4, thumbnail), (1, behind.IPTC), (2, bytes(40)))),
        "behind-photo-mechanic": baseline + behind.of_photo_mechanic(),
        "behind-padding": baseline + b"\xff" * 40,
        "stray-bytes": _with_segments(baseline, _segment(0xFE, b"hi"), b"\1\2\xff\0\3"),
        "everything": _with_segments(
            saved(plain, "JPEG", icc_profile=_profile(), comment=b"x" * 300, progressive=True, dpi=(72, 72)),
            _segment(0xE1, b"Exif\0\0" + _exif(">")),
            _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP),
        ),
    }  # fmt: skip


# --- PNG ------------------------------------------------------------------------------------------------------------

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png_rows(width: int, height: int, bits: int, seed: int) -> bytes:
    """Noise with a filter byte in front of each row, every filter in turn."""
    row = (width * bits + 7) // 8
    return b"".join(bytes((number % 5,)) + _noise(row, seed + number) for number in range(height))


def _png_file(
    width: int,
    height: int,
    depth: int,
    colour: int,
    *,
    interlaced: bool = False,
    before: Sequence[bytes] = (),
    after: Sequence[bytes] = (),
    pieces: int = 1,
) -> bytes:
    """A PNG over noise; `before` and `after` are chunks around the pixels, which come in so many IDAT chunks."""
    bits = depth * _CHANNELS[colour]
    raw = b""
    for x, y, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = len(range(x, width, across)), len(range(y, height, down))
        raw += _png_rows(columns, rows, bits, seed=width + x) if columns else b""
    data = zlib.compress(raw)
    step = -(-len(data) // pieces)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    palette = [_chunk(b"PLTE", _noise(3 * min(256, 1 << depth)))] if colour == 3 else []
    idat = [_chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step)]
    return b"\x89PNG\r\n\x1a\n" + b"".join((_chunk(b"IHDR", header), *palette, *before, *idat, *after, _chunk(b"IEND")))


def _apng_file(width: int, height: int, frames: int) -> bytes:
    """Frames of different size, place, disposal and blending over a first one of full size; 8-bit RGBA."""
    parts, sequence = [], 1
    for number in range(1, frames):
        size = max(1, width // (number + 1)), max(1, height // (number + 1))
        control = struct.pack(">5IHHBB", sequence, *size, number, number, 1, 10 * number, number % 3, number % 2)
        data = struct.pack(">I", sequence + 1) + zlib.compress(_png_rows(*size, 32, seed=number))
        parts += [_chunk(b"fcTL", control), _chunk(b"fdAT", data)]
        sequence += 2
    first = _chunk(b"fcTL", struct.pack(">5IHHBB", 0, width, height, 0, 0, 1, 10, 0, 0))
    before = [_chunk(b"acTL", struct.pack(">II", frames, 0)), first]
    return _png_file(width, height, 8, 6, before=before, after=parts)


def _png() -> dict[str, bytes]:
    colours = {"grey": (0, (1, 2, 4, 8, 16)), "rgb": (2, (8, 16)), "palette": (3, (1, 2, 4, 8)),
               "grey-alpha": (4, (8, 16)), "rgba": (6, (8, 16))}  # fmt: skip
    files = {
        f"{name}-of-{depth}-bits": _png_file(21, 13, depth, colour)
        for name, (colour, depths) in colours.items()
        for depth in depths
    }
    files |= {
        f"{name}-of-{depths[-1]}-bits-interlaced": _png_file(19, 11, depths[-1], colour, interlaced=True)
        for name, (colour, depths) in colours.items()
    }
    physical = [_chunk(b"gAMA", struct.pack(">I", 45455)), _chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
                _chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
                _chunk(b"sBIT", b"\x08\x08\x08"), _chunk(b"tIME", struct.pack(">HBBBBB", 2026, 1, 1, 0, 0, 0)),
                _chunk(b"bKGD", struct.pack(">HHH", 1, 2, 3)), _chunk(b"sRGB", b"\0")]  # fmt: skip
    text = [_chunk(b"tEXt", b"Comment\0plain text"), _chunk(b"zTXt", b"Author\0\0" + zlib.compress(b"somebody" * 9)),
            _chunk(b"iTXt", b"Title\0\0\0en\0Title\0caf\xc3\xa9"),
            _chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(_XMP))]  # fmt: skip
    return files | {
        "one-pixel": _png_file(1, 1, 8, 2),
        "one-pixel-interlaced": _png_file(1, 1, 1, 3, interlaced=True),
        "larger": saved(_picture("RGB", 150, 100), "PNG"),
        "in-pieces": _png_file(21, 13, 8, 2, pieces=7),
        "grey-transparent": _png_file(21, 13, 8, 0, before=[_chunk(b"tRNS", b"\0\x40")]),
        "grey-of-16-bits-transparent": _png_file(21, 13, 16, 0, before=[_chunk(b"tRNS", b"\x40\x40")]),
        "rgb-transparent": _png_file(21, 13, 8, 2, before=[_chunk(b"tRNS", b"\0\1\0\2\0\3")]),
        "palette-transparent": _png_file(21, 13, 4, 3, before=[_chunk(b"tRNS", bytes(range(9)))]),
        "palette-one-transparent": _png_file(21, 13, 8, 3, before=[_chunk(b"tRNS", b"\xff\xff\0")]),
        "histogram": _png_file(9, 9, 2, 3, before=[_chunk(b"hIST", bytes(8)), _chunk(b"sPLT", b"p\0\x08" + _noise(12))]),
        "measures": _png_file(21, 13, 8, 2, before=physical),
        "text": _png_file(21, 13, 8, 2, before=text),
        "text-behind": _png_file(21, 13, 8, 2, after=text),
        "exif": _png_file(21, 13, 8, 2, before=[_chunk(b"eXIf", _exif())]),
        "exif-behind": _png_file(21, 13, 8, 6, after=[_chunk(b"eXIf", _exif(">", orientation=8))]),
        "exif-as-text": _png_file(21, 13, 8, 2, before=[_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(
            b"\nexif\n%8d\n" % (len(_exif()) + 6) + (b"Exif\0\0" + _exif()).hex().encode()))]),
        "profile": _png_file(21, 13, 8, 2, before=[_chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(_profile()))]),
        "apng": _apng_file(24, 18, 4),
        "apng-from-pillow": _animated("PNG", 3),
        "apng-palette": _animated("PNG", 3, "P", default_image=True),
    }  # fmt: skip


# --- WebP -----------------------------------------------------------------------------------------------------------


def _webp() -> dict[str, bytes]:
    plain, see_through = _picture(), _transparent()
    exif = b"Exif\0\0" + _exif()
    return {
        "lossy": saved(plain, "WEBP"),
        "lossy-one-pixel": saved(_picture("RGB", 1, 1), "WEBP"),
        "lossy-larger": saved(_picture("RGB", 300, 200), "WEBP", quality=40),
        "lossless": saved(plain, "WEBP", lossless=True),
        "lossless-one-pixel": saved(_picture("RGB", 1, 1), "WEBP", lossless=True),
        "lossless-palette": saved(plain.quantize(8).convert("RGB"), "WEBP", lossless=True),
        "lossless-larger": saved(_picture("RGB", 90, 70), "WEBP", lossless=True, quality=100, method=6),
        "alpha": saved(see_through, "WEBP"),
        "alpha-of-few-levels": saved(see_through, "WEBP", alpha_quality=20),
        "lossless-alpha": saved(see_through, "WEBP", lossless=True),
        "animated": _animated("WEBP", 4, duration=40, loop=2),
        "animated-lossless": _animated("WEBP", 3, lossless=True, minimize_size=True),
        "animated-mixed": _animated("WEBP", 4, allow_mixed=True, kmin=1, kmax=2, background=(1, 2, 3, 4)),
        "animated-with-everything": _animated("WEBP", 2, exif=exif, icc_profile=_profile(), xmp=_XMP),
        "exif": saved(plain, "WEBP", exif=exif),
        "exif-without-prefix": saved(see_through, "WEBP", exif=_exif(">", orientation=5)),
        "profile": saved(plain, "WEBP", icc_profile=_profile()),
        "everything": saved(see_through, "WEBP", exif=exif, icc_profile=_profile(), xmp=_XMP),
    }


# --- GIF ------------------------------------------------------------------------------------------------------------


def _gif_data(pixels: Sequence[int], bits: int) -> bytes:
    """LZW without a dictionary: a clear code often enough that the codes stay as wide as they begin."""
    clear, every = 1 << bits, (1 << bits) - 2
    codes: list[int] = []
    for at in range(0, len(pixels), every):
        codes += [clear, *pixels[at : at + every]]
    number = 0
    for place, code in enumerate([*codes, clear + 1]):
        number |= code << place * (bits + 1)
    data = number.to_bytes(((len(codes) + 1) * (bits + 1) + 7) // 8, "little")
    blocks = (data[at : at + 255] for at in range(0, len(data), 255))
    return bytes((bits,)) + b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"


def _gif_frame(
    size: tuple[int, int],
    at: tuple[int, int] = (0, 0),
    *,
    bits: int = 2,
    palette: bool = False,
    interlaced: bool = False,
    disposal: int = 0,
    transparent: int | None = None,
) -> bytes:
    control = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (transparent is not None), 10, transparent or 0, 0)
    flags = (0x80 | (bits - 1) if palette else 0) | (0x40 if interlaced else 0)
    descriptor = struct.pack("<BHHHHB", 0x2C, *at, *size, flags)
    colours = _noise(3 << bits) if palette else b""
    pixels = [value % (1 << bits) for value in _noise(size[0] * size[1], seed=sum(size) + disposal)]
    return control + descriptor + colours + _gif_data(pixels, bits)


def _gif_file(width: int, height: int, *blocks: bytes, version: bytes = b"GIF89a", palette: bool = True) -> bytes:
    screen = struct.pack("<HHBBB", width, height, 0x91 if palette else 0x11, 0, 0)
    return version + screen + (_noise(12, seed=3) if palette else b"") + b"".join(blocks) + b";"


def _gif() -> dict[str, bytes]:
    size = (20, 14)
    extensions = (
        b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00",
        b"\x21\xfe\x05hello\x03;;;\x00",
        b"\x21\x01\x0c" + bytes(12) + b"\x02hi\x00",
        b"\x21\xff\x0bXMP DataXMP" + _XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\x00",
    )
    return {
        "plain": saved(_picture("P"), "GIF"),
        "grey": saved(_picture("L"), "GIF", interlace=0),
        "black-and-white": saved(_picture("1"), "GIF"),
        "larger": saved(_picture("P", 300, 200), "GIF"),
        "transparent": saved(_picture("P"), "GIF", transparency=3),
        "animated": _animated("GIF", 4, loop=0, duration=50, comment=b"four"),
        "animated-with-disposal": _animated("GIF", 4, disposal=[0, 1, 2, 3], transparency=0),
        "animated-local-palettes": _animated("GIF", 3, "P"),
        "87a": _gif_file(*size, _gif_frame(size)[8:], version=b"GIF87a"),
        "one-pixel": _gif_file(1, 1, _gif_frame((1, 1))),
        "interlaced": _gif_file(*size, _gif_frame(size, interlaced=True)),
        "local-palette": _gif_file(*size, _gif_frame(size, palette=True, bits=4), palette=False),
        "no-palette": _gif_file(*size, _gif_frame(size), palette=False),
        "smaller-than-its-screen": _gif_file(40, 30, _gif_frame(size, (7, 9), transparent=1)),
        "larger-than-its-screen": _gif_file(5, 5, _gif_frame(size, (7, 9))),
        "screen-of-nothing": _gif_file(0, 0, _gif_frame(size)),
        "extensions": _gif_file(*size, *extensions, _gif_frame(size, transparent=2)),
        "frames-of-all-kinds": _gif_file(
            *size,
            extensions[0],
            _gif_frame(size, disposal=1),
            _gif_frame((5, 4), (3, 2), disposal=2, palette=True, bits=3, transparent=5),
            _gif_frame((20, 1), (0, 13), disposal=3, interlaced=True),
            _gif_frame((9, 9), (11, 5), palette=True, bits=7),
        ),
    }


# --- BMP ------------------------------------------------------------------------------------------------------------


def _bmp_file(
    width: int,
    height: int,
    bits: int,
    *,
    compression: int = 0,
    header: int = 40,
    masks: Sequence[int] = (),
    pixels: bytes | None = None,
    colours: int | None = None,
    profile: bytes = b"",
) -> bytes:
    """A Windows bitmap over noise. A header of 12 bytes is OS/2's, one of 124 may have a profile behind the pixels."""
    size = (width * bits + 31) // 32 * 4 * abs(height)
    pixels = _noise(size) if pixels is None else pixels
    used = (1 << bits if bits <= 8 else 0) if colours is None else colours
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 2835, 2835, colours or 0, 0
        )
        info += struct.pack(f"<{len(masks)}I", *masks)
        info = info.ljust(header, b"\0")
        if header >= 108:
            info = info[:56] + (b"DEBM" if profile else b"BGRs") + info[60:]
    palette = _noise(used * (3 if header == 12 else 4), seed=4)
    start = 14 + len(info) + len(palette)
    if profile:
        info = info[:112] + struct.pack("<II", start - 14 + len(pixels), len(profile)) + info[120:]
    whole = info + palette + pixels + profile
    return b"BM" + struct.pack("<IHHI", 14 + len(whole), 0, 0, start) + whole  # fmt: skip


def _bmp() -> dict[str, bytes]:
    # Runs, literals, the end of a line and a jump: 8 x 6 in all, because Pillow refuses a picture that is not filled.
    runs = b"\x05\x01\x03\x02\x00\x00" * 3 + b"\x00\x03\x07\x08\x09\x00\x05\x03\x00\x00"
    runs += b"\x02\x04\x00\x02\x02\x00\x04\x05\x00\x00\x00\x06\x01\x02\x03\x04\x05\x06\x02\x01\x00\x01"
    short_runs = b"\x08\x12\x00\x00" * 4 + b"\x00\x06\x12\x34\x56\x00\x02\x01\x00\x00" + b"\x08\x77\x00\x01"
    files = {f"{bits}-bits": _bmp_file(21, 13, bits) for bits in (1, 4, 8, 16, 24, 32)}
    files |= {f"{bits}-bits-of-os2": _bmp_file(21, 13, bits, header=12) for bits in (1, 4, 8, 24)}
    alpha = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    return files | {
        "one-pixel": _bmp_file(1, 1, 24),
        "larger": _bmp_file(200, 150, 8),
        "top-down": _bmp_file(21, -13, 24),
        "few-colours": _bmp_file(21, 13, 8, colours=17),
        "many-colours": _bmp_file(21, 13, 8, colours=300),
        "2-bits": _bmp_file(21, 13, 2),
        "4444": _bmp_file(21, 13, 16, compression=3, header=56, masks=(0xF00, 0xF0, 0xF, 0xF000)),
        "10-bits-of-32": _bmp_file(21, 13, 32, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF)),
        "masks-of-alpha": _bmp_file(21, 13, 32, compression=6, masks=alpha),
        "555": _bmp_file(21, 13, 16, compression=3, masks=(0x7C00, 0x3E0, 0x1F)),
        "565": _bmp_file(21, 13, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F)),
        "masks-of-32-bits": _bmp_file(21, 13, 32, compression=3, masks=alpha[:3]),
        "run-length-of-8-bits": _bmp_file(8, 6, 8, compression=1, pixels=runs),
        "run-length-of-8-bits-top-down": _bmp_file(8, -6, 8, compression=1, pixels=runs),
        "run-length-of-4-bits": _bmp_file(8, 6, 4, compression=2, pixels=short_runs),
        "v2": _bmp_file(21, 13, 32, compression=3, header=52, masks=alpha[:3]),
        "v3": _bmp_file(21, 13, 32, compression=3, header=56, masks=alpha),
        "os2-of-64-bytes": _bmp_file(21, 13, 8, header=64),
        "v4": _bmp_file(21, 13, 32, compression=3, header=108, masks=alpha),
        "v5": _bmp_file(21, 13, 32, compression=3, header=124, masks=alpha),
        "v5-with-profile": _bmp_file(21, 13, 24, header=124, profile=_profile()),
    }


# --- TIFF -----------------------------------------------------------------------------------------------------------


def _packed(data: bytes) -> bytes:
    """PackBits: literals and, where a byte stands twice, runs."""
    out, at = b"", 0
    while at < len(data):
        if data[at : at + 1] == data[at + 1 : at + 2]:
            out, at = out + bytes((255, data[at])), at + 2
        else:
            part = data[at : at + 50]
            out, at = out + bytes((len(part) - 1,)) + part, at + 50
    return out


def _compressed(data: bytes, compression: int) -> bytes:
    """As the tag `Compression` says: deflate (8), PackBits (32773) or not at all."""
    return zlib.compress(data) if compression == 8 else _packed(data) if compression == 32773 else data


def _page(
    size: tuple[int, int] = (21, 13),
    samples: int = 1,
    bits: int = 8,
    photometric: int = 1,
    *,
    sample_format: int = 1,
    compression: int = 1,
    tile: tuple[int, int] | None = None,
    planar: bool = False,
    rows: int = 5,
    extra: Mapping[int, tuple[int, Sequence[int] | bytes]] | None = None,
    children: Mapping[int, _Directory] | None = None,
    data: bytes | None = None,
) -> _Directory:
    """A page of noise in strips of `rows` rows or in tiles; of `data`, where given, in one strip."""
    width, height = size
    together = 1 if planar else samples
    across, down = tile or (width, rows)
    columns, lines = -(-width // across), -(-height // down)
    heights = [down] * lines if tile else [min(down, height - down * line) for line in range(lines)]
    blocks = [
        _compressed(_noise((across * bits * together + 7) // 8 * each, seed=number), compression)
        for number, each in enumerate([each for each in heights for _ in range(columns)] * (samples // together))
    ]
    if data is not None:
        blocks = [_compressed(data, compression)]
    tags: dict[int, tuple[int, Sequence[int] | bytes]] = {
        256: (_LONG, (width,)), 257: (_LONG, (height,)), 258: (_SHORT, (bits,) * samples), 259: (_SHORT, (compression,)),
        262: (_SHORT, (photometric,)), 277: (_SHORT, (samples,)), 282: (_RATIONAL, (72, 1)), 283: (_RATIONAL, (72, 1)),
        284: (_SHORT, (2 if planar else 1,)), 296: (_SHORT, (2,)), 339: (_SHORT, (sample_format,) * samples),
    }  # fmt: skip
    if photometric == 3:
        tags[320] = (_SHORT, struct.unpack(f"<{3 << bits}H", _noise(6 << bits)))
    tags |= {322: (_LONG, (across,)), 323: (_LONG, (down,))} if tile else {278: (_LONG, (rows,))}
    return _Directory(tags | dict(extra or {}), blocks, (324, 325) if tile else (273, 279), children or {})


def _floats(kind: str, predicted: bool = False) -> bytes:
    """13 rows of 21 numbers of 0 to 1, as numpy names their kind; or as differences of bytes, the highest bytes first."""
    numbers = np.random.default_rng(9).random((13, 21)).astype(kind)
    if not predicted:
        return numbers.tobytes()
    size = numbers.dtype.itemsize
    stored = numbers.astype(f">f{size}").view(np.uint8).reshape(13, 21, size).transpose(0, 2, 1).reshape(13, -1)
    return np.diff(stored, axis=1, prepend=np.uint8(0)).tobytes()


def _float_page(kind: str, predicted: bool = False) -> _Directory:
    return _page(bits=8 * int(kind[-1]), sample_format=3, rows=13, compression=8 if predicted else 1,
                 extra={317: (_SHORT, (3 if predicted else 1,))}, data=_floats(kind, predicted))  # fmt: skip


def _tiff() -> dict[str, bytes]:
    plain = _picture()
    signed = {
        16: {340: (_SSHORT, (-1000,)), 341: (_SSHORT, (1000,))},
        32: {340: (_SLONG, (-9,)), 341: (_SLONG, (1 << 30,))},
    }
    files: dict[str, bytes] = {}
    for order, end in (("little", "<"), ("big", ">")):
        for big in (False, True):
            name = f"{order}-endian" + ("-bigtiff" if big else "")
            files[name] = _tiff_file([_page(samples=3, photometric=2)], end, big)
            files[name + "-tiled"] = _tiff_file([_page(tile=(16, 16), compression=8)], end, big)
            files[name + "-pages"] = _tiff_file([_page(), _page((5, 5)), _page((1, 1), compression=8)], end, big)
    kinds = {
        "1-bit": _page(bits=1), "1-bit-inverted": _page(bits=1, photometric=0), "1-bit-filled-from-below": _page(
            bits=1, extra={266: (_SHORT, (2,))}), "2-bits": _page(bits=2), "4-bits": _page(bits=4), "12-bits": _page(bits=12),
        "16-bits": _page(bits=16), "16-bits-signed": _page(bits=16, sample_format=2, extra=signed[16]),
        "32-bits": _page(bits=32),
        "32-bits-signed": _page(bits=32, sample_format=2, extra=signed[32]), "float": _float_page("<f4"),
        "float-of-16-bits": _float_page("<f2"), "float-of-64-bits": _float_page("<f8"),
        "14-bits": _page(bits=14), "16-bits-inverted": _page(bits=16, photometric=0), "64-bits": _page(bits=64),
        "planar-of-16-bits": _page(samples=3, bits=16, photometric=2, planar=True),
        "planar-of-16-bits-tiled": _page(
            (40, 30), samples=3, bits=16, photometric=2, planar=True, tile=(16, 16), compression=8),
        "rgb-of-12-bits": _page(samples=3, bits=12, photometric=2, compression=32773),
        "rgba-of-16-bits-premultiplied": _page(samples=4, bits=16, photometric=2, extra={338: (_SHORT, (1,))}),
        "16-bits-with-predictor": _page(
            samples=3, bits=16, photometric=2, planar=True, compression=8, extra={317: (_SHORT, (2,))}),
        "palette-of-8-bit-colours": _page(photometric=3, extra={320: (_SHORT, tuple(_noise(768)))}),
        "palette-alpha": _page(samples=2, photometric=3, extra={338: (_SHORT, (2,))}),
        "icc-lab": _page(samples=3, photometric=9), "lab-of-16-bits": _page(samples=3, bits=16, photometric=8),
        "many-bands": _page(samples=8),
        "8-bits-filled-from-below": _page(samples=3, photometric=2, extra={266: (_SHORT, (2,))}),
        "grey-alpha": _page(samples=2, extra={338: (_SHORT, (2,))}), "rgb-of-16-bits": _page(samples=3, bits=16, photometric=2),
        "rgba": _page(samples=4, photometric=2, extra={338: (_SHORT, (2,))}),
        "rgba-premultiplied": _page(samples=4, photometric=2, extra={338: (_SHORT, (1,))}),
        "rgb-and-more": _page(samples=5, photometric=2, extra={338: (_SHORT, (0, 0))}),
        "palette": _page(photometric=3), "palette-of-4-bits": _page(bits=4, photometric=3),
        "palette-of-1-bit": _page(bits=1, photometric=3), "cmyk": _page(samples=4, photometric=5),
        "cmyk-of-16-bits": _page(samples=4, bits=16, photometric=5), "lab": _page(samples=3, photometric=8),
        "planar": _page(samples=3, photometric=2, planar=True),
        "planar-deflate": _page(samples=3, photometric=2, planar=True, compression=8),
        "planar-ycbcr": _page(samples=3, photometric=6, planar=True, extra={530: (_SHORT, (1, 1))}),
        "24-bits": _page(samples=3, bits=24, photometric=2), "palette-of-16-bits": _page(bits=16, photometric=3),
        "cmyk-alpha": _page(samples=5, photometric=5, extra={338: (_SHORT, (2,))}),
        "lab-alpha": _page(samples=4, photometric=8, extra={338: (_SHORT, (2,))}),
        "webp": _page(samples=3, photometric=2, compression=50001, rows=13, data=saved(_picture("RGB", 21, 13), "WEBP")),
        "planar-tiled": _page((40, 30), samples=3, photometric=2, planar=True, tile=(16, 16)),
        "tiled": _page((40, 30), samples=3, photometric=2, tile=(16, 16)),
        "tiled-deflate": _page((40, 30), samples=4, photometric=2, tile=(32, 16), compression=8),
        "packbits": _page(samples=3, photometric=2, compression=32773), "one-strip": _page(rows=13),
        "deflate": _page(samples=3, photometric=2, compression=8), "one-pixel": _page((1, 1)),
        "deflate-with-predictor": _page(samples=3, photometric=2, compression=8, extra={317: (_SHORT, (2,))}),
        "float-deflate-with-predictor": _float_page("<f4", predicted=True),
        "turned": _page(samples=3, photometric=2, extra={274: (_SHORT, (6,))}),
        "profile-and-xmp": _page(samples=3, photometric=2, extra={34675: (_UNDEFINED, _profile()), 700: (_BYTE, _XMP)}),
        "photoshop": _page(extra={34377: (_BYTE, b"8BIM\x04\x04\0\0\0\0\0\x00"), 33723: (_BYTE, b"\x1c\x02\x05\0\x02hi")}),
        "exif-and-gps": _page(samples=3, photometric=2, children={
            34665: _Directory({0x9003: (_ASCII, b"2026:01:01 10:00:00\0"), 0x829A: (_RATIONAL, (1, 250))},
                              children={0xA005: _Directory({1: (_ASCII, b"R98\0")})}),
            34853: _Directory({1: (_ASCII, b"S\0"), 2: (_RATIONAL, (48, 1, 51, 1, 2999, 100)),
                               3: (_ASCII, b"W\0"), 4: (_RATIONAL, (2, 1, 17, 1, 4000, 100))})}),
        "sub-directories": _page(children={330: _page((4, 4), extra={254: (_LONG, (1,))})}),
        "larger": _page((200, 150), samples=3, photometric=2, compression=8, rows=16),
        "larger-tiled": _page((200, 150), samples=1, tile=(64, 64)),
    }  # fmt: skip
    files |= {name: _tiff_file([page]) for name, page in kinds.items()}
    files["float-big-endian"] = _tiff_file([_float_page(">f4")], ">")
    files["16-bits-big-endian"] = _tiff_file([kinds["16-bits"]], ">")
    files["little-endian-bigtiff-exif-and-gps"] = _tiff_file([kinds["exif-and-gps"]], "<", big=True)
    files["big-endian-bigtiff-exif-and-gps"] = _tiff_file([kinds["exif-and-gps"]], ">", big=True)
    one_bit = _picture("1", 64, 40)
    return files | {
        "from-pillow": saved(plain, "TIFF", dpi=(72, 72)),
        "lzw": saved(plain, "TIFF", compression="tiff_lzw"),
        "lzw-of-16-bits": saved(_picture("I;16"), "TIFF", compression="tiff_lzw"),
        "lzw-with-predictor": saved(plain, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
        "lzw-palette": saved(_picture("P"), "TIFF", compression="tiff_lzw"),
        "jpeg": saved(plain, "TIFF", compression="jpeg"),
        "jpeg-grey": saved(_picture("L"), "TIFF", compression="jpeg"),
        "jpeg-ycbcr-larger": saved(_picture("RGB", 200, 150), "TIFF", compression="jpeg", tiffinfo={278: 32}),
        "fax-group-3": saved(one_bit, "TIFF", compression="group3"),
        "fax-group-4": saved(one_bit, "TIFF", compression="group4"),
        "fax-run-length": saved(one_bit, "TIFF", compression="tiff_ccitt"),
        "cmyk-lzw": saved(_picture("CMYK"), "TIFF", compression="tiff_lzw"),
        "ycbcr": saved(_picture("YCbCr"), "TIFF"),
        "pages-lzw": _animated("TIFF", 3, compression="tiff_lzw"),
        "bigtiff-from-pillow": saved(plain, "TIFF", big_tiff=True),
    }


# --- AVIF -----------------------------------------------------------------------------------------------------------


def _avifsaved(image: Image.Image, **options: object) -> bytes:
    # One thread: how many there are decides how the picture is cut, and that would differ from machine to machine.
    return saved(image, "AVIF", **{"speed": 10, "max_threads": 1, **options})


def _sequence(first: Image.Image, *frames: Image.Image) -> bytes:
    return _without_times(_avifsaved(first, save_all=True, append_images=frames, duration=40))


def _without_times(avif: bytes) -> bytes:
    """The time of its making stands in three kinds of boxes of a sequence; here it is 0."""
    data = bytearray(avif)
    for kind in (b"mvhd", b"tkhd", b"mdhd"):
        at = avif.find(kind)
        while at >= 0:
            size = 16 if avif[at + 4] else 8  # two times, of 8 bytes in version 1
            data[at + 8 : at + 8 + size] = bytes(size)
            at = avif.find(kind, at + 4)
    return bytes(data)


def _with_large_size(avif: bytes) -> bytes:
    """The box of the picture data, the last one, with a size of 64 bits; the places of the data move along."""
    at = avif.index(b"mdat") - 4
    place = avif.index(b"iloc") + 18  # of the only picture: version 0, places of 4 bytes, no base offset
    (offset,) = struct.unpack_from(">I", avif, place)
    head = avif[:place] + struct.pack(">I", offset + 8) + avif[place + 4 : at]
    return head + struct.pack(">I4sQ", 1, b"mdat", len(avif) - at + 8) + avif[at + 8 :]


def _with_data_first(avif: bytes) -> bytes:
    """The picture data in front of the boxes that describe them: those may then change their length."""
    meta, at = avif.index(b"meta") - 4, avif.index(b"mdat") - 4
    place = avif.index(b"iloc") + 18
    head = avif[meta:place] + struct.pack(">I", meta + 8) + avif[place + 4 : at]
    return avif[:meta] + avif[at:] + head


def _avif() -> dict[str, bytes]:
    plain = _picture()
    still = _avifsaved(plain)
    at = still.index(b"mdat") - 4
    return {
        "still": still,
        "grey": _avifsaved(_picture("L")),
        "lossless": _avifsaved(plain, quality=100, subsampling="4:4:4"),
        "one-pixel": _avifsaved(_picture("RGB", 1, 1)),
        "larger": _avifsaved(_picture("RGB", 200, 150), quality=40),
        "tiles": _avifsaved(_picture("RGB", 256, 256), quality=20, tile_rows=1, tile_cols=1),
        "alpha": _avifsaved(_transparent()),
        "alpha-premultiplied": _avifsaved(_transparent(), alpha_premultiplied=True),
        "limited-range": _avifsaved(plain, range="limited", subsampling="4:2:2"),
        "exif": _avifsaved(plain, exif=_exif()),
        "turned": _avifsaved(plain, exif=_exif(">", orientation=5)),
        "profile-and-xmp": _avifsaved(plain, icc_profile=_profile(), xmp=_XMP),
        "sequence": _sequence(_picture("RGB", 24, 18, 0), _picture("RGB", 24, 18, 1), _picture("RGB", 24, 18, 2)),
        "sequence-alpha": _sequence(_transparent(24, 18), _transparent(24, 18)),
        "large-size": _with_large_size(still),
        "open-end": still[:at] + bytes(4) + still[at + 4 :],
        "data-first": _with_data_first(still),
        "free-boxes": still + struct.pack(">I4s", 20, b"free") + bytes(12) + struct.pack(">I4s", 8, b"skip"),
    }  # fmt: skip


# --- HEIF -----------------------------------------------------------------------------------------------------------


def _heif_of_a_phone() -> bytes:
    """A turned grid with what phones put beside it: a thumbnail, a gain map, a depth map, EXIF and XMP."""
    file = HeifFile()
    picture = file.grid(coded("colour"), 3, 2, 150, 120, rotation(3), profile(_profile()))
    thumbnail = file.picture(coded("colour"))
    file.refer(b"thmb", thumbnail, picture)
    for kind in (GAIN_MAP, DEPTH):
        file.refer(b"auxl", file.picture(coded("grey"), auxiliary(kind), hidden=True), picture)
    file.exif(_exif(), picture)
    file.xmp(_XMP, picture)
    return file.content(picture)


def _heif_with_alpha() -> bytes:
    file = HeifFile()
    picture = file.picture(coded("deep"), mirror(1))
    file.refer(b"auxl", file.picture(coded("grey"), auxiliary(ALPHA)), picture)
    return file.content(picture)


def _heif_of_several() -> bytes:
    file = HeifFile(b"mif1")
    first, second = file.picture(coded("grey")), file.picture(coded("colour"))
    file.exif(_exif(">"), second)
    return file.content(second if first else 0)


def _heif() -> dict[str, bytes]:
    single = HeifFile()
    picture = single.picture(coded("colour"))
    still = single.content(picture)
    at = still.index(b"mdat") - 4
    return {
        "still": still,
        "444": heic("colour-444"),
        "of-10-bits": heic("deep"),
        "of-10-bits-422": heic("deep-422"),
        "grey": heic("grey"),
        "turned": heic("quarters", rotation(1)),
        "cropped": heic("quarters", crop(40, 24, -4, 6)),
        "grid": heic_grid("quarters", 2, 2, 100, 90),
        "from-a-phone": _heif_of_a_phone(),
        "alpha": _heif_with_alpha(),
        "several": _heif_of_several(),
        "in-meta": single.content(picture, in_meta=True),
        "samsung": still + box(b"sefd", behind.samsung(behind.TIME_OF_DAY)),
        "open-end": still[:at] + bytes(4) + still[at + 4 :],
        "free-boxes": still + struct.pack(">I4s", 20, b"free") + bytes(12) + struct.pack(">I4s", 8, b"skip"),
    }


# --- JPEG 2000 ------------------------------------------------------------------------------------------------------


def _jp2_with_profile(jp2: bytes) -> bytes:
    """Its colours by an ICC profile, and a box of XML in front of the picture."""
    header, colours, end = jp2.index(b"jp2h") - 4, jp2.index(b"colr") - 4, jp2.index(b"jp2c") - 4
    colour = b"\2\0\0" + _profile()
    body = jp2[header + 8 : colours] + struct.pack(">I4s", len(colour) + 8, b"colr") + colour
    xml = struct.pack(">I4s", len(_XMP) + 8, b"xml ") + _XMP
    return jp2[:header] + struct.pack(">I4s", len(body) + 8, b"jp2h") + body + xml + jp2[end:]


def _jp2_with_palette(jp2: bytes) -> bytes:
    """A palette of 256 colours, whose columns are blue, red and green."""
    header, end = jp2.index(b"jp2h") - 4, jp2.index(b"jp2c") - 4
    body = jp2[header + 8 : jp2.index(b"colr") - 4]
    for kind, data in (
        (b"colr", struct.pack(">BBBI", 1, 0, 0, 16)),
        (b"pclr", struct.pack(">HB3B", 256, 3, 7, 7, 7) + _noise(768)),
        (b"cmap", b"".join(bytes((0, 0, 1, column)) for column in range(3))),
        (b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 1, 2, 0, 2)),
    ):
        body += struct.pack(">I4s", len(data) + 8, kind) + data
    return jp2[:header] + struct.pack(">I4s", len(body) + 8, b"jp2h") + body + jp2[end:]


def _deep(jp2: bytes, bits: int) -> bytes:
    """The same coefficients, said to be of more bits."""
    changed = bytearray(jp2)
    at = changed.index(b"\xff\x4f\xff\x51") + 42
    changed[at : at + 9 : 3] = bytes((bits - 1,)) * 3
    return bytes(changed)


def _jpeg2000() -> dict[str, bytes]:
    plain = _picture()
    stream = {"no_jp2": True}
    jp2 = saved(plain, "JPEG2000")
    at = jp2.index(b"jp2c") - 4
    return {
        "jp2": jp2,
        "codestream": saved(plain, "JPEG2000", **stream),
        "grey": saved(_picture("L"), "JPEG2000"),
        "grey-of-16-bits": saved(_picture("I;16"), "JPEG2000"),
        "grey-alpha": saved(_picture("LA"), "JPEG2000"),
        "rgba": saved(_transparent(), "JPEG2000"),
        "one-pixel": saved(_picture("RGB", 1, 1), "JPEG2000"),
        "odd-size": saved(_picture("RGB", 17, 5), "JPEG2000", num_resolutions=3),
        "tiles": saved(_picture("RGB", 80, 60), "JPEG2000", tile_size=(32, 32)),
        "tiles-codestream": saved(_picture("L", 80, 60), "JPEG2000", tile_size=(32, 16), **stream),
        "lossy": saved(_picture("RGB", 150, 100), "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[20]),
        "layers": saved(plain, "JPEG2000", quality_mode="rates", quality_layers=[40, 20, 10, 1]),
        "precincts": saved(_picture("RGB", 150, 100), "JPEG2000", precinct_size=(64, 64), codeblock_size=(16, 16)),
        "by-position": saved(plain, "JPEG2000", progression="PCRL", codeblock_size=(4, 4)),
        "offset": saved(plain, "JPEG2000", offset=(5, 3), tile_offset=(2, 1), tile_size=(64, 64)),
        "comment": saved(plain, "JPEG2000", comment="holiday", **stream),
        "profile": _jp2_with_profile(jp2),
        "of-12-bits": _deep(jp2, 12),
        "of-12-bits-lossy": _deep(saved(plain, "JPEG2000", irreversible=True), 12),
        "palette": _jp2_with_palette(saved(_picture("L"), "JPEG2000")),
        "open-end": jp2[:at] + bytes(4) + jp2[at + 4 :],
        "two-streams": jp2 + jp2[at:],
    }  # fmt: skip
