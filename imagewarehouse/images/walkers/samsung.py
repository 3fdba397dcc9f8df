"""What Samsung's phones write behind a picture: blocks, then a directory of them.

    block       0 (16 bits), type (16), length of its name (32), name, data
    directory   SEFH, version (32), number of blocks (32), and for each of them: 0 (16), type (16), how many bytes in
                front of SEFH it begins (32), its length (32)
    end         length of the directory (32), SEFT
    perhaps     QDIO, five numbers (32), QDIO, BS: where the sound of a picture lies

All numbers are little-endian. Source: ExifTool, Image::ExifTool::Samsung, and files of phones.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from imagewarehouse.errors import Corrupt
from imagewarehouse.images.walkers.mp4 import starts_mp4, walk_mp4

_MAX_BLOCKS = 1000  # a phone writes about 10
_MAX_NAME = 100  # bytes; the longest known has 28
_QDIO = 30  # bytes


@dataclass(frozen=True, slots=True)
class SamsungTrailer:
    """Where the first block begins, where the directory does, and where all of it ends. `blocks`: place and length."""

    start: int
    directory: int
    stop: int
    blocks: tuple[tuple[int, int], ...]


def samsung_trailer(data: bytes, behind: int, stop: int) -> SamsungTrailer | None:
    """The trailer that ends at `stop`, or None where none does; it may begin at `behind` at the earliest."""
    end = stop
    if data[end - 6 : end] == b"QDIOBS" and data[end - _QDIO : end - _QDIO + 4] == b"QDIO":
        end -= _QDIO
    if data[end - 4 : end] != b"SEFT":
        return None
    length = int.from_bytes(data[end - 8 : end - 4], "little")
    directory = end - 8 - length
    if length < 12 or directory < behind or data[directory : directory + 4] != b"SEFH":
        raise Corrupt("Samsung trailer: no directory")
    count = int.from_bytes(data[directory + 8 : directory + 12], "little")
    if count > _MAX_BLOCKS or length != 12 + 12 * count:
        raise Corrupt(f"Samsung trailer: {count} blocks in a directory of {length} bytes")
    entries = (struct.unpack_from("<4xII", data, directory + 12 + 12 * number) for number in range(count))
    blocks = sorted((directory - before, size) for before, size in entries)
    start = blocks[0][0] if blocks else directory
    if start < behind:
        raise Corrupt("Samsung trailer: it begins inside the picture")
    return SamsungTrailer(start, directory, stop, tuple(blocks))


def walk_samsung(data: bytes, trailer: SamsungTrailer) -> list[str]:
    """See that the blocks fill the room up to the directory, one behind the other; notes of what is in them."""
    notes = ["samsung_trailer"]
    pos = trailer.start
    for start, size in trailer.blocks:
        if start != pos or pos + size > trailer.directory:
            raise Corrupt(f"Samsung trailer: a block at byte {start}, expected at {pos}")
        body = pos + 8 + int.from_bytes(data[pos + 4 : pos + 8], "little")
        name = data[pos + 8 : min(body, pos + 8 + _MAX_NAME + 1)]
        if data[pos : pos + 2] != b"\0\0" or body > pos + size or len(name) > _MAX_NAME or not _is_name(name):
            raise Corrupt(f"Samsung trailer: no block at byte {pos}")
        pos += size
        if starts_mp4(data, body):
            if walk_mp4(data, body, pos) != pos:
                raise Corrupt("Samsung trailer: bytes behind its film")
            notes.append("motion_photo")
    if pos != trailer.directory:
        raise Corrupt("Samsung trailer: bytes that belong to no block")
    return notes


def _is_name(name: bytes) -> bool:
    return name.isascii() and name.decode().isprintable()
