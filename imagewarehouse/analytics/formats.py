"""A panel's table as JSON, CSV or Arrow. Pure.

CSV is for spreadsheets, which take a cell for a formula that begins with one of = + - @, and names of files, classes and users
come from strangers. So a text that begins so gets an apostrophe in front. JSON and Arrow have every text as it is.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from imagewarehouse.analytics.panels import Column, Panel

CSV_TYPE = "text/csv; charset=utf-8; header=present"
ARROW_TYPE = "application/vnd.apache.arrow.stream"
JSON_TYPE = "application/json"

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also the full-width ones


def as_json(about: Mapping[str, Any], panel: Panel) -> bytes:
    """An object: what it is about, then the table."""
    table = {
        "columns": [{"name": column.name, "unit": column.unit} for column in panel.columns],
        "rows": panel.rows,
        "facts": panel.facts,
    }
    return orjson.dumps({**about, **table}, option=orjson.OPT_NON_STR_KEYS)


def as_csv(panel: Panel) -> bytes:
    """RFC 4180, UTF-8, the names of the columns first. Nothing stands for no value."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(column.name for column in panel.columns)
    # The unit decides, not the value: a negative number is none of a formula's beginnings, a file named -1 is.
    writer.writerows([_cell(value) for value in row] for row in panel.rows)
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def as_arrow(about: Mapping[str, Any], panel: Panel) -> bytes:
    """An IPC stream. Units are metadata of the fields, everything else metadata of the schema, as JSON."""
    import pyarrow as pa

    cells = list(zip(*panel.rows, strict=True)) or [()] * len(panel.columns)
    known = {key: json.dumps(value, ensure_ascii=False) for key, value in {**about, "facts": panel.facts}.items()}
    fields = [pa.field(c.name, _arrow_type(c, pa), metadata={"unit": c.unit}) for c in panel.columns]
    arrays = [_array(column, values, pa) for column, values in zip(panel.columns, cells, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=known))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _arrow_type(column: Column, pa: Any) -> Any:
    types = {
        "images": pa.int64(), "bytes": pa.int64(), "text": pa.string(), "time": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    return types.get(column.unit, pa.float64())


def _array(column: Column, values: Sequence[Any], pa: Any) -> Any:
    if column.unit == "time":
        values = [None if value is None else datetime.fromisoformat(value) for value in values]
    return pa.array(values, _arrow_type(column, pa))
