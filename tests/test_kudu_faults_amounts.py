"""Large tables, large rows and many rows."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import KuduColumn, KuduType
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_faults
from tests.conftest import Hosted
from tests.kudu_faults import NUMBER, PRESENT, TEXT, Record, content, make, month, python, reported
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
cluster = kudu_faults.cluster
open_writer = kudu_faults.open_writer
put = kudu_faults.put
writer = kudu_faults.writer


# --- large tables, large rows, many rows ------------------------------------------------------------------------------


def test_table_of_300_columns_keeps_every_cell(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    kinds: list[tuple[dict[str, Any], Callable[[int], Any], Callable[[int], Any]]] = [
        ({"type": KuduType.DECIMAL, "precision": 38, "scale": 9},
         lambda n: Decimal(f"{n}1234567890123456789012345.123456789"), lambda n: f"{n}1234567890123456789012345.123456789"),
        ({"type": KuduType.DATE}, lambda n: date(2026, 1, 1 + n), lambda n: f"2026-01-{n + 1:02}"),
        ({"type": KuduType.BINARY}, lambda n: bytes([0, n, 255]), lambda n: base64.b64encode(bytes([0, n, 255])).decode()),
        ({"type": KuduType.UNIXTIME_MICROS}, lambda n: month(1, n + 1), lambda n: month(1, n + 1).isoformat()),
        ({"type": KuduType.STRING}, lambda n: f"text {n}", lambda n: f"text {n}"),
        ({"type": KuduType.DOUBLE}, lambda n: n + 0.1, lambda n: n + 0.1),
    ]  # fmt: skip
    columns = [KuduColumn(f"c{n}", nullable=True, **kinds[n % len(kinds)][0]) for n in range(299)]
    table = make(writer, *columns)
    rows: list[Record] = []
    expected = []
    for key in range(20):
        cells = {c.name: n for n, c in enumerate(columns) if (n + key) % 7}  # every seventh is left out
        rows.append({"key": key, **{name: kinds[n % len(kinds)][2]((n + key) % 28) for name, n in cells.items()}})
        expected.append({"key": key} | {c.name: kinds[n % len(kinds)][1]((n + key) % 28) if c.name in cells else None
                                        for n, c in enumerate(columns)})  # fmt: skip
    # The digits of a decimal as a number of JSON, not as text: a double would hold 17 of them.
    text = re.sub(rb'"(\d{20,}\.\d+)"', rb"\1", content(rows))
    assert put(table, Text_in_Binary_Columns="base64").transform(text).relationship == "success"
    found = writer.scan(table).to_pylist()
    assert sorted(found, key=lambda row: row["key"]) == expected
    left = put(table, Unknown_Fields="add columns").transform(content([{"key": 99, "one more": 1}]))
    assert (left.relationship, left.set["error_code"]) != ("success", "")
    assert len(writer.schema(table, refresh=True).columns) == 300


LARGE = """
import resource, sys
import numpy as np
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.records.mapping import RecordMapping, map_records
from imagewarehouse.contents import read_records
from imagewarehouse.kudu.writing.sink import SinkSettings
from imagewarehouse.kudu.writing.tables import KuduTables, Put

def written(keys):
    lines = [b'{"key": %d, %s}' % (key, b", ".join(b'"c%d": "%s"' % (n, cell) for n in range(20))) for key in keys]
    records = read_records(b"\\n".join(lines))
    (outcomes,) = tables.write([Put(sys.argv[2], map_records(records, RecordMapping(), Operation.UPSERT))])
    assert outcomes == [None] * len(keys), {str(outcome) for outcome in outcomes}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

tables = KuduTables(connect(KuduSettings(sys.argv[1])), lambda _: SinkSettings(retries=0))
cell = b"x"
written(range(10))
before = peak()
cell = b"0123456789abcdef" * 4090
for start in range(0, 500, 20):
    written(range(start, start + 20))
print(peak() - before)
"""


@pytest.mark.long
def test_five_hundred_rows_of_more_than_a_megabyte_each_take_little_memory(
    cluster: LocalKudu, open_writer: Callable[..., KuduWriter]
) -> None:
    writer = open_writer(cluster.masters)
    table = make(writer, *(KuduColumn(f"c{n}", KuduType.STRING) for n in range(20)))
    done = python(LARGE, cluster.masters, table)
    assert writer.count(table) == 500
    row = writer.scan(table, ["c0", "c19"], limit=1).to_pylist()[0]
    assert {len(cell) for cell in row.values()} == {65440}
    assert int(done) < 300, f"{done} MB for rows of 26 MB at a time"


def test_arrow_file_of_200_000_rows_is_one_flow_file(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT, NUMBER)
    keys = np.arange(200_000)
    data = pa.table({"key": keys, "text": pa.array(keys).cast(pa.string()), "number": (keys % 1000).astype(np.int32)})
    left = put(table, Operation="INSERT", Operation_Timeout="20 sec").transform(arrow_bytes(data, file=True))
    assert (left.relationship, left.set) == ("success", {"record.count": "200000"})
    assert writer.count(table) == 200_000
    again = put(table, Operation="INSERT", Operation_Timeout="20 sec").transform(
        content([{"key": 0}, {"key": 199_999}])
    )
    assert reported(again) == [(0, PRESENT), (1, PRESENT)]
