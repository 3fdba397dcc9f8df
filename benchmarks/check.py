"""`python -m benchmarks.check --against COMMIT`: what the check of an image costs, now and at an older commit, in one run.

A process of each version, in turn within each round; CPU time, the least of several tries, since other programs can only
add to it. `ratio` is the median of now to then of the same round. "and pixels": the same call also decodes for a model of
224 x 224, as it does in one process with the classifier.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from benchmarks.machine import describe
from benchmarks.peers.environments import product_at
from imagewarehouse.resources import REPOSITORY

BAR = 1.1  # for the check alone
TRIES = 9
_CHILD = """
import json, sys, time
from pathlib import Path
from imagewarehouse.images.decoding import InputSpec, check_and_decode
from imagewarehouse.images.formats import sniff
from imagewarehouse.limits import Limits
spec, limits = InputSpec(224, 224), Limits()
for line in sys.stdin:
    name, with_pixels, calls, tries = json.loads(line)
    content = Path(name).read_bytes()
    least = None
    for _ in range(tries):
        began = time.process_time()
        for _ in range(calls):
            check_and_decode(content, sniff(content), limits, spec if with_pixels else None)
        took = (time.process_time() - began) / calls
        least = took if least is None else min(least, took)
    print(json.dumps(least), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT", required=True)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    tree, python, commit = product_at(arguments.against)
    print(f"{describe()}; against {commit[:12]}; {arguments.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        now, then = _process(Path(sys.executable), REPOSITORY), _process(python, tree)
        worst = 0.0
        print(f"{'':42} {'then ms':>9} {'now ms':>9}  ratio")
        for name, content in pictures().items():
            path = Path(folder) / f"{name.replace(' ', '-')}.jpg"
            path.write_bytes(content)
            calls = 200 if len(content) < 10_000 else 1
            for with_pixels in (False, True):
                pairs = [
                    (_ask(then, path, with_pixels, calls), _ask(now, path, with_pixels, calls))
                    for _ in range(arguments.rounds)
                ]
                ratios = sorted(new / old for old, new in pairs)
                ratio = statistics.median(ratios)
                old, new = (1000 * statistics.median(column) for column in zip(*pairs, strict=True))
                what = f"{name}, {len(content):,} bytes{', and pixels' if with_pixels else ''}"
                print(f"{what:42} {old:9.3f} {new:9.3f}  {ratio:.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]")
                if not with_pixels and "profile" not in name:
                    worst = max(worst, ratio)
        for process in (now, then):
            process.communicate()
    print(f"bar: {BAR:g} for the check of pictures without a profile; reached: {worst:.2f}")
    sys.exit(0 if worst <= BAR else 1)


def pictures() -> dict[str, bytes]:
    """JPEGs: one of CIFAR-10's size, and 12 megapixels as a camera writes them, also with a profile that is not sRGB."""
    smooth = np.random.default_rng(1).integers(0, 256, (75, 100, 3), np.uint8)
    photo = Image.fromarray(smooth).resize((4000, 3000), Image.Resampling.BICUBIC)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, green = srgb.index(b"rXYZ"), srgb.index(b"gXYZ")
    swapped = bytearray(srgb)  # a matrix profile, as Display P3 and Adobe RGB are
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    return {
        "small": (REPOSITORY / "examples" / "frog.jpg").read_bytes(),
        "12 megapixels": _jpeg(photo),
        "12 megapixels with profile": _jpeg(photo, bytes(swapped)),
    }


def _jpeg(image: Image.Image, profile: bytes | None = None) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **({"icc_profile": profile} if profile else {}))
    return file.getvalue()


def _process(python: Path, tree: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-c", _CHILD], cwd=tree, env={"PYTHONPATH": str(tree)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _ask(process: subprocess.Popen[str], path: Path, with_pixels: bool, calls: int) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    print(json.dumps([str(path), with_pixels, calls, TRIES if calls > 1 else 3]), file=process.stdin, flush=True)
    seconds: float = json.loads(process.stdout.readline())
    return seconds


if __name__ == "__main__":
    main()
