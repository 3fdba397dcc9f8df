"""`python -m benchmarks.collections`: which files it takes, what it counts, and that it finds what is wrong."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from benchmarks.collections import files, other, ours, pool, report
from benchmarks.collections.measure import Measured, Task, difference
from imagewarehouse.resources import REPOSITORY
from tests.pictures import noise, numbered
from tools.image_seeds import saved

CLEAN = other.Reading(True, "", 4, 4, 1)
GOOD = Measured("/x/good.jpg", "JPEG", "image/jpeg", "", "", 4, 4, CLEAN, 0.1)
REFUSED = Measured("/x/refused.jpg", "JPEG", "image/jpeg", "image.corrupt", "JPEG: bad", 0, 0, CLEAN)
FAR = replace(GOOD, path="/x/deep/far.jpg", difference=8.1)
FAR_FILE = files.File(Path(FAR.path), "JPEG", "image/jpeg")

needs_magick = pytest.mark.skipif(other.magick() is None, reason="needs ImageMagick (Debian: apt install imagemagick)")


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        pytest.param("a.JPG", b"\xff\xd8\xff\xe0", ("JPEG", "image/jpeg"), id="jpeg"),
        pytest.param("a.png", b"\xff\xd8\xff\xe0", ("JPEG", "image/png"), id="content-decides-suffix-declares"),
        pytest.param("a", b"GIF89a", ("GIF", "application/octet-stream"), id="no-suffix"),
        pytest.param("a.j2k", b"\xff\x4f\xff\x51", ("JPEG 2000", "image/x-jp2-codestream"), id="codestream"),
        pytest.param("a.heic", b"\0\0\0\x14ftypheic\0\0\0\0mif1", ("HEIC", "image/heic"), id="heic"),
        pytest.param("a.heic", b"\0\0\0\x14ftypmif1\0\0\0\0avif", ("AVIF", "image/heic"), id="avif-by-its-brands"),
        pytest.param("a.jpg", b"<html>", ("JPEG", "image/jpeg"), id="no-picture-in-spite-of-its-name"),
        pytest.param("a.svg", b"<svg>", ("other", "image/svg+xml"), id="svg"),
        pytest.param("a.bmp", b"BM" + b"\0" * 12 + b"\x28\0\0\0", ("BMP", "image/bmp"), id="bmp"),
        pytest.param("BMW", b"BMW builds cars, this is text", None, id="text-that-starts-as-a-bitmap"),
        pytest.param("a.txt", b"II* is a text", None, id="text-that-starts-almost-as-a-tiff"),
    ],
)
def test_a_file_is_what_its_content_says_and_declared_what_its_suffix_says(
    tmp_path: Path, name: str, head: bytes, expected: tuple[str, str] | None
) -> None:
    path = tmp_path / name
    path.write_bytes(head)
    found = files.look(path)
    assert (None if found is None else (found.format, found.declared)) == expected


def test_the_same_content_is_looked_at_once(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(noise(1))
    (tmp_path / "three.png").write_bytes(noise(2))
    assert [file.path.name for file in files.find([tmp_path])] == ["one.png", "three.png"]


def test_a_difference_is_the_mean_over_all_pixels_and_channels() -> None:
    black = np.zeros((700, 2000, 3), dtype=np.uint8)  # more than one band
    lines = black.copy()
    lines[-350:] = 255
    assert difference(black, lines) == 127.5
    assert difference(lines, black) == 127.5
    lines[-350:] = (3, 0, 0)
    assert difference(black, lines) == 0.5


def test_all_is_well_where_98_percent_are_accepted_and_nothing_differs() -> None:
    assert report.failures([GOOD] * 98 + [REFUSED] * 2, []) == []


def test_too_few_accepted_is_a_failure() -> None:
    (said,) = report.failures([GOOD] * 97 + [REFUSED] * 3, [])
    assert said == "97 of 100 accepted (97.0%), expected 98%"


@pytest.mark.parametrize(
    "uncounted",
    [
        pytest.param(replace(REFUSED, code="type.not_accepted"), id="type-not-on-the-list"),
        pytest.param(replace(REFUSED, other=replace(CLEAN, complaint="a warning")), id="the-other-warns"),
        pytest.param(replace(REFUSED, other=replace(CLEAN, reads=False)), id="the-other-reads-nothing"),
    ],
)
def test_what_is_refused_rightly_or_by_design_is_not_counted(uncounted: Measured) -> None:
    assert report.failures([GOOD, uncounted], []) == []
    assert "refused, though" not in report.text([GOOD, uncounted], [])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(FAR, id="pixels"),
        pytest.param(replace(FAR, difference=None, wrong="4 x 5, not 4 x 4"), id="size"),
        pytest.param(report.crashed(Task(FAR_FILE), RuntimeError("exit code -11")), id="crash"),
    ],
)
def test_a_difference_is_a_failure_unless_its_reason_is_stated(tmp_path: Path, wrong: Measured) -> None:
    (said,) = report.failures([GOOD, wrong], [])
    assert said.startswith("1 files differ")
    assert "NO REASON STATED" in report.text([GOOD, wrong], [])
    stated = tmp_path / "reasons.txt"
    stated.write_text("# a comment\n\ndeep/f*.jpg  the other one is wrong\n")
    reasons = report.read_reasons(stated)
    assert report.failures([GOOD, wrong], reasons) == []
    assert "/x/deep/far.jpg  the other one is wrong" in report.text([GOOD, wrong], reasons)
    assert report.failures([GOOD, replace(wrong, path="/x/deep/other.jpg")], reasons) != []


def test_a_reason_without_words_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reasons.txt"
    path.write_text("good.jpg  fine\nbad.jpg\n")
    with pytest.raises(ValueError, match=r"line 2: expected a glob and a reason"):
        report.read_reasons(path)


def test_the_reasons_that_are_shipped_can_be_read() -> None:
    assert all(reason.glob and reason.text for reason in report.read_reasons(report.REASONS))


def test_the_table_counts_by_format() -> None:
    unlisted = replace(REFUSED, format="JPEG XL", code="type.not_accepted")
    png = replace(GOOD, format="PNG", difference=3.0)
    lines = report.table([GOOD, FAR, REFUSED, png, unlisted]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["JPEG", "3", "0", "3", "2", "66.7%", "1", "4.10", "8.1", "1"],
        ["PNG", "1", "0", "1", "1", "100.0%", "0", "3.00", "3.0", "0"],
        ["JPEG", "XL", "1", "1", "0", "0", "-", "0", "-", "-", "0"],
        ["all", "5", "1", "4", "3", "75.0%", "1", "3.00", "8.1", "1"],
    ]


def half_or_crash(number: int) -> int:
    if number == 3:
        os._exit(7)
    return number // 2


def test_a_call_that_ends_its_process_costs_one_result() -> None:
    results = dict(pool.each(half_or_crash, range(8), processes=2, limit_s=60))
    assert str(results.pop(3)) == "exit code 7"
    assert results == {number: number // 2 for number in (0, 1, 2, 4, 5, 6, 7)}


def test_our_side_is_the_check_itself(tmp_path: Path) -> None:
    good, cut = tmp_path / "good.jpg", tmp_path / "cut.jpg"
    good.write_bytes(numbered(1))
    cut.write_bytes(numbered(1)[:-40])
    judged = ours.check(good, "image/jpeg")
    assert (judged.accepted, judged.width, judged.height, judged.format) == (True, 32, 32, "JPEG")
    assert ours.pixels(good, judged, 32, 32).shape == (32, 32, 3)
    assert ours.check(good, "image/svg+xml").code == "type.not_accepted"
    assert ours.check(cut, "image/jpeg").code == "image.truncated"


def bitmap(alpha: int) -> bytes:
    """A bitmap of 8 x 8 red pixels of 32 bits. The fourth byte means nothing there, but ImageMagick takes it for alpha."""
    pixels = bytes((0, 0, 255, alpha)) * 64
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 32, 0, len(pixels), 0, 0, 0, 0)
    return struct.pack("<2sIII", b"BM", 54 + len(pixels), 0, 54) + header + pixels


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.collections", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False, timeout=250)


@pytest.mark.long
@needs_magick
def test_the_command_finds_the_wrong_file_and_the_refused_one(tmp_path: Path) -> None:
    folder, results, stated = tmp_path / "pictures", tmp_path / "results.json", tmp_path / "reasons.txt"
    folder.mkdir()
    for number in range(60):
        (folder / f"good-{number}.jpg").write_bytes(numbered(number))
    (folder / "alpha.bmp").write_bytes(bitmap(alpha=60))
    (folder / "named-wrongly.png").write_bytes(numbered(99))
    stated.write_text("")

    done = run(folder, "--json", results, "--reasons", stated, "--cache", tmp_path / "cache")
    assert done.returncode == 1, done.stderr
    assert "FAILED 1 files differ by more than 8 levels, and no reason is stated" in done.stdout
    assert f"image.type_mismatch  {folder / 'named-wrongly.png'}" in done.stdout
    measured = {Path(result["path"]).name: result for result in json.loads(results.read_text())}
    assert len(measured) == 62
    # 255 - 60 of 255 shines through as white, in two of three channels.
    assert measured["alpha.bmp"]["difference"] == pytest.approx(130, abs=1)
    assert max(result["difference"] or 0 for name, result in measured.items() if name != "alpha.bmp") < 1

    stated.write_text("alpha.bmp the fourth byte of such a bitmap is no alpha\n")
    again = run(folder, "--json", results, "--reasons", stated, "--cache", tmp_path / "cache")
    assert again.returncode == 0, again.stdout + again.stderr
    assert {Path(result["path"]).name: result for result in json.loads(results.read_text())} == measured


@needs_magick
def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no image")
    done = run(tmp_path)
    assert done.returncode == 2
    assert "no image files there" in done.stderr


def red_picture(**how: object) -> bytes:
    """A PNG of 20 x 10 pixels, its left half red, its right half fully transparent."""
    image = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (10, 0, 20, 10))
    return saved(image, "PNG", **how)


def swapped_profile() -> bytes:
    """sRGB with the primaries red and green in one another's place."""
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return content.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)


