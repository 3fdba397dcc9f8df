"""The byte layout of batches for Java and from it, and whether two batches may be sent in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagewarehouse.kudu.batch import ColumnValues, RowBatch


def row_bytes(columns: Sequence[ColumnValues], rows: int) -> np.ndarray:
    """About how many bytes each row takes: 8 a cell, and its text. Rows may differ by a factor of a million."""
    sizes = np.full(rows, 8 * len(columns), dtype=np.int64)
    for column in columns:
        buffers = column.values.buffers()
        if len(buffers) == 3:
            ends = np.frombuffer(buffers[1], dtype=np.int32, count=rows + 1, offset=4 * column.values.offset)
            sizes += ends[1:] - ends[:-1]
    return sizes


def pack(columns: Sequence[ColumnValues], start: int, stop: int) -> tuple[list[int], bytes]:
    """Rows `start` to `stop` as `RowWriter.add` takes them: (layout, cells).

    Six numbers a column: the first row's bit in bitmaps, then where presence, validity, offsets and data begin (-1: absent),
    then what the first offset counts from.
    """
    layout: list[int] = []
    parts: list[Any] = []
    position = 0

    def put(part: Any, size: int) -> int:
        nonlocal position
        at = position
        parts.append(part)
        padding = -size % 8  # numbers are read where they lie
        if padding:
            parts.append(bytes(padding))
        position += size + padding
        return at

    for column in columns:
        values = column.values
        offset = values.offset + start
        buffers = values.buffers()
        present = -1 if column.present is None else put(column.present[start:stop].tobytes(), stop - start)
        first_byte, bit = divmod(offset, 8)
        last_byte = (offset + stop - start + 7) // 8
        validity = offsets = -1
        base = 0
        if buffers[0] is not None and values.null_count:
            validity = put(buffers[0][first_byte:last_byte], last_byte - first_byte)
        if len(buffers) == 3:
            ends = np.frombuffer(buffers[1], dtype=np.int32, count=stop - start + 1, offset=4 * offset)
            base, end = int(ends[0]), int(ends[-1])
            offsets = put(ends.tobytes(), ends.nbytes)
            data = put(b"" if buffers[2] is None else buffers[2][base:end], end - base)
        elif pa.types.is_boolean(values.type):
            data = put(buffers[1][first_byte:last_byte], last_byte - first_byte)
        else:
            width = values.type.bit_width // 8
            data = put(buffers[1][width * offset : width * (offset + stop - start)], width * (stop - start))
        layout += (bit, present, validity, offsets, data, base)
    return layout, b"".join(parts)


def unpack(parts: Sequence[Any], rows: int, types: Sequence[pa.DataType]) -> list[pa.Array]:
    """The columns that `RowReader.next` has given: validity, offsets and data of each, where there are such."""
    buffers = [None if part is None else pa.py_buffer(_copied(part)) for part in parts]
    arrays = []
    for number, arrow_type in enumerate(types):
        validity, offsets, data = buffers[3 * number : 3 * number + 3]
        of_column = [validity, data] if offsets is None else [validity, offsets, data]
        arrays.append(pa.Array.from_buffers(arrow_type, rows, of_column))
    return arrays


def _copied(part: Any) -> bytes:
    return bytes(memoryview(part).cast("B")) if len(part) else b""  # JPype has no view of an empty array


def keys_are_distinct(batches: Sequence[RowBatch], key: Sequence[str]) -> bool:
    """Whether no two rows share a key, so that the order in which their batches arrive does not matter."""
    arrays: dict[str, list[pa.Array]] = {name: [] for name in key}
    for batch in batches:
        for column in batch.columns:
            if column.name in arrays:
                arrays[column.name].append(column.values)
    rows = sum(len(batch) for batch in batches)
    columns = [pa.chunked_array(parts) for parts in arrays.values() if parts]
    if len(columns) != len(key):
        return False
    if any(pc.count_distinct(column, mode="all").as_py() == rows for column in columns):
        return True
    table = pa.Table.from_arrays(columns, names=list(key))
    return int(table.group_by(list(key)).aggregate([]).num_rows) == rows
