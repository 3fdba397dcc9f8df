"""Tables with both clients: made, described, scanned, and altered by others while they are open."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from imagewarehouse.errors import (
    KuduRefused,
    KuduTableMissing,
    SchemaChanged,
    WarehouseError,
)
from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, TableSchema
from imagewarehouse.standalone.local_kudu import LocalKudu
from tests import kudu_clients
from tests.conftest import until
from tests.kudu_clients import (
    DELETE,
    INSERT,
    KEY,
    NO_RANGE,
    NUMBER,
    TEXT,
    TIMES,
    UPDATE,
    UPSERT,
    UTC,
    Make,
    batch,
    codes,
)
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
backend = kudu_clients.backend
connect = kudu_clients.connect
make = kudu_clients.make
writer = kudu_clients.writer


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


def test_scan_of_more_rows_than_cross_from_java_at_once(writer: KuduWriter, make: Make) -> None:
    schema = make(TEXT, NUMBER)
    texts = [None if number % 3 else f"é{number}" for number in range(70_000)]
    numbers = [None if number < 65_000 else number for number in range(70_000)]  # no NULL in the last part
    assert writer.write(schema.name, [batch(schema, UPSERT, key=range(70_000), text=texts, number=numbers)]) == []
    found = writer.scan(schema.name).sort_by("key").to_pydict()
    assert found == {"key": list(range(70_000)), "text": texts, "number": numbers}
    assert writer.scan(schema.name, ["key"], limit=66_000).num_rows == 66_000


def test_scan_takes_rows_from_a_time_on(writer: KuduWriter, make: Make) -> None:
    schema = make(KuduColumn("at", KuduType.UNIXTIME_MICROS, nullable=True), TEXT)
    writer.write(schema.name, [batch(schema, UPSERT, key=range(len(TIMES)), at=TIMES), batch(schema, UPSERT, key=[99])])
    found = writer.scan(schema.name, ["key", "at"], since=("at", TIMES[3]))
    assert sorted(found["at"].to_pylist()) == TIMES[3:]
    assert writer.scan(schema.name, ["key"], since=("at", TIMES[-1])).to_pydict() == {"key": [len(TIMES) - 1]}
    between = writer.scan(schema.name, ["at"], since=("at", TIMES[1]), until=("at", TIMES[4]))
    assert sorted(between["at"].to_pylist()) == TIMES[1:4]
    with pytest.raises(KuduRefused):
        writer.scan(schema.name, since=("nothing", TIMES[0]))


def test_scan_takes_rows_that_have_these_texts(writer: KuduWriter, make: Make) -> None:
    schema = make(KuduColumn("who", KuduType.STRING, nullable=True), TEXT)
    texts, who = ["a", "b", "a", "a'", None], ["x", "x", "y", "x", "x"]
    writer.write(schema.name, [batch(schema, UPSERT, key=range(5), text=texts, who=who)])

    def keys(**equal: str) -> list[int]:
        found: list[int] = writer.scan(schema.name, ["key"], equal=equal)["key"].to_pylist()
        return sorted(found)

    assert keys(text="a") == [0, 2]
    assert keys(text="a", who="x") == [0]
    assert keys(text="a'") == [3]
    assert keys(text="c") == []
    assert writer.scan(schema.name, ["who"], 1, equal={"text": "a"}).num_rows == 1


def test_scan_takes_rows_that_have_one_of_these_texts(writer: KuduWriter, make: Make) -> None:
    schema = make(NUMBER, key=(KuduColumn("name", KuduType.STRING, key=True),))
    names = [f"{n:064x}" for n in range(2000)] + ["é", "it's", ""]
    writer.write(schema.name, [batch(schema, UPSERT, name=names, number=range(len(names)))])

    def found(*texts: str, **more: Any) -> list[str]:
        names: list[str] = writer.scan(schema.name, ["name"], one_of=("name", texts), **more)["name"].to_pylist()
        return sorted(names)

    assert found(*names[:1000], "no such") == names[:1000]
    assert found("é", "it's", "", "é") == ["", "it's", "é"]
    assert found("no such") == found() == []
    assert len(found(*names, limit=7)) == 7
    assert found(names[3], names[4], equal={"name": names[4]}) == [names[4]]


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
