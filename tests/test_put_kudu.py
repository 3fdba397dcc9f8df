"""PutKuduRecord in place of NiFi 1's PutKudu, against a real Kudu: every property, operation, relationship and type."""

from __future__ import annotations

import ast
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from imagewarehouse.errors import ConfigurationError, KuduRefused, KuduUnavailable
from imagewarehouse.flows.definition import Component
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.kudu import batch
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import FLUSH_MODES, KuduSettings, KuduWriter, RowFailure
from imagewarehouse.kudu.declaration import parse_type, schema_json
from imagewarehouse.kudu.records import content as records
from imagewarehouse.kudu.records import convert, mapping
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema
from imagewarehouse.metadata import to_text
from imagewarehouse.nifi import adapter
from imagewarehouse.nifi import kudu_options as options
from imagewarehouse.nifi.processors import processor_class
from imagewarehouse.resources import REPOSITORY
from imagewarehouse.rows.kudu import image_events
from imagewarehouse.standalone.local_kudu import LocalKudu
from imagewarehouse.standalone.python_host import PythonProcessor
from tests.conftest import Hosted, until
from tests.kudu_tables import arrow_bytes

UTC = timezone.utc
EXISTS, MISSING = "kudu.already_present", "kudu.not_found"


def column(name: str, type_text: str, **more: Any) -> KuduColumn:
    kind, precision, scale, length = parse_type(type_text)
    return KuduColumn(
        name, kind, **{"nullable": "key" not in more, "precision": precision, "scale": scale, "length": length, **more}
    )


KEY = column("key", "int32", key=True)
NAME = column("name", "string")
NUMBER = column("number", "int64")


@pytest.fixture(scope="module")
def writer(kudu: LocalKudu) -> Iterator[KuduWriter]:
    """Another client of the same cluster: makes tables ahead of the processor and reads what it left."""
    opened = connect(KuduSettings(kudu.masters))
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    writer: KuduWriter

    @property
    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.writer.scan(self.name).to_pylist()
        return sorted(found, key=lambda row: repr(row["key"]))

    def column(self, name: str) -> dict[Any, Any]:
        return {row["key"]: row[name] for row in self.rows}

    @property
    def types(self) -> dict[str, str]:
        return {c.name: c.type_text for c in self.writer.schema(self.name, refresh=True).columns}


MakeTable = Callable[..., Table]


@pytest.fixture
def make_table(writer: KuduWriter) -> Iterator[MakeTable]:
    made: list[Table] = []

    def make(*columns: KuduColumn, key: KuduColumn = KEY, exists: bool = True) -> Table:
        table = Table(f"put_{uuid.uuid4().hex}", writer)
        made.append(table)
        if exists:
            hashes = (HashPartition((key.name,), 2),)
            assert writer.create(TableSchema(table.name, (key, *columns), hashes, replicas=1))
        return table

    yield make
    there = set(writer.tables())
    for table in made:
        if table.name in there:
            writer.drop(table.name)


@pytest.fixture
def table(make_table: MakeTable) -> Table:
    return make_table(NAME, NUMBER)


Put = Callable[..., Any]


@pytest.fixture
def put(hosted: Callable[..., Any], kudu: LocalKudu) -> Put:
    """The processor on its content, with these other properties."""

    def build(table: Table | str, properties: Mapping[str, str | None] | None = None) -> Any:
        name = table if isinstance(table, str) else table.name
        given = {
            "Kudu Masters": kudu.masters,
            "Record Source": "content",
            "Table Name": name,
            "Retry Back-off": "50 ms",
        }
        return hosted("PutKuduRecord", {**given, **(properties or {})})

    return build


def content(*records: Any) -> bytes:
    return json.dumps(records).encode()


def report(left: Any) -> list[tuple[int, str]]:
    return [(line["row"], line["error_code"]) for line in map(json.loads, left.content.splitlines())]


def writes_of(host: Any, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any] | None = None) -> list[int]:
    """The rows of each write that the processor asks its client for. `change`: stands before the client."""
    opened = host.processor.rows.get(host.host.context).tables.writer
    plain = opened.write
    seen: list[int] = []

    def write(table: str, batches: Sequence[Any]) -> Any:
        seen.append(sum(map(len, batches)))
        return plain(table, batches) if change is None else change(plain, table, batches)

    monkeypatch.setattr(opened, "write", write)
    return seen


# --- Kudu Masters, timeouts, workers, Kerberos ----------------------------------------------------------------------


