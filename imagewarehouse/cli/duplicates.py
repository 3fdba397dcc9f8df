"""`imagewarehouse duplicates`: pictures that were sent more than once, or nearly so, and who sends them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.cli.keeping import RowsMeant, keeping_options
from imagewarehouse.cli.rows import plain
from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

    from imagewarehouse.rows.whole import Stretch, WholeTable
    from imagewarehouse.search.duplicates import Near, Requests, Sent

_MOST_SOURCES = 3  # that a table names
_DIGITS = 12  # of an id


@click.command()
@click.option("--exact", "only_exact", is_flag=True, help="Only the same bytes.")
@click.option("--near", "only_near", is_flag=True, help="Only what nearly looks the same.")
@click.option(
    "--distance",
    type=click.FloatRange(0, 1),
    default=None,
    help="How far apart pictures may be that nearly look the same: the cosine distance, 0 to 1.  [default: 0.02]",
)
@click.option(
    "--since", metavar="TIME", help="Only requests from this date or time on (ISO 8601; UTC), or from so long ago: 7d."
)
@click.option("--until", metavar="TIME", help="Only requests before this date or time.")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="How many of each kind are shown.")
@click.option("--json/--table", "as_json", default=False, help="One JSON object a line, or tables.  [default: table]")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: only on a terminal]")
@keeping_options
def duplicates(
    only_exact: bool,
    only_near: bool,
    distance: float | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
    progress: bool | None,
    store: str | None,
    settings: tuple[str, ...],
    **rows: Any,
) -> None:
    """Show pictures that were sent more than once, those that nearly look the same, and how many of them each source sends.

    The same picture has the same image_id, its sha256. What nearly looks the same is found by embeddings, of requests that
    were classified while model.embedding was true: the picture that came first stands for a group, and those belong to it that
    are no farther from it than --distance. Nothing is changed.

    \b
    Examples:
      imagewarehouse duplicates --since 7d
      imagewarehouse duplicates --near --distance 0.02 --json --limit 1000000 > near.jsonl
      imagewarehouse duplicates --exact --masters kudu-1:7051,kudu-2:7051

    \b
    Exit codes:
      0    looked at, whether there are duplicates or not
      2    a wrong argument, or the rows cannot be read
      130  stopped with Ctrl-C
    """
    from imagewarehouse.search.duplicates import NEAR, Requests

    kind = None if only_exact == only_near else "exact" if only_exact else "near"
    if kind == "exact" and distance is not None:
        raise ConfigurationError("--distance", "is for what nearly looks the same, and --exact leaves that out")
    if distance is not None and math.isnan(distance):  # which no range leaves out
        raise ConfigurationError("--distance", "expected 0 to 1, received nan")
    begin, end = _moment(since, "--since"), _moment(until, "--until")
    if begin and end and begin >= end:
        raise ConfigurationError("--until", "is not after --since, so that no time lies between them")
    with RowsMeant(**rows).open(look_only=True) as (table, _), _bar("rows", None, progress) as advance:
        requests = Requests(_pages(table, begin, end), advance)
    near: list[Near] = []
    if kind != "exact":
        with _bar("pictures", requests.comparable, progress) as advance:
            near = requests.near(NEAR if distance is None else distance, advance)
    exact = list(requests.exact()) if kind != "near" else []
    if as_json:
        for sent in exact[:limit]:
            _print({"kind": "exact", **sent.as_json()})
        for group in near[:limit]:
            _print(group.as_json())
        _print(_summary(requests, exact, near))
    else:
        _print_tables(requests, kind, exact, near, limit)


def _pages(table: WholeTable, since: datetime | None, until: datetime | None) -> Iterator[pa.Table]:
    for stretch in table.stretches():
        part = _within(stretch, since, until)
        if part is not None:
            yield from table.pages(part)


def _within(stretch: Stretch, since: datetime | None, until: datetime | None) -> Stretch | None:
    """What of it is between these; None: nothing."""
    first = max((time for time in (stretch.since, since) if time is not None), default=None)
    last = min((time for time in (stretch.until, until) if time is not None), default=None)
    return (
        None if first is not None and last is not None and first >= last else stretch._replace(since=first, until=last)
    )


def _moment(text: str | None, setting: str) -> datetime | None:
    """Raises ConfigurationError."""
    from imagewarehouse.search.asking import moment

    if text is None:
        return None
    try:
        return moment(text, datetime.now(timezone.utc))
    except ValueError as err:
        raise ConfigurationError(setting, str(err)) from err


@contextmanager
def _bar(what: str, total: int | None, progress: bool | None) -> Iterator[Callable[[int], None]]:
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


# --- what is shown ------------------------------------------------------------------------------------------------


def _summary(requests: Requests, exact: Sequence[Sent], near: Sequence[Near]) -> dict[str, Any]:
    return {
        "requests": requests.requests,
        "pictures": requests.pictures,
        "comparable": requests.comparable,
        "exact": len(exact),
        "near": len(near),
        "sources": [
            {"source": source, "requests": count, "again": again} for source, count, again in requests.by_source()
        ],
    }


def _print(values: Any) -> None:
    click.echo(json.dumps(_printable(values), ensure_ascii=False))


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {plain(name): _printable(inner) for name, inner in value.items()}
    return [_printable(inner) for inner in value] if isinstance(value, list) else plain(value)


def _print_tables(
    requests: Requests, kind: str | None, exact: Sequence[Sent], near: Sequence[Near], limit: int
) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160)
    click.echo(f"{requests.requests:,} requests sent {requests.pictures:,} pictures")
    if kind != "near":
        click.echo(f"\nthe same bytes: {len(exact):,} pictures were sent more than once")
        if exact[:limit]:
            rows: list[tuple[object, ...]] = [(_id(sent), sent.requests, *_facts(sent)) for sent in exact[:limit]]
            console.print(_table(("picture", "requests", "first", "last", "from", "class", "file name"), rows))
    if kind != "exact":
        known = f"of {requests.comparable:,} pictures it is known what they look like"
        click.echo(f"\nnearly the same look: {len(near):,} groups; {known}")
        if near[:limit]:
            rows = []
            for group in near[:limit]:
                farthest = group.others[-1][1]
                whole = _together(group)
                rows.append((_id(group.first), len(group.others), f"{farthest:.4f}", *_facts(whole)))
            console.print(
                _table(("picture", "others", "farthest", "first", "last", "from", "class", "file name"), rows)
            )
    again = [each for each in requests.by_source() if each[2]]
    if again:
        click.echo("\nby source: requests with a picture that had been sent before")
        rows = [
            (source, f"{count:,}", f"{repeated:,}", f"{repeated / count:.1%}")
            for source, count, repeated in again[:limit]
        ]
        console.print(_table(("source", "requests", "again", ""), rows))


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(plain(cell))) for cell in row))
    return table


def _id(sent: Sent) -> str:
    return sent.image_id[:_DIGITS]


def _facts(sent: Sent) -> tuple[str, str, str, str | None, str | None]:
    named = [f"{source} ({count:,})" for source, count in islice(sent.sources, _MOST_SOURCES)]
    more = len(sent.sources) - _MOST_SOURCES
    sources = ", ".join(named) + (f" and {more:,} more" if more > 0 else "")
    return (
        f"{sent.first:%Y-%m-%d %H:%M:%S}",
        f"{sent.last:%Y-%m-%d %H:%M:%S}",
        sources,
        sent.predicted_class,
        sent.file_name,
    )


def _together(group: Near) -> Sent:
    """The picture that stands for a group, with the times and sources of all."""
    counts: dict[str, int] = {}
    for sent in (group.first, *(sent for sent, _ in group.others)):
        for source, count in sent.sources:
            counts[source] = counts.get(source, 0) + count
    last = max(sent.last for sent, _ in ((group.first, 0.0), *group.others))
    return replace(group.first, last=last, sources=tuple(sorted(counts.items(), key=lambda each: (-each[1], each[0]))))
