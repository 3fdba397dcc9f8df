"""50,000 images through a deployed flow: every row there once, and the memory of each Python process on the way.

make soak-nifi       # python -m benchmarks.nifi.soak [--images N]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.load import load
from benchmarks.machine import describe
from benchmarks.nifi.designs import PACKAGES, designs
from benchmarks.nifi.host import Host, start
from benchmarks.nifi.pictures import requests
from benchmarks.nifi.throughput import newest

_CONNECTIONS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--nar", type=Path, help="NAR to deploy; the newest in dist/ if not given")
    arguments = parser.parse_args()
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-nifi-") as temporary:
        [design] = [one for one in designs("http://127.0.0.1:1") if one.name == PACKAGES]
        host = start(design, Path(temporary) / "warehouse", arguments.nar or newest())
        try:
            _run(host, arguments.images)
        finally:
            host.nifi.kill()


def _run(host: Host, images: int) -> None:
    assert host.nifi.pid is not None
    jvm = psutil.Process(host.nifi.pid)
    named = {one.pid: one.type or "discovery" for one in host.nifi.python_processes()}
    processes = [(name, psutil.Process(pid)) for pid, name in sorted(named.items(), key=lambda pair: pair[1])]
    print(
        f"{'answered':>9}  {'images/s':>8}  " + "  ".join(f"{name[:13]:>13}" for name, _ in processes) + "    JVM, MiB"
    )
    answered = failures = 0
    samples: list[tuple[int, list[float]]] = []
    make = requests("3 KB")
    while answered < images:
        offset = answered + failures
        begun = time.perf_counter()
        found = asyncio.run(
            load(host.port, lambda number, offset=offset: make(offset + number), _CONNECTIONS, seconds=10)  # type: ignore[misc]
        )
        answered, failures = answered + found.requests - found.failures, failures + found.failures
        sizes = [process.memory_info().rss / 2**20 for _, process in processes]
        samples.append((answered, sizes))
        rate = (found.requests - found.failures) / (time.perf_counter() - begun)
        print(
            f"{answered:9,}  {rate:8.0f}  " + "  ".join(f"{size:13.1f}" for size in sizes)
            + f"    {jvm.memory_info().rss / 2**20:.0f}", flush=True,
        )  # fmt: skip
    half = samples[len(samples) // 2 :]
    for number, (name, _) in enumerate(processes):
        slope = np.polyfit([count / 1000 for count, _ in half], [sizes[number] for _, sizes in half], 1)[0]
        print(f"{name}: {slope:+.3f} MiB a thousand images over the second half, {half[-1][1][number]:.0f} at the end")
    host.nifi.stop()
    print(f"{answered:,} images answered, {failures} refused, {host.rows():,} rows")
    assert host.rows() == answered


if __name__ == "__main__":
    main()
