"""`imagewarehouse table`: Kudu tables for those who look after them."""

from __future__ import annotations

import difflib
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.rows import plain
from imagewarehouse.errors import ConfigurationError, KuduTableMissing, KuduUnavailable

if TYPE_CHECKING:
    from cli.tablets import Found
    from imagewarehouse.kudu.client import KuduWriter
    from imagewarehouse.kudu.schema import KuduType, Range, TableSchema

_IMAGES = "image_events"
_TIME = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_MOST_COLUMNS = 10  # a row of more is shown as lines, a table would not be readable
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which Kudu, and how to ask it. `web`: addresses of web pages, of masters or of tablet servers."""

    masters: str
    web: tuple[str, ...]
    backend: str
    timeout: float

    @contextmanager
    def connect(self) -> Iterator[KuduWriter]:
        """Raises ConfigurationError or KuduUnavailable with one line that people understand."""
        from imagewarehouse.kudu.client import KuduSettings, connect

        try:
            settings = KuduSettings(
                self.masters, self.backend, operation_timeout_s=self.timeout, admin_timeout_s=self.timeout
            )
        except ConfigurationError as err:
            raise ConfigurationError("--masters", err.problem) from err
        _knock(settings.addresses, self.timeout)  # the clients try for all of their time, and say little in many words
        try:
            writer = connect(settings)
            try:
                yield writer
            finally:
                writer.close()
        except KuduUnavailable as err:
            raise KuduUnavailable(readable(str(err), self.masters, self.timeout)) from err

    def tablets(self, table: str, timeout: float) -> Found:
        """Raises KuduUnavailable."""
        from cli.tablets import read_tablets

        return read_tablets(self.web, table, timeout)


def _on_cluster(command: _F) -> Callable[..., Any]:
    """The options of every command: they become one argument `cluster`."""

    def with_cluster(
        masters: str | None, data: Path, backend: str, timeout: float, web: tuple[str, ...] = (), **rest: Any
    ) -> Any:
        return command(cluster=_cluster(masters, data, backend, timeout, web), **rest)

    with_cluster.__doc__ = command.__doc__
    with_cluster.__name__ = command.__name__
    with_cluster.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option("--timeout", type=click.FloatRange(min=0.1), default=10.0, show_default=True, metavar="SECONDS",
                     help="How long Kudu may take to answer."),
        click.option("--client", "backend", type=click.Choice(["java", "native"]), default="java", show_default=True,
                     help="Kudu's Java client, or kudu-python."),
        click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
                     envvar="IMAGEWAREHOUSE_DATA", help="Data folder of the service whose own Kudu is meant."),
        click.option("--masters", metavar="HOST:PORT,...", envvar="IMAGEWAREHOUSE_KUDU_MASTERS",
                     help="Kudu's masters.  [default: the Kudu of --data, where one runs]"),
    ):  # fmt: skip
        with_cluster = option(with_cluster)
    return with_cluster


_web = click.option("--web", multiple=True, metavar="HOST:PORT", help="Web pages of a master or, once for each, of a tablet "
                    "server; may be repeated.  [default: port 8051 of the masters]")  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")


@click.group()
def table() -> None:
    """Make Kudu tables, look at them, and keep their range partitions."""


# --- create -------------------------------------------------------------------------------------------------------


@table.command()
@click.argument("name", metavar="[TABLE]", default=_IMAGES)
@click.option("--schema", "file", type=click.Path(path_type=Path), metavar="FILE.json",
              help="Declaration of the table; `table show --schema` prints one.  [default: image records]")  # fmt: skip
@click.option("--keep-months", type=click.IntRange(1), help="Image records: drop months that are older than these.")
@click.option("--months-ahead", type=click.IntRange(0), help="Image records: ranges made ahead of need.  [default: 2]")
@click.option("--buckets", type=click.IntRange(2), help="Image records: hash buckets, over the servers.  [default: 4]")
@click.option("--replicas", type=click.IntRange(1), help="Copies of each row, an odd number.  [default: the cluster's]")
@click.option("--dry-run", is_flag=True, help="Print the declaration, and connect to nothing.")
@_on_cluster
def create(
    cluster: Callable[[], Cluster],
    name: str,
    file: Path | None,
    keep_months: int | None,
    months_ahead: int | None,
    buckets: int | None,
    replicas: int | None,
    dry_run: bool,
) -> None:
    """Make a table: that of the image records, or the one that a file declares.

    A table that is there already is compared and never changed. Exit code 1: it differs.

    \b
    Examples:
      imagewarehouse table create --dry-run
      imagewarehouse table create sensors --schema sensors.json --masters kudu-1:7051
    """
    from imagewarehouse.kudu.schema import schema_json

    given = {"keep_months": keep_months, "months_ahead": months_ahead, "hash_buckets": buckets}
    chosen = {option: value for option, value in given.items() if value is not None}
    declared = _declared(name, file, chosen, replicas)
    if dry_run:
        click.echo(json.dumps(schema_json(declared), indent=2, ensure_ascii=False))
        return
    from imagewarehouse.kudu.ranges import first_ranges

    made = declared
    if declared.policy is not None:
        kind = declared.column(declared.policy.column).type
        made = replace(declared, ranges=first_ranges(declared.policy, kind, _now()))
    with cluster().connect() as writer:
        try:
            there = writer.schema(name, refresh=True)
        except KuduTableMissing:
            with _working(f"making {name}"):
                created = writer.create(made)
            there = writer.schema(name, refresh=True)
        else:
            created = False
        if created:
            click.echo(f"made table {name}")
            _describe(there, writer.ranges(name))
            return
    differing, notes = differences(there, declared)
    for line in differing:
        click.echo(f"table {name}: {line}")
    for line in notes:
        click.echo(f"note: {line}")
    click.echo(f"table {name} is there already, {'but differs' if differing else 'and fits'}")
    sys.exit(1 if differing else 0)


def _declared(name: str, file: Path | None, chosen: dict[str, int], replicas: int | None) -> TableSchema:
    from imagewarehouse.kudu.schema import read_schema
    from imagewarehouse.stores.kudu import image_events

    try:
        if file is None:
            return image_events(name, replicas=replicas, **chosen)
        if chosen:
            raise ConfigurationError(
                "--schema", "the file says it all; --keep-months, --months-ahead and --buckets are for image records"
            )
        if click.get_current_context().get_parameter_source("name") is click.core.ParameterSource.DEFAULT:
            raise ConfigurationError("TABLE", "is needed with --schema: a declaration has no name")
        try:
            declared = read_schema(file.read_text("utf-8"), name)
        except ConfigurationError as err:
            raise ConfigurationError("--schema", f"{file}: {err.problem}") from err
        return declared if replicas is None else replace(declared, replicas=replicas)
    except OSError as err:
        raise ConfigurationError("--schema", f"{file}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise ConfigurationError("--schema", f"{file}: is not UTF-8") from err
    except ValueError as err:
        raise ConfigurationError("TABLE or its options", str(err)) from err


def differences(there: TableSchema, declared: TableSchema) -> tuple[list[str], list[str]]:
    """What keeps declared rows from the table, as the writing processor sees it; and what is only laid out otherwise."""
    found = []
    if there.key != declared.key:
        found.append(f"has the key {', '.join(there.key)}, expected {', '.join(declared.key)}")
    columns = {column.name: column for column in there.columns}
    missing = [f"{column.name} {column.type_text}" for column in declared.columns if column.name not in columns]
    if missing:
        found.append(f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    for column in declared.columns:
        other = columns.get(column.name)
        if other is not None and other.type_text != column.type_text:
            found.append(f"column {column.name} is {other.type_text}, expected {column.type_text}")
    names = {column.name for column in declared.columns}
    found += [f"column {c.name} needs a value, and is not declared" for c in there.columns
              if c.name not in names and c.required]  # fmt: skip
    notes = []
    if there.hashes != declared.hashes:
        notes.append(f"it has {_hashes(there)}, declared is {_hashes(declared)}; only a new table can be laid out so")
    if there.range_columns != declared.range_columns:
        ranges = [", ".join(s.range_columns) or "nothing" for s in (there, declared)]
        notes.append(f"it has ranges over {ranges[0]}, declared are ranges over {ranges[1]}")
    if declared.replicas is not None and there.replicas not in (None, declared.replicas):
        notes.append(f"it has {there.replicas} replicas, declared are {declared.replicas}")
    return found, notes


# --- show ---------------------------------------------------------------------------------------------------------


@table.command()
@click.argument("name", metavar="[TABLE]", required=False)
@click.option("--schema", "as_schema", is_flag=True, help="Print the declaration that `table create --schema` takes.")
@click.option("--rows", type=click.IntRange(1), metavar="N", help="Show N rows, in no order.")
@_json
@_on_cluster
def show(cluster: Callable[[], Cluster], name: str | None, as_schema: bool, rows: int | None, as_json: bool) -> None:
    """Show a table, or list all.

    Rows and sizes are those that the master has heard of last, some seconds ago.
    """
    if name is None and (as_schema or rows):
        raise ConfigurationError("TABLE", "is needed with --schema and --rows")
    with cluster().connect() as writer:
        if name is None:
            _list(writer, as_json)
            return
        with _named(writer, name):
            schema = writer.schema(name, refresh=True)
            if rows:
                _print_rows(writer.scan(name, limit=rows).to_pylist(), as_json)
                return
            ranges = writer.ranges(name)
            statistics = {} if as_schema else writer.statistics(name)
    from imagewarehouse.kudu.schema import schema_json

    declaration = schema_json(replace(schema, ranges=tuple(ranges)))
    if as_schema:
        click.echo(json.dumps(declaration, indent=2, ensure_ascii=False))
    elif as_json:
        known = {key: _known(value) for key, value in statistics.items()}
        click.echo(json.dumps({"table": name, **declaration, **known}, indent=2, ensure_ascii=False))
    else:
        from cli.tablets import size

        click.echo(f"table {name}{f': {schema.comment}' if schema.comment else ''}")
        _describe(schema, ranges)
        click.echo(f"rows        {_number(statistics['rows'])}")
        click.echo(f"on disk     {size(statistics['bytes'])}, without the other replicas")


def _list(writer: KuduWriter, as_json: bool) -> None:
    from cli.tablets import size

    found = []
    with _working("reading the tables") as say:
        for name in writer.tables():
            say(f"reading {name}")
            try:
                schema = writer.schema(name, refresh=True)
                statistics = writer.statistics(name)
                found.append((name, statistics, len(writer.ranges(name)), schema))
            except KuduTableMissing:
                continue  # dropped meanwhile
    if as_json:
        for name, statistics, ranges, schema in found:
            rows, size_bytes = _known(statistics["rows"]), _known(statistics["bytes"])
            entry = {"table": name, "rows": rows, "bytes": size_bytes, "ranges": ranges, "replicas": schema.replicas}
            click.echo(json.dumps(entry, ensure_ascii=False))
    elif not found:
        click.echo("no tables")
    else:
        _print(
            ("table", "rows", "on disk", "ranges", "replicas", "comment"),
            [
                (
                    name,
                    _number(s["rows"]),
                    size(s["bytes"]),
                    str(ranges or ""),
                    str(schema.replicas or ""),
                    schema.comment,
                )
                for name, s, ranges, schema in found
            ],
        )


def _print_rows(found: list[dict[str, Any]], as_json: bool) -> None:
    shown = [{name: _cell(value) for name, value in row.items()} for row in found]
    if as_json:
        for row in shown:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif not shown:
        click.echo("no rows")
    elif len(shown[0]) > _MOST_COLUMNS:
        for number, row in enumerate(shown):
            click.echo("" if number == 0 else "\n", nl=False)
            for name, value in row.items():
                if value is not None:
                    click.echo(f"{name:<20} {value}")
    else:
        _print(tuple(shown[0]), [tuple("" if v is None else str(v) for v in row.values()) for row in shown])


# --- partitions ---------------------------------------------------------------------------------------------------


@table.command()
@click.argument("name", metavar="TABLE")
@click.option("--add", multiple=True, metavar="WHEN", help="Add the range of this month (2026-12), day (2026-12-31) or year "
              "(2026); may be repeated.")  # fmt: skip
@click.option("--add-until", metavar="WHEN", help="Add what is missing from now up to and including this month.")
@click.option("--ahead", type=click.IntRange(0, 1000), metavar="N", help="Add what is missing of now and N more.")
@click.option(
    "--drop-before", metavar="WHEN", help="Drop the ranges that end by the start of this month, with all rows."
)
@click.option("--keep-months", type=click.IntRange(1), metavar="N", help="Drop the ranges that ended more than N whole "
              "months ago, with all rows.")  # fmt: skip
@click.option("--unit", type=click.Choice(["day", "month", "year"]), help="Length of the ranges that are added.  "
              "[default: as --add says, else as the others in the table, else a month]")  # fmt: skip
@click.option("--yes", is_flag=True, help="Drop without asking.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@_json
@_web
@_on_cluster
def partitions(
    cluster: Callable[[], Cluster],
    name: str,
    add: tuple[str, ...],
    add_until: str | None,
    ahead: int | None,
    drop_before: str | None,
    keep_months: int | None,
    unit: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List the range partitions of a table, add some, or drop old ones with their rows.

    Rows and sizes are listed where the web pages of Kudu's servers answer. Times are UTC.

    \b
    Examples:
      imagewarehouse table partitions image_events
      imagewarehouse table partitions image_events --add-until 2027-06
      imagewarehouse table partitions image_events --keep-months 24 --ahead 3 --yes
    """
    from imagewarehouse.kudu.ranges import plan
    from imagewarehouse.kudu.schema import RangePolicy

    where = cluster()
    now = _now()
    changing = bool(add or add_until or drop_before or keep_months or ahead is not None)
    if dry_run and not changing:
        raise ConfigurationError("--dry-run", "there is nothing to do; say what to add or to drop")
    wanted = [_when(text, "--add") for text in add]
    with where.connect() as writer, _named(writer, name):
        schema = writer.schema(name, refresh=True)
        existing = writer.ranges(name)
        if not changing:
            sizes = _sizes(where, name, schema)
            _list_ranges(schema, existing, sizes, unit or usual_unit(schema, existing), now, as_json)
            return
        kind = _time_column(schema)
        column = schema.range_columns[0]
        usual = unit or usual_unit(schema, existing) or "month"
        adding = [_range_of(moment, unit or form, kind) for moment, form in wanted]
        if add_until is not None:
            adding += _until(_when(add_until, "--add-until")[0], usual, column, kind, existing, now)
        if ahead is not None:
            adding += plan(RangePolicy(column, usual, ahead), kind, existing, now).add
        adding = sorted(set(adding), key=lambda part: part.lower or ())
        dropping: list[Range] = []
        if drop_before is not None:
            cut = _range_of(*_when(drop_before, "--drop-before"), kind).lower
            dropping += [part for part in existing if part.upper is not None and part.upper <= (cut or ())]
        if keep_months is not None:
            dropping += plan(RangePolicy(column, "month", 0, keep_months), kind, existing, now).drop
        dropping = [part for part in existing if part in dropping]
        rows = _rows_in(writer, where, name, schema, dropping)
        report = _Report(name, as_json, dry_run)
        if dropping and not dry_run:
            _confirm(name, dropping, rows, yes)
        for part in adding:
            present = part in existing or (not dry_run and not writer.add_range(name, part))
            report.added(part, present)
        for part in dropping:
            gone = not dry_run and not writer.drop_range(name, part)
            report.dropped(part, rows[part], gone)
        report.end()


