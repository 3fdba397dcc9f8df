"""Forgets images: what would go and what stays, and then that it goes.

Pictures go first and rows last. So after an interruption, wherever it was, the rows that are left say what is still to be
done, and the same command finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from imagewarehouse.keeping.pictures import Found, StoredPictures
from imagewarehouse.rows.whole import Mention, WholeTable

Thumbnails = Callable[[Collection[str]], int]
"""Removes the thumbnails of images; gives how many there were."""

_OLD_AT_ONCE = 10_000  # pictures of a retention that are removed together


@dataclass(frozen=True, slots=True)
class Plan:
    """What would go. `staying`: images of which rows go and pictures stay, with who else has sent them."""

    rows: tuple[Mention, ...] = ()
    pictures: tuple[Found, ...] = ()
    staying: dict[str, frozenset[str | None]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of pictures."""
        return sum(each.size for each in self.pictures)

    @property
    def packed(self) -> int:
        """Pictures whose bytes go with the next compaction."""
        return sum(each.packed is not None for each in self.pictures)

    @property
    def image_ids(self) -> list[str]:
        """The images of which nothing stays, those whose picture has gone before as well."""
        ids = {row.image_id for row in self.rows if row.image_id is not None} | {
            each.image_id for each in self.pictures
        }
        return sorted(ids - self.staying.keys())

    def __bool__(self) -> bool:
        return bool(self.rows or self.pictures)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`late`: rows that came while their images were being forgotten; their picture may be gone."""

    thumbnails: int = 0
    late: tuple[Mention, ...] = ()


def plan_images(table: WholeTable, pictures: StoredPictures, image_ids: Collection[str]) -> Plan:
    """All rows of these images, and the pictures; also such as no row tells of."""
    rows = table.of_images(image_ids)
    return Plan(tuple(rows), tuple(pictures.find(_uris(image_ids, rows))))


def plan_user(table: WholeTable, pictures: StoredPictures, source_user: str) -> Plan:
    """All rows of a user, and the pictures that no row of anybody else points to."""
    rows = table.of_user(source_user)
    image_ids = {row.image_id for row in rows if row.image_id is not None}
    of_all = table.of_images(image_ids)
    others: dict[str, set[str | None]] = {}
    for row in of_all:
        if row.image_id is not None and row.source_user != source_user and row.storage_uri is not None:
            others.setdefault(row.image_id, set()).add(row.source_user)
    return Plan(
        tuple(rows),
        tuple(pictures.find(_uris(image_ids - others.keys(), of_all))),
        {image_id: frozenset(users) for image_id, users in others.items()},
    )


def plan_older(table: WholeTable, pictures: StoredPictures, before: datetime) -> Iterator[Plan]:
    """The pictures whose newest row is older; rows stay. In parts, as there may be millions."""
    wanted = ((image_id, [storage_uri]) for image_id, storage_uri in table.last_seen(before))
    # Rows stay, and go on to name packs out of which their pictures have gone long ago.
    found = pictures.find_each(wanted, _OLD_AT_ONCE, lost=False)
    while some := tuple(islice(found, _OLD_AT_ONCE)):
        # Since the table was read for the first part, hours may have passed: a picture that was sent again stays.
        rows = table.of_images([each.image_id for each in some])
        again = {row.image_id for row in rows if row.event_time >= before}
        yield Plan(pictures=tuple(each for each in some if each.image_id not in again))


def carry_out(
    plan: Plan, table: WholeTable, pictures: StoredPictures, thumbnails: Thumbnails, when: datetime
) -> Outcome:
    """Let it go. Raises ObjectStoreUnavailable, RowStoreUnavailable, OSError: the same command finishes it.

    An image that is sent again meanwhile: its new row stays, since rows go by their keys.
    """
    pictures.remove(plan.pictures, when)
    removed = thumbnails(plan.image_ids)
    table.delete(plan.rows)
    late = [
        row
        for row in table.of_images(plan.image_ids)
        if row.storage_uri is not None and (plan.rows or row.event_time >= when)
    ]
    return Outcome(removed, tuple(late))


def _uris(image_ids: Collection[str], rows: Collection[Mention]) -> dict[str, set[str]]:
    uris: dict[str, set[str]] = {image_id: set() for image_id in image_ids}
    for row in rows:
        if row.image_id in uris and row.storage_uri is not None:
            uris[row.image_id].add(row.storage_uri)
    return uris
