"""What is peculiar to searching in Solr: its errors, what it lets nobody do, highlights, values that look like its syntax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from imagewarehouse.errors import BadParameter, SearchUnavailable
from imagewarehouse.search.cursors import cursor_of
from imagewarehouse.search.highlights import END, MARK
from imagewarehouse.search.query import MOST_ALIKE, MOST_CHOICES, Embedding, Index, Search
from imagewarehouse.search.solr_index import SolrIndex
from imagewarehouse.solr.settings import SolrSettings, parse_address
from tests.search_indexes import look, record
from tests.solr_images import CONFIGSET, index, open_index
from tests.solr_service import RECORDS, Solr, solr_running

SYNTAX = (
    "$text",
    "$words",
    "{!func}1",
    "{!lucene v=$text}",
    "*",
    "a,b",
    "a b",
    "a\tb",
    " a",
    "a\\",
    '"',
    "null",
    "\ufeff",
    "(",
    "-a",
)


@pytest.fixture(scope="module")
def core(solr_service: Solr) -> Iterator[str]:
    url = solr_service.core("test-solr-index", CONFIGSET)
    index(url, [record(n, predicted_class=text, source_user=text) for n, text in enumerate(SYNTAX)])
    yield url
    solr_service.drop("test-solr-index")


@pytest.fixture(scope="module")
def searched(core: str) -> Index:
    return open_index(core)


@pytest.mark.parametrize("text", SYNTAX)
def test_a_value_is_a_value(searched: Index, text: str) -> None:
    found = searched.search(Search(classes=(text,), users=(text,)))
    assert [hit.record["predicted_class"] for hit in found.hits] == [text]


def test_as_many_values_as_a_condition_may_have(searched: Index) -> None:
    known = searched.search(Search(limit=1)).hits[0].record["image_id"]
    images = (*(f"{n:064x}" for n in range(MOST_CHOICES - 1)), known)
    classes = tuple(f"no such class {n}" for n in range(MOST_CHOICES))
    assert searched.search(Search(images=images)).total == 1
    assert searched.search(Search(images=images, classes=classes)).total == 0


@pytest.mark.parametrize("handler", ["config", "stream", "graph"])
def test_nobody_changes_settings_or_streams(core: str, handler: str) -> None:
    body = {"set-user-property": {"x": "1"}}
    answer = requests.post(f"{core}/{handler}", json=body, timeout=30)
    assert answer.status_code == 404
    assert (
        requests.post(f"{core}/schema", json={"add-field": {"name": "x", "type": "string"}}, timeout=30).status_code
        == 400
    )


def test_a_field_that_nobody_declared_is_refused(core: str) -> None:
    answer = requests.post(f"{core}/update", json=[{"id": "x", "event_us": 1, "colour": "red"}], timeout=30)
    assert answer.status_code == 400
    assert "unknown field 'colour'" in answer.text
    own = {
        "id": "own",
        "event_us": 1,
        "colour_s": "red",
        "name_t": "SpecimenPhoto_07.jpg",
        "many_ss": ["a", "b"],
        "n_i": 7,
    }
    assert requests.post(f"{core}/update?commit=true", json=[own], timeout=30).status_code == 200
    for query in ("name_t:photo", "name_t:specimenphoto", "name_t:07", "name_t:jpg", "many_ss:b", "n_i:7"):
        answer = requests.get(f"{core}/select", params={"q": query}, timeout=30)
        assert answer.json()["response"]["numFound"] == 1, query
    requests.post(f"{core}/update?commit=true", json={"delete": "own"}, timeout=30).raise_for_status()


def test_found_words_are_marked(solr_service: Solr) -> None:
    url = solr_service.core("test-solr-marked", CONFIGSET)
    index(url, [record(file_name="Trucks_01.jpg", fields='{"note": "blue trukc"}', predicted_class="truck")])
    (hit,) = open_index(url).search(Search(words="truck 01")).hits
    assert hit.highlights == {
        "file_name": [f"{MARK}Truck{END}s_{MARK}01{END}.jpg"],
        "predicted_class": [f"{MARK}truck{END}"],
        "fields": [f"blue {MARK}trukc{END}"],
    }
    assert open_index(url).search(Search()).hits[0].highlights == {}
    solr_service.drop("test-solr-marked")


def test_likeness_ends_after_its_most(solr_service: Solr) -> None:
    url = solr_service.core("test-solr-alike", CONFIGSET)
    count = MOST_ALIKE + 200
    index(
        url, [record(n, embedding=bytes([1 + n % 100, n // 100, 1]), image_id=f"{n // 2:064x}") for n in range(count)]
    )
    search = Search(like=look(50, 3, 1), limit=100)
    found, pages = open_index(url).search(search), 1
    assert 0 < found.total <= MOST_ALIKE
    while found.next_cursor is not None:
        found, pages = open_index(url).search(replace(search, cursor=found.next_cursor)), pages + 1
    assert pages == -(-found.total // 100)
    solr_service.drop("test-solr-alike")


def test_a_cursor_that_somebody_made_says_nothing_to_solr(searched: Index) -> None:
    for request_id in ('" TO *] OR *:* OR id:["', "\ud800", "\\", '\\"', "*", "x" * 500):
        cursor = cursor_of(Search(), [0, 1_600_000_000_000_000, request_id.encode("utf-8", "replace").decode()])
        found = searched.search(Search(cursor=cursor))
        assert (len(found.hits), found.total) == (0, len(SYNTAX))
    with pytest.raises(BadParameter):
        searched.search(Search(cursor="AoEjMQ"))  # a cursorMark


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        pytest.param("http://127.0.0.1:9/solr/images", "did not answer", id="nobody-there"),
        pytest.param("{url}/no-such-collection", "no-such-collection", id="no-such-collection"),
    ],
)
def test_solr_that_cannot_answer(solr_service: Solr, address: str, problem: str) -> None:
    settings = SolrSettings(parse_address(address.format(url=solr_service.url), "--solr"), connect_s=1, answer_s=5)
    unavailable = SolrIndex.of(settings)
    for ask in (lambda: unavailable.search(Search()), lambda: unavailable.embedding_of("0" * 64)):
        with pytest.raises(SearchUnavailable, match=problem):
            ask()
    unavailable.close()


def test_a_collection_of_another_schema_is_named(solr_service: Solr) -> None:
    url = solr_service.core("test-solr-other-schema", RECORDS)
    other = open_index(url)
    for search in (Search(words="truck"), Search(like=Embedding("m", "1", b"\1")), Search()):
        with pytest.raises(SearchUnavailable, match="field"):
            other.search(search)
    solr_service.drop("test-solr-other-schema")


def test_wrong_login_and_slow_solr(tmp_path: Path) -> None:
    with solr_running(tmp_path / "solr", {"images": CONFIGSET}, security=True) as solr:
        address = parse_address(f"{solr.url}/images", "--solr")
        with pytest.raises(SearchUnavailable, match="images"):
            SolrIndex.of(SolrSettings(address, user="reader", password="wrong")).search(Search())
        assert SolrIndex.of(SolrSettings(address, user="reader", password="looks only")).search(Search()).total == 0
        solr.service.pause()
        try:
            slow = SolrIndex.of(SolrSettings(address, user="reader", password="looks only", answer_s=0.5))
            with pytest.raises(SearchUnavailable, match="did not answer"):
                slow.search(Search())
        finally:
            solr.service.resume()
