"""The places of packed images, beside the embedded rows: a SQLite file that all processes of a machine share.

SQLite and not DuckDB: an image is looked up by its id while others write, and `imagewarehouse pack` moves images beside a
running service. Most commits are not synced to the disk, so that they cost a row nothing: what a power failure takes, the
row still says, and the next compaction writes it anew. A move is synced, because what was in the old place is removed then;
so is forgetting, because the rows that say what is to be forgotten are removed then.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.places import Known, Locations, Move
from imagewarehouse.rows.locks import SETTING
from imagewarehouse.text import one_line

_BUSY_S = 10.0
_ASKED_AT_ONCE = 500  # SQLite takes at least 999 values in a statement


def locations_of(database: Path) -> Path:
    """The file beside the rows' own."""
    return database.with_name(f"{database.name}.locations")


class SqliteLocations:
    """A `Locations`. Made after a fork, never before one."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError."""
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS image_locations"
                " (image_id TEXT PRIMARY KEY, uri TEXT NOT NULL, forgotten_at INTEGER) WITHOUT ROWID"
            )
            self._connection.execute(
                "CREATE INDEX IF NOT EXISTS forgotten ON image_locations (forgotten_at) WHERE forgotten_at IS NOT NULL"
            )
        except (sqlite3.Error, OSError) as err:
            raise ConfigurationError(SETTING, f"{path}: {one_line(err)}") from err

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        with self._errors():
            return _find(self._connection, image_ids)

    def add(self, places: Mapping[str, str]) -> None:
        self._change(
            "INSERT INTO image_locations (image_id, uri) VALUES (?, ?) ON CONFLICT (image_id) DO UPDATE"
            " SET uri = excluded.uri, forgotten_at = NULL WHERE forgotten_at IS NOT NULL",
            places.items(),
        )

    def move(self, moves: Sequence[Move]) -> None:
        self._change(
            "INSERT INTO image_locations (image_id, uri) VALUES (?, ?) ON CONFLICT (image_id) DO UPDATE"
            " SET uri = excluded.uri WHERE uri = ? AND forgotten_at IS NULL",
            [(move.image_id, move.new, move.old) for move in moves],
            synced=True,
        )

    def forget(self, image_ids: Iterable[str], when: datetime) -> None:
        moment = int(when.timestamp() * 1_000_000)
        self._change(
            "UPDATE image_locations SET forgotten_at = ? WHERE image_id = ?",
            [(moment, image_id) for image_id in image_ids],
            synced=True,
        )

    def forgotten(self) -> dict[str, Known]:
        with self._errors():
            rows = self._connection.execute(
                "SELECT image_id, uri, forgotten_at FROM image_locations WHERE forgotten_at IS NOT NULL"
            )
            return dict(map(_known, rows))

    def drop(self, image_ids: Iterable[str]) -> None:
        self._change(
            "DELETE FROM image_locations WHERE image_id = ? AND forgotten_at IS NOT NULL",
            [(image_id,) for image_id in image_ids],
        )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _change(self, statement: str, values: Iterable[Sequence[object]], *, synced: bool = False) -> None:
        """In one transaction."""
        with self._errors():
            self._connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, values)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as err:
                raise RowStoreUnavailable(f"{self.path}: {one_line(err)}") from err


def _find(connection: sqlite3.Connection, image_ids: Iterable[str]) -> dict[str, Known]:
    found: dict[str, Known] = {}
    for some in _slices(image_ids):
        marks = ", ".join("?" * len(some))
        rows = connection.execute(
            f"SELECT image_id, uri, forgotten_at FROM image_locations WHERE image_id IN ({marks})", some
        )
        found.update(map(_known, rows))
    return found


class FirstPlaces:
    """Adds to a `Locations` that is opened for the first place: who packs nothing has no table. Thread-safe."""

    def __init__(self, open_locations: Callable[[], Locations]) -> None:
        self._open = open_locations
        self._lock = threading.Lock()
        self._opened: Locations | None = None

    def add(self, places: Mapping[str, str]) -> None:
        """Raises RowStoreUnavailable."""
        opened = self._opened
        if opened is None:
            with self._lock:
                try:
                    opened = self._opened = self._opened or self._open()
                except (
                    ConfigurationError
                ) as err:  # the images are acknowledged: they wait until an operator has seen to it
                    raise RowStoreUnavailable(str(err)) from err
        opened.add(places)

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()


def _known(row: tuple[str, str, int | None]) -> tuple[str, Known]:
    image_id, uri, moment = row
    return image_id, Known(uri, None if moment is None else datetime.fromtimestamp(moment / 1_000_000, timezone.utc))


def _slices(image_ids: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(image_ids)
    while some := list(islice(remaining, _ASKED_AT_ONCE)):
        yield some


class ReadLocations:
    """A `Lookup` in the file that `SqliteLocations` keeps, which it never makes. While there is none it knows nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def __str__(self) -> str:
        return str(self.path.resolve())

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        with self._lock:
            try:
                if self._connection is None:
                    if not self.path.exists():
                        return {}
                    self._connection = self._open()
                return _find(self._connection, image_ids)
            except sqlite3.Error as err:
                self._close()
                raise RowStoreUnavailable(f"{self.path}: {one_line(err)}") from err

    def close(self) -> None:
        with self._lock:
            self._close()

    def _open(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        # Where nobody has it open and its folder is read only, SQLite cannot make the file that openers share: then nobody
        # writes, and none is needed.
        alone = not self.path.with_name(f"{self.path.name}-wal").exists() and not os.access(self.path.parent, os.W_OK)
        return sqlite3.connect(
            f"{uri}&immutable=1" if alone else uri, timeout=_BUSY_S, check_same_thread=False, uri=True
        )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
