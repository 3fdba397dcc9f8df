"""GET /search of a real service of several processes: what it finds, whom it answers, and what it refuses."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagewarehouse.rows.embedded import LocalRows
from tests.pictures import numbered
from tests.running import Service, post
from tests.search_indexes import FIRST, record

WORKERS = {"IMAGEWAREHOUSE_WORKERS": "3" if sys.platform == "linux" else "1"}
SENDER, OTHER, READER, ADMIN = (f"{name}-0123456789abcdef" for name in ("send", "other", "read", "admin"))
KEYS = f"camera:{SENDER} portal:{OTHER} desk/read:{READER} ops/admin:{ADMIN}"

RECORDS = [
    record(
        0, file_name="truck.jpg", image_id="a" * 64, embedding=b"\x64\x00", source_user="camera", source_ip="10.0.0.1"
    ),
    record(
        1, file_name="ship.jpg", image_id="b" * 64, embedding=b"\x64\x14", source_user="portal", predicted_class="ship"
    ),
    record(
        2,
        file_name="horse.jpg",
        image_id="c" * 64,
        embedding=b"\x00\x64",
        source_user="camera",
        predicted_class="horse",
    ),
    record(3, file_name="old.jpg", image_id="d" * 64, source_user="camera", predicted_class="a, b & c"),
    record(4, file_name="broken.jpg", status="rejected", error_code="image.truncated", source_user="portal"),
]


def filled(data: Path) -> Path:
    data.mkdir(parents=True)
    rows = LocalRows(data / "rows.duckdb")
    rows.write(RECORDS)
    rows.close()
    return data


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(filled(tmp_path_factory.mktemp("search") / "data"), environment=WORKERS) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {**WORKERS, "IMAGEWAREHOUSE_ACCESS_KEYS": KEYS}
    with Service(filled(tmp_path_factory.mktemp("guarded-search") / "data"), environment=environment) as running:
        yield running


def get(service: Service, query: str = "", key: str | None = None, method: str = "GET") -> httpx.Response:
    url = f"http://127.0.0.1:{service.images_port}/search{query}"
    return httpx.request(method, url, headers={"X-Access-Key": key} if key else {}, timeout=60)


def found(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["file_name"] for hit in answer.json()["hits"]]


# --- what is found ------------------------------------------------------------------------------------------------


def test_a_page_with_facets_and_the_next_one(service: Service) -> None:
    answer = get(service, "?facet=predicted_class,status&limit=2&until=2026-11-02&class=")
    body = answer.json()
    assert {name: answer.headers[name] for name in ("content-type", "cache-control", "x-content-type-options")} == {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    assert (found(answer), body["total"]) == (["broken.jpg", "old.jpg"], 5)
    assert body["facets"] == {
        "predicted_class": [{"value": value, "count": 1} for value in ("a, b & c", "horse", "ship", "truck")],
        "status": [{"value": "classified", "count": 4}, {"value": "rejected", "count": 1}],
    }
    second = get(service, body["next"].removeprefix("/search"))
    assert (found(second), second.json()["facets"]) == (["horse.jpg", "ship.jpg"], body["facets"])
    last = get(service, second.json()["next"].removeprefix("/search"))
    assert (found(last), last.json()["next"], last.json()["next_cursor"]) == (["truck.jpg"], None, None)


def test_a_hit_is_the_record(service: Service) -> None:
    (hit,) = get(service, f"?image={'a' * 64}").json()["hits"]
    assert hit["request_id"] == RECORDS[0].request_id
    assert hit["event_time"] == "2026-11-01T00:00:00.000000Z"
    assert (hit["confidence"], hit["error_code"]) == (0.875, None)
    assert not {"embedding", "total_ms", "node", "similarity"} & set(hit)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("?q=trukc", ["truck.jpg"], id="words"),
        pytest.param("?q=trukc&model=&class=&min_confidence=+&since=&limit", ["truck.jpg"], id="blanks"),
        pytest.param("?q=%F0%9F%9A%9A", [], id="emoji"),
        pytest.param("?class=truck&class=ship", ["ship.jpg", "truck.jpg"], id="repeated"),
        pytest.param("?class=truck,ship", [], id="a-class-with-a-comma"),
        pytest.param("?class=a,+b+%26+c", ["old.jpg"], id="a-class-that-is-there"),
        pytest.param("?status=rejected,failed", ["broken.jpg"], id="commas"),
        pytest.param("?error=image.truncated", ["broken.jpg"], id="error"),
        pytest.param("?source=10.0.0.0/8,::/0", ["truck.jpg"], id="networks"),
        pytest.param("?user=portal", ["broken.jpg", "ship.jpg"], id="user"),
        pytest.param("?since=2026-11-01T04:00:00%2B01:00&status=classified", ["old.jpg"], id="time-with-a-zone"),
        pytest.param("?since=2026-11-01T04:00:00+01:00&status=classified", ["old.jpg"], id="time-with-a-plus"),
        pytest.param("?min_confidence=.9", [], id="confidence"),
        pytest.param("?model=cifar10/3&format=JPEG&max_confidence=0.9&limit=1", ["old.jpg"], id="several"),
        pytest.param(f"?like={'A' * 64}", ["truck.jpg", "ship.jpg", "horse.jpg"], id="like"),
        pytest.param(f"?like={'a' * 64}&class=ship", ["ship.jpg"], id="like-and-class"),
    ],
)
def test_parameters(service: Service, query: str, expected: list[str]) -> None:
    assert found(get(service, query)) == expected


def test_likeness_is_shown(service: Service) -> None:
    hits = get(service, f"?like={'a' * 64}").json()["hits"]
    assert [hit["similarity"] for hit in hits] == pytest.approx([1.0, 0.980581, 0.0], abs=2e-6)


def test_a_time_ago_is_one_before_now(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows, now = LocalRows(data / "rows.duckdb"), datetime.now(timezone.utc)
    ages = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=6.9)}
    rows.write([record((now - age - FIRST) / timedelta(hours=1), file_name=name) for name, age in ages.items()])
    rows.close()
    with Service(data) as running:
        for since, expected in (
            ("30m", []),
            ("12h", ["hour"]),
            ("2d", ["hour", "day"]),
            ("1w", ["hour", "day", "week"]),
        ):
            assert found(get(running, f"?since={since}")) == expected
        assert found(get(running, "?until=2d")) == ["week"]
        first = get(running, "?since=2d&limit=1").json()
        assert found(get(running, first["next"].removeprefix("/search"))) == ["day"]


def test_what_was_just_sent_is_found_by_every_worker(service: Service) -> None:
    answer = post(service.classify_url, numbered(4711), {"Content-Type": "image/jpeg"})
    request_id = answer.json()["request_id"]
    assert request_id
    query = f"?image={answer.json()['image_id']}&facet=status"
    with ThreadPoolExecutor(8) as pool:  # connections of their own, spread over the workers
        answers = list(pool.map(lambda _: get(service, query), range(24)))
    assert {one.status_code for one in answers} == {200}
    assert {hit["request_id"] for one in answers for hit in one.json()["hits"]} == {request_id}
    for port in (service.images_port, service.classify_port):
        assert httpx.get(f"http://127.0.0.1:{port}/search{query}").json()["total"] == 1
    assert 'listener="GET /search"' in httpx.get(f"http://127.0.0.1:{service.images_port}/metrics").text
    assert f"http://127.0.0.1:{service.images_port}/search" in service.output()


def test_head_is_get_without_its_body(service: Service) -> None:
    asked, told = get(service, "?q=truck"), get(service, "?q=truck", method="HEAD")
    assert (told.status_code, told.content) == (200, b"")
    assert told.headers["content-length"] == str(len(asked.content))


# --- who may ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(SENDER, ["old.jpg", "horse.jpg", "truck.jpg"], id="its-own"),
        pytest.param(OTHER, ["broken.jpg", "ship.jpg"], id="its-own-2"),
        pytest.param(READER, ["broken.jpg", "old.jpg", "horse.jpg", "ship.jpg", "truck.jpg"], id="read"),
        pytest.param(ADMIN, ["broken.jpg", "old.jpg", "horse.jpg", "ship.jpg", "truck.jpg"], id="admin"),
    ],
)
def test_a_key_finds_what_it_may_read(guarded: Service, key: str, expected: list[str]) -> None:
    answer = get(guarded, "?facet=source_user&limit=1", key)
    assert answer.json()["total"] == len(expected)
    names = found(answer)
    while (following := answer.json()["next"]) is not None:
        answer = get(guarded, following.removeprefix("/search"), key)
        names += found(answer)
    assert names == expected
    users = {one["value"] for one in answer.json()["facets"]["source_user"]}
    assert users == {r.source_user for r in RECORDS if r.file_name in expected}


def test_a_sender_cannot_ask_for_others(guarded: Service) -> None:
    assert get(guarded, "?user=portal&facet=status", SENDER).json() == {
        "total": 0, "hits": [], "facets": {"status": []}, "next_cursor": None, "next": None, "note": None,
    }  # fmt: skip
    assert found(get(guarded, "?user=portal&user=camera&class=truck", SENDER)) == ["truck.jpg"]
    assert found(get(guarded, f"?like={'a' * 64}", SENDER)) == ["truck.jpg", "horse.jpg"]
    cursor = get(guarded, "?limit=1", READER).json()["next_cursor"]
    assert get(guarded, f"?cursor={cursor}", SENDER).status_code == 400


def test_whether_others_have_sent_a_picture_is_not_told(guarded: Service) -> None:
    """Neither by an answer nor by how much it looks like one's own."""
    answers = [get(guarded, f"?like={image_id * 64}", SENDER) for image_id in ("b", "e", "d")]
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert answers[0].json()["note"].startswith("it is not known")
    assert answers[0].json()["hits"] == []
    assert get(guarded, f"?like={'b' * 64}", READER).status_code == 200


