"""The two limits of a picture's size: pixels, the same for every format, and the memory that decoding them takes.

A file that only announces its size is enough here: it is judged by its header. That what is announced is what decoding takes,
`python -m benchmarks.formats` measures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from imagewarehouse.errors import ImageRejected, TooManyPixels
from imagewarehouse.images.decoding import Fit, InputSpec, check_image, decode_rgb
from imagewarehouse.images.formats import FORMATS, sniff
from imagewarehouse.limits import Limits
from tests import hostile_pictures as h
from tests.hostile_pieces import heic_sized, jp2_sized
from tools.heif_files import heic
from tools.image_seeds import saved

WIDTH, HEIGHT = 8160, 6120  # 49.9 megapixels
PHONE = (4160, 3120)  # 13 megapixels


def announced(width: int, height: int) -> dict[str, tuple[str, bytes]]:
    """The format and a file of next to no data whose header says this size."""
    jpeg = h.jpeg_sized(h.JPEG, width, height)
    return {
        "JPEG": ("JPEG", jpeg),
        "PNG": ("PNG", h.png(h.ihdr(width, height, colour=2), h.IDAT)),
        "WebP": ("WEBP", h.webp(h.vp8(width, height))),
        "WebP, lossless": ("WEBP", h.webp(h.vp8l(width, height))),
        "GIF": ("GIF", h.gif(h.gif_frame(width, height), width=width, height=height)),
        "BMP": ("BMP", h.bmp(width, height, pixels=bytes(64))),
        "TIFF": ("TIFF", h.tiff({}, width, height, data=bytes(64))),
        "AVIF": ("AVIF", h.avif_sized(h.AVIF, width, height)),
        "HEIC": ("HEIF", heic_sized(heic("colour"), width, height)),
        "JPEG 2000": ("JPEG2000", jp2_sized(width, height)),
    }


def refusal(name: str, content: bytes, limits: Limits) -> str:
    """What the check says of its size; nothing where it got further, to the data that are missing."""
    try:
        check_image(content, FORMATS[name], limits)
    except TooManyPixels as err:
        return str(err)
    except ImageRejected:
        return ""
    return ""


each_kind = pytest.mark.parametrize("kind", announced(1, 1))


@each_kind
def test_a_photo_of_a_phone_is_allowed_in_every_format(kind: str) -> None:
    name, content = announced(*PHONE)[kind]
    assert refusal(name, content, Limits()) == ""


@each_kind
def test_the_limit_of_pixels_is_the_same_for_every_format(kind: str) -> None:
    limits = Limits(max_pixels=WIDTH * HEIGHT, max_memory=1 << 40)
    name, content = announced(WIDTH, HEIGHT)[kind]
    assert refusal(name, content, limits) == ""
    name, content = announced(WIDTH, HEIGHT + 1)[kind]
    said = refusal(name, content, limits)
    assert f"{WIDTH} x {HEIGHT + 1} pixels, at most {WIDTH * HEIGHT} in all are allowed (intake.max.pixels)" in said


@each_kind
def test_the_limit_of_memory_says_that_it_was_that_one(kind: str) -> None:
    name, content = announced(*PHONE)[kind]
    said = refusal(name, content, Limits(max_memory=10_000_000))
    assert "4160 x 3120 pixels take" in said
    assert said.endswith("MB to decode, at most 10 MB are allowed (intake.max.memory)")


def test_with_the_defaults_all_pixels_are_allowed_but_for_webp() -> None:
    """WebP's decoder takes 19 bytes a pixel: 28 megapixels in 512 MB."""
    refused = {kind for kind, (name, content) in announced(WIDTH, HEIGHT).items() if refusal(name, content, Limits())}
    assert refused == {"WebP", "WebP, lossless"}
    assert refusal("WEBP", h.webp(h.vp8(6000, 4600)), Limits()) == ""


