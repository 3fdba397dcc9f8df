"""Several processes write to one embedded row store: all of them append, one of them moves, and nothing depends on which."""

from __future__ import annotations

import dataclasses
import json
import random
import sqlite3
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import duckdb
import pytest

from imagewarehouse.errors import ConfigurationError
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows import embedded, locks, moving
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.log import RecordLog, log_of
from tests.conftest import until
from tests.row_processes import (
    AT,
    COUNTS,
    WRITER,
    acknowledged,
    counts,
    finish,
    first_line,
    in_the_file,
    left_in_the_log,
    start,
)

Record = Callable[..., ImageRecord]

# Opens, writes, and closes when it is told to each time; another row right before the end. Only its close moves.
STEP_BY_STEP = """
import sys
from pathlib import Path
from imagewarehouse.errors import ConfigurationError
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi.adapter import now
from imagewarehouse.rows import embedded, locks
def record():
    request_id = new_request_id(now())
    return ImageRecord(event_time=event_time(request_id), request_id=request_id, status="classified")
def wait():
    print("ready", flush=True)
    sys.stdin.readline()
embedded._MOVE_S = 3600
{first}
wait()
try:
    store = embedded.LocalRows(Path(sys.argv[1]))
except ConfigurationError as err:
    print(err, flush=True)
    sys.exit()
store.write([record(), record()])
wait()
store.write([record()])
{last}
"""
# What a process of an earlier release did with the lock file: it kept it for itself.
EARLIER_RELEASE = """
import fcntl, os, sys
file = open(sys.argv[1] + ".lock", "a+")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    file.seek(0)
    sys.exit(f"process {file.read()} does")
file.truncate(0)
file.write(str(os.getpid()))
file.flush()
print("has it", flush=True)
sys.stdin.read()
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


# --- all write --------------------------------------------------------------------------------------------------------


def test_what_processes_write_at_the_same_time_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    writers = [start(WRITER.format(then=""), path) for _ in range(4)]
    lines = [first_line(writer) for writer in writers]
    for _ in range(10):
        rows, ids = counts(path)
        assert rows == ids >= sum(lines)
        assert rows % 7 == 0  # what one process wrote together is seen together
    total = sum(acknowledged(finish(writer), line) for writer, line in zip(writers, lines, strict=True))
    assert left_in_the_log(path) == 0
    assert in_the_file(path) == total
    assert counts(path) == (total, total)


def test_of_the_versions_that_processes_write_of_a_row_the_last_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    # Which one is the last is only known where they take turns: each write gets the next number, under a lock.
    script = """
import fcntl, os, random, sys, time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows import embedded
embedded._MOVE_S = 0.02
store = embedded.LocalRows(Path(sys.argv[1]))
turns = open(sys.argv[1] + ".turns", "a+")
for _ in range(150):
    keys = random.sample(range(10), 3)
    fcntl.flock(turns, fcntl.LOCK_EX)
    number = os.path.getsize(turns.name)
    turns.write("x")
    turns.flush()
    store.write([
        ImageRecord(event_time=datetime(2026, 11, 20, tzinfo=timezone.utc) + timedelta(hours=key), request_id=f"r-{key}",
                    status="classified", width=number)
        for key in keys
    ])
    fcntl.flock(turns, fcntl.LOCK_UN)
    print(number, *keys, flush=True)
