"""Time range partitions: those to create in advance, and those past retention."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

from imagewarehouse.kudu.schema import KuduType, Range, RangePolicy

# Units without rows that nobody wonders about: a long weekend. A whole month or year without rows is unusual.
_ORDINARY_PAUSE = {"day": 4, "month": 0, "year": 0}
_CLOCKS_DIFFER = timedelta(minutes=10)  # this far a node's clock may be ahead of Kudu's without a word


@dataclass(frozen=True, slots=True)
class RangeChanges:
    """The changes that a table needs at a time: ranges to add, in order, and ranges past retention, for `judge`."""

    add: tuple[Range, ...] = ()
    drop: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Retention:
    """The ranges past retention by a node's clock, split into dropped and refused, in order.

    `drop`: past retention by every clock. `refused`: past retention by the node's clock only, with rows. Such ranges without
    rows are in neither: they can wait. `newest`: the unit of the newest rows that count, 2026-11 for a month; empty
    where no range is past retention by the clock.
    """

    drop: tuple[Range, ...] = ()
    refused: tuple[Range, ...] = ()
    newest: str = ""

    @property
    def refused_text(self) -> str:
        """`2026-01-01 to 2026-11-01`: from the first to the last of the refused ranges, where there are some."""
        ends = [None if b is None else _text(b[0]) for b in (self.refused[0].lower, self.refused[-1].upper)]
        return " to ".join(end or "" for end in ends).strip()

    @property
    def drop_before(self) -> str:
        """What the option --drop-before takes to drop the refused ranges: a month, or a day."""
        upper = self.refused[-1].upper
        assert upper is not None  # it is past retention, so it ends
        end = as_moment(upper[0])
        day = unit_start(end, "day")
        text = (day if day == end else _shift(day, "day", 1)).date().isoformat()
        return text.removesuffix("-01")


def plan(policy: RangePolicy, kind: KuduType, existing: Sequence[Range], now: datetime) -> RangeChanges:
    """Compare the ranges that are there with those that the policy wants at `now` (UTC).

    The range of `now` and `policy.ahead` more are wanted. A unit that an existing range covers, even in part, is left
    alone: Kudu takes no overlaps, and an operator may have cut it otherwise. Only ranges that end before the units to
    keep are dropped. `kind`: type of the range column, unixtime_micros or date.
    """
    current = unit_start(now, policy.unit)
    add = []
    for number in range(policy.ahead + 1):
        planned = _range(_shift(current, policy.unit, number), policy.unit, kind)
        if not any(_overlap(planned, part) for part in existing):
            add.append(planned)
    drop: list[Range] = []
    if policy.keep is not None:
        cut = _bound(_shift(current, policy.unit, -policy.keep), kind)
        drop = [part for part in existing if part.upper is not None and part.upper[0] <= cut]
    return RangeChanges(tuple(add), tuple(drop))


def judge(
    policy: RangePolicy,
    kind: KuduType,
    existing: Sequence[Range],
    with_rows: Collection[Range],
    now: datetime,
    kudu_now: datetime | None,
) -> Retention:
    """What may be dropped at `now` (UTC) by a node whose clock may be wrong.

    A range is dropped if it is past retention by the node's clock, by Kudu's, and by the newest rows. Rows after a
    pause (see `_ORDINARY_PAUSE`) may be the work of a wrong clock, and do not count until they fill more ranges than
    the table keeps; until then the rows before the pause count.

    Args: with_rows: those of `existing` that have rows. kudu_now: None where nothing is known of it.
    """
    expired = plan(policy, kind, existing, now).drop
    if policy.keep is None or not expired:
        return Retention()
    unit = policy.unit
    trusted = min(now, kudu_now + _CLOCKS_DIFFER) if kudu_now is not None else now
    current = _number(trusted.astimezone(timezone.utc), unit)
    # The current unit counts as one with rows: they come in a moment, and a month may begin without an error.
    newest = _newest_that_counts([(current, current), *(_units(p, unit) for p in existing if p in with_rows)], policy)
    limit = min(newest, current) - policy.keep
    confirmed = {part: _units(part, unit)[1] < limit for part in expired}
    drop = tuple(part for part in expired if confirmed[part])
    refused = tuple(part for part in expired if part in with_rows and not confirmed[part])
    return Retention(drop, refused, _unit_text(_shift(unit_start(trusted, unit), unit, newest - current), unit))


def refusal(retention: Retention, table: str, now: datetime, kudu_now: datetime | None) -> str:
    """One line for an operator: which ranges are not dropped, why, and what to do."""
    return (
        f"table {table}: range partitions with rows are not dropped: {retention.refused_text} ({len(retention.refused)}). They "
        f"are past retention by this node's clock, {_clock_text(now)}, but Kudu's clock says {_clock_text(kudu_now)} "
        f"and the newest rows that count are of {retention.newest}. Check the clock. If it is right, drop them with: "
        f"imagewarehouse table partitions {table} --drop-before {retention.drop_before}"
    )


def first_ranges(policy: RangePolicy, kind: KuduType, now: datetime) -> tuple[Range, ...]:
    """The ranges of a new table: those of `plan`, and one unit back for what was under way before it was made."""
    back = _range(_shift(unit_start(now, policy.unit), policy.unit, -1), policy.unit, kind)
    return (back, *plan(policy, kind, (), now).add)


def range_of(moment: datetime, unit: str, kind: KuduType) -> Range:
    """The range of the calendar unit (UTC) that `moment` lies in."""
    return _range(unit_start(moment, unit), unit, kind)


def unit_start(moment: datetime, unit: str) -> datetime:
    day = moment.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "day":
        return day
    return day.replace(day=1) if unit == "month" else day.replace(month=1, day=1)


def _newest_that_counts(spans: Iterable[tuple[int, int]], policy: RangePolicy) -> int:
    """Number of the newest unit whose rows count. `spans`: first and last unit of each range with rows."""
    keep = policy.keep or 0
    # At most half: were such a pause the work of a clock that is ahead, the unit that is really the current one stays.
    ordinary = min(_ORDINARY_PAUSE[policy.unit], keep // 2)
    ordered = sorted(set(spans))
    starts = sorted({first for first, _ in ordered})
    newest, top = ordered[0]
    for first, last in ordered[1:]:
        if first - top - 1 > ordinary and _filled_from(first, starts, keep) < keep + 2:
            break
        newest, top = first, max(top, last)
    return newest


def _filled_from(first: int, starts: Sequence[int], keep: int) -> int:
    """How many units from `first` on have rows, up to a pause that is longer than the retention.

    A clock that jumps about leaves single units far from each other; together they prove nothing.
    """
    later = [start for start in starts if start >= first]
    count = 1
    for unit, following in pairwise(later):
        if following - unit - 1 > keep:
            break
        count += 1
    return count


def _units(part: Range, unit: str) -> tuple[int, int]:
    """Numbers of the first and the last unit that a range lies in; without a bound on one side, of that at the other."""
    first = None if part.lower is None else _number(as_moment(part.lower[0]), unit)
    last = None
    if part.upper is not None:
        end = as_moment(part.upper[0])
        last = _number(end, unit) - (end == unit_start(end, unit))
    return (last or 0 if first is None else first), (first or 0 if last is None else last)


def _number(moment: datetime, unit: str) -> int:
    """Units since the year 0, so that units that follow each other have numbers that do."""
    if unit == "day":
        return moment.toordinal()
    return 12 * moment.year + moment.month - 1 if unit == "month" else moment.year


def _unit_text(start: datetime, unit: str) -> str:
    return start.date().isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]


def _clock_text(moment: datetime | None) -> str:
    return "nothing" if moment is None else f"{moment.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _text(bound: date | datetime) -> str:
    moment = as_moment(bound)
    return moment.date().isoformat() if moment == unit_start(moment, "day") else moment.isoformat()


def as_moment(bound: date | datetime) -> datetime:
    """A bound as a time: a day as its beginning, UTC."""
    return bound if isinstance(bound, datetime) else datetime(bound.year, bound.month, bound.day, tzinfo=timezone.utc)


def _shift(start: datetime, unit: str, number: int) -> datetime:
    """Start of the unit that is `number` units later; the calendar's ends hold."""
    try:
        if unit == "day":
            return start + timedelta(days=number)
        months = start.year * 12 + start.month - 1 + (number if unit == "month" else 12 * number)
        return start.replace(year=months // 12, month=months % 12 + 1)
    except (ValueError, OverflowError):
        end = datetime.max if number > 0 else datetime.min
        return end.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=timezone.utc)


def _range(start: datetime, unit: str, kind: KuduType) -> Range:
    return Range((_bound(start, kind),), (_bound(_shift(start, unit, 1), kind),))


def _bound(moment: datetime, kind: KuduType) -> datetime | date:
    return moment.date() if kind is KuduType.DATE else moment


def _overlap(first: Range, second: Range) -> bool:
    return _before(first.lower, second.upper) and _before(second.lower, first.upper)


def _before(lower: tuple[Any, ...] | None, upper: tuple[Any, ...] | None) -> bool:
    return lower is None or upper is None or lower < upper
