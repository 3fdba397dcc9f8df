"""From a row to the bytes of its picture."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from imagewarehouse.errors import ObjectMissing
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.packs import split
from imagewarehouse.objects.reading import Place, StoredImages, read_image
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.places import Known, Lookup, PackedPlace

_OBJECT = re.compile(r"(?P<location>.+)/[0-9a-f]{2}/(?P<image_id>[0-9a-f]{64})\.[a-z0-9]+")
_NO_SETTINGS = StoreSettings()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, checked against its id, and the name that a file of it may have."""

    place: Place
    content: bytes = field(repr=False)


class Pictures:
    """Reads the pictures of rows, whatever store each of them names. Thread-safe."""

    def __init__(
        self, store: Location | None = None, settings: StoreSettings = _NO_SETTINGS, locations: Lookup | None = None
    ) -> None:
        """`store`: where to look first; a login may be in it, which rows do not have. `settings`: how stores are reached."""
        self._store = store
        self._settings = settings
        self._locations = None if locations is None else _Ahead(locations)
        self._opened: dict[Location, StoredImages] = {}
        self._lock = threading.Lock()

    def expect(self, image_ids: Iterable[str]) -> None:
        """Ask for the places of these at once, because they are read next. Raises RowStoreUnavailable."""
        if self._locations is not None:
            self._locations.ask(image_ids)

    def read(self, image_id: str, storage_uri: str | None, image_format: str | None = None) -> Picture:
        """Raises ObjectMissing, ObjectDamaged, ObjectStoreUnavailable, RowStoreUnavailable, ConfigurationError."""
        known = FORMATS.get(image_format or "")
        for location in self._candidates(image_id, storage_uri):
            images = self._images(location)
            place = images.find(image_id, known.extension if known else "jpg", storage_uri)
            if place is not None:
                return Picture(place, read_image(images, place))
        raise ObjectMissing(f"{storage_uri or image_id} is not there")

    def _candidates(self, image_id: str, storage_uri: str | None) -> Iterator[Location]:
        """The given store, that of the row, that of the table of places; each once."""
        if self._store is not None:
            yield self._store
        seen = {self._store.uri} if self._store is not None else set()
        named = location_in(storage_uri)
        if named is not None and named not in seen:
            seen.add(named)
            yield Location.parse(named, "storage_uri")
        if self._locations is not None:
            elsewhere = self._locations.find([image_id]).get(image_id)
            named = None if elsewhere is None else location_in(elsewhere.uri)
            if named is not None and named not in seen:
                yield Location.parse(named, "storage_uri")

    def _images(self, location: Location) -> StoredImages:
        with self._lock:
            if location not in self._opened:
                self._opened[location] = StoredImages(open_store(location, self._settings), self._locations)
            return self._opened[location]


class _Ahead:
    """A `Lookup` that may be asked for many at once beforehand. Each answer is given once: the next one is a new one.

    An image is asked for by one thread at a time.
    """

    def __init__(self, locations: Lookup) -> None:
        self._locations = locations
        self._answers: dict[str, Known | None] = {}

    def ask(self, image_ids: Iterable[str]) -> None:
        wanted = list(image_ids)
        found = self._locations.find(wanted)
        self._answers.update((image_id, found.get(image_id)) for image_id in wanted)

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        found, unasked = {}, []
        for image_id in image_ids:
            if image_id not in self._answers:
                unasked.append(image_id)
            elif (known := self._answers.pop(image_id)) is not None:
                found[image_id] = known
        return {**found, **self._locations.find(unasked)} if unasked else found


def location_in(uri: str | None) -> str | None:
    """Of a picture's own object or of a place in a pack."""
    packed = PackedPlace.parse(uri)
    if packed is not None:
        parts = split(packed.pack)
        return None if parts is None else parts[0]
    match = _OBJECT.fullmatch(uri or "")
    return None if match is None else match["location"]
