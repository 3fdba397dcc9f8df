"""An HTTP/1.1 server for the listeners: llhttp (Node.js's parser, by httptools) on asyncio.

A server of aiohttp took more of Python's lock than the check, the store, the model and the row together. This one does what
the listeners need and no more: heads of bounded length, bodies in pieces with time-outs, answers with a length. It parses
nothing itself. A request is handled after the one before it on the same connection has been answered.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

IDLE_S = 60.0  # a connection without a request; also one whose head does not end
_LINGER_S = 1.0  # a sender whose body is not wanted may go on for so long: closed at once, it would not read the answer
_MAX_HEAD = 64 * 1024  # bytes
_ENOUGH = 256 * 1024  # bytes of a body that wait to be taken; then the sender waits
_SWEEP_S = 1.0
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Disconnected(Exception):
    """The client went away in the middle of its body, or broke its own framing."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `close`: end the connection behind it."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


class Headers:
    """Header fields in their order, as they were spelt; found in any spelling."""

    __slots__ = ("_found", "fields")

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self.fields = fields
        self._found: dict[str, str] = {}
        for name, value in fields:
            self._found.setdefault(name.lower(), value)

    def get(self, name: str, default: str = "") -> str:
        """The first field of that name; `name` in lower case."""
        return self._found.get(name, default)


class Request:
    """A request whose head has come. Its body comes by `piece`."""

    __slots__ = (
        "_complete",
        "_connection",
        "_lost",
        "_pieces",
        "_waiter",
        "_waiting",
        "headers",
        "method",
        "path",
        "peer",
        "query",
    )

    def __init__(self, connection: _Connection, method: str, target: str, headers: Headers, peer: str) -> None:
        self.method = method
        path, _, self.query = target.partition("?")
        if path.startswith(("http://", "https://")):  # as proxies are asked
            path = "/" + path.partition("://")[2].partition("/")[2]
        self.path = unquote(path) if "%" in path else path
        self.headers = headers
        self.peer = peer
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes in them
        self._complete = False
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content_length(self) -> int | None:
        text = self.headers.get("content-length")
        return int(text) if text.isdecimal() else None

    def whole_body(self) -> bytes | None:
        """The body, if all of it is here; then it has been taken."""
        if not self._complete:
            return None
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return body

    async def piece(self, seconds: float) -> bytes:
        """The next bytes of the body, none at its end. Raises asyncio.TimeoutError, Disconnected."""
        while not self._pieces:
            if self._complete:
                return b""
            if self._lost:
                raise Disconnected("the connection ended in the middle of the body")
            self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._waiter, seconds)
        piece = self._pieces.popleft()
        self._waiting -= len(piece)
        self._connection.resume()
        return piece

    def go_on(self) -> None:
        """Tell a client that waits for it (Expect: 100-continue) to send the body."""
        if self.headers.get("expect").lower() == "100-continue" and not self._complete:
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- what the connection says of it ---

    @property
    def complete(self) -> bool:
        return self._complete

    def take_in(self, piece: bytes) -> bool:
        """Gives whether the sender may go on."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        self._wake()
        return self._waiting < _ENOUGH

    def end(self, *, lost: bool = False) -> None:
        self._lost = lost and not self._complete
        self._complete = self._complete or not lost
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """One port. `handle` answers requests; `refuse` gives the answer to bytes that are no request, by status and reason."""

    def __init__(self, handle: Handler, refuse: Callable[[int, str], Response]) -> None:
        self.handle = handle
        self.refuse = refuse
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, backlog: int = 1024) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, loop), host, port, backlog=backlog, reuse_address=True
        )
        self._sweeper = loop.create_task(self._sweep())

    async def stop(self, seconds: float) -> None:
        """Take no more connections, wait so long for requests under way, and close."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in list(self.tasks):
            task.cancel()
        for connection in list(self.connections):
            connection.abort()
        if self._server is not None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.close_if_late(now)


