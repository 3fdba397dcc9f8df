"""Rows: the interface every row store answers to, and the group commit in front of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imagewarehouse.errors import RowStoreUnavailable, WarehouseError
from imagewarehouse.metadata import ImageRecord


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
    done: bool = False
    error: WarehouseError | None = None


@dataclass(slots=True)
class GroupCommit:
    """Lets rows of parallel tasks share a commit, so that its price is paid once for all of them.

    Whoever finds no commit under way writes everything that waits; the others wait for it. A row alone is written at
    once: nothing is ever delayed to make a batch. Thread-safe.
    """

    store: RowStore
    max_batch: int = 1000
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _waiting: list[_Waiting] = field(default_factory=list)
    _busy: bool = False

    def write(self, record: ImageRecord) -> None:
        """Return once the record is committed. Raises what kept it from that."""
        entry = _Waiting(record)
        with self._condition:
            self._waiting.append(entry)
            while self._busy and not entry.done:
                self._condition.wait()
            if not entry.done:
                self._busy = True
        if not entry.done:
            self._lead(entry)
        if entry.error is not None:
            raise entry.error

    def close(self) -> None:
        self.store.close()

    def _lead(self, mine: _Waiting) -> None:
        while not mine.done:
            with self._condition:
                batch, self._waiting = self._waiting[: self.max_batch], self._waiting[self.max_batch :]
            self._commit(batch)
        with self._condition:
            self._busy = False
            self._condition.notify_all()

    def _commit(self, batch: list[_Waiting]) -> None:
        outcomes: Sequence[WarehouseError | None]
        try:
            outcomes = self.store.write([entry.record for entry in batch])
        except WarehouseError as err:
            outcomes = [err] * len(batch)
        except Exception as err:  # noqa: BLE001 - a defect in a store must not leave the other tasks waiting for ever
            outcomes = [RowStoreUnavailable(f"{type(err).__name__}: {err}")] * len(batch)
        with self._condition:
            for entry, error in zip(batch, outcomes, strict=True):
                entry.error, entry.done = error, True
            self._condition.notify_all()


def open_rows(path: Path) -> RowStore:
    """The embedded row store at `path`. Raises ConfigurationError, RowStoreUnavailable."""
    from imagewarehouse.stores.local import LocalRows  # DuckDB is only needed where no Kudu is configured

    return LocalRows(path)
