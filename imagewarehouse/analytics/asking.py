"""One question to an engine: a named query about a period, with what a dashboard chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from imagewarehouse.analytics.catalog import Cursor, Filters, catalog, chosen_by, columns_of, statement
from imagewarehouse.analytics.engines import Asked, Engine, Newest
from imagewarehouse.analytics.periods import Period, Width
from imagewarehouse.metadata import KEY

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a panel. `training`: images by class that the model was trained on, for its drift."""

    period: Period
    tz: ZoneInfo
    filters: Filters = Filters()
    threshold: float = 0.6
    limit: int = 50
    width: Width | None = None
    after: Cursor | None = None
    training: Mapping[str, int] = field(default_factory=dict)


def ask(engine: Engine, name: str, request: Request, period: Period | None = None, **places: Any) -> list[Row]:
    """The rows of the answer. `places`: more of what `statement` takes. Raises AnalyticsUnavailable."""
    return [tuple(row) for row in engine.rows(asked(engine, name, request, period, **places))]


def asked(engine: Engine, name: str, request: Request, period: Period | None = None, **places: Any) -> Asked:
    query, stretch = catalog()[name], period or request.period
    sql = statement(
        query, engine.dialect, engine.table, stretch, request.filters,
        threshold=request.threshold, limit=request.limit, after=request.after, **places,
    )  # fmt: skip
    newest = Newest(request.limit, chosen_by(request.filters).union(KEY)) if query.pages else None
    return Asked(sql, columns_of(query, request.filters), stretch, newest)
