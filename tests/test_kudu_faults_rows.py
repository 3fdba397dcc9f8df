"""Rows that are wrong cost themselves only, one error each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imagewarehouse.kudu.clients.interface import KuduWriter
from imagewarehouse.kudu.schema import KuduColumn, KuduType
from tests import kudu_faults
from tests.conftest import Hosted
from tests.kudu_faults import MISSING, NUMBER, PRESENT, TEXT, Record, content, make, records_of, reported
from tests.kudu_tables import stored

# pytest finds fixtures among the names of a module
open_writer = kudu_faults.open_writer
put = kudu_faults.put
writer = kudu_faults.writer


# --- rows that are wrong ----------------------------------------------------------------------------------------------

BAD_CELLS = (
    KuduColumn("name", KuduType.STRING),
    KuduColumn("short", KuduType.VARCHAR, length=5, nullable=True),
    KuduColumn("raw", KuduType.BINARY, nullable=True),
    KuduColumn("small", KuduType.INT8, nullable=True),
    KuduColumn("yes", KuduType.BOOL, nullable=True),
    KuduColumn("price", KuduType.DECIMAL, precision=5, scale=2, nullable=True),
    KuduColumn("day", KuduType.DATE, nullable=True),
    KuduColumn("at", KuduType.UNIXTIME_MICROS, nullable=True),
    KuduColumn("ratio", KuduType.FLOAT, nullable=True),
    KuduColumn("once", KuduType.STRING, nullable=True, immutable=True),
)
WRONG: dict[str, tuple[Record, str]] = {
    "no-key": ({"key": None}, "kudu.missing_value"),
    "key-of-text": ({"key": "ten"}, "kudu.wrong_value"),
    "key-out-of-range": ({"key": 2**63}, "kudu.wrong_value"),
    "required-null": ({"name": None}, "kudu.missing_value"),
    "string-too-long": ({"name": "x" * 65537}, "kudu.cell_too_long"),
    "string-too-long-in-utf-8": ({"name": "ä" * 32769}, "kudu.cell_too_long"),
    "varchar-too-long": ({"short": "äöüßéx"}, "kudu.cell_too_long"),
    "binary-too-long": ({"raw": "x" * 65537}, "kudu.cell_too_long"),
    "integer-too-large": ({"small": 128}, "kudu.wrong_value"),
    "integer-with-fraction": ({"small": 1.5}, "kudu.wrong_value"),
    "bool-of-number": ({"yes": 1}, "kudu.wrong_value"),
    "decimal-too-large": ({"price": 1000}, "kudu.wrong_value"),
    "decimal-too-fine": ({"price": "0.001"}, "kudu.wrong_value"),
    "day-that-is-none": ({"day": "2026-02-30"}, "kudu.wrong_value"),
    "time-that-is-none": ({"at": "2026-01-01T25:00"}, "kudu.wrong_value"),
    "number-that-only-infinity-is-near-to": ({"ratio": 1e39}, "kudu.wrong_value"),
    "unknown-field": ({"nmae": "x"}, "kudu.unknown_column"),
    "list": ({"small": [1]}, "kudu.wrong_value"),
    "lines": ({"small": "a\nb\r\x1b[31m\u2028c"}, "kudu.wrong_value"),
}


def test_each_wrong_value_costs_its_row_only_and_passes_once_it_is_corrected(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    table = make(writer, *BAD_CELLS)
    processor = put(table, Operation="INSERT")
    rows: list[Record] = [{"key": key, "name": f"good {key}"} for key in range(5 * len(WRONG))]
    for number, (wrong, _) in enumerate(WRONG.values()):
        rows[5 * number + 2].update(wrong)
    left = processor.transform(content(rows))
    expected = [(5 * number + 2, code) for number, (_, code) in enumerate(WRONG.values())]
    assert reported(left) == expected
    assert left.set["record.count"] == str(4 * len(WRONG))
    bad = {number for number, _ in expected}
    good = {key for key in range(len(rows)) if key not in bad}
    assert {key for (key,) in stored(writer, table, "key")} == good
    # What the report repeats of a record is the record: corrected, it can be sent again.
    again = []
    for line, (wrong, _) in zip(records_of(left.content), WRONG.values(), strict=True):
        assert line["record"] == rows[line["row"]]
        kept = {name: value for name, value in line["record"].items() if name not in wrong}
        again.append({"key": line["row"], "name": "corrected", **kept})
    assert processor.transform(content(again)).relationship == "success"
    assert writer.count(table) == len(rows)


@pytest.mark.parametrize("operation", ["INSERT", "UPSERT", "UPDATE", "DELETE"])
def test_cells_that_are_missing_are_told_by_operation(
    writer: KuduWriter, put: Callable[..., Hosted], operation: str
) -> None:
    table = make(writer, KuduColumn("name", KuduType.STRING), NUMBER)
    present = content([{"key": 1, "name": "a"}, {"key": 2, "name": "b"}])
    assert put(table).transform(present).relationship == "success"
    left = put(table, Operation=operation).transform(
        content([{"name": "no key"}, {"key": 1, "number": 5}, {"key": 3, "name": "c"}, {"key": 2, "number": None}])
    )
    expected = {
        "INSERT": ["kudu.missing_value", "kudu.missing_value", None, "kudu.missing_value"],
        "UPSERT": ["kudu.missing_value", "kudu.missing_value", None, "kudu.missing_value"],
        "UPDATE": ["kudu.missing_value", None, MISSING, None],
        "DELETE": ["kudu.missing_value", None, MISSING, None],
    }[operation]
    assert reported(left) == [(row, code) for row, code in enumerate(expected) if code]
    found = {
        "INSERT": [(1, "a", None), (2, "b", None), (3, "c", None)],
        "UPSERT": [(1, "a", None), (2, "b", None), (3, "c", None)],
        "UPDATE": [(1, "a", 5), (2, "b", None)],
        "DELETE": [],
    }[operation]
    assert stored(writer, table) == found


def test_key_that_is_too_long_and_immutable_column_cost_their_rows(
    writer: KuduWriter, put: Callable[..., Hosted]
) -> None:
    name = KuduColumn("name", KuduType.STRING, key=True)
    table = make(writer, KuduColumn("once", KuduType.STRING, nullable=True, immutable=True), NUMBER, key=(name,))
    processor = put(table, Operation_Path="/op", Data_Path="/row")

    def rows(*given: tuple[str, Record]) -> bytes:
        return content([{"op": operation, "row": row} for operation, row in given])

    assert processor.transform(rows(("insert", {"name": "a", "once": "1"}))).relationship == "success"
    left = processor.transform(
        rows(
            ("upsert", {"name": "x" * 16385}),
            ("update", {"name": "a", "once": "2"}),
            ("upsert", {"name": "b", "once": "3"}),
            ("update-ignore", {"name": "a", "once": "4", "number": 4}),
            ("explode", {"name": "c"}),
            ("insert", {"name": "d"}),
        )
    )
    assert reported(left) == [(0, "kudu.cell_too_long"), (1, "kudu.immutable_column"), (4, "kudu.unknown_operation")]
    assert stored(writer, table) == [("a", "1", 4), ("b", "3", None), ("d", None, None)]


POSITIONS = {
    "first": [0],
    "last": [2499],
    "around-a-batch": [998, 999, 1000, 1001],
    "at-two-batches": [0, 999, 1000, 1999, 2000, 2499],
    "one": [1234],
}


@pytest.mark.parametrize("mode", ["AUTO_FLUSH_BACKGROUND", "MANUAL_FLUSH"])
@pytest.mark.parametrize("where", ["kudu", "conversion"])
def test_bad_rows_are_told_by_their_numbers_wherever_they_stand(
    writer: KuduWriter, put: Callable[..., Hosted], where: str, mode: str
) -> None:
    for positions in POSITIONS.values():
        table = make(writer, TEXT)
        processor = put(table, Operation="INSERT", Flush_Mode=mode)
        rows = [{"key": key, "text": f"{key}"} for key in range(2500)]
        code = PRESENT if where == "kudu" else "kudu.wrong_value"
        if where == "kudu":
            there = content([{"key": key, "text": "before"} for key in positions])
            assert processor.transform(there).relationship == "success"
        else:
            for position in positions:
                rows[position]["key"] = "none"
        assert reported(processor.transform(content(rows))) == [(position, code) for position in positions]
        assert writer.count(table) == 2500 - (len(positions) if where == "conversion" else 0)


def test_thousand_bad_rows_of_a_thousand_are_all_told(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT)
    for operation, code in (("UPDATE", MISSING), ("DELETE", MISSING)):
        left = put(table, Operation=operation).transform(content([{"key": key, "text": "x"} for key in range(1000)]))
        assert reported(left) == [(row, code) for row in range(1000)]
        assert left.set["record.count"] == "0"
    left = put(table).transform(content([{"key": 5, "text": [row], "x": row} for row in range(1000)]))
    assert {code for _, code in reported(left)} == {"kudu.unknown_column"}
    assert len(reported(left)) == 1000
    assert writer.count(table) == 0


def test_insert_of_one_key_twice_in_a_flow_file_keeps_the_first(writer: KuduWriter, put: Callable[..., Hosted]) -> None:
    table = make(writer, TEXT)
    rows = [{"key": 1, "text": "first"}, {"key": 2, "text": "b"}, {"key": 1, "text": "second"}]
    assert reported(put(table, Operation="INSERT").transform(content(rows))) == [(2, PRESENT)]
    assert stored(writer, table) == [(1, "first"), (2, "b")]


@pytest.mark.parametrize("source", ["content", "attributes"])
def test_content_that_is_nothing_or_no_records(writer: KuduWriter, put: Callable[..., Hosted], source: str) -> None:
    table = make(writer, TEXT)
    processor = put(table, Record_Source=source)
    if source == "attributes":
        for attributes, code in (({}, "kudu.missing_value"), ({"key": "x"}, "kudu.wrong_value")):
            left = processor.transform(b"", attributes)
            assert (left.relationship, left.set["error_code"]) == ("failure", code)
    else:
        for data in (b"", b"[]", b"\n\n"):
            left = processor.transform(data)
            assert (left.relationship, left.set["record.count"]) == ("success", "0")
        for data in (b"key=1", b"\x00\x01", b"ARROW1" + b"\x00" * 50, b'{"key": 1', b"\xff\xff\xff\xff\x10"):
            left = processor.transform(data)
            assert (left.relationship, left.set["error_code"]) == ("failure", "records.malformed")
            assert left.set["error_detail"].isprintable()
    assert writer.count(table) == 0