def test_masters_are_addresses_with_or_without_a_port(hosted: Callable[..., Any]) -> None:
    masters = {"Kudu Masters": "a.example:7051, b.example ,[::1]:7151", "Record Source": "content"}
    settings = options.kudu_settings(hosted("PutKuduRecord", masters).host.context)
    assert settings.addresses == ("a.example:7051", "b.example:7051", "[::1]:7151")


def test_masters_that_do_not_answer_send_the_flowfile_to_retry_in_time(put: Put) -> None:
    away = put("any", {"Kudu Masters": "127.0.0.1:1", "Admin Timeout": "400 ms", "Retries": "0"})
    start = time.monotonic()
    sent = content({"key": 1})
    left = away.transform(sent, {"a": "b"})
    assert (left.relationship, left.content, left.attributes) == ("retry", sent, {"a": "b"})
    assert time.monotonic() - start < 10


def test_rows_wait_for_a_tablet_server_as_long_as_the_operation_timeout(
    put: Put, table: Table, kudu: LocalKudu
) -> None:
    host = put(table, {"Operation Timeout": "700 ms", "Retries": "0"})
    assert host.transform(content({"key": 1, "name": "before"})).relationship == "success"
    sent = content({"key": 1, "name": "after"}, {"key": 2})
    kudu.pause("tserver-0")
    try:
        start = time.monotonic()
        left = host.transform(sent)
        waited = time.monotonic() - start
    finally:
        kudu.resume("tserver-0")
    assert (left.relationship, left.content) == ("retry", sent)
    assert 0.5 < waited < 10
    assert host.transform(left.content).set == {"record.count": "2"}
    assert table.column("name") == {1: "after", 2: None}


def test_timeouts_and_flush_settings_reach_the_client(put: Put, table: Table) -> None:
    chosen = {"Operation Timeout": "7 sec", "Admin Timeout": "9 sec", "Batch Size": "77", "Client Worker Count": "3",
              "Flush Mode": "MANUAL_FLUSH", "Kudu SASL Protocol Name": "kudu-prod", "Encryption": "required"}  # fmt: skip
    host = put(table, chosen)
    assert host.transform(content({"key": 1})).relationship == "success"
    opened = host.processor.rows.get(host.host.context).tables.writer
    settings = opened.settings
    assert (settings.operation_timeout_s, settings.admin_timeout_s, settings.batch_rows) == (7, 9, 77)
    assert (settings.workers, settings.flush_mode, settings.sasl_protocol_name) == (3, "MANUAL_FLUSH", "kudu-prod")
    java = opened._async
    assert (java.getDefaultOperationTimeoutMs(), java.getDefaultAdminOperationTimeoutMs()) == (7000, 9000)


def test_cluster_that_authenticates_nobody_is_refused_where_that_is_required(put: Put, table: Table) -> None:
    left = put(table, {"Require Authentication": "true", "Retries": "0", "Admin Timeout": "2 sec"}).transform(
        content({"key": 1})
    )
    assert left.relationship in ("retry", "failure")
    assert table.rows == []


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


# --- success, failure, and what Failure Strategy chose --------------------------------------------------------------


def test_success_keeps_the_content_and_counts_the_records(put: Put, table: Table) -> None:
    sent = content({"key": 1, "name": "a"}, {"key": 2, "name": "b"})
    left = put(table).transform(sent, {"filename": "x"})
    assert (left.relationship, left.content) == ("success", sent)
    assert left.attributes == {"filename": "x", "record.count": "2"}
    assert table.column("name") == {1: "a", 2: "b"}


@pytest.mark.parametrize(
    "sent", [b"", b" \n", b"[]", arrow_bytes(pa.table({"key": pa.array([], pa.int32())}))], ids=repr
)
def test_content_without_records_is_a_success_of_none(put: Put, table: Table, sent: bytes) -> None:
    left = put(table).transform(sent)
    assert (left.relationship, left.attributes["record.count"]) == ("success", "0")


@pytest.mark.parametrize(
    "sent",
    [b"[{", b"no JSON", b'[{"key": 1}, {"key"', b"\xff\xfe{\0", b"ARROW1\0\0rest", b"\xff\xff\xff\xff\x00"],
    ids=repr,
)
def test_content_that_cannot_be_read_goes_to_failure_and_nothing_is_written(
    put: Put, table: Table, sent: bytes
) -> None:
    left = put(table).transform(sent)
    assert (left.relationship, left.content, left.set["error_code"]) == ("failure", sent, "records.malformed")
    assert table.rows == []


