"""Divides images into parts: seeded, class by class, and never the same picture on two sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from imagewarehouse.images.decoding import UInt8Array
from imagewarehouse.training.listing import IntArray

FEWEST = 3  # different images of a class, below which all of them are trained on


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of the three parts, `train` in the order to train in, and how many different images each class has."""

    train: IntArray
    validation: IntArray
    test: IntArray
    different: dict[int, int]


def sample_rows(rows: IntArray, labels: IntArray, limit: int | None, seed: int) -> IntArray:
    """At most `limit` of `rows`, ascending, each class by its share, but one of each before a second of any."""
    if limit is None or len(rows) <= limit:
        return rows
    shuffled = rows[np.random.default_rng((seed, 1)).permutation(len(rows))]
    of_class = labels[shuffled]
    order = np.argsort(of_class, kind="stable")
    counts = np.bincount(of_class)
    within = np.arange(len(rows)) - (np.cumsum(counts) - counts)[of_class[order]]  # 0, 1, 2, ... in each class
    share = np.empty(len(rows))
    share[order] = within / counts[of_class[order]]
    return np.sort(shuffled[np.argsort(share, kind="stable")[:limit]])


def divide(rows: IntArray, labels: IntArray, digests: UInt8Array, validation: float, test: float, seed: int) -> Split:
    """Cut a validation and a test part from `rows`.

    Args:
        labels, digests: (N,) class and (N, 32) content hash of each of `rows`; images of the same hash stay together.
        validation, test: share of each class, 0 to below 1; 0 cuts nothing.
    """
    together: dict[bytes, list[int]] = {}
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for row, label, digest in zip(rows.tolist(), labels.tolist(), map(bytes, digests), strict=True):
        if digest not in together:
            together[digest] = []
            of_class[label].append(together[digest])
        together[digest].append(row)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label, groups in of_class.items():
        order = np.random.default_rng((seed, 2, label)).permutation(len(groups))
        remaining, images = [groups[at] for at in order], sum(map(len, groups))
        for name, share, stays in (("test", test, 1 + (validation > 0)), ("validation", validation, 1)):
            if share > 0 and len(groups) >= FEWEST:
                held_out, remaining = _hold_out(remaining, max(1, round(share * images)), stays)
                parts[name] += _rows(held_out)
        parts["train"] += _rows(remaining)
    train = np.array(sorted(parts["train"]), np.int64)
    return Split(
        train[np.random.default_rng((seed, 3)).permutation(len(train))],
        np.array(sorted(parts["validation"]), np.int64),
        np.array(sorted(parts["test"]), np.int64),
        {label: len(groups) for label, groups in of_class.items()},
    )


def _hold_out(groups: list[list[int]], images: int, minimum: int) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of about `images` images in all, at least one group, and the others, at least `minimum` groups."""
    held_out: list[list[int]] = []
    remaining: list[list[int]] = []
    count = 0
    for group in groups:
        if count + len(group) <= images and len(groups) - len(held_out) > minimum:
            held_out.append(group)
            count += len(group)
        else:
            remaining.append(group)
    if not held_out:  # each group holds more than `images`
        remaining.sort(key=len)
        held_out.append(remaining.pop(0))
    return held_out, remaining


def _rows(groups: Iterable[list[int]]) -> list[int]:
    return [row for group in groups for row in group]
