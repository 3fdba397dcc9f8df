"""`imagewarehouse forget`: rows, thumbnails and bytes are gone, what others have sent stays, wherever it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.images.thumbnails import Thumbnail
from imagewarehouse.keeping.pictures import StoredPictures
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.objects.compacting import Compaction
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.reading import StoredImages
from imagewarehouse.places import PackedPlace
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu import KuduRows, image_events
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
from imagewarehouse.rows.locations import SqliteLocations, locations_of
from imagewarehouse.rows.reading import read
from imagewarehouse.standalone.local_kudu import LocalKudu
from imagewarehouse.standalone.thumbnails import ThumbnailCache
from tests.conftest import until
from tests.pictures import numbered
from tests.row_processes import WRITER, finish, first_line, start
from tests.running import Service, post
from tests.warehouses import FIRST, Warehouse

Forget = Callable[..., int]
MOMENT = datetime(2026, 11, 30, tzinfo=timezone.utc)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Ten pictures: even ones of camera-0, odd ones of camera-1, and the last of both."""
    made = Warehouse(tmp_path / "data")
    made.add_many(9)
    for user in ("camera-0", "camera-1"):
        made.add(numbered(9), source_user=user)
    return made.close()


@pytest.fixture
def forget(warehouse: Warehouse) -> Forget:
    return lambda *words: call(["forget", "--data", str(warehouse.data), "--yes", *words])


def rows(data: Path) -> list[dict[str, Any]]:
    return list(read(data / "rows.duckdb", "SELECT * FROM image_events ORDER BY event_time").to_pylist())


def objects(data: Path) -> set[str]:
    """The image_ids in the store."""
    return {path.stem for path in (data / "objects").rglob("*") if path.is_file()}


def ids(records: list[ImageRecord]) -> set[str]:
    return {str(record.image_id) for record in records}


# --- what goes ----------------------------------------------------------------------------------------------------


