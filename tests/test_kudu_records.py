"""What is read as records, what is refused, and what a mapping makes of them."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagewarehouse.contents import (
    BadRow,
    Records,
    bad_rows_json,
    json_text,
    read_records,
    remaining,
    table_row,
)
from imagewarehouse.errors import KuduUnknownOperation, KuduWrongValue, RecordsMalformed
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.records.mapping import RecordMapping, Rows, attributes_record, map_records
from tests.kudu_tables import arrow_bytes

TABLE = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", None, "c"]})


def rows_of(content: bytes, mapping: RecordMapping, operation: Operation = Operation.UPSERT) -> Rows:
    return map_records(read_records(content), mapping, operation)


# --- JSON that is taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["auto", "json", "json-lines"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b" \r\n\t", [], id="blanks"),
        pytest.param(b"[]", [], id="empty-array"),
        pytest.param(b"{}", [{}], id="object-without-fields"),
        pytest.param(b'{"a": 1}', [{"a": 1}], id="object"),
        pytest.param(b'\n [ {"a": 1} , {"a": 2} ] \n', [{"a": 1}, {"a": 2}], id="array"),
        pytest.param(b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}], id="lines"),
        pytest.param(b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], id="lines-with-an-end"),
        pytest.param(b'{"a": 1}\r\n\r\n{"a": 2}\r\n', [{"a": 1}, {"a": 2}], id="lines-of-windows-and-an-empty-one"),
        pytest.param(b'{"a": 1}{"a": 2} {"a": 3}', [{"a": 1}, {"a": 2}, {"a": 3}], id="objects-one-behind-the-other"),
        pytest.param(b'{\n "a": 1\n}\n{\n "a": 2\n}', [{"a": 1}, {"a": 2}], id="objects-over-lines"),
        pytest.param(b'[{"a": 1}]\n[{"a": 2}]', [{"a": 1}, {"a": 2}], id="arrays-in-lines"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', [{"a": 1}], id="byte-order-mark"),
        pytest.param('{"ä": "ß日"}'.encode(), [{"ä": "ß日"}], id="utf-8"),
        pytest.param(b'{"a": "\\ud83d\\ude00"}', [{"a": "😀"}], id="escaped-pair"),
        pytest.param(b'{"a": "x\\": 1", "b": "c : d"}', [{"a": 'x": 1', "b": "c : d"}], id="text-like-keys"),
        pytest.param(b'{"a" : 1, "b"\t:\t2}', [{"a": 1, "b": 2}], id="blanks-before-colons"),
        pytest.param(b'{"a": {"b": [{"c": 1}]}, "b": 1}', [{"a": {"b": [{"c": 1}]}, "b": 1}], id="nested"),
        pytest.param(
            b'{"a": 123456789012345678901234567890}', [{"a": 123456789012345678901234567890}], id="long-integer"
        ),
        pytest.param(b'{"a": 1.5e3, "b": -0.0}', [{"a": 1500.0, "b": 0.0}], id="fractions"),
        pytest.param(b'{"": 1}', [{"": 1}], id="empty-name"),
    ],
)
def test_json_is_read_in_every_shape(content: bytes, expected: list[Any], format: str) -> None:
    records = read_records(content, format)
    assert records.items == expected
    assert list(records.numbers) == list(range(len(expected)))
    assert records.errors == ()
    assert len(records) == len(expected)


def test_fractions_keep_every_digit_where_asked_for() -> None:
    items = read_records(b'[{"a": 12.10, "b": 1.00000000000000000001, "c": 5, "d": 1e3}]', exact=True).items
    assert [str(v) for v in items[0].values()] == ["12.10", "1.00000000000000000001", "5", "1E+3"]
    assert isinstance(items[0]["c"], int)


def test_fractions_are_floats_otherwise() -> None:
    assert type(read_records(b'{"a": 12.10}').items[0]["a"]) is float


# --- JSON that is refused as a whole ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b'{"a": 1', "line 1, column 8", id="object-cut"),
        pytest.param(b'{\n"a": 1,\n"b": }', "line 3, column 6", id="value-missing"),
        pytest.param(b'[{"a": 1},\n{"a": 2}', "line 2, column 9", id="array-cut"),
        pytest.param(b'[{"a": 1},]', "line 1, column 1", id="comma-too-many"),
        pytest.param(b'[{"a": 1},\n{"a": 2},\n{"a": }\n]', "line 3, column 7", id="broken-element"),
        pytest.param(b'{"a": 1},{"a": 2}', "line 1, column 9", id="commas-between-objects"),
        pytest.param(b"id,name\n1,a\n2,b\n", "line 1, column 1", id="csv"),
        pytest.param(b"<html></html>", "line 1, column 1", id="html"),
        pytest.param(b"{'a': 1}", "line 1, column 2", id="single-quotes"),
        pytest.param(b'{"a": 01}', "line 1, column 8", id="leading-zero"),
        pytest.param(b'{"a": "x\ny"}', "line 1, column 9", id="line-break-in-text"),
        pytest.param(b'{"rows": [\n{"a": 1},\n{"a": 2}\n', "line 4, column 1", id="object-over-lines-cut"),
        pytest.param(b'{"a": "\xff"}', "line 1, column 8: is not UTF-8", id="not-utf-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), "UTF-16", id="utf-16"),
        pytest.param('{"a": 1}'.encode("utf-16-le"), "UTF-16", id="utf-16-without-mark"),
        pytest.param(b"[" * 100_000, "nested too deeply", id="arrays-nested-100000-deep"),
        pytest.param(b'[{"a":' * 100_000, "nested too deeply", id="objects-nested-100000-deep"),
        pytest.param(b'{"a": 1}\x00\x00', "line 1, column 9", id="zero-bytes-behind"),
        pytest.param(b'{"a"', "line 1, column 5", id="no-colon"),
        pytest.param(b"\x1f\x8b\x08\x00rest", "line", id="gzip"),
    ],
)
def test_content_that_is_no_json_is_refused_with_its_place(content: bytes, message: str) -> None:
    with pytest.raises(RecordsMalformed) as caught:
        read_records(content)
    assert message in str(caught.value)
    assert caught.value.code == "records.malformed"


def test_a_broken_line_is_the_end_of_a_single_document() -> None:
    with pytest.raises(RecordsMalformed, match="line 2, column 1"):
        read_records(b'{"a": 1}\nbroken\n{"a": 2}', "json")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="json-lines"):
        read_records(b"", "csv")


# --- JSON of which single records are refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "good", "bad"),
    [
        pytest.param(b'{"a":1}\nbroken\n{"a":2}', {0: 1, 2: 2}, {1: "line 2, column 1"}, id="broken-line"),
        pytest.param(b'{"a":1}\n\n{"a"\n{"a":2}\n', {0: 1, 2: 2}, {1: "line 3, column 5"}, id="cut-line"),
        pytest.param(b'{"a":1}\n{"a":"\xff"}\n{"a":2}', {0: 1, 2: 2}, {1: "line 2, column 7: is not UTF-8"}, id="not-utf-8"),
        pytest.param(b'{"a":1}\n' + b"[" * 100_000 + b'\n{"a":2}', {0: 1, 2: 2}, {1: "nested too deeply"}, id="nested-line"),
        pytest.param(b'[1, "x", null, {"a":1}]', {3: 1}, {0: "1", 1: 'received "x"', 2: "received null"}, id="no-objects"),
        pytest.param(b"[1,2]", {}, {0: "expected an object", 1: "expected an object"}, id="numbers-only"),
        pytest.param(b'[[{"a":1}], {"a":2}]', {1: 2}, {0: "received a list of 1"}, id="array-in-an-array"),
        pytest.param(b'[{"a":1,"a":2},{"a":3}]', {1: 3}, {0: 'key "a" stands twice'}, id="key-twice"),
        pytest.param(b'{"a":1,"a":1}\n{"a":3}', {1: 3}, {0: 'key "a" stands twice'}, id="key-twice-with-one-value"),
        pytest.param(b'{"a" :1,"a":1}\n{"a":3}', {1: 3}, {0: 'key "a" stands twice'}, id="key-twice-behind-a-blank"),
        pytest.param(b'{"a":1,"\\u0061":1}\n{"a":3}', {1: 3}, {0: 'key "a" stands twice'}, id="key-twice-escaped"),
        pytest.param(b'{"b":"\\":","a":1,"a":1}\n{"a":3}', {1: 3}, {0: 'key "a" stands twice'}, id="key-twice-beside-text"),
        pytest.param(b'[{"x":[{"a":1,"a":2}]},{"a":3}]', {1: 3}, {0: 'key "a" stands twice'}, id="key-twice-inside"),
        pytest.param(b'{"a":NaN}\n{"a":3}', {1: 3}, {0: "NaN is not a number"}, id="nan"),
        pytest.param(b'[{"a":-Infinity},{"a":3}]', {1: 3}, {0: "-Infinity is not a number"}, id="infinity"),
        pytest.param(b'[{"a":{"b":[Infinity]}},{"a":3}]', {1: 3}, {0: "Infinity is not a number"}, id="infinity-inside"),
        pytest.param(b'[{"a":' + b"9" * 5000 + b'},{"a":3}]', {1: 3}, {0: "too many digits"}, id="integer-of-5000-digits"),
    ],
)  # fmt: skip
def test_a_bad_record_costs_only_itself(content: bytes, good: dict[int, int], bad: dict[int, str]) -> None:
    records = read_records(content)
    assert dict(zip(records.numbers, (i["a"] for i in records.items), strict=True)) == good
    assert [e.record for e in records.errors] == list(bad)
    for error, message in zip(records.errors, bad.values(), strict=True):
        assert isinstance(error.error, RecordsMalformed)
        assert message in str(error.error)


def test_a_fraction_without_end_costs_only_its_record() -> None:
    records = read_records(b'[{"a":1e99999999999999999999},{"a":1.10}]', exact=True)
    assert records.items == [{"a": Decimal("1.10")}]
    assert records.errors[0].record == 0


def test_json_lines_may_be_broken_in_every_line() -> None:
    records = read_records(b"broken\nas well\n", "json-lines")
    assert records.items == []
    assert [(e.record, e.values) for e in records.errors] == [(0, "broken"), (1, "as well")]


def test_many_broken_lines_are_each_reported() -> None:
    content = b"\n".join(b'{"a":%d}' % n if n % 3 else b'{"a":%d' % n for n in range(1000))
    records = read_records(content)
    assert list(records.numbers) == [n for n in range(1000) if n % 3]
    assert [i["a"] for i in records.items] == list(records.numbers)
    assert [e.record for e in records.errors] == [n for n in range(1000) if not n % 3]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(), _JSON, max_size=5), max_size=8), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_json_writes_is_read_back(items: list[dict[str, Any]], lines: bool, escaped: bool) -> None:
    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=escaped)

    text = "\n".join(map(dump, items)) if lines else dump(items)
    if not escaped and any("\ud800" <= c <= "\udfff" for c in text):
        return
    assert read_records(text.encode()).items == items


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_records_or_malformed(content: bytes) -> None:
    try:
        records = read_records(content)
    except RecordsMalformed:
        return
    assert len(records.items) == len(records.numbers)


@given(st.text(alphabet='{}[]":,a1 \n.e-', max_size=60))
@settings(max_examples=500, deadline=None)
def test_text_close_to_json_is_read_as_json_has_it_or_refused(text: str) -> None:
    class Twice(Exception):
        pass

    def pairs(seen: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(seen)) < len(seen):
            raise Twice
        return dict(seen)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except (ValueError, Twice):
        return
    expected = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, dict)]
    assert read_records(text.encode()).items == expected


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", 'x":']), st.sampled_from(["1", '"\\":"', '" :"', '{"a" : 1}'])), max_size=5
    )
)
@settings(max_examples=300, deadline=None)
def test_a_key_that_stands_twice_is_always_found(pairs: list[tuple[str, str]]) -> None:
    text = "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in pairs) + "}"
    assert len(read_records(text.encode()).errors) == (len({k for k, _ in pairs}) < len(pairs))


# --- Arrow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["auto", "arrow"])
@pytest.mark.parametrize("file", [pytest.param(True, id="file"), pytest.param(False, id="stream")])
def test_arrow_stays_a_table(file: bool, format: str) -> None:
    records = read_records(arrow_bytes(TABLE, file=file), format)
    assert records.table is not None
    assert records.table.equals(TABLE)
    assert list(records.numbers) == [0, 1, 2]
    assert len(records) == 3


def test_arrow_without_content_is_no_records() -> None:
    assert len(read_records(b"", "arrow")) == 0


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"ARROW1", id="magic-alone"),
        pytest.param(b"ARROW1\x00\x00" + b"\x00" * 100, id="magic-and-zeros"),
        pytest.param(b"\xff\xff\xff\xff", id="continuation-alone"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\xff\x7f", id="length-without-end"),
        pytest.param(b"\xff\xff\xff\xff\x10\x00\x00\x00garbagegarbage!!", id="garbage-for-a-schema"),
        pytest.param(arrow_bytes(TABLE)[:-30], id="stream-cut"),
        pytest.param(arrow_bytes(TABLE)[:100], id="schema-cut"),
        pytest.param(arrow_bytes(TABLE, file=True)[:-8], id="file-cut"),
    ],
)
def test_broken_arrow_is_refused(content: bytes) -> None:
    with pytest.raises(RecordsMalformed, match="Arrow"):
        read_records(content)


def test_a_stream_may_lack_its_end_mark() -> None:
    table = read_records(arrow_bytes(TABLE).removesuffix(b"\xff\xff\xff\xff\x00\x00\x00\x00")).table
    assert table is not None
    assert table.equals(TABLE)


def test_json_told_to_be_arrow_is_refused() -> None:
    with pytest.raises(RecordsMalformed):
        read_records(b'{"a": 1}', "arrow")


def test_two_arrow_fields_of_one_name_are_refused() -> None:
    with pytest.raises(RecordsMalformed, match='"a" stands twice'):
        read_records(arrow_bytes(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])))


def test_text_of_arrow_that_is_not_utf8_is_refused() -> None:
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(RecordsMalformed):
        read_records(arrow_bytes(pa.table({"a": text})))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes_in_arrow_never_crash(data: st.DataObject) -> None:
    content = bytearray(arrow_bytes(TABLE, file=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        table = read_records(bytes(content), "arrow").table
    except RecordsMalformed:
        return
    assert table is not None
    [table_row(table, n) for n in range(min(table.num_rows, 5))]


# --- mapping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "item", "expected"),
    [
        pytest.param("", {"a": 1}, [{"a": 1}], id="none"),
        pytest.param("/", {"a": 1}, [{"a": 1}], id="root"),
        pytest.param("/after", {"after": {"a": 1}}, [{"a": 1}], id="name"),
        pytest.param("/payload/after", {"payload": {"after": {"a": 1}}}, [{"a": 1}], id="names"),
        pytest.param("/items[*]", {"items": [{"a": 1}, {"a": 2}]}, [{"a": 1}, {"a": 2}], id="list"),
        pytest.param("/o[*]/l[*]", {"o": [{"l": [{"a": 1}]}, {"l": [{"a": 2}]}]}, [{"a": 1}, {"a": 2}], id="lists"),
        pytest.param("/m[*][*]", {"m": [[{"a": 1}], [{"a": 2}]]}, [{"a": 1}, {"a": 2}], id="list-of-lists"),
        pytest.param("/'a b'", {"a b": {"a": 1}}, [{"a": 1}], id="quotes"),
        pytest.param('/"a|b"/\'c/d\'', {"a|b": {"c/d": {"a": 1}}}, [{"a": 1}], id="signs-in-quotes"),
        pytest.param("/after | /before", {"after": None, "before": {"a": 1}}, [{"a": 1}], id="second-for-a-null"),
        pytest.param("/after|/before", {"before": {"a": 1}}, [{"a": 1}], id="second-for-nothing"),
        pytest.param("/after|/before", {"after": {"a": 2}, "before": {"a": 1}}, [{"a": 2}], id="first-wins"),
        pytest.param("/after|/", {"a": 1}, [{"a": 1}], id="record-as-the-last-choice"),
        pytest.param("/after", {"after": {}}, [{}], id="object-without-fields"),
    ],
)  # fmt: skip
def test_data_path_finds_the_rows(path: str, item: dict[str, Any], expected: list[Any]) -> None:
    rows = rows_of(json.dumps([item]).encode(), RecordMapping(path))
    assert rows.values == expected
    assert rows.errors == ()
    assert list(rows.records) == [0] * len(expected)


@pytest.mark.parametrize(
    ("path", "item"),
    [
        pytest.param("/after", {}, id="nothing"),
        pytest.param("/after", {"after": None}, id="null"),
        pytest.param("/after", {"after": 3}, id="number"),
        pytest.param("/after", {"after": [{"a": 1}]}, id="list-without-star"),
        pytest.param("/items[*]", {"items": []}, id="empty-list"),
        pytest.param("/items[*]", {"items": {"a": 1}}, id="star-for-an-object"),
        pytest.param("/items[*]", {"items": [{"a": 1}, 2]}, id="number-in-a-list"),
        pytest.param("/a/b", {"a": "text"}, id="name-in-text"),
        pytest.param("/after|/before", {"after": 1, "before": 2}, id="no-choice-is-an-object"),
    ],
)
def test_a_record_without_rows_is_an_error_of_its_own(path: str, item: dict[str, Any]) -> None:
    rows = rows_of(
        json.dumps([item, {"after": {"b": 1}, "items": [{"b": 1}], "a": {"b": {"b": 1}}}]).encode(), RecordMapping(path)
    )
    assert rows.values == [{"b": 1}]
    assert list(rows.records) == [1]
    assert [(e.record, e.error.code, e.values) for e in rows.errors] == [(0, "records.malformed", item)]


@pytest.mark.parametrize(
    "path", ["after", "/a[0]", "/a[", "//a", "/a/", "/a||/b", "/a|", "/'a", "/a b c]", ".", "/a[*]b", "|/a", "/*[1]"]
)
def test_a_path_out_of_the_subset_is_refused_at_birth(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path"):
        RecordMapping(data_path=path)
    with pytest.raises(ValueError, match="expected a path"):
        RecordMapping(operation_path=path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[pytest.param(o.name, o, id=o.name) for o in Operation],
        pytest.param("insert", Operation.INSERT, id="small"),
        pytest.param("Upsert-Ignore", Operation.UPSERT_IGNORE, id="dash"),
        pytest.param(" delete  ignore ", Operation.DELETE_IGNORE, id="blanks"),
        pytest.param("c", Operation.INSERT, id="debezium-create"),
        pytest.param("r", Operation.INSERT, id="debezium-read"),
        pytest.param("u", Operation.UPDATE, id="debezium-update"),
        pytest.param("d", Operation.DELETE, id="debezium-delete"),
    ],
)
def test_a_record_names_its_operation(name: str, expected: Operation) -> None:
    rows = rows_of(json.dumps({"op": name, "id": 1}).encode(), RecordMapping(operation_path="/op"))
    assert rows.operations.tolist() == [expected]
    assert rows.operations.dtype == np.uint8


@pytest.mark.parametrize(
    "item",
    [
        pytest.param({}, id="missing"), pytest.param({"op": None}, id="null"), pytest.param({"op": 6}, id="number"),
        pytest.param({"op": ""}, id="empty"), pytest.param({"op": "merge"}, id="unknown"),
        pytest.param({"op": "t"}, id="truncate"),
        pytest.param({"op": {"name": "insert"}}, id="object"), pytest.param({"op": "insert_"}, id="rest"),
    ],
)  # fmt: skip
def test_a_record_without_operation_is_an_error_of_its_own(item: dict[str, Any]) -> None:
    rows = rows_of(json.dumps([{"op": "u"}, item]).encode(), RecordMapping(operation_path="/op"))
    assert rows.operations.tolist() == [Operation.UPDATE]
    assert [e.record for e in rows.errors] == [1]
    assert isinstance(rows.errors[0].error, KuduUnknownOperation)


def test_changes_of_debezium_become_rows() -> None:
    content = b"""{"op": "c", "before": null, "after": {"id": 1}}
        {"op": "u", "before": {"id": 1}, "after": {"id": 1, "n": 2}}
        {"op": "d", "before": {"id": 1, "n": 2}, "after": null}"""
    rows = rows_of(content, RecordMapping("/after | /before", "/op"))
    assert rows.operations.tolist() == [Operation.INSERT, Operation.UPDATE, Operation.DELETE]
    assert rows.values == [{"id": 1}, {"id": 1, "n": 2}, {"id": 1, "n": 2}]


def test_every_row_of_a_record_has_its_number_and_operation() -> None:
    rows = rows_of(
        b'{"op":"d","l":[{"a":1},{"a":2}]} {"op":"q"} {"op":"c","l":[{"a":3}]}', RecordMapping("/l[*]", "/op")
    )
    assert list(rows.records) == [0, 0, 2]
    assert rows.operations.tolist() == [Operation.DELETE, Operation.DELETE, Operation.INSERT]


@pytest.mark.parametrize(
    ("mapping", "item", "expected"),
    [
        pytest.param(RecordMapping(fields={"a": "b"}), {"a": 1, "c": 2}, {"b": 1, "c": 2}, id="renamed"),
        pytest.param(RecordMapping(fields={"a": ""}), {"a": 1, "c": 2}, {"c": 2}, id="dropped"),
        pytest.param(RecordMapping(fields={"a": "b", "b": "a"}), {"a": 1, "b": 2}, {"b": 1, "a": 2}, id="exchanged"),
        pytest.param(RecordMapping(fields={"b": "", "a": "b"}), {"a": 1, "b": 2}, {"b": 1}, id="in-place-of-a-dropped-one"),
        pytest.param(RecordMapping(lower_case=True), {"Id": 1, "NAME": 2}, {"id": 1, "name": 2}, id="lower-case"),
        pytest.param(RecordMapping(fields={"Id": "Key"}, lower_case=True), {"Id": 1}, {"key": 1}, id="lower-case-then"),
        pytest.param(RecordMapping(ignore_nulls=True), {"a": None, "b": 0}, {"b": 0}, id="nulls-gone"),
        pytest.param(RecordMapping(), {"a": None}, {"a": None}, id="nulls-stay"),
    ],
)  # fmt: skip
def test_fields_become_columns(mapping: RecordMapping, item: dict[str, Any], expected: dict[str, Any]) -> None:
    assert rows_of(json.dumps(item).encode(), mapping).values == [expected]


@pytest.mark.parametrize(
    ("mapping", "item"),
    [
        pytest.param(RecordMapping(fields={"a": "b"}), {"a": 1, "b": 2}, id="renamed-onto-another"),
        pytest.param(RecordMapping(lower_case=True), {"a": 1, "A": 2}, id="same-in-lower-case"),
    ],
)
def test_two_fields_for_one_column_are_an_error_of_the_record(mapping: RecordMapping, item: dict[str, Any]) -> None:
    rows = rows_of(json.dumps([{"x": 1}, item, {"x": 2}]).encode(), mapping, Operation.INSERT)
    assert rows.values == [{"x": 1}, {"x": 2}]
    assert list(rows.records) == [0, 2]
    assert len(rows.operations) == 2
    assert [(e.record, e.values) for e in rows.errors] == [(1, item)]


def test_reading_and_mapping_errors_are_together() -> None:
    rows = rows_of(b'{"a":1}\nbroken\n{"a":1,"A":2}\n{"a":4}', RecordMapping(lower_case=True))
    assert [e.record for e in rows.errors] == [1, 2]
    assert list(rows.records) == [0, 3]


def test_arrow_without_paths_stays_a_table_with_new_names() -> None:
    rows = rows_of(
        arrow_bytes(TABLE), RecordMapping(fields={"id": "KEY", "name": ""}, lower_case=True, ignore_nulls=True)
    )
    assert rows.table is not None
    assert rows.table.column_names == ["key"]
    assert rows.ignore_nulls
    assert len(rows) == 3


def test_two_arrow_fields_for_one_column_are_refused() -> None:
    with pytest.raises(RecordsMalformed, match='column "id"'):
        rows_of(arrow_bytes(TABLE), RecordMapping(fields={"name": "id"}))


def test_arrow_with_a_path_becomes_records() -> None:
    table = pa.table({"op": ["c", "d"], "after": pa.array([{"id": 1}, None]), "before": pa.array([None, {"id": 2}])})
    rows = rows_of(arrow_bytes(table), RecordMapping("/after|/before", "/op"))
    assert rows.values == [{"id": 1}, {"id": 2}]
    assert rows.table is None
    assert rows.operations.tolist() == [Operation.INSERT, Operation.DELETE]


def test_arrow_cells_that_python_lacks_become_text() -> None:
    table = pa.table(
        {"op": ["c"], "t": pa.array([1], pa.timestamp("ns")), "far": pa.array([2**62], pa.timestamp("us"))}
    )
    rows = rows_of(arrow_bytes(table), RecordMapping(operation_path="/op"))
    assert str(rows.values[0]["t"]) == "1970-01-01 00:00:00.000000001"
    assert isinstance(rows.values[0]["far"], str)


def test_attributes_with_a_column_become_a_record() -> None:
    attributes = {"filename": "f", "id": "7", "Size": "3", "uuid": "u"}
    assert attributes_record(attributes, {"id", "uuid"}) == {"id": "7", "uuid": "u"}
    mapping = RecordMapping(fields={"filename": "path", "uuid": ""}, lower_case=True)
    assert attributes_record(attributes, {"path", "size", "uuid", "id"}, mapping) == {
        "path": "f",
        "id": "7",
        "size": "3",
    }


def test_two_attributes_for_one_column_are_refused() -> None:
    with pytest.raises(RecordsMalformed, match='column "id"'):
        attributes_record({"a": "1", "id": "2"}, {"id"}, RecordMapping(fields={"a": "id"}))


# --- report and rest ----------------------------------------------------------------------------------------------


def test_the_report_has_a_line_for_each_bad_row() -> None:
    values = {
        "i": 1,
        "d": Decimal("12.10"),
        "b": b"\x00\xff",
        "t": datetime(2026, 1, 2, tzinfo=timezone.utc),
        "n": None,
    }
    bad = [BadRow(7, KuduWrongValue("second"), values), BadRow(2, RecordsMalformed("first"), "x" * 1000)]
    lines = [json.loads(line) for line in bad_rows_json(bad).splitlines()]
    assert lines[0] == {"row": 2, "error_code": "records.malformed", "error_detail": "first", "record": "x" * 1000}
    assert lines[1]["error_code"] == "kudu.wrong_value"
    assert lines[1]["record"] == {
        "i": 1, "d": 12.1, "b": base64.b64encode(b"\x00\xff").decode(), "t": "2026-01-02T00:00:00+00:00", "n": None,
    }  # fmt: skip


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="nan"), pytest.param(float("-inf"), id="infinity"),
        pytest.param("\ud800", id="lone-surrogate"), pytest.param("line\nbreak\u2028", id="line-breaks"),
        pytest.param(nested(5000), id="nested"), pytest.param({"a": [Decimal("1.0"), b"x"]}, id="inside"),
        pytest.param(10**300, id="long-integer"), pytest.param(object(), id="anything"),
    ],
)  # fmt: skip
def test_the_report_holds_any_value_in_one_line(value: Any) -> None:
    report = bad_rows_json([BadRow(0, KuduWrongValue("no"), {"a": value})])
    assert report.count(b"\n") == 1
    assert json.loads(report)["row"] == 0


NUMBERS = ["1.5", "1.50", "-0.00", "1E+3", "1E-400", "123456789012345678901234567890.123456789", "7", "0.1"]
PLACES = [
    pytest.param("{}", id="field"), pytest.param('{{"x":{}}}', id="object"), pytest.param("[{},[{}]]", id="list"),
    pytest.param('[{{"x":[{{"y":{}}}]}}]', id="deep"),
]  # fmt: skip


def digits(text: bytes | str) -> Any:
    """JSON with each number as its digits, marked as a number."""
    return json.loads(text, parse_float=lambda found: ("number", found), parse_int=lambda found: ("number", found))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", NUMBERS)
def test_number_of_json_is_reported_and_tried_again_with_every_digit(number: str, place: str) -> None:
    content = f'{{"a":{place.replace("{}", number).replace("{{", "{").replace("}}", "}")}}}'.encode()
    records = read_records(content, exact=True)
    rows = map_records(records, RecordMapping(), Operation.UPSERT)
    assert digits(bad_rows_json([rows.bad(0, KuduWrongValue("no"))]))["record"] == digits(content)
    assert remaining(records, [0]) == content + b"\n"


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        pytest.param(pa.array([Decimal("1.50")], pa.decimal128(9, 2)), "1.50", id="decimal128"),
        pytest.param(pa.array([Decimal("-" + "9" * 76)], pa.decimal256(76, 0)), "-" + "9" * 76, id="decimal256"),
        pytest.param(pa.array([Decimal("123456789012345678901234567890.12345678")], pa.decimal128(38, 8)),
                     "123456789012345678901234567890.12345678", id="every-digit"),
        pytest.param(pa.array([{"x": Decimal("1.50"), "y": None}], pa.struct([("x", pa.decimal128(9, 2)), ("y", pa.bool_())])),
                     '{"x":1.50,"y":null}', id="struct"),
        pytest.param(pa.array([[Decimal("1.50"), None]], pa.list_(pa.decimal128(9, 2))), "[1.50,null]", id="list"),
        pytest.param(pa.array([[("k", Decimal("1.50"))]], pa.map_(pa.string(), pa.decimal128(9, 2))), '[["k",1.50]]', id="map"),
        pytest.param(pa.array([[{"x": Decimal("1.50")}]], pa.list_(pa.struct([("x", pa.decimal128(9, 2))]))),
                     '[{"x":1.50}]', id="structs-in-a-list"),
        pytest.param(pa.array([float("nan")]), '"nan"', id="nan"),
        pytest.param(pa.array([0.1]), "0.1", id="double"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "/"], ids=["table", "records"])
def test_number_of_arrow_is_reported_with_every_digit(cells: pa.Array, shown: str, path: str) -> None:
    records = read_records(arrow_bytes(pa.table({"a": cells})))
    rows = map_records(records, RecordMapping(path), Operation.UPSERT)
    assert digits(bad_rows_json([rows.bad(0, KuduWrongValue("no"))]))["record"] == {"a": digits(shown)}
    rest = read_records(remaining(records, [0])).table
    assert rest is not None
    assert rest.schema == pa.schema([("a", cells.type)])


@pytest.mark.parametrize("name", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_decimal_that_is_no_number_of_json_is_reported_as_text(name: str) -> None:
    report = bad_rows_json([BadRow(0, KuduWrongValue("no"), {"a": Decimal(name), "b": [Decimal(name)]})])
    assert json.loads(report)["record"] == {"a": name, "b": [name]}


@pytest.mark.parametrize("value", [Decimal("1.50"), {"x": Decimal("1.50")}, [1, Decimal("1E+3"), "1.50"]])
def test_text_column_gets_numbers_as_numbers(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text, parse_float=Decimal) == value
    assert "1.50" in text or "1E+3" in text


def same_json(one: Any, other: Any) -> bool:
    """Values and types alike, and numbers with the same digits."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one.as_tuple() == other.as_tuple()
    return type(one) is type(other) and one == other


