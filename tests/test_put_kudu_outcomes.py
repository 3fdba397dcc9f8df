"""How FlowFiles leave PutKuduRecord: on success, failure, retry, and with a report of their bad rows."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from imagewarehouse.errors import KuduUnavailable
from imagewarehouse.kudu.clients.interface import RowFailure
from tests import kudu_processor
from tests.kudu_processor import Put, Table, content, report, writes_of
from tests.kudu_tables import arrow_bytes

# pytest finds fixtures among the names of a module
make_table = kudu_processor.make_table
put = kudu_processor.put
table = kudu_processor.table
writer = kudu_processor.writer


# --- success, failure, and what Failure Strategy chose --------------------------------------------------------------


def test_success_keeps_the_content_and_counts_the_records(put: Put, table: Table) -> None:
    sent = content({"key": 1, "name": "a"}, {"key": 2, "name": "b"})
    left = put(table).transform(sent, {"filename": "x"})
    assert (left.relationship, left.content) == ("success", sent)
    assert left.attributes == {"filename": "x", "record.count": "2"}
    assert table.column("name") == {1: "a", 2: "b"}


@pytest.mark.parametrize(
    "sent", [b"", b" \n", b"[]", arrow_bytes(pa.table({"key": pa.array([], pa.int32())}))], ids=repr
)
def test_content_without_records_is_a_success_of_none(put: Put, table: Table, sent: bytes) -> None:
    left = put(table).transform(sent)
    assert (left.relationship, left.attributes["record.count"]) == ("success", "0")


@pytest.mark.parametrize(
    "sent",
    [b"[{", b"no JSON", b'[{"key": 1}, {"key"', b"\xff\xfe{\0", b"ARROW1\0\0rest", b"\xff\xff\xff\xff\x00"],
    ids=repr,
)
def test_content_that_cannot_be_read_goes_to_failure_and_nothing_is_written(
    put: Put, table: Table, sent: bytes
) -> None:
    left = put(table).transform(sent)
    assert (left.relationship, left.content, left.set["error_code"]) == ("failure", sent, "records.malformed")
    assert table.rows == []


def test_bad_records_leave_alone_with_reasons_and_the_others_are_committed(put: Put, table: Table) -> None:
    sent = content(
        {"key": 1, "name": "good"}, {"key": 1.5}, {"name": "no key"}, {"key": 2, "colour": "red"}, {"key": 3}
    )
    left = put(table, {"Operation": "INSERT"}).transform(sent)
    assert (left.relationship, left.attributes["record.count"], left.attributes["bad.count"]) == ("bad rows", "2", "3")
    assert (left.attributes["mime.type"], left.attributes["error_code"]) == ("application/x-ndjson", "kudu.wrong_value")
    assert report(left) == [(1, "kudu.wrong_value"), (2, "kudu.missing_value"), (3, "kudu.unknown_column")]
    assert json.loads(left.content.splitlines()[2]) == {
        "row": 3, "error_code": "kudu.unknown_column", "error_detail": 'no column for field "colour"',
        "record": {"key": 2, "colour": "red"},
    }  # fmt: skip
    assert table.column("name") == {1: "good", 3: None}


@pytest.mark.parametrize("form", ["json", "arrow"])
def test_numbers_of_bad_rows_come_back_as_they_were(put: Put, table: Table, form: str) -> None:
    price, amounts = "123456789012345678901234567.50", '{"net":1.50,"each":[0.10,2.00]}'
    text = f'{{"key":1,"number":1.50,"price":{price},"amounts":{amounts}}}'
    sent = text.encode()
    if form == "arrow":
        record = json.loads(text, parse_float=Decimal)
        cents = pa.decimal128(38, 2)
        amounts_type = pa.struct([("net", cents), ("each", pa.list_(cents))])
        types = [("key", pa.int64()), ("number", cents), ("price", cents), ("amounts", amounts_type)]
        sent = arrow_bytes(pa.Table.from_pylist([record], pa.schema(types)))
    left = put(table).transform(sent)
    assert left.relationship == "bad rows"
    shown = json.loads(left.content, parse_float=Decimal)["record"]
    assert str(shown) == str(json.loads(text, parse_float=Decimal))


def test_objects_in_text_columns_keep_the_digits_of_their_numbers(put: Put, table: Table) -> None:
    sent = b'{"key":1,"name":{"net":1.50,"each":[0.10,1E+3]}}'
    assert put(table).transform(sent).relationship == "success"
    assert table.column("name") == {1: '{"net":1.50,"each":[0.10,1E+3]}'}


def test_records_of_a_report_can_be_sent_again_once_they_are_mended(put: Put, table: Table) -> None:
    host = put(table)
    left = host.transform(content({"key": 1}, {"key": 2, "number": "many"}))
    (line,) = map(json.loads, left.content.splitlines())
    assert host.transform(content({**line["record"], "number": 5})).relationship == "success"
    assert table.column("number") == {1: None, 2: 5}
    again = put(table, {"Data Path": "/record"}).transform(left.content)  # a report is itself a content
    assert report(again) == [(0, "kudu.wrong_value")]


def test_rows_that_may_pass_later_are_tried_again_in_place(
    put: Put, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter([True, True, False])

    def away(plain: Any, table: str, batches: Any) -> Any:
        if next(fails):
            raise KuduUnavailable("election")
        return plain(table, batches)

    host = put(table, {"Retries": "2", "Retry Back-off": "10 ms"})
    seen = writes_of(host, monkeypatch, away)
    assert host.transform(content({"key": 1})).relationship == "success"
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("kind", ["json", "arrow"])
def test_retry_takes_along_only_what_is_not_committed(
    put: Put, table: Table, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def half(plain: Any, table: str, batches: Any) -> Any:
        assert not plain(table, [batch.take([0, 2]) for batch in batches])
        return [RowFailure(0, 1, KuduUnavailable("tablet 2 has no leader"))]

    records = [{"key": n, "name": f"n{n}"} for n in range(3)]
    host = put(table, {"Operation": "INSERT", "Retries": "0"})
    writes_of(host, monkeypatch, half)
    left = host.transform(content(*records) if kind == "json" else arrow_bytes(pa.Table.from_pylist(records)))
    assert left.relationship == "retry"
    assert [row["key"] for row in table.rows] == [0, 2]
    again = put(table, {"Operation": "INSERT"}).transform(left.content, left.attributes)
    assert (again.relationship, again.attributes["record.count"]) == ("success", "1")
    assert table.column("name") == {0: "n0", 1: "n1", 2: "n2"}
