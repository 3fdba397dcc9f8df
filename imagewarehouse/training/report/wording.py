"""Numbers, sizes and foreign text as the page shows them: plain text, escaped by the templates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 120  # characters of a name


def short(value: object, longest: int = LONGEST) -> str:
    """Foreign text without characters that cannot be seen; of a long one the beginning and the end."""
    unseen = "\N{REPLACEMENT CHARACTER}"
    text = "".join(char if char.isprintable() else " " if char.isspace() else unseen for char in str(value))
    if len(text) > longest:
        half = (longest - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return text


def words(value: Any) -> str:
    """A value of the manifest in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {words(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(words(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def count(value: int) -> str:
    return f"{value:,}"


def percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    return f"{value:.3f}"


def ms(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def noise(metrics: Mapping[str, Any]) -> str:
    """How far chance alone moves the accuracy, in a sentence or two."""
    points = f"±\N{NO-BREAK SPACE}{metrics['noise_points']:.1f} points"
    return (
        f"Another run, or the same seed again, differs by chance within about {points} on {metrics['images']:,} images "
        "(95 %, Wilson). A smaller difference between two models may be chance too."
    )
