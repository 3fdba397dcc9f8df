"""What is left on retry, and FlowFiles that share a commit with one that fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter
from imagewarehouse.kudu.records.convert import IGNORE, to_batch
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import HashPartition
from imagewarehouse.kudu.writing.sink import SinkSettings, TableSink
from imagewarehouse.kudu.writing.tables import KuduTables, Put
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_faults
from tests.conftest import Hosted
from tests.kudu_faults import NUMBER, PRESENT, TEXT, Record, content, make, records_of, reported, rows_of
from tests.kudu_tables import arrow_bytes, stored

# pytest finds fixtures among the names of a module
open_writer = kudu_faults.open_writer
put = kudu_faults.put
writer = kudu_faults.writer


# --- what is left on retry --------------------------------------------------------------------------------------------


def arrow_records(data: bytes | None) -> list[Record]:
    found: list[Record] = pa.ipc.open_stream(data).read_all().to_pylist()
    return found


@pytest.fixture(scope="module")
def pair(kudu: LocalKudu, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalKudu, str, list[int]]]:
    """Two tablet servers with a table on both: (cluster, table, which of 100 keys are on the second server)."""
    with LocalKudu(tmp_path_factory.mktemp("pair"), tservers=2, never_fsync=True) as cluster:
        writer = connect(KuduSettings(cluster.masters, operation_timeout_s=1.0))
        table = make(writer, TEXT, hashes=(HashPartition(("key",), 8),))
        rows = Put(table, rows_of([{"key": key, "text": ""} for key in range(100)]))
        sink = TableSink(writer, table, SinkSettings(retries=0))
        assert sink.write([rows]) == [[None] * 100]
        cluster.pause("tserver-1")
        try:
            (outcomes,) = sink.write([rows])
        finally:
            cluster.resume("tserver-1")
        writer.close()
        there = [key for key, outcome in enumerate(outcomes) if outcome is not None]
        assert 0 < len(there) < 100
        yield cluster, table, there


@pytest.mark.parametrize("form", ["json-lines", "json", "arrow stream", "arrow file"])
def test_only_what_is_not_committed_is_left_on_retry_and_completes_the_rest(
    pair: tuple[LocalKudu, str, list[int]],
    put: Callable[..., Hosted],
    open_writer: Callable[..., KuduWriter],
    form: str,
) -> None:
    cluster, table, there = pair
    writer = open_writer(cluster.masters)
    processor = put(table, cluster.masters, Record_Format=form.split()[0])
    rows = [{"key": key, "text": f"{form} {key}"} for key in range(100)]
    refused = next(key for key in range(100) if key not in there)
    rows[refused]["text"] = "x" * 65537
    data = {"json-lines": content(rows), "json": json.dumps(rows, indent=1).encode()}.get(form)
    data = data or arrow_bytes(pa.Table.from_pylist(rows), file=form == "arrow file")
    cluster.pause("tserver-1")
    try:
        left = processor.transform(data)
    finally:
        cluster.resume("tserver-1")
    assert (left.relationship, left.set) == ("retry", {})
    rest = arrow_records(left.content) if form.startswith("arrow") else records_of(left.content)
    assert rest == [rows[key] for key in sorted({*there, refused})]
    last = processor.transform(left.content)
    assert reported(last) == [(sorted({*there, refused}).index(refused), "kudu.cell_too_long")]
    assert records_of(last.content)[0]["record"] == rows[refused]
    found = {key: text for key, text in stored(writer, table) if text.startswith(form)}
    assert found == {row["key"]: row["text"] for row in rows if row["key"] != refused}


def test_unreadable_records_stay_with_what_waits(
    pair: tuple[LocalKudu, str, list[int]], put: Callable[..., Hosted], open_writer: Callable[..., KuduWriter]
) -> None:
    cluster, table, there = pair
    processor = put(table, cluster.masters, Operation_Path="/op", Data_Path="/rows[*]", Record_Format="json-lines")
    away, here = there[0], next(key for key in range(100) if key not in there)
    lines = [
        {"op": "upsert", "rows": [{"key": away, "text": "one"}, {"key": here, "text": "one"}]},
        {"op": "upsert", "rows": [{"key": here, "text": "two"}]},
        {"op": "explode", "rows": [{"key": here}]},
    ]
    broken = b'{"op": "upsert", "rows": [\n'
    cluster.pause("tserver-1")
    try:
        left = processor.transform(content(lines[:1]) + broken + content(lines[1:]))
    finally:
        cluster.resume("tserver-1")
    assert left.relationship == "retry"
    kept = (left.content or b"").splitlines()
    # The first goes again as a whole, so what came behind it goes again too, or "one" would win over "two".
    assert [json.loads(kept[0]), kept[1], *map(json.loads, kept[2:])] == [lines[0], broken.strip(), *lines[1:]]
    assert reported(processor.transform(left.content)) == [(1, "records.malformed"), (3, "kudu.unknown_operation")]
    found = dict(stored(open_writer(cluster.masters), table))
    assert (found[away], found[here]) == ("one", "two")


# --- FlowFiles that share a commit ------------------------------------------------------------------------------------


def test_flow_files_that_share_a_commit_keep_their_own_outcomes(writer: KuduWriter) -> None:
    good, other = make(writer, TEXT), make(writer, NUMBER)
    tables = KuduTables(writer, lambda _: SinkSettings(retries=0))
    assert tables.write([Put(good, rows_of([{"key": 7, "text": "there"}]))]) == [[None]]
    table = pa.table({"key": [40, 41], "text": ["a", "b"]})
    puts = [
        Put(good, rows_of([{"key": 1}, {"key": "x"}, {"key": 2}])),
        Put(good, rows_of([{"key": 7}, {"key": 8}], Operation.INSERT)),
        Put("no such table", rows_of([{"key": 1}, {"key": 2}])),
        Put(good, rows_of([{"key": 3, "none": 1}]), IGNORE),
        Put(other, rows_of([{"key": 1, "number": 1}, {"key": 2, "text": "of the other table"}])),
        Put(good, Rows(range(2), np.full(2, Operation.UPSERT, np.uint8), [], table)),
        Put(good, rows_of([{"key": 4, "none": 1}, {"key": 5}])),
        Put(good, rows_of([])),
    ]
    found = [[None if outcome is None else outcome.code for outcome in outcomes] for outcomes in tables.write(puts)]
    assert found == [
        [None, "kudu.wrong_value", None],
        [PRESENT, None],
        ["kudu.table_missing"] * 2,
        [None],
        [None, "kudu.unknown_column"],
        [None, None],
        ["kudu.unknown_column", None],
        [],
    ]
    assert [key for (key,) in stored(writer, good, "key")] == [1, 2, 3, 40, 41, 5, 7, 8]
    assert stored(writer, other) == [(1, 1)]


def test_defect_in_one_flow_file_costs_that_flow_file_only(
    writer: KuduWriter, put: Callable[..., Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(rows: Rows, *arguments: Any) -> Any:
        if any(values.get("text") == "explode" for values in rows.values):
            raise ZeroDivisionError("a defect")
        return to_batch(rows, *arguments)

    monkeypatch.setattr("imagewarehouse.kudu.writing.tables.to_batch", explode)
    table, other = make(writer, TEXT), make(writer, TEXT)
    tables = KuduTables(writer, lambda _: SinkSettings(retries=0))
    puts = [
        Put(table, rows_of([{"key": 1}], Operation.INSERT)),
        Put(table, rows_of([{"key": 2, "text": "explode"}, {"key": 3}])),
        Put(table, rows_of([{"key": 4}], Operation.INSERT)),
        Put(other, rows_of([{"key": 5}], Operation.INSERT)),
        Put(other, rows_of([{"key": 6, "text": "explode"}])),
    ]
    found = [[None if outcome is None else outcome.code for outcome in outcomes] for outcomes in tables.write(puts)]
    assert found == [[None], ["internal", "internal"], [None], [None], ["internal"]]
    assert (stored(writer, table, "key"), stored(writer, other, "key")) == ([(1,), (4,)], [(5,)])
    data = content([{"key": 9, "text": "explode"}, {"key": 10}])
    left = put(table).transform(data)
    assert (left.relationship, left.set["error_code"], left.content) == ("failure", "internal", data)
