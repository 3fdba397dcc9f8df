"""What `imagewarehouse forget`, `backup` and `restore` share: which rows are meant, and where their pictures are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagewarehouse.cli.getting import DATA, DATABASE, SETTINGS
from imagewarehouse.errors import ConfigurationError

if TYPE_CHECKING:
    from imagewarehouse.objects.location import Location
    from imagewarehouse.places import Locations
    from imagewarehouse.rows.whole import WholeTable

PRIVATE = 0o027
"""The umask of whatever writes what people have sent."""

_IN_KUDU = (
    click.option("--masters", metavar="HOST:PORT,...", envvar="IMAGEWAREHOUSE_KUDU_MASTERS",
                 help="Rows in Kudu: its masters.  [default: the Kudu of --data, if it has no rows.duckdb]"),
    click.option("--table", "table_name", default="image_events", show_default=True,
                 help="Table of the image records in Kudu."),
    click.option("--client", "backend", type=click.Choice(["java", "native"]), default="java", show_default=True,
                 help="Kudu's Java client, or kudu-python."),
    click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
                 help="How long Kudu may take to answer."),
)  # fmt: skip
_STORE = click.option("--store", metavar="URI", envvar="IMAGEWAREHOUSE_STORE_URI", show_envvar=True,
                      help="Where the pictures are, as store.uri says it: with the login that rows do not have, or where they "
                           "have moved.  [default: where each row says, and objects in --data]")  # fmt: skip


def rows_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that `RowsMeant` takes."""
    for option in reversed((DATA, DATABASE, *_IN_KUDU)):
        command = option(command)
    return command


def keeping_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that `RowsMeant` takes, --store and --set."""
    return rows_options(_STORE(SETTINGS(command)))


@contextmanager
def private_files() -> Iterator[None]:
    """What people send is not for every user of the machine: what is made meanwhile is for its owner and the group."""
    before = os.umask(PRIVATE)
    try:
        yield
    finally:
        os.umask(before)


@dataclass(frozen=True, slots=True)
class RowsMeant:
    """The rows that a command is about, by its options."""

    data: Path
    database: Path | None
    masters: str | None
    table_name: str
    backend: str
    timeout: float

    @contextmanager
    def open(self, *, create: bool = False, look_only: bool = False) -> Iterator[tuple[WholeTable, Locations | None]]:
        """The rows, and the places of packed pictures. `create`: rows need not be there yet. `look_only`: nothing is made.

        Files that are made meanwhile are as private as those of the service. Raises ConfigurationError, RowStoreUnavailable.
        """
        with private_files(), self._open(create=create, look_only=look_only) as opened:
            yield opened

    @contextmanager
    def _open(self, *, create: bool, look_only: bool) -> Iterator[tuple[WholeTable, Locations | None]]:
        if self._in_kudu():
            with self._open_kudu(create=create) as opened:
                yield opened
            return
        from imagewarehouse.rows.locations import SqliteLocations, locations_of
        from imagewarehouse.rows.whole_local import WholeLocal

        path = self.database or self.data / "rows.duckdb"
        local, file = WholeLocal(path, create=create), locations_of(path)
        locations = None if look_only and not file.exists() else SqliteLocations(file)
        try:
            yield local, locations
        finally:
            local.close()
            if locations is not None:
                locations.close()

    def _in_kudu(self) -> bool:
        """Raises ConfigurationError: rows of one kind only would be forgotten, and with them the pictures of the others."""
        if self.masters and self.database:
            raise ConfigurationError("--masters", "and --database are two places of rows; give one")
        if self.masters or self.database:
            return bool(self.masters)
        has_kudu, has_file = (self.data / "kudu" / "ports.json").exists(), (self.data / "rows.duckdb").exists()
        if has_kudu and has_file:
            raise ConfigurationError(
                "--data", f"{self.data} has rows in DuckDB and in a Kudu; say which with --database or --masters"
            )
        return has_kudu

    @contextmanager
    def _open_kudu(self, *, create: bool) -> Iterator[tuple[WholeTable, Locations]]:
        from imagewarehouse.cli.kudu.connection import find_cluster
        from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
        from imagewarehouse.rows.whole_kudu import WholeKudu

        cluster = find_cluster(self.masters, self.data, self.backend, self.timeout)
        with cluster.connect(self.table_name) as writer:
            places = KuduLocations(writer, image_locations(locations_table(self.table_name)))
            yield WholeKudu(writer, self.table_name, create=create), places


def store_meant(data: Path, store: str | None) -> Location | None:
    """Raises ConfigurationError."""
    from imagewarehouse.objects.location import Location

    if store:
        return Location.parse(store, "--store")
    folder = data / "objects"
    return Location.parse(str(folder)) if folder.is_dir() else None
