"""HEIC as phones write it: what is accepted, what the record says of it, and that its pixels are the right way up."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from imagewarehouse.errors import Corrupt, NoDecoder, TooManyFrames, Truncated, TypeNotAccepted
from imagewarehouse.images import decoding
from imagewarehouse.images.decoding import ImageFacts, InputSpec, check_image, decode_rgb, gps_position
from imagewarehouse.images.formats import FORMATS, by_file_name, by_media_type, sniff
from imagewarehouse.intake import IntakeRules, Request, check_content, check_request
from imagewarehouse.limits import Limits
from tools.heif_files import (
    ALPHA,
    DEPTH,
    GAIN_MAP,
    Coded,
    HeifFile,
    auxiliary,
    box,
    coded,
    crop,
    heic,
    heic_grid,
    mirror,
    profile,
    rotation,
)
from tools.image_seeds import _exif, _profile, seeds
from tools.trailer_seeds import TIME_OF_DAY, samsung

HEIF = FORMATS["HEIF"]
RED, LIME, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def facts(content: bytes, limits: Limits | None = None) -> ImageFacts:
    return check_image(content, HEIF, limits or Limits())


def corners(content: bytes, size: int = 8) -> list[tuple[int, ...]]:
    """The colours at the four corners, as a model gets them: top left, top right, bottom left, bottom right."""
    pixels = decode_rgb(content, InputSpec(size, size), "HEIF").astype(int)
    return [tuple(pixels[y, x]) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]


def assert_colours(found: list[tuple[int, ...]], *wanted: tuple[int, int, int]) -> None:
    for have, want in zip(found, wanted, strict=True):
        assert np.abs(np.subtract(have, want)).max() <= 8, (found, wanted)


def phone() -> tuple[HeifFile, int]:
    """A photo as a phone stores it: a grid, turned, with a thumbnail, maps of gain and depth, EXIF that says it again."""
    file = HeifFile()
    picture = file.grid(coded("quarters"), 3, 2, 150, 120, rotation(3), profile(_profile()))
    file.refer(b"thmb", file.picture(coded("colour")), picture)
    for kind in (GAIN_MAP, DEPTH):
        file.refer(b"auxl", file.picture(coded("grey"), auxiliary(kind)), picture)
    file.exif(_exif(orientation=6), picture)
    return file, picture


# --- the record -----------------------------------------------------------------------------------------------------


def test_a_photo_of_a_phone_is_one_picture_of_the_size_that_is_stored() -> None:
    file, picture = phone()
    found = facts(file.content(picture))
    assert (found.format, found.width, found.height, found.color_mode) == ("HEIF", 150, 120, "RGB")
    assert (found.frames, found.notes) == (1, ("gain_map", "depth_map"))


@pytest.mark.parametrize(
    ("name", "mode"),
    [("colour", "RGB"), ("colour-444", "RGB"), ("deep", "RGB"), ("deep-422", "RGB"), ("grey", "L"), ("alpha", "RGBA")],
)
def test_every_kind_of_pixels_is_decoded(name: str, mode: str) -> None:
    content = heic(name) if name != "alpha" else _alpha()
    found = facts(content)
    assert (found.width, found.height, found.color_mode) == (64, 64, mode)
    for order, channels in (("RGB", 3), ("L", 1)):
        pixels = decode_rgb(content, InputSpec(16, 16, colour_order=order), "HEIF")
        assert pixels.shape == (16, 16, channels)
        assert pixels.std() > 5  # a picture, not one colour


def _alpha() -> bytes:
    file = HeifFile()
    picture = file.picture(coded("colour"))
    file.refer(b"auxl", file.picture(coded("grey"), auxiliary(ALPHA)), picture)
    return file.content(picture)


def test_depth_of_10_bits_gives_the_same_pixels_as_8() -> None:
    shallow, deep = (decode_rgb(heic(name), InputSpec(64, 64), "HEIF").astype(int) for name in ("colour", "deep"))
    assert np.abs(shallow - deep).mean() < 8


def test_transparency_is_laid_over_white() -> None:
    file = HeifFile()
    picture = file.picture(coded("quarters"))
    file.refer(b"auxl", file.picture(coded("grey"), auxiliary(ALPHA)), picture)
    plain, over = (decode_rgb(content, InputSpec(64, 64), "HEIF").astype(int)
                   for content in (heic("quarters"), file.content(picture)))  # fmt: skip
    assert over[0, 0, 0] >= 247  # red stays red over white
    assert 100 < over[0, 0, 1] <= 255  # and takes of its green as much as is transparent
    assert plain[0, 0, 1] < 9


@pytest.mark.parametrize(
    ("properties", "stored", "wanted"),
    [
        pytest.param([], (64, 64), (RED, LIME, BLUE, YELLOW), id="as-it-is"),
        pytest.param([rotation(1)], (64, 64), (LIME, YELLOW, RED, BLUE), id="quarter-anticlockwise"),
        pytest.param([rotation(2)], (64, 64), (YELLOW, BLUE, LIME, RED), id="half"),
        pytest.param([rotation(3)], (64, 64), (BLUE, RED, YELLOW, LIME), id="quarter-clockwise"),
        pytest.param([mirror(0)], (64, 64), (BLUE, YELLOW, RED, LIME), id="upside-down"),
        pytest.param([mirror(1)], (64, 64), (LIME, RED, YELLOW, BLUE), id="left-for-right"),
        pytest.param([crop(64, 32)], (64, 32), (RED, LIME, BLUE, YELLOW), id="cropped"),
        pytest.param([crop(64, 32), rotation(1)], (64, 32), (LIME, YELLOW, RED, BLUE), id="cropped-and-turned"),
        pytest.param([crop(32, 20, -16, -20)], (32, 20), (RED, RED, RED, RED), id="cropped-to-a-quarter"),
    ],
)
def test_turns_are_done_once_and_the_record_has_the_size_before_them(
    properties: list[bytes], stored: tuple[int, int], wanted: tuple[tuple[int, int, int], ...]
) -> None:
    content = heic("quarters", *properties)
    found = facts(content)
    assert (found.width, found.height) == stored
    assert_colours(corners(content), *wanted)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_orientation_in_exif_turns_nothing(orientation: int) -> None:
    """libheif turns by the file's own boxes; phones say the same once more in EXIF."""
    file = HeifFile()
    picture = file.picture(coded("quarters"), rotation(3))
    file.exif(_exif(orientation=orientation), picture)
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    file.xmp(xmp, picture)
    assert_colours(corners(file.content(picture)), BLUE, RED, YELLOW, LIME)


