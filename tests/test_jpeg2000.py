"""JPEG 2000, as JP2 and as a bare codestream: what is accepted, its pixels at every scale, and the notes of its record."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from imagewarehouse.errors import Corrupt, TooManyFrames, TooManyPixels, Truncated
from imagewarehouse.images import decoding
from imagewarehouse.images.decoding import InputSpec, check_image, decode_rgb
from imagewarehouse.images.formats import FORMATS, by_file_name, by_media_type, sniff
from imagewarehouse.images.walkers.jpeg2000 import levels_of, reduction
from imagewarehouse.intake import IntakeRules, Request, check_content, check_request
from imagewarehouse.limits import Limits
from tests.hostile_pieces import cod, codestream, qcd, siz, tile_part
from tools.image_seeds import _jp2_with_profile, _profile, saved

JPEG2000 = FORMATS["JPEG2000"]


def smooth(mode: str = "RGB", width: int = 300, height: int = 200) -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (10, 15, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height)).convert(mode)


def pixels_of(content: bytes, size: int = 32) -> np.ndarray:
    return decode_rgb(content, InputSpec(size, size), "JPEG2000").astype(int)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("bare", [False, True], ids=["jp2", "codestream"])
def test_every_mode_is_decoded_as_it_was_saved(mode: str, bare: bool) -> None:
    image = smooth(mode)
    content = saved(image, "JPEG2000", no_jp2=bare)
    found = check_image(content, JPEG2000, Limits())
    assert (found.format, found.width, found.height, found.color_mode) == ("JPEG2000", 300, 200, mode)
    assert (found.frames, found.notes) == (1, ())
    wanted = decode_rgb(saved(image, "PNG"), InputSpec(32, 32), "PNG").astype(int)
    assert np.abs(pixels_of(content) - wanted).mean() < 3


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"irreversible": True}, id="lossy-wavelet"),
        pytest.param({"quality_mode": "rates", "quality_layers": [20, 5]}, id="layers"),
        pytest.param({"tile_size": (64, 64)}, id="tiles"),
        pytest.param({"tile_size": (50, 30)}, id="tiles-that-cannot-be-halved-often"),
        pytest.param({"offset": (7, 5), "tile_offset": (2, 3), "tile_size": (128, 128)}, id="offset"),
        pytest.param({"num_resolutions": 1}, id="one-resolution"),
        pytest.param({"precinct_size": (64, 64), "codeblock_size": (16, 16)}, id="precincts"),
        pytest.param({"progression": "CPRL"}, id="by-component"),
    ],
)
def test_every_way_to_cut_a_picture_gives_the_same_pixels(options: dict[str, object]) -> None:
    image = smooth()
    content = saved(image, "JPEG2000", **options)
    assert (check_image(content, JPEG2000, Limits()).width, check_image(content, JPEG2000, Limits()).height) == (
        300,
        200,
    )
    wanted = decode_rgb(saved(image, "PNG"), InputSpec(32, 32), "PNG").astype(int)
    assert np.abs(pixels_of(content) - wanted).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (17, 5), (255, 257), (1023, 64), (64, 1025)])
def test_odd_sizes_are_decoded_at_every_scale(size: tuple[int, int]) -> None:
    content = saved(smooth("RGB", *size), "JPEG2000")
    for side in (1, 2, 8, 32, 200):
        pixels = decode_rgb(content, InputSpec(side, side), "JPEG2000")
        assert pixels.shape == (side, side, 3)


def test_a_large_picture_is_decoded_at_a_fraction_of_its_size() -> None:
    """A wavelet is a series of halves: a model of 32 x 32 needs only the first of them."""
    content = saved(smooth("RGB", 1600, 1200), "JPEG2000")
    with decoding.opened(content, "JPEG2000") as picture:
        assert picture.load(64).size == (200, 150)
    with Image.open(io.BytesIO(content)) as whole:
        wanted = np.asarray(whole.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(pixels_of(content) - wanted).mean() < 4


def test_how_often_a_picture_is_halved() -> None:
    assert reduction(8000, 6000, levels=5, side=448) == 3
    assert reduction(8000, 6000, levels=2, side=448) == 2
    assert reduction(8000, 6000, levels=5, side=4000) == 2  # the shorter side keeps 1024 pixels, and no more
    assert reduction(300, 200, levels=5, side=448) == 0
    assert levels_of(saved(smooth(), "JPEG2000")) == 5
    assert levels_of(saved(smooth(), "JPEG2000", num_resolutions=1)) == 0
    assert levels_of(saved(smooth(), "JPEG2000", tile_size=(72, 64))) == 3  # 72 can be halved three times


def test_the_least_levels_of_any_tile_count() -> None:
    """A tile may say for itself how it is coded; what it does not have cannot be left out."""
    own = tile_part(1)
    own = own[:12] + cod(levels=1) + own[12:]
    own = own[:6] + struct.pack(">I", len(own)) + own[10:]
    assert levels_of(codestream(siz(64, 32, tile=(32, 32)), cod(), qcd(), tile_part(0), own)) == 1


def test_grey_of_16_bits_keeps_its_upper_8() -> None:
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    content = saved(Image.fromarray(ramp), "JPEG2000")
    found = check_image(content, JPEG2000, Limits())
    assert found.color_mode.startswith("I;16")
    row = decode_rgb(content, InputSpec(64, 256, colour_order="L"), "JPEG2000")[32, :, 0].astype(int)
    assert np.abs(row - np.arange(256)).max() <= 3


def test_the_colour_profile_is_at_hand() -> None:
    content = _jp2_with_profile(saved(smooth(), "JPEG2000"))
    with decoding.opened(content, "JPEG2000") as picture:
        assert picture.image.info["icc_profile"] == _profile()


def test_streams_of_a_jpx_are_counted_and_the_first_is_decoded() -> None:
    first, second = (saved(smooth(mode), "JPEG2000") for mode in ("RGB", "L"))
    content = first + second[second.index(b"jp2c") - 4 :]
    assert check_image(content, JPEG2000, Limits()).frames == 2
    with pytest.raises(TooManyFrames):
        check_image(content, JPEG2000, Limits(max_frames=1))


def test_the_end_of_a_stream_of_unknown_length_is_found() -> None:
    content = saved(smooth(), "JPEG2000")
    at = content.index(b"jp2c") - 4
    assert check_image(content[:at] + bytes(4) + content[at + 4 :], JPEG2000, Limits()).width == 300
    with pytest.raises(Truncated):
        check_image(content[:at] + bytes(4) + content[at + 4 : -1], JPEG2000, Limits())


def test_tiles_that_are_missing_are_missed() -> None:
    with pytest.raises(Truncated, match="3 tiles of 4"):
        check_image(
            codestream(siz(64, 64, tile=(32, 32)), cod(), qcd(), *(tile_part(number) for number in range(3))),
            JPEG2000,
            Limits(),
        )


def test_both_sizes_of_a_jp2_agree() -> None:
    content = saved(smooth(), "JPEG2000")
    at = content.index(b"ihdr") + 4
    with pytest.raises(Corrupt, match="301 x 200 pixels outside, 300 x 200 inside"):
        check_image(content[:at] + struct.pack(">II", 200, 301) + content[at + 8 :], JPEG2000, Limits())


def test_memory_is_that_of_the_scale_at_which_it_is_decoded() -> None:
    def large(levels: int) -> bytes:
        return codestream(siz(6000, 6000, components=3), cod(levels=levels), qcd(levels), tile_part())

    with pytest.raises(TooManyPixels, match=r"6000 x 6000 pixels take 8\d\d MB to decode.*intake\.max\.memory"):
        check_image(large(0), JPEG2000, Limits())
    # with levels the header passes, and its empty tile is decoded at 1/32
    assert check_image(large(5), JPEG2000, Limits()).width == 6000


@pytest.mark.parametrize("declared", ["image/jp2", "image/jpx", "image/j2k", "image/x-jp2-codestream", "image/jph"])
def test_jpeg_2000_is_accepted_by_default(declared: str) -> None:
    content = saved(smooth(), "JPEG2000", no_jp2="j2" in declared and declared != "image/jp2")
    request = Request(size=len(content), declared_type=declared, method="POST")
    check_request(request, IntakeRules())
    assert check_content(request, content, IntakeRules()).facts.format == "JPEG2000"


def test_names_and_signatures_of_jpeg_2000() -> None:
    assert (
        by_file_name("a.JP2")
        is by_file_name("a.j2k")
        is by_file_name("a.jpc")
        is by_media_type("image/jp2")
        is JPEG2000
    )
    assert sniff(saved(smooth(), "JPEG2000")) is sniff(saved(smooth(), "JPEG2000", no_jp2=True)) is JPEG2000