def test_bad_records_leave_alone_with_reasons_and_the_others_are_committed(put: Put, table: Table) -> None:
    sent = content(
        {"key": 1, "name": "good"}, {"key": 1.5}, {"name": "no key"}, {"key": 2, "colour": "red"}, {"key": 3}
    )
    left = put(table, {"Operation": "INSERT"}).transform(sent)
    assert (left.relationship, left.attributes["record.count"], left.attributes["bad.count"]) == ("bad rows", "2", "3")
    assert (left.attributes["mime.type"], left.attributes["error_code"]) == ("application/x-ndjson", "kudu.wrong_value")
    assert report(left) == [(1, "kudu.wrong_value"), (2, "kudu.missing_value"), (3, "kudu.unknown_column")]
    assert json.loads(left.content.splitlines()[2]) == {
        "row": 3, "error_code": "kudu.unknown_column", "error_detail": 'no column for field "colour"',
        "record": {"key": 2, "colour": "red"},
    }  # fmt: skip
    assert table.column("name") == {1: "good", 3: None}


@pytest.mark.parametrize("form", ["json", "arrow"])
def test_numbers_of_bad_rows_come_back_as_they_were(put: Put, table: Table, form: str) -> None:
    price, amounts = "123456789012345678901234567.50", '{"net":1.50,"each":[0.10,2.00]}'
    text = f'{{"key":1,"number":1.50,"price":{price},"amounts":{amounts}}}'
    sent = text.encode()
    if form == "arrow":
        record = json.loads(text, parse_float=Decimal)
        cents = pa.decimal128(38, 2)
        amounts_type = pa.struct([("net", cents), ("each", pa.list_(cents))])
        types = [("key", pa.int64()), ("number", cents), ("price", cents), ("amounts", amounts_type)]
        sent = arrow_bytes(pa.Table.from_pylist([record], pa.schema(types)))
    left = put(table).transform(sent)
    assert left.relationship == "bad rows"
    shown = json.loads(left.content, parse_float=Decimal)["record"]
    assert str(shown) == str(json.loads(text, parse_float=Decimal))


def test_objects_in_text_columns_keep_the_digits_of_their_numbers(put: Put, table: Table) -> None:
    sent = b'{"key":1,"name":{"net":1.50,"each":[0.10,1E+3]}}'
    assert put(table).transform(sent).relationship == "success"
    assert table.column("name") == {1: '{"net":1.50,"each":[0.10,1E+3]}'}


def test_records_of_a_report_can_be_sent_again_once_they_are_mended(put: Put, table: Table) -> None:
    host = put(table)
    left = host.transform(content({"key": 1}, {"key": 2, "number": "many"}))
    (line,) = map(json.loads, left.content.splitlines())
    assert host.transform(content({**line["record"], "number": 5})).relationship == "success"
    assert table.column("number") == {1: None, 2: 5}
    again = put(table, {"Data Path": "/record"}).transform(left.content)  # a report is itself a content
    assert report(again) == [(0, "kudu.wrong_value")]


