"""Images as objects: one per distinct picture, under its sha256, on any store that `pyarrow.fs` reaches."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from pyarrow import fs

from imagewarehouse.errors import ConfigurationError, ObjectStoreUnavailable, TooLarge, UriNotReadable
from imagewarehouse.formats import FORMATS

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECTIONS = 8  # at once, to a store across a network

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")


class ObjectStore:
    """A folder or bucket prefix. Thread-safe.

    Keys are `ab/abcd....jpg`: the first two digits of the hash spread the objects over 256 folders, the suffix lets a
    browser show them.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._folders: set[str] = set()
        try:
            self._fs, self._root = fs.FileSystem.from_uri(uri)
        except (pa.ArrowException, ValueError, OSError) as err:
            raise ConfigurationError("Store URI", f"{uri!r}: {_one_line(err)}") from err
        self._parts = f"{self._root}/.parts"
        here = isinstance(self._fs, fs.LocalFileSystem)
        self._pool = None if here else ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="store")

    def check_writable(self) -> None:
        """Write and remove an empty object. Raises ConfigurationError with the store's own reason."""
        path = f"{self._parts}/write-test-{uuid.uuid4().hex}"
        try:
            self._fs.create_dir(self._parts, recursive=True)
            # What a killed process left half written. If another one is writing right now, it tries again.
            self._fs.delete_dir_contents(self._parts)
            with self._fs.open_output_stream(path) as stream:
                stream.write(b"")
            self._fs.delete_file(path)
        except (OSError, pa.ArrowException) as err:
            raise ConfigurationError("Store URI", f"{self.uri} cannot be written: {_one_line(err)}") from err

    def put(self, image_id: str, image_format: str, content: bytes) -> str:
        """Store an image unless it is there already; gives its URI.

        The bytes go to a temporary name first, so that nobody ever reads half a picture; two writers of the same
        picture rename the same bytes over each other.
        """
        if not _IMAGE_ID.fullmatch(image_id):  # it comes out of an attribute and becomes a path
            raise ValueError(f"image_id: expected a sha256 in hex, received {image_id[:80]!r}")
        known = FORMATS.get(image_format)
        key = f"{image_id[:2]}/{image_id}.{known.extension if known else 'bin'}"
        path = f"{self._root}/{key}"
        with _store_errors(self.uri):
            found = self._fs.get_file_info(path)
            if found.type != fs.FileType.File or found.size != len(content):
                folder = path.rpartition("/")[0]
                temporary = f"{self._parts}/{image_id}.{uuid.uuid4().hex}"
                for needed in {folder, self._parts} - self._folders:
                    self._fs.create_dir(needed, recursive=True)
                    self._folders.add(needed)
                try:
                    with self._fs.open_output_stream(temporary) as stream:
                        stream.write(content)
                    self._fs.move(temporary, path)
                except OSError:
                    self._folders -= {folder, self._parts}  # somebody may have removed it; the next try makes it again
                    self._discard(temporary)
                    raise
        return f"{self.uri}/{key}"

    def for_each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`work` for each item: side by side where the store is across a network, whose answers take their time."""
        if self._pool is None or len(items) < 2:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def _discard(self, path: str) -> None:
        # It was never created, or the store is gone; either way the first error is the one to tell.
        with suppress(OSError):
            self._fs.delete_file(path)


def read_object(uri: str, max_bytes: int) -> bytes:
    """Read a whole object by URI. Raises UriNotReadable, TooLarge."""
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
        info = filesystem.get_file_info(path)
        if info.type != fs.FileType.File:
            raise UriNotReadable(f"{uri} is not there")
        with filesystem.open_input_stream(path, compression=None) as stream:  # else a.png.gz is unpacked
            content: bytes = stream.read(max_bytes + 1)
    except (pa.ArrowException, ValueError, OSError) as err:
        raise UriNotReadable(f"{uri}: {_one_line(err)}") from err
    if len(content) > max_bytes:
        raise TooLarge(f"{uri} has more than the {max_bytes} bytes allowed")
    return content


def store_uri(text: str) -> str:
    """A setting as a URI: one with a scheme stays as it is, anything else is a folder, relative to the working one."""
    return text if "://" in text else Path(text).expanduser().absolute().as_uri()


@contextmanager
def _store_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as err:
        raise ObjectStoreUnavailable(f"{uri}: {_one_line(err)}") from err


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:300]
