"""From a row to the bytes of its picture."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field

from imagewarehouse.errors import ObjectMissing
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.reading import Place, StoredImages, read_image

_OBJECT = re.compile(r"(?P<location>.+)/[0-9a-f]{2}/(?P<image_id>[0-9a-f]{64})\.[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, checked against its id, and the name that a file of it may have."""

    place: Place
    content: bytes = field(repr=False)


class Pictures:
    """Reads the pictures of rows, whatever store each of them names. Thread-safe."""

    def __init__(self, store: Location | None = None) -> None:
        """`store`: where to look first; a login belongs in it, which rows do not have."""
        self._store = store
        self._opened: dict[Location, StoredImages] = {}
        self._lock = threading.Lock()

    def read(self, image_id: str, storage_uri: str | None, image_format: str | None = None) -> Picture:
        """Raises ObjectMissing, ObjectDamaged, ObjectStoreUnavailable, ConfigurationError."""
        match = _OBJECT.fullmatch(storage_uri or "")
        locations = [self._store] if self._store is not None else []
        if match is not None and not (self._store is not None and match["location"] == self._store.uri):
            locations.append(Location.parse(match["location"], "storage_uri"))
        known = FORMATS.get(image_format or "")
        for location in locations:
            images = self._images(location)
            place = images.find(image_id, known.extension if known else "jpg")
            if place is not None:
                return Picture(place, read_image(images, place))
        raise ObjectMissing(f"{storage_uri or image_id} is not there")

    def _images(self, location: Location) -> StoredImages:
        with self._lock:
            if location not in self._opened:
                self._opened[location] = StoredImages(location)
            return self._opened[location]
