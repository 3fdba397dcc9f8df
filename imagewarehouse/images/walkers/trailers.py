"""What stands behind the end of a picture: second pictures, films, blocks of a phone, an editor's notes, padding.

Cameras and phones put such things there, and so does whoever hides a second file in a picture. So it is all or nothing: where
each part is known and ends where the next one begins, the file's `Extent` ends behind the last one, else behind the
picture. Nothing of it is decoded.
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from functools import cached_property

from imagewarehouse.errors import Corrupt, ImageRejected
from imagewarehouse.images.walkers.editors import editors_trailer
from imagewarehouse.images.walkers.jpeg import ScanEnds, metadata_segments, walk_picture
from imagewarehouse.images.walkers.mp4 import starts_mp4, walk_mp4
from imagewarehouse.images.walkers.samsung import samsung_trailer, walk_samsung
from imagewarehouse.images.walkers.walking import Ceilings, Extent

_MAX_PADDING = 1 << 20  # bytes; writers fill up a sector of a disk, a cluster of a card or a block of flash memory
_MAX_BEHIND_PREVIEW = 16  # bytes, of old cameras
_MAX_PARTS = 100  # pictures, films and paddings of a file
_LINE_ENDS = re.compile(rb"(?:\r\n)+")

# In a film and in a phone's blocks any bytes may stand, so they hide anything. These are what programs look for that
# take a file for theirs wherever in it their data begin.
_ZIP_END = b"PK\5\6"
_ZIP_REACH = 0xFFFF + 22  # where a ZIP reader looks for it, counted from the end of the file
_PDF_REACH = 1024  # where a PDF reader looks for its first line
_SCRIPT = re.compile(rb"<(?:\?[pP][hH][pP]|[sS][cC][rR][iI][pP][tT]|[hH][tT][mM][lL]|![dD][oO][cC][tT][yY][pP][eE])")
_ARCHIVES = (b"Rar!\x1a\7", b"7z\xbc\xaf\x27\x1c", b"__HALT_COMPILER")  # the last one: PHP's

_CONTAINER = (b"http://ns.google.com/photos/1.0/container/", b"http://ns.google.com/photos/dd/1.0/")
_GAIN_MAP = (
    b"http://ns.adobe.com/hdr-gain-map/1.0/",
    b"http://ns.apple.com/HDRGainMap/1.0/",
    b"urn:iso:std:iso:ts:21496:-1\0",
)


def follow_trailers(data: bytes, extent: Extent, ceilings: Ceilings, is_jpeg: bool) -> Extent:
    """`extent`, which ends before `data` do, with what follows there as far as it is understood, and notes about it."""
    behind, stop = extent.end, len(data)
    pictures = _Pictures(data, ceilings) if is_jpeg else None
    notes: list[str] = []
    try:
        # Samsung's directory is found from the end of the file, and says where the whole of it begins.
        found = samsung_trailer(data, behind, stop)
        if found is None:
            found = samsung_trailer(data, behind, stop - _padding_at_the_end(data, behind))
        if found is not None:
            notes += walk_samsung(data, found)
            notes += ["padding"] if found.stop < stop else []
            stop = found.start
        if pictures is not None and (start := editors_trailer(data, behind, stop, pictures.end_of)) is not None:
            notes.append("editor_trailer")
            stop = start
    except (ImageRejected, struct.error):
        return extent
    pos = behind
    for _ in range(_MAX_PARTS):
        if pos == stop:
            break
        try:
            end, of_part = _part(data, pos, stop, pictures)
        except (ImageRejected, struct.error, IndexError):
            break  # broken or cut off: nobody can say where it ends
        if end == pos:
            break
        pos, notes = end, notes + of_part
    if pos < stop or (set(notes) != {"padding"} and _is_a_file_of_another_kind(data, behind)):
        return extent
    return replace(extent, end=len(data), notes=tuple(dict.fromkeys((*extent.notes, *notes))))


def _part(data: bytes, pos: int, stop: int, pictures: _Pictures | None) -> tuple[int, list[str]]:
    """Where the part at `pos` ends, and notes about it; `pos` itself where nothing is there that is known."""

    def starts(at: int) -> bool:
        return pictures is not None and (
            data.startswith(b"\xff\xd8\xff", at) or starts_mp4(data, at) or pictures.altered_preview(at, stop)
        )

    if pictures is not None and starts_mp4(data, pos):
        return walk_mp4(data, pos, stop), ["motion_photo"]
    if pictures is not None and pictures.altered_preview(pos, stop):
        return stop, ["preview"]
    if pictures is not None and starts(pos):
        return pictures.walk(pos)
    end = _padding_end(data, pos, min(stop, pos + _MAX_PADDING + 1))
    if end - pos > _MAX_PADDING:
        return pos, []
    if end == stop:
        return end, ["padding"]
    # A part begins behind it, perhaps with the same bytes: 0xFF of a picture, the zeros of a film's first length.
    for at in range(end, max(pos, end - 4), -1):
        if starts(at):
            return at, ["padding"]
    return pos, []


class _Pictures:
    """JPEG pictures behind the first one, and why they are there."""

    def __init__(self, data: bytes, ceilings: Ceilings) -> None:
        self._data, self._ceilings = data, ceilings
        self._scan_ends = ScanEnds(data)

    def walk(self, pos: int) -> tuple[int, list[str]]:
        end = walk_picture(self._data, pos, self._ceilings, self._scan_ends).end
        notes = self._reasons(pos, end)
        return (end, notes) if notes else (pos, [])

    def end_of(self, pos: int) -> int:
        if not self._data.startswith(b"\xff\xd8\xff", pos):
            raise Corrupt(f"JPEG: no picture at byte {pos}")
        return walk_picture(self._data, pos, self._ceilings, self._scan_ends).end

    def altered_preview(self, pos: int, stop: int) -> bool:
        """Whether all up to `stop` is a preview as Minolta's cameras wrote it: its first byte is another one, and EXIF says its
        length, with a few bytes behind its end."""
        if not self._data.startswith(b"\xd8\xff\xdb", pos + 1) or not self._lengths_in_exif(stop - pos):
            return False
        preview = b"\xff" + self._data[pos + 1 : stop]
        try:
            end = walk_picture(preview, 0, self._ceilings, ScanEnds(preview)).end
        except ImageRejected:
            return False
        return len(preview) - end <= _MAX_BEHIND_PREVIEW

    def _lengths_in_exif(self, length: int) -> bool:
        stored = struct.pack("<I", length), struct.pack(">I", length)
        exif = [segment for segment in self._of_first if segment.startswith(b"Exif\0\0")]
        return any(each in segment for segment in exif for each in stored)

    def _reasons(self, pos: int, end: int) -> list[str]:
        """What says that this picture belongs to the first one. Two pictures glued together belong to nobody."""
        notes = []
        # Not where its index says that they lie: programs that edit a photo move the pictures and forget the index.
        if any(segment.startswith(b"MPF\0") for segment in self._of_first):
            notes.append("mpf")
        if any(name in segment for segment in metadata_segments(self._data, pos) for name in _GAIN_MAP):
            notes.append("gain_map")
        if not notes and any(name in segment for segment in self._of_first for name in _CONTAINER):
            notes.append("second_picture")
        # The notes of cameras' makers are all different, but they say how long their preview is.
        if not notes and self._lengths_in_exif(end - pos):
            notes.append("preview")
        return notes

    @cached_property
    def _of_first(self) -> list[bytes]:
        return list(metadata_segments(self._data, 0))


def _padding_end(data: bytes, pos: int, stop: int) -> int:
    """Where the bytes end that have the value of the one at `pos`, or the line ends that begin there."""
    if lines := _LINE_ENDS.match(data, pos, stop):
        return lines.end()
    following = data[pos:stop]
    return stop - len(following.lstrip(following[:1]))


def _padding_at_the_end(data: bytes, behind: int) -> int:
    """How many bytes of one value the file ends with."""
    tail = data[max(behind, len(data) - _MAX_PADDING) :]
    return len(tail) - len(tail.rstrip(tail[-1:]))


def _is_a_file_of_another_kind(data: bytes, behind: int) -> bool:
    return (
        data.find(_ZIP_END, max(behind, len(data) - _ZIP_REACH)) >= 0
        or data.find(b"%PDF-", behind, _PDF_REACH) >= 0
        or _SCRIPT.search(data, behind) is not None
        or any(data.find(archive, behind) >= 0 for archive in _ARCHIVES)
    )
