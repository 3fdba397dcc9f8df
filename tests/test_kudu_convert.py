"""Which values a column takes, what becomes of them, and that a bad one costs only its row."""

from __future__ import annotations

import math
import struct
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagewarehouse.contents import read_records
from imagewarehouse.errors import KuduCellTooLong, KuduMissingValue, KuduUnknownColumn, KuduWrongValue
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.declaration import parse_type
from imagewarehouse.kudu.records.cells import Conversion, convert_cell
from imagewarehouse.kudu.records.convert import Converted, table_to_batch, to_batch
from imagewarehouse.kudu.records.drift import drift_columns
from imagewarehouse.kudu.records.mapping import Rows
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema

UTC = timezone.utc
SECONDS = Conversion(time_unit="seconds")
MICROS = Conversion(time_unit="micros")


def column(type_text: str, name: str = "v", **more: Any) -> KuduColumn:
    kind, precision, scale, length = parse_type(type_text)
    more = {"nullable": not more.get("key")} | more
    return KuduColumn(name, kind, precision=precision, scale=scale, length=length, **more)


def schema(*columns: KuduColumn) -> TableSchema:
    return TableSchema("t", (column("int64", "id", key=True), *columns))


def rows(*values: dict[str, Any], operation: Operation | list[Operation] = Operation.UPSERT) -> Rows:
    operations = operation if isinstance(operation, list) else [operation] * len(values)
    return Rows(range(len(values)), np.array(operations, dtype=np.uint8), list(values))


def cells(converted: Converted, name: str = "v") -> list[Any]:
    for found in converted.batch.columns:
        if found.name == name:
            return list(found.values.to_pylist())
    return []


def codes(converted: Converted) -> dict[int, str]:
    return {row: error.code for row, error in converted.errors}


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (
        one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
    )


