"""Rows: the interface every row store answers to, and the group commit in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imagewarehouse.errors import RowStoreUnavailable, WarehouseError
from imagewarehouse.metadata import ImageRecord

_LONGEST_PAUSE_S = 0.05  # a store that answers slowly is not made slower


class RowStore(Protocol):
    """A table of image records. Writing a record whose key is there already overwrites it."""

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        """Commit the records; gives one outcome each, None for written.

        Raises RowStoreUnavailable when none of them was written and all may be tried again.
        """

    def close(self) -> None: ...


@dataclass(slots=True)
class _Waiting:
    record: ImageRecord
    signal: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False
    error: WarehouseError | None = None

    def __post_init__(self) -> None:
        self.signal.acquire()  # released when the row is decided, or when its task has to write the next batch


class GroupCommit:
    """Lets rows of parallel tasks share a commit, so that its price is paid once for all of them. Thread-safe.

    Whoever finds no commit under way writes everything that waits; the others wait for it. A row that comes alone is
    written at once. Once rows come together there is a pause of twice the CPU time that the last commit took, so that
    a store whose commit is dear (DuckDB: 2 to 5 ms, for 1 row as for 30) takes a third of a core at most.
    """

    def __init__(self, store: RowStore, max_batch: int = 1000) -> None:
        self.store = store
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._not_before = 0.0

    def write(self, record: ImageRecord) -> None:
        """Return once the record is committed. Raises what kept it from that."""
        entry = _Waiting(record)
        with self._lock:
            self._waiting.append(entry)
            leads, self._busy = not self._busy, True
        if not leads:
            entry.signal.acquire()
        if not entry.done:
            self._lead()
        if entry.error is not None:
            raise entry.error

    def close(self) -> None:
        self.store.close()

    def _lead(self) -> None:
        """Write a batch, the caller's row the first in it, and hand the lead to whoever waits next."""
        pause = self._not_before - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        with self._lock:
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
        started = time.thread_time()
        outcomes = self._commit(batch)
        pause = 2 * (time.thread_time() - started) if len(batch) > 1 else 0.0
        self._not_before = time.monotonic() + min(pause, _LONGEST_PAUSE_S)
        with self._lock:
            next_leader = self._waiting[0] if self._waiting else None
            self._busy = next_leader is not None
        for entry, error in zip(batch, outcomes, strict=True):
            entry.error, entry.done = error, True
            entry.signal.release()
        if next_leader is not None:
            next_leader.signal.release()

    def _commit(self, batch: list[_Waiting]) -> Sequence[WarehouseError | None]:
        try:
            outcomes = self.store.write([entry.record for entry in batch])
            if len(outcomes) != len(batch):
                raise ValueError(f"{len(outcomes)} outcomes for {len(batch)} records")
            return outcomes
        except WarehouseError as err:
            return [err] * len(batch)
        except Exception as err:  # noqa: BLE001 - a defect in a store must not leave the other tasks waiting for ever
            return [RowStoreUnavailable(f"{type(err).__name__}: {err}")] * len(batch)


def open_rows(path: Path) -> RowStore:
    """The embedded row store at `path`. Raises ConfigurationError, RowStoreUnavailable."""
    from imagewarehouse.stores.local import LocalRows  # DuckDB is only needed where no Kudu is configured

    return LocalRows(path)
