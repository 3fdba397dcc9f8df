"""The journal of `/images`: what has been acknowledged is on disk until it has reached its end.

SQLite does the hard part (torn writes, fsync, reuse of space). Entries of requests that arrive together share one
commit. Removing an entry is lazy: if that is lost in a crash, the entry is run again, and since its request id is in
it, the same row is written again over itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import queue
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from imagewarehouse.errors import ConfigurationError

_REMOVAL_DELAY_S = 0.1


@dataclass(frozen=True, slots=True)
class Entry:
    """One FlowFile as it was acknowledged."""

    number: int
    attributes: Mapping[str, str]
    content: bytes


class Journal:
    """An append-and-remove log of FlowFiles. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # what clients sent, access keys included, is nobody else's to read
            with closing(self._connect()) as connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, attributes TEXT, content BLOB)"
                )
                last = connection.execute("SELECT max(number) FROM entries").fetchone()[0] or 0
        except (OSError, sqlite3.Error) as err:
            raise ConfigurationError("--data", f"the journal {path} cannot be used: {err}") from err
        self._numbers = itertools.count(last + 1)
        self._last_replayed = last
        self._requests: queue.SimpleQueue[tuple[list[Entry], Future[None]] | int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    async def append(self, items: Sequence[tuple[Mapping[str, str], bytes]]) -> list[Entry]:
        """Return once the items are on disk. Raises OSError when they could not be written."""
        entries = [Entry(next(self._numbers), attributes, content) for attributes, content in items]
        written: Future[None] = Future()
        written.set_running_or_notify_cancel()  # a caller that gives up must not cancel what the thread will answer
        self._requests.put((entries, written))
        await asyncio.wrap_future(written)
        return entries

    def remove(self, number: int) -> None:
        """Note that an entry has reached its end."""
        self._requests.put(number)

    def replay(self) -> Iterator[Entry]:
        """What an earlier run acknowledged and did not finish, oldest first, read one at a time."""
        position = 0
        while True:
            with closing(self._connect()) as connection:
                row = connection.execute(
                    "SELECT number, attributes, content FROM entries WHERE number > ? AND number <= ? ORDER BY number LIMIT 1",
                    (position, self._last_replayed),
                ).fetchone()
            if row is None:
                return
            position = row[0]
            yield Entry(row[0], json.loads(row[1]), row[2])

    def take_over(self, path: Path) -> None:
        """Move the entries of another journal, which nobody uses, into this one, and remove its file.

        Before `replay`. A crash in between leaves entries in both: they are run twice, and write the same rows. Raises
        ConfigurationError.
        """
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(self._connect()) as own:
                entries = other.execute("SELECT attributes, content FROM entries ORDER BY number")
                own.execute("BEGIN IMMEDIATE")
                own.executemany("INSERT INTO entries (attributes, content) VALUES (?, ?)", entries)
                last = own.execute("SELECT max(number) FROM entries").fetchone()[0] or 0
                own.execute("COMMIT")
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        except (OSError, sqlite3.Error) as err:
            raise ConfigurationError("--data", f"the journal {path} cannot be used: {err}") from err
        self._last_replayed = max(self._last_replayed, last)
        self._numbers = itertools.count(self._last_replayed + 1)

    def close(self) -> None:
        """Write what waits and stop."""
        self._requests.put(None)
        self._thread.join()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # acknowledged means on the disk, not in the kernel
        return connection

    def _run(self) -> None:
        with closing(self._connect()) as connection:
            removals: list[int] = []
            running = True
            while running:
                appends: list[tuple[list[Entry], Future[None]]] = []
                waited = True
                try:
                    request = self._requests.get(timeout=_REMOVAL_DELAY_S if removals else None)
                    waited = False
                    while True:
                        if request is None:
                            running = False
                        elif isinstance(request, int):
                            removals.append(request)
                        else:
                            appends.append(request)
                        request = self._requests.get_nowait()
                except queue.Empty:
                    pass
                if appends or len(removals) >= 100 or not running or waited:
                    self._commit(connection, appends, removals)

    def _commit(
        self, connection: sqlite3.Connection, appends: list[tuple[list[Entry], Future[None]]], removals: list[int]
    ) -> None:
        rows = [(e.number, json.dumps(dict(e.attributes)), e.content) for entries, _ in appends for e in entries]
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
                connection.executemany("DELETE FROM entries WHERE number = ?", [(number,) for number in removals])
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:  # a full disk ends it by itself
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as err:
            for _, written in appends:
                written.set_exception(OSError(f"journal {self._path.name}: {err}"))
            return  # removals stay in the list for the next commit
        removals.clear()
        for _, written in appends:
            written.set_result(None)
