"""Rare kinds of every format: the model gets the pixels that the file means, or the answer names the kind.

What is right is computed here with numpy, from the samples that went into the file, and never by the code under test.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from imagewarehouse.errors import Corrupt, ImageRejected, TooManyPixels, Unsupported
from imagewarehouse.images.decoding import ImageFacts, InputSpec, check_and_decode, check_image, decode_rgb
from imagewarehouse.images.formats import FORMATS, sniff
from imagewarehouse.limits import Limits
from tests import hostile as h
from tests import tiffs as t
from tests.tiffs import tiff
from tools.image_seeds import seeds

Float64Array = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 22, 37
# Red, green, blue and alpha of 0 to 1: two ramps, a diagonal, and an alpha that falls.
ROWS, COLUMNS = (each / each.max() for each in np.mgrid[0:HEIGHT, 0:WIDTH].astype(float))
RGBA = np.stack([ROWS, COLUMNS, (ROWS + COLUMNS) / 2, 1 - ROWS * 0.8], axis=2)


def judged(content: bytes, height: int = HEIGHT, width: int = WIDTH) -> tuple[ImageFacts, UInt8Array]:
    """What the check finds, and the pixels at this size: the same ones from the check, from the classifier, and in grey."""
    found = sniff(content)
    assert found is not None
    spec = InputSpec(height, width)
    facts, decoded = check_and_decode(content, found, Limits(), spec)
    assert decoded is not None
    pixels = decode_rgb(content, spec, found.name)
    assert (pixels == decoded.pixels).all()
    assert facts == check_image(content, found, Limits())
    grey = decode_rgb(content, InputSpec(height, width, colour_order="L"), found.name)
    assert np.abs(grey[:, :, 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 2
    return facts, pixels


def assert_shows(content: bytes, expected: Float64Array, most: float = 1.01) -> ImageFacts:
    """`expected`: (height, width) or (height, width, 3) of 0 to 1."""
    facts, pixels = judged(content, *expected.shape[:2])
    expected = expected[:, :, None] if expected.ndim == 2 else expected
    assert np.abs(pixels - expected * 255).max() <= most
    return facts


def over_white(colours: Float64Array, alpha: Float64Array) -> Float64Array:
    alpha = alpha if alpha.ndim == colours.ndim else alpha[:, :, None]
    return colours * alpha + 1 - alpha


def whole(values: Float64Array, kind: str, most: int) -> npt.NDArray[Any]:
    return np.rint(values * most).astype(kind)


# --- TIFF -----------------------------------------------------------------------------------------------------------

GREY, COLOURS, ALPHA = RGBA[:, :, :1], RGBA[:, :, :3], RGBA[:, :, 3:]
LAYOUTS: dict[str, dict[str, Any]] = {
    "one-strip": {}, "strips": {"rows": 5}, "tiles": {"tile": (16, 16)}, "deflate": {"deflate": True, "rows": 5},
    "differences": {"deflate": True, "differences": True}, "big-endian": {"order": ">", "rows": 5},
    "bigtiff": {"big": True}, "big-endian-bigtiff": {"order": ">", "big": True},
    "deflate-tiles-big-endian": {"order": ">", "tile": (16, 16), "deflate": True},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_tiff_samples_of_whole_bytes(bits: int, layout: str) -> None:
    kind, most, how = f"u{bits // 8}", (1 << min(bits, 53)) - 1 << max(0, bits - 53), LAYOUTS[layout]
    grey, colours = whole(GREY, kind, most), whole(COLOURS, kind, most)
    assert_shows(tiff(grey, t.BLACK_IS_0, **how), GREY[:, :, 0])
    assert_shows(tiff(grey, t.WHITE_IS_0, **how), 1 - GREY[:, :, 0])
    assert_shows(tiff(grey, None, **how), GREY[:, :, 0])  # libtiff's guess where the file does not say
    facts = assert_shows(tiff(colours, t.RGB, **how), COLOURS)
    assert (facts.width, facts.height, facts.notes) == (WIDTH, HEIGHT, ())
    assert_shows(tiff(colours, t.RGB, planar=True, **how), COLOURS)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_samples_of_24_bits(order: str, deflate: bool) -> None:
    """Stored as three samples of 8 bits where one of 24 is meant."""
    values = whole(COLOURS, "u4", 0xFFFFFF)
    parts = np.stack([values >> shift & 0xFF for shift in ((0, 8, 16) if order == "<" else (16, 8, 0))], axis=3)
    tags: t.Tags = {258: (3, [24] * 3), 277: (3, [3]), 339: (3, [1] * 3)}
    samples = parts.reshape(HEIGHT, WIDTH, 9).astype("u1")
    assert_shows(tiff(samples, t.RGB, order=order, deflate=deflate, rows=5, tags=tags), COLOURS)


def test_tiff_tiles_whose_places_stand_as_those_of_strips() -> None:
    content = tiff(whole(GREY, "u1", 255), t.WHITE_IS_0, tile=(16, 16))
    for tile, strip in ((324, 273), (325, 279)):
        content = content.replace(struct.pack("<HH", tile, 4), struct.pack("<HH", strip, 4))
    assert_shows(content, 1 - GREY[:, :, 0])


def test_tiff_sub_directories_may_be_a_list() -> None:
    """As Photoshop writes its layers: only the first of them stands in the tag."""

    def file(place: int) -> bytes:
        return tiff(whole(GREY, "u1", 255), tags={330: (4, [place])})

    start = len(file(0))
    second = start + 2 + 12 + 4
    strip = second + 2 + 4 * 12 + 4
    chain = struct.pack("<HHHIII", 1, 254, 4, 1, 1, second) + struct.pack("<H", 4)
    for tag, value in ((256, 4), (257, 2), (273, strip), (279, 8)):
        chain += struct.pack("<HHII", tag, 4, 1, value)
    content = file(start) + chain + bytes(4) + b"8 bytes."
    facts = assert_shows(content, GREY[:, :, 0])
    assert (facts.frames, facts.notes) == (1, ())
    with pytest.raises(ImageRejected):
        judged(content[:-1])
    both = content.replace(struct.pack("<HHII", 330, 4, 1, start), struct.pack("<HHII", 330, 4, 2, len(content)))
    facts = assert_shows(both + struct.pack("<II", start, second), GREY[:, :, 0])  # the second one is named twice
    assert facts.frames == 1


@pytest.mark.parametrize("deflate", [False, True])
def test_tiff_ycbcr_in_planes(deflate: bool) -> None:
    ycbcr = np.asarray(Image.fromarray(whole(COLOURS, "u1", 255)).convert("YCbCr"))
    plain: t.Tags = {530: (3, [1, 1])}
    assert_shows(tiff(ycbcr, t.YCBCR, planar=True, deflate=deflate, tags=plain), COLOURS, 4)
    for tags in ({}, plain | {532: (4, [15, 235, 128, 240, 128, 240])}):
        with pytest.raises(Unsupported, match="YCbCr in this arrangement"):
            judged(tiff(ycbcr, t.YCBCR, planar=True, deflate=True, tags=tags))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_tiff_samples_of_other_bits(bits: int, planar: bool) -> None:
    most = (1 << bits) - 1
    grey, colours = whole(GREY, "u2", most), whole(COLOURS, "u2", most)
    assert_shows(tiff(grey, bits=bits, rows=5), grey[:, :, 0] / most)
    assert_shows(tiff(grey, t.WHITE_IS_0, bits=bits, deflate=True), 1 - grey[:, :, 0] / most)
    assert_shows(tiff(colours, t.RGB, bits=bits, planar=planar, tile=(16, 16)), colours / most)


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_tiff_further_samples(bits: int, planar: bool) -> None:
    kind, most = f"u{bits // 8}", (1 << bits) - 1

    def file(samples: Float64Array, photometric: int, *extra: int) -> bytes:
        return tiff(whole(samples, kind, most), photometric, planar=planar, tags={338: (3, extra)})

    multiplied = np.dstack([COLOURS * ALPHA, ALPHA])
    assert_shows(file(RGBA, t.RGB, t.UNASSOCIATED), over_white(COLOURS, ALPHA), 2.5)
    assert_shows(file(multiplied, t.RGB, t.ASSOCIATED), over_white(COLOURS, ALPHA), 3.5)
    assert_shows(file(RGBA, t.RGB, t.NO_COLOUR), COLOURS)
    assert_shows(file(np.dstack([RGBA, GREY]), t.RGB, t.NO_COLOUR, t.NO_COLOUR), COLOURS)
    assert_shows(file(np.dstack([RGBA, GREY]), t.RGB, t.UNASSOCIATED, t.NO_COLOUR), over_white(COLOURS, ALPHA), 2.5)
    assert_shows(file(np.dstack([GREY, ALPHA]), t.BLACK_IS_0, t.UNASSOCIATED), over_white(GREY, ALPHA)[:, :, 0], 2.5)
    assert_shows(
        file(np.dstack([GREY * ALPHA, ALPHA]), t.BLACK_IS_0, t.ASSOCIATED), over_white(GREY, ALPHA)[:, :, 0], 3.5
    )
    assert_shows(file(np.dstack([GREY] + [ALPHA] * 7), t.BLACK_IS_0, *[t.NO_COLOUR] * 7), GREY[:, :, 0])
    assert_shows(file(RGBA, t.CMYK), (1 - COLOURS) * (1 - ALPHA), 2.5)
    inks = np.dstack([1 - COLOURS, 0 * ALPHA, ALPHA])
    if bits < 32:
        assert_shows(file(inks, t.CMYK, t.UNASSOCIATED), over_white(COLOURS, ALPHA), 2.5)
        with pytest.raises(Unsupported, match="multiplied by their transparency"):
            judged(file(inks, t.CMYK, t.ASSOCIATED))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("values", [65535, 255], ids=["16-bit-colours", "8-bit-colours"])
def test_tiff_colour_maps(bits: int, values: int) -> None:
    """A map whose values are at most 255 is one of 8 bits, written by an old program: libtiff's rule."""
    entries = np.random.default_rng(bits).random((1 << bits, 3))
    entries[0] = 1  # so that the larger values are there
    stored = whole(entries, "u2", values)
    indices = whole(GREY, "u1" if bits <= 8 else "u2", (1 << bits) - 1)
    content = tiff(indices, t.PALETTE, bits=bits, tags={320: (3, stored.T.ravel().tolist())})
    assert_shows(content, stored[indices[:, :, 0]] / values)


