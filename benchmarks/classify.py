"""`python -m benchmarks.classify`: requests a second and latencies of /classify against plain Keras `predict`.

Both run in this one measurement, turn and turn about, on the same machine, with the same client, the same images and
the same HTTP library. Ours also checks, stores and records each image: it answers when the row is committed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.load import Measured, load, request_bytes
from benchmarks.machine import describe
from imagewarehouse.ports import free_ports
from imagewarehouse.resources import REPOSITORY
from tests.running import Service, post

IMAGES = REPOSITORY.parent / "shared" / "data" / "cifar10-test-a.parquet"
CONNECTIONS = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="leave Keras out")
    arguments = parser.parse_args()
    print(describe())
    images = pq.read_table(IMAGES, columns=["image"])["image"].to_pylist()[::3]
    requests = [request_bytes("/classify", image) for image in images]

    found: dict[tuple[str, int], list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, Service(Path(folder) / "data") as service:
        (peer_port,) = free_ports(1)
        peer = None if arguments.no_peer else start_peer(peer_port, images[0])
        sides = {"image warehouse": service.classify_port} | ({} if peer is None else {"keras predict": peer_port})
        try:
            for port in sides.values():
                asyncio.run(load(port, requests, 8, seconds=2))  # warm-up
            for _ in range(arguments.repeats):
                for connections in CONNECTIONS:
                    for name, port in sides.items():
                        measured = asyncio.run(load(port, requests, connections, seconds=arguments.seconds))
                        found[name, connections].append(measured)
        finally:
            if peer is not None:
                peer.kill()
    report(found, arguments.repeats, list(sides))


def start_peer(port: int, image: bytes) -> subprocess.Popen[bytes]:
    peer = subprocess.Popen([sys.executable, "-m", "benchmarks.keras_service", str(port)], cwd=REPOSITORY)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if post(f"http://127.0.0.1:{port}/classify", image, {"Content-Type": "image/jpeg"}).status == 200:
                return peer
        except OSError:
            time.sleep(0.2)
    peer.kill()
    raise SystemExit("the Keras service did not start")


def report(found: dict[tuple[str, int], list[Measured]], repeats: int, sides: list[str]) -> None:
    print(f"median of {repeats} runs; in brackets the lowest and the highest")
    print(f"{'':16} connections   requests/s             p50 ms   p99 ms   failures")
    for (name, connections), runs in found.items():
        rates = [run.per_second for run in runs]
        p50, p99 = (statistics.median(run.percentile(p) for run in runs) * 1000 for p in (50, 99))
        failures = sum(run.failures for run in runs)
        spread = f"{statistics.median(rates):8.1f} [{min(rates):.1f}, {max(rates):.1f}]"
        print(f"{name:16} {connections:11}   {spread:22} {p50:7.1f}  {p99:7.1f}   {failures:8}")
    if len(sides) == 2:
        for connections in CONNECTIONS:
            ours, peers = (statistics.median(run.per_second for run in found[name, connections]) for name in sides)
            print(f"ratio with {connections} connections: {ours / peers:.1f}")


if __name__ == "__main__":
    main()
