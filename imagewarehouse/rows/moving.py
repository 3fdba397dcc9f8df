"""Moves the embedded rows from the log into the DuckDB file. Imported by the one process that does so."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.locks import SETTING, FileHeld, gate
from imagewarehouse.rows.log import Key, RecordLog
from imagewarehouse.rows.table import Upserts, create_or_check, duckdb_errors, settings
from imagewarehouse.text import one_line

_log = logging.getLogger("imagewarehouse.rows")

_MOVED_AT_ONCE = 5_000
_TRIES_S = 1.0  # how long one move tries to get a file that somebody reads
# Readers that come one after the other leave it free for moments only. A look costs 0.4 ms, so later they are fewer.
_POLL_S, _LATER_POLL_S = 0.003, 0.02
_LONGEST_QUERY_S = 35.0
# What any DuckDB that the project works with can read; each release writes a newer format by itself.
_STORAGE = "v1.3.0"


class Mover:
    """Not thread-safe. Who makes one has the lock that lets one process move."""

    def __init__(self, path: Path, log: RecordLog, memory_limit: str) -> None:
        self.path = path
        self.took_s = 0.0  # how long the file was open the last time
        self._log = log
        self._memory_limit = memory_limit
        self._gate = gate(path)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._checked = False

    def check(self) -> None:
        """Make or check the table. Raises ConfigurationError; FileHeld where another program only reads the file."""
        try:
            with self.attached(patient=False):
                pass
        except FileHeld as err:
            try:
                with self._gate.shared(), duckdb_errors(self.path):
                    duckdb.connect(
                        str(self.path), read_only=True, config=settings(self.path, self._memory_limit)
                    ).close()
            except RowStoreUnavailable:  # not even to be read: a program has it open to write
                raise ConfigurationError(SETTING, str(err)) from err
            raise
        except (RowStoreUnavailable, duckdb.Error) as err:
            raise ConfigurationError(SETTING, one_line(err)) from err

    def move(self, *, patient: bool) -> None:
        """Bring the records of the log into the database, in their order. Done twice, it changes nothing.

        `patient`: new queries of this process wait until those that have the file open are done.
        Raises RowStoreUnavailable, duckdb.Error.
        """
        end = self._log.last()  # what comes meanwhile is the next move's
        if not end:
            return
        with self.attached(patient=patient) as upserts:
            # Read only now: rows that are deleted are deleted from the log as well while the file is open for it.
            page = self._log.read(_MOVED_AT_ONCE)
            while page:
                refused: dict[int, Exception] = {}
                with duckdb_errors(self.path):
                    upserts.write(page, refused.__setitem__)
                last, _ = page[-1]
                self._log.remove(last, refused)
                page = self._log.read(_MOVED_AT_ONCE) if last < end else []

    def delete(self, keys: Collection[Key]) -> None:
        """Take rows out of the database and out of the log. Done twice, it changes nothing. Raises as `move`."""
        with self.attached(patient=True) as upserts, duckdb_errors(self.path):
            upserts.delete(keys)
            self._log.delete(keys)

    def replace(self, rows: pa.Table) -> None:
        """Bring whole rows (of SCHEMA) into the database, each in the place of the one with its key. Raises as `move`."""
        with self.attached(patient=True) as upserts, duckdb_errors(self.path):
            upserts.replace(rows)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def attached(self, *, patient: bool) -> Iterator[Upserts]:
        """The file, open for writing. Raises FileHeld, RowStoreUnavailable."""
        end = time.monotonic() + _TRIES_S
        while True:
            with self._gate.alone(_LONGEST_QUERY_S if patient else _TRIES_S):
                try:
                    self._attach()
                except FileHeld:
                    if time.monotonic() >= end:
                        raise
                else:
                    started = time.monotonic()
                    try:
                        yield self._upserts
                    finally:
                        self._detach()
                        self.took_s = time.monotonic() - started
                    return
            time.sleep(_LATER_POLL_S if patient else _POLL_S)  # outside of the gate: queries of this process go on

    def _attach(self) -> None:
        new = not self.path.exists()
        if new and self._checked:
            _log.error("%s is gone: a new one begins, without the rows that were in it", self.path)
        try:
            with duckdb_errors(self.path):
                if self._connection is None:
                    self._connection = duckdb.connect(config=settings(self.path, self._memory_limit))
                    self._connection.execute("SET TimeZone='UTC'")
                    self._upserts = Upserts(self._connection, f"rows.{TABLE}")
                version = f", STORAGE_VERSION '{_STORAGE}'" if new else ""
                file = str(self.path).replace("'", "''")
                self._connection.execute(f"ATTACH '{file}' AS rows (TYPE duckdb{version})")
                if new or not self._checked:
                    create_or_check(self._connection, "rows")
                    self._checked = True
        except FileHeld:
            raise
        except BaseException:
            self.close()  # it may have the file open
            raise

    def _detach(self) -> None:
        """Close the file, which writes everything into it."""
        assert self._connection is not None
        try:
            with duckdb_errors(self.path):
                self._connection.execute("DETACH rows")
        except BaseException:
            self.close()  # it may hold the file still, or be unusable after an error of the disk
            raise