def test_tiff_colour_map_with_transparency() -> None:
    entries = np.random.default_rng(1).random((256, 3))
    indices, tags = whole(GREY, "u1", 255), {320: (3, whole(entries, "u2", 65535).T.ravel().tolist()), 338: (3, [2])}
    content = tiff(np.dstack([indices, whole(ALPHA, "u1", 255)]), t.PALETTE, tags=tags)
    assert_shows(content, over_white(entries[indices[:, :, 0]], ALPHA), 2.5)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tiff(np.zeros((1, 1, 5), "u1"), t.CMYK, tags={338: (3, [2])}), id="inks-with-alpha"),
        pytest.param(tiff(np.zeros((1, 1, 4), "u1"), t.LAB, tags={338: (3, [2])}), id="lab-with-alpha"),
        pytest.param(tiff(np.zeros((1, 1, 1), "u2"), t.PALETTE, tags={320: (3, [0] * 196_608)}), id="many-colours"),
    ],
)
def test_tiff_that_takes_much_memory_has_fewer_pixels(content: bytes) -> None:
    for tag, value in ((256, 26_000), (257, 1000)):
        content = content.replace(struct.pack("<HHII", tag, 4, 1, 1), struct.pack("<HHII", tag, 4, 1, value))
    with pytest.raises(TooManyPixels):
        decode_rgb(content, InputSpec(8, 8), "TIFF")
    with pytest.raises(TooManyPixels):
        check_image(content, FORMATS["TIFF"], Limits())


