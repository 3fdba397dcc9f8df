"""The embedded backend of search: beside writers, over files of earlier releases, and what its SQL is made of."""

from __future__ import annotations

import ipaddress
import random
import threading
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from imagewarehouse.errors import SearchUnavailable
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.search import conditions, patterns
from imagewarehouse.search.local_index import LocalIndex
from imagewarehouse.search.query import FACETS, Search
from imagewarehouse.search.words import edits, fold
from tests.search_indexes import look, record


@pytest.mark.parametrize(
    "search", [Search(), Search(words="truck"), Search(like=look(1, 3))], ids=["all", "words", "like"]
)
def test_pages_stay_right_while_rows_come(tmp_path: Path, search: Search) -> None:
    """Whatever was there when paging began is shown once, whatever is written meanwhile, and whoever moves it."""
    path = tmp_path / "rows.duckdb"
    draw = random.Random(5)

    def one(n: int, hours: float) -> None:
        rows.write(
            [record(hours, image_id=f"{n:064x}", file_name=f"truck {n}", embedding=bytes([1, draw.randrange(1, 9)]))]
        )

    rows = LocalRows(path)
    for n in range(120):
        one(n, n % 7)
    stop = threading.Event()

    def write() -> None:
        for n in range(1000, 1400):
            one(n, draw.randrange(14))
            if stop.wait(0.005):
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        index, found = LocalIndex(rows.query), []
        search = replace(search, limit=10)
        while True:
            page = index.search(search)
            found += [hit.record["file_name"] for hit in page.hits]
            if page.next_cursor is None:
                break
            search = replace(search, cursor=page.next_cursor)
    finally:
        stop.set()
        writer.join()
        rows.close()
    old = [name for name in found if int(name.split()[1]) < 1000]
    assert len(found) == len(set(found))
    assert sorted(old) == sorted(f"truck {n}" for n in range(120))


def test_rows_of_an_earlier_release_are_searched(tmp_path: Path) -> None:
    """Their table has no embedding, and nobody has opened it to write since."""
    path = tmp_path / "rows.duckdb"
    rows = LocalRows(path)
    rows.write([record(0, file_name="truck.jpg"), record(1, file_name="ship.jpg", predicted_class="ship")])
    rows.close()
    with duckdb.connect(str(path)) as connection:
        for column in ("embedding", "fields", "notes"):
            connection.execute(f"ALTER TABLE image_events DROP COLUMN {column}")
    index = LocalIndex.of_file(path)
    found = index.search(Search(words="trucks", facets=FACETS))
    assert [hit.record["file_name"] for hit in found.hits] == ["truck.jpg"]
    assert index.search(Search(like=look(1, 2))).total == 0
    assert index.embedding_of(str(found.hits[0].record["image_id"])) is None


def test_a_row_that_another_program_wrote_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    rows = LocalRows(path)
    rows.write([record(0, file_name="truck.jpg", notes="no json", top_k='[{"class"', fields='["list"]')])
    rows.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE image_events SET embedding = [0, 0]")
    (hit,) = LocalIndex.of_file(path).search(Search(words="truck")).hits
    assert (hit.record["notes"], hit.record["event_time"]) == ("no json", "2026-11-01T00:00:00.000000Z")
    assert LocalIndex.of_file(path).search(Search(like=look(1, 2))).total == 0


def test_fields_that_are_no_json_do_not_end_a_search(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    rows = LocalRows(path)
    rows.write([record(0, file_name="truck.jpg", fields="{broken"), record(1, file_name="truck 2.jpg", fields="")])
    rows.close()
    assert LocalIndex.of_file(path).search(Search(words="truck")).total == 2


def test_a_file_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "rows.duckdb").write_bytes(b"no database" * 1000)
    for path in (tmp_path / "rows.duckdb", tmp_path / "nowhere" / "rows.duckdb"):
        with pytest.raises(SearchUnavailable):
            LocalIndex.of_file(path).search(Search())
        with pytest.raises(SearchUnavailable):
            LocalIndex.of_file(path).embedding_of("a" * 64)