class _Report:
    """What was done to the ranges, line by line or as one object at the end."""

    def __init__(self, table: str, as_json: bool, dry_run: bool) -> None:
        self.as_json, self.would = as_json, "would be " if dry_run else ""
        self.done: dict[str, Any] = {"table": table, "dry_run": dry_run, "added": [], "dropped": []}

    def added(self, part: Range, present: bool) -> None:
        if not present:
            self.done["added"].append(_bounds_json(part))
        self._say(part, "is there already" if present else f"{self.would}added")

    def dropped(self, part: Range, rows: int, gone: bool) -> None:
        if not gone:
            self.done["dropped"].append({**_bounds_json(part), "rows": rows})
        self._say(part, "is gone already" if gone else f"{self.would}dropped with {_rows(rows)}")

    def end(self) -> None:
        if self.as_json:
            click.echo(json.dumps(self.done))
        elif not self.done["added"] and not self.done["dropped"]:
            click.echo("nothing to do" if self.would else "nothing was changed")

    def _say(self, part: Range, what: str) -> None:
        if not self.as_json:
            click.echo(f"{_text(part)}  {what}")


def _list_ranges(
    schema: TableSchema,
    existing: Sequence[Range],
    sizes: dict[Range, tuple[int, int]],
    unit: str | None,
    now: datetime,
    as_json: bool,
) -> None:
    from cli.tablets import size
    from imagewarehouse.kudu.ranges import plan
    from imagewarehouse.kudu.schema import RangePolicy

    if as_json:
        for part in existing:
            rows, taken = sizes.get(part, (None, None))
            click.echo(json.dumps({**_bounds_json(part), "rows": rows, "bytes": taken}))
        return
    if not schema.range_columns:
        click.echo(f"table {schema.name} has no range partitions: {_hashes(schema)}")
        return
    timed = _is_timed(schema)
    lines = []
    for part in existing:
        rows, taken = sizes.get(part, (-1, -1))
        known = (_number(rows), size(taken)) if sizes else ()
        lines.append((*_ends(part), *((_distance(part, now),) if timed else ()), *known))
    click.echo(f"table {schema.name}: {_hashes(schema)}, ranges over {', '.join(schema.range_columns)}")
    if not lines:
        click.echo("no range at all: no row can be written")
    else:
        _print(("from", "to", *(("",) if timed else ()), *(("rows", "data") if sizes else ())), lines)
    if timed:
        kind = schema.column(schema.range_columns[0]).type
        policy = RangePolicy(schema.range_columns[0], unit or "month")
        missing = plan(policy, kind, existing, now).add
        if missing:
            click.echo(f"missing of this {policy.unit} and the next {policy.ahead}: {', '.join(map(_text, missing))}; "
                       f"add with --ahead {policy.ahead}")  # fmt: skip
        else:
            click.echo(f"this {policy.unit} and the next {policy.ahead} are there")


