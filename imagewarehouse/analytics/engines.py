"""What answers SQL: the interface of all engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from imagewarehouse.analytics.dialects import Dialect
from imagewarehouse.analytics.periods import Period


class Newest(NamedTuple):
    """Of a SELECT of whole rows, the newest first: how many it gives at most, and the columns that decide which those are."""

    limit: int
    columns: frozenset[str]


class Asked(NamedTuple):
    """A SELECT, and what an engine without tables of its own has to fetch for it."""

    sql: str
    columns: frozenset[str]
    period: Period
    newest: Newest | None = None


class Engine(Protocol):
    """Thread-safe. `table`: how the table of image records is called there."""

    dialect: Dialect
    table: str

    def rows(self, asked: Asked, /) -> Sequence[tuple[Any, ...]]:
        """The rows of the answer. Times are aware, or naive in UTC; numbers are int, float or Decimal.

        Raises AnalyticsUnavailable.
        """

    def close(self) -> None: ...
