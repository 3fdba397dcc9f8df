"""Searching with Solr, by GET /search of a service that has one and by the command: a real Solr with the shipped configset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.ports import free_ports
from tests.running import Service
from tests.search_indexes import record
from tests.solr_images import CONFIGSET, index
from tests.solr_service import Solr

READER, SENDER = "reader-0123456789abcdef", "sender-0123456789abcdef"
RECORDS = [
    record(0, file_name="truck.jpg", image_id="a" * 64, embedding=b"\x64\x00", source_user="camera"),
    record(
        1, file_name="ship.jpg", image_id="b" * 64, embedding=b"\x64\x14", predicted_class="ship", source_user="portal"
    ),
    record(
        2,
        file_name="trucks.jpg",
        image_id="c" * 64,
        predicted_class="horse",
        source_ip="10.0.0.1",
        source_user="camera",
    ),
]


@pytest.fixture(scope="module")
def collection(solr_service: Solr) -> Iterator[str]:
    url = solr_service.core("test-search-front", CONFIGSET)
    index(url, RECORDS)
    yield url
    solr_service.drop("test-search-front")


@pytest.fixture(scope="module")
def service(collection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {"IMAGEWAREHOUSE_ACCESS_KEYS": f"desk/read:{READER} camera:{SENDER}", "IMAGEWAREHOUSE_WORKERS": "1"}
    data = tmp_path_factory.mktemp("search-solr") / "data"
    with Service(data, {"solr.url": collection}, environment) as running:
        yield running


def get(service: Service, query: str, key: str = READER) -> httpx.Response:
    url = f"http://127.0.0.1:{service.images_port}/search{query}"
    return httpx.get(url, headers={"X-Access-Key": key}, timeout=60)


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["file_name"] for hit in answer.json()["hits"]]


def test_a_service_with_solr_searches_there(service: Service) -> None:
    """Its rows are empty."""
    answer = get(service, "?q=truck&facet=predicted_class&limit=1")
    assert names(answer) == ["truck.jpg"]
    body = answer.json()
    assert (body["total"], body["facets"]) == (
        2,
        {"predicted_class": [{"value": "horse", "count": 1}, {"value": "truck", "count": 1}]},
    )
    assert body["hits"][0]["highlights"]["file_name"] == ["\ue000truck\ue001.jpg"]
    assert names(get(service, body["next"].removeprefix("/search"))) == ["trucks.jpg"]


def test_likeness_and_networks(service: Service) -> None:
    answer = get(service, f"?like={'a' * 64}")
    assert names(answer) == ["truck.jpg", "ship.jpg"]
    assert [hit["similarity"] for hit in answer.json()["hits"]] == pytest.approx([1.0, 0.980581], abs=2e-6)
    assert names(get(service, "?source=10.0.0.0/24")) == ["trucks.jpg"]
    assert get(service, f"?like={'c' * 64}").json()["note"].startswith("it is not known")


def test_a_sender_finds_its_own_in_solr(service: Service) -> None:
    answer = get(service, "?facet=source_user", SENDER)
    assert names(answer) == ["trucks.jpg", "truck.jpg"]
    assert answer.json()["facets"] == {"source_user": [{"value": "camera", "count": 2}]}
    assert get(service, f"?like={'b' * 64}", SENDER).json()["note"].startswith("it is not known")
    assert names(get(service, f"?like={'a' * 64}", SENDER)) == ["truck.jpg"]


def test_a_solr_that_is_away_is_said_without_its_address(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with Service(tmp_path / "data", {"solr.url": f"http://127.0.0.1:{port}/solr/images"}) as running:
        answer = get(running, "?q=truck")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "solr.unavailable")
    assert answer.headers["retry-after"] == "5"
    assert str(port) not in answer.text


def test_the_command_searches_in_solr(collection: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--data", str(tmp_path), "--solr", collection, "--json"]
    assert call([*words, "truck"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {hit["file_name"] for hit in found} == {"truck.jpg", "trucks.jpg"}
    assert call([*words, "--like", "b" * 64, "--facet", "model"]) == 0
    *hits, counted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [hit["file_name"] for hit in hits] == ["ship.jpg", "truck.jpg"]
    assert counted["facets"] == {"model": [{"value": "cifar10/3", "count": 2}]}
    assert call([*words, "--like", "b" * 8]) == 2
    assert "of an image in Solr the whole image_id is needed" in capsys.readouterr().err


def test_the_command_says_that_solr_is_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    assert call(["search", "--data", str(tmp_path), "--solr", f"http://127.0.0.1:{port}/solr/images"]) == 2
    assert str(port) in capsys.readouterr().err
