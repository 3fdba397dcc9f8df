"""Formats with many pictures in a file: WebDataset's tar shards, and Parquet."""

from __future__ import annotations

import io
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from imagewarehouse.getting.exporting import UNCLASSIFIED, Loaded
from imagewarehouse.getting.rows import Row
from imagewarehouse.metadata import COLUMNS, from_text
from imagewarehouse.rows.columns import SCHEMA

CLASSES = "classes.txt"

_JSON = ("fields", "notes", "top_k")
_GROUP_BYTES = 8 << 20  # of a group of rows: a reader has one in memory


@dataclass(frozen=True, slots=True)
class WebDataset:
    """Of each picture ID.jpg, ID.json (its record) and ID.cls (the number of its class, a line of classes.txt).

    Source: the conventions of the library `webdataset`: files of one sample lie together and share their name up to its
    first dot; `cls` is decoded as a whole number.
    """

    classes: Sequence[str]
    suffix: str = "tar"

    def write(self, path: Path, pictures: Iterator[Loaded]) -> int:
        numbers = {name: number for number, name in enumerate(self.classes)}
        count = 0
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for count, (row, picture) in enumerate(pictures, start=1):  # noqa: B007
                time = int(_time(row).timestamp())
                _add(tar, picture.place.file_name, picture.content, time)
                _add(tar, f"{row['image_id']}.json", orjson.dumps(record(row)), time)
                if row["predicted_class"] is not None:
                    _add(tar, f"{row['image_id']}.cls", str(numbers[row["predicted_class"]]).encode(), time)
        return count

    def finish(self, folder: Path) -> None:
        (folder / CLASSES).write_text("".join(f"{name}\n" for name in self.classes), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Parquet:
    """Columns `image`, `class` and `path`, as trainings take them, and those of the record."""

    suffix: str = "parquet"

    def write(self, path: Path, pictures: Iterator[Loaded]) -> int:
        schema = pa.schema(
            [pa.field("image", pa.binary()), pa.field("class", pa.string()), pa.field("path", pa.string())]
        )
        schema = pa.schema([*schema, *SCHEMA])
        # Image files are compressed as they are.
        compression = dict.fromkeys(schema.names, "zstd") | {"image": "none"}
        count = size = 0
        group: list[dict[str, Any]] = []
        with pq.ParquetWriter(path, schema, compression=compression) as writer:
            for row, picture in pictures:
                values = {column.name: row.get(column.name) for column in COLUMNS}
                values["event_time"] = _time(row)
                if values["embedding"] is not None:
                    values["embedding"] = array("b", _vector(row))
                class_name = row["predicted_class"] or UNCLASSIFIED
                path_text = f"{class_name}/{picture.place.file_name}"
                group.append({"image": picture.content, "class": class_name, "path": path_text, **values})
                count += 1
                size += len(picture.content)
                if size >= _GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(group, schema))
                    group, size = [], 0
            if group:
                writer.write_table(pa.Table.from_pylist(group, schema))
        return count

    def finish(self, folder: Path) -> None:
        """Nothing: each file says all of itself."""


def record(row: Row) -> dict[str, Any]:
    """The record as the service answers it: JSON in it as what it says, no vector."""
    values: dict[str, Any] = {column.name: row.get(column.name) for column in COLUMNS if column.type != "vector"}
    for name in _JSON:
        values[name] = orjson.loads(values[name]) if values[name] else None
    return values


def _time(row: Row) -> datetime:
    moment = from_text(row["event_time"], "timestamp")
    assert isinstance(moment, datetime)
    return moment


def _vector(row: Row) -> bytes:
    vector = from_text(row["embedding"], "vector")
    assert isinstance(vector, bytes)
    return vector


def _add(tar: tarfile.TarFile, name: str, content: bytes, time: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), time, 0o644
    tar.addfile(entry, io.BytesIO(content))
