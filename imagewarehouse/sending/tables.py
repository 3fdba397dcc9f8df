"""Parquet files of images: `image` (bytes), optionally `path` (a name) and `class` (the truth)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagewarehouse.images.formats import sniff
from imagewarehouse.sending.items import Image, Item, Outcome, unreadable
from imagewarehouse.sending.text import first_line
from imagewarehouse.text import one_line

BATCH = 16  # rows in memory at once, twice: one image may have many MB
_BROKEN = (pa.ArrowException, OSError, ValueError)


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet file whose metadata has been read."""

    path: Path
    key: str  # absolute path
    rows: int
    columns: list[str]

    def items(self, start: int = 0) -> Iterator[Item]:
        """Rows from number `start` on. A row group that cannot be read is one failure, the next one goes on."""
        try:
            # Without these two pyarrow reads a whole row group ahead, which may be the whole file.
            file = pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1024 * 1024)
        except _BROKEN as err:
            yield unreadable(str(self.path), first_line(err))
            return
        with file:
            end = 0
            for group in range(file.num_row_groups):
                row, end = end, end + file.metadata.row_group(group).num_rows
                if end <= start:
                    continue
                try:
                    for batch in file.iter_batches(BATCH, [group], self.columns, use_threads=False):
                        for values in batch.to_pylist():
                            if row >= start:
                                yield self._item(row, values)
                            row += 1
                except _BROKEN as err:
                    yield unreadable(f"{self.path}#{row}", f"rows {row} to {end - 1}: {first_line(err)}")

    def _item(self, row: int, values: dict[str, Any]) -> Item:
        source, content, path, label = f"{self.path}#{row}", values["image"], values.get("path"), values.get("class")
        if content is None:
            return unreadable(source, "the row has no image")
        # Both kinds of slashes, whatever system wrote the file.
        name = PureWindowsPath(path).name.strip() if isinstance(path, str) else ""
        if not name:  # one that leads back from the warehouse to the row
            image_format = sniff(content)
            name = f"{self.path.stem}-{row}" + (f".{image_format.extension}" if image_format else "")
        return Image(source, f"{self.key}#{row}", name, content, label if isinstance(label, str) else None)


def open_table(path: Path) -> Table | Outcome:
    """Read a Parquet file's metadata, no rows. A failure: not readable, no `image` column of bytes, empty."""
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except _BROKEN as err:
        return unreadable(str(path), f"not a readable Parquet file: {first_line(err)}")
    if "image" not in schema.names:
        return unreadable(str(path), f"no column `image`, only {one_line(', '.join(schema.names), 200)}")
    kind = schema.field("image").type
    if not any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)):
        return unreadable(str(path), f"column `image` holds {str(kind)[:80]}, expected the bytes of image files")
    if rows == 0:
        return unreadable(str(path), "no rows in it")
    return Table(path, str(path.resolve()), rows, [name for name in ("image", "path", "class") if name in schema.names])
