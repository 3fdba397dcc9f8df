"""`python -m benchmarks.formats`: memory and time of decoding a picture of 2, 12 and 50 megapixels in each format.

Each is judged and decoded in a process of its own, as the check and the classifier do: `check_image`, then `decode_rgb` for a
model of 224 x 224. `--side 4000` stands for a model that needs every pixel. The pictures are grain like a photograph's; those
of HEIC are put together from one tile again and again, because there is no encoder for it here.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from imagewarehouse.errors import ImageRejected
from imagewarehouse.images.decoding import InputSpec, can_decode, check_image, decode_rgb
from imagewarehouse.images.formats import FORMATS, sniff
from imagewarehouse.limits import Limits
from tools.heif_files import heic_grid
from tools.image_seeds import saved

SIZES = {2: (1632, 1224), 12: (4032, 3024), 50: (8064, 6048)}
TILE = 512


def photo(width: int, height: int) -> Image.Image:
    """Grain of six pixels, so that lossy formats have something to leave out."""
    pixels = np.random.default_rng(7).integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height))


def _transparent(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _heic(image: Image.Image) -> bytes:
    return heic_grid("tile", -(-image.width // TILE), -(-image.height // TILE), *image.size)


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda image: saved(image, "JPEG", quality=85),
    "JPEG, progressive, 4:4:4": lambda image: saved(image, "JPEG", quality=85, progressive=True, subsampling=0),
    "PNG": lambda image: saved(image, "PNG", compress_level=1),
    "PNG, transparent": lambda image: saved(_transparent(image), "PNG", compress_level=1),
    "PNG, 16-bit grey": lambda image: saved(_grey_of_16_bits(image), "PNG", compress_level=1),
    "WebP": lambda image: saved(image, "WEBP", method=0, quality=60),
    "WebP, transparent": lambda image: saved(_transparent(image), "WEBP", method=0, quality=60),
    "WebP, lossless": lambda image: saved(image, "WEBP", method=0, quality=0, lossless=True),
    "GIF": lambda image: saved(image.quantize(64, Image.Quantize.FASTOCTREE), "GIF"),
    "BMP": lambda image: saved(image, "BMP"),
    "TIFF, deflate": lambda image: saved(image, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, LZW": lambda image: saved(image, "TIFF", compression="tiff_lzw"),
    "TIFF, uncompressed": lambda image: saved(image, "TIFF"),
    "AVIF": lambda image: saved(image, "AVIF", speed=10, quality=60),
    "HEIC, grid": _heic,
    "JPEG 2000": lambda image: saved(image, "JPEG2000", quality_mode="rates", quality_layers=[20], irreversible=True),
    "JPEG 2000, lossless": lambda image: saved(image, "JPEG2000"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=int, action="append", choices=list(SIZES), help="default: all of them")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="default: all")
    parser.add_argument("--side", type=int, default=224, help="of the model's input (default: %(default)s)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_measure(arguments.child, arguments.side)))
        return
    print(describe())
    print(
        f"{'format':26} {'megapixels':>10} {'file MB':>8} {'memory MB':>10} {'bytes a pixel':>14} {'check s':>7} {'decode':>8}"
    )
    for megapixels in arguments.megapixels or SIZES:
        image = photo(*SIZES[megapixels])
        for kind in arguments.kind or KINDS:
            with tempfile.NamedTemporaryFile() as file:
                Path(file.name).write_bytes(KINDS[kind](image))
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.formats",
                    "--side",
                    str(arguments.side),
                    "--child",
                    file.name,
                ]
                found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            pixels = image.width * image.height
            print(
                f"{kind:26} {pixels / 1e6:10.1f} {found['file'] / 1e6:8.1f} {found['memory'] / 1e6:10.0f}"
                f" {found['memory'] / pixels:14.1f} {found['check']:7.2f} {found['decode']:8.2f} {found['refused']}",
                flush=True,
            )


def _measure(path: Path, side: int) -> dict[str, float | str]:
    """Of this process: how far its memory rose, in bytes, and seconds of its CPU time."""
    content = path.read_bytes()
    image_format = sniff(content)
    assert image_format is not None
    for each in FORMATS.values():  # what is loaded at the first use
        can_decode(each)
    small = KINDS["JPEG"](photo(96, 96))
    decode_rgb(small, InputSpec(side, side), "JPEG")
    # VmHWM and not ru_maxrss: that one begins with what the process was forked from.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, refused = _resident("VmRSS"), ""
    started = time.process_time()
    try:
        check_image(content, image_format, Limits(max_bytes=1 << 40))
    except ImageRejected as err:
        refused = str(err)
    checked = time.process_time()
    decode_rgb(content, InputSpec(side, side), image_format.name)
    decoded = time.process_time()
    return {"file": len(content), "memory": _resident("VmHWM") - before, "check": checked - started,
            "decode": decoded - checked, "refused": refused}  # fmt: skip


def _resident(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    main()
