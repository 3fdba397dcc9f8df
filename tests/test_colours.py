"""The model sees sRGB, whatever the file says of its colours, and what is transparent over the manifest's background.

Expected colours come from the published numbers of each colour space with numpy, or from LittleCMS on the whole picture.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, features

from imagewarehouse.images import profiles
from imagewarehouse.images.decoding import InputSpec, check_and_decode, check_image, decode_rgb
from imagewarehouse.images.formats import FORMATS, sniff
from imagewarehouse.images.heif_decoder import heif_available
from imagewarehouse.images.profiles import colours_of
from imagewarehouse.limits import Limits
from imagewarehouse.models.manifest import read_manifest
from imagewarehouse.training.dataset_reading import read_contents
from imagewarehouse.training.folder import manifest_input
from imagewarehouse.training.sources import list_source
from tests import hostile as h
from tests.tiffs import RGB, tiff

Float64Array = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]

# Linear RGB -> XYZ for D50, as the profiles of Apple, Adobe and HP (sRGB) have them.
P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
WIDTH, HEIGHT = 48, 40


def decoded_srgb(values: Float64Array) -> Float64Array:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded_srgb(light: Float64Array) -> Float64Array:
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_srgb(values: Float64Array, matrix: Float64Array, gamma: float | None) -> Float64Array:
    """(..., 3) of 0 to 1 in a colour space -> sRGB of 0 to 1."""
    light = decoded_srgb(values) if gamma is None else values**gamma
    return encoded_srgb(light @ (np.linalg.inv(SRGB) @ matrix).T)


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(
    space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ", comment: bytes = b""
) -> bytes:
    tags = {
        **tags,
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
        b"cprt": b"text" + bytes(4) + comment + b"\0",
    }
    directory, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        directory += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", 132 + 12 * len(tags) + len(body), b"", 0x02400000, kind, space, connection, b"", b"acsp"
    )
    return head.ljust(68, b"\0") + fixed(0.9642, 1, 0.8249).ljust(60, b"\0") + directory + body


def curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    table = np.rint(decoded_srgb(np.linspace(0, 1, 1024)) * 65535).astype(">u2")
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + table.tobytes()


def rgb_profile(matrix: Float64Array, gamma: float | None = None, **more: Any) -> bytes:
    tags = {b"rgb"[n : n + 1] + b"XYZ": b"XYZ " + bytes(4) + fixed(*matrix[:, n]) for n in range(3)}
    return profile(b"RGB ", tags | {b"rgb"[n : n + 1] + b"TRC": curve(gamma) for n in range(3)}, **more)


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve(gamma)})


def cmyk_profile() -> bytes:
    """A press whose black ink is grey: a table of 2 x 2 x 2 x 2 corners in Lab."""
    corners = np.stack(np.meshgrid(*[(0, 1)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    lightness = np.rint((1 - corners[:, :3].mean(axis=1)) * (1 - corners[:, 3] * 0.5) * 255)
    table = np.stack([lightness, *[np.full(16, 128)] * 2], axis=1).astype(np.uint8)
    ramp = bytes(range(256))
    head = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return profile(b"CMYK", {b"A2B0": head + ramp * 4 + table.tobytes() + ramp * 3}, b"prtr", b"Lab ")


DISPLAY_P3, ADOBE_RGB = rgb_profile(P3), rgb_profile(ADOBE, 2.2)
SPACES = {"display-p3": (DISPLAY_P3, P3, None), "adobe-rgb": (ADOBE_RGB, ADOBE, 563 / 256)}


def ramps() -> UInt8Array:
    """(HEIGHT, WIDTH, 3) of 0-255: many colours, and none that changes fast."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([rows * 6, columns * 5, (rows + columns) * 2 + 40], axis=2).clip(0, 255).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    lossless: dict[str, Any] = {
        "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True, "exact": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4", "speed": 10},
    }.get(kind, {})  # fmt: skip
    out = io.BytesIO()
    image.save(out, kind, **lossless, **options)
    return out.getvalue()


