"""What every object store does: keys and bytes of one location. `open_store` in opening.py gives one for a location."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from imagewarehouse.errors import ObjectTooLarge
from imagewarehouse.objects.location import Location

_KEY = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_KEY_LENGTH = 512  # with a location before it, below the 1,024 bytes of S3, GCS and Azure

CHECK = "write-test"
"""How the names of the objects begin that `check_writable` writes and removes."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as its store describes it: `modified` by the store's clock, `etag` where a store names these bytes."""

    key: str
    size: int
    modified: datetime | None = None
    etag: str | None = None


class ObjectStore(Protocol):
    """The objects of one location. Thread-safe.

    Keys are relative paths of letters, digits, `.`, `_`, `-` and `/` (`check_key`). An object is there whole or not at all.

    Raises, each naming location and key, never a secret:
    - ObjectStoreUnavailable: no answer, too late, no space; the same call may pass later.
    - ObjectStoreRefused, one of those: the store said no (login, rights, no such bucket); an operator has to act.
    - ObjectMissing, ObjectConflict, ObjectTooLarge: about this object, and no further try changes it.
    - ValueError: it is no key.
    """

    location: Location
    connections: int
    """Calls at once that make a batch faster; 1: none do."""
    largest: int | None
    """Most bytes of an object; None: no limit that matters here."""

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """True: written. False: it was there already, with the same length. What is there stays as it is.

        Raises ObjectConflict where it has another length, ObjectTooLarge.
        """

    def replace(self, key: str, content: bytes, old: StoredObject) -> None:
        """Put other bytes in the place of those that `stat` gave. Readers see the old or the new ones.

        Raises ObjectConflict where something else is there meanwhile, as far as the store can tell.
        """

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        """`length` bytes from `start` on, fewer where the object ends before; by default all of it.

        Raises ObjectMissing, and ObjectTooLarge where that would be more than `most` bytes.
        """

    def stat(self, key: str) -> StoredObject | None:
        """None: it is not there."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Everything below a folder (`ab`, `packs/2026`; "": all), in any order. What is being written is not among it."""

    def delete(self, key: str) -> None:
        """Gone afterwards; one that is not there is no error."""

    def check_writable(self) -> None:
        """Write an object, read it back and remove it. Raises ConfigurationError with the store's own reason in one line."""

    def close(self) -> None:
        """Let go of connections and threads. Later calls may fail."""


def check_key(key: str) -> str:
    """The key itself. Raises ValueError: it would name something outside, or what not every store can name."""
    if len(key) > _KEY_LENGTH or not _KEY.fullmatch(key):
        raise ValueError(f"not a key of an object: {key[:80]!r}")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix without a slash at its end. Raises ValueError."""
    folder = prefix.rstrip("/")
    return check_key(folder) if folder else ""


def check_range(where: str, size: int, start: int, length: int | None, most: int | None) -> int:
    """How many bytes that range of an object of `size` bytes has. Raises ObjectTooLarge, ValueError."""
    if start < 0 or (length is not None and length < 0):
        raise ValueError(f"expected a range from 0 on, received start {start}, length {length}")
    wanted = max(0, size - start) if length is None else min(length, max(0, size - start))
    if most is not None and wanted > most:
        raise ObjectTooLarge(f"{where} has more than the {most} bytes allowed")
    return wanted