def test_rows_that_may_pass_later_are_tried_again_in_place(
    put: Put, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter([True, True, False])

    def away(plain: Any, table: str, batches: Any) -> Any:
        if next(fails):
            raise KuduUnavailable("election")
        return plain(table, batches)

    host = put(table, {"Retries": "2", "Retry Back-off": "10 ms"})
    seen = writes_of(host, monkeypatch, away)
    assert host.transform(content({"key": 1})).relationship == "success"
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("kind", ["json", "arrow"])
def test_retry_takes_along_only_what_is_not_committed(
    put: Put, table: Table, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def half(plain: Any, table: str, batches: Any) -> Any:
        assert not plain(table, [batch.take([0, 2]) for batch in batches])
        return [RowFailure(0, 1, KuduUnavailable("tablet 2 has no leader"))]

    records = [{"key": n, "name": f"n{n}"} for n in range(3)]
    host = put(table, {"Operation": "INSERT", "Retries": "0"})
    writes_of(host, monkeypatch, half)
    left = host.transform(content(*records) if kind == "json" else arrow_bytes(pa.Table.from_pylist(records)))
    assert left.relationship == "retry"
    assert [row["key"] for row in table.rows] == [0, 2]
    again = put(table, {"Operation": "INSERT"}).transform(left.content, left.attributes)
    assert (again.relationship, again.attributes["record.count"]) == ("success", "1")
    assert table.column("name") == {0: "n0", 1: "n1", 2: "n2"}


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


DRIFT = {"Unknown Fields": "${drift:equals('true'):ifElse('add columns', 'ignore')}"}


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


# --- types ----------------------------------------------------------------------------------------------------------

MOMENT = datetime(2026, 12, 31, 23, 59, 59, 123456, UTC)
SECOND = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
MILLIS = int(SECOND.timestamp()) * 1000
# the column, what comes as JSON, what comes as Arrow, what is in the table then
TYPES: list[tuple[str, list[Any], pa.Array, list[Any]]] = [
    ("bool", [True, "FALSE"], pa.array([True, False]), [True, False]),
    ("int8", [-128, "127"], pa.array([-128, 127], pa.int64()), [-128, 127]),
    ("int16", [-32768, 32767.0], pa.array([-32768, 32767], pa.int16()), [-32768, 32767]),
    ("int32", [-(2**31), "2147483647"], pa.array([-(2**31), 2**31 - 1], pa.int32()), [-(2**31), 2**31 - 1]),
    ("int64", [-(2**63), str(2**63 - 1)], pa.array([-(2**63), 2**63 - 1]), [-(2**63), 2**63 - 1]),
    ("float", [0.5, "-1e3"], pa.array([0.5, -1000], pa.float32()), [0.5, -1000.0]),
    ("double", [0.1, 7], pa.array([0.1, 7.0]), [0.1, 7.0]),
    ("string", ["é€😀\x00", {"a": [1, None]}], pa.array(["é€😀\x00", '{"a":[1,null]}']), ["é€😀\x00", '{"a":[1,null]}']),
    ("varchar(4)", ["😀é€", 12], pa.array(["😀é€", "12"]), ["😀é€", "12"]),
    ("binary", ["ä", [0, 255, -1]], pa.array([b"\xc3\xa4", b"\x00\xff\xff"]), [b"\xc3\xa4", b"\x00\xff\xff"]),
    ("unixtime_micros", ["2026-12-31 23:59:59.123456", MILLIS], pa.array([MOMENT, SECOND]), [MOMENT, SECOND]),
    ("date", ["2026-12-31", -1], pa.array([date(2026, 12, 31), date(1969, 12, 31)]),
     [date(2026, 12, 31), date(1969, 12, 31)]),
    ("decimal(38,10)", [1.1, "-1234567890123456789012345678.0000000001"],
     pa.array([Decimal("1.1"), Decimal("-1234567890123456789012345678.0000000001")], pa.decimal128(38, 10)),
     [Decimal("1.1000000000"), Decimal("-1234567890123456789012345678.0000000001")]),
]  # fmt: skip


@pytest.fixture(scope="module")
def every_type(writer: KuduWriter) -> Iterator[Table]:
    """A table with a column of each type, named after it."""
    name = f"put_{uuid.uuid4().hex}"
    columns = [column(text, text) for text, *_ in TYPES]
    key = column("key", "string", key=True)
    assert writer.create(TableSchema(name, (key, *columns), (HashPartition(("key",), 2),), replicas=1))
    yield Table(name, writer)
    writer.drop(name)


@pytest.fixture(scope="module")
def put_types(every_type: Table, kudu: LocalKudu, component: Callable[..., Component]) -> Iterator[Hosted]:
    """One processor for all of them, with the properties as they are on a fresh one."""
    given = {"Kudu Masters": kudu.masters, "Record Source": "content", "Table Name": every_type.name}
    host = PythonProcessor(component("PutKuduRecord", properties=given), {})
    yield Hosted(host)
    host.stop()


@pytest.mark.parametrize("source", ["json", "arrow"])
@pytest.mark.parametrize("case", TYPES, ids=lambda case: case[0])
def test_type_from_json_and_from_arrow(put_types: Hosted, every_type: Table, case: Any, source: str) -> None:
    name, plain, arrow, expected = case
    keys = [f"{source}-{name}-{n}" for n in range(3)]
    if source == "json":
        sent = content(*({"key": k, name: v} for k, v in zip(keys, [*plain, None], strict=True)))
    else:
        sent = arrow_bytes(pa.table({"key": keys, name: pa.concat_arrays([arrow, pa.nulls(1, arrow.type)])}))
    assert put_types.transform(sent).set == {"record.count": "3"}
    found = every_type.column(name)
    assert [found[k] for k in keys] == [*expected, None]


@pytest.mark.parametrize("kind", [kind for kind in KuduType if kind.value not in ("bool", "float", "double")])
def test_every_type_that_can_be_a_key_is_one(put: Put, make_table: MakeTable, kind: KuduType) -> None:
    text, plain, _, expected = next(case for case in TYPES if case[0].partition("(")[0] == kind.value)
    table = make_table(NAME, key=column("key", text, key=True))
    assert put(table).transform(content({"key": plain[0]}, {"key": plain[1], "name": "b"})).set == {"record.count": "2"}
    assert table.column("name") == dict(zip(expected, [None, "b"], strict=True))
    assert put(table, {"Operation": "DELETE"}).transform(content({"key": plain[1]})).relationship == "success"
    assert table.column("name") == {expected[0]: None}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        pytest.param("bool", 1, "kudu.wrong_value", id="bool-of-a-number"),
        pytest.param("int8", 128, "kudu.wrong_value", id="int8-that-PutKudu-wrapped"),
        pytest.param("int32", 5.7, "kudu.wrong_value", id="int32-that-PutKudu-cut"),
        pytest.param("int64", "5 apples", "kudu.wrong_value", id="int64-of-words"),
        pytest.param("float", 1e39, "kudu.wrong_value", id="float-that-is-none"),
        pytest.param("string", "x" * 65537, "kudu.cell_too_long", id="string-too-long"),
        pytest.param("varchar(4)", "abcde", "kudu.cell_too_long", id="varchar-that-the-client-cuts"),
        pytest.param("varchar(4)", "😀😀😀", "kudu.cell_too_long", id="varchar-of-emoji-that-the-client-cuts"),
        pytest.param("binary", [256], "kudu.wrong_value", id="list-that-holds-no-bytes"),
        pytest.param("binary", [1.0], "kudu.wrong_value", id="list-that-holds-fractions"),
        pytest.param("unixtime_micros", "31.12.2026", "kudu.wrong_value", id="timestamp-of-another-form"),
        pytest.param("unixtime_micros", "2026-12-31T23:59:59.1234567Z", "kudu.wrong_value", id="nanoseconds"),
        pytest.param("date", MILLIS, "kudu.wrong_value", id="date-in-milliseconds"),
        pytest.param("date", "2026-02-30", "kudu.wrong_value", id="no-such-date"),
        pytest.param("decimal(38,10)", "0.00000000001", "kudu.wrong_value", id="decimal-with-more-digits"),
    ],
)
def test_value_that_does_not_fit_costs_its_record(
    put_types: Hosted, every_type: Table, name: str, value: Any, code: str
) -> None:
    keys = [f"bad-{uuid.uuid4().hex}-{n}" for n in range(2)]
    left = put_types.transform(content({"key": keys[0], name: value}, {"key": keys[1], name: None}))
    assert (left.relationship, report(left)) == ("bad rows", [(0, code)])
    assert [k in every_type.column(name) for k in keys] == [False, True]


