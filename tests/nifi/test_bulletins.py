"""NiFi's bulletin board is for its operator: whatever clients send, nothing of the flow appears on it.

Straight to the listeners goes only what they can take. Multipart bodies that cannot be parsed and uploads that break off make
HandleHttpRequest itself fail and pause, and it warns of a path or a method that it refuses by itself. The front keeps these
away; the last test shows them.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.nifi.mischief import BOUNDARY, NO_END, head
from tests.conftest import until
from tests.forms import EMPTY_INPUT, FORM, file, form, text
from tests.front import Front, nginx
from tests.nifi.conftest import Command, Warehouse
from tests.nifi.test_deploy import stop_processor
from tests.nifi.test_flow import JPEG, is_drained, key, started, table
from tests.nifi.test_forms import bulletins
from tests.pictures import numbered
from tests.running import Answered, post

__all__ = ["started"]  # a fixture

behind_nginx = pytest.mark.skipif(nginx() is None, reason="needs nginx (Debian: apt install nginx-light)")

MB = 1 << 20
OFFERED = {"X-Access-Key": "a-key-of-camera-17"}
JSON = {"Content-Type": "application/json"}
OF_FORM = {"Content-Type": FORM}
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its answer at /classify; at /images all of them get 202 at once, and their row later."""

    name: str
    status: int
    body: bytes
    headers: dict[str, str]
    listeners: bool = True  # whether NiFi's listeners can take it

    def __str__(self) -> str:
        return self.name


def image(number: int) -> bytes:
    return file(numbered(number), f"{number}.jpg", "image/jpeg")


def json_of(content: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(content).decode(), "type": "image/jpeg"}).encode()


CASES = [
    *(Case(f"good {number}", 200, numbered(number), {**JPEG, **OFFERED}) for number in range(4)),
    Case("form", 200, form([text("place", "pond"), EMPTY_INPUT, image(10)]), {**OF_FORM, **OFFERED}),
    Case("JSON", 200, json_of(numbered(5)), {**JSON, **OFFERED}),
    Case("wrong type", 415, numbered(1), {"Content-Type": "application/pdf", **OFFERED}),
    Case("another type", 415, numbered(1), {"Content-Type": "image/png", **OFFERED}),
    Case("no type", 415, b"x", {"Content-Type": "", **OFFERED}),
    Case("text as image", 415, b"no picture", {**JPEG, **OFFERED}),
    Case("empty body", 400, b"", {**JPEG, **OFFERED}),
    Case("truncated", 422, numbered(2, (200, 200))[:900], {**JPEG, **OFFERED}),
    Case("no access key", 401, numbered(3), JPEG),
    Case("wrong access key", 401, numbered(3), {**JPEG, "X-Access-Key": "another"}),
    Case("bad idempotency key", 400, numbered(4), {**JPEG, **OFFERED, "Idempotency-Key": "seventeen"}),
    Case("broken JSON", 400, b'{"image": ', {**JSON, **OFFERED}),
    Case("JSON that is none of ours", 400, b"[1, 2]", {**JSON, **OFFERED}),
    Case("broken base64", 400, b'{"image": "*", "type": "image/jpeg"}', {**JSON, **OFFERED}),
    Case("too many files", 400, form([image(11), image(12)]), {**OF_FORM, **OFFERED}),
    Case("form without file", 400, form([text("place", "pond")]), {**OF_FORM, **OFFERED}),
    Case("broken form", 400, NO_END, {"Content-Type": BOUNDARY, **OFFERED}, listeners=False),
]


@pytest.fixture
def guarded(
    started: Warehouse, nar: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Warehouse]:
    """With an access key."""
    monkeypatch.setenv("IMAGEWAREHOUSE_ACCESS_KEYS", f"camera-17:{OFFERED['X-Access-Key']}")
    assert command("deploy", "--nar", str(nar), *started.settings)[0] == 0
    yield started
    monkeypatch.delenv("IMAGEWAREHOUSE_ACCESS_KEYS")
    no_keys = tmp_path / "no-keys.json"
    no_keys.write_text(json.dumps({"access.keys": ""}))
    assert command("deploy", "--nar", str(nar), *started.settings, "--parameters", str(no_keys))[0] == 0


def fresh(warehouse: Warehouse, before: dict[int, str]) -> list[str]:
    """Every bulletin since then, of any level and of any component."""
    return [said for number, said in bulletins(warehouse).items() if number not in before]


def queued(client: httpx.Client) -> int:
    return int(client.get("/flow/status").json()["controllerStatus"]["flowFilesQueued"])


def send(url: str, cases: list[Case]) -> list[Answered]:
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda case: post(url, case.body, case.headers), cases))


def rows_are(warehouse: Warehouse, command: Command, cases: list[Case], refused: int) -> None:
    """Each case has been sent to /classify and to /images, and so many others besides: as many rows, of the right kind."""
    found = Counter(row["status"] for row in table(warehouse, command))
    good = sum(case.status == 200 for case in cases)
    # The two files of a form that is too many for /classify are two images at /images, one of them in each row.
    files = {"too many files": 2}
    at_images = sum(files.get(case.name, 1) for case in cases)
    assert found["classified"] == good + sum(files.get(case.name, case.status == 200) for case in cases)
    assert sum(found.values()) == len(cases) + at_images + refused


