"""`imagewarehouse table partitions`: lists range partitions, adds some, drops old ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Any

import click

from imagewarehouse.amounts import counted
from imagewarehouse.cli.kudu.connection import Cluster
from imagewarehouse.cli.kudu.printing import number, print_columns, print_json, progress, size
from imagewarehouse.cli.kudu.ranges import (
    distance,
    ends,
    parse_server_range,
    parse_time,
    range_json,
    range_text,
    time_kind,
    usual_unit,
)
from imagewarehouse.cli.kudu.show import hashes_text
from imagewarehouse.cli.kudu.tablets import by_range, read_tablets
from imagewarehouse.errors import ConfigurationError, KuduUnavailable
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import KuduType, Range, RangePolicy, TableSchema
from imagewarehouse.kudu.writing.ranges import Retention, judge, plan, range_of, unit_start

_MOST_RANGES = 1000  # added at once; more is a slip of the keyboard
_WEB_TIMEOUT_S = 2.0  # the web pages may be behind a firewall, and are a bonus here


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes requested by the options of the same names. Raises ConfigurationError on construction."""

    add: tuple[str, ...] = ()
    add_until: str | None = None
    ahead: int | None = None
    drop_before: str | None = None
    keep_months: int | None = None

    def __post_init__(self) -> None:
        times = [("--add", text) for text in self.add]
        for option, text in (*times, ("--add-until", self.add_until), ("--drop-before", self.drop_before)):
            if text is not None:
                parse_time(text, option)

    def __bool__(self) -> bool:
        return any(value not in ((), None) for value in astuple(self))

    def adding(self, schema: TableSchema, existing: Sequence[Range], unit: str | None, now: datetime) -> list[Range]:
        """The ranges to add, by time; some may be there already. Raises ConfigurationError."""
        kind, column = _time_kind(schema), schema.range_columns[0]
        usual = unit or usual_unit(schema, existing) or "month"
        ranges = set()
        for moment, form in (parse_time(text, "--add") for text in self.add):
            ranges.add(range_of(moment, unit or form, kind))
        if self.add_until is not None:
            policy = RangePolicy(column, usual, _units_until(self.add_until, usual, now))
            ranges.update(plan(policy, kind, existing, now).add)
        if self.ahead is not None:
            ranges.update(plan(RangePolicy(column, usual, self.ahead), kind, existing, now).add)
        return sorted(ranges, key=lambda part: part.lower or ())

    def dropping(self, schema: TableSchema, existing: Sequence[Range], now: datetime) -> list[Range]:
        """Raises ConfigurationError."""
        kind = _time_kind(schema)
        expired = self._before_the_cut(kind, existing, now)
        if self.keep_months is not None:
            expired.update(plan(self._policy(schema), kind, existing, now).drop)
        return [part for part in existing if part in expired]

    def doubt(self, writer: KuduWriter, schema: TableSchema, existing: Sequence[Range], now: datetime) -> Retention:
        """The ranges of --keep-months that `judge` refuses to drop and that --drop-before does not cover."""
        kind = _time_kind(schema)
        if self.keep_months is None or not plan(self._policy(schema), kind, existing, now).drop:
            return Retention()
        with_rows = writer.ranges_with_rows(schema.name, existing)
        retention = judge(self._policy(schema), kind, existing, with_rows, now, writer.clock())
        meant = self._before_the_cut(kind, existing, now)
        return replace(retention, refused=tuple(part for part in retention.refused if part not in meant))

    def _before_the_cut(self, kind: KuduType, existing: Sequence[Range], now: datetime) -> set[Range]:
        if self.drop_before is None:
            return set()
        moment, form = parse_time(self.drop_before, "--drop-before")
        if moment > now:  # a slip of the pen may not cost the rows of this month
            raise ConfigurationError("--drop-before", f"{self.drop_before} is still to come")
        cut = range_of(moment, form, kind).lower
        return {part for part in existing if part.upper is not None and part.upper <= (cut or ())}

    def _policy(self, schema: TableSchema) -> RangePolicy:
        return RangePolicy(schema.range_columns[0], "month", 0, self.keep_months)


