"""Stores: images once and whole, rows by their key, and commits shared by parallel tasks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from imagewarehouse.errors import (
    ConfigurationError,
    ObjectStoreUnavailable,
    RowRejected,
    RowStoreUnavailable,
    WarehouseError,
)
from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.objects import local
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.store import GroupCommit, open_rows

Record = Callable[..., ImageRecord]
IMAGE = b"\xff\xd8 not really a picture"
IMAGE_ID = hashlib.sha256(IMAGE).hexdigest()


def files(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- images -------------------------------------------------------------------------------------------------------


@pytest.fixture
def objects(tmp_path: Path) -> ImageStore:
    return ImageStore(open_store(Location.parse(str(tmp_path / "objects"))))


@pytest.mark.parametrize(
    ("image_format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tiff"), ("", "bin"), ("VHS", "bin")]
)
def test_an_image_stands_under_its_hash_and_can_be_read_by_its_uri(
    objects: ImageStore, tmp_path: Path, image_format: str, suffix: str
) -> None:
    uri = objects.put(IMAGE_ID, image_format, IMAGE)
    assert files(tmp_path) == [f"objects/{IMAGE_ID[:2]}/{IMAGE_ID}.{suffix}"]
    assert objects.get(uri, 1000) == IMAGE


def test_the_same_image_is_written_once(objects: ImageStore, tmp_path: Path) -> None:
    first = objects.put(IMAGE_ID, "JPEG", IMAGE)
    (path,) = (tmp_path / "objects").rglob("*.jpg")
    before = path.stat()
    assert objects.put(IMAGE_ID, "JPEG", IMAGE) == first
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_file_that_a_crash_left_short_is_replaced(objects: ImageStore, tmp_path: Path) -> None:
    uri = objects.put(IMAGE_ID, "JPEG", IMAGE)
    (path,) = (tmp_path / "objects").rglob("*.jpg")
    path.write_bytes(IMAGE[:5])
    objects.put(IMAGE_ID, "JPEG", IMAGE)
    assert objects.get(uri, 1000) == IMAGE


def test_writers_of_the_same_image_at_once_leave_one_whole_file(objects: ImageStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    image_id = hashlib.sha256(content).hexdigest()
    gate = threading.Barrier(8)
    done = threading.Event()
    seen: list[int] = []

    def write(_: int) -> str:
        gate.wait()
        return objects.put(image_id, "PNG", content)

    def watch() -> None:
        path = tmp_path / "objects" / image_id[:2] / f"{image_id}.png"
        while not done.is_set():
            if path.exists():
                seen.append(len(path.read_bytes()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        uris = set(pool.map(write, range(8)))
    done.set()
    watcher.join()
    assert len(uris) == 1
    assert files(tmp_path) == [f"objects/{image_id[:2]}/{image_id}.png"]
    assert set(seen) <= {len(content)}  # nobody ever reads half a picture
    assert objects.get(uris.pop(), len(content)) == content


@pytest.mark.parametrize("name", ["with space", "ümlaut", "hash#mark", "per%20cent", "question?mark"])
def test_a_folder_of_any_name_can_be_a_store(tmp_path: Path, name: str) -> None:
    objects = ImageStore(open_store(Location.parse(str(tmp_path / name))))
    uri = objects.put(IMAGE_ID, "PNG", IMAGE)
    assert files(tmp_path) == [f"{name}/{IMAGE_ID[:2]}/{IMAGE_ID}.png"]
    assert objects.get(uri, 1000) == IMAGE


def test_a_setting_without_a_scheme_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Location.parse("./objects").uri == (tmp_path / "objects").as_uri()
    assert Location.parse("~/objects").uri == (tmp_path / "home" / "objects").as_uri()
    assert Location.parse("s3://bucket/images").uri == "s3://bucket/images"


@pytest.mark.parametrize("uri", ["gopher://host/images", "http://host/images"])
def test_a_uri_that_no_store_knows_is_a_wrong_setting(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ImageStore(open_store(Location.parse(uri)))
    assert caught.value.setting == "Store URI"


def test_a_store_is_made_at_the_check_and_nothing_is_left_in_it(objects: ImageStore, tmp_path: Path) -> None:
    objects.check_writable()
    assert (tmp_path / "objects").is_dir()
    assert files(tmp_path) == []


def test_a_store_that_cannot_be_written_says_so_at_the_check(tmp_path: Path) -> None:
    (tmp_path / "objects").write_text("a file in the place of the folder, which stops root as well")
    with pytest.raises(WarehouseError, match="objects"):
        ImageStore(open_store(Location.parse(str(tmp_path / "objects")))).check_writable()


def test_an_image_that_cannot_be_stored_may_be_tried_again(objects: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / IMAGE_ID[:2]).write_text("in the way")
    with pytest.raises(ObjectStoreUnavailable) as caught:
        objects.put(IMAGE_ID, "PNG", IMAGE)
    assert caught.value.retryable
    (tmp_path / "objects" / IMAGE_ID[:2]).unlink()
    assert objects.get(objects.put(IMAGE_ID, "PNG", IMAGE), 1000) == IMAGE


def test_a_failed_rename_leaves_no_temporary_file(objects: ImageStore, tmp_path: Path) -> None:
    # A folder where the picture should be: writing the temporary file passes, renaming it cannot.
    (tmp_path / "objects" / IMAGE_ID[:2] / f"{IMAGE_ID}.png" / "taken").mkdir(parents=True)
    with pytest.raises(ObjectStoreUnavailable):
        objects.put(IMAGE_ID, "PNG", IMAGE)
    assert files(tmp_path) == []


@pytest.mark.parametrize("image_id", ["../../outside", "..", "a/../../../outside", ""])
def test_an_id_that_is_no_hash_never_names_a_file_outside_the_store(
    objects: ImageStore, tmp_path: Path, image_id: str
) -> None:
    objects.check_writable()
    with pytest.raises((ValueError, WarehouseError)):
        objects.put(image_id, "PNG", IMAGE)
    assert files(tmp_path) == []


@pytest.fixture
def rows(tmp_path: Path) -> LocalRows:
    store = LocalRows(tmp_path / "rows" / "rows.duckdb")
    yield store
    store.close()


def statuses(rows: LocalRows) -> dict[str, str]:
    return {row["request_id"]: row["status"] for row in rows.query("SELECT * FROM image_events").to_pylist()}


def again(record: ImageRecord, **values: object) -> ImageRecord:
    """A later version of a record, under the same key."""
    return ImageRecord(**{**dict(record.items()), **values})


def test_writing_a_record_twice_keeps_one_row(rows: LocalRows, record: Record) -> None:
    first = record()
    assert rows.write([first]) == [None]
    assert rows.write([again(first, status="classified")]) == [None]
    assert statuses(rows) == {first.request_id: "classified"}


def test_a_later_version_replaces_every_field_of_the_row(rows: LocalRows, record: Record) -> None:
    first = record(status="failed", error_code="model.broken", predicted_class="frog")
    rows.write([first])
    rows.write([again(first, status="classified", error_code=None, predicted_class="cat")])
    (row,) = rows.query("SELECT error_code, predicted_class FROM image_events").to_pylist()
    assert row == {"error_code": None, "predicted_class": "cat"}


def test_of_two_versions_in_one_batch_the_later_one_stays(rows: LocalRows, record: Record) -> None:
    first, other = record(), record()
    outcomes = rows.write([first, other, again(first, status="classified")])
    assert outcomes == [None, None, None]
    assert statuses(rows) == {first.request_id: "classified", other.request_id: "accepted"}


def test_old_and_new_rows_in_one_batch_are_both_written(rows: LocalRows, record: Record) -> None:
    old, new = record(), record()
    rows.write([old])
    rows.write([again(old, status="failed"), new])
    assert statuses(rows) == {old.request_id: "failed", new.request_id: "accepted"}


def test_rows_are_still_there_after_a_new_start(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    written = record(file_name="frog.png", width=32)
    first = open_rows(path)
    first.write([written])
    first.close()
    second = LocalRows(path)
    second.write([again(written, status="classified")])
    found = second.query("SELECT request_id, file_name, width, status FROM image_events").to_pylist()
    second.close()
    assert found == [{"request_id": written.request_id, "file_name": "frog.png", "width": 32, "status": "classified"}]


@pytest.mark.parametrize("missing", ["node", "gps_latitude", "declared_type", "format"])
def test_a_file_of_an_older_release_gains_the_column_it_lacks(tmp_path: Path, record: Record, missing: str) -> None:
    path = tmp_path / "rows.duckdb"
    old = record()
    store = LocalRows(path)
    store.write([old])
    store.close()
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"ALTER TABLE image_events DROP COLUMN {missing}")
    values = {"file_name": "frog.png", "declared_type": "image/png", "format": "PNG", "size_bytes": 70, "width": 8,
              "gps_latitude": 1.5, "gps_longitude": 2.5, "node": "here"}  # fmt: skip
    new = record(**values)
    store = LocalRows(path)
    store.write([new])
    store.write([again(new, height=6)])
    (row,) = store.query(f"SELECT * FROM image_events WHERE request_id = '{new.request_id}'").to_pylist()
    kept = statuses(store)
    store.close()
    assert ImageRecord(**row) == again(new, height=6)
    assert set(kept) == {old.request_id, new.request_id}


def test_a_file_of_a_newer_release_is_still_written(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    LocalRows(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE image_events ADD COLUMN mood VARCHAR")
    store = LocalRows(path)
    written = record()
    store.write([written])
    found = statuses(store)
    store.close()
    assert found == {written.request_id: "accepted"}


def test_text_of_any_kind_comes_back_as_it_was(rows: LocalRows, record: Record) -> None:
    name = "a'b\"c; DROP TABLE image_events; -- \x00 \U0001f438 \t"
    rows.write([record(file_name=name)])
    assert rows.query("SELECT file_name FROM image_events").to_pylist() == [{"file_name": name}]


def test_queries_go_on_while_rows_are_written(rows: LocalRows, record: Record) -> None:
    errors: list[Exception] = []
    counts: list[int] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                table = rows.query("SELECT count(*) AS n, count(DISTINCT request_id) AS d FROM image_events")
                (row,) = table.to_pylist()
                assert row["n"] == row["d"]
                counts.append(row["n"])
        except Exception as err:
            errors.append(err)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        rows.write([record() for _ in range(5)])
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert set(counts) <= set(range(0, 151, 5))  # whole batches only
    assert rows.query("SELECT count(*) AS n FROM image_events").to_pylist() == [{"n": 150}]


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("DELETE FROM image_events", id="delete"),
        pytest.param("UPDATE image_events SET node = 'x'", id="update"),
        pytest.param("INSERT INTO image_events SELECT * FROM image_events", id="insert"),
        pytest.param("DROP TABLE image_events", id="drop"),
        pytest.param("CREATE TABLE t AS SELECT 1", id="create"),
        pytest.param("SELECT 1; DELETE FROM image_events", id="second-statement"),
        pytest.param(
            "WITH gone AS (DELETE FROM image_events RETURNING *) SELECT * FROM gone", id="delete-inside-select"
        ),
        pytest.param("SELECT * FROM query('DELETE FROM image_events')", id="delete-inside-a-table-function"),
        pytest.param("EXPLAIN ANALYZE DELETE FROM image_events", id="explain-analyze"),
        pytest.param("PREPARE p AS DELETE FROM image_events", id="prepare"),
        pytest.param("ATTACH ':memory:' AS other", id="attach"),
        pytest.param("SET enable_external_access = true", id="set"),
        pytest.param("PRAGMA enable_external_access", id="pragma"),
        pytest.param("CALL force_checkpoint()", id="call"),
        pytest.param("INSTALL httpfs", id="install"),
        pytest.param("LOAD httpfs", id="load"),
        pytest.param("", id="nothing"),
        pytest.param("SELEKT 1", id="no-sql"),
    ],
)
def test_a_query_changes_nothing(rows: LocalRows, record: Record, sql: str) -> None:
    written = record(node="here")
    rows.write([written])
    with pytest.raises(duckdb.Error):
        rows.query(sql)
    (row,) = rows.query("SELECT * FROM image_events").to_pylist()
    assert ImageRecord(**row) == written


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{path}')",
        "SELECT * FROM read_blob('{path}')",
        "SELECT * FROM read_csv('{path}')",
        "SELECT * FROM '{path}'",
        "SELECT * FROM glob('{path}')",
        "SELECT * FROM sniff_csv('{path}')",
        "COPY (SELECT 1) TO '{path}.out'",
        "COPY image_events FROM '{path}'",
        "EXPORT DATABASE '{path}.out'",
        "ATTACH '{path}.out'",
    ],
)
def test_a_query_reaches_no_other_file(rows: LocalRows, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(duckdb.Error) as caught:
        rows.query(sql.format(path=secret))
    assert not isinstance(caught.value, duckdb.IOException)  # refused, not tried
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["statements", "sql", "batch", "secret_table", "self"])
def test_a_query_reaches_no_object_of_the_process(rows: LocalRows, name: str) -> None:
    import pyarrow as pa

    secret_table = pa.table({"a": [1]})  # DuckDB would find a variable of this name, if it were let
    with pytest.raises(duckdb.Error):
        rows.query(f"SELECT * FROM {name}")
    assert secret_table.num_rows == 1


def test_a_query_may_still_be_any_select(rows: LocalRows, record: Record) -> None:
    rows.write([record(status="rejected", error_code="image.truncated") for _ in range(3)])
    found = rows.query("WITH x AS (FROM image_events) SELECT error_code, count(*) AS n FROM x GROUP BY ALL").to_pylist()
    assert found == [{"error_code": "image.truncated", "n": 3}]


@pytest.mark.parametrize("kind", ["folder", "garbage"])
def test_a_path_that_cannot_be_a_database_is_a_wrong_setting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rows.duckdb"
    if kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"this is no database " * 1000)
    with pytest.raises(ConfigurationError) as caught:
        LocalRows(path)
    assert caught.value.setting == "Local Database"
    assert "\n" not in str(caught.value)


def test_a_file_in_the_place_of_the_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("in the way, for root too")
    with pytest.raises(ConfigurationError, match="Local Database"):
        LocalRows(tmp_path / "rows" / "rows.duckdb")


def test_a_closed_store_is_unavailable_and_may_be_tried_again(tmp_path: Path, record: Record) -> None:
    store = LocalRows(tmp_path / "rows.duckdb")
    store.close()
    with pytest.raises(RowStoreUnavailable) as caught:
        store.write([record()])
    assert caught.value.retryable


# --- the group commit ---------------------------------------------------------------------------------------------


class Counting:
    """A real store behind a counter; each write takes as long as a commit on a slow disk."""

    def __init__(self, store: LocalRows, seconds: float = 0.0) -> None:
        self.store = store
        self.seconds = seconds
        self.batches: list[int] = []

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        self.batches.append(len(records))
        time.sleep(self.seconds)
        return self.store.write(records)

    def close(self) -> None:
        self.store.close()


class Refusing:
    """Refuses records by their node, as Kudu refuses rows one by one."""

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        time.sleep(0.01)
        return [RowRejected(record.request_id) if record.node == "bad" else None for record in records]

    def close(self) -> None: ...


class Failing:
    """Fails as a whole with whatever it is given, as long as it is given something."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        time.sleep(0.01)
        if self.error is not None:
            raise self.error
        return [None] * len(records)

    def close(self) -> None: ...


