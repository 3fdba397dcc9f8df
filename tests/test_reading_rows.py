"""Embedded rows and other processes: who reads, who writes, who is killed. Nothing is lost, nothing stands twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from imagewarehouse.cli.rows import rows as rows_command
from imagewarehouse.errors import ConfigurationError, RowStoreUnavailable
from imagewarehouse.metadata import COLUMNS, ImageRecord
from imagewarehouse.rows import embedded, log, moving, reading
from imagewarehouse.rows.embedded import LocalRows
from imagewarehouse.rows.locks import FileHeld, Gate
from imagewarehouse.rows.reading import read
from imagewarehouse.rows.table import SQL_TYPES
from tests.conftest import until
from tests.row_processes import (
    AT,
    COUNTS,
    READER,
    WRITER,
    acknowledged,
    counts,
    finish,
    first_line,
    held,
    in_the_file,
    left_in_the_log,
    start,
)

Record = Callable[..., ImageRecord]
NOW = datetime(2026, 11, 20, tzinfo=timezone.utc)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
SQL_COLUMNS = ", ".join(f"{c.name} {SQL_TYPES[c.type]}{'' if c.nullable else ' NOT NULL'}" for c in COLUMNS)


def with_key(path: Path, count: int, extra: str = "") -> None:
    """A file as the earlier release made it, see `fill`."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE image_events ({SQL_COLUMNS}{extra}, PRIMARY KEY (event_time, request_id))")
    fill(path, count)


