"""The DuckDB file of the embedded rows: how it is opened, its table, and how rows get into it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa

from imagewarehouse.errors import RowStoreUnavailable
from imagewarehouse.metadata import COLUMNS, KEY, REJECTED, ColumnType
from imagewarehouse.rows.columns import NUMBER, SCHEMA, TABLE, cell_array
from imagewarehouse.rows.locks import FileHeld
from imagewarehouse.rows.log import Key, Values
from imagewarehouse.rows.select import ctrl_c
from imagewarehouse.text import one_line

log = logging.getLogger("imagewarehouse.rows")

SQL_TYPES: dict[ColumnType, str] = {
    "string": "VARCHAR", "timestamp": "TIMESTAMPTZ", "int32": "INTEGER", "int64": "BIGINT", "float": "FLOAT",
    "double": "DOUBLE", "vector": "TINYINT[]",
}  # fmt: skip
# The first 64 bits of a sha256, so that numbers are in the order of the texts. What is no sha256 has a number as well.
NUMBER_OF_IMAGE = (
    "coalesce(try_cast('0x' || substr(image_id, 1, 16) AS UBIGINT), CAST(md5_number_lower(image_id) AS UBIGINT))"
)
# A value that no column takes. Records are checked before, so this is a defect; but it must not hold up all others.
NEVER = (duckdb.DataError, pa.ArrowException, ValueError, TypeError, OverflowError)

_HOLDER = re.compile(r"lock is held in (.+? \(PID \d+\))")
_TIME, _ID = (SCHEMA.get_field_index(name) for name in KEY)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_GAP_US = 60_000_000
_MOST_STRETCHES = 8  # a DELETE costs 1 ms for its plan; one over all row groups of a million rows 27 ms


# --- the file -----------------------------------------------------------------------------------------------------


def settings(path: Path, memory_limit: str) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "threads": 1,  # a batch is a few rows; more threads would only take cores from the decoder
        "memory_limit": memory_limit,
        "temp_directory": f"{path}.tmp",
        "max_temp_directory_size": "1GB",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


@contextmanager
def duckdb_errors(path: Path) -> Iterator[None]:
    """DuckDB's errors as ours; what is wrong with a value stays as it is."""
    try:
        with ctrl_c():
            yield
    except duckdb.DataError:
        raise
    except (duckdb.Error, OSError) as err:
        if isinstance(err, duckdb.IOException) and "Could not set lock" in str(err):
            program = _HOLDER.search(str(err))  # the rest of DuckDB's message is advice that does not apply here
            raise FileHeld(f"{path}: {program[1] if program else 'another program'} has it open") from err
        raise RowStoreUnavailable(f"{path}: {one_line(err)}") from err


# --- the table ----------------------------------------------------------------------------------------------------


def create_or_check(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """Make the table where there is none; give an older release's the columns it lacks, and take its key away."""
    table = f"{catalog}.{TABLE}"
    columns = ", ".join(f"{c.name} {SQL_TYPES[c.type]}{'' if c.nullable else ' NOT NULL'}" for c in COLUMNS)
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {NUMBER} UBIGINT)")
    if _has_key(connection, catalog):
        _rebuild_without_key(connection, catalog)
    column_names = {row[0] for row in connection.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()}
    for column in COLUMNS:
        if column.name not in column_names:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column.name} {SQL_TYPES[column.type]}")
    if NUMBER not in column_names or connection.execute(_WITHOUT_NUMBER.format(table=table)).fetchall():
        _number(connection, catalog, new=NUMBER not in column_names)


def _has_key(connection: duckdb.DuckDBPyConnection, catalog: str) -> bool:
    keys = connection.execute(
        "SELECT 1 FROM duckdb_constraints() WHERE database_name = ? AND table_name = ? AND constraint_type = 'PRIMARY KEY'",
        [catalog, TABLE],
    )
    return bool(keys.fetchall())


