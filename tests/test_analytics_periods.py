"""Periods of dashboards and the columns of charts: clock changes, odd zones, ends of years, every named period."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from imagewarehouse.analytics.periods import PERIODS, SLOT_S, Period, Width, between, buckets, named, width_for, zone
from imagewarehouse.errors import BadParameter

BERLIN, KOLKATA, KATHMANDU = (ZoneInfo(name) for name in ("Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"))
LORD_HOWE, APIA, CAIRO = (ZoneInfo(name) for name in ("Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"))
UTC = ZoneInfo("UTC")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(timezone.utc)


def shown(period: Period, tz: ZoneInfo) -> list[str]:
    return [
        moment.astimezone(tz).isoformat(timespec="minutes")
        for moment in (period.since, period.until, period.before, period.before_until)
    ]


@pytest.mark.parametrize(
    ("name", "now", "tz", "expected"),
    [
        pytest.param("today", "2026-06-10T15:30+02:00", BERLIN,
                     ["2026-06-10T00:00+02:00", "2026-06-10T15:30+02:00", "2026-06-09T00:00+02:00", "2026-06-09T15:30+02:00"],
                     id="today-is-compared-with-as-much-of-yesterday"),
        pytest.param("yesterday", "2026-06-10T15:30+02:00", BERLIN,
                     ["2026-06-09T00:00+02:00", "2026-06-10T00:00+02:00", "2026-06-08T00:00+02:00", "2026-06-09T00:00+02:00"],
                     id="yesterday"),
        pytest.param("7-days-ago", "2026-06-10T15:30+02:00", BERLIN,
                     ["2026-06-03T00:00+02:00", "2026-06-10T15:30+02:00", "2026-05-26T00:00+02:00", "2026-06-02T15:30+02:00"],
                     id="seven-days-ago"),
        pytest.param("last-week", "2026-06-10T15:30+02:00", BERLIN,
                     ["2026-06-01T00:00+02:00", "2026-06-08T00:00+02:00", "2026-05-25T00:00+02:00", "2026-06-01T00:00+02:00"],
                     id="last-week-on-a-wednesday"),
        pytest.param("last-week", "2026-06-08T00:00+02:00", BERLIN,
                     ["2026-06-01T00:00+02:00", "2026-06-08T00:00+02:00", "2026-05-25T00:00+02:00", "2026-06-01T00:00+02:00"],
                     id="last-week-at-the-first-moment-of-a-monday"),
        pytest.param("last-week", "2026-06-07T23:59+02:00", BERLIN,
                     ["2026-05-25T00:00+02:00", "2026-06-01T00:00+02:00", "2026-05-18T00:00+02:00", "2026-05-25T00:00+02:00"],
                     id="last-week-at-the-end-of-a-sunday"),
        pytest.param("30-days-ago", "2026-06-10T15:30+02:00", BERLIN,
                     ["2026-05-11T00:00+02:00", "2026-06-10T15:30+02:00", "2026-04-10T00:00+02:00", "2026-05-10T15:30+02:00"],
                     id="thirty-days-ago"),
        pytest.param("yesterday", "2027-01-01T00:10+01:00", BERLIN,
                     ["2026-12-31T00:00+01:00", "2027-01-01T00:00+01:00", "2026-12-30T00:00+01:00", "2026-12-31T00:00+01:00"],
                     id="new-year"),
        pytest.param("last-week", "2027-01-01T12:00+00:00", UTC,
                     ["2026-12-21T00:00+00:00", "2026-12-28T00:00+00:00", "2026-12-14T00:00+00:00", "2026-12-21T00:00+00:00"],
                     id="last-week-of-a-year"),
        pytest.param("yesterday", "2028-03-01T01:00+05:45", KATHMANDU,
                     ["2028-02-29T00:00+05:45", "2028-03-01T00:00+05:45", "2028-02-28T00:00+05:45", "2028-02-29T00:00+05:45"],
                     id="leap-day-in-a-zone-of-quarters"),
        pytest.param("today", "2026-06-10T01:00+02:00", KOLKATA,
                     ["2026-06-10T00:00+05:30", "2026-06-10T04:30+05:30", "2026-06-09T00:00+05:30", "2026-06-09T04:30+05:30"],
                     id="the-day-is-that-of-the-zone"),
        pytest.param("yesterday", "2026-10-26T09:00+01:00", BERLIN,
                     ["2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", "2026-10-24T00:00+02:00", "2026-10-25T00:00+02:00"],
                     id="a-day-of-25-hours"),
        pytest.param("today", "2026-10-25T23:45+01:00", BERLIN,
                     ["2026-10-25T00:00+02:00", "2026-10-25T23:45+01:00", "2026-10-24T00:00+02:00", "2026-10-25T00:00+02:00"],
                     id="a-longer-day-is-not-compared-with-itself"),
        pytest.param("today", "2026-06-10T00:00+02:00", BERLIN,
                     ["2026-06-10T00:00+02:00", "2026-06-10T00:00+02:00", "2026-06-09T00:00+02:00", "2026-06-09T00:00+02:00"],
                     id="the-first-moment-of-a-day"),
    ],
)  # fmt: skip
def test_named_periods(name: str, now: str, tz: ZoneInfo, expected: list[str]) -> None:
    assert shown(named(name, at(now), tz), tz) == expected


@pytest.mark.parametrize("tz", [UTC, BERLIN, KOLKATA, KATHMANDU, LORD_HOWE, APIA, CAIRO], ids=lambda tz: tz.key)
@pytest.mark.parametrize("name", PERIODS)
def test_every_period_is_right_at_every_hour_of_a_year(name: str, tz: ZoneInfo) -> None:
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    while now.year == 2026:
        period = named(name, now, tz)
        assert period.since < period.until
        assert period.before < period.before_until <= period.since
        # Days begin at midnight; where the clock skips midnight (Cairo), at the first moment of the day.
        for moment in (period.since, period.before):
            before = (moment - timedelta(microseconds=1)).astimezone(tz)
            assert before.date() < moment.astimezone(tz).date()
        assert period.until <= max(now, period.since + timedelta(microseconds=1))
        now += timedelta(hours=7, minutes=13)


@pytest.mark.parametrize(
    ("since", "until", "width", "tz", "count", "lengths"),
    [
        pytest.param("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", "hour", BERLIN, 25, {60}, id="put-back-25-hours"),
        pytest.param("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", "hour", BERLIN, 23, {60}, id="put-forward-23"),
        pytest.param("2026-10-25T00:00+02:00", "2026-10-27T00:00+01:00", "day", BERLIN, 2, {25 * 60, 24 * 60}, id="days"),
        pytest.param("2026-10-25T00:10+02:00", "2026-10-25T01:10+02:00", "quarter", BERLIN, 5, {15}, id="quarters"),
        pytest.param("2026-06-10T00:20+05:45", "2026-06-10T03:00+05:45", "hour", KATHMANDU, 3, {60}, id="zone-of-quarters"),
        pytest.param("2026-06-10T00:20+05:30", "2026-06-10T03:00+05:30", "hour", KOLKATA, 3, {60}, id="zone-of-halves"),
        pytest.param("2026-04-05T00:00+11:00", "2026-04-05T06:00+10:30", "hour", LORD_HOWE, 7, {60, 30}, id="put-back-30-min"),
        pytest.param("2026-10-04T00:00+10:30", "2026-10-04T06:00+11:00", "hour", LORD_HOWE, 6, {60, 30}, id="forward-30-min"),
        pytest.param("2026-12-30T12:00+01:00", "2027-01-06T12:00+01:00", "week", BERLIN, 2, {7 * 24 * 60}, id="weeks"),
    ],
)  # fmt: skip
def test_columns(since: str, until: str, width: Width, tz: ZoneInfo, count: int, lengths: set[int]) -> None:
    found = buckets(between(at(since), at(until)), width, tz)
    assert len(found) == count
    instants = [start.timestamp() for start in found.starts]
    assert instants == sorted(set(instants))
    assert instants[0] <= at(since).timestamp() < instants[0] + 8 * 86_400
    assert instants[-1] < at(until).timestamp()
    assert {round((b - a) / 60) for a, b in pairwise(instants)} <= lengths
    for start in found.starts:
        assert start.second == start.microsecond == 0
        assert start.minute % 15 == 0
    # Every slot belongs to the last column that begins at or before it.
    for slot in range(int(at(since).timestamp()) // SLOT_S, int(at(until).timestamp()) // SLOT_S):
        expected = max(number for number, instant in enumerate(instants) if instant <= slot * SLOT_S)
        assert found.of_slot(slot * SLOT_S // found.slot_s) == expected


@pytest.mark.parametrize(
    ("since", "width", "tz", "slot_s"),
    [
        pytest.param("2026-06-10T00:00+00:00", "day", ZoneInfo("UTC"), 86_400, id="days-of-utc"),
        pytest.param("2026-06-10T00:00+02:00", "day", BERLIN, 3_600, id="days-of-berlin"),
        pytest.param("2026-06-10T07:20+00:00", "hour", ZoneInfo("UTC"), 3_600, id="hours"),
        pytest.param("2026-06-10T00:00+05:45", "day", KATHMANDU, 900, id="days-of-kathmandu"),
        pytest.param("2026-06-10T00:00+00:00", "quarter", ZoneInfo("UTC"), 900, id="quarters"),
    ],
)
def test_slots_are_as_long_as_the_columns_allow(since: str, width: Width, tz: ZoneInfo, slot_s: int) -> None:
    assert buckets(between(at(since), at(since) + timedelta(days=5)), width, tz).slot_s == slot_s


def test_columns_are_named_by_the_clock_on_the_wall() -> None:
    found = buckets(between(at("2026-10-25T01:00+02:00"), at("2026-10-25T04:00+01:00")), "hour", BERLIN)
    assert [start.isoformat(timespec="minutes")[11:] for start in found.starts] == [
        "01:00+02:00", "02:00+02:00", "02:00+01:00", "03:00+01:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("length", "width"),
    [(HOUR, "quarter"), (12 * HOUR, "quarter"), (DAY, "hour"), (3 * DAY, "hour"), (4 * DAY, "day"), (100 * DAY, "day"),
     (101 * DAY, "week")],
)  # fmt: skip
def test_a_chart_has_some_dozens_of_columns(length: timedelta, width: Width) -> None:
    period = between(at("2026-06-10T00:00+00:00"), at("2026-06-10T00:00+00:00") + length)
    assert width_for(period) == width
    assert len(buckets(period, width, UTC)) <= 101


@pytest.mark.parametrize("width", ["quarter", "hour", "day"])
def test_more_columns_than_a_chart_can_show_are_refused(width: Width) -> None:
    with pytest.raises(BadParameter, match="choose a wider one"):
        buckets(between(at("2020-01-01T00:00+00:00"), at("2029-01-01T00:00+00:00")), width, UTC)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        pytest.param("2026-06-10T00:00+00:00", "2026-06-10T00:00+00:00", id="empty"),
        pytest.param("2026-06-11T00:00+00:00", "2026-06-10T00:00+00:00", id="backwards"),
        pytest.param("2000-06-11T00:00+00:00", "2026-06-10T00:00+00:00", id="too-long"),
    ],
)
def test_ranges_that_are_none_are_refused(since: str, until: str) -> None:
    with pytest.raises(BadParameter):
        between(at(since), at(until))


def test_a_free_range_that_is_not_over_is_compared_with_as_much_of_the_one_before() -> None:
    since, until = at("2026-06-10T00:00+00:00"), at("2026-06-11T00:00+00:00")
    period = between(since, until, now=at("2026-06-10T09:00+00:00"))
    assert (period.since, period.until) == (since, until)
    assert (period.before, period.before_until) == (at("2026-06-09T00:00+00:00"), at("2026-06-09T09:00+00:00"))
    for now in (since, until, at("2026-06-09T12:00+00:00"), at("2026-06-12T12:00+00:00")):  # not begun, or over
        assert between(since, until, now) == between(since, until)


def test_a_free_range_is_compared_with_as_much_time_before_it() -> None:
    period = between(at("2026-06-10T06:00+00:00"), at("2026-06-10T09:00+00:00"))
    assert (period.before, period.before_until) == (at("2026-06-10T03:00+00:00"), period.since)
    assert period.earlier().earlier().until == period.before


@pytest.mark.parametrize(
    "name", ["", "Europe", "Mars/Base", "../../etc/passwd", "/etc/passwd", "a" * 10_000, "\udcff", "UTC\0", "UTC "]
)
def test_zones_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(BadParameter, match="tz: expected a time zone"):
        zone(name)
