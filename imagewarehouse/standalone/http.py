"""The listeners: ListenHTTP and HandleHttpRequest.

They leave the same attributes as NiFi's do. Beyond those they serve /health, /metrics and whoever reads (`reading.py`:
pictures, searches, figures and their page), give every request that brings no Idempotency-Key one (so that a journal replay
writes the same row again), and let a form into the flow as it came, where FilterImageRequest takes it apart, or rejects and
records it; NiFi's make a FlowFile of each part, and answer 400 without a trace to what they cannot read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from imagewarehouse.access import SEND, AccessKeys, offered_key
from imagewarehouse.answers import problem
from imagewarehouse.errors import (
    BadIdempotencyKey,
    Busy,
    ConfigurationError,
    EncodingNotAccepted,
    HeadTooLarge,
    ImageRejected,
    MalformedMultipart,
    MalformedRequest,
    TooSlow,
    WarehouseError,
)
from imagewarehouse.flows.definition import Component
from imagewarehouse.forms import FORM_TYPE, media_type, parse_form
from imagewarehouse.ids import new_request_id, request_id_from_key, utc_now
from imagewarehouse.nifi.listeners import GIVEN_ID, RECEIVED, UNKEPT_SIZE
from imagewarehouse.standalone.components import ContextMap, Settings
from imagewarehouse.standalone.engine import Engine
from imagewarehouse.standalone.flowfile import FlowFile, Ticket
from imagewarehouse.standalone.journal import Journal
from imagewarehouse.standalone.metrics import Metrics
from imagewarehouse.standalone.reading import Reader
from imagewarehouse.standalone.server import (
    Disconnected,
    Request,
    Response,
    Server,
    addresses,
    bind,
    bind_set,
    close_all,
)
from imagewarehouse.steps.outcome import UNEXPECTED
from imagewarehouse.text import printable

log = logging.getLogger("imagewarehouse.standalone")

_IN_A_THREAD = 64 * 1024  # bytes of a form above which it is looked at off the event loop
_KEY = "Idempotency-Key"
_PAUSE_S = 30.0  # between two pieces of a body
_BODY_S = 600.0  # for a whole body
_BODIES = 256 << 20  # bytes of bodies being read at once; what has been read waits in queues with limits of their own
_STOP_S = 2.0  # the flow has been drained before; only stalled senders are left
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_NO_KEYS = AccessKeys({}, {})
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body; `content` None when it is over the ceiling and only its size was counted."""

    content: bytes | None
    size: int


class Bodies:
    """Bytes of all bodies that are being read, over every connection and port. Used on the event loop only."""

    def __init__(self, workers: int = 1) -> None:
        """`workers`: processes that share the limit."""
        self._limit = _BODIES // workers
        self._held = 0

    def take(self, number: int) -> None:
        """Raises Busy beyond the limit."""
        self._held += number
        if self._held > self._limit:
            raise Busy(f"{self._limit >> 20} MB of bodies are being read already")

    def give_back(self, number: int) -> None:
        self._held -= number


