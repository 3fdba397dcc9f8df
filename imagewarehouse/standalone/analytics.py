"""The read API, on every port: GET /api/queries/NAME, /api/request/ID and /api/metrics. Figures need an access key."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from imagewarehouse.access import AccessKeys, Holder, offered_key
from imagewarehouse.analytics.parameters import no_parameters
from imagewarehouse.analytics.service import Answer, QueryService
from imagewarehouse.errors import (
    NotAllowed,
    NotFound,
    WarehouseError,
)
from imagewarehouse.standalone.reading import only_read, refused
from imagewarehouse.standalone.server import Request, Response

log = logging.getLogger("imagewarehouse.standalone")

API, METRICS = "/api", "/api/metrics"

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_QUERY, _REQUEST = "/api/queries/", "/api/request/"
OF_FIGURES = {
    "Cache-Control": "private, no-cache",
    "Vary": "X-Access-Key, Authorization",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_ASKED_WITH = ("x-access-key", "authorization", "if-none-match")
_FIRST_WORKER_S = 30.0  # more than a query may take
_TELL_AGAIN_S = 60.0  # a page asks every other second: its errors are in the log once a minute


class Analytics:
    """Answers what is asked for figures. Used on one event loop."""

    path: ClassVar[str] = API

    def __init__(self, service: QueryService, keys: AccessKeys) -> None:
        self._service = service
        self._keys = keys
        self._told: dict[str, float] = {}

    async def answer(self, request: Request) -> Response | None:
        """The answer; None to what is asked for something else."""
        path = request.path
        if not path.startswith("/api/"):
            return None
        try:
            only_read(request)
            holder = holder_of(request, self._keys)
            if path == METRICS:
                no_parameters(request.query)
                if holder.reads_only is not None:
                    raise NotAllowed("metrics are about the rows of everybody: this takes a key that may read")
                return _figures(request, await self._service.metrics())
            if path.startswith(_QUERY):
                return _figures(request, await self._service.panel(path[len(_QUERY) :], request.query, holder))
            if path.startswith(_REQUEST):
                return _figures(request, await self._service.request(path[len(_REQUEST) :], request.query, holder))
            raise NotFound(f"nothing is served at {path[:200]!a}; GET /api says what is")
        except WarehouseError as err:
            tell = time.monotonic() - self._told.get(err.code, -_TELL_AGAIN_S) >= _TELL_AGAIN_S
            if tell:
                self._told[err.code] = time.monotonic()
            return refused(err, request, OF_FIGURES, tell=tell)

    def close(self) -> None:
        self._service.close()


class OfFirstWorker:
    """What the workers have instead that are not the first: they ask that one for figures, so that all of them share one cache,
    one look into the rows and one limit of memory. While it is away each answers by itself."""

    path: ClassVar[str] = API

    def __init__(self, socket: Path, own: Analytics) -> None:
        """`socket`: the control socket of the first worker."""
        self._socket = socket
        self._own = own

    async def answer(self, request: Request) -> Response | None:
        if request.method in ("GET", "HEAD") and request.path.startswith("/api/"):
            with suppress(OSError, ValueError, asyncio.TimeoutError):
                return await asyncio.wait_for(self._asked(request), _FIRST_WORKER_S)
        return await self._own.answer(request)

    def close(self) -> None:
        self._own.close()

    async def _asked(self, request: Request) -> Response:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            target = quote(request.path.encode("utf-8", "surrogateescape")) + (request.query and f"?{request.query}")
            lines = [f"GET {target} HTTP/1.0"]
            lines += [f"{name}: {value}" for name in _ASKED_WITH if (value := request.headers.get(name))]
            writer.write("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        status, *fields = head.decode("utf-8", "surrogateescape").split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        length = int(headers.pop("Content-Length", "0"))
        if len(body) != length:
            raise ValueError(f"{len(body)} bytes of {length}")
        for name in ("Date", "Connection"):
            headers.pop(name, None)
        return Response(int(status.split(" ")[1]), body, headers)


def _figures(request: Request, answer: Answer) -> Response:
    # Weak: when it was asked, which is in the body, does not count.
    tag = f'W/"{answer.tag}"'
    headers = {**OF_FIGURES, "ETag": tag, "Age": str(int(answer.age_s)), "X-As-Of": answer.as_of.isoformat()}
    if is_known(request, answer.tag):
        return Response(304, headers=headers)
    return Response(200, answer.body, {**headers, "Content-Type": answer.media_type})


def holder_of(request: Request, keys: AccessKeys) -> Holder:
    """Who asks. Raises AccessKeyMissing, AccessKeyWrong."""
    return keys.holder(offered_key(request.headers.get("x-access-key"), request.headers.get("authorization")))


def is_known(request: Request, tag: str) -> bool:
    """Whether the client has this already (If-None-Match; RFC 9110, 13.1.2)."""
    offered = request.headers.get("if-none-match")
    return offered.strip() == "*" or tag in _ETAG.findall(offered)