def fill(path: Path, count: int) -> None:
    """A row every 12 s up to now, so that 50,000 are the last seven days."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"""INSERT INTO image_events BY NAME SELECT make_timestamptz({micros(NOW)} - 12000000 * n) AS event_time,
            'request-' || n AS request_id, 'failed' AS status, n AS width, sha256('a' || n) AS image_id,
            sha256('b' || n) || sha256('c' || n) AS storage_uri FROM range({count}) AS numbers(n)"""
        )


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def old(number: int, **values: object) -> ImageRecord:
    """A record of that file."""
    moment = NOW - timedelta(seconds=12 * number)
    return ImageRecord(
        **{"event_time": moment, "request_id": f"request-{number}", "status": "failed", "width": number, **values}
    )


# --- other processes read -------------------------------------------------------------------------------------------


def test_other_programs_read_while_rows_are_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    writer = start(WRITER.format(then=""), path)
    assert until(path.is_file)
    readers = [start(READER, path, 6.0) for _ in range(2)]  # a busy machine may not get to a move in less
    for seen in [json.loads(finish(reader).replace("(", "[").replace(")", "]")) for reader in readers]:
        assert len(seen) >= 5
        assert seen == sorted(seen)
        assert all(rows == ids for rows, ids in seen)
        assert seen[-1][0] > seen[0][0]  # moves went on between them
    total = acknowledged(finish(writer))
    assert in_the_file(path) == total


def test_our_reader_sees_each_row_of_another_process_once_it_is_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    writer = start(WRITER.format(then=""), path)
    for _ in range(25):
        line = first_line(writer)
        rows, ids = counts(path)
        assert rows == ids >= line
        assert rows % 7 == 0  # what was written together is seen together
    total = acknowledged(finish(writer), line)
    assert counts(path) == (total, total)


def test_a_reader_that_holds_the_file_keeps_no_row_waiting_and_none_is_lost(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 0.1)
    monkeypatch.setattr(moving, "_TRIES_S", 0.1)
    monkeypatch.setattr(embedded, "_WARN_S", 0.5)
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    with held(path) as program:
        end = time.monotonic() + 3
        written = 0
        while time.monotonic() < end:
            started = time.monotonic()
            store.write([record()])
            written += 1
            assert time.monotonic() - started < 1
            assert store.query(COUNTS).to_pylist() == [{"n": written, "ids": written}]
        assert in_the_file(path) == 0
        assert counts(path) == (written, written)
    assert until(lambda: store._log.read(1) == [])
    assert in_the_file(path) == written
    store.close()
    ours = [line for line in caplog.records if line.name == "imagewarehouse.rows"]  # a client of another test may go on
    assert [line.getMessage().partition("; ")[2] for line in ours if line.levelname == "WARNING"] == [
        f"the records wait in {path}.log"
    ]
    # Whoever had it open at that moment: mostly the program, now and then a query of this test.
    assert f"(PID {program.pid}) has it open" in caplog.text or "a query of this process has the file" in caplog.text


def test_a_reader_that_never_lets_go_leaves_the_records_in_the_log(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(moving, "_TRIES_S", 0.1)
    path = tmp_path / "rows.duckdb"
    LocalRows(path).close()
    with held(path):
        for _ in range(2):  # a new start beside it, too
            store = LocalRows(path)
            store.write([record() for _ in range(3)])
            store.close()
    assert "the records stay in" in caplog.text
    assert counts(path) == (6, 6)
    LocalRows(path).close()
    assert in_the_file(path) == 6


def test_rows_of_a_writer_that_was_killed_are_read_without_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    writer = start(WRITER.format(then="embedded._MOVE_S = 3600"), path)
    while first_line(writer) < 70:
        pass
    writer.kill()
    total = acknowledged(writer.communicate()[0], 70)
    rows, ids = counts(path)
    assert rows == ids >= total
    before = path.read_bytes()
    assert counts(path) == (rows, ids)
    assert path.read_bytes() == before  # a reader moves nothing


def test_a_reader_that_is_killed_in_a_query_leaves_the_file_to_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    long = "SELECT sum(a.range * b.range) AS s FROM range(1000000) a, range(1000000) b, image_events"
    reads = (
        "import sys; from pathlib import Path; from imagewarehouse.rows.reading import read\n"
        "path = Path(sys.argv[1])\n"
        "print(read(path, 'SELECT count(*) AS n FROM image_events').to_pylist()[0]['n'], flush=True)\n"
        f"read(path, '{long}', longest_s=60)"
    )
    writer = start(WRITER.format(then=""), path)
    first_line(writer)
    for _ in range(3):
        reader = start(reads, path)
        assert first_line(reader) > 0
        time.sleep(0.2)  # it is in the long query, with the file open
        assert reader.poll() is None
        reader.kill()
        reader.communicate()
    total = acknowledged(finish(writer))
    assert left_in_the_log(path) == 0
    assert in_the_file(path) == total
    assert counts(path) == (total, total)


@pytest.mark.parametrize("how", ["answered", "refused", "interrupted"])
def test_after_a_query_the_file_is_free(
    tmp_path: Path, record: Record, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    store.write([record() for _ in range(10)])
    sql = {"answered": "SELECT * FROM image_events", "refused": "SELECT no_such_column FROM image_events",
           "interrupted": "SELECT count(*), error('stop ' || a.request_id) FROM image_events a GROUP BY ALL"}[how]  # fmt: skip
    caught = None
    try:
        store.query(sql)
    except duckdb.Error as err:
        caught = err  # with its traceback, whose frames keep what they have
    assert (caught is None) == (how == "answered")
    assert until(lambda: store._log.read(1) == [])
    with held(path, "write"):
        pass
    store.close()


# --- queries of the writing process ---------------------------------------------------------------------------------


def test_ctrl_c_ends_a_query_as_it_ends_a_program(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    rows = LocalRows(path)
    rows.write([record()])
    rows.close()

    def read_and_interrupt() -> None:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        read(path, "SELECT sum(a.range * b.range) AS s FROM range(100000) a, range(1000000) b", longest_s=20)

    with pytest.raises(KeyboardInterrupt):
        read_and_interrupt()
    assert read(path, "SELECT count(*) AS n FROM image_events").to_pylist() == [{"n": 1}]


def test_of_many_files_few_stay_ready(tmp_path: Path, record: Record) -> None:
    paths = [tmp_path / f"{n}.duckdb" for n in range(8)]
    for path in paths:
        rows = LocalRows(path)
        rows.write([record()])
        rows.close()
    for path in [*paths, *paths]:
        assert read(path, "SELECT count(*) AS n FROM image_events").to_pylist() == [{"n": 1}]
    ready = [reader for reader in reading._readers.values() if reader._connection is not None]
    assert 1 <= len(ready) <= reading._MOST_IDLE + 1


def test_a_child_that_is_forked_reads_beside_its_parent(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    rows = LocalRows(path)
    rows.write([record()])
    rows.close()
    count = "SELECT count(*) AS n FROM image_events"
    assert read(path, count).num_rows == 1
    process = os.fork()
    if process == 0:
        os._exit(0 if read(path, count).to_pylist() == [{"n": 1}] else 1)
    assert os.waitpid(process, 0)[1] == 0
    assert read(path, count).to_pylist() == [{"n": 1}]


def test_a_writer_waits_for_readers_and_goes_before_new_ones() -> None:
    gate = Gate()
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def read_long() -> None:
        with gate.shared():
            inside.set()
            leave.wait(10)
            order.append("first reader")

    def write() -> None:
        with gate.alone(10):
            order.append("writer")

    def read_next() -> None:
        with gate.shared():
            order.append("second reader")

    threads = [threading.Thread(target=read_long)]
    threads[0].start()
    assert inside.wait(10)
    with pytest.raises(FileHeld), gate.alone(0.01):
        raise AssertionError("beside a reader")
    threads.append(threading.Thread(target=write))
    threads[1].start()
    assert until(lambda: gate._writer_waits)
    threads.append(threading.Thread(target=read_next))
    threads[2].start()
    time.sleep(0.05)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first reader", "writer", "second reader"]


def test_queries_without_a_pause_do_not_keep_rows_in_the_log(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_MOVE_S", 0.05)
    store = LocalRows(tmp_path / "rows.duckdb")
    store.write([record() for _ in range(20)])
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            store.query("SELECT sum(a.i * b.i) FROM range(3000) a(i), range(1000) b(i)")

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            store.write([record()])
            assert until(lambda: store._log.read(1) == [])
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    store.close()


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", AT.values(), ids=AT)
def test_a_writer_killed_in_the_middle_of_a_move_loses_nothing(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "rows.duckdb"
    total = 0
    for _ in range(3):
        before = counts(path)[0] if path.exists() else 0
        writer = start(WRITER.format(then=moment), path)
        writer.wait(60)  # before its input ends, which would stop it
        said, errors = writer.communicate()
        assert writer.returncode == -signal.SIGKILL, errors
        rows, ids = counts(path)
        assert rows == ids >= before + acknowledged(said)
        total = rows
        assert in_the_file(path) <= rows  # DuckDB alone opens it, with what a killed commit has left beside it
    LocalRows(path).close()
    assert in_the_file(path) == total


def test_a_writer_killed_at_any_time_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    LocalRows(path).close()
    for _ in range(5):
        before, _ = counts(path)
        writer = start(WRITER.format(then="embedded._MOVE_S = 0"), path)
        line = first_line(writer)
        time.sleep(chance.random() * 0.5)
        writer.kill()
        said, _ = writer.communicate()  # until it is dead: a write that was under way may still end
        rows, ids = counts(path)
        assert rows == ids >= before + acknowledged(said, line)
    LocalRows(path).close()
    assert in_the_file(path) == rows


def test_no_row_is_lost_while_the_database_cannot_grow(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    LocalRows(path).close()
    fill(path, 50_000)
    script = """