@dataclass(slots=True)
class Listener:
    """What both listeners share: a port, a body ceiling, /health, /metrics and who reads."""

    component: Component
    parameters: Mapping[str, str | None]
    engine: Engine
    metrics: Metrics
    bodies: Bodies
    settings: Settings = field(init=False)
    ceiling: int = field(init=False)
    port: int = field(init=False)
    accepting: bool = field(init=False, default=True)
    readers: Sequence[Reader] = field(init=False, default=())
    keys: AccessKeys = field(init=False, default=_NO_KEYS)
    _server: Server | None = field(init=False, default=None)
    _host: str = field(init=False, default="")
    _sockets: list[list[socket.socket]] = field(
        init=False, default_factory=list
    )  # of each process that shares the port

    def __post_init__(self) -> None:
        self.settings = Settings(self.component, self.parameters)
        self.ceiling = self.settings.size("Multipart Request Max Size", "1 MB")
        self.port = self.settings.integer("Listening Port", 1, 65535)

    def open(self, host: str, workers: int = 1) -> None:
        """Take the port, for so many processes. Raises ConfigurationError naming the port's setting when it cannot be had."""
        # HandleHttpRequest has an address of its own, ListenHTTP has none.
        self._host = self.settings.text("Hostname", host).removeprefix("[").removesuffix("]")
        try:
            addresses(self._host, self.port)
        except OSError as err:
            name = self.component.setting("Hostname") if self.settings.text("Hostname", "") else "--host"
            raise ConfigurationError(name, f"{self._host}: {err.strerror or err}") from err
        with self._port_errors():
            self._sockets = bind(self._host, self.port, workers)

    @property
    def address(self) -> str:
        """As a URL has it, to be asked from this machine."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - compared
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def keep_out(self, worker: int) -> None:
        """Leave a process out that does not come up again: its new connections go to the others."""
        close_all([self._sockets[worker]])
        self._sockets[worker] = []

    def let_in(self, worker: int) -> None:
        """The reverse of `keep_out`, where that was called. Raises ConfigurationError."""
        if not self._sockets[worker]:
            with self._port_errors():
                self._sockets[worker] = bind_set(self._host, self.port, shared=True)

    async def start(self, worker: int = 0) -> None:
        """Serve as one of the processes that share the port. Raises ConfigurationError."""
        own = self._sockets[worker]
        self._sockets[worker] = []
        self.close()  # a connection waits for whoever has its socket open
        self._server = Server(self._serve, _no_request)
        with self._port_errors():
            await self._server.start(own)

    def close(self) -> None:
        """Close the sockets of other processes."""
        close_all(self._sockets)
        self._sockets = []

    @contextmanager
    def _port_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise ConfigurationError(
                self.component.setting("Listening Port"), f"{self._host}:{self.port}: {err.strerror or err}"
            ) from err

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(_STOP_S)

    def takes(self, path: str) -> bool:
        """Whether pictures are taken in at this path."""
        raise NotImplementedError

    async def handle(self, request: Request, request_id: str) -> Response:
        """The answer to a request. Every problem that it tells of carries `request_id`, as the row will."""
        raise NotImplementedError

    async def _serve(self, request: Request) -> Response:
        if request.method in ("GET", "HEAD") and request.path in ("/health", "/metrics"):
            return self._health() if request.path == "/health" else await self.metrics.response()
        started = time.perf_counter()
        for reader in self.readers:
            if (shown := await reader.answer(request)) is not None:
                self.metrics.answered(f"GET {reader.path}", shown.status, time.perf_counter() - started)
                return shown
        request_id = _request_id(request, self.keys)
        if not self.accepting:
            response = _problem(request_id, "unavailable", "the service is shutting down")
        else:
            try:
                response = await self.handle(request, request_id)
            except (Busy, TooSlow, EncodingNotAccepted) as err:
                response = replace(_problem(request_id, err.code, str(err)), close=True)  # the rest is not wanted
            except Disconnected as err:  # the client went away or broke its own framing
                response = _problem(request_id, MalformedRequest.code, str(err))
            except Exception:
                log.exception("%s: request %s", self.component.name, request_id)
                response = _problem(request_id, WarehouseError.code, UNEXPECTED)
        self.metrics.answered(self.component.name, response.status, time.perf_counter() - started)
        return response

    def _health(self) -> Response:
        ready = self.accepting and self.engine.accepts(self.component.identifier)
        state = "ready" if ready else "shutting down" if not self.accepting else "queue full"
        body = json.dumps({"status": state}).encode()
        return Response(200 if ready else 503, body, _JSON)

    async def read_body(self, request: Request) -> Body:
        """The body, never more of it in memory than the ceiling.

        Raises: TooSlow: the sender paused for too long. Busy: the bodies being read take too much memory already. Disconnected.
        """
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # an image is compressed already; a bomb would be inflated here
            raise EncodingNotAccepted(f"{encoding[:40]} is not accepted, send the bytes as they are")
        declared = request.content_length or 0
        if declared > self.ceiling:
            return Body(None, declared)
        whole = request.whole_body()
        if whole is not None:  # it came together with its head
            return Body(whole if len(whole) <= self.ceiling else None, len(whole))
        request.go_on()
        content = bytearray()  # not a list of pieces: of tiny chunks, it would take many times the memory
        size = 0
        until = time.monotonic() + _BODY_S
        try:
            while piece := await request.piece(min(_PAUSE_S, until - time.monotonic())):
                size += len(piece)
                self.bodies.take(len(piece))
                if size > self.ceiling:
                    return Body(None, size)
                content += piece
        except asyncio.TimeoutError as err:
            raise TooSlow(f"no byte for {_PAUSE_S} s, or not done after {_BODY_S} s") from err
        finally:
            self.bodies.give_back(size)
        return Body(bytes(content), size)

    async def problem_of_form(self, request: Request, body: Body) -> str | None:
        """Why a form cannot be taken apart; None where it can, or the body is none. It goes on as it came."""
        content_type = request.headers.get("content-type")
        if body.content is None or media_type(content_type) != FORM_TYPE:
            return None
        if len(body.content) > _IN_A_THREAD:
            return await asyncio.to_thread(_problem_of_form, content_type, body.content)
        return _problem_of_form(content_type, body.content)


class ListenHttp(Listener):
    """ListenHTTP: answers as soon as the request is in the journal."""

    journal: Journal
    _reads_forms: bool = True

    def bind(self, journal: Journal, *, reads_forms: bool = True) -> None:
        """`reads_forms`: tell the sender of a malformed form at once; not where an access key has to be seen first."""
        self.journal = journal
        self._reads_forms = reads_forms
        self._path = "/" + self.settings.text("Base Path", "contentListener")
        self._status = self.settings.integer("Return Code", 200, 599, "200")
        self._headers = self.settings.pattern("HTTP Headers for Attributes", "(?!)")  # by default none

    def takes(self, path: str) -> bool:
        return path == "/" + self.settings.text("Base Path", "contentListener")

    async def handle(self, request: Request, request_id: str) -> Response:
        if request.path == self._path + "/healthcheck" and request.method in ("GET", "HEAD"):
            return Response(200, b"OK", {"Content-Type": "text/plain; charset=utf-8"})
        if request.path != self._path:
            return _not_found(request_id, request, self._path)
        if request.method == "HEAD":
            return Response(200)
        if request.method != "POST":
            return _not_allowed(request_id, request, "POST, HEAD")
        if not self.engine.accepts(self.component.identifier):
            return _busy(request_id)
        body = await self.read_body(request)
        peer = request.peer
        common = {_spelled(name): value for name, value in request.headers.each() if self._headers.fullmatch(name)}
        try:
            if key := common.get(_KEY):
                request_id_from_key(key, utc_now())
        except BadIdempotencyKey as err:  # taken in, it would be answered with an id that no row will have
            return _problem(request_id, err.code, str(err))
        common |= {
            **_id_of(request, request_id, _KEY),
            RECEIVED: utc_now().isoformat(),
            "restlistener.remote.source.host": peer,
            "restlistener.request.uri": request.path,
            "restlistener.remote.user.dn": "none",
            "restlistener.remote.issuer.dn": "none",
        }
        malformed = await self.problem_of_form(request, body) if self._reads_forms else None
        attributes = {**_core(), **common, **_unkept(body)}
        try:
            # A body over the ceiling is kept by its size alone; that it was refused need not survive a crash.
            (entry,) = await self.journal.append([(attributes, body.content or b"")])
        except OSError as err:
            log.error("%s", err)
            return _problem(request_id, "unavailable", "the journal could not be written")
        journal, number = self.journal, entry.number
        flow_file = FlowFile(entry.attributes, body.content, body.size, Ticket(lambda: journal.remove(number)))
        self.engine.submit(self.component.identifier, [flow_file])
        if body.content is None or malformed is not None:
            # It is on its way to its row; but who sent it need not look there to know.
            return replace(_problem(request_id, *self._why_refused(body, malformed)), close=True)
        return Response(self._status, json.dumps({"request_id": request_id}).encode() + b"\n", _JSON)

    def _why_refused(self, body: Body, malformed: str | None) -> tuple[str, str]:
        """(code, detail), the same code as FilterImageRequest will give."""
        if body.content is None:
            return "request.too_large", f"{body.size} bytes, more than the {self.ceiling} that are read"
        if not body.content:
            return "request.no_body", "the request has no body"
        return MalformedMultipart.code, malformed or ""


class HandleHttp(Listener):
    """HandleHttpRequest: the answer comes from HandleHttpResponse, at the end of the flow."""

    context_map: ContextMap

    def bind(self, context_map: ContextMap) -> None:
        self.context_map = context_map
        self._paths = self.settings.pattern("Allowed Paths", ".*")
        self._allowed = {
            m for m in _METHODS if self.settings.text(f"Allow {m}", "true" if m in _METHODS[:4] else "false") == "true"
        }

    def takes(self, path: str) -> bool:
        return self.settings.pattern("Allowed Paths", ".*").fullmatch(path) is not None

    async def handle(self, request: Request, request_id: str) -> Response:
        if not self._paths.fullmatch(request.path):
            return _not_found(request_id, request, self._paths.pattern)
        if request.method not in self._allowed:
            return _not_allowed(request_id, request, "POST")
        if not self.engine.accepts(self.component.identifier):
            return _busy(request_id)
        body = await self.read_body(request)
        identifier = new_request_id(utc_now())
        waiting = self.context_map.register(identifier)
        if waiting is None:
            return _busy(request_id)
        peer = request.peer
        common = {
            "http.context.identifier": identifier,
            "http.method": request.method,
            "http.request.uri": request.path,
            "http.remote.host": peer,
            "http.remote.addr": peer,
            "http.protocol": "HTTP/1.1",
        }
        if request.query:
            common["http.query.string"] = request.query
        if declared := request.headers.get("content-type"):
            common["mime.type"] = declared
        common |= {f"http.headers.{_spelled(name)}": value for name, value in request.headers.each()}
        common |= _id_of(request, request_id, f"http.headers.{_KEY}")
        flow_file = FlowFile({**_core(), **common, **_unkept(body)}, body.content, body.size, Ticket())
        self.engine.submit(self.component.identifier, [flow_file])
        # Not asyncio.wait_for: it makes a task of every wait.
        timer = asyncio.get_running_loop().call_later(self.context_map.expiration_s, waiting.cancel)
        try:
            reply = await waiting
            return Response(reply.status, reply.body, reply.headers)
        except asyncio.CancelledError:
            return _problem(request_id, "unavailable", f"no answer within {self.context_map.expiration_s:g} s")
        finally:
            timer.cancel()
            self.context_map.forget(identifier)


def _unkept(body: Body) -> dict[str, str]:
    """Says in an attribute how long a body was that is not there: in a package nothing else does."""
    return {UNKEPT_SIZE: str(body.size)} if body.content is None else {}


def _problem_of_form(content_type: str, content: bytes) -> str | None:
    try:
        parse_form(content, content_type)
    except MalformedMultipart as err:
        return str(err)
    return None


def _spelled(name: str) -> str:
    """A header's name as FilterImageRequest looks for it; it tries no other spelling, to spare NiFi the search."""
    return _KEY if name.lower() == _KEY.lower() else name


