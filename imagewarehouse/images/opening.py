"""Opens a file and decodes its first frame, with what Pillow would get wrong put right, or refused by its name.

Right means: the pixels that the format's specification says, and where it says nothing, those that browsers show. Each format's
own part lies in `tiff_pixels`, `bmp_pixels`, `png_pixels`, `jpeg2000_pixels` and `bmff_items`.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from imagewarehouse.errors import Unsupported
from imagewarehouse.images import bmff_items, bmp_pixels, jpeg2000_pixels, png_pixels, tiff_pixels
from imagewarehouse.images.heif_decoder import check_primary
from imagewarehouse.images.metadata_blocks import NOTES, open_image, readable
from imagewarehouse.images.orientation import without_xmp
from imagewarehouse.images.profiles import CodedColours, Colours, colours_of
from imagewarehouse.images.walkers.jpeg2000 import levels_of, reduction
from imagewarehouse.images.walkers.walking import PROFILE

_JPEG_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xCB: "lossless",
                0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical"}  # fmt: skip


@dataclass(slots=True)
class Picture:
    """A file that was opened; `load` decodes it.

    `width` and `height`: pixels as stored, before any turn, behind a crop (AVIF's `clap`). `mode`: Pillow's. `jpeg2000`: what
    is still to be done with a loaded one.
    """

    image: Image.Image
    width: int
    height: int
    mode: str
    colours: Colours
    content: bytes
    notes: tuple[str, ...] = ()  # codes of what beside the pixels was ignored
    crop: tuple[int, int, int, int] | None = None
    jpeg2000: jpeg2000_pixels.Readable | None = None

    def load(self, side: int) -> Image.Image:
        """Decode the first frame, not yet turned; JPEG and JPEG 2000 at the least scale with `side` pixels a side."""
        image = self.image
        if isinstance(image, JpegImageFile):  # also one that calls itself MPO
            image.draft(image.mode, (side, side))
        elif isinstance(image, Jpeg2KImageFile):
            # Twice what a JPEG keeps: a wavelet's halves lie up to half a pixel beside those of a mean.
            image.reduce = times = reduction(*image.size, levels_of(self.content), 2 * side)
            # Pillow rounds what is left, OpenJPEG rounds up: they have to agree.
            image._size = (_rounded_up(image.width, 1 << times), _rounded_up(image.height, 1 << times))
        if image.format == "PNG":
            image = png_pixels.load_png(image, self.content)
        elif image.format == "GIF":
            image = _load_gif(image)
        else:
            image.load()
        if self.jpeg2000 is not None:
            image = jpeg2000_pixels.finished(image, self.jpeg2000)
        return image.crop(self.crop) if self.crop else image


def open_picture(content: bytes, image_format: str) -> Picture:
    """Open a file of this format (Pillow's name). Close `image` of what it gives.

    Raises: Unsupported; Truncated, Corrupt, and whatever Pillow raises.
    """
    if image_format == "TIFF":
        content, notes = readable(content, image_format)
        if (own := tiff_pixels.read_tiff(content)) is not None:
            own.info[NOTES] = tuple(notes)
            return _picture(own, content)
    if image_format == "BMP":
        return _open_bmp(content)
    if image_format == "JPEG2000":
        return _open_jpeg2000(content)
    try:
        image = open_image(content, image_format)
    except Exception:
        if image_format == "JPEG":
            refuse_rare_jpeg(content)
        raise
    if image_format == "HEIF":
        check_primary(image)
    if image_format in ("AVIF", "HEIF"):
        properties = bmff_items.item_properties(content)
        crop = properties.crop if image_format == "AVIF" else None  # libheif has cropped it
        return _picture(image, content, crop, None if image.info.get("icc_profile") else properties.colours)
    if image_format == "TIFF":
        without_xmp(image)
    if image_format == "PNG":
        if png_pixels.forget_misplaced(image, content):
            image.info[NOTES] = (*image.info.get(NOTES, ()), PROFILE)
        return _picture(image, content, coded=png_pixels.coded_colours(content))
    return _picture(image, content)


def refuse_rare_jpeg(content: bytes) -> None:
    """Say so where a JPEG that was not decoded is of a kind that no decoder here knows. Raises: Unsupported."""
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if kind := _JPEG_FRAMES.get(marker):
                raise Unsupported(f"JPEG: {kind} pictures cannot be read here")
            if length != 8 + 3 * content[at + 9]:  # not a kind, but nonsense
                return
            if content[at + 4] == 12:
                raise Unsupported("JPEG: 12-bit samples cannot be read here")
            if content[at + 9] not in (1, 3, 4):
                raise Unsupported(f"JPEG: {content[at + 9]} components cannot be read here")
            return
        if marker == 0xDA:
            return
        at += 2 + length


def _open_jpeg2000(content: bytes) -> Picture:
    form = jpeg2000_pixels.readable(content)
    picture = _picture(open_image(form.content, "JPEG2000"), form.content, profile=bmff_items.jp2_profile(content))
    picture.jpeg2000 = form
    return picture


def _picture(
    image: Image.Image,
    content: bytes,
    crop: tuple[int, int, int, int] | None = None,
    coded: CodedColours | None = None,
    profile: bytes | None = None,
) -> Picture:
    """`profile`: one that Pillow does not find."""
    try:
        if profile is not None:
            image.info["icc_profile"] = profile
        width, height = tiff_pixels.stored_size(image) or image.size
        if crop is not None:
            width, height = crop[2] - crop[0], crop[3] - crop[1]
        colours = colours_of(image, coded)
        notes = (*image.info.get(NOTES, ()), *(() if colours.readable else (PROFILE,)))
        return Picture(image, width, height, image.mode, colours, content, notes, crop)
    except BaseException:
        image.close()
        raise


def _open_bmp(content: bytes) -> Picture:
    image = bmp_pixels.read_bmp(content) or open_image(content, "BMP")
    return _picture(image, content, profile=bmp_pixels.profile_of(content))


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _load_gif(image: Image.Image) -> Image.Image:
    """What a first frame leaves uncovered of its canvas is transparent, as browsers show it; Pillow takes the first colour."""
    tiles = getattr(image, "tile", [])
    covered = tuple(tiles[0].extents) if tiles else None
    image.load()
    if covered is None or covered == (0, 0, *image.size):
        return image
    canvas = Image.new("RGBA", image.size)
    canvas.paste(image.crop(covered).convert("RGBA"), covered)
    image.close()
    return canvas
