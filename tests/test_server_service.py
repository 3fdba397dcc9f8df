"""The HTTP server in the whole service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from imagewarehouse.ids import new_request_id
from imagewarehouse.standalone import http as listeners
from tests import http_server
from tests.hostile import JPEG
from tests.http_server import CEILING, KB, Answer, Client, Running, head
from tests.running import Service, post

# pytest finds fixtures among the names of a module
running = http_server.running


# --- the service --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "http.max.request.size": f"{CEILING} B",
        "intake.max.size": f"{CEILING // 2} B",
        "source.trusted.proxies": "127.0.0.1, 10.0.0.0/8",
    }
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


@pytest.mark.parametrize("listener", ["classify", "images"])
def test_of_two_keys_the_first_counts_everywhere(service: Service, listener: str) -> None:
    key = new_request_id(datetime.now(timezone.utc))
    with Client(getattr(service, f"{listener}_port")) as client:
        fields = ("Idempotency-Key: none", f"Idempotency-Key: {key}")
        client.send(head(f"POST /{listener}", *fields, "Content-Type: image/jpeg", "Content-Length: 1") + b"x")
        assert code(client.answer()) == "request.bad_idempotency_key"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.0.0.1"], id="a-field-of-each-proxy"),
        pytest.param(["X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 203.0.113.7"], id="one-that-the-client-made-up"),
    ],
)
def test_forwarded_addresses_in_several_fields_are_one_list(service: Service, fields: list[str]) -> None:
    with Client(service.classify_port) as client:
        client.send(head("POST /classify", *fields, "Content-Type: image/jpeg", f"Content-Length: {len(JPEG)}") + JPEG)
        answer = client.answer()
        assert answer is not None
        assert answer.json()["source_ip"] == "203.0.113.7"


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
