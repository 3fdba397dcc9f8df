"""`imagewarehouse index`: the Solr collection that searches go to."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.amounts import counted, file_size
from imagewarehouse.cli.keeping import RowsMeant, rows_options
from imagewarehouse.cli.solr import SOLR, settings_of_solr
from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.search.collection import Installation
    from imagewarehouse.search.rebuilding import State

_CREATE_S = 180.0  # that Solr may take to make a collection
_LINE_EVERY_S = 5.0
_configset = click.option("--configset", default="image-warehouse", show_default=True, metavar="NAME",
                          help="Name of the configset in Solr.")  # fmt: skip


@click.group()
def index() -> None:
    """Make the Solr collection that searches go to, look at it, and fill it from the rows."""


@index.command()
@SOLR
@_configset
@click.option(
    "--shards", type=click.IntRange(1), default=1, show_default=True, help="SolrCloud: parts of the collection."
)
@click.option(
    "--replicas", type=click.IntRange(1), default=1, show_default=True, help="SolrCloud: copies of each part."
)
@click.option("--update-schema", is_flag=True,
              help="Of a collection that is there: bring its configset up to date. Documents stay; fill it anew with "
                   "`index rebuild --over` where fields have changed.")  # fmt: skip
def create(solr: str | None, configset: str, shards: int, replicas: int, update_schema: bool) -> None:
    """Make the collection, from the configset that comes with this program.

    In SolrCloud the configset is uploaded. A single node has to have it on its disk; the command says what to copy where. A
    collection that is there is compared and left as it is.

    \b
    Examples:
      imagewarehouse index create --solr http://127.0.0.1:8983/solr/images
      imagewarehouse index create --solr zookeeper://zk-1:2181,zk-2:2181/images --shards 2 --replicas 2

    \b
    Exit codes:
      0    made, or there and as it should be
      1    there, and its schema differs: nothing was changed
      2    nothing was done: a wrong argument, Solr does not answer, or lacks the configset
    """
    with _installation(solr, _CREATE_S) as installation:
        if not installation.exists():
            if update_schema:
                raise ConfigurationError("--update-schema", f"there is no collection {installation.name}; leave it out")
            installation.create(configset, shards, replicas)
            click.echo(f"{installation.name}: made, with configset {configset}")
        elif update_schema:
            installation.update_schema(configset)
            click.echo(f"{installation.name}: loaded again, with configset {configset}")
        else:
            click.echo(f"{installation.name}: is there; nothing was changed")
        differences = installation.differences()
        _say_differences(differences)
        if differences:
            hint = "run this with --update-schema" if installation.cloud else installation.how_to_copy(configset)
            click.echo(f"to mend it: {hint}", err=True)
            sys.exit(1)


@index.command()
@SOLR
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
def show(solr: str | None, as_json: bool) -> None:
    """Show what is in the collection, and whether its schema is as it should be.

    \b
    Exit codes:
      0    shown
      1    shown, and its schema differs
      2    Solr does not answer, or there is no such collection
    """
    with _installation(solr) as installation:
        facts = installation.facts()
    if as_json:
        import json

        times = {
            name: value and value.isoformat() for name, value in (("oldest", facts.oldest), ("newest", facts.newest))
        }
        shown = {
            "collection": facts.name, "cloud": facts.cloud, "solr": facts.version, "documents": facts.documents,
            "with_embedding": facts.with_embedding, "bytes": facts.bytes, **times, "differences": facts.differences,
        }  # fmt: skip
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(f"{facts.name}: {'SolrCloud' if facts.cloud else 'a single node'}, Solr {facts.version}")
        size = "" if facts.bytes is None else f", {file_size(facts.bytes)}"
        click.echo(f"{counted(facts.documents, 'document')}, {facts.with_embedding:,} with an embedding{size}")
        if facts.oldest and facts.newest:
            click.echo(f"from {facts.oldest:%Y-%m-%d %H:%M:%S} to {facts.newest:%Y-%m-%d %H:%M:%S} UTC")
        _say_differences(facts.differences)
    sys.exit(1 if facts.differences else 0)


@index.command()
@SOLR
@click.option("--over", is_flag=True, help="Into a collection that has documents: those of the rows take the place of the same "
              "ones; documents without a row stay.")  # fmt: skip
@click.option("--since", metavar="TIME", help="Only rows from then on: 2026-12-01, or 2026-12-01T12:00 (UTC).")
@click.option("--until", metavar="TIME", help="Only rows before then.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where it is written down how far it is.  [default: index-rebuild-COLLECTION.json in --data]")  # fmt: skip
@click.option("--restart", is_flag=True, help="Begin anew, whatever an earlier run has done.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Documents of a request.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: only on a terminal]")
@rows_options
def rebuild(
    solr: str | None,
    over: bool,
    since: str | None,
    until: str | None,
    state: Path | None,
    restart: bool,
    batch: int,
    progress: bool | None,
    **rows: Any,
) -> None:
    """Fill the collection from all rows, in DuckDB or in Kudu.

    Stopped at any moment, it goes on when the same command is run again. Rows that cannot become documents are named in a file
    beside the state, FILE.bad. The service may run meanwhile.

    \b
    Examples:
      imagewarehouse index rebuild --solr http://127.0.0.1:8983/solr/images
      imagewarehouse index rebuild --masters kudu-1:7051 --since 2026-11-01 --over

    \b
    Exit codes:
      0    done: each row of that time has a document
      1    done, and rows are named in FILE.bad, or documents are missing
      2    a wrong argument, a collection with documents, or rows or Solr do not answer: run it again to go on
      130  stopped with Ctrl-C: run it again to go on
    """
    from imagewarehouse.search.rebuilding import Rebuild, StateFile, Task, query_of
    from imagewarehouse.search.rebuilding import State as Begun

    times = _time(since, "--since"), _time(until, "--until")
    meant = RowsMeant(**rows)
    with _installation(solr) as installation, meant.open(look_only=True) as (table, _):
        if not installation.exists():
            raise ConfigurationError("--solr", f"there is no collection {installation.name}; `index create` makes it")
        if differences := installation.differences():
            raise ConfigurationError(
                "--solr", f"{installation.name} is not as it should be: {'; '.join(differences[:5])}"
            )
        task = Task.of(installation, table, *times)
        path = state or (meant.data if meant.data.is_dir() else Path()) / f"index-rebuild-{installation.name}.json"
        state_file = StateFile(path, task)
        begun = None if restart else state_file.load()
        if begun is None and not over and (there := installation.count()):
            raise ConfigurationError(
                "--over", f"{installation.name} has {counted(there, 'document')}; give it to keep them"
            )
        if begun is not None:
            installation.commit()
            if (there := installation.count(query_of(task, begun))) < begun.written:
                problem = (
                    f"says that {counted(begun.written, 'document')} are written, and {installation.name} has {there:,} of"
                    " them; give --restart to begin anew, with --over where there are documents"
                )
                raise ConfigurationError("--state", f"{path} {problem}")
        bad_path = path.with_name(f"{path.name}.bad")
        try:
            bad = bad_path.open("a" if begun else "w", encoding="utf-8")
        except OSError as err:
            raise ConfigurationError("--state", f"{bad_path} cannot be written: {err.strerror}") from err
        with bad, _display(progress) as shown:
            work = Rebuild(table, installation, task, state_file, bad, shown.waiting, batch=batch)
            first = done = begun or Begun()
            if begun:
                click.echo(
                    f"goes on behind {begun.time}: {counted(begun.written + begun.bad, 'row')} are done", err=True
                )
            shown.begin(first, work.total())
            for done in work.run(first):
                shown.update(done)
        installation.commit()
        found = installation.count(query_of(task))
        state_file.remove()
        click.echo(f"{counted(done.written, 'row')} of {table.where} are documents of {installation.name}{shown.rate}")
        _check(done, found, bad_path)


def _check(done: State, found: int, bad_path: Path) -> None:
    if not done.bad:
        bad_path.unlink(missing_ok=True)
    else:
        click.echo(f"{counted(done.bad, 'row')} cannot: see {bad_path}", err=True)
    if found > done.written:
        click.echo(
            f"{counted(found - done.written, 'more document')} of that time: from before, or written meanwhile",
            err=True,
        )
    elif found < done.written:
        click.echo(f"{counted(done.written - found, 'document')} missing: somebody deletes them meanwhile", err=True)
    if done.bad or found < done.written:
        sys.exit(1)


def _say_differences(differences: list[str]) -> None:
    if not differences:
        click.echo("schema: as it should be")
    for line in differences:
        click.echo(f"schema: {line}", err=True)


@contextmanager
def _installation(solr: str | None, answer_s: float = 60.0) -> Iterator[Installation]:
    from imagewarehouse.search.collection import Installation
    from imagewarehouse.solr.client import Solr

    client = Solr(settings_of_solr(solr, answer_s))
    try:
        yield Installation(client)
    finally:
        client.close()


_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?)?")


def _time(text: str | None, option: str) -> datetime | None:
    """Raises ConfigurationError."""
    if text is None:
        return None
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as err:
        raise ConfigurationError(option, f"expected 2026-12-01 or 2026-12-01T12:00, received {text[:40]!r}") from err
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


# --- progress -----------------------------------------------------------------------------------------------------


class _Shown:
    """A bar on a terminal, elsewhere a line every few seconds."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.add_task("", total=None)
        self._began = self._next = time.monotonic()
        self._total = 0
        self._first = self._done = 0

    def begin(self, state: State, total: int) -> None:
        self._total = total
        self._first = self._done = state.written + state.bad
        self._began = time.monotonic()
        self._next = self._began + _LINE_EVERY_S

    def update(self, state: State) -> None:
        self._done = state.written + state.bad
        facts = f"{self._per_second():,.0f}/s, {state.bad:,} bad"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, description=facts)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY_S
            click.echo(f"{self._done:,} of {self._total:,} rows, {facts}", err=True)

    def waiting(self, reason: str) -> None:
        if self._bar is not None:
            self._bar.print(reason, markup=False)
        else:
            click.echo(f"waiting: {reason}", err=True)

    @property
    def rate(self) -> str:
        return f", {self._per_second():,.0f}/s" if self._done > self._first else ""

    def _per_second(self) -> float:
        return (self._done - self._first) / max(1e-9, time.monotonic() - self._began)


@contextmanager
def _display(progress: bool | None) -> Iterator[_Shown]:
    if not (sys.stderr.isatty() if progress is None else progress):
        yield _Shown(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Shown(bar)