def test_the_tiles_of_a_grid_stand_where_they_belong() -> None:
    pixels = decode_rgb(heic_grid("quarters", 2, 2, 128, 128), InputSpec(128, 128), "HEIF").astype(int)
    for y, x in ((8, 8), (8, 72), (72, 8), (72, 72)):  # each tile has its four colours
        found = [tuple(pixels[y + down, x + across]) for down, across in ((0, 0), (0, 40), (40, 0), (40, 40))]
        assert_colours(found, RED, LIME, BLUE, YELLOW)


def test_the_primary_picture_is_decoded_and_others_are_counted() -> None:
    file = HeifFile(b"mif1")
    file.picture(coded("grey"))
    second = file.picture(coded("quarters"))
    content = file.content(second)
    assert facts(content).frames == 2
    assert_colours(corners(content), RED, LIME, BLUE, YELLOW)
    with pytest.raises(TooManyFrames):
        facts(content, Limits(max_frames=1))


def test_the_position_is_read_from_exif() -> None:
    file, picture = phone()
    latitude, longitude = gps_position(file.content(picture), "HEIF") or (0.0, 0.0)
    assert (round(latitude, 2), round(longitude, 2)) == (48.86, 2.29)


def test_the_colour_profile_is_at_hand() -> None:
    file, picture = phone()
    with decoding.opened(file.content(picture), "HEIF") as opened:
        assert opened.image.info["icc_profile"] == _profile()


def test_picture_data_may_lie_in_meta() -> None:
    file = HeifFile()
    assert_colours(corners(file.content(file.picture(coded("quarters")), in_meta=True)), RED, LIME, BLUE, YELLOW)


@pytest.mark.parametrize(
    ("extra", "note"),
    [(box(b"mpvd", box(b"ftyp", b"isom", bytes(4)), bytes(50)), "motion_photo"), (box(b"moov"), "image_sequence")],
    ids=["film-of-a-motion-photo", "sequence-beside-the-still-picture"],
)
def test_what_stands_beside_the_picture_is_noted(extra: bytes, note: str) -> None:
    found = facts(heic("quarters") + extra)
    assert (found.frames, found.notes) == (1, (note,))


def test_a_film_box_with_something_else_in_it_is_refused() -> None:
    with pytest.raises(Corrupt):
        facts(heic("quarters") + box(b"mpvd", b"<script>alert(1)</script>"))


def test_a_primary_item_that_belongs_to_another_one_is_refused() -> None:
    """The plugin would open the other one."""
    file = HeifFile()
    first = file.picture(coded("quarters"))
    thumbnail = file.picture(coded("grey"))
    file.refer(b"thmb", thumbnail, first)
    with pytest.raises(Corrupt, match="no picture that stands by itself"):
        facts(file.content(thumbnail))


