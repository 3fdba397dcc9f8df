"""Where the bytes of images are: the syntax of a place, and the interface of the table that knows the place of each image.

A single object has a plain URI (`s3://bucket/images/ab/abcd.jpg`). An image in a pack has that of the pack and its first and
last byte, as an HTTP range counts them: `s3://bucket/images/batches/2026-11-30/12ab.tar#bytes=512-1423`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

_PACKED = re.compile(r"(?P<pack>[^#]+)#bytes=(?P<first>\d{1,15})-(?P<last>\d{1,15})")


@dataclass(frozen=True, slots=True)
class PackedPlace:
    """A stretch of a pack: its public URI, the first byte and how many."""

    pack: str
    start: int
    size: int

    def __str__(self) -> str:
        return f"{self.pack}#bytes={self.start}-{self.start + self.size - 1}"

    @classmethod
    def parse(cls, uri: str | None) -> PackedPlace | None:
        """None: it is the URI of a single object, or none."""
        match = _PACKED.fullmatch(uri or "")
        if match is None:
            return None
        first, last = int(match["first"]), int(match["last"])
        return cls(match["pack"], first, last - first + 1) if last >= first else None


@dataclass(frozen=True, slots=True)
class Known:
    """What the table knows of an image: its place; and when it was forgotten, where that is so.

    The place of a forgotten image stays, so that whoever compacts packs finds its bytes. They are nobody's to read.
    """

    uri: str
    forgotten_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """An image that lies in a new place, as it lay in the old one."""

    image_id: str
    old: str
    new: str


class Lookup(Protocol):
    """What readers ask the table of places. Thread-safe."""

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        """What is known of these, by image_id; an image that is not in it is in no pack that the table knows.

        Raises RowStoreUnavailable.
        """


class Locations(Lookup, Protocol):
    """The places of the images that lie in packs, one of each. Thread-safe, and shared by processes.

    A single object needs none: its key says where it is. Raises RowStoreUnavailable: nothing was changed, or it was changed
    and a second call changes nothing.
    """

    def add(self, places: Mapping[str, str]) -> None:
        """Places of images by image_id. The place of an image that has one stays; a forgotten image is there again."""

    def move(self, moves: Sequence[Move]) -> None:
        """Each image that is still in its old place, or in none, is in the new one. Of others nothing is changed."""

    def forget(self, image_ids: Iterable[str], when: datetime) -> None:
        """Of images that have a place. They keep it, with the time."""

    def forgotten(self) -> dict[str, Known]:
        """All that are forgotten."""

    def drop(self, image_ids: Iterable[str]) -> None:
        """Forgotten images whose bytes are gone: the table knows nothing of them any more. Others stay."""

    def close(self) -> None: ...
