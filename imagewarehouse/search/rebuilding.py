"""Fills a Solr collection from all rows, and goes on where it was interrupted.

Rows come in the order of their key, and what is done is written down behind each batch. A batch that was under way when the
process ended is sent again, which changes nothing: a document has the id of its row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import orjson
import pyarrow as pa

from imagewarehouse.errors import (
    ConfigurationError,
    SolrCollectionMissing,
    SolrNotAuthorized,
    SolrUnavailable,
    WarehouseError,
)
from imagewarehouse.metadata import KEY, ImageRecord, from_text, to_text
from imagewarehouse.rows.columns import vector_bytes
from imagewarehouse.rows.whole import Stretch, WholeTable
from imagewarehouse.search.collection import Installation
from imagewarehouse.search.documents import microseconds
from imagewarehouse.search.writing import IndexedRecords
from imagewarehouse.solr.writing import Writing
from imagewarehouse.text import one_line

BATCH = 500  # documents of a request: about 700 KB with vectors
_PATIENCE_S = 120.0  # that Solr may be away before it is given up: a restart takes half a minute
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0

Key = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Task:
    """What is rebuilt from what. `since`, `until`: of event_time, aware; `until` is not included."""

    collection: str
    rows: str
    since: str | None = None
    until: str | None = None

    @classmethod
    def of(cls, installation: Installation, table: WholeTable, since: datetime | None, until: datetime | None) -> Task:
        bounds = [None if moment is None else to_text(moment) for moment in (since, until)]
        address = installation.solr.settings.address
        where = address.zookeeper or ",".join(address.urls)
        return cls(f"{where}/{installation.name}", table.where, *bounds)

    @property
    def stretch(self) -> Stretch:
        since, until = (None if text is None else _moment(text) for text in (self.since, self.until))
        return Stretch(since, until)


@dataclass(frozen=True, slots=True)
class State:
    """How far it is: rows up to and with the key `time`, `request_id`. `written` and `bad` add up to them."""

    written: int = 0
    bad: int = 0
    time: str | None = None
    request_id: str = ""

    @property
    def key(self) -> Key | None:
        return None if self.time is None else (_moment(self.time), self.request_id)


class StateFile:
    """The state of one task, beside the rows; gone when it is done."""

    def __init__(self, path: Path, task: Task) -> None:
        self.path = path
        self._task = task

    def load(self) -> State | None:
        """None: it was never begun. Raises ConfigurationError: it is another task's, or no state."""
        if not self.path.exists():
            return None
        try:
            found = orjson.loads(self.path.read_bytes())
            task, state = Task(**found["task"]), State(**found["state"])
            _ = state.key
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise ConfigurationError("--state", f"{self.path} is no state of a rebuild: {one_line(err)}") from err
        if task != self._task:
            problem = f"{self.path} belongs to another rebuild: {_described(task)}. End it first, or give --restart"
            raise ConfigurationError("--state", problem)
        return state

    def save(self, state: State) -> None:
        """Raises ConfigurationError: it cannot be written."""
        part = self.path.with_name(f"{self.path.name}.part")
        try:
            with part.open("wb") as file:
                file.write(orjson.dumps({"task": asdict(self._task), "state": asdict(state)}))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as err:
            raise ConfigurationError("--state", f"{self.path} cannot be written: {err.strerror or err}") from err

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class Rebuild:
    """`bad`: gets a line in JSON for each row that cannot become a document. `waiting`: is told why nothing happens."""

    def __init__(
        self,
        table: WholeTable,
        installation: Installation,
        task: Task,
        state_file: StateFile,
        bad: TextIO,
        waiting: Callable[[str], None] = lambda _: None,
        *,
        batch: int = BATCH,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._table = table
        how = Writing(batch=batch, params=(("update.chain", "tolerant"),))
        self._index = IndexedRecords(installation.collection, how)
        self._task = task
        self._state_file = state_file
        self._bad = bad
        self._waiting = waiting
        self._batch = batch
        self._patience_s = patience_s

    def total(self) -> int:
        """Rows of the task."""
        return sum(map(self._table.count, self._stretches(None)))

    def run(self, state: State) -> Iterator[State]:
        """Gives how far it is, behind each batch. Raises SolrUnavailable, RowStoreUnavailable: may go on later."""
        for stretch in self._stretches(state.key):
            for page in self._table.pages(stretch):
                for first in range(0, page.num_rows, self._batch):
                    rows = _rows(page.slice(first, self._batch), state.key)
                    if rows:
                        state = self._write(rows, state)
                        yield state

    def _stretches(self, key: Key | None) -> list[Stretch]:
        """Those of the table that meet the task and are not done, oldest first."""
        wanted = self._task.stretch
        since = key[0] if key is not None else wanted.since
        found = []
        for stretch in sorted(self._table.stretches(), key=lambda each: (each.since is not None, each.since)):
            first = max(filter(None, (stretch.since, since)), default=None)
            end = min(filter(None, (stretch.until, wanted.until)), default=None)
            if first is None or end is None or first < end:
                found.append(Stretch(first, end))
        return found

    def _write(self, rows: Sequence[dict[str, Any]], state: State) -> State:
        made = [_record(row) for row in rows]
        written = iter(self._deliver([record for record in made if isinstance(record, ImageRecord)]))
        outcomes = [next(written) if isinstance(record, ImageRecord) else record for record in made]
        bad = [(row, error) for row, error in zip(rows, outcomes, strict=True) if error is not None]
        for row, error in bad:
            self._name(row, error)
        self._bad.flush()
        last = rows[-1]
        counts = state.written + len(rows) - len(bad), state.bad + len(bad)
        state = State(*counts, to_text(last["event_time"]), last["request_id"])
        self._state_file.save(state)
        return state

    def _deliver(self, records: Sequence[ImageRecord]) -> list[WarehouseError | None]:
        """Why each is not in the index. Raises SolrUnavailable: for longer than there is patience."""
        outcomes = self._index.write(records)
        end = time.monotonic() + self._patience_s
        pause = _FIRST_PAUSE_S
        while left := [n for n, outcome in enumerate(outcomes) if isinstance(outcome, SolrUnavailable)]:
            error = outcomes[left[0]]
            assert error is not None
            if isinstance(error, (SolrNotAuthorized, SolrCollectionMissing)) or time.monotonic() >= end:
                raise error
            self._waiting(str(error))
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            for n, outcome in zip(left, self._index.write([records[n] for n in left]), strict=True):
                outcomes[n] = outcome
        return outcomes

    def _name(self, row: dict[str, Any], error: Exception) -> None:
        line = {"event_time": to_text(row["event_time"]), "request_id": row["request_id"], "error": one_line(error)}
        self._bad.write(orjson.dumps(line).decode() + "\n")


def _record(row: dict[str, Any]) -> ImageRecord | Exception:
    """What is wrong with a row that is no record: another program wrote it."""
    try:
        return ImageRecord(**row)
    except (ValueError, TypeError, AttributeError) as err:
        return err


def query_of(task: Task, state: State | None = None) -> str:
    """What finds the documents of its time; with a state those that it has come to, and others of the last one's instant."""
    since, until = task.stretch
    if state is not None:
        return f"event_us:[{_edge(since)} TO {_edge(state.key and state.key[0])}]"
    return "*:*" if since is None and until is None else f"event_us:[{_edge(since)} TO {_edge(until)}}}"


def _edge(moment: datetime | None) -> str:
    return "*" if moment is None else str(microseconds(moment))


def _rows(page: pa.Table, behind: Key | None) -> list[dict[str, Any]]:
    """Behind the key, as ImageRecord takes them."""
    columns: dict[str, list[Any]] = {name: page[name].to_pylist() for name in page.column_names if name != "embedding"}
    columns["embedding"] = list(vector_bytes(page["embedding"]))
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return rows if behind is None else [row for row in rows if tuple(row[name] for name in KEY) > behind]


def _moment(text: str) -> datetime:
    moment = from_text(text, "timestamp")
    assert isinstance(moment, datetime)
    return moment


def _described(task: Task) -> str:
    when = f", {task.since or '…'} to {task.until or '…'}" if task.since or task.until else ""
    return f"{task.rows} into {task.collection}{when}"
