"""The dashboard beside a NiFi: the page, its figures, stored pictures and the way to the NiFi's /classify, on one port.

What is dropped on the page goes through here, since a page may talk to its own origin only.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from imagewarehouse.access import SEND, AccessKeys, offered_key
from imagewarehouse.answers import problem
from imagewarehouse.errors import (
    ConfigurationError,
    HeadTooLarge,
    ImageRejected,
    MalformedRequest,
    MethodNotAllowed,
    NotAllowed,
    NotFound,
    TooLarge,
    TooSlow,
    Unavailable,
    WarehouseError,
)
from imagewarehouse.standalone.server import Disconnected, Request, Response, Server, bind

log = logging.getLogger("imagewarehouse.standalone")

CLASSIFY = "/classify"

_MOST_BYTES = 64 << 20  # of a body that is handed on; the NiFi has a limit of its own
_PAUSE_S = 30.0  # between two pieces of a body
_ANSWER_S = 60.0
_MOST_AT_ONCE = 16
_STOP_S = 2.0
_HANDED_ON = ("content-type", "content-disposition", "idempotency-key", "x-access-key", "authorization", "accept")
_GIVEN_BACK = ("Content-Type", "Retry-After", "WWW-Authenticate")


class Part(Protocol):
    """What answers some paths; None to a request for something else."""

    async def answer(self, request: Request, /) -> Response | None: ...


class Relay:
    """POST /classify, handed on to another server. A `Part`."""

    def __init__(self, url: str, keys: AccessKeys) -> None:
        """`keys`: where there are any, who sends needs one that may; the other server looks at it as well.

        Raises ConfigurationError.
        """
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise ConfigurationError(
                "--classify", f"expected a URL such as http://nifi:8082/classify, received {url!r}"
            )
        self._url = url if parts.path not in ("", "/") else url.rstrip("/") + CLASSIFY
        self._keys = keys
        self._session: aiohttp.ClientSession | None = None
        self._at_once = 0

    async def answer(self, request: Request) -> Response | None:
        if request.path != CLASSIFY:
            return None
        if request.method != "POST":
            raise MethodNotAllowed(f"{request.method[:16]} is not allowed here, only POST")
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A page of somebody else, in the browser of a person who reaches this server as that page's owner does not.
            raise NotAllowed("pages of other sites may not send through the dashboard")
        self._keys.check(offered_key(request.headers.get("x-access-key"), request.headers.get("authorization")), SEND)
        if self._at_once >= _MOST_AT_ONCE:
            return _refused(Unavailable("too many pictures are being handed on"), request)
        self._at_once += 1
        try:
            return await self._hand_on(request)
        finally:
            self._at_once -= 1

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _hand_on(self, request: Request) -> Response:
        if (request.content_length or 0) > _MOST_BYTES:
            raise TooLarge(f"more than {_MOST_BYTES >> 20} MB")
        request.go_on()
        body = b"".join([piece async for piece in _pieces(request)])
        headers = {name: request.headers.get(name) for name in _HANDED_ON if request.headers.get(name)}
        headers["X-Forwarded-For"] = ", ".join(filter(None, (request.headers.get("x-forwarded-for"), request.peer)))
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                given = {name: answer.headers[name] for name in _GIVEN_BACK if name in answer.headers}
                given |= {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
                return Response(answer.status, await answer.read(), given)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as err:
            raise Unavailable(f"{self._url}: {err or type(err).__name__}") from err


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    size = 0
    try:
        while piece := await request.piece(_PAUSE_S):
            size += len(piece)
            if size > _MOST_BYTES:
                raise TooLarge(f"more than {_MOST_BYTES >> 20} MB")
            yield piece
    except asyncio.TimeoutError as err:
        raise TooSlow(f"no byte for {_PAUSE_S:g} s") from err


class Dashboard:
    """One port with all parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._server = Server(self._serve, _no_request)

    async def run(self, host: str, port: int, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT. Raises ConfigurationError."""
        try:
            (sockets,) = bind(host, port)
            await self._server.start(sockets)
        except OSError as err:
            raise ConfigurationError("--port", f"{host}:{port}: {err.strerror or err}") from err
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        ready()
        await stop.wait()
        await self._server.stop(_STOP_S)

    async def _serve(self, request: Request) -> Response:
        if request.path == "/health" and request.method in ("GET", "HEAD"):
            return Response(200, b'{"status":"ready"}', {"Content-Type": "application/json"})
        try:
            for part in self._parts:
                shown = await part.answer(request)
                if shown is not None:
                    return shown
            raise NotFound(f"nothing is served at {request.path[:200]!a}; GET /api says what is")
        except Disconnected as err:
            return _refused(MalformedRequest(str(err)), request)
        except WarehouseError as err:
            return _refused(err, request)


def _refused(err: WarehouseError, request: Request) -> Response:
    public = isinstance(err, ImageRejected)
    if not public:
        log.warning(
            "%s %s: %s", request.method[:16], request.path[:200].encode("ascii", "backslashreplace").decode(), err
        )
    answer = problem(err.code, str(err) if public else None)
    headers = {"Content-Type": answer.media_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    if isinstance(err, MethodNotAllowed):
        headers["Allow"] = "POST"
    if answer.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(answer.status, answer.body, headers, close=not request.complete)


def _no_request(status: int, why: str) -> Response:
    kinds = {kind.http_status: kind.code for kind in (HeadTooLarge, MalformedRequest)}
    answer = problem(kinds.get(status, WarehouseError.code), why or None)
    return Response(answer.status, answer.body, {"Content-Type": answer.media_type}, close=True)