class _Connection(asyncio.Protocol):
    """One connection. httptools calls the methods whose names begin with `on_`."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head = 0  # bytes of the head that is coming in; -1: a body is
        self._reading: Request | None = None  # the one whose body comes in
        self._queue: deque[tuple[Request, bool]] = deque()  # the first of them is being handled
        self._paused = False
        self._writable = True
        self._ending = False  # whatever still comes is thrown away
        self._half_closed = False  # by the client
        self._deadline = time.monotonic() + IDLE_S

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        found: socket.socket | None = transport.get_extra_info("socket")
        if found is not None and found.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._transport = None
        for request, _ in self._queue:
            request.end(lost=True)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        if self._head >= 0:
            self._head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as err:  # nothing is spoken here but HTTP/1.1; what follows is that, too
            self._parser = httptools.HttpRequestParser(self)
            if rest := data[err.args[0] :]:
                self.data_received(rest)
            return
        except httptools.HttpParserError as err:
            self._refuse(400, f"not HTTP/1.1: {str(err)[:120]}")
            return
        if self._head > _MAX_HEAD:
            self._refuse(431, f"a head of more than {_MAX_HEAD} bytes")

    def eof_received(self) -> bool:
        # A client may close its side behind the request; its answer is still wanted.
        self._half_closed = True
        if self._reading is not None:
            self._reading.end(lost=True)
        return bool(self._queue)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._next()

    # --- httptools ---

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head >= 0:  # else it is a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._head = -1
        # Bytes that are no text travel as lone surrogates, as Python's own servers hand them on.
        fields = [(n.decode("utf-8", "surrogateescape"), v.decode("utf-8", "surrogateescape")) for n, v in self._fields]
        target = self._target.decode("utf-8", "surrogateescape")
        request = Request(self, self._parser.get_method().decode("ascii"), target, Headers(fields), self._peer)
        self._reading = request
        self._queue.append((request, self._parser.should_keep_alive()))
        if len(self._queue) == 1:
            self._begin(request)

    def on_body(self, body: bytes) -> None:
        if self._reading is not None and not self._reading.take_in(body):
            self._pause()

    def on_message_complete(self) -> None:
        if self._reading is not None:
            self._reading.end()
            self._reading = None
        self._head = 0
        self._deadline = time.monotonic() + IDLE_S
        if len(self._queue) > 1:  # pipelined: the next ones wait in the kernel
            self._pause()

    # --- requests in their order ---

    def _begin(self, request: Request) -> None:
        task = self._loop.create_task(self._answer(request))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _answer(self, request: Request) -> None:
        response = await self._server.handle(request)
        _, keep = self._queue[0]
        # Read to its end, a body leaves the connection usable; one that was not wanted does not.
        keep = keep and not (response.close or self._ending or self._half_closed) and request.complete
        self.send(_encoded(response, keep=keep, head_only=request.method == "HEAD"))
        self._queue.popleft()
        if not keep:
            self._end()
            return
        self._deadline = time.monotonic() + IDLE_S
        self._next()

    def _next(self) -> None:
        """Begin with the request that waits, or let the sender go on."""
        if not self._writable or self._ending:
            return
        if self._queue:
            self._begin(self._queue[0][0])
        else:
            self.resume()

    # --- the way out ---

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def resume(self) -> None:
        if self._paused and self._transport is not None and len(self._queue) < 2:
            self._paused = False
            self._transport.resume_reading()

    def close_if_late(self, now: float) -> None:
        if not self._queue and now > self._deadline:
            self.abort()

    def close_if_idle(self) -> None:
        if not self._queue and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _refuse(self, status: int, why: str) -> None:
        if self._reading is not None:  # in the middle of a body: whoever reads it answers
            self._reading.end(lost=True)
            self._reading = None
            self._ending = True
            return
        if not self._queue:
            self.send(_encoded(self._server.refuse(status, why), keep=False, head_only=False))
            self._end()
        self._ending = True

    def _end(self) -> None:
        """Close behind what has been written, and give a sender the time to read it."""
        self._ending = True
        transport = self._transport
        if transport is None:
            return
        if self._reading is None:
            transport.close()
            return
        self._reading = None
        self._paused = True
        self.resume()
        with suppress(OSError, NotImplementedError):
            transport.write_eof()
        self._loop.call_later(_LINGER_S, transport.close)


def _encoded(response: Response, *, keep: bool, head_only: bool) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}\r\n"]
    lines += [f"{name}: {_clean(value)}\r\n" for name, value in response.headers.items()]
    lines.append(f"Content-Length: {len(response.body)}\r\nDate: {_date()}\r\n")
    if not keep:
        lines.append("Connection: close\r\n")
    lines.append("\r\n")
    head = "".join(lines).encode("utf-8", "surrogateescape")
    return head if head_only else head + response.body


def _clean(value: str) -> str:
    return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)


_date_of: tuple[int, str] = (0, "")


def _date() -> str:
    global _date_of
    now = int(time.time())
    if _date_of[0] != now:
        _date_of = (now, formatdate(now, usegmt=True))
    return _date_of[1]
