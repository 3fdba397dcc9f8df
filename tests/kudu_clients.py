"""Both clients of Kudu, each with a table of a test's own; what the modules of the writer's tests share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients import connecting
from imagewarehouse.kudu.clients.interface import KuduSettings, KuduWriter, RowFailure
from imagewarehouse.kudu.schema import KuduColumn, KuduType, TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu
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
