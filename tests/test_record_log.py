"""The log in front of the embedded rows: nothing that was acknowledged is lost, nothing stands twice, the order counts."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.log import RecordLog, Values

Record = Callable[..., ImageRecord]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = {
    "string": TEXT,
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "float": st.floats(0, 1, width=32),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "vector": st.binary(min_size=1, max_size=128),
}


@st.composite
def any_record(draw: st.DrawFn) -> ImageRecord:
    moment = datetime(1971, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=draw(st.integers(0, 1 << 61)) // 1000)
    request_id = new_request_id(moment)
    values = {c.name: draw(st.none() | VALUES[c.type]) for c in COLUMNS if c.nullable}
    return ImageRecord(
        event_time=event_time(request_id),
        request_id=request_id,
        status=draw(st.sampled_from(["classified", "failed"])),
        **values,
    )


def as_record(values: Values) -> ImageRecord:
    named = dict(zip((c.name for c in COLUMNS), values, strict=True))
    return ImageRecord(**{**named, "event_time": EPOCH + timedelta(microseconds=named["event_time"])})


def write_and_die(path: Path, count: int) -> None:
    """A process that is killed the moment its records are acknowledged."""
    script = f"""
import os, signal, sys
from pathlib import Path
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi.adapter import now
from imagewarehouse.rows import embedded
embedded._MOVE_S = 3600
rows = embedded.LocalRows(Path(sys.argv[1]))
for number in range({count}):
    request_id = new_request_id(now())
    rows.write([ImageRecord(event_time=event_time(request_id), request_id=request_id, status="classified", width=number)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr


@given(st.lists(any_record(), min_size=1, max_size=5))
def test_any_record_comes_out_of_the_log_as_it_went_in(records: list[ImageRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = RecordLog(Path(folder) / "rows.duckdb.log")
        log.append(records)
        assert [(number, as_record(values)) for number, values in log.read(100)] == list(enumerate(records, 1))
        log.remove(len(records), {})
        assert log.read(100) == []
        log.close()


def test_what_a_killed_process_has_acknowledged_is_there_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    for _ in range(2):
        write_and_die(path, 50)
    rows = LocalRows(path)
    found = rows.query("SELECT count(*) AS n, count(DISTINCT request_id) AS ids, max(width) AS most FROM image_events")
    assert found.to_pylist() == [{"n": 100, "ids": 100, "most": 49}]
    rows.close()


def test_a_record_that_was_moved_and_not_taken_out_does_not_stand_twice(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write([record()])
    with monkeypatch.context() as broken:
        broken.setattr(rows._log, "remove", lambda *_: (_ for _ in ()).throw(RowStoreUnavailable("disk full")))
        with pytest.raises(RowStoreUnavailable):
            rows._move()
    assert rows._log.read(10) != []
    assert rows.query("SELECT count(*) AS n FROM image_events").to_pylist() == [{"n": 1}]
    rows.close()


def test_of_two_versions_of_a_row_the_later_one_stays_wherever_they_are(tmp_path: Path, record: Record) -> None:
    first = record()
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write([dataclasses.replace(first, file_name="1")])
    rows._move()
    rows.write([dataclasses.replace(first, file_name="2")])
    rows.write([dataclasses.replace(first, file_name="3")])
    assert rows.query("SELECT file_name FROM image_events").to_pylist() == [{"file_name": "3"}]
    rows.close()


def test_rows_come_into_the_database_by_themselves_and_the_log_is_empty_after_a_stop(
    tmp_path: Path, record: Record
) -> None:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write([record()])
    rows.close()
    rows.close()  # twice is as once
    with sqlite3.connect(tmp_path / "rows.duckdb.log") as log:
        assert log.execute("SELECT count(*) FROM records").fetchone() == (0,)


def test_a_log_of_another_release_is_read(tmp_path: Path, record: Record) -> None:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.close()
    one = record()
    micros = int(one.event_time.timestamp() * 1_000_000)
    text = json.dumps({"event_time": micros, "request_id": one.request_id, "status": "failed", "column_of_tomorrow": 1})
    with sqlite3.connect(tmp_path / "rows.duckdb.log") as log:
        log.execute("INSERT INTO records (record) VALUES (?)", (text,))
    rows = LocalRows(tmp_path / "rows.duckdb")
    found = rows.query("SELECT request_id, status, width FROM image_events").to_pylist()
    assert found == [{"request_id": one.request_id, "status": "failed", "width": None}]
    rows.close()


def test_records_of_another_layout_are_read_by_the_names_of_their_columns(tmp_path: Path, record: Record) -> None:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.close()
    one, two = record(), record()
    with sqlite3.connect(tmp_path / "rows.duckdb.log") as log:
        names = json.dumps(["status", "column_of_tomorrow", "width", "request_id", "event_time"])
        log.execute("INSERT INTO layouts VALUES (7, ?)", (names,))
        values = [7, "failed", "?", 8, one.request_id, int(one.event_time.timestamp() * 1_000_000)]
        log.execute("INSERT INTO records (record) VALUES (?)", (json.dumps(values),))
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.write([two])
    found = rows.query("SELECT request_id, status, width FROM image_events ORDER BY event_time").to_pylist()
    assert found == [
        {"request_id": one.request_id, "status": "failed", "width": 8},
        {"request_id": two.request_id, "status": "accepted", "width": None},
    ]
    rows.close()


NO_RECORDS = [
    "{",
    "[]",
    "5",
    "{}",
    "[1]",
    "[99, 0]",
    "[[], 0]",
    '{"event_time": "x", "request_id": "r", "status": "failed"}',
    '{"event_time": 0, "request_id": "r", "status": "of tomorrow"}',
    '{"event_time": 0, "request_id": "r", "status": "failed", "width": 99999999999}',
    '{"event_time": 0, "request_id": "r", "status": "failed", "size_bytes": {}}',
]


@pytest.mark.parametrize("text", NO_RECORDS)
def test_a_record_that_is_none_is_set_aside_and_holds_up_no_other(
    tmp_path: Path, record: Record, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = tmp_path / "rows.duckdb"
    write_and_die(path, 2)
    with sqlite3.connect(f"{path}.log") as log:  # in front of the others
        log.execute("INSERT INTO records VALUES (0, ?)", (text,))
    rows = LocalRows(path)
    rows.write([record()])
    assert rows.query("SELECT count(*) AS n FROM image_events").to_pylist() == [{"n": 3}]
    rows.close()
    with sqlite3.connect(f"{path}.log") as log:
        assert log.execute("SELECT record FROM refused").fetchall() == [(text,)]
        assert log.execute("SELECT count(*) FROM records").fetchone() == (0,)
    assert "is set aside" in caplog.text


def test_a_log_that_is_no_database_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "rows.duckdb.log").write_text("something else" * 100)
    with pytest.raises(ConfigurationError, match=r"Local Database: .*rows\.duckdb\.log"):
        LocalRows(tmp_path / "rows.duckdb")


def test_a_closed_log_refuses_and_may_be_tried_again(tmp_path: Path, record: Record) -> None:
    rows = LocalRows(tmp_path / "rows.duckdb")
    rows.close()
    with pytest.raises(RowStoreUnavailable) as caught:
        rows.write([record()])
    assert caught.value.retryable
