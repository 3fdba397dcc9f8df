"""Which files of a folder are images, by name or by content, and what a browser would say they are.

Independent of `imagewarehouse.images.formats`, which is what is being measured.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

OTHER = "other"  # images of a type that nobody ever promised: SVG, PSD, icons, raw files
UNKNOWN_TYPE = "application/octet-stream"

# Chromium's own table (net/base/mime_util.cc), then freedesktop.org's shared-mime-info, which browsers ask on Linux.
_TYPES = {
    **dict.fromkeys(("jpg", "jpeg", "jfif", "pjpeg", "pjp", "jpe"), "image/jpeg"),
    **dict.fromkeys(("png",), "image/png"),
    **dict.fromkeys(("apng",), "image/apng"),
    **dict.fromkeys(("gif",), "image/gif"),
    **dict.fromkeys(("webp",), "image/webp"),
    **dict.fromkeys(("bmp", "dib"), "image/bmp"),
    **dict.fromkeys(("tif", "tiff"), "image/tiff"),
    **dict.fromkeys(("avif", "avifs"), "image/avif"),
    **dict.fromkeys(("heic", "heics"), "image/heic"),
    **dict.fromkeys(("heif", "heifs", "hif"), "image/heif"),
    **dict.fromkeys(("jp2", "jpg2"), "image/jp2"),
    **dict.fromkeys(("jpx", "jpf"), "image/jpx"),
    **dict.fromkeys(("j2k", "j2c", "jpc"), "image/x-jp2-codestream"),
    **dict.fromkeys(("jxl",), "image/jxl"),
}
_OTHER_SUFFIXES = frozenset(
    (
        "svg",
        "svgz",
        "ico",
        "cur",
        "psd",
        "xcf",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "pcx",
        "tga",
        "dng",
        "nef",
        "cr2",
        "arw",
        "exr",
    )
)
FORMATS = ("JPEG", "PNG", "GIF", "WebP", "BMP", "TIFF", "HEIC", "AVIF", "JPEG 2000", "JPEG XL")
_FORMAT_OF_TYPE = {
    "image/jpeg": "JPEG", "image/png": "PNG", "image/apng": "PNG", "image/gif": "GIF", "image/webp": "WebP",
    "image/bmp": "BMP", "image/tiff": "TIFF", "image/avif": "AVIF", "image/heic": "HEIC", "image/heif": "HEIC",
    "image/jp2": "JPEG 2000", "image/jpx": "JPEG 2000", "image/x-jp2-codestream": "JPEG 2000", "image/jxl": "JPEG XL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    """An image file: its format as its first bytes (else its suffix) say, and the type that a browser would declare."""

    path: Path
    format: str
    declared: str


def find(folders: Iterable[Path]) -> Iterator[File]:
    """The image files under the folders, each content once: packages ship one another's test images."""
    seen: set[bytes] = set()
    for folder in folders:
        paths = [folder] if folder.is_file() else sorted(_walk(folder))
        for path in paths:
            file = look(path)
            if file is None:
                continue
            digest = hashlib.sha256(path.read_bytes()).digest()
            if digest not in seen:
                seen.add(digest)
                yield file


def _walk(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if path.is_file() and not path.is_symlink():
                yield path


def look(path: Path) -> File | None:
    """What a file is, or None where neither its name nor its content says that it is an image."""
    suffix = path.suffix.lower().removeprefix(".")
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError:
        return None
    declared = _TYPES.get(suffix, "")
    found = signature(head)
    if not declared and (guessed := mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
        declared = guessed
    if found is None and not declared and suffix not in _OTHER_SUFFIXES:
        return None
    if declared and declared not in _FORMAT_OF_TYPE:  # a raw file is a TIFF by its signature, an icon may hold a PNG
        return File(path, OTHER, declared)
    return File(path, found or _FORMAT_OF_TYPE.get(declared, OTHER), declared or UNKNOWN_TYPE)


def signature(head: bytes) -> str | None:
    """The format that a file's first 64 bytes announce."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    # Two letters are little: the reserved bytes and the size of the header have to be those of a bitmap too.
    if (
        head[:2] == b"BM"
        and head[15:18] == b"\0\0\0"
        and head[14:15]
        and head[14] in (12, 16, 40, 52, 56, 64, 108, 124)
    ):
        return "BMP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JPEG XL"
    if head.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG 2000"
    if head[4:8] == b"ftyp":
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, len(head), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
            return "HEIC"
    return None