@pytest.mark.parametrize(
    ("key", "code"), [(None, "access.key_missing"), ("wrong-0123456789abcdef", "access.key_wrong")]
)
def test_without_a_key_nothing_is_found(guarded: Service, key: str | None, code: str) -> None:
    answer = get(guarded, "?q=truck", key)
    assert (answer.status_code, answer.json()["error_code"]) == (401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_is_only_read(service: Service, method: str) -> None:
    answer = get(service, "?q=x", method=method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error_code"] == "request.method_not_allowed"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        pytest.param("?colour=red", "colour: is no parameter", id="unknown"),
        pytest.param("?q=a&q=b", "q: is given 2 times", id="doubled"),
        pytest.param("?limit=1&limit=1", "limit: is given 2 times", id="doubled-limit"),
        pytest.param("?limit=101", "limit: expected 0 to 100", id="limit"),
        pytest.param("?limit=-1", "limit: expected a whole number", id="negative"),
        pytest.param("?limit=%D9%A3", "limit: expected a whole number", id="arabic-digit"),
        pytest.param("?since=yesterday", "since: expected a time", id="no-time"),
        pytest.param("?since=99999999999999w", "since: expected a time", id="before-all-time"),
        pytest.param("?until=7d&since=1d", "until: is not after since", id="no-time-between"),
        pytest.param("?status=new", "status: expected one of", id="status"),
        pytest.param("?facet=file_name", "facet: expected one of", id="facet"),
        pytest.param("?source=10.0.0.0/99", "source: '10.0.0.0/99' is not an address", id="network"),
        pytest.param(
            "?source=" + ",".join(f"10.0.0.{n}" for n in range(101)), "source: expected at most 100", id="addresses"
        ),
        pytest.param("?min_confidence=%D9%A0", "min_confidence: expected 0.0-1.0", id="arabic-confidence"),
        pytest.param("?min_confidence=2", "min_confidence: expected 0.0-1.0", id="confidence"),
        pytest.param("?min_confidence=nan", "min_confidence: expected 0.0-1.0", id="no-number"),
        pytest.param("?max_confidence=1e-1", "max_confidence: expected 0.0-1.0", id="exponent"),
        pytest.param("?min_confidence=.9&max_confidence=.1", "max_confidence: is less", id="none-between"),
        pytest.param("?like=56d2", "like: expected an image_id", id="beginning-of-an-id"),
        pytest.param("?image=x", "image: expected an image_id", id="no-id"),
        pytest.param("?q=%ff", "query: expected percent-encoded UTF-8", id="no-utf-8"),
        pytest.param("?cursor=abc", "cursor: is none of this search", id="cursor"),
        pytest.param(f"?q={'x' * 1001}", "q: expected at most 1000 characters", id="long"),
        pytest.param("?q=" + "+".join(f"w{n}" for n in range(17)), "q: expected at most 16 words", id="many-words"),
        pytest.param(
            "?" + "&".join("class=x" for _ in range(801)),
            "query: expected at most 800 parameters",
            id="many-parameters",
        ),
    ],
)
def test_bad_parameters_are_named(service: Service, query: str, why: str) -> None:
    answer = get(service, query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "request.bad_parameter")
    assert answer.json()["detail"].startswith(why), answer.text
    assert answer.json()["instance"] == "/search"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


