"""Converts values and columns for kudu-python."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.errors import KuduRefused
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema

_NAIVE_EPOCH = datetime(1970, 1, 1)  # taken as UTC by kudu-python, and faster than one that says so
FIRST_MICROS, LAST_MICROS = (  # of Python's datetime, the only thing that kudu-python takes for a time
    (end.replace(tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    for end in (datetime.min, datetime.max)
)
# kudu-python takes Decimal apart in the context of the thread, whose 28 digits would round one of 38.
EVERY_DIGIT = Context(prec=40)
_EXACT = Context(prec=40, traps=[Inexact, InvalidOperation])
# The numbers are those of Kudu's protocol (common.proto), the names those that kudu-python takes.
ENCODINGS = ("auto", "plain", "prefix", "group_varint", "rle", "dict", "bit_shuffle")
_ENCODING_NAMES = {name: name for name in ENCODINGS if name != "group_varint"} | {"bit_shuffle": "bitshuffle"}
COMPRESSIONS = ("default", "none", "snappy", "lz4", "zlib")
TEXTS = (KuduType.STRING, KuduType.VARCHAR, KuduType.BINARY)


def kudu_cells(values: pa.Array, column: KuduColumn) -> list[Any]:
    """Cells as kudu-python takes them."""
    if column.type is KuduType.UNIXTIME_MICROS:
        zero = _NAIVE_EPOCH
        return [
            None
            if micros is None or not FIRST_MICROS <= micros <= LAST_MICROS
            else zero + timedelta(microseconds=micros)
            for micros in values.cast(pa.int64()).to_pylist()
        ]
    if column.type in (KuduType.STRING, KuduType.VARCHAR):
        return list(values.cast(pa.binary()).to_pylist())  # it would only encode the text again
    return list(values.to_pylist())


def cell_sizes(values: pa.Array) -> Any:
    """Bytes of each cell, about as the client counts them."""
    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) + 16
    return max(1, values.type.bit_width // 8)


def _kudu_value(value: Any, column: KuduColumn) -> Any:
    """A default or a bound as kudu-python takes it: it ignores the scale of the column."""
    if column.type is KuduType.DECIMAL:
        return value.quantize(Decimal(1).scaleb(-(column.scale or 0)), context=_EXACT)
    return value


def kudu_bound(schema: TableSchema, values: tuple[Any, ...] | None) -> dict[str, Any] | None:
    if not values:
        return None
    return {name: _kudu_value(v, schema.column(name)) for name, v in zip(schema.range_columns, values, strict=True)}


def describe_column(spec: Any, column: KuduColumn) -> None:
    """Set the options of a new column beyond name, type and nullability."""
    if column.auto_incrementing:
        raise KuduRefused(f"column {column.name}: the server makes it, nobody else")
    if column.type is KuduType.DECIMAL:
        spec.precision(column.precision).scale(column.scale or 0)
    elif column.type is KuduType.VARCHAR:
        spec.length(column.length)
    if column.encoding is not None:
        if column.encoding not in _ENCODING_NAMES:
            raise KuduRefused(f"column {column.name}: kudu-python has no encoding {column.encoding}")
        spec.encoding(_ENCODING_NAMES[column.encoding])
    if column.compression is not None:
        spec.compression(column.compression)
    if column.default is not None:
        spec.default(_kudu_value(column.default, column))
    if column.immutable:
        spec.mutable(False)
    if column.comment:
        spec.comment(column.comment)


def decimal_bytes(column: KuduColumn) -> int:
    """Bytes that Kudu keeps a decimal of this precision in."""
    precision = column.precision or 0
    return 4 if precision <= 9 else 8 if precision <= 18 else 16
