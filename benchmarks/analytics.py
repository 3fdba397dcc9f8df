"""`python -m benchmarks.analytics`: every panel over ten million rows in DuckDB, while the service takes in a hundred a second.

A real service over a file that is made once (`--keep FOLDER` keeps it for the next run). A client posts small pictures at
`--rate`; beside it each panel is asked for each period: first (nobody asked before) and again at once (kept). Then the page as
a browser asks for it: all panels together. Memory is that of all processes of the service.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import aiohttp
import duckdb
from PIL import Image

from benchmarks.machine import describe
from imagewarehouse.analytics.panels import PANELS
from imagewarehouse.analytics.periods import PERIODS
from imagewarehouse.rows.embedded import LocalRows
from tests.running import Service

DAYS = 60
_ZONE = "Europe/Berlin"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=100.0, help="pictures a second that come in meanwhile; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder to keep the rows in, and to find them in")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        data = filled(arguments.keep or Path(temporary), arguments.rows)
        with Service(data) as service:
            asyncio.run(_measure(service, arguments.rate, arguments.rounds))


def filled(folder: Path, rows: int) -> Path:
    """The data folder of a service with so many rows, made unless it is there."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    if not (data / "rows.duckdb").exists():
        took = fill(data / "rows.duckdb", rows)
        size = (data / "rows.duckdb").stat().st_size
        print(f"{rows:,} rows of {DAYS} days made in {took:.0f} s, {size / 2**20:,.0f} MiB")
    return data


def fill(path: Path, rows: int, days: int = DAYS, until: datetime | None = None) -> float:
    """A file with rows of the last days in the order of their times, as a service writes them. Gives the seconds it took.

    DuckDB makes them, because Python would take minutes for a million: request ids have their times inside.
    """
    LocalRows(path).close()
    until = until or datetime.now(timezone.utc)
    start = int((until - timedelta(days=days)).timestamp() * 1e6)
    step = days * 86_400_000_000 // rows
    started = time.monotonic()
    with duckdb.connect(str(path), config={"threads": 2, "memory_limit": "2GB"}) as connection:
        connection.execute("SET TimeZone='UTC'")
        for first in range(0, rows, 1_000_000):
            connection.execute(_FILL.format(start=start, step=step, first=first, last=min(rows, first + 1_000_000)))
        connection.execute("CHECKPOINT")
    LocalRows(path).close()  # gives the rows the numbers of their pictures
    return time.monotonic() - started


_FILL = """
INSERT INTO image_events BY NAME
WITH drawn AS (
  SELECT n, {start} + n * {step} + (hash(n) % 1000)::BIGINT AS us,
         hash(n, 1) % 10000 / 10000.0 AS a, hash(n, 2) % 10000 / 10000.0 AS b, hash(n, 3) % 10000 / 10000.0 AS c,
         hash(n, 4) AS noise, sha256((hash(n, 5) % 8000000)::VARCHAR) AS picture
  FROM range({first}, {last}) AS numbers(n)
), judged AS (
  SELECT *, CASE WHEN a < 0.05 THEN 'rejected' WHEN a < 0.06 THEN 'failed' ELSE 'classified' END AS status,
         floor(10 * b * b)::INTEGER AS class, 1 - 0.9 * c * c * c AS sure
  FROM drawn
)
SELECT make_timestamptz(us) AS event_time,
       format('{{:08x}}-{{:04x}}-7{{:03x}}-8{{:03x}}-{{:012x}}', us // 1000 // 65536, us // 1000 % 65536,
              us % 1000 * 4096 // 1000, noise % 4096, noise % 281474976710656) AS request_id,
       status,
       CASE status WHEN 'rejected' THEN ['image.truncated', 'image.corrupt', 'type.missing', 'request.no_body'][1 + n % 4]
                   WHEN 'failed' THEN 'model.inference_failed' END AS error_code,
       CASE status WHEN 'rejected' THEN 'the file ends after ' || n % 1000 || ' bytes' END AS error_detail,
       CASE WHEN status <> 'rejected' THEN picture END AS image_id,
       'image-' || n % 100000 || '.jpg' AS file_name, 'image/jpeg' AS declared_type,
       CASE WHEN status <> 'rejected' THEN 'JPEG' END AS format,
       20000 + noise % 200000 AS size_bytes,
       CASE WHEN status <> 'rejected' THEN 640 END AS width, CASE WHEN status <> 'rejected' THEN 480 END AS height,
       CASE WHEN status <> 'rejected' THEN 'RGB' END AS color_mode, CASE WHEN status <> 'rejected' THEN 1 END AS frames,
       '10.0.' || hash(n, 6) % 4 || '.' || hash(n, 7) % 25 AS source_ip,
       'camera-' || hash(n, 8) % 12 AS source_user,
       CASE WHEN status <> 'rejected' THEN 'file:///srv/images/' || picture END AS storage_uri,
       CASE status WHEN 'classified' THEN ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship',
                                           'truck'][1 + class] END AS predicted_class,
       CASE status WHEN 'classified' THEN sure END AS confidence,
       CASE status WHEN 'classified' THEN '[{{"class": "cat", "probability": ' || round(sure, 3) || '}}]' END AS top_k,
       CASE status WHEN 'classified' THEN 'cifar10' END AS model_name,
       CASE status WHEN 'classified' THEN 1 + n // 4000000 END AS model_version,
       CASE status WHEN 'classified' THEN exp(2 * a - 1) END AS preprocess_ms,
       CASE status WHEN 'classified' THEN exp(1.5 * b - 0.5) END AS inference_ms,
       exp(3 * c) AS total_ms, 'node-1' AS node
FROM judged
"""


