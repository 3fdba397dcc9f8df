"""BMP, by the BITMAPINFOHEADER family."""

from __future__ import annotations

import struct

from imagewarehouse.errors import Corrupt, TooLarge, Truncated
from imagewarehouse.images.walkers.walking import PROFILE, Ceilings, Extent, check_pixels

# Pillow decodes run lengths in Python, byte by byte and pixel by pixel, and nothing else runs meanwhile: 0.2 s a million.
_RLE_PIXELS = 1 << 21  # a screen of 1920 x 1080
_RLE_BYTES = 1 << 20


def walk_bmp(data: bytes, ceilings: Ceilings) -> Extent:
    if len(data) < 26:
        raise Truncated("BMP: the file ends inside its header")
    declared, pixels_at, header = struct.unpack_from("<I4xII", data, 2)
    compression = image_size = profile_end = 0
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        if len(data) < 14 + min(header, 40):
            raise Truncated("BMP: the file ends inside its header")
        # OS/2's second header may end behind its first fields.
        fields = data[18 : 14 + min(header, 40)].ljust(20, b"\0")
        width, height, _, bits, compression, image_size = struct.unpack_from("<iiHHII", fields)
        if header >= 124 and len(data) >= 138 and data[70:74] in (b"DEBM", b"KNIL"):  # a colour profile follows
            profile_at, profile_size = struct.unpack_from("<II", data, 14 + 112)
            profile_end = 14 + profile_at + profile_size
    check_pixels("BMP", width, abs(height), ceilings)
    if pixels_at < 14 + header:
        raise Corrupt("BMP: its pixels start inside its header")
    if compression in (0, 3, 6) and not (compression == 3 and header == 64):  # there it is a fax code of OS/2's
        end = pixels_at + (width * bits + 31) // 32 * 4 * abs(height)
    else:
        end = pixels_at + image_size
    if compression in (1, 2):
        check_pixels("BMP, run-length encoded", width, abs(height), Ceilings(min(ceilings.pixels, _RLE_PIXELS), 1))
        if len(data) - pixels_at > _RLE_BYTES:
            raise TooLarge(
                f"BMP, run-length encoded: {len(data) - pixels_at} bytes of it, at most {_RLE_BYTES} are allowed"
            )
    if end > len(data):
        raise Truncated(f"BMP: its header announces {end} bytes, {len(data)} are here")
    notes = (PROFILE,) if profile_end > len(data) else ()
    end = max(end, min(profile_end, len(data)))
    # Its own length may count up to three bytes of padding; beyond that it is not believed.
    return Extent(declared if end < declared <= min(end + 3, len(data)) else end, notes=notes)
