"""Rows: the interface every row store answers to, and the group commit in front of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from imagewarehouse.errors import RowStoreUnavailable, WarehouseError
from imagewarehouse.metadata import ImageRecord

Item = TypeVar("Item")
Result = TypeVar("Result")
_Given = TypeVar("_Given", contravariant=True)
_Made = TypeVar("_Made", covariant=True)

_LONGEST_PAUSE_S = 0.05  # a store that answers slowly is not made slower


class RowStore(Protocol):
    """A table of image records. Writing a record whose key is there already overwrites it."""

    def write(self, records: Sequence[ImageRecord], /) -> Sequence[WarehouseError | None]:
        """Commit the records; gives one outcome each, None for written.

        Raises RowStoreUnavailable when none of them was written and all may be tried again.
        """

    def close(self) -> None: ...


class Store(Protocol[_Given, _Made]):
    """What GroupCommit commits to; every RowStore is one, with None as its result."""

    def write(self, items: Sequence[_Given], /) -> Sequence[_Made | WarehouseError]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    weight: int
    signal: threading.Lock = field(default_factory=threading.Lock)
    outcome: tuple[Result | WarehouseError] | None = None  # a tuple, because None may be the result

    def __post_init__(self) -> None:
        self.signal.acquire()  # released when the item is decided, or when its task has to write the next batch


class GroupCommit(Generic[Item, Result]):
    """Lets items of parallel tasks share a commit, so that its price is paid once for all of them. Thread-safe.

    An item is what one task writes: a record, or all rows of a FlowFile. Whoever finds no commit under way writes
    everything that waits; the others wait for it. An item that comes alone is written at once. Once items come together
    there is a pause of twice the CPU time that the last commit took, so that a store whose commit is dear (DuckDB: 2 to
    5 ms, for 1 row as for 30) takes a third of a core at most.
    """

    def __init__(
        self,
        store: Store[Item, Result],
        max_weight: int = 1000,
        weigh: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        """`max_weight`: no commit takes more than this, unless a single item does; `weigh`: rows of an item."""
        self.store = store
        self._max_weight = max_weight
        self._weigh = weigh
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[Item, Result]] = []
        self._busy = False
        self._not_before = 0.0

    def write(self, item: Item) -> Result:
        """Give the store's result once the item is committed. Raises what kept it from that."""
        (outcome,) = self.write_all([item])
        if isinstance(outcome, WarehouseError):
            raise outcome
        return outcome

    def write_all(self, items: Sequence[Item]) -> list[Result | WarehouseError]:
        """Give the store's result for each of the items once all are committed, or what kept it from that."""
        if not items:
            return []
        entries: list[_Waiting[Item, Result]] = [_Waiting(item, self._weigh(item)) for item in items]
        with self._lock:
            self._waiting += entries
            leads, self._busy = not self._busy, True
        for number, entry in enumerate(entries):
            if number or not leads:
                entry.signal.acquire()
            if entry.outcome is None:
                self._lead()  # it is the first of those that wait
        assert all(entry.outcome is not None for entry in entries)
        return [entry.outcome[0] for entry in entries if entry.outcome is not None]

    def close(self) -> None:
        self.store.close()

    def _lead(self) -> None:
        """Write a batch, the caller's item the first in it, and hand the lead to whoever waits next."""
        pause = self._not_before - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        with self._lock:
            count = weight = 0
            for entry in self._waiting:
                weight += entry.weight
                if count and weight > self._max_weight:
                    break
                count += 1
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
        started = time.thread_time()
        outcomes = self._commit(batch)
        pause = 2 * (time.thread_time() - started) if len(batch) > 1 else 0.0
        self._not_before = time.monotonic() + min(pause, _LONGEST_PAUSE_S)
        with self._lock:
            next_leader = self._waiting[0] if self._waiting else None
            self._busy = next_leader is not None
        for entry, outcome in zip(batch, outcomes, strict=True):
            entry.outcome = (outcome,)
            entry.signal.release()
        if next_leader is not None:
            next_leader.signal.release()

    def _commit(self, batch: list[_Waiting[Item, Result]]) -> Sequence[Result | WarehouseError]:
        try:
            outcomes = self.store.write([entry.item for entry in batch])
            if len(outcomes) != len(batch):
                raise ValueError(f"{len(outcomes)} outcomes for {len(batch)} items")
            return outcomes
        except WarehouseError as err:
            return [err] * len(batch)
        except Exception as err:  # noqa: BLE001 - a defect in a store must not leave the other tasks waiting for ever
            return [RowStoreUnavailable(f"{type(err).__name__}: {err}")] * len(batch)


def open_rows(path: Path) -> RowStore:
    """The embedded row store at `path`. Raises ConfigurationError, RowStoreUnavailable."""
    from imagewarehouse.rows.embedded import LocalRows  # DuckDB is only needed where no Kudu is configured

    return LocalRows(path)
