"""Images a second through a real NiFi with the search index and without, in turns.

    make bench-nifi-index      # python -m benchmarks.nifi.index [--repeats N] [--seconds S] [--size "3 KB"]

The shipped flow three times, each in a NiFi of its own: `rows only`, `index` (solr.url is set) and `vectors` (and
model.embedding is true). One real Solr on the same machine, so its work is in the figures. Clients of /classify get their
answer when the row is committed; the index follows, and how long it still takes after the last answer is shown beside.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import requests as http

from benchmarks.load import Measured
from benchmarks.machine import describe
from benchmarks.nifi.designs import Design
from benchmarks.nifi.host import Host, start
from benchmarks.nifi.pictures import SIZES, requests
from benchmarks.nifi.throughput import newest
from imagewarehouse.flows.build import build_flow
from imagewarehouse.resources import REPOSITORY
from tests.solr_service import Solr, solr_running

CONFIGSET = REPOSITORY / "nifi-conf" / "solr" / "conf"
WITHOUT, INDEX, VECTORS = "rows only", "index", "vectors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--warm", type=float, default=40.0, help="seconds each NiFi runs before the first measurement")
    parser.add_argument("--size", default="3 KB", choices=list(SIZES))
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--nar", type=Path, help="NAR to deploy; the newest in dist/ if not given")
    arguments = parser.parse_args()
    print(describe(), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-nifi-index-") as temporary,
        solr_running(
            Path(temporary) / "solr", {INDEX: CONFIGSET, VECTORS: CONFIGSET}, memory="1g", compiled=True
        ) as solr,
    ):
        base = Design(WITHOUT, build_flow(), {})
        designs = [
            base,
            dataclasses.replace(base, name=INDEX, settings={"solr.url": f"{solr.url}/{INDEX}"}),
            dataclasses.replace(
                base, name=VECTORS, settings={"solr.url": f"{solr.url}/{VECTORS}", "model.embedding": "true"}
            ),
        ]
        hosts: list[Host] = []
        try:
            for design in designs:
                hosts.append(start(design, Path(temporary) / design.name.replace(" ", "-"), arguments.nar or newest()))
                hosts[-1].sleep()
            for host in hosts:
                host.measure(requests(arguments.size), 32, arguments.warm)
                _caught_up(host, solr)
            measured: list[list[Measured]] = [[] for _ in hosts]
            late: list[list[float]] = [[] for _ in hosts]
            for _ in range(arguments.repeats):
                for number, host in enumerate(hosts):
                    measured[number].append(
                        host.measure(requests(arguments.size), arguments.connections, arguments.seconds)
                    )
                    late[number].append(_caught_up(host, solr))
            _report(hosts, measured, late, arguments)
        finally:
            for host in hosts:
                host.wake()
                host.nifi.kill()


def _caught_up(host: Host, solr: Solr) -> float:
    """Seconds until every answered image is found in the index; 0 for the design without one."""
    if host.design.name == WITHOUT:
        return 0.0
    host.wake()
    begun = time.perf_counter()
    while (there := _count(solr, host.design.name)) < host.answered:
        if time.perf_counter() - begun > 120:
            raise SystemExit(f"{host.design.name}: {host.answered} images answered, {there} documents in the index")
        time.sleep(0.05)
    host.sleep()
    return time.perf_counter() - begun


def _count(solr: Solr, core: str) -> int:
    http.get(f"{solr.url}/{core}/update", params={"commit": "true"}, timeout=60).raise_for_status()
    answer = http.get(f"{solr.url}/{core}/select", params={"q": "*:*", "rows": "0"}, timeout=60)
    answer.raise_for_status()
    return int(answer.json()["response"]["numFound"])


def _report(
    hosts: Sequence[Host],
    measured: Sequence[Sequence[Measured]],
    late: Sequence[Sequence[float]],
    arguments: argparse.Namespace,
) -> None:
    print(
        f"\n{arguments.size}, {arguments.connections} connections, {arguments.repeats} x {arguments.seconds:g} s in turns"
    )
    for host, runs, seconds in zip(hosts, measured, late, strict=True):
        rates = sorted(run.per_second for run in runs)
        ratios = sorted(mine.per_second / without.per_second for mine, without in zip(runs, measured[0], strict=True))
        failures = sum(run.failures for run in runs)
        print(
            f"  {host.design.name:<10} {statistics.median(rates):7.1f} images/s [{rates[0]:.1f}, {rates[-1]:.1f}]"
            f"  failed {failures}"
            f"  of {WITHOUT}: {statistics.median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
            f"  index complete after {statistics.median(seconds):.2f} s [{min(seconds):.2f}, {max(seconds):.2f}]"
        )


if __name__ == "__main__":
    main()
