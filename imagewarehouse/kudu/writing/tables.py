"""All tables of a cluster as one store: merges the writes of parallel tasks and returns each task its outcomes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imagewarehouse.contents import table_rows
from imagewarehouse.errors import WarehouseError
from imagewarehouse.kudu.batch import RowBatch
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.records.cells import Conversion
from imagewarehouse.kudu.records.convert import ADD, REFUSE, to_batch
from imagewarehouse.kudu.records.drift import drift_columns
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import KuduColumn, TableSchema
from imagewarehouse.kudu.writing.sink import Outcome, SinkSettings, TableSink

log = logging.getLogger("imagewarehouse.kudu")

_SINKS = 200  # tables that are remembered; a table name may come from an attribute


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """The rows of one FlowFile and the table they are for."""

    table: str
    rows: Rows
    unknown: str = REFUSE
    conversion: Conversion = Conversion()

    def __len__(self) -> int:
        return len(self.rows)

    def batch(
        self, schema: TableSchema, rows: Sequence[int]
    ) -> tuple[RowBatch, Sequence[int], dict[int, WarehouseError]]:
        chosen = self.rows if len(rows) == len(self) else _take(self.rows, rows)
        converted = to_batch(chosen, schema, self.unknown, self.conversion)
        numbers = np.asarray(rows)
        return converted.batch, numbers[converted.kept], {int(numbers[n]): error for n, error in converted.errors}

    def has_unknown_fields(self, schema: TableSchema) -> bool:
        known = {column.name for column in schema.columns}
        if self.rows.table is not None:
            return not known.issuperset(self.rows.table.column_names)
        return not all(known.issuperset(values) for values in self.rows.values)

    def missing_columns(self, schema: TableSchema) -> Sequence[KuduColumn]:
        return drift_columns(self.rows, schema) if self.unknown == ADD else ()


class KuduTables:
    """Commits puts for GroupCommit. The result of a put is the outcome of each of its rows."""

    def __init__(self, writer: KuduWriter, settings: Callable[[str], SinkSettings]) -> None:
        """`settings`: how a table of this name is kept."""
        self._lock = threading.Lock()
        self.writer = writer
        self._settings = settings
        self._sinks: dict[str, TableSink] = {}

    def write(self, puts: Sequence[Put]) -> list[list[Outcome]]:
        outcomes: list[list[Outcome]] = [[] for _ in puts]
        by_table: dict[str, list[int]] = {}
        for number, put in enumerate(puts):
            by_table.setdefault(put.table, []).append(number)
        for table, numbers in by_table.items():
            for number, results in zip(numbers, self._write_table(table, [puts[n] for n in numbers]), strict=True):
                outcomes[number] = results
        return outcomes

    def schema(self, table: str) -> TableSchema:
        """The table, created first where the settings declare it."""
        return self._sink(table).prepare()

    def close(self) -> None:
        self.writer.close()

    def _write_table(self, table: str, puts: list[Put]) -> list[list[Outcome]]:
        """One write for all puts.

        After an unexpected error, one write for each: a single put cannot block the others.
        """
        sink = self._sink(table)
        groups = _groups(puts)
        try:
            written = sink.write([_merged([puts[n] for n in group]) for group in groups])
            results: list[list[Outcome]] = [[] for _ in puts]
            for group, outcomes in zip(groups, written, strict=True):
                start = 0
                for number in group:
                    results[number] = outcomes[start : start + len(puts[number])]
                    start += len(puts[number])
            return results
        except Exception as err:
            if len(puts) == 1:
                log.exception("table %s: %d rows", table, len(puts[0]))
                return [[WarehouseError(f"{type(err).__name__}: {err}")] * len(puts[0])]
            log.warning("table %s: %s: %s; writing one by one", table, type(err).__name__, err)
        return [self._write_table(table, [put])[0] for put in puts]

    def _sink(self, table: str) -> TableSink:
        with self._lock:
            sink = self._sinks.pop(table, None) or TableSink(self.writer, table, self._settings(table))
            self._sinks[table] = sink  # the last used is the last in order
            if len(self._sinks) > _SINKS:
                del self._sinks[next(iter(self._sinks))]
            return sink


def _groups(puts: Sequence[Put]) -> list[list[int]]:
    """The numbers of the puts to convert together: a hundred FlowFiles of one row cost one conversion."""
    groups: dict[object, list[int]] = {}
    for number, put in enumerate(puts):
        kind = number if put.rows.table is not None else (put.unknown, put.conversion)
        groups.setdefault(kind, []).append(number)
    return list(groups.values())


def _merged(puts: Sequence[Put]) -> Put:
    if len(puts) == 1:
        return puts[0]
    values = [values for put in puts for values in put.rows.values]
    rows = Rows(range(len(values)), np.concatenate([put.rows.operations for put in puts]), values)
    return replace(puts[0], rows=rows)


def _take(rows: Rows, numbers: Sequence[int]) -> Rows:
    at = np.asarray(numbers)
    if rows.table is not None:
        return replace(
            rows,
            records=list(numbers),
            operations=rows.operations[at],
            table=table_rows(rows.table, list(numbers)),
            errors=(),
        )
    return replace(
        rows, records=list(numbers), operations=rows.operations[at], values=[rows.values[n] for n in numbers], errors=()
    )