class Forgetful:
    """A defective store: fewer outcomes than records."""

    def __init__(self) -> None:
        self.healed = False

    def write(self, records: Sequence[ImageRecord]) -> Sequence[WarehouseError | None]:
        time.sleep(0.01)
        return [None] * (len(records) if self.healed else len(records) - 1)

    def close(self) -> None: ...


def write_all(commits: GroupCommit, records: Sequence[ImageRecord], threads: int) -> list[Exception | None]:
    """Each record in a call of its own, over so many threads; gives what each call raised."""
    found: dict[int, Exception | None] = {}

    def write(first: int) -> None:
        for number in range(first, len(records), threads):
            try:
                commits.write(records[number])
                found[number] = None
            except Exception as err:
                found[number] = err

    # Daemons: a thread that waits for ever has to fail its test, not the end of the run.
    workers = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    until = time.monotonic() + 10
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    assert not any(worker.is_alive() for worker in workers), "a task waits for a commit that never comes"
    return [found[number] for number in range(len(records))]


def test_rows_of_many_threads_are_all_there(rows: LocalRows, record: Record) -> None:
    records = [record() for _ in range(400)]
    assert write_all(GroupCommit(rows), records, 16) == [None] * 400
    assert set(statuses(rows)) == {one.request_id for one in records}


