"""What cameras and phones put behind the end of a JPEG, made here from the specifications: for seeds and tests.

Sources: CIPA DC-007 (MPF), Ultra HDR image format v1.1, ISO/IEC 14496-12, Android's motion photo format 1.0, and ExifTool
for Samsung's blocks.
"""

from __future__ import annotations

import struct

GAIN_MAP_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'hdrgm:Version="1.0"/></x:xmpmeta>'
)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """The segments stand right behind the start of the picture."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def xmp(text: bytes) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)


def container(*items: tuple[str, str, int]) -> bytes:
    """Google's directory of what follows: media type, what it is for, length in bytes. The first item is the picture itself."""
    listed = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="{mime}" Item:Semantic="{semantic}" '
        f'Item:Length="{length}"/></rdf:li>'
        for mime, semantic, length in items
    )
    return xmp(
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:Container="http://ns.google.com/photos/1.0/container/" '
        b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"><Container:Directory><rdf:Seq>'
        + listed.encode()
        + b"</rdf:Seq></Container:Directory></rdf:Description></x:xmpmeta>"
    )


def with_index(first: bytes, *others: bytes) -> bytes:
    """Several pictures and their index (MPF), as in a 3D camera's MPO and in photos with a gain map."""
    count = len(others) + 1
    directory = struct.pack("<4sIH", b"II*\0", 8, 3) + struct.pack("<HHI4sHHIIHHII", 0xB000, 7, 4, b"0100", 0xB001, 4, 1, count,
                                                                   0xB002, 7, 16 * count, 50) + bytes(4)  # fmt: skip
    size = len(first) + 4 + 4 + len(directory) + 16 * count  # of the first picture, with this segment in it
    entries = struct.pack("<IIIHH", 0x20030000, size, 0, 0, 0)
    at = (
        size - 2 - 4 - 4
    )  # offsets count from the index's own header, which stands behind SOI, marker, length and "MPF"
    for other in others:
        entries += struct.pack("<IIIHH", 0, len(other), at, 0, 0)
        at += len(other)
    return with_segments(first, segment(0xE2, b"MPF\0" + directory + entries)) + b"".join(others)


def gain_map(jpeg: bytes) -> bytes:
    """A picture that says of itself that it is the gain map of another."""
    return with_segments(jpeg, xmp(GAIN_MAP_XMP), segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)))


def box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def film(data: bytes = bytes(range(200)), brand: bytes = b"mp42", *more: bytes) -> bytes:
    """An MP4 with one empty track; `more` boxes stand behind the data."""
    moov = box(b"moov", box(b"mvhd", bytes(100)) + box(b"trak", box(b"tkhd", bytes(84))))
    return box(b"ftyp", brand + bytes(4) + b"isom" + brand) + moov + box(b"mdat", data) + b"".join(more)


def samsung(*blocks: tuple[int, bytes, bytes]) -> bytes:
    """Blocks of type, name and data, and their directory."""
    stored = [struct.pack("<HHI", 0, kind, len(name)) + name + data for kind, name, data in blocks]
    entries, before = b"", sum(map(len, stored))
    for (kind, _, _), block in zip(blocks, stored, strict=True):
        entries += struct.pack("<HHII", 0, kind, before, len(block))
        before -= len(block)
    directory = struct.pack("<4sII", b"SEFH", 107, len(blocks)) + entries
    return b"".join(stored) + directory + struct.pack("<I4s", len(directory), b"SEFT")


IPTC = b"\x1c\2\0\0\2\0\2" + b"\x1c\2\x78\0\5hello"


def part_of_fotostation(kind: int, data: bytes) -> bytes:
    return data + struct.pack(">HI", kind, len(data) + 10) + b"\xa1\xb2\xc3\xd4"


def of_photo_mechanic(data: bytes = IPTC) -> bytes:
    return data + struct.pack(">I", len(data)) + b"cbipcbbl"


TIME_OF_DAY = (0x0A01, b"Image_UTC_Data", b"1500000000000")
