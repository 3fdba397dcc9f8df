"""Which table PutKuduRecord writes: by its name, made as it is declared, altered by others."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.declaration import schema_json
from imagewarehouse.kudu.schema import HashPartition, Range, TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_processor
from tests.conftest import until
from tests.kudu_processor import KEY, NAME, UTC, MakeTable, Put, Table, column, content, report

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- Table Name -----------------------------------------------------------------------------------------------------


def test_table_name_is_evaluated_for_each_flowfile(put: Put, make_table: MakeTable) -> None:
    one, two = make_table(NAME), make_table(NAME)
    host = put("${target}")
    for n, target in enumerate([one, two, one]):
        assert host.transform(content({"key": n}), {"target": target.name}).relationship == "success"
    assert ([r["key"] for r in one.rows], [r["key"] for r in two.rows]) == ([0, 2], [1])


def test_table_name_may_be_one_of_impala(put: Put, writer: KuduWriter) -> None:
    name = f"impala::default.put_{uuid.uuid4().hex}"
    assert writer.create(TableSchema(name, (KEY, NAME), (HashPartition(("key",), 2),), replicas=1))
    try:
        assert put("impala::${db}.${t}").transform(content({"key": 1}), {"db": "default", "t": name[16:]}).set == {
            "record.count": "1"
        }
    finally:
        writer.drop(name)


@pytest.mark.parametrize(
    ("attributes", "code"), [({"target": "no_such_table"}, "kudu.table_missing"), ({}, "configuration")]
)
def test_flowfile_for_no_table_goes_to_failure_as_it_came(put: Put, attributes: dict[str, str], code: str) -> None:
    sent = content({"key": 1})
    left = put("${target}").transform(sent, attributes)
    assert (left.relationship, left.content, left.set["error_code"]) == ("failure", sent, code)


def test_table_that_is_dropped_and_made_again_is_found(put: Put, table: Table) -> None:
    host = put(table)
    assert host.transform(content({"key": 1})).relationship == "success"
    schema = table.writer.schema(table.name)
    table.writer.drop(table.name)
    assert until(lambda: host.transform(content({"key": 2})).relationship == "failure")  # it goes in the background
    table.writer.create(replace(schema, hashes=(HashPartition(("key",), 2),)))
    assert until(lambda: host.transform(content({"key": 3})).relationship == "success")
    table.writer.schema(table.name, refresh=True)
    assert table.column("key") == {3: 3}


def test_table_that_is_made_anew_takes_the_very_next_flowfile(put: Put, table: Table) -> None:
    host = put(table)
    assert host.transform(content({"key": 1})).relationship == "success"
    schema = table.writer.schema(table.name)
    table.writer.drop(table.name)
    table.writer.create(replace(schema, hashes=(HashPartition(("key",), 2),)))
    assert host.transform(content({"key": 2})).relationship == "success"


DECLARED = {
    "columns": [
        {"name": "key", "type": "int64", "key": True, "encoding": "bit_shuffle"},
        {"name": "at", "type": "unixtime_micros", "key": True},
        {"name": "city", "type": "varchar(40)", "encoding": "dict", "compression": "lz4"},
        {"name": "price", "type": "decimal(9,2)", "nullable": False, "default": "0.00"},
    ],
    "hash": [{"columns": ["key"], "buckets": 2}],
    "range": {"column": "at", "unit": "month", "ahead": 3},
    "replicas": 1,
    "comment": "made from its declaration",
}


def test_declared_table_is_made_with_its_partitions_and_ranges_ahead(put: Put, make_table: MakeTable) -> None:
    table = make_table(exists=False)
    host = put(table, {"Table Schema": json.dumps(DECLARED)})
    now = datetime.now(UTC)
    assert host.transform(content({"key": 1, "at": now.isoformat(), "city": "Köln"})).relationship == "success"
    made = schema_json(table.writer.schema(table.name, refresh=True))
    assert made["hash"] == DECLARED["hash"]
    key, _, city, price = made["columns"]
    assert (key["encoding"], city["encoding"], city["compression"]) == ("bit_shuffle", "dict", "lz4")
    assert (city["type"], price["type"], price["nullable"]) == ("varchar(40)", "decimal(9,2)", False)
    ranges = table.writer.ranges(table.name)
    assert len(ranges) == 5  # the month before, this one, and three ahead
    assert ranges[1].lower[0] <= now < ranges[1].upper[0]
    (row,) = table.rows
    assert (row["at"], row["price"]) == (now, Decimal("0.00"))
    far = (now + timedelta(days=400)).isoformat()
    assert report(host.transform(content({"key": 2, "at": far}))) == [(0, "kudu.no_range_partition")]


def test_declared_fixed_ranges_are_made(put: Put, make_table: MakeTable) -> None:
    table = make_table(exists=False)
    declared = {
        "columns": [{"name": "key", "type": "string", "key": True}],
        "range": {"columns": ["key"], "partitions": [{"upper": ["m"]}, {"lower": ["m"], "upper": ["t"]}]},
        "replicas": 1,
    }
    left = put("${t}", {"Table Schema": json.dumps(declared)}).transform(
        content({"key": "a"}, {"key": "m"}, {"key": "z"}), {"t": table.name}
    )
    assert report(left) == [(2, "kudu.no_range_partition")]
    assert table.writer.ranges(table.name) == [Range(None, ("m",)), Range(("m",), ("t",))]


def test_declared_columns_are_added_to_a_table_that_lacks_them(put: Put, table: Table) -> None:
    declared = {"columns": [{"name": "key", "type": "int32", "key": True}, {"name": "extra", "type": "date"}]}
    host = put(table, {"Table Schema": json.dumps(declared)})
    assert host.transform(content({"key": 1, "extra": "2026-01-02"})).relationship == "success"
    assert table.column("extra") == {1: date(2026, 1, 2)}


def test_table_that_contradicts_its_declaration_sends_the_flowfile_to_failure(put: Put, table: Table) -> None:
    declared = {"columns": [{"name": "key", "type": "int64", "key": True}]}
    left = put(table, {"Table Schema": json.dumps(declared)}).transform(content({"key": 1}))
    assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    assert "int32" in left.set["error_detail"]


@pytest.mark.parametrize("unknown", ["refuse", "ignore"])
def test_column_that_somebody_else_adds_is_noticed(put: Put, table: Table, unknown: str) -> None:
    host = put(table, {"Unknown Fields": unknown})
    assert host.transform(content({"key": 1})).relationship == "success"
    table.writer.add_columns(table.name, [column("late", "string")])
    assert host.transform(content({"key": 2, "late": "but there"})).relationship == "success"
    assert table.types["late"] == "string"
    assert table.column("late") == {1: None, 2: "but there"}


def test_column_that_somebody_drops_is_noticed(put: Put, table: Table, kudu: LocalKudu) -> None:
    host = put(table, {"Unknown Fields": "ignore"})
    sent = content({"key": 1, "name": "a", "number": 1})
    assert host.transform(sent).relationship == "success"
    kudu.cli("table", "delete_column", kudu.masters, table.name, "number")
    assert host.transform(sent).relationship == "success"
    assert table.writer.scan(table.name, ["key", "name"]).to_pylist() == [{"key": 1, "name": "a"}]