def test_a_row_is_committed_when_its_write_returns(rows: LocalRows, record: Record) -> None:
    commits = GroupCommit(rows)

    def write(one: ImageRecord) -> bool:
        commits.write(one)
        return one.request_id in statuses(rows)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(write, [record() for _ in range(40)]))


def test_threads_that_wait_share_a_commit(rows: LocalRows, record: Record) -> None:
    store = Counting(rows, seconds=0.02)
    assert write_all(GroupCommit(store), [record() for _ in range(160)], 16) == [None] * 160
    assert sum(store.batches) == 160
    assert len(store.batches) < 160 / 4  # 16 threads: about 15 rows wait while one commit is under way
    assert max(store.batches) > 4


def test_a_row_alone_is_written_at_once(rows: LocalRows, record: Record) -> None:
    store = Counting(rows)
    commits = GroupCommit(store)
    for _ in range(5):
        commits.write(record())
    assert store.batches == [1] * 5


def test_no_batch_is_larger_than_allowed(rows: LocalRows, record: Record) -> None:
    store = Counting(rows, seconds=0.01)
    assert write_all(GroupCommit(store, max_weight=3), [record() for _ in range(60)], 12) == [None] * 60
    assert max(store.batches) == 3
    assert sum(store.batches) == 60


def test_two_versions_of_a_row_from_two_threads_leave_one_row(rows: LocalRows, record: Record) -> None:
    one = record()
    versions = [again(one, width=number) for number in range(50)]
    assert write_all(GroupCommit(Counting(rows, seconds=0.005)), versions, 8) == [None] * 50
    assert len(statuses(rows)) == 1


