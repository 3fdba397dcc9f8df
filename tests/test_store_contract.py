"""What every object store does, one suite for all of them, against the real thing: `docs/stores.md` has it as a table."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest

from imagewarehouse.errors import ObjectConflict, ObjectMissing, ObjectTooLarge
from imagewarehouse.objects.images import ImageStore, NewPicture
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.objects.store import ObjectStore, StoredObject
from tests.object_services import PATIENT, azure_settings, inside

KEY = "ab/abcdef.jpg"
CONTENT = bytes(range(256)) * 8

STORES = [
    "local",
    "s3",
    "gcs",
    *(pytest.param(name, marks=pytest.mark.services) for name in ("hdfs", "hbase", "azure")),
]
NOT_ATOMIC = {"gcs"}  # through Arrow, which knows no condition


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def uri(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A location of a test's own, which nobody has written to."""
    if kind == "local":
        return (tmp_path / "objects").as_uri()
    return inside(request.getfixturevalue(kind), f"t{uuid.uuid4().hex}")


@pytest.fixture
def settings(kind: str, request: pytest.FixtureRequest) -> StoreSettings:
    return azure_settings(request.getfixturevalue("azure_service")) if kind == "azure" else PATIENT


@pytest.fixture
def store(uri: str, settings: StoreSettings) -> Iterator[ObjectStore]:
    opened = open_store(Location.parse(uri), settings)
    yield opened
    opened.close()


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted(found.key for found in store.list(prefix))


def test_what_is_written_is_read(store: ObjectStore) -> None:
    assert store.put_if_absent(KEY, CONTENT) is True
    assert store.get(KEY) == CONTENT


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(3 << 20)], ids=["nothing", "a-byte", "3-MB"])
def test_an_object_of_any_size_comes_back(store: ObjectStore, content: bytes) -> None:
    assert store.put_if_absent(KEY, content)
    assert store.get(KEY) == content
    found = store.stat(KEY)
    assert found is not None
    assert found.size == len(content)


def test_what_is_there_is_not_written_again(store: ObjectStore) -> None:
    store.put_if_absent(KEY, CONTENT)
    before = store.stat(KEY)
    assert store.put_if_absent(KEY, CONTENT) is False
    assert store.stat(KEY) == before


def test_other_bytes_of_the_same_length_stay_as_they_are(store: ObjectStore) -> None:
    store.put_if_absent(KEY, CONTENT)
    assert store.put_if_absent(KEY, CONTENT[::-1]) is False
    assert store.get(KEY) == CONTENT


@pytest.mark.parametrize("size", [0, 1, 2 << 20], ids=["nothing", "less", "more"])
def test_an_object_of_another_length_is_a_conflict_and_stays(store: ObjectStore, uri: str, size: int) -> None:
    store.put_if_absent(KEY, CONTENT)
    with pytest.raises(ObjectConflict, match=f"{size} others were to be written") as caught:
        store.put_if_absent(KEY, bytes(size))
    assert str(caught.value).startswith(f"{Location.parse(uri)}/{KEY}: {len(CONTENT)} bytes are there")
    assert not caught.value.retryable
    assert store.get(KEY) == CONTENT


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, None),
        (0, 10),
        (3, None),
        (3, 10),
        (0, 0),
        (3, 0),
        (2040, 100),
        (2048, None),
        (2048, 5),
        (9999, 1),
        (9999, None),
    ],
)
def test_a_range_is_read(store: ObjectStore, start: int, length: int | None) -> None:
    store.put_if_absent(KEY, CONTENT)
    assert store.get(KEY, start, length) == CONTENT[start:][:length]


def test_a_range_of_an_empty_object_is_empty(store: ObjectStore) -> None:
    store.put_if_absent(KEY, b"")
    assert store.get(KEY, 0, 5) == b""


def test_not_more_than_what_was_allowed_is_read(store: ObjectStore) -> None:
    store.put_if_absent(KEY, CONTENT)
    assert store.get(KEY, most=len(CONTENT)) == CONTENT
    with pytest.raises(ObjectTooLarge, match=f"more than the {len(CONTENT) - 1} bytes"):
        store.get(KEY, most=len(CONTENT) - 1)
    assert store.get(KEY, 40, most=len(CONTENT) - 40) == CONTENT[40:]
    with pytest.raises(ObjectTooLarge):
        store.get(KEY, 39, most=len(CONTENT) - 40)


