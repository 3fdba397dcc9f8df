"""The read API, its document and the page over HTTP: a real service of several processes, asked by a real client."""

from __future__ import annotations

import csv
import io
import random
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from PIL import Image

from imagewarehouse.analytics.panels import PANELS
from imagewarehouse.analytics.parameters import PARAMETERS
from imagewarehouse.analytics.periods import PERIODS
from imagewarehouse.search.asking import NAMES as SEARCH_PARAMETERS
from imagewarehouse.standalone.openapi import UNITS, document, served_beside
from tests.analytics_rows import TEXTS
from tests.running import Service, post
from tools.image_seeds import saved

WORKERS = {"IMAGEWAREHOUSE_WORKERS": "2" if sys.platform == "linux" else "1"}
SENDER, OTHER, READER, ADMIN = (f"{name}-0123456789abcdef" for name in ("send", "other", "read", "admin"))
# A connection of its own for each request, so that every worker is asked.
CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
KEYS = f"camera:{SENDER} portal:{OTHER} desk/read:{READER} ops/admin:{ADMIN}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("queries") / "data", environment=WORKERS) as running:
        for number in range(3):
            sent(running, number)
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {**WORKERS, "IMAGEWAREHOUSE_ACCESS_KEYS": KEYS}
    with Service(tmp_path_factory.mktemp("guarded") / "data", environment=environment) as running:
        yield running


def sent(service: Service, number: int, key: str | None = None, name: str | None = None) -> dict[str, Any]:
    """Posts a picture and gives its record."""
    content = saved(Image.new("RGB", (40 + number, 40), (number * 40 % 256, 90, 200)), "PNG")
    headers = {"Content-Type": "image/png", **({"X-Access-Key": key} if key else {})}
    if name is not None:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    answer = post(service.classify_url, content, headers)
    assert answer.status == 200, answer.body
    return dict(answer.json())


def url(service: Service, path: str, port: int | None = None) -> str:
    return f"http://127.0.0.1:{port or service.classify_port}{path}"