def test_an_error_reaches_exactly_the_row_it_belongs_to(record: Record) -> None:
    records = [record(node="bad" if number % 5 == 0 else "good") for number in range(100)]
    found = write_all(GroupCommit(Refusing()), records, 10)
    for one, error in zip(records, found, strict=True):
        if one.node == "bad":
            assert isinstance(error, RowRejected)
            assert str(error) == one.request_id
        else:
            assert error is None


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RowStoreUnavailable("no tablet server"), id="unavailable"),
        pytest.param(RowRejected("no such column"), id="rejected"),
        pytest.param(KeyError("a defect"), id="defect"),
        pytest.param(MemoryError(), id="out-of-memory"),
    ],
)
def test_an_error_of_the_whole_store_reaches_everybody_and_is_gone_after_it(record: Record, error: Exception) -> None:
    store = Failing(error)
    commits = GroupCommit(store)
    found = write_all(commits, [record() for _ in range(20)], 8)
    wanted = type(error) if isinstance(error, WarehouseError) else RowStoreUnavailable
    assert {type(one) for one in found} == {wanted}
    store.error = None
    assert write_all(commits, [record() for _ in range(20)], 8) == [None] * 20


def test_a_store_that_answers_for_too_few_rows_leaves_nobody_waiting(record: Record) -> None:
    store = Forgetful()
    commits = GroupCommit(store)
    found = write_all(commits, [record() for _ in range(20)], 8)
    assert {type(one) for one in found} == {RowStoreUnavailable}
    store.healed = True
    assert write_all(commits, [record() for _ in range(20)], 8) == [None] * 20


