"""What rows and Solr answer to the same searches over the same records: the same, in the same order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.search.local_index import LocalIndex
from imagewarehouse.search.query import FACETS, Embedding, Found, Index, Search
from tests.solr_images import CLASSES, CONFIGSET, FIRST, index, many_records, open_index
from tests.solr_service import Solr

_RECORDS = many_records(400)
_WORDS = (
    "truck", "trukc", "trcks", "tru", "t", "img 2024", "2024", "0042", "dsc0042", "dsc", "DSC 42", "uberblick", "strasse",
    "STRASSE", "卡车", "照片01", "🚚", "mull", "camera-17", "camera 18", "47/11", "lot", "wheel", "header", "truncatd",
    "image.truncated", "automobil", "autombile", "überschrft", "a1b2c3d4e5f6a7b8", "b2c3d4e5f6", "b2c3d4e5f", "файл", "фаил",
    "works gate", "jpg", "no such word", "***", "AND OR NOT", 'words:* "', "part", "车",
)  # fmt: skip


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    rows = LocalRows(tmp_path_factory.mktemp("rows") / "rows.duckdb")
    assert not any(rows.write(_RECORDS))
    yield LocalIndex(rows.query)
    rows.close()


@pytest.fixture(scope="module")
def one_node(solr_service: Solr) -> Iterator[Index]:
    url = solr_service.core("test-search-equal", CONFIGSET)
    index(url, _RECORDS)
    yield open_index(url)
    solr_service.drop("test-search-equal")


@pytest.fixture(scope="module")
def two_shards(solr_cloud: Solr) -> Index:
    url = f"{solr_cloud.url}/equal"
    assert call(["index", "create", "--solr", url, "--configset", "equal", "--shards", "2"]) == 0
    index(url, _RECORDS)
    return open_index(url)


def _searches(count: int) -> Iterator[Search]:
    """Drawn; most of them find something."""
    draw = random.Random(7)
    networks = [
        ip_network(text) for text in ("10.0.0.0/8", "10.0.0.7/32", "2001:db8::/32", "::/0", "0.0.0.0/0", "::1/128")
    ]
    with_look = [record for record in _RECORDS if record.embedding]
    for _ in range(count):
        asked: dict[str, Any] = {
            "words": lambda: draw.choice(_WORDS),
            "classes": lambda: tuple(draw.sample(CLASSES, 2)),
            "statuses": lambda: ("classified", "failed"),
            "errors": lambda: ("image.truncated",),
            "formats": lambda: ("PNG",),
            "models": lambda: draw.choice([("cifar10",), ("cifar10/3", "other"), ("other/4",)]),
            "users": lambda: ("CN=gate, O=Works", "camera-18"),
            "sources": lambda: tuple(draw.sample(networks, draw.choice([1, 2]))),
            "images": lambda: tuple(record.image_id for record in draw.sample(with_look, 3)),
            "since": lambda: FIRST + timedelta(hours=draw.randrange(60)),
            "until": lambda: FIRST + timedelta(hours=60 + draw.randrange(40)),
            "min_confidence": lambda: draw.choice([0.1, 0.3, 0.9]),
            "max_confidence": lambda: draw.choice([0.9, 1.0]),
            "like": lambda: _look(draw.choice(with_look)),
        }
        likely = {"words": 0.5, "like": 0.3, "images": 0.03, "errors": 0.05}
        chosen = {name: make() for name, make in asked.items() if draw.random() < likely.get(name, 0.12)}
        yield Search(**chosen, facets=tuple(draw.sample(FACETS, 3)), limit=draw.choice([0, 7, 20]))


def _look(record: ImageRecord) -> Embedding:
    assert record.model_name
    assert record.model_version
    assert record.embedding
    return Embedding(record.model_name, record.model_version, record.embedding)


def _pages(searched: Index, search: Search) -> list[Found]:
    found = [searched.search(search)]
    while (cursor := found[-1].next_cursor) is not None:
        assert len(found) < 100
        found.append(searched.search(replace(search, cursor=cursor)))
    return found


@pytest.mark.parametrize("search", list(_searches(150)), ids=range(150))
def test_one_node_finds_what_the_rows_have(local: Index, one_node: Index, search: Search) -> None:
    assert_alike(_pages(local, search), _pages(one_node, search))


@pytest.mark.parametrize("search", list(_searches(40)), ids=range(40))
def test_two_shards_find_what_the_rows_have(local: Index, two_shards: Index, search: Search) -> None:
    assert_alike(_pages(local, search), _pages(two_shards, search))


def assert_alike(expected: list[Found], received: list[Found]) -> None:
    for one, other in zip(expected, received, strict=True):
        assert [hit.record["request_id"] for hit in other.hits] == [hit.record["request_id"] for hit in one.hits]
        assert [hit.record for hit in other.hits] == [hit.record for hit in one.hits]
        assert [hit.similarity for hit in other.hits] == pytest.approx([hit.similarity for hit in one.hits], abs=2e-6)
        assert other.total == one.total
        assert other.facets == one.facets


def test_most_of_these_searches_find_something(local: Index) -> None:
    found = [local.search(search).total for search in _searches(150)]
    assert sum(map(bool, found)) > 75


def test_both_know_the_newest_look_of_a_picture(local: Index, one_node: Index) -> None:
    for image_id in sorted({record.image_id for record in _RECORDS if record.image_id})[::10]:
        assert local.embedding_of(image_id) == one_node.embedding_of(image_id)
