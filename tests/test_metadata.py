"""The one contract for metadata: attributes, rows and the documentation say the same about every field."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import RowRejected
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import (
    COLUMNS,
    KEY,
    STATUSES,
    Column,
    ImageRecord,
    from_text,
    json_values,
    to_text,
)
from imagewarehouse.rows.columns import SCHEMA, vector_bytes, vector_texts, vectors, vectors_of_texts
from imagewarehouse.rows.embedded import LocalRows
from tests.conftest import record_from_attributes

WHEN = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=timezone.utc)
REQUEST_ID = new_request_id(WHEN)

# A value of each field that a classified image may have, none like another.
CLASSIFIED = {
    "event_time": WHEN,
    "request_id": REQUEST_ID,
    "status": "classified",
    "image_id": "ab" * 32,
    "file_name": 'frog "on" a, leaf.jpg',
    "declared_type": "image/jpeg",
    "fields": '{"part": "47/11"}',
    "format": "JPEG",
    "size_bytes": 2**40,
    "width": 2**31 - 1,
    "height": 33,
    "color_mode": "RGB",
    "frames": 1,
    "notes": '["motion_photo"]',
    "source_ip": "2001:db8::1",
    "source_user": "CN=Müller,O=Zoo",
    "gps_latitude": -33.8567844,
    "gps_longitude": 151.2152967,
    "storage_uri": "file:///images/ab/abab.jpg",
    "predicted_class": "frog",
    "confidence": 0.875,
    "top_k": '[{"class": "frog", "probability": 0.875}]',
    "model_name": "cifar10",
    "model_version": "7",
    "preprocess_ms": 0.1,
    "inference_ms": 1e-7,
    "embedding": bytes(range(128)),
    "total_ms": 12345.678,
    "node": "nifi-1.example",
}
FAILED = {**CLASSIFIED, "status": "failed", "error_code": "model.broken", "error_detail": "no such layer"}
MINIMAL = {name: CLASSIFIED[name] for name in ("event_time", "request_id", "status")}


def attributes(**values: object) -> dict[str, str]:
    return {name: to_text(value) for name, value in {**CLASSIFIED, **values}.items()}


def test_the_examples_here_cover_every_field() -> None:
    assert set(FAILED) == {column.name for column in COLUMNS}


# --- round trip ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [CLASSIFIED, FAILED, MINIMAL], ids=["classified", "failed", "minimal"])
def test_a_record_read_back_from_its_attributes_is_the_same(values: dict[str, object]) -> None:
    record = ImageRecord(**values)
    assert record_from_attributes(record.as_attributes()) == record


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_each_field_survives_the_way_through_attributes_on_its_own(column: Column) -> None:
    given_fields = {**MINIMAL, "status": "failed", column.name: FAILED[column.name]}
    found = record_from_attributes(ImageRecord(**given_fields).as_attributes())
    assert {name: value for name, value in found.items() if value is not None} == given_fields


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
_VALUES = {
    "string": _texts,
    "timestamp": st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(timezone.utc)),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(0.0, 1.0),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "vector": st.binary(min_size=1, max_size=128),
}


def _any_value(column: Column) -> st.SearchStrategy[object]:
    if column.name == "status":
        return st.just("failed")  # the one status whose records may have every field
    values = _VALUES[column.type]
    return values | st.none() if column.nullable else values


@given(st.fixed_dictionaries({column.name: _any_value(column) for column in COLUMNS}))
def test_any_record_survives_the_way_through_attributes(values: dict[str, object]) -> None:
    record = ImageRecord(**values)
    texts = record.as_attributes()
    assert all(isinstance(name, str) and isinstance(text, str) for name, text in texts.items())
    assert record_from_attributes(texts) == record


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_a_time_is_written_in_utc_whatever_zone_it_came_in(naive: datetime, minutes: int) -> None:
    when = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    text = to_text(when)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert from_text(text, "timestamp") == when


def test_fields_without_a_value_leave_no_attribute() -> None:
    assert set(ImageRecord(**MINIMAL).as_attributes()) == {"event_time", "request_id", "status"}


def test_empty_attributes_count_as_absent() -> None:
    # NiFi cannot remove an attribute; a processor blanks it.
    assert record_from_attributes(attributes(source_user="", width="")) == ImageRecord(
        **{**CLASSIFIED, "source_user": None, "width": None}
    )


def test_the_key_is_the_time_inside_the_request_id() -> None:
    assert KEY == ("event_time", "request_id")
    assert event_time(REQUEST_ID) == WHEN


# --- nonsense is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"status": "done"}, "status", id="unknown-status"),
        pytest.param({"status": ""}, "status", id="empty-status"),
        pytest.param({"event_time": WHEN.replace(tzinfo=None)}, "event_time", id="time-without-zone"),
        pytest.param({"confidence": 1.000001}, "confidence", id="confidence-above-1"),
        pytest.param({"confidence": -0.1}, "confidence", id="confidence-below-0"),
        pytest.param({"confidence": float("nan")}, "confidence", id="confidence-not-a-number"),
        pytest.param({"embedding": b""}, "embedding", id="vector-without-dimensions"),
        pytest.param({"embedding": bytes(129)}, "embedding", id="vector-of-too-many-dimensions"),
        pytest.param({"embedding": [1, 2]}, "embedding", id="vector-as-a-list"),
        # One such row would make the store refuse every row that shares its commit.
        pytest.param({"declared_type": "image/\udcff"}, "declared_type", id="text-that-cannot-be-written"),
    ],
)
def test_a_record_of_nonsense_is_never_born(values: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ImageRecord(**{**CLASSIFIED, **values})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("event_time", "yesterday", id="time-in-words"),
        pytest.param("event_time", "2026-03-01T12:00:00Z", id="time-without-microseconds"),
        pytest.param("event_time", "2026-03-01T12:00:00.000000", id="time-without-zone"),
        pytest.param("event_time", "2026-02-30T12:00:00.000000Z", id="day-that-does-not-exist"),
        pytest.param("width", "wide", id="width-in-words"),
        pytest.param("width", "1.5", id="half-a-pixel"),
        pytest.param("width", str(2**31), id="width-beyond-int32"),
        pytest.param("size_bytes", str(2**63), id="size-beyond-int64"),
        pytest.param("size_bytes", "9" * 5000, id="size-of-5000-digits"),
        pytest.param("gps_latitude", "nan", id="latitude-not-a-number"),
        pytest.param("total_ms", "1e999", id="time-of-infinity"),
        pytest.param("inference_ms", "fast", id="time-in-words"),
        pytest.param("confidence", "1.5", id="confidence-above-1"),
        pytest.param("confidence", "nan", id="confidence-not-a-number"),
        pytest.param("status", "done", id="unknown-status"),
        pytest.param("status", "", id="no-status"),
        pytest.param("request_id", "", id="no-request-id"),
        pytest.param("event_time", "", id="no-time"),
        pytest.param("file_name", "frog\ud800.png", id="name-that-cannot-be-written"),
        pytest.param("embedding", "AAE", id="vector-without-its-padding"),
        pytest.param("embedding", "AAEC\n", id="vector-with-a-line-end"),
        pytest.param("embedding", "[1, 2]", id="vector-as-json"),
        pytest.param("embedding", "A" * 172, id="vector-of-129-dimensions"),
    ],
)
def test_an_attribute_that_cannot_be_read_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(RowRejected) as caught:
        record_from_attributes(attributes(**{name: text}))
    assert name in str(caught.value)
    assert len(str(caught.value)) < 300


@given(st.sampled_from(COLUMNS), st.text(max_size=40))
def test_any_text_in_an_attribute_is_either_read_or_refused(column: Column, text: str) -> None:
    try:
        found = record_from_attributes(attributes(**{column.name: text}))
    except RowRejected:
        return
    assert found.status in STATUSES


# --- what a status may not have -----------------------------------------------------------------------------------

# A rejected request got no further than the filter, which leaves what the client said and why it was rejected;
# behind it only its origin is added, and how long it took.
OF_REJECTED = {
    "event_time", "request_id", "status", "error_code", "error_detail", "file_name", "declared_type", "fields",
    "size_bytes", "source_ip", "source_user", "total_ms", "node",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OF_REJECTED - {"status"}))
def test_a_rejected_request_keeps_what_is_known_of_it(name: str) -> None:
    record = record_from_attributes({n: to_text(v) for n, v in FAILED.items()} | {"status": "rejected"})
    assert getattr(record, name) == FAILED[name]


@pytest.mark.parametrize("name", [column.name for column in COLUMNS if column.name not in OF_REJECTED])
def test_a_rejected_request_has_no_findings_whatever_its_sender_claims(name: str) -> None:
    record = record_from_attributes({n: to_text(v) for n, v in FAILED.items()} | {"status": "rejected"})
    assert getattr(record, name) is None


@pytest.mark.parametrize("status", ["accepted", "classified"])
def test_an_image_that_passed_at_the_second_try_drops_the_first_error(status: str) -> None:
    record = record_from_attributes({n: to_text(v) for n, v in FAILED.items()} | {"status": status})
    assert (record.error_code, record.error_detail) == (None, None)
    assert record.predicted_class == "frog"


# --- the other forms of the contract ------------------------------------------------------------------------------


def test_the_json_answer_has_every_field_but_the_vector_and_top_k_as_a_list() -> None:
    answer = ImageRecord(**CLASSIFIED).as_json()
    assert list(answer) == [column.name for column in COLUMNS if column.name != "embedding"]
    assert answer["top_k"] == [{"class": "frog", "probability": 0.875}]
    assert answer["event_time"] == "2026-03-01T12:00:00.123457Z"
    assert answer["error_code"] is None
    json.dumps(answer)


def test_the_row_schema_has_each_column_with_its_type_and_nullability() -> None:
    arrow = {"string": "string", "timestamp": "timestamp[us, tz=UTC]", "int32": "int32", "int64": "int64",
             "float": "float", "double": "double", "vector": "list<item: int8>"}  # fmt: skip
    expected = [(column.name, arrow[column.type], column.nullable) for column in COLUMNS]
    assert [(field.name, str(field.type), field.nullable) for field in SCHEMA] == expected


def test_the_local_table_has_each_column_with_its_type_and_nullability(tmp_path: Path) -> None:
    sql = {"string": "VARCHAR", "timestamp": "TIMESTAMP WITH TIME ZONE", "int32": "INTEGER", "int64": "BIGINT",
           "float": "FLOAT", "double": "DOUBLE", "vector": "TINYINT[]"}  # fmt: skip
    rows = LocalRows(tmp_path / "rows.duckdb")
    found = rows.query('SELECT column_name, column_type, "null", "key" FROM (DESCRIBE image_events)').to_pylist()
    rows.close()
    assert [tuple(row.values()) for row in found] == [
        (column.name, sql[column.type], "YES" if column.nullable else "NO", None) for column in COLUMNS
    ]


def test_a_row_read_back_from_the_local_table_is_the_record(tmp_path: Path, record: Callable[..., ImageRecord]) -> None:
    written = record(**{name: value for name, value in FAILED.items() if name not in KEY})
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write([written])
    found = rows.query("SELECT * FROM image_events")
    rows.close()
    (row,) = found.to_pylist()
    assert row["embedding"] == list(range(128))
    assert ImageRecord(**{**row, "embedding": vector_bytes(found["embedding"])[0]}) == written


def test_what_is_known_as_json_has_no_vector_either() -> None:
    assert json_values({"width": 3, "embedding": b"\x01"}) == {"width": 3}


def test_a_vector_as_text_is_base64_of_its_signed_bytes() -> None:
    assert to_text(b"\x80\xff\x00\x7f") == "gP8Afw=="
    assert from_text("gP8Afw==", "vector") == b"\x80\xff\x00\x7f"


VECTORS = st.lists(st.none() | st.binary(min_size=1, max_size=128), max_size=20)


@given(VECTORS, st.integers(0, 20))
def test_vectors_are_lists_of_signed_numbers_in_arrow_and_back(values: list[bytes | None], first: int) -> None:
    lists = vectors(values)
    lists.validate(full=True)
    assert lists.to_pylist() == [None if v is None else list(array("b", v)) for v in values]
    assert vector_bytes(lists) == values
    assert vector_bytes(lists.slice(first)) == values[first:]
    assert vector_bytes(pa.chunked_array([lists, lists.slice(first)])) == values + values[first:]


@given(VECTORS)
def test_vectors_are_base64_in_a_store_without_lists(values: list[bytes | None]) -> None:
    texts = vector_texts(vectors(values))
    assert texts.to_pylist() == [None if v is None else to_text(v) for v in values]
    assert vector_bytes(vectors_of_texts(texts)) == values


def test_text_of_others_that_is_no_vector_is_left_out() -> None:
    assert vector_bytes(vectors_of_texts(pa.array(["x", "", "AQ==", None]))) == [None, None, b"\x01", None]


def test_the_documented_table_is_the_contract() -> None:
    document = Path(__file__).resolve().parent.parent / "docs" / "metadata.md"
    assert document.is_file(), (
        "docs/metadata.md is missing; it holds the table | name | type | nullable | set by | meaning |"
    )
    lines = document.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in lines if "|" in line]
    header = rows.index(["name", "type", "nullable", "set by", "meaning"])
    table = rows[header + 2 : header + 2 + len(COLUMNS) + 1]  # one more than expected, to see a row too many
    expected = [
        [column.name, column.type, "yes" if column.nullable else "no", column.stage, column.meaning]
        for column in COLUMNS
    ]
    assert [row for row in table if len(row) == 5] == expected
