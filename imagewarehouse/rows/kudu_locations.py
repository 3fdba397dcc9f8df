"""The places of packed images in Kudu: a table beside that of the image records, shared by all nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from imagewarehouse.errors import KuduAlreadyPresent, KuduTableMissing, RowRejected, RowStoreUnavailable, WarehouseError
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, TableSchema
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.places import Known, Move
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.kudu import HASH_BUCKETS

LOCATIONS_TABLE = "image_locations"
_ASKED_AT_ONCE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def locations_table(rows_table: str = TABLE) -> str:
    """The name of the table beside that of the image records: `image_locations` for `image_events`.

    Two warehouses on one Kudu have two tables of rows, and the place of an image in one of them says nothing of the other.
    """
    before, found, after = rows_table.rpartition(TABLE)
    return f"{before}{LOCATIONS_TABLE}{after}" if found else f"{rows_table}_locations"


def image_locations(name: str = LOCATIONS_TABLE, *, replicas: int | None = None) -> TableSchema:
    """The table, hashed by the image's id, which is looked up by nothing else."""
    return TableSchema(
        name,
        (
            KuduColumn("image_id", KuduType.STRING, key=True, encoding="plain", compression="lz4"),
            KuduColumn("uri", KuduType.STRING, encoding="prefix", compression="lz4", comment="pack and bytes"),
            KuduColumn("forgotten_at", KuduType.UNIXTIME_MICROS, nullable=True),
        ),
        hashes=(HashPartition(("image_id",), HASH_BUCKETS),),
        replicas=replicas,
        comment="where images lie that are in packs",
    )


class _Rows:
    """Rows of the table as a source: the same operation for all."""

    def __init__(self, operation: Operation, columns: Mapping[str, Sequence[Any]]) -> None:
        types = {column.name: column.arrow_type for column in image_locations().columns}
        arrays = (ColumnValues(name, pa.array(values, types[name])) for name, values in columns.items())
        count = len(columns["image_id"])
        self._batch = RowBatch(np.full(count, operation, dtype=np.uint8), tuple(arrays))

    def __len__(self) -> int:
        return len(self._batch)

    def batch(
        self, schema: TableSchema, rows: Sequence[int]
    ) -> tuple[RowBatch, Sequence[int], dict[int, WarehouseError]]:
        return (self._batch if len(rows) == len(self) else self._batch.take(rows)), rows, {}

    def has_unknown_fields(self, schema: TableSchema) -> bool:
        return False

    def missing_columns(self, schema: TableSchema) -> Sequence[KuduColumn]:
        return ()


class KuduLocations:
    """A `Locations`. Kudu has no condition on a write but whether the key is there, so each change says as little as it can.

    The writer is not its own: `close` leaves it open.
    """

    def __init__(self, writer: KuduWriter, schema: TableSchema, *, retries: int = 2, backoff_s: float = 0.5) -> None:
        self._writer = writer
        self._sink = TableSink(writer, schema.name, SinkSettings(schema, retries, backoff_s))

    def __str__(self) -> str:
        return f"Kudu's table {self._sink.table}"

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        found: dict[str, Known] = {}
        remaining = iter(image_ids)
        while some := list(islice(remaining, _ASKED_AT_ONCE)):
            found |= self._scan(one_of=("image_id", some))
        return found

    def add(self, places: Mapping[str, str]) -> None:
        # Nearly all of them are new, and an insert says of each whether it is: only the others have to be looked up.
        present = self._write(Operation.INSERT, {"image_id": list(places), "uri": list(places.values())})
        again = [image_id for image_id, known in self.find(present).items() if known.forgotten_at is not None]
        if again:
            uris = [places[image_id] for image_id in again]
            self._write(Operation.UPSERT, {"image_id": again, "uri": uris, "forgotten_at": [None] * len(again)})

    def move(self, moves: Sequence[Move]) -> None:
        known = self.find(move.image_id for move in moves)
        new = [move for move in moves if move.image_id not in known]
        self._write(
            Operation.INSERT_IGNORE, {"image_id": [move.image_id for move in new], "uri": [move.new for move in new]}
        )
        # The place alone: who forgets an image at this moment is not undone by it.
        moved = [move for move in moves if known.get(move.image_id) == Known(move.old)]
        self._write(
            Operation.UPDATE_IGNORE,
            {"image_id": [move.image_id for move in moved], "uri": [move.new for move in moved]},
        )

    def forget(self, image_ids: Iterable[str], when: datetime) -> None:
        known = list(self.find(image_ids))
        self._write(Operation.UPDATE_IGNORE, {"image_id": known, "forgotten_at": [when] * len(known)})

    def forgotten(self) -> dict[str, Known]:
        return self._scan(since=("forgotten_at", _EPOCH))  # a NULL is not from any time on

    def drop(self, image_ids: Iterable[str]) -> None:
        gone = [image_id for image_id, known in self.find(image_ids).items() if known.forgotten_at is not None]
        self._write(Operation.DELETE_IGNORE, {"image_id": gone})

    def close(self) -> None:
        """Nothing is open that is its own."""

    def _scan(self, **choice: Any) -> dict[str, Known]:
        try:
            rows = self._writer.scan(self._sink.table, ["image_id", "uri", "forgotten_at"], **choice)
        except KuduTableMissing:  # it is made with the first place
            return {}
        except RowRejected as err:  # not authorized, say: images wait until an operator has seen to it
            raise RowStoreUnavailable(str(err)) from err
        columns = [rows[name].to_pylist() for name in ("image_id", "uri", "forgotten_at")]
        return {image_id: Known(uri, moment) for image_id, uri, moment in zip(*columns, strict=True)}

    def _write(self, operation: Operation, columns: Mapping[str, Sequence[Any]]) -> list[str]:
        """Gives the ids that were there already, of an INSERT. Raises RowStoreUnavailable."""
        image_ids: Sequence[str] = columns["image_id"]
        if not image_ids:
            return []
        present: list[str] = []
        (outcomes,) = self._sink.write([_Rows(operation, columns)])
        for image_id, error in zip(image_ids, outcomes, strict=True):
            if isinstance(error, KuduAlreadyPresent):
                present.append(image_id)
            elif error is not None:
                raise error if isinstance(error, RowStoreUnavailable) else RowStoreUnavailable(str(error)) from error
        return present
