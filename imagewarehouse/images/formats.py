"""Image formats recognised by their bytes, and the media types and suffixes that declare them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imagewarehouse.images.walkers.bmff import walk_bmff
from imagewarehouse.images.walkers.bmp import walk_bmp
from imagewarehouse.images.walkers.gif import walk_gif
from imagewarehouse.images.walkers.heif import walk_heif
from imagewarehouse.images.walkers.jpeg import walk_jpeg
from imagewarehouse.images.walkers.jpeg2000 import CODESTREAM, SIGNATURE, walk_jpeg2000
from imagewarehouse.images.walkers.png import walk_png
from imagewarehouse.images.walkers.tiff import walk_tiff
from imagewarehouse.images.walkers.trailers import follow_trailers
from imagewarehouse.images.walkers.walking import Ceilings, Extent
from imagewarehouse.images.walkers.webp import walk_webp
from imagewarehouse.limits import Limits


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One format: Pillow's name for it, the media types that may declare it, the extension of stored objects."""

    name: str
    media_types: tuple[str, ...]  # the registered one first; the others are seen in the wild
    extension: str
    file_suffixes: tuple[str, ...]
    walk: Callable[[bytes, Ceilings], Extent] | None = None  # None: recognised, but not walked and not decoded here
    bytes_per_pixel: float = 5.0  # what decoding takes at its peak, measured (docs/intake.md); 0: the walker says

    def ceilings(self, limits: Limits) -> Ceilings:
        """The limits as a walker takes them."""
        return Ceilings(limits.max_pixels, limits.max_frames, limits.max_memory, self.bytes_per_pixel)

    def follow(self, content: bytes, ceilings: Ceilings) -> Extent:
        """The picture, and what stands behind it as far as that is understood; only for a format that is walked."""
        assert self.walk is not None
        extent = self.walk(content, ceilings)
        if extent.end < len(content):
            return follow_trailers(content, extent, ceilings, self.name == "JPEG")
        return extent


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
        if brands & _HEIF_BRANDS:
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
            "JPEG", ("image/jpeg", "image/jpg", "image/pjpeg"), "jpg", ("jpg", "jpeg", "jpe", "jfif"), walk_jpeg, 10
        ),
        ImageFormat("PNG", ("image/png", "image/x-png", "image/apng"), "png", ("png", "apng"), walk_png),
        ImageFormat("WEBP", ("image/webp",), "webp", ("webp",), walk_webp, 19),
        ImageFormat("GIF", ("image/gif",), "gif", ("gif",), walk_gif),
        ImageFormat("BMP", ("image/bmp", "image/x-bmp", "image/x-ms-bmp"), "bmp", ("bmp", "dib"), walk_bmp),
        ImageFormat("TIFF", ("image/tiff", "image/tif", "image/x-tiff"), "tiff", ("tif", "tiff"), walk_tiff),
        ImageFormat("AVIF", ("image/avif",), "avif", ("avif",), walk_bmff, 10),
        ImageFormat(
            "HEIF",
            ("image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence"),
            "heic",
            ("heic", "heif", "hif"),
            walk_heif,
            0,
        ),
        ImageFormat(
            "JPEG2000",
            (
                "image/jp2",
                "image/jpx",
                "image/j2c",
                "image/j2k",
                "image/jph",
                "image/jphc",
                "image/jpeg2000",
                "image/jpeg2000-image",
                "image/x-jp2",
                "image/x-jpeg2000-image",
                "image/x-jp2-codestream",
            ),
            "jp2",
            ("jp2", "j2k", "j2c", "jpc", "jpx", "jpf", "jph", "jhc"),
            walk_jpeg2000,
            0,
        ),
        # Recognised so that the answer can name it; accepting it by setting ends in image.no_decoder.
        ImageFormat("JXL", ("image/jxl",), "jxl", ("jxl",)),
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
    (SIGNATURE, "JPEG2000"),
    (CODESTREAM, "JPEG2000"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_BY_MEDIA_TYPE = {media_type: f for f in FORMATS.values() for media_type in f.media_types}
_BY_SUFFIX = {suffix: f for f in FORMATS.values() for suffix in f.file_suffixes}
