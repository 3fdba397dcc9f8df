"""An HTTP/1.1 server for the listeners: llhttp (Node.js's parser, by httptools) on asyncio.

A server of aiohttp took more of Python's lock than the check, the store, the model and the row together. This one does what
the listeners need and no more: heads of bounded length, bodies in pieces with time-outs, answers with a length. It parses
nothing itself. A request is handled after the one before it on the same connection has been answered. Of an answer that is a
`Stream` it holds a piece, not the whole: a client that reads slowly costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools

log = logging.getLogger("imagewarehouse.standalone")

IDLE_S = 60.0  # a connection without a request; also one whose head does not end
_LINGER_S = (
    10.0  # a sender whose body is not wanted may go on for so long: closed at once, it would not read the answer
)
_MAX_HEAD = 64 * 1024  # bytes
_AT_ONCE = 16 * 1024  # bytes parsed at once: what they hold of small requests is all that waits of one connection
_ENOUGH = 256 * 1024  # bytes of a body that wait to be taken; then the sender waits
_BESIDE = 48  # bytes of memory that a piece of a body takes beside its content: chunks may be of one byte
_SWEEP_S = 1.0
_BACKLOG = 1024  # connections that wait to be taken
_WITHOUT_A_BODY = (204, 304)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Disconnected(Exception):
    """The client went away in the middle of its body, or broke its own framing."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A body in pieces, `length` bytes in all. A piece is asked for once the client has taken most of those before it.

    Where a piece cannot be had, the connection ends: whoever reads sees that the body is not whole.
    """

    length: int
    pieces: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. `close`: end the connection behind it."""

    status: int
    body: bytes | Stream = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