def test_tiff_of_a_large_webp() -> None:
    content = tiff(np.zeros((2500, 2000, 3), "u1"), t.RGB, webp=True)
    with pytest.raises(TooManyPixels):
        check_image(content, FORMATS["TIFF"], Limits())


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_floating_point(kind: str, order: str) -> None:
    assert_shows(tiff(GREY.astype(kind), order=order), GREY[:, :, 0])
    assert_shows(tiff(COLOURS.astype(kind), t.RGB, order=order, planar=True, deflate=True), COLOURS)
    named: t.Tags = {340: (12, [-100.0]), 341: (12, [300.0])}
    assert_shows(tiff((GREY * 400 - 100).astype(kind), order=order, tags=named), GREY[:, :, 0])


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_floating_point_as_differences_of_its_bits(order: str) -> None:
    bits = GREY.view("u8")
    content = tiff(bits, order=order, deflate=True, differences=True, tags={339: (3, [3])})
    assert_shows(content, GREY[:, :, 0])


def test_tiff_colours_of_high_dynamic_range() -> None:
    """White is 1, and brighter is white, too: as Photoshop and OpenEXR have it. Grey may be any measurement."""
    bright = COLOURS.copy()
    bright[:4] *= 7
    bright[4, :3] = -0.1
    assert_shows(tiff(bright.astype("f4"), t.RGB, rows=5), bright.clip(0, 1))
    for samples in ((COLOURS * 255).astype("f4"), (COLOURS * 2).astype("f4")):
        assert_unsupported(tiff(samples, t.RGB, rows=5), "TIFF")
    assert_unsupported(tiff(bright[:, :, :1].astype("f4"), rows=5), "TIFF")


@pytest.mark.parametrize("layout", ["one-strip", "strips", "tiles"])
def test_tiff_of_webp(layout: str) -> None:
    """As GDAL writes aerial pictures: each strip or tile is a WebP."""
    samples = whole(COLOURS, "u1", 255)
    assert_shows(tiff(samples, t.RGB, webp=True, **LAYOUTS[layout]), COLOURS)
    content = tiff(samples, t.RGB, webp=True, tags={257: (4, [HEIGHT + 1]), 278: (4, [HEIGHT + 1])})
    with pytest.raises(Corrupt, match="a WebP of"):
        judged(content)


def test_tiff_signed_samples_whose_range_is_named() -> None:
    named: t.Tags = {340: (8, [-1000]), 341: (8, [3000])}
    assert_shows(tiff(whole(GREY * 4 - 1, "i2", 1000), tags=named), GREY[:, :, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16], ids=["read-by-pillow", "read-here"])
def test_width_and_height_are_those_before_the_turn(bits: int, orientation: int) -> None:
    samples, seen = whole(COLOURS, f"u{bits // 8}", (1 << bits) - 1), COLOURS
    turn: Callable[[Any], Any] = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }[orientation]  # fmt: skip
    facts = assert_shows(tiff(samples, t.RGB, planar=True, tags={274: (3, [orientation])}), turn(seen))
    assert (facts.width, facts.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
@pytest.mark.parametrize("white_is_0", [False, True])
def test_tiff_fax(compression: str, white_is_0: bool) -> None:
    bits = RGBA[:, :, 2] > 0.5
    out = io.BytesIO()
    Image.fromarray(bits).save(out, "TIFF", compression=compression, tiffinfo={262: 0 if white_is_0 else 1})
    assert out.getvalue().count(struct.pack("<HHIHH", 262, 3, 1, not white_is_0, 0)) == 1
    assert_shows(out.getvalue(), bits.astype(float))


def test_tiff_jpeg_with_halved_chroma() -> None:
    picture = Image.fromarray(whole(COLOURS, "u1", 255)).resize((74, 44))
    out = io.BytesIO()
    picture.save(out, "TIFF", compression="jpeg", quality=98)
    assert_shows(out.getvalue(), np.asarray(picture) / 255, 8)


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_lab(bits: int) -> None:
    """Greys have no a and b; their lightness is that of their light: CIE 15. Red as Lindbloom's tables have it, for D50."""
    light = np.where(ROWS <= 0.04045, ROWS / 12.92, ((ROWS + 0.055) / 1.055) ** 2.4)
    lightness = np.where(light > 216 / 24389, 116 * np.cbrt(light) - 16, light * 24389 / 27) / 100
    zero = np.zeros_like(lightness)
    step = 1 if bits == 8 else 256
    own = np.dstack([lightness * (256 * step - 1), zero, zero])
    kind = f"u{bits // 8}"
    assert_shows(tiff(np.rint(own).astype(kind), t.LAB), ROWS, 3)
    icc = np.dstack([lightness * 255 * step, zero + 128 * step, zero + 128 * step])
    assert_shows(tiff(np.rint(icc).astype(kind), t.ICC_LAB), ROWS, 3)
    red = np.full((HEIGHT, WIDTH, 3), (138, 81, 70)) * step  # L 54.29, a 80.81, b 69.89
    assert_shows(tiff(red.astype(kind), t.LAB), np.full((HEIGHT, WIDTH, 3), (1.0, 0, 0)), 6)


REFUSED_TIFF = {
    "float-whose-range-is-not-named": tiff((GREY * 65535).astype("f4")),
    "float-below-0": tiff((GREY - 0.5).astype("f4")),
    "not-a-number": tiff(np.full_like(GREY, np.nan).astype("f4")),
    "signed-8": tiff(whole(GREY - 0.5, "i1", 255)),
    "signed-16": tiff(whole(GREY - 0.5, "i2", 65535)),
    "signed-32": tiff(whole(GREY, "i4", 1 << 30)),
    "12-bit-differences": tiff(whole(GREY, "u2", 4095), bits=12, deflate=True, tags={317: (3, [2])}),
    "itu-lab": tiff(whole(COLOURS, "u1", 255), 10),
    "log-luv": tiff(whole(COLOURS, "u2", 65535), 32845),
    "colour-filter-array": tiff(whole(GREY, "u2", 65535), 32803),
    "ycbcr-of-2-x-2-not-compressed": tiff(whole(COLOURS, "u1", 255), t.YCBCR),
    "samples-of-different-bits": tiff(whole(COLOURS, "u1", 255), t.RGB, tags={258: (3, [8, 8, 4])}),
    "old-jpeg": tiff(whole(COLOURS, "u1", 255), t.YCBCR, tags={259: (3, [6])}),
    "jpeg-2000": tiff(whole(COLOURS, "u1", 255), t.RGB, tags={259: (3, [34712])}),
    "17-samples": tiff(np.zeros((4, 4, 17), np.uint8)),
    "complex": tiff(GREY.astype("f4"), tags={339: (3, [6])}),
}


@pytest.mark.parametrize("name", REFUSED_TIFF)
def test_tiff_that_would_come_out_wrong_is_refused_by_its_kind(name: str) -> None:
    assert_unsupported(REFUSED_TIFF[name], "TIFF")


def assert_unsupported(content: bytes, name: str) -> None:
    """By the check and by the classifier alike."""
    for judge in (
        lambda: check_image(content, FORMATS[name], Limits()),
        lambda: decode_rgb(content, InputSpec(8, 8), name),
    ):
        with pytest.raises(Unsupported, match=rf"^{name}: .* cannot be read here$|whose range") as caught:
            judge()
        assert caught.value.code == "image.unsupported"


def test_tiff_strips_that_are_too_short_are_refused() -> None:
    content = bytearray(tiff(whole(COLOURS, "u2", 65535), t.RGB, planar=True, rows=5))
    at = content.index(struct.pack("<HHI", 257, 4, 1)) + 8
    struct.pack_into("<I", content, at, HEIGHT + 1)  # a row more than its strips have
    for judge in (
        lambda: check_image(bytes(content), FORMATS["TIFF"], Limits()),
        lambda: decode_rgb(bytes(content), InputSpec(8, 8), "TIFF"),
    ):
        with pytest.raises(ImageRejected):
            judge()


# --- BMP ------------------------------------------------------------------------------------------------------------


def bmp(
    bits: int, rows: bytes, *, width: int = WIDTH, height: int = HEIGHT, compression: int = 0, palette: bytes = b"",
    colours: int = 0, masks: tuple[int, ...] = (), header: int = 40,
) -> bytes:  # fmt: skip
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(rows), 0, 0, colours, 0)
    info += struct.pack(f"<{len(masks)}I", *masks)
    if header > 40:
        info = info[:header].ljust(header, b"\0")
    start = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + palette + rows