def _until(
    last: datetime, unit: str, column: str, kind: KuduType, existing: Sequence[Range], now: datetime
) -> tuple[Range, ...]:
    from imagewarehouse.kudu.ranges import plan, unit_start
    from imagewarehouse.kudu.schema import RangePolicy

    ahead, moment = 0, unit_start(now, unit)
    if last < moment:
        raise ConfigurationError("--add-until", f"{last:%Y-%m-%d} is past; --add adds single ranges")
    while True:
        moment = unit_start(moment + timedelta(days={"day": 1, "month": 32, "year": 367}[unit]), unit)
        if moment > last:
            break
        ahead += 1
        if ahead > 1000:
            raise ConfigurationError(
                "--add-until", f"more than 1000 ranges of a {unit} from now on; is it the right year?"
            )
    return plan(RangePolicy(column, unit, ahead), kind, existing, now).add


def _rows_in(
    writer: KuduWriter, where: Cluster, name: str, schema: TableSchema, parts: Sequence[Range]
) -> dict[Range, int]:
    """How many rows each range has: as its leaders tell, else counted by reading the keys."""
    if not parts:
        return {}
    sizes = _sizes(where, name, schema)
    found = {}
    with _working("counting rows") as say:
        for part in parts:
            say(f"counting the rows of {_text(part)}")
            found[part] = sizes[part][0] if part in sizes else writer.count(name, part)
    return found


