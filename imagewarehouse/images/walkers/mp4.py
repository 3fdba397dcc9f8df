"""The short film behind a photo, by ISO/IEC 14496-12: walked box by box to its end."""

from __future__ import annotations

from imagewarehouse.errors import Corrupt, Truncated
from imagewarehouse.images.walkers.walking import Steps

# Brands of films. Those of still pictures (HEIC, AVIF) are not among them: nobody puts such a file behind a picture.
_BRANDS = frozenset((
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42", b"mp71", b"avc1",
    b"hvc1", b"qt  ", b"M4V ", b"M4VH", b"M4VP", b"MSNV", b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3gp8", b"3gp9", b"3g2a",
    b"3g2b", b"3g2c",
))  # fmt: skip
_BOXES = frozenset(b"ftyp moov mdat free skip wide uuid udta meta pdin moof mfra sidx styp emsg prft".split())
_FILLERS = frozenset((b"free", b"skip", b"wide", b"uuid", b"udta"))  # nothing in a film says what may be in them
_MAX_FILLER = 1 << 20  # bytes of them in all; writers keep some room free in front of `moov`
_MAX_FTYP = 256


def starts_mp4(data: bytes, pos: int) -> bool:
    return data[pos + 4 : pos + 8] == b"ftyp"


def walk_mp4(data: bytes, start: int, stop: int) -> int:
    """Where the film that begins at `start` ends, `stop` at the latest.

    It ends in front of the first box that no film has. Its first box names a film's brand, and one of the others is a
    `moov` with a header and at least one track in it.
    """
    steps = Steps("MP4", 10_000)
    pos, filler = start, 0
    found: set[bytes] = set()
    while pos + 8 <= stop:
        steps.take()
        kind, body, end = _box(data, pos, stop)
        if kind not in _BOXES:
            break
        if end > stop:
            raise Truncated(f"MP4: a box reaches to byte {end}, its film to {stop}")
        if (kind == b"ftyp") != (pos == start):
            raise Corrupt("MP4: ftyp is not its first box")
        if kind == b"ftyp":
            brands = {
                data[body : body + 4],
                *(data[at : at + 4] for at in range(body + 8, min(end, body + _MAX_FTYP), 4)),
            }
            if end - pos > _MAX_FTYP or not brands & _BRANDS:
                raise Corrupt("MP4: no brand of a film")
        elif kind == b"moov":
            _check_moov(data, body, end, steps)
        elif kind in _FILLERS:
            filler += end - pos
            if filler > _MAX_FILLER:
                raise Corrupt(f"MP4: {filler} bytes that belong to nothing")
        found.add(kind)
        pos = end
    if not {b"moov", b"mdat"} <= found:
        raise Truncated("MP4: it ends before its film")
    return pos


def _box(data: bytes, pos: int, stop: int) -> tuple[bytes, int, int]:
    """Kind of the box at `pos`, where its body starts and where it ends."""
    size, kind, header = int.from_bytes(data[pos : pos + 4], "big"), data[pos + 4 : pos + 8], 8
    if size == 1:
        size, header = int.from_bytes(data[pos + 8 : pos + 16], "big"), 16
    elif size == 0 and kind in _BOXES:  # "up to the end of the file": whatever stands there would be part of the film
        raise Corrupt(f"MP4: a box without an end at byte {pos}")
    if kind in _BOXES and size < header:
        raise Corrupt(f"MP4: a box of {size} bytes at byte {pos}")
    return kind, pos + header, pos + size


def _check_moov(data: bytes, pos: int, stop: int, steps: Steps) -> None:
    inside: set[bytes] = set()
    while pos < stop:
        steps.take()
        size = int.from_bytes(data[pos : pos + 4], "big")
        if size < 8 or pos + size > stop:
            raise Corrupt(f"MP4: a box of {size} bytes at byte {pos}")
        inside.add(data[pos + 4 : pos + 8])
        pos += size
    if not {b"mvhd", b"trak"} <= inside:
        raise Corrupt("MP4: no track in it")
