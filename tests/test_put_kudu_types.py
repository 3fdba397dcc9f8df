"""Every type of Kudu through PutKuduRecord, from JSON and from Arrow."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from imagewarehouse.flows.definition import Component
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduType, TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu
from imagewarehouse.standalone.python_host import PythonProcessor
from tests import kudu_processor
from tests.conftest import Hosted
from tests.kudu_processor import NAME, UTC, MakeTable, Put, Table, column, content, report
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


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


def test_integer_timestamps_are_for_attributes_too(put: Put, every_type: Table) -> None:
    host = put(every_type, {"Record Source": "attributes", "Integer Timestamps": "seconds"})
    left = host.transform(b"", {"key": "of attributes", "unixtime_micros": str(MILLIS // 1000)})
    assert left.relationship == "success"
    assert every_type.column("unixtime_micros")["of attributes"] == SECOND


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