# --- cells --------------------------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TAKEN = [
    ("bool", True, True),
    ("bool", False, False),
    ("bool", "true", True),
    ("bool", "FALSE", False),
    ("int8", 127, 127),
    ("int8", -128, -128),
    ("int16", 32767, 32767),
    ("int32", -(2**31), -(2**31)),
    ("int64", 2**63 - 1, 2**63 - 1),
    ("int64", -(2**63), -(2**63)),
    ("int32", 5.0, 5),
    ("int32", Decimal("5.00"), 5),
    ("int32", Decimal("5E+2"), 500),
    ("int32", "-12", -12),
    ("int32", "+7", 7),
    ("int32", "007", 7),
    ("int64", Decimal("9223372036854775807"), 2**63 - 1),
    ("int32", Decimal("0E+999999"), 0),
    ("int32", -0.0, 0),
    ("double", 1.5, 1.5),
    ("double", 5, 5.0),
    ("double", Decimal("0.1"), 0.1),
    ("double", "1e3", 1000.0),
    ("double", ".5", 0.5),
    ("double", 2**53 + 1, float(2**53)),
    ("double", "NaN", math.nan),
    ("double", "Infinity", math.inf),
    ("double", "-infinity", -math.inf),
    ("double", Decimal("1E-999999999"), 0.0),
    ("double", 10**308, 1e308),
    ("float", 0.1, struct.unpack("f", struct.pack("f", 0.1))[0]),
    ("float", 16777217, 16777216.0),
    ("float", "Infinity", math.inf),
    ("float", 3.4028235e38, 3.4028234663852886e38),
    ("float", math.nan, math.nan),
    ("string", "", ""),
    ("string", "日本 😀", "日本 😀"),
    ("string", "a\x00b", "a\x00b"),
    ("string", 5, "5"),
    ("string", 1.5, "1.5"),
    ("string", True, "true"),
    ("string", Decimal("12.10"), "12.10"),
    ("string", {"a": [1, None]}, '{"a":[1,null]}'),
    ("string", [], "[]"),
    ("string", {"a": Decimal("1.10")}, '{"a":1.10}'),
    ("string", b"\xc3\xa4", "ä"),
    ("string", NOON, "2026-03-01T12:00:00+00:00"),
    ("string", math.nan, "nan"),
    ("string", 10**40, "1" + "0" * 40),
    ("string", "x" * 65536, "x" * 65536),
    ("varchar(3)", "😀é", "😀é"),
    ("varchar(3)", 123, "123"),
    ("binary", b"\x00\xff", b"\x00\xff"),
    ("binary", "ä", b"\xc3\xa4"),
    ("binary", "", b""),
    ("binary", bytearray(b"a"), b"a"),
    ("unixtime_micros", NOON, NOON),
    ("unixtime_micros", datetime(2026, 3, 1, 12), NOON),
    ("unixtime_micros", datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))), NOON),
    ("unixtime_micros", "2026-03-01T12:00:00Z", NOON),
    ("unixtime_micros", "2026-03-01 12:00:00", NOON),
    ("unixtime_micros", "2026-03-01T12:00", NOON),
    ("unixtime_micros", "2026-03-01T12", NOON),
    ("unixtime_micros", "2026-03-01T12Z", NOON),
    ("unixtime_micros", "2026-03-01T14:30:00+02:30", NOON),
    ("unixtime_micros", "2026-03-01T14:30:00+0230", NOON),
    ("unixtime_micros", "2026-03-01T11:00:00-01", NOON),
    ("unixtime_micros", "2026-03-01T12:00:00.5Z", NOON.replace(microsecond=500_000)),
    ("unixtime_micros", "2026-03-01T12:00:00.123456", NOON.replace(microsecond=123_456)),
    ("unixtime_micros", "2026-03-01T12:00:00.123456000Z", NOON.replace(microsecond=123_456)),
    ("unixtime_micros", "2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
    ("unixtime_micros", date(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)),
    ("unixtime_micros", 1_772_366_400_000, NOON),
    ("unixtime_micros", -1, datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC)),
    ("unixtime_micros", "0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
    ("unixtime_micros", "9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
    ("date", date(2026, 3, 1), date(2026, 3, 1)),
    ("date", "2026-03-01", date(2026, 3, 1)),
    ("date", 0, date(1970, 1, 1)),
    ("date", -719_162, date(1, 1, 1)),
    ("date", 2_932_896, date(9999, 12, 31)),
    ("date", "2024-02-29", date(2024, 2, 29)),
    ("date", datetime(2026, 3, 1, tzinfo=UTC), date(2026, 3, 1)),
    ("decimal(9,2)", Decimal("12.1"), Decimal("12.10")),
    ("decimal(9,2)", 12, Decimal("12.00")),
    ("decimal(9,2)", 0.1, Decimal("0.10")),
    ("decimal(9,2)", "12.10", Decimal("12.10")),
    ("decimal(9,2)", "1e3", Decimal("1000.00")),
    ("decimal(9,2)", "1.2300", Decimal("1.23")),
    ("decimal(9,2)", "-9999999.99", Decimal("-9999999.99")),
    ("decimal(38,0)", 10**38 - 1, Decimal(10**38 - 1)),
    ("decimal(38,38)", "0." + "9" * 38, Decimal("0." + "9" * 38)),
    ("decimal(9,2)", Decimal("0E-99999"), Decimal("0.00")),
    ("decimal(5,0)", 1e4, Decimal(10000)),
]
REFUSED = [
    ("bool", 0),
    ("bool", 1),
    ("bool", "1"),
    ("bool", "yes"),
    ("bool", ""),
    ("bool", 0.0),
    ("bool", []),
    ("int8", 128),
    ("int8", -129),
    ("int16", 32768),
    ("int32", 2**31),
    ("int64", 2**63),
    ("int64", -(2**63) - 1),
    ("int64", 10**300),
    ("int32", True),
    ("int32", 5.5),
    ("int32", "5.0"),
    ("int32", ""),
    ("int32", " 5"),
    ("int32", "0x10"),
    ("int32", "1_000"),
    ("int32", "٣"),
    ("int32", "five"),
    ("int32", math.nan),
    ("int32", math.inf),
    ("int32", 1e300),
    ("int32", Decimal("1E+999999999")),
    ("int32", Decimal("1E-999999999")),
    ("int32", Decimal("NaN")),
    ("int32", "9" * 30),
    ("int32", {}),
    ("int32", b"5"),
    ("int32", NOON),
    ("double", True),
    ("double", "x"),
    ("double", ""),
    ("double", "1_0"),
    ("double", "0x1p3"),
    ("double", "inf"),
    ("double", "1e400"),
    ("double", math.inf),
    ("double", 10**400),
    ("double", Decimal("1E+400")),
    ("double", []),
    ("double", " 1"),
    ("double", NOON),
    ("float", 1e39),
    ("float", "1e39"),
    ("float", -1e300),
    ("float", 3.4028236e38),
    ("float", Decimal("1e39")),
    ("float", True),
    ("string", "\ud800"),
    ("string", b"\xff"),
    ("string", {"a": "\udfff"}),
    ("binary", 5),
    ("binary", True),
    ("binary", "\ud800"),
    ("binary", {}),
    ("unixtime_micros", "2026-03-01T12:00:00.1234567Z"),
    ("unixtime_micros", "2026-02-30"),
    ("unixtime_micros", "2026-3-1"),
    ("unixtime_micros", "2026-03-01T24:00:00Z"),
    ("unixtime_micros", "2026-03-01T23:59:60Z"),
    ("unixtime_micros", "20260301"),
    ("unixtime_micros", "2026-03-01Z"),
    ("unixtime_micros", "2026-03-01T12:00:00+24:00"),
    ("unixtime_micros", "12:00"),
    ("unixtime_micros", "2026-03-01T12:00:00+01:60"),
    ("unixtime_micros", "0000-01-01"),
    ("unixtime_micros", "10000-01-01"),
    ("unixtime_micros", "0001-01-01T00:00:00+01:00"),
    ("unixtime_micros", "9999-12-31T23:59:59-01:00"),
    ("unixtime_micros", ""),
    ("unixtime_micros", " 2026-03-01"),
    ("unixtime_micros", "2026-03-01T12:00:00z"),
    ("unixtime_micros", "1772366400000"),
    ("unixtime_micros", "yesterday"),
    ("unixtime_micros", True),
    ("unixtime_micros", 1.5),
    ("unixtime_micros", 2**62),
    ("unixtime_micros", 10**400),
    ("unixtime_micros", {}),
    ("unixtime_micros", "2026-03-01T12:00:00\n"),
    ("unixtime_micros", "٢٠٢٦-03-01"),
    ("date", "2026-03-01T00:00:00Z"),
    ("date", "2026-02-30"),
    ("date", "01.03.2026"),
    ("date", NOON),
    ("date", -719_163),
    ("date", 2_932_897),
    ("date", 1_772_366_400_000),
    ("date", True),
    ("date", 1.0),
    ("date", "0000-01-01"),
    ("date", ""),
    ("decimal(9,2)", "1.234"),
    ("decimal(9,2)", Decimal("0.001")),
    ("decimal(9,2)", 0.001),
    ("decimal(9,2)", "10000000"),
    ("decimal(9,2)", 10**7),
    ("decimal(9,2)", True),
    ("decimal(9,2)", "x"),
    ("decimal(9,2)", "NaN"),
    ("decimal(9,2)", math.nan),
    ("decimal(9,2)", math.inf),
    ("decimal(9,2)", Decimal("Infinity")),
    ("decimal(9,2)", Decimal("1E+999999999")),
    ("decimal(9,2)", Decimal("1E-999999999")),
    ("decimal(9,2)", "1e999999999"),
    ("decimal(9,2)", "1e99999999999999999999"),
    ("decimal(38,0)", 10**38),
    ("decimal(9,2)", ""),
    ("decimal(9,2)", "1_0"),
    ("decimal(9,2)", "1,5"),
    ("decimal(9,2)", []),
]
TOO_LONG = [
    ("string", "x" * 65537),
    ("string", "ä" * 32769),
    ("varchar(3)", "abcd"),
    ("varchar(3)", "😀😀"),  # the Java client would cut it: it counts as UTF-16 does
    ("varchar(3)", 1234),
    ("varchar(3)", True),
    ("varchar(65535)", "ä" * 40000),
    ("binary", b"x" * 65537),
    ("binary", "ä" * 32769),
]


def ids(case: Any) -> str:
    return ascii(case)[:40] if not isinstance(case, str) or len(case) < 40 else f"{case[:10]}..{len(case)}"


@pytest.mark.parametrize(("type_text", "value", "expected"), TAKEN, ids=ids)
def test_a_value_is_taken_alone_and_in_a_batch(type_text: str, value: Any, expected: Any) -> None:
    assert same(convert_cell(value, column(type_text)), expected)
    converted = to_batch(rows({"id": 1, "v": value}), schema(column(type_text)))
    assert converted.errors == []
    assert same(cells(converted)[0], expected)


@pytest.mark.parametrize(("type_text", "value"), REFUSED, ids=ids)
def test_a_value_is_refused_alone_and_costs_one_row_of_a_batch(type_text: str, value: Any) -> None:
    with pytest.raises(ValueError, match="column v: expected ") as caught:
        convert_cell(value, column(type_text))
    assert len(str(caught.value)) < 250
    good = next(v for t, v, _ in TAKEN if t == type_text)
    converted = to_batch(rows({"id": 1, "v": good}, {"id": 2, "v": value}, {"id": 3}), schema(column(type_text)))
    assert codes(converted) == {1: "kudu.wrong_value"}
    assert converted.kept.tolist() == [0, 2]
    assert cells(converted, "id") == [1, 3]


@pytest.mark.parametrize(("type_text", "value"), TOO_LONG, ids=ids)
def test_a_long_value_is_never_cut(type_text: str, value: Any) -> None:
    with pytest.raises(ValueError, match="at most"):
        convert_cell(value, column(type_text))
    converted = to_batch(rows({"id": 1, "v": value}, {"id": 2, "v": None}), schema(column(type_text)))
    assert [type(e) for _, e in converted.errors] == [KuduCellTooLong]
    assert cells(converted, "id") == [2]


@pytest.mark.parametrize(
    ("type_text", "value", "conversion", "expected"),
    [
        ("binary", "AP8=", Conversion(binary_text="base64"), b"\x00\xff"),
        ("binary", "00fF", Conversion(binary_text="hex"), b"\x00\xff"),
        ("binary", b"raw", Conversion(binary_text="hex"), b"raw"),
        ("unixtime_micros", 1_772_366_400, SECONDS, NOON),
        ("unixtime_micros", 1_772_366_400_000_000, MICROS, NOON),
        ("unixtime_micros", "2026-03-01T12:00:00Z", MICROS, NOON),
        ("binary", "AP8", Conversion(binary_text="base64"), None),
        ("binary", "AP 8=", Conversion(binary_text="base64"), None),
        ("binary", "ä", Conversion(binary_text="base64"), None),
        ("binary", "0", Conversion(binary_text="hex"), None),
        ("binary", "0g", Conversion(binary_text="hex"), None),
        ("binary", "00 ff", Conversion(binary_text="hex"), None),
        ("unixtime_micros", 1_772_366_400_000, SECONDS, None),
    ],
    ids=ids,
)
def test_settings_say_how_to_read(type_text: str, value: Any, conversion: Conversion, expected: Any) -> None:
    converted = to_batch(rows({"id": 1, "v": value}), schema(column(type_text)), conversion=conversion)
    if expected is None:
        assert codes(converted) == {0: "kudu.wrong_value"}
    else:
        assert cells(converted) == [expected]
        assert convert_cell(value, column(type_text), conversion) == expected


@pytest.mark.parametrize("settings_", [{"binary_text": "ascii"}, {"time_unit": "nanos"}])
def test_unknown_settings_are_refused_at_birth(settings_: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        Conversion(**settings_)


def test_null_is_no_cell() -> None:
    with pytest.raises(ValueError, match="received null"):
        convert_cell(None, column("int32"))


def test_a_nested_value_without_end_is_refused() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert codes(to_batch(rows({"id": 1, "v": value}), schema(column("string")))) == {0: "kudu.wrong_value"}


# --- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("row", [{}, {"id": None}, {"v": 1}], ids=["nothing", "null", "other"])
def test_a_key_needs_a_value_in_every_operation(row: dict[str, Any], operation: Operation) -> None:
    converted = to_batch(rows(row, {"id": 5}, operation=operation), schema(column("int32")))
    assert [type(e) for _, e in converted.errors] == [KuduMissingValue]
    assert "id" in str(converted.errors[0][1])
    assert cells(converted, "id") == [5]


@pytest.mark.parametrize("operation", list(Operation))
def test_required_columns_are_named_where_a_row_may_be_inserted(operation: Operation) -> None:
    table = schema(
        column("int32", "a", nullable=False),
        column("string", "b", nullable=False),
        column("int32", "c", nullable=False, default=1),
    )
    converted = to_batch(rows({"id": 1}, {"id": 2, "a": 1, "b": ""}, operation=operation), table)
    if operation.inserts:
        assert [(n, str(e)) for n, e in converted.errors] == [(0, "no value for a, b")]
        assert converted.kept.tolist() == [1]
    else:
        assert converted.errors == []
    assert "c" not in [c.name for c in converted.batch.columns]


@pytest.mark.parametrize("operation", [Operation.INSERT, Operation.UPSERT, Operation.UPDATE])
def test_null_is_refused_by_a_column_that_takes_none(operation: Operation) -> None:
    table = schema(column("int32", nullable=False, default=7))
    converted = to_batch(rows({"id": 1, "v": None}, {"id": 2}, {"id": 3, "v": 3}, operation=operation), table)
    assert codes(converted) == {0: "kudu.missing_value"}
    assert "v (null)" in str(converted.errors[0][1])
    present = converted.batch.columns[1].present
    assert present is not None
    assert present.tolist() == [0, 1]


def test_missing_and_null_are_told_apart() -> None:
    converted = to_batch(rows({"id": 1, "v": 1}, {"id": 2, "v": None}, {"id": 3}), schema(column("int32")))
    found = converted.batch.columns[1]
    assert found.values.to_pylist() == [1, None, None]
    assert found.present is not None
    assert found.present.tolist() == [1, 1, 0]
    assert found.present.dtype == np.uint8


def test_a_column_that_every_row_has_needs_no_mask() -> None:
    converted = to_batch(rows({"id": 1, "v": 1}, {"id": 2, "v": "bad"}, {"id": 3, "v": None}), schema(column("int32")))
    assert [c.present for c in converted.batch.columns] == [None, None]


def test_rows_that_delete_keep_their_key_only() -> None:
    operations = [Operation.DELETE, Operation.UPSERT, Operation.DELETE_IGNORE]
    given_rows = rows({"id": 1, "v": "bad", "x": 1}, {"id": 2, "v": 2}, {"id": 3, "v": 3}, operation=operations)
    converted = to_batch(given_rows, schema(column("int32", nullable=False)))
    assert converted.errors == []
    assert cells(converted) == [None, 2, None]
    assert converted.batch.columns[1].present is not None
    assert converted.batch.columns[1].present.tolist() == [0, 1, 0]
    alone = to_batch(rows({"id": 1, "v": 3}, operation=Operation.DELETE), schema(column("int32")))
    assert [c.name for c in alone.batch.columns] == ["id"]


def test_an_unknown_field_is_named_with_the_column_it_may_mean() -> None:
    converted = to_batch(
        rows({"id": 1, "nmae": "x"}, {"id": 2, "name": "y"}, {"id": 3, "q": None}), schema(column("string", "name"))
    )
    assert [type(e) for _, e in converted.errors] == [KuduUnknownColumn] * 2
    assert str(converted.errors[0][1]) == 'no column for field "nmae" (did you mean name?)'
    assert str(converted.errors[1][1]) == 'no column for field "q"'
    assert converted.kept.tolist() == [1]


@pytest.mark.parametrize(("unknown", "bad"), [("refuse", [0, 1]), ("add", [0]), ("ignore", [])])
def test_unknown_fields_cost_what_the_setting_says(unknown: str, bad: list[int]) -> None:
    values = ({"id": 1, "x": 1}, {"id": 2, "x": None}, {"id": 3})
    assert list(codes(to_batch(rows(*values), schema(), unknown))) == bad
    table = pa.table({"id": [1, 2], "x": pa.array([1, None])})
    assert list(codes(table_to_batch(table, Operation.UPSERT, schema(), unknown))) == bad


def test_an_unknown_setting_for_unknown_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="refuse, ignore, add"):
        to_batch(rows({"id": 1}), schema(), "drop")


def test_many_unknown_names_stay_one_short_line() -> None:
    converted = to_batch(rows({"id": 1} | {f"f{n}\n": n for n in range(5000)}), schema())
    assert len(str(converted.errors[0][1])) < 300
    assert "\n" not in str(converted.errors[0][1])


def test_rows_with_a_few_of_many_columns() -> None:
    table = schema(*(column("int32", f"c{n}") for n in range(200)))
    converted = to_batch(rows({"id": 1, "c7": 7}, {"id": 2, "c150": 8}, {"id": 3, "c7": 1, "c201": 1}), table)
    assert [c.name for c in converted.batch.columns] == ["id", "c7", "c150"]
    assert codes(converted) == {2: "kudu.unknown_column"}


def test_a_column_that_the_server_fills_may_not_be_given_by_an_insert() -> None:
    table = TableSchema("t", (column("int64", "id", key=True), column("int64", "n", key=True, auto_incrementing=True)))
    converted = to_batch(rows({"id": 1, "n": 5}, {"id": 2}, operation=Operation.INSERT), table)
    assert codes(converted) == {0: "kudu.wrong_value"}
    assert [c.name for c in converted.batch.columns] == ["id"]
    changed = to_batch(rows({"id": 1, "n": 5}, {"id": 2}, operation=Operation.DELETE), table)
    assert codes(changed) == {1: "kudu.missing_value"}
    assert cells(changed, "n") == [5]


def test_no_rows_are_an_empty_batch() -> None:
    converted = to_batch(rows(), schema(column("int32")))
    assert (len(converted.batch), converted.errors, converted.kept.tolist()) == (0, [], [])


def test_only_bad_rows_are_an_empty_batch() -> None:
    converted = to_batch(rows({"id": "x"}, {}), schema())
    assert len(converted.batch) == 0
    assert list(codes(converted)) == [0, 1]


def test_each_row_has_one_error_and_the_rows_given_are_left_alone() -> None:
    values = [{"id": None, "v": "x", "q": 1}, {"id": 1, "v": 2**40}]
    converted = to_batch(rows(*values), schema(column("int32")))
    assert codes(converted) == {0: "kudu.unknown_column", 1: "kudu.wrong_value"}
    assert values == [{"id": None, "v": "x", "q": 1}, {"id": 1, "v": 2**40}]


def test_operations_stay_with_their_rows() -> None:
    operations = [Operation.INSERT, Operation.UPDATE, Operation.DELETE]
    converted = to_batch(rows({"id": 1}, {"id": "bad"}, {"id": 3}, operation=operations), schema())
    assert converted.batch.operations.tolist() == [Operation.INSERT, Operation.DELETE]


def test_a_number_that_became_infinite_while_it_was_read_is_refused() -> None:
    read = read_records(b'[{"id": 1, "v": 1e400}, {"id": 2, "v": 1.5}]')
    converted = to_batch(rows(*read.items), schema(column("double")))
    assert codes(converted) == {0: "kudu.wrong_value"}


# --- the fast way and the slow way agree --------------------------------------------------------------------------

_TYPES = [
    "bool",
    "int8",
    "int32",
    "int64",
    "float",
    "double",
    "string",
    "varchar(4)",
    "binary",
    "unixtime_micros",
    "date",
    "decimal(9,2)",
    "decimal(38,10)",
]
_VALUES = {
    "bools": st.booleans(),
    "ints": st.integers(-200, 200) | st.integers(-(2**70), 2**70),
    "floats": st.floats() | st.integers(-100, 100).map(float),
    "decimals": st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(-1000, 1000, places=2),
    "text": st.text(max_size=6) | st.sampled_from(["true", "12", "1.5", "NaN"]),
    "surrogates": st.text(alphabet="a\ud800", max_size=2),
    "bytes": st.binary(max_size=6),
    "datetimes": st.datetimes(timezones=st.none() | st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])),
    "dates": st.dates(),
    "iso": st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))])).map(lambda d: d.isoformat()),
    "local": st.datetimes().map(lambda d: d.isoformat(" ")),
    "close": st.from_regex(
        r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9](:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,8})?)?)?"
        r"(Z|[+-][0-2][0-9]:?([0-6][0-9])?)?)?\Z"
    ),
    "days": st.dates().map(str),
    "nested": st.lists(st.integers() | st.decimals(allow_nan=False, allow_infinity=False), max_size=2),
    "nulls": st.none(),
}
_columns_of_cells = st.lists(st.sampled_from(sorted(_VALUES)), min_size=1, max_size=2).flatmap(
    lambda kinds: st.lists(st.one_of(*(_VALUES[k] for k in kinds)), min_size=1, max_size=6)
)


