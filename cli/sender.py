"""Client core of `imagewarehouse send`: finds images, posts them, counts the answers.

One producer walks the sources and fills a short queue, N consumers take from it, read, post and retry. Only aggregates
are kept, so memory does not grow with the number of images; what is held at once is at most one image a connection,
the queue, and one batch of a Parquet file.

Every image gets one Idempotency-Key for all its attempts, and the service makes it the key of the row: a retry after a
lost answer overwrites the row instead of adding one. With a state file this holds across restarts too.
"""

from __future__ import annotations

import asyncio
import errno
import fnmatch
import glob
import hashlib
import io
import json
import math
import os
import random
import re
import signal
import ssl
import threading
import time
from array import array
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO
from urllib.parse import quote, urlsplit

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from imagewarehouse import __version__
from imagewarehouse.errors import BadIdempotencyKey, ConfigurationError
from imagewarehouse.formats import by_file_name, sniff
from imagewarehouse.ids import MAX_AGE, MAX_AHEAD, event_time, new_request_id

Status = Literal["accepted", "rejected", "failed"]
ACCEPTED: Status = "accepted"
REJECTED: Status = "rejected"
FAILED: Status = "failed"

MAX_READ = 128 * 1024 * 1024  # bytes of one image; the service's default is 20 MiB, and each connection may hold this
MAX_ANSWER = 1024 * 1024  # bytes of one answer; a record with top_k has about 1 KB
MAX_NAME = 255  # characters of a file name; the service cuts there too
BATCH_BYTES = 16 * 1024 * 1024  # of a Parquet file in memory at once
CONNECT_TIMEOUT_S = 10.0
NAMED_FAILURES = 20  # lines of the summary that name an image
SHOWN_CLASSES = 30
_RETRIED = {429, 502, 503, 504}
_ABOUT_THE_IMAGE = {400, 413, 415, 422}  # the service judged the image; every other refusal is about how it was sent
_REFUSED_FOR_ALL = {301, 302, 303, 307, 308, 401, 403, 404, 405, 407}  # the second image would fare no better
_KEY_MARGIN = timedelta(hours=1)  # a key that expires while it is being retried would fail for good


class OutputBroken(Exception):
    """A file that results go to could not be written; going on would lose them."""

    def __init__(self, option: str, cause: OSError) -> None:
        super().__init__(f"{option}: {cause.strerror or cause}")


# --- settings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting between two attempts, seconds: exponential with jitter, so that senders do not come back in step."""

    base_s: float = 0.25
    cap_s: float = 30.0

    def delay(self, attempt: int, retry_after_s: float | None, uniform: Callable[[float, float], float]) -> float:
        """After the failed attempt number `attempt` (1, 2, ...). Never earlier than the service asked, up to the cap."""
        if retry_after_s is not None:
            asked = min(self.cap_s, max(0.0, retry_after_s))
            return asked + uniform(0.0, max(self.base_s, asked / 10))
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30)) * uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. `tls` None: plain HTTP."""

    url: str
    access_key: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def answers_later(self) -> bool:
        """/images acknowledges before the flow has run, so there is no class in its answer."""
        return urlsplit(self.url).path.rstrip("/").endswith("/images")


@dataclass(frozen=True, slots=True)
class Plan:
    """How to send."""

    connections: int = 8
    retries: int = 8  # attempts after the first
    timeout_s: float = 60.0  # one attempt, from connecting to the last byte of the answer
    skip: int = 0
    limit: int | None = None
    media_type: str | None = None  # declared for every image instead of what its name or its bytes say
    backoff: Backoff = field(default_factory=Backoff)
    grace_s: float = 5.0  # how long requests under way are awaited after Ctrl-C


def parse_target(
    url: str,
    access_key: str | None = None,
    cacert: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> Target:
    """Check the address and load the TLS files. Raises ConfigurationError naming the option, never echoing the key."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises where the port is no number
    except ValueError as err:
        raise ConfigurationError("--url", f"{url!r} is not a URL: {err}") from err
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\x00-\x20\x7f]", url):
        raise ConfigurationError("--url", f"expected http://host:port/classify, received {url!r}")
    if parts.username is not None:
        raise ConfigurationError("--url", "a password in a URL ends up in logs; use IMAGEWAREHOUSE_ACCESS_KEY")
    if access_key is not None:
        access_key = access_key.strip()
        if not re.fullmatch(r"[\x21-\x7e]+", access_key):
            raise ConfigurationError("--access-key", "empty, or with characters that no header can carry")
    if parts.scheme == "http":
        for option, value in (("--cacert", cacert), ("--cert", cert), ("--key", key)):
            if value is not None:
                raise ConfigurationError(option, f"only for https, but the address is {url}")
        return Target(url, access_key)
    if key is not None and cert is None:
        raise ConfigurationError("--key", "goes with --cert")
    return Target(url, access_key, _tls_context(cacert, cert, key))


def is_key_exposed(target: Target) -> bool:
    """Whether the access key would cross a network unencrypted."""
    host = urlsplit(target.url).hostname or ""
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    return target.access_key is not None and target.tls is None and not is_local


def _tls_context(cacert: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if cacert is None else str(cacert))
    except OSError as err:  # ssl.SSLError is one
        raise ConfigurationError("--cacert", f"{cacert}: {err.strerror or 'holds no certificate in PEM form'}") from err

    def no_password() -> str:
        # OpenSSL would ask on the terminal, and a scheduled job would hang there.
        raise ConfigurationError("--key", f"{key or cert} is encrypted; give an unencrypted one")

    if cert is not None:
        try:
            context.load_cert_chain(cert, key, password=no_password)
        except OSError as err:
            problem = f"{cert}: not a certificate with its private key in PEM form ({err.strerror or err})"
            raise ConfigurationError("--cert", problem) from err
    return context


