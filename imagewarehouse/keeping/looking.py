"""Looks for the pictures of a backup in the store as it is now.

Since the backup a compaction may have put pictures into other packs and deleted those that the backup names. The packs say
themselves what is in them, so their places are found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from imagewarehouse.keeping.backup import stored_images
from imagewarehouse.keeping.manifest import OBJECTS, PLACES
from imagewarehouse.keeping.objects_list import missing_pictures, objects_of
from imagewarehouse.keeping.pictures import NO_SETTINGS
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.opening import open_store
from imagewarehouse.objects.packs import PACKS, index_key, read_index
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.places import Known, Move, PackedPlace


@dataclass(frozen=True, slots=True)
class Look:
    """`moves`: places that the backup does not have right. `missing`: (what, why) of pictures and objects."""

    moves: list[Move] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)


def look(folder: Path, store: Location | None, settings: StoreSettings = NO_SETTINGS) -> Look:
    """`store`: where the objects are now; None: where they were. Raises ObjectStoreUnavailable, ObjectDamaged."""
    listed = pq.read_table(folder / OBJECTS).to_pydict()
    locations = set() if store is not None else set(listed["location"])
    there = {
        f"{location}/{key}": (location, key, size) for location, key, size in objects_of(locations, store, settings)
    }
    known = _places(folder)
    moves = []
    for image_id, place in _packed(there, store, settings):
        old = known.get(image_id)
        if old is None or (old.forgotten_at is None and _pack(old.uri) not in there):
            moves.append(Move(image_id, old.uri if old else "", place))
            known[image_id] = Known(place)
    sizes = {uri: size for uri, (_, _, size) in there.items()}
    missing = list(
        missing_pictures(
            stored_images(folder), lambda ids: {each: known[each] for each in ids if each in known}, sizes, store
        )
    )
    for location, key, size in zip(*listed.values(), strict=True):
        now = there.get(f"{store.uri if store is not None else location}/{key}")
        if now is not None and now[2] != size:
            missing.append((f"{location}/{key}", f"has {now[2]} bytes and had {size}"))
    return Look(moves, missing)


def _places(folder: Path) -> dict[str, Known]:
    columns = pq.read_table(folder / PLACES).to_pydict()
    rows = zip(columns["image_id"], columns["uri"], columns["forgotten_at"], strict=True)
    return {image_id: Known(uri, moment) for image_id, uri, moment in rows}


def _packed(
    there: dict[str, tuple[str, str, int]], store: Location | None, settings: StoreSettings
) -> Iterator[tuple[str, str]]:
    """(image_id, place) of what lies in packs, by their indexes."""
    indexes: dict[str, list[str]] = {}
    for where, key, _ in there.values():
        if key.startswith(f"{PACKS}/") and key.endswith(".tar") and f"{where}/{index_key(key)}" in there:
            indexes.setdefault(where, []).append(key)
    for uri, keys in indexes.items():
        location = store if store is not None and store.uri == uri else Location.parse(uri, "storage_uri")
        opened = open_store(location, settings)
        try:
            for key in keys:
                for entry in read_index(opened.get(index_key(key)), location.child(index_key(key))):
                    yield entry.image_id, str(PackedPlace(location.child(key), entry.start, entry.size))
        finally:
            opened.close()


def _pack(uri: str) -> str:
    place = PackedPlace.parse(uri)
    return place.pack if place else uri