def bmp_rows(values: npt.NDArray[Any], bits: int) -> bytes:
    """(height, width) of numbers, the last row first, each row padded to 4 bytes."""
    if bits >= 8:
        data = values.astype(f"<u{bits // 8}").view(np.uint8).reshape(len(values), -1)
    else:
        spread = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
        data = np.packbits(spread.astype(np.uint8).reshape(len(values), -1), axis=1)
    return np.pad(data, ((0, 0), (0, -data.shape[1] % 4)))[::-1].tobytes()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colours", ["random", "black-and-white", "ramp", "few", "many"])
def test_bmp_palettes(bits: int, colours: str) -> None:
    """Pillow takes some of these palettes for grey, and then reads indices of 4 and 8 bits as something else."""
    number = {"black-and-white": 2, "few": 2, "many": 300}.get(colours, 1 << bits)
    if number > 1 << bits and colours != "many":
        number = 1 << bits
    table = np.random.default_rng(bits).integers(0, 256, (number, 3), dtype=np.uint8)
    if colours == "black-and-white":
        table = np.array([[0] * 3, [255] * 3], np.uint8)[:number]
    elif colours == "ramp":
        table = np.arange(number, dtype=np.uint8)[:, None].repeat(3, axis=1)
    indices = whole(GREY[:, :, 0], "u1", min(number, 1 << bits) - 1)
    palette = np.pad(table[:, ::-1], ((0, 0), (0, 1))).tobytes()
    assert_shows(bmp(bits, bmp_rows(indices, bits), palette=palette, colours=number), table[indices] / 255)


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        pytest.param(16, (0x7C00, 0x3E0, 0x1F), id="555"),
        pytest.param(16, (0xF800, 0x7E0, 0x1F), id="565"),
        pytest.param(16, (0xF00, 0xF0, 0xF), id="444"),
        pytest.param(16, (0x7, 0x38, 0xFFC0), id="3-3-10"),
        pytest.param(32, (0xFF, 0xFF00, 0xFF0000), id="red-first"),
        pytest.param(32, (0x3FF00000, 0xFFC00, 0x3FF), id="10-10-10"),
        pytest.param(32, (0xFF0000, 0xFF00, 0xFF), id="usual"),
    ],
)
@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_bit_masks(bits: int, masks: tuple[int, int, int], top_down: bool) -> None:
    values, expected = np.zeros((HEIGHT, WIDTH), np.uint64), np.zeros_like(COLOURS)
    for channel, mask in enumerate(masks):
        low = mask & -mask
        part = np.rint(COLOURS[:, :, channel] * (mask // low)).astype(np.uint64)
        values |= part * np.uint64(low)
        expected[:, :, channel] = part / (mask // low)
    rows = bmp_rows(values[::-1] if top_down else values, bits)
    assert_shows(bmp(bits, rows, height=-HEIGHT if top_down else HEIGHT, compression=3, masks=masks), expected, 1.6)


@pytest.mark.parametrize("compression", [3, 6])
@pytest.mark.parametrize("shown", [True, False], ids=["alpha", "mask-without-alpha"])
def test_bmp_alpha(compression: int, shown: bool) -> None:
    values = sum(whole(RGBA[:, :, n], "u8", 255) << shift for n, shift in enumerate((16, 8, 0)))
    if shown:
        values = values + (whole(ALPHA[:, :, 0], "u8", 255) << 24)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    content = bmp(32, bmp_rows(values, 32), compression=compression, masks=masks, header=56 if compression == 3 else 40)
    assert_shows(content, over_white(COLOURS, ALPHA) if shown else COLOURS, 2.5)


def test_bmp_fourth_byte_that_means_nothing() -> None:
    values = sum(whole(RGBA[:, :, n], "u8", 255) << shift for n, shift in enumerate((16, 8, 0, 24)))
    assert_shows(bmp(32, bmp_rows(values, 32)), COLOURS)


TABLE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)


@pytest.mark.parametrize("small", [False, True], ids=["8-bits", "4-bits"])
def test_bmp_run_lengths(small: bool) -> None:
    """A run, an empty row, a jump, a series, and the end before the last row. What no code reaches is transparent."""
    ones, mixed = (b"\x11", b"\x12\x30") if small else (b"\1", b"\1\2\3\0")
    codes = b"\x06" + ones + b"\0\0" + b"\0\0" + b"\0\2\2\1" + b"\0\3" + mixed + b"\0\1"
    palette = np.pad(TABLE[:, ::-1], ((0, 0), (0, 1))).tobytes()
    content = bmp(
        4 if small else 8, codes, width=6, height=5, compression=2 if small else 1, palette=palette, colours=4
    )
    expected = np.ones((5, 6, 3))
    expected[4] = TABLE[1] / 255  # rows count from below
    expected[1, 2:5] = TABLE[1:4] / 255
    assert_shows(content, expected)


def test_bmp_of_os2() -> None:
    indices = whole(GREY[:, :, 0], "u1", 3)
    info = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 4)
    palette, rows = TABLE[:, ::-1].tobytes().ljust(48, b"\0"), bmp_rows(indices, 4)
    content = b"BM" + struct.pack("<IHHI", 26 + 48 + len(rows), 0, 0, 26 + 48) + info + palette + rows
    assert_shows(content, TABLE[indices] / 255)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(bmp(0, h.JPEG, compression=4), id="jpeg-inside"),
        pytest.param(bmp(0, h.PNG, compression=5), id="png-inside"),
        pytest.param(bmp(1, bytes(500), compression=3, header=64), id="os2-huffman"),
        pytest.param(bmp(24, bytes(5000), compression=4, header=64), id="os2-run-lengths-of-24-bits"),
        pytest.param(bmp(64, bytes(8 * WIDTH * HEIGHT)), id="64-bits"),
        pytest.param(bmp(16, bytes(2 * 38 * HEIGHT), compression=3, masks=(0xA00, 0xF0, 0xF)), id="mask-in-two-pieces"),
        pytest.param(bmp(24, bytes(112 * HEIGHT), header=44), id="header-of-44-bytes"),
    ],
)
def test_bmp_of_rare_kinds_is_refused_by_its_kind(content: bytes) -> None:
    assert_unsupported(content, "BMP")


