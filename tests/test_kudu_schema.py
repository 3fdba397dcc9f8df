"""What a table may look like, how it is declared, which ranges it gets, and what Kudu's statuses mean."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

from imagewarehouse.errors import ConfigurationError, WarehouseError, all_errors
from imagewarehouse.kudu.clients import jvm, status
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.declaration import read_schema, schema_json
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, Range, RangePolicy, TableSchema
from imagewarehouse.kudu.writing.ranges import first_ranges, plan, range_of
from imagewarehouse.metadata import COLUMNS, KEY
from imagewarehouse.rows.kudu import image_events

UTC = timezone.utc


def moment(year: int, month: int = 1, day: int = 1, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


# --- declarations -----------------------------------------------------------------------------------------------------

FULL = {
    "columns": [
        {"name": "at", "type": "unixtime_micros", "key": True, "encoding": "bit_shuffle", "compression": "lz4"},
        {"name": "sensor", "type": "string", "key": True, "comment": "where"},
        {"name": "price", "type": "decimal(9,2)", "default": "1.50"},
        {"name": "note", "type": "varchar(40)", "nullable": False, "default": "none"},
        {"name": "raw", "type": "binary"},
        {"name": "first_seen", "type": "date", "immutable": True},
    ],
    "hash": [{"columns": ["sensor"], "buckets": 4}],
    "range": {"column": "at", "unit": "month", "ahead": 3, "keep": 24},
    "replicas": 3,
    "comment": "readings",
}


def test_a_declaration_says_all_there_is_to_a_table() -> None:
    schema = read_schema(json.dumps(FULL), "readings")
    assert schema.key == ("at", "sensor")
    assert schema.hashes == (HashPartition(("sensor",), 4),)
    assert (schema.policy, schema.replicas, schema.comment) == (RangePolicy("at", "month", 3, 24), 3, "readings")
    price, note, raw, seen = schema.columns[2:]
    assert (price.type_text, price.default, price.nullable) == ("decimal(9,2)", Decimal("1.50"), True)
    assert (note.type_text, note.nullable, note.default, note.required) == ("varchar(40)", False, "none", False)
    assert (raw.type, seen.immutable) == (KuduType.BINARY, True)


@pytest.mark.parametrize("declared", [
    FULL,
    {"columns": [{"name": "k", "type": "int64", "key": True}]},
    {"columns": [{"name": "d", "type": "date", "key": True}, {"name": "k", "type": "int8", "key": True}],
     "range": {"columns": ["d", "k"], "partitions": [{"lower": ["2026-01-01", 0], "upper": ["2027-01-01", 0]}, {}]}},
])  # fmt: skip
def test_a_schema_that_is_written_out_is_read_back_the_same(declared: dict[str, object]) -> None:
    schema = read_schema(json.dumps(declared), "t")
    assert read_schema(json.dumps(schema_json(schema)), "t") == schema


def column(**changes: object) -> dict[str, object]:
    return {"columns": [{"name": "k", "type": "int64", "key": True}, {"name": "c", "type": "int32"} | changes]}


def table(**parts: object) -> dict[str, object]:
    columns = [{"name": "k", "type": "int64", "key": True}, {"name": "t", "type": "unixtime_micros", "key": True}]
    return {"columns": columns} | parts


BAD = [
    ("not-json", "{", "is not JSON"),
    ("a-list", "[]", "expected an object"),
    ("no-columns", {}, "columns: expected a list"),
    ("no-key", {"columns": [{"name": "a", "type": "int8"}]}, "no column is a key"),
    ("key-not-first", {"columns": [{"name": "a", "type": "int8"}, {"name": "k", "type": "int8", "key": True}]}, "come first"),
    ("twice", {"columns": [{"name": "k", "type": "int8", "key": True}] * 2}, "column k stands there twice"),
    ("unknown-part", table(partitions=[]), "has no partitions; it knows columns, hash, range, replicas, comment"),
    ("unknown-of-column", column(typ="int8"), "column: has no typ"),
    ("unknown-type", column(type="text"), "column c: expected a type of bool, int8"),
    ("decimal-without-precision", column(type="decimal"), "column c: expected decimal(1-38, 0-precision)"),
    ("decimal-too-long", column(type="decimal(39,2)"), "column c: expected decimal(1-38"),
    ("scale-over-precision", column(type="decimal(4,5)"), "column c: expected decimal(1-38"),
    ("varchar-without-length", column(type="varchar"), "column c: expected varchar(1-65535)"),
    ("int-with-length", column(type="int32(4)"), "int32 takes no numbers"),
    ("key-float", {"columns": [{"name": "k", "type": "float", "key": True}]}, "a float cannot be part of the key"),
    ("key-nullable", {"columns": [{"name": "k", "type": "int8", "key": True, "nullable": True}]}, "neither nullable nor"),
    ("flag-as-text", column(nullable="yes"), "column c: expected true or false for nullable"),
    ("encoding", column(encoding="gzip"), "column c: expected an encoding of auto, plain"),
    ("compression", column(compression="zip"), "column c: expected a compression of default, none"),
    ("default-of-other-type", column(default="seven"), "c"),
    ("default-out-of-range", column(default=2**31), "c"),
    ("no-name", {"columns": [{"type": "int8", "key": True}]}, "expected a name"),
    ("hash-not-of-the-key", table(hash=[{"columns": ["x"], "buckets": 2}]), "hash column x is not part of the key"),
    ("one-bucket", table(hash=[{"columns": ["k"], "buckets": 1}]), "at least 2 buckets"),
    ("buckets-as-text", table(hash=[{"columns": ["k"], "buckets": "4"}]), "expected a number of buckets"),
    ("two-levels-one-column", table(hash=[{"columns": ["k"], "buckets": 2}] * 2), "column k is in two hash levels"),
    ("range-of-a-number", table(range={"column": "k"}), "range column k is neither unixtime_micros nor date"),
    ("range-of-nothing", table(range={"column": "x"}), "range column x is not part of the key"),
    ("unit", table(range={"column": "t", "unit": "week"}), "expected a unit of day, month, year"),
    ("keep-nothing", table(range={"column": "t", "keep": 0}), "expected keep of at least 1"),
    ("keep-as-text", table(range={"column": "t", "keep": "24"}), "expected a number for keep"),
    ("bound-without-value", table(range={"columns": ["k", "t"], "partitions": [{"lower": [1]}]}), "a value for each of k, t"),
    ("bound-of-other-type", table(range={"columns": ["k"], "partitions": [{"lower": ["x"]}]}), "k"),
    ("even-replicas", table(replicas=2), "expected an odd number of replicas"),
    ("replicas-as-text", table(replicas="3"), "replicas: expected a number"),
    ("too-many", {"columns": [{"name": f"c{n}", "type": "int8", "key": True} for n in range(301)]}, "at most 300 columns"),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "problem"), [pytest.param(d, p, id=i) for i, d, p in BAD])
def test_a_wrong_declaration_is_refused_in_one_line_that_names_it(declared: object, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_schema(declared if isinstance(declared, str) else json.dumps(declared), "t")
    assert caught.value.setting == "Table Schema"
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_the_warehouse_s_table_has_every_field_of_the_contract() -> None:
    schema = image_events(keep_months=24)
    assert schema.key == KEY
    assert {c.name: c.nullable for c in schema.columns} == {c.name: c.nullable for c in COLUMNS}
    assert schema.hashes == (HashPartition(("request_id",), 4),)
    assert schema.policy == RangePolicy("event_time", "month", 2, 24)
    assert read_schema(json.dumps(schema_json(schema)), schema.name) == schema


# --- ranges -----------------------------------------------------------------------------------------------------------


def months(*starts: tuple[int, int]) -> tuple[Range, ...]:
    return tuple(Range((moment(y, m),), (moment(y + m // 12, m % 12 + 1),)) for y, m in starts)


@pytest.mark.parametrize(("unit", "at", "lower", "upper"), [
    ("day", moment(2028, 2, 29, 23), moment(2028, 2, 29), moment(2028, 3, 1)),
    ("day", moment(2026, 12, 31), moment(2026, 12, 31), moment(2027, 1, 1)),
    ("month", moment(2026, 12, 31, 23), moment(2026, 12, 1), moment(2027, 1, 1)),
    ("month", moment(2026, 1, 1), moment(2026, 1, 1), moment(2026, 2, 1)),
    ("year", moment(2026, 7, 1), moment(2026, 1, 1), moment(2027, 1, 1)),
])  # fmt: skip
def test_a_range_is_one_unit_of_the_calendar(unit: str, at: datetime, lower: datetime, upper: datetime) -> None:
    assert range_of(at, unit, KuduType.UNIXTIME_MICROS) == Range((lower,), (upper,))


def test_a_local_time_falls_into_its_range_of_utc() -> None:
    from datetime import timedelta

    new_year_in_tokyo = datetime(2027, 1, 1, 8, 59, tzinfo=timezone(timedelta(hours=9)))
    assert range_of(new_year_in_tokyo, "year", KuduType.DATE) == Range((date(2026, 1, 1),), (date(2027, 1, 1),))


def test_a_new_table_gets_this_unit_the_one_before_and_those_ahead() -> None:
    found = first_ranges(RangePolicy("t", "month", ahead=2), KuduType.UNIXTIME_MICROS, moment(2026, 11, 23))
    assert found == months((2026, 10), (2026, 11), (2026, 12), (2027, 1))


def test_ranges_are_made_ahead_and_only_once() -> None:
    policy, kind = RangePolicy("t", "month", ahead=2), KuduType.UNIXTIME_MICROS
    there = months((2026, 10), (2026, 11), (2026, 12), (2027, 1))
    assert plan(policy, kind, there, moment(2026, 11, 30, 23)).add == ()
    assert plan(policy, kind, there, moment(2026, 12, 1)).add == months((2027, 2))
    assert plan(policy, kind, (), moment(2026, 12, 1)).add == months((2026, 12), (2027, 1), (2027, 2))


@pytest.mark.parametrize("there", [
    Range(None, None),
    Range((moment(2026, 11, 5),), (moment(2026, 11, 6),)),
    Range(None, (moment(2026, 11, 2),)),
    Range((moment(2026, 11, 30),), None),
])  # fmt: skip
def test_what_an_operator_cut_otherwise_is_left_alone(there: Range) -> None:
    wanted = plan(RangePolicy("t", "month", ahead=0), KuduType.UNIXTIME_MICROS, (there,), moment(2026, 11, 23))
    assert wanted.add == ()


def test_only_ranges_that_end_before_what_is_kept_are_dropped() -> None:
    there = months((2026, 7), (2026, 8), (2026, 9), (2026, 10), (2026, 11), (2026, 12))
    policy = RangePolicy("t", "month", ahead=0, keep=2)
    assert plan(policy, KuduType.UNIXTIME_MICROS, there, moment(2026, 11, 1)).drop == months((2026, 7), (2026, 8))
    assert plan(policy, KuduType.UNIXTIME_MICROS, there, moment(2026, 10, 31, 23)).drop == months((2026, 7))
    forever = RangePolicy("t", "month", ahead=0)
    assert plan(forever, KuduType.UNIXTIME_MICROS, there, moment(2036, 1, 1)).drop == ()


def test_a_range_without_an_end_is_never_dropped() -> None:
    there = (Range(None, (moment(2020),)), Range((moment(2020),), None))
    policy = RangePolicy("t", "year", ahead=0, keep=1)
    assert plan(policy, KuduType.UNIXTIME_MICROS, there, moment(2026)).drop == there[:1]


def test_ranges_of_a_date_column_are_dates() -> None:
    found = plan(RangePolicy("d", "day", ahead=1), KuduType.DATE, (), moment(2028, 2, 28, 12)).add
    assert found == (
        Range((date(2028, 2, 28),), (date(2028, 2, 29),)),
        Range((date(2028, 2, 29),), (date(2028, 3, 1),)),
    )


def test_the_ends_of_the_calendar_hold() -> None:
    policy = RangePolicy("t", "year", ahead=1000, keep=100_000)
    wanted = plan(policy, KuduType.UNIXTIME_MICROS, (), moment(9990))
    assert wanted.add[0] == Range((moment(9990),), (moment(9991),))
    assert wanted.drop == ()


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("masters", "addresses"), [
    ("kudu", ("kudu:7051",)),
    ("a:7051, b:7052,c", ("a:7051", "b:7052", "c:7051")),
    ("[::1]:7051", ("[::1]:7051",)),
    ("master-1.example.org:7151", ("master-1.example.org:7151",)),
])  # fmt: skip
def test_masters_are_hosts_with_the_usual_port_where_none_is_given(masters: str, addresses: tuple[str, ...]) -> None:
    assert KuduSettings(masters).addresses == addresses


@pytest.mark.parametrize(
    "masters", ["", ",", "a,,b", "a:", "a:port", "a:0", "a:65536", "a b", "http://a:7051", "a:1:2", "a:7051;b"]
)
def test_masters_that_are_none_are_refused(masters: str) -> None:
    with pytest.raises(ConfigurationError, match="^Kudu Masters: "):
        KuduSettings(masters)


@pytest.mark.parametrize(("changes", "setting"), [
    ({"backend": "c++"}, "Kudu Client"), ({"flush_mode": "NEVER"}, "Flush Mode"), ({"encryption": "maybe"}, "Encryption"),
    ({"batch_rows": 0}, "Batch Size"), ({"batch_rows": 100_001}, "Batch Size"), ({"principal": "nifi"}, "Kerberos Keytab"),
    ({"keytab": "/k"}, "Kerberos Keytab"),
])  # fmt: skip
def test_a_wrong_setting_is_named(changes: dict[str, object], setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{setting}: "):
        KuduSettings("kudu", **changes)  # type: ignore[arg-type]


# --- statuses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "code"), [
    ("Already present: key already present (error 0)", "kudu.already_present"),
    ("Not found: key not found (error 0)", "kudu.not_found"),
    ("Not found: accessed range partition ([0x00, 0x01)) does not exist in table: t", "kudu.no_range_partition"),
    ("Not found: the table does not exist: table_name: \"t\" (error 0)", "kudu.table_missing"),
    ("Not found: table t was deleted", "kudu.table_missing"),
    ("Invalid argument: Client provided column note STRING NULLABLE not present in tablet", "kudu.schema_changed"),
    ("Invalid argument: No value provided for required column: n INT32 NOT NULL", "kudu.missing_value"),
    ("Invalid argument: value too large for column 's' (70000 bytes, maximum is 65536 bytes)", "kudu.cell_too_long"),
    ("Invalid argument: something else", "kudu.refused"),
    ("Immutable: UPDATE not allowed for immutable column", "kudu.immutable_column"),
    ("Not authorized: no", "kudu.not_authorized"),
    ("Timed out: cannot complete before timeout", "kudu.unavailable"),
    ("Invalid argument: not enough live tablet servers to create a table", "kudu.unavailable"),
    ("words that are no status", "kudu.refused"),
    ("", "kudu.refused"),
])  # fmt: skip
def test_a_status_becomes_the_error_it_means(said: str, code: str) -> None:
    error = status.error_from_status(said)
    assert error.code == code
    assert "(error 0)" not in str(error)
    assert all_errors()[code] is type(error)


def test_every_status_of_the_java_client_has_its_place() -> None:
    """A new one in a later release has to be decided upon, not slip through."""
    jvm.start()
    import jpype

    methods = jpype.JClass("org.apache.kudu.client.Status").class_.getMethods()
    made = {str(m.invoke(None, "x").toString()).partition(":")[0] for m in methods
            if str(m.getReturnType().getSimpleName()) == "Status" and len(m.getParameterTypes()) == 1}  # fmt: skip
    assert made == {*status.RETRYABLE, *status.FINAL}


@pytest.mark.parametrize("name", status.RETRYABLE)
def test_what_may_pass_later_is_tried_again(name: str) -> None:
    error = status.error_from_status(f"{name}: for now")
    assert error.retryable
    assert str(error) == f"{name}: for now"


@pytest.mark.parametrize("name", status.FINAL)
def test_what_will_never_pass_is_not(name: str) -> None:
    error: WarehouseError = status.error_from_status(f"{name}: for good")
    assert not error.retryable


# --- Java -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["", 'JAVA_VERSION="1.8.0_402"\n'])
def test_a_java_that_cannot_do_it_is_refused_and_never_replaced_by_another(tmp_path, release: str) -> None:  # type: ignore[no-untyped-def]
    if release:
        (tmp_path / "lib" / "server").mkdir(parents=True)
        jvm.library(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        jvm.library(tmp_path).touch()
        (tmp_path / "release").write_text(release)
    with pytest.raises(ConfigurationError, match="^Java Home: ") as caught:
        jvm.find_java(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("release", "number"), [
    ('JAVA_VERSION="25.0.3"', 25), ('JAVA_VERSION="17"', 17), ('JAVA_VERSION="1.8.0_402"', 8), ('IMPLEMENTOR="x"', 11),
])  # fmt: skip
def test_the_release_of_a_java_is_read_from_its_home(tmp_path, release: str, number: int) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "release").write_text(f'IMPLEMENTOR="y"\n{release}\n')
    assert jvm.java_release(tmp_path) == number


def test_columns_know_what_an_insert_has_to_bring() -> None:
    assert KuduColumn("k", KuduType.INT8, key=True).required
    assert not KuduColumn("c", KuduType.INT8, default=0).required
    assert not KuduColumn("c", KuduType.INT8, nullable=True).required


def test_a_schema_finds_its_columns() -> None:
    schema = TableSchema("t", (KuduColumn("k", KuduType.INT8, key=True),))
    assert schema.column("k").key
    with pytest.raises(KeyError):
        schema.column("x")
