"""Reads the images that JSON bodies name by `image_uri`, inside the locations that the operator allows.

Clients choose what is read, so everything here has an end: bytes, time, and the way out of a location.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as WaitedTooLong
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from imagewarehouse.errors import ConfigurationError, TooLarge, UriNotAllowed, UriNotReadable, UriUnavailable
from imagewarehouse.limits import Limits
from imagewarehouse.objects.location import Location, public
from imagewarehouse.text import one_line

Item = TypeVar("Item")
Result = TypeVar("Result")
Fetch = Callable[[str, int], bytes]  # (URI, most bytes) -> the bytes

_READERS = 8  # at once, of one location
_PIECE = 1 << 20
_NOT_READ = ("webhdfs", "swebhdfs", "hbase")  # Arrow, which reads here, does not know them
# What no further try will change: it is not there, it is no file, or it may not be read.
_FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_FINAL_NUMBERS = (errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)  # a link, a socket, a name that can't be


class Fetcher:
    """The allowed locations, each opened once. Thread-safe."""

    def __init__(self, locations: Sequence[Location], limits: Limits) -> None:
        self.locations = tuple(locations)
        self._limits = limits
        self._lock = threading.Lock()
        self._opened: dict[Location, tuple[fs.FileSystem, str]] = {}
        # Of each location by itself: one that does not answer keeps its own readers busy, and nobody else's.
        self._readers = {location: threading.BoundedSemaphore(_READERS) for location in self.locations}
        self._given_up = dict.fromkeys(self.locations, 0)  # readers that nobody waits for any more
        self._waiting = ThreadPoolExecutor(_READERS, thread_name_prefix="fetch-wait")

    def for_each(self, work: Callable[[Item, Fetch], Result], items: Sequence[Item]) -> list[Result]:
        """`work` for each item, side by side. What they fetch is counted together and has to end in time."""
        allowance = Allowance(self._limits)

        def fetch(uri: str, max_bytes: int) -> bytes:
            return self.read(uri, max_bytes, allowance)

        if len(items) < 2:
            return [work(item, fetch) for item in items]
        return list(self._waiting.map(lambda item: work(item, fetch), items))

    def close(self) -> None:
        self._waiting.shutdown(wait=False)  # calls under way end by themselves

    def read(self, uri: str, max_bytes: int, allowance: Allowance) -> bytes:
        """Raises UriNotAllowed, UriNotReadable, UriUnavailable, TooLarge."""
        match = next(((loc, key) for loc in self.locations if (key := loc.key_of(uri)) is not None), None)
        if match is None:
            raise UriNotAllowed(f"{public(uri)!r} is not inside an allowed prefix")
        location, key = match
        if self._given_up[location] >= _READERS:
            raise UriUnavailable(f"{uri}: the store does not answer")
        too_late = UriUnavailable(f"{uri}: not read within {allowance.seconds:g} s")
        if not self._readers[location].acquire(timeout=max(0.0, allowance.seconds_left)):
            raise too_late
        reading: Future[bytes] = Future()

        def read() -> None:
            try:
                reading.set_result(self._read(location, key, uri, max_bytes, allowance))
            except BaseException as err:  # noqa: BLE001 - raised where it is waited for
                reading.set_exception(err)
            finally:
                self._readers[location].release()

        # A thread of its own, and a daemon: a store that never answers must not keep the process from its end.
        threading.Thread(target=read, name="fetch", daemon=True).start()
        try:
            return reading.result(timeout=max(0.0, allowance.seconds_left))
        except WaitedTooLong:
            self._give_up(location, reading)
            raise too_late from None

    def _give_up(self, location: Location, reading: Future[bytes]) -> None:
        with self._lock:
            self._given_up[location] += 1

        def ended(_: Future[bytes]) -> None:
            with self._lock:
                self._given_up[location] -= 1

        reading.add_done_callback(ended)

    def _read(self, location: Location, key: str, uri: str, max_bytes: int, allowance: Allowance) -> bytes:
        with _read_errors(location, uri):
            filesystem, root = self._open(location)
            if isinstance(filesystem, fs.LocalFileSystem):
                with open_below(root, key) as file:
                    return _pieces(file.read, uri, max_bytes, allowance)
            info = filesystem.get_file_info(f"{root}/{key}")
            if info.type != fs.FileType.File:
                raise UriNotReadable(f"{uri} is not there")
            with filesystem.open_input_stream(info.path, compression=None) as stream:  # else a png.gz is unpacked
                return _pieces(stream.read, uri, max_bytes, allowance)

    def _open(self, location: Location) -> tuple[fs.FileSystem, str]:
        with self._lock:
            if location in self._opened:
                return self._opened[location]
        try:
            opened = location.open()  # not under the lock: it may ask a store that does not answer
        except ConfigurationError as err:
            raise UriUnavailable(err.problem) from err
        with self._lock:
            return self._opened.setdefault(location, opened)


class Allowance:
    """The bytes and seconds that remain for the fetches of one FlowFile. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self.seconds = limits.fetch_seconds
        self.bytes = max(limits.fetch_bytes, limits.max_bytes)
        self._until = time.monotonic() + self.seconds
        self._lock = threading.Lock()
        self._bytes_left = self.bytes

    @property
    def seconds_left(self) -> float:
        return self._until - time.monotonic()

    def take(self, number: int, uri: str) -> None:
        """Count bytes that were read. Raises UriUnavailable where they exceed the allowance or arrive after the deadline."""
        with self._lock:
            self._bytes_left -= number
            if self._bytes_left < 0:
                raise UriUnavailable(
                    f"{uri}: the images that were asked for together have more than {self.bytes >> 20} MB"
                )
        if self.seconds_left < 0:
            raise UriUnavailable(f"{uri}: not read within {self.seconds:g} s")


