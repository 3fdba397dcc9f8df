"""Kudu without an SQL engine: what a question needs is scanned into Arrow, and DuckDB computes.

Kudu's servers choose by time, and send only the columns that are asked for: some hundred thousand rows a second. So that a
dashboard does not fetch a month for each of its figures, days are held in memory, with all columns that figures are made
of: those that are over for a while, since few rows come late; the one that is not over for seconds. Good to about a
million rows in a period; beyond `MOST_ROWS` a question is refused.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from imagewarehouse.analytics.catalog import catalog
from imagewarehouse.analytics.dialects import Dialect, DuckDb
from imagewarehouse.analytics.engines import Asked, Newest
from imagewarehouse.errors import AnalyticsUnavailable, KuduTableMissing, WarehouseError
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.metadata import KEY
from imagewarehouse.rows.columns import SCHEMA, TABLE
from imagewarehouse.rows.kudu import UNIQUE_TEXT
from imagewarehouse.rows.select import select
from imagewarehouse.text import one_line

MOST_ROWS = 3_000_000  # of the days of one question; about 400 MB
MOST_HELD_BYTES = 512 << 20
MOST_HELD_DAYS = 20_000  # two stretches of ten years, and others: also a day without rows takes some memory
_MEMORY = "512MB"  # of DuckDB, beside the rows
_LIVE_S = 2.0  # a day that is not over is held for the panels of one page
_LONGEST_HELD_S = 3600.0
_SHARE_OF_AGE = 24  # a day that ended a day ago is held for an hour: the older it is, the less is added to it
_LATE = timedelta(hours=1)
# Of a scan, each of which costs some milliseconds however few rows it has. After one without any row: twice as many.
_DAYS_AT_ONCE = 8
_SHORT = timedelta(hours=1)  # is scanned as it is, and nothing is held
_NEAR = (timedelta(minutes=1), _SHORT)  # where the newest rows are looked for first
_LOOKED_AT = 20_000

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME, _ID = KEY
# Held as numbers, as they repeat; in every day alike.
_REPEATED = frozenset(field.name for field in SCHEMA if pa.types.is_string(field.type)) - frozenset(UNIQUE_TEXT)


class _Held(NamedTuple):
    rows: pa.Table
    size: int  # bytes; to count them takes longer than to hold them
    until: float  # by the clock


class KuduEngine:
    """An `Engine`."""

    def __init__(
        self, writer: KuduWriter, table: str = TABLE, *, shared: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        """`shared`: somebody else writes with `writer`, and closes it. `clock`: seconds since 1970."""
        self.dialect: Dialect = DuckDb()
        self.table = TABLE  # what DuckDB is shown
        self._writer = writer
        self._shared = shared
        self._of_kudu = table
        self._clock = clock
        self._figures = frozenset[str]().union(*(query.reads for query in catalog().values() if not query.whole))
        self._held: OrderedDict[int, _Held] = OrderedDict()  # by the day's number since 1970, the last used at the end
        self._held_bytes = 0
        self._loading = threading.Lock()
        # One for all questions: making it takes longer than most of them, and they share its memory.
        self._database = duckdb.connect(config={"memory_limit": _MEMORY, "enable_external_access": "false"})
        self._failed: tuple[float, AnalyticsUnavailable] | None = None  # when, and how

    def rows(self, asked: Asked) -> Sequence[tuple[Any, ...]]:
        try:
            if asked.newest is not None:
                found = self._newest(asked, asked.newest)
            else:
                found = self._select(asked.sql, self._table(asked.columns, asked.period.since, asked.period.until))
        except (duckdb.Error, WarehouseError) as err:
            raise err if isinstance(err, AnalyticsUnavailable) else AnalyticsUnavailable(one_line(err)) from err
        return list(zip(*found.to_pydict().values(), strict=True)) if found.num_rows else []

    def close(self) -> None:
        self._drop()
        self._database.close()
        if not self._shared:
            self._writer.close()

    def _select(self, sql: str, rows: pa.Table) -> pa.Table:
        """Raises duckdb.Error."""
        cursor = self._database.cursor()
        cursor.register(TABLE, rows)
        cursor.execute("SET TimeZone='UTC'")
        return select(cursor, sql)

    def _table(self, columns: frozenset[str], since: datetime, until: datetime) -> pa.Table:
        """What DuckDB looks at; it may reach beyond the stretch."""
        if until - since <= _SHORT:
            return self._scan(columns, since, until, MOST_ROWS)
        return self._days(columns, since, until)

    # --- whole rows -----------------------------------------------------------------------------------------------

    def _newest(self, asked: Asked, newest: Newest) -> pa.Table:
        """Those of the last minute or hour, if they are enough; else first which rows it is, then those alone."""
        period = asked.period
        for stretch in _NEAR:
            since = max(period.since, period.until - stretch)
            table = self._read(asked.columns, since, period.until, _LOOKED_AT + 1)
            if table.num_rows > _LOOKED_AT:
                break
            found = self._select(asked.sql, table)
            if found.num_rows >= newest.limit or since == period.since:
                return found
        found, keys = self._of_keys(asked, newest)
        if found.num_rows < keys:  # of a day that is held a row is gone by now, or another
            with self._loading:
                self._drop()
            found, keys = self._of_keys(asked, newest)
        return found

    def _of_keys(self, asked: Asked, newest: Newest) -> tuple[pa.Table, int]:
        """The rows, and how many it should be."""
        keys = self._keys(asked, newest)
        times = keys[_TIME].to_pylist() or [asked.period.since]
        until = max(times) + timedelta(microseconds=1)
        rows = self._read(asked.columns, min(times), until, keys.num_rows, keys[_ID].to_pylist())
        return self._select(asked.sql, rows), keys.num_rows

    def _keys(self, asked: Asked, newest: Newest) -> pa.Table:
        """Of the rows that are asked for: from the newest days on, as far back as it takes."""
        parts = [pa.table({name: pa.array([], SCHEMA.field(name).type) for name in KEY})]
        until, length = asked.period.until, _DAY
        while until > asked.period.since and sum(part.num_rows for part in parts) < newest.limit:
            # From a midnight on, so that no row is in two parts.
            since = max(asked.period.since, _EPOCH + (_day(until, up=True) * _DAY - length))
            table = self._days(newest.columns, since, until)
            for name in sorted(asked.columns - newest.columns):  # only shown
                table = _with(table, name)
            parts.append(self._select(asked.sql, table).select(KEY).cast(parts[0].schema))
            until, length = since, 2 * length
        return pa.concat_tables(parts).slice(0, newest.limit)

    # --- days -----------------------------------------------------------------------------------------------------

    def _days(self, columns: frozenset[str], since: datetime, until: datetime) -> pa.Table:
        """The rows of all days (UTC) that the stretch has a part in."""
        began = self._clock()
        with self._loading:
            if self._failed is not None and self._failed[0] >= began:
                raise self._failed[1]  # while this question waited; it would wait as long for the same
            try:
                return self._loaded(range(_day(since), _day(until, up=True)), columns | {_TIME})
            except AnalyticsUnavailable:
                raise
            except WarehouseError as err:
                self._failed = self._clock(), AnalyticsUnavailable(one_line(err))
                raise

    def _loaded(self, numbers: range, columns: frozenset[str]) -> pa.Table:
        now = self._clock()
        days: dict[int, pa.Table] = {}
        missing: dict[int, frozenset[str]] = {}  # and the columns that it is to have
        for number in numbers:
            held = self._held.get(number)
            names = frozenset(held.rows.column_names if held is not None and held.until > now else ())
            if held is not None and names >= columns:
                self._held.move_to_end(number)
                days[number] = held.rows
            else:
                missing[number] = names | columns | self._figures
        remaining = MOST_ROWS - sum(rows.num_rows for rows in days.values())
        numbers_missing, at_once = sorted(missing), _DAYS_AT_ONCE
        while numbers_missing:
            run = _first_run(numbers_missing, at_once)
            del numbers_missing[: len(run)]
            wanted = frozenset[str]().union(*(missing[number] for number in run))
            rows = self._scan(wanted, _EPOCH + run.start * _DAY, _EPOCH + run.stop * _DAY, remaining)
            remaining -= rows.num_rows
            at_once = _DAYS_AT_ONCE if rows.num_rows else 2 * at_once
            for number, of_day in _by_day(rows, run):
                days[number] = of_day
                self._hold(number, of_day, now)
        return pa.concat_tables([days[number].select(sorted(columns)) for number in numbers])

    def _hold(self, number: int, rows: pa.Table, now: float) -> None:
        over = now - ((number + 1) * _DAY + _LATE).total_seconds()
        until = now + (_LIVE_S if over < 0 else min(over / _SHARE_OF_AGE, _LONGEST_HELD_S))
        if number in self._held:
            self._held_bytes -= self._held.pop(number).size
        self._held[number] = _Held(rows, rows.nbytes if rows.num_rows else 0, until)
        self._held_bytes += self._held[number].size
        while self._held_bytes > MOST_HELD_BYTES or len(self._held) > MOST_HELD_DAYS:
            self._held_bytes -= self._held.popitem(last=False)[1].size

    def _drop(self) -> None:
        self._held.clear()
        self._held_bytes = 0

    # --- Kudu -----------------------------------------------------------------------------------------------------

    def _scan(self, columns: frozenset[str], since: datetime, until: datetime, most: int) -> pa.Table:
        """Raises AnalyticsUnavailable where there are more rows."""
        rows = self._read(columns, since, until, most + 1)
        if rows.num_rows > most:
            raise AnalyticsUnavailable(
                f"more than {MOST_ROWS:,} rows to look at; ask for less time, or by an SQL engine"
            )
        return rows

    def _read(
        self,
        columns: frozenset[str],
        since: datetime,
        until: datetime,
        limit: int,
        ids: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows with the columns in the order of their names. A table that is not there has none: the first row makes it."""
        names = sorted(columns | {_TIME})
        try:
            known = {column.name for column in self._writer.schema(self._of_kudu).columns}
            if not known.issuperset(names):  # it is of an earlier release, or was altered since
                known = {column.name for column in self._writer.schema(self._of_kudu, refresh=True).columns}
            rows = self._writer.scan(
                self._of_kudu,
                [name for name in names if name in known],
                limit,
                since=(_TIME, since),
                until=(_TIME, until),
                one_of=None if ids is None else (_ID, ids),
            )
        except KuduTableMissing:
            rows = pa.table({_TIME: pa.array([], SCHEMA.field(_TIME).type)})
        for name in names:
            if name not in rows.column_names:
                rows = _with(rows, name)
        return rows.select(names)