def expected_cells(values: list[Any], of: KuduColumn) -> tuple[list[Any], list[int]]:
    """Cell by cell: what is stored, and which are bad."""
    found, bad = [], []
    for n, value in enumerate(values):
        try:
            found.append(None if value is None else convert_cell(value, of))
        except ValueError:
            bad.append(n)
    return found, bad


@pytest.mark.long
@given(_columns_of_cells, st.sampled_from(_TYPES))
@settings(max_examples=1500, deadline=None)
def test_a_batch_is_what_its_cells_are_one_by_one(values: list[Any], type_text: str) -> None:
    of = column(type_text)
    found, bad = expected_cells(values, of)
    converted = to_batch(rows(*({"id": n, "v": v} for n, v in enumerate(values))), schema(of))
    assert list(codes(converted)) == bad
    assert converted.kept.tolist() == [n for n in range(len(values)) if n not in bad]
    stored = cells(converted)
    assert all(same(a, b) for a, b in zip(stored, found, strict=True)), (stored, found)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=8), st.data())
@settings(max_examples=100, deadline=None)
def test_a_bad_row_never_changes_the_others(numbers: list[int], data: st.DataObject) -> None:
    bad_row = st.sampled_from(
        [
            {"id": "x"},
            {},
            {"id": 1, "v": 2**31},
            {"id": 1, "v": "é"},
            {"id": 1, "zz": 1},
            {"id": None},
            {"id": 1, "t": "x" * 70_000},
        ]
    )
    values: list[dict[str, Any]] = [{"id": n, "v": n, "t": str(n)} for n in numbers]
    mixed: list[tuple[bool, dict[str, Any]]] = [(True, v) for v in values]
    for _ in range(data.draw(st.integers(1, 4))):
        mixed.insert(data.draw(st.integers(0, len(mixed))), (False, data.draw(bad_row)))
    table = schema(column("int32"), column("string", "t"))
    alone, among = to_batch(rows(*values), table), to_batch(rows(*(v for _, v in mixed)), table)
    assert among.kept.tolist() == [n for n, (good, _) in enumerate(mixed) if good]
    assert [n for n, _ in among.errors] == [n for n, (good, _) in enumerate(mixed) if not good]
    for name in ("id", "v", "t"):
        assert cells(among, name) == cells(alone, name)


