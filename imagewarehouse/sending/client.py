"""Posts one image, with retries, and interprets the answer."""

from __future__ import annotations

import asyncio
import io
import json
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import aiohttp

from imagewarehouse import __version__
from imagewarehouse.errors import BadIdempotencyKey
from imagewarehouse.images.formats import by_file_name, sniff
from imagewarehouse.sending.items import ACCEPTED, FAILED, REJECTED, Image
from imagewarehouse.sending.settings import Plan
from imagewarehouse.sending.text import first_line, plain, reason

MAX_ANSWER = 1024 * 1024  # bytes of one answer; a record with top_k has about 1 KB
MAX_NAME = 255  # characters of a file name; the service cuts there too
CONNECT_TIMEOUT_S = 10.0
_RETRIED = {429, 502, 503, 504}
_ABOUT_THE_IMAGE = {400, 413, 415, 422}  # the service judged the image; every other refusal is about how it was sent
_uniform = random.SystemRandom().uniform


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `ms`: from the start of the attempt to the last byte."""

    http_status: int
    body: bytes = field(repr=False)
    ms: float
    retry_after_s: float | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """An attempt without an answer. `silent`: nothing came back at all, so the service may be down."""

    code: str
    detail: str
    retryable: bool = True
    silent: bool = True


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting between two attempts, seconds: exponential with jitter, so that senders do not come back in step."""

    base_s: float = 0.25
    cap_s: float = 30.0

    def delay(self, attempt: int, retry_after_s: float | None, uniform: Callable[[float, float], float]) -> float:
        """After the failed attempt number `attempt` (1, 2, ...). Never earlier than the service asked, up to the cap."""
        if retry_after_s is not None:
            requested = min(self.cap_s, retry_after_s)
            return requested + uniform(0.0, max(self.base_s, requested / 10))
        return min(self.cap_s, self.base_s * 2.0 ** (attempt - 1)) * uniform(0.5, 1.0)


@dataclass
class Client:
    """Posts images until `halted` is done."""

    plan: Plan
    halted: asyncio.Future[None]
    note: Callable[[str], None] | None  # receives the reason of the first failed attempt, once
    has_answered: bool = False  # the service has answered at least once

    def __post_init__(self) -> None:
        plan = self.plan
        key = {"X-Access-Key": plan.access_key} if plan.access_key else {}
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=plan.connections, ssl=plan.tls or True),
            timeout=aiohttp.ClientTimeout(total=plan.timeout_s, sock_connect=min(plan.timeout_s, CONNECT_TIMEOUT_S)),
            headers={"User-Agent": f"imagewarehouse-send/{__version__}"} | key,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def post(self, content: bytes, headers: dict[str, str]) -> tuple[Reply | NoAnswer | None, int]:
        """The last answer and how many attempts it took; None when the run was halted before there was one."""
        note, self.note = self.note, None
        attempt = 0
        while True:
            attempt += 1
            answer, retry_after = await self._attempt(content, headers), None
            if isinstance(answer, Reply):
                self.has_answered = True
                retryable, retry_after, cause = (
                    answer.http_status in _RETRIED,
                    answer.retry_after_s,
                    f"HTTP {answer.http_status}",
                )
            else:
                retryable, cause = answer.retryable, answer.detail
            if not retryable or attempt > self.plan.retries:
                return answer, attempt
            if note is not None and attempt == 1:
                note(f"{self.plan.url}: {cause}; trying up to {self.plan.retries} more times")
            await asyncio.wait({self.halted}, timeout=Backoff().delay(attempt, retry_after, _uniform))
            if self.halted.done():
                return None, attempt

    async def _attempt(self, content: bytes, headers: dict[str, str]) -> Reply | NoAnswer:
        # aiohttp writes bytes in one piece, which holds up the other connections where they are many.
        body = content if len(content) < 256 * 1024 else io.BytesIO(content)
        started = time.perf_counter()
        try:
            async with self.session.post(self.plan.url, data=body, headers=headers, allow_redirects=False) as response:
                try:
                    answer = await response.content.readexactly(MAX_ANSWER)
                except asyncio.IncompleteReadError as err:  # shorter, as it should be
                    answer = err.partial
                ms = (time.perf_counter() - started) * 1000
                retry_after = retry_after_s(response.headers.get("Retry-After"), datetime.now(timezone.utc))
                return Reply(response.status, answer, ms, retry_after, response.headers.get("Location"))
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


def judge(reply: Reply, *, answers_later: bool) -> dict[str, Any]:
    """The fields of an Outcome from an answer: status, and the values of a record or of a problem."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        body = None
    answer: dict[str, Any] = body if isinstance(body, dict) else {}

    def text(name: str) -> str | None:
        return answer[name] if isinstance(answer.get(name), str) and answer[name] else None

    fields: dict[str, Any] = {"ms": reply.ms}
    if text("request_id"):
        fields["request_id"] = text("request_id")
    if 200 <= reply.http_status < 300:
        if not answers_later and text("request_id") is None:
            # Any web server answers 200 to something; only a record proves that the image has arrived.
            detail = f"{reply.http_status}, but without a record; is this the address of an image warehouse?"
            return fields | {"status": FAILED, "error_code": "answer.not_understood", "error_detail": detail}
        share: Any = answer.get("confidence")
        if isinstance(share, int | float) and 0 <= share <= 1:
            fields["confidence"] = float(share)
        return fields | {"status": ACCEPTED, "predicted_class": text("predicted_class")}
    code = text("error_code")
    fallback = f"redirected to {reply.location}" if reply.location else reply.body[:400].decode("utf-8", "replace")
    judged = reply.http_status in _ABOUT_THE_IMAGE and code != BadIdempotencyKey.code
    return fields | {
        "status": REJECTED if judged else FAILED,
        "error_code": code or f"http.{reply.http_status}",
        "error_detail": plain(text("detail") or text("title") or fallback),
    }


def explain(err: Exception, timeout_s: float) -> NoAnswer:
    """Translates the exceptions of aiohttp, ssl and the sockets; no other place does."""
    if isinstance(err, aiohttp.ClientSSLError | ssl.SSLError):
        cause = getattr(err, "os_error", err)
        words = (getattr(cause, "reason", None) or str(cause)).replace("_", " ").lower()
        if isinstance(cause, ssl.CertificateError):
            words = f"{getattr(cause, 'verify_message', words)}; for a certificate of your own give --cacert FILE"
        return NoAnswer("connection.tls", f"TLS: {first_line(words)}", retryable=False)
    if isinstance(err, asyncio.TimeoutError):
        connected = not isinstance(err, aiohttp.ConnectionTimeoutError)
        what, limit_s = ("answer", timeout_s) if connected else ("connection", min(timeout_s, CONNECT_TIMEOUT_S))
        return NoAnswer("connection.timeout", f"no {what} within {limit_s:g} s")
    if isinstance(err, aiohttp.ClientConnectorError):
        words = reason(err.os_error)
        unknown = isinstance(err, aiohttp.ClientConnectorDNSError)
        return NoAnswer("connection.failed", f"host name not found ({words})" if unknown else words)
    if isinstance(err, aiohttp.ServerDisconnectedError):
        return NoAnswer("connection.lost", "the service closed the connection without an answer", silent=False)
    if isinstance(err, aiohttp.ClientPayloadError | OSError):
        return NoAnswer("connection.lost", reason(err), silent=False)
    # What is left speaks, but no HTTP: trying again would not teach it.
    return NoAnswer("answer.not_understood", f"not an HTTP answer: {first_line(err)}", retryable=False, silent=False)


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