async def _measure(service: Service, rate: float, rounds: int) -> None:
    base = f"http://127.0.0.1:{service.classify_port}"
    memory = [service.memory()]
    async with aiohttp.ClientSession() as session:
        posting = asyncio.create_task(post_pictures(session, service.images_url, rate)) if rate else None
        await asyncio.sleep(2)
        print(f"\nmilliseconds, median [least, most] of {rounds}; {rate:g} pictures a second come in")
        print(f"{'panel':12}" + "".join(f"{name:>26}" for name in PERIODS) + f"{'kept':>22}")
        for panel in PANELS:
            line, kept = f"{panel:12}", []
            for period in PERIODS:
                first = []
                for number in range(rounds):
                    # Another threshold is another question to the service, and the same work.
                    url = f"{base}/api/queries/{panel}?period={period}&tz={_ZONE}&min_confidence={_unlike(number)}"
                    first.append(await _ask(session, url))
                    kept.append(await _ask(session, url))
                line += f"{middle(first):>26}"
                memory.append(service.memory())
            print(line + f"{middle(kept):>22}", flush=True)
        for period in PERIODS:
            pages = []
            for number in range(rounds):
                started = time.perf_counter()
                await asyncio.gather(
                    *(
                        _ask(
                            session,
                            f"{base}/api/queries/{panel}?period={period}&tz={_ZONE}&min_confidence={_unlike(number + 50)}",
                        )
                        for panel in PANELS
                    )
                )
                pages.append((time.perf_counter() - started) * 1e3)
                memory.append(service.memory())
            print(f"all panels together, {period}: {middle(pages)} ms")
        if posting is not None:
            posting.cancel()
            sent, failed, slow = _POSTED
            print(f"pictures: {sent} taken in, {failed} not; answered in {statistics.median(slow) * 1e3:.0f} ms (median), "
                  f"{max(slow) * 1e3:.0f} ms at most")  # fmt: skip
    print(f"memory of the service: {memory[0]:.0f} MiB before, {max(memory):.0f} at most")


def _unlike(number: int) -> float:
    return 0.000001 * (number + 1)


async def _ask(session: aiohttp.ClientSession, url: str) -> float:
    started = time.perf_counter()
    async with session.get(url) as answer:
        body = await answer.read()
        if answer.status != 200:
            raise AssertionError(f"{url}: {answer.status} {body[:300]!r}")
    return (time.perf_counter() - started) * 1e3


_POSTED: tuple[int, int, list[float]] = (0, 0, [])


async def post_pictures(session: aiohttp.ClientSession, url: str, rate: float) -> None:
    """Small pictures at that rate, whether or not those before are answered."""
    global _POSTED
    out = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(out, "JPEG")
    started, slow, waiting = time.perf_counter(), [], set()
    failed = 0

    async def one() -> None:
        nonlocal failed
        before = time.perf_counter()
        try:
            async with session.post(url, data=out.getvalue(), headers={"Content-Type": "image/jpeg"}) as answer:
                await answer.read()
                failed += answer.status not in (200, 202)
        except aiohttp.ClientError:
            failed += 1
        slow.append(time.perf_counter() - before)

    number = 0
    while True:
        number += 1
        task = asyncio.create_task(one())
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        _POSTED = len(slow), failed, slow
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))


def middle(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} [{min(values):,.0f}, {max(values):,.0f}]"


if __name__ == "__main__":
    main()
