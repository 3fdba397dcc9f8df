"""The tags of a TIFF's first page, of TIFF 6.0 and BigTIFF in either byte order."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TypeAlias

from imagewarehouse.errors import Corrupt, Truncated

Values: TypeAlias = tuple[int, ...] | tuple[float, ...] | bytes

# Bytes of a value of each kind.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_MAX_VALUES = 300_000  # of a tag: strips or tiles


def byte_order(data: bytes) -> str:
    """As struct writes it."""
    return "<" if data[:2] == b"II" else ">"


def first_page(data: bytes) -> Mapping[int, Values]:
    """Tag -> values of the first directory; bytes for text and for what has no kind. Fractions are left out.

    Raises: Truncated, Corrupt.
    """
    order = byte_order(data)
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        pointer, entry_size, counter, inline = ("Q", 20, "Q", 8) if big else ("I", 12, "H", 4)
        (at,) = struct.unpack_from(order + pointer, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + counter, data, at)
        start = at + struct.calcsize(counter)
        if start + entries * entry_size > len(data):
            raise Truncated("TIFF: its first directory reaches beyond its end")
        tags: dict[int, Values] = {}
        for position in range(start, start + entries * entry_size, entry_size):
            tag, kind, count = struct.unpack_from(f"{order}HH{pointer}", data, position)
            value_at = position + 4 + inline
            size = SIZES.get(kind, 1) * count
            if size > inline:
                (value_at,) = struct.unpack_from(order + pointer, data, value_at)
            if value_at + size > len(data):
                raise Truncated(f"TIFF: tag {tag} reaches to byte {value_at + size}, {len(data)} are here")
            if kind in (2, 7):
                tags.setdefault(tag, data[value_at : value_at + size])
            elif kind in _CODES:
                if count > _MAX_VALUES and tag != _PROFILE:
                    raise Corrupt(f"TIFF: {count} values in tag {tag}")
                if tag == _PROFILE and kind == 1:  # some write it as numbers of 8 bits
                    tags.setdefault(tag, data[value_at : value_at + size])
                else:
                    tags.setdefault(tag, struct.unpack_from(f"{order}{count}{_CODES[kind]}", data, value_at))
    except (struct.error, OverflowError) as err:
        raise Truncated("TIFF: its first directory reaches beyond its end") from err
    return tags


_PROFILE = 34675