# --- PNG, GIF, JPEG, AVIF -------------------------------------------------------------------------------------------


def png(samples: npt.NDArray[Any], bits: int, colour: int, *chunks: bytes) -> bytes:
    """(height, width, samples) of numbers."""
    rows = samples.reshape(len(samples), -1)
    if bits == 16:
        data = rows.astype(">u2").view(np.uint8)
    else:
        data = np.packbits(
            (rows[..., None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8).reshape(len(rows), -1), axis=1
        )
    raw = np.pad(data, ((0, 0), (1, 0))).tobytes()
    return h.png(h.ihdr(samples.shape[1], len(samples), bits=bits, colour=colour), *chunks,
                 h.chunk(b"IDAT", zlib.compress(raw)))  # fmt: skip


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_grey_with_a_transparent_one(bits: int) -> None:
    most = (1 << bits) - 1
    samples = whole(GREY, "u2", most)
    transparent = int(samples[HEIGHT // 2, 0, 0])
    content = png(samples, bits, 0, h.chunk(b"tRNS", struct.pack(">H", transparent)))
    assert_shows(content, np.where(samples == transparent, 1, samples / most)[:, :, 0])
    assert_shows(png(samples, bits, 0), samples[:, :, 0] / most)


@pytest.mark.parametrize("bits", [8, 16])
def test_png_colours_with_a_transparent_one(bits: int) -> None:
    """Of 16 bits only the pixels that are equal in all of them: the one beside it stays."""
    samples = whole(COLOURS, "u2", (1 << bits) - 1)
    samples[3, 4] = samples[5, 6] = (100, 20, 30)
    samples[5, 6, 0] += 1
    content = png(samples, bits, 2, h.chunk(b"tRNS", struct.pack(">3H", 100, 20, 30)))
    expected = samples / ((1 << bits) - 1)
    expected[3, 4] = 1
    assert_shows(content, expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_png_alpha(bits: int) -> None:
    most = (1 << bits) - 1
    assert_shows(png(whole(RGBA, "u2", most), bits, 6), over_white(COLOURS, ALPHA), 2.5)
    grey = np.dstack([GREY, ALPHA])
    assert_shows(png(whole(grey, "u2", most), bits, 4), over_white(GREY, ALPHA)[:, :, 0], 2.5)


def test_png_palette_with_transparency() -> None:
    indices = whole(GREY, "u1", 3)
    chunks = h.chunk(b"PLTE", TABLE.tobytes()), h.chunk(b"tRNS", bytes((0, 128, 255)))
    alpha = np.array([0, 128, 255, 255])[indices[:, :, 0]] / 255
    assert_shows(png(indices, 2, 3, *chunks), over_white(TABLE[indices[:, :, 0]] / 255, alpha), 2)


@pytest.mark.parametrize("transparent", [None, 2])
def test_gif_whose_first_frame_is_smaller_than_its_canvas(transparent: int | None) -> None:
    indices = (np.arange(6 * 8).reshape(6, 8) // 7 % 4).astype(np.uint8)
    frame = Image.fromarray(indices)
    frame.putpalette(TABLE.tobytes())
    out = io.BytesIO()
    frame.save(out, "GIF", **({} if transparent is None else {"transparency": transparent}))
    content = bytearray(out.getvalue())
    struct.pack_into("<HH", content, 6, 12, 10)  # the canvas
    at = content.index(b"," + struct.pack("<HHHH", 0, 0, 8, 6))
    struct.pack_into("<HH", content, at + 1, 3, 2)
    expected = np.ones((10, 12, 3))
    shown = TABLE[indices] / 255
    expected[2:8, 3:11] = shown if transparent is None else np.where(indices[..., None] == transparent, 1, shown)
    facts = assert_shows(bytes(content), expected)
    assert (facts.width, facts.height) == (12, 10)


def jpeg_frame(marker: int = 0xC0, depth: int = 8, components: int = 3) -> bytes:
    """A JPEG with another frame header over the same data."""
    segments, scans = h.jpeg_segments(h.JPEG)
    frame = struct.pack(">BHHB", depth, 48, 64, components) + b"".join(
        bytes((n + 1, 0x11, 0)) for n in range(components)
    )
    return h.jpeg_of([h.segment(marker, frame) if s[1] == 0xC0 else s for s in segments], scans)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(jpeg_frame(0xC1, depth=12), id="12-bits"),
        pytest.param(jpeg_frame(0xC3, depth=12), id="lossless-of-12-bits"),
        pytest.param(jpeg_frame(0xC5), id="hierarchical"),
        pytest.param(jpeg_frame(0xC7), id="hierarchical-lossless"),
        pytest.param(jpeg_frame(components=2), id="2-components"),
    ],
)
def test_jpeg_of_rare_kinds_is_refused_by_its_kind(content: bytes) -> None:
    assert_unsupported(content, "JPEG")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"keep_rgb": True}], ids=["plain", "progressive", "rgb"]
)
def test_jpeg_colours(mode: str, options: dict[str, Any]) -> None:
    picture = Image.fromarray(whole(COLOURS, "u1", 255)).convert(mode)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=100, subsampling=0, **(options if mode == "RGB" else {}))
    values = np.asarray(picture) / 255
    expected = (1 - values[:, :, :3]) * (1 - values[:, :, 3:]) if mode == "CMYK" else values
    assert_shows(out.getvalue(), expected, 6)