@pytest.mark.parametrize(("start", "length"), [(-1, None), (0, -1)])
def test_a_range_before_the_beginning_is_a_defect(store: ObjectStore, start: int, length: int | None) -> None:
    store.put_if_absent(KEY, CONTENT)
    with pytest.raises(ValueError, match="expected a range"):
        store.get(KEY, start, length)


def test_what_is_not_there_is_said(store: ObjectStore, uri: str) -> None:
    for there_are_others in (False, True):
        if there_are_others:
            store.put_if_absent("ab/other", CONTENT)
        with pytest.raises(ObjectMissing, match="is not there") as caught:
            store.get(KEY)
        assert str(caught.value).startswith(f"{Location.parse(uri)}/{KEY} ")
        with pytest.raises(ObjectMissing):
            store.get(KEY, 3, 10)
        assert store.stat(KEY) is None
        store.delete(KEY)
        assert keys(store, "cd") == []


def test_a_folder_is_no_object(store: ObjectStore) -> None:
    store.put_if_absent("ab/cd/e.jpg", CONTENT)
    assert store.stat("ab/cd") is None
    with pytest.raises(ObjectMissing):
        store.get("ab/cd")


def test_a_description_says_length_and_time(store: ObjectStore) -> None:
    before = datetime.now(timezone.utc)
    store.put_if_absent(KEY, CONTENT)
    found = store.stat(KEY)
    assert found is not None
    assert (found.key, found.size) == (KEY, len(CONTENT))
    assert found.modified is not None
    assert abs((found.modified - before).total_seconds()) < 60


def test_what_lies_in_a_folder_is_listed_and_nothing_else(store: ObjectStore) -> None:
    written = ["ab/1.jpg", "ab/2.jpg", "ab/c/3.jpg", "abc/4.jpg", "b.jpg"]
    assert keys(store) == []
    for key in written:
        store.put_if_absent(key, key.encode())
    assert keys(store) == written
    assert keys(store, "ab") == keys(store, "ab/") == written[:3]
    assert keys(store, "ab/c") == ["ab/c/3.jpg"]
    assert keys(store, "a") == []
    found = {found.key: found for found in store.list()}
    assert found["ab/c/3.jpg"] == store.stat("ab/c/3.jpg")


def test_a_deleted_object_is_gone_and_may_come_back(store: ObjectStore) -> None:
    store.put_if_absent(KEY, CONTENT)
    store.delete(KEY)
    assert store.stat(KEY) is None
    assert keys(store) == []
    assert store.put_if_absent(KEY, CONTENT[:10]) is True
    assert store.get(KEY) == CONTENT[:10]


def test_an_object_is_replaced_by_who_knows_what_was_there(store: ObjectStore) -> None:
    store.put_if_absent(KEY, CONTENT[:10])
    old = store.stat(KEY)
    assert old is not None
    store.replace(KEY, CONTENT, old)
    assert store.get(KEY) == CONTENT
    with pytest.raises(ObjectConflict, match="was changed meanwhile"):
        store.replace(KEY, b"another", old)
    assert store.get(KEY) == CONTENT
    assert keys(store) == [KEY]


def test_an_object_that_is_gone_is_not_replaced(store: ObjectStore) -> None:
    store.put_if_absent(KEY, CONTENT)
    old = store.stat(KEY)
    assert old is not None
    store.delete(KEY)
    with pytest.raises(ObjectConflict):
        store.replace(KEY, CONTENT, old)
    assert store.stat(KEY) is None


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/./b", ".parts/a", "a b", "a%2Fb", "ä", "a\nb", "a" * 513]
)
def test_what_is_no_key_reaches_no_store(store: ObjectStore, key: str) -> None:
    for call in (
        lambda: store.put_if_absent(key, CONTENT),
        lambda: store.get(key),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.replace(key, CONTENT, StoredObject(KEY, 1)),
    ):
        with pytest.raises(ValueError, match="not a key"):
            call()


