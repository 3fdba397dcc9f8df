"""One file, both sides."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.collections import files, other, ours
from imagewarehouse.errors import WarehouseError

Pixels = npt.NDArray[np.uint8]
MOST_LEVELS = 8.0  # of 255; beyond that a picture is another one
NOT_OURS = ("type.not_accepted",)  # not on the list of types, by design


@dataclass(frozen=True, slots=True)
class Task:
    file: files.File
    url: str | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Both verdicts on one file. `difference`: mean over all pixels and channels, in levels of 255; None where nothing
    was compared, for the reason in `compared`."""

    path: str
    format: str
    declared: str
    code: str  # empty: accepted
    detail: str
    width: int
    height: int
    other: other.Reading | None
    difference: float | None = None
    compared: str = ""
    third: str = ""  # what libvips says where they differ
    wrong: str = ""  # what is wrong beside the pixels: another size, no pixels at all

    @property
    def accepted(self) -> bool:
        return not self.code

    @property
    def by_design(self) -> bool:
        return self.code in NOT_OURS

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(task: Task) -> Measured:
    file = task.file
    judged = ours.post(task.url, file.path, file.declared) if task.url else ours.check(file.path, file.declared)
    said = (str(file.path), file.format, file.declared, judged.code, judged.detail, judged.width, judged.height)
    if file.format == files.OTHER:
        return Measured(*said, None)
    picture = other.decode(file.path, file.format, task.cache)
    reading, theirs = picture.reading, picture.pixels
    if not judged.accepted or reading.failed:
        return Measured(*said, reading)
    if task.url:
        same = sorted((judged.width, judged.height)) == sorted((reading.width, reading.height))
        wrong = "" if same else f"{judged.width} x {judged.height}, not {reading.width} x {reading.height}"
        return Measured(*said, reading, None, "a service shows no pixels", wrong=wrong)
    if theirs is None:
        return Measured(*said, reading, None, picture.remark)
    height, width = theirs.shape[:2]
    if sorted((judged.width, judged.height)) != sorted((width, height)):
        wrong = f"{judged.width} x {judged.height}, not {width} x {height}"
        return Measured(*said, reading, None, "another size", wrong=wrong)
    try:
        mine = ours.pixels(Path(file.path), judged, width, height)
    except WarehouseError as err:
        return Measured(*said, reading, None, "no pixels", wrong=f"accepted, but gives no pixels: {err}")
    apart = difference(mine, theirs)
    third = _third_opinion(file, mine, theirs) if apart > MOST_LEVELS else ""
    return Measured(*said, reading, apart, picture.remark, third)


def _third_opinion(file: files.File, mine: Pixels, theirs: Pixels) -> str:
    """Which side libvips is on: a hint for whoever looks into it, no verdict."""
    shown = other.by_vips(file.path, file.format)
    if shown is None or shown.shape != mine.shape:
        return ""
    return f"(libvips: {difference(mine, shown):.1f} from ours, {difference(theirs, shown):.1f} from ImageMagick)"


def difference(one: Pixels, two: Pixels) -> float:
    """Mean absolute difference in levels; in bands, so that 50 megapixels need no copies of 16 bits."""
    total, band = 0, max(1, 1_000_000 // one.shape[1])
    for top in range(0, one.shape[0], band):
        a, b = (pixels[top : top + band].astype(np.int16) for pixels in (one, two))
        total += int(np.abs(a - b).sum(dtype=np.int64))
    return total / one.size