def figures(service: Service, panel: str, query: str = "", key: str | None = None) -> dict[str, Any]:
    headers = {"X-Access-Key": key} if key else {}
    answer = CLIENT.get(url(service, f"/api/queries/{panel}?{query}"), headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def total(service: Service, key: str | None = None) -> int:
    return next(row[1] for row in figures(service, "totals", "", key)["rows"] if row[0] == "images")


# --- figures ------------------------------------------------------------------------------------------------------


def test_figures_move_after_a_post(service: Service) -> None:
    """Within about a second where nothing else is running: `make bench-dashboard` measures it."""
    for number in range(3):
        before = total(service)
        sent(service, 100 + number)
        until = time.monotonic() + 60
        while (now := total(service)) == before and time.monotonic() < until:
            time.sleep(0.1)
        assert now == before + 1


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_for_every_period_is_as_the_document_says(service: Service, panel: str, period: str) -> None:
    body = figures(service, panel, f"period={period}&tz=Europe/Berlin")
    about = document()
    schema = about["paths"][f"/api/queries/{panel}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    OAS31Validator({**schema, "components": about["components"]}).validate(body)
    assert body["period"]["name"] == period


def test_every_port_and_every_worker_answers(service: Service) -> None:
    def ask(number: int) -> tuple[int, int]:
        port = (service.images_port, service.classify_port)[number % 2]
        answer = CLIENT.get(url(service, "/api/queries/totals", port))
        return answer.status_code, answer.json()["rows"][0][1]

    with ThreadPoolExecutor(8) as pool:  # connections of their own, spread over the workers
        answers = set(pool.map(ask, range(24)))
    assert {status for status, _ in answers} == {200}
    assert min(images for _, images in answers) >= 3


def test_who_has_the_figures_is_told_so(service: Service) -> None:
    address = url(service, "/api/queries/classes?period=yesterday")
    first = CLIENT.get(address)
    assert re.fullmatch(r'W/"[0-9a-f]{32}"', first.headers["etag"])
    assert first.headers["cache-control"] == "private, no-cache"
    assert "X-Access-Key" in first.headers["vary"]
    assert first.headers["x-content-type-options"] == "nosniff"
    for known in (
        first.headers["etag"],
        first.headers["etag"].removeprefix("W/"),
        '"other", ' + first.headers["etag"],
        "*",
    ):
        again = CLIENT.get(address, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert "x-as-of" in again.headers
    assert CLIENT.get(address, headers={"If-None-Match": '"other"'}).status_code == 200


def test_an_answer_says_how_old_it_is(service: Service) -> None:
    address = url(service, "/api/queries/models?period=last-week")
    with httpx.Client(timeout=60) as client:  # one connection, one worker
        client.get(address)
        time.sleep(1.1)
        second = client.get(address)
    assert int(second.headers["age"]) >= 1
    assert second.json()["age_s"] >= 1.1


def test_head_has_no_body(service: Service) -> None:
    told = CLIENT.head(url(service, "/api/queries/classes"))
    assert (told.status_code, told.content) == (200, b"")
    assert int(told.headers["content-length"]) > 100


def test_csv_and_arrow(service: Service) -> None:
    answer = CLIENT.get(url(service, "/api/queries/latest?format=csv&limit=2"))
    head, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert (head[:3], len(rows)) == (["event_time", "request_id", "status"], 2)
    answer = CLIENT.get(url(service, "/api/queries/latest?format=arrow&limit=2"))
    assert pa.ipc.open_stream(answer.content).read_all()["request_id"].to_pylist() == [row[1] for row in rows]


def test_pages_of_the_latest_requests(service: Service) -> None:
    whole = [row[1] for row in figures(service, "latest")["rows"]]
    found, after = [], ""
    while True:
        page = figures(service, "latest", f"limit=2&after={quote(after)}" if after else "limit=2")
        found += [row[1] for row in page["rows"]]
        after = page["facts"].get("after", "")
        if not after:
            break
    assert found[-len(whole) :] == whole


def test_one_request(service: Service) -> None:
    record = sent(service, 7)
    body = CLIENT.get(url(service, f"/api/request/{record['request_id']}")).json()
    assert {name: body[name] for name in record} == record
    assert len(body["top_k"]) == 5
    OAS31Validator({**document()["components"]["schemas"]["Record"]}).validate(record)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/request/0190", 400, "request.bad_parameter"),
        ("/api/request/", 400, "request.bad_parameter"),
        ("/api/request/01a22f87-ff6d-77ca-9b50-49382c3c243e", 404, "request.unknown"),
        ("/api/request/01a22f87-ff6d-77ca-9b50-49382c3c243e?x=1", 400, "request.bad_parameter"),
        ("/api/queries?x=1", 400, "request.bad_parameter"),
        ("/api/queries/", 404, "request.not_found"),
        ("/api/queries/totals/", 404, "request.not_found"),
        ("/api/queries/request", 404, "request.not_found"),
        ("/api/queries/%2e%2e%2fsecret", 404, "request.not_found"),
        ("/api/queries/totals%00", 404, "request.not_found"),
        ("/api/queries/%ff%fe", 404, "request.not_found"),
        ("/api/nothing", 404, "request.not_found"),
        ("/api/", 404, "request.not_found"),
    ],
)  # fmt: skip
def test_what_is_not_there(service: Service, path: str, status: int, code: str) -> None:
    answer = CLIENT.get(url(service, path))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["error_code"] == code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/api/queries/totals", "/api/queries", "/openapi.json", "/api"])
def test_nothing_is_written_here(service: Service, method: str, path: str) -> None:
    answer = CLIENT.request(method, url(service, path))
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_thousand_malformed_requests_are_refused_and_none_is_slow(service: Service) -> None:
    rng = random.Random(2)
    names = [*PARAMETERS, "x", "", "sql", "%E2%80%AE", "a" * 500]
    values = ["", "-1", "1e999", quote("'; DROP TABLE image_events; --"), "%7Bwhere%7D", "%", "%zz", "%00", "%ff", "x" * 5000,
              "null", quote("<script>alert(1)</script>"), "%F0%9F%98%80" * 301]  # fmt: skip
    slow = []
    with httpx.Client(timeout=60) as client:
        for _ in range(1000):
            panel = rng.choice([*PANELS, "x", "%00", "sql"])
            query = "&".join(f"{rng.choice(names)}={rng.choice(values)}" for _ in range(rng.randrange(1, 8)))
            started = time.perf_counter()
            answer = client.get(url(service, f"/api/queries/{panel}?zz=1&{query}"))
            slow.append(time.perf_counter() - started)
            assert 400 <= answer.status_code < 500, (panel, query)
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(answer.content) < 2000
    assert sorted(slow)[990] < 0.25
    assert total(service) >= 3  # nothing was dropped


@pytest.mark.parametrize("text", [*TEXTS, "x" * 200], ids=ascii)
def test_hostile_names_come_back_as_they_were_recorded(service: Service, text: str) -> None:
    record = sent(service, 11, name=text)
    body = CLIENT.get(url(service, f"/api/request/{record['request_id']}")).json()
    assert body["file_name"] == record["file_name"]
    answer = CLIENT.get(url(service, f"/api/queries/latest?class={quote(text, safe='')}&user={quote(text, safe='')}"))
    assert answer.status_code == 200
    assert answer.json()["rows"] == []


# --- who may see what ---------------------------------------------------------------------------------------------


def test_keys_and_scopes(guarded: Service) -> None:
    mine = [sent(guarded, number, SENDER)["request_id"] for number in range(3)]
    theirs = sent(guarded, 9, OTHER)["request_id"]
    assert [total(guarded, key) for key in (SENDER, OTHER, READER, ADMIN)] == [3, 1, 4, 4]
    assert {row[1] for row in figures(guarded, "latest", "", SENDER)["rows"]} == set(mine)
    assert {row[1] for row in figures(guarded, "sources", "", OTHER)["rows"]} == {"portal"}
    address = url(guarded, f"/api/request/{theirs}")
    answers = [CLIENT.get(address, headers={"X-Access-Key": key}) for key in (SENDER, OTHER, READER)]
    assert [answer.status_code for answer in answers] == [404, 200, 200]
    unknown = url(guarded, "/api/request/01a22f87-ff6d-77ca-9b50-49382c3c243e")
    nobodys = CLIENT.get(unknown, headers={"X-Access-Key": SENDER}).json()
    told = answers[0].json()
    assert {**nobodys, "instance": ""} == {**told, "instance": ""}  # whether it exists is not theirs to know
    refused = CLIENT.get(url(guarded, "/api/queries/totals?user=portal"), headers={"X-Access-Key": SENDER})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "request.bad_parameter")
    shown = CLIENT.get(url(guarded, "/api/queries/totals"), headers={"Authorization": f"Bearer {READER}"})
    assert shown.status_code == 200


