"""All rows of the embedded store, whoever else writes or reads them at the same time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pyarrow as pa

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.metadata import to_text
from imagewarehouse.rows.columns import SCHEMA, TABLE
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.reading import read
from imagewarehouse.rows.whole import Mention, Stretch, next_month
from imagewarehouse.text import one_line

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ASKED_AT_ONCE = 20_000  # image_ids of a SELECT, each of which looks through all rows
_PAGE = 5000  # rows of an answer, which may have 64 MiB
_MENTIONS = 50_000  # short rows of an answer
_DELETED_AT_ONCE = 50_000  # keys of a transaction: other processes wait for the file meanwhile
_COLUMNS = ", ".join(Mention._fields)


class WholeLocal:
    """A `WholeTable`. The file is only written to by `delete` and `write`."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Raises ConfigurationError: it is not there, and is not to be made."""
        if not create and not path.is_file():
            raise ConfigurationError("--data", f"{path} does not exist; name the file of rows.database with --database")
        self.path = path
        self.where = str(path)
        self._rows: LocalRows | None = None

    def of_images(self, image_ids: Collection[str]) -> list[Mention]:
        wanted = list(image_ids)
        slices = (wanted[first : first + _ASKED_AT_ONCE] for first in range(0, len(wanted), _ASKED_AT_ONCE))
        return [row for some in slices for row in self._mentions(f"image_id IN ({', '.join(map(_text, some))})")]

    def of_user(self, source_user: str) -> list[Mention]:
        return list(self._mentions(f"source_user = {_text(source_user)}"))

    def last_seen(self, before: datetime) -> Iterator[tuple[str, str]]:
        # An image_id is a sha256, so its first digits cut the table into parts of one size.
        count = self._read(f"SELECT count(*) AS n FROM {TABLE}")["n"][0].as_py()
        digits = 0
        while 16**digits * _MENTIONS < count:
            digits += 1
        for part in range(16**digits):
            beginning = f"{part:0{digits}x}" if digits else ""
            page = self._read(
                f"SELECT image_id, max_by(storage_uri, event_time) FROM {TABLE}"
                f" WHERE starts_with(image_id, '{beginning}') GROUP BY image_id"
                f" HAVING count(storage_uri) > 0 AND max(event_time) < {_moment(before)}"
            )
            yield from zip(*page.to_pydict().values(), strict=True)

    def delete(self, rows: Sequence[Mention]) -> None:
        for first in range(0, len(rows), _DELETED_AT_ONCE):
            some = rows[first : first + _DELETED_AT_ONCE]
            keys = {((row.event_time - _EPOCH) // timedelta(microseconds=1), row.request_id) for row in some}
            self._opened().delete(keys)

    def stretches(self) -> list[Stretch]:
        months = self._read(f"SELECT DISTINCT date_trunc('month', event_time) AS month FROM {TABLE} ORDER BY month")
        return [Stretch(month, next_month(month)) for month in months["month"].to_pylist()]

    def count(self, stretch: Stretch) -> int:
        where = " AND ".join(_within(stretch)) or "true"
        count: int = self._read(f"SELECT count(*) AS n FROM {TABLE} WHERE {where}")["n"][0].as_py()
        return count

    def pages(self, stretch: Stretch) -> Iterator[pa.Table]:
        conditions = _within(stretch)
        after: list[str] = []
        while True:
            where = " AND ".join([*conditions, *after]) or "true"
            page = self._read(
                f"SELECT {', '.join(SCHEMA.names)} FROM {TABLE} WHERE {where} ORDER BY event_time, request_id LIMIT {_PAGE}"
            ).cast(SCHEMA)
            if page.num_rows:
                yield page
            if page.num_rows < _PAGE:
                return
            moment, request_id = _moment(page["event_time"][-1].as_py()), _text(page["request_id"][-1].as_py())
            # The first condition lets DuckDB pass over row groups, which it does not see in the second.
            after = [f"event_time >= {moment}", f"(event_time > {moment} OR request_id > {request_id})"]

    def write(self, rows: pa.Table) -> None:
        self._opened().replace(rows)

    def is_empty(self) -> bool:
        return not self.path.exists() or not self._read(f"SELECT 1 FROM {TABLE} LIMIT 1").num_rows

    def close(self) -> None:
        if self._rows is not None:
            self._rows.close()
            self._rows = None

    def _mentions(self, condition: str) -> Iterator[Mention]:
        after = "true"
        while True:
            page = self._read(
                f"SELECT {_COLUMNS} FROM {TABLE} WHERE {condition} AND {after}"
                f" ORDER BY event_time, request_id LIMIT {_MENTIONS}"
            )
            row = None
            for row in map(Mention._make, zip(*page.to_pydict().values(), strict=True)):
                yield row
            if row is None or page.num_rows < _MENTIONS:
                return
            moment = _moment(row.event_time)
            after = f"event_time >= {moment} AND (event_time > {moment} OR request_id > {_text(row.request_id)})"

    def _opened(self) -> LocalRows:
        if self._rows is None:
            self._rows = LocalRows(self.path)
        return self._rows

    def _read(self, sql: str) -> pa.Table:
        try:
            return read(self.path, sql)
        except duckdb.Error as err:
            raise RowStoreUnavailable(f"{self.path}: {one_line(err)}") from err


def _within(stretch: Stretch) -> list[str]:
    bounds = ((">=", stretch.since), ("<", stretch.until))
    return [f"event_time {sign} {_moment(bound)}" for sign, bound in bounds if bound is not None]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _moment(value: datetime) -> str:
    return f"TIMESTAMPTZ '{to_text(value)}'"