# --- Arrow --------------------------------------------------------------------------------------------------------


def from_arrow(array: pa.Array, type_text: str, conversion: Conversion = Conversion()) -> Converted:  # noqa: B008 - frozen
    table = pa.table({"id": pa.array(range(len(array)), pa.int64()), "v": array})
    return table_to_batch(table, Operation.UPSERT, schema(column(type_text)), conversion=conversion)


@pytest.mark.parametrize(
    ("array", "type_text", "expected"),
    [
        (pa.array([1, None], pa.int8()), "int64", [1, None]),
        (pa.array([1, 300], pa.int64()), "int8", [1]),
        (pa.array([2**63, 1], pa.uint64()), "int64", [1]),
        (pa.array([1.0, 1.5]), "int32", [1]),
        (pa.array([True]), "int32", []),
        (pa.array([1, 2**53 + 1]), "double", [1.0, float(2**53)]),
        (pa.array([1.5, None], pa.float16()), "double", [1.5, None]),
        (pa.array([1e39, math.inf, None, 1.5]), "float", [math.inf, None, 1.5]),
        (pa.array([math.nan, math.inf]), "double", [math.nan, math.inf]),
        (pa.array([2**60 + 1, 2**24 + 1]), "float", [float(2**60), float(2**24)]),
        (pa.array([True, None]), "bool", [True, None]),
        (pa.array([1, 0]), "bool", []),
        (pa.array(["a", "ä" * 40_000], pa.large_string()), "string", ["a"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", ["a", None, "a"]),
        (pa.array(["a"], pa.string_view()), "string", ["a"]),
        (pa.array(["abc", "abcd", "äöü", "😀é", "😀😀"]), "varchar(3)", ["abc", "äöü", "😀é"]),
        (pa.array([1, 2]), "string", ["1", "2"]),
        (pa.array([1.0, 1e20]), "string", ["1.0", "1e+20"]),
        (pa.array([True]), "string", ["true"]),
        (pa.array([b"\xff", b"a"]), "string", ["a"]),
        (pa.array([{"a": 1}]), "string", ['{"a":1}']),
        (pa.array([[1, None]]), "string", ["[1,null]"]),
        (pa.array([b"ab"], pa.binary(2)), "binary", [b"ab"]),
        (pa.array([b"a", b"x" * 65537], pa.large_binary()), "binary", [b"a"]),
        (pa.array(["ä"]), "binary", [b"\xc3\xa4"]),
        (pa.array([5]), "binary", []),
        (pa.array([1_772_366_400], pa.timestamp("s")), "unixtime_micros", [NOON]),
        (pa.array([1_772_366_400_000, None], pa.timestamp("ms", tz="Asia/Tokyo")), "unixtime_micros", [NOON, None]),
        (pa.array([1_772_366_400_000_000_000, 1], pa.timestamp("ns")), "unixtime_micros", [NOON]),
        (pa.array([2**61, 0, -(2**61)], pa.timestamp("us")), "unixtime_micros", [datetime(1970, 1, 1, tzinfo=UTC)]),
        (pa.array([2**61, 0], pa.timestamp("s")), "unixtime_micros", [datetime(1970, 1, 1, tzinfo=UTC)]),
        (pa.array([date(2026, 3, 1)]), "unixtime_micros", [datetime(2026, 3, 1, tzinfo=UTC)]),
        (pa.array([date(2026, 3, 1)], pa.date64()), "unixtime_micros", [datetime(2026, 3, 1, tzinfo=UTC)]),
        (pa.array([1_772_366_400_000, 2**62]), "unixtime_micros", [NOON]),
        (pa.array(["2026-03-01T12:00:00Z", "x"]), "unixtime_micros", [NOON]),
        (pa.array([1.5]), "unixtime_micros", []),
        (pa.array([5], pa.duration("s")), "unixtime_micros", []),
        (pa.array([5], pa.time64("us")), "date", []),
        (pa.array([date(2026, 3, 1)], pa.date64()), "date", [date(2026, 3, 1)]),
        (pa.array([3_000_000, 1], pa.date32()), "date", [date(1970, 1, 2)]),
        (pa.array([86_400, 86_401, -86_400], pa.timestamp("s")), "date", [date(1970, 1, 2), date(1969, 12, 31)]),
        (pa.array([0, 2_932_897]), "date", [date(1970, 1, 1)]),
        (pa.array(["2026-03-01", "2026-02-30"]), "date", [date(2026, 3, 1)]),
        (pa.array([Decimal("1.50"), Decimal("1.55")]), "decimal(9,1)", [Decimal("1.5")]),
        (pa.array([Decimal("1.5")], pa.decimal256(60, 1)), "decimal(9,2)", [Decimal("1.50")]),
        (pa.array([1, 10**7]), "decimal(9,2)", [Decimal("1.00")]),
        (pa.array([0.1, 0.001]), "decimal(9,2)", [Decimal("0.10")]),
        (pa.array([2**63], pa.uint64()), "decimal(20,0)", [Decimal(2**63)]),
        (pa.array([5]), "decimal(38,30)", [Decimal(5).scaleb(0)]),
        (pa.array(["1.5", "x"]), "decimal(9,2)", [Decimal("1.50")]),
        (pa.nulls(2), "int32", [None, None]),
        (pa.array([1], pa.int32()).dictionary_encode(), "int64", [1]),
        (pa.array(["1", "1.5"]), "int32", [1]),
    ],
    ids=ids,
)
def test_arrow_columns_become_columns_of_the_table(array: pa.Array, type_text: str, expected: list[Any]) -> None:
    converted = from_arrow(array, type_text)
    stored = cells(converted)
    assert len(stored) == len(expected)
    assert all(a == b or (a != a and b != b) for a, b in zip(stored, expected, strict=True)), stored
    assert len(converted.errors) == len(array) - len(expected)
    for found in converted.batch.columns:
        assert found.values.type == schema(column(type_text)).column(found.name).arrow_type


def test_arrow_in_pieces_and_slices_is_one_column() -> None:
    pieces = pa.chunked_array([pa.array([9, 1])[1:], pa.array([2, 3]), pa.array([], pa.int64())])
    table = pa.table({"id": pieces, "v": pa.chunked_array([["a"], ["b", None]])}).slice(1)
    converted = table_to_batch(table, Operation.INSERT, schema(column("string")))
    assert (cells(converted, "id"), cells(converted)) == ([2, 3], ["b", None])


def test_nulls_of_arrow_are_missing_where_told_so() -> None:
    table = pa.table({"id": [1, 2], "v": pa.array([None, 5])})
    with_nulls = table_to_batch(table, Operation.UPSERT, schema(column("int32")))
    without = table_to_batch(table, Operation.UPSERT, schema(column("int32")), ignore_nulls=True)
    assert with_nulls.batch.columns[1].present is None
    assert without.batch.columns[1].present is not None
    assert without.batch.columns[1].present.tolist() == [0, 1]


@pytest.mark.parametrize("ignore_nulls", [False, True])
def test_arrow_rows_without_a_needed_value_are_errors(ignore_nulls: bool) -> None:
    table = pa.table({"id": pa.array([1, None, 3]), "v": pa.array([1, 2, None])})
    converted = table_to_batch(
        table, Operation.INSERT, schema(column("int32", nullable=False)), ignore_nulls=ignore_nulls
    )
    assert codes(converted) == {1: "kudu.missing_value", 2: "kudu.missing_value"}
    assert codes(table_to_batch(table.select(["v"]), Operation.UPDATE, schema(column("int32")))) == dict.fromkeys(
        range(3), "kudu.missing_value"
    )


def test_arrow_rows_that_delete_keep_their_key_only() -> None:
    table = pa.table({"id": [1, 2], "v": ["bad", "5"], "x": [1, 1]})
    deleted = table_to_batch(table, Operation.DELETE, schema(column("int32")))
    assert (deleted.errors, [c.name for c in deleted.batch.columns]) == ([], ["id"])
    mixed = table_to_batch(table.drop_columns("x"), np.array([6, 2], np.uint8), schema(column("int32")))
    assert (mixed.errors, cells(mixed)) == ([], [None, 5])


def test_rows_with_a_table_go_the_way_of_arrow() -> None:
    table = pa.table({"id": [1, 2], "v": [None, "x"]})
    converted = to_batch(Rows(range(2), np.zeros(2, np.uint8), [], table, ignore_nulls=True), schema(column("string")))
    assert converted.batch.columns[1].present is not None


@given(_columns_of_cells, st.sampled_from(_TYPES))
@settings(max_examples=500, deadline=None)
def test_arrow_and_records_agree(values: list[Any], type_text: str) -> None:
    try:
        array = pa.array([v for v in values if not isinstance(v, Decimal)])
        back = array.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return
    if any(isinstance(v, float) and math.isinf(v) for v in back):  # Arrow can say infinity, JSON cannot
        return
    one = from_arrow(array, type_text)
    other = to_batch(rows(*({"id": n, "v": v} for n, v in enumerate(back))), schema(column(type_text)))
    assert codes(one) == codes(other)
    assert [e for e in map(str, cells(one))] == [e for e in map(str, cells(other))]  # noqa: C416 - NaN is no NaN


# --- drift --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, None], "bool"),
        ([1, 2], "int64"),
        ([1, 1.5], "double"),
        ([Decimal("1.5"), 1], "double"),
        ([2**63], "string"),
        (["a"], "string"),
        (["2026-03-01T12:00:00Z"], "string"),
        ([1, "a"], "string"),
        ([True, 1], "string"),
        ([{"a": 1}], "string"),
        ([[1]], "string"),
        ([{"a": 1}, "x"], "string"),
        ([None, None], None),
        ([NOON], "unixtime_micros"),
        ([date(2026, 3, 1)], "date"),
        ([b"a"], "binary"),
        ([b"a", "a"], "string"),
        ([None, None, 1.5], "double"),
    ],
    ids=ids,
)
def test_a_new_field_gets_the_type_of_all_its_values(values: list[Any], expected: str | None) -> None:
    found = drift_columns(rows({"id": 1}, *({"id": 1, "new": v} for v in values)), schema())
    assert [(c.name, c.type_text, c.nullable) for c in found] == ([("new", expected, True)] if expected else [])
    if expected:
        grown = schema(*found)
        converted = to_batch(rows(*({"id": 1, "new": v} for v in values)), grown, "add")
        assert converted.errors == []
        assert drift_columns(rows(*({"id": 1, "new": v} for v in values)), grown) == ()


