"""Derives columns for fields that a table lacks, from the values of the fields."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.records.arrays import is_binary
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema

MAX_NAME_BYTES = 256  # Kudu's own ceiling for the name of a column


def drift_columns(rows: Rows | pa.Table, schema: TableSchema) -> tuple[KuduColumn, ...]:
    """Nullable columns for the fields that the table lacks, in the order in which they first come.

    The type holds every value there is: bool, int64, double (fractions, or whole numbers among them) or string; for
    Arrow the type of its own. A field with nulls only, and one whose name Kudu would not take, gets no column. Fields
    of rows that delete do not count. How many columns a table can take is for the caller to check.
    """
    existing = {c.name for c in schema.columns}
    table = rows if isinstance(rows, pa.Table) else rows.table
    if table is not None:
        if isinstance(rows, Rows) and len(rows) and bool((rows.operations >= Operation.DELETE).all()):
            return ()
        names = [n for n in table.column_names if n not in existing and _usable(n)]
        return tuple(
            _arrow_column(n, table.column(n).type) for n in names if table.column(n).null_count < table.num_rows
        )
    values = rows.values
    if (rows.operations >= Operation.DELETE).any():
        values = [
            v for v, delete in zip(values, (rows.operations >= Operation.DELETE).tolist(), strict=True) if not delete
        ]
    unknown = set().union(*values) - existing
    if not unknown:
        return ()
    order = dict.fromkeys(name for row in values if not unknown.isdisjoint(row) for name in row if name in unknown)
    cells: dict[str, list[Any]] = {name: [] for name in order if _usable(name)}
    for row in values:
        for name in cells.keys() & row.keys():
            cells[name].append(row[name])
    typed = ((name, _field_type(column)) for name, column in cells.items())
    return tuple(KuduColumn(name, kind, nullable=True) for name, kind in typed if kind is not None)


def _usable(name: str) -> bool:
    # printable: no half character (lone surrogate) is, so that it has bytes
    return name.isprintable() and 0 < len(name.encode()) <= MAX_NAME_BYTES


def _field_type(cells: list[Any]) -> KuduType | None:
    types = set(map(type, cells)) - {type(None)}
    if not types:
        return None
    if types == {int}:
        fits = all(c is None or -(2**63) <= c < 2**63 for c in cells)
        return KuduType.INT64 if fits else KuduType.STRING
    if types <= {int, float, Decimal}:
        return KuduType.DOUBLE
    single = {bool: KuduType.BOOL, datetime: KuduType.UNIXTIME_MICROS, date: KuduType.DATE, bytes: KuduType.BINARY}
    return single.get(next(iter(types)), KuduType.STRING) if len(types) == 1 else KuduType.STRING


def _arrow_column(name: str, kind: pa.DataType) -> KuduColumn:
    types = pa.types
    while types.is_dictionary(kind) or isinstance(kind, pa.BaseExtensionType):
        kind = kind.value_type if types.is_dictionary(kind) else kind.storage_type
    if types.is_uint64(kind):
        return KuduColumn(name, KuduType.DECIMAL, nullable=True, precision=20, scale=0)
    if types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return KuduColumn(name, KuduType.DECIMAL, nullable=True, precision=kind.precision, scale=kind.scale)
    if types.is_integer(kind):
        bits = min(64, kind.bit_width * (2 if types.is_unsigned_integer(kind) else 1))
        return KuduColumn(name, KuduType(f"int{bits}"), nullable=True)
    if types.is_timestamp(kind):
        return KuduColumn(name, KuduType.UNIXTIME_MICROS, nullable=True)
    if types.is_date(kind):
        return KuduColumn(name, KuduType.DATE, nullable=True)
    if is_binary(kind):
        return KuduColumn(name, KuduType.BINARY, nullable=True)
    if types.is_boolean(kind):
        return KuduColumn(name, KuduType.BOOL, nullable=True)
    if types.is_floating(kind):
        return KuduColumn(name, KuduType.DOUBLE if types.is_float64(kind) else KuduType.FLOAT, nullable=True)
    return KuduColumn(name, KuduType.STRING, nullable=True)