_EXACT_JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.decimals(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**40), 10**40).map(Decimal),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.text(max_size=5), _EXACT_JSON, max_size=4), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_record_comes_back_from_the_report_and_the_rest_as_it_was(items: list[dict[str, Any]]) -> None:
    def read(line: bytes) -> Any:
        return json.loads(line, parse_float=Decimal, parse_int=Decimal)

    report = bad_rows_json(BadRow(number, KuduWrongValue("no"), item) for number, item in enumerate(items))
    assert same_json([read(line)["record"] for line in report.splitlines()], items)
    rest = remaining(Records(items, range(len(items))), range(len(items)))
    assert same_json([read(line) for line in rest.splitlines()], items)


def test_no_bad_rows_are_an_empty_report() -> None:
    assert bad_rows_json([]) == b""


def test_a_row_knows_its_record_for_the_report() -> None:
    rows = rows_of(b'{"l":[{"a":1},{"a":2}]}{"l":[{"a":3}]}', RecordMapping("/l[*]"))
    assert rows.bad(2, KuduWrongValue("no"))[0::2] == (1, {"a": 3})
    assert rows_of(arrow_bytes(TABLE), RecordMapping()).bad(1, KuduWrongValue("no")).values == {"id": 2, "name": None}


def test_remaining_json_reads_back_with_every_digit() -> None:
    content = b'[{"a":1.10,"b":"\xc3\xa4"},{"a":2},{"a":{"x":[12345678901234567890.123]}}]'
    rest = remaining(read_records(content, exact=True), [2, 0, 2])
    assert rest == b'{"a":1.10,"b":"\xc3\xa4"}\n{"a":{"x":[12345678901234567890.123]}}\n'