def avif_with(kind: bytes, body: bytes, picture: Image.Image, **options: Any) -> bytes:
    """An AVIF with one property more of its picture, the data in front of the boxes so that no place moves."""
    out = io.BytesIO()
    picture.save(out, "AVIF", quality=100, subsampling="4:4:4", speed=10, **options)
    content = out.getvalue()
    meta, data = content.index(b"meta") - 4, content.index(b"mdat") - 4
    boxes = bytearray(content[meta:data])
    place = boxes.index(b"iloc") + 18
    (offset,) = struct.unpack_from(">I", boxes, place)
    struct.pack_into(">I", boxes, place, offset - (data - meta))
    ipco = boxes.index(b"ipco") - 4
    (size,) = struct.unpack_from(">I", boxes, ipco)
    number, at = 1, ipco + 8
    while at < ipco + size:
        at, number = at + struct.unpack_from(">I", boxes, at)[0], number + 1
    boxes[ipco + size : ipco + size] = struct.pack(">I4s", 8 + len(body), kind) + body
    ipma = boxes.index(b"ipma")
    count_at = ipma + 4 + 4 + 4 + 2
    boxes[count_at + 1 + boxes[count_at] : count_at + 1 + boxes[count_at]] = bytes(
        (number | (0x80 if kind == b"clap" else 0),)
    )
    boxes[count_at] += 1
    for name, more in ((b"meta", 9 + len(body)), (b"iprp", 9 + len(body)), (b"ipco", 8 + len(body)), (b"ipma", 1)):
        box = boxes.index(name) - 4
        struct.pack_into(">I", boxes, box, struct.unpack_from(">I", boxes, box)[0] + more)
    return content[:meta] + content[data:] + bytes(boxes)


needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")


@needs_avif
@pytest.mark.parametrize("orientation", [1, 6])
def test_avif_is_cropped_and_turned(orientation: int) -> None:
    """`clap`: 24 x 12 pixels whose middle lies 4 to the left of and 1 below the picture's; then the turn."""
    picture = Image.fromarray(whole(COLOURS, "u1", 255)).resize((40, 22))
    clap = struct.pack(">IIIIiIiI", 24, 1, 12, 1, -4, 1, 1, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = avif_with(b"clap", clap, picture, **({"exif": exif} if orientation > 1 else {}))
    expected = np.asarray(picture)[6:18, 4:28] / 255
    facts = assert_shows(content, np.rot90(expected, -1) if orientation == 6 else expected, 6)
    assert (facts.width, facts.height) == (24, 12)


@needs_avif
def test_avif_with_a_crop_that_cannot_be_is_shown_whole() -> None:
    picture = Image.fromarray(whole(COLOURS, "u1", 255))
    for numbers in ((99, 1, 12, 1, 0, 1, 0, 1), (24, 0, 12, 1, 0, 1, 0, 1), (8, 1, 8, 1, 40, 1, 0, 1)):
        facts = assert_shows(avif_with(b"clap", struct.pack(">IIIIiIiI", *numbers), picture), COLOURS, 6)
        assert (facts.width, facts.height) == (WIDTH, HEIGHT)


def pq(light: Float64Array) -> Float64Array:
    """SMPTE ST 2084, from cd/m2 to a code of 0 to 1."""
    powers = (light / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * powers) / (1 + 18.6875 * powers)) ** 78.84375


