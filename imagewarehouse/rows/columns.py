"""Image records as Arrow columns: what both row stores are given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from imagewarehouse.metadata import COLUMNS, ColumnType, ImageRecord, from_text, to_text

TABLE = "image_events"
_VECTOR = pa.list_(pa.int8())
_ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "string": pa.string(), "timestamp": pa.timestamp("us", tz="UTC"), "int32": pa.int32(), "int64": pa.int64(),
    "float": pa.float32(), "double": pa.float64(), "vector": _VECTOR,
}  # fmt: skip
# In the DuckDB file alone, beside the text: counting pictures by it neither reads nor hashes 64 characters.
NUMBER = "image_number"
SCHEMA = pa.schema([pa.field(c.name, _ARROW_TYPES[c.type], c.nullable) for c in COLUMNS])


def record_arrays(records: Sequence[ImageRecord]) -> list[pa.Array]:
    """One array for each column of SCHEMA, a cell for each record."""
    return [cell_array([getattr(record, f.name) for record in records], f.type) for f in SCHEMA]


def cell_array(values: Sequence[object], type: pa.DataType) -> pa.Array:
    """An array of a column. Raises pa.ArrowException, ValueError, TypeError or OverflowError for a wrong value."""
    return vectors(values) if type == _VECTOR else pa.array(values, type=type)


def vectors(values: Iterable[object]) -> pa.ListArray:
    """Bytes (or None) as lists of signed numbers. Arrow lays out both alike, so nothing is done number by number."""
    array = pa.array(values, type=pa.binary())
    valid, offsets, data = array.buffers()
    numbers = pa.Array.from_buffers(pa.int8(), 0 if data is None else data.size, [None, data])
    return pa.Array.from_buffers(_VECTOR, len(array), [valid, offsets], children=[numbers])


def vector_texts(column: pa.ListArray | pa.ChunkedArray) -> pa.Array:
    """Vectors as base64, for a store without lists."""
    if column.null_count == len(column):  # as with most rows
        return pa.nulls(len(column), pa.string())
    return pa.array([None if v is None else to_text(v) for v in vector_bytes(column)], pa.string())


def vectors_of_texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The reverse of `vector_texts`. What is no vector is left out: somebody else's program wrote it."""
    return vectors([_vector(text) for text in texts.to_pylist()])


def vector_bytes(column: pa.ListArray | pa.ChunkedArray) -> list[bytes | None]:
    """The reverse of `vectors`."""
    found: list[bytes | None] = []
    for array in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        lists = array.cast(_VECTOR)
        valid, offsets, *_ = lists.buffers()
        data = lists.values.buffers()[1]
        if data is not None:
            data = data.slice(lists.values.offset)
        found += pa.Array.from_buffers(pa.binary(), len(lists), [valid, offsets, data], offset=lists.offset).to_pylist()
    return found


def _vector(text: str | None) -> bytes | None:
    try:
        vector = None if text is None else from_text(text, "vector")
    except ValueError:
        return None
    assert vector is None or isinstance(vector, bytes)
    return vector
