"""EXIF, colour profiles, text and whatever else stands beside the pixels: where it cannot be read, the pixels still are."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from imagewarehouse.errors import Corrupt
from imagewarehouse.images.decoding import InputSpec, check_image, decode_rgb, gps_position
from imagewarehouse.images.formats import sniff
from imagewarehouse.images.metadata_blocks import MAX_PROFILE
from imagewarehouse.limits import Limits
from tests import hostile as h
from tests.hostile_pictures import text_bomb
from tests.test_bad_input import MAX_GROWTH_MB, resident_mb
from tests.test_judging import EXIF
from tests.test_mutations import judge, quickly, search
from tests.test_trailers import TRAILERS
from tools.image_seeds import seeds

Content = bytes | Callable[[], bytes]
SPEC = InputSpec(32, 32)
SEEDS = {seed.format + " " + seed.name: seed.content for each in seeds().values() for seed in each}
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NO_EXIF, NO_PROFILE, NO_TEXT, OTHER = (
    ("unreadable_exif",),
    ("unreadable_profile",),
    ("unreadable_text",),
    ("unreadable_metadata",),
)


def png(*chunks: bytes, behind: bytes = b"") -> bytes:
    """The picture of `h.PNG` with chunks in front of its pixels and behind them."""
    return h.PNG[:33] + b"".join(chunks) + h.PNG[33:-12] + behind + h.PNG[-12:]


def icc(profile: bytes, name: bytes = b"p", method: bytes = b"\0") -> bytes:
    return h.chunk(b"iCCP", name + b"\0" + method + zlib.compress(profile))


def large_profile(length: int) -> bytes:
    """A profile that is so long because of a tag that nobody knows."""
    return struct.pack(">I", length) + PROFILE[4:] + np.random.default_rng(2).bytes(length - len(PROFILE))


def jpeg(*segments: bytes) -> bytes:
    return h.jpeg_with(h.JPEG, b"".join(segments))


def jpeg_profile(*pieces: tuple[int, int, bytes]) -> bytes:
    return b"".join(h.segment(0xE2, b"ICC_PROFILE\0" + bytes((number, of)) + data) for number, of, data in pieces)


def webp(flags: int, kind: bytes, data: bytes) -> bytes:
    return h.webp(
        h.vp8x(64, 48, flags=flags), *((h.riff_chunk(kind, data), h.WEBP[12:])[:: 1 if kind == b"ICCP" else -1])
    )


def outside(name: str, tag: int) -> bytes:
    """A TIFF among the seeds whose values of a tag of the first page lie far outside the file."""
    content = bytearray(SEEDS["TIFF " + name])
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    (place,) = (p for p in range(at + 2, at + 2 + 12 * entries, 12) if struct.unpack_from("<H", content, p)[0] == tag)
    struct.pack_into("<HII", content, place + 2, 7, 5000, 0x7FFFFFF0)
    return bytes(content)


def exif_directory_outside(name: str, tag: int) -> bytes:
    content = bytearray(SEEDS["TIFF " + name])
    at = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
    struct.pack_into("<I", content, at, len(content) - 1)
    return bytes(content)


def avif(damage: Callable[[bytes, int], bytes]) -> bytes:
    content = SEEDS["AVIF exif"]
    return damage(content, content.index(b"II*\0"))


BROKEN: dict[str, tuple[Content, str, tuple[str, ...]]] = {
    # --- PNG
    **{f"png-exif-{number}": (png(h.chunk(b"eXIf", block)), "PNG", NO_EXIF) for number, block in enumerate(EXIF)},
    "png-exif-behind": (png(behind=h.chunk(b"eXIf", b"none")), "PNG", NO_EXIF),
    "png-exif-as-text": (png(h.chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 12\nno hex")), "PNG", NO_EXIF),
    "png-exif-as-zipped-text": (
        png(h.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 12\nno hex"))), "PNG", NO_EXIF),
    "png-text-not-zlib": (png(h.chunk(b"zTXt", b"Comment\0\0no zlib")), "PNG", NO_TEXT),
    "png-text-of-unknown-compression": (png(h.chunk(b"zTXt", b"Comment\0\7" + zlib.compress(b"a"))), "PNG", NO_TEXT),
    "png-text-of-half-a-stream": (png(h.chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 99)[:-9])), "PNG", NO_TEXT),
    "png-text-checksum": (png(h.chunk(b"tEXt", b"a\0b", crc=1)), "PNG", NO_TEXT),
    "png-text-checksum-behind": (png(behind=h.chunk(b"tEXt", b"a\0b", crc=1)), "PNG", NO_TEXT),
    "png-text-bomb": (lambda: png(h.chunk(b"zTXt", b"Comment\0\0" + text_bomb())), "PNG", NO_TEXT),
    "png-text-bomb-behind": (lambda: png(behind=h.chunk(b"zTXt", b"a\0\0" + text_bomb())), "PNG", NO_TEXT),
    "png-unicode-text-bomb": (lambda: png(h.chunk(b"iTXt", b"a\0\1\0\0\0" + text_bomb())), "PNG", NO_TEXT),
    "png-xmp-bomb": (lambda: png(h.chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text_bomb())), "PNG", NO_TEXT),
    "png-exif-bomb": (lambda: png(h.chunk(b"zTXt", b"Raw profile type exif\0\0" + text_bomb())), "PNG", NO_TEXT),
    "png-3000-text-bombs": (
        lambda: png(h.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_500_000))) * 3000), "PNG", NO_TEXT),
    "png-3000-profile-bombs": (
        lambda: png(icc(bytes(1_000_000)) * 3000, h.chunk(b"tEXt", b"a\0b")), "PNG", NO_PROFILE),
    "png-profile-bomb": (lambda: png(h.chunk(b"iCCP", b"icc\0\0" + text_bomb())), "PNG", NO_PROFILE),
    "png-profile-not-zlib": (png(h.chunk(b"iCCP", b"p\0\0no zlib")), "PNG", NO_PROFILE),
    "png-profile-of-nothing": (png(h.chunk(b"iCCP", b"")), "PNG", NO_PROFILE),
    "png-profile-of-unknown-compression": (png(icc(PROFILE, method=b"\1")), "PNG", NO_PROFILE),
    "png-profile-is-none": (png(icc(b"no profile")), "PNG", NO_PROFILE),
    "png-profile-too-large": (lambda: png(icc(large_profile(MAX_PROFILE + 1))), "PNG", NO_PROFILE),
    "png-gamma-of-2-bytes": (png(h.chunk(b"gAMA", b"\0\0")), "PNG", NO_PROFILE),
    "png-chromaticity-of-nothing": (png(h.chunk(b"cHRM")), "PNG", NO_PROFILE),
    "png-intent-of-nothing": (png(h.chunk(b"sRGB")), "PNG", NO_PROFILE),
    "png-resolution-of-3-bytes": (png(h.chunk(b"pHYs", b"abc")), "PNG", OTHER),
    "png-private-checksum": (png(h.chunk(b"prVt", b"abc", crc=7)), "PNG", OTHER),
    # --- JPEG
    **{f"jpeg-exif-{number}": (jpeg(h.segment(0xE1, b"Exif\0\0" + block)), "JPEG", NO_EXIF)
       for number, block in enumerate(EXIF)},
    "jpeg-profile-is-none": (jpeg(jpeg_profile((1, 1, b"no profile"))), "JPEG", NO_PROFILE),
    "jpeg-profile-piece-missing": (jpeg(jpeg_profile((1, 3, PROFILE[:99]), (3, 3, PROFILE[99:]))), "JPEG", NO_PROFILE),
    "jpeg-profile-without-number": (jpeg(h.segment(0xE2, b"ICC_PROFILE\0")), "JPEG", NO_PROFILE),
    "jpeg-profile-cut": (jpeg(jpeg_profile((1, 1, PROFILE[:300]))), "JPEG", NO_PROFILE),
    "jpeg-jfif-cut": (jpeg(h.segment(0xE0, b"JFIF\0")), "JPEG", OTHER),
    "jpeg-adobe-cut": (jpeg(h.segment(0xEE, b"Adobe")), "JPEG", OTHER),
    "jpeg-photoshop-cut": (jpeg(h.segment(0xED, b"Photoshop 3.0\x008BIM\3\xed")), "JPEG", OTHER),
    "jpeg-photoshop-resolution-cut": (
        jpeg(h.segment(0xED, b"Photoshop 3.0\x008BIM\3\xed\0\0\0\0\0\2ab")), "JPEG", ()),  # Pillow reads over it
    "jpeg-xmp": (jpeg(h.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta")), "JPEG", ()),
    "jpeg-index-of-pictures": (jpeg(h.segment(0xE2, b"MPF\0MM\0*")), "JPEG", ()),
    # --- WebP
    **{f"webp-exif-{number}": (webp(8, b"EXIF", block), "WEBP", NO_EXIF) for number, block in enumerate(EXIF)},
    "webp-profile-is-none": (webp(32, b"ICCP", b"no profile"), "WEBP", NO_PROFILE),
    "webp-xmp": (webp(4, b"XMP ", b"\xff\xfe<x"), "WEBP", ()),
    # --- AVIF
    "avif-exif-header": (avif(lambda content, at: content[:at] + b"none" + content[at + 4 :]), "AVIF", NO_EXIF),
    "avif-exif-offset": (avif(lambda content, at: content[: at - 10] + b"\xff" * 4 + content[at - 6 :]), "AVIF", NO_EXIF),
    "avif-exif-of-zeros": (avif(lambda content, at: content[:at] + bytes(40) + content[at + 40 :]), "AVIF", NO_EXIF),
    # --- TIFF
    "tiff-profile-outside": (outside("profile-and-xmp", 34675), "TIFF", NO_PROFILE),
    "tiff-xmp-outside": (outside("profile-and-xmp", 700), "TIFF", OTHER),
    "tiff-photoshop-outside": (outside("photoshop", 34377), "TIFF", OTHER),
    "tiff-resolution-outside": (outside("float", 282), "TIFF", OTHER),  # it stands in front of the kind of the samples
    "tiff-exif-outside": (outside("exif-and-gps", 34665), "TIFF", NO_EXIF),
    "tiff-exif-directory-outside": (exif_directory_outside("exif-and-gps", 34665), "TIFF", NO_EXIF),
    "tiff-gps-directory-outside": (exif_directory_outside("exif-and-gps", 34853), "TIFF", NO_EXIF),
    # --- BMP
    "bmp-profile-cut": (SEEDS["BMP v5-with-profile"][:-100], "BMP", NO_PROFILE),
}  # fmt: skip


def body(name: str) -> bytes:
    content = BROKEN[name][0]
    return content if isinstance(content, bytes) else content()


def healthy(name: str, spec: InputSpec) -> np.ndarray:
    """The pixels of the same picture without the damage."""
    kind = name.partition("-")[0]
    whole = {
        "png": h.PNG,
        "jpeg": h.JPEG,
        "webp": h.WEBP,
        "avif": SEEDS["AVIF exif"],
        "bmp": SEEDS["BMP v5-with-profile"],
    }
    if kind == "tiff":
        seed = next(seed for word, seed in _OF_TIFF.items() if word in name)
        return decode_rgb(SEEDS["TIFF " + seed], spec, "TIFF")
    return decode_rgb(whole[kind], spec, kind.upper())


_OF_TIFF = {"profile": "profile-and-xmp", "xmp": "profile-and-xmp", "photoshop": "photoshop", "resolution": "float",
            "exif": "exif-and-gps", "gps": "exif-and-gps"}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_sound_pixels_beside_broken_metadata_are_read(name: str) -> None:
    content, (_, kind, notes) = body(name), BROKEN[name]
    found = sniff(content)
    assert found is not None
    assert found.name == kind
    assert check_image(content, found, Limits()).notes == notes
    for spec in (SPEC, InputSpec(32, 32, colour_order="L")):
        decoded = decode_rgb(content, spec, kind)
        # An orientation that can no longer be read turns nothing.
        turned = [decoded, np.rot90(decoded), np.rot90(decoded, 2), np.rot90(decoded, 3)]
        if kind != "AVIF":
            turned = turned[:1]
        assert min(np.abs(each.astype(int) - healthy(name, spec)).mean() for each in turned) < 2
    assert gps_position(content, kind) is None or "tiff" in name


@pytest.mark.parametrize("name", BROKEN)
def test_it_takes_less_than_a_second(name: str) -> None:
    content, kind = body(name), BROKEN[name][1]
    found = sniff(content)
    assert found is not None
    quickly(lambda: check_image(content, found, Limits()))
    quickly(lambda: decode_rgb(content, SPEC, kind))
    quickly(lambda: gps_position(content, kind))


def growth() -> dict[str, float]:
    """MB that each case adds to this process."""
    found = {}
    for name in BROKEN:
        content, kind = body(name), BROKEN[name][1]
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = resident_mb("VmRSS")
        judge(content, kind)
        found[name] = resident_mb("VmHWM") - before
    return found


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process set back its peak")
def test_it_adds_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_unreadable_metadata"],
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: size for name, size in found.items() if size >= MAX_GROWTH_MB} == {}
    assert len(found) == len(BROKEN)


# --- what can be read is read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [len(PROFILE), 1_500_000, MAX_PROFILE])
def test_a_large_profile_reaches_the_decoder(length: int) -> None:
    content = png(icc(large_profile(length)))
    found = sniff(content)
    assert found is not None
    assert check_image(content, found, Limits()).notes == ()
    assert decode_rgb(content, SPEC, "PNG").shape == (32, 32, 3)


def test_a_large_text_is_no_obstacle() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a long story " * 160_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
    out = io.BytesIO()
    h.picture().save(out, "PNG", pnginfo=info)
    found = sniff(out.getvalue())
    assert found is not None
    assert check_image(out.getvalue(), found, Limits()).notes == ()
    assert np.array_equal(decode_rgb(out.getvalue(), SPEC, "PNG"), decode_rgb(h.PNG, SPEC, "PNG"))


@pytest.mark.parametrize("zipped", [True, False])
def test_exif_that_stands_in_a_text_still_turns_the_picture(zipped: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    block = exif.tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=zipped)
    info.add_text("Comment", "beside it", zip=True)
    out = io.BytesIO()
    h.picture().save(out, "PNG", pnginfo=info)
    upside_down = decode_rgb(out.getvalue(), SPEC, "PNG")
    assert np.abs(upside_down[::-1, ::-1].astype(int) - decode_rgb(h.PNG, SPEC, "PNG")).mean() < 1


def test_exif_beside_a_broken_block_still_turns_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    content = jpeg(h.segment(0xE1, exif.tobytes()), h.segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"))
    upside_down = decode_rgb(content, SPEC, "JPEG")
    assert np.abs(upside_down[::-1, ::-1].astype(int) - decode_rgb(h.JPEG, SPEC, "JPEG")).mean() < 1


@pytest.mark.parametrize("name", ["PNG exif", "JPEG exif", "WEBP exif", "AVIF exif", "TIFF exif-and-gps"])
def test_a_position_that_can_be_read_is_read(name: str) -> None:
    position = gps_position(SEEDS[name], name.split()[0])
    assert position is not None
    assert abs(position[0]) == pytest.approx(48.858, abs=0.001)
    assert abs(position[1]) == pytest.approx(2.294, abs=0.001)


def test_a_position_beside_a_broken_block_is_read() -> None:
    photo = SEEDS["JPEG exif"]
    broken = h.jpeg_with(photo, h.segment(0xED, b"Photoshop 3.0\x008BIM\3\xed"))
    assert gps_position(broken, "JPEG") == gps_position(photo, "JPEG") is not None


@pytest.mark.parametrize("kind", [b"tRNS", b"fcTL", b"fdAT", b"acTL", b"PLTE", b"IDAT"])
def test_damaged_chunks_of_pixels_are_refused(kind: bytes) -> None:
    seed = SEEDS["PNG palette-transparent"] if kind in (b"tRNS", b"PLTE", b"IDAT") else SEEDS["PNG apng"]
    at = seed.index(kind)
    end = at + 4 + int.from_bytes(seed[at - 4 : at], "big")
    content = seed[:end] + bytes((seed[end] ^ 1,)) + seed[end + 1 :]
    found = sniff(content)
    assert found is not None
    with pytest.raises(Corrupt):
        check_image(content, found, Limits())


def test_the_notes_are_documented() -> None:
    table = (Path(__file__).parents[1] / "docs" / "intake.md").read_text(encoding="utf-8")
    given = {note for _, _, notes in BROKEN.values() for note in notes}
    given |= {note for _, notes in TRAILERS.values() for note in notes} | {"stray_bytes", "trailing_data"}
    assert {note for note in given if f"| `{note}` | " not in table} == set()


@search
@given(st.data())
def test_any_bytes_as_metadata_leave_the_pixels(data: st.DataObject) -> None:
    noise = data.draw(st.binary(max_size=60))
    name, content = data.draw(
        st.sampled_from(
            [
                ("PNG", png(h.chunk(kind, noise)))
                for kind in (b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"prVt")
            ]
            + [
                ("JPEG", jpeg(h.segment(marker, head + noise)))
                for marker, head in (
                    (0xE1, b"Exif\0\0"), (0xE1, b"Exif\0\0II*\0\x08\0\0\0"), (0xE2, b"ICC_PROFILE\0"), (0xE2, b"MPF\0"),
                    (0xE2, b"MPF\0II*\0\x08\0\0\0"), (0xED, b"Photoshop 3.0\0"), (0xED, b"Photoshop 3.0\x008BIM"),
                    (0xE2, b"FPXR\0"),
                    (0xE1, b"http://ns.adobe.com/xap/1.0/\0"), (0xFE, b""), (0xE5, b""),
                )
            ]
            + [("WEBP", webp(8, b"EXIF", noise)), ("WEBP", webp(32, b"ICCP", noise)), ("WEBP", webp(4, b"XMP ", noise))]
        )
    )  # fmt: skip
    assert judge(content, name) is None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(growth()) + "\n")
