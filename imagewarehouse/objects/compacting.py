"""Compaction: takes batches and single objects apart and makes packs of some 100 MB of them; see docs/stores.md.

It works in plans, one at a time. A plan says which objects are taken apart, which pictures of them are dropped, and which
pack comes out. It lies in the store under a fixed key before anything is done, so whoever finds one there finishes it first:
after a crash, or beside the process that wrote it. To do it twice changes nothing more:

    plan written -> pack and index written -> table of places: old -> new -> sources removed -> plan removed

Sources go only once no place in the table is in them, and the table is asked again right before. So a picture can be read at
every moment, and what is dropped lies elsewhere or was forgotten.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import TypeVar

import orjson

from imagewarehouse.errors import ObjectConflict, ObjectDamaged, ObjectMissing
from imagewarehouse.ids import utc_now
from imagewarehouse.objects.local import LocalStore
from imagewarehouse.objects.packs import (
    BATCHES,
    PACK_BYTES,
    PACKS,
    Entry,
    Pack,
    PackPicture,
    index_key,
    make_pack,
    read_index,
    read_pack,
    split,
    write_index,
)
from imagewarehouse.objects.store import ObjectStore, StoredObject
from imagewarehouse.places import Known, Locations, Move, PackedPlace

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int], None]  # so many more bytes of sources are read

PLAN = "compaction/plan.json"
LATE = "compaction/late"  # notes: DAY/SHA/IMAGE_ID, a picture that came into packs/DAY/SHA.tar and is not wanted there
LARGEST_SINGLE = 16_000_000  # bytes: a larger object is as good as a pack
OLDER_THAN = timedelta(hours=1)  # by then the rows of a batch are written, and with them the places of its pictures

_SINGLE = re.compile(r"[0-9a-f]{2}/(?P<image_id>[0-9a-f]{64})\.(?P<suffix>[a-z0-9]+)")
_PACK = re.compile(rf"({BATCHES}|{PACKS})/(?P<day>[^/]+)/(?P<sha>[0-9a-f]{{64}})\.tar")
_NOTE = re.compile(rf"{LATE}/(?P<pack>[^/]+/[0-9a-f]{{64}})/(?P<image_id>[0-9a-f]{{64}})")
_FOLDERS = tuple(f"{number:02x}" for number in range(256))
_TAR_END = 20_480  # bytes behind the last picture of a pack, at most
_MOST_SOURCES = 50_000  # of a plan, which has 100 bytes for each
_AT_ONCE = 256  # objects that are read, and asked the table for, together
_VERSION = 1


# --- plans --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """An object that a plan takes apart: when it was written (seconds since 1970), which of its pictures are dropped."""

    key: str
    time: float
    dropped: tuple[int, ...] = ()

    @property
    def is_pack(self) -> bool:
        """Made by a compaction, so that every picture in it was in the table once."""
        return self.key.startswith(f"{PACKS}/")


@dataclass(frozen=True, slots=True)
class Plan:
    """`target`: the key of the pack that comes out; None: no picture is taken."""

    sources: tuple[Source, ...]
    target: str | None

    def to_bytes(self) -> bytes:
        return orjson.dumps({"version": _VERSION, "sources": self.sources, "target": self.target})

    @classmethod
    def parse(cls, content: bytes, where: str) -> Plan:
        """Raises ObjectDamaged."""
        try:
            read = orjson.loads(content)
            if read["version"] != _VERSION:
                raise ValueError(f"version {read['version']}")
            sources = tuple(Source(s["key"], float(s["time"]), tuple(s["dropped"])) for s in read["sources"])
            return cls(sources, read["target"])
        except (ValueError, LookupError, TypeError) as err:
            raise ObjectDamaged(f"{where} is no plan of a compaction of this release: {err}") from err


@dataclass(frozen=True, slots=True)
class _Lying:
    """A picture where it lies now: which one of the object `key`, which starts at `start`."""

    key: str
    start: int
    uri: str
    picture: PackPicture


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a plan was made of, so that whoever made it need not read it again."""

    plan: Plan
    objects: tuple[StoredObject, ...]  # its sources
    contents: tuple[tuple[_Lying, ...], ...]  # of each source
    pack: Pack
    known: dict[str, Known]  # what the decisions rest on