def test_decimals_of_json_keep_every_digit(put_types: Hosted, every_type: Table) -> None:
    sent = b'{"key": "digits", "decimal(38,10)": 1234567890123456789.0123456789}'
    assert put_types.transform(sent).relationship == "success"
    assert every_type.column("decimal(38,10)")["digits"] == Decimal("1234567890123456789.0123456789")


@pytest.mark.parametrize(("unit", "number"), [("seconds", 1), ("millis", 1000), ("micros", 10**6)])
def test_integer_timestamps_count_what_is_set(put: Put, every_type: Table, unit: str, number: int) -> None:
    host = put(every_type, {"Integer Timestamps": unit})
    key = f"unit-{unit}"
    assert host.transform(content({"key": key, "unixtime_micros": number * MILLIS // 1000})).relationship == "success"
    assert every_type.column("unixtime_micros")[key] == SECOND


@pytest.mark.parametrize(
    "text",
    ["2026-12-31T22:59:59-01:00", "2026-12-31 23:59:59", "2026-12-31T23:59:59Z", "2027-01-01T00:59:59.000+01:00"],
)
def test_timestamp_text_is_iso_and_utc_without_an_offset(put_types: Hosted, every_type: Table, text: str) -> None:
    assert put_types.transform(content({"key": text, "unixtime_micros": text})).relationship == "success"
    assert every_type.column("unixtime_micros")[text] == SECOND


@pytest.mark.parametrize(("mode", "text"), [("utf-8", "\x00ÿ"), ("base64", "AMO/"), ("hex", "00c3bF")])
def test_text_in_binary_columns_is_read_as_set(put: Put, every_type: Table, mode: str, text: str) -> None:
    host = put(every_type, {"Text in Binary Columns": mode})
    left = host.transform(content({"key": mode, "binary": text}, {"key": "bad", "binary": "\ud800"}))
    assert report(left) == [(1, "kudu.wrong_value")]
    assert every_type.column("binary")[mode] == b"\x00\xc3\xbf"


# --- beyond PutKudu -------------------------------------------------------------------------------------------------


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


def test_integer_timestamps_are_for_attributes_too(put: Put, every_type: Table) -> None:
    host = put(every_type, {"Record Source": "attributes", "Integer Timestamps": "seconds"})
    left = host.transform(b"", {"key": "of attributes", "unixtime_micros": str(MILLIS // 1000)})
    assert left.relationship == "success"
    assert every_type.column("unixtime_micros")["of attributes"] == SECOND


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


# --- image records --------------------------------------------------------------------------------------------------


@pytest.fixture
def images(hosted: Callable[..., Any], kudu: LocalKudu, make_table: MakeTable) -> tuple[Any, Table]:
    table = make_table(exists=False)
    return hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, "Table Name": table.name}), table


def image_attributes() -> dict[str, str]:
    request_id = new_request_id(adapter.now())
    return {"request_id": request_id, "event_time": to_text(event_time(request_id)), "status": "classified",
            "predicted_class": "frog", "confidence": "0.9", "top_k": '[{"class": "frog", "probability": 0.9}]',
            "http.context.identifier": "6f1c0d0e-0000-4000-8000-000000000003"}  # fmt: skip


def test_image_record_is_committed_answered_and_one_row_however_often_it_comes(images: tuple[Any, Table]) -> None:
    host, table = images
    sent = image_attributes()
    for _ in range(2):
        left = host.transform(b"the image", sent)
        assert (left.relationship, left.set["http.response.status"]) == ("success", "200")
        assert left.set["mime.type"] == "application/json"
        answer = json.loads(left.content)
        assert (answer["request_id"], answer["predicted_class"]) == (sent["request_id"], "frog")
    (row,) = table.writer.scan(table.name).to_pylist()
    assert (row["request_id"], row["event_time"]) == (sent["request_id"], event_time(sent["request_id"]))
    assert (row["predicted_class"], row["confidence"]) == ("frog", pytest.approx(0.9))
    assert row["node"]
    assert len(table.writer.ranges(table.name)) >= 3


def test_image_record_that_is_none_is_told_to_who_waits(images: tuple[Any, Table]) -> None:
    host, _ = images
    broken = {**image_attributes(), "confidence": "often"}
    left = host.transform(b"", {**broken, "http.method": "POST"})
    assert (left.relationship, left.set["http.response.status"]) == ("refused", "500")
    assert left.set["mime.type"] == "application/problem+json"
    del broken["http.context.identifier"]
    left = host.transform(b"the image", broken)
    assert (left.relationship, left.content) == ("failure", b"the image")


def test_image_record_waits_on_retry_while_the_cluster_is_away(hosted: Callable[..., Any]) -> None:
    host = hosted(
        "PutKuduRecord", {"Kudu Masters": "127.0.0.1:1", "Admin Timeout": "300 ms", "Retries": "0", "Table Name": "t"}
    )
    waiting = image_attributes()
    refused = host.transform(b"", {**waiting, "http.method": "POST"})
    assert (refused.relationship, refused.set["http.response.status"]) == ("refused", "503")
    assert refused.set["Retry-After"]
    del waiting["http.context.identifier"]
    left = host.transform(b"the image", waiting)
    assert (left.relationship, left.content, left.set) == ("retry", b"the image", {})


def test_months_past_retention_are_dropped(hosted: Callable[..., Any], kudu: LocalKudu, make_table: MakeTable) -> None:
    table = make_table(exists=False)
    old = [datetime(2020, month, 1, tzinfo=UTC) for month in (1, 2)]
    schema = replace(image_events(table.name, replicas=1), policy=None, ranges=(Range((old[0],), (old[1],)),))
    assert table.writer.create(schema)
    host = hosted("PutKuduRecord", {"Kudu Masters": kudu.masters, "Table Name": table.name, "Months to Keep": "2"})
    assert host.transform(b"", image_attributes()).relationship == "success"
    ranges = table.writer.ranges(table.name)
    assert ranges
    assert all(part.lower[0] > old[1] for part in ranges)


# --- settings -------------------------------------------------------------------------------------------------------

WRONG: list[Any] = [
    ("Kudu Masters", "kudu:70510"),
    ("Kudu Masters", "a b"),
    ("Kudu Masters", "kudu:7051,"),
    ("Kudu Masters", None),
    ("Table Name", ""),
    ("Record Source", "files"),
    ("Record Format", "csv"),
    ("Operation", "PUT"),
    ("Operation", ""),
    ("Operation Path", "op"),
    ("Operation Path", "/op/"),
    ("Data Path", "after"),
    ("Data Path", "/items[0]"),
    ("Data Path", "coalesce(/after, /before)"),
    ("Field Mapping", "{"),
    ("Field Mapping", "[]"),
    ("Field Mapping", '{"a": 1}'),
    ("Lowercase Field Names", "yes"),
    ("Ignore Nulls", "1"),
    ("Unknown Fields", "drop"),
    ("Integer Timestamps", "nanos"),
    ("Text in Binary Columns", "ascii"),
    ("Table Schema", "key int32"),
    ("Table Schema", '{"columns": []}'),
    ("Table Schema", '{"columns": [{"name": "key", "type": "int33", "key": true}]}'),
    ("Batch Size", "0"),
    ("Batch Size", "100001"),
    ("Batch Size", "many"),
    ("Flush Mode", "SYNC"),
    ("Operation Timeout", "10"),
    ("Admin Timeout", "soon"),
    ("Retries", "-1"),
    ("Retries", "101"),
    ("Retry Back-off", "later"),
    ("Kudu Client", "cpp"),
    ("Client Worker Count", "many"),
    pytest.param("Client Worker Count", "-1"),
    pytest.param("Operation Timeout", "0 sec"),
    pytest.param("Admin Timeout", "0 sec"),
    ("Kudu SASL Protocol Name", ""),
    ("Kerberos Keytab", "kudu.keytab"),
    ("Require Authentication", "yes"),
    ("Encryption", "never"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_setting_is_found_before_the_first_flowfile_and_named(
    hosted: Callable[..., Any], name: str, value: str | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutKuduRecord", {"Kudu Masters": "localhost", "Record Source": "content", name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("Months to Keep", "0"), ("Months to Keep", "1.5"), ("Table Name", "${t}")]
)
def test_wrong_setting_of_image_records_is_found(hosted: Callable[..., Any], name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutKuduRecord", {"Kudu Masters": "localhost", name: value})
    assert name in str(caught.value)


def test_secrets_are_not_in_what_is_said_about_settings(hosted: Callable[..., Any]) -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9.made-up"
    with pytest.raises(ConfigurationError) as caught:
        hosted("PutKuduRecord", {"Kudu Masters": "localhost", "JSON Web Token": secret, "Batch Size": "0"})
    assert secret not in str(caught.value)


def test_wrong_value_of_an_expression_sends_its_flowfile_to_failure_only(put: Put, table: Table) -> None:
    host = put(table, {"Lowercase Field Names": "${l}", "Ignore Nulls": "${i}", "Unknown Fields": "${u}"})
    for name in "liu":
        left = host.transform(content({"key": 1}), {name: "maybe"})
        assert (left.relationship, left.set["error_code"]) == ("failure", "configuration")
    assert host.transform(content({"key": 1})).relationship == "success"


def test_processor_works_again_after_a_stop_and_a_start(put: Put, table: Table) -> None:
    host = put(table)
    for key in (1, 2):
        host.processor.onScheduled(host.host.context)
        assert host.transform(content({"key": key})).relationship == "success"
        host.processor.onStopped(host.host.context)
    assert list(table.column("key")) == [1, 2]


# --- what somebody found who did not know the code --------------------------------------------------------------------


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


@pytest.mark.parametrize("cell", [
    pa.array([[1700000000123456789]], pa.list_(pa.timestamp("ns"))),
    pa.array([[10**18]], pa.list_(pa.timestamp("us"))),
    pa.array([{"t": 1700000000123456789, "a": 5}], pa.struct([("t", pa.timestamp("ns")), ("a", pa.int64())])),
], ids=["nanoseconds-in-a-list", "far-future-in-a-list", "nanoseconds-in-a-struct"])  # fmt: skip
def test_cell_that_python_has_no_value_for_is_never_replaced_by_its_type(
    put: Put, table: Table, cell: pa.Array
) -> None:
    left = put(table).transform(arrow_bytes(pa.table({"key": pa.array([1], pa.int32()), NAME.name: cell})))
    if left.relationship == "bad rows":
        assert report(left) == [(0, "kudu.wrong_value")]
    else:  # where pandas is installed, Python has nanoseconds
        assert "1700000000" in table.column(NAME.name)[1] or "2023" in table.column(NAME.name)[1]


def test_arrow_streams_one_behind_the_other_are_all_read(put: Put, table: Table) -> None:
    one, other = (arrow_bytes(pa.table({"key": pa.array([key], pa.int32())})) for key in (1, 2))
    assert put(table).transform(one + other).set["record.count"] == "2"
    left = put(table).transform(one + b"and more")
    assert (left.relationship, left.set["error_code"]) == ("failure", "records.malformed")
    another = arrow_bytes(pa.table({"key": pa.array([3], pa.int32()), "x": pa.array([1])}))
    assert put(table).transform(one + another).relationship == "failure"
    assert sorted(table.column("key")) == [1, 2]


def test_large_rows_behind_many_small_ones_fit_the_heap(put: Put, make_table: MakeTable) -> None:
    table = make_table(*(column(f"c{n}", "string") for n in range(10)))
    large = {f"c{n}": "x" * 60_000 for n in range(10)}
    rows = [{"key": n} for n in range(3000)] + [{"key": 3000 + n} | large for n in range(100)]
    assert put(table).transform(content(*rows)).relationship == "success"
    assert table.writer.count(table.name) == 3100


@pytest.mark.parametrize("texts", [
    pa.array(["a", "x" * 70_000, "c"], pa.string_view()),
    pc.run_end_encode(pa.array(["a", "x" * 70_000, "c"])),
], ids=["views", "runs"])  # fmt: skip
def test_bad_rows_of_any_kind_of_arrow_are_told_apart(put: Put, table: Table, texts: pa.Array) -> None:
    left = put(table).transform(arrow_bytes(pa.table({"key": pa.array([1, 2, 3], pa.int32()), NAME.name: texts})))
    assert report(left) == [(1, "kudu.cell_too_long")]
    assert table.column(NAME.name) == {1: "a", 3: "c"}


@pytest.mark.parametrize(("number", "kind", "stored"), [
    ("3.14159265358979323846", "string", "3.14159265358979323846"), ("1.10", "string", "1.10"),
    ("12345678901234567890.5", "string", "12345678901234567890.5"), ("9007199254740993.0", "int64", 9007199254740993),
    ("1.00000000000000001", "int64", None), ("0.1", "double", 0.1),
])  # fmt: skip
def test_digits_of_json_are_kept(put: Put, make_table: MakeTable, number: str, kind: str, stored: object) -> None:
    table = make_table(column("value", kind))
    left = put(table).transform(f'{{"key": 1, "value": {number}}}'.encode())
    if stored is None:
        assert report(left) == [(0, "kudu.wrong_value")]
    else:
        assert table.column("value") == {1: stored}


def test_restarts_leave_no_threads(put: Put, table: Table) -> None:
    host = put(table)
    threads = Path("/proc/self/task")
    counts = []
    for key in range(8):
        host.host.schedule()
        assert host.transform(content({"key": key})).relationship == "success"
        host.host.stop()
        counts.append(len(list(threads.iterdir())))
    assert until(lambda: len(list(threads.iterdir())) <= counts[0] + 4)


# --- the table of what became of PutKudu ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parity() -> str:
    names = ("kudu.md",)
    return "".join(path.read_text(encoding="utf-8") for n in names if (path := REPOSITORY / "docs" / n).is_file())


def test_every_test_that_the_documentation_names_is_there(parity: str) -> None:
    there = {
        node.name
        for path in (REPOSITORY / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    named = set(re.findall(r"`(test_\w+)`", parity))
    assert len(named) > 50
    assert named - there == set()


def test_documentation_names_every_property_and_relationship(parity: str) -> None:
    processor = processor_class("PutKuduRecord")()
    names = [p.name for p in processor.getPropertyDescriptors()] + [r.name for r in processor.getRelationships()]
    assert [name for name in names if name not in parity] == []
    assert "`failure`" in parity
