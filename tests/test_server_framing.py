"""The HTTP server against requests that are malformed, ambiguous or without end."""

from __future__ import annotations

import threading
from contextlib import suppress

import psutil
import pytest

from tests import http_server
from tests.http_server import CHUNKED, GET, KB, Answer, Running, head, is_problem

# pytest finds fixtures among the names of a module
running = http_server.running


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
