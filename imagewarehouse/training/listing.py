"""A list of labelled images that are not read yet; every kind of source yields one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from imagewarehouse.errors import ConfigurationError, TooLarge
from imagewarehouse.limits import Limits

IntArray = npt.NDArray[np.int64]
TextArray = npt.NDArray[np.str_]
Load: TypeAlias = Callable[[], bytes]  # raises ImageRejected or OSError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "val", "valid", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
LIMITS = Limits()


class Reader(Protocol):
    """Where the files of a listing come from."""

    def read(self, rows: IntArray) -> Iterator[tuple[int, Load]]:
        """For each of `rows`, in any order: its position in `rows`, and what loads the image file's bytes."""


@dataclass(frozen=True, slots=True)
class Listing:
    """N labelled images that nobody has read yet."""

    source: str  # name of the file or folder, without the folders above it
    classes: tuple[str, ...]
    labels: IntArray  # (N,), indices into classes
    names: tuple[str, ...]  # N, relative paths or rows, one printable line each
    parts: TextArray  # (N,), TRAIN, VALIDATION or TEST, or "" where the source does not say
    reader: Reader = field(repr=False)
    stamp: str  # hex; changes when a file is added, removed or written again
    numbers: Mapping[int, str] = field(default_factory=dict)  # class by its number, where the labels are numbers
    has_names: bool = True  # False: the classes are called by their numbers, for want of names
    problems: tuple[str, ...] = ()


def missing(column: str, rows: Sequence[int], setting: str) -> ConfigurationError:
    """The error for a column that is empty in `rows`, counted from 0."""
    return ConfigurationError(
        setting, f"column {column} is empty in {len(rows)} row(s), first in row {rows[0] + 1} of the data"
    )


def check_bytes(size: int) -> None:
    """Raises TooLarge above what the warehouse takes of one image."""
    if size > LIMITS.max_bytes:
        raise TooLarge(f"{size} bytes, at most {LIMITS.max_bytes} are allowed")
