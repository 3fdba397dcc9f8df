"""Makes a backup: rows, places, model folders and the list of the store's objects, in a folder of plain files.

It is built beside its name, in `OUT.part`, and gets its name once it is whole. After an interruption, the months that were
over then are not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from imagewarehouse import __version__
from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.keeping.files import copy_whole, errors_of, locked, sync_folder, whole
from imagewarehouse.keeping.manifest import MANIFEST, MISSING, MODELS, OBJECTS, PLACES, ROWS, BackupFile, Manifest
from imagewarehouse.keeping.objects_list import (
    Find,
    location_of,
    missing_pictures,
    objects_of,
    write_missing,
    write_objects,
)
from imagewarehouse.keeping.pictures import NO_SETTINGS
from imagewarehouse.metadata import to_text
from imagewarehouse.objects.location import Location
from imagewarehouse.objects.settings import StoreSettings
from imagewarehouse.places import Locations
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.rows.whole import Stretch, WholeTable

Say = Callable[[str], None]

_PLACES = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("forgotten_at", pa.timestamp("us", tz="UTC"))])
_BEGUN, _LOCK = ".begun.json", ".lock"
_LATE = timedelta(days=1)  # a row may come so long after its event_time: clients and stores that were away
_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """`models`: folders with versions. `store`: None without the list of objects, unless rows name locations."""

    models: Sequence[Path]
    store: Location | None
    list_objects: bool = True
    settings: StoreSettings = NO_SETTINGS


def make_backup(
    out: Path, table: WholeTable, places: Locations | None, wanted: Wanted, now: Callable[[], datetime], say: Say
) -> Manifest:
    """Raises ConfigurationError, RowStoreUnavailable, ObjectStoreUnavailable: run again, it goes on."""
    part = out.with_name(f"{out.name}.part")
    with errors_of(out, "OUT"):
        if out.exists():
            raise ConfigurationError("OUT", f"{out} is there already; a backup gets a name of its own")
        part.mkdir(parents=True, exist_ok=True)
        with locked(part / _LOCK, "OUT"):
            began = _begin(part, table.where, now())
            rows = _write_rows(part / ROWS, table, began, say)
            place_count = _write_places(part, places)
            models = _copy_models(part / MODELS, wanted.models, say)
            objects, size, missing = _list_objects(part, places, wanted, say) if wanted.list_objects else (None,) * 3
            manifest = Manifest(
                __version__, to_text(began), to_text(now()), table.where, rows, place_count, models, objects, size,
                missing, _files(part),
            )  # fmt: skip
            with whole(part / MANIFEST) as file:
                file.write_bytes(manifest.as_json())
            part.rename(out)
            sync_folder(out.parent)
            for hidden in (_BEGUN, _LOCK):
                (out / hidden).unlink()
    return manifest


def _begin(part: Path, where: str, now: datetime) -> datetime:
    """When this backup began, the first time. Raises ConfigurationError: what is there is of other rows."""
    file = part / _BEGUN
    if file.exists():
        before = orjson.loads(file.read_bytes())
        if before["where"] != where:
            raise ConfigurationError(
                "OUT", f"{part} is an unfinished backup of {before['where']}; remove it, or go on with that"
            )
        return datetime.fromisoformat(before["began"])
    with whole(file) as written:
        written.write_bytes(orjson.dumps({"where": where, "began": now.isoformat()}))
    return now


def _write_rows(folder: Path, table: WholeTable, began: datetime, say: Say) -> int:
    """A file for each month."""
    folder.mkdir(exist_ok=True)
    count = 0
    stretches = table.stretches()
    for stale in {path.name for path in folder.iterdir()} - {f"{stretch.name}.parquet" for stretch in stretches}:
        (folder / stale).unlink()
    for stretch in stretches:
        path = folder / f"{stretch.name}.parquet"
        if not (path.exists() and _is_over(stretch, began)):
            with whole(path) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
                for page in table.pages(stretch):
                    writer.write_table(page)
        rows = pq.ParquetFile(path).metadata.num_rows
        say(f"{path.name}: {rows:,} rows")
        count += rows
    return count


def _is_over(stretch: Stretch, began: datetime) -> bool:
    return stretch.until is not None and stretch.until + _LATE < began


def _write_places(part: Path, places: Locations | None) -> int:
    """Those of all images that rows tell of, and what is forgotten and still in packs."""
    count = 0
    with whole(part / PLACES) as path, pq.ParquetWriter(path, _PLACES, compression="zstd") as writer:
        if places is None:
            return 0
        forgotten = places.forgotten()
        for some in _slices(stored_images(part)):
            known = {image_id: its for image_id, its in places.find(some).items() if image_id not in forgotten}
            count += _write_known(writer, known)
        count += _write_known(writer, forgotten)
    return count


def _write_known(writer: pq.ParquetWriter, known: dict[str, Any]) -> int:
    columns = [list(known), [its.uri for its in known.values()], [its.forgotten_at for its in known.values()]]
    writer.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, _PLACES, strict=True)], schema=_PLACES))
    return len(known)


def stored_images(part: Path) -> Iterator[tuple[str, str]]:
    """(image_id, storage_uri) of each image in the rows of this backup, newest first and each once."""
    seen: set[bytes] = set()
    for path in sorted((part / ROWS).glob("*.parquet"), reverse=True):
        file = pq.ParquetFile(path)
        for group in reversed(range(file.num_row_groups)):
            columns = file.read_row_group(group, ["image_id", "storage_uri"]).to_pydict()
            for image_id, uri in zip(reversed(columns["image_id"]), reversed(columns["storage_uri"]), strict=True):
                if image_id is not None and uri is not None and (key := bytes.fromhex(image_id)) not in seen:
                    seen.add(key)
                    yield image_id, uri


def _copy_models(folder: Path, models: Sequence[Path], say: Say) -> tuple[str, ...]:
    """Each version of each model, whole; what begins with a dot is being written and is passed over."""
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ConfigurationError("--models", f"two folders have one name: {', '.join(map(str, models))}")
    for model in models:
        for source in sorted(model.rglob("*")):
            inside = source.relative_to(model)
            target = folder / model.name / inside
            if source.is_file() and not any(name.startswith(".") for name in inside.parts) and not target.exists():
                copy_whole(source, target)
        say(f"model {model.name}")
    return tuple(names)


def _list_objects(part: Path, places: Locations | None, wanted: Wanted, say: Say) -> tuple[int, int, int]:
    """How many objects, their bytes, and how many pictures of rows are not among them."""
    locations = {location for _, uri in stored_images(part) if (location := location_of(uri)) is not None}
    with whole(part / OBJECTS) as path:
        count, size, there = write_objects(path, objects_of(locations, wanted.store, wanted.settings))
    say(f"{count:,} objects in the store")
    find: Find = places.find if places is not None else lambda _: {}
    missing = write_missing(part / MISSING, missing_pictures(stored_images(part), find, there, wanted.store))
    return count, size, missing


def _files(part: Path) -> dict[str, BackupFile]:
    found = (path for path in sorted(part.rglob("*")) if path.is_file())
    names = {path.relative_to(part).as_posix(): path for path in found}
    return {
        name: BackupFile(path.stat().st_size, file_sha256(path))
        for name, path in names.items()
        if name != MANIFEST and not any(piece.startswith(".") for piece in name.split("/"))
    }


def _slices(stored: Iterable[tuple[str, str]]) -> Iterator[list[str]]:
    some: list[str] = []
    for image_id, _ in stored:
        some.append(image_id)
        if len(some) >= _ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some