store.close()
"""
    writers = [start(script, path) for _ in range(3)]
    expected: dict[str, int] = defaultdict(int)
    for writer in writers:
        for said in finish(writer).splitlines():
            number, *keys = map(int, said.split())
            for key in keys:
                expected[f"r-{key}"] = max(number, expected[f"r-{key}"])
    assert max(expected.values()) == 449
    assert left_in_the_log(path) == 0
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT request_id, width FROM image_events").fetchall()
    assert len(found) == 10
    assert dict(found) == expected


@pytest.mark.parametrize("mover", ["this-one", "the-other-one"])
def test_a_query_of_one_process_sees_at_once_what_another_has_written(
    tmp_path: Path, record: Record, mover: str
) -> None:
    path = tmp_path / "rows.duckdb"
    first = LocalRows(path) if mover == "this-one" else None
    other = start(WRITER.format(then=""), path)
    line = first_line(other)
    store = first or LocalRows(path)
    assert (store._mover is not None) == (mover == "this-one")
    for written in range(1, 16):
        store.write([record(status="failed")])
        line = first_line(other)
        found = store.query("SELECT status, count(*) AS n FROM image_events GROUP BY ALL").to_pylist()
        by_status = {row["status"]: row["n"] for row in found}
        assert by_status["failed"] == written
        assert by_status["classified"] >= line
    total = acknowledged(finish(other), line)
    store.close()
    assert in_the_file(path) == total + 15


def test_two_stores_of_one_process_write_as_two_processes_do(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    stores = [LocalRows(path), LocalRows(tmp_path / "." / "rows.duckdb")]
    for store in stores:
        store.write([record()])
        assert store.query(COUNTS).to_pylist()[0]["n"] == stores.index(store) + 1
    stores[0].close()
    stores[1].write([record()])
    stores[1].close()
    assert left_in_the_log(path) == 0
    assert in_the_file(path) == 3


def test_children_that_open_it_after_their_fork_write_together(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    script = """
import os, sys
from pathlib import Path
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi.adapter import now
from imagewarehouse.rows import embedded
def record():
    request_id = new_request_id(now())
    return ImageRecord(event_time=event_time(request_id), request_id=request_id, status="classified")
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        store = embedded.LocalRows(Path(sys.argv[1]))
        for _ in range(50):
            store.write([record()])
        sys.exit()  # without a close: Python does that
    children.append(child)
