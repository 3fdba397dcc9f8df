"""The log in front of the embedded rows: what is appended survives a crash, for a tenth of a database's commit.

SQLite with a write-ahead log, synced at every append. Records lie in it in their order until they are in the database
and taken out here. All processes of a machine may append, one of them takes out, and others may read it at any time
(`waiting`).

A record is a JSON list: the number of its layout, then its values. A layout is the list of the columns' names, so that a
log of another release can be read. The first release wrote an object of names and values; that is read as well. A vector
is base64 in it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.metadata import COLUMNS, STATUSES, ImageRecord, from_text, to_text
from imagewarehouse.rows.locks import SETTING, held, open_lock
from imagewarehouse.text import one_line

log = logging.getLogger("imagewarehouse.rows")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_NAMES = tuple(column.name for column in COLUMNS)
_TIME, _ID, _STATUS, _VECTOR = (_NAMES.index(name) for name in ("event_time", "request_id", "status", "embedding"))
_values = attrgetter(*_NAMES)
_INSERT = "INSERT INTO records (record) VALUES (?)"
_PAGE = 5_000
_BUSY_S = 5.0
_NO_RECORD = (ValueError, TypeError, LookupError)

# A record as it comes out: a value for each of COLUMNS, the time in microseconds since 1970.
Values = tuple[Any, ...]
Layouts = Mapping[int, tuple[str, ...]]
Numbered = list[tuple[int, Values]]
Key = tuple[int, str]  # of a row: event_time in microseconds since 1970, request_id


def log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.log")


class RecordLog:
    """Thread-safe, and shared with the other processes that have it open; made after a fork, never before one.

    Who writes takes a lock file first. SQLite alone would look again after 1, 2, 5 and 10 ms whether its turn has come; the
    lock wakes whoever waits at once.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError."""
        self.path = path
        self._lock = threading.Lock()
        try:
            self._turn = open_lock(path.with_name(f"{path.name}.lock"))
            try:
                with held(self._turn):
                    self._open()
            except BaseException:
                self._turn.close()
                raise
        except (sqlite3.Error, OSError) as err:
            raise ConfigurationError(SETTING, f"{path}: {one_line(err)}") from err

    def _open(self) -> None:
        # The wait is for what does not know of the lock: readers while they repair what a killed process has left.
        self._connection = sqlite3.connect(self.path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")  # in WAL mode NORMAL would sync at checkpoints only
            for table in ("records", "refused"):  # the latter: what the database will never take, for an operator
                self._connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (number INTEGER PRIMARY KEY, record TEXT)"
                )
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS layouts (number INTEGER PRIMARY KEY, names TEXT UNIQUE)"
            )
            names = json.dumps(_NAMES)
            self._connection.execute("INSERT OR IGNORE INTO layouts (names) VALUES (?)", (names,))
            ((self._layout,),) = self._connection.execute("SELECT number FROM layouts WHERE names = ?", (names,))
        except BaseException:
            self._connection.close()
            raise

    def append(self, records: Sequence[ImageRecord]) -> None:
        """They are on disk when this returns. Raises RowStoreUnavailable: none of them is."""
        texts = [(self._text(record),) for record in records]
        if len(texts) == 1:  # a transaction of its own, without the two statements around it
            with self._alone():
                self._connection.execute(_INSERT, texts[0])
            return
        with self._transaction():
            self._connection.executemany(_INSERT, texts)

    # --- for the one process that takes out -----------------------------------------------------------------------
    #
    # SQLite numbers a record after the greatest number that is there, so a number can come again once its record is gone.
    # As long as the last record of a page is in its place, whatever is appended comes after it, and `remove` takes out
    # what was read and nothing else. That is why a record that the database refuses stays there until the page goes.

    def read(self, limit: int) -> Numbered:
        """The oldest records with their numbers, in their order. What is no record is set aside."""
        while True:
            with self._lock, self._errors():
                rows = self._connection.execute(
                    "SELECT number, record FROM records ORDER BY number LIMIT ?", (limit,)
                ).fetchall()
                layouts = _layouts(self._connection)  # after the records, whose process may have brought a new one
            records, refused = [], {}
            for number, text in rows:
                try:
                    records.append((number, _read(text, layouts)))
                except _NO_RECORD as err:  # noqa: PERF203 - each by itself
                    refused[number] = err
            if refused:
                with self._transaction():
                    self._copy(refused)
                    self._connection.executemany("DELETE FROM records WHERE number = ?", [(n,) for n in refused])
                self._tell(refused)
            if records or not rows:
                return records

    def last(self) -> int:
        """The number of the newest record, 0 where there is none."""
        with self._lock, self._errors():
            ((number,),) = self._connection.execute("SELECT coalesce(max(number), 0) FROM records")
        return int(number)

    def remove(self, last: int, refused: Mapping[int, Exception]) -> None:
        """Take out the records up to that number. The table `refused` keeps those that no one must wait for, for ever."""
        with self._transaction():
            self._copy(refused)
            self._connection.execute("DELETE FROM records WHERE number <= ?", (last,))
        self._tell(refused)

    def delete(self, keys: Collection[Key]) -> None:
        """Take out the records of these rows, and leave nothing of them in the file. Nobody may be moving meanwhile."""
        wanted = frozenset(keys)
        with self._alone():  # so that nothing is appended
            self._connection.execute("PRAGMA secure_delete=ON")
            layouts = _layouts(self._connection)
            found = []
            for number, text in self._connection.execute("SELECT number, record FROM records"):
                with suppress(*_NO_RECORD):
                    values = _read(text, layouts)
                    if (values[_TIME], values[_ID]) in wanted:
                        found.append((number,))
            if found:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("DELETE FROM records WHERE number = ?", found)
                self._connection.execute("COMMIT")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _copy(self, refused: Mapping[int, Exception]) -> None:
        self._connection.executemany(
            "INSERT INTO refused (record) SELECT record FROM records WHERE number = ?",
            [(number,) for number in refused],
        )

    def _tell(self, refused: Mapping[int, Exception]) -> None:
        for number, why in refused.items():
            log.error("%s: record %d is set aside in the table refused: %s", self.path, number, one_line(why))

    # --------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        with self._lock:
            if not self._turn.closed:
                with held(self._turn):  # the last to close it empties SQLite's write-ahead log
                    self._connection.close()
                self._turn.close()

    def _text(self, record: ImageRecord) -> str:
        values = [self._layout, *_values(record)]
        values[_TIME + 1] = (record.event_time - _EPOCH) // _MICROSECOND
        if record.embedding is not None:
            values[_VECTOR + 1] = to_text(record.embedding)
        return orjson.dumps(values).decode()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of all threads of all processes."""
        with self._lock, self._errors():
            if self._turn.closed:
                raise RowStoreUnavailable(f"{self.path}: it is closed")
            with held(self._turn):
                yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._alone():
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
        except (sqlite3.Error, OSError) as err:
            raise RowStoreUnavailable(f"{self.path}: {one_line(err)}") from err