@pytest.mark.parametrize("number", ["1", "1.50"])
def test_remaining_keeps_what_is_nested_as_deep_as_it_can_be_read(number: str) -> None:
    depth = 700
    content = b'{"a":' + b"[" * depth + number.encode() + b"]" * depth + b"}\n"
    records = read_records(content, exact=True)

    def deep(calls: int) -> bytes:  # whoever asks may be deep in calls of its own
        return remaining(records, [0]) if calls == 0 else deep(calls - 1)

    assert remaining(records, [0]) == content
    assert deep(400) == content


def test_remaining_keeps_unreadable_records_as_they_were() -> None:
    broken = b'{"a":' + b"x" * 1000
    records = read_records(b'{"a":1}\n' + broken + b'\n{"a":1,"a":2}\n{"a":"\\ud800"}\n')
    assert remaining(records, [1, 2, 3]) == broken + b'\n{"a":1,"a":2}\n{"a":"\\ud800"}\n'


def test_remaining_arrow_is_a_stream_of_the_same_schema() -> None:
    rest = read_records(remaining(read_records(arrow_bytes(TABLE, file=True)), [2, 0]))
    assert rest.table is not None
    assert rest.table.equals(TABLE.take([0, 2]))


def test_remaining_arrow_may_have_views() -> None:
    table = pa.table({"v": pa.array(["a", None, "c" * 50], pa.string_view())})
    rest = read_records(remaining(read_records(arrow_bytes(table)), [0, 2])).table
    assert rest is not None
    assert rest["v"].to_pylist() == ["a", "c" * 50]
    assert len(read_records(remaining(read_records(arrow_bytes(table)), []))) == 0


@pytest.mark.parametrize("content", [pytest.param(b'{"a":1}', id="json"), pytest.param(arrow_bytes(TABLE), id="arrow")])
def test_remaining_knows_its_numbers(content: bytes) -> None:
    records = read_records(content)
    assert read_records(remaining(records, [])).items == []
    with pytest.raises(KeyError):
        remaining(records, [99])


@given(st.lists(st.dictionaries(st.text(), _JSON, max_size=4), max_size=6), st.data())
@settings(max_examples=80, deadline=None)
def test_remaining_is_the_records_asked_for(items: list[dict[str, Any]], data: st.DataObject) -> None:
    records = Records(items, range(len(items)))
    wanted = data.draw(st.sets(st.integers(0, len(items) - 1))) if items else set()
    assert read_records(remaining(records, wanted), "json-lines").items == [items[n] for n in sorted(wanted)]
