"""What a file has beside its pixels: EXIF, colour profile, text. None of it may refuse sound pixels.

Pillow reads most of it while it opens a file, and gives the file up where it cannot. So it is given the file without those
blocks that cannot be read, and notes say what was left out.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from imagewarehouse.images.tiff_tags import SIZES
from imagewarehouse.images.walkers.tiff import TIFF_PIXELS, unreadable_tag
from imagewarehouse.images.walkers.walking import EXIF, OTHER, PROFILE, TEXT

NOTES = "imagewarehouse_notes"  # where an opened image has them in its `info`

MAX_PROFILE = 4 << 20  # bytes; profiles of printing presses have 0.5 to 3 MB
# Pillow would give up a PNG over a profile of more than 1 MB. `_png` lets one profile pass, of this size at most, and no
# compressed text: so this is all that Pillow ever inflates.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE
_MAX_TEXT = 8 << 20  # bytes of all texts of a file, inflated only to see whether they can be

# What the decoders raise on broken input, over every format: Pillow promises OSError, its plugins also let these out.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, EOFError, struct.error,
                 ArithmeticError, RuntimeError, AssertionError)  # fmt: skip

Candidate = tuple[bytes, list[str]]  # a file without some of its blocks, and notes of what those were


def readable(content: bytes, image_format: str) -> Candidate:
    """The file without those blocks that are known to be unreadable before anybody opens it, and notes of them."""
    return _BEFORE[image_format](content) if image_format in _BEFORE else (content, [])


def open_image(content: bytes, image_format: str) -> Image.Image:
    """As Pillow opens it, without what it cannot read beside the pixels; `info[NOTES]` says what that was.

    `image_format`: Pillow's name. Raises one of DECODE_ERRORS.
    """
    content, notes = readable(content, image_format)
    try:
        image = _opened(content, image_format)
    except DECODE_ERRORS:
        if image_format not in _AFTER:
            raise
        opened = _first_opened(_AFTER[image_format](content), image_format)
        if opened is None:
            raise
        image, notes = opened
    notes += _unreadable(image.info)
    if notes:
        image.info[NOTES] = tuple(dict.fromkeys(notes))
    return image


def _first_opened(candidates: Iterator[Candidate], image_format: str) -> tuple[Image.Image, list[str]] | None:
    for content, notes in candidates:
        with suppress(*DECODE_ERRORS):
            return _opened(content, image_format), notes
    return None


def _opened(content: bytes, image_format: str) -> Image.Image:
    if image_format == "JPEG":
        # Not by way of Image.open: that looks for an index of further pictures, and stumbles over what it says of them.
        return JpegImageFile(io.BytesIO(content))
    return Image.open(io.BytesIO(content), formats=[image_format])


def _unreadable(info: dict[Any, Any]) -> list[str]:
    """What an opened image has and nobody can read, though the decoder takes no notice."""
    notes = []
    exif = info.get("exif")
    if not exif and (text := info.get("Raw profile type exif")) is not None:
        exif = _from_hex(text) or b"none"
    if exif and not _is_exif(exif):
        notes.append(EXIF)
    if "icc_profile" in info and not _is_profile(info["icc_profile"]):
        notes.append(PROFILE)
    return notes


def _is_exif(block: bytes) -> bool:
    """Whether an EXIF block has a header, and a first directory inside it."""
    block = block[6:] if block.startswith(b"Exif\0\0") else block
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return False
    (at,) = struct.unpack_from(order + "I", block, 4)
    if at + 2 > len(block):
        return False
    (entries,) = struct.unpack_from(order + "H", block, at)
    return bool(at + 2 + 12 * entries <= len(block))


def _is_profile(profile: object) -> bool:
    """Whether it has a profile's header and the length that the header says."""
    if not isinstance(profile, bytes) or profile[36:40] != b"acsp":
        return False
    return 128 <= int.from_bytes(profile[:4], "big") <= len(profile)


