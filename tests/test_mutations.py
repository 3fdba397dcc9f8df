"""Damaged files of every format through the core: refused with a reason or decoded, and quickly, whatever they say.

`REGRESSIONS` keeps what was found once, small. The rest looks for more with the mutators of `tools.mutations`; a longer search,
through the real service, is `python -m benchmarks.mutated`.
"""

from __future__ import annotations

import struct
import time
import warnings
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imagewarehouse.errors import ImageRejected
from imagewarehouse.images.decoding import InputSpec, check_image, decode_rgb, gps_position
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.intake import IntakeRules, Request, check_access, check_content, check_request
from imagewarehouse.limits import Limits
from tests import hostile as h
from tools.heif_files import Coded, HeifFile, coded
from tools.image_fields import Field, fields, parts
from tools.image_seeds import seeds
from tools.mutations import MAX_PIXELS, edge_values, mutate, mutated, repaired, with_field

MAX_SECONDS = 1.0
SPECS = (InputSpec(32, 32), InputSpec(32, 32, colour_order="L"))

# Healthy files that Pillow does not decode: it takes a big-endian BigTIFF for a classic one.
REFUSED = "big-endian-bigtiff"

each_format = pytest.mark.parametrize("name", [each.name for each in FORMATS.values() if each.walk is not None])
# The same examples on every run: a new one that fails would stop whoever changes something else.
search = settings(
    max_examples=300,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def quickly(work: Callable[[], Any], most: float = MAX_SECONDS) -> Any:
    """What `work` gives, or the refusal that it raises; up to twice more where it was slow, as the machine may be busy."""
    best, result = float("inf"), None
    for _ in range(3):
        started = time.perf_counter()
        try:
            result = work()
        except ImageRejected as err:
            result = err
        best = min(best, time.perf_counter() - started)
        if best < most or best > 4 * most:  # fast enough, or too slow for that excuse
            break
    assert best < most, f"took {best:.1f} s"
    return result


def judge(content: bytes, name: str) -> ImageRejected | None:
    """One file on its way: intake as FilterImageRequest does it, then the decoder as ClassifyImage does it."""
    image_format = FORMATS[name]
    request = Request(size=len(content), declared_type=image_format.media_types[0], method="POST")
    rules = IntakeRules()

    def intake() -> None:
        check_access(request, rules)
        check_request(request, rules)
        check_content(request, content, rules)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it reads over
        found = quickly(lambda: check_image(content, image_format, Limits()))
        taken = quickly(intake)
        if not isinstance(found, ImageRejected):
            # A small file may announce a picture of 50 megapixels; its decoder may take longer, as for an honest one.
            small = found.width * found.height <= MAX_PIXELS
            for spec in SPECS:
                pixels = quickly(partial(decode_rgb, content, spec, name), MAX_SECONDS if small else 60)
                assert not isinstance(pixels, ImageRejected), f"accepted, but then: {pixels}"
                assert pixels.shape == (32, 32, spec.channels)
            gps_position(content, name)  # None or a position, and no error
    # The intake may refuse more: a file that does not begin as its format does.
    assert not (isinstance(found, ImageRejected) and taken is None), "refused by itself, but accepted by the intake"
    return taken


# --- what was found once --------------------------------------------------------------------------------------------

TURNED = (0x0112, h.SHORT, 1, 6)
"""An EXIF orientation: with it the picture is turned, and Pillow used to write the whole EXIF block anew."""

Entry = tuple[int, int, int, int]
"""Tag, kind, count, and the value or its place."""


def directory(*entries: Entry) -> bytes:
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + bytes(4)


def exif(*entries: Entry, inside: int = 0) -> bytes:
    """An EXIF block that turns the picture and has these entries: in its first directory, or in the one `inside` a tag."""
    head = b"II*\0" + struct.pack("<L", 8)
    if not inside:
        return head + directory(TURNED, *entries) + bytes(range(200, 240)) + bytes(8)
    first = directory(TURNED, (inside, h.LONG, 1, 8 + 2 + 2 * 12 + 4))
    return head + first + directory(*entries) + bytes(range(200, 240))


def jpeg(exif_block: bytes) -> bytes:
    # With a resolution: without one Pillow looks for it in the EXIF block, fails, and takes the block as read.
    return h.jpeg_with(h.saved(h.picture(), "JPEG", dpi=(72, 72)), h.segment(0xE1, b"Exif\0\0" + exif_block))


def webp(exif_block: bytes) -> bytes:
    return h.webp(h.vp8x(64, 48, flags=8), h.WEBP[12:], h.riff_chunk(b"EXIF", exif_block))


def png_with_exif_as_text(text: bytes) -> bytes:
    return h.small_png(h.chunk(b"tEXt", b"Raw profile type exif\0" + text))


def run_length(width: int, height: int, runs: bytes) -> bytes:
    return h.bmp(width, height, bits=8, compression=1, colours=2, palette=bytes(8), pixels=runs)


def heic_of_other_depths() -> bytes:
    """8-bit grey whose `hvcC` says 10 bits."""
    grey = coded("grey")
    settings = grey.settings[:17] + b"\xfa\xfa" + grey.settings[19:]
    file = HeifFile()
    return file.content(file.picture(Coded(grey.width, grey.height, settings, grey.data)))


def heic_with_media_type(media_type: bytes) -> bytes:
    file = HeifFile()
    picture = file.picture(coded("colour"))
    file.refer(b"cdsc", file.item(b"mime", b"<x/>", media_type=media_type), picture)
    return file.content(picture)


PHONE = next(seed.content for seed in seeds()["HEIF"] if seed.name == "from-a-phone")
NO_TIFF = b"XX*\0\x08\0\0\0"
GPS, EXIF = 0x8825, 0x8769

REGRESSIONS = [
    # OverflowError in the walker, so a request without an answer of ours and without a row
    pytest.param("TIFF", b"MM\0+\0\x08\0\0" + b"\xff" * 8, id="bigtiff-directory-beyond-63-bits"),
    pytest.param("TIFF", b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63), id="bigtiff-directory-at-63-bits"),
    # accepted, but not decoded afterwards, so a failed row: the EXIF block
    pytest.param("JPEG", jpeg(NO_TIFF), id="jpeg-exif-is-none"),
    pytest.param("PNG", h.small_png(h.chunk(b"eXIf", NO_TIFF)), id="png-exif-is-none"),
    pytest.param("WEBP", webp(NO_TIFF), id="webp-exif-is-none"),
    pytest.param("PNG", png_with_exif_as_text(b"\nexif\n       8\nxyz"), id="png-exif-as-text-is-no-hexadecimal"),
    pytest.param("JPEG", jpeg(exif((0x0100, 2, 3, 0x6162))), id="exif-text-for-a-number"),
    pytest.param("JPEG", jpeg(exif((0x011A, 2, 3, 0x6162))), id="exif-text-for-a-fraction"),
    pytest.param("JPEG", jpeg(exif((0x011A, 1, 3, 0x6162))), id="exif-bytes-for-a-fraction"),
    pytest.param("JPEG", jpeg(exif((0x02BC, 2, 3, 0x6162))), id="exif-text-for-bytes"),
    pytest.param("JPEG", jpeg(exif((0x010F, 5, 1, 38))), id="exif-fraction-for-a-text"),
    pytest.param("JPEG", jpeg(exif((0x010F, 11, 1, 0))), id="exif-float-for-a-text"),
    pytest.param("JPEG", jpeg(exif((0x9000, 5, 1, 78))), id="exif-fraction-without-value-for-bytes"),
    pytest.param("JPEG", jpeg(exif((0x9000, 11, 1, 0))), id="exif-float-for-bytes"),
    pytest.param("JPEG", jpeg(exif((0, 16, 1, 56), inside=EXIF)), id="exif-number-of-64-bits"),
    pytest.param("JPEG", jpeg(exif((0, 3, 1, 0xFFF0), inside=GPS)), id="gps-number-for-a-byte"),
    pytest.param("JPEG", jpeg(exif((1, 3, 2, 56), inside=GPS)), id="gps-two-numbers-for-a-text"),
    pytest.param("JPEG", jpeg(exif((2, 6, 1, 0xFFFFFFF0), inside=GPS)), id="gps-negative-number-for-a-fraction"),
    pytest.param("JPEG", jpeg(exif((2, 11, 1, 0xFFFFFFF0), inside=GPS)), id="gps-no-number-for-a-fraction"),
    pytest.param("PNG", h.small_png(h.chunk(b"eXIf", exif((0x0100, 2, 3, 0x6162)))), id="png-exif-text-for-a-number"),
    pytest.param("WEBP", webp(exif((0x0100, 2, 3, 0x6162))), id="webp-exif-text-for-a-number"),
    # accepted, but not decoded afterwards by a model that takes grey: Pillow makes only RGB of Lab
    pytest.param("TIFF", h.saved(Image.new("LAB", (8, 6)), "TIFF"), id="tiff-lab"),
    # The end of the process: pi-heif believes hvcC, and its decoder the parameter sets; and that names are text
    pytest.param("HEIF", heic_of_other_depths(), id="heic-grey-of-10-bits-outside-8-inside"),
    pytest.param("HEIF", PHONE.replace(b"Exif", b"\x80xif", 1), id="heic-item-type-that-is-no-text"),
    pytest.param("HEIF", heic_with_media_type(b"application/\xff"), id="heic-media-type-that-is-no-text"),
    # Seconds of work: Pillow reads run lengths in Python, and fills up a row one pixel a turn.
    pytest.param("BMP", run_length(20_000_000, 1, b"\1\0\0\0\0\1"), id="bmp-row-filled-up-to-its-end"),
    pytest.param("BMP", lambda: run_length(2, 50, b"\2\1" * 9_000_000 + b"\0\1"), id="bmp-runs-beyond-their-row"),
    pytest.param("BMP", lambda: run_length(2, 50, b"\0\0" * 9_000_000 + b"\0\1"), id="bmp-ends-of-rows-only"),
]


