"""The log in front of the embedded rows: what is appended survives a crash, for a tenth of a database's commit.

SQLite with a write-ahead log, synced at every append. Records lie in it as JSON, in their order, until they are in the
database and taken out here.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.text import one_line

log = logging.getLogger("imagewarehouse.rows")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_NAMES = tuple(column.name for column in COLUMNS)


class RecordLog:
    """Thread-safe. Of one process at a time, as the database behind it is."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError."""
        self.path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL would sync at checkpoints only
            for table in ("records", "refused"):  # the latter: what the database will never take, for an operator
                self._connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (number INTEGER PRIMARY KEY, record TEXT)"
                )
        except sqlite3.Error as err:
            raise ConfigurationError("Local Database", f"{path}: {one_line(err)}") from err

    def append(self, records: Sequence[ImageRecord]) -> None:
        """They are on disk when this returns. Raises RowStoreUnavailable: none of them is."""
        texts = [(_text(record),) for record in records]
        with self._transaction():
            self._connection.executemany("INSERT INTO records (record) VALUES (?)", texts)

    def read(self, limit: int) -> list[tuple[int, ImageRecord]]:
        """The oldest records with their numbers, in their order. What is no record is set aside."""
        while True:
            with self._lock, self._errors():
                rows = self._connection.execute(
                    "SELECT number, record FROM records ORDER BY number LIMIT ?", (limit,)
                ).fetchall()
            found = []
            for number, text in rows:
                try:
                    found.append((number, _record(text)))
                except (ValueError, TypeError, KeyError, OverflowError) as err:  # noqa: PERF203 - each by itself
                    self.set_aside(number, err)
            if found or not rows:
                return found

    def remove(self, last: int) -> None:
        """Take out the records up to that number."""
        with self._transaction():
            self._connection.execute("DELETE FROM records WHERE number <= ?", (last,))

    def set_aside(self, number: int, why: Exception) -> None:
        """Keep a record in the table `refused`: the others must not wait for it for ever."""
        log.error("%s: record %d is set aside in the table refused: %s", self.path, number, one_line(why))
        with self._transaction():
            self._connection.execute(
                "INSERT INTO refused (record) SELECT record FROM records WHERE number = ?", (number,)
            )
            self._connection.execute("DELETE FROM records WHERE number = ?", (number,))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as err:
            raise RowStoreUnavailable(f"{self.path}: {one_line(err)}") from err


def _text(record: ImageRecord) -> str:
    values = [getattr(record, name) for name in _NAMES]
    values[_NAMES.index("event_time")] = (record.event_time - _EPOCH) // _MICROSECOND
    # By name, so that a log of an older release can be read; without what is not there.
    return json.dumps({name: value for name, value in zip(_NAMES, values, strict=True) if value is not None})


def _record(text: str) -> ImageRecord:
    values: dict[str, Any] = json.loads(text)
    values["event_time"] = _EPOCH + values["event_time"] * _MICROSECOND
    return ImageRecord(**{name: value for name, value in values.items() if name in _NAMES})
