"""Range partitions: rows outside of them, months that are made and dropped, clocks that are wrong."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import pytest

from imagewarehouse.errors import KuduUnavailable
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, RangePolicy, TableSchema
from imagewarehouse.kudu.writing.ranges import range_of
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.kudu.writing.tables import Put
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_faults
from tests.conftest import Hosted
from tests.kudu_faults import KEY, NO_RANGE, TEXT, Record, content, fresh, make, month, reported, rows_of
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
open_writer = kudu_faults.open_writer
put = kudu_faults.put
writer = kudu_faults.writer


# --- range partitions -------------------------------------------------------------------------------------------------

AT = KuduColumn("at", KuduType.UNIXTIME_MICROS, key=True)


def monthly(ahead: int = 1, keep: int | None = None) -> TableSchema:
    return fresh(TEXT, key=(AT, KEY), hashes=(HashPartition(("key",), 2),), range_columns=("at",),
                 policy=RangePolicy("at", "month", ahead, keep))  # fmt: skip


def months(writer: KuduWriter, table: str) -> list[tuple[int, int]]:
    """Year and month of each range of a table."""
    found = [part.lower[0] for part in writer.ranges(table) if part.lower]
    return [(lower.year, lower.month) for lower in found]


def write(sink: TableSink, *rows: Record) -> list[str | None]:
    """Code of each row's error, None where it is written."""
    (outcomes,) = sink.write([Put(sink.table, rows_of(rows))])
    return [None if outcome is None else outcome.code for outcome in outcomes]


@dataclass
class Clock:
    moment: datetime

    def __call__(self) -> datetime:
        return self.moment


def test_row_outside_of_every_range_is_bad_alone(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    bounds = Range((month(1),), (month(2),))
    table = make(writer, TEXT, key=(AT, KEY), range_columns=("at",), ranges=(bounds,))
    rows = [{"at": month(number % 3 + 1, 5).isoformat(), "key": number} for number in range(300)]
    left = put(table).transform(content(rows))
    assert reported(left) == [(number, NO_RANGE) for number in range(300) if number % 3]
    assert writer.count(table) == 100


def test_months_are_made_before_their_rows_come(writer: KuduWriter) -> None:
    schema = monthly(ahead=1)
    clock = Clock(month(1, 15))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    assert write(sink, {"at": month(1), "key": 1}, {"at": month(12, year=2025), "key": 1}) == [None, None]
    assert months(writer, schema.name) == [(2025, 12), (2026, 1), (2026, 2)]
    assert write(sink, {"at": month(3), "key": 1}, {"at": month(2), "key": 1}) == [NO_RANGE, None]
    clock.moment = month(2, 1)
    assert write(sink, {"at": month(2), "key": 2}) == [None]
    assert months(writer, schema.name)[-1] == (2026, 3)
    assert write(sink, {"at": month(3), "key": 1}) == [None]  # although it was refused a moment ago


def test_month_that_upkeep_was_too_late_for_is_made_for_the_row_that_needs_it(writer: KuduWriter) -> None:
    schema = monthly(ahead=0)
    clock = Clock(month(1, 15))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1), now=clock)
    assert write(sink, {"at": month(1), "key": 1}) == [None]
    clock.moment = month(5, 1)
    rows = [{"at": month(number), "key": 1} for number in (5, 4, 1)]
    assert write(sink, *rows) == [None, NO_RANGE, None]
    assert months(writer, schema.name) == [(2025, 12), (2026, 1), (2026, 5)]


def test_range_that_another_node_makes_is_found_after_a_failure(
    writer: KuduWriter, kudu: LocalKudu, put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter]
) -> None:
    table = make(writer, TEXT, key=(AT, KEY), range_columns=("at",), ranges=(Range((month(1),), (month(2),)),))
    processor = put(table)
    rows = content([{"at": month(1, 5).isoformat(), "key": 1}, {"at": month(2, 5).isoformat(), "key": 2}])
    assert reported(processor.transform(rows)) == [(1, NO_RANGE)]
    assert open_writer(kudu.masters).add_range(table, Range((month(2),), (month(3),)))
    assert processor.transform(rows).relationship == "success"
    assert writer.count(table) == 2


def test_retention_drops_what_is_past_it_and_nothing_else(writer: KuduWriter) -> None:
    schema = monthly(ahead=1, keep=2)
    clock = Clock(month(1, 15, year=2016))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    for number in range(1, 7):
        clock.moment = month(number, 28, year=2016)
        assert write(sink, {"at": month(number, 27, year=2016), "key": number}) == [None]
        kept = [(2015, 12) if n == 0 else (2016, n) for n in range(max(0, number - 2), number + 2)]
        assert months(writer, schema.name) == kept
        found = [key for (key,) in stored(writer, schema.name, "key")]
        assert found == list(range(max(1, number - 2), number + 1))
    late = {"at": month(1, year=2016), "key": 1}
    assert write(sink, late, {"at": month(6, year=2016), "key": 7}) == [NO_RANGE, None]