class Headers:
    """Header fields in their order, as they were spelt; found in any spelling."""

    __slots__ = ("_found", "fields", "hosts")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self.fields: list[tuple[str, str]] = []
        self._found: dict[str, str] = {}
        hosts = 1
        for raw_name, raw_value in raw:
            # Bytes that are no text travel as lone surrogates, as Python's own servers hand them on.
            name, value = raw_name.decode("ascii"), raw_value.decode("utf-8", "surrogateescape").rstrip(" \t")
            self.fields.append((name, value))
            lower = name.lower()
            if lower not in self._found:
                self._found[lower] = value
            elif lower == "x-forwarded-for":  # each proxy may add a field of its own: together they are the list
                self._found[lower] += ", " + value
            elif lower == "host":
                hosts += 1
        self.hosts = hosts if "host" in self._found else 0  # fields of that name

    def get(self, name: str, default: str = "") -> str:
        """The first field of that name; `name` in lower case."""
        return self._found.get(name, default)

    def each(self) -> Iterator[tuple[str, str]]:
        """Each name once, as it was spelt first, with what `get` says: whoever reads them reads the same."""
        spelt: dict[str, str] = {}
        for name, _ in self.fields:
            spelt.setdefault(name.lower(), name)
        return ((name, self._found[lower]) for lower, name in spelt.items())


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
        "keep",
        "method",
        "old",
        "path",
        "peer",
        "query",
    )

    def __init__(self, connection: _Connection, method: str, target: str, headers: Headers, peer: str) -> None:
        self.method = method
        path, _, self.query = target.partition("?")
        if not path.startswith("/") and "://" in path:  # as proxies are asked
            path = "/" + path.partition("://")[2].partition("/")[2]
        self.path = unquote(path) if "%" in path else path
        self.headers = headers
        self.peer = peer
        self.old = False  # HTTP/1.0
        self.keep = True  # the connection, as far as the client is concerned
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes of memory they take
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
        self._waiting -= len(piece) + _BESIDE
        if self._waiting < _ENOUGH:
            self._connection.resume()
        return piece

    def go_on(self) -> None:
        """Tell a client that waits for it (Expect: 100-continue) to send the body."""
        if self.headers.get("expect").lower() == "100-continue" and not (self._complete or self.old):
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- what the connection says of it ---

    @property
    def complete(self) -> bool:
        return self._complete

    def take_in(self, piece: bytes) -> bool:
        """Gives whether the sender may go on."""
        self._pieces.append(piece)
        self._waiting += len(piece) + _BESIDE
        self._wake()
        return self._waiting < _ENOUGH

    def end(self, *, lost: bool = False) -> None:
        self._lost = lost and not self._complete
        self._complete = self._complete or not lost
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """The address families of a host, with the address in each. Raises OSError."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def bind(host: str, port: int, sets: int = 1) -> list[list[socket.socket]]:
    """Take a port: `sets` times a socket for each address of the host. Raises OSError.

    A set is for one process. The kernel spreads new connections over the sets (SO_REUSEPORT, Linux).
    """
    if sets == 1:
        return [bind_set(host, port, shared=False)]
    # Without the option first: with it, the port of another run of this user could be had as well.
    for one in bind_set(host, port, shared=False):
        one.close()
    opened: list[list[socket.socket]] = []
    try:
        while len(opened) < sets:
            opened.append(bind_set(host, port, shared=True))
    except OSError:
        close_all(opened)
        raise
    return opened


def bind_set(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """A socket for each address of the host, which other sets may share a port with. Raises OSError."""
    opened: list[socket.socket] = []
    try:
        for family, address in addresses(host, port):
            opened.append(_bound(family, address, shared=shared))
    except OSError:
        close_all([opened])
        raise
    return opened


def close_all(sets: Sequence[Sequence[socket.socket]]) -> None:
    for one in (one for group in sets for one in group):
        one.close()


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports of connections that have just ended
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # its IPv4 sister has a socket of its own
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one


Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """One port. `handle` answers requests.

    `refuse` gives the answer to bytes that are no request (400, 431) and to a request whose handler failed (500), by status
    and reason.
    """

    def __init__(self, handle: Handler, refuse: Callable[[int, str], Response]) -> None:
        self.handle = handle
        self.refuse = refuse
        self.connections: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self._empty = asyncio.Event()  # nothing is left to stop
        self._listening: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets that are bound (`bind`). Raises OSError."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            create = loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server
            self._listening.append(await create(lambda: _Connection(self, loop), sock=one, backlog=_BACKLOG))
        self._sweeper = loop.create_task(self._sweep())

    async def stop(self, seconds: float) -> None:
        """Take no more connections, wait so long for requests under way and for their answers to be read, and close."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for server in self._listening:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        self._tell_if_empty()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        if tasks := list(self.tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=0.1)  # some answer even then
            self.tasks.clear()
        for connection in list(self.connections):
            connection.abort()
        for server in self._listening:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 1)

    def lost(self, connection: _Connection) -> None:
        self.connections.discard(connection)
        self._tell_if_empty()

    def done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self.stopping and not self.connections and not self.tasks:
            self._empty.set()

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
        self._around = 0  # bytes of the head, or of what else is no body: trailers, chunk extensions
        self._reading: Request | None = None  # the one whose body comes in
        self._queue: deque[Request | Response] = deque()  # a refusal may be the last
        self._task: asyncio.Task[None] | None = None  # handles the first of them
        self._unparsed = b""  # what came behind requests that wait
        self._paused = False
        self._writable = True
        self._until_writable: asyncio.Future[None] | None = None
        self._deaf = False  # whatever still comes is thrown away
        self._half_closed = False  # by the client
        self._deadline = time.monotonic() + IDLE_S  # counts while no request is handled

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        client_socket: socket.socket | None = transport.get_extra_info("socket")
        if client_socket is not None and client_socket.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):
                client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.lost(self)
        self._transport = None
        self._wake_writer()
        self._hear_no_more()
        if self._reading is not None:
            self._reading.end(lost=True)
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if len(data) <= _AT_ONCE and not self._unparsed:
            self._parse(data)
        else:
            self._unparsed += data
            self._parse_rest()

    def eof_received(self) -> bool:
        # A client may close its side behind the request; its answer is still wanted.
        self._half_closed = True
        self._hear_no_more()
        if self._reading is not None:
            self._reading.end(lost=True)
        return bool(self._queue)

    def pause_writing(self) -> None:
        self._writable = False
        self._deadline = time.monotonic() + IDLE_S

    def resume_writing(self) -> None:
        self._writable = True
        self._wake_writer()
        self._next()

    # --- httptools ---

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []
        self._deadline = time.monotonic() + IDLE_S

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is None:  # else it is a trailer
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._around = 0
        parser = self._parser
        method = parser.get_method()
        if self._deaf or (method != b"CONNECT" and parser.should_upgrade()):
            return
        version = parser.get_http_version()
        headers = Headers(self._fields)
        if fault := _fault(version, headers):
            self._refuse(400, fault)
            return
        target = self._target.decode("utf-8", "surrogateescape")
        request = Request(self, method.decode("ascii"), target, headers, self._peer)
        request.old = version == "1.0"
        request.keep = parser.should_keep_alive()
        self._reading = request
        self._queue.append(request)
        if len(self._queue) == 1 and self._writable:
            self._begin(request)

    def on_body(self, body: bytes) -> None:
        self._around = 0
        if self._reading is not None and not self._reading.take_in(body):
            self._pause()

    def on_message_complete(self) -> None:
        self._around = 0
        if self._reading is not None:
            self._reading.end()
            self._reading = None
        if len(self._queue) > 1:  # pipelined: the next ones wait in the kernel
            self._pause()

    def _parse(self, data: bytes | memoryview) -> None:
        self._around += len(data)
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as err:
                if self._parser.get_method() == b"CONNECT":  # what follows is no HTTP, whatever the answer
                    self._hear_no_more()
                    return
                # Nothing is spoken here but HTTP/1.1, so the wish is passed over (RFC 9110, 7.8). llhttp has passed over the
                # body: the same head is given to a new one, without the wish.
                data = self._head_without_upgrade() + data[err.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError as err:
                self._refuse(400, f"not HTTP/1.1: {str(err)[:120]}")
            else:
                if self._around > _MAX_HEAD:
                    self._refuse(431, f"a head of more than {_MAX_HEAD} bytes")
            return

    def _parse_rest(self) -> None:
        """Parse what is there, as long as not more than one request waits."""
        view, at = memoryview(self._unparsed), 0
        while at < len(view) and len(self._queue) < 2 and not self._deaf:
            self._parse(view[at : at + _AT_ONCE])
            at += _AT_ONCE
        self._unparsed = b"" if self._deaf else bytes(view[at:])
        if self._unparsed:
            self._pause()

    def _head_without_upgrade(self) -> bytes:
        version = self._parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self._parser.get_method(), self._target, version)]
        lines += [b"%b: %b" % (name, value) for name, value in self._fields if name.lower() != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    # --- requests in their order ---

    def _begin(self, request: Request) -> None:
        self._task = self._loop.create_task(self._answer(request))
        self._server.tasks.add(self._task)

    async def _answer(self, request: Request) -> None:
        keep = whole = False
        try:
            response = await self._response(request)
            if self._transport is not None:
                # Read to its end, a body leaves the connection usable; one that was not wanted does not.
                keep = request.keep and request.complete and not response.close and not self._server.stopping
                if self._deaf and len(self._queue) == 1:
                    keep = False
                head_only = request.method == "HEAD"
                self.send(_encoded(response, keep=keep, old=request.old, head_only=head_only))
                whole = not isinstance(response.body, Stream) or head_only or await self._send_pieces(response.body)
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            if self._task is not None:
                self._server.done(self._task)
            self._task = None
        if self._transport is None or not whole:
            return
        self._queue.popleft()
        if keep:
            self._deadline = time.monotonic() + IDLE_S
            self._next()
        else:
            self._end()

    async def _response(self, request: Request) -> Response:
        try:
            return await self._server.handle(request)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return self._server.refuse(500, "")

    async def _send_pieces(self, stream: Stream) -> bool:
        """Send a body as fast as it is taken. False: it is not whole, and the connection ends."""
        sent = 0
        try:
            async for piece in stream.pieces():
                self.send(piece)
                sent += len(piece)
                while not self._writable and self._transport is not None:
                    self._until_writable = self._loop.create_future()
                    await asyncio.wait_for(self._until_writable, IDLE_S)
                if self._transport is None:
                    return False
            if sent != stream.length:
                raise ValueError(f"{sent} bytes of {stream.length}")
        except asyncio.TimeoutError:  # nobody reads
            self.abort()
            return False
        except Exception as err:  # noqa: BLE001 - the head is out; a connection that ends early is all that can be told
            log.error("an answer ends in its middle: %s", err)
            self.abort()
            return False
        return True

    def _wake_writer(self) -> None:
        if self._until_writable is not None and not self._until_writable.done():
            self._until_writable.set_result(None)

    def _next(self) -> None:
        """Begin with the request that waits, and let the sender go on."""
        if not self._writable or self._task is not None:
            return
        if self._queue:
            first = self._queue[0]
            if isinstance(first, Response):
                self.send(_encoded(first, keep=False))
                self._end()
                return
            self._begin(first)
        self.resume()

    # --- the way out ---

    def send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def resume(self) -> None:
        if not self._paused or len(self._queue) > 1:
            return
        if self._unparsed:
            self._parse_rest()
        if not self._unparsed and len(self._queue) < 2:
            self._read_on()

    def close_if_late(self, now: float) -> None:
        if self._task is None and now > self._deadline:
            self.abort()

    def close_if_idle(self) -> None:
        if not self._queue and not self._deaf and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def _hear_no_more(self) -> None:
        self._deaf = True
        self._unparsed = b""

    def _refuse(self, status: int, why: str) -> None:
        """Answer so to what comes in, in its turn, and end the connection behind it."""
        if self._deaf:
            return
        self._hear_no_more()
        if self._reading is not None:  # in the middle of a body: whoever reads it answers
            self._reading.end(lost=True)
            return
        self._queue.append(self._server.refuse(status, why))
        self._next()

    def _end(self) -> None:
        """Close behind what has been written, and give a sender the time to read it."""
        transport = self._transport
        if transport is None:
            return
        self._queue.clear()
        self._deadline = time.monotonic() + IDLE_S
        finished = not (self._deaf or self._paused) and self._reading is None
        self._hear_no_more()
        if self._half_closed or finished:
            transport.close()
            return
        # Closed while something comes in or waits unread, the connection would be reset, and the answer lost on its way.
        self._read_on()
        with suppress(OSError, NotImplementedError):
            transport.write_eof()
        self._loop.call_later(_LINGER_S, transport.close)


def _fault(version: str, headers: Headers) -> str:
    """What llhttp lets through, but is to be refused (RFC 9112: 2.3, 3.2, 6.1)."""
    if version not in ("1.1", "1.0"):
        return f"not HTTP/1.1, but {version}"
    if headers.hosts != 1 and (headers.hosts or version == "1.1"):
        return f"{headers.hosts} Host fields"
    coding = headers.get("transfer-encoding")
    if coding and (coding.lower() != "chunked" or version != "1.1"):
        return "a Transfer-Encoding other than chunked, or one in HTTP/1.0"
    return ""


def _encoded(response: Response, *, keep: bool, old: bool = False, head_only: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, '')}\r\n"]
    lines += [f"{name}: {_clean(value)}\r\n" for name, value in response.headers.items()]
    if response.status in _WITHOUT_A_BODY:
        head_only = True
    else:
        length = response.body.length if isinstance(response.body, Stream) else len(response.body)
        lines.append(f"Content-Length: {length}\r\n")
    lines.append(f"Date: {_date()}\r\n")
    if not keep:
        lines.append("Connection: close\r\n")
    elif old:
        lines.append("Connection: keep-alive\r\n")
    lines.append("\r\n")
    head = "".join(lines).encode("utf-8", "surrogateescape")
    return head if head_only or isinstance(response.body, Stream) else head + response.body


def _clean(value: str) -> str:
    return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)


_date_of: tuple[int, str] = (0, "")


def _date() -> str:
    global _date_of
    now = int(time.time())
    if _date_of[0] != now:
        _date_of = (now, formatdate(now, usegmt=True))
    return _date_of[1]
