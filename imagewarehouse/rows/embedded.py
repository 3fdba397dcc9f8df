"""The embedded row store: one DuckDB file and the log in front of it, for trying things out and for single nodes.

A record is safe once it is in the log, which costs a tenth of DuckDB's commit. A thread moves what is there into the file
about every second. The file is open for those milliseconds only, so that other programs can read it in between; a query of
ours (`reading.py`) sees the records of the log as well.

Several processes of one machine may write. Each appends to the log, and one of them, whoever has the lock for it, moves
the records of all. When it ends, another one goes on within a second. A process that does not move needs no DuckDB.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from imagewarehouse.errors import ConfigurationError, WarehouseError
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.locks import SETTING, FileHeld, Writers, open_lock, take
from imagewarehouse.rows.log import Key, RecordLog, log_of
from imagewarehouse.text import one_line

if TYPE_CHECKING:
    import pyarrow as pa

    from imagewarehouse.rows.moving import Mover

log = logging.getLogger("imagewarehouse.rows")

_MOVE_S = 1.0  # between two moves, each of which costs 5 ms and 10 us a row
_LONGEST_PAUSE_S = (
    5.0  # a disk on which a move takes long gets a longer pause: the file is open a twentieth of the time
)
_WARN_S = 10.0
_HOLD_BACK_S = 5.0  # so long the queries of this process go first; then new ones wait until a move is done
_CHANGE_S = 30.0  # how long rows that are to go wait for a program that has the file open
_FIRST_S, _FIRST_POLL_S = 10.0, 0.01  # how long a start waits for another one to make the file


class LocalRows:
    """`image_events` in a DuckDB file. Thread-safe. Made after a fork, never before one (`locks.py`)."""

    def __init__(self, path: Path, memory_limit: str = "128MB") -> None:
        """Raises ConfigurationError, also where a process of another machine writes to the file."""
        self.path = path
        self._memory_limit = memory_limit
        self._moving = threading.Lock()
        self._mover: Mover | None = None  # where this process is the one that moves
        self._closed = threading.Event()
        self._failing_since: float | None = None
        self._warned = ""
        with ExitStack() as undo:
            self._writers = Writers(path)
            undo.callback(self._writers.close)
            self._log = RecordLog(log_of(path))
            undo.callback(self._log.close)
            self._turn_to_move = self._open_turn()
            undo.callback(self._turn_to_move.close)
            undo.callback(self._stop_moving)
            self._open()
            undo.pop_all()
        self._thread = threading.Thread(target=self._keep_moving, name="rows", daemon=True)
        self._thread.start()
        # A thread that is inside of DuckDB when Python is taken down ends the process with an abort.
        atexit.register(self.close)

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        self._log.append(records)
        return [None] * len(records)

    def query(self, sql: str) -> pa.Table:
        """As `select`, over every record that was written, by whatever process."""
        from imagewarehouse.rows.reading import read  # DuckDB: no part of writing

        return read(self.path, sql, memory_limit=self._memory_limit)

    def sent(self, image_id: str, source_user: str) -> bool:
        """Whether this user has sent this image. Raises RowStoreUnavailable."""
        from imagewarehouse.rows.table import duckdb_errors  # DuckDB: no part of writing

        image, user = (text.replace("'", "''") for text in (image_id, source_user))
        sql = f"SELECT 1 FROM image_events WHERE image_id = '{image}' AND source_user = '{user}' LIMIT 1"
        with duckdb_errors(self.path):
            return bool(self.query(sql).num_rows)

    def delete(self, keys: Collection[Key]) -> None:
        """Take rows out of file and log, whoever has written them. Done twice, it changes nothing.

        Raises RowStoreUnavailable: the file was held by another program all the time, or the disk fails.
        """
        self._change(lambda mover: mover.delete(keys))

    def replace(self, rows: pa.Table) -> None:
        """Bring whole rows (of SCHEMA) into the file, past the log. Raises as `delete`."""
        self._change(lambda mover: mover.replace(rows))

    def close(self) -> None:
        if self._closed.is_set():
            return
        atexit.unregister(self.close)
        self._closed.set()
        self._thread.join()
        try:
            self._move_what_is_there()
            # A process that closes beside this one may have found the lock taken, by us, when we had looked for the last
            # time: its last record is still there. Only who leaves last knows that nothing comes any more.
            if self._writers.leave():
                self._move_what_is_there()
        except Exception as err:  # noqa: BLE001 - another process, or the next start, finds them there
            log.warning("%s; the records stay in %s", one_line(err), self._log.path)
        self._log.close()
        self._turn_to_move.close()
        self._writers.close()

    def _change(self, work: Callable[[Mover], None]) -> None:
        """Also beside a process that moves: whoever has the file open has it alone."""
        from imagewarehouse.rows.moving import Mover  # DuckDB: no part of writing

        end = time.monotonic() + _CHANGE_S
        with self._moving:
            mover = self._mover or Mover(self.path, self._log, self._memory_limit)
            try:
                while time.monotonic() < end:
                    with suppress(FileHeld):  # after a second's tries of its own
                        return work(mover)
                return work(mover)
            finally:
                if mover is not self._mover:
                    mover.close()

    # --- moving -------------------------------------------------------------------------------------------------

    def _keep_moving(self) -> None:
        """Look every second, with or without records of this process: those of the others do not wake it.

        A look costs a system call where another process moves, and a SELECT where the log is empty.
        """
        pause = 0.0  # what a process that was killed has left there
        while not self._closed.wait(pause):
            try:
                if self._may_move():
                    self._move()
            except Exception as err:  # noqa: BLE001 - they are safe where they are, and the thread has to live on
                self._warn(err)
            else:
                if self._warned:
                    log.info("%s: rows are moved into it again", self.path)
                self._failing_since, self._warned = None, ""
            took_s = self._mover.took_s if self._mover else 0.0
            pause = max(_MOVE_S, min(20 * took_s, _LONGEST_PAUSE_S))

    def _warn(self, err: Exception) -> None:
        """Once, until a move succeeds; of a reader only where it keeps the file for long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        kind = type(err).__name__
        if kind != self._warned and (not isinstance(err, FileHeld) or now - self._failing_since >= _WARN_S):
            self._warned = kind
            log.warning("%s; the records wait in %s", one_line(err), self._log.path)

    def _may_move(self) -> bool:
        """Whether this process is the one that moves; from then on it is."""
        if self._mover is None and take(self._turn_to_move, fcntl.LOCK_EX):
            from imagewarehouse.rows.moving import Mover  # DuckDB: no part of writing

            self._mover = Mover(self.path, self._log, self._memory_limit)
        return self._mover is not None

    def _move(self) -> None:
        with self._moving:
            assert self._mover is not None
            failing = self._failing_since is not None and time.monotonic() - self._failing_since > _HOLD_BACK_S
            self._mover.move(patient=failing)

    def _move_what_is_there(self) -> None:
        """Unless another process is at it. Then let any other one do so."""
        try:
            if self._may_move():
                self._move()
        finally:
            self._stop_moving()

    def _stop_moving(self) -> None:
        if self._mover is not None:
            self._mover.close()
            self._mover = None
        fcntl.flock(self._turn_to_move, fcntl.LOCK_UN)

    # --- the start ----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """The first process makes or checks the table. A program that reads the file is no reason not to start.

        For the others, a table that cannot be used is a move that fails, once they are the one that moves.
        """
        end = time.monotonic() + _FIRST_S
        while not self._may_move():
            if self.path.exists() or time.monotonic() > end:  # a query must find the file
                return
            time.sleep(_FIRST_POLL_S)
        assert self._mover is not None
        try:
            self._mover.check()
        except FileHeld as err:
            self._warn(err)

    def _open_turn(self) -> FileIO:
        try:
            return open_lock(self.path.with_name(f"{self.path.name}.mover.lock"))
        except OSError as err:
            raise ConfigurationError(SETTING, f"{self.path}: {one_line(err)}") from err
