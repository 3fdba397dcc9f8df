"""What answers SQL: the interface of all engines."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa

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


@runtime_checkable
class InProcess(Engine, Protocol):
    """One that hands over millions of numbers as cheaply as one."""

    def table_of(self, asked: Asked, /) -> pa.Table:
        """The answer as columns. Raises AnalyticsUnavailable."""

    def together(self) -> AbstractContextManager[InProcess]:
        """For several questions: they see the same rows, and what they all read is read once. Raises AnalyticsUnavailable."""
