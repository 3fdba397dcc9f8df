"""Columns, numbers and sizes as the commands print them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click


def print_columns(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for line in (header, *lines):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(value: Any, indent: int | None = None) -> None:
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def progress(text: str) -> None:
    """Prints a step that takes time, on a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"{text} ...", err=True)


def number(value: int | None) -> str:
    """`20,000`; a question mark for what is not known: None, or -1 as Kudu's clients have it."""
    return "?" if value is None or value < 0 else f"{value:,}"


def size(value: int | None) -> str:
    """`1.5 GiB`; a question mark for what is not known."""
    if value is None or value < 0:
        return "?"
    amount = float(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
