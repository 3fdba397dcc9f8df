"""Small objects as cells of an HBase table, through its Thrift server: `hbase://thrift:9090/table`, or `/table/prefix`.

A row is an object, its only cell `o:content`. HBase takes cells of 10 MB, so this is for small pictures.
"""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from imagewarehouse.errors import (
    ConfigurationError,
    ObjectConflict,
    ObjectMissing,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    ObjectTooLarge,
    WarehouseError,
)
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.objects.store import CHECK, StoredObject, check_key, check_prefix, check_range
from imagewarehouse.text import one_line

_FAMILY, _COLUMN = b"o", b"o:content"
_CONNECTIONS = 8
_LARGEST = (10 << 20) - 1024  # hbase.server.keyvalue.maxsize by default, of key and value together
_LENGTHS = b"KeyOnlyFilter (true)"  # the length of each value in its place
_PORT = 9090
_OPTIONS = {"transport": ("buffered", "framed"), "protocol": ("binary", "compact")}
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Exception|Error)): ?(.*)")
_REFUSED = (
    "AccessDeniedException",
    "TableNotFoundException",
    "NoSuchColumnFamilyException",
    "TableNotEnabledException",
)


class HBaseStore:
    """An `ObjectStore`. A cell is there whole or not at all, and written under the condition that it is not there."""

    connections = _CONNECTIONS
    largest: int | None = _LARGEST

    def __init__(self, location: Location, settings: StoreSettings) -> None:
        address = location.address()
        table, _, prefix = address.path.partition("/")
        if not re.fullmatch(r"[\w.:-]+", table):
            raise ConfigurationError("Store URI", f"{location}: expected hbase://host:port/table")
        for name, value in address.options.items():
            if value not in _OPTIONS.get(name, ()):
                known = ", ".join(f"{option}={'|'.join(values)}" for option, values in _OPTIONS.items())
                raise ConfigurationError("Store URI", f"{location}: option {name} is not one of {known}")
        host, _, port = address.host.partition(":")
        self.location = location
        self._table = table
        self._prefix = f"{prefix}/" if prefix else ""
        self._server: dict[str, Any] = {
            "host": host,
            "port": int(port or _PORT),
            "timeout": round(1000 * settings.answer_s),  # thriftpy2 has one for connecting and waiting
            **address.options,
        }
        self._lock = threading.Lock()
        self._pool: Any = None
        _happybase()

    def put_if_absent(self, key: str, content: bytes) -> bool:
        row, where = self._row(key), self.location.child(key)
        if len(content) > _LARGEST:
            problem = f"{len(content)} bytes, and HBase takes cells of {_LARGEST}; keep such images in another store"
            raise ObjectTooLarge(f"{where}: {problem}")
        # An empty cell counts as none in HBase's condition, so this look is more than a saving.
        if (there := self.stat(key)) is not None:
            return self._same(there, len(content))
        if self._put(key, row, None, content):
            return True
        there = self.stat(key)
        if there is None:
            raise ObjectStoreUnavailable(f"{where} was deleted by somebody else meanwhile")
        return self._same(there, len(content))

    def replace(self, key: str, content: bytes, old: StoredObject) -> None:
        row = self._row(key)
        with self._errors(key), self._connection() as connection:
            cells = connection.table(self._table).row(row, columns=[_COLUMN], include_timestamp=True)
        there, timestamp = cells.get(_COLUMN, (None, 0))
        if there is None or (len(there), str(timestamp)) != (old.size, old.etag):
            raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")
        if not self._put(key, row, there, content):
            raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        """HBase reads a cell as a whole, also for a range of it."""
        row, where = self._row(key), self.location.child(key)
        with self._errors(key), self._connection() as connection:
            cells = connection.table(self._table).row(row, columns=[_COLUMN])
        if _COLUMN not in cells:
            raise ObjectMissing(f"{where} is not there")
        content: bytes = cells[_COLUMN]
        wanted = check_range(where, len(content), start, length, most)
        return content[start : start + wanted]

    def stat(self, key: str) -> StoredObject | None:
        row = self._row(key)
        with self._errors(key):
            return next(iter(self._scan(row, row + b"\x00")), None)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = check_prefix(prefix)
        first = f"{self._prefix}{folder}/" if folder else self._prefix
        with self._errors(folder):
            yield from self._scan(first.encode(), _behind(first.encode()))

    def delete(self, key: str) -> None:
        row = self._row(key)
        with self._errors(key), self._connection() as connection:
            connection.table(self._table).delete(row)
        time.sleep(0.002)  # a deletion hides whatever is written in the same millisecond

    def check_writable(self) -> None:
        """Also makes the table, where it is not there."""
        key = f"{CHECK}-{time.time_ns():x}"
        try:
            with self._errors(""), self._connection() as connection:
                if self._table.encode() not in connection.tables():
                    connection.create_table(self._table, {_FAMILY.decode(): {"max_versions": 1}})
            self.put_if_absent(key, b"test")
            same = self.get(key) == b"test"
            self.delete(key)
            if not same:
                raise ObjectStoreUnavailable(f"{self.location}: other bytes come back than were written")
        except ObjectStoreUnavailable as err:
            reason = str(err).removeprefix(f"{self.location.child(key)}: ").removeprefix(f"{self.location}: ")
            raise ConfigurationError("Store URI", f"{self.location} cannot be written: {reason}") from err

    def close(self) -> None:
        """Let the pool go: its connections close with it."""
        with self._lock:
            self._pool = None

    def _row(self, key: str) -> bytes:
        return f"{self._prefix}{check_key(key)}".encode()

    def _put(self, key: str, row: bytes, expected: bytes | None, content: bytes) -> bool:
        """Whether the cell was as expected, and is written now."""
        from Hbase_thrift import Mutation  # made by happybase when it is imported

        mutation = Mutation(column=_COLUMN, value=content)
        with self._errors(key), self._connection() as connection:
            client = connection.client
            return bool(client.checkAndPut(self._table.encode(), row, _COLUMN, expected, mutation, {}))

    def _scan(self, first: bytes, behind: bytes | None) -> Iterator[StoredObject]:
        with self._connection() as connection:
            rows = connection.table(self._table).scan(
                row_start=first, row_stop=behind, columns=[_COLUMN], filter=_LENGTHS, include_timestamp=True
            )
            for row, cells in rows:
                length, timestamp = cells[_COLUMN]
                (size,) = struct.unpack(">i", length)
                modified = datetime.fromtimestamp(timestamp / 1000, timezone.utc)
                yield StoredObject(row.decode().removeprefix(self._prefix), size, modified, str(timestamp))

    def _same(self, there: StoredObject, size: int) -> bool:
        """False, as `put_if_absent` says it. Raises ObjectConflict."""
        if there.size != size:
            problem = f"{there.size} bytes are there, and {size} others were to be written"
            raise ObjectConflict(f"{self.location.child(there.key)}: {problem}")
        return False

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        with self._lock:
            if self._pool is None:  # the pool connects at once, and a store need not answer before it is asked
                self._pool = _happybase().ConnectionPool(_CONNECTIONS, **self._server)
            pool = self._pool
        with pool.connection(timeout=self._server["timeout"] / 1000) as connection:
            yield connection

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from happybase import NoConnectionsAvailable
        from thriftpy2.thrift import TException

        where = self.location.child(key) if key else str(self.location)
        try:
            yield
        except WarehouseError:
            raise
        except NoConnectionsAvailable as err:
            raise ObjectStoreUnavailable(f"{where}: all {_CONNECTIONS} connections are busy") from err
        except (TException, OSError) as err:
            said = _reason(err)
            if "KeyValue size too large" in said:
                raise ObjectTooLarge(f"{where}: larger than a cell of this HBase may be: {said}") from err
            refused = any(name in str(err) for name in _REFUSED)
            raise (ObjectStoreRefused if refused else ObjectStoreUnavailable)(f"{where}: {said}") from err


def _happybase() -> Any:
    try:
        import happybase
    except ImportError as err:
        problem = "HBase needs the client happybase: `make nar STORES=hbase`, or install imagewarehouse[hbase]"
        raise ConfigurationError("Store URI", problem) from err
    return happybase


def _reason(err: Exception) -> str:
    """The first line of a Java stack trace, without the package of the class."""
    message = getattr(err, "message", None) or (err.strerror if isinstance(err, OSError) else None) or str(err)
    text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    if "timed out" in text or isinstance(err, TimeoutError):
        return "no answer in time"
    first = text.partition("\n")[0]
    match = _EXCEPTION.match(first)
    return one_line(f"{match[1]}: {match[2]}" if match else first or type(err).__name__)


def _behind(prefix: bytes) -> bytes | None:
    """The first row behind all that begin like this; None: there is no end."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else None
