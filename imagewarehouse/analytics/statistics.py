"""Numbers made of counts: percentiles of bins, and how far two mixes are apart. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imagewarehouse.analytics.catalog import LATENCY_BINS, LEAST_MS

_SMALLEST_SHARE = 1e-4  # a class that one of the mixes lacks would make the index infinite


class Bin(NamedTuple):
    """Milliseconds whose logarithm is about the same."""

    number: int
    images: int
    least: float
    most: float


def percentile(bins: Sequence[Bin], share: float) -> float | None:
    """The value at rank ceil(share * n), in milliseconds, within one per cent: the middle of its bin.

    None without values.

    Args: bins: in the order of their numbers.
    """
    total = sum(found.images for found in bins)
    rank = max(1, math.ceil(share * total))
    for found in bins:
        rank -= found.images
        if rank <= 0:
            low, high = _edges(found.number)
            return math.sqrt(max(low, found.least, 1e-9) * max(min(high, found.most), 1e-9)) if found.most > 0 else 0.0
    return None


def _edges(number: int) -> tuple[float, float]:
    if number < 0:
        return 0.0, LEAST_MS
    return LEAST_MS * math.exp(number / LATENCY_BINS), LEAST_MS * math.exp((number + 1) / LATENCY_BINS)


def stability_index(expected: Mapping[str, float], actual: Mapping[str, float]) -> float | None:
    """Population stability index of two mixes, given as counts or shares by class. None where one of them is empty.

    Below 0.1 they are alike; above 0.25 they have drifted apart. Source: the usual rule of credit scoring (Siddiqi, 2006).
    """
    whole, part = sum(expected.values()), sum(actual.values())
    if whole <= 0 or part <= 0:
        return None
    total = 0.0
    for name in {*expected, *actual}:
        before = max(expected.get(name, 0) / whole, _SMALLEST_SHARE)
        now = max(actual.get(name, 0) / part, _SMALLEST_SHARE)
        total += (now - before) * math.log(now / before)
    return total


def change(now: float, before: float) -> float | None:
    """Of `before`, as a share: 0.5 is half as much again. None where there was nothing before."""
    return None if before == 0 else (now - before) / before