def test_an_image_goes_with_all_its_rows_and_its_bytes(
    forget: Forget, warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    image_id = str(warehouse.records[9].image_id)
    path = warehouse.path(warehouse.records[9])
    assert forget(image_id) == 0
    assert not path.exists()
    assert len(rows(warehouse.data)) == 9
    assert image_id not in {row["image_id"] for row in rows(warehouse.data)}
    assert objects(warehouse.data) == ids(warehouse.records[:9])
    (line,) = [record.getMessage() for record in caplog.records if record.name == "imagewarehouse.forget"]
    assert line.startswith("forgot by image_id: 2 rows, 1 picture (")
    assert line.endswith(f"Images: {image_id}")


def test_a_user_goes_and_what_another_one_sent_stays(forget: Forget, warehouse: Warehouse) -> None:
    assert forget("--source-user", "camera-0") == 0
    left = rows(warehouse.data)
    assert {row["source_user"] for row in left} == {"camera-1"}
    assert len(left) == 5
    assert objects(warehouse.data) == {str(warehouse.records[n].image_id) for n in (1, 3, 5, 7, 9)}
    assert forget("--source-user", "camera-1") == 0
    assert (rows(warehouse.data), objects(warehouse.data)) == ([], set())


def test_rows_without_a_picture_go_as_well(forget: Forget, tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "rejected")
    nothing: dict[str, Any] = {"image_id": None, "storage_uri": None, "predicted_class": None, "confidence": None}
    made.add(b"", status="rejected", top_k=None, source_user="o'hara", **nothing)
    made.close()
    assert call(["forget", "--data", str(made.data), "--yes", "--source-user", "o'hara"]) == 0
    assert rows(made.data) == []


def test_a_failed_request_of_another_user_does_not_keep_a_picture(forget: Forget, tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "failed")
    mine = made.add(numbered(1), source_user="me")
    made.add(numbered(1), source_user="you", status="failed", error_code="objects.unavailable", storage_uri=None)
    made.close()
    assert call(["forget", "--data", str(made.data), "--yes", "--source-user", "me"]) == 0
    assert [row["source_user"] for row in rows(made.data)] == ["you"]
    assert str(mine.image_id) not in objects(made.data)


def test_thumbnails_go(forget: Forget, warehouse: Warehouse) -> None:
    cache = ThumbnailCache(warehouse.data / "thumbnails")
    gone, stays = (str(warehouse.records[n].image_id) for n in (0, 1))
    for image_id in (gone, stays):
        for side in (64, 256):
            cache.put(image_id, side, Thumbnail(b"small", "jpg"))
    assert forget(gone) == 0
    left = {path.name for path in (warehouse.data / "thumbnails").rglob("*") if path.is_file()} - {".lock"}
    assert left == {f"{stays}-64.jpg", f"{stays}-256.jpg"}


def test_a_picture_without_a_row_goes_by_its_id(forget: Forget, warehouse: Warehouse) -> None:
    content = numbered(77)
    other = Warehouse(warehouse.data.parent / "other")
    record = other.add(content)
    warehouse.store.put(str(record.image_id), "JPEG", content)
    assert forget(str(record.image_id)) == 0
    assert objects(warehouse.data) == ids(warehouse.records)


def test_pictures_that_have_moved_go_where_the_store_is_now(forget: Forget, warehouse: Warehouse) -> None:
    moved = (warehouse.data / "objects").rename(warehouse.data / "moved")
    image_id = str(warehouse.records[0].image_id)
    assert forget(image_id) == 2  # it is not said to be gone because a disk is away
    assert len(rows(warehouse.data)) == 11
    (warehouse.data / "objects").mkdir()
    assert forget(image_id, "--store", str(moved)) == 0
    assert not list(moved.rglob(f"{image_id}.*"))


# --- packs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[tuple[Warehouse, SqliteLocations, PackedPlace]]:
    """A picture in a pack, by its row and the table of places."""
    made = Warehouse(tmp_path / "packed")
    pack = made.data / "objects" / "batches" / "2026-11-30" / "12ab.tar"
    place = PackedPlace(pack.absolute().as_uri(), 512, 900)
    record = made.add(numbered(1), storage_uri=str(place), source_user="me")
    made.path(record).unlink()
    made.close()
    locations = SqliteLocations(locations_of(made.data / "rows.duckdb"))
    locations.add({str(record.image_id): str(place)})
    yield made, locations, place
    locations.close()


def test_a_packed_picture_is_forgotten_for_the_next_compaction(
    packed: tuple[Warehouse, SqliteLocations, PackedPlace], capsys: pytest.CaptureFixture[str]
) -> None:
    made, locations, place = packed
    image_id = str(made.records[0].image_id)
    assert call(["forget", "--data", str(made.data), "--dry-run", image_id]) == 0
    said = capsys.readouterr().out
    assert "goes: 1 row, 1 picture (0.9 kB), their thumbnails" in said
    assert "1 picture in packs: the bytes go with the next `imagewarehouse pack`" in said
    assert call(["forget", "--data", str(made.data), "--yes", "--source-user", "me"]) == 0
    known = locations.forgotten()[image_id]
    assert known.uri == str(place)
    assert known.forgotten_at is not None
    assert abs(known.forgotten_at - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert rows(made.data) == []


def test_a_packed_picture_whose_place_was_lost_is_forgotten_all_the_same(
    packed: tuple[Warehouse, SqliteLocations, PackedPlace],
) -> None:
    made, locations, place = packed
    image_id = str(made.records[0].image_id)
    locations.forget([image_id], MOMENT)
    locations.drop([image_id])
    assert call(["forget", "--data", str(made.data), "--yes", image_id]) == 0
    assert locations.forgotten()[image_id].uri == str(place)


def test_a_picture_that_was_packed_since_its_row_was_written(warehouse: Warehouse, forget: Forget) -> None:
    image_id = str(warehouse.records[0].image_id)
    locations = SqliteLocations(locations_of(warehouse.data / "rows.duckdb"))
    locations.add({image_id: "file:///pack.tar#bytes=512-600"})
    assert forget(image_id) == 0  # the compaction has not deleted the single object yet
    assert image_id in locations.forgotten()
    assert image_id not in objects(warehouse.data)
    locations.close()


@pytest.mark.parametrize("step", ["_write_pack", "_move", "_pointed_to"])
def test_a_picture_that_is_forgotten_while_it_is_being_packed_does_not_come_back(
    warehouse: Warehouse, forget: Forget, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    image_id = str(warehouse.records[9].image_id)
    content = warehouse.path(warehouse.records[9]).read_bytes()
    locations = SqliteLocations(locations_of(warehouse.data / "rows.duckdb"))
    asked = 0

    def pack() -> None:
        compaction = Compaction(warehouse.store.store, locations, older_than=timedelta(0))
        original = getattr(compaction, step)

        def interrupted(*arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == 1:
                assert forget(image_id) == 0
            return original(*arguments)

        monkeypatch.setattr(compaction, step, interrupted)
        compaction.run()
        compaction.close()

    pack()
    assert asked
    images = StoredImages(open_store(warehouse.store.location), locations)
    assert images.find(image_id) is None
    pack()
    assert [
        path for path in (warehouse.data / "objects").rglob("*") if path.is_file() and content in path.read_bytes()
    ] == []
    for record in warehouse.records[:9]:
        assert images.find(str(record.image_id)) is not None
    images.close()
    locations.close()


def test_the_bytes_of_a_packed_picture_go_with_the_next_compaction_and_it_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    form = {"Content-Type": "image/jpeg"}
    with Service(tmp_path / "data", {"store.pack": "true"}, {"IMAGEWAREHOUSE_WORKERS": "1"}) as service:
        contents = [numbered(n) for n in range(40)]
        with ThreadPoolExecutor(20) as pool:
            sent = list(pool.map(lambda content: post(service.classify_url, content, form).json(), contents))

        def found() -> list[Path]:
            return [path for path in service.objects() if contents[gone] in path.read_bytes()]

        packed = [n for n in range(40) if "#bytes=" in sent[n]["storage_uri"]]
        gone, later = packed[:2]
        command = ["--data", str(service.data), "--yes"]
        assert call(["forget", *command, sent[gone]["image_id"], sent[later]["image_id"]]) == 0
        assert call(["get", "--data", str(service.data), sent[gone]["image_id"]]) == 2
        # Alone it is an object of its own.
        assert "#bytes=" not in post(service.classify_url, contents[later], form).json()["storage_uri"]
        address = f"http://127.0.0.1:{service.images_port}/images/{sent[later]['image_id']}"
        assert post(address, b"", method="GET").body == contents[later]
        assert call(["get", "--data", str(service.data), sent[later]["image_id"], "-o", "again.jpg"]) == 0
        # What is in a pack may have been written this very second.
        assert until(
            lambda: call(["pack", "--data", str(service.data), "--older-than", "1s"]) == 0 and not found(), 20, 1
        )
        assert post(address, b"", method="GET").body == contents[later]
        for number in set(range(40)) - {gone}:
            assert call(["get", "--data", str(service.data), sent[number]["image_id"], "-o", "one.jpg", "--force"]) == 0
            assert Path("one.jpg").read_bytes() == contents[number]
        assert service.count() == 39


# --- asking, saying, refusing -------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    forget: Forget, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(warehouse.data), objects(warehouse.data)
    assert forget("--dry-run", "--source-user", "camera-0") == 0
    said = capsys.readouterr().out
    size = sum(len(numbered(n)) for n in (0, 2, 4, 6, 8))
    assert f"goes: 6 rows, 5 pictures ({size / 1e3:.1f} kB), their thumbnails" in said
    assert "stays: 1 picture that others have sent as well, with their rows" in said
    assert f"{warehouse.records[9].image_id}: camera-1" in said
    assert (rows(warehouse.data), objects(warehouse.data)) == before


def test_without_a_terminal_and_without_yes_nothing_goes(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["forget", "--data", str(warehouse.data), str(warehouse.records[0].image_id)]) == 2
    assert "--yes: is needed" in capsys.readouterr().err
    assert len(rows(warehouse.data)) == 11


def test_what_another_one_sends_while_the_question_stands_there_stays(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(question: str, **_: Any) -> bool:
        assert question == "Forget this for good?"
        store = LocalRows(warehouse.data / "rows.duckdb")
        store.write([warehouse.add(numbered(0), source_user="camera-1")])
        store.close()
        return True

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", answer)
    assert call(["forget", "--data", str(warehouse.data), "--source-user", "camera-0"]) == 0
    assert "goes: 6 rows, 5 pictures" in capsys.readouterr().err
    assert objects(warehouse.data) == {str(warehouse.records[n].image_id) for n in (0, 1, 3, 5, 7, 9)}
    assert len(rows(warehouse.data)) == 6


def test_no_is_no(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    assert call(["forget", "--data", str(warehouse.data), "--source-user", "camera-0"]) == 1
    assert len(rows(warehouse.data)) == 11


def test_a_picture_that_is_sent_while_it_is_forgotten_is_named(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, forget: Forget, caplog: pytest.LogCaptureFixture
) -> None:
    remove = StoredPictures.remove

    def and_sent(*arguments: Any) -> None:
        store = LocalRows(warehouse.data / "rows.duckdb")
        store.write([warehouse.add(numbered(0), source_user="camera-1")])  # it finds the object there
        store.close()
        remove(*arguments)

    monkeypatch.setattr(StoredPictures, "remove", and_sent)
    assert forget(str(warehouse.records[0].image_id)) == 1
    late = warehouse.records[-1]
    assert f"image {late.image_id} was sent again meanwhile (request {late.request_id})" in caplog.text
    assert late.request_id in {row["request_id"] for row in rows(warehouse.data)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param((), "say what to forget", id="nothing"),
        pytest.param(("56d2e362",), "expected all 64 digits", id="the-beginning-of-an-id"),
        pytest.param(("a" * 64, "--source-user", "x"), "say what to forget", id="two-things"),
        pytest.param(("--older-than", "90 days"), "give --keep-rows", id="old-rows"),
        pytest.param(("--older-than", "soon", "--keep-rows"), "such as '90 days'", id="no-time"),
        pytest.param(("--every", "1 day", "--source-user", "x"), "needs --older-than", id="a-user-every-day"),
        pytest.param(("a" * 64, "--masters", "h:1", "--database", "x"), "two places of rows", id="two-tables"),
    ],
)
def test_what_is_no_order_to_forget(
    forget: Forget, warehouse: Warehouse, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert forget(*words) == 2
    assert said in capsys.readouterr().err
    assert len(rows(warehouse.data)) == 11


def test_twice_is_once(forget: Forget, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert forget(str(warehouse.records[0].image_id)) == 0
    assert "nothing to forget" in capsys.readouterr().out
    assert len(rows(warehouse.data)) == 10


def test_a_kudu_beside_a_file_is_not_passed_over(
    forget: Forget, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    (warehouse.data / "kudu").mkdir()
    (warehouse.data / "kudu" / "ports.json").write_text("{}")
    assert forget(str(warehouse.records[0].image_id)) == 2
    assert "say which with --database or --masters" in capsys.readouterr().err


# --- beside others ------------------------------------------------------------------------------------------------


def test_rows_that_are_still_in_the_log_go_and_come_back_never(warehouse: Warehouse, forget: Forget) -> None:
    store = LocalRows(warehouse.data / "rows.duckdb")
    try:
        written = [warehouse.add(numbered(100 + n), source_user="late") for n in range(50)]
        store.write(written)
        assert forget("--source-user", "late") == 0
    finally:
        store.close()
    assert len(rows(warehouse.data)) == 11
    log = warehouse.data / "rows.duckdb.log"
    assert all(record.request_id.encode() not in log.read_bytes() for record in written)


def test_beside_a_process_that_writes_and_moves(warehouse: Warehouse, forget: Forget) -> None:
    path = warehouse.data / "rows.duckdb"
    writer = start(WRITER.format(then=""), path)
    first_line(writer)
    for number in range(5):
        assert forget(str(warehouse.records[number].image_id)) == 0
    written = int(finish(writer).splitlines()[-1])
    (found,) = read(path, "SELECT count(*) AS n, count(image_id) AS ours FROM image_events").to_pylist()
    assert found == {"n": written + 6, "ours": 6}


def test_while_the_service_runs_and_what_is_sent_again_is_new(tmp_path: Path) -> None:
    with Service(tmp_path / "data", {"access.keys": "me:key-of-me-0123456 you:key-of-you-012345"}) as service:
        mine = post(
            service.classify_url, numbered(5), {"Content-Type": "image/jpeg", "X-Access-Key": "key-of-me-0123456"}
        ).json()
        both = [
            post(service.classify_url, numbered(6), {"Content-Type": "image/jpeg", "X-Access-Key": key}).json()
            for key in ("key-of-me-0123456", "key-of-you-012345")
        ]
        address = f"http://127.0.0.1:{service.images_port}/images/"

        def get(image_id: str, key: str, what: str = "") -> int:
            return post(f"{address}{image_id}{what}", b"", {"X-Access-Key": key}, "GET").status

        assert (
            get(mine["image_id"], "key-of-me-0123456")
            == get(mine["image_id"], "key-of-me-0123456", "/thumbnail")
            == 200
        )
        assert call(["forget", "--data", str(service.data), "--yes", "--source-user", "me"]) == 0
        assert (
            get(mine["image_id"], "key-of-me-0123456")
            == get(mine["image_id"], "key-of-me-0123456", "/thumbnail")
            == 404
        )
        assert get(both[0]["image_id"], "key-of-you-012345") == 200
        assert service.count("source_user = 'me'") == 0
        assert service.count() == 1
        assert not list((service.data / "thumbnails").rglob(f"{mine['image_id']}*"))
        again = post(
            service.classify_url, numbered(5), {"Content-Type": "image/jpeg", "X-Access-Key": "key-of-me-0123456"}
        ).json()
        assert again["image_id"] == mine["image_id"]
        assert again["request_id"] != mine["request_id"]
        assert (
            get(mine["image_id"], "key-of-me-0123456")
            == get(mine["image_id"], "key-of-me-0123456", "/thumbnail")
            == 200
        )
    assert len(rows(service.data)) == 2


# --- interrupted --------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from imagewarehouse.cli.main import main
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def after(count, work):
    def counted(*arguments, **named):
        nonlocal count
        count -= 1
        if count < 0:
            die()
        return work(*arguments, **named)
    return counted
from imagewarehouse.keeping import forgetting, pictures
from imagewarehouse.objects import local
from imagewarehouse.rows import embedded, locations, log, moving, table
from imagewarehouse.standalone import thumbnails
{where}
main()
"""
POINTS = {
    "before-the-first-picture": "local.LocalStore.delete = die",
    "after-two-pictures": "local.LocalStore.delete = after(2, local.LocalStore.delete)",
    "before-the-place-is-forgotten": "locations.SqliteLocations.forget = die",
    "before-the-thumbnails": "thumbnails.remove_thumbnails = die",
    "before-the-rows": "embedded.LocalRows.delete = die",
    "after-the-delete-in-the-file": "f = table.Upserts.delete; table.Upserts.delete = lambda *a: (f(*a), die())",
    "before-the-log": "log.RecordLog.delete = die",
    "before-the-file-is-closed": "moving.Mover._detach = after(1, moving.Mover._detach)",
    "before-the-last-look": "f = embedded.LocalRows.delete; embedded.LocalRows.delete = lambda *a: (f(*a), die())",
}


@pytest.mark.parametrize("where", POINTS.values(), ids=POINTS)
@pytest.mark.parametrize("in_log", [False, True], ids=["rows-in-the-file", "rows-in-the-log"])
def test_killed_anywhere_the_same_command_finishes_it(warehouse: Warehouse, where: str, in_log: bool) -> None:
    data = warehouse.data
    place = "file:///pack.tar#bytes=512-600"
    locations = SqliteLocations(locations_of(data / "rows.duckdb"))
    packed = str(warehouse.records[2].image_id)
    locations.add({packed: place})
    if in_log:
        keep_in_log(data, [warehouse.add(numbered(50 + n), source_user="camera-0") for n in range(3)])
    command = ["forget", "--data", str(data), "--yes", "--source-user", "camera-0"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED.replace("{where}", where), *command],
        cwd=REPOSITORY,
        timeout=60,
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr
    # Nobody else's is touched, and no row tells of what others could still see.
    assert {str(warehouse.records[n].image_id) for n in (1, 3, 5, 7, 9)} <= objects(data)
    assert sum(row["source_user"] == "camera-1" for row in rows(data)) == 5
    assert call(command) == 0
    assert {row["source_user"] for row in rows(data)} == {"camera-1"}
    assert len(rows(data)) == 5
    assert objects(data) == {str(warehouse.records[n].image_id) for n in (1, 3, 5, 7, 9)}
    assert set(locations.forgotten()) == {packed}
    locations.close()
    LocalRows(data / "rows.duckdb").close()  # moves what may be left in the log
    assert len(rows(data)) == 5


def keep_in_log(data: Path, records: list[ImageRecord]) -> None:
    """As a service that was killed leaves them."""
    from imagewarehouse.rows.log import RecordLog, log_of

    log = RecordLog(log_of(data / "rows.duckdb"))
    log.append(records)
    log.close()


# --- retention ----------------------------------------------------------------------------------------------------


def test_old_pictures_go_and_their_rows_stay(forget: Forget, tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "old")
    now = datetime.now(timezone.utc)
    old = made.add(numbered(1), at=now - timedelta(days=91) - FIRST)
    again = made.add(numbered(2), at=now - timedelta(days=91) - FIRST)
    made.add(numbered(2), at=now - timedelta(days=89) - FIRST)
    failed_lately = made.add(numbered(3), at=now - timedelta(days=91) - FIRST)
    made.add(numbered(3), at=now - timedelta(days=1) - FIRST, status="failed", storage_uri=None)
    made.close()
    keep = ["forget", "--data", str(made.data), "--older-than", "90 days", "--keep-rows"]
    assert call([*keep, "--dry-run"]) == 0
    assert objects(made.data) == ids([old, again, failed_lately])
    assert call([*keep, "--yes"]) == 0
    assert objects(made.data) == ids([again, failed_lately])
    assert len(rows(made.data)) == 5
    assert rows(made.data)[0]["storage_uri"] == old.storage_uri


def test_a_timer_forgets_what_has_become_old_meanwhile(tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "data")
    now = datetime.now(timezone.utc)
    old, young = (made.add(numbered(n), at=now - timedelta(days=n) - FIRST) for n in (2, 0))
    made.close()
    command = ["forget", "--data", str(made.data), "--older-than", "1 day", "--keep-rows", "--yes", "--every", "200 ms"]
    timer = subprocess.Popen(
        [sys.executable, "-m", "imagewarehouse.cli.main", *command], cwd=REPOSITORY, stdout=subprocess.DEVNULL
    )
    try:
        assert until(lambda: objects(made.data) == ids([young]), 30, 0.1)
        made.store.put(str(old.image_id), "JPEG", numbered(2))
        assert until(lambda: objects(made.data) == ids([young]), 30, 0.1)
        assert timer.poll() is None
    finally:
        timer.send_signal(signal.SIGINT)
        assert timer.wait(30) == 130


def test_old_pictures_in_packs_are_forgotten_once(
    packed: tuple[Warehouse, SqliteLocations, PackedPlace], capsys: pytest.CaptureFixture[str]
) -> None:
    made, locations, _ = packed
    image_id = str(made.records[0].image_id)
    keep = ["forget", "--data", str(made.data), "--older-than", "1 ms", "--keep-rows", "--yes"]
    made_later = datetime.now(timezone.utc) < FIRST
    assert not made_later
    assert call(keep) == 0
    assert set(locations.forgotten()) == {image_id}
    assert call(keep) == 0
    locations.drop([image_id])  # a compaction has left it out
    assert call(keep) == 0
    assert locations.forgotten() == {}
    assert capsys.readouterr().out.count("nothing to forget") == 2


# --- Kudu ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_kudu(kudu: LocalKudu, warehouse: Warehouse) -> Iterator[tuple[KuduWriter, str, list[str]]]:
    """The warehouse's rows in a table of Kudu: a client, the table's name, and the beginning of a command."""
    name = f"forget_{uuid.uuid4().hex}"
    writer = connect(KuduSettings(kudu.masters))
    assert KuduRows(writer, image_events(name, replicas=1)).write(warehouse.records) == [None] * 11
    yield writer, name, ["forget", "--data", str(warehouse.data), "--masters", kudu.masters, "--table", name, "--yes"]
    for table in (name, locations_table(name)):
        if table in writer.tables():
            writer.drop(table)
    writer.close()


def test_a_query_of_kudu_shows_vectors_as_lists_of_numbers(
    in_kudu: tuple[KuduWriter, str, list[str]], warehouse: Warehouse
) -> None:
    writer, name, _ = in_kudu
    rows = KuduRows(writer, image_events(name, replicas=1))
    seen = replace(warehouse.records[1], event_time=datetime.now(timezone.utc), embedding=b"\x01\xff\x80")
    assert rows.write([seen]) == [None]
    sql = "SELECT embedding FROM image_events WHERE embedding IS NOT NULL"
    assert rows.query(sql).to_pylist() == [{"embedding": [1, -1, -128]}]


def test_rows_in_kudu(in_kudu: tuple[KuduWriter, str, list[str]], warehouse: Warehouse) -> None:
    writer, name, command = in_kudu
    assert call([*command, str(warehouse.records[1].image_id)]) == 0
    assert call([*command, "--source-user", "camera-0"]) == 0
    left = writer.scan(name, ["image_id", "source_user"]).to_pylist()
    assert sorted(row["image_id"] for row in left) == sorted(str(warehouse.records[n].image_id) for n in (3, 5, 7, 9))
    assert {row["source_user"] for row in left} == {"camera-1"}
    assert objects(warehouse.data) == {str(warehouse.records[n].image_id) for n in (3, 5, 7, 9)}
    assert call([*command, "--older-than", "1 ms", "--keep-rows"]) == 0
    assert objects(warehouse.data) == set()
    assert writer.count(name) == 4


def test_packed_pictures_of_rows_in_kudu(in_kudu: tuple[KuduWriter, str, list[str]], warehouse: Warehouse) -> None:
    writer, name, command = in_kudu
    ids = [str(warehouse.records[n].image_id) for n in (0, 1)]
    places = KuduLocations(writer, image_locations(locations_table(name), replicas=1))
    places.add(dict.fromkeys(ids, "s3://b/packs/a.tar#bytes=512-600"))
    assert call([*command, "--source-user", "camera-0"]) == 0
    assert set(places.forgotten()) == {ids[0]}
    assert places.find(ids)[ids[1]].forgotten_at is None


@pytest.mark.parametrize(
    "where",
    [
        "from imagewarehouse.rows import kudu_locations as k; k.KuduLocations.forget = die",
        "from imagewarehouse.rows import whole_kudu as k; k.WholeKudu.delete = die",
        "from imagewarehouse.rows import whole_kudu as k; k._WRITTEN_AT_ONCE = 2;"
        " k.WholeKudu._write = after(1, k.WholeKudu._write)",
    ],
    ids=["before-the-places", "before-the-rows", "after-two-rows"],
)
def test_killed_while_rows_are_in_kudu(
    in_kudu: tuple[KuduWriter, str, list[str]], warehouse: Warehouse, where: str
) -> None:
    writer, name, command = in_kudu
    places = KuduLocations(writer, image_locations(locations_table(name), replicas=1))
    packed = str(warehouse.records[0].image_id)
    places.add({packed: "s3://b/packs/a.tar#bytes=512-600"})
    command += ["--source-user", "camera-0"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED.replace("{where}", where), *command],
        cwd=REPOSITORY,
        timeout=90,
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr
    assert call(command) == 0
    assert {row["source_user"] for row in writer.scan(name, ["source_user"]).to_pylist()} == {"camera-1"}
    assert writer.count(name) == 5
    assert set(places.forgotten()) == {packed}
    assert objects(warehouse.data) == {str(warehouse.records[n].image_id) for n in (1, 3, 5, 7, 9)}
