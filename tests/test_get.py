"""`imagewarehouse get`: one picture by its id, from a file of rows or a running service, checked against its sha256."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.errors import ObjectDamaged, ObjectStoreUnavailable
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.reading import PIECE, StoredImages, pieces, read_image
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.embedded import LocalRows
from tests.pictures import noise, numbered
from tests.running import Service, post
from tests.warehouses import Warehouse

Get = Callable[..., int]


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(tmp_path / "data")
    made.add(numbered(1), predicted_class="frog", file_name="frog.jpg")
    made.add(noise(2), format="PNG")
    return made.close()


@pytest.fixture
def get(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Get:
    """Calls the command in an empty folder; gives its exit code."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words: call(["get", "--data", str(warehouse.data), *words])


def written() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path.cwd().iterdir()}


# --- which --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [64, 63, 12, 8])
def test_a_picture_by_its_id_or_how_that_begins(
    get: Get, warehouse: Warehouse, digits: int, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = str(warehouse.records[0].image_id)
    assert get(image_id[:digits]) == 0
    assert written() == {f"{image_id}.jpg": numbered(1)}
    said = capsys.readouterr().out
    assert said == f"{image_id}.jpg: {len(numbered(1)):,} bytes, JPEG, frog\n"


def test_an_id_may_be_in_upper_case_and_have_blanks_around(get: Get, warehouse: Warehouse) -> None:
    assert get(f" {str(warehouse.records[1].image_id).upper()} ") == 0
    assert list(written().values()) == [noise(2)]


@pytest.mark.parametrize("digits", [36, 20])
def test_a_picture_by_a_request_that_sent_it(get: Get, warehouse: Warehouse, digits: int) -> None:
    assert get(warehouse.records[1].request_id[:digits]) == 0
    assert written() == {f"{warehouse.records[1].image_id}.png": noise(2)}


def test_a_picture_that_was_sent_twice_is_one(get: Get, tmp_path: Path) -> None:
    made = Warehouse(tmp_path / "twice")
    first, second = made.add(numbered(1)), made.add(numbered(1))
    made.close()
    assert call(["get", "--data", str(made.data), str(first.image_id)[:10]]) == 0
    assert call(["get", "--data", str(made.data), second.request_id]) == 0


def test_several_are_named(get: Get, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    beginning = warehouse.records[0].request_id[:8]  # of the same minute as the other one's, or nearly
    others = Warehouse(warehouse.data.parent / "others")
    for number in range(14):
        others.add(numbered(number), at=warehouse.records[0].event_time - warehouse.records[0].event_time)
    others.close()
    assert call(["get", "--data", str(others.data), beginning]) == 2
    said = capsys.readouterr().err
    assert "is how several begin" in said
    assert sum(str(record.image_id) in said for record in others.records) == 11
    assert written() == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        pytest.param("f" * 64, "no row has " + "f" * 64, id="unknown-image"),
        pytest.param("ffffffff", "no row has ffffffff", id="unknown-beginning"),
        pytest.param("ffffffff-0000-7000-8000-000000000000", "no row has", id="unknown-request"),
        pytest.param("fffffff", "8 digits at least", id="seven-digits"),
        pytest.param("frog.jpg", "expected an image_id", id="a-file-name"),
        pytest.param("x' OR 'a'='a", "expected an image_id", id="sql"),
        pytest.param("%%%%%%%%", "expected an image_id", id="pattern"),
        pytest.param("f" * 65, "expected an image_id", id="too-long"),
    ],
)
def test_what_is_no_id_of_a_row(get: Get, asked: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert get(asked) == 2
    assert said in capsys.readouterr().err
    assert written() == {}


def test_a_request_without_a_picture_says_why(get: Get, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Warehouse(tmp_path / "rejected")
    nothing = {"image_id": None, "format": "JPEG", "storage_uri": None, "predicted_class": None, "confidence": None}
    record = made.add(numbered(1), status="rejected", error_code="image.truncated", top_k=None, **nothing)
    made.close()
    assert call(["get", "--data", str(made.data), record.request_id]) == 2
    assert (
        f"the request {record.request_id} is rejected (image.truncated): no picture is kept" in capsys.readouterr().err
    )


# --- where to -----------------------------------------------------------------------------------------------------


def test_into_a_file_or_a_folder(get: Get, warehouse: Warehouse) -> None:
    image_id = str(warehouse.records[0].image_id)
    assert get(image_id, "-o", "frog.jpg") == 0
    Path("pictures").mkdir()
    assert get(image_id, "-o", "pictures") == 0
    assert Path("frog.jpg").read_bytes() == Path(f"pictures/{image_id}.jpg").read_bytes() == numbered(1)
    assert sorted(path.name for path in Path.cwd().rglob("*") if path.is_file()) == [f"{image_id}.jpg", "frog.jpg"]


def test_to_standard_output_goes_the_picture_and_nothing_else(
    get: Get, warehouse: Warehouse, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert get(str(warehouse.records[1].image_id), "-o", "-") == 0
    assert capfdbinary.readouterr() == (noise(2), b"")
    assert written() == {}


def test_a_file_that_cannot_be_written(get: Get, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    assert get(str(warehouse.records[0].image_id), "-o", "no/such/folder.jpg") == 2
    assert "--output: no/such/folder.jpg: No such file or directory" in capsys.readouterr().err


# --- from where ---------------------------------------------------------------------------------------------------


def test_rows_of_a_nifi_are_read_from_their_file(get: Get, warehouse: Warehouse) -> None:
    file = warehouse.data.rename(warehouse.data.parent / "nifi") / "rows.duckdb"
    objects = file.parent / "objects"
    assert call(["get", "--database", str(file), "--store", str(objects), str(warehouse.records[0].image_id)]) == 0
    assert list(written().values()) == [numbered(1)]


def test_a_row_that_is_still_in_the_log(get: Get, warehouse: Warehouse) -> None:
    rows = LocalRows(warehouse.data / "rows.duckdb")
    try:
        record = warehouse.add(numbered(7))
        rows.write([record])
        assert get(str(record.image_id)) == 0
    finally:
        rows.close()


def test_a_store_that_has_moved_and_one_that_needs_no_row(get: Get, warehouse: Warehouse) -> None:
    moved = (warehouse.data / "objects").rename(warehouse.data / "moved")
    image_id = str(warehouse.records[0].image_id)
    assert get(image_id) == 2  # nothing is where the row says
    assert get(image_id, "--store", str(moved)) == 0
    Path(f"{image_id}.jpg").unlink()
    empty = Warehouse(warehouse.data.parent / "empty").close()
    assert call(["get", "--data", str(empty.data), "--store", str(moved), image_id]) == 0
    assert call(["get", "--data", str(empty.data), "--store", str(moved), "e" * 64]) == 2


def test_while_the_service_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Service(tmp_path / "data") as service:
        answer = post(service.classify_url, numbered(5), {"Content-Type": "image/jpeg"}).json()
        assert call(["get", "--data", str(service.data), answer["request_id"], "-o", "a.jpg"]) == 0
    assert call(["get", "--data", str(service.data), answer["image_id"], "-o", "b.jpg"]) == 0
    assert Path("a.jpg").read_bytes() == Path("b.jpg").read_bytes() == numbered(5)


def test_as_a_program(warehouse: Warehouse) -> None:
    command = [sys.executable, "-m", "imagewarehouse.cli.main", "get", "--data", str(warehouse.data), "-o", "-"]
    done = subprocess.run(
        [*command, str(warehouse.records[0].image_id)], capture_output=True, cwd=REPOSITORY, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, numbered(1))


# --- what is wrong with it ----------------------------------------------------------------------------------------


def test_a_picture_that_is_gone(get: Get, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse.path(warehouse.records[0]).unlink()
    assert get(str(warehouse.records[0].image_id)) == 1
    said = capsys.readouterr().err
    assert f"{warehouse.records[0].image_id}.jpg is not there, though a row says so" in said
    assert warehouse.records[0].request_id in said
    assert written() == {}


@pytest.mark.parametrize("content", [numbered(2), numbered(1)[:-5], b""], ids=["other", "cut", "empty"])
def test_a_picture_that_is_damaged(
    get: Get, warehouse: Warehouse, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse.path(warehouse.records[0]).write_bytes(content)
    assert get(str(warehouse.records[0].image_id)) == 1
    assert "is not that image any more" in capsys.readouterr().err
    assert written() == {}


def test_a_store_that_is_away(get: Get, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(warehouse.data / "objects")
    assert get(str(warehouse.records[0].image_id)) == 2
    assert "objects is not there" in capsys.readouterr().err


def test_no_rows_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["get", "--data", str(tmp_path), "f" * 64]) == 2
    assert f"{tmp_path}/rows.duckdb does not exist" in capsys.readouterr().err


# --- reading out of a store ---------------------------------------------------------------------------------------


def test_every_format_is_found_by_its_id_alone(tmp_path: Path) -> None:
    location = Location.parse(str(tmp_path))
    store, images = ImageStore(open_store(location)), StoredImages(open_store(location))
    formats = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "JXL", "JPEG2000", "other")
    for number, image_format in enumerate(formats):
        made = Warehouse(tmp_path / "unused")
        content = numbered(number)
        record = made.add(content)
        store.put(str(record.image_id), image_format, content)
        place = images.find(str(record.image_id))
        assert place is not None
        assert (place.size, read_image(images, place)) == (len(content), content)
        assert place.media_type.startswith("image/") == (image_format != "other")
        assert images.find(str(record.image_id), place.suffix) == place
    assert images.find("0" * 64) is None
    assert images.find("../../etc/passwd") is None


def test_a_large_picture_comes_in_pieces_the_last_one_only_if_all_are_right(tmp_path: Path) -> None:
    location = Location.parse(str(tmp_path / "objects"))
    made = Warehouse(tmp_path)
    content = bytes(range(256)) * (PIECE // 100)
    record = made.add(content)
    images = StoredImages(open_store(location))
    place = images.find(str(record.image_id))
    assert place is not None
    assert b"".join(pieces(images, place)) == content
    made.path(record).write_bytes(content[:-1] + b"x")
    got = []
    with pytest.raises(ObjectDamaged):
        got.extend(pieces(images, place))
    assert sum(map(len, got)) < len(content)
    made.path(record).write_bytes(content[:-1])
    with pytest.raises(ObjectDamaged, match="shorter"):
        read_image(images, place)


def test_a_folder_that_is_not_mounted_is_not_one_without_pictures(tmp_path: Path) -> None:
    images = StoredImages(open_store(Location.parse(str(tmp_path / "objects"))))
    with pytest.raises(ObjectStoreUnavailable, match="is not there"):
        images.find("0" * 64)
    (tmp_path / "objects").mkdir()
    assert images.find("0" * 64) is None


def test_a_store_that_is_no_location(get: Get, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    assert get("--store", "s3:bucket", str(warehouse.records[0].image_id)) == 2
    assert "--store" in capsys.readouterr().err


def test_a_folder_is_made_where_its_name_ends_with_a_slash(get: Get, warehouse: Warehouse) -> None:
    image_id = str(warehouse.records[0].image_id)
    assert get(image_id, "-o", "photos/new/") == 0
    assert (Path("photos") / "new" / f"{image_id}.jpg").read_bytes() == numbered(1)


def test_another_file_is_replaced_only_where_that_is_said(
    get: Get, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = str(warehouse.records[0].image_id)
    Path("mine.txt").write_text("precious")
    assert get(image_id, "-o", "mine.txt") == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert written() == {"mine.txt": b"precious"}
    assert get(image_id, "-o", "mine.txt", "--force") == 0
    assert get(image_id, "-o", "mine.txt") == 0  # it is the same by now
    assert written() == {"mine.txt": numbered(1)}