# --- the outcome --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Survey:
    """What is there to compact, by its names and lengths only."""

    objects: int
    size: int


@dataclass(slots=True)
class Report:
    """`objects` are gone; `pictures` of them are in `packs` new packs. `damaged`: why an object was left alone, by its key."""

    objects: int = 0
    pictures: int = 0
    packs: int = 0
    duplicates: int = 0
    forgotten: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


class Compaction:
    """Compacts one store. Beside it others may write, read and compact. To be used by one thread.

    Whatever it calls raises ObjectStoreUnavailable and RowStoreUnavailable: the next run goes on where this one was.
    """

    def __init__(
        self,
        store: ObjectStore,
        locations: Locations,
        *,
        older_than: timedelta = OLDER_THAN,
        full: bool = False,
        now: Callable[[], datetime] = utc_now,
        pack_bytes: int = PACK_BYTES,
    ) -> None:
        """`full`: also packs that are less than half full, with what is still pointed to."""
        self._store = store
        self._locations = locations
        self._full = full
        self._now = now
        self._started = now()
        self._cut = self._started - older_than
        self._limit = min(pack_bytes, store.largest or pack_bytes) - _TAR_END
        self.progress: Progress = lambda size: None
        self._pool = ThreadPoolExecutor(store.connections, "compact") if store.connections > 1 else None
        self._noted: set[tuple[str, str]] = set()  # packs, and pictures that are not wanted there
        self._held = False  # whether a source stayed, as the place of a picture was still in it
        self.report = Report()

    def survey(self) -> Survey:
        """Changes nothing."""
        sizes = [found.size for found in self._candidates(look_only=True)]
        return Survey(len(sizes), sum(sizes))

    def run(self) -> Report:
        """Until there is nothing more to compact. Raises ObjectDamaged: what lies under the key of a plan is none."""
        self.finish()
        waiting = deque[StoredObject]()
        candidates = self._candidates()
        while True:
            chosen = self._choose(waiting, candidates)
            if chosen is None:
                break
            if not self._begin(chosen):  # another process was at it: what is true now?
                self.finish()
                waiting.extendleft(reversed(chosen.objects))
                continue
            self._execute(chosen.plan, chosen)
        if self._full and not self.report.damaged and not self._held:  # in those there may be forgotten pictures
            self._drop_forgotten()
        return self.report

    def finish(self) -> None:
        """Do what is left of a plan that is there."""
        while (plan := self._plan_there()) is not None:
            self._execute(plan, None)

    def close(self) -> None:
        """The store and the table stay open."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # --- what there is ------------------------------------------------------------------------------------------

    def _candidates(self, *, look_only: bool = False) -> Iterator[StoredObject]:
        """Objects to take apart. A folder is read whole before anything in it is removed."""
        yield from self._packs_to_rewrite(look_only=look_only)
        for folder in (BATCHES, *_FOLDERS):
            pattern = _PACK if folder == BATCHES else _SINGLE
            found = [
                one
                for one in self._store.list(folder)
                if pattern.fullmatch(one.key) and one.modified is not None and one.modified <= self._cut
            ]
            for one in sorted(found, key=lambda one: one.key):
                if folder == BATCHES or (one.size < LARGEST_SINGLE and _packed(one) <= self._limit):
                    yield one

    def _packs_to_rewrite(self, *, look_only: bool) -> list[StoredObject]:
        """Those with forgotten or noted pictures, as far as the table says where they lie; with `full` all of those, and those
        that are less than half full.

        With `full`, the table learns of pictures that it does not know: it was lost, or comes out of an old backup.
        """
        wanted = {
            key for known in self._locations.forgotten().values() if (key := _key_of(known.uri)).startswith(PACKS)
        }
        self._noted = {(f"{PACKS}/{match['pack']}.tar", match["image_id"]) for match in self._notes()}
        wanted |= {key for key, _ in self._noted}
        packs = [found for key in sorted(wanted) if (found := self._store.stat(key)) is not None]
        return packs + (self._half_empty(wanted, look_only=look_only) if self._full else [])

    def _half_empty(self, wanted: set[str], *, look_only: bool) -> list[StoredObject]:
        found, whole = [], True
        there: dict[str, bool] = {}
        for one in sorted(self._store.list(PACKS), key=lambda one: one.key):
            if not _PACK.fullmatch(one.key) or one.key in wanted:
                continue
            try:
                entries = self._entries_of(one.key)
            except ObjectDamaged as err:
                self.report.damaged[one.key] = str(err)
                continue
            known = self._locations.find(entry.image_id for entry in entries)
            if not look_only:
                self._tell_places(one.key, entries, known, there)
            if any(
                one.forgotten_at is not None for one in known.values()
            ):  # forgotten once more, while it lay elsewhere
                found.append(one)
                whole = False
                continue
            live = [entry for entry in entries if _is_live_at(known.get(entry.image_id), one.key, entry.start)]
            if sum(_entry_size(entry) for entry in live) < self._limit / 2:
                found.append(one)
                whole = whole and len(live) == len(entries)
        return [] if len(found) == 1 and whole else found  # alone it would become the same again

    def _tell_places(self, key: str, entries: Sequence[Entry], known: dict[str, Known], there: dict[str, bool]) -> None:
        """The places in a pack of pictures that the table does not know, or knows in an object that is gone."""
        where = self._store.location.child(key)
        places = {entry.image_id: str(PackedPlace(where, entry.start, entry.size)) for entry in entries}
        moves = []
        for image_id, place in places.items():
            one = known.get(image_id)
            if one is None:
                if (key, image_id) not in self._noted:
                    moves.append(Move(image_id, "", place))
            elif one.forgotten_at is None and (other := _key_of(one.uri)) != key:
                if other not in there:
                    there[other] = self._store.stat(other) is not None
                if not there[other]:
                    moves.append(Move(image_id, one.uri, place))
        if moves:
            self._locations.move(moves)
            known.update(self._locations.find(move.image_id for move in moves))

    # --- choosing -----------------------------------------------------------------------------------------------

    def _choose(self, waiting: deque[StoredObject], candidates: Iterator[StoredObject]) -> _Chosen | None:
        """Sources for one pack and what becomes of their pictures; None: there are no more. Takes `waiting` first."""
        sources: list[Source] = []
        objects: list[StoredObject] = []
        contents: list[tuple[_Lying, ...]] = []
        known: dict[str, Known] = {}
        there: dict[str, bool] = {}
        size = read = 0
        while size < self._limit and read < 2 * self._limit and len(sources) < _MOST_SOURCES:
            some = self._some(waiting, candidates, self._limit - size)
            if not some:
                break
            loaded = [pair for pair in self._each(self._load, some) if pair[1] is not None]
            asked = self._locations.find({lying.picture.image_id for _, items in loaded for lying in items or ()})
            full = False
            for one, items in loaded:
                assert items is not None
                assert one.modified is not None
                source = Source(one.key, one.modified.timestamp())
                keep = [self._keeps(source, lying, asked.get(lying.picture.image_id), there) for lying in items]
                own = sum(lying.picture.packed_size for lying, keeps in zip(items, keep, strict=True) if keeps)
                full = full or bool(sources and size + own > self._limit)
                if full:
                    waiting.append(one)
                    continue
                sources.append(Source(one.key, source.time, tuple(n for n, keeps in enumerate(keep) if not keeps)))
                objects.append(one)
                contents.append(items)
                size += own
                read += one.size
                self.progress(one.size)
            known.update(asked)
            if full:
                break
        if not sources:
            return None
        plan = Plan(tuple(sources), None)
        pack = make_pack(_taken(plan, contents))
        for number, source in enumerate(sources):
            if source.is_pack and source.key.endswith(
                f"/{pack.name}.tar"
            ):  # nothing of it goes, and nothing comes to it
                del sources[number], objects[number], contents[number]
                if not sources:
                    return self._choose(waiting, candidates)
                plan, pack = Plan(tuple(sources), None), make_pack(())
                break
        target = pack.key(PACKS, self._day()) if pack.entries else None
        ids = _ids(contents)
        known = {image_id: one for image_id, one in known.items() if image_id in ids}
        return _Chosen(Plan(plan.sources, target), tuple(objects), tuple(contents), pack, known)

    def _some(self, waiting: deque[StoredObject], candidates: Iterator[StoredObject], room: int) -> list[StoredObject]:
        """So many as may fit, one at least."""
        some: list[StoredObject] = []
        while room > 0 and len(some) < _AT_ONCE:
            one = waiting.popleft() if waiting else next(candidates, None)
            if one is None:
                break
            some.append(one)
            room -= _packed(one)
        return some

    def _load(self, one: StoredObject) -> tuple[StoredObject, tuple[_Lying, ...] | None]:
        """What lies in an object; None where it is gone or damaged, which the report says."""
        try:
            return one, self._read(one.key, one.modified.timestamp() if one.modified else 0)
        except ObjectMissing:
            return one, None
        except ObjectDamaged as err:
            self.report.damaged[one.key] = str(err)
            return one, None

    def _read(self, key: str, time: float) -> tuple[_Lying, ...]:
        """Raises ObjectMissing, ObjectDamaged: these are not the bytes of its name."""
        content = self._store.get(key)
        where = self._store.location.child(key)
        single = _SINGLE.fullmatch(key)
        name = single["image_id"] if single else key.rpartition("/")[2].removesuffix(".tar")
        if hashlib.sha256(content).hexdigest() != name:
            raise ObjectDamaged(f"{where} has other bytes than were stored")
        if single:
            return (_Lying(key, 0, where, PackPicture(name, single["suffix"], content, time=int(time))),)
        return tuple(
            _Lying(
                key,
                entry.start,
                str(PackedPlace(where, entry.start, entry.size)),
                PackPicture(
                    entry.image_id,
                    entry.suffix,
                    content[entry.start : entry.start + entry.size],
                    content[entry.record_start : entry.record_start + entry.record_size],
                    entry.time,
                ),
            )
            for entry in read_pack(content, where).entries
        )

    def _keeps(self, source: Source, lying: _Lying, known: Known | None, there: dict[str, bool]) -> bool:
        """Whether a picture comes into the pack, as the table knows it. `there`: which places are whole, to read each once."""
        if known is None:  # its row may be on its way
            return (lying.key, lying.picture.image_id) not in self._noted
        if known.forgotten_at is not None:
            return _came_again(source, known)
        if _spot(known.uri) == (lying.key, lying.start):
            return True
        # It lies elsewhere. Where that is gone or damaged, this copy takes its place.
        if known.uri not in there:
            there[known.uri] = self._is_whole(lying.picture.image_id, known.uri)
        return not there[known.uri]

    def _is_whole(self, image_id: str, uri: str) -> bool:
        """Whether the picture can be read there: the last copy beside it may be about to go."""
        place = PackedPlace.parse(uri)
        try:
            if place is None:
                content = self._store.get(_key_of(uri))
            else:
                content = self._store.get(_key_of(uri), place.start, place.size)
        except ObjectMissing:
            return False
        return hashlib.sha256(content).hexdigest() == image_id

    def _begin(self, chosen: _Chosen) -> bool:
        """Write the plan down. False: another one is there, or what it rests on is not true any more; it is not there then."""
        content = chosen.plan.to_bytes()
        try:
            if not self._store.put_if_absent(PLAN, content) and self._plan_there() != chosen.plan:
                return False
        except ObjectConflict:
            return False
        self._sync(PLAN)
        keys = [source.key for source in chosen.plan.sources]
        known = self._locations.find(_ids(chosen.contents))
        if known == chosen.known and None not in self._each(self._store.stat, keys):
            return True
        self._remove_plan(chosen.plan)
        return False

    # --- doing it -----------------------------------------------------------------------------------------------

    def _execute(self, plan: Plan, chosen: _Chosen | None) -> None:
        """Every step of a plan, from wherever it was left. `chosen`: of the process that made it."""
        if chosen is None:
            contents, whole = self._read_sources(plan)
            pack = make_pack(_taken(plan, contents)) if whole else None
            if plan.target and (pack is None or pack.key(PACKS, _day_in(plan.target)) != plan.target):
                if self._store.stat(plan.target) is None:  # nothing was moved yet: it is no plan any more
                    self._remove_plan(plan)
                    return
                pack = None
        else:
            contents, pack = chosen.contents, chosen.pack
        entries: Sequence[Entry] = ()
        if plan.target:
            entries = self._write_pack(plan.target, pack)
            if self._plan_there() != plan:  # another process has done all of it meanwhile
                return  # a pack that nobody uses goes with `full`; to remove it here might meet who begins the same plan
        self._move(plan, contents, entries)
        held = self._pointed_to(plan, contents, entries)
        if plan.target and self._store.stat(plan.target) is None:
            return  # somebody removed it this moment: the sources have all pictures, and the plan is done again
        self._held = self._held or bool(held)
        removed = [source for source in plan.sources if source.key not in held]
        self._each(self._remove, [source.key for source in removed])
        self._remove_plan(plan)
        self._count(plan, contents, entries, len(removed))

    def _read_sources(self, plan: Plan) -> tuple[tuple[tuple[_Lying, ...], ...], bool]:
        """Of each source, and whether all are there and as they were."""
        stats = [StoredObject(s.key, 0, datetime.fromtimestamp(s.time, timezone.utc)) for s in plan.sources]
        loaded = [items for _, items in self._each(self._load, stats)]
        return tuple(items or () for items in loaded), None not in loaded

    def _write_pack(self, target: str, pack: Pack | None) -> Sequence[Entry]:
        """The pack and its index, unless they are there. `pack`: None where it is."""
        if pack is not None:
            self._put(target, pack.content)
        entries = self._entries_of(target) if pack is None else pack.entries
        self._put(index_key(target), write_index(entries))
        return entries

    def _put(self, key: str, content: bytes) -> None:
        """These bytes under this key, also where a power failure left others."""
        try:
            written = self._store.put_if_absent(key, content)
        except ObjectConflict:
            written = False
        if not written and self._store.get(key) != content:
            there = self._store.stat(key)
            if there is not None:
                self._store.replace(key, content, there)
        self._sync(key)

    def _sync(self, key: str) -> None:
        if isinstance(self._store, LocalStore):  # after a power failure the sources would be gone, and this not there
            self._store.sync(key)

    def _entries_of(self, pack_key: str) -> Sequence[Entry]:
        """By the index; out of the pack where there is none. Raises ObjectDamaged."""
        where = self._store.location.child(index_key(pack_key))
        try:
            return read_index(self._store.get(index_key(pack_key)), where)
        except ObjectMissing:
            entries = read_pack(self._store.get(pack_key), self._store.location.child(pack_key)).entries
            self._store.put_if_absent(index_key(pack_key), write_index(entries))
            return entries

    def _move(self, plan: Plan, contents: Sequence[Sequence[_Lying]], entries: Sequence[Entry]) -> None:
        """Every picture that was taken, to its new place.

        One that was forgotten or stored again meanwhile is not moved, and its bytes came along: it is noted, so that the
        next run writes the pack without it. So is one that the table does not know and whose own object is gone: whoever does
        the same plan would have moved it before, so it was deleted.
        """
        if plan.target is None:
            return
        where = self._store.location.child(plan.target)
        new = {entry.image_id: str(PackedPlace(where, entry.start, entry.size)) for entry in entries}
        singles = [source.key for source in plan.sources if _SINGLE.fullmatch(source.key)]
        deleted = {
            key for key, found in zip(singles, self._each(self._store.stat, singles), strict=True) if found is None
        }
        known = self._locations.find(new)
        keys, there = {source.key for source in plan.sources}, dict[str, bool]()
        moves: dict[str, Move] = {}
        again: list[str] = []
        for source, lying in _kept(plan, contents):
            image_id = lying.picture.image_id
            one = known.get(image_id)
            if one is None and lying.key in deleted:
                continue
            if one is None or _came_again(source, one):
                if one is not None:
                    again.append(image_id)
                moves[image_id] = Move(image_id, lying.uri, new[image_id])
            elif (
                one.forgotten_at is None
                and (key := _key_of(one.uri)) != plan.target
                and (key in keys or self._keeps(source, lying, one, there))
            ):
                moves[image_id] = Move(image_id, one.uri, new[image_id])
        self._locations.drop(again)
        self._locations.move(list(moves.values()))
        known = self._locations.find(new)
        for image_id in new:
            one = known.get(image_id)
            if one is None or one.forgotten_at is not None or _key_of(one.uri) != plan.target:
                self._store.put_if_absent(_note(plan.target, image_id), b"{}")

    def _pointed_to(self, plan: Plan, contents: Sequence[Sequence[_Lying]], entries: Sequence[Entry]) -> set[str]:
        """Sources in which there is still the place of a picture: its row came this moment. The next run takes them."""
        known = self._locations.find({*_ids(contents), *(entry.image_id for entry in entries)})
        keys = {source.key for source in plan.sources}
        return {key for one in known.values() if one.forgotten_at is None and (key := _key_of(one.uri)) in keys}

    def _remove(self, key: str) -> None:
        self._store.delete(key)
        if key.startswith(f"{PACKS}/"):
            self._store.delete(index_key(key))
            self._delete_notes(key)

    def _plan_there(self) -> Plan | None:
        return _plan_in(self._store)

    def _remove_plan(self, plan: Plan) -> None:
        if self._plan_there() == plan:  # else that of another process
            self._store.delete(PLAN)

    def _count(self, plan: Plan, contents: Sequence[Sequence[_Lying]], entries: Sequence[Entry], removed: int) -> None:
        report = self.report
        report.objects += removed
        report.pictures += len(entries)
        report.packs += plan.target is not None
        dropped = [
            items[position].picture.image_id
            for source, items in zip(plan.sources, contents, strict=True)
            for position in source.dropped
            if items
        ]
        known = self._locations.find(dropped)
        forgotten = sum(1 for image_id in dropped if (one := known.get(image_id)) and one.forgotten_at is not None)
        report.forgotten += forgotten
        report.duplicates += max(0, sum(map(len, contents)) - len(entries) - forgotten)

    # --- forgotten pictures -------------------------------------------------------------------------------------

    def _drop_forgotten(self) -> None:
        """Those whose bytes are gone leave the table.

        Only after all has been compacted that was there when they were forgotten: in an old batch may lie another copy. And
        only with `full`, which has looked into every pack: what was forgotten, stored again and forgotten again may lie in two.
        """
        noted = set()
        for note in self._notes():
            if self._store.stat(f"{PACKS}/{note['pack']}.tar") is None:
                self._store.delete(note[0])
            else:
                noted.add(note["image_id"])
        gone, there = [], dict[str, bool]()
        for image_id, known in self._locations.forgotten().items():
            if known.forgotten_at is None or known.forgotten_at >= self._cut or image_id in noted:
                continue
            if not known.uri.startswith(f"{self._store.location}/"):
                continue
            key = _key_of(known.uri)
            if key not in there:
                there[key] = self._store.stat(key) is not None
            if not there[key]:
                gone.append(image_id)
        self._locations.drop(gone)

    def _notes(self) -> list[re.Match[str]]:
        return [match for one in self._store.list(LATE) if (match := _NOTE.fullmatch(one.key))]

    def _delete_notes(self, pack_key: str) -> None:
        for one in list(self._store.list(_notes_of(pack_key))):
            self._store.delete(one.key)

    # --- helpers ------------------------------------------------------------------------------------------------

    def _each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """In parallel where the store is remote."""
        return list(map(work, items) if self._pool is None else self._pool.map(work, items))

    def _day(self) -> date:
        return self._now().astimezone(timezone.utc).date()


def under_way(store: ObjectStore) -> frozenset[str]:
    """The objects that a compaction is taking apart. Raises ObjectDamaged.

    For whoever deletes the object of a picture that is to be forgotten. Asked for after it was deleted: where its key is
    among these, its bytes may be on their way into a pack. Then `Locations.add` gives it a place, that of the deleted object
    where it has no other, and `Locations.forget` keeps it from being moved; the next run removes the bytes. Where its key is
    not among these, `forget` is enough: it may have been moved already.
    """
    plan = _plan_in(store)
    return frozenset() if plan is None else frozenset(source.key for source in plan.sources)


def _plan_in(store: ObjectStore) -> Plan | None:
    try:
        return Plan.parse(store.get(PLAN), store.location.child(PLAN))
    except ObjectMissing:
        return None


def _spot(uri: str) -> tuple[str, int]:
    """The key of an object and where in it a picture starts. The location may have moved with all that is in it."""
    packed = PackedPlace.parse(uri)
    if packed is None:
        return "/".join(uri.rsplit("/", 2)[-2:]), 0
    parts = split(packed.pack)
    return (parts[1] if parts else packed.pack), packed.start


def _key_of(uri: str) -> str:
    return _spot(uri)[0]


def _came_again(source: Source, known: Known) -> bool:
    """Whether a picture was stored after it had been forgotten. A pack tells nothing: it is younger than what is in it."""
    if known.forgotten_at is None or source.is_pack:
        return False
    # Many stores tell whole seconds: in a doubt the picture is kept, which may be somebody's only one.
    written = source.time + (1 if source.time == int(source.time) else 0)
    return known.forgotten_at.timestamp() < written


def _is_live_at(known: Known | None, key: str, start: int) -> bool:
    return known is None or (known.forgotten_at is None and _spot(known.uri) == (key, start))


def _kept(plan: Plan, contents: Sequence[Sequence[_Lying]]) -> Iterator[tuple[Source, _Lying]]:
    for source, items in zip(plan.sources, contents, strict=True):
        dropped = set(source.dropped)
        yield from ((source, lying) for position, lying in enumerate(items) if position not in dropped)


def _taken(plan: Plan, contents: Sequence[Sequence[_Lying]]) -> Iterator[PackPicture]:
    return (lying.picture for _, lying in _kept(plan, contents))


def _ids(contents: Iterable[Iterable[_Lying]]) -> set[str]:
    return {lying.picture.image_id for items in contents for lying in items}


def _packed(one: StoredObject) -> int:
    """Bytes that an object takes in a pack, about: a single one gets a header and a record."""
    return one.size + 2048 if _SINGLE.fullmatch(one.key) else one.size


def _entry_size(entry: Entry) -> int:
    return entry.size + entry.record_size + 2048


def _day_in(pack_key: str) -> date:
    return date.fromisoformat(pack_key.split("/")[1])


def _notes_of(pack_key: str) -> str:
    return f"{LATE}/{pack_key.removeprefix(f'{PACKS}/').removesuffix('.tar')}"


def _note(pack_key: str, image_id: str) -> str:
    return f"{_notes_of(pack_key)}/{image_id}"
