"""The table of the places of packed images: one contract, in SQLite and in Kudu."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.places import Known, Locations, Move
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
from imagewarehouse.rows.locations import SqliteLocations, locations_of

WHEN = datetime(2026, 11, 30, 12, 0, 0, 123456, timezone.utc)
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture(params=["sqlite", "kudu"])
def locations(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Locations]:
    if request.param == "sqlite":
        opened = SqliteLocations(locations_of(tmp_path / "rows.duckdb"))
        yield opened
        opened.close()
        return
    writer = connect(KuduSettings(request.getfixturevalue("kudu").masters))
    table = f"test_{uuid.uuid4().hex}_locations"
    in_kudu = KuduLocations(writer, image_locations(table, replicas=1))
    yield in_kudu
    in_kudu.close()
    if table in writer.tables():
        writer.drop(table)
    writer.close()


def test_the_first_place_of_an_image_stays(locations: Locations) -> None:
    locations.add({A: "s3://b/1#bytes=0-1", B: "s3://b/1#bytes=2-3"})
    locations.add({A: "s3://b/2#bytes=0-1"})
    assert locations.find([A, B, C]) == {A: Known("s3://b/1#bytes=0-1"), B: Known("s3://b/1#bytes=2-3")}


def test_only_who_lies_where_it_was_is_moved(locations: Locations) -> None:
    locations.add({A: "old", B: "elsewhere"})
    locations.move([Move(A, "old", "new"), Move(B, "old", "new"), Move(C, "old", "new")])
    assert locations.find([A, B, C]) == {A: Known("new"), B: Known("elsewhere"), C: Known("new")}


def test_a_forgotten_image_keeps_its_place_and_is_not_moved(locations: Locations) -> None:
    locations.add({A: "old", B: "old"})
    locations.forget([A, C], WHEN)
    locations.move([Move(A, "old", "new")])
    assert locations.forgotten() == {A: Known("old", WHEN)}
    assert locations.find([A, C]) == {A: Known("old", WHEN)}


def test_an_image_that_comes_again_is_forgotten_no_more(locations: Locations) -> None:
    locations.add({A: "old"})
    locations.forget([A], WHEN)
    locations.add({A: "again"})
    assert locations.find([A]) == {A: Known("again")}
    assert locations.forgotten() == {}


def test_only_forgotten_images_are_dropped(locations: Locations) -> None:
    locations.add({A: "old", B: "old"})
    locations.forget([A], WHEN)
    locations.drop([A, B, C])
    assert locations.find([A, B]) == {B: Known("old")}


def test_thousands_are_found_at_once(locations: Locations) -> None:
    places = {f"{number:064x}": f"pack#bytes={number}-{number}" for number in range(3000)}
    locations.add(places)
    assert locations.find(places) == {image_id: Known(uri) for image_id, uri in places.items()}


def test_a_table_without_places_says_so(locations: Locations) -> None:
    assert locations.find([A]) == locations.find([]) == locations.forgotten() == {}
    locations.forget([A], WHEN)
    locations.drop([A])
    locations.move([])
    locations.add({})
    assert locations.find([A]) == {}


def test_a_move_that_is_made_twice_changes_nothing_more(locations: Locations) -> None:
    locations.add({A: "old", B: "old"})
    for _ in range(2):
        locations.move([Move(A, "old", "new"), Move(C, "old", "new")])
    assert locations.find([A, B, C]) == {A: Known("new"), B: Known("old"), C: Known("new")}


def test_old_and_new_images_are_added_together(locations: Locations) -> None:
    locations.add({A: "first", B: "first"})
    locations.forget([B], WHEN)
    locations.add({A: "second", B: "second", C: "second"})
    assert locations.find([A, B, C]) == {A: Known("first"), B: Known("second"), C: Known("second")}


@pytest.mark.parametrize(
    ("rows", "places"),
    [("image_events", "image_locations"), ("impala::a.image_events", "impala::a.image_locations"),
     ("image_events_2", "image_locations_2"), ("mine", "mine_locations")],
)  # fmt: skip
def test_each_table_of_rows_has_one_of_places(rows: str, places: str) -> None:
    assert locations_table(rows) == places


def test_several_processes_write_and_read(tmp_path: Path) -> None:
    path = locations_of(tmp_path / "rows.duckdb")
    opened = [SqliteLocations(path) for _ in range(4)]

    def write(number: int) -> None:
        for item in range(50):
            opened[number].add({f"{number * 1000 + item:064x}": "pack#bytes=0-1"})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = [f"{number * 1000 + item:064x}" for number in range(4) for item in range(50)]
    assert len(opened[0].find(wanted)) == 200
    for each in opened:
        each.close()


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb.locations"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ConfigurationError, match=r"rows.duckdb.locations"):
        SqliteLocations(path)
