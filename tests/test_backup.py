"""`imagewarehouse backup` and `restore`: the same rows, places and models again; what is damaged or missing is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.packs import PACKS, PackPicture, index_key, make_pack, write_index
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.places import Known, PackedPlace
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
from imagewarehouse.rows.locations import SqliteLocations, locations_of
from imagewarehouse.rows.reading import read
from imagewarehouse.rows.whole_kudu import WholeKudu
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.object_services import S3_KEY, S3_SECRET
from tests.object_services import Service as StoreService
from tests.pictures import numbered
from tests.running import Service, post
from tests.test_forgetting import KILLED
from tests.warehouses import FIRST, Warehouse, put_batch

Command = Callable[..., int]
FORGOTTEN = datetime(2026, 11, 29, 12, 0, 0, 123456, timezone.utc)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Pictures of three months, one of them in a pack, one in a pack and forgotten, and a model of two versions."""
    made = Warehouse(tmp_path / "data")
    for number in range(12):
        made.add(numbered(number), at=timedelta(days=-7 * number), file_name=f"{number} 'é'.jpg", source_user="me",
                 embedding=bytes([number, 255, 128]) if number % 3 == 0 else None)  # fmt: skip
    packed = make_pack([PackPicture("f" * 64, "jpg", numbered(99))])
    key = packed.key("batches", date(2026, 11, 1))
    store = open_store(Location.parse(str(made.data / "objects")))
    store.put_if_absent(key, packed.content)
    place = PackedPlace(store.location.child(key), packed.entries[0].start, packed.entries[0].size)
    made.add(numbered(99), image_id="f" * 64, storage_uri=str(place))
    made.close()
    locations = SqliteLocations(locations_of(made.data / "rows.duckdb"))
    locations.add({"f" * 64: str(place), "e" * 64: str(place)})
    locations.forget(["e" * 64], FORGOTTEN)
    locations.close()
    for version in ("1", "2"):
        folder = made.data / "models" / "flowers" / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(f'{{"version": "{version}"}}')
        (folder / "report").mkdir()
        (folder / "report" / "index.html").write_text("<html>")
    (made.data / "models" / "flowers" / ".building").mkdir()
    (made.data / "models" / "flowers" / ".building" / "half").write_text("half")
    return made


@pytest.fixture
def backup(warehouse: Warehouse, tmp_path: Path) -> Command:
    return lambda *words: call(["backup", str(tmp_path / "backup"), "--data", str(warehouse.data), *words])


@pytest.fixture
def restore(tmp_path: Path) -> Command:
    return lambda *words: call(["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new"), *words])


def rows(data: Path) -> list[dict[str, Any]]:
    sql = "SELECT * FROM image_events ORDER BY event_time, request_id"
    return list(read(data / "rows.duckdb", sql).to_pylist())


def places(data: Path) -> dict[str, Known]:
    opened = SqliteLocations(locations_of(data / "rows.duckdb"))
    try:
        return opened.find(["f" * 64, "e" * 64]) | opened.forgotten()
    finally:
        opened.close()