def test_an_image_without_a_look(service: Service) -> None:
    for image_id in ("d" * 64, "9" * 64):
        answer = get(service, f"?like={image_id}")
        assert (answer.status_code, answer.json()["hits"], answer.json()["total"]) == (200, [], 0)
        assert answer.json()["note"].startswith("it is not known")


@pytest.mark.parametrize("path", ["/search/", "/searching", "/Search", "//search"])
def test_other_paths_are_not_served_here(service: Service, path: str) -> None:
    assert httpx.get(f"http://127.0.0.1:{service.images_port}{path}").status_code in (404, 405)


def test_a_thousand_malformed_requests(service: Service) -> None:
    """Bytes drawn around well-formed ones: each gets an answer that blames the request, or finds something."""
    draw = random.Random(11)
    names = [
        "q",
        "class",
        "since",
        "until",
        "like",
        "cursor",
        "limit",
        "facet",
        "source",
        "min_confidence",
        "user",
        "x",
        "",
    ]
    texts = [
        "' OR 1=1", "%00", "%ff%fe", "%F0%9F%9A%9A", "*:*", "{!lucene}x", "9" * 400, "-1", "1e999", "nan", "7d", "%0d%0aX:1",
        "../../etc/passwd", "<script>", "%", "%zz", "a" * 3000, "%E2%80%AE", "[]", "10.0.0.0/8", "0", "W251bGwsMSwyLDNd", "{}",
    ]  # fmt: skip
    statuses: dict[int, int] = {}
    for _ in range(1000):
        query = "&".join(f"{draw.choice(names)}={draw.choice(texts)}" for _ in range(draw.randrange(1, 5)))
        junk = "".join(chr(draw.randrange(33, 127)) for _ in range(draw.randrange(6))).replace("#", "")
        head = f"GET /search?{query}{junk} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", service.images_port), timeout=30) as client:
            client.sendall(head.encode())
            received = client.recv(1 << 16)
        status = int(received.split(b" ", 2)[1])
        statuses[status] = statuses.get(status, 0) + 1
        assert status in (200, 400, 404), (head, received[:500])
    assert statuses[400] > 800
    assert get(service, "?q=truck").json()["total"] >= 1


def test_many_at_once_are_told_to_wait_or_are_answered(service: Service) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers: list[Any] = list(pool.map(lambda n: get(service, f"?q=truck{n}&facet=status"), range(120)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert (answer.json()["error_code"], answer.headers["retry-after"]) == ("busy", "5")
    assert sum(answer.status_code == 200 for answer in answers) > 40


def test_rows_elsewhere_are_not_searched_here() -> None:
    """Rows in Kudu, and no Solr: there is nothing that answers, and it is said."""
    import asyncio

    from imagewarehouse.access import AccessKeys
    from imagewarehouse.standalone.searching import Searches
    from imagewarehouse.standalone.server import Headers, Request

    request = Request(None, "GET", "/search?q=x", Headers([]), "127.0.0.1")  # type: ignore[arg-type]
    searches = Searches(None, AccessKeys.parse(""))
    answer = asyncio.run(searches.answer(request))
    searches.close()
    assert answer is not None
    assert answer.status == 501
    assert isinstance(answer.body, bytes)
    assert b'"error_code":"search.not_configured"' in answer.body
    assert b"solr.url is not set" in answer.body