def _sizes(where: Cluster, name: str, schema: TableSchema) -> dict[Range, tuple[int, int]]:
    """(rows, bytes of data) of each range whose tablets all tell; nothing where the web pages do not answer."""
    from cli.tablets import by_range, time_range

    if not _is_timed(schema):
        return {}
    try:
        tablets = where.tablets(name, min(where.timeout, 2.0))  # they may be behind a firewall, and are a bonus here
    except KuduUnavailable:
        return {}
    buckets = 1
    for level in schema.hashes:
        buckets *= level.buckets
    found = {}
    for text, members in by_range(tablets.tablets).items():
        part = time_range(text, schema.column(schema.range_columns[0]).type)
        if part is not None and len(members) == buckets and all(t.rows is not None for t in members):
            found[part] = sum(t.rows or 0 for t in members), sum(t.data or 0 for t in members)
    return found


def _confirm(name: str, dropping: Sequence[Range], rows: dict[Range, int], yes: bool) -> None:
    if yes:
        return
    what = f"{len(dropping)} range{'s' if len(dropping) > 1 else ''} of {name} with {_rows(sum(rows.values()))}"
    if not _can_ask():
        raise ConfigurationError("--yes", f"is needed to drop {what}, as nobody can be asked; --dry-run shows them")
    for part in dropping:
        click.echo(f"{_text(part)}  {_rows(rows[part])}", err=True)
    if not click.confirm(f"Drop {what} for good?", err=True):
        click.echo("nothing was changed", err=True)
        sys.exit(1)