# --- what is sent -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Image:
    """One image to send; its bytes are here (Parquet, standard input) or still in a file."""

    source: str  # as the user would name it
    key: str  # in the state file: absolute path, or absolute path of the Parquet file # row
    file_name: str | None
    content: bytes | None = field(default=None, repr=False)
    label: str | None = None  # the true class where it is known


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that should have been an image and could not be read."""

    source: str
    detail: str


Item = Image | Unreadable


@dataclass(frozen=True, slots=True)
class FileSource:
    """A single file."""

    path: Path

    def items(self) -> Iterator[Item]:
        yield _file_image(str(self.path), str(self.path.parent.resolve() / self.path.name))


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Every file with a known image suffix below a folder; hidden ones and links to folders are passed over."""

    path: Path

    def items(self) -> Iterator[Item]:
        shown = "" if str(self.path) == "." else str(self.path)
        yield from _walk(shown, str(self.path.resolve()))


@dataclass(frozen=True, slots=True)
class PatternSource:
    """Every file that a glob pattern matches, whatever its suffix, as if the shell had expanded it."""

    pattern: str

    def items(self) -> Iterator[Item]:
        for shown, key in _match(self.pattern):
            if isinstance(key, Unreadable):
                yield key
            elif shown.lower().endswith(".parquet"):
                try:
                    yield from open_parquet(Path(shown)).items()
                except ConfigurationError as err:
                    yield Unreadable(shown, err.problem)
            else:
                yield _file_image(shown, key)


@dataclass(frozen=True, slots=True)
class StdinSource:
    """The one image that was read from standard input."""

    content: bytes = field(repr=False)

    def items(self) -> Iterator[Item]:
        # Standard input has no name to resume by, so its content is the name.
        yield Image("-", f"-#sha256:{hashlib.sha256(self.content).hexdigest()}", None, self.content)


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """Rows of a Parquet file: `image` (bytes), optionally `path` (a name) and `class` (the truth)."""

    path: Path
    rows: int
    columns: tuple[str, ...]

    def items(self, start: int = 0) -> Iterator[Item]:
        """Rows from number `start` on. A row group that cannot be read is one Unreadable, the next one goes on."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        key, row = str(self.path.resolve()), 0
        try:
            # Without these two pyarrow reads a whole row group ahead, which may be the whole file.
            file = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1024 * 1024)
        except (pa.ArrowException, OSError, ValueError) as err:
            yield Unreadable(str(self.path), _line(err))
            return
        with file:
            for group in range(file.metadata.num_row_groups):
                end = row + file.metadata.row_group(group).num_rows
                try:
                    for batch in _batches(file, group, self.columns) if end > start else ():
                        for index in range(batch.num_rows):
                            if row >= start:
                                yield _row_image(self.path, key, row, batch, index)
                            row += 1
                except (pa.ArrowException, OSError, ValueError) as err:
                    yield Unreadable(f"{self.path}#{row}", f"rows {row} to {end - 1}: {_line(err)}")
                row = end


Source = FileSource | FolderSource | PatternSource | ParquetSource | StdinSource


def open_sources(arguments: Iterable[str], stdin: BinaryIO) -> list[Source]:
    """Turn the SOURCE arguments into sources, each known to hold something.

    Raises ConfigurationError naming the argument: no such file, nothing in it, unreadable Parquet, no `image` column.
    """
    found: list[Source] = []
    for argument in arguments:
        if argument == "-":
            if any(isinstance(source, StdinSource) for source in found):
                raise ConfigurationError("SOURCE -", "standard input holds one image, it was named twice")
            found.append(_read_stdin(stdin))
            continue
        path = Path(argument)
        try:
            if path.is_dir():
                found.append(_not_empty(FolderSource(path), argument, "no file with an image suffix in this folder"))
            elif path.is_file():
                is_table = path.suffix.lower() == ".parquet"
                found.append(open_parquet(path) if is_table else FileSource(path))
            elif path.exists():
                raise ConfigurationError(f"SOURCE {argument}", "not a regular file; pipe it in and name it -")
            elif glob.has_magic(argument):
                matching = _not_empty(PatternSource(argument), argument, "no file matches this pattern")
                if argument.lower().endswith(".parquet"):  # few and checked at once, as if the shell had expanded it
                    found.extend(open_parquet(Path(shown)) for shown, _ in _match(argument))
                else:
                    found.append(matching)
            else:
                raise ConfigurationError(f"SOURCE {argument}", "no such file or folder")
        except (OSError, ValueError) as err:  # a name too long, a null byte, a folder that may not be entered
            raise ConfigurationError(f"SOURCE {argument}", _reason(err)) from err
    return found


def open_parquet(path: Path) -> ParquetSource:
    """Read a Parquet file's metadata, no rows. Raises ConfigurationError: not readable, no `image` column of bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    setting = f"SOURCE {path}"
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as err:
        raise ConfigurationError(setting, f"not a readable Parquet file: {_line(err)}") from err
    if "image" not in schema.names:
        raise ConfigurationError(setting, f"no column `image`, only {', '.join(schema.names)[:200]}")
    kind = schema.field("image").type
    if not any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        raise ConfigurationError(setting, f"column `image` holds {str(kind)[:80]}, expected the bytes of image files")
    if rows == 0:
        raise ConfigurationError(setting, "no rows in it")
    return ParquetSource(path, rows, tuple(name for name in ("image", "path", "class") if name in schema.names))


def each_item(sources: Iterable[Source], skip: int = 0, limit: int | None = None) -> Iterator[Item]:
    """Items of all sources in order, without the first `skip`, at most `limit`."""
    left = limit
    for source in sources:
        if isinstance(source, ParquetSource):
            if skip >= source.rows:
                skip -= source.rows
                continue
            items, skip = source.items(skip), 0
        else:
            items = source.items()
        for item in items:
            if skip:
                skip -= 1
                continue
            if left == 0:
                return
            left = None if left is None else left - 1
            yield item


