"""WebP, by RFC 9649."""

from __future__ import annotations

import struct

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import Ceilings, Extent, Steps, check_frames, check_pixels


def walk_webp(data: bytes, ceilings: Ceilings) -> Extent:
    steps = Steps("WebP", 1000 + len(data) // 256)
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
            check_pixels("WebP", width, height, ceilings)
        elif kind == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", body, 6)
            check_pixels("WebP", width & 0x3FFF, height & 0x3FFF, ceilings)
        elif kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
            bits = int.from_bytes(body[1:5], "little")
            check_pixels("WebP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, ceilings)
        if kind == b"ANMF":
            frames += 1
            check_frames("WebP", frames, ceilings)
        pos += 8 + length + (length & 1)
    if not complete:
        raise Truncated(f"WebP: its header announces {end} bytes, {len(data)} are here")
    if pos > end + 1 or (pos == end + 1 and not size & 1):
        raise Corrupt("WebP: a chunk is longer than the file's own length")
    return Extent(end, max(1, frames))