def _from_hex(text: str) -> bytes:
    """EXIF as some programs put it into a PNG's text: three lines, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


# --- PNG ------------------------------------------------------------------------------------------------------------

_PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"acTL", b"fcTL", b"fdAT")
_PNG_NOTES = {b"eXIf": EXIF, b"iCCP": PROFILE, b"gAMA": PROFILE, b"cHRM": PROFILE, b"sRGB": PROFILE, b"cICP": PROFILE,
              b"tEXt": TEXT, b"zTXt": TEXT, b"iTXt": TEXT}  # fmt: skip
_PNG_LEAST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"cICP": 4}  # bytes that Pillow asks for
_RAW_EXIF = b"Raw profile type exif\0"


def _png(content: bytes) -> Candidate:
    """Without chunks that are damaged or second ones of their kind, and without compressed text, which no pixel needs."""
    notes: list[str] = []
    kept: list[memoryview] = []
    view = memoryview(content)
    done, at, room = 0, 8, _MAX_TEXT
    seen: set[bytes] = set()
    while at + 12 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"IEND":
            break
        if kind in _PNG_PIXELS or end > len(content):
            at = end
            continue
        body = content[at + 8 : end - 4]
        readable = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")
        drop = not readable
        if kind in (b"iCCP", b"eXIf"):
            drop = drop or kind in seen
            seen.add(kind)
        if kind == b"iCCP" and not drop:
            drop = not (readable := _inflated(_compressed(body), MAX_PROFILE) is not None)
        elif kind == b"eXIf" and not drop:
            drop = not (readable := _is_exif(body))
        elif kind in (b"zTXt", b"iTXt"):
            is_exif = body.startswith(_RAW_EXIF) and kind not in seen  # Pillow takes it for the picture's
            seen |= {kind} if is_exif else set()
            data = _compressed(body) if kind == b"zTXt" else _compressed_itxt(body)
            if data != b"":
                most = min(room, MAX_PROFILE)
                text = _inflated(data, most)
                readable, room = readable and text is not None, room - (most if text is None else text)
                drop = not readable or not is_exif
        elif length < _PNG_LEAST.get(kind, 0):
            drop, readable = True, False
        if not readable:
            notes.append(_PNG_NOTES.get(kind, OTHER))
        if drop:
            kept.append(view[done:at])
            done = end
        at = end
    if not kept:
        return content, notes
    return b"".join((*kept, view[done:])), notes


def _compressed(body: bytes) -> bytes | None:
    """What follows a keyword, its zero and a 0 for deflate; None where it says otherwise."""
    at = body.find(b"\0")
    return body[at + 2 :] if at >= 0 and body[at + 1 : at + 2] == b"\0" else None


def _compressed_itxt(body: bytes) -> bytes | None:
    """The same of an iTXt chunk, behind its two other texts; empty where nothing is compressed."""
    head = body[body.find(b"\0") + 1 :]
    if head[:1] in (b"", b"\0"):
        return b""
    return head[2:].split(b"\0", 2)[-1] if head[1:2] == b"\0" else None


def _inflated(data: bytes | None, most: int) -> int | None:
    """How long the data are once inflated; None where that fails or is more than `most`."""
    if data is None or most < 1:
        return None
    inflate = zlib.decompressobj()
    try:
        length = len(inflate.decompress(data, most))
    except zlib.error:
        return None
    return length if inflate.eof else None


# --- TIFF -----------------------------------------------------------------------------------------------------------


def _tiff(content: bytes) -> Candidate:
    """With a zero for the values of a tag that lie outside the file: Pillow reads no tag behind such a one."""
    notes: list[str] = []
    patched: bytearray | None = None
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    pointer, entry_size, counter, inline = ("Q", 20, "Q", 8) if big else ("I", 12, "H", 4)
    try:
        (at,) = struct.unpack_from(order + pointer, content, 8 if big else 4)
        (entries,) = struct.unpack_from(order + counter, content, at)
        start = at + struct.calcsize(counter)
        for position in range(start, start + entries * entry_size, entry_size):
            tag, kind, count, place = struct.unpack_from(f"{order}HH{pointer}{pointer}", content, position)
            size = SIZES.get(kind, 1) * count
            if size > inline and place + size > len(content) and tag not in TIFF_PIXELS:
                notes.append(unreadable_tag(tag))
                patched = patched or bytearray(content)
                struct.pack_into(f"{order}HH{pointer}{pointer}", patched, position, tag, 1, 1, 0)
    except (struct.error, OverflowError):
        pass  # the decoder says what is wrong
    return (content if patched is None else bytes(patched)), notes


# --- JPEG -----------------------------------------------------------------------------------------------------------

_JPEG_SEGMENT = re.compile(rb"\xff+[^\x00\xff]")
_JPEG_COMMENT, _JPEG_SCAN = 0xFE, 0xDA


def _jpeg(content: bytes) -> Iterator[Candidate]:
    """Without what says nothing of the pixels; at last without EXIF, too."""
    for with_exif in (True, False):
        notes: list[str] = []
        kept = [content[:2]]
        pos = 2
        while (found := _JPEG_SEGMENT.search(content, pos)) is not None:
            marker, body = content[found.end() - 1], found.end() + 2
            if marker == _JPEG_SCAN:
                kept.append(content[found.start() :])
                break
            pos = found.end()
            if marker != 0x01 and not 0xD0 <= marker <= 0xD9:
                pos += int.from_bytes(content[pos:body], "big")
            if not (0xE0 <= marker <= 0xEF or marker == _JPEG_COMMENT):
                kept.append(content[found.start() : pos])
                continue
            note = _jpeg_block(marker, content[body:pos], with_exif)
            if note is None:
                kept.append(content[found.start() : pos])
            else:
                notes.append(note)
        known = [note for note in notes if note != OTHER]
        if notes:
            yield b"".join(kept), known or notes


def _jpeg_block(marker: int, body: bytes, with_exif: bool) -> str | None:
    """The note of a block that is left out; None: it stays, for it says what colours and turn the picture has."""
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        return None
    if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        return None
    if marker == 0xE1 and body.startswith(b"Exif\0\0"):
        return None if with_exif and _is_exif(body) else EXIF
    if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        return None if len(body) > 14 else PROFILE
    return OTHER


# --- AVIF -----------------------------------------------------------------------------------------------------------

_AVIF_META = 1 << 20  # bytes at the start of a file among which its list of items lies
_AVIF_EXIF = re.compile(rb"infe[\2\3]...(?:....|......)Exif", re.DOTALL)


def _avif(content: bytes) -> Iterator[Candidate]:
    """With its EXIF called something that no decoder knows."""
    found = _AVIF_EXIF.search(content, 0, _AVIF_META)
    if found is not None:
        yield content[: found.end() - 4] + b"skip" + content[found.end() :], [EXIF]


_BEFORE: dict[str, Callable[[bytes], Candidate]] = {"PNG": _png, "TIFF": _tiff}
_AFTER: dict[str, Callable[[bytes], Iterator[Candidate]]] = {"JPEG": _jpeg, "AVIF": _avif}
