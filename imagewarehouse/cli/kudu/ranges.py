"""Time ranges: parsing of options and of server pages, conversion to range partitions, and text output. All UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any

from imagewarehouse.amounts import counted
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.kudu.declaration import bound_text
from imagewarehouse.kudu.schema import UNITS, KuduType, Range, TableSchema
from imagewarehouse.kudu.writing.ranges import as_moment, range_of

_TIME = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_BOUNDS = re.compile(r"(?:(?P<lower>.+) <= )?VALUES(?: < (?P<upper>.+))?")


def time_kind(schema: TableSchema) -> KuduType | None:
    """Type of the range column; None where the ranges are not of time."""
    if len(schema.range_columns) != 1:
        return None
    kind = schema.column(schema.range_columns[0]).type
    return kind if kind in (KuduType.DATE, KuduType.UNIXTIME_MICROS) else None


def usual_unit(schema: TableSchema, existing: Sequence[Range]) -> str | None:
    """The calendar unit of the table's last range that is one."""
    kind = time_kind(schema)
    if kind is None:
        return None
    for part in reversed(existing):
        for unit in UNITS:
            if part.lower is not None and range_of(as_moment(part.lower[0]), unit, kind) == part:
                return unit
    return None


def parse_time(text: str, option: str) -> tuple[datetime, str]:
    """(start, unit) of `2026`, `2026-12` or `2026-12-31`. Raises ConfigurationError."""
    match = _TIME.fullmatch(text)
    try:
        if match is not None:
            year, month, day = match.groups()
            start = datetime(int(year), int(month or 1), int(day or 1), tzinfo=timezone.utc)
            return start, "day" if day else "month" if month else "year"
    except ValueError:
        pass
    raise ConfigurationError(option, f"expected a month (2026-12), a day (2026-12-31) or a year, received {text!r}")


def parse_server_range(text: str, kind: KuduType | None) -> Range | None:
    """`2026-11-01 <= VALUES < 2026-12-01` as the range that a client knows; None where the column is no time."""
    match = _BOUNDS.fullmatch(text)
    if match is None or kind not in (KuduType.DATE, KuduType.UNIXTIME_MICROS):
        return None

    def bound(value: str | None) -> tuple[Any, ...] | None:
        if value is None:
            return None
        if kind is KuduType.DATE:
            return (date.fromisoformat(value),)
        full = value if "T" in value else f"{value}T00:00:00Z"
        return (datetime.fromisoformat(full.replace("Z", "+00:00")),)

    try:
        return Range(bound(match["lower"]), bound(match["upper"]))
    except ValueError:
        return None


def distance(part: Range, now: datetime) -> str:
    """`now`, `in 38 days`, `ended 12 days ago`."""
    if part.upper is not None and as_moment(part.upper[0]) <= now:
        return f"ended {_days(now - as_moment(part.upper[0]))} ago"
    if part.lower is not None and as_moment(part.lower[0]) > now:
        return f"in {_days(as_moment(part.lower[0]) - now)}"
    return "now"


def ends(part: Range) -> tuple[str, str]:
    lower, upper = ("without a bound" if end is None else ", ".join(map(_value_text, end))
                    for end in (part.lower, part.upper))  # fmt: skip
    return lower, upper


def range_text(part: Range) -> str:
    lower, upper = ends(part)
    return f"{'' if part.lower is None else lower + ' '}to {upper}"


def range_json(part: Range) -> dict[str, Any]:
    sides = {"lower": part.lower, "upper": part.upper}
    return {side: None if bound is None else [bound_text(v) for v in bound] for side, bound in sides.items()}


def _days(span: timedelta) -> str:
    return counted(span.days, "day") if span.days else "less than a day"


def _value_text(value: Any) -> str:
    if isinstance(value, datetime):
        midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
        return f"{value:%Y-%m-%d}" if midnight else f"{value:%Y-%m-%d %H:%M:%S}"
    return value.hex() if isinstance(value, bytes) else str(value)
