"""The pictures of images that are to go: where their bytes are, and how they go.

A single object is deleted. The bytes of a picture in a pack stay until the next compaction, which leaves out what the table
of places calls forgotten; from then on nobody reads them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from imagewarehouse.errors import ConfigurationError, ObjectStoreUnavailable
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.compacting import under_way
from imagewarehouse.objects.local import LocalStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import Known, Locations, PackedPlace

SINGLE = re.compile(r"(?P<location>.+)/(?P<key>[0-9a-f]{2}/[0-9a-f]{64}\.[a-z0-9]+)")
"""The storage_uri of a single object."""

SUFFIXES = (*(f.extension for f in FORMATS.values()), "bin")
NO_SETTINGS = StoreSettings()
_LISTED_FROM = 1000  # pictures: then one list of the store is quicker than a question for each
_AT_ONCE = 50_000
_THREADS = 16


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A single object of an image: the store, the key in it, and its bytes."""

    location: Location
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """Where an image is now. Nowhere: neither `objects` nor `packed`."""

    image_id: str
    objects: tuple[StoredObject, ...] = ()
    packed: PackedPlace | None = None

    @property
    def size(self) -> int:
        """Bytes that go, sooner or later."""
        return sum(each.size for each in self.objects) + (self.packed.size if self.packed else 0)

    def __bool__(self) -> bool:
        return bool(self.objects or self.packed)


class StoredPictures:
    """Finds and removes pictures, whatever stores their rows name. Used by one thread."""

    def __init__(
        self, locations: Locations | None, store: Location | None = None, settings: StoreSettings = NO_SETTINGS
    ) -> None:
        """`locations`: None where nothing is to be removed. `store`: its login is used, and it is looked into as well."""
        self._settings = settings
        self._locations = locations
        self._store = store
        self._opened: dict[Location, ObjectStore] = {}
        self._listed: dict[Location, dict[str, int]] = {}
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="forget")

    def find(self, wanted: Mapping[str, Collection[str]]) -> list[Found]:
        """Where images are, by image_id, with every storage_uri that rows name; those that are nowhere are not given.

        Without a storage_uri `store` is looked through for any format. Raises ObjectStoreUnavailable, RowStoreUnavailable.
        """
        return list(self.find_each(wanted.items(), len(wanted)))

    def find_each(
        self, wanted: Iterable[tuple[str, Collection[str]]], count: int, *, lost: bool = True
    ) -> Iterator[Found]:
        """As `find`, of about `count` images that need not be in memory at once.

        `lost`: a picture in a pack that a row names and the table of places does not know counts as there.
        """
        self._listed.clear()
        remaining = iter(wanted)
        while some := dict(islice(remaining, _AT_ONCE)):
            known = self._locations.find(some) if self._locations is not None else {}
            places = [
                (image_id, place)
                for image_id, uris in some.items()
                for place in sorted(self._places(image_id, uris), key=str)
            ]
            sizes = self._sizes(places, listed=count >= _LISTED_FROM)
            objects: dict[str, list[StoredObject]] = {}
            for (image_id, (location, key)), size in zip(places, sizes, strict=True):
                if size is not None:
                    objects.setdefault(image_id, []).append(StoredObject(location, key, size))
            for image_id, uris in some.items():
                found = Found(
                    image_id, tuple(objects.get(image_id, ())), self._packed(known.get(image_id), uris if lost else ())
                )
                if found:
                    yield found

    def remove(self, found: Collection[Found], when: datetime) -> None:
        """Done twice, it changes nothing. Raises ObjectStoreUnavailable, RowStoreUnavailable: some may be gone."""
        packed = {each.image_id: str(each.packed) for each in found if each.packed}
        if packed:
            # What the table has lost in a power failure gets its place again, or a compaction would take it for new.
            self._forget(packed, when)
        objects = [each for one in found for each in one.objects]
        every = map if all(self._open(each.location).connections == 1 for each in objects) else self._pool.map
        for _ in every(lambda each: self._open(each.location).delete(each.key), objects):
            pass
        self._forget_under_way({one.image_id: one.objects[0] for one in found if one.objects}, when)

    def _forget_under_way(self, removed: Mapping[str, StoredObject], when: datetime) -> None:
        """Objects that a compaction is taking apart, or has: it would bring them back in a pack. Asked after the deletion."""
        if self._locations is None or not removed:
            return
        sources = {each: under_way(self._open(each)) for each in {one.location for one in removed.values()}}
        there = self._locations.find(removed)
        gone = {
            image_id: one.location.child(one.key)
            for image_id, one in removed.items()
            if image_id in there or one.key in sources[one.location]
        }
        if gone:
            self._forget(gone, when)

    def _forget(self, places: Mapping[str, str], when: datetime) -> None:
        """An image that the table knows keeps its place there, the others get this one."""
        if self._locations is None:
            raise ConfigurationError("--database", "has no table of places")
        known = self._locations.find(places)
        self._locations.add({image_id: place for image_id, place in places.items() if image_id not in known})
        # Also those that are forgotten already: a copy that came since then is to go as well.
        self._locations.forget(places, when)

    def close(self) -> None:
        self._pool.shutdown(wait=False)
        for store in self._opened.values():
            store.close()

    def _places(self, image_id: str, uris: Collection[str]) -> set[tuple[Location, str]]:
        """Where single objects can be."""
        keys = set()
        places = set()
        for match in filter(None, map(SINGLE.fullmatch, uris)):
            keys.add(match["key"])
            if self._store is None or match["location"] != self._store.uri:
                places.add((Location.parse(match["location"], "storage_uri"), match["key"]))
        if self._store is not None:
            # A picture that was packed may lie beside it as a single object, and of one without a row nothing is known.
            keys = keys or {f"{image_id[:2]}/{image_id}.{suffix}" for suffix in SUFFIXES}
            places |= {(self._store, key) for key in keys}
        return places

    def _packed(self, known: Known | None, uris: Collection[str]) -> PackedPlace | None:
        """Nothing where it is forgotten already."""
        if known is not None:
            return None if known.forgotten_at else PackedPlace.parse(known.uri)
        return next(filter(None, map(PackedPlace.parse, uris)), None)

    def _sizes(self, places: Collection[tuple[str, tuple[Location, str]]], *, listed: bool) -> list[int | None]:
        def asked(place: tuple[str, tuple[Location, str]]) -> int | None:
            location, key = place[1]
            found = self._open(location).stat(key)
            return None if found is None else found.size

        if not listed:
            every = map if all(self._open(location).connections == 1 for _, (location, _) in places) else self._pool.map
            return list(every(asked, places))
        for _, (location, _) in places:
            if location not in self._listed:
                self._listed[location] = {each.key: each.size for each in self._open(location).list()}
        return [self._listed[location].get(key) for _, (location, key) in places]

    def _open(self, location: Location) -> ObjectStore:
        if location not in self._opened:
            self._opened[location] = open_there(location, self._settings)
        return self._opened[location]


def open_there(location: Location, settings: StoreSettings) -> ObjectStore:
    """A store that is there: a disk that is not mounted has no pictures, which does not mean that there are none.

    Raises ObjectStoreUnavailable, ConfigurationError.
    """
    store = open_store(location, settings)
    if isinstance(store, LocalStore) and not store.folder.is_dir():
        raise ObjectStoreUnavailable(f"{location} is not there")
    return store
