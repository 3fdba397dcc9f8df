"""Image formats recognised by their bytes, and the media types and suffixes that declare them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imagewarehouse.images.walkers.bmff import walk_bmff
from imagewarehouse.images.walkers.bmp import walk_bmp
from imagewarehouse.images.walkers.gif import walk_gif
from imagewarehouse.images.walkers.jpeg import walk_jpeg
from imagewarehouse.images.walkers.png import walk_png
from imagewarehouse.images.walkers.tiff import walk_tiff
from imagewarehouse.images.walkers.walking import Ceilings, Extent
from imagewarehouse.images.walkers.webp import walk_webp


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One format: Pillow's name for it, the media types that may declare it, the extension of stored objects."""

    name: str
    media_types: tuple[str, ...]  # the registered one first; the others are seen in the wild
    extension: str
    file_suffixes: tuple[str, ...]
    walk: Callable[[bytes, Ceilings], Extent] | None = None  # None: recognised, but not walked and not decoded here
    bytes_per_pixel: int = 4  # what Pillow's decoder holds at its peak, measured at 50 megapixels


def sniff(content: bytes) -> ImageFormat | None:
    """The format whose signature `content` starts with, or None."""
    for prefix, name in _SIGNATURES:
        if content.startswith(prefix):
            return FORMATS[name]
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return FORMATS["WEBP"]
    if content[4:8] == b"ftyp":
        size = int.from_bytes(content[:4], "big")
        brands = {content[8:12]} | {content[i : i + 4] for i in range(16, min(size, 256, len(content)), 4)}
        if brands & {b"avif", b"avis"}:
            return FORMATS["AVIF"]
        if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}:
            return FORMATS["HEIF"]
    return None


def by_media_type(media_type: str) -> ImageFormat | None:
    """The format a media type declares, or None when it declares none known here."""
    return _BY_MEDIA_TYPE.get(media_type)


def by_file_name(file_name: str) -> ImageFormat | None:
    """The format a file name's suffix declares, or None."""
    return _BY_SUFFIX.get(file_name.rpartition(".")[2].lower()) if "." in file_name else None


FORMATS: dict[str, ImageFormat] = {
    f.name: f
    for f in (
        ImageFormat(
            "JPEG", ("image/jpeg", "image/jpg", "image/pjpeg"), "jpg", ("jpg", "jpeg", "jpe", "jfif"), walk_jpeg
        ),
        ImageFormat("PNG", ("image/png", "image/x-png", "image/apng"), "png", ("png", "apng"), walk_png),
        ImageFormat("WEBP", ("image/webp",), "webp", ("webp",), walk_webp, 16),
        ImageFormat("GIF", ("image/gif",), "gif", ("gif",), walk_gif),
        ImageFormat("BMP", ("image/bmp", "image/x-bmp", "image/x-ms-bmp"), "bmp", ("bmp", "dib"), walk_bmp),
        ImageFormat("TIFF", ("image/tiff", "image/tif", "image/x-tiff"), "tiff", ("tif", "tiff"), walk_tiff),
        ImageFormat("AVIF", ("image/avif",), "avif", ("avif",), walk_bmff, 10),
        # Recognised so that the answer can name them; accepting them by setting ends in image.no_decoder.
        ImageFormat("HEIF", ("image/heic", "image/heif"), "heic", ("heic", "heif")),
        ImageFormat("JXL", ("image/jxl",), "jxl", ("jxl",)),
        ImageFormat("JPEG2000", ("image/jp2", "image/jpx"), "jp2", ("jp2", "j2k")),
    )
}
DEFAULT_MEDIA_TYPES = tuple(f.media_types[0] for f in FORMATS.values() if f.walk is not None)

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\xff\x0a", "JXL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JXL"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
)
_BY_MEDIA_TYPE = {media_type: f for f in FORMATS.values() for media_type in f.media_types}
_BY_SUFFIX = {suffix: f for f in FORMATS.values() for suffix in f.file_suffixes}
