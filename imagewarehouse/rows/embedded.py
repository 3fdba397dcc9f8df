"""The embedded row store: one DuckDB file and the log in front of it, for trying things out and for single nodes.

A record is safe once it is in the log, which costs a tenth of DuckDB's commit. A thread moves what is there into the file
about every second. The file is open for those milliseconds only, so that other programs can read it in between; a query of
ours (`reading.py`) sees the records of the log as well.

One process writes: it holds the lock file beside the database.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable, WarehouseError
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.log import RecordLog
from imagewarehouse.rows.reading import log_of, read
from imagewarehouse.rows.table import FileHeld, Upserts, create_or_check, duckdb_errors, gate, settings
from imagewarehouse.text import one_line

log = logging.getLogger("imagewarehouse.rows")

_MOVE_S = 1.0  # between two moves, each of which costs 5 ms and 10 us a row
_LONGEST_PAUSE_S = (
    5.0  # a disk on which a move takes long gets a longer pause: the file is open a twentieth of the time
)
_MOVED_AT_ONCE = 5_000
_TRIES_S = 1.0  # how long one move tries to get a file that somebody reads
# Readers that come one after the other leave it free for moments only. A look costs 0.4 ms, so later they are fewer.
_POLL_S, _LATER_POLL_S = 0.003, 0.02
_WARN_S = 10.0
_HOLD_BACK_S = 5.0  # so long the queries of this process go first; then new ones wait until a move is done
_LONGEST_QUERY_S = 35.0
# What any DuckDB that the project works with can read; each release writes a newer format by itself.
_STORAGE = "v1.3.0"
_SETTING = "Local Database"


class LocalRows:
    """`image_events` in a DuckDB file. Thread-safe."""

    def __init__(self, path: Path, memory_limit: str = "128MB") -> None:
        """Raises ConfigurationError, also where another process writes to the file."""
        self.path = path
        self._memory_limit = memory_limit
        self._gate = gate(path)
        self._moving = threading.Lock()
        self._appended = threading.Event()
        self._closed = threading.Event()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._checked = False
        self._failing_since: float | None = None
        self._warned = ""
        self._took_s = 0.0
        self._owner = _own(path)
        try:
            self._log = RecordLog(log_of(path))
            try:
                self._open()
            except BaseException:
                self._log.close()
                raise
        except BaseException:
            self._disconnect()
            self._owner.close()
            raise
        self._appended.set()  # what a process that was killed has left there
        self._mover = threading.Thread(target=self._keep_moving, name="rows", daemon=True)
        self._mover.start()
        # A thread that is inside of DuckDB when Python is taken down ends the process with an abort.
        atexit.register(self.close)

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        self._log.append(records)
        self._appended.set()
        return [None] * len(records)

    def query(self, sql: str) -> pa.Table:
        """As `select`, over every record that was written."""
        return read(self.path, sql, memory_limit=self._memory_limit)

    def close(self) -> None:
        if self._closed.is_set():
            return
        atexit.unregister(self.close)
        self._closed.set()
        self._appended.set()
        self._mover.join()
        try:
            self._move()
        except RowStoreUnavailable as err:
            log.warning("%s; the records stay in %s", err, self._log.path)
        self._log.close()
        self._disconnect()
        self._owner.close()

    # --- moving -------------------------------------------------------------------------------------------------

    def _keep_moving(self) -> None:
        pause = 0.0
        while not self._closed.is_set():
            self._appended.wait()
            self._closed.wait(pause)
            self._appended.clear()
            try:
                self._move()
            except Exception as err:  # noqa: BLE001 - they are safe where they are, and the thread has to live on
                self._appended.set()
                self._warn(err)
            else:
                if self._warned:
                    log.info("%s: rows are moved into it again", self.path)
                self._failing_since, self._warned = None, ""
            pause = max(_MOVE_S, min(20 * self._took_s, _LONGEST_PAUSE_S))

    def _warn(self, err: Exception) -> None:
        """Once, until a move succeeds; of a reader only where it keeps the file for long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        kind = type(err).__name__
        if kind != self._warned and (not isinstance(err, FileHeld) or now - self._failing_since >= _WARN_S):
            self._warned = kind
            log.warning("%s; the records wait in %s", one_line(err), self._log.path)

    def _move(self) -> None:
        """Bring the records of the log into the database, in their order. Done twice, it changes nothing."""
        with self._moving:
            page = self._log.read(_MOVED_AT_ONCE)
            if not page:
                return
            with self._attached() as upserts:
                while page:
                    with duckdb_errors(self.path):
                        upserts.write(page, self._log.set_aside)
                    self._log.remove(page[-1][0])
                    # A page that is not full was all there was: what came meanwhile is the next move's.
                    page = self._log.read(_MOVED_AT_ONCE) if len(page) == _MOVED_AT_ONCE else []

    # --- the file -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Make or check the table. A program that reads the file is no reason not to start. Raises ConfigurationError."""
        try:
            with self._attached():
                pass
        except FileHeld as err:
            try:
                with self._gate.shared(), duckdb_errors(self.path):
                    duckdb.connect(
                        str(self.path), read_only=True, config=settings(self.path, self._memory_limit)
                    ).close()
            except RowStoreUnavailable:  # not even to be read: a program has it open to write
                raise ConfigurationError(_SETTING, str(err)) from err
            self._warn(err)
        except (RowStoreUnavailable, duckdb.Error) as err:
            raise ConfigurationError(_SETTING, one_line(err)) from err

    @contextmanager
    def _attached(self) -> Iterator[Upserts]:
        """The file, open for writing. Raises FileHeld, RowStoreUnavailable."""
        end = time.monotonic() + _TRIES_S
        failing = self._failing_since is not None and time.monotonic() - self._failing_since > _HOLD_BACK_S
        while True:
            with self._gate.alone(_LONGEST_QUERY_S if failing else _TRIES_S):
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
                        self._took_s = time.monotonic() - started
                    return
            time.sleep(_LATER_POLL_S if failing else _POLL_S)  # outside of the gate: queries of this process go on

    def _attach(self) -> None:
        new = not self.path.exists()
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
            self._disconnect()  # it may have the file open
            raise

    def _detach(self) -> None:
        """Close the file, which writes everything into it."""
        assert self._connection is not None
        try:
            with duckdb_errors(self.path):
                self._connection.execute("DETACH rows")
        except BaseException:
            self._disconnect()  # it may hold the file still, or be unusable after an error of the disk
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _own(path: Path) -> IO[str]:
    """The lock file of the one process that writes; the system lets go of it when the process ends, in whatever way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(f"{path.name}.lock").open("a+")
    except OSError as err:
        raise ConfigurationError(_SETTING, f"{path}: {one_line(err)}") from err
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        file.seek(0)
        number = one_line(file.read()) or "?"
        file.close()
        if not isinstance(err, BlockingIOError):
            raise ConfigurationError(_SETTING, f"{path}: {one_line(err)}") from err
        raise ConfigurationError(
            _SETTING, f"{path}: only one process can write to it, and process {number} does"
        ) from err
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
