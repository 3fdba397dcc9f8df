"""Many updates in few requests, on a real Solr: each bad one costs itself only, and every other one is done once."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from imagewarehouse.errors import SolrRefused, WarehouseError
from imagewarehouse.solr.answers import Refusal, error_of
from imagewarehouse.solr.client import Collection
from imagewarehouse.solr.client import Solr as Client
from imagewarehouse.solr.settings import SolrSettings, parse_address
from imagewarehouse.solr.updates import INSERT_ONLY, UPDATE_ONLY, Update, add, delete, delete_matching
from imagewarehouse.solr.values import Atomic, solr_date
from imagewarehouse.solr.writing import Writing, write
from tests.solr_service import RECORDS, Solr, found

TOLERANT = (("update.chain", "tolerant"),)
ALL_KINDS = ["one-node", "two-shards", "zookeeper", "tolerant", "tolerant-shards", "no-update-log"]


class Counting(Collection):
    """A collection that counts its requests."""

    def __init__(self, client: Client, name: str) -> None:
        super().__init__(client, name)
        self.requests = 0

    def post(self, *args: Any, **more: Any) -> bytes:
        self.requests += 1
        return super().post(*args, **more)


@pytest.fixture(params=ALL_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind in ("one-node", "tolerant"):
        yield request.getfixturevalue("solr")
    elif kind == "no-update-log":
        yield request.getfixturevalue("solr_without_log")
    else:
        yield (url := request.getfixturevalue("solr_sharded"))
        requests.post(f"{url}/update?commit=true", json={"delete": {"query": "*:*"}}, timeout=60).raise_for_status()


@pytest.fixture
def solr_without_log(solr_service: Solr, tmp_path: Path) -> Iterator[str]:
    for path in RECORDS.iterdir():
        head, _, rest = path.read_text().partition("<updateLog>")
        (tmp_path / path.name).write_text(head + rest.rpartition("</updateLog>")[2])
    yield solr_service.core("no-log", tmp_path)
    solr_service.drop("no-log")


@pytest.fixture
def collection(url: str, kind: str, request: pytest.FixtureRequest) -> Counting:
    if kind == "zookeeper":
        url = f"zookeeper://{request.getfixturevalue('solr_cloud').zookeeper}/sharded"
    client = Client(SolrSettings(parse_address(url, "Solr URL"), answer_s=60))
    return Counting(client, client.settings.address.collection)


@pytest.fixture
def how(kind: str) -> Writing:
    return Writing(batch=1000, params=TOLERANT if kind.startswith("tolerant") else ())


def document(number: int, **more: Any) -> Update:
    return add({"id": f"d{number:05}", "owner": "somebody", "count": number, **more})


def codes(outcomes: Sequence[WarehouseError | None]) -> dict[int, str]:
    return {number: outcome.code for number, outcome in enumerate(outcomes) if outcome is not None}


# --- bad ones among good ones ---------------------------------------------------------------------------------------


def test_ten_bad_documents_of_a_thousand_cost_themselves_and_few_requests(
    collection: Counting, url: str, how: Writing, kind: str
) -> None:
    bad = set(random.Random(7).sample(range(1000), 10))
    updates = [document(n, **({"count": "many"} if n in bad else {})) for n in range(1000)]
    outcomes = write(collection, updates, how)
    assert codes(outcomes) == dict.fromkeys(sorted(bad), "solr.wrong_value")
    assert all(f"[doc=d{n:05}]" in str(outcomes[n]) for n in bad)
    assert [d["count"] for d in found(url)] == [n for n in range(1000) if n not in bad]
    assert collection.requests <= {"tolerant": 1, "tolerant-shards": 1, "two-shards": 130}.get(kind, 25)


@pytest.mark.parametrize("bad", [{0}, {9}, {0, 1, 2}, {7, 8, 9}, set(range(10)), {4, 5}, {0, 9}])
def test_wherever_the_bad_ones_are(collection: Counting, url: str, how: Writing, bad: set[int]) -> None:
    outcomes = write(collection, [document(n, **({"nowhere": 1} if n in bad else {})) for n in range(10)], how)
    assert codes(outcomes) == dict.fromkeys(sorted(bad), "solr.unknown_field")
    assert [d["count"] for d in found(url)] == [n for n in range(10) if n not in bad]


def test_updates_of_one_id_keep_their_order(collection: Counting, url: str, how: Writing) -> None:
    updates = []
    for n in range(40):
        updates += [document(n, word="first"), document(n, count="bad"), delete(f"d{n:05}"), document(n, word="last")]
        if n % 2:
            updates.append(delete(f"d{n:05}"))
    outcomes = write(collection, updates, how)
    assert set(codes(outcomes).values()) == {"solr.wrong_value"}
    assert [d["word"] for d in found(url)] == ["last"] * 20
    assert [d["count"] for d in found(url)] == list(range(0, 40, 2))
    assert len(codes(outcomes)) == 40


def test_what_is_refused_without_an_id_costs_itself_only(collection: Counting, url: str, how: Writing) -> None:
    outcomes = write(collection, [document(1), add({"owner": "x"}), document(2), add({"id": "y"}), document(3)], how)
    assert codes(outcomes) == {1: "solr.missing_value", 3: "solr.missing_value"}
    assert [d["count"] for d in found(url)] == [1, 2, 3]


BAD_VALUES = [
    pytest.param({"word": "x" * 32_767}, "solr.too_large", id="immense-term"),
    pytest.param({"count": "x"}, "solr.wrong_value", id="word-for-a-number"),
    pytest.param({"count": 2**40}, "solr.wrong_value", id="number-too-large"),
    pytest.param({"count": 1.5}, "solr.wrong_value", id="fraction-for-an-int"),
    pytest.param({"large": 2**63 + 1}, "solr.wrong_value", id="number-of-more-than-64-bits"),
    pytest.param({"taken": "yesterday"}, "solr.wrong_value", id="word-for-a-date"),
    pytest.param({"taken": "2026-12-01T08:00:00+01:00"}, "solr.wrong_value", id="date-with-a-zone"),
    pytest.param({"word": ["a", "b"]}, "solr.wrong_value", id="two-values-for-one"),
    pytest.param({"vector": [1, 2, 3]}, "solr.wrong_value", id="vector-too-short"),
    pytest.param({"nowhere": "x"}, "solr.unknown_field", id="unknown-field"),
    pytest.param({"owner": None}, "solr.missing_value", id="required-field-missing"),
    pytest.param({"_version_": 77}, "solr.conflict", id="another-version"),
]


@pytest.mark.parametrize(("values", "code"), BAD_VALUES)
def test_a_document_of_its_own_fault_is_named_with_a_code(solr: str, values: dict[str, Any], code: str) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    outcomes = write(collection, [document(1), document(2, **values), document(3)], Writing())
    assert codes(outcomes) == {1: code}
    assert not any(outcome.retryable for outcome in outcomes if outcome is not None)
    assert [d["count"] for d in found(solr)] == [1, 3]


def test_text_of_any_length_is_taken_where_it_is_cut_into_words(solr: str) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    assert write(collection, [document(1, title="many words " * 100_000)], Writing()) == [None]
    assert len(found(solr, "title:many")) == 1


# --- values ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_value_comes_back_as_it_went(solr: str) -> None:
    moment = datetime(2026, 12, 1, 3, 4, 5, 678_000, timezone(timedelta(hours=1)))
    values: dict[str, Any] = {
        "word": 'quotes "\\ <a>&amp;</a> \n\t \x01 🐈 {!term} ]]>', "words": ["a", None, "b"], "flag": True, "count": -3,
        "large": 2**62, "share": Decimal("0.125"), "vector": [1, -2, 3, 4], "numbers": (1, 2), "taken": moment,
        "times": [date(2026, 12, 1), datetime(2026, 12, 1, 1, 2, 3)], "content": b"\x00\xff", "title": "", "word_s": None,
        "numbers_i": [],
    }  # fmt: skip
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    values.pop("numbers_i")
    assert write(collection, [document(1, **values)], Writing()) == [None]
    [there] = found(solr)
    assert there["word"] == values["word"]
    assert (there["words"], there["flag"], there["count"], there["large"]) == (["a", "b"], True, -3, 2**62)
    assert (there["share"], there["numbers"], there["content"]) == (0.125, [1, 2], "AP8=")
    assert there["vector"] == [1, -2, 3, 4]
    assert there["taken"] == "2026-12-01T02:04:05.678Z"
    assert there["times"] == ["2026-12-01T00:00:00Z", "2026-12-01T01:02:03Z"]
    assert "word_s" not in there


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        {"set": "x"},
        [["a"]],
        {"a": 1},
        "\ud800",
        object(),
        [1.0, float("nan")],
    ],
)
def test_what_json_or_a_field_has_no_form_for_is_refused_before_it_travels(value: object) -> None:
    with pytest.raises(SolrRefused):
        add({"id": "1", "word": value})


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        ("2026-12-01T08:00:00+01:00", "millis", "2026-12-01T07:00:00Z"),
        ("2026-12-01 08:00:00.5", "millis", "2026-12-01T08:00:00.500000Z"),
        ("2026-12-01T08:00:00,123456789Z", "millis", "2026-12-01T08:00:00.123456Z"),
        ("2026-12-01", "millis", "2026-12-01T00:00:00Z"),
        (1_796_112_000_000, "millis", "2026-12-01T08:00:00Z"),
        ("1796112000", "seconds", "2026-12-01T08:00:00Z"),
        (-1, "micros", "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_times_of_any_form_become_solrs(value: object, unit: str, text: str) -> None:
    assert solr_date(value, unit) == text


@pytest.mark.parametrize("value", ["yesterday", "", True, 1.5, 10**30, "2026-13-01", ["2026-12-01"]])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        solr_date(value)


# --- versions and changes -------------------------------------------------------------------------------------------


@pytest.fixture(params=["one-node", "two-shards", "zookeeper"])
def versioned(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class TestVersions:
    """With an update log, on one node and in a cloud."""

    @pytest.fixture
    def kind(self, versioned: str) -> str:
        return versioned

    def test_insert_only_keeps_what_is_there(self, collection: Counting, url: str, how: Writing) -> None:
        assert write(collection, [document(n) for n in (2, 5, 7)], how) == [None] * 3
        updates = [add({"id": f"d{n:05}", "owner": "new"}, version=INSERT_ONLY) for n in range(10)]
        bad = add({"id": "x", "owner": "new", "count": "x"}, version=INSERT_ONLY)
        outcomes = write(collection, [*updates, bad, *updates[:1]], how)
        assert codes(outcomes) == dict.fromkeys((2, 5, 7, 11), "solr.conflict") | {10: "solr.wrong_value"}
        assert {d["id"] for d in found(url, "owner:new")} == {f"d{n:05}" for n in range(10) if n not in (2, 5, 7)}

    def test_update_only_makes_no_document(self, collection: Counting, url: str, how: Writing) -> None:
        assert write(collection, [document(1)], how) == [None]
        updates = [add({"id": f"d{n:05}", "owner": "new"}, version=UPDATE_ONLY) for n in range(3)]
        assert codes(write(collection, updates, how)) == {0: "solr.conflict", 2: "solr.conflict"}
        assert [(d["id"], d["owner"]) for d in found(url)] == [("d00001", "new")]

    def test_an_exact_version_is_met_or_a_conflict(self, collection: Counting, url: str, how: Writing) -> None:
        assert write(collection, [document(1), document(2), document(3), document(4)], how) == [None] * 4
        version = {d["count"]: d["_version_"] for d in found(url)}
        updates = [
            add({"id": "d00001", "owner": "new"}, version=version[1]),
            add({"id": "d00002", "owner": "new"}, version=version[2] - 1),
            delete("d00003", version=version[3]),
            delete("d00004", version=version[4] - 1),
            add({"id": "d00001", "owner": "again"}, version=version[1]),
        ]
        assert codes(write(collection, updates, how)) == dict.fromkeys((1, 3, 4), "solr.conflict")
        assert [(d["id"], d["owner"]) for d in found(url)] == [
            ("d00001", "new"), ("d00002", "somebody"), ("d00004", "somebody"),
        ]  # fmt: skip

    def test_atomic_updates_change_their_fields_only(self, collection: Counting, url: str, how: Writing) -> None:
        assert write(collection, [document(1, words=["a", "b"], word="keep", title="old")], how) == [None]
        changes = {
            "count": Atomic("inc", 5), "words": Atomic("add", ["c"]), "title": Atomic("set", "new"),
            "numbers": Atomic("add-distinct", [7, 7]),
        }  # fmt: skip
        outcomes = write(
            collection,
            [
                add({"id": "d00001", **changes}),
                add({"id": "d00001", "words": Atomic("remove", "a"), "numbers": Atomic("add-distinct", [7])}),
                add({"id": "d00001", "words": Atomic("removeregex", "b.*")}),
                add({"id": "d00001", "title": Atomic("set", None)}),
                add({"id": "d00001", "word": Atomic("inc", 1)}),
                add({"id": "d00001", "count": Atomic("inc", -1)}),
            ],
            how,
        )
        assert codes(outcomes) == {4: "solr.wrong_value"}
        [there] = found(url)
        assert {name: there.get(name) for name in ("count", "words", "title", "numbers", "word", "owner")} == {
            "count": 5, "words": ["c"], "title": None, "numbers": [7], "word": "keep", "owner": "somebody",
        }  # fmt: skip

    def test_increments_among_bad_documents_are_done_once(self, collection: Counting, url: str, how: Writing) -> None:
        assert write(collection, [document(n, count=0) for n in range(30)], how) == [None] * 30
        updates = [add({"id": f"d{n:05}", "count": Atomic("inc", 1 if n % 7 else "x")}) for n in range(30)]
        assert codes(write(collection, updates, how)) == dict.fromkeys(range(0, 30, 7), "solr.wrong_value")
        assert [d["count"] for d in found(url)] == [int(n % 7 > 0) for n in range(30)]


# --- deletes --------------------------------------------------------------------------------------------------------

HOSTILE = [
    "*:*",
    "a OR b",
    '" OR *:* OR "',
    "\\",
    "a\\",
    '\\"',
    "{!lucene}*:*",
    "[* TO *]",
    "x y",
    "(",
    "<query>*:*</query>",
    "ä",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_deletes_what_has_it_and_nothing_else(solr: str, text: str) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    assert write(collection, [document(1, word="other"), document(2, word=text), document(3)], Writing()) == [None] * 3
    assert write(collection, [delete_matching({"word": text})], Writing()) == [None]
    assert [d["count"] for d in found(solr)] == [1, 3]


@pytest.mark.parametrize("text", [*HOSTILE, "a,b", "/x", "d] [doc=d00001"])
def test_an_id_deletes_its_document_only(solr: str, text: str) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    assert write(collection, [document(1), add({"id": text, "owner": "x"})], Writing()) == [None] * 2
    assert len(found(solr)) == 2
    assert write(collection, [delete(text), delete("is not there")], Writing()) == [None] * 2
    assert [d["id"] for d in found(solr)] == ["d00001"]


def test_an_id_that_speaks_as_solrs_errors_do_accuses_nobody(solr: str) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    liar = add({"id": "x] unknown field [doc=d00001", "owner": "x", "count": "x"})
    outcomes = write(collection, [document(1), liar, document(2)], Writing())
    assert list(codes(outcomes)) == [1]
    assert [d["count"] for d in found(solr)] == [1, 2]


def test_documents_that_match_every_value_are_deleted(collection: Counting, url: str, how: Writing) -> None:
    updates = [document(n, word="ab"[n % 2], flag=n > 3, words=[f"w{n}", "all"]) for n in range(8)]
    assert write(collection, updates, how) == [None] * 8
    found(url)
    updates = [delete_matching({"word": "a", "flag": True}), document(8), delete_matching({"count": "x"})]
    outcomes = write(collection, [*updates, delete_matching({"words": ["w1", "w2"]})], how)
    assert codes(outcomes) == {2: "solr.wrong_value"}
    assert [d["count"] for d in found(url)] == [0, 3, 5, 7, 8]


@pytest.mark.parametrize("values", [{}, {"word": None}, {"word:* OR owner": "x"}, {"*": "x"}, {"_version_": 1}])
def test_a_delete_that_would_mean_more_than_it_says_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SolrRefused):
        delete_matching(values)


@pytest.mark.parametrize("identifier", [None, "", [], ["a", "b"], {"a": 1}])
def test_a_delete_without_an_id_is_refused(identifier: object) -> None:
    with pytest.raises(SolrRefused):
        delete(identifier)


# --- batches and commits --------------------------------------------------------------------------------------------


def test_batches_have_as_many_updates_and_bytes_as_they_may(solr: str) -> None:
    client = Client(SolrSettings(parse_address(solr, "Solr URL")))
    updates = [document(n, title="x" * 1000) for n in range(100)]
    for how, wanted in ((Writing(batch=30), 4), (Writing(batch_bytes=11_000), 10), (Writing(batch_bytes=10), 100)):
        collection = Counting(client, client.settings.address.collection)
        assert write(collection, updates, how) == [None] * 100
        assert collection.requests == wanted
    assert len(found(solr)) == 100


def test_commit_within_and_commit_make_documents_found(solr: str) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    search = lambda: requests.get(f"{solr}/select?q=*:*", timeout=10).json()["response"]["numFound"]  # noqa: E731
    assert write(collection, [document(1)], Writing()) == [None]
    assert search() == 0
    assert write(collection, [document(2)], Writing(commit=True)) == [None]
    assert search() == 2
    assert write(collection, [document(3)], Writing(commit_within_ms=1)) == [None]
    end = datetime.now() + timedelta(seconds=20)
    while search() < 3:
        assert datetime.now() < end


def test_what_a_proxy_refuses_is_found_by_halves(solr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(SolrSettings(parse_address(solr, "Solr URL")))
    collection = Counting(client, client.settings.address.collection)
    assert write(collection, [document(0)], Writing()) == [None]  # now it is known that answers say what was done
    post = collection.post

    def in_between(path: str, body: bytes, **more: Any) -> bytes:
        if len(body) > 20_000:
            raise Refusal(*error_of(413, b"<html>Request Entity Too Large</html>", "proxy"))
        if b"DROP TABLE" in body:
            raise Refusal(*error_of(400, b"<html>Blocked</html>", "proxy"))
        return post(path, body, **more)

    monkeypatch.setattr(collection, "post", in_between)
    more = {17: {"title": "x" * 20_000}, 55: {"title": "'; DROP TABLE images"}}
    outcomes = write(collection, [document(n, **more.get(n, {"title": "x" * 1000})) for n in range(100)], Writing())
    assert codes(outcomes) == {17: "solr.too_large", 55: "solr.refused"}
    assert [d["count"] for d in found(solr)] == [n for n in range(100) if n not in more]


@pytest.mark.parametrize(
    "answer", [b"<html>Please log in</html>", b"", b"[]", b"{}", b'{"responseHeader": {"status": 500}}']
)
def test_an_answer_that_is_not_solrs_is_no_success(solr: str, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    collection = Client(SolrSettings(parse_address(solr, "Solr URL"))).collection()
    monkeypatch.setattr(collection, "post", lambda *args, **more: answer)
    outcomes = write(collection, [document(1), document(2)], Writing())
    assert codes(outcomes) == {0: "solr.unavailable", 1: "solr.unavailable"}


def test_nothing_is_asked_of_solr_for_no_updates(solr: str) -> None:
    client = Client(SolrSettings(parse_address(solr, "Solr URL")))
    collection = Counting(client, client.settings.address.collection)
    assert write(collection, [], Writing(commit=True)) == []
    assert collection.requests == 0