@pytest.mark.parametrize(("name", "content"), REGRESSIONS)
def test_files_that_once_broke_the_reader_are_judged(name: str, content: bytes | Callable[[], bytes]) -> None:
    judge(content if isinstance(content, bytes) else content(), name)


# --- the search -----------------------------------------------------------------------------------------------------


@each_format
@search
@given(data=st.data())
def test_damaged_files_are_refused_or_decoded(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(seeds()[name]))
    content = mutate(seed, Random(data.draw(st.integers(0, 2**32 - 1), label="state of the mutators")))
    judge(content, name)


@each_format
@search
@given(data=st.data())
def test_one_number_at_an_edge_is_refused_or_decoded(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(seeds()[name]))
    field = data.draw(st.sampled_from(fields(seed.content, name)))
    value = data.draw(st.sampled_from(edge_values(field, len(seed.content))))
    judge(repaired(with_field(seed.content, field, value), name), name)


# --- the mutators themselves ----------------------------------------------------------------------------------------


@each_format
def test_healthy_files_are_accepted(name: str) -> None:
    refused = [seed.name for seed in seeds()[name] if judge(seed.content, name) is not None]
    assert [each for each in refused if not each.startswith(REFUSED)] == []


@each_format
def test_repairing_a_healthy_file_changes_nothing(name: str) -> None:
    assert [seed.name for seed in seeds()[name] if repaired(seed.content, name) != seed.content] == []


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIF", "JPEG2000"])
def test_parts_of_a_healthy_file_lead_to_its_end(name: str) -> None:
    """A reader of the structure that lost its way would leave the mutators nothing but noise to make."""
    for seed in seeds()[name]:
        rest = seed.content[max(part.end for part in parts(seed.content, name)) :]
        if not seed.name.startswith("behind-"):  # those have parts of other kinds behind the picture
            # GIF's last byte, the padding of WebP, the last marker of a bare codestream
            assert rest in (b"", b";", b"\0", b"\xff\xd9"), seed.name


def test_the_same_number_gives_the_same_file() -> None:
    once, again = ([mutated(5, number).content for number in range(50)] for _ in range(2))
    assert once == again
    assert len(set(once)) > 45


def test_edge_values_fit_their_field() -> None:
    field = Field("length", at=10, size=2, order="big", base=6)
    values = edge_values(field, 1000)
    assert {0, 1, 2**15 - 1, 2**15, 2**16 - 1, 994, 993, 4, 6} <= set(values)
    assert all(0 <= value < 2**16 for value in values)
    assert with_field(bytes(14), field, -2)[10:] == b"\xff\xfe\0\0"
