"""Objects as files of a folder, on this node's disk or on one that nodes share.

Plain calls of the operating system: a quarter of the time that Arrow's streams take for a small picture.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from imagewarehouse.errors import (
    ConfigurationError,
    ObjectConflict,
    ObjectMissing,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    WarehouseError,
)
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.store import CHECK, StoredObject, check_key, check_prefix, check_range
from imagewarehouse.text import one_line

_PARTS = ".parts"  # no key begins like this
_LEFT_BEHIND_S = 86_400  # a temporary file this old has no writer any more
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # as file systems without hard links answer

# In the names of temporary files: who writes them.
NODE = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:64]


class LocalStore:
    """An `ObjectStore`. Bytes go to a temporary name first, so that nobody ever reads half an object."""

    connections = 1
    largest: int | None = None

    def __init__(self, location: Location, root: str) -> None:
        self.location = location
        self._root = root
        self._parts = f"{root}/{_PARTS}"
        self._folders: set[str] = set()

    @property
    def folder(self) -> Path:
        return Path(self._root)

    def put_if_absent(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        with self._errors(key):
            if self._is_there(key, path, len(content)):
                return False
            temporary = self._write(key, path, content)
            try:
                return self._link(key, temporary, path, len(content))
            finally:
                _discard(temporary)

    def replace(self, key: str, content: bytes, old: StoredObject) -> None:
        path = self._path(key)
        with self._errors(key):
            temporary = self._write(key, path, content)
            try:
                if (now := self.stat(key)) is None or now != old:
                    raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")
                os.replace(temporary, path)  # noqa: PTH105
            except BaseException:
                _discard(temporary)
                raise

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        where = self.location.child(key)
        with self._errors(key):
            try:
                opened = open(self._path(key), "rb", buffering=0)  # noqa: PTH123, SIM115 - see _write
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as err:
                raise ObjectMissing(f"{where} is not there") from err
            with opened as file:
                remaining = check_range(where, os.fstat(file.fileno()).st_size, start, length, most)
                file.seek(start)
                pieces = []
                while remaining > 0 and (piece := file.read(remaining)):
                    pieces.append(piece)
                    remaining -= len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def stat(self, key: str) -> StoredObject | None:
        with self._errors(key):
            try:
                status = os.stat(self._path(key))  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                return None
            return _described(key, status) if stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = check_prefix(prefix)
        with self._errors(folder):
            yield from self._below(f"{self._root}/{folder}" if folder else self._root, folder)

    def delete(self, key: str) -> None:
        with self._errors(key), suppress(FileNotFoundError):
            os.unlink(self._path(key))  # noqa: PTH108

    def sync(self, key: str) -> None:
        """Wait until an object is on the disk, its name too: what a compaction writes may be the only copy then."""
        with self._errors(key):
            for path in (self._path(key), self._path(key).rpartition("/")[0]):
                opened = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(opened)
                finally:
                    os.close(opened)

    def check_writable(self) -> None:
        """Also removes what killed processes left half written: those of this node that are gone, and whatever is a day old.

        Other temporary files may be another node's, which is writing into the same folder right now.
        """
        path = Path(self._parts) / f"{CHECK}-{uuid.uuid4().hex}"
        try:
            Path(self._parts).mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"test")
            if path.read_bytes() != b"test":
                raise OSError(errno.EIO, "other bytes come back than were written")
            now = path.stat().st_mtime  # the store's clock: nodes may have other times
            path.unlink()
            self._remove_left_behind(now)
        except OSError as err:
            raise ConfigurationError("Store URI", f"{self.location} cannot be written: {_reason(err)}") from err

    def close(self) -> None:
        """Do nothing: between calls nothing is open."""

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _is_there(self, key: str, path: str, size: int) -> bool:
        """Raises ObjectConflict where a file of another length is there."""
        try:
            status = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EEXIST, "something that is no file has this name")
        if status.st_size != size:
            problem = f"{status.st_size} bytes are there, and {size} others were to be written"
            raise ObjectConflict(f"{self.location.child(key)}: {problem}")
        return True

    def _write(self, key: str, path: str, content: bytes) -> str:
        """The bytes under a temporary name, and the folder of their own one made; gives the temporary path."""
        folder = path.rpartition("/")[0]
        temporary = f"{self._parts}/{key.rpartition('/')[2]}.{NODE}.{os.getpid()}.{uuid.uuid4().hex}"
        for needed in {folder, self._parts} - self._folders:
            os.makedirs(needed, exist_ok=True)  # noqa: PTH103
            self._folders.add(needed)
        try:
            with open(temporary, "wb", buffering=0) as file:  # noqa: PTH123 - a Path would cost as much as the call
                remaining = memoryview(content)
                while remaining:
                    remaining = remaining[file.write(remaining) :]
        except OSError:
            self._folders.clear()  # somebody may have removed one; the next try makes it again
            _discard(temporary)
            raise
        return temporary

    def _link(self, key: str, temporary: str, path: str, size: int) -> bool:
        """The temporary file under its own name, unless another writer was faster."""
        try:
            os.link(temporary, path)
        except FileExistsError:
            return not self._is_there(key, path, size)
        except OSError as err:
            if err.errno not in _NO_LINKS:
                self._folders.clear()
                raise
            if self._is_there(key, path, size):
                return False
            os.replace(temporary, path)  # noqa: PTH105 - two writers of one key at once have the same bytes
        return True

    def _below(self, path: str, folder: str) -> Iterator[StoredObject]:
        try:
            entries = os.scandir(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    yield from self._below(entry.path, key)
                    continue
                with suppress(FileNotFoundError):  # deleted meanwhile
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield _described(key, status)

    def _remove_left_behind(self, now: float) -> None:
        for entry in os.scandir(self._parts):
            with suppress(OSError):  # another node removes it too
                if entry.is_file() and (now - entry.stat().st_mtime > _LEFT_BEHIND_S or _is_abandoned(entry.name)):
                    _discard(entry.path)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        where = self.location.child(key) if key else str(self.location)
        try:
            yield
        except WarehouseError:
            raise
        except OSError as err:
            kind = ObjectStoreRefused if err.errno in _REFUSED else ObjectStoreUnavailable
            raise kind(f"{where}: {_reason(err)}") from err


def _described(key: str, status: os.stat_result) -> StoredObject:
    modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
    return StoredObject(key, status.st_size, modified, f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}")


def _reason(err: OSError) -> str:
    return one_line(err.strerror or err)  # without the path: the location says it, and better


def _discard(path: str) -> None:
    # It was never created, or the disk is gone; either way the first error is the one to tell.
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108


def _is_abandoned(name: str) -> bool:
    """Whether a temporary file belongs to a process of this node that no longer runs."""
    parts = name.split(".")  # KEY.NODE.PID.RANDOM, and a key may have dots
    if len(parts) < 4 or parts[-3] != NODE or not parts[-2].isdecimal() or len(parts[-2]) > 9:
        return False
    try:
        os.kill(int(parts[-2]), 0)  # asks only
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and somebody else's
        return False
    return False
