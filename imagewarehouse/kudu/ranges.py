"""Range partitions over time: which ones to make ahead of need, and which ones are past retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from typing import Any

from imagewarehouse.kudu.schema import KuduType, Range, RangePolicy


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What a table needs: ranges to add, by time, and ranges to drop with all their rows."""

    add: tuple[Range, ...] = ()
    drop: tuple[Range, ...] = ()


def plan(policy: RangePolicy, kind: KuduType, existing: Sequence[Range], now: datetime) -> Upkeep:
    """Compare the ranges that are there with those that the policy wants at `now` (UTC).

    The range of `now` and `policy.ahead` more are wanted. A unit that an existing range covers, even in part, is left
    alone: Kudu takes no overlaps, and an operator may have cut it otherwise. Only ranges that end before the units to
    keep are dropped. `kind`: type of the range column, unixtime_micros or date.
    """
    current = unit_start(now, policy.unit)
    add = []
    for number in range(policy.ahead + 1):
        wanted = _range(_shift(current, policy.unit, number), policy.unit, kind)
        if not any(_overlap(wanted, part) for part in existing):
            add.append(wanted)
    drop: list[Range] = []
    if policy.keep is not None:
        cut = _bound(_shift(current, policy.unit, -policy.keep), kind)
        drop = [part for part in existing if part.upper is not None and part.upper[0] <= cut]
    return Upkeep(tuple(add), tuple(drop))


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


def _overlap(one: Range, other: Range) -> bool:
    return _before(one.lower, other.upper) and _before(other.lower, one.upper)


def _before(lower: tuple[Any, ...] | None, upper: tuple[Any, ...] | None) -> bool:
    return lower is None or upper is None or lower < upper