@pytest.mark.parametrize("path", ["/api/queries", "/api/queries/totals", "/api/request/x", "/api/nothing"])
@pytest.mark.parametrize(("key", "code"), [(None, "access.key_missing"), ("wrong" * 8, "access.key_wrong")])
def test_figures_need_a_key(guarded: Service, path: str, key: str | None, code: str) -> None:
    answer = CLIENT.get(url(guarded, path), headers={"X-Access-Key": key} if key else {})
    assert (answer.status_code, answer.json()["error_code"]) == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/api", "/openapi.json", "/assets/api.css"])
def test_the_page_needs_none(guarded: Service, path: str) -> None:
    assert CLIENT.get(url(guarded, path)).status_code == 200


# --- the page and the document ------------------------------------------------------------------------------------


def test_the_page_is_confined_to_its_origin(service: Service) -> None:
    for port in (service.images_port, service.classify_port):
        answer = CLIENT.get(url(service, "/", port))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self';"
            " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"
        assert CLIENT.get(url(service, "/", port), headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        assert "://" not in re.sub(r'xmlns="[^"]*"', "", answer.text)


def test_the_page_is_told_whether_it_needs_a_key(service: Service, guarded: Service) -> None:
    assert "data-access" not in CLIENT.get(url(service, "/")).text
    assert 'data-access="key"' in CLIENT.get(url(guarded, "/")).text


def test_files_beside_the_page_are_not_served(service: Service) -> None:
    for path in ("/assets/../page_files.py", "/assets/%2e%2e/%2e%2e/service.py", "/index.html/", "/assets/"):
        assert CLIENT.get(url(service, path)).status_code == 404


def test_the_start_says_where_the_page_is(service: Service) -> None:
    lines = service.output().splitlines()
    ready = next(number for number, line in enumerate(lines) if "is ready" in line)
    assert f"http://127.0.0.1:{service.classify_port}/ " in lines[ready + 1]


def test_the_document_is_openapi(service: Service) -> None:
    about = CLIENT.get(url(service, "/openapi.json")).json()
    OpenAPIV31SpecValidator(about).validate()
    assert about == document()
    assert set(about["components"]["parameters"]) == set(PARAMETERS)
    assert {f"/api/queries/{name}" for name in PANELS} < set(about["paths"])
    others = {"/search", "/images", "/classify", "/images/{image_id}", "/images/{image_id}/thumbnail"}
    assert others < set(about["paths"])
    assert [one["name"] for one in about["paths"]["/search"]["get"]["parameters"]] == list(SEARCH_PARAMETERS)
    for units in UNITS.values():
        assert "null" in units[1]["type"]


def test_what_is_served_beside_the_queries(service: Service) -> None:
    listed = CLIENT.get(url(service, "/api/queries")).json()
    about = document()
    of_images = CLIENT.get(url(service, "/api/queries", service.images_port)).json()
    assert of_images == {**listed, "serves": ["search", "image", "thumbnail", "images"]}
    schema = about["paths"]["/api/queries"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    OAS31Validator({**schema, "components": about["components"]}).validate(listed)
    assert listed["serves"] == ["search", "image", "thumbnail", "classify"]
    assert served_beside(document(sending=(), images=False, searches=False), ["/classify"]) == ()
    for port, names in ((service.classify_port, listed), (service.images_port, of_images)):
        assert f'data-serves="{" ".join(names["serves"])}"' in CLIENT.get(url(service, "/", port)).text


@pytest.mark.parametrize(("key", "sends"), [(SENDER, True), (ADMIN, True), (READER, False)])
def test_what_is_served_is_what_the_key_may_ask_for(guarded: Service, key: str, sends: bool) -> None:
    served = CLIENT.get(url(guarded, "/api/queries"), headers={"X-Access-Key": key}).json()["serves"]
    assert served == ["search", "image", "thumbnail", *["classify"] * sends]
    answer = post(guarded.classify_url, b"no picture", {"Content-Type": "image/png", "X-Access-Key": key})
    assert (answer.status == 403) is not sends, answer.body


def test_a_search_is_as_the_document_says(service: Service) -> None:
    about = document()
    schema = about["paths"]["/search"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    found = CLIENT.get(url(service, "/search?facet=predicted_class&facet=day&limit=1")).json()
    assert found["total"] >= 3
    assert found["next_cursor"]
    OAS31Validator({**schema, "components": about["components"]}).validate(found)
    assert set(found) == set(schema["properties"])


@pytest.mark.parametrize("path", sorted(document()["paths"]))
def test_a_refusal_names_only_codes_of_its_operation(path: str) -> None:
    for operation in document()["paths"][path].values():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                codes = answer["description"].removeprefix("One of: ").split(", ")
                assert codes != [""]
                foreign = ("kudu.", "solr.", "package.", "records.")
                assert not [code for code in codes if code.startswith(foreign)], (path, status)


def test_the_document_names_what_is_served_here() -> None:
    about = document(sending=(), images=False, searches=False)
    OpenAPIV31SpecValidator(about).validate()
    assert not [path for path in about["paths"] if not path.startswith("/api/")]


def test_the_page_of_the_document_shows_all_of_it_without_a_script(service: Service) -> None:
    answer = CLIENT.get(url(service, "/api"))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in document()["paths"]:
        assert path in answer.text
    for name in PARAMETERS:
        assert f"<code>{name}</code>" in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
