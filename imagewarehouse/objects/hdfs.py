"""Objects as files of HDFS over HTTP, by WebHDFS or HttpFS: a node needs no Hadoop and no JVM for it.

`webhdfs://user@namenode:9870/images`, `swebhdfs://` with TLS; two NameNodes as `webhdfs://nn1:9870,nn2:9870/images`. (`hdfs://`
stays with Arrow and the Hadoop client of the node.)
"""

from __future__ import annotations

import getpass
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone

from imagewarehouse.errors import (
    ConfigurationError,
    ObjectConflict,
    ObjectMissing,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    WarehouseError,
)
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.objects.store import CHECK, StoredObject, check_key, check_prefix, check_range
from imagewarehouse.objects.webhdfs import RemoteError, Status, WebHdfs
from imagewarehouse.text import one_line

_PARTS = ".parts"  # no key begins like this
_CONNECTIONS = 8
_LEFT_BEHIND = timedelta(days=1)  # a temporary file this old has no writer any more
_REFUSED = (
    "AccessControlException",
    "AuthorizationException",
    "SecurityException",
    "AuthenticationException",
    "HTTP 401",
    "HTTP 403",
)
_OPTIONS = frozenset({"auth"})
_ERRNO = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")


class HdfsStore:
    """An `ObjectStore`. Bytes go to a temporary name; HDFS renames them only where nothing has the name."""

    connections = _CONNECTIONS
    largest: int | None = None

    def __init__(self, location: Location, settings: StoreSettings) -> None:
        address = location.address()
        unknown = sorted(set(address.options) - _OPTIONS)
        if unknown:
            raise ConfigurationError(
                "Store URI", f"{location}: option {unknown[0]} is not one of {', '.join(_OPTIONS)}"
            )
        self.location = location
        self._settings = settings
        self._root = f"/{address.path}"
        self._parts = f"{self._root}/{_PARTS}"
        self._folders: set[str] = set()
        scheme = "https" if address.scheme == "swebhdfs" else "http"
        self._client = WebHdfs(
            [f"{scheme}://{host}" for host in address.host.split(",")],
            address.user or getpass.getuser(),
            address.options.get("auth", ""),
            settings,
            _CONNECTIONS,
        )

    def put_if_absent(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        with self._errors(key):
            if (there := self._client.status(path)) is not None:
                return self._same(key, there["length"], len(content))
            temporary = self._write(path, content)
            try:
                if self._client.rename(temporary, path):
                    return True
                there = self._client.status(path)
                if there is None:
                    self._folders.clear()  # somebody may have removed one; the next try makes it again
                    raise ObjectStoreUnavailable(f"{self.location.child(key)}: the folder was removed meanwhile")
                self._discard(temporary)
                return self._same(key, there["length"], len(content))
            except Exception:
                self._discard(temporary)
                raise

    def replace(self, key: str, content: bytes, old: StoredObject) -> None:
        """Readers may find nothing for a moment: HDFS over HTTP has no rename that replaces."""
        path = self._path(key)
        with self._errors(key):
            temporary = self._write(path, content)
            try:
                if self.stat(key) != old:
                    raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")
                self._client.delete(path)
                if not self._client.rename(temporary, path):
                    raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")
            except Exception:
                self._discard(temporary)
                raise

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        path, where = self._path(key), self.location.child(key)
        with self._errors(key):
            there = self._client.status(path)
            if there is None or there["type"] != "FILE":
                raise ObjectMissing(f"{where} is not there")
            wanted = check_range(where, there["length"], start, length, most)
            if not wanted:
                return b""
            content = self._client.read(path, start, wanted)
        if len(content) != wanted:
            raise ObjectStoreUnavailable(f"{where}: the answer ended after {len(content)} of {wanted} bytes")
        return content

    def stat(self, key: str) -> StoredObject | None:
        with self._errors(key):
            there = self._client.status(self._path(key))
        return _described(key, there) if there is not None and there["type"] == "FILE" else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = check_prefix(prefix)
        pending = [folder]
        while pending:
            at = pending.pop()
            with self._errors(at):
                found = self._client.list(f"{self._root}/{at}" if at else self._root)
            for there in found:
                name = there["pathSuffix"]
                if not name or name.startswith("."):  # without a name: it is a file itself, and no folder
                    continue
                key = f"{at}/{name}" if at else name
                if there["type"] == "FILE":
                    yield _described(key, there)
                else:
                    pending.append(key)

    def delete(self, key: str) -> None:
        with self._errors(key):
            self._client.delete(self._path(key))

    def check_writable(self) -> None:
        """Also removes temporary files that are a day old: their writers are gone."""
        path = f"{self._parts}/{CHECK}-{uuid.uuid4().hex}"
        try:
            with self._errors(""):
                self._client.make_folder(self._parts)
                self._client.write(path, b"test")
                if self._client.read(path, 0, 4) != b"test":
                    raise OSError("other bytes come back than were written")
                now = self._client.status(path)
                self._client.delete(path)
                if now is not None:
                    self._remove_left_behind(now["modificationTime"])
        except ObjectStoreUnavailable as err:
            reason = str(err).removeprefix(f"{self.location}: ")
            raise ConfigurationError("Store URI", f"{self.location} cannot be written: {reason}") from err

    def close(self) -> None:
        self._client.close()

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _same(self, key: str, there: int, size: int) -> bool:
        """False, as `put_if_absent` says it. Raises ObjectConflict."""
        if there != size:
            problem = f"{there} bytes are there, and {size} others were to be written"
            raise ObjectConflict(f"{self.location.child(key)}: {problem}")
        return False

    def _write(self, path: str, content: bytes) -> str:
        """The bytes under a temporary name, and the folder of their own one made; gives the temporary path."""
        folder, _, name = path.rpartition("/")
        temporary = f"{self._parts}/{name}.{os.getpid()}.{uuid.uuid4().hex}"
        for needed in {folder, self._parts} - self._folders:
            self._client.make_folder(needed)
            self._folders.add(needed)
        try:
            self._client.write(temporary, content)
        except Exception:
            self._discard(temporary)
            raise
        return temporary

    def _remove_left_behind(self, now_ms: int) -> None:
        for there in self._client.list(self._parts):
            if now_ms - there["modificationTime"] > _LEFT_BEHIND.total_seconds() * 1000:
                self._discard(f"{self._parts}/{there['pathSuffix']}")

    def _discard(self, path: str) -> None:
        # It was never created, or the store is gone; either way the first error is the one to tell.
        with suppress(RemoteError, OSError):  # those of requests are OSErrors
            self._client.delete(path)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        where = self.location.child(key) if key else str(self.location)
        try:
            yield
        except WarehouseError:
            raise
        except RemoteError as err:
            kind = ObjectStoreRefused if err.name in _REFUSED else ObjectStoreUnavailable
            raise kind(f"{where}: {self._hide(str(err))}") from err
        except OSError as err:
            raise ObjectStoreUnavailable(f"{where}: {self._hide(_reason(err))}") from err

    def _hide(self, message: str) -> str:
        return one_line(self._settings.hide(self.location.hide(message)))


def _reason(err: OSError) -> str:
    """Out of what requests says, what the system said."""
    text = str(err)
    if "timed out" in text.lower():
        return "no answer in time"
    found = _ERRNO.search(text)
    return found[1] if found else text


def _described(key: str, there: Status) -> StoredObject:
    modified = datetime.fromtimestamp(there["modificationTime"] / 1000, timezone.utc)
    return StoredObject(key, there["length"], modified, f"{there.get('fileId', 0)}-{there['modificationTime']}")
