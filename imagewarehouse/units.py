"""Sizes and times as NiFi writes them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB)", re.IGNORECASE)
_BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_DURATION = re.compile(
    r"(\d+(?:\.\d+)?)\s*(?:(ns|nanos?|nanoseconds?)|(us|micros?|microseconds?)|(ms|millis?|milliseconds?)"
    r"|(s|secs?|seconds?)|(m|mins?|minutes?)|(h|hrs?|hours?)|(d|days?)|(w|wks?|weeks?))",
    re.IGNORECASE,
)
_SECONDS = (1e-9, 1e-6, 1e-3, 1.0, 60.0, 3600.0, 86400.0, 604800.0)  # in the order of the pattern's groups


def parse_size(text: str) -> int | None:
    """Bytes of a size such as `20 MB` (1 KB is 1,024 bytes, as in NiFi); None when it is none."""
    match = _SIZE.fullmatch(text.strip())
    return None if match is None else int(float(match[1]) * _BYTES[match[2].upper()])


def parse_duration(text: str) -> float | None:
    """Seconds of a time period such as `30 sec`, `1 min` or `500 ms`; None when it is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    unit = next(index for index, name in enumerate(match.groups()[1:]) if name)
    return float(match[1]) * _SECONDS[unit]