def _can_ask() -> bool:
    return sys.stdin.isatty()


# --- compact-check ------------------------------------------------------------------------------------------------


@table.command("compact-check")
@click.argument("name", metavar="TABLE", default=_IMAGES)
@click.option("--all", "every", is_flag=True, help="List the tablets without rows too.")
@_json
@_web
@_on_cluster
def compact_check(cluster: Callable[[], Cluster], name: str, every: bool, as_json: bool) -> None:
    """Look whether a table is well compacted and well laid out.

    Reads the web pages of Kudu's servers. Kudu compacts by itself and takes no order to do so; what is listed here is
    where it does not keep up, or where the layout is in its way. Exit codes: 0 fine, 1 something to do, 2 could not look.

    \b
    height     How many rowsets on disk a key lies in, on average. 1 is compacted; each write and each lookup of a key
               asks that many rowsets. Freshly flushed rows make it 2 until they are compacted.
    unflushed  Rows and changes that are in memory and in the log only. Kudu flushes them after two minutes or from 1 GiB on.
    """
    from cli.tablets import by_range, problems, size, time_range

    where = cluster()
    with where.connect() as writer, _named(writer, name):
        schema = writer.schema(name, refresh=True)
    with _working("asking the tablet servers"):
        try:
            found = where.tablets(name, where.timeout)
        except KuduUnavailable as err:
            raise ConfigurationError("--web", f"give the web address of a master: {err}") from err
    now = _now()
    groups = by_range(found.tablets)
    told: list[tuple[str, str]] = [("", f"could not look at every tablet: {reason}") for reason in found.unread]
    told += [("", f"tablet {tablet} has no leader: nothing can be written to it") for tablet in found.leaderless]
    notes: list[str] = []
    lines = []
    for text, members in groups.items():
        bad = {tablet.id: problems(tablet, members) for tablet in members}
        label = _short_range(text)
        for tablet in members:
            told += [(f"{label} bucket {tablet.bucket}".strip(), line) for line in bad[tablet.id]]
            if every or tablet.rows or bad[tablet.id]:
                memory = None if tablet.unflushed is None else tablet.unflushed + (tablet.deltas or 0)
                verdict = "see below" if bad[tablet.id] else "being compacted" if tablet.compacting else "fine"
                height = "?" if tablet.height is None else f"{tablet.height:.2f}"
                lines.append((label, tablet.bucket, _number(tablet.rows), size(tablet.data), _number(tablet.rowsets),
                              height, size(memory), verdict))  # fmt: skip
        if not any(tablet.rows for tablet in members):
            part = time_range(text, schema.column(schema.range_columns[0]).type) if _is_timed(schema) else None
            when = _distance(part, now) if part is not None else ""
            tablets = f"{len(members)} tablet{'s' if len(members) > 1 else ''}"
            note = f"no rows in {tablets}{', could be dropped' if when.startswith('ended') else ''}"
            notes.append(f"{label or 'the table'}: {note}{f' ({when})' if when else ''}")
    told += _uncovered(schema, list(groups), now, complete=not found.unread)
    if as_json:
        answer = {
            "table": name,
            "fine": not told,
            "findings": [{"where": place, "problem": line} for place, line in told],
            "tablets": [asdict(tablet) for tablet in found.tablets],
        }
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        sys.exit(1 if told else 0)
    if lines:
        _print(("range", "bucket", "rows", "data", "rowsets", "height", "unflushed", ""), lines)
    for note in notes:
        click.echo(note)
    for place, line in told:
        click.echo(f"{f'{place}: ' if place else ''}{line}")
    tablets = f"{len(found.tablets)} tablet{'s' if len(found.tablets) > 1 else ''}"
    click.echo(f"table {name}: {_findings(len(told)) if told else 'fine'}, {tablets}")
    sys.exit(1 if told else 0)


