"""`python -m benchmarks.rows`: the embedded row store with a million rows in it against an empty one.

Each measurement is a process of its own, empty and full turn and turn about, which begins with a copy of the file:
appends as fast as they go while the store moves them by itself, then single moves, then moves with retried rows of the last
seven days among them. `ratio` is full to empty within one round, of rows a second and of times alike.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import psutil

from benchmarks.machine import describe
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows import embedded
from imagewarehouse.rows.embedded import LocalRows

_TOGETHER = 16  # records of one write: what a package or the group commit brings under load
_OF_MOVE = 400  # what a second brings
_RETRIED = 5
_FIGURES = {  # of a child, with its unit
    "rows/s": "appended and moved, rows a second",
    "cpu": "  CPU, us a row",
    "append": f"one write of {_TOGETHER} records, ms",
    "append cpu": "  CPU, us a row",
    "move": f"one move of {_OF_MOVE} rows, ms",
    "move cpu": "  CPU, us a row",
    "retries": f"one move with {_RETRIED} rows of the last 7 days among them, ms",
    "rss": "resident memory at most, MiB",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the full file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--appended", type=int, default=50_000, help="rows that each process appends")
    parser.add_argument("--moves", type=int, default=30)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_measure(arguments.child, arguments.appended, arguments.moves, arguments.rows)))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"empty": folder / "empty.duckdb", "full": folder / "full.duckdb"}
        for name, path in files.items():
            _fill(path, arguments.rows if name == "full" else 0)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in files}
        for number in range(arguments.rounds):
            for name in sorted(files, reverse=number % 2 == 1):
                path = folder / "measured" / "rows.duckdb"
                path.parent.mkdir()
                shutil.copy(files[name], path)
                command = [sys.executable, "-m", "benchmarks.rows", "--child", str(path), "--appended",
                           str(arguments.appended), "--moves", str(arguments.moves), "--rows", str(arguments.rows)]  # fmt: skip
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found[name].append(json.loads(done.stdout))
                shutil.rmtree(path.parent)
    print(f"\n{arguments.rows:,} rows against none, {arguments.rounds} rounds, median [lowest, highest]:")
    print(f"{'':58}{'empty':>24}{'full':>24}  ratio")
    for key, title in _FIGURES.items():
        columns = [[one[key] for one in found[name]] for name in ("empty", "full")]
        ratios = [full / empty for empty, full in zip(*columns, strict=True)]
        print(f"{title:58}{_middle(columns[0]):>24}{_middle(columns[1]):>24}  {_middle(ratios)}")


def _middle(values: list[float]) -> str:
    digits = 0 if min(values) >= 100 else 1 if min(values) >= 10 else 2
    return f"{statistics.median(values):,.{digits}f} [{min(values):,.{digits}f}, {max(values):,.{digits}f}]"


def _fill(path: Path, rows: int) -> None:
    """A file with rows of the last seven days, in the store's own table."""
    LocalRows(path).close()
    if not rows:
        return
    start, step_us = _start(rows)
    with duckdb.connect(str(path), config={"threads": 1}) as connection:
        connection.execute("SET TimeZone='UTC'")
        connection.execute(
            f"""INSERT INTO image_events BY NAME
            SELECT make_timestamptz({start} + n * {step_us}) AS event_time, 'request-' || n AS request_id,
            'classified' AS status, sha256(n::VARCHAR) AS image_id, 'image-' || n || '.jpg' AS file_name,
            'image/jpeg' AS declared_type, 'JPEG' AS format, 900 + n % 300 AS size_bytes, 32 AS width, 32 AS height,
            'RGB' AS color_mode, 1 AS frames, '127.0.0.1' AS source_ip,
            'file:///images/' || sha256(n::VARCHAR) || '.jpg' AS storage_uri, 'cat' AS predicted_class,
            0.5 + n % 1000 / 2000 AS confidence,
            repeat('{{"class": "cat", "probability": 0.' || n % 1000 || '}}, ', 5) AS top_k,
            'cifar10' AS model_name, '3' AS model_version, random() AS preprocess_ms, random() AS inference_ms,
            20 * random() AS total_ms, 'node-1' AS node FROM range({rows}) AS numbers(n)"""
        )
    LocalRows(path).close()  # gives the rows the numbers of their pictures


def _start(rows: int) -> tuple[int, int]:
    """When the first row of a full file is, and how far each is from the one before, microseconds."""
    days = timedelta(days=7) // timedelta(microseconds=1)
    noon = int(datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * 1_000_000
    return noon - days, days // rows


def _measure(path: Path, appended: int, moves: int, rows: int) -> dict[str, float]:
    process = psutil.Process()
    store = LocalRows(path)
    with _watched(process) as peak:
        appends, append_cpu = [], 0.0
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(appended // _TOGETHER):
            records = [_record() for _ in range(_TOGETHER)]
            before, before_cpu = time.perf_counter(), time.thread_time()
            store.write(records)
            appends.append(time.perf_counter() - before)
            append_cpu += time.thread_time() - before_cpu
        store.close()  # what waits is moved
        took, cpu = time.perf_counter() - started, time.process_time() - cpu
        embedded._MOVE_S = 3600.0  # from here on a move is ours
        store = LocalRows(path)
        plain = [_move(store, [_record() for _ in range(_OF_MOVE)]) for _ in range(moves)]
        retried = []
        start, step_us = _start(rows)
        for number in range(max(1, moves // 3)):
            records = [_record() for _ in range(_OF_MOVE)]
            for other in range(_RETRIED):
                row = (number * _RETRIED + other) * 7919 % rows
                moment = datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=start + row * step_us)
                records[other] = replace(records[other], event_time=moment, request_id=f"request-{row}")
            retried.append(_move(store, records))
        store.close()
    return {
        "rows/s": appended / took,
        "cpu": cpu / appended * 1e6,
        "append": statistics.median(appends) * 1e3,
        "append cpu": append_cpu / appended * 1e6,
        "move": statistics.median(wall for wall, _ in plain) * 1e3,
        "move cpu": statistics.fmean(cpu for _, cpu in plain) / _OF_MOVE * 1e6,
        "retries": statistics.median(wall for wall, _ in retried) * 1e3,
        "rss": max(peak),
    }


def _move(store: LocalRows, records: list[ImageRecord]) -> tuple[float, float]:
    store._log.append(records)  # past the thread that moves
    started, cpu = time.perf_counter(), time.process_time()
    store._move()
    return time.perf_counter() - started, time.process_time() - cpu


@contextmanager
def _watched(process: psutil.Process) -> Iterator[list[float]]:
    peak = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak.append(max(peak.pop(), process.memory_info().rss / 2**20))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _record() -> ImageRecord:
    request_id = new_request_id(datetime.now(timezone.utc))
    return ImageRecord(
        event_time=event_time(request_id), request_id=request_id, status="classified", image_id="0" * 64, file_name="cat.jpg",
        declared_type="image/jpeg", format="JPEG", size_bytes=888, width=32, height=32, color_mode="RGB", frames=1,
        source_ip="127.0.0.1", storage_uri="file:///images/00/" + "0" * 64, predicted_class="cat", confidence=0.9,
        top_k=json.dumps([{"class": "cat", "probability": 0.9}] * 5), model_name="cifar10", model_version="1",
        preprocess_ms=0.5, inference_ms=0.6, total_ms=10.0, node="node-1",
    )  # fmt: skip


if __name__ == "__main__":
    main()
