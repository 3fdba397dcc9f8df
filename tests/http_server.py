"""A `Server` in a thread and a client that reads strictly; what the modules of the server's tests share."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import uvloop

from imagewarehouse.standalone import http as listeners
from imagewarehouse.standalone import server as module
from imagewarehouse.standalone.server import Disconnected, Request, Response, Server, bind

KB = 1024
CEILING = KB * KB
HOST = b"Host: x\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def head(line: str, *fields: str) -> bytes:
    return "".join(f"{text}\r\n" for text in (f"{line} HTTP/1.1", "Host: x", *fields, "")).encode("latin-1")


def posted(body: bytes, target: str = "/") -> bytes:
    return head(f"POST {target}", f"Content-Length: {len(body)}") + body


class Running:
    """A `Server` in a thread with an event loop of its own. Its handler tells what it was asked."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop], host: str = "127.0.0.1") -> None:
        self.loop = new_loop()
        self.server = Server(self.handle, listeners._no_request)
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.lost = 0
        self.taken = 0  # bytes of bodies
        self.gate = asyncio.Event()
        self.gate.set()
        self._thread = threading.Thread(target=self._run, args=(host,))
        self._started = threading.Event()
        self._thread.start()
        self._started.wait(10)

    def _run(self, host: str) -> None:
        asyncio.set_event_loop(self.loop)
        (sockets,) = bind(host, 0)
        self.port = sockets[0].getsockname()[1]
        self.loop.run_until_complete(self.server.start(sockets))
        self._started.set()
        self.loop.run_forever()
        self.loop.close()

    async def handle(self, request: Request) -> Response:
        self.asked.append(request.path)
        if request.path == "/raise":
            raise RuntimeError("made to fail")
        if request.path == "/refuse":
            return Response(413, b"too large", close=True)
        if request.path.startswith("/status/"):
            return Response(int(request.path.rpartition("/")[2]), b"a body")
        if request.path == "/large":
            return Response(200, b"x" * 200 * KB)
        if request.path == "/huge":
            return Response(200, bytes(32 << 20))
        if request.path == "/inject":
            return Response(200, b"", {"X-A": "a\r\nX-B: b\x00\u2028\ud800ä"})
        if request.path == "/wait":
            await self.gate.wait()
        if request.path == "/slow":
            await asyncio.sleep(0.3)
        body = request.whole_body()
        if body is None:
            request.go_on()
            pieces = []
            try:
                while piece := await request.piece(listeners._PAUSE_S):
                    self.taken += len(piece)
                    pieces.append(piece)
                    await self.gate.wait()
            except Disconnected:
                self.lost += 1
                return Response(400, b"lost")
            except asyncio.TimeoutError:
                return Response(408, b"slow", close=True)
            body = b"".join(pieces)
        self.bodies.append(body)
        told = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "peer": request.peer,
            "size": len(body),
            "fields": request.headers.fields,
        }
        return Response(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def call(self, function: Callable[[], object]) -> None:
        """In the server's thread, and wait for it."""

        async def within() -> None:
            function()

        asyncio.run_coroutine_threadsafe(within(), self.loop).result(10)

    def stop(self, seconds: float = 0.2) -> None:
        if self._thread.is_alive():
            self.call(self.gate.set)
            asyncio.run_coroutine_threadsafe(self.server.stop(seconds), self.loop).result(20)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)

    def connect(self) -> Client:
        return Client(self.port)

    def ask(self, content: bytes) -> list[Answer]:
        """Everything that comes back until the server closes; the client's side is closed behind `content`."""
        with self.connect() as client:
            client.send(content)
            client.socket.shutdown(socket.SHUT_WR)
            return client.answers()


class Answer:
    def __init__(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.fields, self.body = status, fields, body

    def field(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} twice"
        return found[0] if found else None

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A bare socket that reads answers strictly."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def answer(self, head_only: bool = False) -> Answer | None:
        """None at the end of the connection."""
        line = self.file.readline()
        if not line:
            return None
        found = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n", line)
        assert found, line
        status, fields = int(found[1]), []
        while (line := self.file.readline()) != b"\r\n":
            field = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\r\n]*)\r\n", line)
            assert field, line
            fields.append((field[1].decode(), field[2].decode("utf-8", "surrogateescape")))
        answer = Answer(status, fields, b"")
        if status >= 200:
            assert parsedate_to_datetime(answer.field("Date") or "")
        if status in (100, 204, 304):
            assert answer.field("Content-Length") is None
        else:
            length = int(answer.field("Content-Length") or "")
            answer.body = b"" if head_only else self.file.read(length)
            assert head_only or len(answer.body) == length
        return answer

    def answers(self) -> list[Answer]:
        found = []
        while (answer := self.answer()) is not None:
            found.append(answer)
        return found

    def is_closed_within(self, seconds: float) -> bool:
        self.socket.settimeout(seconds)
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(module, "_SWEEP_S", 0.05)
    monkeypatch.setattr(module, "_LINGER_S", 0.5)
    found = Running(request.param)
    yield found
    found.stop()
    assert not found.server.connections
    assert not found.server.tasks


def eventually(check: Callable[[], object], seconds: float = 5) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, "did not come true in time"
        time.sleep(0.01)


def is_problem(answer: Answer, status: int) -> bool:
    assert answer.status == status, answer.body
    assert answer.field("Content-Type") == "application/problem+json"
    assert answer.field("Connection") == "close"
    assert answer.json()["status"] == status
    return bool(answer.json()["request_id"])
