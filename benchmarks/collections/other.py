"""The independent decoder: ImageMagick, with libvips in front of it for HEIC, AVIF and JPEG XL.

ImageMagick 6 converts the YCbCr of HEIC and AVIF by the matrix of JPEG whatever the file says, and reads no JPEG XL.
libvips decodes those to a PNG that keeps the colour profile, and ImageMagick goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ImageCms

TIMEOUT_S = 600  # for one call; a second is plenty where nothing else runs
_NO_END = "no end after"
TIMED_OUT = 124  # as the exit code of `timeout` says it
# Debian's policy allows 256 MB, less than 50 megapixels need.
_LIMITS = ("-limit", "memory", "2GiB", "-limit", "map", "4GiB", "-limit", "disk", "4GiB", "-limit", "thread", "1")
_BY_VIPS = ("HEIC", "AVIF", "JPEG XL")
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "WebP": "webp", "BMP": "bmp", "TIFF": "tif", "HEIC": "heic",
             "AVIF": "avif", "JPEG 2000": "jp2", "JPEG XL": "jxl"}  # fmt: skip
# Said of healthy files: that we asked for a profile where there is none, and how libvips goes about HEIC.
_IDLE = ('unknown image property "%[profile:icc]"', "ignoring nclx profile")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the decoder says of a file: whether it reads all of it, and with which complaint. Sizes before any turn."""

    reads: bool
    complaint: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    colorspace: str = ""
    depth: int = 0
    orientation: str = ""
    profile: bool = False  # an embedded ICC profile

    @property
    def failed(self) -> bool:
        """Whether it gave up within the picture: what it shows of that is no measure."""
        return not self.reads or "@ error/" in self.complaint

    @property
    def clean(self) -> bool:
        return self.reads and not self.complaint


@lru_cache
def magick() -> str | None:
    """ImageMagick's program: `magick` (7) or `convert` (6). Other programs are called convert, too."""
    for name in ("magick", "convert-im6", "convert", "/usr/bin/convert"):
        program = shutil.which(name)
        if program and b"ImageMagick" in _run([program, "-version"]).stdout:
            return program
    return None


@lru_cache
def vips() -> str | None:
    return shutil.which("vips")


@lru_cache
def versions() -> str:
    said = [_run([program, "--version"]).stdout.decode().splitlines()[0] for program in (magick(), vips()) if program]
    return ", ".join(line.removeprefix("Version: ").partition(" http")[0] for line in said)


@dataclass(frozen=True, slots=True)
class Picture:
    """A file's reading with the pixels of its first frame, upright, in sRGB, over white: (height, width, 3), 0-255; None
    where it gives none, and `remark` says why, or what could not be done."""

    reading: Reading
    pixels: npt.NDArray[np.uint8] | None = None
    remark: str = ""


def decode(path: Path, image_format: str, cache: Path | None = None) -> Picture:
    """A file as the decoder shows it; out of the cache where it has been decoded before."""
    if cache is None:
        return _decode(path, image_format)
    key = hashlib.sha256(f"{image_format} {versions()} ".encode() + path.read_bytes()).hexdigest()
    kept, pixels = cache / f"{key}.json", cache / f"{key}.npy"
    if kept.exists():
        fields = json.loads(kept.read_text(encoding="utf-8"))
        shown = np.load(pixels, mmap_mode="r") if pixels.exists() else None
        return Picture(Reading(**fields["reading"]), shown, fields["remark"])
    picture = _decode(path, image_format)
    if _NO_END in picture.reading.complaint + picture.remark:
        return picture  # a busy machine, perhaps: asked again the next time
    if picture.pixels is not None:
        np.save(pixels, picture.pixels)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps({"reading": asdict(picture.reading), "remark": picture.remark}), encoding="utf-8")
    unfinished.replace(kept)
    return picture


def by_vips(path: Path, image_format: str) -> npt.NDArray[np.uint8] | None:
    """The pixels as libvips decodes them, in the same form; None where it has no decoder of its own (BMP) or fails."""
    if vips() is None or image_format == "BMP" or image_format in _BY_VIPS:
        return None
    with tempfile.TemporaryDirectory() as folder:
        png = Path(folder) / "image.png"
        turned = _run([str(vips()), "autorot", f"{path.resolve()}", f"{png}[compression=1]"])
        return _decode(png, "PNG").pixels if not turned.returncode and png.exists() else None


