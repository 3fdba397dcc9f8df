"""The list of what a store holds, and what is missing from it: a backup has no pictures, but it knows which there were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from imagewarehouse.keeping.pictures import NO_SETTINGS, SINGLE, open_there
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.packs import split
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.places import Known, PackedPlace

SCHEMA = pa.schema([("location", pa.string()), ("key", pa.string()), ("size", pa.int64())])
_ROWS = 50_000

Object = tuple[str, str, int]  # public URI of the location, key, size
Find = Callable[[Collection[str]], Mapping[str, Known]]
"""`Locations.find`, or what answers as it does."""


def location_of(storage_uri: str) -> str | None:
    """The location of a picture's place; None where it is in none that this release writes."""
    if place := PackedPlace.parse(storage_uri):
        parts = split(place.pack)
        return parts[0] if parts else None
    match = SINGLE.fullmatch(storage_uri)
    return match["location"] if match else None


def objects_of(
    locations: Iterable[str], store: Location | None, settings: StoreSettings = NO_SETTINGS
) -> Iterator[Object]:
    """Everything in these locations; `store`, which has a login, in the place of the one that it is.

    Raises ObjectStoreUnavailable, ConfigurationError.
    """
    wanted = {uri: Location.parse(uri, "storage_uri") for uri in locations}
    if store is not None:
        wanted[store.uri] = store
    for uri, location in sorted(wanted.items()):
        opened = open_there(location, settings)
        try:
            for each in opened.list():
                yield uri, each.key, each.size
        finally:
            opened.close()


def write_objects(path: Path, objects: Iterable[Object]) -> tuple[int, int, dict[str, int]]:
    """Gives how many there are, their bytes, and the bytes of each by its URI."""
    remaining = iter(objects)
    uris: dict[str, int] = {}
    size = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while some := list(islice(remaining, _ROWS)):
            columns = list(zip(*some, strict=True))
            writer.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], SCHEMA))
            uris.update((f"{location}/{key}", own) for location, key, own in some)
            size += sum(columns[2])
    return len(uris), size, uris


def missing_pictures(
    rows: Iterable[tuple[str, str]], find: Find, there: Mapping[str, int], store: Location | None
) -> Iterator[tuple[str, str]]:
    """(image_id, where it should be) of each image of (image_id, storage_uri) that is not in the objects `there`,
    which are given with their bytes.

    An image that was forgotten is not missing. `store`: where single objects may have moved to.
    """
    remaining = iter(rows)
    while some := dict(islice(remaining, _ROWS)):
        known = find(some)
        for image_id, storage_uri in some.items():
            uris = [storage_uri]
            if place := known.get(image_id):
                if place.forgotten_at is not None:
                    continue
                uris.append(place.uri)
            if not any(there.get(name, -1) >= end for uri in uris for name, end in _objects(uri, store)):
                yield image_id, uris[-1]


def _objects(uri: str, store: Location | None) -> Iterator[tuple[str, int]]:
    """The object of a place, and where it may have moved to, each with the bytes that it has at least."""
    packed = PackedPlace.parse(uri)
    name, end = (packed.pack, packed.start + packed.size) if packed else (uri, 0)
    yield name, end
    location = location_of(uri)
    if store is not None and location is not None:
        yield store.child(name.removeprefix(f"{location}/")), end


def write_missing(path: Path, missing: Iterable[tuple[str, str]]) -> int:
    """A line for each; gives how many. No file where nothing is missing. Raises OSError."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for what, why in missing:
            file.write(f"{what}\t{why}\n")
            count += 1
    if not count:
        path.unlink()
    return count