def test_new_columns_come_in_the_order_of_their_fields() -> None:
    found = drift_columns(rows({"id": 1, "z": 1}, {"b": 1, "id": 2, "a": 1}), schema())
    assert [c.name for c in found] == ["z", "b", "a"]


def test_existing_columns_and_rows_that_delete_do_not_count() -> None:
    operations = [Operation.UPSERT, Operation.DELETE]
    assert drift_columns(rows({"id": "x"}, {"id": 1, "new": 1}, operation=operations), schema()) == ()


@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", "a\x00"], ids=ids)
def test_a_name_that_kudu_would_not_take_gets_no_column(name: str) -> None:
    assert drift_columns(rows({"id": 1, name: 1}), schema()) == ()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.bool_(), "bool"),
        (pa.int8(), "int8"),
        (pa.uint8(), "int16"),
        (pa.uint16(), "int32"),
        (pa.uint32(), "int64"),
        (pa.uint64(), "decimal(20,0)"),
        (pa.int64(), "int64"),
        (pa.float32(), "float"),
        (pa.float64(), "double"),
        (pa.large_string(), "string"),
        (pa.string_view(), "string"),
        (pa.binary(), "binary"),
        (pa.binary(4), "binary"),
        (pa.timestamp("ns"), "unixtime_micros"),
        (pa.date64(), "date"),
        (pa.decimal128(9, 2), "decimal(9,2)"),
        (pa.dictionary(pa.int32(), pa.string()), "string"),
        (pa.list_(pa.int32()), "string"),
        (pa.struct([("a", pa.int8())]), "string"),
        (pa.decimal256(60, 2), "string"),
        (pa.time32("s"), "string"),
        (pa.null(), None),
    ],
    ids=ids,
)
def test_a_new_arrow_field_gets_its_own_type(kind: pa.DataType, expected: str | None) -> None:
    values = {
        pa.bool_(): True, pa.binary(4): b"abcd", pa.binary(): b"a", pa.list_(pa.int32()): [1],
        pa.struct([("a", pa.int8())]): {"a": 1},
        pa.timestamp("ns"): NOON, pa.large_string(): "a", pa.string_view(): "a", pa.dictionary(pa.int32(), pa.string()): "a",
        pa.decimal128(9, 2): Decimal(1), pa.decimal256(60, 2): Decimal(1),
    }  # fmt: skip
    value = values.get(kind, 0)
    new = pa.nulls(2) if pa.types.is_null(kind) else pa.array([value, None], kind)
    table = pa.table({"id": [1, 2], "new": new, "empty": pa.nulls(2, pa.int32())})
    found = drift_columns(table, schema())
    assert [(c.name, c.type_text, c.nullable) for c in found] == ([("new", expected, True)] if expected else [])
    converted = table_to_batch(table, Operation.UPSERT, schema(*found), "add")
    assert converted.errors == []


def test_types_of_the_table_are_kudus() -> None:
    assert {parse_type(t)[0] for t in _TYPES} | {KuduType.INT16} == set(KuduType)
    assert all(issubclass(e, Exception) for e in (KuduWrongValue, KuduMissingValue))
