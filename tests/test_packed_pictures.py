"""Reading pictures that lie in packs: by the table of places, by their row, over HTTP, by `get` and `export`; on S3 as well."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest

from imagewarehouse.cli.getting import settings_of
from imagewarehouse.cli.main import call
from imagewarehouse.errors import ConfigurationError, ObjectDamaged, ObjectMissing, RowStoreUnavailable
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.reading import PIECE, StoredImages, read_image
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import Known, PackedPlace
from imagewarehouse.rows.locations import ReadLocations, SqliteLocations, locations_of
from tests.object_services import S3_KEY, S3_SECRET
from tests.object_services import Service as StoreService
from tests.pictures import noise, numbered
from tests.running import Service, post
from tests.warehouses import Warehouse, put_batch

WHEN = datetime(2026, 11, 30, tzinfo=timezone.utc)
CONTENTS = [numbered(number) for number in range(5)]
IDS = [hashlib.sha256(content).hexdigest() for content in CONTENTS]


class Told:
    """A table of places that has an answer for each time it is asked, the last one from then on."""

    def __init__(self, *answers: dict[str, Known]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def find(self, image_ids: Iterable[str]) -> dict[str, Known]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return {image_id: answer[image_id] for image_id in image_ids if image_id in answer}


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(Location.parse(str(tmp_path / "objects")))


def known(places: dict[str, str]) -> dict[str, Known]:
    return {image_id: Known(uri) for image_id, uri in places.items()}


# --- where --------------------------------------------------------------------------------------------------------


def test_a_packed_picture_is_found_by_the_table_with_one_question_to_the_store(store: ObjectStore) -> None:
    images = StoredImages(store, Told(known(put_batch(store, CONTENTS, "webp"))))
    questions: list[tuple[str, int, int | None]] = []
    get = store.get
    store.get = lambda key, start=0, length=None, most=None: (  # type: ignore[method-assign]
        questions.append((key, start, length)) or get(key, start, length, most)  # type: ignore[func-returns-value]
    )
    for image_id, content in zip(IDS, CONTENTS, strict=True):
        place = images.find(image_id)
        assert place is not None
        assert (place.file_name, place.media_type, place.size) == (f"{image_id}.webp", "image/webp", len(content))
        assert read_image(images, place) == content
    assert len(questions) == len(IDS)


def test_without_the_table_a_row_says_where_it_is(store: ObjectStore) -> None:
    places = put_batch(store, CONTENTS)
    images = StoredImages(store)
    assert images.find(IDS[1]) is None
    place = images.find(IDS[1], "jpg", places[IDS[1]])
    assert place is not None
    assert read_image(images, place) == CONTENTS[1]


def test_the_table_comes_before_the_row_and_that_before_an_object_of_its_own(store: ObjectStore) -> None:
    of_table, of_row = put_batch(store, CONTENTS[:2]), put_batch(store, CONTENTS[1:])
    own = f"{IDS[1][:2]}/{IDS[1]}.jpg"
    store.put_if_absent(own, CONTENTS[1])

    def key(images: StoredImages, stored: str | None = of_row[IDS[1]]) -> str:
        place = images.find(IDS[1], "jpg", stored)
        assert place is not None
        return place.key

    assert of_table[IDS[1]].startswith(store.location.child(key(StoredImages(store, Told(known(of_table))))))
    assert of_row[IDS[1]].startswith(store.location.child(key(StoredImages(store, Told({})))))
    assert key(StoredImages(store, Told({})), None) == own


def test_a_forgotten_picture_is_not_there_whatever_a_row_says(store: ObjectStore) -> None:
    places = put_batch(store, CONTENTS)
    images = StoredImages(store, Told({IDS[0]: Known(places[IDS[0]], WHEN)}))
    assert images.find(IDS[0], "jpg", places[IDS[0]]) is None


def test_who_finds_nothing_asks_the_table_again(store: ObjectStore) -> None:
    before = known(put_batch(store, CONTENTS[:3]))
    moved = known(put_batch(store, CONTENTS))
    parts = PackedPlace.parse(before[IDS[2]].uri)
    assert parts is not None
    store.delete(str(store.location.key_of(parts.pack)))
    table = Told(before, moved)
    place = StoredImages(store, table).find(IDS[2])
    assert place is not None
    assert table.asked == 2
    table = Told({}, moved)  # its own object was taken into a pack between two questions
    assert StoredImages(store, table).find(IDS[2]) == place
    assert StoredImages(store, Told(before)).find(IDS[2]) is None


def test_a_large_picture_that_is_moved_while_it_is_read_is_read_on(store: ObjectStore) -> None:
    content = bytes(range(256)) * (PIECE // 100)
    image_id = hashlib.sha256(content).hexdigest()
    before, moved = known(put_batch(store, [content])), known(put_batch(store, [CONTENTS[0], content]))
    table = Told(before, moved)
    images = StoredImages(store, table)
    place = images.find(image_id)
    assert place is not None
    store.delete(place.key)
    assert read_image(images, place) == content
    gone = StoredImages(store, Told(before))
    with pytest.raises(ObjectMissing):
        read_image(gone, place)


def test_a_place_with_other_bytes_is_damaged(store: ObjectStore) -> None:
    places = put_batch(store, CONTENTS)
    packed = PackedPlace.parse(places[IDS[0]])
    assert packed is not None
    for other in (
        PackedPlace(packed.pack, packed.start + 512, packed.size),
        PackedPlace(packed.pack, packed.start, 10**6),
        PackedPlace(packed.pack, 5, 5),
    ):
        with pytest.raises(ObjectDamaged):
            StoredImages(store, Told({IDS[0]: Known(str(other))})).find(IDS[0])


def test_a_reader_makes_no_table_and_sees_one_that_comes(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb.locations"
    reader = ReadLocations(path)
    assert reader.find(IDS) == {}
    assert list(tmp_path.iterdir()) == []
    table = SqliteLocations(path)
    table.add({IDS[0]: "there"})
    assert reader.find(IDS) == {IDS[0]: Known("there")}
    table.add({IDS[1]: "there as well"})
    assert set(reader.find(IDS)) == set(IDS[:2])
    table.close()
    assert set(ReadLocations(path).find(IDS)) == set(IDS[:2])
    reader.close()
    broken = tmp_path / "broken.locations"
    broken.write_bytes(b"no table" * 100)
    with pytest.raises(RowStoreUnavailable, match=r"broken.locations"):
        ReadLocations(broken).find(IDS)


# --- get and export -----------------------------------------------------------------------------------------------


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Five pictures in one batch, the table of places, and a row for each."""
    made = Warehouse(tmp_path / "data")
    places = put_batch(made.store.store, CONTENTS)
    for content in CONTENTS:
        made.add(content, storage_uri=places[hashlib.sha256(content).hexdigest()])
    for record in made.records:  # that `add` has written
        made.path(record).unlink()
    table = SqliteLocations(locations_of(made.data / "rows.duckdb"))
    table.add(places)
    table.close()
    return made.close()


