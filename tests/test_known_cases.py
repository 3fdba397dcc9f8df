"""Files that an earlier version got wrong, each with its right answer; most show one picture, whose mean is 107.3."""

from __future__ import annotations

import pytest

from imagewarehouse.errors import ImageRejected
from imagewarehouse.images.decoding import InputSpec, check_and_decode, decode_rgb
from imagewarehouse.images.formats import sniff
from imagewarehouse.limits import Limits
from imagewarehouse.resources import REPOSITORY

CASES = REPOSITORY.parent / "shared" / "cases"
SPEC = InputSpec(64, 96)

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the files lie beside the repository, in shared/cases")

ACCEPTED = {
    "jpg-extraneous-before-dqt.jpg": (96, 64, ("stray_bytes",), 107.3),
    "jpg-newline-after-eoi.jpg": (96, 64, ("padding",), 107.3),
    "jpg-zeros-after-eoi.jpg": (96, 64, ("padding",), 107.3),
    "p13.webp": (4160, 3120, (), 85.3),
    "png-2MB-ztext.png": (96, 64, (), 107.3),
    "png-exif-5528.png": (96, 64, ("unreadable_exif",), 107.3),
    "png-exif-literal-9078.png": (96, 64, ("unreadable_exif",), 107.3),
    "png-icc-1.5MB-2445.png": (96, 64, ("unreadable_profile",), 107.3),
    "png-rawprofile-bad.png": (96, 64, ("unreadable_exif",), 107.3),
    "samsung-seft.jpg": (96, 64, ("samsung_trailer",), 107.3),
    "tif-colormap8.tif": (64, 64, (), 107.3),
    "tif-grey12.tif": (64, 64, (), 114.3),
    "tif-planar16.tif": (64, 64, (), 107.3),
    "tif6.tif": (96, 64, (), 107.3),
    "webp-exif-garbage.webp": (96, 64, ("unreadable_exif",), 107.3),
}
REFUSED = {
    "bigtiff-offset-over-2-63.tif": ("image.truncated", "refers to byte"),
    "f32-65535.tif": ("image.unsupported", "floating-point samples"),
}


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_a_sound_file_is_accepted_and_its_pixels_are_right(name: str) -> None:
    width, height, notes, mean = ACCEPTED[name]
    content = (CASES / name).read_bytes()
    image_format = sniff(content)
    assert image_format is not None
    facts, decoded = check_and_decode(content, image_format, Limits(), SPEC)
    assert (facts.width, facts.height, facts.notes) == (width, height, notes)
    assert decoded is not None
    assert decoded.pixels.mean() == pytest.approx(mean, abs=1)
    assert decode_rgb(content, SPEC, image_format.name).mean() == decoded.pixels.mean()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_come_out_wrong_is_refused_with_its_reason(name: str) -> None:
    code, text = REFUSED[name]
    content = (CASES / name).read_bytes()
    image_format = sniff(content)
    assert image_format is not None
    with pytest.raises(ImageRejected, match=text) as refused:
        check_and_decode(content, image_format, Limits())
    assert refused.value.code == code


def test_every_file_is_in_the_lists() -> None:
    """The models and labels among them are the import's."""
    images = {path.name for path in CASES.iterdir() if path.suffix not in (".md", ".h5", ".txt")}
    assert images == {*ACCEPTED, *REFUSED}
