"""Converts rows to a batch for one Kudu table and reports the rows that do not fit.

Columns are converted one after the other, each as a whole (`arrays.py`); `cells.py` defines the values of a cell.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.contents import Record, shorten
from imagewarehouse.errors import (
    KuduCellTooLong,
    KuduMissingValue,
    KuduUnknownColumn,
    KuduWrongValue,
    WarehouseError,
)
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.records.arrays import from_array, from_list, mask, plain_array
from imagewarehouse.kudu.records.cells import DEFAULT_CONVERSION, Conversion, TooLong
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import KuduColumn, TableSchema

REFUSE, IGNORE, ADD = UNKNOWN = ("refuse", "ignore", "add")  # what becomes of a field without a column
_MISSING: Any = object()  # stands where a row has no such field


class Converted(NamedTuple):
    """`kept`: for each row of the batch its number among the rows given. `errors`: number and error of all others."""

    batch: RowBatch
    kept: np.ndarray
    errors: list[tuple[int, WarehouseError]]


def to_batch(
    rows: Rows, schema: TableSchema, unknown: str = "refuse", conversion: Conversion = DEFAULT_CONVERSION
) -> Converted:
    """The rows that fit the table as a batch, and the error of each that does not.

    Key columns need a value in every row, required ones in every row that may be inserted. Rows that delete keep their
    key columns only. A column that no row gives is not in the batch.

    Args: unknown: what a field without a column costs its row: refuse: the row is an error; ignore: nothing, the field
        is left out; add: as refuse, but a null is left out (`drift_columns` finds no column for nulls alone).
    """
    if unknown not in UNKNOWN:
        raise ValueError(f"unknown: expected one of {', '.join(UNKNOWN)}, received {unknown!r}")
    if rows.table is not None:
        return table_to_batch(rows.table, rows.operations, schema, unknown, conversion, rows.ignore_nulls)
    values, operations = rows.values, rows.operations
    wide = bool(values) and len(schema.columns) > 2 * len(values[0])
    names = set().union(*values) if wide else None
    fields_read = 0

    def take(column: KuduColumn, drop: np.ndarray | None) -> _Cells | None:
        nonlocal fields_read
        if names is not None and column.name not in names:
            return None
        present = None
        try:
            cells = list(map(itemgetter(column.name), values))
        except KeyError:
            cells = [row.get(column.name, _MISSING) for row in values]
            present = np.fromiter((c is not _MISSING for c in cells), dtype=bool, count=len(cells))
            cells = [None if c is _MISSING else c for c in cells]
        fields_read += len(cells) if present is None else int(present.sum())
        if drop is not None:
            present = ~drop if present is None else present & ~drop
            cells = [c if g else None for c, g in zip(cells, present.tolist(), strict=True)]
        if present is not None and not present.any():
            return None
        return _Cells(*from_list(cells, column, conversion), present)

    bad, columns = _take_columns(operations, schema, take)
    if unknown != "ignore" and fields_read < sum(map(len, values)):
        bad |= _unknown_fields(values, operations, schema, nulls=unknown == "refuse")
    return _finish(operations, columns, bad)


def table_to_batch(
    table: pa.Table,
    operation: Operation | np.ndarray,
    schema: TableSchema,
    unknown: str = "refuse",
    conversion: Conversion = DEFAULT_CONVERSION,
    ignore_nulls: bool = False,
) -> Converted:
    """As `to_batch`, but column by column from Arrow to Arrow. `operation`: one for all rows, or uint8 for each."""
    rows = table.num_rows
    operations = operation if isinstance(operation, np.ndarray) else np.full(rows, operation, dtype=np.uint8)
    names = set(table.column_names)

    def take(column: KuduColumn, drop: np.ndarray | None) -> _Cells | None:
        if column.name not in names or (drop is not None and drop.all()):
            return None
        array = plain_array(table.column(column.name))
        present = None
        if ignore_nulls and array.null_count:
            present = mask(array.is_valid())
        if drop is not None:
            present = ~drop if present is None else present & ~drop
            array = pc.if_else(pa.array(present), array, pa.scalar(None, array.type))
        if present is not None and not present.any():
            return None
        return _Cells(*from_array(array, column, conversion), present)

    bad, columns = _take_columns(operations, schema, take)
    if unknown != "ignore":
        known = {c.name for c in schema.columns}
        extra = [n for n in table.column_names if n not in known]
        if extra:
            error = KuduUnknownColumn(_unknown_text(extra, known))
            hit = operations < Operation.DELETE
            if unknown == "add" or ignore_nulls:
                hit &= np.logical_or.reduce([mask(table.column(n).is_valid()) for n in extra])
            bad |= dict.fromkeys(np.flatnonzero(hit).tolist(), error)
    return _finish(operations, columns, bad)


# --- rules about rows -------------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    """One column of all rows. `present`: bool for each row, None: all. Cells in `wrong` are null in `values`."""

    values: pa.Array
    wrong: dict[int, ValueError]
    present: np.ndarray | None


_Take = Callable[[KuduColumn, "np.ndarray | None"], "_Cells | None"]


def _take_columns(
    operations: np.ndarray, schema: TableSchema, take: _Take
) -> tuple[dict[int, WarehouseError], list[tuple[str, _Cells]]]:
    """All columns that have values, and the first error of each bad row.

    `take` receives the rows to ignore: of a delete only the key columns count.
    """
    inserts = operations <= Operation.UPSERT_IGNORE
    deletes = operations >= Operation.DELETE
    drop = deletes if deletes.any() else None
    everywhere = np.ones(len(operations), dtype=bool)
    bad: dict[int, WarehouseError] = {}
    missing: dict[int, list[str]] = {}
    columns: list[tuple[str, _Cells]] = []
    for column in schema.columns:
        cells = take(column, None if column.key else drop)
        present = np.zeros_like(everywhere) if cells is None else everywhere if cells.present is None else cells.present
        needed: np.ndarray | None
        if column.auto_incrementing:
            needed = ~inserts
            for row in np.flatnonzero(present & inserts).tolist():
                bad.setdefault(row, KuduWrongValue(f"column {column.name}: expected no value, the server gives one"))
        else:
            needed = everywhere if column.key else inserts if column.required else None
        if needed is not None and (cells is None or cells.present is not None):
            for row in np.flatnonzero(needed & ~present).tolist():
                missing.setdefault(row, []).append(column.name)
        if cells is None:
            continue
        for row, err in cells.wrong.items():
            kind = KuduCellTooLong if isinstance(err, TooLong) else KuduWrongValue
            bad.setdefault(row, kind(str(err)))
        if not column.nullable and cells.values.null_count:
            for row in np.flatnonzero(mask(cells.values.is_null()) & present).tolist():
                if row not in cells.wrong:
                    missing.setdefault(row, []).append(f"{column.name} (null)")
        columns.append((column.name, cells))
    for row, names in missing.items():
        bad.setdefault(row, KuduMissingValue(f"no value for {', '.join(names)}"))
    return bad, columns


def _finish(operations: np.ndarray, columns: list[tuple[str, _Cells]], bad: dict[int, WarehouseError]) -> Converted:
    """The batch of the rows that are not bad."""
    kept = np.arange(len(operations))
    keep: np.ndarray | None = None
    if bad:
        keep = np.ones(len(operations), dtype=bool)
        keep[list(bad)] = False
        kept, operations = kept[keep], operations[keep]
    written = []
    for name, cells in columns:
        values, present = cells.values, cells.present
        if keep is not None:
            values = values.filter(pa.array(keep))
            present = None if present is None else present[keep]
        if present is not None:
            if not present.any():
                continue
            present = None if present.all() else present.astype(np.uint8)
        written.append(ColumnValues(name, values, present))
    return Converted(RowBatch(operations.astype(np.uint8), tuple(written)), kept, sorted(bad.items()))


def _unknown_fields(
    values: Sequence[Record], operations: np.ndarray, schema: TableSchema, nulls: bool
) -> dict[int, WarehouseError]:
    """`nulls`: whether a null counts as well."""
    known = {c.name for c in schema.columns}
    errors: dict[tuple[str, ...], WarehouseError] = {}
    bad: dict[int, WarehouseError] = {}
    for row, (record, operation) in enumerate(zip(values, operations.tolist(), strict=True)):
        if operation >= Operation.DELETE or record.keys() <= known:
            continue
        names = tuple(n for n, v in record.items() if n not in known and (nulls or v is not None))
        if names:
            if names not in errors:
                errors[names] = KuduUnknownColumn(_unknown_text(names, known if len(errors) < 20 else ()))
            bad[row] = errors[names]
    return bad


def _unknown_text(names: Sequence[str], known: Mapping[str, Any] | set[str] | tuple[()]) -> str:
    """The fields without a column, with a similar column name for each; an empty `known` suppresses the suggestions."""
    shown = []
    for name in names[:5]:
        similar = difflib.get_close_matches(name[:256], known, 1) if known else []
        shown.append(shorten(name) + (f" (did you mean {similar[0]}?)" if similar else ""))
    others = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"no column for field {', '.join(shown)}{others}"
