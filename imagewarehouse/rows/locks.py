"""Who may do what with the embedded rows: locks between the processes of one machine, and a gate within a process.

The system lets go of a process's locks when it ends, in whatever way. But a lock belongs to the opened file, and a child
that is forked has that file as well: it would hold the locks of its parent. So a store is opened after the fork.
"""

from __future__ import annotations

import fcntl
import os
import platform
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.text import one_line

SETTING = "Local Database"

# The first and the last process have the lock to themselves for milliseconds, longer where the disk is slow.
_JOIN_S = 3.0
_POLL_S = 0.01
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class FileHeld(RowStoreUnavailable):
    """Another program, or a query of this process, has the DuckDB file open."""


# --- between processes --------------------------------------------------------------------------------------------


def open_lock(path: Path) -> FileIO:
    """A lock file, opened for whoever asks: two of one process shut each other out, too. Raises OSError."""
    return FileIO(path, "a+")


def take(file: FileIO, how: int) -> bool:
    """The lock, shared or not, if it is free. What was held before is gone where it is not. Raises OSError."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(file: FileIO) -> Iterator[None]:
    """Wait for the lock, and have it alone. The system wakes whoever waits at once. Raises OSError."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def machine() -> str:
    """What only the processes of this machine say, those in its containers included."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return platform.node()


class Writers:
    """The processes that write to one database. Each holds its lock file, shared.

    The first writes into it which machine it is: SQLite's log needs memory that all who write share, so a process of
    another machine, which may see the same files over a network, must not join. Earlier releases hold the lock alone.
    """

    def __init__(self, database: Path) -> None:
        """Joins them. Raises ConfigurationError."""
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_lock(database.with_name(f"{database.name}.lock"))
            try:
                self._join(database)
            except BaseException:
                self._file.close()
                raise
        except OSError as err:
            raise ConfigurationError(SETTING, f"{database}: {one_line(err)}") from err

    def leave(self) -> bool:
        """Be none of them any more. Gives whether nobody else is left; then nobody can join until `close`.

        Letting go and looking for others is one step of the system. So of those who leave at once the last one gets True.
        """
        return take(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        self._file.close()

    def _join(self, database: Path) -> None:
        end = time.monotonic() + _JOIN_S
        while True:
            if take(self._file, fcntl.LOCK_EX):
                self._file.truncate(0)
                self._file.write(f"{os.getpid()} of machine {machine()}".encode())
            # Going over from one lock to the other is two steps: somebody may have been in between, and written here.
            joined = take(self._file, fcntl.LOCK_SH)
            number, _, of_machine = self._written().partition(" of machine ")
            if joined and of_machine == machine():
                return
            if time.monotonic() > end:
                break
            # It is somebody's who has ended, or who tries this as well.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            time.sleep(_POLL_S * random.random())  # noqa: S311 - so that two do not keep step
        process = f"process {number or '?'}"
        if joined:
            why = f"only processes of one machine can write to it, and {process} of another machine does"
        else:
            release = "" if of_machine else " of an earlier release"
            why = f"only one process can write to it, and {process}{release} does"
        raise ConfigurationError(SETTING, f"{database}: {why}")

    def _written(self) -> str:
        return one_line(os.pread(self._file.fileno(), 1000, 0).decode(errors="replace"))


# --- within one process -------------------------------------------------------------------------------------------


class Gate:
    """Within one process: many may read the file, or one may write it.

    Between processes DuckDB locks the file. It cannot do so here: a process's locks of a file do not shut out itself, and
    all are gone when it closes the file once.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writer_waits = self._writing = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not (self._writing or self._writer_waits))
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self, wait_s: float) -> Iterator[None]:
        """For the one writer. New readers are kept waiting meanwhile. Raises FileHeld."""
        with self._changed:
            self._writer_waits = True
            try:
                if not self._changed.wait_for(lambda: not self._readers, wait_s):
                    raise FileHeld("a query of this process has the file open")
                self._writing = True
            finally:
                self._writer_waits = False
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


_gates: dict[Path, Gate] = {}
_gates_lock = threading.Lock()


def gate(path: Path) -> Gate:
    """The one of this file in this process."""
    with _gates_lock:
        return _gates.setdefault(path.resolve(), Gate())
