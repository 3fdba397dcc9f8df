"""Where SQL engines differ: literals, and what the named queries do with times and numbers. Everything else is the same SQL.

Filters come from people, so they are literals of the engine, never text put into a statement. DuckDB and Trino double a quote;
Impala and Spark read backslashes in a literal, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from imagewarehouse.rows.columns import NUMBER


class Dialect(Protocol):
    """SQL of one engine. Expressions give BIGINT where they say integer. `step`: the least time it tells apart."""

    @property
    def name(self) -> str: ...

    @property
    def step(self) -> timedelta: ...

    def quoted(self, name: str, /) -> str:
        """A column whose name means something there."""

    def text(self, value: str, /) -> str:
        """A literal."""

    def moment(self, value: datetime, /) -> str:
        """A literal of an aware time, down to a step, that event_time may be less than (`<`) or not (`>=`)."""

    def single(self, value: float, /) -> str:
        """A literal of single precision, as the column confidence is: 0.9 there is less than 0.9 as a double."""

    def slot(self, column: str, slot_s: int, /) -> str:
        """Integer: which of the stretches of so many seconds since 1970."""

    def floor(self, expression: str, /) -> str:
        """Integer: the greatest one that is not greater."""

    def log(self, expression: str, /) -> str:
        """The natural logarithm, a double."""

    def distinct(self, column: str, /) -> str:
        """How many distinct values a column of long texts has that is never null."""

    @property
    def picture(self) -> str:
        """What stands for a picture and is shorter than its id; in the order of the ids. Two pictures may share it."""

    def is_one_of(self, pictures: Sequence[Any], /) -> str:
        """A condition: `picture` has one of these values."""


def _utc(value: datetime, timespec: str = "microseconds") -> str:
    return value.astimezone(timezone.utc).replace(tzinfo=None).isoformat(sep=" ", timespec=timespec)


class _Standard:
    """What the engines have in common."""

    __slots__ = ()

    def quoted(self, name: str) -> str:
        return f'"{name}"'

    def text(self, value: str) -> str:
        return "'" + value.replace("'", "''") + "'"

    def single(self, value: float) -> str:
        return f"CAST({value!r} AS FLOAT)"

    def floor(self, expression: str) -> str:
        return f"CAST(floor({expression}) AS BIGINT)"

    def log(self, expression: str) -> str:
        return f"ln({expression})"

    def distinct(self, column: str) -> str:
        return f"count(DISTINCT {column})"

    @property
    def picture(self) -> str:
        return "substr(image_id, 1, 12)"

    def is_one_of(self, pictures: Sequence[Any]) -> str:
        return f"{self.picture} IN ({', '.join(map(self.text, pictures))})" if pictures else "1 = 0"


@dataclass(frozen=True, slots=True)
class DuckDb(_Standard):
    name: str = "duckdb"
    step: timedelta = timedelta(microseconds=1)

    def moment(self, value: datetime) -> str:
        return f"TIMESTAMPTZ '{_utc(value)}+00'"

    def slot(self, column: str, slot_s: int) -> str:
        return f"epoch_us({column}) // {slot_s * 1_000_000}"

    def distinct(self, column: str) -> str:
        # Of 64 bits each: of five million texts two are alike in one of a million such counts, and a twelfth of the time.
        return f"count(DISTINCT hash({column}))"


@dataclass(frozen=True, slots=True)
class DuckDbFile(DuckDb):
    """The embedded rows, which have a number beside each image_id."""

    @property
    def picture(self) -> str:
        return NUMBER

    def is_one_of(self, pictures: Sequence[Any]) -> str:
        # As a subquery: DuckDB then passes over rows before it reads their texts, a third of the time.
        values = ", ".join(f"({int(number)}::UBIGINT)" for number in pictures)
        return f"{NUMBER} IN (SELECT number FROM (VALUES {values}) AS pictures(number))" if pictures else "1 = 0"


@dataclass(frozen=True, slots=True)
class Trino(_Standard):
    """Trino's Kudu connector shows UNIXTIME_MICROS as timestamp(3), in UTC, without the microseconds.

    But Kudu compares with them: what is after the millisecond of an `=` or a `<=` is lost. So all moments are whole
    milliseconds, and stand behind `>=` and `<` only; two stretches that follow each other still share no row.
    """

    name: str = "trino"
    step: timedelta = timedelta(milliseconds=1)

    def moment(self, value: datetime) -> str:
        return f"TIMESTAMP '{_utc(value, 'milliseconds')}'"

    def single(self, value: float) -> str:
        return f"CAST({value!r} AS REAL)"

    def slot(self, column: str, slot_s: int) -> str:
        return self.floor(f"to_unixtime(with_timezone({column}, 'UTC')) / {slot_s}")


@dataclass(frozen=True, slots=True)
class Impala(_Standard):
    """Impala shows UNIXTIME_MICROS as TIMESTAMP in UTC, and so does Spark in a session whose zone is UTC."""

    name: str = "impala"
    step: timedelta = timedelta(microseconds=1)

    def quoted(self, name: str) -> str:
        return f"`{name}`"

    def text(self, value: str) -> str:
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def moment(self, value: datetime) -> str:
        return f"CAST('{_utc(value)}' AS TIMESTAMP)"

    def slot(self, column: str, slot_s: int) -> str:
        return self.floor(f"unix_timestamp({column}) / {slot_s}")


@dataclass(frozen=True, slots=True)
class Spark(Impala):
    """HiveServer2 as Spark serves it; impyla speaks to both."""

    name: str = "spark"
