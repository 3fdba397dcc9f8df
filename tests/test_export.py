"""`imagewarehouse export`: many pictures at once, each whole and once, as trainings and WebDataset take them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.getting import exporting
from imagewarehouse.getting.exporting import folder_names, shards
from imagewarehouse.getting.plan import Plan, open_plan
from imagewarehouse.getting.rows import Wanted, parse_time, wanted_rows
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.training.listing import Listing
from imagewarehouse.training.sources import list_source
from tests.conftest import until
from tests.pictures import noise, numbered
from tests.running import Service, post
from tests.warehouses import CLASSES, FIRST, Warehouse

COUNT = 300
Export = Callable[..., int]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    made = Warehouse(tmp_path_factory.mktemp("many") / "data")
    made.add_many(COUNT)
    made.records[7] = replace(made.records[7], embedding=b"\x01\xff\x80")
    made.add(
        numbered(0), predicted_class="bird", confidence=0.96875, file_name="again.jpg"
    )  # the first one, sent again
    nothing: dict[str, Any] = {"predicted_class": None, "confidence": None, "top_k": None}
    made.add(noise(1), format="PNG", status="failed", error_code="model.broken", **nothing)
    made.add(b"", status="rejected", **{**nothing, "image_id": None, "storage_uri": None})
    return made.close()


@pytest.fixture
def export(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    monkeypatch.chdir(tmp_path)
    return lambda *words: call(["export", "--data", str(warehouse.data), *words])


def files(folder: Path) -> dict[str, bytes]:
    """What people see of a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and ".export" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def expected(warehouse: Warehouse) -> dict[str, bytes]:
    return {f"{CLASSES[n % 3]}/{warehouse.records[n].image_id}.jpg": numbered(n) for n in range(COUNT)}


def contents(listing: Listing) -> set[bytes]:
    return {load() for _, load in listing.reader.read(np.arange(len(listing.labels)))}


# --- the three formats --------------------------------------------------------------------------------------------


