"""The embedded row store: one DuckDB file and the log in front of it, for trying things out and for tests.

A record is safe once it is in the log, which costs a tenth of DuckDB's commit. A thread moves what is there into the file
every second; before a query everything is.

The file belongs to the process that writes it; DuckDB lets no other process in meanwhile. `imagewarehouse rows` asks
the running service for that reason.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable, WarehouseError
from imagewarehouse.metadata import COLUMNS, KEY, ColumnType, ImageRecord
from imagewarehouse.rows.columns import SCHEMA, TABLE, record_arrays
from imagewarehouse.rows.log import RecordLog
from imagewarehouse.rows.select import select
from imagewarehouse.text import one_line

_SQL_TYPES: dict[ColumnType, str] = {
    "string": "VARCHAR", "timestamp": "TIMESTAMPTZ", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE",
}  # fmt: skip


log = logging.getLogger("imagewarehouse.rows")

_MOVE_S = 1.0  # between two moves: a commit of DuckDB costs 3 ms, for one row as for fifty
_MOVED_AT_ONCE = 5_000
# A value that no column takes. Records are checked before, so this is a defect; but it must not hold up all others.
_NEVER = (duckdb.DataError, pa.ArrowException, ValueError, TypeError, OverflowError)


class _Batch:
    """What the view `batch` reads: registered once, because a view made for every commit doubles its price."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class LocalRows:
    """`image_events` in a DuckDB file. Thread-safe."""

    def __init__(self, path: Path, memory_limit: str = "128MB") -> None:
        self.path = path
        self._lock = threading.Lock()
        self._batch = _Batch(SCHEMA.empty_table())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(
                str(path),
                config={
                    "threads": 1,  # a batch is a few rows; more threads would only take cores from the decoder
                    "memory_limit": memory_limit,
                    "max_temp_directory_size": "1GB",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                },
            )
        except (duckdb.Error, OSError) as err:
            raise ConfigurationError("Local Database", f"{path}: {one_line(err)}") from err
        with _duckdb_errors(path):
            self._connection.execute("SET TimeZone='UTC'")
            self._connection.execute("SET enable_external_access=false")  # SELECTs of operators read this file only
            self._create_or_check()
            self._connection.register("batch", self._batch)
        try:
            self._log = RecordLog(path.with_name(f"{path.name}.log"))
        except ConfigurationError:
            self._connection.close()  # else nobody could open it again in this process
            raise
        self._moving = threading.Lock()
        self._appended = threading.Event()
        self._closed = threading.Event()
        self._move()  # what a process that was killed has left there
        self._mover = threading.Thread(target=self._keep_moving, name="rows", daemon=True)
        self._mover.start()

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        self._log.append(records)
        self._appended.set()
        return [None] * len(records)

    def query(self, sql: str) -> pa.Table:
        """As `select`, over every record that was written, on a cursor of its own, so that writers go on."""
        self._move()
        with self._lock:
            cursor = self._connection.cursor()
        return select(cursor, sql)

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._appended.set()
        self._mover.join()
        try:
            self._move()
        except RowStoreUnavailable as err:
            log.warning("%s; the records stay in %s", err, self._log.path)
        self._log.close()
        with self._lock:
            self._connection.close()

    def _keep_moving(self) -> None:
        while not self._closed.is_set():
            self._appended.wait()
            self._closed.wait(_MOVE_S)
            self._appended.clear()
            try:
                self._move()
            except Exception as err:  # noqa: BLE001 - they are safe where they are, and the thread has to live on
                log.warning("%s; the records wait in %s", one_line(err), self._log.path)
                self._appended.set()

    def _move(self) -> None:
        """Bring the records of the log into the database, in their order. Done twice, it changes nothing."""
        with self._moving:
            while True:
                found = self._log.read(_MOVED_AT_ONCE)
                if not found:
                    return
                try:
                    self._insert([record for _, record in found])
                except _NEVER:  # one of them is to blame
                    self._insert_singly(found)
                self._log.remove(found[-1][0])

    def _insert_singly(self, found: Sequence[tuple[int, ImageRecord]]) -> None:
        for number, record in found:
            try:
                self._insert([record])
            except _NEVER as err:  # noqa: PERF203 - only where a batch was refused
                self._log.set_aside(number, err)

    def _insert(self, records: Sequence[ImageRecord]) -> None:
        # Two versions of one key in a batch would be a constraint error; the later one is the retry.
        latest = {(record.event_time, record.request_id): record for record in records}
        batch = pa.Table.from_arrays(record_arrays(list(latest.values())), schema=SCHEMA)
        with self._lock, _duckdb_errors(self.path):
            self._batch.table = batch
            # A plain INSERT costs a third of an upsert (2 against 5 ms of planning at this width); a retry is rare.
            try:
                self._connection.execute(f"INSERT INTO {TABLE} BY NAME SELECT * FROM batch")
            except duckdb.ConstraintException:
                self._connection.execute(f"INSERT OR REPLACE INTO {TABLE} BY NAME SELECT * FROM batch")

    def _create_or_check(self) -> None:
        columns = ", ".join(f"{c.name} {_SQL_TYPES[c.type]}{'' if c.nullable else ' NOT NULL'}" for c in COLUMNS)
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns}, PRIMARY KEY ({', '.join(KEY)}))")
        found = {row[0] for row in self._connection.execute(f"SELECT column_name FROM (DESCRIBE {TABLE})").fetchall()}
        for column in COLUMNS:  # a file of an older release gains the columns it lacks
            if column.name not in found:
                self._connection.execute(f"ALTER TABLE {TABLE} ADD COLUMN {column.name} {_SQL_TYPES[column.type]}")


@contextmanager
def _duckdb_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.DataError:
        raise
    except (duckdb.Error, OSError) as err:
        raise RowStoreUnavailable(f"{path}: {one_line(err)}") from err
