"""Objects in a bucket or container, through obstore: one request an object, and none is ever overwritten.

The stores themselves know the condition "only if it is not there" (`If-None-Match: *`), so two writers need no temporary name
and no rename, which on these stores is an upload, a copy and a delete.
"""

from __future__ import annotations

import html
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

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

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ClientConfig, RetryConfig

_CONNECTIONS = 16
_LARGE = 1 << 20  # of such an object a look whether it is there costs less than sending it in vain
_SLOW = 8 << 20  # sending that much may take longer than a store may be silent
_SENDING_S = 120.0
_SMALL_S, _LARGE_S = 60.0, 600.0  # of a request as a whole

_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_STATUS = re.compile(r"status code: (\d{3})[^:\n]*")
_CAUSE = re.compile(r'(?:message|error): "([^"]*)"|\b(InvalidCertificate\(\s*\w+|InvalidContentType)')
# Answers that obstore has no class for, and that only an operator changes.
_REFUSED_CODES = frozenset(
    {
        "AuthorizationHeaderMalformed", "ContainerNotFound", "ExpiredToken", "InvalidAccessKeyId", "InvalidBucketName",
        "InvalidToken", "NoSuchBucket", "PermanentRedirect",
    }
)  # fmt: skip


class CloudStore:
    """An `ObjectStore`.

    `make` gives a client of obstore whose paths begin at the location; its arguments are the seconds that it waits for a byte,
    and those of a request as a whole.
    """

    connections = _CONNECTIONS
    largest: int | None = None

    def __init__(self, location: Location, settings: StoreSettings, make: Callable[[float, float], Any]) -> None:
        self.location = location
        self._settings = settings
        self._client = make(settings.answer_s, _SMALL_S)
        # A store may be silent as long as it is sent something.
        self._large_puts = make(settings.answer_s + _SENDING_S, _LARGE_S)
        self._large_gets = make(settings.answer_s, _LARGE_S)

    def put_if_absent(self, key: str, content: bytes) -> bool:
        if len(content) >= _LARGE and (there := self.stat(key)) is not None:
            return self._same(there, len(content))
        if self._put(key, content, "create"):
            return True
        there = self.stat(key)
        if there is None:  # it was deleted meanwhile, or its writer has not ended
            raise ObjectStoreUnavailable(f"{self.location.child(key)} is being written or deleted by somebody else")
        return self._same(there, len(content))

    def replace(self, key: str, content: bytes, old: StoredObject) -> None:
        if not self._put(key, content, {"e_tag": old.etag}):
            raise ObjectConflict(f"{self.location.child(key)} was changed meanwhile")

    def get(self, key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        where = self.location.child(check_key(key))
        check_range(where, 0, start, length, most)
        span = {"offset": start} if length is None else (start, start + max(1, length))
        options = {"range": span} if start or length is not None else {}
        known = min(_SLOW if size is None else size for size in (length, most))
        client = self._client if known < _SLOW else self._large_gets
        with self._errors(key):
            try:
                found = client.get(key, options=options)
            except BaseError as err:
                if not _is_behind_the_end(str(err)) or (there := self.stat(key)) is None or there.size > start:
                    raise
                return b""
            wanted = check_range(where, found.meta["size"], start, length, most)  # before its bytes are read
            return bytes(found.bytes()) if wanted else b""

    def stat(self, key: str) -> StoredObject | None:
        check_key(key)
        with self._errors(key):
            try:
                return _described(self._client.head(key))
            except FileNotFoundError as err:
                if _code(str(err)) in _REFUSED_CODES:
                    raise
                return None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = check_prefix(prefix)
        with self._errors(folder):
            for page in self._client.list(folder or None):
                for found in map(_described, page):
                    if not found.key.startswith("."):
                        yield found

    def delete(self, key: str) -> None:
        check_key(key)
        with self._errors(key), suppress(FileNotFoundError):
            self._client.delete(key)

    def check_writable(self) -> None:
        key = f"{CHECK}-{uuid.uuid4().hex}"
        try:
            self.put_if_absent(key, b"test")
            try:
                if self.get(key) != b"test":
                    raise ObjectStoreRefused(f"{self.location}: other bytes come back than were written")
                if self._put(key, b"test", "create"):
                    raise ObjectStoreRefused(
                        f"{self.location}: the store ignores If-None-Match, and overwrites what is there"
                    )
            finally:
                with suppress(ObjectStoreUnavailable):  # the first error is the one to tell
                    self.delete(key)
        except WarehouseError as err:
            reason = str(err).removeprefix(f"{self.location.child(key)}: ").removeprefix(f"{self.location}: ")
            raise ConfigurationError("Store URI", f"{self.location} cannot be written: {reason}") from err

    def close(self) -> None:
        """Do nothing: connections close with the last reference."""

    def _put(self, key: str, content: bytes, mode: str | Mapping[str, str | None]) -> bool:
        """Whether the condition held."""
        check_key(key)
        client = self._client if len(content) < _SLOW else self._large_puts
        with self._errors(key):
            try:
                client.put(key, content, mode=mode, use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def _same(self, there: StoredObject, size: int) -> bool:
        """False, as `put_if_absent` says it. Raises ObjectConflict."""
        if there.size != size:
            problem = f"{there.size} bytes are there, and {size} others were to be written"
            raise ObjectConflict(f"{self.location.child(there.key)}: {problem}")
        return False

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        where = self.location.child(key) if key else str(self.location)
        try:
            yield
        except WarehouseError:
            raise
        except FileNotFoundError as err:
            text = str(err)
            code = _code(text)
            if "performing PUT" in text or code in _REFUSED_CODES:
                raise ObjectStoreRefused(f"{where}: {self._reason(err) if code else 'no such bucket'}") from err
            raise ObjectMissing(f"{where} is not there") from err
        except (PermissionDeniedError, UnauthenticatedError) as err:
            raise ObjectStoreRefused(f"{where}: {self._reason(err)}") from err
        except (BaseError, OSError) as err:
            refused = _code(str(err)) in _REFUSED_CODES or "incorrectly configured region" in str(err)
            raise (ObjectStoreRefused if refused else ObjectStoreUnavailable)(f"{where}: {self._reason(err)}") from err

    def _reason(self, err: Exception) -> str:
        return one_line(self._settings.hide(self.location.hide(reason(str(err)))))


def client_options(settings: StoreSettings, answer_s: float, whole_s: float, url: str) -> ClientConfig:
    """Obstore's options of a connection. Raises ConfigurationError: no file with certificates."""
    options: ClientConfig = {
        "allow_http": url.startswith("http://"),
        "connect_timeout": timedelta(seconds=settings.connect_s),
        "read_timeout": timedelta(seconds=answer_s),
        "timeout": timedelta(seconds=settings.connect_s + whole_s),
    }
    if settings.ca_file:
        try:
            options["root_certificate"] = Path(settings.ca_file).read_bytes()
        except OSError as err:
            raise ConfigurationError("Store CA File", f"{settings.ca_file}: {err.strerror}") from err
    return options


# One more try within a second; what takes longer is for those who call.
RETRY: RetryConfig = {
    "max_retries": 1,
    "retry_timeout": timedelta(seconds=5),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}


def reason(message: str) -> str:
    """What a message of obstore says, out of the request, the answer and the chain of Rust's errors around it."""
    first = message.partition("\n\nDebug source")[0]
    code, said, status = _code(message), _MESSAGE.search(first), _STATUS.search(first)
    if code:
        return f"{code}: {html.unescape(said[1])}" if said else code
    if status:
        return f"the store answered {status[0].removeprefix('status code: ').strip()}"
    if "kind: Timeout" in message or "TimedOut" in message:
        return "no answer in time"
    causes = [text or name for text, name in _CAUSE.findall(message)]
    if causes:
        return "; ".join(dict.fromkeys(" ".join(cause.split()) for cause in causes))
    return first


def _is_behind_the_end(message: str) -> bool:
    # Or right behind the end, where Azurite sends a range that obstore cannot read or does not believe.
    return _code(message) == "InvalidRange" or "CONTENT_RANGE" in message or "Wanted range starting" in message


def _code(message: str) -> str:
    match = _CODE.search(message)
    return match[1] if match else ""


def _described(meta: Mapping[str, Any]) -> StoredObject:
    etag = meta["e_tag"]  # Azure's lists have it without quotes, its other answers and conditions with them
    return StoredObject(
        meta["path"], meta["size"], meta["last_modified"], f'"{etag}"' if etag and not etag.endswith('"') else etag
    )
