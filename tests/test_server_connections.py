"""The HTTP server's connections: refused bodies, clients that go, time, and the end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import time
from contextlib import suppress

import pytest

from imagewarehouse.standalone import server as module
from tests import http_server
from tests.http_server import CHUNKED, GET, KB, Client, Running, eventually, head

# pytest finds fixtures among the names of a module
running = http_server.running


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