def _pieces(read: Callable[[int], Any], uri: str, max_bytes: int, allowance: Allowance) -> bytes:
    content = bytearray()
    while piece := read(min(_PIECE, max_bytes + 1 - len(content))):
        allowance.take(len(piece), uri)
        content += piece
        if len(content) > max_bytes:
            raise TooLarge(f"{uri} has more than the {max_bytes} bytes allowed")
    return bytes(content)


def parse_locations(text: str, setting: str = "Allowed Image URIs") -> tuple[Location, ...]:
    """A comma-separated list of URIs of folders, buckets or prefixes in buckets. Raises ConfigurationError."""
    locations = []
    for item in (part.strip() for part in text.split(",")):
        if not item:
            continue
        if "://" not in item:
            raise ConfigurationError(setting, f"{item!r} is not a URI prefix such as s3://bucket/incoming/")
        location = Location.parse(item, setting)
        if location.scheme in _NOT_READ:
            raise ConfigurationError(setting, f"{location}: images are not fetched by {location.scheme}://")
        if {".", ".."} & set(location.uri.split("/")):
            raise ConfigurationError(setting, f"{location}: expected a path without . and ..")
        locations.append(location)
    return tuple(locations)


@contextmanager
def open_below(root: str, key: str) -> Iterator[Any]:
    """A regular file below a folder, opened step by step: no link is followed, whoever puts one there meanwhile.

    Raises OSError.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    *folders, name = key.split("/")
    at = os.open(
        root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
    )  # the root itself may be a link: it is the operator's
    try:
        for folder in folders:
            deeper = _open_step(folder, flags | os.O_DIRECTORY, at)
            os.close(at)
            at = deeper
        file = _open_step(name, flags | os.O_NONBLOCK, at)  # a named pipe would be waited for
    finally:
        os.close(at)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise IsADirectoryError(errno.EISDIR, "not a regular file")
        yield opened


def _open_step(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as err:
        if _is_link(name, folder):
            raise OSError(errno.ELOOP, "is behind a link, and links are not followed") from err
        raise


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


@contextmanager
def _read_errors(location: Location, uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as err:
        final = isinstance(err, _FINAL) or getattr(err, "errno", None) in _FINAL_NUMBERS
        if isinstance(err, OSError) and err.strerror:
            reason = f"{err.strerror}"  # without a path: that of the prefix is nobody's business
        else:
            reason = location.hide(one_line(err))
        raise (UriNotReadable if final else UriUnavailable)(f"{uri}: {reason}") from err
