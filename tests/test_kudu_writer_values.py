"""Values of every type through both clients."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import KuduColumn, KuduType
from tests import kudu_clients
from tests.kudu_clients import (
    ABSENT,
    DELETE,
    EXISTS,
    INSERT,
    KEY,
    KEYS,
    MISSING,
    NUMBER,
    TEXT,
    UPDATE,
    UPSERT,
    UTC,
    VALUES,
    Make,
    _label,
    batch,
    by_key,
    codes,
)
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
backend = kudu_clients.backend
connect = kudu_clients.connect
make = kudu_clients.make
writer = kudu_clients.writer


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
