"""Other processes beside a test of the embedded rows: one that writes, one that reads, one that has the file open."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagewarehouse.rows.log import log_of
from imagewarehouse.rows.reading import read

COUNTS = "SELECT count(*) AS n, count(DISTINCT request_id) AS ids FROM image_events"

# Writes batches of 7 until it is told to stop, and says each time how many are acknowledged. Moves without a pause.
WRITER = """
import os, signal, sys, threading
from pathlib import Path
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.nifi.adapter import now
from imagewarehouse.rows import embedded, moving, table
def record():
    request_id = new_request_id(now())
    return ImageRecord(event_time=event_time(request_id), request_id=request_id, status="classified")
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
embedded._MOVE_S = 0.02
store = embedded.LocalRows(Path(sys.argv[1]))
{then}
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
written = 0
while not stop.wait(0.005):
    store.write([record() for _ in range(7)])
    written += 7
    print(written, flush=True)
store.close()
"""
# What a program that knows nothing of us does: DuckDB alone.
READER = """
import sys, time, duckdb
until, seen = time.monotonic() + float(sys.argv[2]), []
while time.monotonic() < until:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as connection:
            seen.append(connection.execute("SELECT count(*), count(DISTINCT request_id) FROM image_events").fetchone())
    except duckdb.IOException as err:
        if "lock" not in str(err):
            raise
    time.sleep(0.05)
print(seen)
"""
HOLDER = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "read")
print("open", flush=True)
sys.stdin.read()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return said


def first_line(writer: subprocess.Popen[str]) -> int:
    assert writer.stdout is not None
    return int(writer.stdout.readline())


def acknowledged(said: str, before: int = 0) -> int:
    """The last number that a writer said, who may have been killed in the middle of a line."""
    lines = said.splitlines(keepends=True)
    return int(lines[-1]) if lines and lines[-1].endswith("\n") else int(lines[-2]) if lines[1:] else before


@contextmanager
def held(path: Path, how: str = "read") -> Iterator[subprocess.Popen[str]]:
    """Another program has the file open."""
    process = start(HOLDER, path, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    try:
        yield process
    finally:
        finish(process)


def counts(path: Path) -> tuple[int, int]:
    """Rows and different ids, of file and log."""
    (row,) = read(path, COUNTS).to_pylist()
    return row["n"], row["ids"]


def in_the_file(path: Path) -> int:
    """Rows that DuckDB alone sees, from another process."""
    script = (
        "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True);"
        " print(*c.sql('SELECT count(*) FROM image_events').fetchall()[0])"
    )
    return int(finish(start(script, path)))


def left_in_the_log(path: Path) -> int:
    with sqlite3.connect(log_of(path)) as log:
        ((count,),) = log.execute("SELECT count(*) FROM records").fetchall()
    log.close()
    return int(count)


# Where a writer that moves is killed, as WRITER's `then`.
AT = {
    "before-the-commit": "table.moment = die",
    "after-the-commit": "moving.Mover._detach = die",
    "in-the-middle-of-a-checkpoint": "import threading as t; f = moving.Mover._detach; moving.Mover._detach = "
    "lambda self: (t.Timer(0.001, die).start(), f(self))",
    "before-the-log-is-emptied": "embedded.RecordLog.remove = die",
}
