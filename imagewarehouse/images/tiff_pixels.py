"""Pixels of the kinds of TIFF that Pillow reads wrong, or not at all: deep, planar, floating-point and signed samples.

Pillow reads the common kinds, and reads them right: `_right_in_pillow` lists them. Of the others, those whose compression gives
the bytes of samples are read here: libtiff, through Pillow, only unpacks the bytes. What is left is refused by its name.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagewarehouse.errors import Corrupt, TooManyPixels, Truncated, Unsupported
from imagewarehouse.images.orientation import ORIENTATION
from imagewarehouse.images.profiles import colours_of
from imagewarehouse.images.tiff_tags import Values, byte_order, first_page

UInt8Array = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]  # (rows, columns, samples) as stored: any type of number

_RAW, _LZW, _OLD_JPEG, _JPEG, _WEBP = 1, 5, 6, 7, 50001
_FAX = (2, 3, 4, 32771)
_BYTES = (
    _RAW,
    _LZW,
    8,
    32946,
    32773,
    34925,
    50000,
)  # compressions that give the bytes of samples: LZW, deflate, PackBits...
_PREDICTED = (_LZW, 8, 32946, 34925, 50000)  # those for which libtiff heeds a predictor
_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
_COLOURS = {_WHITE: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3, _ICC_LAB: 3}
_NAMES = {4: "transparency masks", 10: "ITU Lab", 32803: "colour filter arrays", 32844: "LogL", 32845: "LogLuv",
          34892: "linear raw"}  # fmt: skip
_ASSOCIATED, _UNASSOCIATED, _COREL = 1, 2, 999
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_MAX_SAMPLES = 16
_BEYOND_WHITE = 0.25  # of all samples that are not black: brighter than white, or darker than black
_MOST_OF_COSTLY = 25_000_000  # pixels; they take 12 to 20 bytes each while they are decoded
_MOST_OF_WEBP = 4_000_000  # pixels of a block, at 19 bytes; GDAL writes 65,536
_GROUP = 1 << 21  # bytes of samples that are unpacked at a time: large enough for numpy, small beside the picture
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class _Page:
    """How the first page is stored."""

    order: str
    width: int
    height: int
    bits: int
    samples: int
    kind: int  # unsigned, signed or floating-point
    photometric: int
    named: bool  # the photometric interpretation stands in the file
    planar: bool
    compression: int
    predictor: int
    fill_order: int
    extra: tuple[int, ...]
    orientation: int
    tile: tuple[int, int] | None  # width, height
    tiles_as_strips: bool  # their places stand where those of strips belong, as old programs wrote them
    rows: int  # of a strip
    offsets: Sequence[int]
    counts: Sequence[int]
    colour_map: Sequence[int]
    subsampled: bool
    own_ycbcr: bool  # by other numbers than those of JPEG
    range: tuple[float, float] | None  # what is black and what is white, where the file says so
    profile: bytes | None

    @property
    def alpha(self) -> int | None:
        """Associated or unassociated; None without. A fourth sample of RGB that nothing is said about is unassociated."""
        if self.extra:
            return {_ASSOCIATED: _ASSOCIATED, _UNASSOCIATED: _UNASSOCIATED, _COREL: _UNASSOCIATED}.get(self.extra[0])
        return _UNASSOCIATED if self.photometric == _RGB and self.samples == 4 else None


def read_tiff(content: bytes) -> Image.Image | None:
    """The first page as a Pillow image, not yet turned; None where Pillow reads it right.

    Its mode is L, LA, La, RGB, RGBA, RGBa, CMYK or LAB; `info` has the colour profile and the orientation.

    Raises: Unsupported naming the kind; Truncated, Corrupt.
    """
    page = _page(first_page(content), byte_order(content))
    _refuse(page)
    if _right_in_pillow(page, content):
        return None
    webp = page.compression == _WEBP and page.photometric == _RGB and (page.bits, page.planar) == (8, False)
    if page.compression not in _BYTES and not (webp and page.samples in (3, 4)):
        raise Unsupported(f"TIFF: {_described(page)} cannot be read here")
    costly = _many_colours(page) or _inks_or_lab_with_alpha(page)
    if costly and page.width * page.height > _MOST_OF_COSTLY:
        raise TooManyPixels(
            f"TIFF: {page.width} x {page.height} pixels of this kind, at most {_MOST_OF_COSTLY} are read"
        )
    pixels = _pixels(page, content)
    image = _image(pixels, page)
    if page.profile is not None and not _inks_or_lab_with_alpha(page):
        image.info["icc_profile"] = page.profile
    exif = Image.Exif()
    exif[ORIENTATION] = page.orientation
    image.info["exif"] = exif.tobytes()
    return image


def stored_size(image: Image.Image) -> tuple[int, int] | None:
    """Width and height as stored, of a TIFF that Pillow has opened and may have turned; None of another format."""
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else (int(tags[256]), int(tags[257]))


# --- the page -------------------------------------------------------------------------------------------------------


def _page(tags: Mapping[int, Values], order: str) -> _Page:
    def number(tag: int, default: int) -> int:
        values = tags.get(tag)
        return int(values[0]) if values else default

    def numbers(tag: int) -> tuple[int, ...]:
        return tuple(int(value) for value in tags.get(tag, ()))

    compression = number(259, _RAW)
    photometric = number(262, -1)
    # 3 colours where nothing is said of JPEG: as libtiff.
    samples = number(277, 3 if compression == _OLD_JPEG and photometric in (_RGB, _YCBCR) else 1)
    if not 1 <= samples <= _MAX_SAMPLES:
        raise Unsupported(f"TIFF: {samples} samples a pixel cannot be read here")
    named = photometric >= 0
    if not named:  # as libtiff guesses
        photometric = _RGB if samples >= 3 else _WHITE if compression in _FAX else _GREY
    bits, kinds = numbers(258)[:samples] or (1,), numbers(339)[:samples] or (_UNSIGNED,)
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise Unsupported(f"TIFF: samples of {', '.join(map(str, bits))} bits together cannot be read here")
    colours = _COLOURS.get(photometric)
    extra = numbers(338)
    if not extra and colours is not None and samples > colours and not (photometric == _RGB and samples == 4):
        extra = (0,) * (samples - colours)
    tile = (number(322, 0), number(323, 0)) if 324 in tags or 322 in tags else None
    height = number(257, 0)
    lowest, highest = tags.get(340), tags.get(341)
    return _Page(
        order=order, width=number(256, 0), height=height, bits=bits[0], samples=samples, kind=kinds[0],
        photometric=photometric, named=named, planar=number(284, 1) == 2 and samples > 1, compression=compression,
        predictor=number(317, 1), fill_order=number(266, 1), extra=extra, orientation=number(274, 1), tile=tile,
        tiles_as_strips=tile is not None and 324 not in tags, rows=min(number(278, height) or height, height),
        offsets=numbers(324 if 324 in tags else 273),
        counts=numbers(325 if 325 in tags else 279), colour_map=numbers(320),
        subsampled=photometric == _YCBCR and (numbers(530) or (2, 2)) != (1, 1),
        own_ycbcr=529 in tags or 532 in tags,
        range=(float(min(lowest)), float(max(highest))) if lowest and highest else None,
        profile=(value if isinstance(value := tags.get(34675), bytes) else None),
    )  # fmt: skip


def _refuse(page: _Page) -> None:
    """Kinds that neither Pillow nor this module reads right. Raises: Unsupported, Corrupt."""
    colours = _COLOURS.get(page.photometric)
    if colours is None:
        name = _NAMES.get(page.photometric, f"photometric interpretation {page.photometric}")
        raise Unsupported(f"TIFF: {name} cannot be read here")
    if page.bits > 64:
        raise Corrupt(f"TIFF: samples of {page.bits} bits")
    if page.bits > 16 and page.bits not in (24, 32, 64):
        raise Unsupported(f"TIFF: samples of {page.bits} bits cannot be read here")
    if page.width < 1 or page.height < 1:
        raise Corrupt(f"TIFF: {page.width} x {page.height} pixels")
    if page.samples < colours and not (page.photometric == _YCBCR and page.samples == 1):
        raise Corrupt(f"TIFF: {page.samples} samples a pixel where its colours take {colours}")
    if page.photometric == _PALETTE and (page.bits > 16 or page.kind != _UNSIGNED):
        raise Unsupported("TIFF: colour maps of more than 65,536 colours cannot be read here")
    if page.photometric == _PALETTE and len(page.colour_map) < 3 << page.bits:
        raise Corrupt("TIFF: its colour map is missing or too short")
    if page.kind not in (_UNSIGNED, _SIGNED, _FLOAT):
        raise Unsupported(f"TIFF: samples of format {page.kind} cannot be read here")


def _right_in_pillow(page: _Page, content: bytes) -> bool:
    """Whether Pillow is known to read this kind right; held to numpy by tests/test_right_or_refused.py."""
    if page.order == ">" and content[2:4] == b"\0+":  # Pillow takes it for a classic TIFF
        return False
    if not page.named or page.kind != _UNSIGNED or (page.alpha == _ASSOCIATED and page.photometric != _RGB):
        return False
    if page.compression in _FAX:
        return (page.bits, page.samples) == (1, 1) and page.photometric in (_WHITE, _GREY)
    if page.compression not in (*_BYTES, _JPEG) or (page.tiles_as_strips and page.compression == _RAW):
        return False
    plain = page.samples == _COLOURS[page.photometric]
    if page.photometric == _YCBCR:
        # libtiff makes colours of it, unless it is not compressed: then Pillow takes every pixel to have its own Cb and Cr.
        return page.bits == 8 and plain and not page.planar and not (page.subsampled and page.compression == _RAW)
    if page.photometric in (_WHITE, _GREY) and plain:
        return page.bits in (1, 2, 4, 8) or (page.bits == 16 and page.photometric == _GREY and page.fill_order == 1)
    if page.photometric == _PALETTE:
        return plain and page.bits in (1, 2, 4, 8) and max(page.colour_map) > 255
    if page.photometric == _RGB and page.fill_order == 1:
        if page.bits == 16:
            return not page.planar and page.samples <= 4 and page.alpha != _ASSOCIATED
        return page.bits == 8 and (plain or page.samples == 4) and (not page.planar or plain)
    return page.photometric in (_CMYK, _LAB) and page.bits == 8 and plain and not page.planar and page.fill_order == 1


def _described(page: _Page) -> str:
    kind = {_UNSIGNED: "", _SIGNED: "signed ", _FLOAT: "floating-point "}[page.kind]
    return f"{page.samples} {kind}samples of {page.bits} bits with compression {page.compression}"


# --- bytes ----------------------------------------------------------------------------------------------------------


def _pixels(page: _Page, content: bytes) -> Samples:
    """(height, width, colours and alpha) of 0-255; of 16 bits where they are indices of so many."""
    used = min(page.samples, _COLOURS[page.photometric] + (page.alpha is not None))  # others say nothing of colours
    planes, together = (used, 1) if page.planar else (1, page.samples)
    across, down = page.tile or (page.width, page.rows)
    if across < 1 or down < 1:
        raise Corrupt(f"TIFF: tiles of {across} x {down} pixels")
    columns, lines = -(-page.width // across), -(-page.height // down)
    row_bytes = (across * together * page.bits + 7) // 8
    counts = page.counts or (row_bytes * down,) * len(page.offsets)
    if len(page.offsets) < columns * lines * planes or len(counts) < columns * lines * planes:
        raise Corrupt(f"TIFF: {len(page.offsets)} strips or tiles, its size asks for {columns * lines * planes}")
    scale = _Scale(page)
    pixels: Samples = np.empty((page.height, page.width, used), np.uint16 if _many_colours(page) else np.uint8)
    for plane in range(planes):
        target = pixels[:, :, plane : plane + 1] if page.planar else pixels
        first = plane * columns * lines
        rows = [down if page.tile else min(down, page.height - line * down) for line in range(lines)]
        blocks = [
            (page.offsets[first + number], counts[first + number], rows[number // columns])
            for number in range(columns * lines)
        ]
        for number, block in _unpacked(page, content, blocks, row_bytes):
            top, left = number // columns * down, number % columns * across
            part = target[top : top + down, left : left + across]
            samples = _samples(page, block, across, together)
            part[:] = scale(samples[: part.shape[0], : part.shape[1], : part.shape[2]])
    scale.check()
    return pixels


def _many_colours(page: _Page) -> bool:
    """Whether its samples are indices of 16 bits."""
    return page.photometric == _PALETTE and page.bits > 8


def _inks_or_lab_with_alpha(page: _Page) -> bool:
    return page.alpha is not None and page.photometric in (_CMYK, _LAB, _ICC_LAB)


def _unpacked(
    page: _Page, content: bytes, blocks: Sequence[tuple[int, int, int]], row_bytes: int
) -> Iterator[tuple[int, UInt8Array]]:
    """Number and (rows, row_bytes) of each block, given as offset, length and rows."""
    for offset, length, _ in blocks:
        if offset + length > len(content):
            raise Truncated(f"TIFF: picture data reach to byte {offset + length}, {len(content)} are here")
    if page.compression == _RAW:
        for number, (offset, length, rows) in enumerate(blocks):
            if length < rows * row_bytes:
                raise Truncated(f"TIFF: {length} bytes of samples where {rows * row_bytes} belong")
            data = content[offset : offset + rows * row_bytes]
            data = data.translate(_REVERSED) if page.fill_order == 2 else data
            yield number, np.frombuffer(data, np.uint8).reshape(rows, row_bytes)
        return
    if page.compression == _WEBP:
        for number, (offset, length, rows) in enumerate(blocks):
            yield number, _webp(page, content[offset : offset + length], rows, row_bytes)
        return
    # Blocks that are equally high, many at a time: only the last strip may be lower.
    start = 0
    while start < len(blocks):
        height = blocks[start][2]
        most = max(1, _GROUP // (height * row_bytes))
        end = start + 1
        while end < len(blocks) and end - start < most and blocks[end][2] == height:
            end += 1
        group = _libtiff(page, [content[offset : offset + length] for offset, length, _ in blocks[start:end]],
                         height, row_bytes)  # fmt: skip
        for number in range(start, end):
            yield number, group[(number - start) * height : (number - start + 1) * height]
        start = end


def _webp(page: _Page, block: bytes, height: int, row_bytes: int) -> UInt8Array:
    """A block that is a whole WebP picture, as GDAL writes them; Pillow's libtiff does not know it."""
    with Image.open(io.BytesIO(block), formats=["WEBP"]) as image:
        if image.width * image.height > _MOST_OF_WEBP:
            raise TooManyPixels(f"TIFF: a WebP of {image.width} x {image.height} pixels inside")
        if image.size != (row_bytes // page.samples, height):
            raise Corrupt(f"TIFF: a WebP of {image.width} x {image.height} pixels in a block of {height} rows")
        return np.asarray(image.convert("RGB" if page.samples == 3 else "RGBA")).reshape(height, row_bytes)


def _libtiff(page: _Page, blocks: Sequence[bytes], height: int, row_bytes: int) -> UInt8Array:
    """Blocks unpacked, one below the other: written as strips of a grey TIFF of 8 bits, whose pixels are the bytes."""
    data = b"".join(blocks)
    starts = np.cumsum([8, *(len(block) for block in blocks)])[:-1]
    lists = np.array([starts, [len(block) for block in blocks]], "<u4").tobytes()
    lists_at = 8 + len(data) + len(data) % 2
    single = len(blocks) == 1
    values = {
        256: row_bytes, 257: height * len(blocks), 258: 8, 259: page.compression, 262: _GREY, 266: page.fill_order,
        273: starts[0] if single else lists_at, 277: 1, 278: height,
        279: len(blocks[0]) if single else lists_at + 4 * len(blocks),
    }  # fmt: skip
    counts = {273: len(blocks), 279: len(blocks)}
    directory = struct.pack("<H", len(values))
    directory += b"".join(struct.pack("<HHII", tag, 4, counts.get(tag, 1), value) for tag, value in values.items())
    at = lists_at + len(lists)
    whole = struct.pack("<2sHI", b"II", 42, at) + data.ljust(lists_at - 8, b"\0") + lists + directory + bytes(4)
    with Image.open(io.BytesIO(whole), formats=["TIFF"]) as image:
        unpacked: UInt8Array = np.asarray(image)
    return unpacked


# --- samples --------------------------------------------------------------------------------------------------------


def _samples(page: _Page, block: UInt8Array, columns: int, together: int) -> Samples:
    """(rows, row bytes) as (rows, columns, samples) of numbers, the predictor undone."""
    rows, values = len(block), columns * together
    predictor = page.predictor if page.compression in _PREDICTED else 1
    if page.bits % 8:
        if predictor != 1 or page.kind != _UNSIGNED or page.bits > 16:
            raise Unsupported(f"TIFF: {page.bits}-bit samples of this kind cannot be read here")
        bits = np.unpackbits(block, axis=1)[:, : values * page.bits].reshape(rows, columns, together, page.bits)
        numbers: Samples = np.zeros((rows, columns, together), np.uint16)
        for position in range(page.bits):
            numbers = numbers << 1 | bits[:, :, :, position]
        return numbers
    size = page.bits // 8
    if size == 3 and page.kind == _UNSIGNED and predictor == 1:
        parts = block.reshape(rows, columns, together, 3)[..., :: -1 if page.order == "<" else 1].astype(np.uint32)
        return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]
    letter = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}[page.kind]
    if size not in ((2, 4, 8) if page.kind == _FLOAT else (1, 2, 4, 8)):
        raise Unsupported(f"TIFF: {page.bits}-bit samples of this kind cannot be read here")
    if predictor == 3:  # of floating-point numbers: differences of bytes, the highest bytes of a row first
        summed = block.reshape(rows, -1, together).cumsum(axis=1, dtype=np.uint8).reshape(rows, size, values)
        block = np.ascontiguousarray(summed.transpose(0, 2, 1)).reshape(rows, -1)
    order = ">" if predictor == 3 else page.order
    stored = np.ascontiguousarray(block).view(f"{order}{letter}{size}").reshape(rows, columns, together)
    if predictor == 2:
        if page.kind == _FLOAT:  # libtiff takes their bits for whole numbers
            return stored.view(f"{order}u{size}").cumsum(axis=1, dtype=f"u{size}").view(f"f{size}")
        return stored.cumsum(axis=1, dtype=f"{letter}{size}")
    if predictor not in (1, 3) or (predictor == 3 and page.kind != _FLOAT):
        raise Unsupported(f"TIFF: predictor {predictor} cannot be read here")
    return stored


