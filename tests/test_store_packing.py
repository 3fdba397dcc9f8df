"""Pictures of a batch in one object: what goes together, what stays alone, and what a failure costs."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.errors import (
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    RowStoreUnavailable,
    TooLarge,
    UriNotReadable,
    WarehouseError,
    WrongImageId,
)
from imagewarehouse.ids import event_time, new_request_id, utc_now
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.metadata import ACCEPTED, FAILED
from imagewarehouse.nifi.codec import event_attributes
from imagewarehouse.objects.batching import LARGEST_BATCH, PACKED_BELOW, groups
from imagewarehouse.objects.images import ImageStore, NewPicture
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.packs import PackPicture, make_pack, read_pack
from imagewarehouse.places import Known, PackedPlace
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations
from imagewarehouse.rows.locations import FirstPlaces, SqliteLocations, locations_of
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.standalone.local_kudu import LocalKudu
from imagewarehouse.steps.event import Facts, ImageEvent, Origin, Problem, Sender
from imagewarehouse.steps.outcome import FAILURE, REFUSED, RETRY, SUCCESS, Outcome
from imagewarehouse.steps.recording import RecordImages
from imagewarehouse.steps.storing import StoreImages
from tests.conftest import Hosted, until
from tests.pictures import numbered
from tests.running import Service, post
from tests.test_steps import NOBODY, WAITS, AnImage, Rows
from tests.ways import listened, make_way, package, packaged_flow_file

MOMENT = datetime(2026, 11, 30, 23, 59, 59, 123456, timezone.utc)
DAY = "2026-11-30"
SMALL = [numbered(n) for n in range(8)]
LARGE = [bytes([n]) * PACKED_BELOW for n in range(2)]


class Failing:
    """A folder that takes so many objects, and then says why not."""

    connections, largest = 1, None

    def __init__(self, folder: Path, takes: int, error: Exception) -> None:
        self._store = open_store(Location.parse(str(folder)))
        self.location = self._store.location
        self.takes, self.error = takes, error

    def put_if_absent(self, key: str, content: bytes) -> bool:
        if self.takes <= 0:
            raise self.error
        self.takes -= 1
        return self._store.put_if_absent(key, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def objects(tmp_path: Path) -> ImageStore:
    return ImageStore(open_store(Location.parse(str(tmp_path / "objects"))))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def new(content: bytes, **values: Any) -> NewPicture:
    return NewPicture(sha256(content), "JPEG", content, time=int(MOMENT.timestamp()), **values)


def keys(objects: ImageStore) -> list[str]:
    return sorted(found.key for found in objects.store.list())


def image(content: bytes, sender: Sender = NOBODY, **values: Any) -> AnImage:
    request_id = new_request_id(MOMENT)
    facts = Facts(sha256(content), "JPEG", 32, 32, notes='["exif.gps"]')
    event = ImageEvent(request_id, event_time(request_id), ACCEPTED, Origin(sender, source_user="camera"), facts)
    return AnImage(replace(event, **values), content)


def packing(store: ImageStore, images: Sequence[AnImage]) -> list[Outcome]:
    return StoreImages(store, pack=True).process(images)


def place(uri: object) -> PackedPlace:
    found = PackedPlace.parse(str(uri))
    assert found is not None, uri
    return found


# --- which pictures share an object -------------------------------------------------------------------------------


def packed(*sizes: int) -> list[PackPicture]:
    return [PackPicture(f"{n:064x}", "jpg", bytes(size)) for n, size in enumerate(sizes)]


def sizes(largest: int | None, *given: int) -> list[list[int]]:
    return [[len(picture.content) for picture in group] for group in groups(packed(*given), largest)]


def test_small_pictures_share_an_object_and_large_ones_stay_alone() -> None:
    assert sizes(None, 10, PACKED_BELOW, 20, PACKED_BELOW - 1) == [[10, 20, PACKED_BELOW - 1], [PACKED_BELOW]]
    assert sizes(None) == []


@pytest.mark.parametrize("largest", [LARGEST_BATCH, 1_000_000, 50_000])
def test_no_object_is_larger_than_its_store_takes(largest: int) -> None:
    pictures = packed(*[9000] * (LARGEST_BATCH // 9000 // 8))
    made = groups(pictures * 2, largest)
    assert [picture for group in made for picture in group] == pictures * 2
    assert max(len(make_pack(group).content) for group in groups(pictures, largest)) <= largest


# --- the store ----------------------------------------------------------------------------------------------------


def test_pictures_of_a_batch_are_one_object_and_each_comes_back(objects: ImageStore) -> None:
    uris = objects.put_batch([new(content) for content in SMALL])
    (key,) = keys(objects)
    pack = objects.store.get(key)
    assert key == f"batches/{DAY}/{sha256(pack)}.tar"
    for uri, content in zip(uris, SMALL, strict=True):
        found = place(uri)
        assert found.pack == objects.location.child(key)
        assert pack[found.start : found.start + found.size] == content
        assert objects.get(str(uri), len(content)) == content


def test_large_pictures_and_a_picture_without_company_are_objects_of_their_own(objects: ImageStore) -> None:
    large = [sha256(content) for content in LARGE]
    uris = objects.put_batch([new(LARGE[0]), new(SMALL[0]), new(LARGE[1])])
    wanted = [f"{image_id[:2]}/{image_id}.jpg" for image_id in (large[0], sha256(SMALL[0]), large[1])]
    assert uris == [objects.location.child(key) for key in wanted]
    assert keys(objects) == sorted(wanted)
    assert objects.put_batch([new(SMALL[0])]) == [objects.put(sha256(SMALL[0]), "JPEG", SMALL[0])]


def test_a_picture_that_comes_twice_in_a_batch_lies_there_once(objects: ImageStore) -> None:
    first, other, again = objects.put_batch([new(SMALL[0]), new(SMALL[1]), new(SMALL[0])])
    assert first == again != other
    (key,) = keys(objects)
    assert len(read_pack(objects.store.get(key), key).entries) == 2
    assert objects.put_batch([new(SMALL[2]), new(SMALL[2])]) == [objects.put(sha256(SMALL[2]), "JPEG", SMALL[2])] * 2


def test_a_batch_that_is_stored_again_is_the_same_object(objects: ImageStore) -> None:
    pictures = [new(content) for content in SMALL]
    first = objects.put_batch(pictures)
    (before,) = objects.store.list()
    assert objects.put_batch(pictures) == first
    assert list(objects.store.list()) == [before]


def test_a_wrong_id_costs_only_its_own_picture(objects: ImageStore) -> None:
    wrong = NewPicture(sha256(SMALL[0]), "JPEG", b"other bytes")
    *others, last = objects.put_batch([wrong, NewPicture("../../etc", "JPEG", b""), new(SMALL[0]), new(SMALL[1])])
    assert [type(outcome) for outcome in others] == [WrongImageId, WrongImageId, str]
    assert objects.get(str(others[2]), 10_000) == SMALL[0]
    assert objects.get(str(last), 10_000) == SMALL[1]


def test_a_packed_picture_is_read_within_its_limits(objects: ImageStore) -> None:
    uri = str(objects.put_batch([new(content) for content in SMALL])[0])
    with pytest.raises(TooLarge):
        objects.get(uri, len(SMALL[0]) - 1)
    for unreadable in (f"file:///elsewhere/a.tar#{uri.partition('#')[2]}", uri.replace(".tar#", ".tas#"),
                       str(replace(place(uri), start=10**9))):  # fmt: skip
        with pytest.raises(UriNotReadable):
            objects.get(unreadable, 10_000)


# --- the step -----------------------------------------------------------------------------------------------------


def test_beside_a_picture_lies_what_was_known_of_it(objects: ImageStore) -> None:
    retried = image(SMALL[0], storage_uri="file:///made-up", problem=Problem("objects.unavailable", "away"))
    outcomes = packing(objects, [retried, image(SMALL[1])])
    assert {outcome.way for outcome in outcomes} == {SUCCESS}
    (key,) = keys(objects)
    with tarfile.open(fileobj=io.BytesIO(objects.store.get(key))) as tar:
        names = [member.name for member in tar.getmembers()]
        member = tar.getmember(f"{sha256(SMALL[0])}.json")
        record = json.load(tar.extractfile(member))  # type: ignore[arg-type]
    assert names == [f"{sha256(content)}.{suffix}" for content in SMALL[:2] for suffix in ("jpg", "json")]
    assert member.mtime == int(MOMENT.timestamp())
    assert record == {
        "event_time": "2026-11-30T23:59:59.123456Z", "image_id": sha256(SMALL[0]), "format": "JPEG", "width": 32,
        "height": 32, "notes": ["exif.gps"],
    }  # fmt: skip


def test_images_know_their_place_and_an_image_without_an_id_gets_one(objects: ImageStore) -> None:
    without = image(SMALL[0], facts=Facts(None, "PNG"))
    outcomes = packing(objects, [without, *(image(content) for content in SMALL[1:])])
    for outcome, content in zip(outcomes, SMALL, strict=True):
        assert outcome.event.facts.image_id == sha256(content)
        assert place(outcome.event.storage_uri)
        assert objects.get(outcome.event.storage_uri or "", 10_000) == content


def test_without_packing_each_image_is_an_object(objects: ImageStore) -> None:
    outcomes = StoreImages(objects).process([image(content) for content in SMALL])
    assert len(keys(objects)) == len(SMALL)
    assert [PackedPlace.parse(outcome.event.storage_uri) for outcome in outcomes] == [None] * len(SMALL)


@pytest.mark.parametrize(
    ("error", "ways"),
    [
        (ObjectStoreUnavailable("full"), (RETRY, REFUSED)),
        (ObjectStoreRefused("no"), (RETRY, REFUSED)),
        (WrongImageId("for good"), (FAILURE, FAILURE)),
    ],
)
def test_an_object_that_is_not_written_costs_its_own_pictures_and_no_others(
    tmp_path: Path, error: Exception, ways: tuple[str, str]
) -> None:
    """The large picture comes first and is stored; then the store fails at the object of the others."""
    objects = ImageStore(Failing(tmp_path / "objects", 1, error))
    images = [image(LARGE[0]), image(SMALL[0]), image(SMALL[1], WAITS)]
    stored, acknowledged, waiting = packing(objects, images)
    assert (stored.way, acknowledged.way, waiting.way) == (SUCCESS, *ways)
    assert keys(objects) == [f"{sha256(LARGE[0])[:2]}/{sha256(LARGE[0])}.jpg"]
    if acknowledged.way == RETRY:
        assert acknowledged.event is images[1].event
    assert (waiting.event.status, waiting.event.storage_uri) == (FAILED, None)


def test_the_second_object_of_a_batch_fails_alone_and_the_next_try_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagewarehouse.objects.batching.LARGEST_BATCH", 30_000)  # three or four pictures
    failing = Failing(tmp_path / "objects", 1, ObjectStoreUnavailable("away"))
    objects, images = ImageStore(failing), [image(content) for content in SMALL]
    ways = [outcome.way for outcome in packing(objects, images)]
    stored = ways.index(RETRY)
    assert 1 < stored < len(ways)
    assert ways == [SUCCESS] * stored + [RETRY] * (len(ways) - stored)
    (before,) = failing.list()
    failing.takes = 100
    outcomes = packing(objects, images)  # the whole package comes again
    assert {outcome.way for outcome in outcomes} == {SUCCESS}
    assert before in list(failing.list())
    for outcome, content in zip(outcomes, SMALL, strict=True):
        assert objects.get(outcome.event.storage_uri or "", 10_000) == content
    assert len({place(outcome.event.storage_uri).pack for outcome in outcomes}) == len(keys(objects)) > 1


# --- rows and places ----------------------------------------------------------------------------------------------


class Places:
    """A table of places that keeps its errors for who asks."""

    def __init__(self, error: WarehouseError | None = None) -> None:
        self.error = error
        self.asked: list[Mapping[str, str]] = []

    def add(self, places: Mapping[str, str]) -> None:
        self.asked.append(places)
        if self.error is not None:
            raise self.error


def recording(images: Sequence[AnImage], places: Any, rows: Rows) -> list[Outcome]:
    return RecordImages(GroupCommit(rows), "a node", places=places).process(images)


PACKED = str(PackedPlace("file:///objects/batches/2026-11-30/ab.tar", 512, 100))


def test_only_images_in_packs_cost_a_place_and_all_of_a_batch_cost_one_call() -> None:
    places, rows = Places(), Rows()
    recording([image(SMALL[0], storage_uri="file:///objects/ab/abcd.jpg"), image(SMALL[1])], places, rows)
    assert places.asked == []
    recording([image(content, storage_uri=PACKED) for content in SMALL], places, rows)
    assert places.asked == [{sha256(content): PACKED for content in SMALL}]
    assert len(rows.rows) == 2 + len(SMALL)


@pytest.mark.parametrize(("sender", "way"), [(NOBODY, RETRY), (WAITS, REFUSED)])
def test_no_row_is_written_whose_place_is_not_known(sender: Sender, way: str) -> None:
    rows, places = Rows(), Places(RowStoreUnavailable("away"))
    alone, in_a_pack = image(SMALL[0], sender), image(SMALL[1], sender, storage_uri=PACKED)
    outcomes = recording([alone, in_a_pack], places, rows)
    assert [outcome.way for outcome in outcomes] == [SUCCESS, way]
    assert [row.request_id for row in rows.rows] == [alone.event.request_id]
    if way == RETRY:
        assert outcomes[1].event is in_a_pack.event


def test_the_table_is_opened_for_the_first_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb.locations"
    places = FirstPlaces(lambda: SqliteLocations(path))
    places.close()
    assert not path.exists()
    places.add({"a": PACKED})
    opened = SqliteLocations(path)
    assert opened.find(["a"]) == {"a": Known(PACKED)}
    opened.close()
    places.close()


def test_images_wait_for_a_table_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb.locations"
    path.mkdir()
    rows, places = Rows(), FirstPlaces(lambda: SqliteLocations(path))
    came = image(SMALL[0], storage_uri=PACKED)
    assert [outcome.way for outcome in recording([came], places, rows)] == [RETRY]
    path.rmdir()
    assert [outcome.way for outcome in recording([came], places, rows)] == [SUCCESS]
    places.close()


def test_put_kudu_record_writes_places_beside_the_local_database(hosted: Callable[..., Hosted], tmp_path: Path) -> None:
    host = hosted("PutKuduRecord", {"Local Database": str(tmp_path / "rows.duckdb")})
    attributes = attributes_of(image(SMALL[0]))
    assert host.transform(b"", attributes).relationship == "success"
    assert not (tmp_path / "rows.duckdb.locations").exists()
    assert host.transform(b"", {**attributes, "storage_uri": PACKED}).relationship == "success"
    found = SqliteLocations(locations_of(tmp_path / "rows.duckdb"))
    assert found.find([sha256(SMALL[0])]) == {sha256(SMALL[0]): Known(PACKED)}
    found.close()


def test_put_kudu_record_writes_places_into_kudu(hosted: Callable[..., Hosted], kudu: LocalKudu) -> None:
    table = f"packed_{uuid.uuid4().hex}"
    writer = connect(KuduSettings(kudu.masters))
    host = hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, "Table Name": table})
    attributes = attributes_of(image(SMALL[0]))
    assert host.transform(b"", attributes).relationship == "success"
    assert f"{table}_locations" not in writer.tables()
    assert host.transform(b"", {**attributes, "storage_uri": PACKED}).relationship == "success"
    (row,) = writer.scan(table, ["image_id", "storage_uri"]).to_pylist()
    assert row == {"image_id": sha256(SMALL[0]), "storage_uri": PACKED}
    places = KuduLocations(writer, image_locations(f"{table}_locations"))
    assert places.find([sha256(SMALL[0])]) == {sha256(SMALL[0]): Known(PACKED)}
    for made in (table, f"{table}_locations"):
        writer.drop(made)
    writer.close()


@pytest.mark.parametrize("in_one_process", [False, True], ids=["nifi", "standalone"])
def test_a_package_through_all_steps_leaves_rows_places_and_what_was_known(
    hosted: Callable[..., Hosted], tmp_path: Path, colour_model: Path, in_one_process: bool
) -> None:
    steps = make_way(hosted, tmp_path, colour_model, {"StoreImage": {"Store Pack": "true"}}, True)
    sent = [(listened("image/jpeg"), content) for content in [*SMALL, b"no picture", SMALL[0]]]
    if in_one_process:
        steps.carry(packaged_flow_file(sent))
    else:
        steps.run(*package(sent))
    assert steps.ways() == ["success"] * 5
    rows = [row for row in steps.rows().values() if row["status"] == "classified"]
    assert len(rows) == len(SMALL) + 1
    (path,) = tmp_path.rglob("batches/*/*.tar")
    pack = path.read_bytes()
    records = {}
    for entry in read_pack(pack, path.name).entries:
        content = pack[entry.start : entry.start + entry.size]
        assert content in SMALL
        records[entry.image_id] = json.loads(pack[entry.record_start : entry.record_start + entry.record_size])
    assert len(records) == len(SMALL)
    (database,) = tmp_path.rglob("*.locations")
    table = SqliteLocations(database)
    known = table.find(records)
    table.close()
    for row in rows:
        found = place(row["storage_uri"])
        assert known[row["image_id"]] == Known(str(found))
        assert sha256(pack[found.start : found.start + found.size]) == row["image_id"]
        record = records[row["image_id"]]
        assert (record["size_bytes"], record["width"]) == (found.size, 32)
        assert not {"source_ip", "source_user", "file_name", "request_id"} & record.keys()


def attributes_of(image: AnImage) -> dict[str, str]:
    return event_attributes(image.event)


# --- the whole service --------------------------------------------------------------------------------------------


class Sent:
    """Requests that were acknowledged, by their key: which picture each brought."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self.acknowledged: dict[str, bytes] = {}

    def send(self, key: str, content: bytes) -> None:
        """One try. What is not acknowledged has to be sent again, under the same key."""
        headers = {"Content-Type": "image/jpeg", "Idempotency-Key": key}
        with suppress(OSError, HTTPException):
            if post(self._service.images_url, content, headers, timeout=10).status == 202:
                with self._lock:
                    self.acknowledged[key] = content

    def check(self) -> tuple[int, int]:
        """Each request has one row, and its bytes are at both places: that of the row and that of the table. Gives how many
        rows are of images in packs, and how many packs there are.
        """
        data = self._service.data
        rows = self._service.rows("SELECT request_id, status, image_id, storage_uri FROM image_events")
        assert sorted(row["request_id"] for row in rows) == sorted(self.acknowledged)
        objects = ImageStore(open_store(Location.parse(str(data / "objects"))))
        table = SqliteLocations(locations_of(data / "rows.duckdb"))
        known = table.find(row["image_id"] for row in rows)
        table.close()
        packed = 0
        for row in rows:
            content = self.acknowledged[row["request_id"]]
            assert (row["status"], row["image_id"]) == ("classified", sha256(content))
            assert objects.get(row["storage_uri"], 10_000) == content
            if PackedPlace.parse(row["storage_uri"]):
                packed += 1
                assert objects.get(known[row["image_id"]].uri, 10_000) == content
        return packed, len(list(objects.store.list("batches")))


