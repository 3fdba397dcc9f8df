"""Both clients of Kudu against a real one: what is written, what comes back, and which rows fail how."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagewarehouse.errors import (
    ConfigurationError,
    KuduRefused,
    KuduTableMissing,
    KuduUnavailable,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients import connecting
from imagewarehouse.kudu.clients.interface import FLUSH_MODES, SYNC, KuduSettings, KuduWriter, RowFailure
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests.conftest import until
from tests.kudu_tables import new_schema, stored

NOT_INSTALLED = "kudu-python is not installed here; the same tests run over it where it is"
needs_native = pytest.mark.skipif(importlib.util.find_spec("kudu") is None, reason=NOT_INSTALLED)
UTC = timezone.utc
ABSENT: Any = object()  # the row says nothing about the column
INSERT, INSERT_IGNORE, UPSERT, UPSERT_IGNORE, UPDATE, UPDATE_IGNORE, DELETE, DELETE_IGNORE = Operation
EXISTS, MISSING, NO_RANGE = "kudu.already_present", "kudu.not_found", "kudu.no_range_partition"

KEY = KuduColumn("key", KuduType.INT32, key=True)
TEXT = KuduColumn("text", KuduType.STRING, nullable=True)
NUMBER = KuduColumn("number", KuduType.INT64, nullable=True)


@pytest.fixture(params=["java", pytest.param("native", marks=needs_native)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(kudu: LocalKudu, backend: str) -> Iterator[Callable[..., KuduWriter]]:
    opened = []

    def open_one(**chosen: Any) -> KuduWriter:
        opened.append(connecting.connect(KuduSettings(**{"masters": kudu.masters, "backend": backend, **chosen})))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def writer(connect: Callable[..., KuduWriter]) -> KuduWriter:
    return connect()


Make = Callable[..., TableSchema]


@pytest.fixture
def make(writer: KuduWriter) -> Iterator[Make]:
    """Makes a table of these columns behind the key; it is gone after the test."""
    made = []

    def make_one(*columns: KuduColumn, key: Sequence[KuduColumn] = (KEY,), **more: Any) -> TableSchema:
        schema = new_schema(key, columns, **more)
        assert writer.create(schema)
        made.append(schema.name)
        return schema

    yield make_one
    for name in made:
        if name in writer.tables():
            writer.drop(name)


def batch(schema: TableSchema, operations: Operation | Sequence[Operation], **cells: Sequence[Any]) -> RowBatch:
    """Rows for a table, column by column."""
    count = len(next(iter(cells.values())))
    codes = [operations] * count if isinstance(operations, Operation) else operations
    columns = []
    for name, values in cells.items():
        given = np.array([value is not ABSENT for value in values], dtype=np.uint8)
        array = pa.array([None if value is ABSENT else value for value in values], schema.column(name).arrow_type)
        columns.append(ColumnValues(name, array, None if given.all() else given))
    return RowBatch(np.array(codes, dtype=np.uint8), tuple(columns))


def by_key(writer: KuduWriter, schema: TableSchema, column: str) -> dict[Any, Any]:
    return dict(stored(writer, schema.name, schema.key[0], column))


def codes(failures: Sequence[RowFailure]) -> list[tuple[int, int, str]]:
    return sorted((failure.batch, failure.row, failure.error.code) for failure in failures)


# --- values -----------------------------------------------------------------------------------------------------------


def _decimals(precision: int, scale: int) -> list[Decimal]:
    most = Decimal((0, (9,) * precision, -scale))
    return [
        most,
        most.copy_negate(),
        Decimal((0, (1,), -scale)),
        Decimal((1, (1,), -scale)),
        Decimal((0, (0,), -scale)),
    ]


def _integers(bits: int) -> list[int]:
    return [-(1 << (bits - 1)), -1, 0, 1, (1 << (bits - 1)) - 1]


TEXTS = ["", "a", "é€😀", "x\0y", "'\"\\\n\r\t,=", "\x7f\x80\u2028", 'b", int32 key=7']
BYTES = [b"", b"\0", b"\x000aAgf\n0\xff9", b"\xff\xfe\0\x80", b"'\"\\\n\r\t,=", bytes(range(256))]
TIMES = [
    datetime(1, 1, 1, tzinfo=UTC), datetime(999, 12, 31, 23, tzinfo=UTC), datetime(1582, 10, 10, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]  # fmt: skip
DATES = [date(1, 1, 1), date(999, 2, 3), date(1582, 10, 15), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)]
# For each type that a key may have: the column, and values that differ.
KEYS = [
    (KuduColumn("k", KuduType.INT8, key=True), _integers(8)),
    (KuduColumn("k", KuduType.INT16, key=True), _integers(16)),
    (KuduColumn("k", KuduType.INT32, key=True), _integers(32)),
    (KuduColumn("k", KuduType.INT64, key=True), _integers(64)),
    (KuduColumn("k", KuduType.STRING, key=True), [*TEXTS, "y" * 10_000]),
    (KuduColumn("k", KuduType.VARCHAR, key=True, length=100), [*TEXTS, "é" * 100]),
    (KuduColumn("k", KuduType.BINARY, key=True), [*BYTES, b"\0" * 5000]),
    (KuduColumn("k", KuduType.UNIXTIME_MICROS, key=True), TIMES),
    (KuduColumn("k", KuduType.DATE, key=True), DATES),
    (KuduColumn("k", KuduType.DECIMAL, key=True, precision=9, scale=2), _decimals(9, 2)),
    (KuduColumn("k", KuduType.DECIMAL, key=True, precision=18, scale=0), _decimals(18, 0)),
    (KuduColumn("k", KuduType.DECIMAL, key=True, precision=38, scale=38), _decimals(38, 38)),
]
FLOATS = [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan")]
VALUES = [
    *((replace(column, name="value", key=False, nullable=True), values) for column, values in KEYS),
    (KuduColumn("value", KuduType.BOOL, nullable=True), [True, False]),
    (KuduColumn("value", KuduType.FLOAT, nullable=True), [*FLOATS, 1.401298464324817e-45, 3.4028234663852886e38]),
    (KuduColumn("value", KuduType.DOUBLE, nullable=True), [*FLOATS, 5e-324, 1.7976931348623157e308]),
    (KuduColumn("value", KuduType.STRING, nullable=True), ["x" * 65_536, "é" * 32_768]),
    (KuduColumn("value", KuduType.VARCHAR, nullable=True, length=5), ["abcde", "é€ñé€", ""]),
    (KuduColumn("value", KuduType.BINARY, nullable=True), [b"\0" * 65_536]),
    (KuduColumn("value", KuduType.DECIMAL, nullable=True, precision=38, scale=6), _decimals(38, 6)),
]


def _label(value: Any) -> str | None:
    return value.type_text if isinstance(value, KuduColumn) else ""


@pytest.mark.parametrize(("column", "values"), VALUES, ids=_label)
def test_extremes_of_every_type_come_back_as_they_were_written(
    writer: KuduWriter, make: Make, column: KuduColumn, values: list[Any]
) -> None:
    schema = make(column)
    cells = [*values, None, *values]
    assert writer.write(schema.name, [batch(schema, UPSERT, key=range(len(cells)), value=cells)]) == []
    found = by_key(writer, schema, "value")
    assert [repr(found[number]) for number in range(len(cells))] == [
        repr(value) for value in pa.array(cells, column.arrow_type).to_pylist()
    ]
    assert writer.scan(schema.name, ["value"]).schema.field("value").type == column.arrow_type


@pytest.mark.parametrize(("column", "values"), KEYS, ids=_label)
def test_failed_row_is_found_whatever_its_key_is(
    writer: KuduWriter, make: Make, column: KuduColumn, values: list[Any]
) -> None:
    schema = make(TEXT, key=(column,))
    half = values[::2]
    assert writer.write(schema.name, [batch(schema, INSERT, k=half, text=["first"] * len(half))]) == []
    failures = writer.write(schema.name, [batch(schema, INSERT, k=values, text=["second"] * len(values))])
    assert codes(failures) == [(0, number, EXISTS) for number in range(0, len(values), 2)]
    found = by_key(writer, schema, "text")
    assert found == {value: "second" if number % 2 else "first" for number, value in enumerate(values)}


def test_failed_row_is_found_by_a_key_of_every_type_at_once(writer: KuduWriter, make: Make) -> None:
    key = [replace(column, name=f'k, {n}="') for n, (column, _) in enumerate(KEYS)]
    schema = make(TEXT, key=key)
    shortest = [sorted(values, key=lambda v: len(repr(v)))[:3] for _, values in KEYS]
    cells = {c.name: [values[row % len(values)] for row in range(3)] for c, values in zip(key, shortest, strict=True)}
    assert writer.write(schema.name, [batch(schema, INSERT, **{n: v[1:2] for n, v in cells.items()})]) == []
    assert codes(writer.write(schema.name, [batch(schema, INSERT, **cells)])) == [(0, 1, EXISTS)]


def test_every_day_there_may_be_comes_back(writer: KuduWriter, make: Make) -> None:
    schema = make(KuduColumn("value", KuduType.DATE, nullable=True))
    days = [date(1582, 10, day) for day in range(1, 32)]  # ten of them are missing in the calendar of java.sql.Date
    assert writer.write(schema.name, [batch(schema, UPSERT, key=range(31), value=days)]) == []
    assert by_key(writer, schema, "value") == dict(enumerate(days))


def test_varchar_is_written_whole_or_not_at_all(writer: KuduWriter, make: Make) -> None:
    schema = make(KuduColumn("value", KuduType.VARCHAR, nullable=True, length=5))
    failures = writer.write(schema.name, [batch(schema, UPSERT, key=[1, 2], value=["12345", "😀2345"])])
    found = by_key(writer, schema, "value")
    assert found.pop(1) == "12345"
    # Java's client counts in units of UTF-16, of which this picture takes two.
    assert (codes(failures), found) in (([], {2: "😀2345"}), ([(0, 1, "kudu.cell_too_long")], {}))


@pytest.mark.parametrize(
    ("column", "cell", "code"),
    [
        pytest.param(replace(TEXT, name="value"), "x" * 65_537, "kudu.cell_too_long", id="text-of-64-KiB-and-one-byte"),
        pytest.param(
            KuduColumn("value", KuduType.BINARY, nullable=True), b"x" * 70_000, "kudu.cell_too_long", id="long-binary"
        ),
        pytest.param(
            KuduColumn("value", KuduType.VARCHAR, nullable=True, length=5), "éééééé", "kudu.cell_too_long", id="varchar"
        ),
        pytest.param(KuduColumn("value", KuduType.INT8), None, "kudu.missing_value", id="null-where-none-may-be"),
        pytest.param(KuduColumn("value", KuduType.INT8), ABSENT, "kudu.missing_value", id="required-and-absent"),
    ],
)
def test_cell_that_kudu_does_not_take_fails_its_row_only(
    writer: KuduWriter, make: Make, column: KuduColumn, cell: Any, code: str
) -> None:
    schema = make(column)
    good: Any = {KuduType.INT8: 1, KuduType.BINARY: b"good"}.get(column.type, "good")
    failures = writer.write(schema.name, [batch(schema, INSERT, key=[1, 2, 3], value=[good, cell, good])])
    assert codes(failures) == [(0, 1, code)]
    assert "value" in str(failures[0].error)
    assert stored(writer, schema.name, "key") == [(1,), (3,)]


def test_key_that_is_too_long_fails_its_row_only(writer: KuduWriter, make: Make) -> None:
    schema = make(key=(KuduColumn("k", KuduType.STRING, key=True),))
    failures = writer.write(schema.name, [batch(schema, UPSERT, k=["a", "x" * 20_000, "b"])])
    assert codes(failures) == [(0, 1, "kudu.cell_too_long")]
    assert stored(writer, schema.name) == [("a",), ("b",)]


@pytest.mark.parametrize("operation", Operation)
@pytest.mark.parametrize("cell", [None, ABSENT], ids=["null", "absent"])
def test_row_without_its_key_fails_alone(writer: KuduWriter, make: Make, operation: Operation, cell: Any) -> None:
    schema = make(TEXT, key=(KEY, replace(KEY, name="other")))
    failures = writer.write(schema.name, [batch(schema, operation, key=[1, 2], other=[cell, 7])])
    assert (0, 0) in [(failure.batch, failure.row) for failure in failures]
    assert not failures[0].error.retryable
    kept = writer.write(schema.name, [batch(schema, operation, key=[1], other=[8]), batch(schema, UPSERT, key=[2])])
    assert (1, 0) in [(failure.batch, failure.row) for failure in kept]


def test_null_replaces_a_value(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    writer.write(schema.name, [batch(schema, INSERT, key=[1, 2], text=["a", "b"], number=[1, 2])])
    writer.write(schema.name, [batch(schema, [UPDATE, UPSERT], key=[1, 2], text=[None, None])])
    assert stored(writer, schema.name) == [(1, None, 1), (2, None, 2)]


def test_absent_column_keeps_its_value_or_takes_its_default(writer: KuduWriter, make: Make) -> None:
    schema = make(
        replace(TEXT, default="none said"), replace(NUMBER, nullable=False, default=0), replace(TEXT, name="plain")
    )
    first = batch(
        schema, [INSERT, INSERT, UPSERT], key=[1, 2, 3],
        text=[ABSENT, "b", None], number=[ABSENT, 2, ABSENT], plain=[ABSENT, ABSENT, "c"],
    )  # fmt: skip
    assert writer.write(schema.name, [first]) == []
    assert stored(writer, schema.name) == [(1, "none said", 0, None), (2, "b", 2, None), (3, None, 0, "c")]
    second = batch(
        schema, [UPSERT, UPDATE, UPSERT], key=[1, 2, 3],
        text=["a", ABSENT, ABSENT], number=[ABSENT, 22, 33], plain=["x", ABSENT, ABSENT],
    )  # fmt: skip
    assert writer.write(schema.name, [second]) == []
    assert stored(writer, schema.name) == [(1, "a", 0, "x"), (2, "b", 22, None), (3, None, 33, "c")]


@pytest.mark.parametrize(
    "default",
    [
        *(pytest.param((column, values[0]), id=column.type_text) for column, values in VALUES[:15]),
        pytest.param((KuduColumn("value", KuduType.DOUBLE, nullable=True), float("-inf")), id="infinity"),
    ],
)
def test_default_of_every_type_is_known_and_used(
    writer: KuduWriter, make: Make, default: tuple[KuduColumn, Any]
) -> None:
    column, value = default
    schema = make(replace(column, default=value, nullable=False))
    assert writer.schema(schema.name).column("value").default == value
    assert writer.write(schema.name, [batch(schema, INSERT, key=[1])]) == []
    assert by_key(writer, schema, "value") == {1: value}


# --- operations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "code_where_it_exists", "found", "code_where_it_is_missing", "made"),
    [
        (INSERT, EXISTS, "old", None, "new"),
        (INSERT_IGNORE, None, "old", None, "new"),
        (UPSERT, None, "new", None, "new"),
        (UPSERT_IGNORE, None, "new", None, "new"),
        (UPDATE, None, "new", MISSING, None),
        (UPDATE_IGNORE, None, "new", None, None),
        (DELETE, None, None, MISSING, None),
        (DELETE_IGNORE, None, None, None, None),
    ],
    ids=lambda value: value.name if isinstance(value, Operation) else "",
)
def test_operation(
    writer: KuduWriter, make: Make, operation: Operation, code_where_it_exists: str | None, found: str | None,
    code_where_it_is_missing: str | None, made: str | None,
) -> None:  # fmt: skip
    schema = make(TEXT)
    writer.write(schema.name, [batch(schema, INSERT, key=[1], text=["old"])])
    cells = {} if operation.deletes else {"text": ["new", "new"]}
    failures = writer.write(schema.name, [batch(schema, operation, key=[1, 2], **cells)])
    expected = [(0, 0, code_where_it_exists), (0, 1, code_where_it_is_missing)]
    assert codes(failures) == [each for each in expected if each[2] is not None]
    assert by_key(writer, schema, "text") == {k: v for k, v in ((1, found), (2, made)) if v is not None}


def test_delete_leaves_out_what_is_not_key_and_update_of_nothing_is_refused(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    writer.write(schema.name, [batch(schema, INSERT, key=[1, 2], text=["old", "old"])])
    failures = writer.write(schema.name, [batch(schema, [DELETE, UPDATE], key=[1, 2], text=["x", ABSENT])])
    assert codes(failures) == [(0, 1, "kudu.refused")]
    assert by_key(writer, schema, "text") == {2: "old"}


@pytest.mark.parametrize(
    ("operation", "code", "text", "number"),
    [
        (UPSERT, "kudu.immutable_column", "old", 1),
        (UPDATE, "kudu.immutable_column", "old", 1),
        (UPSERT_IGNORE, None, "old", 2),
        (UPDATE_IGNORE, None, "old", 2),
    ],
)
def test_immutable_column_keeps_what_was_written_first(
    writer: KuduWriter, make: Make, operation: Operation, code: str | None, text: str, number: int
) -> None:
    schema = make(replace(TEXT, immutable=True), NUMBER)
    assert writer.schema(schema.name).column("text").immutable
    writer.write(schema.name, [batch(schema, UPSERT, key=[1], text=["old"], number=[1])])
    failures = writer.write(schema.name, [batch(schema, operation, key=[1], text=["new"], number=[2])])
    assert codes(failures) == ([(0, 0, code)] if code else [])
    assert stored(writer, schema.name) == [(1, text, number)]


def test_rows_whose_key_is_not_unique_are_numbered_by_the_server(kudu: LocalKudu, writer: KuduWriter) -> None:
    java: Any = connecting.connect(KuduSettings(kudu.masters))  # declarations of ours make no such table
    import jpype

    columns, hashed = jpype.java.util.ArrayList(), jpype.java.util.ArrayList()
    builder, kinds = java._kudu.ColumnSchema.ColumnSchemaBuilder, java._kudu.Type
    columns.add(builder("key", kinds.INT32).nonUniqueKey(True).build())
    columns.add(builder("text", kinds.STRING).nullable(True).build())
    hashed.add("key")
    options = java._kudu.client.CreateTableOptions().addHashPartitions(hashed, 2)
    name = f"test_{uuid.uuid4().hex}"
    java._client.createTable(name, java._kudu.Schema(columns), options)
    java.close()
    schema = writer.schema(name)
    number = schema.columns[1]
    assert (number.auto_incrementing, number.key, number.required) == (True, True, False)
    failures = writer.write(name, [batch(schema, INSERT, key=[1, 1, 1], text=["a", "x" * 65_537, "b"])])
    assert codes(failures) == [(0, 1, "kudu.cell_too_long")]
    assert [(key, text) for key, _, text in stored(writer, schema.name)] == [(1, "a"), (1, "b")]
    keys = [n for _, n, _ in stored(writer, schema.name)]
    steps: list[tuple[Operation, Any, Any, list[str]]] = [
        (UPDATE, keys[0], "c", []),
        (UPDATE, ABSENT, "d", ["kudu.refused"]),
        (DELETE, keys[1], ABSENT, []),
        (INSERT, 7, "d", ["kudu.refused"]),
        (UPSERT, ABSENT, "d", ["kudu.refused"]),
        (UPSERT, 8, "d", []),
    ]
    for (
        operation,
        at,
        text,
        refused,
    ) in steps:  # one by one: such a row takes others of its flush along in Java's client
        one = batch(schema, operation, key=[1], text=[text], **{number.name: [at]})
        assert [failure.error.code for failure in writer.write(name, [one])] == refused
    assert stored(writer, schema.name) == [(1, keys[0], "c"), (1, 8, "d")]
    with pytest.raises(KuduRefused):
        writer.create(replace(schema, name=f"{name}_2"))
    writer.drop(name)


# --- order, batches and failures among many ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", FLUSH_MODES)
def test_rows_of_one_key_arrive_in_their_order(connect: Callable[..., KuduWriter], make: Make, mode: str) -> None:
    schema = make(TEXT)
    writer = connect(flush_mode=mode, batch_rows=100)
    steps = [INSERT, UPDATE, DELETE, INSERT]
    keys = [*range(50), *[1000] * 4, *range(50, 100), *[1001] * 4]
    operations = [*[INSERT] * 50, *steps, *[INSERT] * 50, *steps]
    texts = [ABSENT if operation is DELETE else f"{number}" for number, operation in enumerate(operations)]
    assert writer.write(schema.name, [batch(schema, operations, key=keys, text=texts)]) == []
    found = by_key(writer, schema, "text")
    assert len(found) == 102
    assert (found[1000], found[1001]) == ("53", "107")


@pytest.mark.parametrize("mode", FLUSH_MODES)
def test_last_of_many_upserts_of_one_key_wins(connect: Callable[..., KuduWriter], make: Make, mode: str) -> None:
    schema = make(NUMBER)
    writer = connect(flush_mode=mode)
    halves = [batch(schema, UPSERT, key=[7] * 2500, number=range(start, start + 2500)) for start in (0, 2500)]
    assert writer.write(schema.name, halves) == []
    assert stored(writer, schema.name) == [(7, 4999)]


@pytest.mark.parametrize("mode", FLUSH_MODES)
def test_second_insert_of_a_key_in_one_call_is_the_one_that_fails(
    connect: Callable[..., KuduWriter], make: Make, mode: str
) -> None:
    schema = make(TEXT)
    failures = connect(flush_mode=mode).write(
        schema.name,
        [
            batch(schema, INSERT, key=[1, 2, 1, 3], text=["a", "a", "b", "a"]),
            batch(schema, INSERT, key=[4, 2, 1], text=["a", "b", "c"]),
        ],
    )
    assert codes(failures) == [(0, 2, EXISTS), (1, 1, EXISTS), (1, 2, EXISTS)]
    assert by_key(writer=connect(), schema=schema, column="text") == dict.fromkeys([1, 2, 3, 4], "a")


@pytest.mark.parametrize("mode", FLUSH_MODES)
@pytest.mark.parametrize("batch_rows", [7, 1000])
def test_failures_among_a_thousand_rows_have_their_numbers(
    connect: Callable[..., KuduWriter], make: Make, mode: str, batch_rows: int
) -> None:
    schema = make(TEXT, NUMBER, hashes=(HashPartition(("key",), 4),))
    writer = connect(flush_mode=mode, batch_rows=batch_rows)
    there = [3, 500, 501, 998]
    assert writer.write(schema.name, [batch(schema, INSERT, key=there, text=["old"] * 4)]) == []
    operations = [DELETE if n in (10, 999) else UPDATE if n == 20 else INSERT for n in range(1000)]
    texts: list[Any] = [ABSENT if operation is DELETE else "new" for operation in operations]
    texts[700] = "x" * 65_537
    failures = writer.write(schema.name, [batch(schema, operations, key=range(1000), text=texts)])
    expected = [(n, EXISTS) for n in there] + [(n, MISSING) for n in (10, 20, 999)] + [(700, "kudu.cell_too_long")]
    assert codes(failures) == sorted((0, *each) for each in expected)
    assert writer.count(schema.name) == 1000 - 4


def test_failure_names_its_batch_and_its_row(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    writer.write(schema.name, [batch(schema, INSERT, key=[5], text=["old"])])
    parts = [
        batch(schema, INSERT, key=[1, 2]),
        batch(schema, INSERT, key=[]),
        batch(schema, INSERT, text=["a", "b", "c"], key=[3, 5, 4]),
        batch(schema, UPDATE, key=[99], text=["x"]),
    ]
    assert codes(writer.write(schema.name, parts)) == [(2, 1, EXISTS), (3, 0, MISSING)]
    assert writer.count(schema.name) == 5


def test_nothing_to_write_is_written(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    assert writer.write(schema.name, []) == []
    assert writer.write(schema.name, [batch(schema, INSERT, key=[])]) == []


@pytest.mark.parametrize("mode", FLUSH_MODES)
@pytest.mark.parametrize(
    "limits",
    [{"batch_rows": 1}, {"batch_rows": 7}, {"batch_bytes": 1}, {"batch_bytes": 100_000}, {"batch_rows": 100_000}],
    ids=str,
)
def test_batch_larger_than_a_flush_arrives_whole(
    connect: Callable[..., KuduWriter], make: Make, limits: Mapping[str, int], mode: str
) -> None:
    schema = make(TEXT)
    texts = [f"{n}" * (n * 97 % 5000) for n in range(300)]
    whole = batch(schema, UPSERT, key=range(300), text=texts)
    assert connect(flush_mode=mode, **limits).write(schema.name, [whole]) == []
    assert by_key(connect(), schema, "text") == dict(enumerate(texts))


def test_twenty_megabytes_in_one_call(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    texts = [f"{n:05}" + "x" * 60_000 for n in range(350)]
    assert writer.write(schema.name, [batch(schema, UPSERT, key=range(350), text=texts)]) == []
    assert by_key(writer, schema, "text") == dict(enumerate(texts))


@pytest.mark.parametrize(("start", "stop"), [(0, 100), (1, 100), (3, 12), (8, 16), (13, 77), (99, 100), (50, 50)])
def test_slices_of_arrow_arrays_are_read_where_they_lie(writer: KuduWriter, make: Make, start: int, stop: int) -> None:
    schema = make(*(replace(column, name=f"c{n}") for n, (column, _) in enumerate(VALUES)))
    cells = {"key": list(range(100))}
    for number, (_, values) in enumerate(VALUES):
        short = [v for v in values if len(str(v)) < 400]
        cells[f"c{number}"] = [None if n % 3 == 0 else short[n % len(short)] if short else None for n in range(100)]
    whole = batch(schema, UPSERT, **cells)
    columns = tuple(
        ColumnValues(c.name, c.values[start:stop], np.array([n % 5 != 1 for n in range(start, stop)], dtype=np.uint8))
        if c.name != "key"
        else ColumnValues(c.name, c.values[start:stop])
        for c in whole.columns
    )
    assert writer.write(schema.name, [RowBatch(whole.operations[start:stop], columns)]) == []
    found = writer.scan(schema.name).sort_by("key").to_pydict()
    for column in whole.columns:
        expected = column.values.to_pylist()[start:stop]
        if column.name != "key":
            expected = [None if n % 5 == 1 else value for n, value in enumerate(expected, start)]
        assert repr(found[column.name]) == repr(expected), column.name


# --- tables -----------------------------------------------------------------------------------------------------------


def test_table_is_described_as_it_was_made(writer: KuduWriter, make: Make) -> None:
    month = datetime(2026, 1, 1, tzinfo=UTC)
    schema = make(
        KuduColumn("a", KuduType.STRING, nullable=True, encoding="dict", compression="lz4", comment="words, é"),
        KuduColumn("b", KuduType.INT32, encoding="bit_shuffle", compression="zlib", default=-1),
        KuduColumn("c", KuduType.DECIMAL, nullable=True, precision=20, scale=3, default=Decimal("-1.500")),
        KuduColumn(
            "d", KuduType.VARCHAR, nullable=True, length=9, immutable=True, encoding="plain", compression="none"
        ),
        KuduColumn("e", KuduType.BOOL, default=False, encoding="rle", compression="snappy"),
        KuduColumn("f", KuduType.STRING, nullable=True, encoding="prefix"),
        key=(
            KuduColumn("at", KuduType.UNIXTIME_MICROS, key=True),
            KuduColumn("host", KuduType.STRING, key=True, comment="a key"),
            KEY,
        ),
        hashes=(HashPartition(("host", "key"), 2), HashPartition(("at",), 3)),
        range_columns=("at",),
        ranges=(Range((month,), (month + timedelta(days=31),)),),
        comment="a table, é",
    )
    found = writer.schema(schema.name)
    assert found == replace(schema, ranges=())
    assert writer.ranges(schema.name) == list(schema.ranges)


def test_table_that_is_there_is_not_made_again(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    assert schema.name in writer.tables()
    assert writer.create(replace(schema, columns=(KEY,))) is False
    assert len(writer.schema(schema.name, refresh=True).columns) == 2
    writer.drop(schema.name)
    assert schema.name not in writer.tables()


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(KuduColumn("x", KuduType.INT32, nullable=True, encoding="dict"), id="numbers-in-a-dictionary"),
        pytest.param(KuduColumn("x", KuduType.STRING, nullable=True, encoding="group_varint"), id="text-as-varint"),
        pytest.param(KuduColumn("x\0", KuduType.STRING, nullable=True), id="name-with-a-zero-byte"),
    ],
)
def test_table_that_kudu_does_not_take_is_refused(writer: KuduWriter, column: KuduColumn) -> None:
    with pytest.raises(KuduRefused):
        writer.create(TableSchema(f"test_{uuid.uuid4().hex}", (KEY, column), replicas=1))


def test_more_replicas_than_servers_is_said(writer: KuduWriter) -> None:
    name = f"test_{uuid.uuid4().hex}"
    with pytest.raises(WarehouseError, match="tablet servers"):
        writer.create(TableSchema(name, (KEY,), replicas=3))
    assert name not in writer.tables()


def test_columns_are_added_once(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    writer.write(schema.name, [batch(schema, INSERT, key=[1], text=["a"])])
    added = [
        KuduColumn("count", KuduType.INT32, default=0, encoding="bit_shuffle", comment="how many"),
        KuduColumn("price", KuduType.DECIMAL, nullable=True, precision=38, scale=2, default=Decimal("-0.01")),
        KuduColumn("short", KuduType.VARCHAR, nullable=True, length=3, immutable=True, compression="lz4"),
    ]
    writer.add_columns(schema.name, added[:1])
    writer.add_columns(schema.name, [replace(added[0], type=KuduType.STRING, default=None, nullable=True, encoding=None),
                                     *added[1:]])  # fmt: skip
    writer.add_columns(schema.name, added)
    assert writer.schema(schema.name, refresh=True).columns == (*schema.columns, *added)
    assert stored(writer, schema.name) == [(1, "a", 0, Decimal("-0.01"), None)]


def test_required_column_without_default_cannot_be_added(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    with pytest.raises(KuduRefused):
        writer.add_columns(schema.name, [KuduColumn("new", KuduType.INT32)])


NOWHERE = "test_there_is_no_such_table"


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda w, s: w.write(NOWHERE, [batch(s, UPSERT, key=[1])]), id="write"),
        pytest.param(lambda w, s: w.schema(NOWHERE), id="schema"),
        pytest.param(lambda w, s: w.drop(NOWHERE), id="drop"),
        pytest.param(lambda w, s: w.add_columns(NOWHERE, [TEXT]), id="add_columns"),
        pytest.param(lambda w, s: w.ranges(NOWHERE), id="ranges"),
        pytest.param(lambda w, s: w.add_range(NOWHERE, Range((1,), (2,))), id="add_range"),
        pytest.param(lambda w, s: w.drop_range(NOWHERE, Range((1,), (2,))), id="drop_range"),
        pytest.param(lambda w, s: w.scan(NOWHERE), id="scan"),
        pytest.param(lambda w, s: w.count(NOWHERE), id="count"),
        pytest.param(lambda w, s: w.statistics(NOWHERE), id="statistics"),
    ],
)
def test_missing_table_is_said(writer: KuduWriter, call: Callable[[KuduWriter, TableSchema], Any]) -> None:
    with pytest.raises(KuduTableMissing, match=NOWHERE):
        call(writer, TableSchema(NOWHERE, (KEY, TEXT)))


def test_scan_takes_chosen_columns_and_a_limit(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    writer.write(schema.name, [batch(schema, UPSERT, key=range(5000), text=["t"] * 5000)])
    assert writer.count(schema.name) == 5000
    assert writer.scan(schema.name).num_rows == 5000
    found = writer.scan(schema.name, ["number", "key"], limit=10)
    assert found.column_names == ["number", "key"]
    assert found.num_rows == 10
    assert writer.scan(schema.name, limit=0).num_rows == 0


def test_scan_takes_rows_from_a_time_on(writer: KuduWriter, make: Make) -> None:
    schema = make(KuduColumn("at", KuduType.UNIXTIME_MICROS, nullable=True), TEXT)
    writer.write(schema.name, [batch(schema, UPSERT, key=range(len(TIMES)), at=TIMES), batch(schema, UPSERT, key=[99])])
    found = writer.scan(schema.name, ["key", "at"], since=("at", TIMES[3]))
    assert sorted(found["at"].to_pylist()) == TIMES[3:]
    assert writer.scan(schema.name, ["key"], since=("at", TIMES[-1])).to_pydict() == {"key": [len(TIMES) - 1]}
    with pytest.raises(KuduRefused):
        writer.scan(schema.name, since=("nothing", TIMES[0]))


def test_rows_of_one_range_are_counted(connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make) -> None:
    parts = (Range(None, (10,)), Range((10,), (20,)))
    schema = make(TEXT, range_columns=("key",), ranges=parts, hashes=(HashPartition(("key",), 2),))
    writer.write(schema.name, [batch(schema, UPSERT, key=range(5, 20))])
    assert connect().add_range(schema.name, Range((20,), None))
    assert [writer.count(schema.name, part) for part in parts] == [5, 10]
    assert writer.count(schema.name, Range((10,), (15,))) == 0
    assert writer.count(schema.name) == 15


def test_ranges_that_have_rows_are_told(writer: KuduWriter, make: Make) -> None:
    parts = [Range(None, (10,)), Range((10,), (20,)), Range((20,), (30,)), Range((40,), None)]
    schema = make(TEXT, range_columns=("key",), ranges=parts, hashes=(HashPartition(("key",), 4),))
    assert writer.ranges_with_rows(schema.name, parts) == set()
    writer.write(schema.name, [batch(schema, UPSERT, key=[-7, 25, 41])])
    assert writer.ranges_with_rows(schema.name, parts) == {parts[0], parts[2], parts[3]}
    assert writer.ranges_with_rows(schema.name, parts[:2]) == {parts[0]}
    assert writer.ranges_with_rows(schema.name, []) == set()
    assert writer.ranges_with_rows(schema.name, [Range((20,), (25,)), Range((50,), (60,))]) == set()
    writer.write(schema.name, [batch(schema, DELETE, key=[25])])
    assert writer.ranges_with_rows(schema.name, parts) == {parts[0], parts[3]}


def test_ranges_that_others_add_and_drop_are_told_as_they_are_now(
    connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make
) -> None:
    parts = [Range((start,), (start + 10,)) for start in (0, 10, 20)]
    schema = make(TEXT, range_columns=("key",), ranges=parts[:2], hashes=(HashPartition(("key",), 2),))
    failures = writer.write(schema.name, [batch(schema, UPSERT, key=[5, 15, 25])])
    assert codes(failures) == [(0, 2, NO_RANGE)]  # from here on the client remembers that the range is missing
    assert writer.ranges_with_rows(schema.name, parts) == set(parts[:2])
    other = connect()
    assert other.add_range(schema.name, parts[2])
    assert other.write(schema.name, [batch(schema, UPSERT, key=[25])]) == []
    assert writer.ranges_with_rows(schema.name, parts) == set(parts)
    assert other.drop_range(schema.name, parts[0])
    # A server answers for a tablet until it has heard of the drop.
    assert until(lambda: writer.ranges_with_rows(schema.name, parts) == set(parts[1:]))
    assert other.add_range(schema.name, parts[0])
    assert writer.ranges_with_rows(schema.name, parts) == set(parts[1:])


def test_one_row_is_enough_to_tell_that_a_range_has_some(kudu: LocalKudu, writer: KuduWriter, make: Make) -> None:
    parts = [Range((0,), (1000,)), Range((1000,), (2000,))]
    schema = make(TEXT, range_columns=("key",), ranges=parts, hashes=(HashPartition(("key",), 2),))
    writer.write(schema.name, [batch(schema, UPSERT, key=range(2000))])

    def read() -> int:
        address = f"{kudu.web(0)}/metrics?metrics=scanner_rows_returned"
        with urllib.request.urlopen(address, timeout=10) as page:  # noqa: S310 - loopback
            tablets = json.load(page)
        return sum(
            tablet["metrics"][0]["value"] for tablet in tablets if tablet["attributes"].get("table_name") == schema.name
        )

    before = read()
    assert writer.ranges_with_rows(schema.name, parts) == set(parts)
    assert read() - before == 2


def test_clock_is_that_of_the_servers(connect: Callable[..., KuduWriter], make: Make) -> None:
    schema = make(TEXT)
    writer = connect()
    assert writer.clock() is None
    writer.count(schema.name)
    found = writer.clock()
    assert found is not None
    assert abs(found - datetime.now(UTC)) < timedelta(minutes=1)  # the servers run on this machine


def test_table_without_rows_is_scanned(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    assert writer.scan(schema.name).to_pydict() == {"key": [], "text": []}
    assert writer.count(schema.name) == 0


def test_statistics_are_numbers(writer: KuduWriter, make: Make) -> None:
    found = writer.statistics(make(TEXT).name)
    assert sorted(found) == ["bytes", "rows"]
    assert all(type(value) is int and value >= -1 for value in found.values())


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_ranges_are_added_and_dropped(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)),))
    assert writer.add_range(schema.name, Range((10,), (20,))) is True
    assert writer.add_range(schema.name, Range((10,), (20,))) is False
    assert writer.add_range(schema.name, Range(None, (-10,))) is True
    assert writer.add_range(schema.name, Range((100,), None)) is True
    expected = [Range(None, (-10,)), Range((0,), (10,)), Range((10,), (20,)), Range((100,), None)]
    assert writer.ranges(schema.name) == expected
    for overlapping in (Range((5,), (12,)), Range((0,), (9,)), Range(None, None), Range((15,), (30,))):
        with pytest.raises(KuduRefused):
            writer.add_range(schema.name, overlapping)
    for wrong in (Range((30,), (30,)), Range((40,), (30,))):
        with pytest.raises(KuduRefused):
            writer.add_range(schema.name, wrong)
    writer.write(schema.name, [batch(schema, UPSERT, key=[5, 15, -20, 1000])])
    assert writer.drop_range(schema.name, Range((0,), (10,))) is True
    assert writer.drop_range(schema.name, Range((0,), (10,))) is False
    assert writer.drop_range(schema.name, Range((10,), (15,))) is False
    assert writer.drop_range(schema.name, Range(None, (-10,))) is True
    assert writer.ranges(schema.name) == expected[2:]
    assert stored(writer, schema.name, "key") == [(1000,), (15,)]


@pytest.mark.parametrize(("column", "values"), KEYS, ids=_label)
def test_bounds_of_every_type_come_back(writer: KuduWriter, make: Make, column: KuduColumn, values: list[Any]) -> None:
    ends = sorted(value for value in values if len(str(value)) < 400)
    parts = [Range((lower,), (upper,)) for lower, upper in itertools.pairwise(ends)]
    parts[-1] = replace(parts[-1], upper=None)
    if not ends[0]:
        parts[0] = replace(parts[0], lower=None)  # nothing is before an empty text
    schema = make(key=(column,), range_columns=("k",), ranges=parts, hashes=(HashPartition(("k",), 2),))
    assert writer.ranges(schema.name) == parts
    assert writer.schema(schema.name).range_columns == ("k",)
    assert writer.drop_range(schema.name, parts[1]) is True
    assert writer.ranges(schema.name) == [parts[0], *parts[2:]]
    assert writer.add_range(schema.name, parts[1]) is True


def test_bounds_of_several_columns_come_back(writer: KuduWriter, make: Make) -> None:
    key = [replace(column, name=f"k{number}") for number, (column, _) in enumerate(KEYS)]
    low = tuple(sorted(values)[1] for _, values in KEYS)
    high = tuple(sorted(values)[2] for _, values in KEYS)
    names = tuple(column.name for column in key)
    schema = make(
        key=key,
        hashes=(HashPartition(("k1", "k4"), 2),),
        range_columns=names,
        ranges=(Range(low, high), Range(high, None)),
    )
    assert writer.ranges(schema.name) == [Range(low, high), Range(high, None)]
    reversed_names = tuple(reversed(names))
    other = make(key=key, range_columns=reversed_names, ranges=(Range(None, low[::-1]), Range(low[::-1], high[::-1])))
    assert writer.ranges(other.name) == [Range(None, low[::-1]), Range(low[::-1], high[::-1])]
    assert writer.schema(other.name).range_columns == reversed_names


def test_table_without_ranges_has_none(writer: KuduWriter, make: Make) -> None:
    assert writer.ranges(make(TEXT).name) == []


def test_row_outside_of_every_range_fails_alone(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)), Range((20,), (30,))))
    keys = [-1, 0, 9, 10, 19, 20, 30, 5]
    failures = writer.write(schema.name, [batch(schema, UPSERT, key=keys, text=["x"] * 8)])
    assert codes(failures) == [(0, row, NO_RANGE) for row in (0, 3, 4, 6)]
    assert stored(writer, schema.name, "key") == [(0,), (20,), (5,), (9,)]


def test_table_whose_last_range_is_dropped_takes_rows_once_there_is_one(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)),))
    assert writer.schema(schema.name).range_columns == ("key",)
    assert writer.drop_range(schema.name, Range((0,), (10,)))
    failures = writer.write(schema.name, [batch(schema, UPSERT, key=[5], text=["x"])])
    assert [failure.error.code for failure in failures] == [NO_RANGE]
    assert writer.add_range(schema.name, Range((0,), (10,)))
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[5], text=["x"])]) == []


def test_rows_of_a_dropped_range_fail(connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)), Range((10,), (20,))))
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[5, 15])]) == []
    assert connect().drop_range(schema.name, Range((0,), (10,)))
    both = batch(schema, UPSERT, key=[5, 15])
    # A server takes rows until it has heard of the drop.
    assert until(lambda: codes(writer.write(schema.name, [both])) == [(0, 0, NO_RANGE)])


def test_range_that_another_writer_adds_is_seen_after_a_refresh(
    connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make
) -> None:
    schema = make(TEXT, range_columns=("key",), ranges=(Range((0,), (10,)),))
    one = batch(schema, UPSERT, key=[15], text=["x"])
    assert codes(writer.write(schema.name, [one])) == [(0, 0, NO_RANGE)]
    assert connect().add_range(schema.name, Range((10,), (20,)))
    writer.schema(schema.name, refresh=True)
    assert writer.write(schema.name, [one]) == []
    assert writer.ranges(schema.name) == [Range((0,), (10,)), Range((10,), (20,))]
    assert by_key(writer, schema, "text") == {15: "x"}


# --- what others do to a table that is open ---------------------------------------------------------------------------


def test_column_that_another_writer_adds_is_seen_after_a_refresh(
    connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make
) -> None:
    schema = make(TEXT)
    writer.write(schema.name, [batch(schema, INSERT, key=[1], text=["a"])])
    connect().add_columns(schema.name, [NUMBER])
    assert writer.write(schema.name, [batch(schema, INSERT, key=[2], text=["b"])]) == []
    assert writer.schema(schema.name) == schema
    changed = writer.schema(schema.name, refresh=True)
    assert changed.columns == (*schema.columns, NUMBER)
    assert writer.write(schema.name, [batch(changed, UPDATE, key=[1], number=[7])]) == []
    assert stored(writer, schema.name) == [(1, "a", 7), (2, "b", None)]


def test_rows_for_a_column_that_was_dropped_say_so(kudu: LocalKudu, writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    before = batch(schema, UPSERT, key=[1, 2], text=["a", "b"], number=[1, 2])
    assert writer.write(schema.name, [before]) == []
    kudu.cli("table", "delete_column", kudu.masters, schema.name, "text")
    failures = writer.write(schema.name, [before])
    assert codes(failures) == [(0, 0, "kudu.schema_changed"), (0, 1, "kudu.schema_changed")]
    changed = writer.schema(schema.name, refresh=True)
    assert changed.columns == (KEY, NUMBER)
    failures = writer.write(schema.name, [before])  # another thread had opened it again
    assert codes(failures) == [(0, 0, "kudu.schema_changed"), (0, 1, "kudu.schema_changed")]
    assert writer.write(schema.name, [batch(changed, UPSERT, key=[1, 2], number=[3, 4])]) == []
    assert stored(writer, schema.name) == [(1, 3), (2, 4)]


def test_values_of_another_type_than_the_columns_are_never_written(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    other = replace(schema, columns=(KEY, TEXT, replace(NUMBER, type=KuduType.INT16)))
    parts = [batch(schema, UPSERT, key=[1], number=[1]), batch(other, UPSERT, key=[2, 3], number=[2, 3])]
    failures = writer.write(schema.name, parts)
    assert codes(failures) == [(1, 0, "kudu.schema_changed"), (1, 1, "kudu.schema_changed")]
    assert all(isinstance(failure.error, SchemaChanged) for failure in failures)
    assert stored(writer, schema.name) == [(1, None, 1)]


def test_table_that_is_made_anew_is_found_after_a_refresh(
    connect: Callable[..., KuduWriter], writer: KuduWriter, make: Make
) -> None:
    schema = make(TEXT)
    one = batch(schema, UPSERT, key=[1], text=["a"])
    assert writer.write(schema.name, [one]) == []
    other = connect()
    other.drop(schema.name)
    # A server takes rows until it has heard of the drop.
    assert until(lambda: codes(writer.write(schema.name, [one])) == [(0, 0, "kudu.table_missing")])
    assert other.create(schema)
    # The native client finds tablets by the name of their table, Java's by its number.
    assert codes(writer.write(schema.name, [one])) in ([], [(0, 0, "kudu.table_missing")])
    writer.schema(schema.name, refresh=True)
    assert writer.write(schema.name, [one]) == []
    assert stored(writer, schema.name) == [(1, "a")]


def test_own_drop_is_not_remembered(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT)
    writer.write(schema.name, [batch(schema, UPSERT, key=[1])])
    writer.drop(schema.name)
    with pytest.raises(KuduTableMissing):
        writer.write(schema.name, [batch(schema, UPSERT, key=[1])])
    changed = replace(schema, columns=(KEY, NUMBER))
    assert writer.create(changed)
    assert writer.write(schema.name, [batch(changed, UPSERT, key=[1], number=[1])]) == []


# --- servers and threads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda w, s: w.tables(),
        lambda w, s: w.schema("t"),
        lambda w, s: w.write("t", [batch(s, UPSERT, key=[1])]),
        lambda w, s: w.create(s),
    ],
    ids=["tables", "schema", "write", "create"],
)
def test_master_that_does_not_answer_is_said_in_time(
    connect: Callable[..., KuduWriter], call: Callable[[KuduWriter, TableSchema], Any]
) -> None:
    begun = time.monotonic()
    writer = connect(masters="127.0.0.1:1", admin_timeout_s=1.0, operation_timeout_s=1.0)
    assert time.monotonic() - begun < 1.0  # nothing is sent yet
    with pytest.raises(KuduUnavailable):
        call(writer, TableSchema("t", (KEY,)))
    writer.close()
    assert time.monotonic() - begun < 5.0


def test_rows_fail_in_time_while_the_tablet_server_does_not_answer(
    kudu: LocalKudu, connect: Callable[..., KuduWriter], make: Make
) -> None:
    schema = make(TEXT)
    writer = connect(operation_timeout_s=2.0)
    parts = [batch(schema, UPSERT, key=range(start, start + 100)) for start in (0, 100)]
    assert writer.write(schema.name, parts) == []
    kudu.pause(kudu.tservers[0])
    try:
        begun = time.monotonic()
        failures = writer.write(schema.name, parts)
        taken = time.monotonic() - begun
    finally:
        kudu.resume(kudu.tservers[0])
    assert codes(failures) == [(part, row, "kudu.unavailable") for part in (0, 1) for row in range(100)]
    assert taken < 6.0
    assert writer.write(schema.name, parts) == []
    assert writer.count(schema.name) == 200


def test_nothing_is_sent_behind_a_row_that_has_to_wait(
    kudu: LocalKudu, connect: Callable[..., KuduWriter], make: Make
) -> None:
    schema = make(TEXT)
    writer = connect(operation_timeout_s=1.0, flush_mode=SYNC)
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[0, 1], text=["old", "old"])]) == []
    parts = [batch(schema, UPSERT, key=range(20), text=["new"] * 20), batch(schema, DELETE, key=range(20))]
    kudu.pause(kudu.tservers[0])
    try:
        begun = time.monotonic()
        failures = writer.write(schema.name, parts)
        taken = time.monotonic() - begun
    finally:
        kudu.resume(kudu.tservers[0])
    assert codes(failures) == [(part, row, "kudu.unavailable") for part in (0, 1) for row in range(20)]
    assert len({str(failure.error) for failure in failures}) == 1
    assert taken < 4.0  # not a timeout for each row
    assert stored(writer, schema.name) in ([(0, "old"), (1, "old")], [(0, "new"), (1, "old")])
    assert writer.write(schema.name, parts) == []
    assert stored(writer, schema.name) == []


def test_connection_outlives_a_restart_of_the_tablet_server(
    kudu: LocalKudu, connect: Callable[..., KuduWriter], make: Make
) -> None:
    schema = make(TEXT)
    writer = connect()
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[1])]) == []
    kudu.kill_tserver()
    kudu.start_tserver()
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[2])]) == []
    assert writer.count(schema.name) == 2


def test_eight_threads_write_at_once(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    writer.write(schema.name, [batch(schema, INSERT, key=[n * 1000 + 5 for n in range(8)])])
    found: dict[int, list[tuple[int, int, str]]] = {}

    def write(number: int) -> None:
        keys = range(number * 1000, number * 1000 + 1000)
        parts = [batch(schema, INSERT, key=keys[n : n + 250], text=[f"{number}"] * 250) for n in range(0, 1000, 250)]
        found[number] = codes(writer.write(schema.name, parts))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [(0, 5, EXISTS)] for number in range(8)}
    assert writer.count(schema.name) == 8000


def test_closed_connection_says_so_and_closes_again(connect: Callable[..., KuduWriter], make: Make) -> None:
    schema = make(TEXT)
    writer = connect()
    assert writer.write(schema.name, [batch(schema, UPSERT, key=[1])]) == []
    writer.close()
    writer.close()
    with pytest.raises(WarehouseError):
        writer.tables()


def test_connection_that_was_never_used_closes(connect: Callable[..., KuduWriter]) -> None:
    writer = connect(masters="127.0.0.1:1")
    writer.close()
    with pytest.raises(WarehouseError):
        writer.tables()


# --- any rows ---------------------------------------------------------------------------------------------------------

_CELLS: dict[KuduType, st.SearchStrategy[Any]] = {
    KuduType.BOOL: st.booleans(),
    KuduType.INT8: st.integers(-(2**7), 2**7 - 1),
    KuduType.INT16: st.integers(-(2**15), 2**15 - 1),
    KuduType.INT32: st.integers(-(2**31), 2**31 - 1),
    KuduType.INT64: st.integers(-(2**63), 2**63 - 1),
    KuduType.FLOAT: st.floats(width=32),
    KuduType.DOUBLE: st.floats(),
    KuduType.STRING: st.text(max_size=30),
    # Not beyond the first 65536 characters: see test_varchar_is_written_whole_or_not_at_all.
    KuduType.VARCHAR: st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=30),
    KuduType.BINARY: st.binary(max_size=30),
    KuduType.UNIXTIME_MICROS: st.datetimes(timezones=st.just(UTC)),
    KuduType.DATE: st.dates(),
    KuduType.DECIMAL: st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-5)),
}
_ANY_COLUMNS = tuple(
    KuduColumn(f"c_{kind.value}", kind, nullable=True, length=30 if kind is KuduType.VARCHAR else None,
               precision=20 if kind is KuduType.DECIMAL else None, scale=5 if kind is KuduType.DECIMAL else None)
    for kind in KuduType
)  # fmt: skip
_ANY_KEY = (KuduColumn("k_text", KuduType.STRING, key=True), KuduColumn("k_bytes", KuduType.BINARY, key=True))
_ANY_ROW = st.fixed_dictionaries(
    {"k_text": st.text(max_size=3), "k_bytes": st.binary(max_size=3)},
    optional={column.name: st.none() | _CELLS[column.type] for column in _ANY_COLUMNS},
)
_ANY_ROWS = st.lists(st.tuples(st.sampled_from([INSERT, UPSERT, DELETE]), _ANY_ROW), min_size=1, max_size=30)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_ANY_ROWS)
def test_any_rows_end_as_if_applied_one_by_one(
    writer: KuduWriter, make: Make, steps: list[tuple[Operation, dict[str, Any]]]
) -> None:
    schema = make(*_ANY_COLUMNS, key=_ANY_KEY)
    steps = [(op, {n: v for n, v in row.items() if n in schema.key} if op is DELETE else row) for op, row in steps]
    names = [column.name for column in schema.columns]
    table: dict[tuple[Any, Any], dict[str, Any]] = {}
    expected = []
    for number, (operation, row) in enumerate(steps):
        key = (row["k_text"], row["k_bytes"])
        if operation is DELETE and key not in table:
            expected.append((0, number, MISSING))
        elif operation is INSERT and key in table:
            expected.append((0, number, EXISTS))
        elif operation is DELETE:
            del table[key]
        else:
            table[key] = {**dict.fromkeys(names), **table.get(key, {}), **row}
    cells = {name: [row.get(name, ABSENT) for _, row in steps] for name in names}
    whole = batch(schema, [operation for operation, _ in steps], **cells)
    assert codes(writer.write(schema.name, [whole])) == expected
    types = pa.schema([(column.name, column.arrow_type) for column in schema.columns])
    wanted = pa.Table.from_pylist(list(table.values()), types).to_pydict()
    assert repr(stored(writer, schema.name)) == repr(sorted(zip(*wanted.values(), strict=True), key=repr))
    writer.drop(schema.name)


# --- kudu-python alone ------------------------------------------------------------------------------------------------


def test_native_client_that_is_not_installed_is_a_setting_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kudu", None)
    with pytest.raises(ConfigurationError, match="kudu-python is not installed.*; choose java$"):
        connecting.connect(KuduSettings("127.0.0.1:1", backend="native"))


@needs_native
@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"principal": "a@B", "keytab": "f"}, "Kerberos Keytab"),
        ({"ticket_cache": "f"}, "Kerberos Ticket Cache"),
        ({"workers": 2}, "Worker Count"),
        ({"certificates": "there/is/no/such/file"}, "Trusted Certificates"),
    ],
)
def test_what_native_has_no_setting_for_is_refused(chosen: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        connecting.connect(KuduSettings("127.0.0.1:1", backend="native", **chosen))
