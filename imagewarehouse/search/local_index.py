"""Searches over the embedded rows: the DuckDB file and its log, while anybody writes them.

There is no index: words are looked for in every row that meets the other conditions, with regular expressions, and likeness
is computed for each. So a row is found as soon as it is written, and what a search costs grows with the rows: see
docs/search.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from imagewarehouse.errors import BadParameter, RowStoreUnavailable, SearchUnavailable
from imagewarehouse.metadata import json_values, to_text
from imagewarehouse.rows.columns import TABLE
from imagewarehouse.rows.reading import read
from imagewarehouse.search.conditions import (
    FACET_VALUES,
    comparable,
    conditions,
    moment,
    similarity,
    sources,
    text,
    words,
)
from imagewarehouse.search.cursors import cursor_of, place_of
from imagewarehouse.search.query import MOST_ALIKE, MOST_VALUES, SHOWN, Embedding, Found, Hit, Search
from imagewarehouse.text import one_line

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_CLOSE = 4 * MOST_ALIKE  # requests, as some pictures come more than once
_BEST_FIRST = "rank DESC, event_time DESC, request_id DESC"
_BY_VALUE = ("day", "confidence")  # facets that are shown in their order, not by how many they count


class LocalIndex:
    """An `Index` over whatever answers SELECTs over `image_events` with an Arrow table."""

    def __init__(self, query: Callable[[str], pa.Table]) -> None:
        """`query`: may raise duckdb.Error and RowStoreUnavailable."""
        self._query = query

    @classmethod
    def of_file(cls, database: Path) -> LocalIndex:
        return cls(partial(read, database))

    def search(self, search: Search) -> Found:
        after = _after(search)
        with _errors():
            answer = self._query(_select(search, after, _CLOSE)).to_pylist()[0]
            if answer["cut"]:  # the same few pictures came again and again
                answer = self._query(_select(search, after, None)).to_pylist()[0]
        rows = answer["page"] or []
        hits = [_hit(row, search.like is not None) for row in rows[: search.limit]]
        more = len(rows) > search.limit > 0
        last = rows[search.limit - 1] if more else None
        return Found(
            hits,
            answer["total"],
            {name: [(one["value"], one["count"]) for one in answer[name] or []] for name in search.facets},
            None if last is None else cursor_of(search, _place(last)),
        )

    def embedding_of(self, image_id: str) -> Embedding | None:
        with _errors():
            found = self._query(
                f"SELECT model_name, model_version, embedding FROM {TABLE}"
                f" WHERE image_id = {text(image_id)} AND model_name IS NOT NULL AND model_version IS NOT NULL"
                " AND embedding IS NOT NULL ORDER BY event_time DESC, request_id DESC LIMIT 1"
            ).to_pylist()
        for row in found:
            values = bytes(value & 0xFF for value in row["embedding"])
            if any(values):
                return Embedding(row["model_name"], row["model_version"], values)
        return None

    def close(self) -> None:
        """Nothing is open between two searches."""


def _select(search: Search, after: str, close: int | None) -> str:
    """One row: `total`, a list of values and counts for each facet, and `page`, one row more than is shown.

    `close`: how many requests are looked at for the pictures that are alike. `cut`: there are pictures in others.
    """
    facets = {name: FACET_VALUES.get(name, name) for name in search.facets}
    values = "".join(f", {value} AS {name}_value" for name, value in facets.items())
    parts = ["(SELECT count(*) FROM hits) AS total", *map(_facet, facets)]
    if search.limit:
        parts.append(f"({_page(search, after)}) AS page")
    else:
        parts.append("NULL AS page")
    if search.like is None or close is None:
        parts.append("false AS cut")
    else:
        # Of pictures that are more alike than the last of these requests, all requests are among them.
        last = "(SELECT min(rank) FROM pictures) = (SELECT min(rank) FROM close)"
        parts.append(f"coalesce((SELECT count(*) FROM close) = {close} AND {last}, false) AS cut")
    tables = [sources(search)] if search.sources else []
    return f"WITH {', '.join([*tables, _hits(search, values, close)])} SELECT {', '.join(parts)}"


def _hits(search: Search, values: str, close: int | None) -> str:
    """CTEs; the last one, `hits`, has the keys of all hits, their rank and the values of the facets."""
    found, worth = words(search)
    where = [*conditions(search), *found]
    if search.like is None:
        # Without words each use of it is a look at few columns, which costs less than to keep a million keys.
        kept = "MATERIALIZED" if found else "NOT MATERIALIZED"
        return (
            f"hits AS {kept} (SELECT event_time, request_id, {worth} AS rank{values} FROM {TABLE}"
            f" WHERE {' AND '.join(where) or 'true'})"
        )
    where = [*comparable(search.like), *where]
    nearest = f"JOIN {TABLE} USING (event_time, request_id)" if values else ""
    return (
        "close AS MATERIALIZED (SELECT * FROM"
        f" (SELECT event_time, request_id, image_id, {similarity(search.like)} AS rank FROM {TABLE}"
        f" WHERE {' AND '.join(where)}) WHERE isfinite(rank) ORDER BY rank DESC{'' if close is None else f' LIMIT {close}'}),"
        " pictures AS MATERIALIZED (SELECT image_id, max(rank) AS rank, max(event_time) AS event_time FROM close"
        f" GROUP BY image_id ORDER BY rank DESC, event_time DESC, image_id LIMIT {MOST_ALIKE}),"
        " nearest AS (SELECT unnest(arg_max(struct_pack(event_time, request_id, rank), struct_pack(event_time, request_id)))"
        " FROM close SEMI JOIN pictures USING (image_id) GROUP BY image_id),"
        f" hits AS MATERIALIZED (SELECT event_time, request_id, rank{values} FROM nearest {nearest})"
    )


def _page(search: Search, after: str) -> str:
    limit = f"ORDER BY {_BEST_FIRST} LIMIT {search.limit + 1}"
    if search.like is None and not search.words.strip():
        columns = ", ".join(SHOWN)  # at once: to find the rows of keys again takes longer
        found = f"SELECT {columns}, 0 AS rank FROM {TABLE} WHERE {' AND '.join([*conditions(search), after])} {limit}"
    else:
        columns = ", ".join(f"{TABLE}.{name}" for name in SHOWN)
        keys = f"SELECT event_time, request_id, rank FROM hits WHERE {after} {limit}"
        found = f"SELECT {columns}, rank FROM ({keys}) AS page JOIN {TABLE} USING (event_time, request_id)"
    return f"SELECT list(found ORDER BY {_BEST_FIRST}) FROM ({found}) AS found"


def _facet(name: str) -> str:
    order = "value" if name in _BY_VALUE else "count DESC, value"
    # By how many, also where they are shown by value: the most frequent are those that there is room for.
    most = (
        f"SELECT {name}_value AS value, count(*) AS count FROM hits WHERE {name}_value IS NOT NULL GROUP BY ALL"
        f" ORDER BY count DESC, value LIMIT {MOST_VALUES}"
    )
    return f"(SELECT list(struct_pack(value, count) ORDER BY {order}) FROM ({most})) AS {name}"


# --- pages --------------------------------------------------------------------------------------------------------


def _place(row: dict[str, Any]) -> list[Any]:
    return [row["rank"], (row["event_time"] - _EPOCH) // _MICROSECOND, row["request_id"]]


def _after(search: Search) -> str:
    """The condition for what comes behind the page before. Raises BadParameter."""
    place = place_of(search, 3)
    if place is None:
        return "true"
    rank, time_us, request_id = place
    try:
        if isinstance(rank, bool) or not isinstance(rank, int | float) or not math.isfinite(rank):
            raise ValueError("rank")
        if isinstance(time_us, bool) or not isinstance(time_us, int) or not isinstance(request_id, str):
            raise ValueError("key")
        time = moment(_EPOCH + time_us * _MICROSECOND)
    except (ValueError, OverflowError) as err:
        raise BadParameter("cursor: is none of this search; ask for its first page") from err
    older = f"event_time <= {time} AND (event_time < {time} OR request_id < {text(request_id)})"
    if search.like is None and not search.words.strip():
        return older
    return f"(rank < {rank!r} OR (rank = {rank!r} AND {older}))"


def _hit(row: dict[str, Any], alike: bool) -> Hit:
    values = {name: row[name] for name in SHOWN}
    try:
        record = json_values(values)
    except ValueError:  # a row of another program: better shown as it is than not at all
        record = {**values, "event_time": to_text(values["event_time"])}
    return Hit(record, row["rank"] if alike else None)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except (duckdb.Error, RowStoreUnavailable) as err:
        raise SearchUnavailable(one_line(err)) from err
    except RuntimeError as err:  # DuckDB's bridge to Arrow has no better one for a query that was stopped
        if "interrupted" not in str(err).lower():
            raise
        raise SearchUnavailable("the rows were not looked through when the time of a query was over") from err
