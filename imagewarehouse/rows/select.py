"""One SELECT of an operator, kept within bounds: it runs in the process that serves images."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import duckdb
import pyarrow as pa

QUERY_S = 30.0
_QUERY_BYTES = 64 << 20
_CTRL_C = "Query interrupted"


@contextmanager
def ctrl_c() -> Iterator[None]:
    """Raises KeyboardInterrupt for Ctrl-C. DuckDB takes the signal from Python, and says so by a RuntimeError."""
    try:
        yield
    except RuntimeError as err:
        if str(err) == _CTRL_C:
            raise KeyboardInterrupt from err
        raise


def select(cursor: duckdb.DuckDBPyConnection, sql: str, longest_s: float = QUERY_S) -> pa.Table:
    """As `one_select`, and close the cursor."""
    with closing(cursor):
        return one_select(cursor, sql, longest_s)


@ctrl_c()
def one_select(cursor: duckdb.DuckDBPyConnection, sql: str, longest_s: float = QUERY_S) -> pa.Table:
    """Run the SELECT. It is stopped after `longest_s`, and its answer may take 64 MiB. Raises duckdb.Error."""
    stop = threading.Timer(longest_s, cursor.interrupt)
    stop.daemon = True
    stop.start()
    reader = None
    try:
        statements = cursor.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise duckdb.InvalidInputException("expected one SELECT")
        cursor.execute("BEGIN TRANSACTION READ ONLY")  # WITH x AS (DELETE ...) SELECT counts as a SELECT, too
        reader = cursor.sql(statements[0].query).to_arrow_reader(1000)
        batches, size = [], 0
        for batch in reader:
            size += batch.nbytes
            if size > _QUERY_BYTES:
                raise duckdb.OutOfRangeException(f"the answer has more than {_QUERY_BYTES >> 20} MiB; add a LIMIT")
            batches.append(batch)
        return pa.Table.from_batches(batches, reader.schema)
    finally:
        stop.cancel()
        reader = None  # an error's traceback would keep it, and with it the database open
        with suppress(duckdb.Error):
            cursor.execute("ROLLBACK")