def _decode(path: Path, image_format: str) -> Picture:
    with _Opened(path, image_format) as opened:
        return opened.show()


class _Opened:
    """A file under a plain name in a folder of its own: brackets, colons and percent signs in a name mean something to
    ImageMagick, and a wrong suffix too."""

    def __init__(self, path: Path, image_format: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._file = folder / f"image.{_SUFFIXES.get(image_format, 'bin')}"
        if image_format == "JPEG 2000" and path.read_bytes()[:4] == b"\xff\x4f\xff\x51":
            self._file = folder / "image.j2k"
        self._file.symlink_to(path.resolve())
        self._complaint = ""
        self._error = ""
        if image_format in _BY_VIPS:
            self._by_vips(folder / "image.png")

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def show(self) -> Picture:
        """Decode every frame, and show the first."""
        if self._error:
            return Picture(Reading(False, self._error))
        done, shown = self._convert(["-colorspace", "sRGB"])
        lines = self._text("frames.txt")
        complaint = " ".join(part for part in (self._complaint, _said(done)) if part)
        if not lines:
            return Picture(Reading(False, complaint or "nothing in it"))
        fields = lines[0].split(" ", 5)
        width, height, depth = (int(number) for number in fields[:3])
        profile = len(fields) == 6 and bool(fields[5].strip())
        reading = Reading(True, complaint, width, height, len(lines), fields[4], depth, fields[3], profile)
        remark = "" if shown is not None else "the other decoder gives no pixels"
        if profile:
            done, in_srgb = self._convert(["-profile", self._srgb()])
            if done.returncode == TIMED_OUT:
                return Picture(reading, None, _said(done))
            if in_srgb is None:  # one of another colour space than the pixels: nobody can apply it
                remark = remark or "its profile does not fit"
            else:
                shown, remark = in_srgb, ""
        return Picture(reading, shown, remark)

    def _convert(self, colours: list[str]) -> tuple[subprocess.CompletedProcess[bytes], npt.NDArray[np.uint8] | None]:
        """The first frame, upright, over white, as far as it goes; and a line about each frame in frames.txt."""
        about, target, folder = "frames.txt", "image.rgb", self._file.parent
        is_gif = self._file.suffix == ".gif"
        size = "%W %H" if is_gif else "%w %h"
        command = [str(magick()), *_LIMITS, "-regard-warnings", str(self._file)]
        command += [
            "-format",
            f"{size} %z %[orientation] %[colorspace] %[profile:icc]\n",
            "-write",
            f"info:{folder / about}",
        ]
        # The first frame of a GIF may be smaller than its canvas. The offset of anything else is no part of its picture.
        command += ["-delete", "1--1", *(["-coalesce"] if is_gif else []), "+repage", "-auto-orient", *colours]
        # Grey stays one channel in some versions, whatever is written: TrueColor makes three of it.
        command += ["-background", "white", "-alpha", "remove", "-alpha", "off", "-type", "TrueColor", "-depth", "8"]
        done = _run([*command, "-write", f"RGB:{folder / target}", "-format", "%w %h\n", f"info:{folder / 'size.txt'}"])
        size_lines = self._text("size.txt")
        if not size_lines or not (folder / target).exists():
            return done, None
        width, height = (int(number) for number in size_lines[0].split())
        data = np.fromfile(folder / target, dtype=np.uint8)
        return done, data.reshape(height, width, 3) if data.size == width * height * 3 else None

    def _text(self, name: str) -> list[str]:
        path = self._file.parent / name
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []

    def _srgb(self) -> str:
        path = self._file.parent / "srgb.icc"
        path.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        return str(path)

    def _by_vips(self, png: Path) -> None:
        if vips() is None:
            self._error = "vips is not installed"
            return
        done = _run([str(vips()), "copy", str(self._file), f"{png}[compression=1]"])
        if done.returncode or not png.exists():
            self._error = _said(done) or "vips gives nothing"
        else:
            self._complaint, self._file = _said(done), png


def _run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1"}
    try:
        return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, TIMED_OUT, b"", f"{_NO_END} {TIMEOUT_S} s".encode())


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a program complains of, on one line."""
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    silent = not lines
    lines = [line for line in lines if not any(idle in line for idle in _IDLE)]
    if done.returncode and silent:
        lines = [f"exit code {done.returncode}"]
    return " | ".join(lines)[:300]
