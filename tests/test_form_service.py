"""Forms sent to the running service by the clients that people have."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from imagewarehouse.ids import new_request_id, request_id_from_key
from tests.conftest import until
from tests.forms import BOUNDARY, COVERED, EMPTY_INPUT, FORM, file, form, part, text
from tests.pictures import numbered
from tests.running import Service, post

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
Sent = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("forms") / "data", {"intake.keep.fields": "part, lot"}) as running:
        yield running


def by_httpx(url: str, content: bytes, name: str, folder: Path) -> Sent:
    fields, files = {"part": "Größe 7", "lot": "8", "note": "x" * 100_000}, {"file": (name, content, "image/jpeg")}
    answer = httpx.post(url, data=fields, files=files, timeout=60)
    return answer.status_code, answer.json()


def by_aiohttp(url: str, content: bytes, name: str, folder: Path) -> Sent:
    async def send() -> Sent:
        data = aiohttp.FormData({"part": "Größe 7", "lot": "8"}, quote_fields=False)
        data.add_field("file", content, filename=name, content_type="image/jpeg")
        async with aiohttp.ClientSession() as session, session.post(url, data=data) as answer:
            return answer.status, await answer.json(content_type=None)

    return asyncio.run(send())


def by_curl(url: str, content: bytes, name: str, folder: Path) -> Sent:
    (folder / name).write_bytes(content)
    return curl(url, "-F", "part=Größe 7", "-F", "lot=8", "-F", f"file=@{folder / name}")


def curl(url: str, *arguments: str) -> Sent:
    command = ["curl", "-sS", "-w", "\n%{http_code}", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def by_a_browser(url: str, content: bytes, name: str, folder: Path) -> Sent:
    parts = [text("part", "Größe 7"), EMPTY_INPUT, file(content, name, "image/jpeg"), text("lot", "8")]
    return answered(url, form(parts))


def by_a_front(url: str, content: bytes, name: str, folder: Path) -> Sent:
    parts = [text("part", "Größe 7"), file(content, name, None), text("lot", "8")]
    return answered(url, form(parts), {"Content-Type": COVERED, "X-Form-Content-Type": FORM})


def answered(url: str, body: bytes, headers: dict[str, str] | None = None) -> Sent:
    answer = post(url, body, headers or {"Content-Type": FORM})
    return answer.status, answer.json()


CLIENTS = [
    pytest.param(by_httpx, id="httpx"),
    pytest.param(by_aiohttp, id="aiohttp"),
    pytest.param(by_curl, id="curl", marks=needs_curl),
    pytest.param(by_a_browser, id="browser"),
    pytest.param(by_a_front, id="front"),
]
clients = pytest.mark.parametrize("client", CLIENTS)


def row(service: Service, request_id: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = service.rows(f"SELECT * FROM image_events WHERE request_id = '{request_id}'")
        return bool(found)

    assert until(there, 20, every=0.1), f"no row {request_id}"
    return found[0]


@clients
def test_one_file_with_text_fields_is_classified(service: Service, tmp_path: Path, client: Callable[..., Sent]) -> None:
    content = numbered(200)
    status, record = client(service.classify_url, content, "bär 1.jpg", tmp_path)
    assert (status, record["status"], record["file_name"]) == (200, "classified", "bär 1.jpg")
    assert record["image_id"] == hashlib.sha256(content).hexdigest()
    assert record["fields"] == {"part": "Größe 7", "lot": "8"}
    found = row(service, record["request_id"])
    assert json.loads(found["fields"]) == record["fields"]


@clients
def test_one_file_with_text_fields_is_one_row(service: Service, tmp_path: Path, client: Callable[..., Sent]) -> None:
    before = service.count()
    status, answer = client(service.images_url, numbered(201), "bär 2.jpg", tmp_path)
    assert status == 202
    found = row(service, answer["request_id"])
    assert (found["status"], found["file_name"]) == ("classified", "bär 2.jpg")
    assert json.loads(found["fields"]) == {"part": "Größe 7", "lot": "8"}
    assert service.count() == before + 1


def test_a_part_number_is_found(service: Service) -> None:
    body = form([text("part", "47/11-08"), file(numbered(202), "a.jpg", "image/jpeg")])
    assert answered(service.classify_url, body)[0] == 200
    found = service.rows("SELECT file_name FROM image_events WHERE fields->>'part' = '47/11-08'")
    assert found == [{"file_name": "a.jpg"}]


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        pytest.param(b'filename="b\xe4r.jpg"', "bär.jpg", id="latin-1"),
        pytest.param(b'filename="' + "表.jpg".encode("shift_jis") + b'"', None, id="shift-jis"),
        pytest.param(b'filename="' + "文件.jpg".encode("gbk") + b'"', None, id="gbk"),
        pytest.param(b"filename*=UTF-8''%E2%82%AC.jpg", "€.jpg", id="extended-only"),
        pytest.param(b"filename=\"x.jpg\"; filename*=UTF-8''%E2%82%AC.jpg", "€.jpg", id="both"),
        pytest.param(b'filename="a%22b.jpg"', 'a"b.jpg', id="quote"),
        pytest.param(b'filename="../../etc/passwd"', "passwd", id="path"),
    ],
)
def test_a_name_is_kept_and_never_refused(service: Service, raw: bytes, name: str | None) -> None:
    body = form([part(b'name="file"; ' + raw, numbered(203), "image/jpeg")])
    status, record = answered(service.classify_url, body)
    assert status == 200
    assert record["file_name"]
    assert name is None or record["file_name"] == name


@pytest.mark.parametrize("declared", ["application/octet-stream", "image/*", None])
def test_a_part_without_a_type_is_judged_by_its_content_and_a_raw_body_is_not(
    service: Service, declared: str | None
) -> None:
    assert answered(service.classify_url, form([file(numbered(204), "IMG_1", declared)]))[0] == 200
    raw = post(service.classify_url, numbered(204), {"Content-Type": declared} if declared else {})
    assert raw.status == 415


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        pytest.param([text("part", "1")], "request.not_a_file", id="no-file"),
        pytest.param([EMPTY_INPUT], "request.not_a_file", id="empty-input"),
        pytest.param([file(b"")], "request.no_body", id="empty-file"),
        pytest.param([file(numbered(1)), file(numbered(2))], "request.too_many_parts", id="two-files"),
        pytest.param([], "request.malformed_multipart", id="no-parts"),
    ],
)
def test_classify_wants_exactly_one_file(service: Service, parts: list[bytes], code: str) -> None:
    status, problem = answered(service.classify_url, form(parts))
    assert (status, problem["error_code"]) == (400, code)
    found = row(service, problem["request_id"])
    assert (found["status"], found["error_code"]) == ("rejected", code)


def test_images_takes_several_files_with_their_fields_again_and_again(service: Service) -> None:
    key = new_request_id(datetime.now(timezone.utc))
    body = form([text("lot", "9"), *(file(numbered(300 + n), f"{n}.jpg", "image/jpeg") for n in range(3)), EMPTY_INPUT])
    for _ in range(2):
        assert answered(service.images_url, body, {"Content-Type": FORM, "Idempotency-Key": key}) == (
            202, {"request_id": key},
        )  # fmt: skip
    for number in (1, 2, 3):
        found = row(service, request_id_from_key(key, datetime.now(timezone.utc), number))
        assert (found["status"], found["file_name"]) == ("classified", f"{number - 1}.jpg")
    assert service.count("fields->>'lot' = '9'") == 3


@needs_curl
def test_curl_sends_several_files(service: Service, tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / f"c{n}.jpg").write_bytes(numbered(310 + n))
    files = [argument for n in range(2) for argument in ("-F", f"file=@{tmp_path / f'c{n}.jpg'}")]
    status, _ = curl(service.images_url, *files, "-F", "lot=curl")
    assert status == 202
    assert until(lambda: service.count("fields->>'lot' = 'curl'") == 2, 20, every=0.1)


def test_a_form_that_cannot_be_read_is_told_and_recorded(service: Service) -> None:
    body = form([file(numbered(1))])[:-10]
    for url in (service.images_url, service.classify_url):
        status, problem = answered(url, body)
        assert (status, problem["error_code"]) == (400, "request.malformed_multipart")
        assert row(service, problem["request_id"])["error_code"] == "request.malformed_multipart"


def test_a_large_form_is_taken_apart(service: Service) -> None:
    """Above 64 KB it is looked at off the event loop."""
    body = form([text("lot", "large"), *(file(numbered(400 + n, (600, 400))) for n in range(40))])
    assert len(body) > 150_000
    assert answered(service.images_url, body.replace(b"image/png", b"image/jpeg"))[0] == 202
    assert until(lambda: service.count("fields->>'lot' = 'large' AND status = 'classified'") == 40, 30, every=0.1)


def test_a_form_is_journalled_as_it_came(tmp_path: Path) -> None:
    """What is acknowledged survives a crash as one entry, and a replay writes the same rows."""
    key = new_request_id(datetime.now(timezone.utc))
    images = [numbered(500 + n) for n in range(2)]
    body = form([text("part", "1"), *(file(image, f"{n}.jpg", "image/jpeg") for n, image in enumerate(images))])
    in_the_way = tmp_path / "data" / "objects" / hashlib.sha256(images[1]).hexdigest()[:2]
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("the second image cannot be stored, so the form stays under way")
    service = Service(tmp_path / "data", {"intake.keep.fields": "part"})
    with service:
        assert answered(service.images_url, body, {"Content-Type": FORM, "Idempotency-Key": key})[0] == 202
        service.kill()
    kept = []
    for path in (tmp_path / "data").glob("journal*.sqlite"):  # each worker has one
        with closing(sqlite3.connect(path)) as journal:
            kept += [bytes(content) for (content,) in journal.execute("SELECT content FROM entries")]
    assert kept == [body]
    in_the_way.unlink()
    with service as running:
        for number in (1, 2):
            found = row(running, request_id_from_key(key, datetime.now(timezone.utc), number))
            assert (found["status"], found["fields"]) == ("classified", '{"part": "1"}')
        assert running.count() == 2


def test_the_boundary_may_be_quoted_and_the_type_in_capitals(service: Service) -> None:
    body = form([file(numbered(1), content_type="image/jpeg")])
    declared = f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"'
    assert answered(service.classify_url, body, {"Content-Type": declared})[0] == 200


# --- from pages of other sites ---------------------------------------------------------------------------------------

OF_ANOTHER_SITE = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}


def test_a_page_of_another_site_may_send_where_there_are_no_keys_and_reads_nothing(service: Service) -> None:
    answer = httpx.post(
        service.classify_url, files={"file": ("a.jpg", numbered(1))}, headers=OF_ANOTHER_SITE, timeout=60
    )
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_a_page_of_another_site_has_no_key(tmp_path: Path) -> None:
    key = "send-0123456789abcdef"
    with Service(tmp_path / "data", environment={"IMAGEWAREHOUSE_ACCESS_KEYS": f"camera:{key}"}) as running:
        fields = {"X-Access-Key": key, "Authorization": f"Bearer {key}"}
        files = {"file": ("a.jpg", numbered(1))}
        url = f"{running.classify_url}?X-Access-Key={key}"
        answer = httpx.post(running.classify_url, data=fields, files=files, headers=OF_ANOTHER_SITE, timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "access.key_missing")
        assert httpx.post(url, files=files, headers=OF_ANOTHER_SITE, timeout=60).status_code in (401, 404)
        asked = {
            **OF_ANOTHER_SITE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-access-key",
        }
        told = httpx.options(running.classify_url, headers=asked, timeout=60)  # what a browser asks before a script may
        assert told.status_code >= 400
        assert "access-control-allow-origin" not in told.headers
        assert running.count("status = 'classified'") == 0