def test_of_writers_at_once_one_writes_and_the_others_know(store: ObjectStore, kind: str) -> None:
    contents = [bytes([number]) * 100_000 for number in range(8)]
    gate = threading.Barrier(8)

    def write(content: bytes) -> bool:
        gate.wait()
        return store.put_if_absent(KEY, content)

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            wrote = list(pool.map(write, contents))
        there = store.get(KEY)
        if kind not in NOT_ATOMIC:
            assert wrote.count(True) == 1
            assert there == contents[wrote.index(True)]
        assert there in contents
        assert keys(store) == [KEY]
        store.delete(KEY)


def test_nobody_reads_half_an_object(store: ObjectStore) -> None:
    content = os.urandom(4 << 20)
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = store.stat(KEY)
            if found is not None:
                seen.add(found.size)
                seen.add(len(store.get(KEY)))
            seen.update(found.size for found in store.list())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    store.put_if_absent(KEY, content)
    time.sleep(0.05)
    done.set()
    watcher.join()
    assert seen <= {len(content)}


def test_the_check_leaves_nothing(store: ObjectStore) -> None:
    store.check_writable()
    assert keys(store) == []
    store.put_if_absent(KEY, CONTENT)
    store.check_writable()
    assert keys(store) == [KEY]


def test_two_locations_do_not_see_each_other(store: ObjectStore, uri: str, settings: StoreSettings) -> None:
    deeper = open_store(Location.parse(inside(uri, "deeper")), settings)
    store.put_if_absent(KEY, CONTENT)
    assert deeper.stat(KEY) is None
    deeper.put_if_absent(KEY, CONTENT[:5])
    assert (store.get(KEY), deeper.get(KEY)) == (CONTENT, CONTENT[:5])
    assert keys(deeper) == [KEY]
    deeper.close()


# --- pictures on any store ----------------------------------------------------------------------------------------

Put = Callable[[bytes], str]


@pytest.fixture
def images(store: ObjectStore) -> Iterator[ImageStore]:
    opened = ImageStore(store)
    yield opened
    opened.close()


def image_key(content: bytes) -> tuple[str, str]:
    image_id = hashlib.sha256(content).hexdigest()
    return image_id, f"{image_id[:2]}/{image_id}.jpg"


def test_pictures_of_a_batch_are_kept_each_once(images: ImageStore, uri: str) -> None:
    contents = [os.urandom(1000) for _ in range(12)] * 2
    uris = images.for_each(lambda content: images.put(image_key(content)[0], "JPEG", content), contents)
    assert uris == [f"{Location.parse(uri)}/{image_key(content)[1]}" for content in contents]
    assert keys(images.store) == sorted({image_key(content)[1] for content in contents})
    assert images.for_each(lambda uri: images.get(uri, 1000), uris) == contents


def test_pictures_of_a_batch_are_one_object_and_each_is_read_out_of_it(images: ImageStore, uri: str) -> None:
    contents = [os.urandom(1000 + n) for n in range(12)]
    pictures = [NewPicture(image_key(content)[0], "JPEG", content) for content in contents]
    for _ in range(2):
        uris = images.put_batch(pictures)
        (key,) = keys(images.store)
        assert key.startswith("batches/1970-01-01/")
        assert {str(each).partition("#")[0] for each in uris} == {f"{Location.parse(uri)}/{key}"}
        assert images.for_each(lambda uri: images.get(str(uri), 2000), uris) == contents


@pytest.mark.parametrize("left", [0, 5])
def test_a_picture_that_a_crash_left_half_written_is_completed(images: ImageStore, left: int) -> None:
    image_id, key = image_key(CONTENT)
    images.store.put_if_absent(key, CONTENT[:left])
    images.put(image_id, "JPEG", CONTENT)
    assert images.store.get(key) == CONTENT


@pytest.mark.parametrize("other", [CONTENT[1:], CONTENT + b"x", b"y"], ids=["not-its-beginning", "longer", "short"])
def test_other_bytes_under_the_key_of_a_picture_are_never_replaced(images: ImageStore, other: bytes) -> None:
    image_id, key = image_key(CONTENT)
    images.store.put_if_absent(key, other)
    with pytest.raises(ObjectConflict, match=f"{len(other)} bytes are there, and {len(CONTENT)} others"):
        images.put(image_id, "JPEG", CONTENT)
    assert images.store.get(key) == other