import resource, signal, sys, time
from pathlib import Path
from tests.test_reading_rows import COUNTS, old
from imagewarehouse.rows import embedded
path = Path(sys.argv[1])
embedded._MOVE_S, embedded._LONGEST_PAUSE_S = 0.05, 0.05
store = embedded.LocalRows(path)
warnings = []
store._warn = warnings.append
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))  # a full disk, for the larger file alone
for number in range(10):
    store.write([old(50_000 + 100 * number + other, file_name="x" * 100) for other in range(100)])
    time.sleep(0.1)
print(len(warnings) > 0, *store.query(COUNTS).to_pylist()[0].values())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for _ in range(200):
    if not store._log.read(1):
        break
    time.sleep(0.05)
print(store._log.read(1) == [], *store.query(COUNTS).to_pylist()[0].values())
store.close()
"""
    assert finish(start(script, path)) == "True 51000 51000\nTrue 51000 51000\n"
    assert in_the_file(path) == 51_000


# --- another program writes -----------------------------------------------------------------------------------------


def test_a_program_that_writes_into_the_file_itself_is_a_wrong_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_TRIES_S", 0.1)
    path = tmp_path / "rows.duckdb"
    LocalRows(path).close()
    with held(path, "write") as program, pytest.raises(ConfigurationError, match=f"PID {program.pid}"):
        LocalRows(path)
    LocalRows(path).close()  # what the failed start had open is free


# --- files of earlier releases --------------------------------------------------------------------------------------


def test_a_file_with_a_primary_key_loses_it_and_nothing_else(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    with_key(path, 50_000, extra=", mood VARCHAR")
    with duckdb.connect(str(path)) as connection:
        connection.execute("ALTER TABLE image_events DROP COLUMN node")
        connection.execute("UPDATE image_events SET mood = 'glad' WHERE width = 9")
        connection.execute("CREATE VIEW mine AS SELECT request_id, mood FROM image_events")
        before = connection.execute(
            "SELECT count(*), sum(width), min(event_time)::VARCHAR FROM image_events"
        ).fetchall()
    assert read(path, COUNTS).to_pylist() == [{"n": 50_000, "ids": 50_000}]  # before anybody writes to it
    assert read(path, "SELECT DISTINCT node FROM image_events").to_pylist() == [{"node": None}]
    LocalRows(path).close()
    with duckdb.connect(str(path)) as connection:
        after = connection.execute("SELECT count(*), sum(width), min(event_time)::VARCHAR FROM image_events").fetchall()
        assert after == before
        assert connection.execute("SELECT request_id FROM mine WHERE mood = 'glad'").fetchall() == [("request-9",)]
        kinds = {kind for (kind,) in connection.execute("SELECT constraint_type FROM duckdb_constraints()").fetchall()}
        assert kinds == {"NOT NULL"}
        assert connection.execute("SELECT count(*) FROM duckdb_indexes()").fetchall() == [(0,)]
    store = LocalRows(path)
    store.write([old(9, node="here"), record(node="here")])
    store.close()
    assert read(path, "SELECT count(*) AS n, count(node) AS here, sum(width) AS w FROM image_events").to_pylist() == [
        {"n": 50_001, "here": 2, "w": sum(range(50_000))}
    ]


@pytest.mark.parametrize("statement", ["INSERT", "DROP", "ALTER", "COMMIT"])
def test_a_process_killed_while_it_takes_the_key_away_loses_nothing(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "rows.duckdb"
    with_key(path, 2_000)
    script = f"""
