"""Operations, their order, and failures among many rows, with both clients."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imagewarehouse.errors import (
    KuduRefused,
)
from imagewarehouse.kudu.batch import ColumnValues, Operation, RowBatch
from imagewarehouse.kudu.clients import connecting
from imagewarehouse.kudu.clients.interface import FLUSH_MODES, KuduSettings, KuduWriter
from imagewarehouse.kudu.schema import HashPartition
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_clients
from tests.kudu_clients import (
    ABSENT,
    DELETE,
    DELETE_IGNORE,
    EXISTS,
    INSERT,
    INSERT_IGNORE,
    MISSING,
    NUMBER,
    TEXT,
    UPDATE,
    UPDATE_IGNORE,
    UPSERT,
    UPSERT_IGNORE,
    VALUES,
    Make,
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
