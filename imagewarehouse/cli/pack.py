"""`imagewarehouse pack`: makes a few large objects of many small ones, once or every few minutes, beside a running service."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from imagewarehouse.cli.getting import DATA, DATABASE, SETTINGS, settings_of
from imagewarehouse.cli.rows import ask
from imagewarehouse.errors import (
    ConfigurationError,
    ObjectDamaged,
    ObjectError,
    ObjectStoreUnavailable,
    RowStoreUnavailable,
)
from imagewarehouse.units import parse_duration

if TYPE_CHECKING:
    from imagewarehouse.objects.compacting import Compaction, Report
    from imagewarehouse.objects.store import ObjectStore
    from imagewarehouse.places import Locations
    from imagewarehouse.rows.locations import SqliteLocations

_MOST_NAMED = 10  # damaged objects


@click.command()
@click.option("--older-than", default="1h", show_default=True, metavar="TIME",
              help="Only objects that were written so long ago: the rows of younger ones may be on their way.")  # fmt: skip
@click.option("--every", metavar="TIME", help="Go on, with a look every so often (10m), until Ctrl-C.")
@click.option(
    "--full",
    is_flag=True,
    help="Also packs that are less than half full, or of which less than half is used; and places that are not known.",
)
@click.option("--adopt", is_flag=True,
              help="Take packs that another table of places knows, where that table is lost. With --full.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: only on a terminal]")
@click.option("--store", metavar="URI", envvar="IMAGEWAREHOUSE_STORE_URI", show_envvar=True,
              help="Where the pictures are, as store.uri says it.  [default: the folder objects beside the rows]")  # fmt: skip
@SETTINGS
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="How long Kudu may take to answer.")  # fmt: skip
@click.option("--client", "backend", type=click.Choice(["java", "native"]), default="java", show_default=True,
              help="Kudu's Java client, or kudu-python.")  # fmt: skip
@click.option("--table", "table_name", default="image_events", show_default=True,
              help="Table of the image records in Kudu.")  # fmt: skip
@click.option("--masters", metavar="HOST:PORT,...", envvar="IMAGEWAREHOUSE_KUDU_MASTERS",
              help="Rows in Kudu: its masters.  [default: the Kudu of --data, if it has no rows.duckdb]")  # fmt: skip
@DATABASE
@DATA
def pack(
    older_than: str,
    every: str | None,
    full: bool,
    adopt: bool,
    dry_run: bool,
    progress: bool | None,
    store: str | None,
    settings: tuple[str, ...],
    timeout: float,
    backend: str,
    table_name: str,
    masters: str | None,
    database: Path | None,
    data: Path,
) -> None:
    """Make packs of some 100 MB of many small objects.

    Batches and pictures of less than 16 MB go into packs; copies, and pictures that were forgotten, go away. The service may
    run meanwhile, and every picture can be read at every moment. Stopped at any moment, it goes on when it is run again.

    \b
    Examples:
      imagewarehouse pack --dry-run
      imagewarehouse pack --every 10m
      imagewarehouse pack --database /opt/nifi/image-warehouse/rows.duckdb --store s3://bucket/images

    \b
    Exit codes:
      0    done, or there was nothing to do
      1    a damaged object was left alone, or the store or the table of places stopped answering: run it again to go on
      2    a wrong argument, or there are no such rows
      130  stopped with Ctrl-C; run it again to go on
    """
    age, pause = _seconds(older_than, "--older-than"), _seconds(every, "--every") if every else None
    if masters and database:
        raise ConfigurationError("--masters", "and --database are two places of rows; give one")
    objects = _open_store(store or str((data if database is None else database.parent) / "objects"), settings)
    with ExitStack() as stack:
        stack.callback(objects.close)
        if masters or (database is None and _in_kudu(data)):
            places: Locations = stack.enter_context(_in_kudu_table(masters, data, table_name, backend, timeout))
        else:
            places = _beside(database or data / "rows.duckdb", data if database is None else None)
            stack.callback(places.close)
        _claim(objects, places, adopt=adopt, dry_run=dry_run)
        while True:
            code = _once(objects, places, timedelta(seconds=age), full, dry_run, progress, quiet=pause is not None)
            if pause is None or dry_run:
                sys.exit(code)
            time.sleep(pause)


def _claim(objects: ObjectStore, places: Locations, *, adopt: bool, dry_run: bool) -> None:
    """Raises ConfigurationError."""
    from imagewarehouse.objects.owner import claim

    if not dry_run:
        objects.check_writable()  # which also removes what a run that was killed left half written
    try:
        claim(objects, places, adopt=adopt, look_only=dry_run)
    except (ObjectStoreUnavailable, RowStoreUnavailable) as err:
        raise ConfigurationError("--store", f"{err}; run it again") from err


def _once(
    objects: ObjectStore,
    places: Locations,
    older_than: timedelta,
    full: bool,
    dry_run: bool,
    progress: bool | None,
    *,
    quiet: bool,
) -> int:
    """The exit code. `quiet`: nothing is said where nothing was done."""
    from imagewarehouse.objects.compacting import Compaction

    bar = (sys.stderr.isatty() if progress is None else progress) and not dry_run
    compaction = Compaction(objects, places, older_than=older_than, full=full)
    try:
        if dry_run:
            found = compaction.survey()
            click.echo(f"{found.objects:,} objects, {found.size / 1e6:,.1f} MB; nothing is changed")
            return 0
        if bar:
            with _bar(compaction) as advance:
                compaction.progress = advance
                report = compaction.run()
        else:
            report = compaction.run()
    except (
        ObjectStoreUnavailable,
        RowStoreUnavailable,
        ObjectError,
    ) as err:  # the last: of another process beside this one
        click.echo(f"imagewarehouse: {err}; run it again to go on", err=True)
        return 1
    except ObjectDamaged as err:
        click.echo(f"imagewarehouse: {err}", err=True)
        return 1
    finally:
        compaction.close()
    return _say(report, quiet)


def _say(report: Report, quiet: bool) -> int:
    if report.objects or not quiet:
        click.echo(summary(report))
    for key, why in list(report.damaged.items())[:_MOST_NAMED]:
        click.echo(f"  left alone: {key}: {why}", err=True)
    if len(report.damaged) > _MOST_NAMED:
        click.echo(f"  and {len(report.damaged) - _MOST_NAMED:,} more damaged objects", err=True)
    return 1 if report.damaged else 0


def summary(report: Report) -> str:
    """What was done, in one line."""
    gone = [_counted(report.duplicates, "copy", "copies")] if report.duplicates else []
    gone += [_counted(report.forgotten, "forgotten picture")] if report.forgotten else []
    left = f"; {' and '.join(gone)} removed" if gone else ""
    if not report.objects:
        return "nothing to compact"
    pictures = _counted(report.pictures, "picture")
    return f"{_counted(report.objects, 'object')} with {pictures} became {_counted(report.packs, 'pack')}{left}"


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _open_store(uri: str, settings: tuple[str, ...]) -> ObjectStore:
    """Raises ConfigurationError."""
    from imagewarehouse.objects.local import LocalStore
    from imagewarehouse.objects.location import Location
    from imagewarehouse.objects.opening import open_store

    objects = open_store(Location.parse(uri, "--store"), settings_of(settings))
    if isinstance(objects, LocalStore) and not objects.folder.is_dir():
        raise ConfigurationError("--store", f"{objects.location} is not there")
    return objects


def _in_kudu(data: Path) -> bool:
    """Raises ConfigurationError: the places of moved pictures would be in a table that nobody asks."""
    has_kudu, has_file = (data / "kudu" / "ports.json").exists(), (data / "rows.duckdb").exists()
    if has_kudu and has_file:
        raise ConfigurationError(
            "--data", f"{data} has rows in DuckDB and in a Kudu; say which with --database or --masters"
        )
    return has_kudu


@contextmanager
def _in_kudu_table(
    masters: str | None, data: Path, table_name: str, backend: str, timeout: float
) -> Iterator[Locations]:
    """Raises ConfigurationError, KuduUnavailable."""
    from imagewarehouse.cli.kudu.connection import find_cluster
    from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table

    with find_cluster(masters, data, backend, timeout).connect(table_name) as writer:
        writer.schema(table_name)  # places beside no rows would be asked for by nobody
        yield KuduLocations(writer, image_locations(locations_table(table_name)))


def _beside(rows: Path, data: Path | None) -> SqliteLocations:
    """The table beside the rows. Raises ConfigurationError: no rows are there, or a running service has them elsewhere.

    In a table that no reader asks, the places of moved pictures would be lost.
    """
    from imagewarehouse.rows.locations import SqliteLocations, locations_of

    option = "--database" if data is None else "--data"
    if not rows.is_file():
        raise ConfigurationError(
            option, f"{rows} does not exist, and the table of places lies beside it; rows in Kudu: --masters"
        )
    path = locations_of(rows)
    if data is not None and (data / "control.sock").exists():
        try:
            status, answer = asyncio.run(ask(data / "control.sock", "/locations", b""))
        except (ConnectionError, asyncio.TimeoutError):  # left by a run that was killed
            status = 404
        if status == 409 or (status == 200 and orjson.loads(answer)["table"] != str(path.resolve())):
            where = orjson.loads(answer)["table"] if status == 200 else "another place"
            raise ConfigurationError(option, f"the service that runs there keeps the places of pictures in {where}")
    return SqliteLocations(path)


def _seconds(text: str, option: str) -> float:
    seconds = parse_duration(text)
    if seconds is None:
        raise ConfigurationError(option, f"expected a time such as 10m or 1h, received {text!r}")
    return seconds


@contextmanager
def _bar(compaction: Compaction) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("packing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    total = compaction.survey().size
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)
