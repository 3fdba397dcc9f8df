"""nifi-conf/front/: nginx in front of the deployed flow, and clients that do not behave."""

from __future__ import annotations

import json
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest

from benchmarks.nifi.mischief import BOUNDARY, NO_END, head, in_turns, new_ones, ratios
from benchmarks.nifi.pictures import requests
from imagewarehouse.ids import new_request_id
from tests.conftest import until
from tests.front import Front, nginx
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_flow import JPEG, started, table
from tests.pictures import numbered
from tests.running import Answered, post
from tests.test_nifi_conf import CONF, run_commands

__all__ = ["started"]  # a fixture

pytestmark = pytest.mark.skipif(nginx() is None, reason="needs nginx (Debian: apt install nginx-light)")

MB = 1 << 20
KEY = "a-key-of-camera-17"
TRUSTED = ("--set", "source.trusted.proxies=127.0.0.1")


def key() -> str:
    return new_request_id(datetime.now(timezone.utc))


@pytest.fixture
def behind(started: Warehouse, nar: Path, command: Command, tmp_path: Path) -> Iterator[tuple[Front, Warehouse]]:
    code, _, said = command("deploy", "--nar", str(nar), *started.settings, *TRUSTED)
    assert code == 0, said
    try:
        with Front(tmp_path / "front", started.images_port, started.classify_port) as front:
            yield front, started
    finally:
        assert command("deploy", "--nar", str(nar), *started.settings, "--set", "source.trusted.proxies=")[0] == 0


def problem(answer: Answered) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.body
    found = answer.json()
    assert found["status"] == answer.status
    assert found["type"] == f"urn:imagewarehouse:error:{found['error_code']}"
    return str(found["error_code"])


def test_both_paths_through_the_front(behind: tuple[Front, Warehouse], command: Command) -> None:
    """Answers, errors and rows are the flow's, the client's address is there, and what the front refuses has no row."""
    front, warehouse = behind
    forged = {**JPEG, "X-Forwarded-For": "10.1.1.1"}
    first, second, bad = key(), key(), key()
    answer = post(front.classify, numbered(1), {**forged, "Idempotency-Key": first})
    assert (answer.status, answer.json()["request_id"], answer.json()["source_ip"]) == (200, first, "127.0.0.1")
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9")) as other:
        assert other.post(front.classify, content=numbered(2), headers=forged).json()["source_ip"] == "127.0.0.9"
    assert post(front.images, numbered(3), {**forged, "Idempotency-Key": second}).status == 202
    rejected = post(front.classify, b"no picture", {**JPEG, "Idempotency-Key": bad})
    assert (problem(rejected), rejected.json()["request_id"]) == ("image.not_an_image", bad)
    assert problem(post(front.classify, b"", JPEG)) == "request.no_body"
    assert problem(post(front.classify, numbered(1), JPEG, method="PUT")) == "request.method_not_allowed"
    assert (
        problem(post(front.classify, numbered(1), {**JPEG, "Content-Encoding": "gzip"}))
        == "request.encoding_not_accepted"
    )
    # HandleHttpRequest refuses these by itself, as HTML.
    for method in ("OPTIONS", "PATCH"):
        assert problem(post(front.classify, numbered(1), JPEG, method=method)) == "request.method_not_allowed"
    assert front.logs(reason="request.method_not_allowed", nifi_status="405")
    rows_expected = 6
    for url in (front.classify, front.images):
        for declared in (33 * MB, 1 << 40):
            with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
                connection.sendall(head(declared, "image/jpeg", "/" + url.rpartition("/")[2]))
                assert connection.recv(200).startswith(b"HTTP/1.1 413 ")
    assert problem(post(front.images, b"x", JPEG, method="PUT")) == "request.method_not_allowed"
    for url in (front.classify, front.images):
        assert problem(post(url, numbered(1), {**JPEG, "Content-Encoding": "gzip"})) == "request.encoding_not_accepted"
    assert problem(post(front.images + "/other", b"x", JPEG)) == "request.not_found"
    rows = {row["request_id"]: row for row in table(warehouse, command)}
    assert len(rows) == rows_expected
    assert rows[second]["source_ip"] == "127.0.0.1"
    # The flow is stopped now.
    for url in (front.classify, front.images):
        assert problem(post(url, numbered(1), JPEG)) == "unavailable"


def test_a_form_that_cannot_be_parsed_is_answered_by_the_flow_with_its_row(
    behind: tuple[Front, Warehouse], command: Command
) -> None:
    front, warehouse = behind
    bodies = {key(): body for body in (NO_END, b"", b"x", b"--xyz--\r\n", b"--xyz\r\n" * 2000, bytes(3 * MB))}
    for name, body in bodies.items():
        answer = post(front.classify, body, {"Content-Type": BOUNDARY, "Idempotency-Key": name})
        assert problem(answer) in FORM_ERRORS, answer.body
        assert answer.status < 500
        assert answer.json()["request_id"] == name
    behind_it = {key(): body for body in bodies.values()}
    for name, body in behind_it.items():
        assert post(front.images, body, {"Content-Type": BOUNDARY, "Idempotency-Key": name}).status == 202
    before = front.reasons()["aborted"]
    for path in ("/classify", "/images"):
        with socket.create_connection(("127.0.0.1", front.port)) as connection:
            connection.sendall(head(100_000, BOUNDARY, path) + NO_END)
    assert until(lambda: front.reasons()["aborted"] == before + 2)
    rows = {row["request_id"]: row for row in table(warehouse, command)}
    assert set(rows) == set(bodies) | set(behind_it)
    assert {row["status"] for row in rows.values()} == {"rejected"}
    assert {row["error_code"] for row in rows.values()} <= FORM_ERRORS


