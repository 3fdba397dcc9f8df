"""What phones and cameras put behind a picture: accepted, followed to its end, and told in the notes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagewarehouse.errors import ImageRejected, TrailingData, Truncated
from imagewarehouse.images.decoding import InputSpec, check_image, decode_rgb
from imagewarehouse.images.formats import sniff
from imagewarehouse.images.walkers import trailers
from imagewarehouse.images.walkers.jpeg import ScanEnds
from imagewarehouse.limits import Limits
from tests import hostile as h
from tests.test_mutations import judge, search
from tools import trailer_seeds as behind
from tools.trailer_seeds import IPTC, of_photo_mechanic, part_of_fotostation

SMALL = h.saved(h.picture(width=24, height=16), "JPEG")
FILM = behind.film()
TIME = behind.TIME_OF_DAY
SPEC = InputSpec(32, 32)
LARGE = h.saved(h.picture(width=400, height=300), "JPEG")  # beyond the length up to which regular expressions search it


def notes_of(content: bytes, limits: Limits | None = None) -> tuple[str, ...]:
    found = sniff(content)
    assert found is not None
    return check_image(content, found, limits or Limits()).notes


def preview_in_exif(length: int) -> bytes:
    """EXIF with a maker's note of 28 bytes, in which the length of a preview stands."""
    note = b"MAKER\0\0\0" + struct.pack("<HHHII", 1, 0x0104, 4, 1, length) + bytes(4)
    exif = struct.pack("<4sIHHHIIIHHHIII", b"II*\0", 8, 1, 0x8769, 4, 1, 26, 0, 1, 0x927C, 7, len(note), 44, 0) + note
    return behind.segment(0xE1, b"Exif\0\0" + exif)


def preview_of_minolta() -> bytes:
    """Its first byte is another one, and a few bytes stand behind its end."""
    at = SMALL.index(b"\xff\xdb")  # without JFIF, as there
    preview = b"\0\xd8" + SMALL[at:] + bytes(5)
    return behind.with_segments(h.JPEG, preview_in_exif(len(preview))) + bytes(300) + preview


