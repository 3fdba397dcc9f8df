"""Which rows are meant: that of one id, or the newest of each picture that a filter takes.

Rows are asked for with SELECTs, so that it does not matter who answers: a running service, or the embedded store's file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.metadata import CLASSIFIED, STATUSES, to_text

Row = dict[str, Any]  # values by column
Query = Callable[[str], list[Row]]

SHORTEST = 8  # digits of an id's beginning: fewer would soon be those of several

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BEGINNING = re.compile(r"[0-9a-f-]{8,63}")
_COMPARISON = re.compile(r"\s*(?P<how><=|>=|<|>)\s*(?P<number>0?\.\d{1,9}|[01](\.\d{0,9})?)\s*")
_MOST_NAMED = 10  # of several that begin alike
_PAGE = 2000  # rows of one answer: a few MB


# --- one ----------------------------------------------------------------------------------------------------------


def find_row(query: Query, text: str) -> Row | None:
    """The newest row of a picture, by its image_id, by the request_id of one that sent it, or by how one of them begins.

    None: there is no such row. Raises ConfigurationError: it is no id; several pictures; a request without a picture.
    """
    asked = text.strip().lower()
    if _IMAGE_ID.fullmatch(asked):
        condition = f"image_id = '{asked}'"
    elif _REQUEST_ID.fullmatch(asked):
        condition = f"request_id = '{asked}'"
    elif _BEGINNING.fullmatch(asked):
        condition = f"image_id LIKE '{asked}%' OR request_id LIKE '{asked}%'"
    else:
        expected = f"an image_id (64 digits), a request_id, or how one begins, {SHORTEST} digits at least"
        raise ConfigurationError("ID", f"expected {expected}, received {text[:80]!r}")
    rows = query(
        "SELECT image_id, any_value(status) AS status, any_value(error_code) AS error_code,"
        " max(request_id) AS request_id, max(event_time) AS event_time, max(file_name) AS file_name,"
        " max(format) AS format, max_by(storage_uri, event_time) FILTER (WHERE storage_uri IS NOT NULL) AS storage_uri,"
        " max_by(predicted_class, event_time) FILTER (WHERE predicted_class IS NOT NULL) AS predicted_class"
        f" FROM image_events WHERE {condition} GROUP BY image_id ORDER BY event_time DESC LIMIT {_MOST_NAMED + 1}"
    )
    if len(rows) > 1:
        raise ConfigurationError("ID", f"{asked} is how several begin: {'; '.join(map(_named, rows))}")
    if rows and (rows[0]["image_id"] is None or rows[0]["storage_uri"] is None):
        code = f" ({rows[0]['error_code']})" if rows[0]["error_code"] else ""
        raise ConfigurationError(
            "ID", f"the request {rows[0]['request_id']} is {rows[0]['status']}{code}: no picture is kept"
        )
    return rows[0] if rows else None


def _named(row: Row) -> str:
    file_name = f" ({row['file_name']})" if row["file_name"] else ""
    return f"{row['image_id'] or 'request ' + row['request_id']}{file_name}, {to_text(row['event_time'])[:19]}"


# --- many ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which pictures: those of rows that meet every condition that is given.

    `since` and `until` are aware; `until` is not included. `confidence`: comparisons such as `<0.6`, all of them to be met.
    """

    classes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = (CLASSIFIED,)
    since: datetime | None = None
    until: datetime | None = None
    confidence: tuple[str, ...] = ()
    source_user: str | None = None
    limit: int = 10_000

    def __post_init__(self) -> None:
        unknown = set(self.statuses) - set(STATUSES)
        if unknown:
            raise ConfigurationError("--status", f"expected one of {', '.join(STATUSES)}, received {min(unknown)!r}")
        for comparison in self.confidence:
            if not _COMPARISON.fullmatch(comparison):
                expected = "a comparison with a number of 0 to 1, such as '<0.6'"
                raise ConfigurationError("--confidence", f"expected {expected}, received {comparison!r}")
        if self.since and self.until and self.since >= self.until:
            raise ConfigurationError("--until", "is not after --since, so that no time lies between them")

    def as_json(self) -> dict[str, Any]:
        """The same for the same arguments."""
        values = {
            name: to_text(value) if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def condition(self) -> str:
        parts = ["image_id IS NOT NULL", "storage_uri IS NOT NULL", f"status IN ({_texts(self.statuses)})"]
        if self.classes:
            parts.append(f"predicted_class IN ({_texts(self.classes)})")
        if self.since:
            parts.append(f"event_time >= TIMESTAMPTZ '{to_text(self.since)}'")
        if self.until:
            parts.append(f"event_time < TIMESTAMPTZ '{to_text(self.until)}'")
        if self.source_user is not None:
            parts.append(f"source_user = {_texts((self.source_user,))}")
        matches = filter(None, map(_COMPARISON.fullmatch, self.confidence))
        parts += [f"confidence {match['how']} {float(match['number'])!r}::FLOAT" for match in matches]
        return " AND ".join(parts)


def parse_time(text: str, setting: str) -> datetime:
    """A date or a time of ISO 8601; without a zone it is UTC. Raises ConfigurationError."""
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as err:
        expected = "2026-11-01 or 2026-11-01T12:30:00Z"
        raise ConfigurationError(setting, f"expected a date or time such as {expected}, received {text!r}") from err
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)


def wanted_rows(query: Query, wanted: Wanted) -> Iterator[Row]:
    """The newest row of each picture, newest first, page by page: no answer is large, and no file is open for long."""
    seen: set[bytes] = set()
    before = ""
    while True:
        page = query(
            f"SELECT * FROM image_events WHERE {wanted.condition()}{before}"
            f" ORDER BY event_time DESC, request_id DESC LIMIT {_PAGE}"
        )
        for row in page:
            image_id = bytes.fromhex(row["image_id"])
            if image_id not in seen:
                seen.add(image_id)
                yield row
                if len(seen) >= wanted.limit:
                    return
        if len(page) < _PAGE:
            return
        time, request_id = to_text(page[-1]["event_time"]), page[-1]["request_id"]
        # The first condition lets DuckDB pass over row groups, which it does not see in the second.
        before = (
            f" AND event_time <= TIMESTAMPTZ '{time}'"
            f" AND (event_time < TIMESTAMPTZ '{time}' OR request_id < {_texts((request_id,))})"
        )


def _texts(values: tuple[str, ...]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)