def _findings(number: int) -> str:
    return f"{number} finding{'' if number == 1 else 's'}"


def _uncovered(schema: TableSchema, texts: Sequence[str], now: datetime, *, complete: bool) -> list[tuple[str, str]]:
    from cli.tablets import time_range
    from imagewarehouse.kudu.schema import KuduType

    if not _is_timed(schema) or not complete:
        return []
    kind = schema.column(schema.range_columns[0]).type
    at = (now.date() if kind is KuduType.DATE else now,)
    parts = [time_range(text, kind) for text in texts]
    covered = any(
        part is None or ((part.lower is None or part.lower <= at) and (part.upper is None or at < part.upper))
        for part in parts
    )
    return [] if covered else [("", "no range takes rows of now: `table partitions` adds it")]


# --- which cluster ------------------------------------------------------------------------------------------------


def _cluster(
    masters: str | None, data: Path, backend: str, timeout: float, web: tuple[str, ...]
) -> Callable[[], Cluster]:
    """Found when it is asked for: some commands can do without."""

    def find() -> Cluster:
        ports = _local_ports(data / "kudu")
        local = f"127.0.0.1:{ports['master'][0]}" if ports else ""
        chosen = masters
        if not chosen:
            if not ports:
                raise ConfigurationError("--masters", f"is needed: no Kudu has ever run in {data / 'kudu'}")
            if not _reaches(local, 1.0):
                raise ConfigurationError("--masters", f"is needed: the Kudu in {data / 'kudu'} does not run now")
            chosen = local
        from cli.tablets import MASTER_WEB_PORT

        if chosen == local:
            pages: tuple[str, ...] = (f"127.0.0.1:{ports['master'][1]}",)
        else:
            hosts = [re.sub(r":\d+$", "", address.strip()) for address in chosen.split(",")]
            pages = tuple(f"{host}:{MASTER_WEB_PORT}" for host in hosts)
        return Cluster(chosen, web or pages, backend, timeout)

    return find