# --- what the SQL is made of --------------------------------------------------------------------------------------


def test_texts_are_folded_as_duckdb_folds_them() -> None:
    """All characters but marks that this Python does not know yet."""
    characters = [chr(n) for n in range(32, 0x30000) if not 0xD800 <= n < 0xE000]
    table = pa.table({"c": characters})
    with duckdb.connect() as connection:
        connection.register("characters", table)
        rows = connection.execute(f"SELECT c, {conditions.folded('c')} FROM characters").fetchall()
    different = [c for c, by_duckdb in rows if fold(c) != by_duckdb]
    assert len(different) < 60
    assert all(ord(c) > 0x2FF and not c.isalnum() for c in different)


def test_addresses_are_in_their_order() -> None:
    draw = random.Random(2)
    groups = [
        [draw.choice([0, 0, 0, draw.getrandbits(16), draw.getrandbits(4)]) for _ in range(8)] for _ in range(5000)
    ]
    addresses = [ipaddress.ip_address(draw.getrandbits(32)) for _ in range(1000)]
    addresses += [ipaddress.ip_address(":".join(f"{group:x}" for group in each)) for each in groups]
    addresses += [ipaddress.ip_address(text) for text in ("::", "::1", "1::", "0.0.0.1", "255.255.255.255", "ff::ff:0")]
    table = pa.table({"source_ip": [str(address) for address in addresses]})
    with duckdb.connect() as connection:
        connection.register("addresses", table)
        rows = connection.execute(f"SELECT {conditions._ADDRESS} FROM addresses").fetchall()
    assert [key for (key,) in rows] == [conditions._key(address) for address in addresses]


def test_mistakes_are_those_that_a_distance_counts() -> None:
    """Damerau's, over words that are drawn close to each other."""
    draw = random.Random(4)
    with duckdb.connect() as connection:
        for word in ("truck", "holiday", "snowplough", "übersicht"):
            near = [word]
            for _ in range(400):
                letters = list(draw.choice(near[-50:]))
                place = draw.randrange(len(letters))
                how = draw.randrange(4)
                if how == 0:
                    letters.insert(place, draw.choice("abcdefxyzü"))
                elif how == 1 and len(letters) > 2:
                    del letters[place]
                elif how == 2:
                    letters[place] = draw.choice("abcdefxyzü")
                elif place + 1 < len(letters):
                    letters[place], letters[place + 1] = letters[place + 1], letters[place]
                near.append("".join(letters))
            folded, pattern = fold(word), patterns.mistyped(fold(word))
            assert pattern
            connection.register("near", pa.table({"w": [fold(each) for each in near]}))
            rows = connection.execute(
                f"SELECT w, regexp_matches(w, {conditions.text(pattern)}), damerau_levenshtein(w, {conditions.text(folded)})"
                " FROM near"
            ).fetchall()
            wrong = [
                (each, matches, distance) for each, matches, distance in rows if matches and distance > edits(folded)
            ]
            assert not wrong
            # One that needs letters to change places with others between them counts less in DuckDB than by this rule.
            missed = [each for each, matches, distance in rows if not matches and distance <= edits(folded)]
            assert len(missed) <= len(rows) // 50, missed
            assert sum(matches for _, matches, _ in rows) > 5


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("abc", 0),
        ("abcd", 1),
        ("abcdefg", 1),
        ("abcdefgh", 2),
        ("a" * 25, 0),
        ("img1", 0),
        ("20261101", 0),
        ("红色卡车红色", 0),
        ("🚚", 0),
    ],
)
def test_how_many_mistakes_a_word_may_have(word: str, count: int) -> None:
    assert edits(word) == count
    assert (patterns.mistyped(word) is None) == (count == 0)
