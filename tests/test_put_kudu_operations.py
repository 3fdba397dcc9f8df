"""What PutKuduRecord does with a record: insert, upsert, update, delete, and where a record says which."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests import kudu_processor
from tests.kudu_processor import EXISTS, MISSING, NAME, MakeTable, Put, Table, column, content, report
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- Data RecordPath, Operation RecordPath, Kudu Operation Type -----------------------------------------------------


def test_changes_of_debezium_are_applied_in_their_order(put: Put, table: Table) -> None:
    def change(op: str, before: Any, after: Any) -> dict[str, Any]:
        return {"op": op, "before": before, "after": after, "source": {"table": "t"}, "ts_ms": 1}

    changes = content(
        change("r", None, {"key": 1, "name": "snapshot"}),
        change("c", None, {"key": 2, "name": "made"}),
        change("u", {"key": 1, "name": "snapshot"}, {"key": 1, "name": "changed"}),
        change("d", {"key": 2, "name": "made"}, None),
        change("c", None, {"key": 2, "name": "made again"}),
        change("t", None, {"key": 9}),
    )
    host = put(table, {"Data Path": "/after | /before", "Operation Path": "/op", "Operation": "UPSERT"})
    left = host.transform(changes)
    assert (left.relationship, report(left)) == ("bad rows", [(5, "kudu.unknown_operation")])
    assert left.attributes["record.count"] == "5"
    assert table.column("name") == {1: "changed", 2: "made again"}


@pytest.mark.parametrize("named", ["UPSERT", "upsert", " Upsert ", "UPSERT_IGNORE", "upsert ignore", "insert-ignore"])
def test_record_may_name_its_operation(put: Put, table: Table, named: str) -> None:
    host = put(table, {"Operation Path": "/meta/op", "Data Path": "/row"})
    assert host.transform(content({"meta": {"op": named}, "row": {"key": 1}})).relationship == "success"
    assert list(table.column("key")) == [1]


@pytest.mark.parametrize("meta", [{}, {"op": None}, {"op": "replace"}, {"op": 5}, {"op": ["c"]}], ids=repr)
def test_record_without_a_known_operation_is_refused_alone(put: Put, table: Table, meta: dict[str, Any]) -> None:
    host = put(table, {"Operation Path": "/meta/op", "Data Path": "/row", "Operation": "UPSERT"})
    left = host.transform(content({"meta": meta, "row": {"key": 1}}, {"meta": {"op": "c"}, "row": {"key": 2}}))
    assert report(left) == [(0, "kudu.unknown_operation")]
    assert list(table.column("key")) == [2]


def test_every_part_under_the_data_path_is_a_row(put: Put, table: Table) -> None:
    host = put(table, {"Data Path": "/order/'line items'[*]"})
    left = host.transform(
        content({"order": {"line items": [{"key": 1}, {"key": 2}]}}, {"order": {"line items": [{"key": 3}]}})
    )
    assert left.set == {"record.count": "3"}
    assert list(table.column("key")) == [1, 2, 3]


@pytest.mark.parametrize("record", [{"x": 1}, {"after": None}, {"after": 5}, {"after": [{"key": 1}]}], ids=repr)
def test_record_without_an_object_under_the_data_path_is_refused_alone(
    put: Put, table: Table, record: dict[str, Any]
) -> None:
    left = put(table, {"Data Path": "/after"}).transform(content(record, {"after": {"key": 2}}))
    assert report(left) == [(0, "records.malformed")]
    assert list(table.column("key")) == [2]


def test_arrow_has_paths_too(put: Put, table: Table) -> None:
    arrow = pa.Table.from_pylist([{"op": "c", "after": {"key": 1, "name": "a"}}, {"op": "d", "after": {"key": 2}}])
    host = put(table, {"Data Path": "/after", "Operation Path": "/op"})
    host.transform(content({"op": "c", "after": {"key": 2}}))
    assert host.transform(arrow_bytes(arrow)).set == {"record.count": "2"}
    assert table.column("name") == {1: "a"}


OPERATIONS = [  # with the key there: its code, its name then; without: its code, its name then ("" = no row)
    ("INSERT", EXISTS, "old", None, "new"),
    ("INSERT_IGNORE", None, "old", None, "new"),
    ("UPSERT", None, "new", None, "new"),
    ("UPSERT_IGNORE", None, "new", None, "new"),
    ("UPDATE", None, "new", MISSING, ""),
    ("UPDATE_IGNORE", None, "new", None, ""),
    ("DELETE", None, "", MISSING, ""),
    ("DELETE_IGNORE", None, "", None, ""),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda case: case[0])
def test_operation(put: Put, table: Table, operation: tuple[str, str | None, str, str | None, str]) -> None:
    name, *expected = operation
    put(table).transform(content({"key": 1, "name": "old"}))
    host = put(table, {"Operation": name.lower()})  # PutKudu took it in any case
    for key, code, text in ((1, *expected[:2]), (2, *expected[2:])):
        left = host.transform(content({"key": key, "name": "new"}))
        assert left.relationship == ("bad rows" if code else "success")
        assert left.attributes["record.count"] == ("0" if code else "1")
        assert code is None or report(left) == [(0, code)]
        assert table.column("name").get(key, "") == text


def test_upsert_ignore_passes_over_what_an_immutable_column_does_not_take(put: Put, make_table: MakeTable) -> None:
    table = make_table(column("made", "string", immutable=True), NAME)
    put(table).transform(content({"key": 1, "made": "first", "name": "a"}))
    again = content({"key": 1, "made": "second", "name": "b"})
    assert report(put(table, {"Operation": "UPSERT"}).transform(again)) == [(0, "kudu.immutable_column")]
    assert put(table, {"Operation": "UPSERT_IGNORE"}).transform(again).relationship == "success"
    assert table.rows == [{"key": 1, "made": "first", "name": "b"}]


def test_operation_is_evaluated_for_each_flowfile(put: Put, table: Table) -> None:
    host = put(table, {"Operation": "${op}"})
    for op, name in (("insert", "a"), ("UPDATE", "b"), ("insert_ignore", "c")):
        assert host.transform(content({"key": 1, "name": name}), {"op": op}).relationship == "success"
    assert table.column("name") == {1: "b"}
    assert host.transform(content({"key": 1}), {"op": "DELETE"}).relationship == "success"
    assert table.rows == []
    left = host.transform(content({"key": 1}), {"op": "PUT"})
    assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    assert table.rows == []


@pytest.mark.parametrize("attributes", [{}, {"op": ""}, {"op": " "}])
def test_operation_that_is_blank_for_a_flowfile_is_never_guessed(
    put: Put, table: Table, attributes: dict[str, str]
) -> None:
    left = put(table, {"Operation": "${op}"}).transform(content({"key": 1}), attributes)
    assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    assert table.rows == []


def test_delete_needs_the_key_and_passes_over_all_else(put: Put, table: Table) -> None:
    put(table).transform(content({"key": 1}, {"key": 2}, {"key": 3}))
    left = put(table, {"Operation": "DELETE"}).transform(
        content({"key": 1}, {"key": 2, "number": "no number", "unknown": 1}, {"name": "no key"})
    )
    assert report(left) == [(2, "kudu.missing_value")]
    assert list(table.column("key")) == [3]
