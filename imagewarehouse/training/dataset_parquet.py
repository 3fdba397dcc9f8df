"""Parquet files of labelled images: columns `image`, `label`, and optionally `class`, `path` and `split`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagewarehouse.errors import ConfigurationError, Corrupt, ImageRejected, NotAnImage
from imagewarehouse.text import one_line
from imagewarehouse.training.listing import IntArray, Load, check_bytes, missing

BATCH = 16  # rows in memory at once: one image may have many MB
_BROKEN = (pa.ArrowException, OSError, ValueError)
_OPTIONAL = ("label", "class", "path", "split")


@dataclass(frozen=True, slots=True)
class Columns:
    """Everything but the images. `rows`: how many each file has; the lists run over all files."""

    rows: tuple[int, ...]
    labels: list[int] | list[str]
    classes: list[str] | None
    names: list[str]
    split: list[str | None] | None


@dataclass(frozen=True, slots=True)
class Tables:
    """Images in Parquet files; row N of a listing is counted over all of them."""

    files: tuple[Path, ...]
    rows: tuple[int, ...]

    def read(self, rows: IntArray) -> Iterator[tuple[int, Load]]:
        """In the order of the files, so that each is read once."""
        order = np.argsort(rows, kind="stable")
        ends = np.cumsum(self.rows)
        for file, end, count in zip(self.files, ends, self.rows, strict=True):
            first, last = np.searchsorted(rows[order], (end - count, end))
            for place, load in _read_file(file, rows[order[first:last]] - (end - count)):
                yield int(order[first + place]), load


def read_columns(files: Sequence[Path], setting: str) -> Columns:
    """Read everything but the images of files that have the same columns. Raises ConfigurationError."""
    tables = [_read_table(file, setting) for file in files]
    for file, table in zip(files, tables, strict=True):
        if table.column_names != tables[0].column_names:
            problem = f"{file.name} has the columns {table.column_names}, {files[0].name} has {tables[0].column_names}"
            raise ConfigurationError(setting, problem)
    rows = tuple(table.num_rows for table in tables)
    if not sum(rows):
        raise ConfigurationError(setting, f"{files[0].name}: no rows in it")
    have = set(tables[0].column_names)
    labels = _values([table["label" if "label" in have else "class"] for table in tables], "label", setting)
    classes = _values([table["class"] for table in tables], "class", setting) if {"label", "class"} <= have else None
    if classes is None and all(isinstance(label, int) for label in labels):
        classes = _names_in_schema(tables[0].schema, labels, setting)
    names = []
    for file, table in zip(files, tables, strict=True):
        paths = table["path"].to_pylist() if "path" in have else [None] * table.num_rows
        names += [path if isinstance(path, str) and path else f"{file.name}#{row}" for row, path in enumerate(paths)]
    split = [value for table in tables for value in table["split"].to_pylist()] if "split" in have else None
    return Columns(rows, labels, None if classes is None else [str(name) for name in classes], names, split)


def _read_table(file: Path, setting: str) -> pa.Table:
    """Columns of `_OPTIONAL`, after a check that images and labels are there."""
    try:
        with pq.ParquetFile(file) as table:
            schema = table.schema_arrow
            problem = _problem(schema)
            if problem:
                raise ConfigurationError(setting, f"{file.name}: {problem}")
            return table.read([name for name in _OPTIONAL if name in schema.names])
    except _BROKEN as err:
        raise ConfigurationError(setting, f"{file.name}: not a readable Parquet file: {_reason(err)}") from err


def _problem(schema: pa.Schema) -> str | None:
    existing = f"there are: {one_line(', '.join(schema.names), 200)}"
    if "image" not in schema.names:
        return f"no column image; {existing}"
    if "label" not in schema.names and "class" not in schema.names:
        return f"no column label (or class); {existing}"
    kind = schema.field("image").type
    if pa.types.is_struct(kind):
        kind = next((kind.field(at).type for at in range(kind.num_fields) if kind.field(at).name == "bytes"), kind)
    if not any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        return f"column image holds {str(kind)[:80]}, expected the bytes of image files"
    return None


def _values(chunks: Sequence[pa.ChunkedArray], column: str, setting: str) -> Any:
    """Whole numbers or texts, none missing."""
    values: list[Any] = []
    for chunk in chunks:
        empty = pc.is_null(chunk, nan_is_null=True).to_numpy()
        if empty.any():
            raise missing(column, (np.flatnonzero(empty) + len(values)).tolist(), setting)
        kind = chunk.type.value_type if pa.types.is_dictionary(chunk.type) else chunk.type
        try:
            is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            values += chunk.cast(pa.string() if is_text else pa.int64()).to_pylist()
        except pa.ArrowException as err:
            problem = f"column {column} holds {str(kind)[:80]}, expected whole numbers or names"
            raise ConfigurationError(setting, problem) from err
    return values


def _names_in_schema(schema: pa.Schema, labels: Sequence[int], setting: str) -> list[str] | None:
    """A name for each label from what the `datasets` library of Hugging Face keeps beside the schema."""
    try:
        names = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    beyond = next((label for label in labels if not 0 <= label < len(names)), None)
    if beyond is not None:
        raise ConfigurationError(setting, f"label {beyond} has no name; the file's schema names {len(names)} classes")
    return [str(names[label]) for label in labels]


def _read_file(file: Path, rows: IntArray) -> Iterator[tuple[int, Load]]:
    """Ascending `rows` of one file. A group of rows that cannot be read fails for its rows, the next one goes on."""
    if not len(rows):
        return
    done = 0  # so many of `rows` are out
    problem = "the file has no such row any more"
    try:
        # Without these two pyarrow reads a whole row group ahead, which may be the whole file.
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1024 * 1024) as table:
            end = 0
            for group in range(table.num_row_groups):
                row, end = end, end + table.metadata.row_group(group).num_rows
                last = int(np.searchsorted(rows, end))
                try:
                    for images in _batches(table, group) if last > done else ():
                        while done < last and rows[done] < row + len(images):
                            yield done, partial(_content, images[int(rows[done]) - row].as_py())
                            done += 1
                        row += len(images)
                except _BROKEN as err:
                    yield from _failing(range(done, last), f"rows {row} to {end - 1} are not readable: {_reason(err)}")
                    done = last
    except _BROKEN as err:
        problem = _reason(err)
    yield from _failing(range(done, len(rows)), problem)


def _failing(places: range, problem: str) -> Iterator[tuple[int, Load]]:
    for place in places:
        yield place, partial(_fail, Corrupt(problem))


def _reason(err: Exception) -> str:
    """One line, without the path that pyarrow's own text has."""
    number = getattr(err, "errno", None)
    return os.strerror(number) if number else one_line(err)


def _batches(table: pq.ParquetFile, group: int) -> Iterator[pa.Array]:
    for batch in table.iter_batches(BATCH, [group], ["image"], use_threads=False):
        yield batch.column(0)


def _content(value: bytes | dict[str, Any] | None) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise NotAnImage("the row has no image")
    check_bytes(len(content))
    return content


def _fail(problem: ImageRejected) -> bytes:
    raise problem
