"""Periods of a dashboard, in the time zone of who looks at it.

The engines only count by slots of UTC, a quarter of an hour each, or an hour or a day where the columns of a chart begin with
one; hours, days and weeks of a time zone are made of those here.
Every offset that a time zone has today is a whole number of quarters, so no slot lies in two hours, and a day on which the
clocks change has 23 or 25 of them: an hour that comes twice is two hours. No engine has to know of time zones.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Literal
from zoneinfo import ZoneInfo

from imagewarehouse.errors import BadParameter

SLOT_S = 900
_SLOTS_S = (86_400, 3_600, SLOT_S)
Width = Literal["quarter", "hour", "day", "week"]

_LONGEST = timedelta(days=3660)
_MOST_BUCKETS = 1000


@dataclass(frozen=True, slots=True)
class Period:
    """Instants from `since` up to `until`, which is not included, and the stretch of the same length that it is compared with.

    Raises BadParameter on construction for what is empty, longer than ten years or without a zone.
    """

    since: datetime
    until: datetime
    before: datetime  # where the stretch begins that ends at `since`, or at `before_until`
    before_until: datetime

    def __post_init__(self) -> None:
        for moment in (self.since, self.until, self.before, self.before_until):
            if moment.tzinfo is None:
                raise BadParameter("since, until: expected a time with a zone")
        if not self.since < self.until:
            raise BadParameter("until: expected a time after since")
        if self.until - self.since > _LONGEST:
            raise BadParameter("since: expected at most ten years before until")

    def earlier(self) -> Period:
        """The stretch it is compared with, as a period."""
        length = self.before_until - self.before
        return Period(self.before, self.before_until, self.before - length, self.before)


def zone(name: str) -> ZoneInfo:
    """Raises BadParameter."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as err:  # ValueError: a path, not a name
        raise BadParameter(f"tz: expected a time zone such as Europe/Berlin, received {name[:40]!r}") from err


def between(since: datetime, until: datetime, now: datetime | None = None) -> Period:
    """A free range of aware times. It is compared with the stretch of its length right before it. Raises BadParameter.

    One that is not over at `now` is compared with as much of that stretch as there is of it.
    """
    since, until = since.astimezone(timezone.utc), until.astimezone(timezone.utc)
    if since >= until:
        raise BadParameter("until: expected a time after since")
    before = since - (until - since)
    so_far = until - since if now is None or not since < now < until else now - since
    return Period(since, until, before, before + so_far)


def named(name: str, now: datetime, tz: ZoneInfo) -> Period:
    """One of PERIODS. Days begin at midnight in `tz`, weeks on Monday. Raises BadParameter."""
    if name not in PERIODS:
        raise BadParameter(f"period: expected one of {', '.join(PERIODS)}, received {name[:40]!r}")
    today = now.astimezone(tz).date()
    first, last, back = PERIODS[name](today)
    since, until = _midnight(first, tz), _midnight(last, tz)
    before = _midnight(first - back, tz)
    if until > now >= since:
        # What is not over is compared with as much of the one before: half of today with the first half of yesterday. A day
        # on which the clocks are put back is longer than the one before.
        until = max(now, since + timedelta(microseconds=1))
        return Period(since, until, before, min(before + (until - since), since))
    return Period(since, until, before, since)


_Days = tuple[date, date, timedelta]  # from, up to (not included), and how far back what it is compared with begins
_DAY = timedelta(days=1)
PERIODS: Mapping[str, Callable[[date], _Days]] = {
    "today": lambda today: (today, today + _DAY, _DAY),
    "yesterday": lambda today: (today - _DAY, today, _DAY),
    "7-days-ago": lambda today: (today - 7 * _DAY, today + _DAY, 8 * _DAY),
    "last-week": lambda today: (_monday(today) - 7 * _DAY, _monday(today), 7 * _DAY),
    "30-days-ago": lambda today: (today - 30 * _DAY, today + _DAY, 31 * _DAY),
}
"""`7-days-ago` and `30-days-ago`: since midnight that many days ago, up to now. `last-week`: the calendar week before this."""


def width_for(period: Period) -> Width:
    """How wide the columns of a chart are: some dozens of them."""
    length = period.until - period.since
    if length <= timedelta(hours=12):
        return "quarter"
    if length <= timedelta(days=3):
        return "hour"
    return "day" if length <= timedelta(days=100) else "week"


@dataclass(frozen=True, slots=True)
class Buckets:
    """The columns of a chart over time: `starts` are instants, aware, in the time zone of who looks.

    `slot_s`: the longest slots of which none lies in two columns. The fewer there are, the less an engine hands over.
    """

    starts: tuple[datetime, ...]
    slot_s: int
    _seconds: tuple[int, ...]

    def of_slot(self, slot: int) -> int:
        """Which column a slot of `slot_s` belongs to; those before the first column belong to the first."""
        return max(0, bisect_right(self._seconds, slot * self.slot_s) - 1)

    def __len__(self) -> int:
        return len(self.starts)


def buckets(period: Period, width: Width, tz: ZoneInfo) -> Buckets:
    """The columns that `period` has a part in. Raises BadParameter: there would be more than a thousand."""
    if width in ("quarter", "hour"):
        quarter = int(period.since.timestamp()) // SLOT_S * SLOT_S
        _check(math.ceil((period.until.timestamp() - quarter) / (SLOT_S if width == "quarter" else 3600)))
        if width == "hour":
            quarter -= period.since.astimezone(tz).minute // 15 * SLOT_S
        starts: list[datetime] = []
        # By what a clock on the wall shows: put back an hour, one comes twice; put back half an hour, a part of one.
        while quarter < period.until.timestamp():
            start = datetime.fromtimestamp(quarter, tz)
            if width == "quarter" or not starts or _hour(start) != _hour(starts[-1]):
                starts.append(start)
            quarter += SLOT_S
    else:
        day = period.since.astimezone(tz).date()
        day, step_days = (day, 1) if width == "day" else (_monday(day), 7)
        _check((period.until - period.since).days // step_days)
        starts = []
        while (start := _midnight(day, tz)) < period.until:
            starts.append(start.astimezone(tz))
            day += timedelta(days=step_days)
    seconds = tuple(int(start.timestamp()) for start in starts)
    # Some zones were no whole quarters apart from UTC, Liberia's until 1972: there a column is right within a quarter.
    slot_s = next((slot_s for slot_s in _SLOTS_S if all(second % slot_s == 0 for second in seconds[1:])), SLOT_S)
    return Buckets(tuple(starts), slot_s, seconds)


def _hour(moment: datetime) -> tuple[date, int, timedelta | None]:
    return moment.date(), moment.hour, moment.utcoffset()


def _check(count: int) -> None:
    if count > _MOST_BUCKETS:
        raise BadParameter(f"width: {count} columns would be too many, at most {_MOST_BUCKETS}; choose a wider one")


def _midnight(day: date, tz: ZoneInfo) -> datetime:
    """When a day begins, in UTC: Python subtracts times of one zone as a clock on the wall would."""
    return datetime.combine(day, time(), tz).astimezone(timezone.utc)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
