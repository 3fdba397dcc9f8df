"""Every panel's figures on Kudu without an SQL engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, cast
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from imagewarehouse.analytics import kudu_scan
from imagewarehouse.analytics.kudu_scan import KuduEngine
from imagewarehouse.analytics.panels import PANELS, Request
from imagewarehouse.analytics.periods import between
from imagewarehouse.errors import AnalyticsUnavailable, KuduTableMissing, KuduUnavailable, WarehouseError
from imagewarehouse.ids import new_request_id
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.kudu.schema import TableSchema
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.columns import SCHEMA, record_arrays
from imagewarehouse.rows.kudu import image_events
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import analytics_rows
from tests.analytics_kudu import filled
from tests.analytics_suite import check, check_pages, each_panel, each_request
from tests.conftest import until


@pytest.fixture(scope="module")
def found() -> Sequence[ImageRecord]:
    return analytics_rows.records()


@pytest.fixture(scope="module")
def engine(kudu: LocalKudu, found: Sequence[ImageRecord]) -> Iterator[KuduEngine]:
    with filled(kudu.masters, found) as table:
        engine = KuduEngine(connect(KuduSettings(masters=kudu.masters)), table)
        yield engine
        engine.close()


@each_request
@each_panel
def test_figures(engine: KuduEngine, found: Sequence[ImageRecord], panel: str, asked: Request) -> None:
    check(engine, panel, asked, found)


def test_pages(engine: KuduEngine, found: Sequence[ImageRecord]) -> None:
    check_pages(engine, found)


# --- what is held, over a Kudu that counts ------------------------------------------------------------------------

NOW = datetime(2026, 10, 26, 14, 20, tzinfo=timezone.utc)
DAY = timedelta(days=1)


class Counting:
    """A `KuduWriter` as far as scans go: the rows of a list, and what was asked of them."""

    def __init__(self, *found: ImageRecord) -> None:
        self.found = list(found)
        self.scans: list[tuple[frozenset[str], datetime, datetime]] = []
        self.error: WarehouseError | None = None
        self.columns = image_events().columns

    def schema(self, table: str, *, refresh: bool = False) -> TableSchema:
        return replace(image_events(table), columns=self.columns)

    def scan(
        self, table: str, columns: Sequence[str], limit: int, *, since: Any, until: Any, one_of: Any = None
    ) -> pa.Table:
        self.scans.append((frozenset(columns), since[1], until[1]))
        if self.error is not None:
            raise self.error
        chosen = [r for r in self.found if since[1] <= r.event_time < until[1]]
        if one_of is not None:
            chosen = [r for r in chosen if getattr(r, one_of[0]) in one_of[1]]
        arrays = record_arrays(chosen[:limit])
        return pa.Table.from_arrays(arrays, schema=SCHEMA).select(list(columns))

    def close(self) -> None: ...


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> float:
        return self.at.timestamp()


Record = Callable[..., ImageRecord]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def on(record: Record, moment: datetime, **values: Any) -> ImageRecord:
    return record(event_time=moment, request_id=new_request_id(moment), **values)


def days(first: int, last: int = 0) -> Request:
    """Whole days back from today."""
    midnight = NOW.replace(hour=0, minute=0)
    return Request(period=between(midnight - first * DAY, midnight - (last - 1) * DAY), tz=ZoneInfo("UTC"))


def images(engine: KuduEngine, asked: Request) -> int:
    (row,) = [row for row in PANELS["totals"](engine, asked).rows if row[0] == "images"]
    return int(row[1])


def test_days_are_held_the_longer_the_older_they_are(record: Record, clock: Clock) -> None:
    kudu = Counting(on(record, NOW - 9 * DAY))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    asked = days(1)  # 25 and 26 October; compared with 23 and 24
    for waited_s, again in ((0, [23, 24, 25, 26]), (1, []), (3, [26]), (2100, [25, 26]), (3601, [23, 24, 26])):
        clock.at = NOW + timedelta(seconds=waited_s)
        kudu.scans.clear()
        images(engine, asked)
        scanned = sorted({(start + n * DAY).day for _, start, end in kudu.scans for n in range((end - start) // DAY)})
        assert scanned == again, waited_s


def test_what_one_panel_has_fetched_the_others_find(record: Record, clock: Clock) -> None:
    kudu = Counting(on(record, NOW - 2 * DAY))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    for panel in PANELS:
        if panel != "latest":
            PANELS[panel](engine, days(4))
    asked_for = [start + n * DAY for _, start, end in kudu.scans for n in range((end - start) // DAY)]
    assert len(asked_for) == len(set(asked_for)) == 10


def test_newest_rows_of_a_busy_table_come_from_its_last_minute(record: Record, clock: Clock) -> None:
    kudu = Counting(*(on(record, NOW - timedelta(seconds=n)) for n in range(1, 60)))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    asked = Request(period=between(NOW - 30 * DAY, NOW), tz=ZoneInfo("UTC"), limit=50)
    assert len(PANELS["latest"](engine, asked).rows) == 50
    assert [until - since for _, since, until in kudu.scans] == [timedelta(minutes=1)]


def test_row_that_is_gone_since_its_day_was_fetched_leaves_no_hole(record: Record, clock: Clock) -> None:
    kudu = Counting(*(on(record, NOW - 2 * DAY + timedelta(minutes=n)) for n in range(20)))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    asked = Request(period=between(NOW - 5 * DAY, NOW), tz=ZoneInfo("UTC"), limit=10)
    PANELS["latest"](engine, asked)
    gone = [kudu.found.pop().request_id for _ in range(3)]
    given = [row[1] for row in PANELS["latest"](engine, asked).rows]
    assert len(given) == 10
    assert not {*gone}.intersection(given)


def test_more_rows_than_it_is_good_for_are_refused(
    record: Record, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kudu_scan, "MOST_ROWS", 30)
    kudu = Counting(*(on(record, NOW - n * timedelta(hours=1)) for n in range(40)))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    assert images(engine, days(0)) == 15
    with pytest.raises(AnalyticsUnavailable, match="more than 30 rows"):
        images(engine, days(2))
    assert images(engine, days(0)) == 15


def test_memory_is_bounded(record: Record, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    kudu = Counting(*(on(record, NOW - n * timedelta(hours=1)) for n in range(200)))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    images(engine, days(9))
    whole = sum(held.rows.nbytes for held in engine._held.values())
    monkeypatch.setattr(kudu_scan, "MOST_HELD_BYTES", whole // 3)
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    assert images(engine, days(9)) == 200
    assert 0 < sum(held.rows.nbytes for held in engine._held.values()) <= whole // 3


def test_days_held_are_bounded_also_without_rows(record: Record, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kudu_scan, "MOST_HELD_DAYS", 40)
    kudu = Counting(on(record, NOW))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    assert images(engine, days(100)) == 1
    assert len(engine._held) == 40
    assert engine._held_bytes == sum(held.size for held in engine._held.values())


def test_ten_years_in_which_little_came_take_moments(record: Record, clock: Clock) -> None:
    kudu = Counting(on(record, NOW - 3000 * DAY), on(record, NOW - 20 * DAY), on(record, NOW))
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    started = time.monotonic()
    assert images(engine, days(3600)) == 3
    assert time.monotonic() - started < 30  # it was hours
    assert len(kudu.scans) < 60


def test_table_of_an_earlier_release_lacks_columns(record: Record, clock: Clock) -> None:
    kudu = Counting(on(record, NOW - DAY, source_user="camera-1"))
    kudu.columns = tuple(column for column in kudu.columns if column.name != "source_user")
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    assert [row[:3] for row in PANELS["sources"](engine, days(5)).rows] == [(None, None, 1)]
    assert len(PANELS["latest"](engine, days(5)).rows) == 1


@pytest.mark.parametrize("panel", sorted(PANELS))
def test_table_that_is_not_there_yet_has_no_rows(clock: Clock, panel: str) -> None:
    kudu = Counting()
    kudu.error = KuduTableMissing("no such table")
    check(KuduEngine(cast(KuduWriter, kudu), clock=clock), panel, days(5), [])


def test_kudu_that_does_not_answer_is_told_to_all_who_wait(clock: Clock) -> None:
    kudu = Counting()
    kudu.error = KuduUnavailable("timed out")
    engine = KuduEngine(cast(KuduWriter, kudu), clock=clock)
    with engine._loading, ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(images, engine, days(3)) for _ in range(4)]
        assert until(lambda: len(pool._threads) == 4)
        time.sleep(0.1)
        engine._loading.release()
        for each in waiting:
            with pytest.raises(AnalyticsUnavailable, match="timed out"):
                each.result()
        engine._loading.acquire()
    assert len(kudu.scans) == 1
    clock.at += timedelta(seconds=1)
    kudu.error = None
    assert images(engine, days(3)) == 0
