"""Problems of a data set, one line each, shown before a training and in its report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from imagewarehouse.images.decoding import UInt8Array
from imagewarehouse.training.dataset_reading import Contents
from imagewarehouse.training.dataset_split import FEWEST, Split
from imagewarehouse.training.listing import IntArray, Listing

ADVISED = 20  # images of a class: with fewer, a tenth of them to validate says nothing
MOST_LINES = 20  # of one kind of problem


def images(count: int) -> str:
    """Such as "1 image", "2 images"."""
    return f"{count} image" if count == 1 else f"{count} images"


class Problems:
    """Lines by their kind; of each kind only the first few are kept, the others are counted."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._lines: dict[str, list[str]] = defaultdict(list)
        self._more: dict[str, int] = defaultdict(int)
        self.extend(lines)

    def add(self, kind: str, line: str) -> None:
        if len(self._lines[kind]) < MOST_LINES:
            self._lines[kind].append(line)
        else:
            self._more[kind] += 1

    def extend(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.add("notes", line)

    def lines(self) -> tuple[str, ...]:
        result: list[str] = []
        for kind, lines in self._lines.items():
            result += lines
            if self._more[kind]:
                result.append(f"... and {self._more[kind]} more {kind}")
        return tuple(result)

    def unreadable(self, listing: Listing, rows: IntArray, contents: Contents) -> None:
        for position, reason in zip(contents.failed, contents.reasons, strict=True):
            self.add("images left out", f"{listing.names[rows[position]]} is left out: {reason}")

    def duplicates(self, labels: IntArray, digests: UInt8Array) -> None:
        """Report pictures that lie in two classes: at most one class can be right."""
        of: dict[bytes, set[int]] = defaultdict(set)
        for label, digest in zip(labels.tolist(), map(bytes, digests), strict=True):
            of[digest].add(label)
        several = sum(len(classes) > 1 for classes in of.values())
        if several:
            self.add("notes", f"{several} picture(s) lie in more than one class, byte for byte")

    def small_classes(
        self, listing: Listing, split: Split, usable: IntArray, validated: bool, tested: bool, limit: int | None
    ) -> None:
        """Report classes with too few images for a held-out part (`validated`, `tested`: which parts) or for learning."""
        rows = np.concatenate([split.train, split.validation, split.test])
        counts = np.bincount(listing.labels[rows], minlength=len(listing.classes))
        but = {
            (True, True): "neither validated nor tested",
            (True, False): "not validated",
            (False, True): "not tested",
        }
        for label in usable.tolist():
            count, different = int(counts[label]), split.different.get(label, 0)
            same = f", {different} different" if different < min(count, FEWEST) else ""
            have = f"class {listing.classes[label]!r} has {images(count)}{same}"
            if different < FEWEST and (validated or tested):
                it_is = "it is" if count == 1 else "they are"
                line = f"{have}: {it_is} trained on but {but[validated, tested]}; at least {ADVISED} are advised"
                self.add("small classes", line)
            elif count < ADVISED and limit is None:
                self.add("small classes", f"{have}; at least {ADVISED} are advised")