def count_items(
    sources: Iterable[Source], skip: int, limit: int | None, give_up: Callable[[], bool] = lambda: False
) -> int | None:
    """How many items `each_item` gives, without reading images; None when `give_up` says so meanwhile."""
    total = 0
    for source in sources:
        if isinstance(source, ParquetSource):
            total += source.rows
            continue
        for rows in _counts(source):
            total += rows
            if give_up():
                return None
            if limit is not None and total >= skip + limit:
                return limit
    return max(0, total - skip) if limit is None else min(limit, max(0, total - skip))


def _counts(source: Source) -> Iterator[int]:
    if not isinstance(source, PatternSource):
        yield from (1 for _ in source.items())
        return
    for shown, _ in _match(source.pattern):
        yield _count_rows(Path(shown)) if shown.lower().endswith(".parquet") else 1


def _count_rows(path: Path) -> int:
    try:
        return open_parquet(path).rows
    except ConfigurationError:
        return 1  # the one failure that it is going to be


def _not_empty(source: FolderSource | PatternSource, argument: str, problem: str) -> Source:
    if next(source.items(), None) is None:
        raise ConfigurationError(f"SOURCE {argument}", problem)
    return source


def _read_stdin(stdin: BinaryIO) -> StdinSource:
    if stdin.isatty():
        raise ConfigurationError("SOURCE -", "standard input is the terminal; pipe an image in")
    content = stdin.read(MAX_READ + 1)
    if len(content) > MAX_READ:
        raise ConfigurationError("SOURCE -", f"more than {MAX_READ} bytes, that is no single image")
    return StdinSource(content)


def _file_image(shown: str, key: str) -> Image:
    return Image(shown, key, re.split(r"[/\\]", shown)[-1] if os.sep == "\\" else shown.rpartition("/")[2])


def _row_image(path: Path, key: str, row: int, batch: Any, index: int) -> Item:
    def value(column: str) -> Any:
        return batch.column(column)[index].as_py() if column in batch.schema.names else None

    source, content, name, label = f"{path}#{row}", value("image"), value("path"), value("class")
    if content is None:
        return Unreadable(source, "the row has no image")
    if isinstance(name, str) and name.strip("/\\ "):
        name = re.split(r"[/\\]", name.rstrip("/\\ "))[-1]
    else:  # a name that leads back from the warehouse to the row
        found = sniff(content)
        name = f"{path.stem}-{row}" + (f".{found.extension}" if found else "")
    return Image(source, f"{key}#{row}", name, content, label if isinstance(label, str) else None)


