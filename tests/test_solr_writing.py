"""Many updates in few requests, on a real Solr: each bad one costs itself only, and every other one is done once."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from imagewarehouse.errors import WarehouseError
from imagewarehouse.solr.client import Collection
from imagewarehouse.solr.client import Solr as Client
from imagewarehouse.solr.settings import SolrSettings, parse_address
from imagewarehouse.solr.updates import Update, add
from imagewarehouse.solr.writing import Writing, write
from tests.solr_service import Solr, found

TOLERANT = (("update.chain", "tolerant"),)


@dataclass
class Counting(Collection):
    """A collection that counts its requests."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(client, name)
        self.requests = 0

    def post(self, *args: Any, **more: Any) -> bytes:
        self.requests += 1
        return super().post(*args, **more)


@pytest.fixture(scope="module")
def sharded(solr_cloud: Solr) -> str:
    """A collection whose documents are on two nodes."""
    return solr_cloud.collection("sharded", "records", shards=2)


@pytest.fixture(params=["one-node", "two-shards", "tolerant", "tolerant-cloud", "no-update-log"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, solr_service: Solr, tmp_path: Any) -> Iterator[str]:
    if kind in ("two-shards", "tolerant-cloud"):
        yield (url := request.getfixturevalue("sharded"))
        open_collection(url).delete(q="*:*", commit=True)
    elif kind == "no-update-log":
        yield request.getfixturevalue("solr_without_log")
    else:
        yield request.getfixturevalue("solr")


@pytest.fixture
def solr_without_log(solr_service: Solr, tmp_path: Any) -> Iterator[str]:
    from tests.solr_service import RECORDS

    for path in RECORDS.iterdir():
        text = path.read_text()
        if "<updateLog>" in text:
            text = text[: text.index("<updateLog>")] + text[text.index("</updateLog>") + len("</updateLog>") :]
        (tmp_path / path.name).write_text(text)
    yield solr_service.core("no-log", tmp_path)
    solr_service.drop("no-log")


def open_collection(url: str) -> Counting:
    client = Client(SolrSettings(parse_address(url, "Solr URL")))
    return Counting(client, client.settings.address.collection)


@pytest.fixture
def collection(url: str) -> Counting:
    return open_collection(url)


@pytest.fixture
def how(kind: str) -> Writing:
    return Writing(batch=1000, params=TOLERANT if kind.startswith("tolerant") else ())


def document(number: int, **more: Any) -> Update:
    return add({"id": f"d{number:05}", "owner": "somebody", "count": number, **more})


def codes(outcomes: Sequence[WarehouseError | None]) -> dict[int, str]:
    return {number: outcome.code for number, outcome in enumerate(outcomes) if outcome is not None}


def test_ten_bad_documents_of_a_thousand_cost_themselves_and_few_requests(
    collection: Counting, url: str, how: Writing, kind: str
) -> None:
    bad = set(random.Random(7).sample(range(1000), 10))
    updates = [document(n, **({"count": "many"} if n in bad else {})) for n in range(1000)]
    outcomes = write(collection, updates, how)
    assert codes(outcomes) == dict.fromkeys(sorted(bad), "solr.wrong_value")
    assert [d["count"] for d in found(url)] == [n for n in range(1000) if n not in bad]
    print(kind, collection.requests)
    assert collection.requests <= {"one-node": 40, "two-shards": 120, "no-update-log": 200}.get(kind, 2)