def bmp_with_profile(pixels: UInt8Array, icc: bytes) -> bytes:
    rows = np.pad(pixels[::-1, :, ::-1].reshape(HEIGHT, -1), ((0, 0), (0, -WIDTH * 3 % 4))).tobytes()
    info = struct.pack("<IiiHHIIiiII", 124, WIDTH, HEIGHT, 1, 24, 0, len(rows), 0, 0, 0, 0).ljust(56, b"\0") + b"DEBM"
    info = info.ljust(112, b"\0") + struct.pack("<IIxxxx", 124 + len(rows), len(icc))
    return b"BM" + struct.pack("<IHHI", 138 + len(rows) + len(icc), 0, 0, 138) + info + rows + icc


def with_profile(kind: str, pixels: UInt8Array, icc: bytes | None) -> bytes:
    if kind == "BMP" and icc:
        return bmp_with_profile(pixels, icc)
    if kind == "TIFF of 16 bits, planar":
        tags = {34675: (7, icc)} if icc else {}
        return tiff(pixels.astype(np.uint16) * 257, RGB, planar=True, tags=tags)
    return saved(Image.fromarray(pixels), kind, **({"icc_profile": icc} if icc else {}))


def pixels_of(content: bytes, spec: InputSpec | None = None) -> UInt8Array:
    """As the classifier decodes it, which has to be as the check does."""
    spec = spec or InputSpec(HEIGHT, WIDTH)
    found = sniff(content)
    assert found is not None
    checked = check_and_decode(content, found, Limits(), spec)[1]
    assert checked is not None
    decoded = decode_rgb(content, spec, found.name)
    assert (decoded == checked.pixels).all()
    return decoded


def notes_of(content: bytes) -> tuple[str, ...]:
    found = sniff(content)
    assert found is not None
    return check_image(content, found, Limits()).notes


KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "TIFF of 16 bits, planar",
         pytest.param("AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF here"))]  # fmt: skip


# --- profiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES)
def test_a_profile_becomes_srgb(kind: str, space: str) -> None:
    icc, matrix, gamma = SPACES[space]
    content = with_profile(kind, ramps(), icc)
    stored = pixels_of(with_profile(kind, ramps(), None)) / 255  # what the format's own losses leave
    expected = to_srgb(stored, matrix, gamma) * 255
    pixels = pixels_of(content)
    assert np.abs(pixels - expected).max() <= 3
    assert np.abs(pixels - expected).mean() <= 0.6
    assert np.abs(pixels - stored * 255).mean() > 3
    assert notes_of(content) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_srgb_by_another_name_changes_nothing(kind: str) -> None:
    plain = pixels_of(with_profile(kind, ramps(), None))
    for icc in (rgb_profile(SRGB), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()):
        assert (pixels_of(with_profile(kind, ramps(), icc)) == plain).all()


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("space", SPACES)
def test_converted_small_is_as_converted_whole(fit: Any, space: str) -> None:
    """The conversion comes behind the resize, where it is cheap. The other order, by LittleCMS, is what it is held to."""
    rng = np.random.default_rng(3)
    # Blotches of colours that sRGB has: what lies beyond is cut off, and means of that are another thing.
    picture = Image.fromarray(rng.integers(80, 176, (15, 20, 3), dtype=np.uint8)).resize((800, 600))
    icc = SPACES[space][0]
    opened, srgb = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, opened, srgb)
    assert converted is not None
    spec = InputSpec(32, 32, fit=fit)
    found = pixels_of(saved(picture, "PNG", icc_profile=icc), spec).astype(int)
    expected = pixels_of(saved(converted, "PNG"), spec).astype(int)
    unconverted = pixels_of(saved(picture, "PNG"), spec).astype(int)
    assert np.abs(found - expected).mean() <= 0.6
    assert np.abs(found - expected).mean() <= 0.15 * np.abs(unconverted - expected).mean()


def test_grey_with_a_profile() -> None:
    picture = Image.linear_gradient("L")
    expected = encoded_srgb((np.asarray(picture) / 255) ** (1.0)) * 255
    content = saved(picture, "PNG", icc_profile=grey_profile(1.0))
    for order in ("RGB", "L"):
        pixels = pixels_of(content, InputSpec(256, 256, colour_order=order))
        assert np.abs(pixels - expected[:, :, None]).max() <= 1.5
    assert notes_of(content) == ()
    assert notes_of(saved(picture, "JPEG", icc_profile=grey_profile(2.2))) == ()


