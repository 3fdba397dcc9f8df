"""What `imagewarehouse get` and `imagewarehouse export` share: where the rows and the pictures are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagewarehouse.cli.rows import query, read_file

if TYPE_CHECKING:
    from imagewarehouse.getting.rows import Query
    from imagewarehouse.objects.location import Location

_OPTIONS = (
    click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
                 envvar="IMAGEWAREHOUSE_DATA", help="Data folder of the service, running or not."),
    click.option("--database", type=click.Path(path_type=Path, dir_okay=False),
                 help="DuckDB file with the rows instead, as rows.database names it; NiFi may be writing to it."),
    click.option("--store", metavar="URI", envvar="IMAGEWAREHOUSE_STORE_URI", show_envvar=True,
                 help="Where the pictures are, as store.uri says it: with the login that rows do not have, or where they have "
                      "moved.  [default: where each row says]"),
)  # fmt: skip


def warehouse_options(command: Callable[..., None]) -> Callable[..., None]:
    """--data, --database and --store."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def query_of(data: Path, database: Path | None) -> Query:
    """What answers SELECTs: the running service or the file, as `imagewarehouse rows` chooses."""
    return partial(query, data) if database is None else partial(read_file, database, option="--database")


def store_of(store: str | None) -> Location | None:
    """Raises ConfigurationError."""
    from imagewarehouse.objects.location import Location

    return Location.parse(store, "--store") if store else None
