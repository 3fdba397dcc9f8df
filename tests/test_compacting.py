"""Compaction: many small objects become few packs, and no picture is lost, points nowhere or lies there twice; not even where
the process is killed, another one does the same, or somebody reads, writes and forgets meanwhile."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from imagewarehouse.cli.main import call
from imagewarehouse.cli.pack import summary
from imagewarehouse.errors import ObjectDamaged
from imagewarehouse.ids import utc_now
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.objects.compacting import LATE, PLAN, Compaction, Report, under_way
from imagewarehouse.objects.images import ImageStore
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.owner import OWNER
from imagewarehouse.objects.packs import BATCHES, PACKS, index_key, read_index, read_pack
from imagewarehouse.objects.reading import StoredImages, read_image
from imagewarehouse.objects.store import ObjectStore
from imagewarehouse.places import Known, PackedPlace
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.kudu import KuduRows, image_events
from imagewarehouse.rows.kudu_locations import KuduLocations, image_locations, locations_table
from imagewarehouse.rows.locations import ReadLocations, SqliteLocations, locations_of
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import until
from tests.object_services import PATIENT, inside
from tests.pictures import numbered
from tests.running import Service, post
from tests.warehouses import Warehouse, put_batch

KILLS = 20


def contents(count: int, first: int = 0, size: int = 900) -> list[bytes]:
    """Bytes that are no pictures: nothing here decodes them."""
    return [random.Random(number).randbytes(size) for number in range(first, first + count)]


def id_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Packed:
    """A store and its table of places."""

    def __init__(self, store: ObjectStore, table: SqliteLocations) -> None:
        self.store = store
        self.table = table
        self.singles = ImageStore(store)

    def batch(self, pictures: Sequence[bytes], *, located: bool = True) -> dict[str, str]:
        places = put_batch(self.store, pictures)
        if located:
            self.table.add(places)
        return places

    def single(self, content: bytes) -> str:
        return self.singles.put(id_of(content), "JPEG", content)

    def delete(self, content: bytes) -> None:
        """A single object, as who forgets a picture does it."""
        image_id = id_of(content)
        key = f"{image_id[:2]}/{image_id}.jpg"
        self.store.delete(key)
        if key in under_way(self.store):
            self.table.add({image_id: self.store.location.child(key)})
        self.table.forget([image_id], utc_now())

    def compact(self, **options: Any) -> Report:
        options = {"older_than": timedelta(0), **options}
        compaction = Compaction(self.store, self.table, **options)
        try:
            return compaction.run()
        finally:
            compaction.close()

    def forgotten_after_all(self) -> dict[str, Known]:
        """What the table still calls forgotten once every pack was looked into."""
        self.compact(full=True)
        return self.table.forgotten()

    def keys(self, folder: str = "") -> list[str]:
        """All but what says whose packs they are."""
        return sorted(one.key for one in self.store.list(folder) if one.key != OWNER)

    def copies(self) -> Counter[str]:
        """How often each picture lies in the store."""
        found: Counter[str] = Counter()
        for key in self.keys():
            if key.endswith(".tar"):
                found.update(entry.image_id for entry in read_pack(self.store.get(key), key).entries)
            elif key.partition("/")[0] not in (PACKS, BATCHES, "compaction"):
                found[key[3:67]] += 1
        return found

    def check(self, pictures: Sequence[bytes]) -> None:
        """After a complete run: each of them lies in a pack, once, where the table says; and nothing else is there."""
        ids = {id_of(content) for content in pictures}
        assert self.copies() == Counter(dict.fromkeys(ids, 1))
        assert self.keys(BATCHES) == self.keys("compaction") == []
        assert all(key.startswith(f"{PACKS}/") for key in self.keys())
        known = self.table.find(ids)
        assert known.keys() == ids
        images = StoredImages(self.store, self.table)
        for content in pictures:
            place = images.find(id_of(content))
            assert place is not None
            assert read_image(images, place) == content
            assert known[id_of(content)].uri.startswith(self.store.location.child(place.key))
        for key in self.keys():
            if key.endswith(".tar"):
                entries = read_pack(self.store.get(key), key).entries
                assert read_index(self.store.get(index_key(key)), key) == entries


@pytest.fixture(params=["folder", "s3", pytest.param("hdfs", marks=pytest.mark.services)])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Packed]:
    uri = {"folder": lambda: str(tmp_path / "objects")}.get(
        request.param, lambda: inside(request.getfixturevalue(request.param), f"pack-{tmp_path.name}-{os.getpid()}")
    )()
    store = open_store(Location.parse(uri), PATIENT)
    table = SqliteLocations(tmp_path / "rows.duckdb.locations")
    yield Packed(store, table)
    table.close()
    store.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Packed]:
    table = SqliteLocations(tmp_path / "rows.duckdb.locations")
    yield Packed(open_store(Location.parse(str(tmp_path / "objects"))), table)
    table.close()


# --- what becomes of what -----------------------------------------------------------------------------------------


def test_batches_and_single_objects_become_packs(packed: Packed) -> None:
    pictures = contents(60)
    for start in range(0, 40, 8):
        packed.batch(pictures[start : start + 8])
    for content in pictures[40:]:
        packed.single(content)
    report = packed.compact()
    assert (report.objects, report.pictures, report.packs, report.duplicates, report.damaged) == (25, 60, 1, 0, {})
    assert summary(report) == "25 objects with 60 pictures became 1 pack"
    packed.check(pictures)
    assert summary(packed.compact()) == "nothing to compact"
    more = contents(5, first=60)
    packed.batch(more)
    packed.compact()
    packed.check([*pictures, *more])


def test_the_record_of_a_picture_and_its_format_go_with_it(local: Packed) -> None:
    places = put_batch(local.store, contents(3), "png")
    local.compact()
    (key,) = (key for key in local.keys(PACKS) if key.endswith(".tar"))
    entries = read_pack(local.store.get(key), key).entries
    assert {(entry.image_id, entry.suffix, entry.record_size) for entry in entries} == {(i, "png", 2) for i in places}


def test_a_pack_has_no_more_bytes_than_it_may(local: Packed) -> None:
    pictures = contents(200)
    for start in range(0, 200, 10):
        local.batch(pictures[start : start + 10])
    report = local.compact(pack_bytes=120_000)
    sizes = [one.size for one in local.store.list(PACKS) if one.key.endswith(".tar")]
    assert max(sizes) <= 120_000
    assert report.packs == len(sizes) <= 7
    local.check(pictures)


def test_copies_are_dropped_wherever_they_lie(packed: Packed) -> None:
    pictures = contents(20)
    packed.batch(pictures[:12])
    packed.batch(pictures[5:])  # the table has the first place of those in both
    packed.single(pictures[0])
    packed.single(pictures[19])
    report = packed.compact()
    assert (report.pictures, report.duplicates) == (20, 9)
    packed.check(pictures)
    packed.batch([pictures[3], *contents(1, first=100)])
    packed.single(pictures[4])
    report = packed.compact()
    assert (report.objects, report.pictures, report.duplicates) == (2, 1, 2)
    assert summary(report) == "2 objects with 1 picture became 1 pack; 2 copies removed"
    packed.check([*pictures, *contents(1, first=100)])


def test_a_copy_takes_the_place_of_one_that_is_gone(local: Packed) -> None:
    pictures = contents(6)
    places = local.batch(pictures)
    local.batch([*pictures, *contents(1, first=50)])
    gone = PackedPlace.parse(places[id_of(pictures[0])])
    assert gone is not None
    local.store.delete(str(local.store.location.key_of(gone.pack)))
    local.compact()
    local.check([*pictures, *contents(1, first=50)])


def test_a_copy_takes_the_place_of_one_that_is_damaged(local: Packed, tmp_path: Path) -> None:
    pictures = contents(12)
    local.batch(pictures)
    local.compact()
    (key,) = (key for key in local.keys(PACKS) if key.endswith(".tar"))
    path = Path(local.store.location.child(key).removeprefix("file://"))
    with path.open("r+b") as file:  # of the first picture only
        file.seek(700)
        file.write(b"XXXXXXXX")
    local.batch(pictures)  # sent again
    assert local.compact().duplicates == 11
    images = StoredImages(local.store, local.table)
    for content in pictures:
        place = images.find(id_of(content))
        assert place is not None
        assert read_image(images, place) == content


def test_an_index_that_is_gone_is_written_again(local: Packed) -> None:
    pictures = contents(12)
    local.batch(pictures)
    local.compact()
    (index,) = (key for key in local.keys(PACKS) if key.endswith(".index"))
    content = local.store.get(index)
    local.store.delete(index)
    local.compact(full=True)
    assert local.store.get(index) == content
    local.check(pictures)


def test_pictures_whose_rows_are_on_their_way_are_kept(packed: Packed) -> None:
    pictures = contents(6)
    places = packed.batch(pictures, located=False)
    packed.compact()
    packed.table.add(places)  # the row comes late: the first place is that of the compaction
    packed.check(pictures)


def test_young_objects_are_left_alone(local: Packed) -> None:
    local.batch(contents(3))
    local.single(contents(1, first=9)[0])
    before = local.keys()
    assert local.compact(older_than=timedelta(hours=1)).objects == 0
    assert local.keys() == before
    assert local.compact(older_than=timedelta(hours=1), now=lambda: utc_now() + timedelta(hours=2)).objects == 2


def test_what_is_no_picture_and_large_objects_stay(local: Packed) -> None:
    large = bytes(16_000_001)
    local.single(large)
    local.store.put_if_absent("ab/notes.txt", b"ours")
    local.store.put_if_absent("batches/readme.txt", b"ours")
    local.store.put_if_absent("other/file.tar", b"ours")
    before = local.keys()
    assert local.compact(full=True).objects == 0
    assert local.keys() == before


# --- forgotten pictures -------------------------------------------------------------------------------------------


def test_forgotten_pictures_go_with_all_their_copies(packed: Packed) -> None:
    pictures = contents(10)
    packed.batch(pictures)
    packed.batch(pictures[:4])
    time.sleep(1.1)  # S3 counts seconds
    packed.table.forget([id_of(pictures[0])], utc_now())
    report = packed.compact()
    assert report.forgotten == 2
    assert "forgotten pictures removed" in summary(report)
    packed.check(pictures[1:])
    assert packed.forgotten_after_all() == {}
    assert packed.table.find([id_of(pictures[0])]) == {}


def test_a_pack_with_forgotten_pictures_is_written_anew(packed: Packed) -> None:
    pictures = contents(10)
    packed.batch(pictures)
    packed.compact()
    (old,) = (key for key in packed.keys(PACKS) if key.endswith(".tar"))
    packed.table.forget([id_of(content) for content in pictures[:2]], utc_now())
    report = packed.compact()
    assert (report.objects, report.pictures, report.packs, report.forgotten) == (1, 8, 1, 2)
    assert old not in packed.keys(PACKS)
    packed.check(pictures[2:])
    assert packed.forgotten_after_all() == {}
    packed.table.forget([id_of(content) for content in pictures[2:]], utc_now())
    assert packed.compact().packs == 0
    assert packed.keys() == []
    assert packed.forgotten_after_all() == {}


def test_a_forgotten_picture_that_came_again_is_kept(local: Packed) -> None:
    pictures = contents(4)
    local.batch(pictures)
    local.table.forget([id_of(pictures[0])], utc_now())
    time.sleep(0.01)
    local.batch([pictures[0], *contents(1, first=50)], located=False)  # stored again, and its row is on its way
    local.compact()
    local.check([*pictures, *contents(1, first=50)])


def test_a_picture_stays_known_as_forgotten_while_an_old_copy_may_be_left(local: Packed) -> None:
    pictures = contents(4)
    local.batch(pictures)
    local.table.forget([id_of(pictures[0])], utc_now())
    local.batch(pictures[:1])  # a copy that no run has looked at
    local.table.forget([id_of(pictures[0])], utc_now())
    assert local.compact(older_than=timedelta(hours=1)).objects == 0
    assert id_of(pictures[0]) in local.table.forgotten()
    local.compact()
    local.check(pictures[1:])


def test_a_picture_that_is_forgotten_while_it_is_packed_goes_with_the_next_run(local: Packed) -> None:
    pictures = contents(8)
    local.batch(pictures)
    victim = id_of(pictures[3])

    class Forgetting:
        """The table, in which somebody forgets a picture right before the first move."""

        def __getattr__(self, name: str) -> Any:
            if name == "move":
                local.table.forget([victim], utc_now())
            return getattr(local.table, name)

    Compaction(local.store, Forgetting(), older_than=timedelta(0)).run()
    assert victim in local.table.forgotten()
    assert StoredImages(local.store, local.table).find(victim) is None
    assert len(local.keys(LATE)) == 1
    assert local.copies()[victim] == 1
    local.compact()
    local.check(pictures[:3] + pictures[4:])
    assert local.forgotten_after_all() == {}


def test_a_picture_that_is_forgotten_twice_leaves_both_packs_that_it_came_into(local: Packed) -> None:
    pictures = contents(10)
    local.batch(pictures)
    local.compact()
    victim = id_of(pictures[0])
    local.table.forget([victim], utc_now())
    time.sleep(0.01)
    local.batch(pictures[:1])  # sent again, before anybody has compacted
    time.sleep(0.01)
    local.table.forget([victim], utc_now())
    local.compact()
    assert victim in local.table.forgotten()  # in the pack it still lies
    assert StoredImages(local.store, local.table).find(victim) is None
    assert local.forgotten_after_all() == {}
    local.check(pictures[1:])
    local.compact(full=True)
    local.check(pictures[1:])


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut", "header", "picture", "empty"])
def test_a_damaged_batch_is_named_and_left_alone(local: Packed, tmp_path: Path, how: str) -> None:
    pictures = contents(20)
    places = local.batch(pictures[:10])
    local.batch(pictures[10:])
    single = local.single(contents(1, first=30)[0])
    broken = PackedPlace.parse(places[id_of(pictures[0])])
    assert broken is not None
    key = str(local.store.location.key_of(broken.pack))
    path = tmp_path / "objects" / key
    good = path.read_bytes()
    bad = {"cut": good[:3000], "header": good[:2560] + bytes(512) + good[3072:], "picture": b"", "empty": b""}[how]
    if how == "picture":
        bad = good[:600] + bytes([good[600] ^ 1]) + good[601:]
    path.write_bytes(bad)
    (tmp_path / "objects" / single.rsplit("/objects/")[-1]).write_bytes(b"other")
    local.table.forget([id_of(pictures[0])], utc_now())
    report = local.compact()
    assert len(report.damaged) == 2
    assert str(broken.pack) in report.damaged[key]
    assert path.read_bytes() == bad
    assert report.pictures == 10
    assert id_of(pictures[0]) in local.table.forgotten()  # its bytes may be in there
    path.write_bytes(good)
    os.utime(path, (1, 1))  # written before the picture was forgotten
    (tmp_path / "objects" / single.rsplit("/objects/")[-1]).write_bytes(contents(1, first=30)[0])
    assert local.compact().damaged == {}
    local.check([*pictures[1:], *contents(1, first=30)])


def test_what_lies_under_the_name_of_a_plan_and_is_none_is_named(local: Packed) -> None:
    local.batch(contents(3))
    local.store.put_if_absent(PLAN, b'{"version": 99}')
    with pytest.raises(ObjectDamaged, match=r"compaction/plan.json is no plan"):
        local.compact()


def test_a_pack_that_a_power_failure_cut_is_written_again(local: Packed, tmp_path: Path) -> None:
    pictures = contents(5)
    local.batch(pictures)
    twin = Packed(open_store(Location.parse(str(tmp_path / "twin"))), SqliteLocations(tmp_path / "twin.locations"))
    twin.batch(pictures)
    twin.compact()
    (target,) = (key for key in twin.keys(PACKS) if key.endswith(".tar"))
    for bad in (twin.store.get(target)[:700], bytes(len(twin.store.get(target)))):
        path = tmp_path / "objects" / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bad)
        local.compact()
        local.check(pictures)
        local.batch(pictures)
        local.table.forget(map(id_of, pictures), utc_now() - timedelta(days=1))
        path.unlink()
        local.table.drop(map(id_of, pictures))


# --- full ---------------------------------------------------------------------------------------------------------


def test_full_puts_half_empty_packs_together_and_drops_what_nobody_points_to(local: Packed) -> None:
    pictures = contents(30)
    for start in range(0, 30, 10):
        local.batch(pictures[start : start + 10])
        local.compact()
    assert len(local.keys(PACKS)) == 6
    elsewhere = put_batch(local.store, [pictures[0], *contents(1, first=40)])
    local.table.forget([id_of(pictures[0])], utc_now())
    local.table.add({id_of(pictures[0]): elsewhere[id_of(pictures[0])]})  # what lies in the first pack is a copy now
    assert local.compact().packs == 1
    report = local.compact(full=True)
    assert (report.objects, report.packs, report.duplicates) == (4, 1, 1)
    local.check([*pictures, *contents(1, first=40)])
    assert local.compact(full=True).objects == 0


# --- at the same time ---------------------------------------------------------------------------------------------


def test_two_at_once_do_it_once(local: Packed, tmp_path: Path) -> None:
    pictures = contents(600)
    for start in range(0, 500, 10):
        local.batch(pictures[start : start + 10])
        local.batch(pictures[start : start + 3], located=False)
    for content in pictures[500:]:
        local.single(content)
    failed: list[BaseException] = []

    def work() -> None:
        table = SqliteLocations(local.table.path)
        store = open_store(Location.parse(str(tmp_path / "objects")))
        try:
            Compaction(store, table, older_than=timedelta(0), pack_bytes=100_000).run()
        except BaseException as err:
            failed.append(err)
            raise
        finally:
            table.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    local.compact()
    local.check(pictures)


def test_readers_find_every_picture_while_it_is_moved(packed: Packed, tmp_path: Path) -> None:
    remote = packed.store.connections > 1
    pictures = contents(120 if remote else 800)
    for start in range(0, len(pictures), 20):
        packed.batch(pictures[start : start + 15])
        for content in pictures[start + 15 : start + 20]:
            packed.single(content)
    table = ReadLocations(packed.table.path)
    stop, problems, reads = threading.Event(), list[str](), [0]

    def read() -> None:
        images = StoredImages(packed.store, table)
        while not stop.is_set():
            content = random.choice(pictures)
            try:
                place = images.find(id_of(content))
                if place is None or read_image(images, place) != content:
                    problems.append(f"{id_of(content)} at {place}")
            except Exception as err:
                problems.append(repr(err))
            reads[0] += 1

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    packed.compact(pack_bytes=60_000)
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert reads[0] > 20
    packed.check(pictures)


_COMPACTOR = """
import sys
from datetime import timedelta
from pathlib import Path
from imagewarehouse.objects.compacting import Compaction
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.rows.locations import SqliteLocations
table = SqliteLocations(Path(sys.argv[2]))
compaction = Compaction(open_store(Location.parse(sys.argv[1])), table, older_than=timedelta(0), pack_bytes=80_000)
print("ready", flush=True)
compaction.run()
"""


@pytest.mark.long
def test_killed_at_any_moment_nothing_is_lost_doubled_or_points_nowhere(local: Packed, tmp_path: Path) -> None:
    dice = random.Random(time.time_ns())
    pictures: list[bytes] = []
    rows: dict[str, str] = {}  # the storage_uri of those whose rows are on their way to the table of places
    images = StoredImages(local.store, local.table)
    killed, whole = 0, 0.0  # how long a run takes here
    for number in range(KILLS + 1):
        new = contents(120, first=1000 * number)
        for start in range(0, 100, 20):
            places = local.batch([*new[start : start + 20], *pictures[start : start + 4]], located=bool(start))
            rows.update(places if not start else {})
        for content in new[100:]:
            local.single(content)
        pictures += new
        command = [sys.executable, "-c", _COMPACTOR, str(tmp_path / "objects"), str(local.table.path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
        assert process.stdout is not None
        process.stdout.readline()
        if number:
            time.sleep(dice.uniform(0, whole))
            process.kill()
        began = time.monotonic()
        killed += process.wait() != 0
        whole = whole or 0.8 * (time.monotonic() - began)  # the end of a process is not part of the run
        for content in dice.sample(pictures, 60) + new:
            place = images.find(id_of(content), "jpg", rows.get(id_of(content)))
            assert place is not None
            assert read_image(images, place) == content
    assert killed > KILLS // 2
    local.compact()
    local.check(pictures)


class Killed(BaseException):
    """The process ends here."""


class Watched:
    """A store or a table at whose call number `when` something happens, before it is done or after."""

    def __init__(self, inner: object, calls: list[str], when: int, after: bool, happens: Callable[[], None]) -> None:
        self._inner, self._calls, self._when, self._after, self._happens = inner, calls, when, after, happens

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            self._calls.append(name)
            now = len(self._calls) == self._when
            if now and not self._after:
                self._happens()
            try:
                return found(*arguments)
            finally:
                if now and self._after:
                    self._happens()

        return call


@pytest.mark.parametrize(
    "step", [31, pytest.param(13, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.services)]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", ["killed", "compacted", "forgotten", "stored", "deleted"])
def test_whatever_happens_at_a_call_the_next_run_puts_it_right(
    tmp_path: Path, what: str, after: bool, step: int
) -> None:
    pictures = contents(14)
    gone, late = id_of(pictures[0]), id_of(pictures[1])
    when = random.randint(1, step) - step
    while True:
        when += step
        folder = tmp_path / str(when)
        folder.mkdir()
        local = Packed(open_store(Location.parse(str(folder / "objects"))), SqliteLocations(folder / "locations"))
        local.batch(pictures[:3])
        local.compact()  # a pack that has to be written anew
        local.batch([*pictures[2:6]])
        rows = local.batch(pictures[6:10], located=False)
        for content in pictures[9:]:
            local.single(content)
        local.table.forget([gone], utc_now())

        def happens(local: Packed = local, rows: dict[str, str] = rows) -> None:
            if what == "killed":
                raise Killed
            if what == "compacted":
                local.compact(pack_bytes=60_000)
            elif what == "forgotten":
                local.table.forget([late], utc_now())
            elif what == "deleted":
                local.delete(pictures[13])
            else:
                local.batch(pictures[4:12])  # all of them again, and the rows of those that were on their way
                local.table.add(rows)

        calls: list[str] = []
        store, table = (Watched(inner, calls, when, after, happens) for inner in (local.store, local.table))
        with suppress(Killed):
            Compaction(store, table, older_than=timedelta(0), pack_bytes=40_000).run()  # type: ignore[arg-type]
        if len(calls) < when:
            assert when > 60
            break
        images = StoredImages(local.store, local.table)
        if what == "deleted":
            assert images.find(id_of(pictures[13])) is None, (when, calls[when - 3 : when])
        for content in pictures[1 + (what == "forgotten") : 14 - (what == "deleted")]:
            place = images.find(id_of(content), "jpg", rows.get(id_of(content)))
            assert place is not None, (when, calls[when - 3 : when])
            assert read_image(images, place) == content
        local.table.forget([late], utc_now())  # wherever its bytes are by now
        local.compact()
        local.compact()
        local.check(pictures[2 : 14 - (what == "deleted")])
        assert local.forgotten_after_all() == {}
        local.table.close()


# --- many ---------------------------------------------------------------------------------------------------------


def test_ten_thousand_small_pictures_become_few_objects_and_each_is_one_read(local: Packed) -> None:
    check_few_objects(local, 10_000)


@pytest.mark.services
@pytest.mark.timeout(900)
def test_a_hundred_thousand_small_pictures_become_few_objects_and_each_is_one_read(packed: Packed) -> None:
    check_few_objects(packed, 100_000)


def check_few_objects(packed: Packed, count: int) -> None:
    """Batches of 64, compacted; a thousand of them at random are read, byte for byte, each with one ranged read."""
    for start in range(0, count, 64):
        packed.batch(contents(min(64, count - start), first=start))
    batches = len(packed.keys(BATCHES))
    began = time.monotonic()
    report = packed.compact()
    print(f"{summary(report)} in {time.monotonic() - began:.1f} s")
    assert (report.objects, report.pictures) == (batches, count)
    assert len(packed.keys()) <= 100
    reads: list[str] = []
    images, get = StoredImages(packed.store, packed.table), packed.store.get

    def counted(key: str, start: int = 0, length: int | None = None, most: int | None = None) -> bytes:
        assert length is not None
        reads.append(key)
        return get(key, start, length, most)

    packed.store.get = counted  # type: ignore[method-assign]
    for number in random.Random(count).sample(range(count), 1000):
        (content,) = contents(1, first=number)
        place = images.find(id_of(content))
        assert place is not None
        assert read_image(images, place) == content
    assert len(reads) == 1000


# --- the command --------------------------------------------------------------------------------------------------

Pack = Callable[..., int]


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    made = Warehouse(tmp_path / "data")
    places = put_batch(made.store.store, [numbered(n) for n in range(4)])
    for n in range(6):
        made.add(numbered(n), **({"storage_uri": places[id_of(numbered(n))]} if n < 4 else {}))
    for record in made.records[:4]:
        made.path(record).unlink()
    table = SqliteLocations(locations_of(made.data / "rows.duckdb"))
    table.add(places)
    table.close()
    return made.close()


def test_the_command_packs_what_is_old_enough(
    warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["pack", "--data", str(warehouse.data)]
    assert call([*command, "--dry-run", "--older-than", "0s"]) == 0
    assert capsys.readouterr().out.startswith("3 objects, 0.0 MB; nothing is changed")
    assert call(command) == 0
    assert capsys.readouterr().out == "nothing to compact\n"
    assert call([*command, "--older-than", "0s", "--progress"]) == 0
    assert capsys.readouterr().out == "3 objects with 6 pictures became 1 pack\n"
    for n in range(6):
        assert call(["get", "--data", str(warehouse.data), id_of(numbered(n)), "-o", "a.jpg", "--force"]) == 0
        assert Path("a.jpg").read_bytes() == numbered(n)


def test_the_command_beside_a_running_service(
    warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Service(warehouse.data) as service:
        assert call(["pack", "--data", str(service.data), "--older-than", "0s"]) == 0
        assert call(["get", "--data", str(service.data), id_of(numbered(5)), "-o", "a.jpg"]) == 0
        assert Path("a.jpg").read_bytes() == numbered(5)
    elsewhere = {"rows.database": str(tmp_path / "other.duckdb")}
    capsys.readouterr()
    with Service(warehouse.data, elsewhere):  # rows of an older run lie where the command looks
        assert until((warehouse.data / "control.sock").exists)
        assert call(["pack", "--data", str(service.data)]) == 2
        assert "other.duckdb.locations" in capsys.readouterr().err


@pytest.mark.long
def test_while_a_service_packs_and_answers_each_picture_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [numbered(number) for number in range(240)]
    with Service(tmp_path / "data", {"store.pack": "true"}) as service:

        def send(content: bytes) -> None:
            answer = post(service.classify_url, content, {"Content-Type": "image/jpeg"})
            assert answer.status == 200, answer.body
            got = httpx.get(f"http://127.0.0.1:{service.images_port}/images/{id_of(content)}")
            assert (got.status_code, got.content) == (200, content)

        with ThreadPoolExecutor(24) as pool:
            sent = [pool.submit(send, content) for content in pictures]
            while not all(one.done() for one in sent):  # also what is younger than its row
                assert call(["pack", "--data", str(service.data), "--older-than", "0s"]) == 0
            for one in sent:
                one.result()
        assert call(["pack", "--data", str(service.data), "--older-than", "0s", "--full"]) == 0
        assert call(["export", "--data", str(service.data), "--as", "folder", "out"]) == 0
    store = open_store(Location.parse(str(tmp_path / "data" / "objects")))
    table = SqliteLocations(locations_of(tmp_path / "data" / "rows.duckdb"))
    Packed(store, table).check(pictures)
    table.close()
    assert {path.read_bytes() for path in Path("out").rglob("*.jpg")} == set(pictures)


def test_places_in_kudu_are_moved_as_well(
    kudu: LocalKudu, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = Warehouse(tmp_path / "data")
    objects = str(made.data / "objects")
    pictures = contents(30, first=7_000)
    for content in pictures[20:]:
        made.add(content)
    table = f"t{uuid.uuid4().hex}_image_events"
    command = ["pack", "--masters", kudu.masters, "--data", str(made.data), "--table", table, "--older-than", "0s"]
    writer = connect(KuduSettings(kudu.masters))
    try:
        assert call(command) == 2
        assert f"Kudu has no table {table}" in capsys.readouterr().err
        KuduRows(writer, image_events(table)).prepare()
        places = KuduLocations(writer, image_locations(locations_table(table)))
        places.add(put_batch(made.store.store, pictures[:20]))
        places.forget([id_of(pictures[0])], utc_now())
        assert call(command) == 0
        said = capsys.readouterr().out
        assert said == "11 objects with 29 pictures became 1 pack; 1 forgotten picture removed\n"
        images = StoredImages(made.store.store, places)
        for content in pictures[1:]:
            place = images.find(id_of(content))
            assert place is not None
            assert place.key.startswith("packs/")
            assert read_image(images, place) == content
        assert images.find(id_of(pictures[0])) is None
        assert call([*command, "--full"]) == 0
        assert places.forgotten() == {}
        with Service(made.data, {"kudu.masters": kudu.masters, "kudu.table": table}) as service:
            address = f"http://127.0.0.1:{service.images_port}/images/"
            assert httpx.get(address + id_of(pictures[5])).content == pictures[5]
            assert httpx.get(address + id_of(pictures[25])).content == pictures[25]
            assert (
                call(["get", "--data", str(made.data), "--store", objects, id_of(pictures[6]), "-o", "a", "--force"])
                == 0
            )
            assert Path("a").read_bytes() == pictures[6]
    finally:
        for name in {table, locations_table(table)} & set(writer.tables()):
            writer.drop(name)
        writer.close()


def test_the_command_says_what_it_left_alone(warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    warehouse.path(warehouse.records[5]).write_bytes(b"other")
    assert call(["pack", "--data", str(warehouse.data), "--older-than", "0s"]) == 1
    said = capsys.readouterr()
    assert said.out == "2 objects with 5 pictures became 1 pack\n"
    assert f"left alone: {str(warehouse.records[5].image_id)[:2]}/" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--older-than", "soon"], "--older-than", id="no-time"),
        pytest.param(["--every", "x"], "--every", id="no-pause"),
        pytest.param(["--store", "nowhere"], "nowhere is not there", id="no-folder"),
        pytest.param(["--database", "nothing.duckdb"], "nothing.duckdb does not exist", id="no-rows"),
    ],
)
def test_what_the_command_cannot_do(
    warehouse: Warehouse, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = [] if "--store" in words else ["--store", str(warehouse.data / "objects")]
    assert call(["pack", "--data", str(warehouse.data), *store, *words]) == 2
    assert said in capsys.readouterr().err


def test_every_so_often_until_it_is_stopped(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("imagewarehouse.cli.pack.time.sleep", sleep)
    assert call(["pack", "--data", str(warehouse.data), "--older-than", "0s", "--every", "10m"]) == 130
    assert pauses == [600.0] * 3
    assert capsys.readouterr().out == "3 objects with 6 pictures became 1 pack\n"


def test_places_are_known(local: Packed) -> None:
    """What the table says after a run is what a reader is told."""
    pictures = contents(3)
    before = local.batch(pictures)
    local.compact()
    after = local.table.find(before)
    assert all(isinstance(known, Known) and known.uri != before[image_id] for image_id, known in after.items())


def test_a_store_belongs_to_one_table_of_places(
    warehouse: Warehouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = warehouse.data / "rows.duckdb"
    assert call(["pack", "--data", str(warehouse.data), "--older-than", "0s"]) == 0
    assert call(["pack", "--data", str(warehouse.data), "--older-than", "0s"]) == 0
    other = tmp_path / "other" / "rows.duckdb"
    other.parent.mkdir()
    shutil.copyfile(old, other)
    store = ["--store", str(warehouse.data / "objects")]
    before = {path: path.read_bytes() for path in (warehouse.data / "objects").rglob("*") if path.is_file()}
    capsys.readouterr()
    for words in (["--older-than", "0s"], ["--dry-run"]):
        assert call(["pack", "--database", str(other), *store, *words]) == 2
        assert "are in another table than the one beside these rows" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (warehouse.data / "objects").rglob("*") if path.is_file()}

    # Its own table is lost: the packs say where their pictures are.
    for path in warehouse.data.glob("rows.duckdb.locations*"):
        path.unlink()
    assert call(["pack", "--data", str(warehouse.data), "--older-than", "0s"]) == 2
    assert call(["pack", "--data", str(warehouse.data), "--older-than", "0s", "--full", "--adopt"]) == 0
    table = SqliteLocations(locations_of(old))
    known = table.find(id_of(numbered(n)) for n in range(4))
    table.close()
    assert len(known) == 4
    for image_id, one in known.items():
        place = PackedPlace.parse(one.uri)
        assert place is not None
        content = Path(place.pack.removeprefix("file://")).read_bytes()[place.start : place.start + place.size]
        assert id_of(content) == image_id
