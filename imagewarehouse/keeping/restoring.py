"""Brings a backup back: models and places first and rows last, so that a row that is seen has what it tells of.

Nothing is changed before every file of the backup was found as it was written. A note in the data folder says that a restore
is under way, so that the same command goes on after an interruption, though the table is not empty any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from imagewarehouse.checksums import file_sha256
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.keeping.files import copy_whole, errors_of, sync_folder, whole
from imagewarehouse.keeping.manifest import MANIFEST, MODELS, PLACES, ROWS, Manifest, check_files, read_manifest
from imagewarehouse.places import Locations, Move
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.rows.whole import WholeTable

Say = Callable[[str], None]

_UNDER_WAY = ".restoring.json"
_ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup whose files were checked."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Backup:
        """Raises ConfigurationError: it is none, or a file of it is damaged."""
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        return cls(folder, manifest)

    @property
    def identity(self) -> str:
        return file_sha256(self.folder / MANIFEST)

    def model_files(self) -> list[str]:
        """As the manifest names them: `models/NAME/VERSION/FILE`."""
        return [name for name in self.manifest.files if name.startswith(f"{MODELS}/")]


def check_target(backup: Backup, table: WholeTable, data: Path, models: Path, *, merge: bool) -> None:
    """Raises ConfigurationError: there are rows already, or a file of a model is there with other bytes."""
    if not (merge or _is_under_way(backup, table, data) or table.is_empty()):
        raise ConfigurationError(
            "--merge", f"is needed: {table.where} has rows; those of the backup replace the same ones"
        )
    for name in backup.model_files():
        path = models / name.removeprefix(f"{MODELS}/")
        if path.exists() and file_sha256(path) != backup.manifest.files[name].sha256:
            raise ConfigurationError(
                "--models", f"{path} is there and is another file; restore the models into another folder"
            )


def restore(
    backup: Backup,
    table: WholeTable,
    places: Locations | None,
    moves: Sequence[Move],
    data: Path,
    models: Path,
    *,
    merge: bool,
    say: Say,
) -> None:
    """`moves`: of pictures that lie elsewhere since. Raises ConfigurationError, RowStoreUnavailable: run again, it goes on."""
    with errors_of(data, "--data"):
        check_target(backup, table, data, models, merge=merge)
        note = data / _UNDER_WAY
        with whole(note) as file:
            file.write_bytes(orjson.dumps({"backup": backup.identity, "where": table.where}))
        for name in backup.model_files():
            path = models / name.removeprefix(f"{MODELS}/")
            if not path.exists():
                copy_whole(backup.folder / name, path)
        if places is not None:
            _restore_places(backup, places)
            places.move(moves)
        for path in sorted((backup.folder / ROWS).glob("*.parquet")):
            if f"{ROWS}/{path.name}" not in backup.manifest.files:  # nobody has checked it
                continue
            file_of_rows = pq.ParquetFile(path)
            for batch in file_of_rows.iter_batches(_ROWS_AT_ONCE):
                table.write(_of_this_release(batch))
            say(f"{path.name}: {file_of_rows.metadata.num_rows:,} rows")
        note.unlink()
        sync_folder(data)


def _of_this_release(batch: pa.RecordBatch) -> pa.Table:
    """Columns that an earlier release did not have are empty."""
    rows = pa.Table.from_batches([batch])
    for field in SCHEMA:
        if field.name not in rows.column_names:
            rows = rows.append_column(field.name, pa.nulls(rows.num_rows, field.type))
    return rows.select(SCHEMA.names).cast(SCHEMA)


def _restore_places(backup: Backup, places: Locations) -> None:
    """An image that has a place keeps it."""
    for batch in pq.ParquetFile(backup.folder / PLACES).iter_batches(_ROWS_AT_ONCE):
        rows = batch.to_pylist()
        known = places.find([row["image_id"] for row in rows])
        # What an interrupted restore has added and not yet called forgotten is new as well.
        new = [
            row
            for row in rows
            if (there := known.get(row["image_id"])) is None
            or (there.uri == row["uri"] and there.forgotten_at is None and row["forgotten_at"] is not None)
        ]
        places.add({row["image_id"]: row["uri"] for row in new})
        forgotten: dict[datetime, list[str]] = {}
        for row in new:
            if row["forgotten_at"] is not None:
                forgotten.setdefault(row["forgotten_at"], []).append(row["image_id"])
        for moment, image_ids in forgotten.items():
            places.forget(image_ids, moment)


def _is_under_way(backup: Backup, table: WholeTable, data: Path) -> bool:
    try:
        note = orjson.loads((data / _UNDER_WAY).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(note == {"backup": backup.identity, "where": table.where})
