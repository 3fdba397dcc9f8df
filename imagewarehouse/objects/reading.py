"""Pictures out of the store again: where the object of an image is, and its bytes, checked against its id.

A row is not needed for it. The key of an object is made of the image's id and its format, so the few suffixes that there
are tell where it can be: a question for each. Whoever keeps pictures otherwise (many in one file, say) has another `Images`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyarrow import fs

from imagewarehouse.errors import ObjectDamaged, ObjectStoreUnavailable, TooLarge
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store

IMAGE_ID = re.compile(r"[0-9a-f]{64}")
UNKNOWN_TYPE = "application/octet-stream"
PIECE = 1 << 20  # bytes that are read at once

_MEDIA_TYPES = {f.extension: f.media_types[0] for f in FORMATS.values()} | {"bin": UNKNOWN_TYPE}
_SUFFIXES = tuple(_MEDIA_TYPES)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of an image are. `size` in bytes."""

    image_id: str
    key: str
    size: int

    @property
    def suffix(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def file_name(self) -> str:
        """For whoever saves it: nothing in it comes from a client."""
        return f"{self.image_id}.{self.suffix}"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES.get(self.suffix, UNKNOWN_TYPE)


class Images(Protocol):
    """Where images are. Thread-safe.

    Both raise ObjectStoreUnavailable.
    """

    def find(self, image_id: str, likely: str = "jpg") -> Place | None:
        """The place of an image; None where there is none. `likely`: the suffix to look for first."""

    def read(self, place: Place, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of an image, to its end without `length`. Raises ObjectMissing, ObjectDamaged: it has fewer."""


class StoredImages:
    """The images of a location that has one object each, under the keys that `ImageStore.put` gives. An `Images`."""

    def __init__(self, location: Location) -> None:
        """Raises ConfigurationError."""
        self.location = location
        filesystem, root = location.open()
        self._folder = Path(root) if isinstance(filesystem, fs.LocalFileSystem) else None
        self._store = open_store(location)
        threads = self._store.connections
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="find") if threads > 1 else None

    def find(self, image_id: str, likely: str = "jpg") -> Place | None:
        if not IMAGE_ID.fullmatch(image_id):
            return None
        suffixes = sorted(_SUFFIXES, key=lambda suffix: suffix != likely)
        first, *others = (f"{image_id[:2]}/{image_id}.{suffix}" for suffix in suffixes)
        place = self._place(image_id, first)
        if place is None:
            # Across a network each question is a round trip: the others are asked at once.
            every = map if self._pool is None else self._pool.map
            place = next(filter(None, every(lambda key: self._place(image_id, key), others)), None)
        if place is None:
            self._check_folder()
        return place

    def read(self, place: Place, start: int = 0, length: int | None = None) -> bytes:
        wanted = place.size - start if length is None else min(length, place.size - start)
        content = self._store.get(place.key, start, wanted)
        if len(content) != wanted:
            raise ObjectDamaged(f"the object of {place.image_id} is shorter than it was")
        return content

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._store.close()

    def _place(self, image_id: str, key: str) -> Place | None:
        found = self._store.stat(key)
        return None if found is None else Place(image_id, key, found.size)

    def _check_folder(self) -> None:
        """A disk that is not mounted has no pictures, which does not mean that there are none."""
        if self._folder is not None and not self._folder.is_dir():
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
