"""Images as objects: one per distinct picture, under its sha256, on any store that `pyarrow.fs` reaches."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from imagewarehouse.errors import ConfigurationError, ObjectStoreUnavailable, TooLarge, UriNotReadable, WrongImageId
from imagewarehouse.images.formats import FORMATS
from imagewarehouse.objects.location import Location
from imagewarehouse.text import one_line

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECTIONS = 8  # at once, to a store across a network
_LEFT_BEHIND = timedelta(days=1)  # a temporary object this old has no writer any more

# In the names of temporary objects: who writes them.
_NODE = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:64]

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


class ObjectStore:
    """The objects of one location. Thread-safe.

    Keys are `ab/abcd....jpg`: the first two digits of the hash spread the objects over 256 folders, the suffix lets a
    browser show them.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self._folders: set[str] = set()
        self._fs, self._root = location.open()
        self._parts = f"{self._root}/.parts"
        self._here = isinstance(self._fs, fs.LocalFileSystem)
        self._pool = None if self._here else ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="store")

    def check_writable(self) -> None:
        """Write and remove an empty object. Raises ConfigurationError with the store's own reason.

        Also removes what killed processes left half written: those of this node that are gone, and whatever is a day old.
        Other temporary objects may be another node's, which is writing into the same folder right now.
        """
        path = f"{self._parts}/write-test-{uuid.uuid4().hex}"
        try:
            self._fs.create_dir(self._parts, recursive=True)
            with self._fs.open_output_stream(path) as stream:
                stream.write(b"")
            now = self._fs.get_file_info(path).mtime  # the store's clock: nodes may have other times
            self._fs.delete_file(path)
            self._remove_left_behind(now)
        except (OSError, pa.ArrowException) as err:
            problem = f"{self.location} cannot be written: {self._reason(err)}"
            raise ConfigurationError("Store URI", problem) from err

    def put(self, image_id: str, image_format: str, content: bytes, *, hashed: bool = False) -> str:
        """Store an image unless it is there already; gives its public URI.

        The bytes go to a temporary name first, so that nobody ever reads half a picture; two writers of the same
        picture rename the same bytes over each other. What is there with the right length stays: only an object that a
        crash cut short is replaced.

        `hashed`: this process has made the id out of these bytes, so they are not hashed again.

        Raises: WrongImageId: the id is not the sha256 of the bytes. ObjectStoreUnavailable.
        """
        if not _IMAGE_ID.fullmatch(image_id):  # it comes out of an attribute and becomes a path
            raise WrongImageId(f"image_id: expected a sha256 in hex, received {image_id[:80]!r}")
        if not hashed and hashlib.sha256(content).hexdigest() != image_id:
            raise WrongImageId(f"image_id {image_id} is not the sha256 of these {len(content)} bytes")
        known_format = FORMATS.get(image_format)
        key = f"{image_id[:2]}/{image_id}.{known_format.extension if known_format else 'bin'}"
        path = f"{self._root}/{key}"
        with self._errors():
            if not self._is_whole(path, len(content)):
                folder = path.rpartition("/")[0]
                temporary = f"{self._parts}/{image_id}.{_NODE}.{os.getpid()}.{uuid.uuid4().hex}"
                for needed in {folder, self._parts} - self._folders:
                    self._fs.create_dir(needed, recursive=True)
                    self._folders.add(needed)
                try:
                    self._write(temporary, path, content)
                except OSError:
                    self._folders -= {folder, self._parts}  # somebody may have removed it; the next try makes it again
                    self._discard(temporary)
                    raise
        return self.location.child(key)

    def _is_whole(self, path: str, size: int) -> bool:
        if self._here:
            try:
                status = os.stat(path)  # noqa: PTH116
            except FileNotFoundError:
                return False
            return stat.S_ISREG(status.st_mode) and status.st_size == size
        info = self._fs.get_file_info(path)
        return bool(info.type == fs.FileType.File and info.size == size)

    def _write(self, temporary: str, path: str, content: bytes) -> None:
        """To a temporary name, then to its own."""
        if self._here:  # plain calls: a quarter of the time that Arrow's streams take for a small picture
            with open(temporary, "wb", buffering=0) as file:  # noqa: PTH123 - a Path would cost as much as the call
                remaining = memoryview(content)
                while remaining:
                    remaining = remaining[file.write(remaining) :]
            os.replace(temporary, path)  # noqa: PTH105
            return
        with self._fs.open_output_stream(temporary) as stream:
            stream.write(content)
        self._fs.move(temporary, path)

    def get(self, uri: str, max_bytes: int) -> bytes:
        """The object of a public URI that `put` gave. Raises UriNotReadable, TooLarge, ObjectStoreUnavailable."""
        key = self.location.key_of(uri)
        if key is None:
            raise UriNotReadable(f"{uri[:200]} is not in {self.location}")
        with self._errors():
            info = self._fs.get_file_info(f"{self._root}/{key}")
            if info.type != fs.FileType.File:
                raise UriNotReadable(f"{uri} is not there")
            with self._fs.open_input_stream(info.path, compression=None) as stream:
                content: bytes = stream.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise TooLarge(f"{uri} has more than the {max_bytes} bytes allowed")
        return content

    def for_each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work` for each item, in parallel where the store is remote."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def _remove_left_behind(self, now: datetime | None) -> None:
        for info in self._fs.get_file_info(fs.FileSelector(self._parts)):
            expired = now is not None and info.mtime is not None and now - info.mtime > _LEFT_BEHIND
            if info.type == fs.FileType.File and (expired or _is_abandoned(info.base_name)):
                self._discard(info.path)

    def _discard(self, path: str) -> None:
        # It was never created, or the store is gone; either way the first error is the one to tell.
        with suppress(OSError):
            self._fs.delete_file(path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as err:
            raise ObjectStoreUnavailable(f"{self.location}: {self._reason(err)}") from err

    def _reason(self, err: Exception) -> str:
        return self.location.hide(one_line(err))


def _is_abandoned(name: str) -> bool:
    """Whether a temporary object belongs to a process of this node that no longer runs."""
    _, _, remainder = name.partition(".")
    node, _, remainder = remainder.partition(".")
    pid = remainder.partition(".")[0]
    if node != _NODE or not pid.isdecimal() or len(pid) > 9:
        return False
    try:
        os.kill(int(pid), 0)  # asks only
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and somebody else's
        return False
    return False