def change_ranges(
    cluster: Cluster,
    name: str,
    changes: Changes,
    unit: str | None,
    now: datetime,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add and drop ranges, and print each change. `yes`: drop without asking."""
    would = "would be " if dry_run else ""
    done: dict[str, Any] = {"table": name, "dry_run": dry_run, "added": [], "dropped": []}

    def say(part: Range, outcome: str) -> None:
        if not as_json:
            click.echo(f"{range_text(part)}  {outcome}")

    with cluster.connect(name) as writer:
        schema, existing = writer.schema(name, refresh=True), writer.ranges(name)
        adding, dropping = changes.adding(schema, existing, unit, now), changes.dropping(schema, existing, now)
        rows = _rows_in(writer, cluster, schema, dropping)
        doubt = changes.doubt(writer, schema, existing, now) if dropping else Retention()
        warning = _doubt_text(doubt, now, writer.clock()) if doubt.refused else ""
        if warning and yes and not dry_run:
            raise ConfigurationError("--keep-months", f"{warning}; if it is, give --drop-before {doubt.drop_before}")
        if warning:
            click.echo(f"warning: {warning}", err=True)
        if dropping and not dry_run and not yes:
            _confirm(name, rows)
        for part in adding:
            if part in existing or (not dry_run and not writer.add_range(name, part)):
                say(part, "is there already")
            else:
                done["added"].append(range_json(part))
                say(part, f"{would}added")
        for part in dropping:
            if not dry_run and not writer.drop_range(name, part):
                say(part, "is gone already")
            else:
                done["dropped"].append({**range_json(part), "rows": rows[part]})
                say(part, f"{would}dropped with {counted(rows[part], 'row')}")
    if as_json:
        print_json(done)
    elif not done["added"] and not done["dropped"]:
        click.echo("nothing to do" if dry_run else "nothing was changed")


def list_ranges(cluster: Cluster, name: str, unit: str | None, now: datetime, as_json: bool) -> None:
    """`unit`: length of the ranges that may be missing; None: that of the others."""
    with cluster.connect(name) as writer:
        schema, existing = writer.schema(name, refresh=True), writer.ranges(name)
    sizes = _sizes(cluster, schema)
    if as_json:
        for part in existing:
            rows, data_bytes = sizes.get(part, (None, None))
            print_json({**range_json(part), "rows": rows, "bytes": data_bytes})
        return
    if not schema.range_columns:
        click.echo(f"table {name} has no range partitions: {hashes_text(schema)}")
        return
    kind = time_kind(schema)
    click.echo(f"table {name}: {hashes_text(schema)}, ranges over {', '.join(schema.range_columns)}")
    if existing:
        lines = []
        for part in existing:
            rows, data_bytes = sizes.get(part, (None, None))
            lines.append((*ends(part), *([distance(part, now)] if kind else ()),
                          *([number(rows), size(data_bytes)] if sizes else ())))  # fmt: skip
        print_columns(("from", "to", *([""] if kind else ()), *(["rows", "data"] if sizes else ())), lines)
    else:
        click.echo("no range at all: no row can be written")
    if kind:
        policy = RangePolicy(schema.range_columns[0], unit or usual_unit(schema, existing) or "month")
        planned = f"this {policy.unit} and the next {policy.ahead}"
        missing_ranges = plan(policy, kind, existing, now).add
        if missing_ranges:
            click.echo(
                f"missing of {planned}: {', '.join(map(range_text, missing_ranges))}; add with --ahead {policy.ahead}"
            )
        else:
            click.echo(f"{planned} are there")


def _time_kind(schema: TableSchema) -> KuduType:
    """Type of the range column. Raises ConfigurationError where ranges are not of time."""
    kind = time_kind(schema)
    if kind is None:
        over = ", ".join(f"{c} {schema.column(c).type_text}" for c in schema.range_columns)
        problem = f"has ranges over {over}, which is no time" if over else "has no range partitions"
        raise ConfigurationError("TABLE", f"{schema.name} {problem}: they cannot be added or dropped by month")
    return kind


def _units_until(text: str, unit: str, now: datetime) -> int:
    """How many units after that of `now` the last one is. Raises ConfigurationError."""
    last, _ = parse_time(text, "--add-until")
    start = unit_start(now, unit)
    if last < start:
        raise ConfigurationError("--add-until", f"{last:%Y-%m-%d} is past; --add adds single ranges")
    years = last.year - start.year
    units = {"day": (last - start).days, "month": 12 * years + last.month - start.month, "year": years}[unit]
    if units > _MOST_RANGES:
        raise ConfigurationError(
            "--add-until", f"more than {_MOST_RANGES} ranges of a {unit} from now on; is it the right year?"
        )
    return units


def _rows_in(writer: KuduWriter, cluster: Cluster, schema: TableSchema, parts: Sequence[Range]) -> dict[Range, int]:
    """The number of rows of each range: from the tablet leaders, else counted by reading the keys."""
    sizes = _sizes(cluster, schema) if parts else {}
    counts = {}
    for part in parts:
        if part in sizes:
            counts[part] = sizes[part][0]
        else:
            progress(f"counting the rows of {range_text(part)}")
            counts[part] = writer.count(schema.name, part)
    return counts


def _sizes(cluster: Cluster, schema: TableSchema) -> dict[Range, tuple[int, int]]:
    """(rows, bytes of data) of each range whose tablets all report them; empty where the web pages do not answer."""
    kind = time_kind(schema)
    if kind is None:
        return {}
    try:
        tablets = read_tablets(cluster.web, schema.name, min(cluster.timeout, _WEB_TIMEOUT_S)).tablets
    except KuduUnavailable:
        return {}
    buckets = math.prod(level.buckets for level in schema.hashes)
    sizes = {}
    for text, members in by_range(tablets).items():
        part = parse_server_range(text, kind)
        if part is not None and len(members) == buckets and all(t.rows is not None for t in members):
            sizes[part] = sum(t.rows or 0 for t in members), sum(t.data or 0 for t in members)
    return sizes


def _confirm(name: str, rows: dict[Range, int]) -> None:
    summary = f"{counted(len(rows), 'range')} of {name} with {counted(sum(rows.values()), 'row')}"
    if not _can_ask():
        raise ConfigurationError("--yes", f"is needed to drop {summary}, as nobody can be asked; --dry-run shows them")
    for part in rows:
        click.echo(f"{range_text(part)}  {counted(rows[part], 'row')}", err=True)
    if not click.confirm(f"Drop {summary} for good?", err=True):
        click.echo("nothing was changed", err=True)
        sys.exit(1)


def _doubt_text(retention: Retention, now: datetime, kudu_now: datetime | None) -> str:
    kudu = f"Kudu's clock says {kudu_now:%Y-%m-%d %H:%M}, " if kudu_now is not None else ""
    return (
        f"{retention.refused_text} would be dropped; is the clock of this machine right? It says {now:%Y-%m-%d %H:%M}, "
        f"{kudu}and the newest rows that count are of {retention.newest}"
    )


def _can_ask() -> bool:
    return sys.stdin.isatty()