def _with(rows: pa.Table, name: str) -> pa.Table:
    """And this column, without values."""
    return rows.append_column(name, pa.nulls(rows.num_rows, SCHEMA.field(name).type))


def _day(moment: datetime, *, up: bool = False) -> int:
    """The number of its day since 1970; `up`: of the next one, unless it begins then."""
    return -((_EPOCH - moment) // _DAY) if up else (moment - _EPOCH) // _DAY


def _first_run(numbers: Sequence[int], most: int) -> range:
    """The first days that follow each other, `most` of them at most."""
    end = 1
    while end < min(len(numbers), most) and numbers[end] == numbers[end - 1] + 1:
        end += 1
    return range(numbers[0], numbers[0] + end)


def _by_day(rows: pa.Table, run: range) -> Iterator[tuple[int, pa.Table]]:
    """Each day's rows in memory of their own, so that it can be let go of alone."""
    for name in _REPEATED.intersection(rows.column_names):
        number = rows.column_names.index(name)
        rows = rows.set_column(number, name, rows[name].combine_chunks().dictionary_encode())
    days = rows[_TIME].cast(pa.int64()).to_numpy() // (86_400 * 1_000_000)
    order = np.argsort(days, kind="stable")
    bounds = np.searchsorted(days, np.arange(run.start, run.stop + 1), sorter=order)
    none = rows.schema.empty_table()
    for number, (first, end) in zip(run, pairwise(bounds), strict=True):
        yield number, rows.take(pa.array(order[first:end])) if end > first else none
