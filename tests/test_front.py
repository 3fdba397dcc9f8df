"""nifi-conf/front/ with the real nginx, in front of listeners that only tell what reached them."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagewarehouse.deployment.flow import read_definition
from imagewarehouse.errors import all_errors
from imagewarehouse.limits import Limits
from imagewarehouse.resources import FLOW
from tests.conftest import until
from tests.front import FILES, Front, nginx
from tests.test_nifi_conf import CONF, needs_openssl, run_commands

pytestmark = pytest.mark.skipif(nginx() is None, reason="needs nginx (Debian: apt install nginx-light)")

MB = 1 << 20
BOUNDARY = "multipart/form-data; boundary=xyz"
FORM_TYPE = "application/vnd.imagewarehouse.form"
DURATIONS = {
    "client_header_timeout": "2s",
    "client_body_timeout": "2s",
    "proxy_read_timeout": "2s",
    "lingering_time": "2s",
}


class Listener:
    """Stands for both of NiFi's: answers 200 with what it was sent, or as the query says."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def answer(self) -> None:
                length = self.headers["Content-Length"]
                body = self.rfile.read(int(length or 0))
                told = {
                    "method": self.command,
                    "target": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "size": len(body),
                    "connection": self.client_address[1],
                }
                listener.asked.append(told)
                how = self.path.partition("?")[2]
                if how == "hang":
                    time.sleep(4)
                if how == "drop":
                    self.close_connection = True
                    return
                status, media_type, content = 200, "application/json", json.dumps(told).encode()
                if how.startswith("html-"):
                    status, media_type, content = int(how[5:]), "text/html;charset=iso-8859-1", b"<html>Error</html>"
                if how.startswith("empty-"):
                    status, media_type, content = int(how[6:]), "", b""
                if how.startswith("problem-"):
                    status, media_type, content = (
                        int(how[8:]),
                        "application/problem+json",
                        b'{"error_code":"of.the.flow"}',
                    )
                self.send_response(status)
                if media_type:
                    self.send_header("Content-Type", media_type)
                if how.startswith("problem-"):
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_POST = do_GET = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 - the names that the class looks for

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def front(listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front"), listener.port, listener.port, times=DURATIONS) as found:
        yield found


def ask(url: str, content: bytes = b"x", method: str = "POST", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.request(method, url, content=content, headers=sent, timeout=20, trust_env=False)


def raw(port: int, content: bytes, seconds: float = 10, source: str = "127.0.0.1") -> bytes:
    """Everything that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds, source_address=(source, 0)) as connection:
        connection.sendall(content)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except ConnectionResetError:
            pass
        return found


def head(path: str, length: int, *fields: str) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: image/jpeg",
        f"Content-Length: {length}",
        *fields,
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def is_problem(answer: httpx.Response, code: str) -> bool:
    """As imagewarehouse/answers.py writes them."""
    error = all_errors()[code]
    assert answer.status_code == error.http_status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("Retry-After" in answer.headers) == error.retryable
    found = answer.json()
    assert re.fullmatch("[0-9a-f]{32}", found.pop("front_request_id"))
    assert {key: found[key] for key in ("type", "title", "status", "error_code")} == {
        "type": f"urn:imagewarehouse:error:{code}",
        "title": error.title,
        "status": error.http_status,
        "error_code": code,
    }
    return set(found) <= {"type", "title", "status", "error_code", "detail"}


# --- the files ----------------------------------------------------------------------------------------------------


def test_nginx_finds_nothing_wrong_with_the_files(tmp_path: Path) -> None:
    assert "warn" not in Front(tmp_path, 8081, 8082).check()


@needs_openssl
def test_nginx_finds_nothing_wrong_with_the_files_with_tls_and_behind_a_balancer(tmp_path: Path) -> None:
    run_commands(CONF / "tls" / "README.md", tmp_path)
    edits = {
        "    #balancer set_real_ip_from": "    set_real_ip_from",
        "    #balancer real_ip_header": "    real_ip_header",
    }
    assert "warn" not in Front(tmp_path / "front", 8081, 8082, certificates=tmp_path, edits=edits).check()


def test_every_error_page_is_one_of_our_errors() -> None:
    text = (FILES / "imagewarehouse.conf").read_text()
    pages = re.findall(r"location = /imagewarehouse-problem/(\S+) \{.*?return (\d+) '(.*?)\\n';", text, re.DOTALL)
    assert len(pages) >= 10
    for code, status, body in pages:
        error = all_errors()[code]
        found = json.loads(body)
        assert (int(status), found["status"]) == (error.http_status, error.http_status)
        assert (found["type"], found["title"]) == (f"urn:imagewarehouse:error:{code}", error.title)
    named = set(re.findall(r"/imagewarehouse-problem/([a-z][\w.]+);", text))
    assert named == {code for code, _, _ in pages}


def test_the_limit_of_size_is_that_of_the_listeners_and_lets_the_largest_image_in_json_pass() -> None:
    [found] = re.findall(r"client_max_body_size (\d+)m;", (FILES / "imagewarehouse.conf").read_text())
    parameters = read_definition(FLOW).flow.parameters
    assert f"{found} MB" == parameters["http.max.request.size"].value
    assert int(found) * MB > Limits().max_bytes * 4 // 3 + 64 * 1024


def test_an_answer_of_nifi_comes_before_the_front_gives_up() -> None:
    found = re.findall(r"proxy_read_timeout (\d+)s;", (FILES / "imagewarehouse.conf").read_text())
    assert len(found) == 2
    parameters = read_definition(FLOW).flow.parameters
    assert all(int(seconds) > int(parameters["http.answer.timeout"].value.removesuffix(" sec")) for seconds in found)


# --- what is passed on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "passed", "form"),
    [
        pytest.param("image/jpeg", "image/jpeg", None, id="image"),
        pytest.param(BOUNDARY, FORM_TYPE, BOUNDARY, id="form"),
        pytest.param("MultiPart/Form-Data;boundary=A", FORM_TYPE, "MultiPart/Form-Data;boundary=A", id="any-case"),
        pytest.param("multipart/form-data", FORM_TYPE, "multipart/form-data", id="no-boundary"),
        pytest.param(f"image/jpeg; a={BOUNDARY}", "application/octet-stream", None, id="multipart-further-back"),
        pytest.param(FORM_TYPE, "application/octet-stream", None, id="our-own-type"),
        pytest.param(FORM_TYPE.upper() + "; a=b", "application/octet-stream", None, id="our-own-type-in-capitals"),
        pytest.param(f", {FORM_TYPE}", "application/octet-stream", None, id="our-own-type-further-back"),
    ],
)
def test_the_type_of_a_form_is_hidden_and_nobody_else_has_it(
    front: Front, sent: str, passed: str, form: str | None
) -> None:
    for url in (front.classify, front.images):
        told = ask(url, Content_Type=sent, X_Form_Content_Type="multipart/form-data; boundary=forged").json()["headers"]
        assert told["content-type"] == passed
        assert told.get("x-form-content-type") == form
        assert "multipart/form-data" not in told["content-type"].lower()


def test_a_request_without_a_type_gets_none(front: Front) -> None:
    told = ask(front.classify).json()["headers"]
    assert "content-type" not in told
    assert "x-form-content-type" not in told


def test_only_the_headers_that_the_flow_reads_are_passed_on(front: Front) -> None:
    kept = {
        "Content-Type": "image/jpeg", "Content-Disposition": 'attachment; filename="a.jpg"', "filename": "b.jpg",
        "Idempotency-Key": "key-1", "X-Access-Key": "a secret of mine", "Authorization": "Bearer another secret",
    }  # fmt: skip
    dropped = {
        "x-prefer-acknowledge-uri": "true", "flowfile-gzipped": "true", "x-nifi-transfer-protocol-version": "3",
        "Cookie": "a=b", "X-Real-IP": "10.1.1.1", "Forwarded": "for=10.1.1.1", "X-Accel-Redirect": "/status",
    }  # fmt: skip
    answer = httpx.post(
        front.images, content=b"x", headers={**kept, **dropped, "X-Forwarded-For": "10.1.1.1"}, trust_env=False
    )
    told = answer.json()["headers"]
    assert {name: told[name.lower()] for name in kept} == kept
    assert told["x-forwarded-for"] == told["x-real-ip"] == "127.0.0.1"
    assert not {name.lower() for name in dropped} - {"x-real-ip"} & set(told)
    assert set(told) == {name.lower() for name in kept} | {"x-forwarded-for", "x-real-ip", "host", "content-length"}


def test_a_second_type_does_not_get_past_the_front(front: Front, listener: Listener) -> None:
    for first, second in (("image/jpeg", BOUNDARY), (BOUNDARY, "image/jpeg"), ("image/jpeg", FORM_TYPE)):
        del listener.asked[:]
        raw(
            front.port,
            head("/images", 1, f"Content-Type: {second}", "Connection: close").replace(b"image/jpeg", first.encode(), 1)
            + b"x",
        )
        told = [asked["headers"]["content-type"] for asked in listener.asked]
        assert told in ([], ["image/jpeg"], [FORM_TYPE]), told
        assert told != [FORM_TYPE] or BOUNDARY in (first, second)


def test_behind_a_balancer_the_address_is_the_one_that_the_balancer_says(listener: Listener, tmp_path: Path) -> None:
    edits = {
        "    #balancer set_real_ip_from 10.0.0.10;": "    set_real_ip_from 127.0.0.5;",
        "    #balancer real_ip_header": "    real_ip_header",
    }
    with Front(tmp_path, listener.port, listener.port, edits=edits) as own:
        for balancer, address in (("127.0.0.5", "10.7.7.7"), ("127.0.0.6", "127.0.0.6")):
            with httpx.Client(transport=httpx.HTTPTransport(local_address=balancer), trust_env=False) as client:
                answer = client.post(own.images, content=b"x", headers={"X-Forwarded-For": "10.6.6.6, 10.7.7.7"})
                assert answer.json()["headers"]["x-forwarded-for"] == address
                assert own.logs(client=address)


def test_the_path_is_the_listeners_whatever_the_client_made_of_it(front: Front) -> None:
    told = ask(f"http://127.0.0.1:{front.port}/./%63lassify?a=b").json()
    assert told["target"] == "/classify?a=b"


def test_a_body_in_chunks_arrives_with_its_length(front: Front) -> None:
    answer = httpx.post(front.classify, content=iter([b"x" * 1000] * 300), trust_env=False)
    assert (answer.json()["size"], answer.json()["headers"]["content-length"]) == (300_000, "300000")
    assert "transfer-encoding" not in answer.json()["headers"]


def test_a_large_body_arrives_whole(front: Front) -> None:
    assert ask(front.classify, bytes(32 * MB)).json()["size"] == 32 * MB
    assert not any(path.is_file() for path in (front.folder / "body_temp").rglob("*"))


def test_connections_to_the_listeners_are_kept(front: Front, listener: Listener) -> None:
    del listener.asked[:]
    for _ in range(20):
        ask(front.classify)
    # One for each worker process at most; each request came on a connection of its own.
    assert len({told["connection"] for told in listener.asked}) < 10


def test_a_post_is_never_sent_twice(front: Front, listener: Listener) -> None:
    for _ in range(3):  # on a new connection and on kept ones
        del listener.asked[:]
        assert is_problem(ask(front.classify + "?drop"), "unavailable")
        assert len(listener.asked) == 1


# --- what is answered ---------------------------------------------------------------------------------------------


def test_an_answer_of_the_flow_passes_unchanged(front: Front) -> None:
    for status in (400, 413, 415, 500, 503):
        answer = ask(f"{front.classify}?problem-{status}")
        assert (answer.status_code, answer.json()) == (status, {"error_code": "of.the.flow"})
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Retry-After"] == "7"
        assert front.logs(status=status, reason="", nifi_status=str(status))


@pytest.mark.parametrize("kind", ["html", "empty"])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "request.malformed"), (404, "request.not_found"), (405, "request.method_not_allowed"), (408, "request.too_slow"),
        (413, "request.too_large"), (431, "request.head_too_large"), (500, "internal"), (502, "unavailable"), (503, "busy"),
        (403, "internal"),
    ],
)  # fmt: skip
def test_a_listeners_own_error_becomes_ours(front: Front, kind: str, status: int, code: str) -> None:
    for url in (front.classify, front.images):
        assert is_problem(ask(f"{url}?{kind}-{status}"), code)
        asked = f"POST {url.rpartition('/')[2]}?{kind}-{status} HTTP/1.1".replace("POST ", "POST /")
        assert front.logs(request=asked, reason=code, status=all_errors()[code].http_status)
        assert front.lines()[-1]["nifi_status"].startswith(str(status))


@pytest.mark.parametrize("path", ["/classify", "/images"])
@pytest.mark.parametrize("size", [32 * MB + 1, 40 << 30])
def test_a_body_that_is_too_large_is_refused_before_it_comes(
    front: Front, listener: Listener, path: str, size: int
) -> None:
    del listener.asked[:]
    started = time.monotonic()
    found = raw(front.port, head(path, size, "Connection: close"))
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in found
    assert b'"error_code":"request.too_large"' in found
    assert time.monotonic() - started < 6
    assert not listener.asked
    assert front.logs(reason="request.too_large", status=413)


def test_a_body_in_chunks_is_refused_when_it_gets_too_large(front: Front, listener: Listener) -> None:
    del listener.asked[:]
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as connection:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(MB) + b"\r\n"
        for _ in range(33):  # and no end
            connection.sendall(piece)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert not listener.asked


def test_who_asks_first_is_told_before_sending(front: Front) -> None:
    found = raw(front.port, head("/images", 100 * MB, "Expect: 100-continue", "Connection: close"))
    assert found.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        pytest.param(b"nonsense\r\n\r\n", "request.malformed", id="no-request-line"),
        pytest.param(b"POST /classify HTTP/1.1\r\n\r\n", "request.malformed", id="no-host"),
        pytest.param(head("/classify", 1).replace(b"h: 1", b"h: one"), "request.malformed", id="length-no-number"),
        pytest.param(head("/classify", 1, "Transfer-Encoding: chunked"), "request.malformed", id="length-and-chunked"),
        pytest.param(head("/classify", 1, "Transfer-Encoding: gzip").replace(b"Content-Length: 1\r\n", b""),
                     "request.malformed", id="another-transfer-encoding"),
        pytest.param(head("/classify", 1, "A: " + "b" * 9000), "request.head_too_large", id="long-header"),
        pytest.param(head("/classify?" + "a" * 9000, 1), "request.head_too_large", id="long-line"),
        pytest.param(head("/other", 1) + b"x", "request.not_found", id="another-path"),
        pytest.param(head("/imagewarehouse-problem/busy", 1) + b"x", "request.not_found", id="our-pages-are-not-served"),
        pytest.param(head("/images/holds/1", 1) + b"x", "request.not_found", id="listen-http-behind-its-path"),
        pytest.param(head("/images", 1).replace(b"POST", b"GET") + b"x", "request.method_not_allowed", id="get-images"),
        pytest.param(head("/images", 1).replace(b"POST", b"TRACE"), "request.method_not_allowed", id="trace"),
        pytest.param(head("/images", 1, "Content-Encoding: gzip") + b"x", "request.encoding_not_accepted", id="gzip-to-images"),
        pytest.param(head("/classify", 1, "Content-Encoding: br") + b"x", "request.encoding_not_accepted", id="br-to-classify"),
    ],
)  # fmt: skip
def test_what_the_front_refuses_by_itself(front: Front, listener: Listener, content: bytes, code: str) -> None:
    del listener.asked[:]
    found = raw(front.port, content.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    top, _, body = found.partition(b"\r\n\r\n")
    error = all_errors()[code]
    assert top.startswith(b"HTTP/1.1 %d " % error.http_status), found
    assert b"\r\nContent-Type: application/problem+json" in top
    assert json.loads(body)["type"] == f"urn:imagewarehouse:error:{code}"
    assert (b"\r\nAllow: POST" in top) == (code == "request.method_not_allowed")
    assert not listener.asked
    assert front.logs(reason=code, status=error.http_status)


def test_the_flow_is_asked_about_other_methods_of_classify(front: Front) -> None:
    for method in ("GET", "PUT", "DELETE"):
        assert ask(front.classify, method=method).json()["method"] == method
    assert "content-encoding" not in ask(front.classify, Content_Encoding="identity").json()["headers"]


def test_an_answer_that_does_not_come_in_time_and_a_listener_that_is_away(front: Front, tmp_path: Path) -> None:
    assert is_problem(ask(front.classify + "?hang"), "unavailable")
    assert front.logs(reason="unavailable", request="POST /classify?hang HTTP/1.1")
    assert front.lines()[-1]["nifi_status"].startswith("504")
    with Front(tmp_path, 9, 9) as alone:  # nobody listens on port 9
        for url in (alone.classify, alone.images):
            assert is_problem(ask(url), "unavailable")
            assert alone.logs(reason="unavailable")
            assert alone.lines()[-1]["nifi_status"].startswith("502")


def test_the_health_of_listen_http_is_asked_through_the_front(front: Front) -> None:
    assert ask(front.images + "/healthcheck", b"", "GET").json()["target"] == "/images/healthcheck"
    assert is_problem(ask(front.images + "/healthcheck"), "request.method_not_allowed")


# --- clients that are slow, go away, or are many -------------------------------------------------------------------


@pytest.mark.parametrize(("length", "sent"), [(1000, 1), (20 * MB, 300_000)], ids=["small", "large"])
def test_a_body_that_stops_ends_and_never_reaches_the_listener(
    front: Front, listener: Listener, length: int, sent: int
) -> None:
    del listener.asked[:]
    started = time.monotonic()
    assert raw(front.port, head("/classify", length) + bytes(sent)) == b""  # nginx closes; it sends no 408
    assert 1.5 < time.monotonic() - started < 8
    assert front.logs(status=408, reason="request.too_slow")
    assert not listener.asked


def test_a_head_that_does_not_come_ends(front: Front) -> None:
    started = time.monotonic()
    assert raw(front.port, b"POST /classify HTTP/1.1\r\nHost: x\r\n") == b""
    assert time.monotonic() - started < 8


def test_a_client_that_goes_away_never_reaches_the_listener(front: Front, listener: Listener) -> None:
    del listener.asked[:]
    before = front.reasons()["aborted"]
    for length, sent in ((1000, 10), (20 * MB, 2 * MB)):
        with socket.create_connection(("127.0.0.1", front.port)) as connection:
            connection.sendall(head("/classify", length) + bytes(sent))
    assert until(lambda: front.reasons()["aborted"] == before + 2, seconds=10)
    assert not listener.asked


def test_a_client_that_leaves_while_it_is_answered_is_logged(front: Front) -> None:
    with socket.create_connection(("127.0.0.1", front.port)) as connection:
        connection.sendall(head("/classify?hang", 1) + b"x")
        time.sleep(0.3)
    assert front.logs(reason="client_left", status=499)


def test_a_byte_a_second_holds_a_connection_and_nobody_else(front: Front, listener: Listener) -> None:
    """The pause is shorter than the time-out, so nginx waits; others are served meanwhile, and a reload ends it."""
    del listener.asked[:]
    slow = [socket.create_connection(("127.0.0.1", front.port), source_address=("127.0.0.3", 0)) for _ in range(50)]
    try:
        for connection in slow:
            connection.sendall(head("/classify", 1000))
        for _ in range(4):
            for connection in slow:
                connection.sendall(b"x")
            assert ask(front.classify).status_code == 200
            time.sleep(0.8)
        assert len(listener.asked) == 4
        [active] = re.findall(r"Active connections: (\d+)", front.status())
        assert int(active) > 50
    finally:
        for connection in slow:
            connection.close()


def test_a_reload_ends_the_bodies_that_never_end(listener: Listener, tmp_path: Path) -> None:
    own = Front(tmp_path, listener.port, listener.port, times={"worker_shutdown_timeout": "2s"})
    with own, socket.create_connection(("127.0.0.1", own.port)) as slow:
        slow.sendall(head("/classify", 1000))
        time.sleep(0.3)
        own.reload()
        ended, started = False, time.monotonic()
        while not ended and time.monotonic() - started < 10:
            assert ask(own.classify).status_code == 200
            try:
                slow.sendall(b"x")
                slow.settimeout(0.5)
                ended = slow.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                ended = True
        assert ended
        assert time.monotonic() - started > 1


def test_one_address_has_its_share_of_the_connections(listener: Listener, tmp_path: Path) -> None:
    with Front(tmp_path, listener.port, listener.port) as own:
        slow = []
        try:
            for _ in range(150):
                connection = socket.create_connection(
                    ("127.0.0.1", own.port), source_address=("127.0.0.2", 0), timeout=5
                )
                slow.append(connection)
                connection.sendall(head("/classify", 1000) + b"x")
            assert until(lambda: own.log.exists() and own.reasons()["busy"] == 50)
            found = raw(own.port, head("/images", 1, "Connection: close") + b"x", source="127.0.0.2")
            assert found.startswith(b"HTTP/1.1 503 ")
            assert b'"error_code":"busy"' in found
            assert b"Retry-After: 5" in found
            assert own.logs(reason="busy", limit="REJECTED")
            assert ask(own.classify).status_code == 200  # another address
        finally:
            for connection in slow:
                connection.close()


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Path]]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("secured")
    run_commands(CONF / "tls" / "README.md", folder)
    keys = {"CN=camera-17,O=Example": "the key of camera-17"}
    with Front(folder / "front", listener.port, listener.port, certificates=folder, keys=keys) as found:
        yield found, folder


def context(folder: Path, client: bool = False) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    if client:
        made.load_cert_chain(folder / "client.pem", folder / "client.key")
    return made


def test_a_clients_certificate_stands_for_its_access_key(secured: tuple[Front, Path]) -> None:
    front, folder = secured
    url = f"https://localhost:{front.tls_port}/classify"
    headers = {"X-Access-Key": "what the client says"}
    for client, key in ((True, "the key of camera-17"), (False, "what the client says")):
        answer = httpx.post(url, content=b"x", headers=headers, verify=context(folder, client), trust_env=False)
        assert answer.json()["headers"]["x-access-key"] == key


def test_plain_http_on_the_port_of_tls_gets_our_answer(secured: tuple[Front, Path]) -> None:
    front, _ = secured
    assert is_problem(ask(f"http://127.0.0.1:{front.tls_port}/classify"), "request.malformed")


def test_http_2_has_the_same_limits(secured: tuple[Front, Path], tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("needs a curl with HTTP/2")
    front, folder = secured
    for size, status in ((100_000, "200"), (33 * MB, "413")):
        body = tmp_path / "body"
        body.write_bytes(bytes(size))
        done = subprocess.run(
            [curl, "-s", "--http2", "--cacert", folder / "authority.pem", "-H", f"Content-Type: {BOUNDARY}",
             "--data-binary", f"@{body}", "-w", "\n%{http_version} %{http_code} %{content_type}", f"https://localhost:{front.tls_port}/images"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        answered, _, last = done.stdout.rpartition("\n")
        assert last.split()[:2] == ["2", status], done.stdout
        if status == "200":
            assert json.loads(answered)["headers"]["content-type"] == FORM_TYPE
        else:
            assert json.loads(answered)["error_code"] == "request.too_large"


def test_a_connection_is_kept_for_the_client(front: Front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    try:
        for path in ("/classify", "/images", "/classify?html-503", "/classify"):
            connection.request("POST", path, b"x")
            used = connection.sock
            answer = connection.getresponse()
            answer.read()
            assert connection.sock is used
            assert answer.status in (200, 503)
    finally:
        connection.close()