def test_cmyk_with_and_without_a_profile() -> None:
    """Adobe's JPEGs have their inks upside down, which Pillow has put right when it opens them."""
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[: HEIGHT // 2, :, 3] = 255  # black ink alone: lightness 50 in the profile
    inks[HEIGHT // 2 :, :, :3] = 102  # three tenths of the others: lightness 60
    picture = Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes())
    for kind in ("JPEG", "TIFF"):
        pixels = pixels_of(saved(picture, kind, icc_profile=cmyk_profile()))
        for rows, lightness in ((slice(2, 16), 50), (slice(-16, -2), 60)):
            grey = encoded_srgb(np.array(((lightness + 16) / 116) ** 3)) * 255
            assert np.abs(pixels[rows] - grey).max() <= 3
        plain = pixels_of(saved(picture, kind))
        assert plain[2:16].max() <= 3
        assert np.abs(plain[-16:-2].astype(int) - 153).max() <= 3
        assert notes_of(saved(picture, kind, icc_profile=cmyk_profile())) == ()


UNREADABLE = {
    "garbage": b"no profile at all",
    "cut-off": DISPLAY_P3[:200],
    "without-tags": profile(b"RGB ", {}),
    "tag-beyond-its-end": DISPLAY_P3.replace(b"rXYZ" + struct.pack(">I", 132 + 12 * 8), b"rXYZ\x7f\xff\xff\xff"),
    "for-grey": grey_profile(1.8),
    "for-inks": cmyk_profile(),
    "link-between-devices": rgb_profile(P3, kind=b"link"),
    "named-colours": rgb_profile(P3, kind=b"nmcl"),
    "effect": rgb_profile(P3, kind=b"abst"),
    "all-black": rgb_profile(np.zeros((3, 3))),
    "upside-down": rgb_profile(-P3),
    "too-large": rgb_profile(P3, comment=b"x" * (5 << 20)),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_profile_that_cannot_be_meant_is_ignored_with_a_note(name: str) -> None:
    icc = UNREADABLE[name]
    plain = tiff(ramps(), RGB)
    content = tiff(ramps(), RGB, tags={34675: (7, icc)})
    assert (pixels_of(content) == pixels_of(plain)).all()
    assert notes_of(content) == ("unreadable_profile",)
    assert notes_of(plain) == ()


def test_a_profile_that_makes_noise_is_ignored_with_a_note() -> None:
    """One primary far outside of all colours: whatever is computed with it overflows. Found in a JP2 of OpenJPEG's tests."""
    matrix = np.zeros((3, 3))
    matrix[0, 1] = -32768
    content = saved(Image.fromarray(ramps()), "PNG", icc_profile=rgb_profile(matrix, 1.8))
    assert (pixels_of(content) == ramps()).all()
    assert notes_of(content) == ("unreadable_profile",)


def test_a_jpeg_that_lacks_a_part_of_its_profile_has_the_note() -> None:
    plain = saved(Image.fromarray(ramps()), "JPEG")
    part = h.segment(0xE2, b"ICC_PROFILE\0\1\2" + DISPLAY_P3)  # the first of two
    assert notes_of(h.jpeg_with(plain, part)) == ("unreadable_profile",)
    assert (pixels_of(h.jpeg_with(plain, part)) == pixels_of(plain)).all()


def test_the_note_stands_behind_others() -> None:
    found = FORMATS["PNG"]
    content = saved(Image.fromarray(ramps()), "PNG", icc_profile=b"x" * 200)
    assert check_image(content, found, Limits()).notes[-1] == "unreadable_profile"


def test_profiles_are_kept_and_not_for_ever() -> None:
    content = with_profile("PNG", ramps(), DISPLAY_P3)
    with Image.open(io.BytesIO(content)) as image:
        assert colours_of(image) is colours_of(image)
        assert colours_of(image).conversion is not None
        for number in range(profiles._KEPT + 10):
            image.info["icc_profile"] = rgb_profile(P3, comment=b"%d" % number)
            colours_of(image)
    assert len(profiles._known) == profiles._KEPT


def test_many_threads_use_one_profile() -> None:
    icc = rgb_profile(ADOBE, 1.9)  # one that no test has used before
    content = with_profile("PNG", ramps(), icc)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: decode_rgb(content, InputSpec(HEIGHT, WIDTH)), range(64)))
    assert all((each == results[0]).all() for each in results)
    assert np.abs(results[0] - to_srgb(ramps() / 255, ADOBE, 1.9) * 255).max() <= 3