def _batches(file: Any, group: int, columns: tuple[str, ...]) -> Iterator[Any]:
    """Record batches of one row group, each about BATCH_BYTES at most."""
    meta = file.metadata.row_group(group)
    chunks = [meta.column(i) for i in range(meta.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == "image")
    rows = max(1, min(64, BATCH_BYTES * max(1, meta.num_rows) // max(1, size)))
    batches: Iterator[Any] = file.iter_batches(
        batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False
    )
    return batches


def _join(folder: str, name: str) -> str:
    if not folder:
        return name
    return folder + name if folder.endswith(("/", os.sep)) else f"{folder}{os.sep}{name}"


def _list(folder: str) -> tuple[list[tuple[str, bool]], list[str]]:
    """Folders (name, whether it is a link) and files in one folder, each sorted. Raises OSError.

    Sorted, since --skip and --limit need the same order every time: a folder of a million files costs about 70 MB.
    """
    folders, files = [], []
    with os.scandir(folder or ".") as entries:
        for entry in entries:
            if entry.is_dir():
                folders.append((entry.name, entry.is_symlink()))
            elif entry.is_file() or entry.is_symlink():  # a dangling link is named as unreadable, not passed over
                files.append(entry.name)
    return sorted(folders), sorted(files)


def _walk(shown: str, key: str) -> Iterator[Item]:
    pending = [(shown, key)]
    while pending:
        shown, key = pending.pop()
        try:
            folders, files = _list(shown)
        except OSError as err:
            yield Unreadable(shown, _reason(err))
            continue
        for name in files:
            if not name.startswith(".") and by_file_name(name) is not None:
                yield _file_image(_join(shown, name), _join(key, name))
        # A link may lead back up, and the walk would never end.
        below = [name for name, is_link in folders if not name.startswith(".") and not is_link]
        pending.extend((_join(shown, name), _join(key, name)) for name in reversed(below))


def _match(pattern: str) -> Iterator[tuple[str, str | Unreadable]]:
    """(path, absolute path) of each file that matches, once each and in order.

    Not glob.iglob: that one holds and repeats matches when `**` occurs twice. All positions of the pattern that a
    folder can be at are carried down together instead, so every folder is listed at most once.
    """
    parts = Path(pattern).parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    base = str(Path(*parts[:fixed])) if fixed else ""
    wanted = parts[fixed:]
    tests = [None if part == "**" else re.compile(fnmatch.translate(part)) for part in wanted]

    def fits(position: int, name: str) -> bool:
        test = tests[position]
        if name.startswith(".") and not wanted[position].startswith("."):
            return False
        return test is None or test.match(name) is not None

    pending = [(base, str(Path(base or ".").resolve()), frozenset({0}))]
    while pending:
        shown, key, positions = pending.pop()
        reached = set(positions)
        for position in sorted(positions):  # `**` also stands for no folder at all
            while position < len(wanted) and tests[position] is None:
                position += 1
                reached.add(position)
        reached.discard(len(wanted))
        try:
            folders, files = _list(shown)
        except OSError as err:
            if shown != base:
                yield shown, Unreadable(shown, _reason(err))
            continue
        for name in files:
            if any(position == len(wanted) - 1 and fits(position, name) for position in reached):
                yield _join(shown, name), _join(key, name)
        for name, is_link in reversed(folders):
            below = set()
            for position in reached:
                if fits(position, name):
                    if tests[position] is None:
                        below |= set() if is_link else {position}
                    elif position + 1 < len(wanted):
                        below.add(position + 1)
            if below:
                pending.append((_join(shown, name), _join(key, name), frozenset(below)))


def read_image(image: Image) -> bytes:
    """The bytes of an image. Raises OSError, also for one above MAX_READ."""
    if image.content is not None:
        content = image.content
    else:
        with Path(image.source).open("rb") as file:
            content = file.read(MAX_READ + 1)
    if len(content) > MAX_READ:
        raise OSError(errno.EFBIG, f"more than {MAX_READ} bytes, that is no single image")
    return content


def headers_of(image: Image, content: bytes, request_id: str, media_type: str | None) -> dict[str, str]:
    """Headers of the request for one image, the same at every attempt."""
    # A row's name is only a label; what counts are its bytes.
    declared = by_file_name(image.file_name) if image.file_name and image.content is None else None
    declared = declared or sniff(content)
    headers = {
        "Idempotency-Key": request_id,
        "Content-Type": media_type or (declared.media_types[0] if declared else "application/octet-stream"),
    }
    if image.file_name:
        name = quote(image.file_name[-MAX_NAME:], safe="", errors="replace")
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
    return headers


# --- what came back -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `ms`: from the start of the attempt to the last byte."""

    http_status: int
    body: bytes = field(repr=False)
    ms: float
    retry_after_s: float | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt without an answer. `silent`: nothing came back at all, so the service may be down."""

    code: str
    detail: str
    retryable: bool = True
    silent: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one image."""

    source: str
    status: Status
    request_id: str | None = None
    predicted_class: str | None = None
    confidence: float | None = None
    ms: float | None = None  # of the last attempt
    attempts: int = 0
    error_code: str | None = None
    error_detail: str | None = None
    label: str | None = None
    http_status: int | None = None
    silent: bool = False

    def as_json(self) -> str:
        """One line. ASCII, so that a name that is no valid UTF-8 survives."""
        names = ("source", "status", "request_id", "predicted_class", "confidence", "ms", "attempts")
        values = {name: getattr(self, name) for name in (*names, "error_code", "error_detail")}
        values["ms"] = None if self.ms is None else round(self.ms, 3)
        return json.dumps(values)


def judge(reply: Reply, *, answers_later: bool) -> dict[str, Any]:
    """Fields of an Outcome that an answer gives: status, and a record's or a problem's values."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        body = None
    said: dict[str, Any] = body if isinstance(body, dict) else {}

    def text(name: str) -> str | None:
        return said[name] if isinstance(said.get(name), str) and said[name] else None

    fields: dict[str, Any] = {"http_status": reply.http_status, "ms": reply.ms}
    if text("request_id"):
        fields["request_id"] = text("request_id")
    if 200 <= reply.http_status < 300:
        if not answers_later and text("request_id") is None:
            # Any web server answers 200 to something; only a record proves that the image has arrived.
            detail = f"{reply.http_status}, but without a record; is this the address of an image warehouse?"
            return fields | {"status": FAILED, "error_code": "answer.not_understood", "error_detail": detail}
        confidence: Any = said.get("confidence")
        fields["predicted_class"] = text("predicted_class")
        is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
        fields["confidence"] = float(confidence) if is_number and 0 <= confidence <= 1 else None
        return fields | {"status": ACCEPTED}
    code = text("error_code")
    rest = f"redirected to {reply.location}" if reply.location else reply.body[:400].decode("utf-8", "replace")
    detail = text("detail") or text("title") or rest
    judged = reply.http_status in _ABOUT_THE_IMAGE and code != BadIdempotencyKey.code
    return fields | {
        "status": REJECTED if judged else FAILED,
        "error_code": code or f"http.{reply.http_status}",
        "error_detail": _plain(detail, 300),
    }


def explain(err: Exception, timeout_s: float) -> Trouble:
    """The one place where the exceptions of aiohttp, ssl and the sockets become words."""
    if isinstance(err, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        reason = getattr(
            getattr(err, "os_error", None) or getattr(err, "certificate_error", None) or err, "reason", None
        )
        inner = getattr(err, "certificate_error", None)
        words = getattr(inner, "verify_message", None) or (reason or str(err)).replace("_", " ").lower()
        hint = "; for a certificate of your own give --cacert FILE" if inner is not None else ""
        return Trouble("connection.tls", f"TLS: {_line(words)}{hint}", retryable=False)
    if isinstance(err, aiohttp.ClientConnectorDNSError):
        return Trouble("connection.failed", f"host name not found ({_line(err.os_error.strerror or err.os_error)})")
    if isinstance(err, aiohttp.ConnectionTimeoutError):
        return Trouble("connection.timeout", f"no connection within {min(timeout_s, CONNECT_TIMEOUT_S):g} s")
    if isinstance(err, asyncio.TimeoutError):
        return Trouble("connection.timeout", f"no answer within {timeout_s:g} s")
    if isinstance(err, aiohttp.ClientConnectorError):
        return Trouble("connection.failed", _reason(err.os_error))
    if isinstance(err, aiohttp.ServerDisconnectedError):
        return Trouble("connection.lost", "the service closed the connection without an answer", silent=False)
    if isinstance(err, aiohttp.ClientOSError | aiohttp.ClientPayloadError | OSError):
        return Trouble("connection.lost", _reason(err), silent=False)
    # What is left speaks, but no HTTP: trying again would not teach it.
    return Trouble("answer.not_understood", f"not an HTTP answer: {_line(err)}", retryable=False, silent=False)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date); None without a usable one."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=timezone.utc)) - now).total_seconds())


def _reason(err: BaseException) -> str:
    """The system's words for an error, without Python's around them."""
    number = getattr(err, "errno", None)
    if number is None:  # several addresses were tried, and asyncio joined their errors into one text
        found = re.search(r"\[Errno (\d+)\]", str(err))
        number = int(found.group(1)) if found else None
    if number is not None and number > 0 and number != errno.EFBIG:
        return os.strerror(number).lower()
    return _line(getattr(err, "strerror", None) or err)


def _line(value: object) -> str:
    return _plain(str(value).strip().partition("\n")[0], 200) or type(value).__name__


def _plain(text: str, limit: int = 1000) -> str:
    """Text from a file name or a server made harmless for a terminal: no control characters, valid UTF-8."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+", " ", text).strip()[:limit]


# --- aggregates ---------------------------------------------------------------------------------------------------


class Histogram:
    """Milliseconds in buckets 1 % wide from 10 microseconds on: any number of values in 20 KB."""

    _LOWEST, _STEP = 0.01, math.log(1.01)

    def __init__(self) -> None:
        self._buckets = array("q", bytes(8 * 2400))  # up to 65 hours
        self.count = 0
        self.max = 0.0

    def add(self, ms: float) -> None:
        bucket = int(math.log(max(ms, self._LOWEST) / self._LOWEST) / self._STEP)
        self._buckets[min(bucket, len(self._buckets) - 1)] += 1
        self.count += 1
        self.max = max(self.max, ms)

    def quantile(self, share: float) -> float:
        """The value that `share` of all values (0-1) do not exceed, within 1 %."""
        wanted, seen = share * self.count, 0
        for bucket, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return min(self.max, self._LOWEST * math.exp((bucket + 0.5) * self._STEP))
        return self.max


@dataclass(slots=True)
class ClassTally:
    """One predicted class."""

    count: int = 0
    confidence_sum: float = 0.0
    confidence_count: int = 0


@dataclass(slots=True)
class ErrorTally:
    """One error code with the first image that met it."""

    status: Status
    example: str
    detail: str
    count: int = 0


class Tally:
    """Everything a run remembers about what it has sent."""

    MAX_KINDS = 10_000  # classes or codes; a service that makes up names must not fill the memory

    def __init__(self) -> None:
        self.by_status: dict[Status, int] = {ACCEPTED: 0, REJECTED: 0, FAILED: 0}
        self.seen = 0  # items from the sources, those answered in an earlier run included
        self.answered_earlier = 0
        self.unanswered = 0  # under way when the run was stopped
        self.retries = 0
        self.labelled = 0
        self.correct = 0
        self.classes: dict[str, ClassTally] = {}
        self.errors: dict[tuple[Status, str], ErrorTally] = {}
        self.named: list[tuple[str, str]] = []
        self.latency = Histogram()
        self.started = time.monotonic()
        self.seconds = 0.0

    @property
    def done(self) -> int:
        return sum(self.by_status.values())

    @property
    def not_accepted(self) -> int:
        return self.by_status[REJECTED] + self.by_status[FAILED]

    def elapsed_s(self) -> float:
        return self.seconds or time.monotonic() - self.started

    def add(self, outcome: Outcome) -> None:
        self.by_status[outcome.status] += 1
        self.retries += max(0, outcome.attempts - 1)
        if outcome.status != ACCEPTED:
            self._add_error(outcome)
            return
        if outcome.ms is not None:
            self.latency.add(outcome.ms)
        if outcome.predicted_class is None:
            return
        name = outcome.predicted_class
        if name not in self.classes and len(self.classes) >= self.MAX_KINDS:
            name = "(other)"
        entry = self.classes.setdefault(name, ClassTally())
        entry.count += 1
        if outcome.confidence is not None:
            entry.confidence_sum += outcome.confidence
            entry.confidence_count += 1
        if outcome.label is not None:
            self.labelled += 1
            self.correct += outcome.label == outcome.predicted_class

    def _add_error(self, outcome: Outcome) -> None:
        code = outcome.error_code or "internal"
        if (outcome.status, code) not in self.errors and len(self.errors) >= self.MAX_KINDS:
            code = "(other)"
        entry = self.errors.setdefault(
            (outcome.status, code), ErrorTally(outcome.status, outcome.source, outcome.error_detail or "")
        )
        entry.count += 1
        if len(self.named) < NAMED_FAILURES:
            self.named.append((outcome.source, code))


# --- state file ---------------------------------------------------------------------------------------------------


class State:
    """Append-only JSONL that says which images were answered and which key the others were sent under.

    The first line names the address; then `sending` is written before an image's first attempt and its status after
    the last. Lines are handed to the operating system at once, so they survive a kill of this process. An answered
    image is remembered as 8 bytes (a digest; among a million, two agree with a chance of 1 in 40 million).
    """

    def __init__(self, path: Path, url: str) -> None:
        """Open and read it. Raises ConfigurationError: not a state file, of another address, in use, not writable."""
        import numpy as np

        self._pending: dict[int, str] = {}
        answered = array("Q")
        try:
            self._file = path.open("a+b")
        except OSError as err:
            raise ConfigurationError("--state", f"{path}: {_reason(err)}") from err
        try:
            self._lock(path)
            self._file.seek(0)
            first = self._file.readline()
            if first:
                self._check_header(first, path, url)
            last = first
            for line in self._file:
                last = line
                self._remember(line, answered)
            if not first:
                self._write({"imagewarehouse_send": 1, "url": url})
            elif not last.endswith(b"\n"):  # cut off by a crash; the next line must not be glued to it
                self._file.write(b"\n")
        except BaseException:
            self._file.close()
            raise
        self._answered = np.unique(np.frombuffer(answered, dtype=np.uint64)) if answered else None

    def is_answered(self, key: str) -> bool:
        if self._answered is None:
            return False
        digest = _digest(key)
        at = int(self._answered.searchsorted(self._answered.dtype.type(digest)))
        return at < len(self._answered) and int(self._answered[at]) == digest

    def begin(self, key: str, now: datetime) -> str:
        """The Idempotency-Key for an image: the one of an earlier run, or a fresh one where that has grown too old."""
        known = self._pending.pop(_digest(key), None)
        request_id = known if known is not None and _is_usable(known, now) else new_request_id(now)
        self._write({"source": key, "key": request_id, "status": "sending"})
        return request_id

    def end(self, key: str, request_id: str, status: Status) -> None:
        self._write({"source": key, "key": request_id, "status": status})

    def close(self) -> None:
        with suppress(OSError):  # every line was flushed; what still fails here has been reported
            self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as err:
            raise OutputBroken("--state", err) from err

    def _remember(self, line: bytes, answered: array[int]) -> None:
        try:
            entry = json.loads(line)
            digest, request_id, status = _digest(entry["source"]), entry["key"], entry["status"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # cut off by a crash
        if status in (ACCEPTED, REJECTED):
            self._pending.pop(digest, None)
            answered.append(digest)
        else:
            self._pending[digest] = str(request_id)

    def _lock(self, path: Path) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise ConfigurationError("--state", f"{path} is in use by another `imagewarehouse send`") from err
        except OSError:
            pass  # a file system without locks

    @staticmethod
    def _check_header(line: bytes, path: Path, url: str) -> None:
        try:
            header = json.loads(line)
            known = header.get("url") if header.get("imagewarehouse_send") == 1 else None
        except (ValueError, AttributeError, RecursionError):
            known = None
        if not isinstance(known, str):
            raise ConfigurationError("--state", f"{path} exists and is no state file of `imagewarehouse send`")
        if known != url:
            problem = f"{path} belongs to {known}; take another file, or edit its first line if the service has moved"
            raise ConfigurationError("--state", problem)


def _is_usable(request_id: str, now: datetime) -> bool:
    """Whether the service would still take this Idempotency-Key."""
    try:
        return -MAX_AHEAD <= now - event_time(request_id) <= MAX_AGE - _KEY_MARGIN
    except (ValueError, OverflowError):
        return False


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


# --- the run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended. `signal`: the one that stopped it; `stopped`: why it stopped by itself."""

    tally: Tally
    signal: int | None = None
    stopped: str | None = None
    never_answered: bool = False

    @property
    def exit_code(self) -> int:
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.stopped or self.tally.not_accepted else 0


def send_images(
    sources: list[Source],
    target: Target,
    plan: Plan,
    *,
    state: State | None = None,
    lines: TextIO | None = None,
    display: Display | None = None,
) -> Result:
    """Send everything and wait for it. Ctrl-C and SIGTERM stop it cleanly, a second one at once.

    Raises: OutputBroken; ConfigurationError when --skip leaves nothing.
    """

    async def main() -> Result:
        loop = asyncio.get_running_loop()
        # The default pool has as few threads as the machine has cores, and slow disks want one a connection.
        pool = ThreadPoolExecutor(min(64, plan.connections + 3), thread_name_prefix="send")
        loop.set_default_executor(pool)
        run = _Run(sources, target, plan, state, lines, display)
        handled = _handle_signals(loop, run.on_signal)
        try:
            return await run.run()
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    result = _run(main())
    if result.tally.seen == 0 and result.exit_code == 0:
        raise ConfigurationError("--skip", f"nothing is left after {plan.skip} images")
    return result


@contextmanager
def open_lines(path: Path, *, append: bool) -> Iterator[TextIO]:
    """The file of --json. Raises ConfigurationError."""
    try:
        file = path.open("a" if append else "w", encoding="ascii", newline="\n")
    except OSError as err:
        raise ConfigurationError("--json", f"{path}: {_reason(err)}") from err
    try:
        yield file
    finally:
        with suppress(OSError):  # every line was flushed; what still fails here has been reported
            file.close()


def _run(main: Coroutine[Any, Any, Result]) -> Result:
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(main)
    return uvloop.run(main)


def _handle_signals(loop: asyncio.AbstractEventLoop, act: Callable[[int], None]) -> list[int]:
    handled: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, act, int(number))
        except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not in the main thread
            continue
        handled.append(number)
    return handled


class _Run:
    """One run; lives as long as one call of `send_images`."""

    def __init__(
        self,
        sources: list[Source],
        target: Target,
        plan: Plan,
        state: State | None,
        lines: TextIO | None,
        display: Display | None,
    ) -> None:
        self.sources, self.target, self.plan = sources, target, plan
        self.state, self.lines, self.display = state, lines, display
        self.tally = Tally()
        self.queue: asyncio.Queue[Item | None] = asyncio.Queue(plan.connections * 2)
        self.halt = asyncio.Event()  # take nothing new, start no further attempt
        self.kill = asyncio.Event()  # do not even wait for what is under way
        self.finished = threading.Event()
        self.signal: int | None = None
        self.stopped: str | None = None
        self.heard = False  # the service has answered at least once
        self.done_any = False  # one image has been through all its attempts
        self.silent_in_a_row = 0
        self.uniform = random.SystemRandom().uniform
        self.halted: asyncio.Future[Any] = asyncio.ensure_future(self.halt.wait())

    def on_signal(self, number: int) -> None:
        if self.signal is not None:
            self.kill.set()
        self.signal = number
        self.halt.set()

    async def run(self) -> Result:
        timeout = aiohttp.ClientTimeout(
            total=self.plan.timeout_s, sock_connect=min(self.plan.timeout_s, CONNECT_TIMEOUT_S)
        )
        headers = {"User-Agent": f"imagewarehouse-send/{__version__}"}
        if self.target.access_key:
            headers["X-Access-Key"] = self.target.access_key
        connector = aiohttp.TCPConnector(limit=self.plan.connections, ssl=self.target.tls or True)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as self.session:
            helpers = [asyncio.ensure_future(self._show())] if self.display else []
            self.producer: asyncio.Future[Any] = asyncio.ensure_future(self._produce())
            consumers: asyncio.Future[Any] = asyncio.ensure_future(self._consume())
            try:
                await self._supervise(consumers)
            finally:
                self.finished.set()
                await _end([self.producer, consumers, *helpers])
                self.tally.seconds = time.monotonic() - self.tally.started
        return Result(self.tally, self.signal, self.stopped, not self.heard)

    async def _supervise(self, consumers: asyncio.Future[Any]) -> None:
        """Wait for the end, or after a halt for what is under way. Raises what a task raised."""
        halted = self.halted
        killed: asyncio.Future[Any] = asyncio.ensure_future(self.kill.wait())
        try:
            # The producer is watched too: without it the consumers would wait for ever.
            await asyncio.wait({consumers, halted, self.producer}, return_when=asyncio.FIRST_COMPLETED)
            if self.producer.done() and not self.producer.cancelled():
                self.producer.result()
            await asyncio.wait({consumers, halted}, return_when=asyncio.FIRST_COMPLETED)
            if not consumers.done():
                await _end([self.producer])
                while not self.queue.empty():
                    self.queue.get_nowait()
                self.queue.put_nowait(None)
                await asyncio.wait({consumers, killed}, timeout=self.plan.grace_s, return_when=asyncio.FIRST_COMPLETED)
            if consumers.done():
                consumers.result()
        finally:
            await _end([halted, killed])

    async def _produce(self) -> None:
        items = each_item(self.sources, self.plan.skip, self.plan.limit)
        while chunk := await asyncio.to_thread(_take, items):
            for item in chunk:
                self.tally.seen += 1
                if self.state is not None and isinstance(item, Image) and self.state.is_answered(item.key):
                    self.tally.answered_earlier += 1
                else:
                    await self.queue.put(item)
        await self.queue.put(None)

    async def _consume(self) -> None:
        # Alone until the service has answered: a wrong address or a wrong key shows once, not once an image.
        await self._take_items(until_heard=True)
        consumers = [asyncio.ensure_future(self._take_items()) for _ in range(self.plan.connections)]
        try:
            await asyncio.gather(*consumers)
        finally:
            await _end(consumers)

    async def _take_items(self, until_heard: bool = False) -> None:
        while not (until_heard and self.heard):
            item = await self.queue.get()
            if item is None:
                self.queue.put_nowait(None)  # the next consumer has to see it too
                return
            if self.halt.is_set():
                return
            if isinstance(item, Unreadable):
                self._settle(_unreadable(item.source, item.detail))
            else:
                await self._send(item)

    async def _send(self, image: Image) -> None:
        try:
            content = image.content if image.content is not None else await asyncio.to_thread(read_image, image)
        except OSError as err:
            self._settle(_unreadable(image.source, _reason(err)))
            return
        if self.halt.is_set():
            return
        now = datetime.now(timezone.utc)
        key = self.state.begin(image.key, now) if self.state is not None else new_request_id(now)
        headers = headers_of(image, content, key, self.plan.media_type)
        try:
            answer, attempts = await self._attempt(content, headers)
        except asyncio.CancelledError:
            self.tally.unanswered += 1
            raise
        if answer is None:
            self.tally.unanswered += 1
            return
        fields: dict[str, Any] = {"request_id": key, "attempts": attempts, "label": image.label}
        if isinstance(answer, Reply):
            fields |= judge(answer, answers_later=self.target.answers_later)
        else:
            fields |= {
                "status": FAILED,
                "error_code": answer.code,
                "error_detail": answer.detail,
                "silent": answer.silent,
            }
        outcome = Outcome(image.source, **fields)
        self._settle(outcome)  # before the state: after a crash between the two a line is there twice, not missing
        if self.state is not None:
            self.state.end(image.key, key, outcome.status)
        self._watch(outcome, answer)

    async def _attempt(self, content: bytes, headers: dict[str, str]) -> tuple[Reply | Trouble | None, int]:
        """The last answer and how many attempts it took; None when the run was halted before there was one."""
        attempt = 0
        while True:
            attempt += 1
            answer = await self._post(content, headers)
            asked = None
            if isinstance(answer, Reply):
                self.heard = True
                if answer.http_status not in _RETRIED:
                    return answer, attempt
                asked, why = answer.retry_after_s, f"HTTP {answer.http_status}"
            elif not answer.retryable:
                return answer, attempt
            else:
                why = answer.detail
            if attempt > self.plan.retries:
                return answer, attempt
            if attempt == 1 and not self.done_any and self.display is not None:
                self.display.note(f"{self.target.url}: {why}; trying up to {self.plan.retries} more times")
            if not self.halt.is_set():
                delay = self.plan.backoff.delay(attempt, asked, self.uniform)
                await asyncio.wait({self.halted}, timeout=delay)
            if self.halt.is_set():
                return None, attempt

    async def _post(self, content: bytes, headers: dict[str, str]) -> Reply | Trouble:
        # aiohttp writes bytes in one piece, which holds up the other connections where they are many.
        body = content if len(content) < 256 * 1024 else io.BytesIO(content)
        started = time.perf_counter()
        try:
            async with self.session.post(
                self.target.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _read_answer(response)
                ms = (time.perf_counter() - started) * 1000
                asked = retry_after_s(response.headers.get("Retry-After"), datetime.now(timezone.utc))
                return Reply(response.status, answer, ms, asked, response.headers.get("Location"))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as err:
            return explain(err, self.plan.timeout_s)

    def _settle(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        if self.lines is not None:
            try:
                self.lines.write(outcome.as_json() + "\n")
                self.lines.flush()
            except OSError as err:
                raise OutputBroken("--json", err) from err

    def _watch(self, outcome: Outcome, answer: Reply | Trouble) -> None:
        """Stop the run where every further image would meet the same end."""
        first, self.done_any = not self.done_any, True
        if isinstance(answer, Reply):
            self.silent_in_a_row = 0
            if first and answer.http_status in _REFUSED_FOR_ALL:
                words = f"{answer.http_status} {outcome.error_code}: {outcome.error_detail}"
                self._stop(f"{self.target.url} refused the first image: {words}{_HINTS.get(answer.http_status, '')}")
            return
        if answer.code == "connection.tls" and not self.heard:
            self._stop(f"{self.target.url}: {answer.detail}")
            return
        if self.heard and not answer.silent:
            return  # one image may break a connection, that says nothing about the next
        self.silent_in_a_row += 1
        patience = max(self.plan.connections, 3) if self.heard else (1 if answer.silent else 3)
        if self.silent_in_a_row >= patience:
            when = "stopped answering" if self.heard else "did not answer"
            self._stop(f"{self.target.url} {when}: {answer.detail}; is `imagewarehouse run` running?")

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why
        self.halt.set()

    async def _show(self) -> None:
        assert self.display is not None
        counting = asyncio.ensure_future(
            asyncio.to_thread(count_items, self.sources, self.plan.skip, self.plan.limit, self.finished.is_set)
        )
        try:
            while True:
                total = counting.result() if counting.done() else None
                self.display.update(self.tally, total)
                await asyncio.sleep(0.2)
        finally:
            counting.cancel()


_HINTS = {
    401: "; set IMAGEWAREHOUSE_ACCESS_KEY",
    404: "; the path is /classify or /images",
    405: "; the path is /classify or /images",
}


def _unreadable(source: str, detail: str) -> Outcome:
    return Outcome(source, FAILED, error_code="source.unreadable", error_detail=detail)


def _take(items: Iterator[Item]) -> list[Item]:
    """The next few items: one change of threads for each would cost more than the item."""
    taken: list[Item] = []
    size = 0
    for item in items:
        taken.append(item)
        if isinstance(item, Image) and item.content is not None:
            size += len(item.content)
        if len(taken) == 32 or size > 4 * 1024 * 1024:
            break
    return taken


async def _read_answer(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            response.close()
            break
    return bytes(body)


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- what is shown ------------------------------------------------------------------------------------------------


class Display:
    """Progress: a bar on a terminal, elsewhere a line every few seconds."""

    LINE_EVERY_S = 5.0

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._next_line = time.monotonic() + self.LINE_EVERY_S
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(compact=True),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._bar.add_task("", total=None, facts="")

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, tally: Tally, total: int | None) -> None:
        done = tally.done + tally.answered_earlier
        facts = f"{_rate(tally)}  {tally.not_accepted:,} not accepted"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, facts=facts, refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + self.LINE_EVERY_S
            left = "" if total is None or not tally.done else _time_left(tally, total - done)
            self.note(f"{done:,} of {'?' if total is None else f'{total:,}'} images, {facts.replace('  ', ', ')}{left}")

    def note(self, line: str) -> None:
        self._console.print(Text(_plain(line)), soft_wrap=True)


def print_summary(result: Result, target: Target, stream: TextIO) -> None:
    """Tables and totals of a run."""
    tally = result.tally
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console = Console(file=stream, highlight=False, width=120)
    encoding = console.encoding

    def text(value: object, limit: int = 300) -> Text:
        return Text(_plain(str(value), limit).encode(encoding, "replace").decode(encoding))

    if tally.classes:
        table = Table("class", box=None, pad_edge=False, header_style="bold")
        table.add_column("images", justify="right")
        table.add_column("mean confidence", justify="right")
        ranked = sorted(tally.classes.items(), key=lambda item: (-item[1].count, item[0]))
        for name, entry in ranked[:SHOWN_CLASSES]:
            mean = f"{entry.confidence_sum / entry.confidence_count:.3f}" if entry.confidence_count else "-"
            table.add_row(text(name, 60), f"{entry.count:,}", mean)
        console.print(table)
        if len(ranked) > SHOWN_CLASSES:
            rest = sum(entry.count for _, entry in ranked[SHOWN_CLASSES:])
            console.print(f"and {len(ranked) - SHOWN_CLASSES:,} more classes with {rest:,} images")
        console.print()
    if tally.labelled:
        share = tally.correct / tally.labelled
        console.print(f"accuracy {share:.4f}: {tally.correct:,} of {tally.labelled:,} images with a known class\n")
    if tally.errors:
        _print_errors(console, tally, text)
    if tally.latency.count:
        shown = "  ".join(f"{name} {_ms(tally.latency.quantile(q))}" for name, q in _QUANTILES)
        console.print(f"latency of accepted images, ms: {shown}  max {_ms(tally.latency.max)}")
    counts = ", ".join(f"{number:,} {status}" for status, number in tally.by_status.items())
    line = f"{tally.done:,} images in {tally.elapsed_s():.1f} s ({_rate(tally)}): {counts}; {tally.retries:,} retries"
    if tally.answered_earlier:
        line += f"; {tally.answered_earlier:,} answered in an earlier run"
    console.print(text(f"{line}; {target.url}", 1000), soft_wrap=True)
    if result.signal is not None or tally.unanswered:
        console.print(f"stopped early; under way and not answered: {tally.unanswered:,}", soft_wrap=True)


_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


def _print_errors(console: Console, tally: Tally, text: Callable[..., Text]) -> None:
    table = Table("", "error_code", box=None, pad_edge=False, header_style="bold")
    table.add_column("images", justify="right")
    table.add_column("for example", overflow="fold")
    table.add_column("detail", overflow="fold")
    for (status, code), entry in sorted(tally.errors.items(), key=lambda item: -item[1].count)[:SHOWN_CLASSES]:
        table.add_row(status, text(code, 80), f"{entry.count:,}", text(entry.example), text(entry.detail))
    console.print(table)
    if len(tally.errors) > SHOWN_CLASSES:
        console.print(f"and {len(tally.errors) - SHOWN_CLASSES:,} more codes")
    console.print()
    if tally.not_accepted > len(tally.errors):  # otherwise the examples above are all there is
        for source, code in tally.named:
            console.print(text(f"not accepted: {source} ({code})", 500), soft_wrap=True)
        if tally.not_accepted > len(tally.named):
            console.print(f"and {tally.not_accepted - len(tally.named):,} more")
        console.print()


def _rate(tally: Tally) -> str:
    return f"{tally.done / max(tally.elapsed_s(), 1e-3):,.1f} images/s"


def _time_left(tally: Tally, images: int) -> str:
    return f", {timedelta(seconds=round(max(0, images) * tally.elapsed_s() / tally.done))} left"


def _ms(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