def _local_ports(folder: Path) -> dict[str, list[int]]:
    """Ports (RPC, web) of each server of a local Kudu, as it has written them down."""
    try:
        found = json.loads((folder / "ports.json").read_text("utf-8"))
        return {"master": [int(port) for port in found["master"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _knock(addresses: Sequence[str], timeout: float) -> None:
    """Raises KuduUnavailable when none of the masters takes a connection."""
    reasons = []
    for address in addresses:
        reason = _reaches_not(address, timeout / len(addresses))
        if reason is None:
            return
        reasons.append(f"{address} ({reason})")
    raise KuduUnavailable(f"no master of Kudu answers at {', '.join(reasons)}")


def _reaches(address: str, timeout: float) -> bool:
    return _reaches_not(address, timeout) is None


def _reaches_not(address: str, timeout: float) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()
    except TimeoutError:
        return f"no answer within {timeout:.2g} s"
    except (OSError, UnicodeError) as err:
        return getattr(err, "strerror", None) or str(err)
    return None


def readable(text: str, masters: str, timeout: float) -> str:
    """What a client says when Kudu is away, without the trace of its calls."""
    if re.search(r"timed out|before timeout", text, re.IGNORECASE):
        return f"Kudu at {masters} did not answer within {timeout:g} s"
    return re.sub(r"\bExceptions received: \[?(?:org\.[\w.]+: )?|\s*KuduRpc\(.*|\]$", "", text)


@contextmanager
def _named(writer: KuduWriter, name: str) -> Iterator[None]:
    """A table that is not there is told with the names that were perhaps meant."""
    try:
        yield
    except KuduTableMissing as err:
        names = writer.tables()
        close = difflib.get_close_matches(name, names, 3, 0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(names[:10]) or 'none at all'}"
        raise ConfigurationError("TABLE", f"Kudu has no table {name}; {hint}") from err


# --- times and ranges ---------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _when(text: str, option: str) -> tuple[datetime, str]:
    """(start, unit) of `2026`, `2026-12` or `2026-12-31`."""
    found = _TIME.fullmatch(text)
    try:
        if found is not None:
            year, month, day = found.groups()
            start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=timezone.utc)
            return start, "day" if day else "month" if month else "year"
    except ValueError:
        pass
    raise ConfigurationError(option, f"expected a month (2026-12), a day (2026-12-31) or a year, received {text!r}")


def _range_of(moment: datetime, unit: str, kind: KuduType) -> Range:
    from imagewarehouse.kudu.ranges import range_of

    return range_of(moment, unit, kind)


def usual_unit(schema: TableSchema, existing: Sequence[Range]) -> str | None:
    """The calendar unit of the table's last range that is one."""
    from imagewarehouse.kudu.schema import UNITS

    if not _is_timed(schema):
        return None
    kind = schema.column(schema.range_columns[0]).type
    for part in reversed(existing):
        for unit in UNITS:
            if part.lower is not None and _range_of(_moment(part.lower[0]), unit, kind) == part:
                return unit
    return None


def _is_timed(schema: TableSchema) -> bool:
    from imagewarehouse.kudu.schema import KuduType

    times = (KuduType.DATE, KuduType.UNIXTIME_MICROS)
    return len(schema.range_columns) == 1 and schema.column(schema.range_columns[0]).type in times


def _time_column(schema: TableSchema) -> KuduType:
    """Type of the range column. Raises ConfigurationError where ranges are not of time."""
    if not _is_timed(schema):
        over = ", ".join(f"{c} {schema.column(c).type_text}" for c in schema.range_columns)
        problem = f"has ranges over {over}, which is no time" if over else "has no range partitions"
        raise ConfigurationError("TABLE", f"{schema.name} {problem}: they cannot be added or dropped by month")
    return schema.column(schema.range_columns[0]).type


def _moment(value: date | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=timezone.utc)


def _distance(part: Range, now: datetime) -> str:
    """`now`, `in 38 days`, `ended 12 days ago`."""
    if part.upper is not None and _moment(part.upper[0]) <= now:
        return f"ended {_days(now - _moment(part.upper[0]))} ago"
    if part.lower is not None and _moment(part.lower[0]) > now:
        return f"in {_days(_moment(part.lower[0]) - now)}"
    return "now"


def _days(span: timedelta) -> str:
    return f"{span.days} day{'' if span.days == 1 else 's'}" if span.days else "less than a day"


def _ends(part: Range) -> tuple[str, str]:
    return ("without a bound" if part.lower is None else ", ".join(map(_bound_text, part.lower)),
            "without a bound" if part.upper is None else ", ".join(map(_bound_text, part.upper)))  # fmt: skip


def _text(part: Range) -> str:
    lower, upper = _ends(part)
    return f"{'' if part.lower is None else lower + ' '}to {upper}"


def _bound_text(value: Any) -> str:
    if isinstance(value, datetime):
        midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
        return f"{value:%Y-%m-%d}" if midnight else f"{value:%Y-%m-%d %H:%M:%S}"
    return value.hex() if isinstance(value, bytes) else str(value)


def _bounds_json(part: Range) -> dict[str, Any]:
    from imagewarehouse.kudu.schema import bound_text

    ends = {"lower": part.lower, "upper": part.upper}
    return {side: None if bound is None else [bound_text(v) for v in bound] for side, bound in ends.items()}


def _short_range(text: str) -> str:
    """Of `A <= VALUES < B` as people write it."""
    found = re.fullmatch(r"(.+) <= VALUES < (.+)", text)
    return f"{found[1]} to {found[2]}" if found else text


# --- output -------------------------------------------------------------------------------------------------------


def _describe(schema: TableSchema, ranges: Sequence[Range]) -> None:
    """Columns and partitions."""
    from imagewarehouse.kudu.schema import bound_text

    lines = []
    for column in schema.columns:
        storage = " ".join(filter(None, (column.encoding, column.compression)))
        default = "" if column.default is None else f"default {bound_text(column.default)}"
        marks = "key" if column.key else "null" if column.nullable else "not null"
        more = " ".join(filter(None, (storage, "immutable" if column.immutable else "", default)))
        lines.append((column.name, column.type_text, marks, more, column.comment))
    _print(("column", "type", "", "storage", "comment"), lines)
    click.echo(f"partitions  {_hashes(schema)}")
    if schema.range_columns:
        over = f"            ranges over {', '.join(schema.range_columns)}: {len(ranges)}"
        click.echo(f"{over}, {_ends(ranges[0])[0]} to {_ends(ranges[-1])[1]}" if ranges else over)
    click.echo(f"replicas    {schema.replicas or '?'}")


def _hashes(schema: TableSchema) -> str:
    levels = [f"hashed by {', '.join(level.columns)} into {level.buckets}" for level in schema.hashes]
    return ", ".join(levels) or "not hashed"


def _print(header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table of Rich on a terminal; into a pipe plain columns, a row a line however long it is."""
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
        for line in (header, *lines):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table()
    for name in header:
        right = name in ("rows", "data", "on disk", "ranges", "replicas", "rowsets", "height", "unflushed")
        drawn.add_column(name, overflow="fold", justify="right" if right else "left")
    for line in lines:
        drawn.add_row(*map(Text, line))
    Console().print(drawn)


@contextmanager
def _working(what: str) -> Iterator[Callable[[str], None]]:
    """Says on a terminal what takes its time."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda text: status.update(text)


def _cell(value: Any) -> Any:
    """A value as JSON and people like it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return plain(value)
    return str(value) if isinstance(value, (date, Decimal)) else value


def _known(value: int) -> int | None:
    return None if value < 0 else value


def _number(value: int | None) -> str:
    return "?" if value is None or value < 0 else f"{value:,}"


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"
