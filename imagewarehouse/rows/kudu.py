"""Image records in Kudu: the table `image_events`, made and kept by the warehouse itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa

from imagewarehouse.errors import WarehouseError
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, RangePolicy, TableSchema
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.metadata import COLUMNS, KEY, ColumnType, ImageRecord
from imagewarehouse.rows.columns import SCHEMA, TABLE, record_arrays

log = logging.getLogger("imagewarehouse.kudu")

_TYPES: dict[ColumnType, KuduType] = {
    "string": KuduType.STRING, "timestamp": KuduType.UNIXTIME_MICROS, "int32": KuduType.INT32, "int64": KuduType.INT64,
    "float": KuduType.FLOAT, "double": KuduType.DOUBLE,
}  # fmt: skip
# Text that is another in every row gains nothing from a dictionary; numbers are bit-shuffled by default, which compresses.
UNIQUE_TEXT = ("request_id", "image_id", "file_name", "fields", "storage_uri", "top_k", "error_detail")
HASH_BUCKETS = 4
_LOOKED_AT = 20_000  # rows of a query; they come cell by cell, about a second
_STRETCHES = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=31), None)


def image_events(
    name: str = TABLE,
    *,
    keep_months: int | None = None,
    months_ahead: int = 2,
    hash_buckets: int = HASH_BUCKETS,
    replicas: int | None = None,
) -> TableSchema:
    """The table of image records: hashed by request_id, with a range of event_time for each month.

    Time comes first in the key, so that a dashboard's time range is one stretch of each tablet and new rows are looked
    up among the newest keys only. Raises ValueError.
    """
    return TableSchema(
        name,
        tuple(_column(name) for name in (*KEY, *(c.name for c in COLUMNS if c.name not in KEY))),
        hashes=(HashPartition(("request_id",), hash_buckets),),
        range_columns=("event_time",),
        policy=RangePolicy("event_time", "month", months_ahead, keep_months),
        replicas=replicas,
        comment="one row for each image request",
    )


def _column(name: str) -> KuduColumn:
    column = next(c for c in COLUMNS if c.name == name)
    unique = name in UNIQUE_TEXT
    return KuduColumn(
        name,
        _TYPES[column.type],
        nullable=column.nullable,
        key=name in KEY,
        encoding="plain" if unique else None,
        compression="lz4" if unique else None,
        comment=column.meaning,
    )


class _Records:
    """Image records as a source of rows."""

    def __init__(self, records: Sequence[ImageRecord]) -> None:
        self._records = records
        self._arrays = record_arrays(records)

    def __len__(self) -> int:
        return len(self._records)

    def batch(
        self, schema: TableSchema, rows: Sequence[int]
    ) -> tuple[RowBatch, Sequence[int], dict[int, WarehouseError]]:
        columns = tuple(ColumnValues(f.name, array) for f, array in zip(SCHEMA, self._arrays, strict=True))
        batch = RowBatch(np.full(len(self), Operation.UPSERT, dtype=np.uint8), columns)
        return (batch if len(rows) == len(self) else batch.take(rows)), rows, {}

    def has_unknown_fields(self, schema: TableSchema) -> bool:
        return False

    def missing_columns(self, schema: TableSchema) -> Sequence[KuduColumn]:
        return ()


class KuduRows:
    """A `RowStore` in Kudu. Thread-safe, made to be called through GroupCommit."""

    def __init__(self, writer: KuduWriter, schema: TableSchema, *, retries: int = 2, backoff_s: float = 0.5) -> None:
        self.writer = writer
        self.sink = TableSink(writer, schema.name, SinkSettings(schema, retries, backoff_s))

    def prepare(self) -> None:
        """Open or make the table ahead of the first row; what is in the way is logged, and the first row tries again."""
        try:
            self.sink.prepare()
        except WarehouseError as err:
            log.warning("table %s: %s", self.sink.table, err)

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        return self.sink.write([_Records(records)])[0]

    def query(self, sql: str) -> pa.Table:
        """A SELECT over the newest 20,000 rows as the table image_events, for a look at what comes in.

        Everything else is Impala's. Raises duckdb.Error, KuduUnavailable.
        """
        import duckdb  # no part of writing

        from imagewarehouse.rows.select import select

        connection = duckdb.connect(config={"threads": 1, "memory_limit": "128MB"})
        connection.register(TABLE, self._newest())
        connection.execute("SET TimeZone='UTC'")
        connection.execute("SET enable_external_access=false")
        return select(connection, sql)

    def sent(self, image_id: str, source_user: str) -> bool:
        """Whether this user has sent this image. Raises KuduUnavailable."""
        equal = {"image_id": image_id, "source_user": source_user}
        return bool(self.writer.scan(self.sink.table, ["request_id"], 1, equal=equal).num_rows)

    def close(self) -> None:
        self.writer.close()

    def _newest(self) -> pa.Table:
        """Rows of the longest stretch of time up to now that has no more than are looked at.

        A scan of Kudu has no order, so that a LIMIT alone would give any rows.
        """
        self.sink.prepare()
        now, newest_rows = datetime.now(timezone.utc), None
        for stretch in _STRETCHES:
            since = (KEY[0], now - stretch) if stretch else None
            rows = self.writer.scan(self.sink.table, SCHEMA.names, _LOOKED_AT + 1, since)
            if newest_rows is not None and rows.num_rows > _LOOKED_AT:
                break
            newest_rows = rows
            if rows.num_rows >= _LOOKED_AT:
                break
        return newest_rows