def hlg(light: Float64Array) -> Float64Array:
    """ITU-R BT.2100, from cd/m2 on a screen of 1000 to a code of 0 to 1."""
    scene = (light / 1000) ** (1 / 1.2)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


@needs_avif
@pytest.mark.parametrize(("curve", "coded"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_avif_of_high_dynamic_range_is_shown_as_on_a_screen_without_it(
    curve: int, coded: Callable[[Float64Array], Float64Array]
) -> None:
    """White is 203 cd/m2 (ITU-R BT.2408); what is brighter is white, too."""
    light = np.where(COLOURS <= 0.04045, COLOURS / 12.92, ((COLOURS + 0.055) / 1.055) ** 2.4) * 203

    def file(light: Float64Array) -> bytes:
        content = bytearray(avif_with(b"free", b"", Image.fromarray(whole(coded(light), "u1", 255))))
        struct.pack_into(">HH", content, content.index(b"nclx") + 4, 1, curve)
        return bytes(content)

    _, shown = judged(file(light))
    assert np.abs(shown - COLOURS * 255).mean() < 4  # 8 bits of these curves are coarse
    _, bright = judged(file(np.full_like(light, 800.0)))
    assert bright.min() >= 252


@needs_avif
def test_avif_alpha() -> None:
    out = io.BytesIO()
    Image.fromarray(whole(RGBA, "u1", 255)).save(out, "AVIF", quality=100, subsampling="4:4:4", speed=10)
    assert_shows(out.getvalue(), over_white(COLOURS, ALPHA), 6)


def test_webp_alpha() -> None:
    out = io.BytesIO()
    Image.fromarray(whole(RGBA, "u1", 255)).save(out, "WEBP", lossless=True, exact=True)
    assert_shows(out.getvalue(), over_white(COLOURS, ALPHA), 2.5)


@pytest.mark.parametrize("zeros", [1, 4096, 4097])
def test_gif_with_zeros_between_its_blocks(zeros: int) -> None:
    """Ends of blocks that some programs write twice."""
    content = h.gif(h.gif_frame(), bytes(zeros), h.gif_frame())
    if zeros > 4096:
        with pytest.raises(Corrupt, match="unknown block"):
            check_image(content, FORMATS["GIF"], Limits())
    else:
        facts = check_image(content, FORMATS["GIF"], Limits())
        assert (facts.frames, facts.notes) == (2, ("stray_bytes",))


# --- JPEG 2000, and what every format has ------------------------------------------------------------------------------


def jp2_with_depths(content: bytes, *depths: int) -> bytes:
    """The same wavelet coefficients, said to be of another depth: bits less one, and 128 more where they are signed."""
    changed = bytearray(content)
    at = changed.index(b"\xff\x4f\xff\x51") + 42
    for number, depth in enumerate(depths):
        changed[at + 3 * number] = depth
    return bytes(changed)


def saved_jp2(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG2000", **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16"])
def test_jpeg_2000_shows_its_colours(mode: str) -> None:
    grey = whole(GREY[:, :, 0], "u2", 65535)
    content = saved_jp2(
        grey if mode == "I;16" else whole({"L": GREY[:, :, 0], "RGB": COLOURS}.get(mode, RGBA), "u1", 255)
    )
    if mode in ("L", "I;16"):
        assert_shows(content, GREY[:, :, 0])
    else:
        assert_shows(content, COLOURS if mode == "RGB" else over_white(COLOURS, ALPHA), 2.5)


@pytest.mark.parametrize("depth", [11, 15], ids=["12-bits", "16-bits"])
def test_jpeg_2000_of_deep_colours_by_the_lossy_wavelet(depth: int) -> None:
    """Its steps are relative to the depth. Pillow alone would make black of the brightest."""
    content = saved_jp2(whole(COLOURS, "u1", 255), irreversible=True)
    assert_shows(jp2_with_depths(content, depth, depth, depth), COLOURS, 2.5)


@pytest.mark.parametrize("signed", [0, 128], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [9, 12])
def test_jpeg_2000_of_deep_colours_by_the_lossless_wavelet(bits: int, signed: int) -> None:
    """It gives the values themselves: those of 8 bits lie in the middle of the deeper ones."""
    content = jp2_with_depths(saved_jp2(whole(COLOURS, "u1", 255)), *[signed | bits - 1] * 3)
    most = (1 << bits) - 1
    assert_shows(content, (COLOURS * 255 - 128 + (1 << bits - 1)) / most, 2.5)


def jp2_with_boxes(content: bytes, *boxes: tuple[bytes, bytes]) -> bytes:
    """With these in its header, in the place of what it has of the same kind."""
    at, end = content.index(b"jp2h") - 4, content.index(b"jp2c") - 4
    header, kept = content[at + 8 : end], b""
    while header:
        size, kind = struct.unpack_from(">I4s", header)
        kept += header[:size] if kind not in dict(boxes) else b""
        header = header[size:]
    kept += b"".join(struct.pack(">I4s", len(body) + 8, kind) + body for kind, body in boxes)
    return content[:at] + struct.pack(">I4s", len(kept) + 8, b"jp2h") + kept + content[end:]


def jp2_of_steps(content: bytes, *steps: tuple[int, int]) -> bytes:
    changed = bytearray(content)
    at = changed.index(b"\xff\x4f\xff\x51") + 43
    for number, step in enumerate(steps):
        changed[at + 3 * number : at + 3 * number + 2] = step
    return bytes(changed)


def cdef(channels: Sequence[tuple[int, int, int]]) -> tuple[bytes, bytes]:
    return b"cdef", struct.pack(">H", len(channels)) + b"".join(struct.pack(">HHH", *channel) for channel in channels)


@pytest.mark.parametrize("profile", [b"", b"abc"])
def test_jpeg_2000_whose_profile_has_no_bytes(profile: bytes) -> None:
    content = saved_jp2(whole(COLOURS, "u1", 255))
    facts = assert_shows(jp2_with_boxes(content, (b"colr", b"\2\0\0" + profile)), COLOURS, 1.01)
    assert facts.notes == (("unreadable_profile",) if profile else ())


def test_jpeg_2000_of_colours_in_another_order() -> None:
    """Also where a palette has them."""
    blue_first = [(0, 0, 3), (1, 0, 1), (2, 0, 2)]
    content = saved_jp2(whole(COLOURS[:, :, [2, 0, 1]], "u1", 255))
    assert_shows(jp2_with_boxes(content, cdef(blue_first)), COLOURS, 1.01)
    table = np.random.default_rng(2).integers(0, 256, (256, 3), dtype=np.uint8)
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = struct.pack(">HB3B", 256, 3, 7, 7, 7) + table[:, [2, 0, 1]].tobytes()
    mapping = b"".join(bytes((0, 0, 1, column)) for column in range(3))
    boxes = (b"pclr", palette), (b"cmap", mapping), (b"colr", b"\1\0\0\0\0\0\x10"), cdef(blue_first)
    assert_shows(jp2_with_boxes(saved_jp2(indices), *boxes), table[indices] / 255)


def test_jpeg_2000_of_grey_whose_channel_belongs_to_the_whole_image() -> None:
    content = saved_jp2(whole(np.dstack([GREY, ALPHA]), "u1", 255))
    content = jp2_with_boxes(content, cdef([(0, 0, 0), (1, 1, 0)]))
    assert_shows(content, over_white(GREY, ALPHA)[:, :, 0], 2.5)


CHANNELS = {
    "twice-the-same": ((0, 0, 3), (1, 0, 2), (2, 0, 3)),
    "multiplied-by-their-alpha": ((0, 0, 1), (1, 0, 2), (2, 2, 0)),
}


JP2_OF_COLOURS = saved_jp2(whole(COLOURS, "u1", 255))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(jp2_with_depths(JP2_OF_COLOURS, 15), "16, 8, 8 bits together", id="depths-that-differ"),
        pytest.param(jp2_with_boxes(JP2_OF_COLOURS, (b"colr", b"\1\0\0\0\0\0\x18")), "colours of kind 24", id="e-sYCC"),
        pytest.param(jp2_with_boxes(JP2_OF_COLOURS, (b"colr", b"\1\0\0\0\0\0\x0e")), "colours of kind 14", id="lab"),
        *[
            pytest.param(
                jp2_with_boxes(JP2_OF_COLOURS, cdef(channels)), "channels in this order", id=f"channels-{name}"
            )
            for name, channels in CHANNELS.items()
        ],
        pytest.param(jp2_of_steps(JP2_OF_COLOURS, (1, 1), (3, 3), (3, 3)), "in this arrangement", id="odd-steps"),
        pytest.param(
            jp2_of_steps(JP2_OF_COLOURS, (2, 2), (1, 1), (1, 1)), "in this arrangement", id="dark-in-fewer-pixels"
        ),
        pytest.param(
            jp2_with_boxes(saved_jp2(whole(GREY[:, :, 0], "u1", 255)), (b"pclr", b"\0\1\3\7\7\7" + bytes(3))),
            "palette",
            id="palette-without-a-mapping",
        ),
    ],
)
def test_jpeg_2000_of_rare_kinds_is_refused_by_its_kind(content: bytes, kind: str) -> None:
    with pytest.raises(Unsupported, match=kind):
        decode_rgb(content, InputSpec(8, 8), "JPEG2000")
    with pytest.raises(Unsupported, match=kind):
        check_image(content, FORMATS["JPEG2000"], Limits())