class _Scale:
    """Samples as 0-255.

    An unsigned sample has its whole range, as TIFF 6.0 says. So should a signed one, but programs write pictures of unsigned
    ones as signed: its range is what the file names (SMinSampleValue, SMaxSampleValue). That of a floating-point one is the
    same, or 0 to 1 where every sample lies in it; of red, green and blue where most do, since pictures of high dynamic range
    have white at 1. Whatever else would be guessed, and is refused.
    """

    def __init__(self, page: _Page) -> None:
        self.page = page
        self.low, self.high = 0.0, 1.0
        self.lit, self.beyond = 0, 0  # samples that are not black, and those of them beyond 0 to 1
        if page.kind == _UNSIGNED:
            return
        if page.range is not None and all(map(np.isfinite, page.range)) and page.range[0] < page.range[1]:
            self.low, self.high = page.range
        elif page.kind == _SIGNED:
            raise Unsupported("TIFF: signed samples whose range the file does not name cannot be read here")
        if page.photometric not in (_WHITE, _GREY, _RGB):
            raise Unsupported(f"TIFF: {_described(page)} cannot be read here")

    def __call__(self, samples: Samples) -> Samples:
        page = self.page
        if _many_colours(page):
            return samples
        if page.kind == _UNSIGNED:
            if page.bits % 8:
                most = (1 << page.bits) - 1
                whole = ((samples.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
                if page.photometric == _PALETTE:
                    whole[:, :, 0] = samples[:, :, 0]  # an index
                return whole
            if page.photometric in (_LAB, _ICC_LAB) and page.bits > 16:
                raise Unsupported(f"TIFF: Lab of {page.bits} bits cannot be read here")
            if page.bits == 8:
                return samples
            higher = (samples >> (page.bits - 16)).astype(np.uint32)
            if page.photometric in (_LAB, _ICC_LAB):  # not 65,535 but 65,280 stands for 255 there
                return (higher >> 8).astype(np.uint8)
            return ((higher * 255 + 32895) >> 16).astype(np.uint8)  # rounded
        if page.kind == _FLOAT and not np.isfinite(samples).all():
            raise Unsupported("TIFF: samples that are no number cannot be read here")
        values: npt.NDArray[np.floating] = samples.astype(np.float64 if samples.dtype.itemsize == 8 else np.float32)
        if page.range is None:
            self.lit += int(np.count_nonzero(values))
            self.beyond += int(np.count_nonzero((values < self.low) | (values > self.high)))
        scaled: UInt8Array = ((values - self.low) * (255 / (self.high - self.low)) + 0.5).clip(0, 255).astype(np.uint8)
        return scaled

    def check(self) -> None:
        """Once all samples were scaled. Raises: Unsupported."""
        most = self.lit * _BEYOND_WHITE if self.page.photometric == _RGB else 0
        if self.beyond > most:
            raise Unsupported("TIFF: floating-point samples beyond 0 to 1, whose range the file does not name")


# --- colours --------------------------------------------------------------------------------------------------------


def _image(pixels: Samples, page: _Page) -> Image.Image:
    colours = _COLOURS[page.photometric]
    if page.photometric == _YCBCR:
        if page.subsampled or page.own_ycbcr or page.alpha is not None:
            raise Unsupported("TIFF: YCbCr in this arrangement cannot be read here")
        return Image.frombuffer(*_raw(pixels[:, :, :colours], "YCbCr", page)).convert("RGB")
    if page.photometric == _PALETTE:
        pixels = _from_map(pixels, page)
        colours = 3
    elif page.photometric == _WHITE:
        pixels[:, :, 0] = 255 - pixels[:, :, 0]
    elif page.photometric == _ICC_LAB:
        pixels[:, :, 1:3] ^= 128  # as TIFF's own Lab, which Pillow takes: signed
    alpha = page.alpha
    if alpha is None:
        pixels = pixels[:, :, :colours]
        return Image.frombuffer(*_raw(pixels, {1: "L", 3: "RGB", 4: "CMYK"}[colours], page))
    if _inks_or_lab_with_alpha(page):
        return _transparent(Image.frombuffer(*_raw(pixels[:, :, :colours], "CMYK", page)), pixels[:, :, colours], page)
    mode = {1: "LA", 3: "RGBA"}[colours] if alpha == _UNASSOCIATED else {1: "La", 3: "RGBa"}[colours]
    return Image.frombuffer(*_raw(pixels[:, :, : colours + 1], mode, page))


def _transparent(image: Image.Image, opacity: UInt8Array, page: _Page) -> Image.Image:
    """Inks or Lab beside transparency: Pillow has no mode for both, so they become sRGB here."""
    if page.alpha == _ASSOCIATED:
        raise Unsupported("TIFF: inks or Lab multiplied by their transparency cannot be read here")
    if page.profile is not None:
        image.info["icc_profile"] = page.profile
    conversion = colours_of(image).conversion
    image = conversion.to_srgb(image) if conversion is not None else image.convert("RGB")
    image.info.pop("icc_profile", None)
    image.putalpha(Image.fromarray(np.ascontiguousarray(opacity)))
    return image


Raw = tuple[str, tuple[int, int], bytes, Literal["raw"], str, int, int]


def _raw(pixels: UInt8Array, mode: str, page: _Page) -> Raw:
    mode = "LAB" if page.photometric in (_LAB, _ICC_LAB) else mode
    return mode, (page.width, page.height), np.ascontiguousarray(pixels).tobytes(), "raw", mode, 0, 1


def _from_map(pixels: Samples, page: _Page) -> UInt8Array:
    """(height, width, 3 + extra) of 0-255. Values of at most 255 are 8-bit ones, which old programs wrote: libtiff's rule."""
    entries = np.array(page.colour_map[: 3 << page.bits], np.uint32).reshape(3, -1).T
    table = (entries if entries.max() <= 255 else entries >> 8).astype(np.uint8)
    others = pixels[:, :, 1:] >> max(0, page.bits - 8) if _many_colours(page) else pixels[:, :, 1:]
    return np.concatenate([table[pixels[:, :, 0]], others.astype(np.uint8)], axis=2)