def test_rows_from_before_a_pause_go_once_those_after_it_fill_more_months_than_are_kept(writer: KuduWriter) -> None:
    schema = monthly(ahead=0, keep=2)
    clock = Clock(month(3, 15, year=2016))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    assert write(sink, {"at": clock.moment, "key": 2016}) == [None]
    for number in range(1, 5):
        clock.moment = month(number, 15, year=2020)  # nothing was written for years
        assert (2016, 3) in months(writer, schema.name)
        assert write(sink, {"at": clock.moment, "key": number}) == [None]
    assert months(writer, schema.name) == [(2020, 2), (2020, 3), (2020, 4)]
    assert stored(writer, schema.name, "key") == [(2,), (3,), (4,)]


class Told:
    """A writer to whom the cluster tells another time."""

    def __init__(self, writer: KuduWriter, clock: Callable[[], datetime | None]) -> None:
        self._writer, self.clock = writer, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


def with_months(writer: KuduWriter, keep: int, *moments: datetime) -> TableSchema:
    """A table with a row in each of these months, its number as the key."""
    schema = monthly(ahead=1, keep=keep)
    ranges = tuple(range_of(at, "month", KuduType.UNIXTIME_MICROS) for at in moments)
    assert writer.create(replace(schema, policy=None, ranges=ranges))
    rows = [{"at": at, "key": number} for number, at in enumerate(moments)]
    assert write(TableSink(writer, schema.name, SinkSettings()), *rows) == [None] * len(rows)
    return schema