def repack(warehouse: Warehouse) -> None:
    """As a compaction does it: the rows still say the old place."""
    store = warehouse.store.store
    old = [found.key for found in store.list("batches")]
    table = SqliteLocations(locations_of(warehouse.data / "rows.duckdb"))
    places = put_batch(store, [noise(9), *CONTENTS])
    table.forget(IDS, WHEN)
    table.add(places)
    table.close()
    for key in old:
        store.delete(key)


@pytest.mark.parametrize("moved", [False, True])
def test_get_and_export_find_packed_pictures(
    warehouse: Warehouse, moved: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if moved:
        repack(warehouse)
    for number, image_id in enumerate(IDS):
        assert call(["get", "--data", str(warehouse.data), image_id[:12], "-o", f"{number}.jpg"]) == 0
        assert Path(f"{number}.jpg").read_bytes() == CONTENTS[number]
    database = str(warehouse.data / "rows.duckdb")
    assert call(["get", "--database", database, IDS[0]]) == 0
    assert Path(f"{IDS[0]}.jpg").read_bytes() == CONTENTS[0]
    assert call(["export", "--data", str(warehouse.data), "--as", "folder", "out"]) == 0
    written = {path.name: path.read_bytes() for path in Path("out/cat").iterdir()}
    assert written == {f"{image_id}.jpg": content for image_id, content in zip(IDS, CONTENTS, strict=True)}


def test_packed_pictures_of_a_folder_that_has_moved(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    moved = (warehouse.data / "objects").rename(tmp_path / "moved")
    assert call(["get", "--data", str(warehouse.data), "--store", str(moved), IDS[3]]) == 0
    assert Path(f"{IDS[3]}.jpg").read_bytes() == CONTENTS[3]


def test_a_running_service_gives_packed_pictures(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Service(warehouse.data) as service:
        for again in (False, True):
            address = f"http://127.0.0.1:{service.images_port}/images/"
            for image_id, content in zip(IDS, CONTENTS, strict=True):
                answer = httpx.get(address + image_id)
                assert (answer.status_code, answer.content) == (200, content)
                assert answer.headers["content-type"] == "image/jpeg"
            ranged = httpx.get(address + IDS[2], headers={"Range": "bytes=5-20"})
            assert (ranged.status_code, ranged.content) == (206, CONTENTS[2][5:21])
            assert httpx.get(f"{address}{IDS[int(again)]}/thumbnail?size=16").status_code == 200
            # Its socket is asked for the place: the file beside the rows is away from where the command would look.
            assert call(["get", "--data", str(service.data), IDS[4], "-o", f"{again}.jpg"]) == 0
            assert Path(f"{again}.jpg").read_bytes() == CONTENTS[4]
            if not again:
                repack(warehouse)
        table = SqliteLocations(locations_of(warehouse.data / "rows.duckdb"))
        table.forget(IDS[:1], WHEN)
        assert httpx.get(address + IDS[0]).status_code == 404


def test_the_service_is_asked_for_places_where_the_rows_are_in_another_file(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    repack(warehouse)
    elsewhere = {"rows.database": str(warehouse.data / "rows.duckdb"), "store.uri": str(warehouse.data / "objects")}
    with Service(tmp_path / "other", elsewhere) as service:
        assert call(["get", "--data", str(service.data), IDS[4], "-o", "a.jpg"]) == 0
        assert Path("a.jpg").read_bytes() == CONTENTS[4]
        assert call(["export", "--data", str(service.data), "--as", "folder", "out"]) == 0
        assert len(list(Path("out/cat").iterdir())) == 5


# --- how a store is reached ---------------------------------------------------------------------------------------


def test_settings_come_from_the_environment_and_from_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWAREHOUSE_STORE_ENDPOINT", "http://there:1")
    monkeypatch.setenv("IMAGEWAREHOUSE_STORE_SECRET_KEY", "secret")
    monkeypatch.setenv("IMAGEWAREHOUSE_STORE_READ_TIMEOUT", "9 sec")
    settings = settings_of(["store.endpoint=http://here:2", "store.path.style=false", "store.connect.timeout=500 ms"])
    assert (settings.endpoint, settings.secret_key, settings.path_style) == ("http://here:2", "secret", False)
    assert (settings.connect_s, settings.answer_s) == (0.5, 9.0)


@pytest.mark.parametrize(
    "text",
    ["store.endpoint", "store.endpont=x", "http.images.port=1", "store.path.style=yes", "store.read.timeout=soon"],
)
def test_a_setting_that_is_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\."):
        settings_of([text])


def test_a_store_whose_endpoint_and_login_are_settings_is_read(
    s3_service: StoreService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "IMAGEWAREHOUSE_STORE_ENDPOINT": f"http://127.0.0.1:{s3_service.port}",
        "IMAGEWAREHOUSE_STORE_REGION": "eu-central-1",
        "IMAGEWAREHOUSE_STORE_ACCESS_KEY": S3_KEY,
        "IMAGEWAREHOUSE_STORE_SECRET_KEY": S3_SECRET,
        "IMAGEWAREHOUSE_STORE_CONNECT_TIMEOUT": "20 sec",
        "IMAGEWAREHOUSE_STORE_READ_TIMEOUT": "60 sec",
    }
    with Service(tmp_path / "data", {"store.uri": "s3://bucket/read"}, settings) as service:
        answer = post(service.classify_url, numbered(5), {"Content-Type": "image/jpeg"}).json()
        assert answer["storage_uri"].startswith("s3://bucket/read/")
        address = f"http://127.0.0.1:{service.images_port}/images/{answer['image_id']}"
        picture, small = httpx.get(address, timeout=60), httpx.get(f"{address}/thumbnail", timeout=60)
        assert (picture.status_code, picture.content, small.status_code) == (200, numbered(5), 200)
    command: Callable[[str], list[str]] = lambda name: ["get", "--data", "data", answer["image_id"], "-o", name]  # noqa: E731
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert call(command("a.jpg")) == 0
    assert call(["export", "--data", "data", "--as", "folder", "out"]) == 0
    monkeypatch.delenv("IMAGEWAREHOUSE_STORE_ENDPOINT")
    assert call([*command("b.jpg"), "--set", f"store.endpoint=http://127.0.0.1:{s3_service.port}"]) == 0
    assert Path("a.jpg").read_bytes() == Path("b.jpg").read_bytes() == numbered(5)
    assert sum(1 for path in Path("out").rglob("*.jpg")) == 1
