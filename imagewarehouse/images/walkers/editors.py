"""What programs for editing photos write behind a picture: IPTC, in the frames of FotoStation and Photo Mechanic.

    IPTC            records of 1C, the record's number, the field's number, length (16 bits), data
    FotoStation     parts, one behind the other: data, type (16 bits), length of the whole part (32), A1 B2 C3 D4;
                    type 1 is IPTC, 2 are settings, 3 and 4 are smaller pictures (JPEG)
    Photo Mechanic  IPTC, its length (32 bits), cbipcbbl

All numbers are big-endian. Source: ExifTool, FotoStation.pm and PhotoMechanic.pm, and files of both programs.
"""

from __future__ import annotations

from collections.abc import Callable

from imagewarehouse.errors import Corrupt

_PART_END, _PART_FOOT = b"\xa1\xb2\xc3\xd4", 10
_RECORDS_END, _RECORDS_FOOT = b"cbipcbbl", 12
_IPTC, _SETTINGS, _SMALLER = 1, 2, (3, 4)
_MAX_PARTS = 10
_MAX_SETTINGS = 256  # bytes; the program writes 40

End = Callable[[int], int]


def editors_trailer(data: bytes, behind: int, stop: int, end_of_jpeg: End) -> int | None:
    """Where the parts begin that end at `stop`, or None where none do; they may begin at `behind` at the earliest.

    `end_of_jpeg` gives where the picture ends that begins at a place. Raises: Corrupt, and what that raises.
    """
    if data[stop - len(_RECORDS_END) : stop] == _RECORDS_END:
        end = stop - _RECORDS_FOOT
        start = end - int.from_bytes(data[end : end + 4], "big")
        _check_iptc(data, start, end, behind)
        return start
    start = stop
    for _ in range(_MAX_PARTS):
        if data[start - len(_PART_END) : start] != _PART_END or start - _PART_FOOT < behind:
            break
        start = _part(data, start, behind, end_of_jpeg)
    return start if start < stop else None


def _part(data: bytes, stop: int, behind: int, end_of_jpeg: End) -> int:
    end = stop - _PART_FOOT
    kind, start = int.from_bytes(data[end : end + 2], "big"), stop - int.from_bytes(data[end + 2 : end + 6], "big")
    if not behind <= start <= end:
        raise Corrupt("FotoStation: a part that begins inside the picture")
    if kind == _IPTC:
        _check_iptc(data, start, end, behind)
    elif kind in _SMALLER:
        if end_of_jpeg(start) != end:
            raise Corrupt("FotoStation: a smaller picture that ends elsewhere")
    elif kind != _SETTINGS or end - start > _MAX_SETTINGS:
        raise Corrupt(f"FotoStation: a part of type {kind} and {end - start} bytes")
    return start


def _check_iptc(data: bytes, start: int, end: int, behind: int) -> None:
    if start < behind:
        raise Corrupt("IPTC: it begins inside the picture")
    pos = start
    while pos < end:
        length = int.from_bytes(data[pos + 3 : pos + 5], "big")
        if data[pos] != 0x1C or length > 0x7FFF or pos + 5 + length > end:
            raise Corrupt(f"IPTC: no record at byte {pos}")
        pos += 5 + length