def test_a_folder_has_each_picture_once_under_its_class(
    export: Export, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--as", "folder", "out") == 0
    assert files(Path("out")) == expected(warehouse)
    assert capsys.readouterr().out == "300 pictures written to out, 0 missing\n"


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_training_takes_it_as_it_is(export: Export, warehouse: Warehouse, kind: str) -> None:
    assert export("--as", kind, "out") == 0
    listing = list_source("out", "--data")
    assert listing.classes == CLASSES
    assert Counter(listing.labels.tolist()) == {0: 100, 1: 100, 2: 100}
    assert listing.problems == ()
    assert contents(listing) == set(expected(warehouse).values())
    names = {f"{CLASSES[label]}/{Path(name).name}" for label, name in zip(listing.labels, listing.names, strict=True)}
    assert names == set(expected(warehouse))


@pytest.mark.long
def test_the_command_trains_on_it(export: Export) -> None:
    pytest.importorskip("tensorflow")
    assert export("--as", "folder", "out") == 0
    words = ["train", "--data", "out", "--out", "model/mine", "--preset", "tiny", "--epochs", "1", "--no-progress"]
    done = subprocess.run(
        [sys.executable, "-m", "imagewarehouse.cli.main", *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path("model/mine/1/labels.txt").read_text().split() == list(CLASSES)
    assert "3 classes: bird, cat, dog" in done.stdout + done.stderr


def test_parquet_has_the_whole_record_beside_each_picture(export: Export, warehouse: Warehouse) -> None:
    assert export("--as", "parquet", "out") == 0
    table = pq.read_table("out/data-000000.parquet").to_pylist()
    by_id = {row["image_id"]: row for row in table}
    record = warehouse.records[7]
    row = by_id[record.image_id]
    assert (row["image"], row["class"], row["path"]) == (numbered(7), "cat", f"cat/{record.image_id}.jpg")
    assert {name: row[name] for name, _ in record.items()} == {**dict(record.items()), "embedding": [1, -1, -128]}
    assert by_id[warehouse.records[8].image_id]["embedding"] is None


def samples(tar: Path) -> Iterator[dict[str, bytes]]:
    """As the library `webdataset` groups them: neighbours whose names agree up to the first dot."""
    sample: dict[str, bytes] = {}
    with tarfile.open(tar) as file:
        for entry in file:
            key, _, suffix = entry.name.partition(".")
            if sample and sample["__key__"] != key.encode():
                yield sample
                sample = {}
            data = file.extractfile(entry)
            assert data is not None
            sample |= {"__key__": key.encode(), suffix: data.read()}
    yield sample


def test_shards_hold_samples_of_picture_record_and_class(export: Export, warehouse: Warehouse) -> None:
    assert export("--as", "webdataset", "--status", "classified", "--status", "failed", "out") == 0
    found = {sample["__key__"].decode(): sample for sample in samples(Path("out/data-000000.tar"))}
    assert len(found) == COUNT + 1
    assert Path("out/classes.txt").read_text().split() == list(CLASSES)
    for number in range(1, COUNT):
        record = warehouse.records[number]
        sample = found[str(record.image_id)]
        assert set(sample) == {"__key__", "jpg", "json", "cls"}
        assert sample["jpg"] == numbered(number)
        assert int(sample["cls"]) == number % 3
        assert json.loads(sample["json"]) == record.as_json()
    failed = found[str(warehouse.records[COUNT + 1].image_id)]
    assert set(failed) == {"__key__", "png", "json"}  # nothing was said of its class
    assert failed["png"] == noise(1)


def test_the_library_webdataset_reads_them(export: Export, warehouse: Warehouse) -> None:
    webdataset = pytest.importorskip("webdataset")
    assert export("--as", "webdataset", "out") == 0
    data = webdataset.WebDataset("out/data-000000.tar", shardshuffle=False).decode("pil").to_tuple("jpg", "json", "cls")
    read = list(data)
    assert len(read) == COUNT
    for image, record, number in read:
        assert image.size == (32, 32)
        assert CLASSES[number] == record["predicted_class"]


def test_of_a_picture_that_was_sent_twice_the_newest_row_counts(export: Export, warehouse: Warehouse) -> None:
    assert export("--as", "webdataset", "out") == 0
    found = {sample["__key__"].decode(): sample for sample in samples(Path("out/data-000000.tar"))}
    record = json.loads(found[str(warehouse.records[0].image_id)]["json"])
    assert (record["file_name"], record["confidence"]) == ("again.jpg", 0.96875)


def test_shards_are_cut_by_size_and_each_is_whole(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "SHARD_BYTES", 100_000)
    assert export("--as", "webdataset", "out") == 0
    tars = sorted(Path("out").glob("data-*.tar"))
    assert len(tars) > 5
    assert [path.name for path in tars] == [f"data-{number:06d}.tar" for number in range(len(tars))]
    keys = [sample["__key__"] for path in tars for sample in samples(path)]
    assert len(keys) == len(set(keys)) == COUNT
    assert max(path.stat().st_size for path in tars) < 400_000


def test_a_picture_larger_than_a_shard_has_one_of_its_own() -> None:
    sizes = [10, 300_000_000, 10, 10, 99_000_000, 5_000_000]
    cut = [[row["size_bytes"] for row in rows] for rows in shards([{"size_bytes": size} for size in sizes])]
    assert cut == [[10], [300_000_000], [10, 10, 99_000_000], [5_000_000]]
    assert list(shards([])) == []


# --- which --------------------------------------------------------------------------------------------------------


def numbers(words: tuple[str, ...], export: Export, warehouse: Warehouse) -> set[int]:
    """The numbers of the pictures that were written."""
    shutil.rmtree("out", ignore_errors=True)
    assert export("--as", "folder", *words, "out") == 0
    written = {Path(name).stem for name in (files(Path("out")) if Path("out").exists() else ())}
    return {n for n in range(len(warehouse.records)) if n != COUNT and warehouse.records[n].image_id in written}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        pytest.param(("--class", "cat"), lambda n: n % 3 == 1, id="class"),
        pytest.param(("--class", "cat", "--class", "dog"), lambda n: n % 3, id="two-classes"),
        pytest.param(("--class", "o'hare"), lambda n: False, id="class-with-a-quote"),
        pytest.param(("--confidence", "<0.1"), lambda n: n % 100 < 10, id="confidence"),
        pytest.param(("--confidence", ">= .5", "--confidence", "<0.52"), lambda n: n % 100 in (50, 51), id="range"),
        pytest.param(("--source-user", "camera-1"), lambda n: n % 2, id="source-user"),
        pytest.param(("--since", "2026-11-10"), lambda n: n >= 216 or n == 0, id="since"),
        pytest.param(("--until", "2026-11-02"), lambda n: n < 24, id="until"),
        pytest.param(
            ("--since", "2026-11-02T03:00:00Z", "--until", "2026-11-02T05:30+01:00"),
            lambda n: n in (27, 28),
            id="times",
        ),
        pytest.param(("--limit", "10"), lambda n: n > 290 or n == 0, id="limit"),
        pytest.param(
            ("--class", "bird", "--source-user", "camera-0", "--limit", "2"), lambda n: n in (294, 288), id="all"
        ),
    ],
)
def test_only_what_is_asked_for(
    words: tuple[str, ...], meant: Callable[[int], Any], export: Export, warehouse: Warehouse
) -> None:
    assert numbers(words, export, warehouse) == {n for n in range(COUNT) if meant(n)}


def test_pictures_without_a_class_have_a_folder_of_their_own(export: Export, warehouse: Warehouse) -> None:
    assert export("--as", "folder", "--status", "failed", "out") == 0
    assert files(Path("out")) == {f"unclassified/{warehouse.records[COUNT + 1].image_id}.png": noise(1)}


def test_pages_do_not_lose_or_repeat_rows(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where several rows have the same time."""
    rows = [
        {"event_time": FIRST + timedelta(seconds=n // 7), "request_id": f"r{n:03d}", "image_id": f"{n // 2:064x}"}
        for n in range(1000)
    ]
    import duckdb
    import pyarrow as pa

    from imagewarehouse.getting import rows as module

    monkeypatch.setattr(module, "_PAGE", 10)
    table = pa.Table.from_pylist([{**row, "storage_uri": "x", "status": "classified"} for row in rows])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        connection.register("image_events", table)
        found = list(wanted_rows(lambda sql: connection.sql(sql).to_arrow_table().to_pylist(), Wanted(limit=1000)))
    assert [row["request_id"] for row in found] == [f"r{n:03d}" for n in range(999, 0, -2)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("--confidence", "0.6"), "--confidence: expected a comparison", id="number-alone"),
        pytest.param(("--confidence", "<2"), "--confidence: expected a comparison", id="no-probability"),
        pytest.param(("--confidence", "<0.6 OR 1=1"), "--confidence: expected a comparison", id="sql"),
        pytest.param(("--since", "yesterday"), "--since: expected a date or time such as 2026-11-01", id="since"),
        pytest.param(("--until", "2026-13-01"), "--until: expected a date", id="until"),
        pytest.param(
            ("--since", "2026-11-02", "--until", "2026-11-01"), "--until: is not after --since", id="reversed"
        ),
        pytest.param(("--status", "lost"), "'lost' is not one of", id="status"),
        pytest.param(("--limit", "0"), "0 is not in the range", id="limit"),
    ],
)
def test_a_wrong_argument(
    export: Export, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--as", "folder", *words, "out") == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_time("2026-11-01", "x") == FIRST
    assert parse_time("2026-11-01T01:00+01:00", "x") == FIRST


def test_a_dry_run_counts_and_writes_nothing(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--as", "parquet", "--dry-run", "--class", "cat", "--class", "dog", "out") == 0
    said = capsys.readouterr().out
    assert said.startswith("200 pictures, 0.")
    assert said.split()[-4:] == ["dog", "100", "cat", "100"] or said.split()[-4:] == ["cat", "100", "dog", "100"]
    assert not Path("out").exists()


def test_nothing_to_export_is_said(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--as", "folder", "--class", "whale", "out") == 0
    assert capsys.readouterr().out == "no pictures are meant by this\n"


def test_rows_of_a_running_service(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        for number in range(5):
            post(service.classify_url, numbered(number), {"Content-Type": "image/jpeg"})
        assert call(["export", "--data", str(service.data), "--as", "folder", str(tmp_path / "out")]) == 0
    assert set(files(tmp_path / "out").values()) == {numbered(number) for number in range(5)}


# --- interrupted, and run again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_killed_at_any_moment_it_goes_on_and_nothing_half_looks_whole(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Warehouse(tmp_path / "data")
    made.add_many(600, (200, 200))
    made.close()
    out = tmp_path / "out"
    words = ["export", "--data", str(made.data), "--as", kind, str(out)]
    script = (
        "import sys, time\nfrom imagewarehouse.getting import exporting\nfrom imagewarehouse.getting.reading import Pictures\n"
        "exporting.SHARD_BYTES = 200_000\nread = Pictures.read\n"
        "Pictures.read = lambda self, *a: (time.sleep(0.05), read(self, *a))[1]\n"
        "from imagewarehouse.cli.main import call\nsys.exit(call(sys.argv[1:]))"
    )
    suffix = {"folder": "*/*.jpg", "parquet": "*.parquet", "webdataset": "*.tar"}[kind]
    kills = 0
    for _ in range(2):
        before = len(list(out.glob(suffix)))
        process = subprocess.Popen([sys.executable, "-c", script, *words], cwd=REPOSITORY, stdout=subprocess.DEVNULL)

        def further(count: int = before + 2, process: subprocess.Popen[bytes] = process) -> bool:
            return len(list(out.glob(suffix))) > count or process.poll() is not None

        assert until(further, 60, every=0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait(30)
        whole(kind, out)
    assert kills == 2
    # A shard that was renamed at the last moment is not known to be done.
    done = [path for path in out.glob(suffix) if kind == "folder" or (out / ".export" / f"{path.name}.json").exists()]
    stamps = {path: path.stat().st_mtime_ns for path in done}
    monkeypatch.setattr(exporting, "SHARD_BYTES", 200_000)
    assert call(words) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # what was there was not written again
    assert whole(kind, out) == {record.image_id for record in made.records}
    assert not [path for path in (out / ".export").rglob("*.part") if kind != "folder"]


def whole(kind: str, out: Path) -> set[str]:
    """The ids of the pictures in an export, each of which can be read to its end."""
    if kind == "folder":
        found = files(out)
        assert all(len(content) > 500 and content.endswith(b"\xff\xd9") for content in found.values())
        return {Path(name).stem for name in found}
    if kind == "parquet":
        return {row for path in out.glob("*.parquet") for row in pq.read_table(path)["image_id"].to_pylist()}
    return {sample["__key__"].decode() for path in out.glob("*.tar") for sample in samples(path)}


def test_run_again_it_writes_nothing(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("folder", "parquet", "webdataset"):
        assert export("--as", kind, f"out-{kind}") == 0
        stamps = {path: path.stat().st_mtime_ns for path in Path(f"out-{kind}").rglob("data*")}
        capsys.readouterr()
        assert export("--as", kind, f"out-{kind}") == 0
        assert capsys.readouterr().out == f"0 pictures written to out-{kind}, 300 were there, 0 missing\n"
        assert {path: path.stat().st_mtime_ns for path in Path(f"out-{kind}").rglob("data*")} == stamps


def test_a_file_that_a_crash_left_short_is_written_again(export: Export, warehouse: Warehouse) -> None:
    assert export("--as", "folder", "out") == 0
    path = next(Path("out/cat").iterdir())
    path.write_bytes(b"")
    assert export("--as", "folder", "out") == 0
    assert files(Path("out")) == expected(warehouse)


def test_new_pictures_wait_for_the_next_export(tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "data")
    made.add_many(5)
    made.close()
    words = ["export", "--data", str(made.data), "--as", "folder"]
    assert call([*words, str(tmp_path / "out")]) == 0
    made.add(numbered(77))
    made.close()
    assert call([*words, str(tmp_path / "out")]) == 0
    assert len(files(tmp_path / "out")) == 5
    assert call([*words, str(tmp_path / "next")]) == 0
    assert len(files(tmp_path / "next")) == 6


def test_other_arguments_are_another_export(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    assert export("--as", "folder", "--class", "cat", "out") == 0
    before = files(Path("out"))
    for words, name in ((("--class", "dog"), "classes"), (("--class", "cat", "--limit", "5"), "limit")):
        assert export("--as", "folder", *words, "out") == 2
        assert f"OUT: out holds an export with other arguments: {name} was" in capsys.readouterr().err
    assert export("--as", "parquet", "--class", "cat", "out") == 2
    assert files(Path("out")) == before


def test_a_folder_that_holds_something_else_is_left_alone(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/photo.jpg").write_bytes(b"mine")
    assert export("--as", "folder", "out") == 2
    assert "OUT: out is not empty, and what is in it is no export" in capsys.readouterr().err
    assert files(Path("out")) == {"photo.jpg": b"mine"}


def test_two_at_once_in_one_folder(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom imagewarehouse.getting.plan import open_plan\n"
        "with open_plan(Path(sys.argv[1]), {}, iter(())):\n    print('has it', flush=True)\n    input()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "has it\n"
        with (
            pytest.raises(ConfigurationError, match="another export is writing into"),
            open_plan(tmp_path / "out", {}, iter(())),
        ):
            pass
        other.communicate("\n")
    with open_plan(tmp_path / "out", {}, iter(())) as plan:
        assert plan.rows == ()


# --- what cannot be had -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_missing_and_damaged_pictures_are_named_and_counted(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Warehouse(tmp_path / "data")
    made.add_many(20)
    made.close()
    gone, damaged = made.records[3], made.records[8]
    made.path(gone).unlink()
    made.path(damaged).write_bytes(numbered(99))
    out = tmp_path / "out"
    words = ["export", "--data", str(made.data), "--as", kind, str(out)]
    for counted in ("18 pictures written to", "0 pictures written to"):
        assert call(words) == 1
        said = capsys.readouterr()
        assert counted in said.out
        assert said.out.endswith("2 missing\n")
        assert f"{gone.image_id}: file://" in said.err
        assert f"{damaged.image_id}: the object of {damaged.image_id} is not that image any more" in said.err
        listed = (out / ".export" / "missing.txt").read_text().splitlines()
        assert {line.split("\t")[0] for line in listed} == {gone.image_id, damaged.image_id}
    assert whole(kind, out) == {record.image_id for record in made.records} - {gone.image_id, damaged.image_id}
    if kind == "folder":  # back again, they are fetched
        made.path(damaged).unlink()
        made.add(numbered(3)), made.add(numbered(8))
        assert call(words) == 0
        assert whole(kind, out) == {record.image_id for record in made.records}


def test_a_shard_of_which_nothing_can_be_had(tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "data")
    record = made.add(numbered(1))
    made.add(numbered(1))
    made.close()
    made.path(record).unlink()
    words = ["export", "--data", str(made.data), "--as", "parquet", str(tmp_path / "out")]
    assert call(words) == call(words) == 1
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", ["folder", "parquet", "webdataset"])
def test_a_store_that_goes_away_stops_it_and_it_goes_on_later(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Warehouse(tmp_path / "data")
    made.add_many(20)
    made.close()
    (made.data / "objects").rename(made.data / "away")
    words = ["export", "--data", str(made.data), "--as", kind, str(tmp_path / "out")]
    assert call(words) == 1
    assert "objects is not there; run it again to go on" in capsys.readouterr().err
    (made.data / "away").rename(made.data / "objects")
    assert call(words) == 0
    assert len(whole(kind, tmp_path / "out")) == 20


def test_a_disk_that_cannot_be_written(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("no folder")
    assert export("--as", "folder", "file/out") == 2
    assert "OUT: file/out" in capsys.readouterr().err


# --- names of folders ---------------------------------------------------------------------------------------------


def planned(*classes: str | None) -> Plan:
    return Plan(Path("out"), tuple({"predicted_class": name} for name in classes))


@pytest.mark.parametrize(
    ("class_name", "folder"),
    [
        ("cat", "cat"),
        ("tabby, tabby cat", "tabby, tabby cat"),
        ("grün", "grün"),
        ("cat/dog", "cat_dog"),
        ("..", "_."),
        (".hidden", "_hidden"),
        ("../../etc", "_._.._etc"),
        ("a\nb\0c", "a_b_c"),
        ("", "unclassified"),
        (None, "unclassified"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_class_becomes_a_folder_that_is_inside_and_seen(class_name: str | None, folder: str) -> None:
    assert folder_names(planned(class_name)) == {class_name: folder}


def test_two_classes_never_share_a_folder() -> None:
    with pytest.raises(ConfigurationError, match="'a/b' and 'a_b' would share the folder a_b"):
        folder_names(planned("a/b", "a_b"))


# --- the command that had this name -------------------------------------------------------------------------------


def test_a_model_is_still_exported_under_the_old_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorflow")
    for words in (["export"], ["model", "export"]):
        assert call([*words, str(tmp_path), "--out", str(tmp_path / "x")]) == 2
        assert f"SOURCE: {tmp_path} has no <version>/manifest.json" in capsys.readouterr().err


def test_a_progress_bar_is_drawn_where_it_is_asked_for(export: Export, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert export("--as", "folder", "--limit", "20", "--progress", "out") == 0
    assert "20/20" in capsys.readouterr().err
    assert time.monotonic() - started < 60
