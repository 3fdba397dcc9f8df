"""Objects as files of HDFS over HTTP, by WebHDFS or HttpFS: a node needs no Hadoop and no JVM for it.

`webhdfs://user@namenode:9870/images`, `swebhdfs://` with TLS; two NameNodes as `webhdfs://nn1:9870,nn2:9870/images`. (`hdfs://`
stays with Arrow and the Hadoop client of the node.)
"""

from __future__ import annotations

import getpass
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any

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
from imagewarehouse.text import one_line

_PARTS = ".parts"  # no key begins like this
_CONNECTIONS = 8
_LEFT_BEHIND = timedelta(days=1)  # a temporary file this old has no writer any more
_REFUSED = ("AccessControlException", "AuthorizationException", "SecurityException", "AuthenticationException")
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
        urls = ";".join(f"{scheme}://{host}" for host in address.host.split(","))
        self._client = _client(urls, address.user, address.options.get("auth", ""), settings)

    def put_if_absent(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        with self._errors(key):
            if (there := self._status(path)) is not None:
                return self._same(key, there["length"], len(content))
            temporary = self._write(path, content)
            try:
                if self._renamed(temporary, path):
                    return True
                there = self._status(path)
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
                if not self._renamed(temporary, path):
                    raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")
            except Exception:
                self._discard(temporary)
                raise

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        path, where = self._path(key), self.location.child(key)
        with self._errors(key):
            there = self._status(path)
            if there is None or there["type"] != "FILE":
                raise ObjectMissing(f"{where} is not there")
            wanted = check_range(where, there["length"], start, length, most)
            if not wanted:
                return b""
            with self._client.read(path, offset=start, length=wanted) as reader:
                content: bytes = reader.read()
        if len(content) != wanted:
            raise ObjectStoreUnavailable(f"{where}: the answer ended after {len(content)} of {wanted} bytes")
        return content

    def stat(self, key: str) -> StoredObject | None:
        with self._errors(key):
            there = self._status(self._path(key))
        return _described(key, there) if there is not None and there["type"] == "FILE" else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = check_prefix(prefix)
        pending = [folder]
        while pending:
            at = pending.pop()
            with self._errors(at):
                found = self._listed(f"{self._root}/{at}" if at else self._root)
            for name, there in found:
                if not name or name.startswith("."):
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
                self._client.makedirs(self._parts)
                self._client.write(path, data=b"test")
                with self._client.read(path) as reader:
                    if reader.read() != b"test":
                        raise OSError("other bytes come back than were written")
                now = self._status(path)
                self._client.delete(path)
                if now is not None:
                    self._remove_left_behind(now["modificationTime"])
        except ObjectStoreUnavailable as err:
            reason = str(err).removeprefix(f"{self.location}: ")
            raise ConfigurationError("Store URI", f"{self.location} cannot be written: {reason}") from err

    def close(self) -> None:
        self._client._session.close()

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _status(self, path: str) -> dict[str, Any] | None:
        status: dict[str, Any] | None = self._client.status(path, strict=False)
        return status

    def _listed(self, path: str) -> Sequence[tuple[str, dict[str, Any]]]:
        from hdfs.util import HdfsError

        try:
            found: Sequence[tuple[str, dict[str, Any]]] = self._client.list(path, status=True)
        except HdfsError as err:
            if err.exception == "FileNotFoundException" or "is not a directory" in str(err):
                return []
            raise
        return found

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
            self._client.makedirs(needed)
            self._folders.add(needed)
        try:
            self._client.write(temporary, data=content)
        except Exception:
            self._discard(temporary)
            raise
        return temporary

    def _renamed(self, temporary: str, path: str) -> bool:
        """False where something has that name, or its folder is gone."""
        from hdfs.util import HdfsError

        try:
            self._client.rename(temporary, path)
        except HdfsError as err:
            if err.exception is None:  # it answered with false, not with an exception of Hadoop
                return False
            raise
        return True

    def _remove_left_behind(self, now_ms: int) -> None:
        for name, there in self._listed(self._parts):
            if now_ms - there["modificationTime"] > _LEFT_BEHIND.total_seconds() * 1000:
                self._discard(f"{self._parts}/{name}")

    def _discard(self, path: str) -> None:
        # It was never created, or the store is gone; either way the first error is the one to tell.
        from hdfs.util import HdfsError

        with suppress(HdfsError, OSError):  # those of requests are OSErrors
            self._client.delete(path)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from hdfs.util import HdfsError

        where = self.location.child(key) if key else str(self.location)
        try:
            yield
        except WarehouseError:
            raise
        except HdfsError as err:
            refused = err.exception in _REFUSED or "Unauthorized" in str(err) or "Permission denied" in str(err)
            said = self._hide(str(err).partition("\n")[0])
            raise (ObjectStoreRefused if refused else ObjectStoreUnavailable)(f"{where}: {said}") from err
        except OSError as err:
            raise ObjectStoreUnavailable(f"{where}: {self._hide(_reason(err))}") from err

    def _hide(self, message: str) -> str:
        return one_line(self._settings.hide(self.location.hide(message)))


def _client(urls: str, user: str, auth: str, settings: StoreSettings) -> Any:
    try:
        from hdfs.client import InsecureClient, TokenClient
        from requests import Session
        from requests.adapters import HTTPAdapter
    except ImportError as err:
        problem = "HDFS over HTTP needs the client hdfs: `make nar STORES=hdfs`, or install imagewarehouse[hdfs]"
        raise ConfigurationError("Store URI", problem) from err
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    if settings.ca_file:
        session.verify = settings.ca_file
    options = {"session": session, "timeout": (settings.connect_s, settings.answer_s)}
    if auth == "kerberos":
        try:
            from hdfs.ext.kerberos import KerberosClient
        except ImportError as err:
            problem = "HDFS with Kerberos needs requests-kerberos: install imagewarehouse[hdfs,kerberos] on the node"
            raise ConfigurationError("Store URI", problem) from err
        return KerberosClient(urls, max_concurrency=_CONNECTIONS, **options)
    if auth:
        raise ConfigurationError("Store URI", f"auth: expected kerberos, received {auth[:40]!r}")
    if settings.session_token:
        return TokenClient(urls, settings.session_token, **options)
    return InsecureClient(urls, user=user or getpass.getuser(), **options)


def _reason(err: OSError) -> str:
    """Out of what requests says, what the system said."""
    text = str(err)
    if "timed out" in text.lower():
        return "no answer in time"
    found = _ERRNO.search(text)
    return found[1] if found else text


def _described(key: str, there: dict[str, Any]) -> StoredObject:
    modified = datetime.fromtimestamp(there["modificationTime"] / 1000, timezone.utc)
    return StoredObject(key, there["length"], modified, f"{there.get('fileId', 0)}-{there['modificationTime']}")
