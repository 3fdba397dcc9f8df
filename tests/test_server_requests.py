"""The HTTP server against real clients: requests, answers, pipelining."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import httpx
import psutil
import pytest
import uvloop

from imagewarehouse.standalone import server as module
from tests import http_server
from tests.http_server import CHUNKED, GET, KB, Client, Running, eventually, head, is_problem, posted

# pytest finds fixtures among the names of a module
running = http_server.running


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
