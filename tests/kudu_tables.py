"""Tables of Kudu for one test each: how they are laid out, what is in them, what is sent to them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, TableSchema


def new_schema(key: Sequence[KuduColumn], columns: Sequence[KuduColumn], **more: Any) -> TableSchema:
    """A table of these columns behind the key, with a name of its own."""
    if "range_columns" not in more:
        more.setdefault("hashes", (HashPartition((key[0].name,), 2),))
    return TableSchema(f"test_{uuid.uuid4().hex}", (*key, *columns), replicas=1, **more)


def stored(writer: KuduWriter, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """What is in the table, sorted."""
    found = writer.scan(table, columns or None).to_pydict()
    return sorted(zip(*found.values(), strict=True), key=repr)


def arrow_bytes(table: pa.Table, file: bool = False) -> bytes:
    """An Arrow stream, or an Arrow file."""
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
