"""`imagewarehouse demo-data`: made-up history for trying the dashboards, and its removal."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.amounts import counted
from imagewarehouse.cli.getting import settings_of
from imagewarehouse.cli.keeping import RowsMeant, keeping_options, private_files, store_meant
from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.analytics.demo import History
    from imagewarehouse.objects.settings import StoreSettings
    from imagewarehouse.places import Locations
    from imagewarehouse.rows.whole import WholeTable

_MOST_PICTURES = 10_000
_EARLIEST = datetime(1970, 1, 1, tzinfo=timezone.utc)


@click.command("demo-data")
@click.option("--days", type=click.IntRange(1, 3650), default=60, show_default=True, help="How long the history is.")
@click.option("--rows", "count", type=click.IntRange(1, 100_000_000), default=100_000, show_default=True,
              help="How many requests.")  # fmt: skip
@click.option("--pictures", type=click.IntRange(0, _MOST_PICTURES), default=0, show_default=True,
              help="Small pictures for so many of the newest rows, so that thumbnails show.")  # fmt: skip
@click.option("--until", metavar="TIME", help="When it ends (ISO 8601; UTC).  [default: now]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one gives another history.")
@click.option("--remove", is_flag=True, help="Instead: take all demo data away, and nothing else.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: only on a terminal]")
@keeping_options
def demo_data(
    days: int,
    count: int,
    pictures: int,
    until: str | None,
    seed: int,
    remove: bool,
    yes: bool,
    as_json: bool,
    progress: bool | None,
    store: str | None,
    settings: tuple[str, ...],
    **rows: Any,
) -> None:
    """Write a made-up history into the rows, to try the dashboards with.

    Seven sources with a rhythm of days and weeks, one of which is new; four versions of a model, one of which was a mistake;
    days on which other objects come; rejections, failures, duplicates. The same --days, --rows, --seed and --until give the
    same rows. Demo data that is there already is replaced, so running it twice doubles nothing; a second one at the same time
    is refused (for Kudu: on this machine, for this user). The service may run.

    Each row is marked: its source_user begins with demo/, which no access key can be called. docs/analytics.md has more.

    \b
    Examples:
      imagewarehouse demo-data
      imagewarehouse demo-data --days 60 --rows 1000000 --pictures 500
      imagewarehouse demo-data --masters kudu-1:7051
      imagewarehouse demo-data --remove

    \b
    Exit codes:
      0    done, or there was nothing to remove
      1    the answer was no
      2    a wrong argument, another demo-data at work, or rows or store do not answer: run it again
      130  stopped with Ctrl-C: run it again
    """
    from imagewarehouse.analytics.demo import USERS, History
    from imagewarehouse.getting.rows import parse_time

    began = time.monotonic()
    meant, how = RowsMeant(**rows), settings_of(settings)
    if not remove and (pictures or not (meant.masters or meant.database)):
        with private_files():
            meant.data.mkdir(parents=True, exist_ok=True)
    with meant.open(create=not remove) as (table, places), _alone(meant, table):
        removal = _Removal(meant, table, places, store, how)
        if remove:
            _say({"where": table.where, **removal.run()}, began, as_json=as_json)
            return
        end = parse_time(until, "--until") if until else datetime.now(timezone.utc).replace(second=0, microsecond=0)
        if end - timedelta(days=days) < _EARLIEST:
            raise ConfigurationError(
                "--until", f"minus --days is before {_EARLIEST:%Y}, where the times of request ids begin"
            )
        history = History(days, count, end, seed)
        if not yes and table.has_others(USERS) and not _may(table.where):
            click.echo("nothing was changed", err=True)
            sys.exit(1)
        outcome = removal.run()
        with _bar(count, progress) as advance:
            written = _write(history, meant, table, pictures, store, how, advance)
    _say({"where": table.where, **outcome, **written, **_described(history)}, began, as_json=as_json)


@contextmanager
def _alone(meant: RowsMeant, table: WholeTable) -> Iterator[None]:
    """Each run takes away what it finds and then writes: of two at once the rows of both would stay."""
    import fcntl

    from imagewarehouse.rows.locks import take

    with _opened(meant, _lock_file(meant, table)) as file:
        if not take(file, fcntl.LOCK_EX):
            raise ConfigurationError(
                _option(meant), f"another imagewarehouse demo-data is at work on {table.where}; wait until it is done"
            )
        yield


def _opened(meant: RowsMeant, path: Path) -> FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_NOFOLLOW: in a folder of everybody, a link of somebody else leads to a file of ours.
        return FileIO(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))
    except OSError as err:
        raise ConfigurationError(_option(meant), f"{path}: {err.strerror or err}") from err


def _lock_file(meant: RowsMeant, table: WholeTable) -> Path:
    from imagewarehouse.rows.whole_local import WholeLocal

    if isinstance(table, WholeLocal):
        return table.path.with_name(f"{table.path.name}.demo-data.lock")
    named = f"{meant.masters or meant.data.resolve()} {meant.table_name}"
    digits = hashlib.sha256(named.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"imagewarehouse-{os.getuid()}-{digits}.demo-data.lock"


def _option(meant: RowsMeant) -> str:
    return "--masters" if meant.masters else "--database" if meant.database else "--data"


def _may(where: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError("--yes", f"is needed, as nobody can be asked: {where} has rows that are no demo data")
    click.echo(f"{where} has rows that are no demo data. They stay as they are; dashboards will show both.", err=True)
    return click.confirm("Write demo data beside them?", err=True)


def _write(
    history: History,
    meant: RowsMeant,
    table: WholeTable,
    pictures: int,
    store: str | None,
    how: StoreSettings,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    from imagewarehouse.analytics.demo_pictures import Pictures
    from imagewarehouse.objects.images import ImageStore
    from imagewarehouse.objects.location import Location
    from imagewarehouse.objects.opening import open_store

    made = Pictures(0, lambda image_id, content: "")
    images = None
    if pictures:
        location = store_meant(meant.data, store) or Location.parse(str(meant.data / "objects"))
        opened = images = ImageStore(open_store(location, how))
        made = Pictures(pictures, lambda image_id, content: opened.put(image_id, "JPEG", content, hashed=True))
    try:
        for page in history.pages():
            table.write(made.onto(page))
            advance(page.num_rows)
    finally:
        if images is not None:
            images.close()
    return {"rows": history.rows, "pictures": made.count}


class _Removal:
    """Takes demo data away. Pictures go first and rows last: the same command finishes what was interrupted."""

    def __init__(
        self, meant: RowsMeant, table: WholeTable, places: Locations | None, store: str | None, how: StoreSettings
    ) -> None:
        self._meant = meant
        self._table = table
        self._places = places
        self._store = store
        self._how = how

    def run(self) -> dict[str, Any]:
        """How many rows and pictures are gone."""
        from imagewarehouse.analytics.demo import USERS, is_demo
        from imagewarehouse.rows.whole import Mention

        removed, gone = 0, 0
        if self._table.is_empty():
            return {"removed_rows": 0, "removed_pictures": 0}
        for user in USERS:
            rows = [row for row in self._table.of_user(user) if is_demo(user, row.request_id)]
            with_picture: list[Mention] = [row for row in rows if row.storage_uri is not None]
            gone += self._remove_pictures(with_picture)
            self._table.delete(rows)
            removed += len(rows)
        return {"removed_rows": removed, "removed_pictures": gone}

    def _remove_pictures(self, rows: list[Any]) -> int:
        """Those that no other row points to."""
        from imagewarehouse.analytics.demo import is_demo
        from imagewarehouse.keeping.pictures import StoredPictures
        from imagewarehouse.standalone.thumbnails import remove_thumbnails

        uris: dict[str, set[str]] = {}
        for row in rows:
            uris.setdefault(row.image_id, set()).add(row.storage_uri)
        if not uris:
            return 0
        of_others = {
            row.image_id
            for row in self._table.of_images(list(uris))
            if not is_demo(row.source_user, row.request_id) and row.storage_uri is not None
        }
        stored = StoredPictures(self._places, store_meant(self._meant.data, self._store), self._how)
        try:
            found = stored.find({image_id: uris[image_id] for image_id in uris.keys() - of_others})
            stored.remove(found, datetime.now(timezone.utc))
        finally:
            stored.close()
        remove_thumbnails(self._meant.data / "thumbnails", [each.image_id for each in found])
        return len(found)


def _described(history: History) -> dict[str, Any]:
    return {
        "since": history.since.isoformat(),
        "until": history.until.isoformat(),
        "episodes": [
            {"name": e.name, "what": e.what, "since": e.since.isoformat(), "until": e.until.isoformat()}
            for e in history.episodes
        ],
    }


def _say(outcome: dict[str, Any], began: float, *, as_json: bool) -> None:
    outcome["seconds"] = round(time.monotonic() - began, 3)
    if as_json:
        import orjson

        click.echo(orjson.dumps(outcome, option=orjson.OPT_INDENT_2))
        return
    if outcome["removed_rows"]:
        rows, pictures = counted(outcome["removed_rows"], "row"), counted(outcome["removed_pictures"], "picture")
        click.echo(f"{outcome['where']}: removed {rows} of demo data and {pictures}")
    elif "rows" not in outcome:
        click.echo(f"{outcome['where']}: there is no demo data")
    if "rows" in outcome:
        rows, pictures = counted(outcome["rows"], "row"), counted(outcome["pictures"], "picture")
        click.echo(f"{outcome['where']}: {rows} and {pictures} in {outcome['seconds']:.1f} s")
        for episode in outcome["episodes"]:
            click.echo(f"  {episode['since'][:16].replace('T', ' ')} UTC  {episode['what']}")
        click.echo("remove it: imagewarehouse demo-data --remove, with the same --data, --database or --masters")


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[int], None]]:
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