# --- colours in numbers ---------------------------------------------------------------------------------------------


def png(*chunks: bytes, pixels: UInt8Array | None = None) -> bytes:
    pixels = ramps() if pixels is None else pixels
    raw = np.pad(pixels.reshape(HEIGHT, -1), ((0, 0), (1, 0))).tobytes()
    colour = 2 if pixels.ndim == 3 else 0
    return h.png(h.ihdr(WIDTH, HEIGHT, bits=8, colour=colour), *chunks, h.chunk(b"IDAT", zlib.compress(raw)))


def gama(gamma: float) -> bytes:
    return h.chunk(b"gAMA", struct.pack(">I", round(gamma * 100000)))


def chrm(*xy: float) -> bytes:
    return h.chunk(b"cHRM", struct.pack(">8I", *(round(value * 100000) for value in xy)))


def iccp(icc: bytes) -> bytes:
    return h.chunk(b"iCCP", b"p\0\0" + zlib.compress(icc))


def cicp(primaries: int, transfer: int) -> bytes:
    return h.chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


XY_P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
XY_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
IS_SRGB = h.chunk(b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "matrix", "gamma"),
    [
        pytest.param([gama(1.0)], SRGB, 1.0, id="linear"),
        pytest.param([gama(0.55555)], SRGB, 1.8, id="gamma-of-an-old-macintosh"),
        pytest.param([gama(0.45455), chrm(*XY_P3)], P3, None, id="primaries"),
        pytest.param([chrm(*XY_P3)], P3, None, id="primaries-alone"),
        pytest.param([gama(1.0), chrm(*XY_P3)], P3, 1.0, id="gamma-and-primaries"),
        pytest.param([cicp(12, 13)], P3, None, id="coded-p3"),
        pytest.param([cicp(12, 8)], P3, 1.0, id="coded-p3-linear"),
        pytest.param([cicp(1, 13), iccp(ADOBE_RGB), gama(1.0)], SRGB, None, id="coded-goes-before-a-profile"),
        pytest.param([iccp(ADOBE_RGB), IS_SRGB, gama(1.0)], ADOBE, 563 / 256, id="profile-goes-before-srgb"),
        pytest.param([IS_SRGB, gama(1.0), chrm(*XY_P3)], SRGB, None, id="srgb-goes-before-gamma"),
    ],
)
def test_png_says_its_colours_in_numbers(chunks: list[bytes], matrix: Float64Array, gamma: float | None) -> None:
    content = png(*chunks)
    expected = to_srgb(ramps() / 255, matrix, gamma) * 255
    assert np.abs(pixels_of(content) - expected).max() <= 3
    assert notes_of(content) == ()


def png_with_palette(*chunks: bytes) -> bytes:
    """48 x 40 pixels of four colours, with these chunks behind the palette."""
    palette = h.chunk(b"PLTE", bytes(range(10, 22)))
    rows = b"".join(b"\0" + bytes(x * y % 4 for x in range(WIDTH)) for y in range(HEIGHT))
    return h.png(h.ihdr(WIDTH, HEIGHT, bits=8, colour=3), palette, *chunks, h.chunk(b"IDAT", zlib.compress(rows)))


@pytest.mark.parametrize("chunk", [gama(1.0), chrm(*XY_P3), iccp(ADOBE_RGB)], ids=["gAMA", "cHRM", "iCCP"])
def test_png_colours_behind_the_palette_are_ignored_with_a_note(chunk: bytes) -> None:
    """As libpng does."""
    assert (pixels_of(png_with_palette(chunk)) == pixels_of(png_with_palette())).all()
    assert notes_of(png_with_palette(chunk)) == ("unreadable_profile",)


def test_png_transparency_of_more_colours_than_there_are_is_ignored() -> None:
    plain = pixels_of(png_with_palette())
    assert (pixels_of(png_with_palette(h.chunk(b"tRNS", bytes(5)))) == plain).all()
    assert (pixels_of(png_with_palette(h.chunk(b"tRNS", bytes(4)))) == 255).all()
    assert (pixels_of(h.chunk(b"tRNS", bytes(4)).join(_around_palette(png_with_palette()))) == plain).all()


def _around_palette(content: bytes) -> tuple[bytes, bytes]:
    at = content.index(b"PLTE") - 4
    return content[:at], content[at:]


