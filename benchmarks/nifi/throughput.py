"""Images a second and latency through a real NiFi: the shipped flow beside the two designs of `designs.py`.

    make bench-nifi      # python -m benchmarks.nifi.throughput [--repeats N] [--seconds S] [--sizes "3 KB,30 KB"]
                         # [--designs packages,throughput,single,"model server"] [--against COMMIT]

One NiFi for each design, deployed with `imagewarehouse deploy`; only one is awake at a time, and the designs take turns.
Clients of /classify get their answer when the row is committed, so what is counted are written rows. Every image is
another file.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import Measured
from benchmarks.machine import describe
from benchmarks.nifi.designs import PACKAGES, THROUGHPUT, Design, before, designs
from benchmarks.nifi.host import Host, start
from benchmarks.nifi.pictures import SIZES, photograph, requests
from imagewarehouse.ports import free_ports

# Connections: enough to keep both cores busy, few enough that large images do not fill the memory.
_OURS = (PACKAGES, THROUGHPUT)
CONNECTIONS = {"3 KB": 64, "30 KB": 64, "300 KB": 64, "3 MB": 16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement")
    parser.add_argument("--warm", type=float, default=40.0, help="seconds each NiFi runs before the first measurement")
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--nar", type=Path, help="NAR to deploy; the newest in dist/ if not given")
    parser.add_argument("--runtime", default="litert", help="of the model server")
    parser.add_argument("--designs", help="those to compare, by name, with commas between; all if not given")
    parser.add_argument("--against", metavar="COMMIT", help="also the flow and the NAR of an older commit, as `before`")
    arguments = parser.parse_args()
    sizes = [size.strip() for size in arguments.sizes.split(",")]
    nar = arguments.nar or newest()
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-nifi-") as temporary:
        [port] = free_ports(1)
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.nifi.model_server", "--port", str(port), "--runtime", arguments.runtime]
        )
        hosts: list[Host] = []
        try:
            for design in _chosen(f"http://127.0.0.1:{port}/predict", arguments):
                hosts.append(start(design, Path(temporary) / design.name.replace(" ", "-"), nar))
                print(f"{design.name}: deployed in {hosts[-1].deploy_s:.0f} s", flush=True)
                hosts[-1].sleep()
            for host in hosts:
                host.measure(requests("3 KB"), 32, arguments.warm)
            for size in sizes:
                for host in hosts:  # the code for this size is compiled and the files of the store are made
                    host.measure(requests(size), CONNECTIONS[size], arguments.seconds / 2)
                _report(size, CONNECTIONS[size], hosts, _turns(hosts, size, CONNECTIONS[size], arguments))
            _report("3 KB", 1, hosts, _turns(hosts, "3 KB", 1, arguments))
            for host in hosts:
                host.wake()
                host.nifi.stop()
                rows = host.rows()
                print(f"{host.design.name}: {host.answered} images answered, {rows} rows in the database")
                assert rows >= host.answered, "an answer without its row"
        finally:
            server.terminate()
            for host in hosts:
                host.wake()
                host.nifi.kill()


def _chosen(model_server: str, arguments: argparse.Namespace) -> list[Design]:
    known = designs(model_server)
    names = (
        [name.strip() for name in arguments.designs.split(",")] if arguments.designs else [one.name for one in known]
    )
    if unknown := set(names) - {one.name for one in known}:
        raise SystemExit(
            f"--designs: there is no {', '.join(sorted(unknown))}; known: {', '.join(d.name for d in known)}"
        )
    return [one for one in known if one.name in names] + ([before(arguments.against)] if arguments.against else [])


def _turns(hosts: Sequence[Host], size: str, connections: int, arguments: argparse.Namespace) -> list[list[Measured]]:
    found: list[list[Measured]] = [[] for _ in hosts]
    for _ in range(arguments.repeats):
        for number, host in enumerate(hosts):
            found[number].append(host.measure(requests(size), connections, arguments.seconds))
    return found


def _report(size: str, connections: int, hosts: Sequence[Host], measured: Sequence[Sequence[Measured]]) -> None:
    print(f"\n{size} ({len(photograph(size)):,} bytes), {connections} connections")
    ours = {host.design.name: runs for host, runs in zip(hosts, measured, strict=True) if host.design.name in _OURS}
    for host, runs in zip(hosts, measured, strict=True):
        rates = sorted((run.requests - run.failures) / run.seconds for run in runs)
        half, most = (sorted(run.percentile(p) * 1000 for run in runs)[len(runs) // 2] for p in (50, 99))
        failures = sum(run.failures for run in runs)
        print(
            f"  {host.design.name:<13} {statistics.median(rates):7.1f} images/s [{rates[0]:.1f}, {rates[-1]:.1f}]"
            f"  p50 {half:7.1f} ms  p99 {most:7.1f} ms  failed {failures}"
            + "".join(f"  {name} / this: {_ratios(mine, runs)}" for name, mine in ours.items() if mine is not runs),
            flush=True,
        )


def _ratios(ours: Sequence[Measured], others: Sequence[Measured]) -> str:
    """Of runs beside each other."""
    ratios = sorted(mine.per_second / run.per_second for mine, run in zip(ours, others, strict=True))
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def newest() -> Path:
    found = sorted(Path("dist").glob("image-warehouse-[0-9]*.nar"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit("there is no NAR in dist/; run make nar")
    return found[-1]


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - started:.0f} s in all")
