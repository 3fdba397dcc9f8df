"""`imagewarehouse export`: thousands of pictures out of the warehouse, for a training or another program.

Up to release 0.1.0 it wrote models in other formats; that is `imagewarehouse model export`, and still answers to this name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagewarehouse.cli.export_model import export_model
from imagewarehouse.cli.getting import places_of, query_of, settings_of, store_of, warehouse_options
from imagewarehouse.errors import ObjectStoreUnavailable, RowStoreUnavailable
from imagewarehouse.metadata import CLASSIFIED, STATUSES

if TYPE_CHECKING:
    from imagewarehouse.getting.exporting import Outcome
    from imagewarehouse.getting.plan import Plan

FORMATS = ("folder", "webdataset", "parquet")
_MOST_NAMED = 10  # missing pictures; a file has all of them


class _Export(click.Command):
    """The command for pictures, or that for models where it is called as it was before there was another."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        options = {argument.partition("=")[0] for argument in args}
        if "--out" in options and "--as" not in options:
            return export_model.make_context(info_name, args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_Export)
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--as", "kind", type=click.Choice(FORMATS), required=True, help="How: see above.")
@click.option("--class", "classes", multiple=True, metavar="CLASS",
              help="Only pictures of this predicted class; may be repeated.")  # fmt: skip
@click.option("--confidence", multiple=True, metavar="COMPARISON",
              help="Only where the class is so certain, such as '<0.6' (quoted); twice for a range.")  # fmt: skip
@click.option("--since", metavar="TIME", help="Only requests from this date or time on (ISO 8601; UTC).")
@click.option("--until", metavar="TIME", help="Only requests before this date or time.")
@click.option("--source-user", metavar="NAME", help="Only what was sent with this access key or certificate.")
@click.option("--status", "statuses", type=click.Choice(STATUSES), multiple=True, default=(CLASSIFIED,), show_default=True,
              help="Only requests of this status; may be repeated.")  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1), default=10_000, show_default=True, help="The newest pictures, so many."
)
@click.option("--dry-run", is_flag=True, help="Count, and write nothing.")
@click.option("--progress/--no-progress", default=None, help="Show a progress bar.  [default: only on a terminal]")
@warehouse_options
def export(
    out: Path,
    kind: str,
    classes: tuple[str, ...],
    confidence: tuple[str, ...],
    since: str | None,
    until: str | None,
    source_user: str | None,
    statuses: tuple[str, ...],
    limit: int,
    dry_run: bool,
    progress: bool | None,
    data: Path,
    database: Path | None,
    store: str | None,
    settings: tuple[str, ...],
) -> None:
    """Write pictures into the folder OUT, the newest first and each once, however often it was sent.

    \b
    --as folder      CLASS/IMAGE_ID.jpg, as `imagewarehouse train --data OUT` takes it
    --as parquet     data-000000.parquet and so on, 100 MB each; `train --data OUT` takes it as well
    --as webdataset  data-000000.tar and so on: IMAGE_ID.jpg, IMAGE_ID.json (the record), IMAGE_ID.cls (the number of the
                     class, a line of classes.txt)

    Stopped at any moment, it goes on when it is run again with the same arguments: with the pictures that were chosen the
    first time. A file that has its name is whole.

    Rows in Kudu are looked through while the service runs, the newest 20,000. To write a model in other formats:
    `imagewarehouse model export`.

    \b
    Examples:
      imagewarehouse export --since 2026-11-01 --as folder november
      imagewarehouse export --class cat --class dog --confidence '<0.6' --as folder unsure
      imagewarehouse export --source-user camera-17 --limit 1000000 --as webdataset shards

    \b
    Exit codes:
      0    everything is written, or nothing was asked for
      1    a picture is gone from the store or damaged, or the store stopped answering; the others are written
      2    a wrong argument, or the rows cannot be read
      130  stopped with Ctrl-C
    """
    from imagewarehouse.getting.plan import open_plan, plan
    from imagewarehouse.getting.rows import Wanted, parse_time, wanted_rows

    wanted = Wanted(
        tuple(sorted(set(classes))),
        tuple(sorted(set(statuses))),
        parse_time(since, "--since") if since else None,
        parse_time(until, "--until") if until else None,
        tuple(confidence),
        source_user,
        limit,
    )
    location, how = store_of(store), settings_of(settings)
    rows = wanted_rows(query_of(data, database), wanted)
    if dry_run:
        _print_counts(plan(out, rows))
        return
    with open_plan(out, {"as": kind, **wanted.as_json()}, rows) as planned:
        if not planned.rows:
            click.echo("no pictures are meant by this")
            return
        from imagewarehouse.getting.reading import Pictures

        try:
            with _bar(len(planned.rows), progress) as advance:
                outcome = _write(planned, kind, Pictures(location, how, places_of(data, database)), advance)
        except (ObjectStoreUnavailable, RowStoreUnavailable) as err:
            click.echo(f"imagewarehouse: {err}; run it again to go on", err=True)
            sys.exit(1)
        _report(planned, outcome)
    sys.exit(1 if outcome.missing else 0)


def _write(planned: Plan, kind: str, pictures: Any, advance: Callable[[int], None]) -> Outcome:
    from imagewarehouse.getting.exporting import export_folder, export_shards
    from imagewarehouse.getting.shards import Parquet, WebDataset

    if kind == "folder":
        return export_folder(planned, pictures, advance)
    names = sorted(name for name in planned.classes() if name is not None)
    return export_shards(planned, Parquet() if kind == "parquet" else WebDataset(names), pictures, advance)


@contextmanager
def _bar(total: int, progress: bool | None) -> Iterator[Callable[[int], None]]:
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def _print_counts(planned: Plan) -> None:
    click.echo(f"{len(planned.rows):,} pictures, {planned.size / 1e6:,.1f} MB; nothing is written")
    for name, count in planned.classes().most_common():
        click.echo(f"  {name or '(no class)':<30} {count:>9,}")


def _report(planned: Plan, outcome: Outcome) -> None:
    before = f", {outcome.there_before:,} were there" if outcome.there_before else ""
    click.echo(f"{outcome.written:,} pictures written to {planned.folder}{before}, {len(outcome.missing):,} missing")
    if not outcome.missing:
        return
    for image_id, why in outcome.missing[:_MOST_NAMED]:
        click.echo(f"  {image_id}: {why}", err=True)
    path = planned.hidden / "missing.txt"
    path.write_text("".join(f"{image_id}\t{why}\n" for image_id, why in outcome.missing), encoding="utf-8")
    click.echo(f"  all of them: {path}", err=True)