def test_a_burst_becomes_packs_and_every_picture_is_at_its_place(tmp_path: Path) -> None:
    pictures = [numbered(n % 250) for n in range(300)]  # some come twice
    with Service(tmp_path / "data", {"store.pack": "true"}) as service:
        sent = Sent(service)
        with ThreadPoolExecutor(24) as pool:
            list(pool.map(sent.send, (new_request_id(utc_now()) for _ in pictures), pictures))
        assert len(sent.acknowledged) == 300
        assert until(lambda: service.count() == 300, 60, every=0.2)
        packed, packs = sent.check()
    assert packed > 100
    assert packs < packed / 2


def test_a_service_that_is_killed_again_and_again_loses_no_picture_and_points_nowhere(tmp_path: Path) -> None:
    kills, each = 20, 60
    service = Service(tmp_path / "data", {"store.pack": "true"})
    sent = Sent(service)
    due = {new_request_id(utc_now()): numbered(n % 1000) for n in range(kills * each)}
    under_way = 0
    for number in range(kills):
        service.start()
        batch = [key for key in due if key not in sent.acknowledged][:each]
        before = len(sent.acknowledged)
        with ThreadPoolExecutor(12) as pool:
            sending = [pool.submit(sent.send, key, due[key]) for key in batch]
            assert until(lambda: len(sent.acknowledged) > before + 2 * number, 20)  # noqa: B023 - called in this round
            service.kill()
            wait(sending)
        service.log.close()
        under_way += any(key not in sent.acknowledged for key in batch)
    assert under_way > kills / 2, "killed too late to show anything"
    with service:
        while rest := [key for key in due if key not in sent.acknowledged]:
            with ThreadPoolExecutor(12) as pool:
                list(pool.map(lambda key: sent.send(key, due[key]), rest))
        assert until(lambda: service.count() == len(due), 60, every=0.2)
        time.sleep(1)  # a replay that were a second row would come by now
        packed, packs = sent.check()
    assert packed > len(due) / 4
    assert packs > kills
