"""Pictures out of the store again: where an image lies, and its bytes, checked against its id.

An image lies in a pack where the table of places says so. Otherwise it has an object of its own, whose key is made of the
image's id and its format, so the few suffixes that there are tell where it can be: a question for each. A row is not needed.

A compaction may move an image at any moment. It says so in the table before it removes what was there, so whoever finds
nothing asks the table once more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from imagewarehouse.errors import ObjectDamaged, ObjectMissing, ObjectStoreUnavailable, TooLarge
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.local import LocalStore
from imagewarehouse.objects.packs import HEADER, split, suffix_in
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import Known, Lookup, PackedPlace

IMAGE_ID = re.compile(r"[0-9a-f]{64}")
UNKNOWN_TYPE = "application/octet-stream"
PIECE = 1 << 20  # bytes that are read at once

_MEDIA_TYPES = {f.extension: f.media_types[0] for f in FORMATS.values()} | {"bin": UNKNOWN_TYPE}
_SUFFIXES = tuple(_MEDIA_TYPES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of an image are: `size` of them in the object `key`, from `start` on.

    `beginning`: the first of them where they were read already.
    """

    image_id: str
    key: str
    size: int
    suffix: str
    start: int = 0
    beginning: bytes = field(default=b"", repr=False, compare=False)

    @property
    def file_name(self) -> str:
        """For whoever saves it: nothing in it comes from a client."""
        return f"{self.image_id}.{self.suffix}"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES.get(self.suffix, UNKNOWN_TYPE)


class Images(Protocol):
    """Where images are. Thread-safe.

    Both raise ObjectStoreUnavailable, RowStoreUnavailable and ObjectDamaged.
    """

    def find(self, image_id: str, likely: str = "jpg", stored: str | None = None) -> Place | None:
        """The place of an image; None where there is none.

        `likely`: the suffix to look for first. `stored`: the `storage_uri` of a row, for an image that the table lacks.
        """

    def read(self, place: Place, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of an image, to its end without `length`. Raises ObjectMissing, ObjectDamaged: it has fewer."""


class StoredImages:
    """The images of a store: in packs, and under the keys that `ImageStore.put` gives. An `Images`."""

    def __init__(self, store: ObjectStore, locations: Lookup | None = None) -> None:
        """`locations`: the table of places; without it only rows tell of packs. The store is closed with this."""
        self.location = store.location
        self._store = store
        self._locations = locations
        self._pool = ThreadPoolExecutor(store.connections, thread_name_prefix="find") if store.connections > 1 else None

    def find(self, image_id: str, likely: str = "jpg", stored: str | None = None) -> Place | None:
        if not IMAGE_ID.fullmatch(image_id):
            return None
        known = self._known(image_id)
        place = self._look(image_id, likely, known, stored)
        if place is None and self._locations is not None:
            before, known = known, self._known(image_id)
            if known != before:
                place = self._look(image_id, likely, known, stored)
        if place is None:
            self._check_folder()
        return place

    def read(self, place: Place, start: int = 0, length: int | None = None) -> bytes:
        wanted = place.size - start if length is None else min(length, place.size - start)
        if start + wanted <= len(place.beginning):
            return place.beginning[start : start + wanted]
        try:
            content = self._store.get(place.key, place.start + start, wanted)
        except ObjectMissing:
            moved = self.find(place.image_id, place.suffix)
            if moved is None or moved == place or moved.size != place.size:
                raise
            content = self._store.get(moved.key, moved.start + start, wanted)
        if len(content) != wanted:
            raise ObjectDamaged(f"the object of {place.image_id} is shorter than it was")
        return content

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._store.close()

    def _known(self, image_id: str) -> Known | None:
        return None if self._locations is None else self._locations.find([image_id]).get(image_id)

    def _look(self, image_id: str, likely: str, known: Known | None, stored: str | None) -> Place | None:
        if known is not None and known.forgotten_at is not None:
            return self._by_key(image_id, likely)  # its own object went when it was forgotten: this one came after that
        for uri in (known.uri if known else None, stored):
            packed = PackedPlace.parse(uri)
            place = self._in_pack(image_id, packed) if packed else None
            if place is not None:
                return place
        return self._by_key(image_id, likely)

    def _in_pack(self, image_id: str, packed: PackedPlace) -> Place | None:
        """One question gives the picture's name as well, and of most pictures all bytes."""
        parts = split(packed.pack)  # the location may have moved with all that is in it: only the key counts
        if parts is None:
            return None
        _, key = parts
        wanted = HEADER + min(packed.size, PIECE)
        try:
            content = self._store.get(key, max(0, packed.start - HEADER), wanted)
        except ObjectMissing:
            return None
        suffix = suffix_in(content[:HEADER], image_id)
        if suffix is None or len(content) != wanted or packed.start < HEADER:
            raise ObjectDamaged(f"{packed} is not the image {image_id}")
        return Place(image_id, key, packed.size, suffix, packed.start, content[HEADER:])

    def _by_key(self, image_id: str, likely: str) -> Place | None:
        first, *others = sorted(_SUFFIXES, key=lambda suffix: suffix != likely)
        place = self._single(image_id, first)
        if place is not None:
            return place
        # Across a network each question is a round trip: the others are asked at once.
        every = map if self._pool is None else self._pool.map
        return next(filter(None, every(lambda suffix: self._single(image_id, suffix), others)), None)

    def _single(self, image_id: str, suffix: str) -> Place | None:
        key = f"{image_id[:2]}/{image_id}.{suffix}"
        found = self._store.stat(key)
        return None if found is None else Place(image_id, key, found.size, suffix)

    def _check_folder(self) -> None:
        """A disk that is not mounted has no pictures, which does not mean that there are none."""
        if isinstance(self._store, LocalStore) and not self._store.folder.is_dir():
            raise ObjectStoreUnavailable(f"{self.location} is not there")


def pieces(images: Images, place: Place) -> Iterator[bytes]:
    """The bytes of an image, a piece at a time. The last one is given only once all of them are found to be the image.

    Raises ObjectDamaged, ObjectMissing, ObjectStoreUnavailable.
    """
    digest, start = hashlib.sha256(), 0
    while True:
        piece = images.read(place, start, PIECE)
        digest.update(piece)
        start += len(piece)
        if start >= place.size:
            if digest.hexdigest() != place.image_id:
                raise ObjectDamaged(f"the object of {place.image_id} is not that image any more")
            yield piece
            return
        yield piece


def read_image(images: Images, place: Place, max_bytes: int | None = None) -> bytes:
    """The whole image, which is the one of its id. Raises as `pieces`; TooLarge."""
    if max_bytes is not None and place.size > max_bytes:
        raise TooLarge(f"the image has {place.size} bytes, at most {max_bytes} are read here")
    return b"".join(pieces(images, place))
