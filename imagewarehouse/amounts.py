"""Counts, lists and sizes as readable text."""

from __future__ import annotations

from collections.abc import Sequence


def counted(value: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """`a, b, c and 4 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def file_size(count: int) -> str:
    """`12.5 MB`, `0.8 kB` for a number of bytes; powers of ten, as file managers have them."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
