"""The named queries: SQL in analytics/queries, with places for what a dashboard asks and for what an engine says differently.

    -- question: what it answers, in one line
    -- columns: name; name: meaning and unit; ...
    SELECT ... FROM {table} WHERE {where} ...

No other SQL reaches an engine, and every value in it is a literal that the engine's dialect made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any

from imagewarehouse import resources
from imagewarehouse.analytics.dialects import Dialect
from imagewarehouse.analytics.periods import SLOT_S, Period
from imagewarehouse.errors import BadParameter
from imagewarehouse.metadata import COLUMNS, STATUSES

CONFIDENCE_BINS = 20
LATENCY_BINS = 100  # for each factor of e: two neighbours differ by one per cent
_OF_A_FLOAT = 1e-6  # 0.15 as a float, times 20, is 3.0000001, but 0.45 is 8.9999998: both are meant to begin a bin
LEAST_MS = 0.001  # what is less has bin -1
_LESS_MS = 0.0009999  # which is there for all that is less: so no engine takes a logarithm of zero

_HEADER = re.compile(r"^-- (?P<key>question|columns): (?P<text>.+)$", re.MULTILINE)
_COMMENT = re.compile(r"^ *--.*\n", re.MULTILINE)
_PLACE = re.compile(r"\{(\w+)\}")
_NAMES = frozenset(column.name for column in COLUMNS)
_RESERVED = ("fields", "format")  # columns with a name that is a word of Impala's SQL: {format} in a query
_MOST_VALUES = 100  # of one filter
MOST_ADDRESSES = 10_000  # that networks stand for
_LONGEST = 300  # characters of a value


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """One file. `columns`: meaning by name, empty where the name says it. `reads`: columns of the table that it looks at,
    beside those of filters. `pages`: it gives whole rows, the newest first, page by page. `whole`: it
    gives a row, not figures."""

    name: str
    question: str
    columns: Mapping[str, str]
    sql: str
    reads: frozenset[str]
    pages: bool
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which rows of a period count: those that meet every condition that is given; of a tuple, one is to be met.

    `sources`: addresses and networks; `addresses`: those that the networks stand for, which somebody has looked up
    (`networks.py`). `models`: a name, a version, or `name/version`. Raises BadParameter on construction.
    """

    classes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None  # not included, unless it is 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                most = MOST_ADDRESSES if field.name == "addresses" else _MOST_VALUES
                if len(value) > most:
                    raise BadParameter(f"{field.name}: expected at most {most}, received {len(value)}")
                for text in value:
                    if not text or len(text) > _LONGEST or "\0" in text or not _is_text(text):
                        raise BadParameter(f"{field.name}: expected a text of 1 to {_LONGEST} characters")
            elif value is not None and not 0.0 <= value <= 1.0:
                raise BadParameter(f"{field.name}: expected 0.0-1.0, received {value!r}")
        for status in self.statuses:
            if status not in STATUSES:
                raise BadParameter(f"statuses: expected one of {', '.join(STATUSES)}, received {status[:40]!r}")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The row that a page of the latest requests ends with; the next page begins behind it."""

    event_time: datetime
    request_id: str


@cache
def catalog() -> Mapping[str, NamedQuery]:
    """Every named query by its name."""
    return {
        path.stem: _read(path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(resources.QUERIES.glob("*.sql"))
    }


def _read(name: str, text: str) -> NamedQuery:
    header = {match["key"]: match["text"] for match in _HEADER.finditer(text)}
    described = [entry.partition(":") for entry in header["columns"].split(";")]
    sql = _COMMENT.sub("", text).strip()
    words = set(re.findall(r"\w+", sql))
    placed = {
        "slot": "event_time",
        "where": "event_time",
        "confidence_bin": "confidence",
        "page": "request_id",
        "pictures": "image_id",
        "picture": "image_id",
        "one_of_them": "image_id",
    }
    reads = (words & _NAMES) | {placed[place] for place in _PLACE.findall(sql) if place in placed}
    return NamedQuery(
        name,
        header["question"],
        {column.strip(): meaning.strip() for column, _, meaning in described},
        sql,
        frozenset(reads),
        "{page}" in sql,
        "{page}" in sql or "{request_id}" in sql,
    )


def statement(
    query: NamedQuery,
    dialect: Dialect,
    table: str,
    period: Period,
    filters: Filters,
    *,
    threshold: float = 0.6,
    limit: int = 50,
    after: Cursor | None = None,
    request_id: str = "",
    pictures: Sequence[Any] = (),
    part: tuple[int, int] = (0, 1),
    slot_s: int = SLOT_S,
) -> str:
    """The SQL for an engine.

    `threshold`: of confidence, 0-1. `after`: for the next page of the latest requests. `pictures`: values of the dialect's
    `picture`. `part`: the first of two, (0, 2), or the second, (1, 2), of all numbers that stand for pictures.
    """
    places = {
        **{name: dialect.quoted(name) for name in _RESERVED},
        "table": table,
        "where": " AND ".join(_conditions(dialect, period, filters)),
        "slot": dialect.slot("event_time", slot_s),
        "confidence_bin": dialect.floor(f"CAST(confidence AS DOUBLE) * {CONFIDENCE_BINS} + {_OF_A_FLOAT}"),
        "latency_bin": dialect.floor(
            f"{dialect.log(f'greatest(ms, CAST({_LESS_MS} AS DOUBLE)) / {LEAST_MS}')} * {LATENCY_BINS}"
        ),
        "threshold": dialect.single(threshold),
        "limit": str(int(limit)),
        "page": "1 = 1" if after is None else _behind(dialect, after),
        "request_id": dialect.text(request_id),
        "pictures": dialect.distinct("image_id"),
        "picture": dialect.picture,
        "one_of_them": dialect.is_one_of(pictures),
        "part": "1 = 1" if part[1] == 1 else f"{dialect.picture} % {int(part[1])} = {int(part[0])}",
    }
    return _PLACE.sub(lambda match: places[match[1]], query.sql)


def columns_of(query: NamedQuery, filters: Filters) -> frozenset[str]:
    """The columns of the table that have to be there to answer it."""
    return query.reads | chosen_by(filters)


def chosen_by(filters: Filters) -> frozenset[str]:
    """The columns that decide which rows of a period count."""
    return frozenset(
        {column for column, name in _FILTERED.items() if getattr(filters, name) not in ((), None)}
        | ({"confidence"} if filters.max_confidence is not None else set())
        | ({"model_name", "model_version"} if filters.models else set())
    )


_FILTERED = {
    "predicted_class": "classes",
    "status": "statuses",
    "error_code": "errors",
    "source_ip": "sources",
    "source_user": "users",
    "image_id": "images",
    "confidence": "min_confidence",
}


def _conditions(dialect: Dialect, period: Period, filters: Filters) -> list[str]:
    found = [
        f"event_time >= {dialect.moment(period.since)}",
        f"event_time < {dialect.moment(period.until)}",
    ]
    for column, name in _FILTERED.items():
        values = getattr(filters, name)
        if name == "sources":
            values += filters.addresses
        if isinstance(values, tuple) and values:
            found.append(f"{column} IN ({', '.join(map(dialect.text, values))})")
    if filters.models:
        found.append(f"({' OR '.join(_of_model(dialect, text) for text in filters.models)})")
    # In the precision of the column: 0.9 there is less than 0.9 as a double.
    if filters.min_confidence is not None:
        found.append(f"confidence >= {dialect.single(filters.min_confidence)}")
    if filters.max_confidence is not None and filters.max_confidence < 1:
        found.append(f"confidence < {dialect.single(filters.max_confidence)}")
    return found


def _of_model(dialect: Dialect, text: str) -> str:
    name, slash, version = text.rpartition("/")
    alone = f"model_name = {dialect.text(text)} OR model_version = {dialect.text(text)}"
    both = f"model_name = {dialect.text(name)} AND model_version = {dialect.text(version)}"
    return f"{alone} OR ({both})" if slash else alone


def _behind(dialect: Dialect, cursor: Cursor) -> str:
    at, next_moment = dialect.moment(cursor.event_time), dialect.moment(cursor.event_time + dialect.step)
    return f"(event_time < {next_moment} AND (event_time < {at} OR request_id < {dialect.text(cursor.request_id)}))"


def _is_text(value: str) -> bool:
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
