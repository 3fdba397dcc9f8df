"""The HTTP server of the listeners, against real sockets and real clients, and against those that mean it no good."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import pytest
import uvloop

from imagewarehouse.ids import new_request_id
from imagewarehouse.standalone import http as listeners
from imagewarehouse.standalone import server as module
from imagewarehouse.standalone.server import Disconnected, Request, Response, Server
from tests.running import Service, post

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
        self.loop.run_until_complete(self.server.start(host, 0))
        assert self.server._server is not None
        self.port = self.server._server.sockets[0].getsockname()[1]
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


# --- ordinary requests --------------------------------------------------------------------------------------------


def test_a_connection_is_kept_for_the_next_request(running: Running) -> None:
    with running.connect() as client:
        for number in range(3):
            client.send(posted(b"x" * number, f"/{number}?q={number}"))
            answer = client.answer()
            assert answer is not None
            assert answer.status == 200
            assert answer.field("Connection") is None
            told = answer.json()
            assert (told["path"], told["query"], told["size"]) == (f"/{number}", f"q={number}", number)
            assert told["peer"] == "127.0.0.1"


def test_clients_of_every_kind_are_answered(running: Running) -> None:
    url = f"http://127.0.0.1:{running.port}/x"
    body = b"b" * 300 * KB
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    for _ in range(2):
        connection.request("POST", "/x", body)
        assert json.loads(connection.getresponse().read())["size"] == len(body)
    connection.request("POST", "/x", iter([b"a", b"b" * KB]), encode_chunked=True)
    assert json.loads(connection.getresponse().read())["size"] == KB + 1
    connection.close()
    with httpx.Client() as client:
        assert client.post(url, content=body).json()["size"] == len(body)
        assert client.post(url, files={"a": body}).json()["size"] > len(body)
        assert client.head(url).content == b""
        assert client.get(url).status_code == 200

    async def by_aiohttp() -> list[int]:
        async with aiohttp.ClientSession() as session:

            async def one() -> int:
                async with session.post(url, data=body, expect100=True) as answer:
                    return int((await answer.json())["size"])

            return await asyncio.gather(*(one() for _ in range(20)))

    assert asyncio.run(by_aiohttp()) == [len(body)] * 20


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("size", [0, 10, 2 * KB * KB])
@pytest.mark.parametrize("option", ["--http2", "--http1.1", "--http1.0"])
def test_curl_is_answered_whatever_it_would_rather_speak(
    running: Running, tmp_path: Path, option: str, size: int
) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"x" * size)
    command = ["curl", "-sS", option, "--data-binary", f"@{file}", f"http://127.0.0.1:{running.port}/x"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    assert json.loads(done.stdout)["size"] == size
    assert json.loads(done.stdout)["method"] == "POST"


def test_a_request_in_single_bytes_is_understood(running: Running) -> None:
    with running.connect() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in posted(b"body", "/a%20b") + CHUNKED + b"2\r\nab\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        first, second = client.answer(), client.answer()
        assert first is not None
        assert second is not None
        assert (first.json()["path"], first.json()["size"], second.json()["size"]) == ("/a b", 4, 2)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a%20b/%C3%A4?c=%20", "/a b/ä", "c=%20"),
        ("/%ff%00", "/\ufffd\x00", ""),
        ("/%", "/%", ""),
        ("//x/y", "//x/y", ""),
        ("http://example.org/a/b?c", "/a/b", "c"),
        ("HTTP://example.org", "/", ""),
        ("http://example.org?c", "/", "c"),
        ("*", "*", ""),
        ("/?a?b", "/", "a?b"),
    ],
)
def test_targets(running: Running, target: str, path: str, query: str) -> None:
    told = running.ask(head(f"OPTIONS {target}"))[0].json()
    assert (told["path"], told["query"]) == (path, query)


def test_header_fields_keep_order_spelling_and_doubles_and_lose_the_space_around(running: Running) -> None:
    fields = ("X-a: 1", "X-A:2", "x-A:  3 \t", "Empty:", "Blank:  ", "Latin: \xe4\xff")
    told = running.ask(head("GET /", *fields))[0].json()["fields"]
    assert told == [
        ["Host", "x"], ["X-a", "1"], ["X-A", "2"], ["x-A", "3"], ["Empty", ""], ["Blank", ""],
        ["Latin", "\udce4\udcff"],
    ]  # fmt: skip


def test_very_many_header_fields_are_taken(running: Running) -> None:
    told = running.ask(head("GET /", *(f"a{number}: b" for number in range(5000))))[0].json()
    assert len(told["fields"]) == 5001


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6")
    running = Running(uvloop.new_event_loop, "::1")
    with Client(running.port, "::1") as client:
        client.send(GET)
        answer = client.answer()
        assert answer is not None
        assert answer.json()["peer"] == "::1"
    running.stop()


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 304, 404, 599])
def test_a_status_that_has_no_body_gets_none_and_the_next_answer_is_found(running: Running, status: int) -> None:
    with running.connect() as client:
        client.send(head(f"GET /status/{status}") + GET)
        first, second = client.answer(), client.answer()
        assert first is not None
        assert second is not None
        assert (first.status, second.status) == (status, 200)
        assert first.body == (b"" if status in (204, 304) else b"a body")


def test_head_gets_the_length_and_no_body(running: Running) -> None:
    with running.connect() as client:
        client.send(head("HEAD /status/200") + GET)
        first, second = client.answer(head_only=True), client.answer()
        assert first is not None
        assert second is not None
        assert (first.status, first.field("Content-Length"), second.status) == (200, "6", 200)


def test_a_header_value_cannot_break_out(running: Running) -> None:
    answer = running.ask(head("GET /inject"))[0]
    assert answer.field("X-A") == "a  X-B: b   ä"
    assert answer.field("X-B") is None


def test_a_handler_that_fails_is_answered_for_and_others_go_on(running: Running) -> None:
    with running.connect() as client:
        client.send(posted(b"x", "/raise"))
        answer = client.answer()
        assert answer is not None
        assert answer.status == 500
        assert answer.json()["request_id"]
        assert b"made to fail" not in answer.body
    assert running.ask(GET)[0].status == 200


@pytest.mark.parametrize(
    ("request_", "connection"),
    [
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", "close", id="1.0"),
        pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", id="1.0-keep-alive"),
        pytest.param(head("GET /", "Connection: close"), "close", id="1.1-close"),
        pytest.param(head("GET /", "Connection: keep-alive"), None, id="1.1-keep-alive"),
    ],
)
def test_connections_are_kept_as_the_client_wants(running: Running, request_: bytes, connection: str | None) -> None:
    with running.connect() as client:
        client.send(request_)
        answer = client.answer()
        assert answer is not None
        assert (answer.status, answer.field("Connection")) == (200, connection)
        assert client.is_closed_within(0.3) == (connection == "close")


# --- pipelining ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 3, 3000])
def test_pipelined_requests_are_answered_in_their_order(running: Running, number: int) -> None:
    requests = [posted(b"x" * (n % 7), "/slow" if n == 1 else f"/{n}") for n in range(number)]
    with running.connect() as client:
        sender = threading.Thread(target=client.send, args=(b"".join(requests),))
        sender.start()
        for n in range(number):
            answer = client.answer()
            assert answer is not None
            assert (answer.json()["path"], answer.json()["size"]) == ("/slow" if n == 1 else f"/{n}", n % 7)
        sender.join()


def test_requests_that_wait_are_answered_though_the_client_has_closed_its_side(running: Running) -> None:
    answers = running.ask(posted(b"a", "/slow") + CHUNKED + b"1\r\na\r\n0\r\n\r\n" + GET * 500)
    assert [answer.status for answer in answers] == [200] * 502


@pytest.mark.parametrize("first", ["/slow", "/"])
def test_a_malformed_request_is_refused_behind_the_answers_to_those_before_it(running: Running, first: str) -> None:
    with running.connect() as client:
        client.send(posted(b"a", first) + posted(b"bc") + b"nonsense\r\n\r\n" + GET)
        answers = client.answers()
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert [answer.json().get("size") for answer in answers[:2]] == [1, 2]
    assert is_problem(answers[2], 400)
    assert [answer.field("Connection") for answer in answers] == [None, None, "close"]


def test_a_body_that_comes_behind_pipelined_requests_is_read(running: Running) -> None:
    with running.connect() as client:
        client.send(head("GET /slow") + GET + head("POST /", "Content-Length: 3"))
        assert client.answer() is not None
        assert client.answer() is not None
        client.send(b"abc")
        answer = client.answer()
        assert answer is not None
        assert answer.json()["size"] == 3


def test_nothing_is_answered_behind_connection_close(running: Running) -> None:
    with running.connect() as client:
        client.send(head("GET /", "Connection: close") + GET + b"nonsense")
        assert [answer.status for answer in client.answers()] == [200]


def test_a_client_that_reads_no_answer_is_held_up_alone_and_dropped_in_the_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 1.0)
    gc.collect()
    before = psutil.Process().memory_info().rss
    with running.connect() as client:
        client.socket.settimeout(0.3)
        sent = 0
        with suppress(TimeoutError):
            for _ in range(100_000):
                sent += client.socket.send(head("GET /large") * 20)
        assert sent < 64 << 20
        assert len(running.asked) < 500
        assert psutil.Process().memory_info().rss - before < 64 << 20
        assert running.ask(GET)[0].status == 200
        eventually(lambda: not running.server.connections, 10)


def test_a_request_that_comes_while_answers_wait_to_be_read_is_handled_once(running: Running) -> None:
    running.call(running.gate.clear)
    with running.connect() as client:
        client.send(head("GET /huge"))
        time.sleep(0.3)  # no more of it fits into the sockets
        client.send(head("GET /wait"))
        time.sleep(0.1)
        first = client.answer()
        assert first is not None
        assert len(first.body) == 32 << 20
        eventually(lambda: "/wait" in running.asked)
        running.call(running.gate.set)
        second = client.answer()
        assert second is not None
        assert second.status == 200
        assert running.asked == ["/huge", "/wait"]


# --- framing ------------------------------------------------------------------------------------------------------


def test_chunks_extensions_and_trailers(running: Running) -> None:
    body = b'3;a=b;c="d;e"\r\nabc\r\nA\r\n0123456789\r\n0;z\r\nX-Trailer: t\r\nHost: y\r\n\r\n'
    answers = running.ask(CHUNKED + body + GET)
    assert [answer.json()["size"] for answer in answers] == [13, 0]
    assert "X-Trailer" not in answers[0].body.decode()


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Content-Length: 3", "Transfer-Encoding: chunked"], id="length-and-chunked"),
        pytest.param(["Transfer-Encoding: chunked", "Content-Length: 3"], id="chunked-and-length"),
        pytest.param(["Content-Length: 3", "Content-Length: 3"], id="same-length-twice"),
        pytest.param(["Content-Length: 3", "Content-Length: 0"], id="two-lengths"),
        pytest.param(["Content-Length: 3, 3"], id="length-list"),
        pytest.param(["Content-Length: -1"], id="negative-length"),
        pytest.param(["Content-Length: +3"], id="signed-length"),
        pytest.param(["Content-Length: 0x3"], id="hexadecimal-length"),
        pytest.param(["Content-Length: 3_0"], id="length-with-underscore"),
        pytest.param(["Content-Length:"], id="empty-length"),
        pytest.param(["Content-Length: 99999999999999999999"], id="length-of-more-than-64-bits"),
        pytest.param(["Content-Length : 3"], id="space-before-the-colon"),
        pytest.param(["Transfer-Encoding: xchunked"], id="xchunked"),
        pytest.param(["Transfer-Encoding: identity"], id="identity"),
        pytest.param(["Transfer-Encoding: gzip, chunked"], id="gzip-in-chunks"),
        pytest.param(["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], id="gzip-in-chunks-two-fields"),
        pytest.param(["Transfer-Encoding: chunked, identity"], id="chunked-not-last"),
        pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], id="chunked-twice"),
        pytest.param(["Transfer-Encoding: ,chunked"], id="empty-coding"),
        pytest.param(["Transfer-Encoding: \x0bchunked"], id="vertical-tab"),
        pytest.param(["Transfer-Encoding:"], id="no-coding"),
        pytest.param(["X: a\r\n b"], id="folded-value"),
        pytest.param(["X: a\rContent-Length: 3"], id="bare-cr"),
        pytest.param(["X: a\nContent-Length: 3"], id="bare-lf"),
        pytest.param(["X: a\x00b"], id="nul"),
        pytest.param(["X\xe4: a"], id="name-that-is-no-token"),
        pytest.param([": a"], id="no-name"),
        pytest.param(["Host: y"], id="two-hosts"),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(running: Running, fields: list[str]) -> None:
    answers = running.ask(head("POST /", *fields) + b"0\r\n\r\n" + SMUGGLED)
    assert is_one_refusal(answers)
    assert "/smuggled" not in running.asked


def is_one_refusal(answers: list[Answer]) -> bool:
    """By the server, or by the handler where the head was good."""
    assert [answer.status for answer in answers] == [400]
    assert answers[0].field("Connection") == "close"
    return answers[0].body == b"lost" or is_problem(answers[0], 400)


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(b"3\nabc\r\n0\r\n\r\n", id="lf-behind-size"),
        pytest.param(b"3\r\nabc0\r\n\r\n", id="no-crlf-behind-chunk"),
        pytest.param(b"3\r\nabcd\r\n0\r\n\r\n", id="longer-than-its-size"),
        pytest.param(b"-3\r\nabc\r\n0\r\n\r\n", id="negative-size"),
        pytest.param(b"0x3\r\nabc\r\n0\r\n\r\n", id="0x"),
        pytest.param(b"3 \r\nabc\r\n0\r\n\r\n", id="space-behind-size"),
        pytest.param(b"fffffffffffffffff\r\nabc", id="size-of-more-than-64-bits"),
        pytest.param(b"\r\nabc\r\n0\r\n\r\n", id="no-size"),
        pytest.param(b"3;a\nb\r\nabc\r\n0\r\n\r\n", id="lf-in-extension"),
    ],
)
def test_chunks_that_are_malformed_end_the_body_and_the_connection(running: Running, chunks: bytes) -> None:
    assert is_one_refusal(running.ask(CHUNKED + chunks + SMUGGLED))
    assert not running.bodies
    assert "/smuggled" not in running.asked


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), id="tls-client-hello"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00", id="http-2-preface"),
        pytest.param(b"\x00" * 100, id="zeros"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
        pytest.param(b"GET /\r\n\r\n", id="http-0.9"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", id="version-2.0"),
        pytest.param(b"GET / HTTP/1.2\r\nHost: x\r\n\r\n", id="version-1.2"),
        pytest.param(b"get / HTTP/1.1\r\nHost: x\r\n\r\n", id="method-in-lower-case"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no-host"),
        pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", id="lf-only"),
        pytest.param("GET /ä HTTP/1.1\r\nHost: x\r\n\r\n".encode(), id="path-that-is-not-ascii"),
        pytest.param(b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", id="space-in-path"),
        pytest.param(
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
            id="chunked-in-http-1.0",
        ),
    ],
)
def test_what_is_no_request_is_told_so(running: Running, content: bytes) -> None:
    with running.connect() as client:
        client.send(content)
        answers = client.answers()
        assert len(answers) == 1
        assert is_problem(answers[0], 400)
    assert not running.asked


@pytest.mark.parametrize("fields", [["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk"],
                                    ["upgrade: websocket", "Connection: keep-alive, upgrade", "Sec-WebSocket-Key: x"]],
                         ids=["h2c", "websocket"])  # fmt: skip
def test_a_wish_to_upgrade_is_passed_over_and_the_body_read(running: Running, fields: list[str]) -> None:
    body = b"GET /smuggled HTTP/1.1\r\n\r\n"
    whole = head("POST /a", *fields, f"Content-Length: {len(body)}") + body
    chunked = head("POST /b", *fields, "Transfer-Encoding: chunked") + b"2\r\nab\r\n0\r\n\r\n"
    answers = running.ask(whole + chunked + head("GET /c", *fields) + GET)
    assert [(a.json()["path"], a.json()["size"]) for a in answers] == [
        ("/a", len(body)),
        ("/b", 2),
        ("/c", 0),
        ("/", 0),
    ]
    assert ["HTTP2-Settings", "AAMAAABk"] in answers[0].json()["fields"] or fields[0] != "Upgrade: h2c"


def test_wishes_to_upgrade_by_the_thousand_do_not_overflow_a_stack(running: Running) -> None:
    wishes = head("GET /", "Upgrade: x", "Connection: upgrade") * 3000
    with running.connect() as client:
        sender = threading.Thread(target=client.send, args=(wishes,))
        sender.start()
        assert sum(client.answer() is not None for _ in range(3000)) == 3000
        sender.join()


def test_what_follows_connect_is_no_request(running: Running) -> None:
    with running.connect() as client:
        client.send(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n" + SMUGGLED)
        answers = client.answers()
    assert [answer.field("Connection") for answer in answers] == ["close"]
    assert running.asked == ["example.org:443"]


# --- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GET[:-2] + b"X: " + b"a" * 100 * KB, id="value"),
        pytest.param(GET[:-2] + b"X: " + b"a" * 100 * KB + b"\r\n\r\n", id="value-that-ends"),
        pytest.param(GET[:-2] + b"X" * 100 * KB, id="name"),
        pytest.param(GET[:-2] + b"X: a\r\n" * 20 * KB, id="fields"),
        pytest.param(b"GET /" + b"a" * 100 * KB, id="path"),
        pytest.param(b"\r\n" * 50 * KB, id="empty-lines"),
        pytest.param(GET * 3 + GET[:-2] + b"X: " + b"a" * 4096 * KB, id="behind-requests-and-endless"),
    ],
)
def test_a_head_without_end_is_refused(running: Running, content: bytes) -> None:
    with running.connect() as client:
        client.send(content)
        assert is_problem(client.answers()[-1], 431)


def test_a_head_of_60_kb_is_taken(running: Running) -> None:
    assert running.ask(head("GET /", "X: " + "a" * 60 * KB))[0].status == 200


@pytest.mark.parametrize("end", [b"0\r\nX: ", b"3;x="], ids=["trailer", "chunk-extension"])
def test_trailers_and_extensions_without_end_are_refused(running: Running, end: bytes) -> None:
    with running.connect() as client:
        client.send(CHUNKED + b"1\r\na\r\n" + end + b"a" * 200 * KB)
        assert [answer.status for answer in client.answers()] == [400]


def test_a_body_that_nobody_takes_makes_its_sender_wait(running: Running) -> None:
    size = 64 << 20
    running.call(running.gate.clear)
    before = psutil.Process().memory_info().rss
    with running.connect() as client:
        client.send(head("POST /", f"Content-Length: {size}"))
        client.socket.settimeout(0.3)
        sent, piece = 0, bytes(KB * KB)
        with suppress(TimeoutError):
            while sent < size:
                sent += client.socket.send(piece[: size - sent])
        assert sent < size / 2
        assert psutil.Process().memory_info().rss - before < 32 << 20
        assert running.ask(GET)[0].status == 200
        running.call(running.gate.set)
        client.socket.settimeout(10)
        while sent < size:
            sent += client.socket.send(piece[: size - sent])
        answer = client.answer()
        assert answer is not None
        assert answer.json()["size"] == size


def test_tiny_chunks_that_wait_take_no_more_memory_than_large_ones(running: Running) -> None:
    running.call(running.gate.clear)
    with running.connect() as client:
        client.send(CHUNKED)
        client.socket.settimeout(0.3)
        with suppress(TimeoutError):
            for _ in range(100):
                client.send(b"2\r\nab\r\n" * 10_000)
        (connection,) = running.server.connections
        assert connection._reading is not None
        assert 1000 < len(connection._reading._pieces) < 20_000


# --- bodies that are not wanted -----------------------------------------------------------------------------------


def test_expect_is_answered_only_where_a_body_is_wanted(running: Running) -> None:
    with running.connect() as client:
        client.send(head("POST /", "Expect: 100-Continue", "Content-Length: 3"))
        first = client.answer()
        assert first is not None
        assert (first.status, first.fields) == (100, [])
        client.send(b"abc")
        second = client.answer()
        assert second is not None
        assert second.json()["size"] == 3
        client.send(head("GET /", "Expect: 100-continue"))
        third = client.answer()
        assert third is not None
        assert third.status == 200
        client.send(head("POST /refuse", "Expect: 100-continue", "Content-Length: 3"))
        assert [answer.status for answer in client.answers()] == [413]


def test_expect_means_nothing_in_http_1_0(running: Running) -> None:
    with running.connect() as client:
        client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        time.sleep(0.1)
        client.send(b"abc")
        assert [answer.status for answer in client.answers()] == [200]


@pytest.mark.parametrize("request_", [
    pytest.param(head("POST /refuse", f"Content-Length: {20 << 20}"), id="length"),
    pytest.param(head("POST /refuse", f"Content-Length: {20 << 20}", "Connection: close"), id="close"),
    pytest.param(b"POST /refuse HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n", id="1.0"),
    pytest.param(head("POST /refuse", "Transfer-Encoding: chunked") + b"1400000\r\n", id="chunked"),
    pytest.param(CHUNKED + b"nonsense\r\n", id="malformed-chunks"),
    pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
    pytest.param(GET * 3 + head("POST /refuse", f"Content-Length: {20 << 20}"), id="behind-others"),
])  # fmt: skip
def test_who_is_refused_can_read_it_though_it_sends_on(running: Running, request_: bytes) -> None:
    with running.connect() as client:
        client.send(request_)
        for _ in range(160):  # 20 MB, all before the first look at the answer
            client.send(bytes(128 * KB))
        assert client.answers()[-1].status in (400, 413)


def test_who_sends_on_for_ever_is_cut_off(running: Running) -> None:
    with running.connect() as client:
        client.send(head("POST /refuse", "Transfer-Encoding: chunked"))
        started = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() < started + 5:
                client.send(b"1\r\na\r\n" * 1000)
                time.sleep(0.01)
        assert 0.3 < time.monotonic() - started < 3
    eventually(lambda: not running.server.connections)


def test_a_connection_whose_client_does_not_close_is_closed_when_the_time_is_over(running: Running) -> None:
    with running.connect() as client:
        client.send(head("POST /refuse", "Content-Length: 1000"))
        answer = client.answer()
        assert answer is not None
        assert answer.field("Connection") == "close"
        started = time.monotonic()
        assert client.is_closed_within(0.3)
        eventually(lambda: not running.server.connections)
        assert time.monotonic() - started < 1.5


# --- clients that go ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", ["close", "reset", "shutdown"])
@pytest.mark.parametrize(
    ("content", "asked"),
    [
        pytest.param(b"", 0, id="at-once"),
        pytest.param(GET[:10], 0, id="in-the-head"),
        pytest.param(head("POST /", "Content-Length: 1000") + b"abc", 1, id="in-the-body"),
        pytest.param(CHUNKED + b"5\r\nab", 1, id="in-a-chunk"),
        pytest.param(head("GET /large") * 50, 1, id="before-the-answers"),
        pytest.param(head("GET /slow") + GET * 5, 1, id="while-it-is-handled"),
    ],
)
def test_a_client_that_goes_leaves_nothing_behind(running: Running, content: bytes, asked: int, close: str) -> None:
    client = running.connect()
    client.send(content)
    time.sleep(0.05)
    if close == "reset":
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    if close == "shutdown":
        client.socket.shutdown(socket.SHUT_WR)
        client.answers()
    client.file.close()
    client.socket.close()
    eventually(lambda: not running.server.connections and not running.server.tasks)
    assert len(running.asked) >= asked
    assert not running.bodies or b"/large" in content or b"/slow" in content
    assert running.lost == (1 if content.startswith(b"POST") else 0)


def test_a_body_cut_off_by_the_clients_own_closing_is_answered(running: Running) -> None:
    answers = running.ask(head("POST /", "Content-Length: 1000") + b"abc")
    assert [(answer.status, answer.body) for answer in answers] == [(400, b"lost")]


# --- time ---------------------------------------------------------------------------------------------------------


def test_idle_connections_and_slow_heads_are_closed_and_requests_under_way_are_not(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.4)
    with running.connect() as idle, running.connect() as slow, running.connect() as busy, running.connect() as kept:
        busy.send(head("POST /", "Content-Length: 40"))
        kept.send(GET)
        assert kept.answer() is not None
        started = time.monotonic()
        for byte in (GET + GET)[:40]:
            if time.monotonic() - started < 0.4:
                slow.send(bytes([byte]))
            time.sleep(0.03)
            busy.send(b"x")
        assert time.monotonic() - started > 0.4
        for client in (idle, slow, kept):
            assert client.is_closed_within(1)
        answer = busy.answer()
        assert answer is not None
        assert answer.json()["size"] == 40


def test_a_request_that_comes_late_on_a_kept_connection_has_its_own_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.6)
    with running.connect() as client:
        time.sleep(0.4)
        client.send(GET[:10])
        time.sleep(0.4)
        client.send(GET[10:])
        assert client.answer() is not None


def test_a_thousand_idle_connections_hold_up_nobody(running: Running) -> None:
    clients: list[Client] = []
    try:
        clients.extend(running.connect() for _ in range(1000))
        eventually(lambda: len(running.server.connections) == 1000)
        started = time.monotonic()
        assert running.ask(GET)[0].status == 200
        assert time.monotonic() - started < 1
        clients[500].send(GET)
        assert clients[500].answer() is not None
    finally:
        for client in clients:
            client.__exit__()


# --- the end ------------------------------------------------------------------------------------------------------


def test_requests_under_way_are_answered_when_it_stops(running: Running) -> None:
    running.call(running.gate.clear)
    with running.connect() as waiting, running.connect() as idle, running.connect() as large:
        waiting.send(head("GET /wait"))
        large.send(head("GET /large") * 100)
        eventually(lambda: "/wait" in running.asked and "/large" in running.asked)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            stopped = pool.submit(
                lambda: asyncio.run_coroutine_threadsafe(running.server.stop(5), running.loop).result(20)
            )
            assert idle.is_closed_within(1)
            time.sleep(0.2)
            with pytest.raises(OSError):  # noqa: PT011 - refused
                running.connect()
            running.loop.call_soon_threadsafe(running.gate.set)
            answer = waiting.answer()
            assert answer is not None
            assert (answer.status, answer.field("Connection")) == (200, "close")
            answers = large.answers()
            assert answers[-1].field("Connection") == "close"
            assert {len(answer.body) for answer in answers} == {200 * KB}
            stopped.result(10)


def test_it_stops_in_time_though_a_request_is_never_done(running: Running) -> None:
    running.call(running.gate.clear)
    with running.connect() as client:
        client.send(head("GET /wait"))
        eventually(lambda: running.asked)
        started = time.monotonic()
        asyncio.run_coroutine_threadsafe(running.server.stop(0.3), running.loop).result(20)
        assert time.monotonic() - started < 2
        assert client.is_closed_within(1)


# --- the service --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"http.max.request.size": f"{CEILING} B", "intake.max.size": f"{CEILING // 2} B"}
    with Service(tmp_path_factory.mktemp("server") / "data", settings) as running:
        yield running


def code(answer: Answer | None) -> str:
    assert answer is not None
    assert answer.field("Content-Type") == "application/problem+json"
    assert answer.json()["request_id"]
    return str(answer.json()["error_code"])


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("listener", ["classify", "images"])
def test_a_body_at_the_ceiling_is_read_and_one_above_is_not(service: Service, listener: str, chunked: bool) -> None:
    port = service.classify_port if listener == "classify" else service.images_port

    def sent(size: int) -> tuple[Answer | None, bool]:
        with Client(port) as client:
            if chunked:
                client.send(head(f"POST /{listener}", "Content-Type: image/png", "Transfer-Encoding: chunked"))
                client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size)))
            else:
                client.send(
                    head(f"POST /{listener}", "Content-Type: image/png", f"Content-Length: {size}") + bytes(size)
                )
            return client.answer(), client.is_closed_within(0.2)

    read, _ = sent(CEILING)
    if listener == "images":
        assert read is not None
        assert read.status == 202
    else:
        assert code(read) == "request.too_large"
        assert "read" not in read.json()["detail"]  # type: ignore[union-attr]
    refused, closed = sent(CEILING + 1)
    assert (code(refused), refused and refused.status) == ("request.too_large", 413)
    assert closed or listener == "classify"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(head("POST /nowhere", "Content-Length: 99999999"), "request.not_found", id="404"),
        pytest.param(head("PUT /images", "Content-Length: 99999999"), "request.method_not_allowed", id="405"),
        pytest.param(head("POST /images", "Content-Length: 99999999"), "request.too_large", id="413"),
        pytest.param(head("POST /images", "Content-Encoding: gzip", "Content-Length: 99999999"),
                     "request.encoding_not_accepted", id="415"),
        pytest.param(head("CONNECT x:443"), "request.not_found", id="connect"),
        pytest.param(head("POST /%ed%a0%80%00", "Content-Length: 99999999"), "request.not_found", id="no-text"),
        pytest.param(b"\x16\x03\x01", "request.malformed", id="tls"),
        pytest.param(b"GET /" + b"a" * 100 * KB, "request.head_too_large", id="431"),
    ],
)  # fmt: skip
def test_the_service_refuses_before_the_body_and_the_answer_can_be_read(
    service: Service, request_: bytes, expected: str
) -> None:
    with Client(service.images_port) as client:
        client.send(request_)
        for _ in range(80):
            client.send(bytes(128 * KB))
        assert code(client.answer()) == expected
        assert client.is_closed_within(2)


def test_a_refusal_saves_who_asks_first_the_body(service: Service) -> None:
    with Client(service.images_port) as client:
        client.send(head("POST /images", "Expect: 100-continue", "Content-Length: 99999999"))
        assert code(client.answer()) == "request.too_large"


def test_the_service_reads_a_key_with_a_space_behind_it(service: Service) -> None:
    key = new_request_id(datetime.now(timezone.utc))
    with Client(service.images_port) as client:
        client.send(head("POST /images", f"Idempotency-Key: {key} ", "Content-Length: 1") + b"x")
        answer = client.answer()
        assert answer is not None
        assert answer.json() == {"request_id": key}


def test_thousands_of_header_fields_hold_up_nobody(service: Service) -> None:
    fields = [f"a{number}: b" for number in range(6000)]
    started = time.monotonic()
    with Client(service.classify_port) as client:
        client.send(head("POST /classify", *fields, "Content-Length: 1") + b"x")
        answer = client.answer()
        assert answer is not None
        assert answer.status == 415
    assert time.monotonic() - started < 2
    assert post(service.classify_url, b"", method="GET").status == 405


def test_a_sender_that_pauses_is_told_so(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_PAUSE_S", 0.2)
    with running.connect() as client:
        client.send(head("POST /", "Content-Length: 1000") + b"abc")
        assert [answer.status for answer in client.answers()] == [408]
