"""Images as objects: one per distinct picture, under its sha256, on any object store; or those of a batch in one object."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TypeVar

from imagewarehouse.errors import (
    ObjectConflict,
    ObjectMissing,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    ObjectTooLarge,
    TooLarge,
    UriNotReadable,
    WarehouseError,
    WrongImageId,
)
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.batching import groups
from imagewarehouse.objects.packs import BATCHES, PackPicture, make_pack
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import PackedPlace

Item = TypeVar("Item")
Result = TypeVar("Result")

# Of a store across a network: a short failure passes without a way through the flow's queue. The flow does the rest.
_PAUSES_S = (0.2, 0.8)
_TRIES_S = 4.0  # no further try begins after this: a client waits, 15 s at most
_AWAY_S = 1.0  # after tries in vain, other images of a batch fail at once for as long

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NewPicture:
    """A picture to be stored. `record`: what is known of it, a JSON object. `time`: seconds since 1970, when it came.

    `hashed`: this process has made the id out of these bytes, so they are not hashed again.
    """

    image_id: str
    format: str
    content: bytes = field(repr=False)
    record: bytes = field(default=b"{}", repr=False)
    time: int = 0
    hashed: bool = False


class ImageStore:
    """Pictures by the sha256 of their bytes. Thread-safe.

    Keys are `ab/abcd....jpg`: the first two digits of the hash spread the objects over 256 folders, the suffix lets a
    browser show them. Small pictures of a batch that `put_batch` takes lie in one object instead (packs.py).
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.location = store.location
        self._away_until = 0.0
        self._away: ObjectStoreUnavailable | None = None
        self._pool = (
            ThreadPoolExecutor(store.connections, thread_name_prefix="store") if store.connections > 1 else None
        )

    def put(self, image_id: str, image_format: str, content: bytes, *, hashed: bool = False) -> str:
        """Store an image unless it is there already; gives its public URI.

        What is there with the right length stays. Of another length, only what is the beginning of these bytes is replaced:
        a crash cut it short.

        `hashed`: this process has made the id out of these bytes, so they are not hashed again.

        Raises: WrongImageId: the id is not the sha256 of the bytes. ObjectConflict, ObjectTooLarge, ObjectStoreUnavailable.
        """
        _check(image_id, content, hashed=hashed)
        return self._put_alone(PackPicture(image_id, _suffix(image_format), content))

    def put_batch(self, pictures: Sequence[NewPicture]) -> list[str | WarehouseError]:
        """Store the pictures of a batch, the small ones in one object; gives the public URI of each, or what it failed at.

        The same pictures in the same order are the same objects: a batch that is stored again changes nothing. What keeps an
        object from being written is the error of all pictures in it, and of no other. Errors: as `put` raises them.
        """
        wrong: dict[int, WarehouseError] = {}
        right: dict[str, PackPicture] = {}
        for number, picture in enumerate(pictures):
            try:
                _check(picture.image_id, picture.content, hashed=picture.hashed)
            except WrongImageId as err:
                wrong[number] = err
                continue
            packed = PackPicture(
                picture.image_id, _suffix(picture.format), picture.content, picture.record, picture.time
            )
            right.setdefault(picture.image_id, packed)
        stored: dict[str, str | WarehouseError] = {}
        for some in self.for_each(self._put_together, groups(right.values(), self.store.largest)):
            stored |= some
        return [wrong.get(number) or stored[picture.image_id] for number, picture in enumerate(pictures)]

    def get(self, uri: str, max_bytes: int) -> bytes:
        """The picture of a public URI that `put` or `put_batch` gave.

        Raises UriNotReadable, TooLarge, ObjectStoreUnavailable.
        """
        place = PackedPlace.parse(uri)
        key = self.location.key_of(uri if place is None else place.pack)
        if key is None:
            raise UriNotReadable(f"{uri[:200]} is not in {self.location}")
        try:
            if place is None:
                return self.store.get(key, most=max_bytes)
            content = self.store.get(key, place.start, place.size, max_bytes)
        except ObjectMissing as err:
            raise UriNotReadable(str(err)) from err
        except ObjectTooLarge as err:
            raise TooLarge(str(err)) from err
        if len(content) != place.size:
            raise UriNotReadable(f"{uri}: the object ends before")
        return content

    def for_each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work` for each item, in parallel where the store is remote."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def check_writable(self) -> None:
        """Raises ConfigurationError with the store's own reason."""
        self.store.check_writable()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False)  # calls under way end by themselves
        self.store.close()

    def _put_together(self, pictures: Sequence[PackPicture]) -> dict[str, str | WarehouseError]:
        """One object for all of them; of each by its id the URI, or what kept the object from being written."""
        try:
            if len(pictures) == 1:
                return {pictures[0].image_id: self._put_alone(pictures[0])}
            pack = make_pack(pictures)
            # Of the pictures and not of the clock: stored again after midnight, it is the same object.
            newest = max(picture.time for picture in pictures)
            key = pack.key(BATCHES, datetime.fromtimestamp(newest, timezone.utc).date())
            self._store(key, pack.content)
        except WarehouseError as err:
            return dict.fromkeys((picture.image_id for picture in pictures), err)
        uri = self.location.child(key)
        return {entry.image_id: str(PackedPlace(uri, entry.start, entry.size)) for entry in pack.entries}

    def _put_alone(self, picture: PackPicture) -> str:
        key = f"{picture.image_id[:2]}/{picture.image_id}.{picture.suffix}"
        self._store(key, picture.content)
        return self.location.child(key)

    def _store(self, key: str, content: bytes) -> None:
        if self._pool is None:
            self._put(key, content)
        else:
            self._try(lambda: self._put(key, content))

    def _put(self, key: str, content: bytes) -> None:
        try:
            self.store.put_if_absent(key, content)
        except ObjectConflict:
            there = self.store.stat(key)
            if there is None or there.size >= len(content):
                raise
            if self.store.get(key, length=there.size) != content[: there.size]:
                raise
            self.store.replace(key, content, there)

    def _try(self, work: Callable[[], None]) -> None:
        """`work`, again after a pause where it may pass."""
        if self._away is not None and time.monotonic() < self._away_until:
            raise ObjectStoreUnavailable(str(self._away))
        began = time.monotonic()
        for pause in (*_PAUSES_S, None):
            try:
                return work()
            except ObjectStoreRefused:  # noqa: PERF203
                raise
            except ObjectStoreUnavailable as err:
                if pause is None or time.monotonic() - began + pause > _TRIES_S:
                    self._away_until, self._away = time.monotonic() + _AWAY_S, err
                    raise
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - spreads writers, no secret
        return None


def _check(image_id: str, content: bytes, *, hashed: bool) -> None:
    """Raises WrongImageId: it is not the sha256 of the bytes."""
    if not _IMAGE_ID.fullmatch(image_id):  # it comes out of an attribute and becomes a path
        raise WrongImageId(f"image_id: expected a sha256 in hex, received {image_id[:80]!r}")
    if not hashed and hashlib.sha256(content).hexdigest() != image_id:
        raise WrongImageId(f"image_id {image_id} is not the sha256 of these {len(content)} bytes")


def _suffix(image_format: str) -> str:
    known_format = FORMATS.get(image_format)
    return known_format.extension if known_format else "bin"
