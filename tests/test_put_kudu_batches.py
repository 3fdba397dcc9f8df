"""Flushes and batches of PutKuduRecord, and FlowFiles that share a commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from imagewarehouse import contents as records
from imagewarehouse.errors import KuduUnavailable
from imagewarehouse.kudu import batch
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import FLUSH_MODES, KuduSettings, RowFailure
from imagewarehouse.kudu.records import convert, mapping
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_processor
from tests.kudu_processor import (
    DRIFT,
    EXISTS,
    MISSING,
    NAME,
    NUMBER,
    MakeTable,
    Put,
    Table,
    column,
    content,
    report,
    writes_of,
)
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- Flush Mode, FlowFiles per Batch, Max Records per Batch ---------------------------------------------------------


@pytest.mark.parametrize("mode", FLUSH_MODES)
def test_flush_mode_changes_nothing_about_the_outcome(put: Put, table: Table, mode: str) -> None:
    host = put(table, {"Flush Mode": mode, "Batch Size": "50", "Operation Path": "/op", "Data Path": "/row"})
    changes = [{"op": "insert", "row": {"key": n, "number": n}} for n in range(200)]
    changes += [{"op": "insert", "row": {"key": 7}}]  # it is there already
    changes += [{"op": "update", "row": {"key": n, "number": -n}} for n in range(0, 200, 2)]
    changes += [{"op": "update", "row": {"key": 999, "number": 0}}]
    changes += [{"op": "delete", "row": {"key": 5}}, {"op": "insert", "row": {"key": 5, "name": "again"}}]
    left = host.transform(content(*changes))
    assert report(left) == [(200, EXISTS), (301, MISSING)]
    assert left.attributes["record.count"] == "302"
    assert table.column("number") == {n: None if n == 5 else n if n % 2 else -n for n in range(200)}


@pytest.mark.parametrize(("size", "mode"), [("1", FLUSH_MODES[0]), ("7", FLUSH_MODES[0]), ("100000", FLUSH_MODES[1])])
def test_batch_size_changes_nothing_about_the_outcome(put: Put, table: Table, mode: str, size: str) -> None:
    records = [{"key": n, "name": "x" * (n % 7)} for n in range(60)]
    left = put(table, {"Batch Size": size, "Flush Mode": mode}).transform(content(*records, {"key": 0, "name": "last"}))
    assert left.set == {"record.count": "61"}
    assert table.column("name") == {0: "last"} | {n: "x" * (n % 7) for n in range(1, 60)}


def test_parallel_flowfiles_share_flushes_and_keep_their_own_outcome(
    put: Put, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_files, at_once = 48, 12

    def slowly(plain: Any, table: str, batches: Any) -> Any:
        time.sleep(0.03)  # a cluster that takes its time
        return plain(table, batches)

    host = put(table, {"Operation": "INSERT"})
    seen = writes_of(host, monkeypatch, slowly)

    def send(n: int) -> Any:
        bad = [{"key": n * 10}] if n % 4 == 0 else [{"key": "?"}] if n % 4 == 1 else []
        return host.transform(content({"key": n * 10}, {"key": n * 10 + 1, "name": f"of {n}"}, *bad))

    with ThreadPoolExecutor(at_once) as pool:
        left = list(pool.map(send, range(flow_files)))
    assert len(seen) <= flow_files // 3
    for n, each in enumerate(left):
        code = {0: EXISTS, 1: "kudu.wrong_value"}.get(n % 4)
        assert each.relationship == ("bad rows" if code else "success")
        assert each.attributes["record.count"] == "2"
        assert code is None or report(each) == [(2, code)]
    assert table.column("name") == {n * 10 + k: f"of {n}" if k else None for n in range(flow_files) for k in (0, 1)}


def test_flowfiles_that_share_a_commit_have_their_own_tables_operations_and_formats(
    put: Put, make_table: MakeTable
) -> None:
    tables = [make_table(NAME) for _ in range(3)]
    host = put("${t}", {"Operation": "${op}", **DRIFT})

    def send(n: int) -> str:
        record = {"key": n, "name": f"n{n}", "extra": n}
        sent = arrow_bytes(pa.Table.from_pylist([record])) if n % 2 else content(record)
        drift = "true" if n % 3 == 0 else "false"
        left: str = host.transform(
            sent, {"t": tables[n % 3].name, "op": ["insert", "upsert"][n % 2], "drift": drift}
        ).relationship
        return left

    with ThreadPoolExecutor(9) as pool:
        assert set(pool.map(send, range(45))) == {"success"}
    for number, table in enumerate(tables):
        assert table.column("name") == {n: f"n{n}" for n in range(number, 45, 3)}
        assert ("extra" in table.types) == (number == 0)


def test_flowfile_for_a_missing_table_does_not_touch_those_beside_it(put: Put, table: Table) -> None:
    host = put("${t}")

    def send(n: int) -> str:
        left: str = host.transform(content({"key": n}), {"t": "no_such_table" if n % 2 else table.name}).relationship
        return left

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(16))) == ["success", "failure"] * 8
    assert list(table.column("key")) == sorted(range(0, 16, 2), key=repr)


def test_last_of_the_rows_of_one_key_wins_though_a_flush_in_the_middle_had_to_wait(put: Put, table: Table) -> None:
    """The row whose arrival sends a batch that is not answered must not come behind those after it."""
    host = put(table, {"Retries": "5"})
    opened = host.processor.rows.get(host.host.context)
    assert host.transform(content({"key": -1})).relationship == "success"
    write, calls = opened.tables.writer.write, []

    def scrambled(name: str, batches: Sequence[Any]) -> list[RowFailure]:
        calls.append(len(batches[0]))
        if len(calls) > 1:
            return write(name, batches)
        failures = [RowFailure(0, row, KuduUnavailable("away")) for row in range(1000, len(batches[0]))]
        write(name, [batches[0].take(range(1000))])
        return [*failures[1:], failures[0]]  # in another order than that of the rows

    opened.tables.writer.write = scrambled
    bad = {"key": -2, NAME.name: ["x"] * 50_000}
    rows = [{"key": n // 2, NUMBER.name: n} for n in range(4000)]
    left = host.transform(content(bad, *rows))
    assert report(left) == [(0, "kudu.cell_too_long")]
    assert calls == [4000, 3000]
    assert table.column(NUMBER.name) == {-1: None, **{key: 2 * key + 1 for key in range(2000)}}


def test_row_that_sends_a_batch_in_vain_is_told_of_in_its_place(table: Table, kudu: LocalKudu) -> None:
    own = connect(KuduSettings(kudu.masters, operation_timeout_s=1.0, flush_mode="MANUAL_FLUSH", batch_rows=10))
    rows = mapping.map_records(
        records.read_records(content(*({"key": n} for n in range(35)))), mapping.RecordMapping(), batch.Operation.UPSERT
    )
    converted = convert.to_batch(rows, own.schema(table.name)).batch
    kudu.pause("tserver-0")
    try:
        failures = own.write(table.name, [converted])
    finally:
        kudu.resume("tserver-0")
        own.close()
    assert [failure.row for failure in failures] == list(range(35))


def test_large_rows_behind_many_small_ones_fit_the_heap(put: Put, make_table: MakeTable) -> None:
    table = make_table(*(column(f"c{n}", "string") for n in range(10)))
    large = {f"c{n}": "x" * 60_000 for n in range(10)}
    rows = [{"key": n} for n in range(3000)] + [{"key": 3000 + n} | large for n in range(100)]
    assert put(table).transform(content(*rows)).relationship == "success"
    assert table.writer.count(table.name) == 3100