print(*(os.waitpid(child, 0)[1] for child in children))
"""
    assert finish(start(script, path)) == "0 0 0\n"
    assert left_in_the_log(path) == 0
    assert in_the_file(path) == 150


def test_a_process_that_does_not_move_loads_no_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    last = "store.close(); print(sorted({'duckdb', 'pyarrow', 'numpy'} & set(sys.modules)))"
    said = start(STEP_BY_STEP.format(first="embedded._MOVE_S = 0.01", last=last), path)
    assert said.communicate("\n\n", timeout=60)[0].splitlines() == ["ready", "ready", "[]"]
    store.close()
    assert in_the_file(path) == 3


# --- one moves --------------------------------------------------------------------------------------------------------


def test_an_idle_process_moves_what_a_killed_one_has_left(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    other = start(WRITER.format(then="embedded._MOVE_S = 3600").replace("= 0.02", "= 3600"), path)
    while first_line(other) < 70:
        pass
    store = LocalRows(path)
    assert store._mover is None
    other.kill()
    total = acknowledged(other.communicate()[0], 70)
    assert until(lambda: left_in_the_log(path) == 0, every=0.05)
    rows = in_the_file(path)
    assert rows >= total
    assert rows % 7 == 0  # a last batch may have been written and not said
    assert counts(path) == (rows, rows)
    store.close()


@pytest.mark.parametrize("moment", AT.values(), ids=AT)
def test_where_the_one_that_moves_is_killed_in_the_middle_of_it_another_goes_on(
    tmp_path: Path, record: Record, moment: str
) -> None:
    path = tmp_path / "rows.duckdb"
    mover = start(WRITER.format(then=f"print(0, flush=True); sys.stdin.readline(); {moment}"), path)
    assert first_line(mover) == 0
    store = LocalRows(path)
    assert store._mover is None
    assert mover.stdin is not None
    go(mover)
    written = 0
    while mover.poll() is None:
        store.write([record(status="failed")])
        written += 1
        time.sleep(0.005)
    assert mover.returncode == -9
    total = acknowledged(mover.communicate()[0])
    store.write([record(status="failed")])
    assert until(lambda: left_in_the_log(path) == 0, every=0.05)
    store.close()
    by_status = "SELECT status, count(*), count(DISTINCT request_id) FROM image_events GROUP BY ALL ORDER BY ALL"
    with duckdb.connect(str(path), read_only=True) as connection:
        found = {status: numbers for status, *numbers in connection.execute(by_status).fetchall()}
    assert found["failed"] == [written + 1, written + 1]
    rows, ids = found.get("classified", (0, 0))
    assert rows == ids >= total


def test_processes_that_are_killed_and_started_at_any_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    total = 0
    writers = [start(WRITER.format(then=""), path) for _ in range(3)]
    lines = [first_line(writer) for writer in writers]
    for _ in range(6):
        time.sleep(chance.random() * 0.3)
        killed = chance.randrange(3)
        writers[killed].kill()
        total += acknowledged(writers[killed].communicate()[0], lines[killed])
        writers[killed] = start(WRITER.format(then=""), path)
        lines[killed] = first_line(writers[killed])
        rows, ids = counts(path)
        assert rows == ids >= total + sum(lines)
    total += sum(acknowledged(finish(writer), line) for writer, line in zip(writers, lines, strict=True))
    assert left_in_the_log(path) == 0
    rows = in_the_file(path)
    assert total <= rows <= total + 6 * 7  # of each that was killed, one batch may have been written and not said
    assert counts(path) == (rows, rows)


@pytest.mark.parametrize("end", ["store.close()", "sys.exit()"])
def test_processes_that_start_and_close_all_at_once_leave_nothing_in_the_log(tmp_path: Path, end: str) -> None:
    for number in range(4):
        path = tmp_path / f"{number}.duckdb"
        processes = [start(STEP_BY_STEP.format(first="", last=end), path) for _ in range(4)]
        for _ in range(2):
            assert [line(process) for process in processes] == ["ready"] * 4
            random.shuffle(processes)
            for process in processes:
                go(process)
        for process in processes:
            finish(process)
        assert left_in_the_log(path) == 0
        assert in_the_file(path) == 12


@pytest.mark.parametrize("after", ["_may_move", "_move", "_stop_moving", "leave"])
@pytest.mark.parametrize("closes", ["the-one-that-moves", "the-other-one"])
def test_a_last_record_is_moved_wherever_the_close_of_another_process_is(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch, closes: str, after: str
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 3600.0)
    path = tmp_path / "rows.duckdb"
    first, second = LocalRows(path), LocalRows(path)  # each as a process of its own would be
    closing, other = (first, second) if closes == "the-one-that-moves" else (second, first)
    closing.write([record()])
    place = closing._writers if after == "leave" else closing
    step = getattr(place, after)
    reached = []

    def interrupted() -> object:
        answer = step()
        if not reached:
            reached.append(after)
            other.write([record()])
            other.close()
        return answer

    monkeypatch.setattr(place, after, interrupted)
    closing.close()
    other.close()
    assert bool(reached) == (closes == "the-one-that-moves" or after != "_move")
    assert left_in_the_log(path) == 0
    assert in_the_file(path) == (2 if reached else 1)


def test_a_table_that_cannot_be_used_is_a_warning_for_who_goes_on(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 0.02)
    path = tmp_path / "rows.duckdb"
    first, second = LocalRows(path), LocalRows(path)
    first.close()
    path.write_bytes(b"this is no database " * 1000)
    second.write([record()])
    assert until(lambda: f"the records wait in {path}.log" in caplog.text)
    time.sleep(0.2)
    path.unlink()
    assert until(lambda: left_in_the_log(path) == 0)
    second.close()
    assert in_the_file(path) == 1
    assert len([entry for entry in caplog.records if entry.levelname == "WARNING"]) == 1


def test_a_file_that_is_gone_is_an_error_of_the_log(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 0.02)
    path = tmp_path / "rows.duckdb"
    rows = LocalRows(path)
    rows.write([record()])
    assert until(lambda: in_the_file(path) == 1)
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]
    path.unlink()
    rows.write([record()])
    assert until(lambda: left_in_the_log(path) == 0)
    rows.close()
    assert in_the_file(path) == 1
    (error,) = (entry for entry in caplog.records if entry.levelname == "ERROR")
    assert f"{path} is gone: a new one begins" in error.getMessage()


# --- the log they share -----------------------------------------------------------------------------------------------


def add(path: Path, text: str, layout: tuple[int, list[str]] | None = None) -> None:
    """As another process would, of whatever release."""
    log = sqlite3.connect(log_of(path))
    with log:
        if layout:
            log.execute("INSERT INTO layouts VALUES (?, ?)", (layout[0], json.dumps(layout[1])))
        log.execute("INSERT INTO records (record) VALUES (?)", (text,))
    log.close()


def test_an_append_waits_for_its_turn_and_goes_on_when_it_comes(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    writing = threading.Thread(target=lambda: store.write([record()]))
    with locks.open_lock(Path(f"{path}.log.lock")) as turn:
        with locks.held(turn):  # as another process that appends
            writing.start()
            time.sleep(0.1)
            assert writing.is_alive()
            assert counts(path) == (0, 0)
        writing.join(10)
        assert not writing.is_alive()
    store.close()
    assert in_the_file(path) == 1


def test_a_layout_that_another_process_brings_later_is_read(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    one = record()
    names = ["status", "column_of_tomorrow", "width", "request_id", "event_time"]
    values = [7, "failed", "?", 8, one.request_id, int(one.event_time.timestamp() * 1_000_000)]
    add(path, json.dumps(values), (7, names))
    store.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT request_id, status, width FROM image_events").fetchall()
    assert found == [(one.request_id, "failed", 8)]


@pytest.mark.parametrize("refused", [0, 2], ids=["after-others", "all-of-them"])
def test_a_record_that_comes_while_the_last_one_is_refused_is_not_taken_out_with_it(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 3600.0)
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    other = RecordLog(log_of(path))
    store.write([record() for _ in range(2 - refused)])
    for number in range(1 + refused):
        add(path, f'{{"event_time": {number}, "request_id": "r", "status": "failed", "width": 99999999999}}')
    monkeypatch.setattr(store._log, "remove", Before(store._log.remove, lambda: other.append([record()])))
    store._move()
    monkeypatch.undo()
    other.close()
    store.close()
    assert in_the_file(path) == 3 - refused
    with sqlite3.connect(log_of(path)) as log:
        assert log.execute("SELECT count(*) FROM refused").fetchall() == [(1 + refused,)]


class Before:
    """A call with something in front of it."""

    def __init__(self, call: Callable[..., object], first: Callable[[], object]) -> None:
        self.call, self.first = call, first

    def __call__(self, *arguments: object) -> object:
        self.first()
        return self.call(*arguments)


def test_one_move_brings_all_pages_whatever_is_set_aside_of_them(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 3600.0)
    monkeypatch.setattr(moving, "_MOVED_AT_ONCE", 3)
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    one = record()
    for _ in range(2):
        add(path, "no record")
        store.write([dataclasses.replace(one, file_name="old"), record(), record(), record()])
    store.write([dataclasses.replace(one, file_name="new")])
    add(path, "no record")
    store._move()
    assert left_in_the_log(path) == 0
    store.close()
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(*), max(file_name) FROM image_events").fetchall() == [(7, "new")]


# --- who may not ------------------------------------------------------------------------------------------------------


def test_a_process_of_another_machine_is_refused_by_the_number_of_one_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_JOIN_S", 0.2)
    path = tmp_path / "rows.duckdb"
    elsewhere = start(STEP_BY_STEP.format(first="locks.machine = lambda: 'elsewhere'", last="store.close()"), path)
    go(elsewhere)
    assert [line(elsewhere) for _ in range(2)] == ["ready", "ready"]
    with pytest.raises(ConfigurationError) as caught:
        LocalRows(path)
    assert str(caught.value) == (
        f"Local Database: {path}: only processes of one machine can write to it,"
        f" and process {elsewhere.pid} of another machine does"
    )
    finish(elsewhere)
    LocalRows(path).close()  # it has let go
    assert in_the_file(path) == 3


def test_of_two_machines_that_start_at_once_one_gets_in(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"{number}.duckdb"
        processes = [
            start(STEP_BY_STEP.format(first=f"locks.machine = lambda: '{name}'; locks._JOIN_S = 1.0", last=""), path)
            for name in islice(cycle("ab"), 6)
        ]
        assert [line(process) for process in processes] == ["ready"] * 6
        for process in processes:
            go(process)
        said = [line(process) for process in processes]
        for process in processes:
            go_on = "\n" if process.poll() is None else None
            process.communicate(go_on, timeout=60)
        assert {name for name, answer in zip(cycle("ab"), said, strict=False) if answer == "ready"} in ({"a"}, {"b"})
        assert said.count("ready") == 3  # and all of the one machine
        assert in_the_file(path) == 9


def test_beside_a_process_of_an_earlier_release_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_JOIN_S", 0.2)
    path = tmp_path / "rows.duckdb"
    earlier = start(EARLIER_RELEASE, path)
    assert line(earlier) == "has it"
    with pytest.raises(ConfigurationError) as caught:
        LocalRows(path)
    assert str(caught.value) == (
        f"Local Database: {path}: only one process can write to it,"
        f" and process {earlier.pid} of an earlier release does"
    )
    finish(earlier)
    LocalRows(path).close()


def test_a_process_of_an_earlier_release_gets_in_when_all_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    stores = [LocalRows(path), LocalRows(path)]
    for store in stores:
        earlier = start(EARLIER_RELEASE, path)
        assert "of machine" in earlier.communicate(timeout=60)[1]
        assert earlier.returncode == 1
        store.close()
    finish(start(EARLIER_RELEASE, path))
