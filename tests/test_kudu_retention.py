"""Which ranges past retention are dropped, and which are refused because a clock may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagewarehouse.cli.kudu.ranges import parse_time
from imagewarehouse.kudu.schema import KuduType, Range, RangePolicy
from imagewarehouse.kudu.writing.ranges import Retention, judge, plan, range_of, refusal, unit_start

MICROS = KuduType.UNIXTIME_MICROS


def parts(text: str, kind: KuduType = MICROS) -> list[Range]:
    """`2026-09..2026-11 2031-05` as ranges: each of a year, a month or a day, as they are written."""
    found = []
    for word in text.split():
        first, _, last = word.partition("..")
        start, unit = parse_time(first, "")
        end, _ = parse_time(last or first, "")
        while start <= end:
            found.append(range_of(start, unit, kind))
            start = unit_start(start + timedelta(days={"day": 1, "month": 31, "year": 366}[unit]), unit)
    return found


@dataclass(frozen=True)
class Case:
    """Ranges as `parts` takes them. `kudu`: None: as `now`, empty: not known. `empty`: ranges without rows."""

    rows: str
    now: str
    drop: str
    refused: str = ""
    keep: int = 2
    unit: str = "month"
    kudu: str | None = None
    empty: str = ""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


HALF_A_YEAR = "2026-06..2026-11"
WORKDAYS = "2026-06-01..2026-06-05 2026-06-08..2026-06-12 2026-06-15..2026-06-19"  # three weeks from a Monday on


@pytest.mark.parametrize("case", [
    pytest.param(Case(HALF_A_YEAR, "2026-11-15", "2026-06..2026-08"), id="right-clock"),
    pytest.param(Case(HALF_A_YEAR, "2026-12-01", "2026-06..2026-09"), id="month-that-has-begun-without-a-row"),
    pytest.param(Case("2026-10..2026-11", "2026-11-15", ""), id="new-warehouse"),
    pytest.param(Case("2017-01..2026-11", "2026-11-15", "2017-01..2026-08"), id="first-retention-of-ten-years"),
    pytest.param(Case("2017-01..2026-11", "2026-11-15", "2017-01..2024-10", keep=24), id="ten-years-of-which-two-stay"),
    pytest.param(Case("", "2026-11-15", "2020-01", empty="2020-01 2026-10..2027-01"), id="no-rows-at-all"),
    pytest.param(Case("2026-09..2026-11", "2031-05-02", "", "2026-09..2026-11"), id="years-ahead-with-kudu"),
    pytest.param(Case("2026-09..2026-11", "2031-05-02", "", "2026-09..2026-11", kudu="2026-11-15"), id="years-ahead"),
    pytest.param(Case("2026-09..2026-11", "2031-05-02", "", "2026-09..2026-11", kudu=""), id="years-ahead-kudu-unknown"),
    pytest.param(Case(HALF_A_YEAR, "2031-05-02", "2026-06..2026-08", "2026-09..2026-11"), id="past-by-the-rows-too"),
    pytest.param(Case("2026-09..2026-11 2031-05", "2031-05-02", "", "2026-09..2026-11"), id="rows-of-the-wrong-clock"),
    pytest.param(Case("2026-09..2026-11 2031-05..2031-07", "2031-07-02", "", "2026-09..2026-11"),
                 id="wrong-clock-for-as-many-months-as-are-kept"),
    pytest.param(Case("2026-09..2026-11 2031-05..2031-08", "2031-08-02", "2026-09..2026-11 2031-05"),
                 id="wrong-clock-of-all-for-more-months-than-are-kept"),
    pytest.param(Case("2026-09..2026-11 2031-05..2031-08", "2031-08-02", "", "2026-09..2026-11 2031-05",
                      kudu="2026-11-15"), id="wrong-clock-for-months-that-kudu-knows-better"),
    pytest.param(Case(f"{HALF_A_YEAR} 2031-05..2031-12", "2026-11-15", "2026-06..2026-08"),
                 id="right-clock-after-rows-of-a-wrong-one"),
    pytest.param(Case("2026-09..2026-11 2031-05 2040-01 2077-01", "2090-01-01", "",
                      "2026-09..2026-11 2031-05 2040-01 2077-01"), id="clock-that-jumps-about"),
    pytest.param(Case("2026-09..2026-11", "2027-02-01", "", "2026-09..2026-11"), id="months-ahead"),
    pytest.param(Case("2026-06..2027-02", "2027-02-01", "2026-06..2026-08", "2026-09..2026-11", kudu="2026-11-15"),
                 id="months-ahead-until-the-pause-is-full"),
    pytest.param(Case("2026-08..2026-11", "2026-12-15", "2026-08", "2026-09", kudu="2026-11-15"), id="a-month-ahead"),
    pytest.param(Case("2026-08..2026-11", "2026-12-15", "2026-08..2026-09"), id="a-month-ahead-with-kudu-is-believed"),
    pytest.param(Case("2026-08..2026-11", "2026-12-01T00:03", "2026-08..2026-09", kudu="2026-11-30T23:55"),
                 id="minutes-ahead"),
    pytest.param(Case(HALF_A_YEAR, "2026-09-15", "2026-06", kudu="2026-11-15"), id="months-behind"),
    pytest.param(Case("2025-10..2026-03", "2026-11-15", "2025-10..2025-12", "2026-01..2026-03"), id="honest-pause"),
    pytest.param(Case("2026-01..2026-03 2026-09..2026-11", "2026-11-15", "", "2026-01..2026-03"),
                 id="as-many-months-after-a-pause-as-are-kept"),
    pytest.param(Case("2026-01..2026-03 2026-09..2026-12", "2026-12-15", "2026-01..2026-03 2026-09"),
                 id="more-months-after-a-pause-than-are-kept"),
    pytest.param(Case("2026-01..2026-05 2026-07 2026-09 2026-11 2027-01", "2027-01-15", "2026-01..2026-04",
                      "2026-05 2026-07 2026-09"), id="rows-in-every-second-month-only"),
    pytest.param(Case("2026-09..2026-11", "2031-05-02", "2026-08", "2026-09..2026-11", empty="2026-08 2026-12"),
                 id="empty-months-of-now-and-later-stay"),
    pytest.param(Case("2026-01..2026-03", "2026-06-15", "", "2026-01..2026-03", empty="2026-04..2026-05"),
                 id="empty-months-of-a-pause-cost-no-error"),
    pytest.param(Case(WORKDAYS, "2026-06-22", "2026-06-01..2026-06-05 2026-06-08..2026-06-12", keep=7, unit="day"),
                 id="weekends"),
    pytest.param(Case(WORKDAYS, "2026-06-24", "2026-06-01..2026-06-05 2026-06-08..2026-06-09", keep=14, unit="day"),
                 id="long-weekend"),
    pytest.param(Case(WORKDAYS, "2026-06-25", "2026-06-01..2026-06-04", "2026-06-05 2026-06-08..2026-06-10", keep=14,
                      unit="day"), id="days-ahead"),
    pytest.param(Case("2026-06-01..2026-06-05", "2026-06-08", "2026-06-01..2026-06-02", "2026-06-03..2026-06-05", keep=2,
                      unit="day"), id="weekend-that-is-as-long-as-the-retention"),
    pytest.param(Case("2015..2026", "2026-11-15", "2015..2022", keep=3, unit="year"), id="years"),
    pytest.param(Case("2015..2026", "2030-11-15", "2015..2022", "2023..2026", keep=3, unit="year"), id="years-of-wrong-clock"),
    pytest.param(Case("2025 2026-01..2026-11", "2026-11-15", "2025 2026-01..2026-08"), id="year-that-became-months"),
    pytest.param(Case("2025 2026-01..2026-03", "2031-05-02", "2025", "2026-01..2026-03"), id="year-and-months-of-wrong-clock"),
])  # fmt: skip
@pytest.mark.parametrize("kind", [MICROS, KuduType.DATE])
def test_only_what_is_past_retention_by_clocks_and_rows_is_dropped(case: Case, kind: KuduType) -> None:
    policy = RangePolicy("t", case.unit, ahead=0, keep=case.keep)
    rows, empty = parts(case.rows, kind), parts(case.empty, kind)
    kudu = at(case.now) if case.kudu is None else at(case.kudu) if case.kudu else None
    existing = sorted([*rows, *empty], key=lambda part: part.lower or ())
    found = judge(policy, kind, existing, set(rows), at(case.now), kudu)
    assert (list(found.drop), list(found.refused)) == (parts(case.drop, kind), parts(case.refused, kind))


@pytest.mark.parametrize("with_rows", [False, True], ids=["empty", "with-rows"])
def test_ranges_without_a_bound_are_judged_too(with_rows: bool) -> None:
    policy = RangePolicy("t", "month", keep=2)
    oldest, newest = Range(None, (at("2026-09-01"),)), Range((at("2026-11-01"),), None)
    between = parts("2026-09..2026-10")
    existing = [oldest, *between, newest]
    filled = {part for part in existing if with_rows or part != oldest}
    assert judge(policy, MICROS, existing, filled, at("2026-11-15"), None).drop == (oldest,)
    assert judge(policy, MICROS, existing, filled, at("2026-10-15"), None).drop == ()
    ahead = judge(policy, MICROS, existing, filled, at("2031-01-01"), None)
    assert (ahead.drop, ahead.refused) == ((oldest,), tuple(between))
    alone = judge(policy, MICROS, [oldest], filled, at("2031-01-01"), None)
    assert (alone.drop, alone.refused) == (((), (oldest,)) if with_rows else ((oldest,), ()))


def test_without_retention_nothing_is_judged() -> None:
    there = parts("2020-01 2026-11")
    assert judge(RangePolicy("t"), MICROS, there, there, at("2026-11-15"), None) == Retention()


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_wrong_clock_never_drops_what_the_right_one_keeps(data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(["day", "month", "year"]))
    length = timedelta(days={"day": 1, "month": 31, "year": 366}[unit])
    policy = RangePolicy("t", unit, ahead=0, keep=data.draw(st.integers(1, 6)))
    right = at("2026-11-15")
    wrong = right + data.draw(st.integers(0, 40)) * length
    numbers = sorted(data.draw(st.sets(st.integers(-15, 15), min_size=1)))
    existing = list(dict.fromkeys(range_of(right + number * length, unit, MICROS) for number in numbers))
    with_rows = {part for part in existing if data.draw(st.booleans())}
    found = judge(policy, MICROS, existing, with_rows, wrong, right)
    assert set(found.drop) <= set(plan(policy, MICROS, existing, right).drop)
    assert set(found.refused) == (set(plan(policy, MICROS, existing, wrong).drop) & with_rows) - set(found.drop)
    # Where nothing tells the right time but the rows, the newest of them tells it.
    alone = judge(policy, MICROS, existing, with_rows, wrong + 100 * length, None)
    if with_rows:
        newest = max(part.lower[0] for part in with_rows if part.lower)
        assert set(alone.drop) <= set(plan(policy, MICROS, existing, newest).drop)


@pytest.mark.parametrize(("refused", "shown", "before", "newest"), [
    pytest.param("2026-09..2026-11", "2026-09-01 to 2026-12-01 (3)", "2026-12", "2026-11", id="months"),
    pytest.param("2025..2026", "2025-01-01 to 2027-01-01 (2)", "2027-01", "2026", id="years"),
    pytest.param("2026-11-13..2026-11-14", "2026-11-13 to 2026-11-15 (2)", "2026-11-15", "2026-11-14", id="days"),
])  # fmt: skip
def test_what_is_refused_is_told_in_one_line(refused: str, shown: str, before: str, newest: str) -> None:
    there = parts(refused)
    unit = parse_time(newest, "")[1]
    now = at("2050-05-02T10:00:01")
    found = judge(RangePolicy("t", unit, keep=2), MICROS, there, there, now, at("2026-11-29"))
    line = refusal(found, "image_events", now, at("2026-11-29"))
    assert "\n" not in line
    assert line.startswith(f"table image_events: range partitions with rows are not dropped: {shown}.")
    assert "this node's clock, 2050-05-02T10:00:01Z," in line
    assert f"Kudu's clock says 2026-11-29T00:00:00Z and the newest rows that count are of {newest}." in line
    assert line.endswith(f"Check the clock. If it is right, drop them with: "
                         f"imagewarehouse table partitions image_events --drop-before {before}")  # fmt: skip


def test_what_an_operator_is_told_to_drop_are_the_refused_ranges() -> None:
    odd = Range((at("2026-09-01"),), (at("2026-09-07T13:00"),))
    for there in (parts("2026-09..2026-10"), [odd], [Range(None, (at("2026-09-01"),))]):
        found = judge(RangePolicy("t", keep=2), MICROS, there, there, at("2031-01-01"), None)
        assert list(found.refused) == there
        start, unit = parse_time(found.drop_before, "")
        assert all(part.upper is not None and part.upper[0] <= unit_start(start, unit) for part in there)