def _core() -> dict[str, str]:
    """The attributes every FlowFile has in NiFi."""
    identifier = new_request_id(utc_now())
    return {"uuid": identifier, "filename": identifier, "path": "./"}


def _request_id(request: Request, keys: AccessKeys) -> str:
    """The id of a request, from its first moment on: that of its key, or a new one."""
    moment = utc_now()
    try:
        if key := request.headers.get(_KEY.lower()):
            user = keys.check(
                offered_key(request.headers.get("x-access-key"), request.headers.get("authorization")), SEND
            )
            return request_id_from_key(key, moment, user=user)
    except ImageRejected:  # later, where that is recorded
        pass
    return new_request_id(moment)


def _id_of(request: Request, request_id: str, name: str) -> dict[str, str]:
    """Attributes with the client's key, as FilterImageRequest reads it, or with what this listener gives."""
    key = request.headers.get(_KEY.lower())
    # A key of the client's names no row before the access check.
    return {name: key, GIVEN_ID: ""} if key else {name: request_id, GIVEN_ID: request_id}


def _no_request(status: int, why: str) -> Response:
    """The answer to bytes that are no request, or to a request that none could be found for."""
    kinds = {kind.http_status: kind.code for kind in (HeadTooLarge, MalformedRequest)}
    code = kinds.get(status, WarehouseError.code)
    return replace(_problem(new_request_id(utc_now()), code, why or UNEXPECTED), close=True)


def _problem(request_id: str, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    answer = problem(code, printable(detail), request_id)
    response_headers = {"Content-Type": answer.media_type, **(headers or {})}
    if answer.retry_after is not None:
        response_headers["Retry-After"] = str(answer.retry_after)
    return Response(answer.status, answer.body, response_headers)


def _busy(request_id: str) -> Response:
    return _problem(request_id, "busy", "the queue is full, try again later")


def _not_found(request_id: str, request: Request, path: str) -> Response:
    return _problem(request_id, "request.not_found", f"nothing is served at {request.path[:200]}, POST to {path}")


def _not_allowed(request_id: str, request: Request, allowed: str) -> Response:
    detail = f"{request.method[:16]} is not allowed here, only POST"
    return _problem(request_id, "request.method_not_allowed", detail, {"Allow": allowed})