def test_jpeg_2000_with_the_same_colour_twice_in_its_palette() -> None:
    """Pillow counts it once, and all colours behind it are others."""
    table = np.repeat(np.arange(128, dtype=np.uint8), 2)[:, None] * np.array([[1, 2, 0]], np.uint8)
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mapping = b"".join(bytes((0, 0, 1, column)) for column in range(3))
    palette = struct.pack(">HB3B", 256, 3, 7, 7, 7) + table.tobytes()
    content = jp2_with_boxes(saved_jp2(indices), (b"pclr", palette), (b"cmap", mapping), (b"colr", b"\1\0\0\0\0\0\x10"))
    assert_shows(content, table[indices] / 255, 1.0)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [None, 3])
def test_an_orientation_in_xmp_turns_nothing(kind: str, orientation: int | None) -> None:
    """Browsers, libvips and ImageMagick obey EXIF alone."""
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    if orientation:
        exif[0x0112] = orientation
    options: dict[str, Any] = {"quality": 100, "xmp": XMP}
    if kind == "TIFF":
        exif[700] = XMP
        options = {}
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options = {"pnginfo": info}
    out = io.BytesIO()
    Image.fromarray(whole(GREY[:, :, 0], "u1", 255)).convert("RGB").save(out, kind, exif=exif, **options)
    assert XMP in out.getvalue()
    expected = np.repeat(GREY, 3, axis=2)
    assert_shows(out.getvalue(), expected[::-1, ::-1] if orientation else expected, 4)


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [each.name for each in FORMATS.values() if each.walk is not None])
def test_check_and_classifier_agree_about_every_seed(name: str) -> None:
    """Where the check accepts, the classifier gives the same pixels in every order of channels; where not, the same error."""
    for seed in seeds()[name]:
        try:
            checked: Any = check_and_decode(seed.content, FORMATS[name], Limits(), InputSpec(16, 16))[1]
        except ImageRejected as err:
            with pytest.raises(type(err)):
                decode_rgb(seed.content, InputSpec(16, 16), name)
            continue
        assert (decode_rgb(seed.content, InputSpec(16, 16), name) == checked.pixels).all(), seed.name
        assert decode_rgb(seed.content, InputSpec(16, 16, colour_order="L"), name).shape == (16, 16, 1)