@needs_magick
@pytest.mark.parametrize(
    ("how", "left"),
    [
        pytest.param({}, (255, 0, 0), id="over-white"),
        pytest.param({"icc_profile": swapped_profile()}, (0, 255, 0), id="in-srgb"),
    ],
)
def test_the_other_side_shows_srgb_over_white(
    tmp_path: Path, how: dict[str, bytes], left: tuple[int, int, int]
) -> None:
    path = tmp_path / "picture [1] 50%d.png"  # a name that ImageMagick would read something into
    path.write_bytes(red_picture(**how))
    picture = other.decode(path, "PNG")
    assert picture.reading.clean
    assert picture.pixels is not None
    assert picture.pixels.shape == (10, 20, 3)
    assert np.abs(picture.pixels[5, 5].astype(int) - left).max() <= 2
    assert picture.pixels[5, 15].tolist() == [255, 255, 255]


@needs_magick
def test_the_other_side_shows_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it right to see it
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    path = tmp_path / "picture.jpg"
    path.write_bytes(saved(image, "JPEG", exif=exif))
    picture = other.decode(path, "JPEG")
    assert (picture.reading.width, picture.reading.height) == (32, 16)
    assert picture.pixels is not None
    assert picture.pixels.shape == (32, 16, 3)
    assert picture.pixels[8].min() > 240  # what was left is now at the top
    assert picture.pixels[24].max() < 15


@needs_magick
def test_a_warning_and_a_failure_are_told_apart_from_a_clean_reading(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(numbered(1)[:-20])
    warned = other.decode(path, "JPEG").reading
    assert (warned.reads, warned.clean) == (True, False)
    assert "Premature end" in warned.complaint
    path.write_bytes(b"\xff\xd8\xff nothing")
    assert other.decode(path, "JPEG").reading.failed
