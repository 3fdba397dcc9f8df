"""All rows of the table of image records in Kudu. Its servers choose by time and by text; they have no order."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import starmap

import numpy as np
import pyarrow as pa

from imagewarehouse.errors import KuduNoRange, KuduTableMissing
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import KuduType, Range
from imagewarehouse.kudu.writing.ranges import range_of
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.rows.kudu import as_kudu_has_them, as_records_have_them, image_events
from imagewarehouse.rows.whole import Mention, Stretch

_TIME = "event_time"
_CHOSEN_BY_KUDU = 1000  # images; of more every row is looked at here
_WRITTEN_AT_ONCE = 10_000
_KEY = ("event_time", "request_id")


class WholeKudu:
    """A `WholeTable`."""

    def __init__(self, writer: KuduWriter, table: str, *, create: bool = False) -> None:
        """`create`: the table is made with its first row, if need be. Raises KuduTableMissing, KuduUnavailable."""
        self.where = f"table {table} of Kudu"
        self._writer = writer
        self._table = table
        self._create = create
        self._prepared = False  # to be written to
        if not create:
            writer.schema(table, refresh=True)

    def of_images(self, image_ids: Collection[str]) -> list[Mention]:
        wanted = frozenset(image_ids)
        if len(wanted) > _CHOSEN_BY_KUDU:
            return [row for row in self._all() if row.image_id in wanted]
        return list(self._scan(Mention._fields, one_of=("image_id", sorted(wanted)))) if wanted else []

    def of_user(self, source_user: str) -> list[Mention]:
        return list(self._scan(Mention._fields, equal={"source_user": source_user}))

    def last_seen(self, before: datetime) -> Iterator[tuple[str, str]]:
        young: set[bytes] = set()
        stored: dict[bytes, tuple[datetime, str]] = {}
        for row in self._all():
            if row.image_id is None:
                continue
            image_id = bytes.fromhex(row.image_id)
            if row.event_time >= before:
                young.add(image_id)
            elif row.storage_uri is not None:
                known = stored.get(image_id)
                if known is None or row.event_time > known[0]:
                    stored[image_id] = row.event_time, row.storage_uri
        return ((image_id.hex(), uri) for image_id, (_, uri) in stored.items() if image_id not in young)

    def delete(self, rows: Sequence[Mention]) -> None:
        for first in range(0, len(rows), _WRITTEN_AT_ONCE):
            some = rows[first : first + _WRITTEN_AT_ONCE]
            keys = (
                ColumnValues("event_time", pa.array([row.event_time for row in some], SCHEMA.field("event_time").type)),
                ColumnValues("request_id", pa.array([row.request_id for row in some])),
            )
            self._write(RowBatch(np.full(len(some), Operation.DELETE_IGNORE, dtype=np.uint8), keys))

    def stretches(self) -> list[Stretch]:
        self._writer.schema(self._table, refresh=True)
        parts = self._writer.ranges(self._table)
        with_rows = self._writer.ranges_with_rows(self._table, parts)
        bounds = [
            tuple(None if bound is None else bound[0] for bound in (part.lower, part.upper))
            for part in parts
            if part in with_rows
        ]
        return list(starmap(Stretch, bounds)) if parts else [Stretch(None, None)]

    def count(self, stretch: Stretch) -> int:
        return sum(self._of_day(day, [_TIME]).num_rows for day in _days(stretch))

    def pages(self, stretch: Stretch) -> Iterator[pa.Table]:
        of_table = {column.name for column in self._writer.schema(self._table).columns}
        known = [name for name in SCHEMA.names if name in of_table]  # an earlier release's table has fewer
        for day in _days(stretch):
            since = None if day.since is None else (_TIME, day.since)
            until = None if day.until is None else (_TIME, day.until)
            rows = self._writer.scan(self._table, known, since=since, until=until)
            rows = as_records_have_them(rows)
            for name in set(SCHEMA.names) - set(known):
                rows = rows.append_column(name, pa.nulls(rows.num_rows, SCHEMA.field(name).type))
            rows = rows.select(SCHEMA.names).cast(SCHEMA).sort_by([(name, "ascending") for name in _KEY])
            for first in range(0, rows.num_rows, _WRITTEN_AT_ONCE):
                yield rows.slice(first, _WRITTEN_AT_ONCE)

    def write(self, rows: pa.Table) -> None:
        for first in range(0, rows.num_rows, _WRITTEN_AT_ONCE):
            some = rows.slice(first, _WRITTEN_AT_ONCE).combine_chunks()
            if not self._prepared:
                self._prepare(some)
            columns = as_kudu_has_them(some[name].combine_chunks() for name in SCHEMA.names)
            batch = RowBatch(np.full(some.num_rows, Operation.UPSERT, dtype=np.uint8), columns)
            try:
                self._write(batch)
            except KuduNoRange:
                for part in _months(some):
                    if part not in self._writer.ranges(self._table):
                        self._writer.add_range(self._table, part)
                self._writer.schema(self._table, refresh=True)  # the client remembers which ranges were missing
                self._write(batch)

    def is_empty(self) -> bool:
        try:
            return not self._writer.scan(self._table, _KEY, 1).num_rows
        except KuduTableMissing:
            return True

    def close(self) -> None:
        self._writer.close()

    def _scan(self, columns: Sequence[str], **conditions: object) -> Iterator[Mention]:
        rows = self._writer.scan(self._table, columns, **conditions)  # type: ignore[arg-type]
        return map(Mention._make, zip(*rows.to_pydict().values(), strict=True))

    def _of_day(self, day: Stretch, columns: Sequence[str]) -> pa.Table:
        since = None if day.since is None else (_TIME, day.since)
        until = None if day.until is None else (_TIME, day.until)
        return self._writer.scan(self._table, columns, since=since, until=until)

    def _all(self) -> Iterator[Mention]:
        """Every row, a day at a time, so that they are not in memory at once."""
        for stretch in self.stretches():
            for day in _days(stretch):
                since = None if day.since is None else (_TIME, day.since)
                until = None if day.until is None else (_TIME, day.until)
                yield from self._scan(Mention._fields, since=since, until=until)

    def _write(self, batch: RowBatch) -> None:
        failures = self._writer.write(self._table, [batch])
        for failure in failures:
            if not isinstance(failure.error, KuduNoRange):
                raise failure.error
        if failures:
            raise failures[0].error

    def _prepare(self, rows: pa.Table) -> None:
        """Make the table, or give an earlier release's the columns that it lacks. Raises KuduRefused."""
        declared = image_events(self._table)
        try:
            schema = self._writer.schema(self._table, refresh=True)
        except KuduTableMissing:
            if not self._create:
                raise
            self._writer.create(replace(declared, ranges=tuple(_months(rows))))
            schema = self._writer.schema(self._table, refresh=True)
        names = {column.name for column in schema.columns}
        if missing := [column for column in declared.columns if column.name not in names]:
            self._writer.add_columns(self._table, missing)
            self._writer.schema(self._table, refresh=True)
        self._prepared = True


def _months(rows: pa.Table) -> list[Range]:
    months = {range_of(moment, "month", KuduType.UNIXTIME_MICROS) for moment in rows[_TIME].to_pylist()}
    return sorted(months, key=lambda part: part.lower or ())


def _days(stretch: Stretch) -> Iterator[Stretch]:
    """A stretch in pieces; one without a bound on a side is one piece."""
    since, until = stretch
    if since is None or until is None:
        yield stretch
        return
    while since < until:
        end: datetime = min(since + timedelta(days=1), until)
        yield Stretch(since, end)
        since = end