def test_a_line_is_refused_for_the_memory_that_its_rows_take() -> None:
    for width, height in ((1, 49_000_000), (49_000_000, 1)):  # most formats cannot say such a side
        for name, content in (
            ("PNG", h.png(h.ihdr(width, height, colour=2), h.IDAT)),
            ("TIFF", h.tiff({}, width, height, data=bytes(64))),
        ):
            assert "intake.max.memory" in refusal(name, content, Limits())


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("size", [(2, 5_000_000), (5_000_000, 2), (1, 100)], ids=["tall", "wide", "a line"])
def test_a_very_long_picture_is_decoded_in_a_moment(size: tuple[int, int], fit: Fit) -> None:
    """Its half is white: black above or left, white below or right, as the middle of a long side says."""
    width, height = size
    pixels = np.zeros((height, width), dtype=np.uint8)
    pixels[height // 2 :, :] = 255 if height > width else 0
    pixels[:, width // 2 :] = 255 if width > height else pixels[:, width // 2 :]
    content = saved(Image.fromarray(pixels), "PNG")
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        out = decode_rgb(content, InputSpec(32, 32, fit=fit))
        best = min(best, time.process_time() - start)
    assert out.shape == (32, 32, 3)
    assert best < 2
    if fit == "stretch":
        long_side = out[:, 16, 0] if height > width else out[16, :, 0]
        assert long_side[:15].max() < 16
        assert long_side[17:].min() > 240


def test_transparency_takes_more_memory() -> None:
    """It is laid over a colour by way of copies; only the decoder's header says that it is there."""
    plain = h.png(h.ihdr(PHONE[0], PHONE[1], colour=2), h.IDAT)
    transparent = h.png(
        h.ihdr(PHONE[0], PHONE[1], bits=1, colour=3), h.chunk(b"PLTE", bytes(6)), h.chunk(b"tRNS", b"\0"),
        h.chunk(b"IDAT", zlib.compress(bytes((1 + PHONE[0] // 8) * PHONE[1]))),
    )  # fmt: skip
    limits = Limits(max_memory=150_000_000)
    assert refusal("PNG", plain, limits) == ""
    assert "take 208 MB" in refusal("PNG", transparent, limits)
    assert refusal("PNG", transparent, Limits()) == ""


_MEASURE = """
import json, re, sys
from pathlib import Path
from imagewarehouse.images.decoding import InputSpec, can_decode, decode_rgb
from imagewarehouse.images.formats import FORMATS, sniff
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin

def resident(key):
    return int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

content = sys.stdin.buffer.read()
[can_decode(each) for each in FORMATS.values()]
Path("/proc/self/clear_refs").write_text("5")
before = resident("VmRSS")
decode_rgb(content, InputSpec(224, 224), sniff(content).name)
print(json.dumps(resident("VmHWM") - before))
"""


@pytest.mark.parametrize(
    "kind",
    {
        "webp": lambda image: saved(image, "WEBP", method=0),
        "webp-lossless": lambda image: saved(image, "WEBP", method=0, quality=0, lossless=True),
        "jpeg-progressive": lambda image: saved(image, "JPEG", progressive=True, subsampling=0),
        "avif": lambda image: saved(image, "AVIF", speed=10),
        "png": lambda image: saved(image, "PNG", compress_level=1),
        "tiff-lzw": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
        "jpeg2000-without-levels": lambda image: saved(image, "JPEG2000", num_resolutions=1),
        "gif": lambda image: saved(image.convert("L"), "GIF"),
    }.items(),
    ids=lambda item: item[0],
)
def test_decoding_takes_no_more_than_what_the_limit_counts(kind: tuple[str, Callable[..., bytes]]) -> None:
    """4 megapixels of each: the least memory with which the check lets it pass is what decoding it may take."""
    content = kind[1](h.picture(width=400, height=250).resize((2560, 1600)))
    done = subprocess.run([sys.executable, "-c", _MEASURE], input=content, capture_output=True, check=True, timeout=120)
    taken = json.loads(done.stdout)
    image_format = sniff(content)
    assert image_format is not None
    # What does not grow with the picture: tables of the decoder, the model's input.
    assert refusal(image_format.name, content, Limits(max_memory=max(1, taken - (6 << 20)))) != ""
