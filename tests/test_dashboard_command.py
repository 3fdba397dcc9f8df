"""`imagewarehouse dashboard` beside something that writes rows and classifies: here a service, as a NiFi would be there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image

from imagewarehouse.cli.main import call
from imagewarehouse.ports import free_ports
from tests.running import Service, dashboard, post
from tools.image_seeds import saved

SENDER, READER = "send-0123456789abcdef", "read-0123456789abcdef"
CLIENT = httpx.Client(timeout=60)
KEYS = f"camera:{SENDER} desk/read:{READER}"


def picture(number: int = 0) -> bytes:
    return saved(Image.new("RGB", (40 + number, 40), "teal"), "PNG")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("beside") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def beside(service: Service) -> Iterator[str]:
    log = service.data.parent / "dashboard.log"
    with dashboard(log, "--data", str(service.data), "--classify", service.classify_url) as address:
        yield address


def test_what_is_dropped_on_the_page_is_classified_and_counted(beside: str) -> None:
    answer = CLIENT.post(f"{beside}/classify", content=picture(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    record = answer.json()
    end = time.monotonic() + 5
    while not CLIENT.get(f"{beside}/api/queries/latest").json()["rows"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert CLIENT.get(f"{beside}/api/request/{record['request_id']}").json()["image_id"] == record["image_id"]
    shown = CLIENT.get(f"{beside}/images/{record['image_id']}")
    assert (shown.status_code, shown.content) == (200, picture())
    assert CLIENT.get(f"{beside}/images/{record['image_id']}/thumbnail?size=32").status_code == 200


def test_a_form_goes_through_as_well(beside: str) -> None:
    answer = CLIENT.post(f"{beside}/classify", files={"file": ("a b.png", picture(1), "image/png")})
    assert (answer.status_code, answer.json()["file_name"]) == (200, "a b.png")


def test_what_the_other_server_refuses_comes_back_as_it_said(beside: str, service: Service) -> None:
    answer = CLIENT.post(f"{beside}/classify", content=b"no picture", headers={"Content-Type": "image/png"})
    direct = post(service.classify_url, b"no picture", {"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["error_code"]) == (direct.status, direct.json()["error_code"])
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/classify", {}, 405),
        ("POST", "/classify", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/images", {}, 404),
        ("POST", "/", {}, 404),
        ("GET", "/nothing", {}, 404),
        ("GET", "/metrics", {}, 404),
    ],
)
def test_what_else_is_asked(beside: str, method: str, path: str, headers: dict[str, str], status: int) -> None:
    answer = CLIENT.request(method, f"{beside}{path}", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_its_document_has_what_it_serves(beside: str) -> None:
    about = CLIENT.get(f"{beside}/openapi.json").json()
    OpenAPIV31SpecValidator(about).validate()
    assert "/classify" in about["paths"]
    assert "/images" not in about["paths"]
    assert CLIENT.get(f"{beside}/api/queries").json()["serves"] == ["image", "thumbnail", "classify"]
    assert CLIENT.get(beside).headers["content-type"] == "text/html; charset=utf-8"
    assert CLIENT.get(f"{beside}/health").json() == {"status": "ready"}


def test_without_a_server_that_classifies_it_says_so(tmp_path: Path, service: Service) -> None:
    (port,) = free_ports(1)
    log = tmp_path / "log"
    with dashboard(log, "--data", str(service.data), "--classify", f"http://127.0.0.1:{port}") as address:
        answer = CLIENT.post(f"{address}/classify", content=picture(), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["error_code"]) == (503, "unavailable")
        assert str(port) not in answer.text  # where it is, is for the log
        assert str(port) in log.read_text()


def test_keys(tmp_path: Path, service: Service) -> None:
    arguments = ("--database", str(service.data / "rows.duckdb"), "--classify", service.classify_url)
    with dashboard(tmp_path / "log", *arguments, keys=KEYS) as address:
        assert CLIENT.get(f"{address}/api/queries/totals").status_code == 401
        assert CLIENT.get(f"{address}/api/queries/totals", headers={"X-Access-Key": READER}).status_code == 200
        found = CLIENT.get(f"{address}/api/queries/latest", headers={"X-Access-Key": SENDER}).json()
        assert found["rows"] == []
        headers = {"Content-Type": "image/png"}
        posted = [
            CLIENT.post(f"{address}/classify", content=picture(), headers={**headers, **key}).status_code
            for key in ({}, {"X-Access-Key": READER}, {"X-Access-Key": SENDER})
        ]
        assert posted == [401, 403, 200]
        # Its own pictures alone, also through this server.
        image_id = CLIENT.get(f"{address}/api/queries/latest", headers={"X-Access-Key": READER}).json()["rows"][0][5]
        asked = [
            CLIENT.get(f"{address}/images/{image_id}", headers={"X-Access-Key": key}).status_code
            for key in (READER, SENDER)
        ]
        assert asked == [200, 404]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere"], "--data: nowhere/rows.duckdb does not exist"),
        (["--database", "nowhere.duckdb"], "--database: nowhere.duckdb does not exist"),
        (["--kudu", "a:1", "--impala", "b:2"], "give one of them"),
        (["--impala", "h:21050", "--user", "x"], "Impala"),
        (["--classify", "ftp://x"], "--classify"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    database = tmp_path / "rows.duckdb"
    database.touch()
    more = ["--database", str(database)] if arguments[0] == "--classify" else []
    assert call(["dashboard", *arguments, *more]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["dashboard", "--data", str(service.data), "--port", str(service.classify_port)]) == 2
    assert "--port: 127.0.0.1:" in capsys.readouterr().err
