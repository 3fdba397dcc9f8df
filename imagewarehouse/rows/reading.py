"""Reads the embedded rows, from any process and at any time: what is in the DuckDB file and what is still in the log."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa

from imagewarehouse.errors import RowStoreUnavailable
from imagewarehouse.rows.columns import SCHEMA, TABLE
from imagewarehouse.rows.locks import FileHeld, gate
from imagewarehouse.rows.log import log_of, waiting
from imagewarehouse.rows.select import QUERY_S, select
from imagewarehouse.rows.table import Upserts, duckdb_errors, moment, settings

_WAIT_S = 10.0  # a writer has the file for some milliseconds each second; for seconds where it copies an old table
_POLL_S = 0.01
# Queries of one process share what DuckDB has of the file; who joins while it is being made lacks some functions.
_connecting = threading.Lock()


def read(
    database: Path,
    sql: str,
    *,
    memory_limit: str = "128MB",
    more_memory: str | None = None,
    wait_s: float = _WAIT_S,
    longest_s: float = QUERY_S,
) -> pa.Table:
    """As `select`, over every record that was written. Nothing is changed, and a writer waits no longer than for the query.

    `more_memory`: for this query and those of this process that run beside it: DuckDB has one limit for all of them, and opens
    a file once more only with the same `memory_limit`.

    The file first, then the log: as long as the file is open here no record is moved, so each is in one of them at least.
    Raises duckdb.Error, RowStoreUnavailable.
    """
    with gate(database).shared():
        connection = _open(database, memory_limit, wait_s)
        try:
            with duckdb_errors(database):
                connection.execute("SET TimeZone='UTC'")
                if more_memory is not None:
                    connection.execute(f"SET memory_limit='{more_memory}'")
                _show_all(connection, log_of(database))
                connection.execute("SET enable_external_access=false")  # SELECTs of operators read this file only
            return select(connection, sql, longest_s)
        finally:
            connection.close()


def _open(database: Path, memory_limit: str, wait_s: float) -> duckdb.DuckDBPyConnection:
    end = time.monotonic() + wait_s
    while True:
        try:
            with duckdb_errors(database), _connecting:
                return duckdb.connect(str(database), read_only=True, config=settings(database, memory_limit))
        except FileHeld:
            if time.monotonic() >= end:
                raise
        except duckdb.DataError as err:
            raise RowStoreUnavailable(str(err)) from err
        time.sleep(_POLL_S)


def _show_all(connection: duckdb.DuckDBPyConnection, log: Path) -> None:
    """Make `image_events` show the records of the log as well, in the place of older versions of them.

    In a view before the table, and only where it is needed: some queries are slower through it.
    """
    database = f'"{connection.execute("SELECT current_database()").fetchall()[0][0]}"'
    of_file = f"{database}.main.{TABLE}"
    try:
        column_names = {column[0] for column in connection.execute(f"FROM {of_file} LIMIT 0").description}
    except duckdb.CatalogException:  # the log is older than the table
        column_names = set()
    upserts = None if column_names.issuperset(SCHEMA.names) else Upserts(connection, "temp.waiting", create=True)
    with closing(waiting(log)) as pages:
        for page in pages:
            upserts = upserts or Upserts(connection, "temp.waiting", create=True)
            upserts.write(page, lambda number, err: None)
    if upserts is None:
        return
    upserts.close()
    if not column_names:
        view = "FROM temp.waiting"
    elif upserts.times is None:  # a file of an older release that nobody has opened to write yet
        view = f"FROM {of_file} UNION ALL BY NAME FROM temp.waiting"
    else:
        # Apart by time: most rows are older than what waits, and need no look whether they are replaced.
        stretch = "BETWEEN '{}' AND '{}'".format(*map(moment, upserts.times))
        view = (
            f"SELECT * FROM {of_file} WHERE event_time NOT {stretch}"
            f" UNION ALL BY NAME SELECT * FROM {of_file} ANTI JOIN temp.waiting USING (event_time, request_id)"
            f" WHERE event_time {stretch}"
            " UNION ALL BY NAME FROM temp.waiting"
        )
    connection.execute(f"CREATE TEMP VIEW {TABLE} AS {view}")