def waiting(path: Path) -> Generator[Numbered, None, None]:
    """What is in the log now, page by page in its order, while another process may write it; nothing where there is no log.

    What is no record is passed over: setting it aside is the writer's. Raises RowStoreUnavailable.
    """
    if not path.is_file():
        return
    try:
        with closing(_open_for_reading(path)) as connection:
            connection.execute("BEGIN")  # layouts and records of one moment
            layouts = _layouts(connection)
            rows = connection.execute("SELECT number, record FROM records ORDER BY number")
            while page := rows.fetchmany(_PAGE):
                records = []
                for number, text in page:
                    try:
                        records.append((number, _read(text, layouts)))
                    except _NO_RECORD:  # noqa: PERF203 - each by itself
                        continue
                if records:
                    yield records
    except sqlite3.Error as err:
        raise RowStoreUnavailable(f"{path}: {one_line(err)}") from err


def _open_for_reading(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        # Nobody writes, and this user may not make the index file that SQLite wants beside a write-ahead log.
        return sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    return connection


def _layouts(connection: sqlite3.Connection) -> Layouts:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'layouts'").fetchall():
        return {}
    return {
        number: tuple(json.loads(names)) for number, names in connection.execute("SELECT number, names FROM layouts")
    }


def _read(text: str, layouts: Layouts) -> Values:
    """Raises ValueError, TypeError or LookupError for what is no record. Types are looked at when rows are made of it."""
    record = orjson.loads(text)
    if isinstance(record, list):
        names = layouts[record[0]]
        del record[0]
        if len(record) != len(names):
            raise ValueError(f"expected {len(names)} values, found {len(record)}")
        values = record if names == _NAMES else _in_order(dict(zip(names, record, strict=True)))
    elif isinstance(record, dict):
        values = _in_order(record)
    else:
        raise ValueError("neither a list nor an object")
    if type(values[_TIME]) is not int or type(values[_ID]) is not str:
        raise ValueError("no event_time or no request_id")
    if values[_STATUS] not in STATUSES:
        raise ValueError(f"status: expected one of {', '.join(STATUSES)}, found {values[_STATUS]!r}")
    vector: Any = values[_VECTOR]
    if vector is not None:
        values[_VECTOR] = from_text(vector, "vector")
    return tuple(values)


def _in_order(values: Mapping[str, object]) -> list[object]:
    return [values.get(name) for name in _NAMES]