def back(now: datetime, number: int) -> datetime:
    """The middle of the month that is so many before that of `now`."""
    count = 12 * now.year + now.month - 1 - number
    return datetime(count // 12, count % 12 + 1, 15, tzinfo=timezone.utc)


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The errors logged since they were asked for last."""
    found = [record.message for record in caplog.records if record.levelname == "ERROR"]
    caplog.clear()
    return found


def test_clock_years_ahead_drops_no_rows_that_the_right_clock_keeps(
    writer: KuduWriter, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(timezone.utc)
    schema = with_months(writer, 2, *(back(now, number) for number in (2, 1, 0)))
    settings, clock = SinkSettings(schema, 0, 0.1, range_check_s=0), Clock(now.replace(year=now.year + 5, day=1))
    live = months(writer, schema.name)
    wrong = TableSink(writer, schema.name, settings, now=clock)
    wrong.prepare()
    (error,) = refusals(caplog)
    assert error.startswith(
        f"table {schema.name}: range partitions with rows are not dropped: {back(now, 2):%Y-%m-01} to "
    )
    assert f"this node's clock, {clock.moment:%Y-%m-%dT%H:%M:%SZ}" in error
    assert f"the newest rows that count are of {now:%Y-%m}." in error
    assert f"imagewarehouse table partitions {schema.name} --drop-before {back(now, -1):%Y-%m}" in error
    # Rows that come with the wrong time, as many months as are kept, change nothing about it.
    for number in range(3):
        clock.moment = back(now, -60 - number)
        assert write(wrong, {"at": clock.moment, "key": 100 + number}) == [None]
        assert len(refusals(caplog)) == 1
        assert months(writer, schema.name)[:3] == live
    # What the right clock keeps is kept, and what it does not is dropped, by either node.
    old = [back(now, number) for number in (4, 3)]
    for at in old:
        assert writer.add_range(schema.name, range_of(at, "month", KuduType.UNIXTIME_MICROS))
    backfill = TableSink(writer, schema.name, SinkSettings())
    assert write(backfill, *({"at": at, "key": 200} for at in old)) == [None, None]
    TableSink(writer, schema.name, settings).prepare()
    assert refusals(caplog) == []
    assert months(writer, schema.name)[:3] == live
    assert {key for (key,) in stored(writer, schema.name, "key")} == {0, 1, 2, 100, 101, 102}


@pytest.mark.parametrize("told", [True, False], ids=["kudu-is-wrong-too", "kudu-tells-nothing"])
def test_rows_alone_keep_a_clock_years_ahead_from_dropping_them(
    writer: KuduWriter, caplog: pytest.LogCaptureFixture, told: bool
) -> None:
    schema = with_months(writer, 2, *(month(number, 15, year=2016) for number in (1, 2, 6, 7, 8)))
    clock = Clock(month(5, 15, year=2031))
    kudu = Told(writer, clock if told else lambda: None)
    sink = TableSink(kudu, schema.name, SinkSettings(schema, 0, 0.1, range_check_s=0), now=clock)
    before = months(writer, schema.name)
    sink.prepare()
    assert len(refusals(caplog)) == 1
    assert write(sink, {"at": clock.moment, "key": 100}) == [None]
    assert len(refusals(caplog)) == 1
    assert months(writer, schema.name) == [*before, (2031, 5), (2031, 6)]
    clock.moment = month(8, 31, year=2016)
    sink.prepare()
    assert len(refusals(caplog)) == 1  # the months from before the pause of the spring, by the right clock
    clock.moment = month(9, 1, year=2016)
    sink.prepare()
    assert refusals(caplog) == []
    assert months(writer, schema.name) == [(2016, n) for n in (7, 8, 9, 10)] + [(2031, 5), (2031, 6)]


def test_declared_table_is_safe_from_a_clock_years_ahead(
    writer: KuduWriter, put: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = f"test_{uuid.uuid4().hex}"
    declared = {
        "columns": [
            {"name": "at", "type": "unixtime_micros", "key": True},
            {"name": "key", "type": "int64", "key": True},
        ],
        "hash": [{"columns": ["key"], "buckets": 2}],
        "range": {"column": "at", "unit": "day", "ahead": 1, "keep": 1},
        "replicas": 1,
    }
    now = datetime.now(timezone.utc)
    row = content([{"at": now.isoformat(), "key": 1}])
    assert put(table, Table_Schema=json.dumps(declared)).transform(row).relationship == "success"

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now.replace(year=now.year + 5, day=1)

    monkeypatch.setattr("imagewarehouse.kudu.writing.sink.datetime", Ahead)
    again = content([{"at": Ahead.now().isoformat(), "key": 2}])
    assert put(table, Table_Schema=json.dumps(declared)).transform(again).relationship == "success"
    assert stored(writer, table, "key") == [(1,), (2,)]
    (error,) = refusals(caplog)
    assert f"table {table}: range partitions with rows are not dropped: {now:%Y-%m-%d} to " in error


def test_upkeep_that_cannot_look_for_rows_drops_nothing_and_makes_what_is_missing(
    writer: KuduWriter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = with_months(writer, 1, *(month(number, 15, year=2016) for number in (1, 2, 3)))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1), now=Clock(month(4, 15, year=2016)))

    def unavailable(table: str, parts: Sequence[Range]) -> set[Range]:
        raise KuduUnavailable("no server answers")

    monkeypatch.setattr(writer, "ranges_with_rows", unavailable)
    with caplog.at_level("WARNING", "imagewarehouse.kudu"):
        assert write(sink, {"at": month(4, 15, year=2016), "key": 4}) == [None]
    assert [record.message for record in caplog.records] == [
        f"table {schema.name}: range partitions: no server answers"
    ]
    assert months(writer, schema.name) == [(2016, number) for number in range(1, 6)]


def test_rows_outside_of_every_range_do_not_make_the_table_be_searched_each_time(
    writer: KuduWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = with_months(writer, 1, *(month(number, 15, year=2016) for number in (1, 2, 3)))
    sink = TableSink(writer, schema.name, SinkSettings(schema, 0, 0.1), now=Clock(month(3, 15, year=2016)))
    searched = []
    whole = writer.ranges_with_rows
    monkeypatch.setattr(writer, "ranges_with_rows", lambda *given: searched.append(given) or whole(*given))
    for _ in range(3):
        assert write(sink, {"at": month(1, year=2010), "key": 4}) == [NO_RANGE]
    assert len(searched) == 1


def test_nodes_that_make_keep_and_drop_at_once_do_not_disturb_each_other(
    kudu: LocalKudu, open_writer: Callable[..., KuduWriter], caplog: pytest.LogCaptureFixture
) -> None:
    schema = monthly(ahead=2, keep=1)
    clock = Clock(month(1, 15, year=2016))
    settings = SinkSettings(schema, 0, 0.1, range_check_s=0)
    writers = [open_writer(kudu.masters) for _ in range(3)]
    sinks = [TableSink(writer, schema.name, settings, now=clock) for writer in writers]
    start = threading.Barrier(len(sinks))
    found: dict[tuple[int, int], list[str | None]] = {}

    def work(number: int) -> None:
        for round_ in range(1, 5):
            start.wait(60)
            clock.moment = month(2 * round_, 15, year=2016)
            start.wait(60)
            rows = [{"at": month(2 * round_ + ahead, 14, year=2016), "key": number} for ahead in range(3)]
            found[number, round_] = write(sinks[number], *rows)

    with caplog.at_level("WARNING", "imagewarehouse.kudu"):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(sinks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {(number, round_): [None] * 3 for number in range(3) for round_ in range(1, 5)}
    assert months(writers[0], schema.name) == [(2016, 7), (2016, 8), (2016, 9), (2016, 10)]
    assert [record.message for record in caplog.records if "past retention" not in record.message] == []