def test_every_piece_of_a_grid_has_to_be_there() -> None:
    """libheif leaves a tile that is missing blank, and says nothing."""
    content = heic_grid("quarters", 2, 2, 128, 128)
    data = coded("quarters").data
    last = content.rindex(data)
    with pytest.raises((Corrupt, Truncated)):
        facts(content[:last] + bytes(len(data)))


# --- the intake -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["image/heic", "image/heif", "image/HEIC; x=1"])
def test_heic_is_accepted_by_default(declared: str) -> None:
    content = heic("colour")
    request = Request(size=len(content), declared_type=declared, method="POST")
    check_request(request, IntakeRules())
    assert check_content(request, content, IntakeRules()).facts.format == "HEIF"


def test_names_and_brands_of_heif() -> None:
    assert by_file_name("IMG_0001.HEIC") is by_file_name("a.hif") is by_media_type("image/heif") is HEIF
    for brand in (b"heic", b"heix", b"mif1", b"hevc", b"msf1"):
        assert sniff(box(b"ftyp", brand, bytes(4), brand)) is HEIF
    assert sniff(box(b"ftyp", b"mif1", bytes(4), b"avif")) is FORMATS["AVIF"]


# --- without its decoder --------------------------------------------------------------------------------------------

_WITHOUT = """
import importlib.abc, sys

class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pi_heif", "_pi_heif"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
from imagewarehouse.errors import ImageRejected
from imagewarehouse.images.decoding import can_decode, check_image
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.limits import Limits
from tools.image_seeds import seeds

for name in ("HEIF", "JPEG"):
    try:
        check_image(seeds()[name][0].content, FORMATS[name], Limits())
        print(name, "decoded", can_decode(FORMATS[name]))
    except ImageRejected as err:
        print(name, err.code, err.http_status, err)
"""


def test_without_its_decoder_everything_else_runs_and_the_answer_says_how_to_get_it() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    heif, jpeg = done.stdout.splitlines()
    assert jpeg == "JPEG decoded True"
    assert heif.startswith("HEIF image.no_decoder 415 no decoder for HEIF (image/heic) here: install pi-heif-decoder")


def test_a_format_without_a_decoder_is_refused_by_its_name() -> None:
    with pytest.raises(NoDecoder, match=r"no decoder for JXL \(image/jxl\) here"):
        check_image(b"\xff\x0a", FORMATS["JXL"], Limits())


def test_samsung_blocks_stand_in_a_box_of_their_own() -> None:
    content = heic("quarters")
    blocks = samsung(TIME_OF_DAY)
    assert facts(content + box(b"sefd", blocks)).notes == ("samsung_trailer",)
    for other in (b"", b"<script>", blocks[:-1], b"\0" + blocks, blocks + b"\0"):
        with pytest.raises(Corrupt):
            facts(content + box(b"sefd", other))


def with_layers(times: int) -> bytes:
    """The picture, and as often the same as a further layer of it."""
    one = coded("colour")
    layers, pos = b"", 0
    while pos < len(one.data):
        length = int.from_bytes(one.data[pos : pos + 4], "big")
        unit = one.data[pos : pos + 4 + length]
        layers += unit[:5] + bytes((unit[5] | 1 << 3,)) + unit[6:]
        pos += 4 + length
    file = HeifFile()
    return file.content(file.picture(Coded(one.width, one.height, one.settings, one.data + layers * times)))


def test_further_layers_of_a_picture_are_passed_over() -> None:
    assert facts(with_layers(1)).frames == 1
    assert (
        decode_rgb(with_layers(1), InputSpec(16, 16), "HEIF") == decode_rgb(heic("colour"), InputSpec(16, 16), "HEIF")
    ).all()


def test_many_layers_cost_no_more_than_reading_them() -> None:
    content = with_layers(1000)
    started = time.process_time()
    decode_rgb(content, InputSpec(16, 16), "HEIF")
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("accepted", [True, False])
def test_any_heif_file_may_be_declared_as_heif(accepted: bool) -> None:
    """That is the container's name; an AVIF file is one, too, where AVIF is accepted."""
    content = next(iter(seeds()["AVIF"])).content
    rules = IntakeRules() if accepted else IntakeRules(media_types=("image/heic",))
    request = Request(len(content), "image/heif", "POST", "a.heif", part=1, parts=1, synchronous=True)
    check_request(request, rules)
    if accepted:
        assert check_content(request, content, rules).facts.format == "AVIF"
    else:
        with pytest.raises(TypeNotAccepted):
            check_content(request, content, rules)
