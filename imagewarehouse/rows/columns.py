"""Image records as Arrow columns: what both row stores are given."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from imagewarehouse.metadata import COLUMNS, ColumnType, ImageRecord

TABLE = "image_events"
_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "string": pa.string(), "timestamp": pa.timestamp("us", tz="UTC"), "int32": pa.int32(), "int64": pa.int64(),
    "float": pa.float32(), "double": pa.float64(),
}  # fmt: skip
SCHEMA = pa.schema([pa.field(c.name, _ARROW_TYPES[c.type], c.nullable) for c in COLUMNS])


def record_arrays(records: Sequence[ImageRecord]) -> list[pa.Array]:
    """One array for each column of SCHEMA, a cell for each record."""
    return [pa.array([getattr(record, f.name) for record in records], type=f.type) for f in SCHEMA]
