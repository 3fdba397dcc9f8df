"""Which columns PutKuduRecord fills, from which fields or attributes, and those it adds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from imagewarehouse.errors import KuduRefused
from imagewarehouse.kudu.schema import KuduColumn
from tests import kudu_processor
from tests.conftest import until
from tests.kudu_processor import DRIFT, EXISTS, UTC, MakeTable, Put, Table, column, content, report, writes_of
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- Lowercase Field Names, Handle Schema Drift, Ignore NULL, with expressions --------------------------------------


def test_field_names_are_lower_cased_where_the_flowfile_says_so(put: Put, table: Table) -> None:
    host = put(table, {"Lowercase Field Names": "${lower}"})
    sent = content({"KEY": 1, "Name": "a"})
    assert report(host.transform(sent, {"lower": "false"})) == [(0, "kudu.unknown_column")]
    assert host.transform(sent).relationship == "bad rows"  # no attribute is false, as it was
    assert host.transform(sent, {"lower": "TRUE"}).relationship == "success"
    assert table.column("name") == {1: "a"}


def test_two_fields_that_become_one_column_are_refused(put: Put, table: Table) -> None:
    left = put(table, {"Lowercase Field Names": "true"}).transform(content({"key": 1, "Name": "a", "NAME": "b"}))
    assert report(left) == [(0, "records.malformed")]
    assert table.rows == []


@pytest.mark.parametrize(("ignored", "expected"), [("true", "kept"), ("false", None), (None, None)])
def test_null_leaves_or_clears_a_column_as_the_flowfile_says(
    put: Put, table: Table, ignored: str | None, expected: str | None
) -> None:
    host = put(table, {"Ignore Nulls": "${ignore}"})
    host.transform(content({"key": 1, "name": "kept", "number": 1}))
    left = host.transform(content({"key": 1, "name": None, "number": 2}), {"ignore": ignored} if ignored else {})
    assert left.relationship == "success"
    assert table.rows == [{"key": 1, "name": expected, "number": 2}]


def test_field_that_is_not_there_leaves_its_column_as_it_is(put: Put, table: Table) -> None:
    host = put(table)
    host.transform(content({"key": 1, "name": "kept", "number": 1}))
    assert host.transform(content({"key": 1, "number": 2})).relationship == "success"
    assert table.rows == [{"key": 1, "name": "kept", "number": 2}]


@pytest.mark.parametrize("ignore", ["true", "false"])
@pytest.mark.parametrize("record", [{"key": None, "must": "a"}, {"key": 1, "must": None}, {"key": 1}, {"must": "a"}])
def test_null_where_a_value_has_to_be_costs_its_record(
    put: Put, make_table: MakeTable, record: dict[str, Any], ignore: str
) -> None:
    table = make_table(column("must", "string", nullable=False))
    left = put(table, {"Ignore Nulls": ignore}).transform(content(record, {"key": 2, "must": "b"}))
    assert report(left) == [(0, "kudu.missing_value")]
    assert table.column("must") == {2: "b"}


def test_column_default_is_used_where_the_field_is_missing(put: Put, make_table: MakeTable) -> None:
    table = make_table(column("level", "int16", nullable=False, default=3))
    host = put(table, {"Ignore Nulls": "true"})
    assert host.transform(content({"key": 1}, {"key": 2, "level": None}, {"key": 3, "level": 9})).set == {
        "record.count": "3"
    }
    assert table.column("level") == {1: 3, 2: 3, 3: 9}


def test_columns_are_added_or_fields_are_dropped_as_the_flowfile_says(put: Put, table: Table) -> None:
    host = put(table, DRIFT)
    sent = content({"key": 1, "colour": "red"})
    assert host.transform(sent, {"drift": "false"}).relationship == "success"
    assert "colour" not in table.types
    assert host.transform(sent, {"drift": "true"}).relationship == "success"
    assert table.types["colour"] == "string"
    assert table.column("colour") == {1: "red"}


def test_new_columns_suit_every_record_of_the_flowfile(put: Put, table: Table) -> None:
    sent = content(
        {"key": 1, "a": 1, "b": None, "c": True, "d": 1, "nothing": None},
        {"key": 2, "a": 1.5, "b": 2**40, "c": "yes", "e": {"x": [1]}, "f": "new in the second"},
    )
    assert put(table, {"Unknown Fields": "add columns"}).transform(sent).set == {"record.count": "2"}
    added = {"a": "double", "b": "int64", "c": "string", "d": "int64", "e": "string", "f": "string"}
    assert table.types == {"key": "int32", "name": "string", "number": "int64", **added}
    one, two = table.rows
    assert (one["a"], one["c"], two["b"], two["e"], two["f"]) == (1.0, "true", 2**40, '{"x":[1]}', "new in the second")


def test_new_columns_of_arrow_have_arrows_types(put: Put, table: Table) -> None:
    moment = datetime(2026, 5, 6, 7, 8, 9, 123456, UTC)
    fields = {
        "bool": (pa.bool_(), True), "int8": (pa.int8(), 1), "int16": (pa.int16(), 2), "int32": (pa.int32(), 3),
        "int64": (pa.int64(), 4), "float": (pa.float32(), 0.5), "double": (pa.float64(), 0.1), "string": (pa.string(), "s"),
        "binary": (pa.binary(), b"\xff"), "unixtime_micros": (pa.timestamp("us", "UTC"), moment),
        "date": (pa.date32(), date(2026, 5, 6)), "decimal(9,2)": (pa.decimal128(9, 2), Decimal("1.25")),
    }  # fmt: skip
    arrow = pa.table({"key": [1]} | {f"c_{n}": pa.array([v], t) for n, (t, v) in fields.items()})
    assert put(table, {"Unknown Fields": "add columns"}).transform(arrow_bytes(arrow)).relationship == "success"
    assert {f"c_{n}": n for n in fields}.items() <= table.types.items()
    (row,) = table.rows
    assert {n: row[f"c_{n}"] for n in fields} == {n: value for n, (_, value) in fields.items()}


def test_new_columns_have_the_lower_cased_name(put: Put, table: Table) -> None:
    properties = {"Unknown Fields": "add columns", "Lowercase Field Names": "true"}
    assert put(table, properties).transform(content({"Key": 1, "BirthDay": "x"})).relationship == "success"
    assert table.column("birthday") == {1: "x"}


@pytest.mark.parametrize("name", ["", "ü" * 129, "x" * 257, "a\nb", "\ud800"], ids=ascii)
def test_field_that_no_column_can_be_named_after_costs_its_record(put: Put, table: Table, name: str) -> None:
    left = put(table, {"Unknown Fields": "add columns"}).transform(content({"key": 1, name: "x"}, {"key": 2, "new": 1}))
    assert report(left) == [(0, "kudu.unknown_column")]
    assert table.column("new") == {2: 1}


def test_columns_that_kudu_does_not_add_cost_their_own_flowfile_only(
    put: Put, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = put(table, {"Unknown Fields": "${unknown}"})
    opened = host.processor.rows.get(host.host.context)
    released = threading.Event()

    def held(plain: Any, table: str, batches: Any) -> Any:
        released.wait(10)
        return plain(table, batches)

    def refuse(table: str, columns: Sequence[KuduColumn]) -> None:
        raise KuduRefused("number of columns 301 is greater than the permitted maximum 300")

    writes_of(host, monkeypatch, held)
    monkeypatch.setattr(opened.tables.writer, "add_columns", refuse)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(host.transform, content({"key": 1}))
        assert until(lambda: opened.puts._busy)
        both = [
            pool.submit(host.transform, content({"key": 2, "c301": 1}), {"unknown": "add columns"}),
            pool.submit(host.transform, content({"key": 3, "name": "beside it"}), {"unknown": "refuse"}),
        ]
        assert until(lambda: len(opened.puts._waiting) == 2)
        released.set()
        assert [each.result().relationship for each in (first, *both)] == ["success", "bad rows", "success"]


def test_two_processors_that_add_the_same_column_both_succeed(put: Put, table: Table) -> None:
    hosts = [put(table, {"Unknown Fields": "add columns"}) for _ in range(3)]
    for host in hosts:
        host.transform(content({"key": 0}))  # each has the table as it was
    gate = threading.Barrier(len(hosts))

    def send(n: int) -> str:
        gate.wait()
        left: str = hosts[n].transform(content({"key": n, "fresh": f"of {n}"})).relationship
        return left

    with ThreadPoolExecutor(len(hosts)) as pool:
        assert list(pool.map(send, range(len(hosts)))) == ["success"] * len(hosts)
    assert table.column("fresh") == {n: f"of {n}" for n in range(len(hosts))}


def test_field_mapping_renames_and_drops(put: Put, table: Table) -> None:
    host = put(table, {"Field Mapping": '{"id": "key", "titel": "name", "debug": ""}'})
    assert host.transform(content({"id": 1, "titel": "a", "debug": {"x": 1}})).relationship == "success"
    assert host.transform(arrow_bytes(pa.table({"id": [2], "titel": ["b"], "debug": [1]}))).relationship == "success"
    assert table.column("name") == {1: "a", 2: "b"}


def test_attributes_that_are_columns_make_one_row(put: Put, table: Table) -> None:
    host = put(table, {"Record Source": "attributes", "Field Mapping": '{"db.id": "key"}', "Operation": "${op}"})
    attributes = {"db.id": "5", "name": "a", "number": "-7", "filename": "f.bin", "op": "insert"}
    left = host.transform(b"\x00 any content", attributes)
    assert (left.relationship, left.content, left.set) == ("success", b"\x00 any content", {"record.count": "1"})
    assert table.rows == [{"key": 5, "name": "a", "number": -7}]
    again = host.transform(b"", attributes)
    assert (again.relationship, again.set["error_code"]) == ("failure", EXISTS)
    wrong = host.transform(b"", {**attributes, "number": "seven", "op": "upsert"})
    assert (wrong.relationship, wrong.set["error_code"]) == ("failure", "kudu.wrong_value")
    assert host.transform(b"", {"db.id": "5", "op": "delete"}).relationship == "success"
    assert table.rows == []
