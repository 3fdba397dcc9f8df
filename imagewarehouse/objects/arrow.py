"""Objects on whatever else Apache Arrow's file systems reach by a URI.

Arrow knows no write under a condition. So bytes go to a temporary name and are renamed: two writers of the same key at once
replace each other, and of other stores than HDFS a rename is a copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import pyarrow as pa
from pyarrow import fs

from imagewarehouse.errors import (
    ConfigurationError,
    ObjectConflict,
    ObjectMissing,
    ObjectStoreUnavailable,
    WarehouseError,
)
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.store import CHECK, StoredObject, check_key, check_prefix, check_range
from imagewarehouse.text import one_line

_PARTS = ".parts"  # no key begins like this
_CONNECTIONS = 8
_LEFT_BEHIND = timedelta(days=1)  # a temporary object this old has no writer any more


class ArrowStore:
    """An `ObjectStore`."""

    connections = _CONNECTIONS
    largest: int | None = None

    def __init__(self, location: Location, filesystem: fs.FileSystem, root: str) -> None:
        self.location = location
        self._fs = filesystem
        self._root = root
        self._parts = f"{root}/{_PARTS}"
        self._folders: set[str] = set()

    def put_if_absent(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        with self._errors(key):
            if (there := self.stat(key)) is not None:
                if there.size == len(content):
                    return False
                problem = f"{there.size} bytes are there, and {len(content)} others were to be written"
                raise ObjectConflict(f"{self.location.child(key)}: {problem}")
            self._write(path, content)
        return True

    def replace(self, key: str, content: bytes, old: StoredObject) -> None:
        path = self._path(key)
        with self._errors(key):
            if self.stat(key) != old:
                raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")
            self._write(path, content)

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        with self._errors(key):
            info = self._fs.get_file_info(self._path(key))
            if info.type != fs.FileType.File:
                raise ObjectMissing(f"{self.location.child(key)} is not there")
            wanted = check_range(self.location.child(key), info.size, start, length, most)
            if not wanted:
                return b""
            with self._fs.open_input_file(info.path) as file:
                file.seek(start)
                content: bytes = file.read(wanted)
            return content

    def stat(self, key: str) -> StoredObject | None:
        with self._errors(key):
            info = self._fs.get_file_info(self._path(key))
        return _described(key, info) if info.type == fs.FileType.File else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = check_prefix(prefix)
        selector = fs.FileSelector(
            f"{self._root}/{folder}" if folder else self._root, allow_not_found=True, recursive=True
        )
        with self._errors(folder):
            found = self._fs.get_file_info(selector)
        for info in found:
            key = info.path.removeprefix("/").removeprefix(self._root.removeprefix("/")).removeprefix("/")
            if info.type == fs.FileType.File and not key.startswith("."):
                yield _described(key, info)

    def delete(self, key: str) -> None:
        with self._errors(key):
            path = self._path(key)
            try:
                self._fs.delete_file(path)
            except FileNotFoundError:
                return

    def check_writable(self) -> None:
        """Also removes temporary objects that are a day old: their writers are gone."""
        path = f"{self._parts}/{CHECK}-{uuid.uuid4().hex}"
        try:
            self._fs.create_dir(self._parts, recursive=True)
            with self._fs.open_output_stream(path) as stream:
                stream.write(b"test")
            with self._fs.open_input_stream(path) as stream:
                if stream.read() != b"test":
                    raise OSError("other bytes come back than were written")
            now = self._fs.get_file_info(path).mtime  # the store's clock: nodes may have other times
            self._fs.delete_file(path)
            self._remove_left_behind(now)
        except (OSError, pa.ArrowException) as err:
            raise ConfigurationError("Store URI", f"{self.location} cannot be written: {self._reason(err)}") from err

    def close(self) -> None:
        """Do nothing: Arrow closes with its last reference."""

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _write(self, path: str, content: bytes) -> None:
        """To a temporary name, then to its own."""
        folder, _, name = path.rpartition("/")
        temporary = f"{self._parts}/{name}.{uuid.uuid4().hex}"
        for needed in {folder, self._parts} - self._folders:
            self._fs.create_dir(needed, recursive=True)
            self._folders.add(needed)
        try:
            with self._fs.open_output_stream(temporary) as stream:
                stream.write(content)
            self._fs.move(temporary, path)
        except (OSError, pa.ArrowException):
            self._folders.clear()  # somebody may have removed one; the next try makes it again
            self._discard(temporary)
            raise

    def _remove_left_behind(self, now: datetime | None) -> None:
        for info in self._fs.get_file_info(fs.FileSelector(self._parts)):
            if info.type == fs.FileType.File and now and info.mtime and now - info.mtime > _LEFT_BEHIND:
                self._discard(info.path)

    def _discard(self, path: str) -> None:
        # It was never created, or the store is gone; either way the first error is the one to tell.
        with suppress(OSError, pa.ArrowException):
            self._fs.delete_file(path)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except WarehouseError:
            raise
        except (OSError, pa.ArrowException) as err:
            where = self.location.child(key) if key else str(self.location)
            raise ObjectStoreUnavailable(f"{where}: {self._reason(err)}") from err

    def _reason(self, err: Exception) -> str:
        return self.location.hide(one_line(err))


def _described(key: str, info: fs.FileInfo) -> StoredObject:
    return StoredObject(key, info.size, info.mtime)
