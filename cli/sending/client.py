"""One image posted, with retries."""

from __future__ import annotations

import asyncio
import io
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import aiohttp

from cli.sending.items import Image
from cli.sending.settings import Plan, Target
from cli.sending.text import first_line, reason
from imagewarehouse import __version__
from imagewarehouse.formats import by_file_name, sniff

MAX_ANSWER = 1024 * 1024  # bytes of one answer; a record with top_k has about 1 KB
MAX_NAME = 255  # characters of a file name; the service cuts there too
CONNECT_TIMEOUT_S = 10.0
_RETRIED = {429, 502, 503, 504}
_uniform = random.SystemRandom().uniform


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `ms`: from the start of the attempt to the last byte."""

    http_status: int
    body: bytes = field(repr=False)
    ms: float
    retry_after_s: float | None = None
    location: str | None = None

    @property
    def detail(self) -> str:
        return f"HTTP {self.http_status}"

    @property
    def retryable(self) -> bool:
        return self.http_status in _RETRIED


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt without an answer. `silent`: nothing came back at all, so the service may be down."""

    code: str
    detail: str
    retryable: bool = True
    silent: bool = True
    retry_after_s: None = None


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting between two attempts, seconds: exponential with jitter, so that senders do not come back in step."""

    base_s: float = 0.25
    cap_s: float = 30.0

    def delay(self, attempt: int, retry_after_s: float | None, uniform: Callable[[float, float], float]) -> float:
        """After the failed attempt number `attempt` (1, 2, ...). Never earlier than the service asked, up to the cap."""
        if retry_after_s is not None:
            asked = min(self.cap_s, retry_after_s)
            return asked + uniform(0.0, max(self.base_s, asked / 10))
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30)) * uniform(0.5, 1.0)


class Client:
    """Posts images until `halted` is done. `note` is told once why the first attempts fail."""

    def __init__(
        self, target: Target, plan: Plan, halted: asyncio.Future[None], note: Callable[[str], None] | None
    ) -> None:
        self.target, self.plan, self.halted, self.note = target, plan, halted, note
        self.heard = False  # the service has answered at least once
        headers = {"User-Agent": f"imagewarehouse-send/{__version__}"}
        if target.access_key:
            headers["X-Access-Key"] = target.access_key
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=plan.connections, ssl=target.tls or True),
            timeout=aiohttp.ClientTimeout(total=plan.timeout_s, sock_connect=min(plan.timeout_s, CONNECT_TIMEOUT_S)),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, content: bytes, headers: dict[str, str]) -> tuple[Reply | Trouble | None, int]:
        """The last answer and how many attempts it took; None when the run was halted before there was one."""
        note, self.note = self.note, None
        attempt = 0
        while True:
            attempt += 1
            answer = await self._attempt(content, headers)
            self.heard = self.heard or isinstance(answer, Reply)
            if not answer.retryable or attempt > self.plan.retries:
                return answer, attempt
            if note is not None and attempt == 1:
                note(f"{self.target.url}: {answer.detail}; trying up to {self.plan.retries} more times")
            delay = Backoff().delay(attempt, answer.retry_after_s, _uniform)
            await asyncio.wait({self.halted}, timeout=delay)
            if self.halted.done():
                return None, attempt

    async def _attempt(self, content: bytes, headers: dict[str, str]) -> Reply | Trouble:
        # aiohttp writes bytes in one piece, which holds up the other connections where they are many.
        body = content if len(content) < 256 * 1024 else io.BytesIO(content)
        started = time.perf_counter()
        try:
            async with self.session.post(
                self.target.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _read(response.content)
                ms = (time.perf_counter() - started) * 1000
                asked = retry_after_s(response.headers.get("Retry-After"), datetime.now(timezone.utc))
                return Reply(response.status, answer, ms, asked, response.headers.get("Location"))
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as err:
            return explain(err, self.plan.timeout_s)


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


def explain(err: Exception, timeout_s: float) -> Trouble:
    """The one place where the exceptions of aiohttp, ssl and the sockets become words."""
    if isinstance(err, aiohttp.ClientConnectorCertificateError):
        words = first_line(getattr(err.certificate_error, "verify_message", err.certificate_error))
        hint = "; for a certificate of your own give --cacert FILE"
        return Trouble("connection.tls", f"TLS: {words}{hint}", retryable=False)
    if isinstance(err, aiohttp.ClientSSLError | ssl.SSLError):
        cause = getattr(err, "os_error", err)
        words = (getattr(cause, "reason", None) or str(cause)).replace("_", " ").lower()
        return Trouble("connection.tls", f"TLS: {first_line(words)}", retryable=False)
    if isinstance(err, aiohttp.ClientConnectorDNSError):
        return Trouble("connection.failed", f"host name not found ({reason(err.os_error)})")
    if isinstance(err, aiohttp.ConnectionTimeoutError):
        return Trouble("connection.timeout", f"no connection within {min(timeout_s, CONNECT_TIMEOUT_S):g} s")
    if isinstance(err, asyncio.TimeoutError):
        return Trouble("connection.timeout", f"no answer within {timeout_s:g} s")
    if isinstance(err, aiohttp.ClientConnectorError):
        return Trouble("connection.failed", reason(err.os_error))
    if isinstance(err, aiohttp.ServerDisconnectedError):
        return Trouble("connection.lost", "the service closed the connection without an answer", silent=False)
    if isinstance(err, aiohttp.ClientPayloadError | OSError):
        return Trouble("connection.lost", reason(err), silent=False)
    # What is left speaks, but no HTTP: trying again would not teach it.
    return Trouble("answer.not_understood", f"not an HTTP answer: {first_line(err)}", retryable=False, silent=False)


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date); None without a usable one."""
    text = (value or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or timezone.utc) - now).total_seconds())


async def _read(stream: aiohttp.StreamReader) -> bytes:
    try:
        return await stream.readexactly(MAX_ANSWER)
    except asyncio.IncompleteReadError as err:
        return err.partial
