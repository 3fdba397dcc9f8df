"""Writes rows to one table: creates it, repairs it, and retries where that may succeed."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from imagewarehouse.errors import (
    ConfigurationError,
    KuduNoRange,
    KuduRefused,
    KuduTableMissing,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu.batch import RowBatch
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import MAX_COLUMNS, KuduColumn, KuduType, Range, RangePolicy, TableSchema
from imagewarehouse.kudu.writing.ranges import first_ranges, judge, plan, refusal

log = logging.getLogger("imagewarehouse.kudu")

Outcome = WarehouseError | None

_MOST_REPAIRS = 3  # how often a table may change under one write before it is left to the next
_LONGEST_PAUSE_S = 10.0
_LOOK_AGAIN_S = 5.0  # between two looks at a table whose rows have fields that it has not


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """How to maintain a table, and how often to retry a row after a transient failure.

    `declared`: what the table has to look like. It is made if it is not there, gets the columns that it lacks, and its
    range partitions are kept. None: the table is taken as it is.
    """

    declared: TableSchema | None = None
    retries: int = 2
    backoff_s: float = 0.5  # before the first retry; doubled for each further one
    range_check_s: float = 600.0  # how often the range partitions are looked at


class Source(Protocol):
    """Rows that can be converted for a table, again and again while the table changes."""

    def __len__(self) -> int: ...

    def batch(
        self, schema: TableSchema, rows: Sequence[int]
    ) -> tuple[RowBatch, Sequence[int], dict[int, WarehouseError]]:
        """The rows of these numbers: (what can be written, the number of each row in it, errors of the others)."""

    def has_unknown_fields(self, schema: TableSchema) -> bool:
        """Whether a row has a field that the table has no column for."""

    def missing_columns(self, schema: TableSchema) -> Sequence[KuduColumn]:
        """Columns that the table is to get for these rows."""


class TableSink:
    """Thread-safe, but made to be called by one thread at a time: see GroupCommit."""

    def __init__(
        self,
        writer: KuduWriter,
        table: str,
        settings: SinkSettings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.writer = writer
        self.table = table
        self.settings = settings
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._ready = False
        self._failed: tuple[float, WarehouseError] | None = None  # when and why the table could not be prepared
        self._range_check_due = 0.0
        self._look_again = 0.0

    def write(self, sources: Sequence[Source]) -> list[list[Outcome]]:
        """Write all rows of all sources; for each source the outcome of each row, None for written."""
        outcomes: list[list[Outcome]] = [[None] * len(source) for source in sources]
        pending = {number: list(range(len(source))) for number, source in enumerate(sources) if len(source)}
        repairs = tries = 0
        while pending:
            failed = self._attempt(sources, pending, outcomes)
            kinds = {type(outcomes[number][row]) for number, rows in failed.items() for row in rows}
            if repairs < _MOST_REPAIRS and self._repair_table(kinds, repairs):
                repairs += 1
                pending = _select(failed, outcomes, lambda outcome: _repairable(outcome) or _retryable(outcome))
                continue
            pending = _select(failed, outcomes, _retryable)
            if not pending or tries >= self.settings.retries:
                break
            self._sleep(min(self.settings.backoff_s * 2**tries, _LONGEST_PAUSE_S))
            tries += 1
        return outcomes

    def prepare(self) -> TableSchema:
        """Open or create the table, with all declared columns. Raises the error that prevents it."""
        asked_at = time.monotonic()
        with self._lock:
            if self._failed is not None and self._failed[0] > asked_at:
                raise self._failed[1]  # found out while we waited: many tasks take no longer than one
            try:
                schema = self._open() if not self._ready else self.writer.schema(self.table)
            except WarehouseError as err:
                self._failed = time.monotonic(), err
                raise
            self._ready = True
            if time.monotonic() >= self._range_check_due:
                self._range_check_due = time.monotonic() + self.settings.range_check_s
                self._keep_ranges(schema, drop=True)
            return schema

    # --- inside ---

    def _attempt(
        self, sources: Sequence[Source], pending: dict[int, list[int]], outcomes: list[list[Outcome]]
    ) -> dict[int, list[int]]:
        """Write the pending rows once, record every outcome, and return the rows that failed in the cluster."""
        places: list[tuple[int, Sequence[int]]] = []
        batches: list[RowBatch] = []
        try:
            schema = self.prepare()
            schema = self._add_missing_columns(schema, [sources[number] for number in pending])
            for number, rows in pending.items():
                batch, kept, errors = sources[number].batch(schema, rows)
                for row in rows:
                    outcomes[number][row] = errors.get(row)
                if len(batch):
                    places.append((number, kept))
                    batches.append(batch)
            failures = self.writer.write(self.table, batches) if batches else []
        except WarehouseError as err:
            # Of what was sent nothing is known; what could not be converted keeps its own error.
            for number, rows in pending.items():
                for row in rows:
                    outcomes[number][row] = outcomes[number][row] if _is_final(outcomes[number][row]) else err
            return {number: [r for r in rows if outcomes[number][r] is err] for number, rows in pending.items()}
        failed: dict[int, list[int]] = {}
        for failure in failures:
            number, kept = places[failure.batch]
            row = int(kept[failure.row])
            outcomes[number][row] = failure.error
            failed.setdefault(number, []).append(row)
        return failed

    def _repair_table(self, kinds: set[type[WarehouseError | None]], repairs: int) -> bool:
        """Repair the table for these kinds of failure; False where no repair is possible."""
        # A missing table can be made, or it was open and another one has its name by now.
        if SchemaChanged in kinds or (KuduTableMissing in kinds and (self.settings.declared or self._ready)):
            with self._lock:
                self._ready = False
            return True
        if KuduNoRange not in kinds or repairs:
            return False
        try:
            schema = self.writer.schema(self.table, refresh=True)  # another node may have made the range
        except WarehouseError:
            return False
        self._keep_ranges(
            schema, drop=False
        )  # rows need what is missing; the rest has time until the ranges are checked
        return True

    def _open(self) -> TableSchema:
        declared = self.settings.declared
        try:
            schema = self.writer.schema(self.table, refresh=True)
        except KuduTableMissing:
            if declared is None:
                raise
            self._create(declared)
            return self.writer.schema(self.table, refresh=True)
        if declared is not None:
            schema = self._compare(schema, declared)
        return schema

    def _create(self, declared: TableSchema) -> None:
        if declared.policy is not None:
            kind = declared.column(declared.policy.column).type
            ranges = first_ranges(declared.policy, kind, self._now())
            declared = dataclasses.replace(declared, ranges=ranges)
        if self.writer.create(dataclasses.replace(declared, name=self.table)):
            log.info("made table %s", self.table)

    def _compare(self, schema: TableSchema, declared: TableSchema) -> TableSchema:
        """Refuse a table that cannot hold the declared rows; add nullable columns that it lacks."""
        columns = {column.name: column for column in schema.columns}
        if schema.key != declared.key:
            raise ConfigurationError(
                "Table Name",
                f"table {self.table} has the key {', '.join(schema.key)}, expected {', '.join(declared.key)}",
            )
        missing = []
        for column in declared.columns:
            existing = columns.get(column.name)
            if existing is None:
                missing.append(column)
            elif existing.type_text != column.type_text:
                raise ConfigurationError(
                    "Table Name",
                    f"column {column.name} of table {self.table} is {existing.type_text}, expected {column.type_text}",
                )
        return self._add(schema, missing) if missing else schema

    def _add_missing_columns(self, schema: TableSchema, sources: Sequence[Source]) -> TableSchema:
        """The table with the columns that the sources need.

        Where a column cannot be added, the rows with its field are refused one by one.
        """
        if any(source.has_unknown_fields(schema) for source in sources) and time.monotonic() >= self._look_again:
            self._look_again = time.monotonic() + _LOOK_AGAIN_S
            schema = self.writer.schema(self.table, refresh=True)  # somebody else may have added the column
        for source in sources:
            missing = source.missing_columns(schema)
            if not missing:
                continue
            try:
                schema = self._add(schema, missing)
            except WarehouseError as err:
                if err.retryable:
                    raise
                log.warning("table %s: columns are not added: %s", self.table, err)
        return schema

    def _add(self, schema: TableSchema, columns: Sequence[KuduColumn]) -> TableSchema:
        if len(schema.columns) + len(columns) > MAX_COLUMNS:  # Kudu would add some of them before it refuses
            raise KuduRefused(
                f"{len(columns)} more columns than {len(schema.columns)}; Kudu takes {MAX_COLUMNS} at most"
            )
        self.writer.add_columns(self.table, columns)
        log.info("table %s: added %s", self.table, ", ".join(f"{c.name} {c.type_text}" for c in columns))
        return self.writer.schema(self.table, refresh=True)

    def _keep_ranges(self, schema: TableSchema, *, drop: bool) -> None:
        """Add upcoming ranges and, with `drop`, drop those past retention. A failure waits for the next time."""
        declared = self.settings.declared
        policy = declared.policy if declared is not None else None
        if policy is None:
            return
        if schema.range_columns != (policy.column,):
            log.warning("table %s has no ranges over %s alone: none are made or dropped", self.table, policy.column)
            return
        kind = schema.column(policy.column).type
        try:
            now, existing = self._now(), self.writer.ranges(self.table)
            changes = plan(policy, kind, existing, now)
            added = 0
            for part in changes.add:
                added += self.writer.add_range(self.table, part)
                log.info("table %s: range from %s", self.table, part.lower)
            if added:
                self.writer.schema(
                    self.table, refresh=True
                )  # the client remembers for minutes which ranges were missing
            if drop and changes.drop:
                self._drop_ranges(policy, kind, existing, now)
        except WarehouseError as err:
            log.warning("table %s: range partitions: %s", self.table, err)

    def _drop_ranges(self, policy: RangePolicy, kind: KuduType, existing: Sequence[Range], now: datetime) -> None:
        """Drop what is past retention, unless the rows say that this node's clock may be wrong."""
        with_rows = self.writer.ranges_with_rows(self.table, existing)
        kudu_now = self.writer.clock()  # behind the reading, so that it is of now
        retention = judge(policy, kind, existing, with_rows, now, kudu_now)
        if retention.refused:
            log.error("%s", refusal(retention, self.table, now, kudu_now))
        for part in retention.drop:
            if self.writer.drop_range(self.table, part):
                log.warning("table %s: dropped the range up to %s, past retention", self.table, part.upper)


def _repairable(outcome: Outcome) -> bool:
    return isinstance(outcome, (SchemaChanged, KuduNoRange, KuduTableMissing))


def _retryable(outcome: Outcome) -> bool:
    return outcome is not None and outcome.retryable


def _is_final(outcome: Outcome) -> bool:
    return outcome is not None and not outcome.retryable and not _repairable(outcome)


def _select(
    failed: dict[int, list[int]], outcomes: list[list[Outcome]], passes: Callable[[Outcome], bool]
) -> dict[int, list[int]]:
    # In the order of the rows, not of the failures that the client reports: rows of one key must keep their order.
    passing = {number: sorted(row for row in rows if passes(outcomes[number][row])) for number, rows in failed.items()}
    return {number: rows for number, rows in passing.items() if rows}