# What the check says of a form that is none.
FORM_ERRORS = {"request.no_body", "request.malformed_multipart"}


def test_who_misbehaves_costs_the_others_little(behind: tuple[Front, Warehouse]) -> None:
    """200 slow clients at most a fifth, streams of broken and aborted forms at most a tenth: docs/performance.md has that from
    a longer run. Here machines are shared, a turn is short, and what must not happen is a standstill."""
    front, _ = behind
    turns = in_turns(
        front.port, ["alone", "slow", "broken", "aborted"], new_ones(requests("3 KB")), rounds=3, seconds=4
    )
    for kind in ("slow", "broken", "aborted"):
        assert statistics.median(ratios(turns, kind)) > 0.6, (kind, turns)
        assert not sum(one.failures for one in turns[kind]), kind
    assert front.reasons()["aborted"] > 100


def test_without_the_front_the_slow_stop_the_others(behind: tuple[Front, Warehouse]) -> None:
    """Why there is a front; where NiFi does better one day, this says so."""
    _, warehouse = behind
    turns = in_turns(warehouse.classify_port, ["alone", "slow"], new_ones(requests("3 KB")), rounds=1, seconds=4)
    assert ratios(turns, "slow")[0] < 0.2
    assert until(lambda: post(warehouse.classify, numbered(1), JPEG).status == 200, seconds=240, every=1)


def test_tls_ends_at_the_front_and_a_certificate_stands_for_a_key(
    started: Warehouse, nar: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_commands(CONF / "tls" / "README.md", tmp_path)
    monkeypatch.setenv("IMAGEWAREHOUSE_ACCESS_KEYS", f"camera-17:{KEY}")
    assert command("deploy", "--nar", str(nar), *started.settings)[0] == 0
    try:
        keys = {"CN=camera-17,O=Example": KEY}
        with Front(
            tmp_path / "front", started.images_port, started.classify_port, certificates=tmp_path, keys=keys
        ) as front:
            context = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
            url = f"https://localhost:{front.tls_port}/classify"
            answer = httpx.post(url, content=numbered(1), headers=JPEG, verify=context, timeout=60, trust_env=False)
            assert (answer.status_code, answer.json()["error_code"]) == (401, "access.key_missing")
            context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
            answer = httpx.post(url, content=numbered(2), headers=JPEG, verify=context, timeout=60, trust_env=False)
            assert (answer.status_code, answer.json()["source_user"]) == (200, "camera-17"), answer.text
    finally:
        monkeypatch.delenv("IMAGEWAREHOUSE_ACCESS_KEYS")
        assert command("deploy", "--nar", str(nar), *started.settings, "--parameters", str(_no_keys(tmp_path)))[0] == 0


def _no_keys(folder: Path) -> Path:
    path = folder / "no-keys.json"
    path.write_text(json.dumps({"access.keys": ""}))
    return path


def test_an_idle_connection_to_a_listener_is_given_up_before_the_listener_does(behind: tuple[Front, Warehouse]) -> None:
    """Jetty closes one after 30 s; a request that meets that moment would be lost."""
    front, _ = behind
    for pause in (0, 29.5, 30.5):
        time.sleep(pause)
        for url, status in ((front.classify, 200), (front.images, 202)):
            assert post(url, numbered(int(pause)), JPEG).status == status


def test_a_form_through_the_front(behind: tuple[Front, Warehouse], command: Command) -> None:
    front, warehouse = behind
    part = (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\nContent-Type: image/jpeg\r\n\r\n%s\r\n'
    )
    text = b'--xyz\r\nContent-Disposition: form-data; name="place"\r\n\r\npond\r\n'
    form = {"Content-Type": "Multipart/Form-Data; boundary=xyz"}
    one = text + part % (b"a.jpg", numbered(1)) + b"--xyz--\r\n"
    two = part % (b"b.jpg", numbered(2)) + text + part % (b"c.jpg", numbered(3)) + b"--xyz--\r\n"
    answer = post(front.classify, one, form)
    assert (answer.status, answer.json()["status"], answer.json()["file_name"]) == (200, "classified", "a.jpg"), (
        answer.body
    )
    assert problem(post(front.classify, two, form)) == "request.too_many_parts"
    assert problem(post(front.classify, one[:-20], form)) == "request.malformed_multipart"
    assert post(front.images, two, form).status == 202
    assert post(front.images, one[:-20], form).status == 202
    found = sorted(
        (row["file_name"] or "", row["status"], row["error_code"] or "") for row in table(warehouse, command)
    )
    assert [row[:2] for row in found if row[1] != "rejected"] == [(f"{name}.jpg", "classified") for name in "abc"]
    assert [row[2] for row in found].count("request.malformed_multipart") == 2
