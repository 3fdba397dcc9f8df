"""Positive controls of the bad-input table: what cameras, scanners, browsers and old programs really write passes.

Without them, an intake that refuses everything would pass `test_bad_input.py`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image, ImageCms

from imagewarehouse.access import AccessKeys
from imagewarehouse.ids import request_id_from_key
from imagewarehouse.intake import Accepted, IntakeRules, Request, check_access, check_content, check_request
from imagewarehouse.limits import Limits
from tests import hostile as h

Content = bytes | Callable[[], bytes]


def accept(content: bytes, declared_type: str | None, rules: IntakeRules | None = None, **fields: object) -> Accepted:
    rules = rules or IntakeRules()
    request = Request(**{"size": len(content), "declared_type": declared_type, "method": "POST", **fields})
    check_access(request, rules)
    check_request(request, rules)
    return check_content(request, content, rules)


# --- builders Pillow has no option for ----------------------------------------------------------------------------


def exif() -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "Camera & Sons"  # Make
    tags[0x0112] = 6  # Orientation: turned
    return tags.tobytes()


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def fill_bytes(jpeg: bytes) -> bytes:
    """0xFF repeated before every marker between the segments and before EOI, as the standard allows (B.1.1.2)."""

    segments, scans = h.jpeg_segments(jpeg)
    filled = [b"\xff" * 3 + each for each in segments]
    return h.jpeg_of(filled, b"\xff" * 3 + scans[:-2] + b"\xff" * 5 + scans[-2:])


def several_profile_segments() -> bytes:
    """A colour profile over two APP2 segments; the second chunk ends in what looks like EOI."""

    parts = (bytes(60000), bytes(1000) + b"\xff\xd9")
    return b"".join(
        h.segment(0xE2, b"ICC_PROFILE\0" + bytes([number, len(parts)]) + part) for number, part in enumerate(parts, 1)
    )


def png_16_bit_rgb() -> bytes:
    row = b"\0" + np.random.default_rng(5).bytes(8 * 6)
    return h.png(h.ihdr(8, 8, bits=16, colour=2), h.chunk(b"IDAT", zlib.compress(row * 8)))


def png_interlaced(width: int = 13, height: int = 11) -> bytes:
    """Adam7: seven passes, each a small picture of its own; 13 x 11 leaves odd ends in all of them."""

    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    raw = b""
    for left, top, step_x, step_y in passes:
        columns = len(range(left, width, step_x))
        raw += (b"\0" + b"\x80" * columns) * len(range(top, height, step_y)) if columns else b""
    return h.png(h.ihdr(width, height, interlace=1), h.chunk(b"IDAT", zlib.compress(raw)))


def png_in_many_pieces() -> bytes:
    """One byte an IDAT, and empty ones between them."""

    data = h.grey_rows(8, 8)
    pieces = [h.chunk(b"IDAT", data[at : at + 1]) + h.chunk(b"IDAT") for at in range(len(data))]
    return h.png(h.IHDR, *pieces)


def gif_interlaced() -> bytes:
    """Pillow writes GIF interlaced unless told otherwise for small ones, so the flag is asked for by name."""

    return h.saved(h.picture("P"), "GIF", interlace=1)


def gif_87a() -> bytes:
    return b"GIF87a" + h.gif(h.gif_frame())[6:]


def gif_with_extensions() -> bytes:
    """A comment with a trailer byte in it, plain text, an unknown application and the endless loop."""

    comment = b"\x21\xfe\x03a;b\x00"
    plain_text = b"\x21\x01\x0c" + bytes(12) + b"\x02hi\x00"
    application = b"\x21\xff\x0bABCDEFGHabc\x01;\x00"
    loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    return h.gif(comment, loop, application, plain_text, h.GIF_CONTROL, h.gif_frame(), h.GIF_CONTROL, h.gif_frame())


def bmp_565() -> bytes:
    masks = struct.pack("<LLL", 0xF800, 0x07E0, 0x001F)
    return h.bmp(bits=16, compression=3, extra_header=masks)


def bmp_run_length() -> bytes:
    """RLE8: eight runs of eight pixels, each with its end of line, then the end of the bitmap."""

    pixels = b"\x08\x01\x00\x00" * 8 + b"\x00\x01"
    return h.bmp(bits=8, compression=1, colours=2, palette=bytes(8), pixels=pixels)


def twelve_megapixels() -> bytes:
    # noise enlarged: grain like a photograph's, but quick to make
    return h.saved(h.picture(width=1000, height=750).resize((4000, 3000)), "JPEG", quality=85)


# --- the table ----------------------------------------------------------------------------------------------------

GOOD: dict[str, Content] = {
    **{name: content for name, (_, content) in h.HEALTHY.items()},
    "jpeg-grey": h.saved(h.picture("L"), "JPEG"),
    "jpeg-grey-progressive": h.saved(h.picture("L"), "JPEG", progressive=True),
    "jpeg-cmyk": h.saved(h.picture("CMYK"), "JPEG"),
    "jpeg-without-subsampling": h.saved(h.picture(), "JPEG", subsampling=0),
    "jpeg-optimised": h.saved(h.picture(), "JPEG", optimize=True),
    "jpeg-of-quality-100": h.saved(h.picture(), "JPEG", quality=100),
    "jpeg-of-odd-size": h.saved(h.picture(width=17, height=5), "JPEG"),
    "jpeg-of-one-pixel": h.saved(h.picture(width=1, height=1), "JPEG"),
    "jpeg-with-exif": h.saved(h.picture(), "JPEG", exif=exif()),
    "jpeg-with-colour-profile": h.saved(h.picture(), "JPEG", icc_profile=srgb()),
    "jpeg-with-comment": h.saved(h.picture(), "JPEG", comment=b"holiday"),
    "jpeg-with-end-marker-in-a-comment": h.jpeg_with(h.JPEG, h.segment(0xFE, b"\xff\xd9\xff\xda")),
    "jpeg-with-script-in-a-comment": h.jpeg_with(h.JPEG, h.segment(0xFE, h.HTML)),  # stored as it is, never served
    "jpeg-with-empty-segments": h.jpeg_with(h.JPEG, h.segment(0xFE) + h.segment(0xEF)),
    "jpeg-with-profile-in-two-segments": h.jpeg_with(h.JPEG, several_profile_segments()),
    "jpeg-with-photoshop-segment": h.jpeg_with(h.JPEG, h.segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04" + bytes(6))),
    "jpeg-with-restart-markers": h.saved(h.picture(), "JPEG", restart_marker_blocks=1),
    "jpeg-progressive-with-restart-markers": h.saved(h.picture(), "JPEG", restart_marker_rows=1, progressive=True),
    "jpeg-with-fill-bytes": fill_bytes(h.JPEG),
    "jpeg-progressive-with-fill-bytes": fill_bytes(h.PROGRESSIVE),
    "jpeg-of-12-megapixels": twelve_megapixels,
    "png-rgba": h.saved(h.picture("RGBA"), "PNG"),
    "png-grey": h.saved(h.picture("L"), "PNG"),
    "png-grey-alpha": h.saved(h.picture("LA"), "PNG"),
    "png-palette": h.saved(h.picture("P"), "PNG"),
    "png-palette-of-4-bits": h.saved(h.picture().quantize(16), "PNG", bits=4),
    "png-transparent-colour": h.saved(h.picture("P"), "PNG", transparency=3),
    "png-of-1-bit": h.saved(h.picture("1"), "PNG"),
    "png-of-16-bits": h.saved(h.picture("I;16"), "PNG"),
    "png-of-16-bits-in-colour": png_16_bit_rgb(),
    "png-interlaced": png_interlaced(),
    "png-of-one-pixel": h.saved(h.picture(width=1, height=1), "PNG"),
    "png-in-many-pieces": png_in_many_pieces(),
    "png-with-text": h.small_png(h.chunk(b"tEXt", b"Comment\0IEND"), h.chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b"))),
    "png-with-an-unknown-chunk": h.small_png(h.chunk(b"prVt", b"anything")),
    "png-with-exif": h.saved(h.picture(), "PNG", exif=exif()),
    "png-with-colour-profile": h.saved(h.picture(), "PNG", icc_profile=srgb()),
    "apng-of-100-frames": h.apng(100),
    "webp-with-alpha": h.saved(h.picture("RGBA"), "WEBP"),
    "webp-lossless-with-alpha": h.saved(h.picture("RGBA"), "WEBP", lossless=True),
    "webp-with-exif-and-profile": h.saved(h.picture(), "WEBP", exif=exif(), icc_profile=srgb()),
    "webp-of-one-pixel": h.saved(h.picture(width=1, height=1), "WEBP"),
    "webp-of-100-frames": h.webp_animation(100),
    "gif-87a": gif_87a(),
    "gif-interlaced": gif_interlaced(),
    "gif-transparent": h.saved(h.picture("P"), "GIF", transparency=3),
    "gif-of-one-pixel": h.gif(h.gif_frame()),
    "gif-with-extensions": gif_with_extensions(),
    "gif-of-100-frames": h.gif(h.gif_frame() * 100),
    "gif-of-500-small-frames": h.gif((h.GIF_CONTROL + h.gif_frame()) * 500),
    "bmp-of-8-bits": h.saved(h.picture("P"), "BMP"),
    "bmp-grey": h.saved(h.picture("L"), "BMP"),
    "bmp-of-1-bit": h.saved(h.picture("1"), "BMP"),
    "bmp-of-32-bits": h.bmp(bits=32),
    "bmp-of-16-bits": bmp_565(),
    "bmp-with-v5-header": h.bmp_v5(),
    "bmp-with-os2-header": h.bmp_core(8, 8, bytes(8 * 8 * 3)),
    "bmp-top-down": h.bmp(8, -8),
    "bmp-run-length": bmp_run_length(),
    "bmp-of-odd-width": h.saved(h.picture(width=17, height=5), "BMP"),
    "bmp-of-one-pixel": h.saved(h.picture(width=1, height=1), "BMP"),
    "tiff-deflate": h.saved(h.picture(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-packbits": h.saved(h.picture(), "TIFF", compression="packbits"),
    "tiff-jpeg": h.saved(h.picture(), "TIFF", compression="jpeg"),
    "tiff-fax-group-4": h.saved(h.picture("1"), "TIFF", compression="group4"),
    "tiff-big-endian": h.tiff(order=">"),
    "tiff-tiled": h.tiff_tiled(16, 16, bytes(256)),
    "tiff-tiled-deflate": h.tiff_tiled(16, 16, zlib.compress(bytes(256)), 8),
    "tiff-of-16-bits": h.saved(h.picture("I;16"), "TIFF"),
    "tiff-rgba": h.saved(h.picture("RGBA"), "TIFF"),
    "tiff-cmyk": h.saved(h.picture("CMYK"), "TIFF"),
    "tiff-with-exif-and-profile": h.saved(h.picture(), "TIFF", exif=exif(), icc_profile=srgb()),
    "tiff-pages-from-pillow": h.animated("TIFF", 3),
    "tiff-pages-lzw": h.animated("TIFF", 3, compression="tiff_lzw"),
    "tiff-of-100-pages": h.tiff_pages(100),
    "tiff-of-one-pixel": h.saved(h.picture(width=1, height=1), "TIFF"),
    "avif-with-alpha": h.saved(h.picture("RGBA"), "AVIF", speed=10),
    "avif-lossless": h.saved(h.picture(), "AVIF", speed=10, quality=100, subsampling="4:4:4"),
    "avif-with-exif": h.saved(h.picture(), "AVIF", speed=10, exif=exif()),
    "avif-of-one-pixel": h.saved(h.picture(width=1, height=1), "AVIF", speed=10),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_real_programs_write_is_accepted(name: str) -> None:
    source = GOOD[name]
    content = source if isinstance(source, bytes) else source()
    accepted = accept(content, h.type_of(name))
    assert accepted.image == content
    assert accepted.declared_type == h.type_of(name)
    assert not accepted.unwrapped


@pytest.mark.parametrize(
    ("declared", "file_name", "content"),
    [
        pytest.param("image/jpg", None, h.JPEG, id="jpg"),
        pytest.param("image/pjpeg", None, h.PROGRESSIVE, id="pjpeg"),
        pytest.param("image/x-png", None, h.PNG, id="x-png"),
        pytest.param("image/x-ms-bmp", None, h.BMP, id="x-ms-bmp"),
        pytest.param("IMAGE/Png", None, h.PNG, id="capitals"),
        pytest.param("image/png; charset=binary; q=0.5", None, h.PNG, id="parameters"),
        pytest.param("image/png;", None, h.PNG, id="empty-parameter"),
        pytest.param(" image/png ", None, h.PNG, id="spaces"),
        pytest.param(None, "picture.png", h.PNG, id="suffix"),
        pytest.param(None, "IMG_0001.JPG", h.JPEG, id="suffix-in-capitals"),
        pytest.param(None, "scan.tif", h.TIFF, id="short-suffix"),
        pytest.param(None, "a.b.c.jpeg", h.JPEG, id="suffix-behind-dots"),
        pytest.param("image/png", "picture.html", h.PNG, id="type-goes-before-suffix"),
    ],
)
def test_common_ways_to_name_a_type_are_understood(declared: str | None, file_name: str | None, content: bytes) -> None:
    assert accept(content, declared, file_name=file_name).image == content


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"image": h.b64(h.PNG), "type": "image/png"}, id="type"),
        pytest.param({"image": h.b64(h.PNG), "type": "image/png", "file_name": "a.png"}, id="type-and-name"),
        pytest.param({"image": h.b64(h.PNG), "file_name": "a.png"}, id="name"),
        pytest.param({"image": "data:image/png;base64," + h.b64(h.PNG)}, id="data-uri"),
    ],
)
def test_picture_in_a_json_envelope_is_unwrapped(fields: dict[str, str]) -> None:
    accepted = accept(h.envelope(**fields), "application/json")
    assert accepted.image == h.PNG
    assert accepted.unwrapped


def test_envelope_and_plain_body_of_one_picture_get_one_image_id() -> None:
    wrapped = accept(h.envelope(image=h.b64(h.PNG), type="image/png"), "application/json; charset=utf-8")
    assert wrapped.image_id == accept(h.PNG, "image/png").image_id


@pytest.mark.parametrize(
    ("content", "limits"),
    [
        pytest.param(h.PNG, Limits(max_bytes=len(h.PNG)), id="bytes"),
        pytest.param(h.PNG, Limits(max_pixels=64 * 48), id="pixels"),
        pytest.param(h.APNG, Limits(max_frames=3), id="frames"),
    ],
)
def test_a_limit_itself_is_still_allowed(content: bytes, limits: Limits) -> None:
    assert accept(content, "image/png", IntakeRules(limits=limits)).image == content


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"])
def test_trailing_data_passes_where_the_operator_allows_it(name: str) -> None:
    """Phones put a second picture or a film behind the first one."""

    declared, content = h.HEALTHY[name]
    rules = IntakeRules(limits=Limits(allow_trailing_data=True))
    assert accept(content + h.JPEG, declared, rules).image == content + h.JPEG


def test_the_owner_of_an_access_key_is_named() -> None:
    rules = IntakeRules(keys=AccessKeys.parse(h.KEYS))
    for name, key in (("alice", "0123456789abcdefghij"), ("bob", "abcdefghij0123456789")):
        request = Request(size=len(h.PNG), declared_type="image/png", method="POST", access_key=key)
        assert check_access(request, rules) == name


def test_without_access_keys_everybody_may_send() -> None:
    assert check_access(Request(size=len(h.PNG), declared_type="image/png", method="POST"), IntakeRules()) is None


def test_a_part_of_a_multipart_body_passes() -> None:
    fields = {"part": 2, "parts": 3, "file_name": "b.png"}
    assert accept(h.PNG, "image/png", **fields).image == h.PNG
    assert accept(h.PNG, "image/png", part=1, parts=1, synchronous=True).image == h.PNG


@pytest.mark.parametrize(
    "shift",
    [
        pytest.param(timedelta(), id="now"),
        pytest.param(timedelta(days=-7, minutes=1), id="almost-7-days-old"),
        pytest.param(timedelta(minutes=59), id="almost-an-hour-ahead"),
    ],
)
def test_idempotency_key_of_this_week_is_taken(shift: timedelta) -> None:
    key = h.uuid7(h.NOW + shift)
    assert request_id_from_key(key, h.NOW) == request_id_from_key(key, h.NOW)
