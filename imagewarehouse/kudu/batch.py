"""Rows to write to Kudu, by column.

Columns, because that is how they cross cheaply into a client written in another language: a batch costs one crossing
where a row of twelve cells would cost twelve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa

from imagewarehouse.kudu.schema import KuduColumn


class Operation(IntEnum):
    """What to do with a row. The number is the byte that stands for it inside a batch."""

    INSERT = 0
    INSERT_IGNORE = 1
    UPSERT = 2
    UPSERT_IGNORE = 3
    UPDATE = 4
    UPDATE_IGNORE = 5
    DELETE = 6
    DELETE_IGNORE = 7

    @property
    def inserts(self) -> bool:
        """Whether the operation may insert a row, so that required columns need a value."""
        return self <= Operation.UPSERT_IGNORE

    @property
    def deletes(self) -> bool:
        return self >= Operation.DELETE


@dataclass(frozen=True, slots=True)
class ColumnValues:
    """The cells of one column.

    `values`: of the column's `arrow_type`; a null is a NULL. `present`: uint8, 0 where the row says nothing about the
    column, which then keeps its value or takes its default; None where every row has it.
    """

    name: str
    values: pa.Array
    present: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows for one table. `operations`: uint8, an Operation for each row. Raises ValueError on construction."""

    operations: np.ndarray
    columns: tuple[ColumnValues, ...]

    def __post_init__(self) -> None:
        for column in self.columns:
            if len(column.values) != len(self) or (column.present is not None and len(column.present) != len(self)):
                raise ValueError(f"column {column.name}: expected {len(self)} cells, received {len(column.values)}")

    def __len__(self) -> int:
        return len(self.operations)

    def take(self, rows: Sequence[int]) -> RowBatch:
        """The rows of these numbers, in this order."""
        at = np.asarray(rows, dtype=np.int64)
        columns = tuple(
            ColumnValues(c.name, c.values.take(pa.array(at)), None if c.present is None else c.present[at])
            for c in self.columns
        )
        return RowBatch(self.operations[at], columns)


def mismatch(batch: RowBatch, columns: Sequence[KuduColumn]) -> str:
    """Why the batch does not fit these columns: the table was altered after the conversion. Empty where it fits."""
    types = {column.name: column.arrow_type for column in columns}
    for column in batch.columns:
        if column.name not in types:
            return f"column {column.name} is not in the table any more"
        if column.values.type != types[column.name]:
            return f"column {column.name} is of another type now"
    return ""