@pytest.mark.parametrize("chunks", [[gama(0.45455)], [gama(0.4545), chrm(*XY_SRGB)], [cicp(1, 1)], [cicp(2, 2)]])
def test_png_numbers_that_mean_srgb_change_nothing(chunks: list[bytes]) -> None:
    assert (pixels_of(png(*chunks)) == ramps()).all()


@pytest.mark.parametrize(
    "chunk",
    [gama(0), gama(0.0001), gama(900), chrm(0, 0, 0, 0, 0, 0, 0, 0), chrm(*[0.3] * 8), cicp(3, 13), cicp(1, 9)],
)
def test_png_numbers_that_cannot_be_meant_are_ignored_with_a_note(chunk: bytes) -> None:
    assert (pixels_of(png(chunk)) == ramps()).all()
    assert notes_of(png(chunk)) == ("unreadable_profile",)


def test_png_grey_with_gamma_stays_grey() -> None:
    pixels = pixels_of(png(gama(1.0), chrm(*XY_P3), pixels=ramps()[:, :, 0]))
    expected = encoded_srgb(ramps()[:, :, 0] / 255) * 255
    assert np.abs(pixels - expected[:, :, None]).max() <= 1.5


@pytest.mark.skipif(not features.check("avif"), reason="no AVIF here")
def test_avif_says_its_colours_in_numbers() -> None:
    content = bytearray(saved(Image.fromarray(ramps()), "AVIF"))
    stored = pixels_of(bytes(content)) / 255
    struct.pack_into(">HH", content, content.index(b"nclx") + 4, 12, 13)
    assert np.abs(pixels_of(bytes(content)) - to_srgb(stored, P3, None) * 255).max() <= 3


@pytest.mark.skipif(not heif_available(), reason="no HEIF here")
def test_heif_says_its_colours_in_numbers() -> None:
    content = bytearray((Path(__file__).parent / "data" / "heif" / "colour-444.heic").read_bytes())
    stored = pixels_of(bytes(content)) / 255
    struct.pack_into(">HH", content, content.index(b"nclx") + 4, 12, 13)
    assert np.abs(pixels_of(bytes(content)) - to_srgb(stored, P3, None) * 255).max() <= 3
    struct.pack_into(">HH", content, content.index(b"nclx") + 4, 1, 16)  # PQ, by SMPTE ST 2084: white is 203 cd/m2
    power = stored ** (1 / 78.84375)
    light = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    assert np.abs(pixels_of(bytes(content)) - to_srgb(np.minimum(light / 203, 1), SRGB, 1.0) * 255).max() <= 3


def test_the_profile_of_a_jp2_is_found() -> None:
    """Pillow passes over it; here it takes the place of the number for sRGB."""
    content = saved(Image.fromarray(ramps()), "JPEG2000")
    at = content.index(b"colr") - 4
    box = struct.pack(">I4sBBB", 11 + len(DISPLAY_P3), b"colr", 2, 0, 0) + DISPLAY_P3
    changed = bytearray(content[:at] + box + content[at + 15 :])
    header = changed.index(b"jp2h") - 4
    struct.pack_into(">I", changed, header, struct.unpack_from(">I", changed, header)[0] + len(box) - 15)
    assert np.abs(pixels_of(bytes(changed)) - to_srgb(ramps() / 255, P3, None) * 255).max() <= 3
    assert (pixels_of(content) == ramps()).all()


# --- transparency ---------------------------------------------------------------------------------------------------

BACKGROUND = (200, 30, 90)


def transparent() -> UInt8Array:
    return np.dstack([ramps(), np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1)).astype(np.uint8)])


def laid_over(colours: Float64Array, alpha: Float64Array, background: tuple[int, int, int]) -> Float64Array:
    part = alpha[:, :, None] / 255
    return colours * part + np.array(background) * (1 - part)


@pytest.mark.parametrize("background", [(255, 255, 255), BACKGROUND, (0, 0, 0)])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_lies_over_the_background(kind: str, background: tuple[int, int, int]) -> None:
    pixels = transparent()
    spec = InputSpec(HEIGHT, WIDTH, background=background)
    found = pixels_of(saved(Image.fromarray(pixels), kind), spec)
    assert np.abs(found - laid_over(pixels[:, :, :3], pixels[:, :, 3], background)).max() <= 1.5


