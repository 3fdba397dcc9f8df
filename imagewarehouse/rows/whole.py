"""All rows of image records, for whoever forgets images, backs rows up or brings them back: embedded or in Kudu."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import pyarrow as pa


class Mention(NamedTuple):
    """What a row says of an image, and the key of the row."""

    event_time: datetime
    request_id: str
    image_id: str | None
    source_user: str | None
    storage_uri: str | None


class Stretch(NamedTuple):
    """Rows from one time on and before another one; None: without a bound on that side."""

    since: datetime | None
    until: datetime | None

    @property
    def name(self) -> str:
        """`2026-11` for a month; else the day or time that it begins with."""
        if self.since is None:
            return "first"
        if self.until == next_month(self.since) and self.since == month_of(self.since):
            return f"{self.since:%Y-%m}"
        return f"{self.since:%Y-%m-%dT%H%M%S}".removesuffix("T000000")


class WholeTable(Protocol):
    """The table of one row store. Used by one thread. Every call raises RowStoreUnavailable."""

    where: str
    """The file or table, as an operator knows it."""

    def of_images(self, image_ids: Collection[str]) -> list[Mention]:
        """Every row of these images, in any order."""

    def of_user(self, source_user: str) -> list[Mention]:
        """Every row of this user, those without an image as well."""

    def last_seen(self, before: datetime) -> Iterator[tuple[str, str]]:
        """(image_id, storage_uri) of each stored image of which no row is as young as that; the newest storage_uri."""

    def delete(self, rows: Sequence[Mention]) -> None:
        """By their keys; one that is not there any more is no error."""

    def stretches(self) -> list[Stretch]:
        """Where the rows lie: months, oldest first, or as the table was laid out. Each row is in one of them."""

    def count(self, stretch: Stretch) -> int:
        """How many rows lie in a stretch."""

    def pages(self, stretch: Stretch) -> Iterator[pa.Table]:
        """The rows of a stretch in tables of SCHEMA, some thousand each, ordered by their key."""

    def write(self, rows: pa.Table) -> None:
        """Rows of SCHEMA, each in the place of the one with its key. Raises RowRejected: some cannot be written."""

    def is_empty(self) -> bool: ...

    def close(self) -> None: ...


def month_of(moment: datetime) -> datetime:
    """The first moment of its month."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    """The first moment of the month after it."""
    first = month_of(moment)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
