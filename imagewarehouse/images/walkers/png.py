"""PNG and APNG, by the W3C's third edition."""

from __future__ import annotations

import struct
import zlib

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import Ceilings, Extent, Steps, check_frames, check_pixels

_PNG_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # ancillary by their names, but pixels depend on them
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def walk_png(data: bytes, ceilings: Ceilings) -> Extent:
    steps = Steps("PNG", 1000 + len(data) // 256)
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
            check_pixels(
                "PNG",
                int.from_bytes(data[body : body + 4], "big"),
                int.from_bytes(data[body + 4 : body + 8], "big"),
                ceilings,
            )
        if pos > len(data):
            raise Truncated(f"PNG: the file ends inside its {name} chunk")
        if (
            zlib.crc32(view[body - 4 : pos - 4]) != int.from_bytes(data[pos - 4 : pos], "big")
            and (kind[0] < 0x60 or kind in _PNG_PIXELS)  # libpng, and so browsers, leave out others that are damaged
        ):
            raise Corrupt(f"PNG: the checksum of its {name} chunk is wrong")
        if kind == b"IHDR":
            expected, palette_missing = _png_header(data[body : body + length])
        elif kind == b"PLTE":
            palette_missing = False
        elif kind == b"acTL" and length >= 4:
            frames = max(1, int.from_bytes(data[body : body + 4], "big"))
            check_frames("PNG", frames, ceilings)
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
