"""`python -m benchmarks.analytics_kudu`: every panel over a million rows in Kudu, without an SQL engine.

A Kudu of its own with the rows of a month. Each panel first by a new engine, which has to fetch the days, then again while
they are held; then the page: all panels at once from four threads, by a new engine and again.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from benchmarks.machine import describe
from imagewarehouse.analytics.catalog import Filters
from imagewarehouse.analytics.kudu_scan import KuduEngine
from imagewarehouse.analytics.panels import PANELS, Request
from imagewarehouse.analytics.periods import named
from imagewarehouse.kudu.clients.connecting import connect
from imagewarehouse.kudu.clients.interface import KuduSettings
from imagewarehouse.rows.columns import SCHEMA
from imagewarehouse.rows.whole_kudu import WholeKudu
from imagewarehouse.standalone.local_kudu import LocalKudu

DAYS = 30
_AT_ONCE = 50_000
_ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as folder, LocalKudu(Path(folder), never_fsync=True) as kudu:
        settings = KuduSettings(masters=kudu.masters)
        now = datetime.now(timezone.utc)
        started = time.perf_counter()
        table = WholeKudu(connect(settings), "image_events", create=True)
        for rows in _rows(arguments.rows, now):
            table.write(rows)
        table.close()
        print(f"{arguments.rows:,} rows of {DAYS} days written in {time.perf_counter() - started:.0f} s")
        for period in ("today", "30-days-ago"):
            request = Request(period=named(period, now, ZoneInfo("UTC")), tz=ZoneInfo("UTC"))
            _measure(settings, period, request)
    print(
        f"memory of the process with the engine, at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB"
    )


def _measure(settings: KuduSettings, period: str, request: Request) -> None:
    print(f"\n{period}: milliseconds first, and then (middle of {_ROUNDS})")
    rare = Request(period=request.period, tz=request.tz, filters=Filters(classes=("class-9",), max_confidence=0.01))
    asked = {**{name: (name, request) for name in sorted(PANELS)}, "latest of few": ("latest", rare)}
    for label, (panel, each) in asked.items():
        engine = KuduEngine(connect(settings))
        first, again = _times(lambda engine=engine, panel=panel, each=each: PANELS[panel](engine, each))
        print(f"  {label:14} {first:8.0f} {again:8.0f}")
        engine.close()
    engine = KuduEngine(connect(settings))
    with ThreadPoolExecutor(4) as pool:
        first, again = _times(lambda: list(pool.map(lambda panel: PANELS[panel](engine, request), PANELS)))
    print(f"  {'page':14} {first:8.0f} {again:8.0f}")
    engine.close()


def _times(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds: of the first time, and the middle of the next ones."""
    found = []
    for _ in range(1 + _ROUNDS):
        started = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - started))
    return found[0], statistics.median(found[1:])


def _rows(count: int, until: datetime) -> Iterator[pa.Table]:
    since = int((until - timedelta(days=DAYS)).timestamp() * 1e6)
    step = DAYS * 86_400_000_000 // count
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        for first in range(0, count, _AT_ONCE):
            last = min(count, first + _AT_ONCE)
            reader = connection.sql(_ROWS.format(since=since, step=step, first=first, last=last)).to_arrow_reader(
                _AT_ONCE
            )
            table = pa.Table.from_batches(reader, reader.schema)
            missing = {
                field.name: pa.nulls(table.num_rows, field.type)
                for field in SCHEMA
                if field.name not in table.column_names
            }
            for name, values in missing.items():
                table = table.append_column(name, values)
            yield table.select(SCHEMA.names).cast(SCHEMA)


_ROWS = """
SELECT make_timestamptz({since} + n * {step}) AS event_time,
       format('{{:08x}}-{{:04x}}-7000-8000-{{:012x}}', n // 65536, n % 65536, n) AS request_id,
       CASE WHEN n % 20 = 0 THEN 'rejected' ELSE 'classified' END AS status,
       CASE WHEN n % 20 = 0 THEN 'image.corrupt' END AS error_code,
       CASE WHEN n % 20 > 0 THEN sha256((hash(n, 5) % 800000)::VARCHAR) END AS image_id,
       'IMG_' || n % 10000 || '.jpg' AS file_name,
       (1000 + n % 100000)::BIGINT AS size_bytes,
       '10.0.0.' || n % 50 AS source_ip,
       'camera-' || n % 20 AS source_user,
       CASE WHEN n % 20 > 0 THEN 'class-' || hash(n, 1) % 10 END AS predicted_class,
       CASE WHEN n % 20 > 0 THEN (hash(n, 2) % 10000 / 10000.0)::FLOAT END AS confidence,
       CASE WHEN n % 20 > 0 THEN 'cifar10' END AS model_name,
       CASE WHEN n % 20 > 0 THEN (3 + n % 2)::VARCHAR END AS model_version,
       CASE WHEN n % 20 > 0 THEN 0.3 + hash(n, 3) % 1000 / 1000.0 END::DOUBLE AS preprocess_ms,
       CASE WHEN n % 20 > 0 THEN 0.5 + hash(n, 4) % 1000 / 500.0 END::DOUBLE AS inference_ms,
       (5 + hash(n, 6) % 1000 / 50.0)::DOUBLE AS total_ms
FROM range({first}, {last}) AS numbers(n)
"""


if __name__ == "__main__":
    main()
