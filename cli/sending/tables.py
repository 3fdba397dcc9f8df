"""Parquet files of images: `image` (bytes), optionally `path` (a name) and `class` (the truth)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cli.sending.items import Image, Item, Unreadable
from cli.sending.text import first_line
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.formats import sniff

BATCH_BYTES = 8 * 1024 * 1024  # of images in one batch; Arrow and Python hold a copy each
_BROKEN = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet file whose metadata has been read."""

    path: Path
    rows: int
    columns: tuple[str, ...]

    def items(self, start: int = 0) -> Iterator[Item]:
        """Rows from number `start` on. A row group that cannot be read is one Unreadable, the next one goes on."""
        try:
            # Without these two pyarrow reads a whole row group ahead, which may be the whole file.
            file = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1024 * 1024)
        except _BROKEN as err:
            yield Unreadable(str(self.path), first_line(err))
            return
        key, end = str(self.path.resolve()), 0
        with file:
            for group in range(file.num_row_groups):
                row, end = end, end + file.metadata.row_group(group).num_rows
                if end <= start:
                    continue
                try:
                    for batch in _batches(file, group, self.columns):
                        for row, values in enumerate(batch.to_pylist(), row):
                            if row >= start:
                                yield self._item(row, f"{key}#{row}", values)
                        row += 1
                except _BROKEN as err:
                    yield Unreadable(f"{self.path}#{row}", f"rows {row} to {end - 1}: {first_line(err)}")

    def _item(self, row: int, key: str, values: dict[str, Any]) -> Item:
        source, content, path, label = f"{self.path}#{row}", values["image"], values.get("path"), values.get("class")
        if content is None:
            return Unreadable(source, "the row has no image")
        # Both kinds of slashes, whatever system wrote the file.
        name = PureWindowsPath(path).name.strip() if isinstance(path, str) else ""
        if not name:  # one that leads back from the warehouse to the row
            found = sniff(content)
            name = f"{self.path.stem}-{row}" + (f".{found.extension}" if found else "")
        return Image(source, key, name, content, label if isinstance(label, str) else None)


def open_table(path: Path) -> Table:
    """Read a Parquet file's metadata, no rows. Raises ConfigurationError: not readable, no `image` column of bytes."""
    setting = f"SOURCE {path}"
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except _BROKEN as err:
        raise ConfigurationError(setting, f"not a readable Parquet file: {first_line(err)}") from err
    if "image" not in schema.names:
        raise ConfigurationError(setting, f"no column `image`, only {', '.join(schema.names)[:200]}")
    kind = schema.field("image").type
    if not any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        raise ConfigurationError(setting, f"column `image` holds {str(kind)[:80]}, expected the bytes of image files")
    if rows == 0:
        raise ConfigurationError(setting, "no rows in it")
    return Table(path, rows, tuple(name for name in ("image", "path", "class") if name in schema.names))


def _batches(file: pq.ParquetFile, group: int, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Record batches of one row group, each about BATCH_BYTES at most."""
    meta = file.metadata.row_group(group)
    chunks = [meta.column(i) for i in range(meta.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == "image")
    rows = max(1, min(64, BATCH_BYTES * meta.num_rows // max(1, size)))
    yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False)