@behind_nginx
def test_requests_of_every_kind_through_the_front(guarded: Warehouse, command: Command, tmp_path: Path) -> None:
    before = bulletins(guarded)
    cases = CASES * ROUNDS
    with Front(tmp_path / "front", guarded.images_port, guarded.classify_port) as front:
        for case, answer in zip(cases, send(front.classify, cases), strict=True):
            assert answer.status == case.status, (case.name, answer.body)
        for case, answer in zip(cases, send(front.images, cases), strict=True):
            assert answer.status == 202, (case.name, answer.body)
        for _ in range(ROUNDS):
            for path in ("/classify", "/images"):  # none of these leaves a row
                with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
                    connection.sendall(head(33 * MB, "image/jpeg", path))
                    assert connection.recv(200).startswith(b"HTTP/1.1 413 ")
                with socket.create_connection(("127.0.0.1", front.port)) as connection:
                    connection.sendall(head(100_000, BOUNDARY, path) + NO_END)
            assert post(front.images, b"", method="GET").status == 405
            assert post(front.classify, b"", OFFERED, method="GET").status == 405  # by the flow, with a row
            assert post(front.classify + "/other", numbered(1), JPEG).status == 404
        assert until(lambda: front.reasons()["aborted"] == 2 * ROUNDS)
    assert until(lambda: is_drained(guarded.nifi), 60, every=0.1)
    assert fresh(guarded, before) == []
    rows_are(guarded, command, cases, refused=ROUNDS)


def test_requests_of_every_kind_straight(guarded: Warehouse, command: Command) -> None:
    before = bulletins(guarded)
    cases = [case for case in CASES if case.listeners] * ROUNDS
    for case, answer in zip(cases, send(guarded.classify, cases), strict=True):
        assert answer.status == case.status, (case.name, answer.body)
    for case, answer in zip(cases, send(guarded.images, cases), strict=True):
        assert answer.status in (200, 202), (case.name, answer.body)
    assert post(guarded.classify, bytes(33 * MB), {**JPEG, **OFFERED}).status == 413
    assert post(guarded.images, bytes(33 * MB), {**JPEG, **OFFERED}).status == 202
    assert post(guarded.classify, b"", {**JPEG, **OFFERED}, method="GET").status == 405
    assert post(guarded.images, b"", method="GET").status == 405
    assert post(guarded.images + "/other", numbered(1), {**JPEG, **OFFERED}).status == 405
    assert until(lambda: is_drained(guarded.nifi), 60, every=0.1)
    assert fresh(guarded, before) == []
    assert sum(row["error_code"] == "request.too_large" for row in table(guarded, command)) == 2


@pytest.mark.parametrize("way", [pytest.param("front", marks=behind_nginx), "straight"])
def test_a_client_that_goes_away_while_its_image_is_in_the_flow_has_its_row(
    started: Warehouse, command: Command, tmp_path: Path, way: str
) -> None:
    """Requests wait until the clients have gone, some by closing, some by a reset; then nobody is there for the answers."""
    keys = [key() for _ in range(20)]
    through = Front(tmp_path / "front", started.images_port, started.classify_port) if way == "front" else nullcontext()
    with through as front:
        before = bulletins(started)
        with started.nifi.client() as client:
            gathers = stop_processor(client, "Gather requests")
            port = front.port if front else started.classify_port
            connections = [socket.create_connection(("127.0.0.1", port)) for _ in keys]
            for number, (connection, one) in enumerate(zip(connections, keys, strict=True)):
                picture = numbered(80_000 + 100 * len(way) + number)
                connection.sendall(head(len(picture), "image/jpeg", Idempotency_Key=one) + picture)
            assert until(lambda: queued(client) == len(keys), 30, every=0.1)
            for number, connection in enumerate(connections):
                if number % 2:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()
            if front:
                assert until(lambda: front.reasons()["client_left"] == len(keys))

            def starts() -> bool:  # not while it still stops
                revision = client.get(f"/processors/{gathers['id']}").json()["revision"]
                again = {"revision": revision, "state": "RUNNING"}
                return client.put(f"/processors/{gathers['id']}/run-status", json=again).is_success

            assert until(starts, 30, every=0.2)
        assert until(lambda: is_drained(started.nifi), 60, every=0.1)
        assert post(started.classify, numbered(1), {**JPEG, "Idempotency-Key": (last := key())}).status == 200
        assert fresh(started, before) == []
    found = {row["request_id"]: row["status"] for row in table(started, command)}
    assert found == dict.fromkeys([*keys, last], "classified")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (head(100_000, BOUNDARY) + NO_END, "Processing halted"),
        (head(1, "image/jpeg", "/classify/other") + b"x", "Path Not Found"),
        (head(1, "image/jpeg", method="PATCH") + b"x", "Method Not Allowed"),
    ],
    ids=["broken off", "path", "method"],
)
def test_what_needs_the_front_is_on_the_board(started: Warehouse, request_: bytes, said: str) -> None:
    """So the board is read rightly here; where NiFi takes such a request one day, this says so."""
    before = bulletins(started)
    with socket.create_connection(("127.0.0.1", started.classify_port), timeout=60) as connection:
        connection.sendall(request_)
    assert until(lambda: any(said in one for one in fresh(started, before)), 30, every=0.2), fresh(started, before)
    assert until(lambda: post(started.classify, numbered(1), JPEG).status == 200, 60, every=1)
