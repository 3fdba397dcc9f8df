"""What the services share that answer who reads: turns for what takes long, and problems as answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Protocol, TypeVar

from imagewarehouse.answers import problem
from imagewarehouse.errors import (
    AccessKeyMissing,
    AccessKeyWrong,
    Busy,
    ImageRejected,
    MethodNotAllowed,
    RangeNotSatisfiable,
    WarehouseError,
)
from imagewarehouse.standalone.server import Request, Response

Result = TypeVar("Result")

READING = ("GET", "HEAD")
_NONE: Mapping[str, str] = {}

log = logging.getLogger("imagewarehouse.standalone")


class Reader(Protocol):
    """Answers some requests that a listener gets, besides those for its flow. Used on one event loop."""

    path: ClassVar[str]
    """Of its requests, as metrics name them."""

    async def answer(self, request: Request, /) -> Response | None:
        """The answer; None to what is asked for something else."""

    def close(self) -> None: ...


class Lane:
    """One thread for work that takes much memory or time, and no long queue in front of it."""

    def __init__(self, name: str, most_waiting: int = 64) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._name = name
        self._most = most_waiting
        self._waiting = 0

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Raises Busy, and what the work raises."""
        if self._waiting >= self._most:
            raise Busy(f"too many {self._name} are waiting")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def only_read(request: Request) -> None:
    """Raises MethodNotAllowed."""
    if request.method not in READING:
        raise MethodNotAllowed(f"{request.method[:16]} is not allowed here, only GET and HEAD")


def refused(
    err: WarehouseError, request: Request, headers: Mapping[str, str] = _NONE, *, tell: bool = True
) -> Response:
    """Problem details. What went wrong on our side names paths and hosts of ours, so its text stays in the log.

    `headers`: those of every answer. `tell`: whether the log is told this time.
    """
    public = isinstance(err, (ImageRejected, Busy))
    if tell and not public:
        log.log(logging.WARNING if err.retryable else logging.ERROR, "GET %s: %s", request.path[:200], err)
    answer = problem(err.code, str(err) if public else None, instance=request.path[:200])
    headers = {**headers, "Content-Type": answer.media_type, "Cache-Control": "no-store", **_extra(err)}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    return Response(answer.status, answer.body, headers)


def _extra(err: WarehouseError) -> Mapping[str, str]:
    if isinstance(err, (AccessKeyMissing, AccessKeyWrong)):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(err, MethodNotAllowed):
        return {"Allow": "GET, HEAD"}
    if isinstance(err, RangeNotSatisfiable):
        return {"Content-Range": f"bytes */{err.size}"}
    return {}