import os, signal, sys, duckdb
from pathlib import Path
from imagewarehouse.rows import table
class Dying:
    def __init__(self, connection): self.connection = connection
    def execute(self, sql, *rest):
        if sql.startswith("{statement}") and "CREATE" not in sql: os.kill(os.getpid(), signal.SIGKILL)
        return self.connection.execute(sql, *rest)
check = table._rebuild_without_key
table._rebuild_without_key = lambda connection, catalog: check(Dying(connection), catalog)
from imagewarehouse.rows.embedded import LocalRows
LocalRows(Path(sys.argv[1]))
"""
    process = start(script, path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert counts(path) == (2_000, 2_000)
    store = LocalRows(path)
    store.write([old(7, width=0)])
    store.close()
    assert counts(path) == (2_000, 2_000)
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("image_events",)]


NUMBERED = "SELECT count(*) AS n, count(DISTINCT image_number) AS numbers, min(image_number) AS least FROM image_events"


def numbered(path: Path) -> list[dict[str, int]]:
    with reading.reading(path, numbered=True) as ask:
        found: list[dict[str, int]] = ask(NUMBERED, 10.0).to_pylist()
    return found


def as_numbered(count: int) -> list[dict[str, int]]:
    ids = [hashlib.sha256(f"a{n}".encode()).hexdigest() for n in range(count)]
    return [{"n": count, "numbers": count, "least": int(min(ids)[:16], 16)}]


@pytest.fixture
def without_numbers(tmp_path: Path) -> Path:
    """A file of the last release."""
    path = tmp_path / "rows.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"CREATE TABLE image_events ({SQL_COLUMNS})")
    fill(path, 2_000)
    return path


def test_a_file_without_numbers_of_pictures_gets_them(without_numbers: Path) -> None:
    with duckdb.connect(str(without_numbers)) as connection:
        connection.execute("CREATE INDEX mine ON image_events (request_id)")  # DuckDB changes no column beside one
    assert numbered(without_numbers) == as_numbered(2_000)  # before anybody writes to it
    LocalRows(without_numbers).close()
    assert numbered(without_numbers) == as_numbered(2_000)
    with duckdb.connect(str(without_numbers), read_only=True) as connection:
        assert connection.execute("SELECT min(image_number) FROM image_events").fetchall() == [
            (as_numbered(2_000)[0]["least"],)
        ]


def test_rows_that_an_earlier_release_wrote_again_get_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    LocalRows(path).close()
    fill(path, 50)
    LocalRows(path).close()
    assert numbered(path) == as_numbered(50)


@pytest.mark.parametrize("statement", ["ADD COLUMN", "SET DATA TYPE", "COMMIT"])
def test_a_process_killed_while_it_numbers_pictures_loses_nothing(without_numbers: Path, statement: str) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
from imagewarehouse.rows import table
class Dying:
    def __init__(self, connection): self.connection = connection
    def execute(self, sql, *rest):
        if "{statement}" in sql: os.kill(os.getpid(), signal.SIGKILL)
        return self.connection.execute(sql, *rest)
number = table._number
table._number = lambda connection, catalog, new: number(Dying(connection), catalog, new=new)
from imagewarehouse.rows.embedded import LocalRows
LocalRows(Path(sys.argv[1]))
"""
    process = start(script, without_numbers)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert counts(without_numbers) == (2_000, 2_000)
    LocalRows(without_numbers).close()
    assert counts(without_numbers) == (2_000, 2_000)
    assert numbered(without_numbers) == as_numbered(2_000)