def test_every_column_is_written(rows: LocalRows, record: Record) -> None:
    GroupCommit(rows).write(record())
    assert rows.query("SELECT * FROM image_events").column_names == [column.name for column in COLUMNS]


def test_at_the_start_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    parts = tmp_path / "store" / ".parts"
    parts.mkdir(parents=True)
    node = local.NODE
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()  # its number belongs to nobody now
    two_days_ago = time.time() - 2 * 86_400
    for name, old in (("half", True), (f"{IMAGE_ID}.elsewhere.1.old", True), (f"{IMAGE_ID}.{node}.{process.pid}.mine", False),
                      ("another-nodes", False), (f"{IMAGE_ID}.elsewhere.{process.pid}.x", False),
                      (f"{IMAGE_ID}.{node}.{os.getpid()}.x", False), (f"{IMAGE_ID}.{node}.no-number.x", False)):  # fmt: skip
        (parts / name).write_bytes(b"half a picture")
        if old:
            os.utime(parts / name, (two_days_ago, two_days_ago))
    ImageStore(open_store(Location.parse((tmp_path / "store").as_uri()))).check_writable()
    assert {path.name for path in parts.iterdir()} == {
        "another-nodes", f"{IMAGE_ID}.elsewhere.{process.pid}.x", f"{IMAGE_ID}.{node}.{os.getpid()}.x",
        f"{IMAGE_ID}.{node}.no-number.x",
    }  # fmt: skip


def test_a_process_that_is_killed_in_the_middle_of_a_write_leaves_nothing_after_the_next_start(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
store = ImageStore(open_store(Location.parse(sys.argv[1])))
os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
import hashlib
store.put(hashlib.sha256(b"x").hexdigest(), "PNG", b"x")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "store")], timeout=60, check=False)
    assert done.returncode == -9
    assert len(files(tmp_path / "store")) == 1
    ImageStore(open_store(Location.parse(str(tmp_path / "store")))).check_writable()
    assert files(tmp_path / "store") == []
