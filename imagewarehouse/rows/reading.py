"""Reads the embedded rows, from any process and at any time: what is in the DuckDB file and what is still in the log."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from imagewarehouse.errors import RowStoreUnavailable
from imagewarehouse.rows.columns import NUMBER, SCHEMA, TABLE
from imagewarehouse.rows.locks import FileHeld, gate
from imagewarehouse.rows.log import log_of, waiting
from imagewarehouse.rows.select import QUERY_S, one_select
from imagewarehouse.rows.table import NUMBER_OF_IMAGE, Upserts, duckdb_errors, moment, settings

_WAIT_S = 10.0  # a writer has the file for some milliseconds each second; for seconds where it copies an old table
_POLL_S = 0.01
_ENDS = ("", ".wal", ".wal.checkpoint", ".wal.recovery")  # what DuckDB writes beside its file
_MOST_IDLE = 2  # DuckDBs of files that nobody asks, some megabytes each
_ROWS = "rows"  # how the file is called in a reader's DuckDB


def read(
    database: Path,
    sql: str,
    *,
    memory_limit: str = "128MB",
    more_memory: str | None = None,
    wait_s: float = _WAIT_S,
    longest_s: float = QUERY_S,
) -> pa.Table:
    """One SELECT, as `select` runs it, over every record that was written.

    Nothing is changed, and a writer waits no longer than for the query. Raises duckdb.Error, RowStoreUnavailable.
    """
    with reading(database, memory_limit=memory_limit, more_memory=more_memory, wait_s=wait_s) as ask:
        return ask(sql, longest_s)


@contextmanager
def reading(
    database: Path,
    *,
    memory_limit: str = "128MB",
    more_memory: str | None = None,
    wait_s: float = _WAIT_S,
    numbered: bool = False,
) -> Iterator[Callable[[str, float], pa.Table]]:
    """Several SELECTs over the same records: gives what runs one, with how long it may take. A writer waits for all of them.

    `more_memory`: instead of `memory_limit`, which all queries of this process share: while queries run, the most of theirs
    is the limit. `numbered`: the rows have NUMBER as well, which is no column of a record.

    The file first, then the log: as long as the file is open here no record is moved, so each is in one of them at least.
    Raises duckdb.Error, RowStoreUnavailable.
    """
    with gate(database).shared(), _reader(database).attached(more_memory or memory_limit, wait_s) as connection:
        with duckdb_errors(database):
            connection.execute("SET TimeZone='UTC'")
            _show_all(connection, log_of(database), numbered)
        yield partial(one_select, connection)


class _Reader:
    """A DuckDB that stays, since to make one takes longer than most queries. It has the file while somebody asks."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._process = os.getpid()
        self._changing = threading.Lock()
        self._limits: list[str] = []  # of memory, of those who ask
        self._connection: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def attached(self, memory_limit: str, wait_s: float) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees the file as its own database. Raises RowStoreUnavailable; FileHeld after `wait_s`."""
        end = time.monotonic() + wait_s
        while True:
            try:
                connection = self._join(memory_limit)
                break
            except FileHeld:
                if time.monotonic() >= end:
                    raise
            except duckdb.DataError as err:
                raise RowStoreUnavailable(str(err)) from err
            time.sleep(_POLL_S)
        try:
            yield connection
        finally:
            connection.close()
            self._leave(memory_limit)

    def close(self) -> bool:
        """Unless somebody asks. Gives whether it is closed; who asks later opens it again."""
        if self._process != os.getpid():  # it was forked with us, and is not ours to touch
            return True
        with self._changing:
            if self._connection is not None and not self._limits:
                self._connection.close()
                self._connection = None
            return self._connection is None

    def _join(self, memory_limit: str) -> duckdb.DuckDBPyConnection:
        with self._changing, duckdb_errors(self._database):
            self._connection = self._connection or self._made(memory_limit)
            if not self._limits:
                self._connection.execute(f"ATTACH {_quoted(self._database)} AS {_ROWS} (TYPE duckdb, READ_ONLY)")
            self._limits.append(memory_limit)
            try:
                self._set_limit()
                connection = self._connection.cursor()
                connection.execute(f"USE {_ROWS}")
            except BaseException:
                self._left(memory_limit)
                raise
            return connection

    def _leave(self, memory_limit: str) -> None:
        with self._changing:
            self._left(memory_limit)

    def _left(self, memory_limit: str) -> None:
        assert self._connection is not None
        self._limits.remove(memory_limit)
        try:
            if self._limits:
                self._set_limit()
            else:
                self._connection.execute(f"DETACH {_ROWS}")
        except duckdb.Error:  # it is unusable after some errors of a disk
            if not self._limits:
                self._connection.close()
                self._connection = None

    def _made(self, memory_limit: str) -> duckdb.DuckDBPyConnection:
        """SELECTs of operators read this file only."""
        connection = duckdb.connect(config=settings(self._database, memory_limit))
        files = ", ".join(_quoted(Path(f"{self._database}{end}")) for end in _ENDS)
        connection.execute(f"SET allowed_paths=[{files}]")
        connection.execute("SET enable_external_access=false")
        return connection

    def _set_limit(self) -> None:
        assert self._connection is not None
        self._connection.execute(f"SET memory_limit='{max(self._limits, key=_bytes)}'")


_readers: dict[tuple[int, Path], _Reader] = {}
_open: list[_Reader] = []  # the last used at the end
_readers_lock = threading.Lock()


def _reader(database: Path) -> _Reader:
    """The one of this file in this process."""
    path = database.resolve()
    with _readers_lock:
        reader = _readers.setdefault((os.getpid(), path), _Reader(path))
        others = [each for each in _open if each is not reader]
        _open[:] = [*(each for each in others[:-_MOST_IDLE] if not each.close()), *others[-_MOST_IDLE:], reader]
        return reader


@atexit.register
def _close_readers() -> None:
    """Or what is left of DuckDB when the interpreter ends is reported as leaked."""
    for reader in _readers.values():
        reader.close()


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _bytes(limit: str) -> int:
    """Of 128MB."""
    return int(limit.removesuffix("MB"))


def _show_all(connection: duckdb.DuckDBPyConnection, log: Path, numbered: bool) -> None:
    """Make `image_events` show the records of the log as well, in the place of older versions of them.

    In a view before the table, and only where it is needed: some queries are slower through it.
    """
    of_file = f"{_ROWS}.main.{TABLE}"
    try:
        column_names = {column[0] for column in connection.execute(f"FROM {of_file} LIMIT 0").description}
    except duckdb.CatalogException:  # the log is older than the table
        column_names = set()
    upserts = (
        None if column_names.issuperset([*SCHEMA.names, NUMBER]) else Upserts(connection, "temp.waiting", create=True)
    )
    with closing(waiting(log)) as pages:
        for page in pages:
            upserts = upserts or Upserts(connection, "temp.waiting", create=True)
            upserts.write(page, lambda number, err: None)
    if upserts is not None:
        upserts.close()
    elif numbered:
        return
    if NUMBER not in column_names:
        of_file = f"(SELECT *, {NUMBER_OF_IMAGE} AS {NUMBER} FROM {of_file})"
    if upserts is None:
        view = f"FROM {of_file}"
    elif not column_names:
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
    shown = "*" if numbered else f"* EXCLUDE ({NUMBER})"
    connection.execute(f"CREATE TEMP VIEW {TABLE} AS SELECT {shown} FROM ({view})")