def test_transparent_grey_over_a_coloured_background() -> None:
    grey = transparent()[:, :, [0, 3]]
    content = saved(Image.fromarray(grey, "LA"), "PNG")
    expected = laid_over(grey[:, :, :1], grey[:, :, 1], BACKGROUND)
    assert np.abs(pixels_of(content, InputSpec(HEIGHT, WIDTH, background=BACKGROUND)) - expected).max() <= 1.5
    in_grey = pixels_of(content, InputSpec(HEIGHT, WIDTH, colour_order="L", background=BACKGROUND))
    assert np.abs(in_grey[:, :, 0] - expected @ [0.299, 0.587, 0.114]).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_profile_is_for_the_picture_and_not_for_the_background(kind: str) -> None:
    pixels = transparent()
    content = saved(Image.fromarray(pixels), kind, icc_profile=DISPLAY_P3)
    found = pixels_of(content, InputSpec(HEIGHT, WIDTH, background=BACKGROUND))
    expected = laid_over(to_srgb(pixels[:, :, :3] / 255, P3, None) * 255, pixels[:, :, 3], BACKGROUND)
    assert np.abs(found - expected).max() <= 3.5
    assert (found[:, 0] == BACKGROUND).all()


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_transparency_with_a_profile_at_another_size(fit: Any) -> None:
    """Resized with its transparency beside it, then converted, then laid over: as without a profile, where it is sRGB."""
    muted = np.dstack([ramps() // 2 + 64, transparent()[:, :, 3]])  # colours that sRGB has
    picture = Image.fromarray(muted).resize((400, 300))
    spec = InputSpec(32, 32, fit=fit, background=BACKGROUND)
    converted = Image.fromarray(np.rint(to_srgb(np.asarray(picture)[:, :, :3] / 255, P3, None) * 255).astype(np.uint8))
    converted.putalpha(picture.getchannel("A"))
    found = pixels_of(saved(picture, "PNG", icc_profile=DISPLAY_P3), spec).astype(int)
    difference = np.abs(found - pixels_of(saved(converted, "PNG"), spec).astype(int))
    assert difference.max() <= 8
    assert difference.mean() <= 0.6


def test_padding_is_black_with_a_profile_and_without() -> None:
    wide = Image.fromarray(transparent()).resize((200, 20))
    for options in ({}, {"icc_profile": DISPLAY_P3}):
        pixels = pixels_of(saved(wide, "PNG", **options), InputSpec(32, 32, fit="pad", background=BACKGROUND))
        assert (pixels[:10] == 0).all()
        assert (pixels[-10:] == 0).all()


# --- the manifest, and training -------------------------------------------------------------------------------------


def test_the_manifest_names_the_background(tmp_path: Path, write_model: Callable[..., Path]) -> None:
    version = write_model(tmp_path / "1", {"litert": ("model.tflite", b"x")})
    described = json.loads((version / "manifest.json").read_text())
    assert read_manifest(version).spec.background == (255, 255, 255)  # where it says nothing
    described["input"] = manifest_input(InputSpec(8, 8, background=(1, 2, 255)))
    assert described["input"]["background"] == "#0102ff"
    (version / "manifest.json").write_text(json.dumps(described))
    assert read_manifest(version).spec.background == (1, 2, 255)


@pytest.mark.parametrize("background", [(0, 0), (0, 0, 256), (-1, 0, 0)])
def test_a_background_that_is_no_colour_is_refused(background: Any) -> None:
    with pytest.raises(ValueError, match="background"):
        InputSpec(8, 8, background=background)


def test_training_sees_what_the_service_sees(tmp_path: Path) -> None:
    """Another background is another picture, in the cache of a training, too."""
    folder = tmp_path / "data"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(2):
            picture = Image.fromarray(transparent()).rotate(90 * number)
            picture.save(folder / label / f"{number}.png", icc_profile=DISPLAY_P3)
    listing = list_source(str(folder), "--data")
    files = sorted(folder.glob("*/*.png"))
    for background in ((255, 255, 255), BACKGROUND):
        spec = InputSpec(8, 8, background=background)
        images = read_contents(listing, np.arange(4), spec, None, cache=tmp_path / "cache").images
        served = {decode_rgb(file.read_bytes(), spec).tobytes() for file in files}
        assert {each.tobytes() for each in images} == served
