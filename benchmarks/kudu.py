"""`python -m benchmarks.kudu`: rows a second into Kudu against Kudu's own load generator, on one cluster in one run.

Three parts: `rows` (against `kudu perf loadgen`), `single` (one image record at a time, as /classify writes it) and
`memory` (a million rows). Everything goes through what PutKuduRecord calls: content in, committed rows out.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks.machine import describe
from imagewarehouse.contents import read_records
from imagewarehouse.ids import event_time, new_request_id
from imagewarehouse.kudu.batch import Operation
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.kudu.records.mapping import RecordMapping, map_records
from imagewarehouse.kudu.schema import HashPartition, KuduColumn, KuduType, TableSchema
from imagewarehouse.kudu.writing.delivery import split_outcomes
from imagewarehouse.kudu.writing.sink import SinkSettings
from imagewarehouse.kudu.writing.tables import KuduTables, Put
from imagewarehouse.metadata import ImageRecord
from imagewarehouse.rows.kudu import KuduRows, image_events
from imagewarehouse.rows.store import GroupCommit
from imagewarehouse.standalone.local_kudu import LocalKudu

_TEXT = "0123456789abcdef0123456789abcdef"  # 32 characters, as loadgen is told to write
_BATCH = 1000
_TABLE = TableSchema(
    "bench",
    (
        KuduColumn("id", KuduType.INT64, key=True),
        KuduColumn("event_time", KuduType.UNIXTIME_MICROS),
        KuduColumn("image_id", KuduType.STRING),
        KuduColumn("file_name", KuduType.STRING),
        KuduColumn("predicted_class", KuduType.STRING),
        KuduColumn("node", KuduType.STRING),
        KuduColumn("width", KuduType.INT32),
        KuduColumn("height", KuduType.INT32),
        KuduColumn("size_bytes", KuduType.INT64),
        KuduColumn("confidence", KuduType.FLOAT),
        KuduColumn("total_ms", KuduType.DOUBLE),
        KuduColumn("ok", KuduType.BOOL),
    ),
    hashes=(HashPartition(("id",), 2),),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("all", "rows", "single", "memory"), default="all")
    parser.add_argument("--rows", type=int, default=200_000, help="rows of one measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--million", type=int, default=1_000_000, help="rows of the memory measurement")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _memory(arguments.child, arguments.million)
        return
    print(describe())
    with tempfile.TemporaryDirectory() as folder, LocalKudu(Path(folder) / "kudu", never_fsync=True) as kudu:
        if arguments.part in ("all", "rows"):
            _rows(kudu, arguments.rows, arguments.repeats)
        if arguments.part in ("all", "single"):
            _single(kudu)
        if arguments.part in ("all", "memory"):  # in a process of its own, as NiFi gives one to each processor
            command = [
                sys.executable,
                "-m",
                "benchmarks.kudu",
                "--child",
                kudu.masters,
                "--million",
                str(arguments.million),
            ]
            subprocess.run(command, check=True)


# --- rows a second --------------------------------------------------------------------------------------------------


def _rows(kudu: LocalKudu, rows: int, repeats: int) -> None:
    """Peer and ours turn and turn about, each into keys of its own; the first round warms both up and is not counted."""
    writer = connect(KuduSettings(kudu.masters, batch_rows=_BATCH))
    writer.create(_TABLE)
    tables = KuduTables(writer, lambda table: SinkSettings())
    commit: GroupCommit = GroupCommit(tables, 50_000, len)
    contents: dict[str, Callable[[int, int], bytes]] = {"Arrow": _arrow, "JSON lines": _json_lines}
    found: dict[str, list[float]] = {}
    start = 1
    for repeat in range(repeats + 1):
        for operation in (Operation.INSERT, Operation.UPSERT):
            results = {f"loadgen {operation.name}": _loadgen(kudu, operation, rows, start)}
            start += rows * 2 * len(_TABLE.columns)  # it counts on with every cell, and writes the number as the key
            for name, make in contents.items():
                content = make(start, rows)
                started = time.perf_counter()
                _put(commit, content, operation)
                results[f"{name} {operation.name}"] = rows / (time.perf_counter() - started)
                start += rows
            for name, rate in results.items():
                if repeat:
                    found.setdefault(name, []).append(rate)
    expected = 2 * (repeats + 1) * 3 * rows
    counted = writer.count(_TABLE.name)
    writer.close()
    print(f"\n12-column rows, {rows} a measurement, batches of {_BATCH}, median of {repeats} [lowest, highest]:")
    for operation in ("INSERT", "UPSERT"):
        peer = statistics.median(found[f"loadgen {operation}"])
        for name in (f"{kind} {operation}" for kind in ("loadgen", *contents)):
            rates = found[name]
            ratios = [own / other for own, other in zip(rates, found[f"loadgen {operation}"], strict=True)]
            print(
                f"  {name:20} {statistics.median(rates):9.0f} rows/s [{min(rates):.0f}, {max(rates):.0f}]"
                f"  {statistics.median(rates) / peer:5.2f} of loadgen [{min(ratios):.2f}, {max(ratios):.2f}]"
            )
    print(f"  {counted} rows in the table, {expected} written")


def _put(commit: GroupCommit, content: bytes, operation: Operation) -> None:
    """One FlowFile, as PutKuduRecord takes it."""
    records = read_records(content)
    rows = map_records(records, RecordMapping(), operation)
    delivery = split_outcomes(records, rows, commit.write(Put(_TABLE.name, rows)))
    if delivery.bad or delivery.later:
        raise SystemExit(delivery.summary)


def _loadgen(kudu: LocalKudu, operation: Operation, rows: int, start: int) -> float:
    """Rows a second as `kudu perf loadgen` itself reports: its own start and the opening of the table not counted."""
    said = kudu.cli(
        "perf", "loadgen", kudu.masters, f"--table_name={_TABLE.name}", "--num_threads=1",
        f"--num_rows_per_thread={rows}", f"--flush_per_n_rows={_BATCH}", f"--string_fixed={_TEXT}",
        f"--seq_start={start}", f"--use_upsert={str(operation is Operation.UPSERT).lower()}",
    )  # fmt: skip
    total, milliseconds = (re.search(pattern, said) for pattern in (r"rows total: (\d+)", r"time total: ([\d.]+)"))
    if total is None or milliseconds is None or int(total[1]) != rows:
        raise SystemExit(said)
    return rows / (float(milliseconds[1]) / 1000)


def _columns(start: int, rows: int) -> dict[str, list[object]]:
    numbers = range(start, start + rows)
    epoch = datetime(2026, 11, 1, tzinfo=timezone.utc)
    texts: list[object] = [_TEXT] * rows
    return {
        "id": list(numbers), "event_time": [epoch + timedelta(microseconds=n) for n in numbers],
        "image_id": texts, "file_name": texts, "predicted_class": texts, "node": texts,
        "width": [n % 4096 for n in numbers], "height": [n % 2048 for n in numbers], "size_bytes": list(numbers),
        "confidence": [n % 64 / 64 for n in numbers], "total_ms": [n / 8 for n in numbers], "ok": [n % 2 == 0 for n in numbers],
    }  # fmt: skip


def _arrow(start: int, rows: int) -> bytes:
    columns = _columns(start, rows)
    arrays = [pa.array(columns[c.name], c.arrow_type) for c in _TABLE.columns]
    table = pa.Table.from_arrays(arrays, names=[c.name for c in _TABLE.columns])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _json_lines(start: int, rows: int) -> bytes:
    columns = _columns(start, rows)
    columns["event_time"] = [moment.isoformat() for moment in columns["event_time"]]  # type: ignore[attr-defined]
    names = list(columns)
    return "\n".join(
        json.dumps(dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ).encode()


# --- one row at a time ----------------------------------------------------------------------------------------------


def _single(kudu: LocalKudu, rows: int = 3000) -> None:
    store = KuduRows(connect(KuduSettings(kudu.masters)), image_events("image_events"))
    store.prepare()
    commit: GroupCommit = GroupCommit(store)
    times = []
    for number in range(rows):
        record = _record()
        started = time.perf_counter()
        commit.write(record)
        if number >= rows // 10:
            times.append((time.perf_counter() - started) * 1000)
    store.close()
    cuts = statistics.quantiles(times, n=100)
    print(f"\none image record of {len(dict(_record().items()))} columns at a time, {len(times)} rows: "
          f"p50 {cuts[49]:.2f} ms, p95 {cuts[94]:.2f} ms, p99 {cuts[98]:.2f} ms")  # fmt: skip


def _record() -> ImageRecord:
    request_id = new_request_id(datetime.now(timezone.utc))
    return ImageRecord(
        event_time=event_time(request_id), request_id=request_id, status="classified", image_id="0" * 64, file_name="cat.jpg",
        declared_type="image/jpeg", format="JPEG", size_bytes=888, width=32, height=32, color_mode="RGB", frames=1,
        source_ip="127.0.0.1", storage_uri="file:///images/00/" + "0" * 64, predicted_class="cat", confidence=0.9,
        top_k=json.dumps([{"class": "cat", "probability": 0.9}] * 5), model_name="cifar10", model_version="1",
        preprocess_ms=0.5, inference_ms=0.6, total_ms=10.0, node="node-1",
    )  # fmt: skip


# --- memory ---------------------------------------------------------------------------------------------------------


def _memory(masters: str, rows: int) -> None:
    """Image records, 1,000 a commit, in this process."""
    process = psutil.Process(os.getpid())
    store = KuduRows(connect(KuduSettings(masters)), image_events("soak"))
    store.prepare()
    points = []
    started = time.perf_counter()
    print(f"\nmemory over {rows} image records, 1,000 a commit:")
    for written in range(1000, rows + 1, 1000):
        outcomes = store.write([_record() for _ in range(1000)])
        if any(outcomes):
            raise SystemExit(str(next(filter(None, outcomes))))
        if written % (rows // 10) == 0:
            points.append((written, process.memory_info().rss / 2**20))
            print(
                f"  {written:9} rows  {points[-1][1]:6.1f} MiB  {written / (time.perf_counter() - started):7.0f} rows/s",
                flush=True,
            )
    half = points[len(points) // 2 :]
    slope = np.polyfit([x for x, _ in half], [y for _, y in half], 1)[0] * 100_000
    counted = store.writer.count("soak")
    store.close()
    print(f"  {counted} rows in the table; second half: {slope:+.2f} MiB for each 100,000 rows")


if __name__ == "__main__":
    main()
