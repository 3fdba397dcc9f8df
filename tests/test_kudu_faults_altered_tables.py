"""Others alter, drop and make anew the tables that PutKuduRecord writes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, TableSchema
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_faults
from tests.conftest import Hosted, until
from tests.kudu_faults import (
    DECLARED,
    KEY,
    NUMBER,
    QUICK,
    TEXT,
    WITH_TEXT,
    Host,
    Load,
    Record,
    content,
    fresh,
    make,
    reported,
)
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
cluster = kudu_faults.cluster
open_writer = kudu_faults.open_writer
put = kudu_faults.put
writer = kudu_faults.writer


# --- tables that others alter -----------------------------------------------------------------------------------------


def drop(kudu: LocalKudu, writer: KuduWriter, table: str) -> None:
    """Until its tablets are gone, too: for some milliseconds they still take rows, which then go with them."""
    writer.drop(table)
    ports = json.loads((kudu.folder / "ports.json").read_text())
    server = f"127.0.0.1:{ports['tserver-0'][0]}"
    assert until(lambda: table not in kudu.cli("remote_replica", "list", server))


def test_columns_of_image_records_come_back_when_somebody_drops_them_under_load(
    cluster: LocalKudu, hosted: Host, record: Callable[..., ImageRecord], open_writer: Callable[..., KuduWriter]
) -> None:
    nodes = [hosted("PutKuduRecord", {"Kudu Masters": cluster.masters, **QUICK}) for _ in range(2)]
    load = Load()
    for node in nodes:
        load.images(node, record, threads=4)
    writer = open_writer(cluster.masters)
    try:
        assert load.more("success", 100), load.defects
        writer.add_columns("image_events", [KuduColumn("note", KuduType.STRING, nullable=True)])
        assert load.more("success", 100)
        for name in ("file_name", "image_id"):
            cluster.cli("table", "delete_column", cluster.masters, "image_events", name)
            assert load.more("success", 100)
    finally:
        load.finish()
    assert set(load.lefts) <= {("success", ""), ("retry", "")}  # the latter where nodes alter it at once
    names = {column.name for column in writer.schema("image_events", refresh=True).columns}
    assert {"file_name", "image_id", "note"} <= names
    found = stored(writer, "image_events", "request_id")
    assert [request_id for (request_id,) in found] == sorted(load.sent["image_events"])
    made = record(file_name="after.png")
    assert nodes[0].transform(b"", made.as_attributes()).relationship == "success"
    assert (made.request_id, "after.png") in stored(writer, "image_events", "request_id", "file_name")


def test_column_that_is_dropped_costs_the_rows_that_carry_it(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT, NUMBER)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    kudu.cli("table", "delete_column", kudu.masters, table, "text")
    rows = [{"key": 3, "text": "c"}, {"key": 4, "number": 4}, {"key": 5, "text": "e"}, {"key": 6, "number": 6}]
    assert reported(processor.transform(content(rows))) == [(0, "kudu.unknown_column"), (2, "kudu.unknown_column")]
    writer.schema(table, refresh=True)
    assert stored(writer, table) == [(1, None), (2, None), (4, 4), (6, 6)]


@pytest.mark.parametrize("unknown", ["refuse", "add columns"])
def test_column_that_comes_back_with_another_type_takes_what_fits_it(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted], unknown: str
) -> None:
    table = make(writer, TEXT, NUMBER)
    processor = put(table, Unknown_Fields=unknown)
    assert processor.transform(WITH_TEXT).relationship == "success"
    kudu.cli("table", "delete_column", kudu.masters, table, "text")
    writer.add_columns(table, [KuduColumn("text", KuduType.INT32, nullable=True)])
    rows = [{"key": 3, "text": "c"}, {"key": 4, "number": 4}, {"key": 5, "text": "5"}]
    assert reported(processor.transform(content(rows))) == [(0, "kudu.wrong_value")]
    writer.schema(table, refresh=True)
    assert stored(writer, table) == [(1, None, None), (2, None, None), (4, 4, None), (5, None, 5)]


def test_column_that_is_dropped_is_added_again_where_that_was_asked_for(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT, NUMBER)
    adds, declares = put(table, Unknown_Fields="add columns"), put(table, Table_Schema=DECLARED)
    for processor, key in ((adds, 3), (declares, 4)):
        assert processor.transform(WITH_TEXT).relationship == "success"
        kudu.cli("table", "delete_column", kudu.masters, table, "text")
        left = processor.transform(content([{"key": key, "text": "x"}]))
        assert (left.relationship, left.set["record.count"]) == ("success", "1")
        writer.schema(table, refresh=True)
        assert (key, "x") in stored(writer, table, "key", "text")


def test_required_column_that_is_new_refuses_rows_without_it_one_by_one(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    writer.add_columns(table, [KuduColumn("number", KuduType.INT32, default=7)])
    assert processor.transform(content([{"key": 3, "text": "c"}])).relationship == "success"
    assert stored(writer, table) == [(1, "a", 7), (2, "b", 7), (3, "c", 7)]
    rows = [{"key": 4, "number": 4}, {"key": 5, "number": None}]
    assert reported(put(table).transform(content(rows))) == [(1, "kudu.missing_value")]


@pytest.mark.parametrize(
    ("columns", "rows", "refused", "found"),
    [
        pytest.param(
            (NUMBER,), [{"key": 3, "text": "c"}, {"key": 4}], [(0, "kudu.unknown_column")], [(4, None)], id="columns"
        ),
        pytest.param(
            (KuduColumn("text", KuduType.INT16),),
            [{"key": 3, "text": "c"}, {"key": 4, "text": 4}, {"key": 5}],
            [(0, "kudu.wrong_value"), (2, "kudu.missing_value")],
            [(4, 4)],
            id="types",
        ),
        pytest.param((TEXT,), [{"key": 3, "text": "c"}], [], [(3, "c")], id="nothing"),
    ],
)
def test_table_that_is_made_anew_while_it_is_open_is_taken_as_it_is_then(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted], columns: tuple[KuduColumn, ...], rows: list[Record],
    refused: list[tuple[int, str]], found: list[tuple[Any, ...]],
) -> None:  # fmt: skip
    table = make(writer, TEXT)
    processor = put(table)
    assert processor.transform(WITH_TEXT).relationship == "success"
    drop(kudu, writer, table)
    changed = fresh(*columns)
    assert writer.create(TableSchema(table, changed.columns, changed.hashes, replicas=1))
    left = processor.transform(content(rows))
    assert (reported(left) if refused else left.relationship) == (refused or "success")
    assert stored(writer, table) == found


def test_table_that_is_dropped_is_made_again_where_it_is_declared(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = f"test_{uuid.uuid4().hex}"
    processor = put(table, Table_Schema=DECLARED)
    for _ in range(2):
        assert processor.transform(WITH_TEXT).relationship == "success"
        writer.schema(table, refresh=True)
        assert stored(writer, table) == [(1, "a"), (2, "b")]
        drop(kudu, writer, table)


@pytest.mark.parametrize("source", ["content", "attributes"])
def test_flow_file_for_a_table_that_is_gone_fails_whole_until_there_is_one(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted], source: str
) -> None:
    table = make(writer, TEXT)
    processor = put(table, Record_Source=source)
    attributes = {"key": "1", "text": "a", "uuid": "of no column"}
    assert processor.transform(WITH_TEXT, attributes).relationship == "success"
    drop(kudu, writer, table)
    for _ in range(2):
        left = processor.transform(WITH_TEXT, attributes)
        assert (left.relationship, left.set["error_code"]) == ("failure", "kudu.table_missing")
        assert table in left.set["error_detail"]
        assert left.set["error_detail"].isprintable()
    assert writer.create(TableSchema(table, (KEY, TEXT), (HashPartition(("key",), 2),), replicas=1))
    assert processor.transform(WITH_TEXT, attributes).relationship == "success"


def test_table_that_is_dropped_fails_a_flow_file_whole_though_some_of_its_records_are_bad(
    kudu: LocalKudu, writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, TEXT)
    processor = put(table)
    mixed = content([{"key": 1, "text": "a"}, {"key": "not a number"}])
    assert reported(processor.transform(mixed)) == [(1, "kudu.wrong_value")]
    drop(kudu, writer, table)
    left = processor.transform(mixed)
    assert (left.relationship, left.set["error_code"]) == ("failure", "kudu.table_missing")


def test_declared_table_of_another_shape_is_a_setting_to_change(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    other_key = make(writer, key=(KuduColumn("id", KuduType.STRING, key=True),))
    other_type = make(writer, KuduColumn("text", KuduType.INT32, nullable=True))
    for table, said in ((other_key, "has the key id, expected key"), (other_type, "text of table")):
        left = put(table, Table_Schema=DECLARED).transform(WITH_TEXT)
        assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
        assert said in left.set["error_detail"]
        assert writer.count(table) == 0