def _rebuild_without_key(connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
    """DuckDB cannot drop a primary key, so the rows are copied: in one transaction, which a crash undoes as a whole."""
    started = time.monotonic()
    columns = ", ".join(
        f'"{name}" {kind}{"" if null == "YES" else " NOT NULL"}'
        for name, kind, null in connection.execute(
            f'SELECT column_name, column_type, "null" FROM (DESCRIBE {catalog}.{TABLE})'
        ).fetchall()
    )
    with _transaction(connection):
        connection.execute(f"CREATE TABLE {catalog}.{TABLE}_without_key ({columns})")
        connection.execute(f"INSERT INTO {catalog}.{TABLE}_without_key SELECT * FROM {catalog}.{TABLE}")
        connection.execute(f"DROP TABLE {catalog}.{TABLE}")
        connection.execute(f"ALTER TABLE {catalog}.{TABLE}_without_key RENAME TO {TABLE}")
    log.info(
        "the rows of an earlier release were copied into a table without a key, %.1f s", time.monotonic() - started
    )


# An earlier release that wrote to the file again leaves rows without a number. A rejected row has no picture; that they are
# passed over first spares reading the texts of all rows.
_WITHOUT_NUMBER = (
    f"SELECT 1 FROM {{table}} WHERE {NUMBER} IS NULL AND status <> '{REJECTED}' AND image_id IS NOT NULL LIMIT 1"
)


def _number(connection: duckdb.DuckDBPyConnection, catalog: str, *, new: bool) -> None:
    """Give every row the number of its picture: one column is written, in one transaction, which a crash undoes as a whole."""
    started, table = time.monotonic(), f"{catalog}.{TABLE}"
    with _transaction(connection):
        indexes = connection.execute(
            "SELECT index_name FROM duckdb_indexes() WHERE database_name = ? AND table_name = ?", [catalog, TABLE]
        )
        for (name,) in indexes.fetchall():  # somebody's own; DuckDB would not change the column
            connection.execute(f'DROP INDEX {catalog}."{name}"')
        if new:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {NUMBER} UBIGINT")
        connection.execute(f"ALTER TABLE {table} ALTER {NUMBER} SET DATA TYPE UBIGINT USING {NUMBER_OF_IMAGE}")
    log.info("the rows of an earlier release were given numbers of their pictures, %.1f s", time.monotonic() - started)


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # a transaction that failed at its COMMIT is over
            connection.execute("ROLLBACK")
        raise


# --- rows into it -------------------------------------------------------------------------------------------------


_ROWS_OF_BATCH = f"SELECT *, {NUMBER_OF_IMAGE} AS {NUMBER} FROM batch"


class Upserts:
    """Brings records into a table, so that one stays of each key: the latest. Not thread-safe.

    There is no index, which DuckDB would hold in memory and look into for each row: what is there of the batch's keys is
    deleted. DuckDB keeps the least and the greatest event_time of each row group, so that only the newest is looked into.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, *, create: bool = False) -> None:
        """`create`: the table is made, a temporary one."""
        self.times: tuple[int, int] | None = None  # the least and the greatest event_time written
        self._connection = connection
        self._batch = _Batch(SCHEMA.empty_table())
        connection.register("batch", self._batch)
        if create:
            connection.execute(f"CREATE TEMP TABLE {table} AS {_ROWS_OF_BATCH}")
        self._known_empty = create
        self._delete = (
            f"DELETE FROM {table} AS old USING (SELECT event_time, request_id FROM batch) AS new"
            " WHERE old.event_time BETWEEN ? AND ? AND old.event_time = new.event_time AND old.request_id = new.request_id"
        )
        self._insert = f"INSERT INTO {table} BY NAME {_ROWS_OF_BATCH}"

    def write(self, records: Sequence[tuple[int, Values]], refuse: Callable[[int, Exception], None]) -> None:
        """In one transaction, unless one of them is to blame: then one by one, and `refuse` gets those with their error."""
        try:
            self._write([values for _, values in records])
        except NEVER:
            for number, values in records:
                try:
                    self._write([values])
                except NEVER as err:  # noqa: PERF203 - only where a batch was refused
                    refuse(number, err)

    def delete(self, keys: Collection[Key]) -> None:
        """The rows of these keys, in one transaction."""
        times = sorted(time for time, _ in keys)
        if not times:
            return
        empty = {f.name: pa.nulls(len(times), f.type) for f in SCHEMA}
        cells = {
            "event_time": pa.array([time for time, _ in keys], SCHEMA.field("event_time").type),
            "request_id": pa.array([request_id for _, request_id in keys]),
        }
        self._batch.table = pa.table({**empty, **cells}, schema=SCHEMA)
        self._connection.execute(self._delete, [moment(times[0]), moment(times[-1])])

    def replace(self, rows: pa.Table) -> None:
        """Whole rows of SCHEMA, one of each key, in one transaction."""
        if rows.num_rows:
            self._commit(rows, sorted(rows["event_time"].cast(pa.int64()).to_pylist()))

    def close(self) -> None:
        """Take away what the connection knows of this."""
        self._connection.unregister("batch")

    def _write(self, rows: Sequence[Values]) -> None:
        latest = {(values[_TIME], values[_ID]): values for values in rows}
        self._commit(_table(list(latest.values())), sorted(time for time, _ in latest))

    def _commit(self, rows: pa.Table, times: Sequence[int]) -> None:
        """`times`: of all rows, sorted."""
        self._batch.table = rows
        with _transaction(self._connection):
            for first, last in [] if self._known_empty else _stretches(times):
                self._connection.execute(self._delete, [moment(first), moment(last)])
            self._connection.execute(self._insert)
        self._known_empty = False
        first, last = self.times or (times[0], times[0])
        self.times = min(first, times[0]), max(last, times[-1])


class _Batch:
    """What the view `batch` reads: registered once, because a view made for every commit doubles its price."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def _table(rows: Sequence[Values]) -> pa.Table:
    """Rows as a table of SCHEMA. Raises pa.ArrowException, ValueError, TypeError or OverflowError for a wrong value."""
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays(
        [cell_array(values, f.type) for values, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _stretches(times: Sequence[int]) -> list[tuple[int, int]]:
    """Where the times lie, so that a retry of last week does not make the DELETE look through all of the week."""
    stretches = [(times[0], times[0])]
    for time_us in times:
        if time_us - stretches[-1][1] > _GAP_US:
            stretches.append((time_us, time_us))
        else:
            stretches[-1] = (stretches[-1][0], time_us)
    return stretches if len(stretches) <= _MOST_STRETCHES else [(times[0], times[-1])]


def moment(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_us)
