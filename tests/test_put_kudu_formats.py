"""The formats of records that PutKuduRecord reads: lines, JSON, Arrow."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests import kudu_processor
from tests.kudu_processor import NAME, Put, Table, report
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- Skip head line, Record Reader ----------------------------------------------------------------------------------


def test_line_that_is_no_json_costs_itself_only(put: Put, table: Table) -> None:
    sent = b'key,name\n{"key": 1}\n{"key": 2, "name": \n\n{"key": 3}\n'
    left = put(table, {"Record Format": "json-lines"}).transform(sent)
    assert (left.relationship, report(left)) == ("bad rows", [(0, "records.malformed"), (2, "records.malformed")])
    assert list(table.column("key")) == [1, 3]


TWO = pa.table({"key": pa.array([1, 2], pa.int32()), "name": ["a", None]})


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        pytest.param("json", b'[{"key": 1, "name": "a"}, {"key": 2, "name": null}]', id="array"),
        pytest.param("json", b'{"key": 1, "name": "a"} {"key": 2}', id="objects"),
        pytest.param("json-lines", b'{"key": 1, "name": "a"}\n{"key": 2}\n', id="lines"),
        pytest.param("json", b'\xef\xbb\xbf{"key": 1, "name": "a"}{"key": 2}', id="byte-order-mark"),
        pytest.param("arrow", arrow_bytes(TWO), id="arrow-stream"),
        pytest.param("arrow", arrow_bytes(TWO, file=True), id="arrow-file"),
    ],
)
def test_every_format_of_records_is_read(put: Put, table: Table, kind: str, sent: bytes) -> None:
    for declared in (kind, "auto"):
        left = put(table, {"Record Format": declared}).transform(sent)
        assert (left.relationship, left.content) == ("success", sent)
    assert table.column("name") == {1: "a", 2: None}


def test_one_object_is_one_record(put: Put, table: Table) -> None:
    assert put(table).transform(b'{"key": 7, "name": "only"}').attributes["record.count"] == "1"
    assert table.column("name") == {7: "only"}


def test_arrow_streams_one_behind_the_other_are_all_read(put: Put, table: Table) -> None:
    one, other = (arrow_bytes(pa.table({"key": pa.array([key], pa.int32())})) for key in (1, 2))
    assert put(table).transform(one + other).set["record.count"] == "2"
    left = put(table).transform(one + b"and more")
    assert (left.relationship, left.set["error_code"]) == ("failure", "records.malformed")
    another = arrow_bytes(pa.table({"key": pa.array([3], pa.int32()), "x": pa.array([1])}))
    assert put(table).transform(one + another).relationship == "failure"
    assert sorted(table.column("key")) == [1, 2]


@pytest.mark.parametrize("texts", [
    pa.array(["a", "x" * 70_000, "c"], pa.string_view()),
    pc.run_end_encode(pa.array(["a", "x" * 70_000, "c"])),
], ids=["views", "runs"])  # fmt: skip
def test_bad_rows_of_any_kind_of_arrow_are_told_apart(put: Put, table: Table, texts: pa.Array) -> None:
    left = put(table).transform(arrow_bytes(pa.table({"key": pa.array([1, 2, 3], pa.int32()), NAME.name: texts})))
    assert report(left) == [(1, "kudu.cell_too_long")]
    assert table.column(NAME.name) == {1: "a", 3: "c"}