def test_what_is_no_sha256_has_a_number_too(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    store.write([record(image_id=image_id) for image_id in ("f" * 64, "cat.jpg", "dog.jpg", "dog.jpg", None)])
    found = "SELECT count(DISTINCT image_number) AS n, max(image_number) AS most FROM image_events"
    for _ in range(2):  # out of the log and out of the file
        with reading.reading(path, numbered=True) as ask:
            assert ask(found, 10.0).to_pylist() == [{"n": 3, "most": 2**64 - 1}]
        assert store.query("SELECT * FROM image_events").column_names == [c.name for c in COLUMNS]
        store._move()
    store.close()


@pytest.mark.parametrize("numbers", [[0], [49_999], [3, 25_000, 49_999], list(range(0, 50_000, 1_000))])
def test_a_retry_of_the_last_seven_days_replaces_its_row(tmp_path: Path, record: Record, numbers: list[int]) -> None:
    path = tmp_path / "rows.duckdb"
    with_key(path, 50_000)
    store = LocalRows(path)
    for status in ("accepted", "classified"):  # from the old row, then from the one that has just been written
        store.write([old(number, status=status) for number in numbers] + [record(node="new")])
        query = (
            f"SELECT status, count(*) AS n FROM image_events WHERE node IS NULL AND status = '{status}' GROUP BY ALL"
        )
        for _ in range(2):  # out of the log and out of the file
            assert store.query(query).to_pylist() == [{"status": status, "n": len(numbers)}]
            store._move()
    store.close()
    assert counts(path) == (50_002, 50_002)


def test_what_we_make_any_duckdb_that_the_project_allows_can_read(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    store.write([record()])
    store.close()
    with duckdb.connect(str(path)) as connection:
        ((tags,),) = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'rows'").fetchall()
    assert tags["storage_version"].startswith("v1.3.0")


# --- the log beside the file ----------------------------------------------------------------------------------------


def test_what_waits_stands_in_the_place_of_what_is_in_the_file_page_by_page(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_PAGE", 3)
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    first = [record(width=0) for _ in range(8)]
    store.write(first)
    store._move()
    with monkeypatch.context() as patched:
        patched.setattr(store, "_move", lambda: None)
        for width in (1, 2):
            store.write([dataclasses.replace(one, width=width) for one in first[:5]])
        store.write([record(width=3)])
        found = read(path, "SELECT width, count(*) AS n FROM image_events GROUP BY ALL ORDER BY 1").to_pylist()
    assert found == [{"width": 0, "n": 3}, {"width": 2, "n": 5}, {"width": 3, "n": 1}]
    store.close()
    assert read(path, "SELECT width, count(*) AS n FROM image_events GROUP BY ALL ORDER BY 1").to_pylist() == found


def test_a_file_without_the_table_shows_what_waits(tmp_path: Path, record: Record) -> None:
    path = tmp_path / "rows.duckdb"
    duckdb.connect(str(path)).close()
    assert counts(path) == (0, 0)
    waiting = log.RecordLog(log.log_of(path))
    waiting.append([record()])
    assert counts(path) == (1, 1)
    waiting.close()


def test_a_reader_needs_no_right_to_write(tmp_path: Path, record: Record) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    path = tmp_path / "rows.duckdb"
    store = LocalRows(path)
    store.write([record()])
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder not in (Path("/"), Path("/tmp")):
            folder.chmod(0o755)
    script = f"""
import os, sys
from pathlib import Path
from imagewarehouse.rows.reading import read
os.setgid(65534); os.setuid(65534)
print(read(Path({str(path)!r}), "SELECT count(*) AS n FROM image_events").to_pylist())
"""
    assert finish(start(script)) == "[{'n': 1}]\n"
    store.close()
    assert finish(start(script)) == "[{'n': 1}]\n"


def test_a_file_that_is_kept_from_readers_is_unavailable_and_says_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    LocalRows(path).close()
    with held(path, "write") as program, pytest.raises(RowStoreUnavailable, match=f"PID {program.pid}"):
        read(path, "SELECT 1", wait_s=0.05)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_reads_beside_a_process_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    writer = start(WRITER.format(then=""), path)
    line = first_line(writer)
    for place in (["--database", str(path)], ["--data", str(tmp_path)]):
        result = CliRunner().invoke(rows_command, [*place, "--json", "--sql", COUNTS], catch_exceptions=False)
        assert json.loads(result.output)["n"] >= line
    finish(writer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--database", "{}/no.duckdb"], "--database: .*/no.duckdb does not exist"),
        (["--database", "{}/rows.duckdb", "--sql", "SELEKT 1"], "--sql: "),
        (["--database", "{}/text.duckdb"], "--database: .*/text.duckdb: "),
    ],
)
def test_the_command_names_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    LocalRows(tmp_path / "rows.duckdb").close()
    (tmp_path / "text.duckdb").write_text("no database" * 1000)
    result = CliRunner().invoke(rows_command, [argument.format(tmp_path) for argument in arguments])
    assert isinstance(result.exception, ConfigurationError)
    with pytest.raises(ConfigurationError, match=message):
        raise result.exception
