"""`python -m benchmarks.soak`: memory of the service, all processes (PSS), over 20,000 requests.

Prints the memory after every thousand requests and, at the end, the slope over the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.classify import IMAGES
from benchmarks.load import load, request_bytes
from benchmarks.machine import describe
from tests.running import Service


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    arguments = parser.parse_args()
    print(describe())
    images = pq.read_table(IMAGES, columns=["image"])["image"].to_pylist()
    requests = [request_bytes("/classify", image) for image in images]
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "data") as service:
        done, failures, points = 0, 0, []
        while done < arguments.requests:
            measured = asyncio.run(load(service.classify_port, requests[done % 5000 :], 16, seconds=2))
            done += measured.requests
            failures += measured.failures
            points.append((done, service.memory()))
            print(f"{done:7} requests  {points[-1][1]:6.1f} MiB  {measured.per_second:6.1f} requests/s", flush=True)
        rows = service.count()
    half = [point for point in points if point[0] >= done / 2]
    slope = np.polyfit([x for x, _ in half], [y for _, y in half], 1)[0] * 1000 if len(half) > 1 else float("nan")
    print(f"{done} requests, {failures} failures, {rows} rows; highest {max(y for _, y in points):.1f} MiB;")
    print(f"second half: {slope:+.2f} MiB a thousand requests")


if __name__ == "__main__":
    main()