def models(data: Path) -> dict[str, bytes]:
    folder = data / "models"
    found = (path for path in folder.rglob("*") if path.is_file() and ".building" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- there and back -----------------------------------------------------------------------------------------------


def test_a_backup_comes_back_into_an_empty_folder(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup() == 0
    said = capsys.readouterr().out
    assert "13 rows, places of 2 packed pictures, 1 model flowers, a list of 14 objects" in said
    assert files(tmp_path / "backup") == {
        "manifest.json", "places.parquet", "objects.parquet",
        "rows/2026-08.parquet", "rows/2026-09.parquet", "rows/2026-10.parquet", "rows/2026-11.parquet",
        *(f"models/flowers/{version}/{name}" for version in "12" for name in ("manifest.json", "report/index.html")),
    }  # fmt: skip
    assert restore() == 0
    new = tmp_path / "new"
    assert rows(new) == rows(warehouse.data)
    assert places(new) == places(warehouse.data)
    assert places(new)["e" * 64].forgotten_at == FORGOTTEN
    assert models(new) == models(warehouse.data)
    left = {name for name in files(new) if not name.startswith(("models/flowers/", "rows.duckdb"))}
    assert left == set()  # nothing half written, and no note of a restore
    assert call(["get", "--data", str(new), str(warehouse.records[0].image_id), "-o", str(tmp_path / "a.jpg")]) == 0
    assert (tmp_path / "a.jpg").read_bytes() == numbered(0)


def test_a_month_is_a_parquet_file_that_others_read(backup: Command, warehouse: Warehouse, tmp_path: Path) -> None:
    assert backup() == 0
    november = pq.read_table(tmp_path / "backup" / "rows" / "2026-11.parquet").to_pylist()
    assert november == [row for row in rows(warehouse.data) if row["event_time"] >= FIRST]


def test_rows_that_are_still_in_the_log_are_backed_up(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path
) -> None:
    store = LocalRows(warehouse.data / "rows.duckdb")
    try:
        store.write([warehouse.add(numbered(200 + n), at=timedelta(days=1)) for n in range(30)])
        assert backup() == 0
    finally:
        store.close()
    assert restore() == 0
    assert len(rows(tmp_path / "new")) == 43
    assert rows(tmp_path / "new") == rows(warehouse.data)


def test_while_the_service_runs(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        sent = [post(service.classify_url, numbered(n), {"Content-Type": "image/jpeg"}).json() for n in range(5)]
        assert call(["backup", str(tmp_path / "backup"), "--data", str(service.data)]) == 0
        post(service.classify_url, numbered(9), {"Content-Type": "image/jpeg"})
    with Service(tmp_path / "new") as service:
        post(service.classify_url, numbered(7), {"Content-Type": "image/jpeg"})
        command = ["restore", str(tmp_path / "backup"), "--data", str(service.data)]
        assert call(command) == 2
        assert call([*command, "--merge"]) == 0
        assert call([*command, "--merge"]) == 0
        assert service.count() == 6
        assert service.count("request_id IN ('" + "', '".join(each["request_id"] for each in sent) + "')") == 5
        post(service.classify_url, numbered(8), {"Content-Type": "image/jpeg"})
    assert len(rows(tmp_path / "new")) == 7


def test_merged_rows_replace_the_same_ones_and_leave_others(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup() == 0
    other = Warehouse(tmp_path / "new")
    record = other.add(numbered(50))
    other.close()
    assert restore() == 2
    assert "--merge: is needed" in capsys.readouterr().err
    assert len(rows(tmp_path / "new")) == 1
    assert not (tmp_path / "new" / "models").exists()
    assert restore("--merge") == 0
    assert len(rows(tmp_path / "new")) == 14
    assert record.request_id in {row["request_id"] for row in rows(tmp_path / "new")}


def test_a_restored_file_has_nothing_of_rows_that_were_forgotten(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path
) -> None:
    store = LocalRows(warehouse.data / "rows.duckdb")
    store.write([warehouse.add(numbered(70), file_name="nobody-is-to-know.jpg", source_user="left")])
    store.close()
    assert call(["forget", "--data", str(warehouse.data), "--source-user", "left", "--yes"]) == 0
    assert backup() == 0
    assert restore() == 0
    assert b"nobody-is-to-know" not in (tmp_path / "new" / "rows.duckdb").read_bytes()
    assert len(rows(tmp_path / "new")) == 13


def test_an_empty_table_has_a_backup(tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "data").close()
    assert call(["backup", str(tmp_path / "backup"), "--data", str(made.data)]) == 0
    assert call(["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new")]) == 0


# --- the store ----------------------------------------------------------------------------------------------------


def test_pictures_that_are_missing_are_counted_and_listed(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, cut = warehouse.records[3], warehouse.records[4]
    warehouse.path(lost).unlink()
    assert backup() == 1
    assert "1 picture of rows missing in the store" in capsys.readouterr().err
    assert (tmp_path / "backup" / "missing.txt").read_text() == f"{lost.image_id}\t{lost.storage_uri}\n"
    warehouse.path(cut).write_bytes(b"cut")
    assert restore() == 1
    assert "2 pictures missing in the store, or changed" in capsys.readouterr().err
    assert (tmp_path / "new" / "missing-pictures.txt").read_text().splitlines() == [
        f"{lost.image_id}\t{lost.storage_uri}", f"{cut.storage_uri}\thas 3 bytes and had {len(numbered(4))}"
    ]  # fmt: skip
    assert rows(tmp_path / "new") == rows(warehouse.data)


def test_pictures_in_a_pack_that_is_cut_short_are_missing(tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "cut")
    places = put_batch(made.store.store, [numbered(n) for n in range(10)])
    for n in range(10):
        made.add(numbered(n), storage_uri=list(places.values())[n])
    made.close()
    (pack,) = (tmp_path / "cut").rglob("batches/*/*.tar")
    end = PackedPlace.parse(list(places.values())[3])
    assert end is not None
    with pack.open("r+b") as file:
        file.truncate(end.start + end.size)
    assert call(["backup", str(tmp_path / "backup"), "--data", str(made.data)]) == 1
    lines = (tmp_path / "backup" / "missing.txt").read_text().splitlines()
    assert sorted(lines) == sorted(f"{image_id}\t{uri}" for image_id, uri in list(places.items())[4:])


def test_a_store_that_is_away_is_found_out_before_anything_is_changed(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup() == 0
    away = (warehouse.data / "objects").rename(warehouse.data / "away")
    assert restore() == 2
    assert "objects is not there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert restore("--store", str(away)) == 0
    assert rows(tmp_path / "new") == rows(warehouse.data)
    shutil.rmtree(tmp_path / "new")
    assert restore("--no-objects") == 0


def test_pictures_that_were_packed_since_the_backup_are_found_in_their_packs(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path
) -> None:
    assert backup() == 0
    single, contents = warehouse.records[0], [numbered(0), numbered(99)]
    ids = [str(single.image_id), "f" * 64]
    pack = make_pack([PackPicture(i, "jpg", c) for i, c in zip(ids, contents, strict=True)])
    store = open_store(Location.parse(str(warehouse.data / "objects")))
    key = pack.key(PACKS, date(2026, 12, 1))
    store.put_if_absent(key, pack.content)
    store.put_if_absent(index_key(key), write_index(pack.entries))
    warehouse.path(single).unlink()
    shutil.rmtree(warehouse.data / "objects" / "batches")
    assert restore() == 0
    opened = SqliteLocations(locations_of(tmp_path / "new" / "rows.duckdb"))
    assert opened.find(ids) == {
        entry.image_id: Known(str(PackedPlace(store.location.child(key), entry.start, entry.size)))
        for entry in pack.entries
    }
    opened.close()


# --- what is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["rows/2026-10.parquet", "places.parquet", "objects.parquet", "models/flowers/2/manifest.json"]
)
@pytest.mark.parametrize("damage", ["a-byte", "cut", "gone"])
def test_a_damaged_backup_is_refused_naming_the_file(
    backup: Command, restore: Command, tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup() == 0
    path = tmp_path / "backup" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    for words in (("--dry-run",), (), ("--merge",)):
        assert restore(*words) == 2
        assert name in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "No such file", id="none"),
        pytest.param(b"{", "is no manifest", id="no-json"),
        pytest.param(b'{"imagewarehouse_backup": 9}', "of another release", id="of-another-release"),
        pytest.param(b"PATH", "is no manifest", id="a-path-out-of-the-backup"),
    ],
)
def test_what_is_no_backup(
    backup: Command,
    restore: Command,
    tmp_path: Path,
    content: bytes | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert backup() == 0
    manifest = tmp_path / "backup" / "manifest.json"
    whole = json.loads(manifest.read_bytes())
    manifest.unlink()
    if content == b"PATH":
        whole["files"]["../outside"] = {"size": 1, "sha256": "0" * 64}
        content = json.dumps(whole).encode()
    if content is not None:
        manifest.write_bytes(content)
    assert restore() == 2
    assert said in capsys.readouterr().err


def test_a_name_is_not_taken_twice(backup: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backup() == 0
    before = (tmp_path / "backup" / "manifest.json").read_bytes()
    assert backup() == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "backup" / "manifest.json").read_bytes() == before


def test_another_model_of_the_same_name_stays(
    backup: Command, restore: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup() == 0
    there = tmp_path / "new" / "models" / "flowers" / "1" / "manifest.json"
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    assert restore() == 2
    assert f"{there} is there and is another file" in capsys.readouterr().err
    assert there.read_text() == "mine"
    assert restore("--models", str(tmp_path / "elsewhere")) == 0
    assert (tmp_path / "elsewhere" / "flowers" / "2" / "manifest.json").exists()


def test_a_dry_run_changes_nothing(
    backup: Command, restore: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backup() == 0
    assert restore("--dry-run") == 0
    assert "13 rows" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


# --- interrupted --------------------------------------------------------------------------------------------------


def killed(where: str, *command: str) -> None:
    script = KILLED.replace("{where}", where)
    done = subprocess.run([sys.executable, "-c", script, *command], cwd=REPOSITORY, timeout=60, capture_output=True)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize(
    "where",
    [
        "from imagewarehouse.rows import whole_local as w; w.WholeLocal.pages = after(2, w.WholeLocal.pages)",
        "from imagewarehouse.keeping import backup as b; b._write_places = die",
        "from imagewarehouse.keeping import backup as b; b.copy_whole = after(1, b.copy_whole)",
        "from imagewarehouse.keeping import backup as b; b.write_objects = die",
        "from imagewarehouse.keeping import backup as b; b._files = die",
        "from pathlib import Path; Path.rename = die",
    ],
    ids=["rows", "places", "models", "objects", "manifest", "name"],
)
def test_a_backup_that_was_killed_has_no_name_and_goes_on(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path, where: str
) -> None:
    killed(where, "backup", str(tmp_path / "backup"), "--data", str(warehouse.data))
    assert not (tmp_path / "backup").exists()
    assert call(["restore", str(tmp_path / "backup.part"), "--data", str(tmp_path / "new")]) == 2 or "rename" in where
    assert backup() == 0
    assert not (tmp_path / "backup.part").exists()
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    assert restore() == 0
    assert rows(tmp_path / "new") == rows(warehouse.data)
    assert models(tmp_path / "new") == models(warehouse.data)


@pytest.mark.parametrize(
    "where",
    [
        "from imagewarehouse.keeping import restoring as r; r.copy_whole = after(1, r.copy_whole)",
        "locations.SqliteLocations.add = die",
        "embedded.LocalRows.replace = after(2, embedded.LocalRows.replace)",
        "f = table.Upserts.replace; table.Upserts.replace = lambda *a: (f(*a), die())",
        "f = embedded.LocalRows.close; embedded.LocalRows.close = die",
    ],
    ids=["models", "places", "rows", "in-the-file", "end"],
)
def test_a_restore_that_was_killed_goes_on(
    backup: Command, restore: Command, warehouse: Warehouse, tmp_path: Path, where: str
) -> None:
    assert backup() == 0
    killed(where, "restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new"))
    assert restore("--merge" if "close" in where else "--no-objects") == 0
    assert rows(tmp_path / "new") == rows(warehouse.data)
    assert places(tmp_path / "new") == places(warehouse.data)
    assert models(tmp_path / "new") == models(warehouse.data)
    assert restore() == 2  # it is done: the table is an ordinary one with rows


# --- Kudu ---------------------------------------------------------------------------------------------------------


def test_rows_and_places_of_kudu(kudu: LocalKudu, warehouse: Warehouse, tmp_path: Path) -> None:
    writer = connect(KuduSettings(kudu.masters))
    names = [f"{tmp_path.name}_{which}_image_events" for which in ("old", "new")]
    old, new = names
    try:
        rows_of_file = read(warehouse.data / "rows.duckdb", "SELECT * FROM image_events")
        WholeKudu(writer, old, create=True).write(rows_of_file.select(SCHEMA.names).cast(SCHEMA))
        of_old = KuduLocations(writer, image_locations(locations_table(old), replicas=1))
        of_old.add({"f" * 64: str(warehouse.records[-1].storage_uri), "e" * 64: "x"})
        of_old.forget(["e" * 64], FORGOTTEN)
        data = ["--data", str(warehouse.data), "--masters", kudu.masters]
        assert call(["backup", str(tmp_path / "backup"), *data, "--table", old]) == 0
        assert (tmp_path / "backup" / "rows" / "2026-09.parquet").exists()
        back = ["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new"), "--masters", kudu.masters]
        assert call([*back, "--table", new]) == 0
        key = [("event_time", "ascending"), ("request_id", "ascending")]
        tables = [writer.scan(name).sort_by(key).to_pylist() for name in names]
        assert tables[0] == tables[1]
        assert len(tables[0]) == 13
        assert [row["embedding"] for row in tables[0] if row["embedding"]] == ["Cf+A", "Bv+A", "A/+A", "AP+A"]
        of_new = KuduLocations(writer, image_locations(locations_table(new), replicas=1))
        assert of_new.find(["f" * 64, "e" * 64]) == of_old.find(["f" * 64, "e" * 64])
        assert call([*back, "--table", new]) == 2
        assert call([*back, "--table", new, "--merge"]) == 0
        assert writer.count(new) == 13
        assert call(["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "file")]) == 0
        assert rows(tmp_path / "file") == rows(warehouse.data)
    finally:
        for name in [*names, *map(locations_table, names)]:
            if name in writer.tables():
                writer.drop(name)
        writer.close()


# --- S3 -----------------------------------------------------------------------------------------------------------


def test_pictures_on_s3(s3_service: StoreService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "endpoint": f"http://127.0.0.1:{s3_service.port}",
        "region": "eu-central-1",
        "access_key": S3_KEY,
        "secret_key": S3_SECRET,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"IMAGEWAREHOUSE_STORE_{name.upper()}", value)
    monkeypatch.setenv("IMAGEWAREHOUSE_STORE_READ_TIMEOUT", "60 sec")
    settings = StoreSettings(**values, answer_s=60)  # type: ignore[arg-type]
    location = Location.parse(f"s3://bucket/{tmp_path.name}")
    made = Warehouse(tmp_path / "data")
    made.store = ImageStore(open_store(location, settings))
    made.add_many(30)
    made.close()
    data = ["--data", str(made.data)]

    def there() -> set[str]:
        return {each.key.split("/")[1].partition(".")[0] for each in made.store.store.list()}

    assert call(["backup", str(tmp_path / "backup"), *data]) == 0
    assert call(["forget", *data, "--source-user", "camera-1", "--yes"]) == 0
    assert there() == {str(record.image_id) for record in made.records[::2]}
    assert call(["forget", *data, str(made.records[0].image_id), "--yes"]) == 0
    assert there() == {str(record.image_id) for record in made.records[2::2]}
    assert (
        call(["restore", str(tmp_path / "backup"), "--data", str(tmp_path / "new")]) == 1
    )  # what was forgotten is gone
    assert len((tmp_path / "new" / "missing-pictures.txt").read_text().splitlines()) == 16
    assert call(["forget", "--data", str(tmp_path / "new"), "--older-than", "1 ms", "--keep-rows", "--yes"]) == 0
    assert there() == set()
    made.store.close()