TRAILERS = {
    "photo-mechanic": (h.JPEG + of_photo_mechanic(IPTC), ["editor_trailer"]),
    "fotostation": (
        h.JPEG + b"".join(part_of_fotostation(*part) for part in ((4, SMALL), (3, SMALL), (1, IPTC), (2, bytes(40)))),
        ["editor_trailer"],
    ),
    "padding-and-fotostation": (h.JPEG + bytes(70) + part_of_fotostation(1, IPTC), ["editor_trailer", "padding"]),
    "preview-of-minolta": (preview_of_minolta(), ["padding", "preview"]),
    "mpo": (behind.with_index(h.JPEG, h.JPEG), ["mpf"]),
    "mpo-of-three": (behind.with_index(h.JPEG, SMALL, h.PROGRESSIVE), ["mpf"]),
    "mpo-with-padding": (behind.with_index(h.JPEG, bytes(3000) + h.JPEG) + b"\xff" * 99, ["padding", "mpf"]),
    "mpo-whose-index-is-old": (behind.with_segments(behind.with_index(h.JPEG, h.JPEG), behind.xmp(b"edited")), ["mpf"]),
    "large-mpo": (behind.with_index(LARGE, LARGE, LARGE), ["mpf"]),
    "ultra-hdr": (behind.with_index(h.JPEG, behind.gain_map(SMALL)), ["mpf", "gain_map"]),
    "gain-map-without-index": (h.JPEG + behind.gain_map(SMALL), ["gain_map"]),
    "depth-map-of-a-container": (
        behind.with_segments(h.JPEG, behind.container(("image/jpeg", "Primary", 0), ("image/jpeg", "Depth", len(SMALL))))
        + SMALL,
        ["second_picture"],
    ),
    "motion-photo": (
        behind.with_segments(h.JPEG, behind.container(("image/jpeg", "Primary", 0), ("video/mp4", "MotionPhoto", len(FILM))))
        + FILM,
        ["motion_photo"],
    ),
    "motion-photo-without-xmp": (h.JPEG + FILM, ["motion_photo"]),
    "motion-photo-behind-zeros": (h.JPEG + bytes(64) + FILM, ["padding", "motion_photo"]),
    "motion-photo-in-64-bits": (
        h.JPEG + FILM + struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + bytes(50) + behind.box(b"free", bytes(100)),
        ["motion_photo"],
    ),
    "motion-photo-with-gain-map": (
        behind.with_index(h.JPEG, behind.gain_map(SMALL)) + FILM, ["mpf", "gain_map", "motion_photo"]
    ),
    "quicktime": (h.JPEG + behind.film(brand=b"qt  "), ["motion_photo"]),
    "samsung": (h.JPEG + behind.samsung(TIME), ["samsung_trailer"]),
    "samsung-without-blocks": (h.JPEG + behind.samsung(), ["samsung_trailer"]),
    "samsung-motion-photo": (
        h.JPEG + behind.samsung(TIME, (0x0A30, b"MotionPhoto_Data", FILM)), ["samsung_trailer", "motion_photo"]
    ),
    "samsung-with-padding": (h.JPEG + behind.samsung(TIME) + bytes(100), ["samsung_trailer", "padding"]),
    "samsung-behind-gain-map": (
        behind.with_index(h.JPEG, behind.gain_map(SMALL)) + behind.samsung(TIME), ["samsung_trailer", "mpf", "gain_map"]
    ),
    "samsung-sound": (
        h.JPEG + behind.samsung((0x0100, b"SoundShot_000", bytes(range(90))))
        + struct.pack("<4s5I4s2s", b"QDIO", 101, 1, 0, 90, 20, b"QDIO", b"BS"),
        ["samsung_trailer"],
    ),
    "samsung-behind-png": (h.PNG + behind.samsung(TIME), ["samsung_trailer"]),
    "preview": (behind.with_segments(h.JPEG, preview_in_exif(len(SMALL))) + SMALL, ["preview"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAILERS)
def test_what_a_phone_writes_is_accepted_with_its_notes(name: str) -> None:
    content, expected = TRAILERS[name]
    assert list(notes_of(content)) == expected


@pytest.mark.parametrize("name", TRAILERS)
def test_the_first_picture_is_decoded(name: str) -> None:
    content, _ = TRAILERS[name]
    found = sniff(content)
    assert found is not None
    first = LARGE if "large" in name else h.PNG if "png" in name else h.JPEG
    facts = check_image(content, found, Limits(max_frames=1))
    assert (facts.frames, facts.width, facts.height) == (1, *Image.open(io.BytesIO(first)).size)
    assert np.array_equal(decode_rgb(content, SPEC, found.name), decode_rgb(first, SPEC, found.name))


@pytest.mark.parametrize("name", ["mpo", "ultra-hdr", "motion-photo", "samsung", "samsung-motion-photo", "preview"])
def test_no_cut_inside_a_trailer_is_accepted(name: str) -> None:
    content, _ = TRAILERS[name]
    start = content.index(h.JPEG[-40:]) + 40  # where the first picture ends
    accepted = []
    for cut in range(start + 1, len(content), 1 + (len(content) - start) // 500):
        try:
            accepted.append((cut, notes_of(content[:cut])))
        except TrailingData:
            continue
    # One zero, and no more, is padding: what a film and Samsung's blocks begin with.
    assert [(cut, notes) for cut, notes in accepted if cut > start + 3] == []
    assert {notes for _, notes in accepted} <= {("padding",)}


@pytest.mark.parametrize(
    "padding",
    [b"\0", bytes(500), b"\xff" * 4096, b"\n", b"\r\n", b"\r\n" * 30, b" " * 10, b"\x1a" * 128, bytes(1 << 20)],
    ids=["a-zero", "zeros", "ones", "line", "dos-line", "dos-lines", "spaces", "ends-of-dos-files", "a-megabyte"],
)
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"])
def test_padding_is_accepted(name: str, padding: bytes) -> None:
    _, content = h.HEALTHY[name]
    notes = notes_of(content + padding)
    # TIFF and BMP count some bytes that align them as their own, WebP the one behind an odd length.
    assert notes == ("padding",) or (len(padding) <= 2 and notes == ())


@pytest.mark.parametrize("name", ["jpg-zeros-after-eoi.jpg", "jpg-newline-after-eoi.jpg", "samsung-seft.jpg"])
def test_files_that_were_refused_are_accepted(name: str) -> None:
    path = Path(__file__).parents[1] / ".." / "shared" / "cases" / name
    if not path.exists():
        pytest.skip("the cases are not here")
    assert notes_of(path.read_bytes()) == (("samsung_trailer",) if "samsung" in name else ("padding",))


def test_what_is_not_understood_is_noted_where_the_operator_lets_it_pass() -> None:
    limits = Limits(allow_trailing_data=True)
    assert notes_of(h.JPEG + h.ZIP, limits) == ("trailing_data",)
    assert notes_of(behind.with_index(h.JPEG, h.JPEG)[:-50], limits) == ("trailing_data",)
    assert notes_of(h.JPEG, limits) == ()


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(of_photo_mechanic(b"<script>"), id="photo-mechanic-of-a-script"),
        pytest.param(of_photo_mechanic(IPTC + b"<script>"), id="photo-mechanic-with-a-script"),
        pytest.param(of_photo_mechanic(b"\x1c\2\x78\0\x08<script>"), id="photo-mechanic-with-a-script-in-a-record"),
        pytest.param(IPTC + b"\x7f\xff\xff\xffcbipcbbl", id="photo-mechanic-longer-than-the-file"),
        pytest.param(b"xy" + of_photo_mechanic(IPTC), id="bytes-in-front-of-photo-mechanic"),
        pytest.param(part_of_fotostation(1, b"<script>"), id="fotostation-of-a-script"),
        pytest.param(part_of_fotostation(2, bytes(300)), id="fotostation-with-large-settings"),
        pytest.param(part_of_fotostation(4, SMALL + b"x"), id="fotostation-with-bytes-behind-its-picture"),
        pytest.param(part_of_fotostation(4, SMALL[:-2]), id="fotostation-with-half-a-picture"),
        pytest.param(part_of_fotostation(9, IPTC), id="fotostation-of-an-unknown-type"),
        pytest.param(part_of_fotostation(1, IPTC) * 11, id="fotostation-of-11-parts"),
        pytest.param(struct.pack(">HI", 1, 0) + b"\xa1\xb2\xc3\xd4", id="fotostation-of-no-bytes"),
        pytest.param(preview_of_minolta()[-400:], id="preview-of-which-nothing-speaks"),
    ],
)
def test_an_editors_trailer_that_is_none_is_refused(trailer: bytes) -> None:
    with pytest.raises(TrailingData):
        notes_of(h.JPEG + trailer)


def test_a_second_picture_that_nothing_names_is_refused() -> None:
    for second in (h.JPEG, SMALL, LARGE):
        with pytest.raises(TrailingData):
            notes_of(h.JPEG + second)
    with pytest.raises(TrailingData):  # the maker's note speaks of another length
        notes_of(behind.with_segments(h.JPEG, preview_in_exif(len(SMALL) + 1)) + SMALL)


def test_an_index_of_pictures_that_are_gone_is_no_reason() -> None:
    whole = behind.with_index(h.JPEG, SMALL)
    assert notes_of(whole[: -len(SMALL)]) == ()
    broken = behind.with_segments(h.JPEG, behind.segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"))
    assert notes_of(broken) == ()
    assert decode_rgb(broken, SPEC, "JPEG").shape == (32, 32, 3)


@pytest.mark.parametrize("at", [0, 1, 20, -4, -22, -30_000, -65_557])
def test_a_film_in_which_a_zip_reader_finds_its_end_is_refused(at: int) -> None:
    data = bytearray(100_000)
    place = at % len(data)
    data[place : place + 4] = b"PK\5\6"
    content = h.JPEG + behind.film(bytes(data[: len(data)]))
    reach = len(content) - content.index(b"PK\5\6")
    if reach <= 65_535 + 22:
        with pytest.raises(TrailingData):
            notes_of(content)
    else:
        assert notes_of(content) == ("motion_photo",)


# --- between the segments of a JPEG -------------------------------------------------------------------------------


@pytest.mark.parametrize("stray", [b"\0", b"ab", b"\xff\0", b"\1\xff\0\2", b"x" * 4000])
@pytest.mark.parametrize("place", ["before-the-tables", "before-the-scan", "before-the-end"])
def test_stray_bytes_between_segments_are_stepped_over(stray: bytes, place: str) -> None:
    marker = {"before-the-tables": b"\xff\xdb", "before-the-scan": b"\xff\xda", "before-the-end": b"\xff\xd9"}[place]
    at = h.JPEG.index(marker) if place != "before-the-end" else len(h.JPEG) - 2
    before = h.JPEG[:at] + (behind.segment(0xFE, b"c") if place == "before-the-end" else b"")
    content = before + stray + h.JPEG[at:]
    assert notes_of(content) == ("stray_bytes",)
    assert np.array_equal(decode_rgb(content, SPEC, "JPEG"), decode_rgb(h.JPEG, SPEC, "JPEG"))


def test_a_picture_without_its_end_stays_refused() -> None:
    """libjpeg warns of "premature end", and nothing tells a picture that is all there from one that was cut off."""
    for content in (h.JPEG[:-2], h.PROGRESSIVE[:-2], h.JPEG[:-1]):
        with pytest.raises(Truncated):
            notes_of(content)


# --- how far it looks ---------------------------------------------------------------------------------------------


def test_ends_of_scans_are_found_across_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagewarehouse.images.walkers.jpeg._JPEG_STRETCH", 1000)
    data = bytearray(np.random.default_rng(5).integers(0, 255, 20_000, dtype=np.uint8).tobytes())  # no 0xFF
    places = [0, 999, 1001, 4321, 7998, 8000, 8999, 19_998]
    for place in places:
        data[place : place + 2] = b"\xff\xd9"
    ends = ScanEnds(bytes(data))
    assert [ends.behind(place) for place in places] == places
    assert ends.behind(19_999) == -1
    ends = ScanEnds(bytes(data))
    assert [ends.behind(place + 1) for place in places[:-1]] == places[1:]


@search
@given(st.data())
def test_any_parts_behind_a_picture_are_judged(data: st.DataObject) -> None:
    """Known parts in any order, some of them damaged: an answer, and at once."""
    pieces = [
        FILM,
        SMALL,
        behind.gain_map(SMALL),
        behind.samsung(TIME),
        bytes(30),
        b"\xff" * 9,
        h.ZIP,
        b"SEFT",
        b"\r\n",
    ]
    content = data.draw(st.sampled_from([h.JPEG, behind.with_index(h.JPEG, SMALL), h.PNG]))
    for _ in range(data.draw(st.integers(1, 5))):
        piece = bytearray(data.draw(st.sampled_from(pieces)))
        for _ in range(data.draw(st.integers(0, 2))):
            piece[data.draw(st.integers(0, len(piece) - 1))] = data.draw(st.integers(0, 255))
        content += bytes(piece[: data.draw(st.integers(0, len(piece)) | st.just(len(piece)))])
    found = sniff(content)
    assert found is not None
    refusal = judge(content, found.name)
    assert refusal is None or isinstance(refusal, ImageRejected)
    if content.endswith(h.ZIP):
        assert isinstance(refusal, TrailingData)


def test_parts_are_counted() -> None:
    content = behind.with_index(h.JPEG, *[SMALL] * (trailers._MAX_PARTS))
    assert notes_of(content) == ("mpf",)
    with pytest.raises(TrailingData):
        notes_of(content + SMALL)
