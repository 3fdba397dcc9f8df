"""What every backend of search answers, whichever it is."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from imagewarehouse.errors import BadParameter
from imagewarehouse.metadata import ImageRecord, json_values
from imagewarehouse.search.query import FACETS, MOST_HITS, MOST_VALUES, SHOWN, Found, Index, Search
from tests.search_indexes import BACKENDS, FIRST, Open, look, record


@pytest.fixture(scope="module", params=BACKENDS)
def index_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    with BACKENDS[request.param](tmp_path_factory.mktemp(request.param), request.getfixturevalue) as opened:
        yield opened


def names(index: Index, search: Search) -> list[str]:
    """The file names of everything that is found, in its order, page by page."""
    return [hit.record["file_name"] for hit in everything(index, search)]


def names_of(found: Found) -> list[str]:
    return [hit.record["file_name"] for hit in found.hits]


def everything(index: Index, search: Search) -> list[Any]:
    hits, total = [], None
    while True:
        found = index.search(search)
        assert len(found.hits) <= search.limit
        assert total in (None, found.total)
        total = found.total
        hits += found.hits
        if found.next_cursor is None:
            assert len(hits) == total
            return hits
        assert len(found.hits) == search.limit
        search = replace(search, cursor=found.next_cursor)


# --- words --------------------------------------------------------------------------------------------------------

NAMED = (
    "truck.jpg", "Trucks-at-night.png", "01truck.jpg", "holiday_2026-11-01.jpg", "Überblick.jpg",
        unicodedata.normalize("NFD", "Ärger.jpg"), "红色卡车.jpg", "ひまわり.png", "شاحنة.jpg", "delivery 🚚.jpg",
    "IMG_20261101_1234.jpg", "straße.jpg", "ship.jpg", "snowplough.jpg", "ŁÓDŹ.jpg", "Smørrebrød.jpg",
)  # fmt: skip


@pytest.fixture(scope="module")
def named(index_of: Open) -> Index:
    others = [
        record(50, file_name="class.jpg", predicted_class="airplane"),
        record(51, file_name="label.jpg", predicted_class="boat", confidence=0.75,
               top_k='[{"class": "boat", "probability": 0.75}, {"class": "submarine", "probability": 0.125}, '
                     '{"class": "raft", "probability": 0.09375}, {"class": "canoe", "probability": 1.5e-05}]'),
        record(52, file_name="fields.jpg", fields='{"warehouse": "north gate 7", "note": "say \\"hello\\" twice"}',
               predicted_class="none"),
        record(53, file_name="error.jpg", status="rejected", error_code="image.truncated", error_detail="ends after 312 bytes"),
        record(54, file_name="user.jpg", source_user="camera-17", predicted_class="none"),
    ]  # fmt: skip
    return index_of([*(record(n, file_name=name, predicted_class="none") for n, name in enumerate(NAMED)), *others])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("truck", ["01truck.jpg", "truck.jpg", "Trucks-at-night.png"], id="same-then-beginning"),
        pytest.param("TRUCK", ["01truck.jpg", "truck.jpg", "Trucks-at-night.png"], id="capitals"),
        pytest.param("trucks", ["Trucks-at-night.png", "01truck.jpg", "truck.jpg"], id="same-then-one-letter-less"),
        pytest.param("truck night", ["Trucks-at-night.png"], id="every-word"),
        pytest.param("night truck", ["Trucks-at-night.png"], id="in-any-order"),
        pytest.param("trukc", ["01truck.jpg", "truck.jpg"], id="letters-changed-places"),
        pytest.param("tuck", ["01truck.jpg", "truck.jpg"], id="a-letter-missing"),
        pytest.param("trucck", ["01truck.jpg", "truck.jpg"], id="a-letter-too-many"),
        pytest.param("rruck", ["01truck.jpg", "truck.jpg"], id="the-first-letter-wrong"),
        pytest.param("shp", [], id="short-words-have-no-mistakes"),
        pytest.param("snoplugh", ["snowplough.jpg"], id="two-mistakes-in-a-long-word-1"),
        pytest.param("smowplouhg", ["snowplough.jpg"], id="two-mistakes-in-a-long-word-2"),
        pytest.param("smowplohg", [], id="three-mistakes"),
        pytest.param("holiday 2026", ["holiday_2026-11-01.jpg"], id="underscores-separate"),
        pytest.param("20261101", ["IMG_20261101_1234.jpg"], id="number"),
        pytest.param("20261102", [], id="another-number"),
        pytest.param("202611", ["IMG_20261101_1234.jpg"], id="beginning-of-a-number"),
        pytest.param("1101", [], id="end-of-a-number"),
        pytest.param("überblick", ["Überblick.jpg"], id="accent"),
        pytest.param("uberblick", ["Überblick.jpg"], id="accent-left-out"),
        pytest.param(unicodedata.normalize("NFD", "überblick"), ["Überblick.jpg"], id="decomposed-word"),
        pytest.param(unicodedata.normalize("NFC", "ärger"), [NAMED[5]], id="decomposed-name"),
        pytest.param("Straße", ["straße.jpg"], id="sharp-s"),
        pytest.param("STRASSE", ["straße.jpg"], id="sharp-s-as-typed-without-it"),
        pytest.param("straẞe", ["straße.jpg"], id="sharp-s-in-capitals"),
        pytest.param("lodz", ["ŁÓDŹ.jpg"], id="stroke-left-out"),
        pytest.param("smorrebrod", ["Smørrebrød.jpg"], id="strokes-left-out"),
        pytest.param("smørrebrød", ["Smørrebrød.jpg"], id="strokes"),
        pytest.param("卡车", ["红色卡车.jpg"], id="chinese"),
        pytest.param("红色", ["红色卡车.jpg"], id="chinese-beginning"),
        pytest.param("红色 卡车", ["红色卡车.jpg"], id="chinese-two-words"),
        pytest.param("飞机", [], id="chinese-something-else"),
        pytest.param("ひまわり", ["ひまわり.png"], id="japanese"),
        pytest.param("شاحنة", ["شاحنة.jpg"], id="arabic"),
        pytest.param("🚚", ["delivery 🚚.jpg"], id="emoji"),
        pytest.param("delivery 🚚", ["delivery 🚚.jpg"], id="word-and-emoji"),
        pytest.param("airplane", ["class.jpg"], id="class"),
        pytest.param("submarine", ["label.jpg"], id="another-class"),
        pytest.param("raft", [], id="a-class-that-is-not-probable"),
        pytest.param("canoe", [], id="a-class-of-small-probability"),
        pytest.param("boat submarine", ["label.jpg"], id="class-and-another-class"),
        pytest.param("probability", [], id="no-key-of-json"),
        pytest.param("north", ["fields.jpg"], id="text-of-a-field"),
        pytest.param("hello", ["fields.jpg"], id="text-of-a-field-in-quotation-marks"),
        pytest.param("warehouse", [], id="name-of-a-field"),
        pytest.param("truncated", ["error.jpg"], id="error-code"),
        pytest.param("image.truncated", ["error.jpg"], id="error-code-whole"),
        pytest.param("312", ["error.jpg"], id="error-text"),
        pytest.param("camera-17", ["user.jpg"], id="user"),
        pytest.param("camera-18", [], id="another-user"),
        pytest.param("zebra", [], id="nothing"),
        pytest.param("truck zebra", [], id="one-word-is-nowhere"),
    ],
)  # fmt: skip
def test_words(named: Index, words: str, expected: list[str]) -> None:
    assert names(named, Search(words=words)) == expected


@pytest.mark.parametrize("words", ["", "   ", "\t\n", "\u3000"])
def test_blank_words_are_no_condition(named: Index, words: str) -> None:
    assert named.search(Search(words=words)).total == len(NAMED) + 5


HOSTILE = (
    "' OR 1=1 --", "'; DROP TABLE image_events; --", "\\'; --", "*:*", "*", "?", "truck*", "file_name:truck", "{!lucene}*:*",
    "truck AND NOT truck", "(truck", "truck)", '"truck', "truck~2", "truck^100", "[* TO *]", "/.*/",
    "<script>alert(1)</script>", "%27%20OR", "\x00truck", "truck\x1b[31m", "\u202etruck", "$1", "a" * 1000,
    "(" * 1000, "a " * 400, "\\", "\\p{L}", "[a-z]+",
    "|", "||", "&&", "!", "-truck", "+", "_query_:1", "\ud800", "\U0010ffff", ".*", "(?i)x", "\\Q", "\\C",
)  # fmt: skip


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_are_words(named: Index, words: str) -> None:
    """They find what their letters find, and no more."""
    letters = "".join(c if c.isalnum() else " " for c in words)
    expected = everything(named, Search(words=letters)) if letters.strip() else []
    assert everything(named, Search(words=words)) == expected


@pytest.mark.parametrize("words", ["!!!", "'", "*", "---"])
def test_words_without_a_letter_find_nothing(named: Index, words: str) -> None:
    found = named.search(Search(words=words, facets=("predicted_class",)))
    assert (found.hits, found.total, found.facets) == ([], 0, {"predicted_class": []})


@pytest.mark.parametrize("words", ["x" * 1001, "x" * 10_000, " ".join(f"word{n}" for n in range(17))])
def test_too_many_words_cannot_be_asked(words: str) -> None:
    with pytest.raises(ValueError, match="words: expected at most"):
        Search(words=words)


def test_the_newest_come_first_of_those_as_good(index_of: Open) -> None:
    index = index_of([record(hours, file_name=f"truck {hours}.jpg") for hours in (3, 1, 4, 2)])
    assert names(index, Search(words="truck", limit=3)) == [f"truck {hours}.jpg" for hours in (4, 3, 2, 1)]


# --- conditions ---------------------------------------------------------------------------------------------------

MIXED = (
    record(0, file_name="a", predicted_class="cat", confidence=0.9, source_ip="10.0.0.1", source_user="camera-1"),
    record(1, file_name="b", predicted_class="dog", confidence=0.5, source_ip="10.1.2.3", source_user="camera-2"),
    record(2, file_name="c", predicted_class="cat", confidence=0.0, source_ip="192.168.1.77", format="PNG"),
    record(3, file_name="d", predicted_class="cat", confidence=1.0, source_ip="2001:db8::1", model_version="4"),
    record(4, file_name="e", status="rejected", error_code="image.truncated", source_ip="::1", source_user="camera-1"),
    record(5, file_name="f", status="failed", error_code="objects.unavailable", image_id="f" * 64, format="JPEG"),
    record(6, file_name="g", status="accepted", image_id="0" * 64, format="JPEG", source_ip="2001:db8:0:1::9"),
    record(7, file_name="h", predicted_class="it's \"a\" <cat>\\", model_name="other", image_id="f" * 64, confidence=0.25),
)  # fmt: skip


@pytest.fixture(scope="module")
def mixed(index_of: Open) -> Index:
    return index_of(MIXED)


def networks(*texts: str) -> dict[str, Any]:
    return {"sources": tuple(map(ip_network, texts))}


CONDITIONS = [
    pytest.param({}, "hgfedcba", id="none"),
    pytest.param({"classes": ("cat",)}, "dca", id="class"),
    pytest.param({"classes": ("cat", "dog")}, "dcba", id="one-of-two-classes"),
    pytest.param({"classes": ("Cat",)}, "", id="class-exactly"),
    pytest.param({"classes": ("ca",)}, "", id="no-beginning-of-a-class"),
    pytest.param({"classes": ('it\'s "a" <cat>\\',)}, "h", id="class-with-everything"),
    pytest.param({"classes": ("' OR '1'='1",)}, "", id="class-with-sql"),
    pytest.param({"classes": ("cat\0",)}, "", id="class-with-an-end"),
    pytest.param({"classes": ("\ud800",)}, "", id="class-of-half-a-character"),
    pytest.param({"classes": ("",)}, "", id="class-without-a-name"),
    pytest.param({"classes": ("*",)}, "", id="class-of-a-star"),
    pytest.param({"statuses": ("rejected", "failed")}, "fe", id="status"),
    pytest.param({"errors": ("image.truncated",)}, "e", id="error"),
    pytest.param({"formats": ("PNG",)}, "c", id="format"),
    pytest.param({"models": ("cifar10",)}, "dcba", id="model"),
    pytest.param({"models": ("cifar10/4",)}, "d", id="model-and-version"),
    pytest.param({"models": ("cifar10/4", "other")}, "hd", id="one-of-two-models"),
    pytest.param({"models": ("4", "nobody")}, "d", id="version-alone"),
    pytest.param({"models": ("cifar10/5",)}, "", id="no-such-version"),
    pytest.param({"users": ("camera-1",)}, "ea", id="user"),
    pytest.param({"images": ("f" * 64,)}, "hf", id="image"),
    pytest.param({"images": ("f" * 63,)}, "", id="no-beginning-of-an-image"),
    pytest.param(networks("10.0.0.0/8"), "ba", id="network"),
    pytest.param(networks("10.0.0.0/12"), "ba", id="network-within-a-byte"),
    pytest.param(networks("10.1.0.0/16"), "b", id="smaller-network"),
    pytest.param(networks("192.168.1.64/27"), "c", id="network-of-32"),
    pytest.param(networks("192.168.1.96/27"), "", id="the-network-beside-it"),
    pytest.param(networks("10.0.0.1"), "a", id="address"),
    pytest.param(networks("0.0.0.0/0"), "cba", id="all-of-version-4"),
    pytest.param(networks("::/0"), "ged", id="all-of-version-6"),
    pytest.param(networks("2001:db8::/64"), "d", id="network-of-version-6"),
    pytest.param(networks("2001:db8::/32"), "gd", id="larger-network-of-version-6"),
    pytest.param(networks("::1"), "e", id="address-of-version-6"),
    pytest.param(networks("10.0.0.1", "::1"), "ea", id="one-of-two-networks"),
    pytest.param({"since": FIRST + timedelta(hours=6)}, "hg", id="since-includes"),
    pytest.param({"until": FIRST + timedelta(hours=1)}, "a", id="until-excludes"),
    pytest.param({"since": FIRST + timedelta(hours=2), "until": FIRST + timedelta(hours=4)}, "dc", id="stretch"),
    pytest.param({"min_confidence": 0.9}, "da", id="as-certain-at-least"),
    pytest.param({"max_confidence": 0.5}, "hcb", id="as-certain-at-most"),
    pytest.param({"max_confidence": 0.0}, "c", id="not-certain-at-all"),
    pytest.param({"min_confidence": 0.0}, "hdcba", id="any-confidence"),
    pytest.param({"min_confidence": 0.25, "max_confidence": 0.9}, "hba", id="between"),
    pytest.param({"classes": ("cat",), "min_confidence": 0.9, **networks("10.0.0.0/8")}, "a", id="three-of-them"),
    pytest.param({"classes": ("cat",), "statuses": ("rejected",)}, "", id="two-that-exclude-each-other"),
    pytest.param({"words": "cat", "classes": ("cat",), "models": ("cifar10/4",)}, "d", id="with-words"),
]


@pytest.mark.parametrize(("conditions", "expected"), CONDITIONS)
def test_conditions(mixed: Index, conditions: dict[str, Any], expected: str) -> None:
    assert "".join(names(mixed, Search(**conditions, limit=3))) == expected


@pytest.mark.parametrize(
    ("values", "why"),
    [
        pytest.param({"since": FIRST.replace(tzinfo=None)}, "naive", id="naive-time"),
        pytest.param({"since": FIRST, "until": FIRST}, "is not after since", id="no-time-between"),
        pytest.param({"facets": ("file_name",)}, "facet: expected one of", id="no-facet"),
        pytest.param({"statuses": ("new",)}, "status: expected one of", id="no-status"),
        pytest.param({"min_confidence": 1.5}, "min_confidence: expected", id="confidence"),
        pytest.param({"max_confidence": float("nan")}, "max_confidence: expected", id="no-number"),
        pytest.param({"min_confidence": 0.9, "max_confidence": 0.1}, "less than", id="none-between"),
        pytest.param({"limit": MOST_HITS + 1}, "limit: expected", id="limit"),
        pytest.param({"limit": -1}, "limit: expected", id="negative-limit"),
    ],
)
def test_what_cannot_be_asked(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Search(**values)


# --- what is shown ------------------------------------------------------------------------------------------------


def test_a_hit_shows_the_record(index_of: Open) -> None:
    whole = record(
        1.000_001,
        file_name="a.jpg", declared_type="image/jpeg", fields='{"site": "north"}', size_bytes=1 << 40, width=3, height=2,
        color_mode="RGB", frames=1, notes='["exif"]', source_ip="10.0.0.1", source_user="camera", gps_latitude=47.25,
        gps_longitude=-8.5, storage_uri="file:///objects/a", top_k='[{"class":"truck","probability":0.875}]',
        preprocess_ms=1.5, inference_ms=2.5, total_ms=9.5, node="host", embedding=b"\x01\x02",
    )  # fmt: skip
    empty = record(0, status="rejected")
    index = index_of([whole, empty])
    first, second = everything(index, Search())
    for hit, expected in ((first, whole), (second, empty)):
        assert hit.record == json_values({name: getattr(expected, name) for name in SHOWN})
        assert list(hit.record) == list(SHOWN)
        assert hit.similarity is None
    assert first.record["fields"] == {"site": "north"}
    assert not {"embedding", "total_ms", "preprocess_ms", "inference_ms", "node"} & set(first.record)


def test_an_empty_index_finds_nothing(index_of: Open) -> None:
    index = index_of([])
    for search in (Search(), Search(words="truck"), Search(like=look(1, 2)), Search(facets=FACETS)):
        found = index.search(search)
        assert (list(found.hits), found.total, found.next_cursor) == ([], 0, None)
        assert found.facets == {name: [] for name in search.facets}
    assert index.embedding_of("0" * 64) is None


# --- facets -------------------------------------------------------------------------------------------------------


def test_facets_count_all_hits(mixed: Index) -> None:
    found = mixed.search(Search(facets=FACETS, limit=2))
    assert found.facets == {
        "predicted_class": [("cat", 3), ("dog", 1), ("it's \"a\" <cat>\\", 1)],
        "status": [("classified", 5), ("accepted", 1), ("failed", 1), ("rejected", 1)],
        "error_code": [("image.truncated", 1), ("objects.unavailable", 1)],
        "format": [("JPEG", 6), ("PNG", 1)],
        "model": [("cifar10/3", 3), ("cifar10/4", 1), ("other/3", 1)],
        "source_ip": [(ip, 1) for ip in ("10.0.0.1", "10.1.2.3", "192.168.1.77", "2001:db8:0:1::9", "2001:db8::1", "::1")],
        "source_user": [("camera-1", 2), ("camera-2", 1)],
        "day": [("2026-11-01", 8)],
        "confidence": [("0.0", 1), ("0.2", 1), ("0.5", 1), ("0.9", 2)],
    }  # fmt: skip


@pytest.mark.parametrize("limit", [0, 1, 20])
def test_facets_are_those_of_the_conditions(mixed: Index, limit: int) -> None:
    found = mixed.search(Search(words="cat", facets=("predicted_class", "day"), since=FIRST, limit=limit))
    assert found.facets == {
        "predicted_class": [("cat", 3), ('it\'s "a" <cat>\\', 1)],
        "day": [("2026-11-01", 4)],
    }
    assert (len(found.hits), found.total) == (min(limit, 4), 4)
    assert (found.next_cursor is None) == (limit != 1)


def test_facets_are_the_same_on_every_page(mixed: Index) -> None:
    search = Search(facets=("status",), limit=3)
    first = mixed.search(search)
    second = mixed.search(replace(search, cursor=first.next_cursor))
    assert second.facets == first.facets


@pytest.mark.parametrize(
    ("confidence", "tenth"),
    [
        (0.0, "0.0"),
        (0.1, "0.1"),
        (0.3, "0.3"),
        (0.7, "0.7"),
        (0.0999999, "0.0"),
        (0.9, "0.9"),
        (0.95, "0.9"),
        (1.0, "0.9"),
    ],
)
def test_a_confidence_counts_in_its_tenth(index_of: Open, confidence: float, tenth: str) -> None:
    index = index_of([record(confidence=confidence)])
    assert index.search(Search(facets=("confidence",))).facets == {"confidence": [(tenth, 1)]}
    assert index.search(Search(min_confidence=confidence, max_confidence=confidence)).total == 1


def test_days_are_those_of_utc_and_in_their_order(index_of: Open) -> None:
    index = index_of([record(hours) for hours in (0, 23.999, 24, 24.5, 25, 72)])
    days = [("2026-11-01", 2), ("2026-11-02", 3), ("2026-11-04", 1)]
    assert index.search(Search(facets=("day",))).facets["day"] == days


def test_the_most_frequent_values_are_shown(index_of: Open) -> None:
    records = [record(n, predicted_class=f"c{n:02d}") for n in range(MOST_VALUES + 5)]
    records += [record(100 + n, predicted_class="c54") for n in range(2)]
    values = index_of(records).search(Search(facets=("predicted_class",))).facets["predicted_class"]
    assert values == [("c54", 3), *((f"c{n:02d}", 1) for n in range(MOST_VALUES - 1))]


# --- pages --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(index_of: Open) -> tuple[Index, Sequence[ImageRecord]]:
    """Many of them at the same time, as bad as each other, and as alike."""
    draw = random.Random(3)
    records = [
        record(
            n // 40,
            file_name=draw.choice(["truck", "trucks", "trukc", "ship"]) + f" {n}",
            embedding=bytes([draw.randrange(1, 4), draw.randrange(1, 4)]),
            image_id=f"{n:064x}",
            predicted_class="none",
        )
        for n in range(250)
    ]
    draw.shuffle(records)
    return index_of(records), records


@pytest.mark.parametrize("limit", [3, 50, 100])
@pytest.mark.parametrize(
    "search", [Search(), Search(words="truck"), Search(like=look(1, 3))], ids=["all", "words", "like"]
)
def test_pages_have_no_double_and_no_hole(
    many: tuple[Index, Sequence[ImageRecord]], search: Search, limit: int
) -> None:
    index, records = many
    hits = everything(index, replace(search, limit=limit))
    found = [hit.record["request_id"] for hit in hits]
    expected = {r.request_id for r in records if not search.words or (r.file_name and r.file_name.startswith("tru"))}
    assert len(found) == len(set(found))
    assert set(found) == expected
    if not search.words and search.like is None:
        by_time = sorted(records, key=lambda r: (r.event_time, r.request_id), reverse=True)
        assert found == [r.request_id for r in by_time]
    if search.like is not None:
        order = [(hit.similarity, hit.record["event_time"], hit.record["request_id"]) for hit in hits]
        assert order == sorted(order, reverse=True)


def test_pages_of_one_hit(mixed: Index) -> None:
    found = [hit.record["request_id"] for hit in everything(mixed, Search(limit=1))]
    assert sorted(found) == sorted(record.request_id for record in MIXED)
    assert found == [hit.record["request_id"] for hit in mixed.search(Search(limit=100)).hits]


@pytest.mark.parametrize("cursor", ["", "x", "!", "é", "bnVsbA", "W10", "W251bGwsMSwyLDNd", "A" * 100_000, "\0", "[]"])
def test_a_cursor_that_is_none(mixed: Index, cursor: str) -> None:
    with pytest.raises(BadParameter, match="cursor: "):
        mixed.search(Search(cursor=cursor))


@pytest.mark.parametrize(
    "place",
    [
        [0, 0, 0], ["0", 0, "x"], [0, "0", "x"], [0, 2**62, "x"], [0, -(2**62), "x"], [0, 1.5, "x"], [True, 0, "x"],
        [None, None, None], [[], {}, "x"], [1e308, True, "x"],
    ],
)  # fmt: skip
def test_a_cursor_that_somebody_made(mixed: Index, place: list[Any]) -> None:
    from imagewarehouse.search.cursors import cursor_of

    with pytest.raises(BadParameter, match="cursor: "):
        mixed.search(Search(cursor=cursor_of(Search(), place)))


def test_a_made_cursor_may_say_anything(mixed: Index) -> None:
    from imagewarehouse.search.cursors import cursor_of

    for request_id in ("' OR 1=1 --", "\0", '" OR *:*', "\\"):
        cursor = cursor_of(Search(), [0, 1_900_000_000_000_000, request_id])
        assert mixed.search(Search(cursor=cursor)).total == len(MIXED)


def test_a_cursor_survives_a_time_that_moves(mixed: Index) -> None:
    """As that of `7d` does, from one page to the next."""
    cursor = mixed.search(Search(limit=6, since=FIRST)).next_cursor
    moved = Search(since=FIRST + timedelta(seconds=1), until=FIRST + timedelta(days=1), cursor=cursor)
    assert names_of(mixed.search(moved)) == ["b"]


def test_a_cursor_belongs_to_its_search(mixed: Index) -> None:
    cursor = mixed.search(Search(limit=2)).next_cursor
    assert cursor is not None
    assert len(mixed.search(Search(limit=5, facets=("status",), cursor=cursor)).hits) == 5
    for other in (Search(words="cat"), Search(classes=("cat",)), Search(like=look(1, 2)), Search(users=("",))):
        with pytest.raises(BadParameter, match="cursor: "):
            mixed.search(replace(other, cursor=cursor))


# --- likeness -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looks(index_of: Open) -> Index:
    return index_of(
        [
            record(0, file_name="same", image_id="a" * 64, embedding=bytes([100, 0, 0])),
            record(1, file_name="near", image_id="b" * 64, embedding=bytes([100, 20, 0]), predicted_class="ship"),
            record(2, file_name="across", image_id="c" * 64, embedding=bytes([0, 100, 0])),
            record(3, file_name="opposite", image_id="d" * 64, embedding=bytes([0x9C, 0, 0])),
            record(4, file_name="same, weaker", image_id="e" * 64, embedding=bytes([1, 0, 0])),
            record(5, file_name="other version", image_id="f" * 64, embedding=bytes([100, 0, 0]), model_version="4"),
            record(6, file_name="other model", image_id="0" * 64, embedding=bytes([100, 0, 0]), model_name="other"),
            record(7, file_name="other length", image_id="1" * 64, embedding=bytes([100, 0])),
            record(8, file_name="old row", image_id="2" * 64),
            record(9, file_name="rejected", status="rejected"),
            record(10, file_name="near again", image_id="b" * 64, embedding=bytes([100, 20, 0])),
            record(
                11, file_name="near of another version", image_id="b" * 64, embedding=b"\x05\x06", model_version="4"
            ),
        ]
    )


def test_the_most_alike_come_first_and_each_picture_once(looks: Index) -> None:
    hits = everything(looks, Search(like=look(100, 0, 0), limit=2))
    expected = [("same, weaker", 1.0), ("same", 1.0), ("near again", 0.980581), ("across", 0.0), ("opposite", -1.0)]
    assert [hit.record["file_name"] for hit in hits] == [name for name, _ in expected]
    assert [hit.similarity for hit in hits] == pytest.approx([similarity for _, similarity in expected], abs=2e-6)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param({"classes": ("ship",)}, ["near"], id="the-request-that-meets-them-stands-for-its-picture"),
        pytest.param({"until": FIRST + timedelta(hours=3)}, ["same", "near", "across"], id="time"),
        pytest.param({"words": "near"}, ["near again"], id="words"),
        pytest.param({"words": "zebra"}, [], id="no-such-word"),
        pytest.param({"images": ("c" * 64,)}, ["across"], id="image"),
        pytest.param({"models": ("other",)}, [], id="another-model-is-not-comparable"),
    ],
)
def test_likeness_within_conditions(looks: Index, conditions: dict[str, Any], expected: list[str]) -> None:
    assert names(looks, Search(like=look(100, 0, 0), **conditions)) == expected


def test_only_looks_of_one_version_and_length_are_compared(looks: Index) -> None:
    assert names(looks, Search(like=look(1, 0, 0, version="4"))) == ["other version"]
    assert names(looks, Search(like=look(1, 0, 0, model="other"))) == ["other model"]
    assert names(looks, Search(like=look(1, 0))) == ["other length"]
    assert names(looks, Search(like=look(1, 0, 0, version="5"))) == []
    assert names(looks, Search(like=look(1, 0, 0, version="' OR '1'='1"))) == []


def test_facets_of_likeness_count_pictures(looks: Index) -> None:
    found = looks.search(Search(like=look(100, 0, 0), facets=("predicted_class",), limit=1))
    assert (found.total, found.facets) == (5, {"predicted_class": [("truck", 5)]})


def test_the_newest_look_of_a_picture(looks: Index) -> None:
    assert looks.embedding_of("a" * 64) == look(100, 0, 0)
    assert looks.embedding_of("d" * 64) == look(-100, 0, 0)
    assert looks.embedding_of("b" * 64) == look(5, 6, version="4")
    for image_id in ("2" * 64, "9" * 64, "a" * 63, "", "'", "\0", "*"):
        assert looks.embedding_of(image_id) is None
