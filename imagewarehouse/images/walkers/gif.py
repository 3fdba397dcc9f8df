"""GIF, by GIF89a."""

from __future__ import annotations

import struct

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import STRAY, Ceilings, Extent, Steps, check_frames, check_pixels

_MAX_STRAY = 4096  # bytes; as of a JPEG


def walk_gif(data: bytes, ceilings: Ceilings) -> Extent:
    def table_size(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    steps = Steps("GIF", 1000 + len(data) // 64)

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
        check_pixels("GIF", width, height, ceilings)
    pos, frames, stray = 13 + table_size(data[10]), 0, 0
    while True:
        if pos >= len(data):
            raise Truncated("GIF: the file ends before its trailer")
        block = data[pos]
        if block == 0x3B:
            if frames == 0:
                raise Corrupt("GIF: no picture in it")
            return Extent(pos + 1, frames, (STRAY,) if stray else ())
        if block == 0x21:
            pos = skip_sub_blocks(pos + 2)
        elif block == 0x2C:
            if pos + 10 > len(data):
                raise Truncated("GIF: the file ends inside an image descriptor")
            width, height = struct.unpack_from("<HH", data, pos + 5)
            check_pixels("GIF", width, height, ceilings)
            frames += 1
            check_frames("GIF", frames, ceilings)
            steps.take(-4)  # the control block, the pixels and the ends of both are free: frames have their own ceiling
            pos = skip_sub_blocks(pos + 10 + table_size(data[pos + 9]) + 1)
        elif (
            block == 0 and stray < _MAX_STRAY
        ):  # some programs write too many ends of blocks, and readers pass over them
            pos, stray = pos + 1, stray + 1
        else:
            raise Corrupt(f"GIF: unknown block 0x{block:02x} at byte {pos}")
